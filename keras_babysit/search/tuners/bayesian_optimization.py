"""`BayesianOptimization`, as in KerasTuner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras_tuner

from keras_babysit.errors import positive, whole_or_none
from keras_babysit.search.names import refuse_fixed
from keras_babysit.search.oracles.optuna_oracle import KeepsValues
from keras_babysit.search.tuners.tuner import Tuner

_DEFAULTS = {"num_initial_points": None, "alpha": 1e-4, "beta": 2.6}


class BayesianOptimization(Tuner):
    """Bayesian optimization with KerasTuner's arguments; see `Tuner` and `Search`.

    It is `Search(method="bayesian")` unless one of the following is given; then values
    are suggested by KerasTuner's own oracle.

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
        refuse_fixed(kwargs, "BayesianOptimization")
        whole_or_none("num_initial_points", num_initial_points)
        given = {
            "num_initial_points": num_initial_points,
            "alpha": positive("alpha", alpha),
            "beta": positive("beta", beta),
        }
        is_plain = given == _DEFAULTS
        super().__init__(
            hypermodel,
            objective,
            max_trials,
            max_retries_per_trial,
            method="bayesian" if is_plain else _process(**given),
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **kwargs,
        )


class _Oracle(KeepsValues, keras_tuner.oracles.BayesianOptimizationOracle):
    """KerasTuner's own, under which a name may have two conditions."""


def _process(**given: Any) -> Callable[..., keras_tuner.Oracle]:
    """Returns a `method` of `Search`: KerasTuner's oracle with these arguments."""

    def method(
        objective: Any,
        max_trials: int,
        seed: int,
        hyperparameters: keras_tuner.HyperParameters,
    ) -> keras_tuner.Oracle:
        return _Oracle(
            objective, max_trials, seed=seed, hyperparameters=hyperparameters, **given
        )

    # By this, searches with other arguments are kept apart.
    told = ", ".join(f"{name}={value!r}" for name, value in given.items())
    method.__qualname__ = f"BayesianOptimization({told})"
    return method
