"""`Hyperband`, as in KerasTuner: brackets over the pruner."""

from __future__ import annotations

from typing import Any

from keras_babysit.errors import whole
from keras_babysit.search.names import refuse_fixed
from keras_babysit.search.oracles.brackets import Brackets
from keras_babysit.search.tuners.tuner import Tuner


class Hyperband(Tuner):
    """Hyperband with KerasTuner's arguments; see `Tuner` and `Search`.

    It has KerasTuner's brackets: as many sets of values in each, and the same numbers
    of epochs after which the best continue. A trial that does so continues at once,
    with its own state, and not when its whole round has ended (asynchronous successive
    halving); so it is one trial here, where KerasTuner has one for each round.

    Args:
        max_epochs: how long a trial is trained at most. `epochs` of `search` is not
            used.
        factor: one in so many continues.
        hyperband_iterations: how often all brackets are gone through.

    References:
        Li et al., "Hyperband", JMLR 2018; "A System for Massively Parallel
        Hyperparameter Tuning", MLSys 2020.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_epochs: int = 100,
        factor: int = 3,
        hyperband_iterations: int = 1,
        seed: int | None = None,
        hyperparameters: Any = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        **kwargs: Any,
    ):
        refuse_fixed(kwargs, "Hyperband", "max_trials", "pruner")
        whole("hyperband_iterations", hyperband_iterations)
        brackets = Brackets(max_epochs, factor)
        super().__init__(
            hypermodel,
            objective,
            hyperband_iterations * brackets.trials,
            max_retries_per_trial,
            pruner=brackets,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **kwargs,
        )
        self._max_epochs = max_epochs

    def _epochs(self, given: dict[str, Any]) -> int:
        given.pop("epochs", None)
        return self._max_epochs
