"""The trials of a search as KerasTuner shows them: `tuner.oracle`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras_tuner

from keras_babysit.search.oracles.directions import direction_of
from keras_babysit.search.trial.checkpoints import hyperparameters
from keras_babysit.search.trials import Trial

if TYPE_CHECKING:
    from keras_babysit.search.search import Search

Status = keras_tuner.engine.trial.TrialStatus

_STATUSES = {
    "running": Status.RUNNING,
    "completed": Status.COMPLETED,
    "stopped": Status.COMPLETED,
    "failed": Status.FAILED,
    "killed": Status.FAILED,
}


class Records:
    """What scripts read from `tuner.oracle`, made from the search's folder.

    It shows what has happened, also while the search runs; nothing can be changed by
    it. Trials are KerasTuner's own `Trial`, their ids the names of their folders.
    """

    def __init__(self, tuner: Search):
        self._tuner = tuner

    @property
    def objective(self) -> Any:
        """The `keras_tuner.Objective`."""
        objective = self._tuner._objective
        return keras_tuner.Objective(objective.name, objective.direction)

    @property
    def trials(self) -> dict[str, Any]:
        """All trials so far, by id."""
        return {trial.name: self._shown(trial) for trial in self._all()}

    @property
    def start_order(self) -> list[str]:
        """Ids in the order in which the trials began."""
        return [trial.name for trial in self._all()]

    @property
    def end_order(self) -> list[str]:
        """Ids in the order in which the trials ended."""
        events = self._tuner._store.events()
        numbers = [e["number"] for e in events if e["event"] == "ended"]
        return [f"{number:04d}" for number in dict.fromkeys(numbers)]

    @property
    def max_trials(self) -> int:
        """How many trials the search may have."""
        return self._tuner._stages[-1].trials

    @property
    def hyperparameters(self) -> Any:
        """The space; see `get_space`."""
        return self.get_space()

    def get_space(self) -> Any:
        """Returns the space that is searched, as `HyperParameters`."""
        return self._tuner._space().copy()

    def get_trial(self, trial_id: str) -> Any:
        """Returns a trial by its id.

        Raises:
            KeyError: if there is none.
        """
        known = self.trials
        if trial_id not in known:
            there = f"There are {', '.join(known)}." if known else "There are none yet."
            raise KeyError(f"There is no trial {trial_id!r}. {there}")
        return known[trial_id]

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """Returns the best trials so far, best first."""
        return [self._shown(trial) for trial in self._tuner.best_trials(num_trials)]

    def remaining_trials(self) -> int:
        """Returns how many trials have not begun."""
        return max(0, self.max_trials - len(self._all()))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"`tuner.oracle` has no {name!r}: it shows the trials of the search "
            "(`trials`, `get_best_trials`, `get_space`, ...). To report a result, "
            "return it from `run_trial`, or from the `fit` of a `HyperModel`; to "
            "choose values by an oracle of your own, use `Search(method=oracle)`."
        )

    def _all(self) -> list[Trial]:
        return self._tuner._store.trials()

    def _shown(self, trial: Trial) -> Any:
        outcome = trial.outcome
        space = outcome.space if outcome and outcome.space else None
        space = space or self._tuner._spaces()[trial.stage]
        made = shown(trial, hyperparameters(space, trial))
        if outcome is None:
            return made
        made.score, made.message = outcome.score, outcome.reason or None
        # KerasTuner counts epochs from 0 here.
        made.best_step = (outcome.best_epoch or 1) - 1
        _add_metrics(made, outcome.metrics)
        return made


def shown(trial: Trial, hp: keras_tuner.HyperParameters) -> Any:
    """Returns a trial as KerasTuner's, with these hyperparameters."""
    return keras_tuner.engine.trial.Trial(hp, trial.name, _STATUSES[trial.status])


def _add_metrics(shown: Any, metrics: Mapping[str, float]) -> None:
    for name, value in metrics.items():
        shown.metrics.register(name, direction_of(name) or "min")
        shown.metrics.update(name, value, step=shown.best_step)
