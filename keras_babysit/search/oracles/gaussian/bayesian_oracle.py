"""Bayesian optimization by a Gaussian process, for one stage of a search."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
import numpy as np

from keras_babysit.search.oracles.gaussian.gaussian_process import fit
from keras_babysit.search.oracles.gaussian.unit_cube import UnitCube
from keras_babysit.search.oracles.optuna_oracle import KeepsValues
from keras_babysit.search.oracles.staged_oracles import Earlier
from keras_babysit.search.space import scales

Status = keras_tuner.engine.trial.TrialStatus

#: Scores that are worse than the median count at most so many times as far from it as
#: the best one: a loss of 1e9 would leave nothing else to see.
_FAR = 3.0
#: Trials a hyperparameter that are drawn at random before there is a model.
_AT_RANDOM = 2
#: So many of the best points are looked through for one that was not tried before.
_LOOKED_AT = 100


class StagedBayesian(KeepsValues):
    """Oracle that suggests where a Gaussian process expects the most improvement.

    Its random numbers come from the seed and the trial's number, and the Gaussian
    process is fitted again for each suggestion, so what it suggests follows from the
    trials that it knows. Of these,

    - what has failed counts as the worst that was seen (left out, its like would be
      tried again), and scores that are worse than all others by orders of magnitude are
      moved closer;
    - while there are fewer than two trials a hyperparameter, trials of the stage
      before stand in for random ones, their scores moved by what the trials in both
      stages gained (the median). After that only the stage's own count: scores after
      different epochs do not belong to one function.

    Args:
        objective: as for `keras_tuner.Oracle`, but one.
        max_trials: likewise.
        seed: a non-negative integer.
        hyperparameters: where to search.

    References:
        Snoek et al., "Practical Bayesian Optimization of Machine Learning Algorithms",
        NeurIPS 2012. Ament et al., "Unexpected Improvements to Expected Improvement for
        Bayesian Optimization", NeurIPS 2023 (its logarithm).
    """

    trials: dict[str, Any]
    #: Trials of the stages before, in their order.
    earlier: Sequence[Earlier] = ()

    def __init__(
        self,
        objective: Any,
        max_trials: int | None = 10,
        seed: int = 0,
        hyperparameters: keras_tuner.HyperParameters | None = None,
    ):
        super().__init__(objective, max_trials, hyperparameters, seed=seed)
        self.seed = seed  # KerasTuner takes 0 for none.
        #: Score now less score before, of the trials that are in both stages.
        self.gains: list[float] = []
        #: Ids of trials whose process was killed: they count for nothing.
        self.unjudged: set[str] = set()

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Returns the status and the values; see `keras_tuner.Oracle`."""
        entropy = np.random.SeedSequence([self.seed, len(self.trials)])
        first, second = (int(word) for word in entropy.generate_state(2))
        self._seed_state = first
        values = self._suggested(np.random.default_rng(second))
        if values is None:
            values = self._random_values()
        if values is None:
            return {"status": Status.STOPPED, "values": None}
        return {"status": Status.RUNNING, "values": values}

    def _suggested(self, rng: np.random.Generator) -> dict[str, Any] | None:
        """Returns new values; `None` while there are too few trials, or none is new."""
        space, data = self._nonfixed_space(), list(self._as_data().values())
        seen = [t for t in data if t.status == Status.COMPLETED]
        if not space or len(seen) < max(_AT_RANDOM * len(space), 3):
            return None
        cube, sign = UnitCube(space), -1 if self.objective.direction == "max" else 1
        points = np.array([self._place(space, trial) for trial in seen])
        x, y = cube.columns(points), np.array([sign * trial.score for trial in seen])
        process = fit(x, y, cube.groups)
        # Where scores are noisy the best one may have been lucky.
        expected = process.predict(x)[0]
        ongoing = [t for t in data if t.status == Status.RUNNING]
        if ongoing:
            places = np.array([self._place(space, trial) for trial in ongoing])
            process = process.guessing(cube.columns(places))
        best = np.clip(points[np.argsort(expected, kind="stable")[:5]], 0, 1 - 1e-9)
        ranked = cube.ranked(
            lambda columns: process.log_improvement(columns, expected.min()), best, rng
        )
        tried = (self._values_at(space, place) for place in ranked[:_LOOKED_AT])
        return next((v for v in tried if not self._duplicate(v)), None)

    def _nonfixed_space(self) -> list[Any]:
        fixed = scales.types.Fixed
        return [hp for hp in self.hyperparameters.space if not isinstance(hp, fixed)]

    def _place(self, space: Sequence[Any], trial: Any) -> list[float]:
        """Returns where a trial lies; what it does not have is at its default."""
        values = trial.hyperparameters.values
        return [
            hp.value_to_prob(
                values[hp.name]
                if hp.name in values and scales.is_active(hp, values)
                else hp.default
            )
            for hp in space
        ]

    def _values_at(self, space: Sequence[Any], place: np.ndarray) -> dict[str, Any]:
        places = {id(hp): float(p) for hp, p in zip(space, place, strict=True)}
        values: dict[str, Any] = {}
        for hp in self.hyperparameters.space:  # Parents come first.
            if scales.is_active(hp, values):
                known = id(hp) in places
                values[hp.name] = (
                    hp.prob_to_value(places[id(hp)]) if known else hp.value
                )
        return values

    def _as_data(self) -> dict[str, Any]:
        """Returns the trials as the Gaussian process is to see them."""
        seen = [t for t in self.trials.values() if t.status == Status.COMPLETED]
        enough = _AT_RANDOM * len(self._nonfixed_space())
        data = {**self._earlier_trials()} if len(seen) < enough else {}
        data |= {n: t for n, t in self.trials.items() if n not in self.unjudged}
        scores = [t.score for t in data.values() if t.status == Status.COMPLETED]
        if not scores:
            return data
        worst = self._worst(scores)
        return {name: self._tame(trial, worst) for name, trial in data.items()}

    def _worst(self, scores: Sequence[float]) -> float:
        """Returns the worst score that it learns from."""
        sign = -1 if self.objective.direction == "max" else 1
        losses = [sign * score for score in scores]
        median, best = statistics.median(losses), min(losses)
        bound = median + _FAR * (median - best)
        return sign * (min(max(losses), bound) if bound > median else max(losses))

    def _tame(self, trial: Any, worst: float) -> Any:
        if trial.status == Status.RUNNING:
            return trial
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
        """Whether the values have a place in the space, also beyond its ends.

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
