"""`BayesianOptimization`, as in KerasTuner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras_tuner

from keras_babysit.errors import positive, whole_or_none
from keras_babysit.search.oracles.staged_oracles import StagedBayesian
from keras_babysit.search.tuners.tuner import Tuner


class BayesianOptimization(Tuner):
    """Bayesian optimization with KerasTuner's arguments; see `Tuner` and `Search`.

    Args:
        num_initial_points: trials that are drawn at random before the first model of
            the objective; three for each hyperparameter by default.
        alpha: noise that the Gaussian process expects; 1e-4 by default.
        beta: how much it explores; 2.6 by default.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int = 10,
        num_initial_points: int | None = None,
        alpha: float = 1e-4,
        beta: float = 2.6,
        seed: int | None = None,
        hyperparameters: Any = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        **kwargs: Any,
    ):
        whole_or_none("num_initial_points", num_initial_points)
        process = _Process(
            num_initial_points, positive("alpha", alpha), positive("beta", beta)
        )
        super().__init__(
            hypermodel,
            objective,
            max_trials,
            max_retries_per_trial,
            method="bayesian" if process == _Process() else process,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **kwargs,
        )


@dataclass(frozen=True)
class _Process:
    """A `method` of `Search`: the Bayesian one, with arguments of its own."""

    num_initial_points: int | None = None
    alpha: float = 1e-4
    beta: float = 2.6

    @property
    def __qualname__(self) -> str:
        given = (f"{name}={value!r}" for name, value in vars(self).items())
        return f"bayesian({', '.join(given)})"

    def __call__(
        self,
        objective: Any,
        max_trials: int,
        seed: int,
        hyperparameters: keras_tuner.HyperParameters,
    ) -> StagedBayesian:
        return StagedBayesian(
            objective,
            max_trials,
            seed=seed,
            hyperparameters=hyperparameters,
            **vars(self),
        )
