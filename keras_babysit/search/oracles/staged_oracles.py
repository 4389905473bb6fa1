"""Oracles that also learn from what was trained for fewer epochs, or has failed."""

from __future__ import annotations

import copy
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner
import numpy as np
import optuna
from optuna.trial import TrialState

from keras_babysit.search.oracles.optuna_oracle import KeepsValues, OptunaOracle
from keras_babysit.search.space import optuna_space, scales

Status = keras_tuner.engine.trial.TrialStatus

#: Scores that are worse than the median count at most so many times as far from it as
#: the best one: a loss of 1e9 would leave nothing else to see.
_FAR = 3.0


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

    def _tell_first(
        self, study: optuna.Study, axes: Sequence[optuna_space.Axis]
    ) -> None:
        for trial in self.earlier:
            # One that is out of the space as it is now says nothing about it.
            point = self._point(axes, trial.values, whole=True)
            if point is not None:
                _add_pruned(study, point, {trial.epochs: trial.score})

    def _tell(
        self, study: optuna.Study, axes: Sequence[optuna_space.Axis], trial: Any
    ) -> None:
        epochs = self.cut_short.get(trial.trial_id)
        failed = trial.status == Status.FAILED
        if trial.trial_id in self.unjudged or (epochs is None and not failed):
            super()._tell(study, axes, trial)
            return
        point = self._point(axes, trial.hyperparameters.values)
        if point is not None:
            notes = self._notes.get(trial.trial_id)
            seen = {} if failed or epochs is None else {epochs: trial.score}
            _add_pruned(study, point, seen, notes)


def _add_pruned(
    study: optuna.Study,
    point: Mapping[str, Any],
    seen: Mapping[int, float],
    notes: Mapping[str, Any] | None = None,
) -> None:
    study.add_trial(
        optuna.create_trial(
            state=TrialState.PRUNED,
            intermediate_values=dict(seen),
            system_attrs=None if notes is None else dict(notes),
            **point,
        )
    )


class StagedBayesian(KeepsValues, keras_tuner.oracles.BayesianOptimizationOracle):
    """KerasTuner's Bayesian oracle for one stage of a search.

    Its random numbers come from the seed and the trial's number, so what it suggests
    follows from the trials that it knows. A Gaussian process is fitted to scores, so

    - what has failed counts as the worst that was seen (KerasTuner leaves it out, and
      then tries its like again), and scores that are worse than all others by orders of
      magnitude are moved closer;
    - while there are fewer than three trials a hyperparameter, trials of the stage
      before stand in for random ones, their scores moved by what the trials in both
      stages gained (the median). After that only the stage's own count: scores after
      different epochs do not belong to one function.

    Values that were tried before are drawn at random instead.
    """

    trials: dict[str, Any]
    #: Trials of the stages before, in their order.
    earlier: Sequence[Earlier] = ()

    def __init__(self, *args: Any, seed: int, **kwargs: Any):
        super().__init__(*args, seed=seed, **kwargs)
        self.seed = seed  # KerasTuner takes 0 for none.
        self.gpr = self._make_gpr()
        #: Score now less score before, of the trials that are in both stages.
        self.gains: list[float] = []
        #: Ids of trials whose process was killed: they count for nothing.
        self.unjudged: set[str] = set()

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Returns the status and the values; see `keras_tuner.Oracle`."""
        entropy = np.random.SeedSequence([self.seed, len(self.trials)])
        first, second = (int(word) for word in entropy.generate_state(2))
        self._seed_state, self._random_state = first, np.random.RandomState(second)
        own = self.trials
        self.trials = self._as_data()
        try:
            with warnings.catch_warnings():
                # Of a length scale at its bound, which is no reason to worry.
                warnings.filterwarnings("ignore", "The optimal value found for")
                suggested = super().populate_space(trial_id)
        finally:
            self.trials = own
        values = suggested.get("values")
        if values is not None and self._duplicate(values):
            return self._random_populate_space()
        return suggested

    def _as_data(self) -> dict[str, Any]:
        """Returns the trials as the Gaussian process is to see them."""
        seen = [t for t in self.trials.values() if t.status == Status.COMPLETED]
        enough = 3 * len(self._nonfixed_space())
        data = {**self._earlier_trials()} if len(seen) < enough else {}
        data |= {n: t for n, t in self.trials.items() if n not in self.unjudged}
        scores = [t.score for t in data.values() if t.status == Status.COMPLETED]
        if not scores:
            return data
        worst = self._worst(scores)
        return {name: self._tame(trial, worst) for name, trial in data.items()}

    def _worst(self, scores: Sequence[float]) -> float:
        """Returns the worst score that is told."""
        sign = -1 if self.objective.direction == "max" else 1
        losses = [sign * score for score in scores]
        median, best = statistics.median(losses), min(losses)
        bound = median + _FAR * (median - best)
        return sign * (min(max(losses), bound) if bound > median else max(losses))

    def _tame(self, trial: Any, worst: float) -> Any:
        if trial.status == Status.RUNNING:
            return trial  # KerasTuner guesses its score, and knows it by itself.
        sign = -1 if self.objective.direction == "max" else 1
        failed = trial.status != Status.COMPLETED
        if not failed and sign * trial.score <= sign * worst:
            return trial
        told = copy.copy(trial)
        told.status, told.score = Status.COMPLETED, worst
        return told

    def _earlier_trials(self) -> dict[str, Any]:
        if not self.gains:
            return {}  # Nothing says how the scores compare.
        gain = statistics.median(self.gains)
        most = max((earlier.epochs for earlier in self.earlier), default=0)
        made = {}
        for index, earlier in enumerate(self.earlier):
            if earlier.epochs < most or not self._can_place(earlier.values):
                continue
            hps = self.hyperparameters.copy()
            hps.values = dict(earlier.values)
            trial = keras_tuner.engine.trial.Trial(
                hps, f"earlier-{index}", Status.COMPLETED
            )
            trial.score = earlier.score + gain
            made[trial.trial_id] = trial
        return made

    def _can_place(self, values: Mapping[str, Any]) -> bool:
        """Whether KerasTuner can place the values in the space, also beyond its ends.

        The space is a part of the one before. In four dimensions of half the width few
        of its trials are inside, but those around it tell a Gaussian process as much.
        """
        return all(
            _has_place(hp, values[hp.name])
            for hp in self._nonfixed_space()
            if hp.name in values and scales.is_active(hp, values)
        )


def _has_place(hp: Any, value: Any) -> bool:
    if not hasattr(hp, "min_value"):
        return value in hp.values
    inside = hp.min_value <= value <= hp.max_value
    # Beyond its ends there are no steps, and a reversed logarithm ends.
    return inside or (hp.step in (None, 1) and hp.sampling != "reverse_log")
