"""A live Optuna study that follows the trials of an oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState


class OracleStudy:
    """An Optuna study in memory, kept from one suggestion to the next.

    To tell a new study of 300 trials takes longer than TPE takes to suggest values. So
    the study gets only what has changed. It stays what a new one would be: where
    it cannot, `follow` says so, and the oracle makes a new one.

    Args:
        direction: of the objective: `"min"` or `"max"`.
        notes: the study's attributes, which samplers write.

    Attributes:
        study: the study, for `ask`.
    """

    def __init__(self, direction: str, notes: Mapping[str, Any]):
        self._storage = optuna.storages.InMemoryStorage()
        self.study = optuna.create_study(
            storage=self._storage,
            direction="maximize" if direction == "max" else "minimize",
        )
        self._id = self._storage.get_study_id_from_name(self.study.study_name)
        for key, value in notes.items():
            self._storage.set_study_system_attr(self._id, key, value)
        self._known: list[str] = []
        # Id of the oracle's trial to Optuna's, of those that have not ended.
        self._open: dict[str, int] = {}

    @property
    def notes(self) -> dict[str, Any]:
        """What samplers have written about the study."""
        return dict(self._storage.get_study_system_attrs(self._id))

    def last(self) -> FrozenTrial:
        """Returns the trial that was asked for last."""
        return self._storage.get_all_trials(self._id, deepcopy=False)[-1]

    def keep(self, trial_id: str) -> None:
        """The trial that was asked for last is the oracle's next one."""
        self._known.append(trial_id)
        self._open[trial_id] = self.last()._trial_id

    def follow(
        self, order: Sequence[str], told: Callable[[str], FrozenTrial | None]
    ) -> bool:
        """Brings the study up to date; returns whether it is what a new one would be.

        Args:
            order: ids of all trials of the oracle, as they were started.
            told: what a new study gets of a trial; `None` for nothing.
        """
        known = len(self._known)
        if self._known != order[:known]:
            return False
        for trial_id, number in list(self._open.items()):
            now, before = told(trial_id), self._storage.get_trial(number)
            if now is None or not _is_same_point(now, before):
                return False
            if now.state.is_finished():
                self._end(number, now)
                del self._open[trial_id]
        for trial_id in order[known:]:
            self._add(trial_id, told(trial_id))
        return True

    def add(self, trial: FrozenTrial) -> None:
        """Adds a trial that has ended and is none of the oracle's."""
        self.study.add_trial(trial)

    def _add(self, trial_id: str, trial: FrozenTrial | None) -> None:
        self._known.append(trial_id)
        if trial is not None:
            self.study.add_trial(trial)
            if trial.state == TrialState.RUNNING:
                self._open[trial_id] = self.last()._trial_id

    def _end(self, number: int, trial: FrozenTrial) -> None:
        for step, value in trial.intermediate_values.items():
            self._storage.set_trial_intermediate_value(number, step, value)
        self._storage.set_trial_state_values(number, trial.state, trial.values)


def _is_same_point(one: FrozenTrial, other: FrozenTrial) -> bool:
    same = one.params == other.params and one.distributions == other.distributions
    return same and one.system_attrs == other.system_attrs
