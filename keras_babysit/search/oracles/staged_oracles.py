"""Oracles that also learn from what was trained for fewer epochs, or has failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner
import optuna
from optuna.trial import FrozenTrial, TrialState

from keras_babysit.search.oracles.optuna_oracle import OptunaOracle
from keras_babysit.search.space import optuna_space

Status = keras_tuner.engine.trial.TrialStatus


@dataclass(frozen=True)
class Earlier:
    """A trial of a stage before that is not trained again.

    Attributes:
        values: its hyperparameters.
        score: its score.
        epochs: the epochs that it was trained for.
    """

    values: Mapping[str, Any]
    score: float
    epochs: int


class StagedOptuna(OptunaOracle):
    """`OptunaOracle` for one stage of a search.

    What was cut short is told as pruned at its last epoch, and so are the trials of
    stages before: TPE ranks them after all that were trained to the end, those that got
    further first. What has failed is told as pruned before its first epoch, the worst
    there is; Optuna leaves failed trials out, and then tries their like again.
    """

    #: Trials of the stages before, in their order.
    earlier: Sequence[Earlier] = ()

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        #: Number of epochs of the trials that were cut short, by their id.
        self.cut_short: dict[str, int] = {}
        #: Ids of trials whose process was killed: they count for nothing.
        self.unjudged: set[str] = set()

    def _told_first(self, axes: Sequence[optuna_space.Axis]) -> Iterator[FrozenTrial]:
        for trial in self.earlier:
            # One that is out of the space as it is now says nothing about it.
            point = self._point(axes, trial.values, whole=True)
            if point is not None:
                yield _pruned(point, {trial.epochs: trial.score})

    def _told(
        self, axes: Sequence[optuna_space.Axis], trial: Any
    ) -> FrozenTrial | None:
        epochs = self.cut_short.get(trial.trial_id)
        failed = trial.status == Status.FAILED
        if trial.trial_id in self.unjudged or (epochs is None and not failed):
            return super()._told(axes, trial)
        point = self._point(axes, trial.hyperparameters.values)
        if point is None:
            return None
        seen = {} if failed or epochs is None else {epochs: trial.score}
        return _pruned(point, seen, self._notes.get(trial.trial_id))


def _pruned(
    point: Mapping[str, Any],
    seen: Mapping[int, float],
    notes: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    return optuna.create_trial(
        state=TrialState.PRUNED,
        intermediate_values=dict(seen),
        system_attrs=None if notes is None else dict(notes),
        **point,
    )
