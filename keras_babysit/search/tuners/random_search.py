"""`RandomSearch`, as in KerasTuner."""

from __future__ import annotations

from typing import Any

from keras_babysit.search.names import refuse_fixed
from keras_babysit.search.tuners.tuner import Tuner


class RandomSearch(Tuner):
    """Random search with KerasTuner's arguments; see `Tuner` and `Search`.

    Example:
    ```python
    tuner = keras_babysit.search.RandomSearch(make_model, "val_accuracy", max_trials=5)
    tuner.search(x, y, epochs=3, validation_data=(x_val, y_val))
    model = tuner.get_best_models()[0]
    ```
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int = 10,
        seed: int | None = None,
        hyperparameters: Any = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        **kwargs: Any,
    ):
        refuse_fixed(kwargs, "RandomSearch")
        super().__init__(
            hypermodel,
            objective,
            max_trials,
            max_retries_per_trial,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **kwargs,
        )
