"""What all trials of a search share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner

from keras_babysit.search.trials import Objective, Trial


@dataclass(frozen=True)
class Work:
    """What all trials of a search share; it can be sent to other processes.

    Attributes:
        hypermodel: a `keras_tuner.HyperModel`; its `fit` is used too.
        arguments: of `fit`, by name: `x`, `y`, `validation_data`, `callbacks`, ...
        objective: what is searched for.
        directory: folder of the search.
        folds: number of folds of a cross-validation; `None` for none.
        folds_seed: seed of the partition into folds.
        executions: how often each trial is trained, with other seeds.
        max_model_size: models with more trainable weights are not trained; `None` for
            no limit.
        allow_new_entries: whether a trial may ask for hyperparameters that its stage
            does not have.
        run_trial: what trains a trial instead: a function of the trial, its
            hyperparameters, and the function of `fit`'s arguments that builds and fits
            the hypermodel's model. `None` for that function alone.
        babysit: whether a `Babysitter` watches each trial.
        stop_on_error: whether its findings of severity `"error"` end a trial.
        verbose: of `fit`.
    """

    hypermodel: Any
    arguments: Mapping[str, Any]
    objective: Objective
    directory: str
    folds: int | None = None
    folds_seed: int = 0
    executions: int = 1
    max_model_size: int | None = None
    allow_new_entries: bool = True
    run_trial: Callable[[Trial, Any, Callable[[Mapping], Any]], Any] | None = None
    babysit: bool = True
    stop_on_error: bool = True
    verbose: int = 0

    @property
    def own_fit(self) -> bool:
        """Whether the user's code trains, not Keras's `fit` alone."""
        return self.run_trial is not None or has_own_fit(self.hypermodel)

    @property
    def parts(self) -> int:
        """How many trainings make up a trial: folds, or executions."""
        return self.folds or self.executions

    @property
    def part_name(self) -> str:
        """What one of them is called in the names of files."""
        return "fold" if self.folds else "execution"


def has_own_fit(hypermodel: Any) -> bool:
    """Whether a `HyperModel` trains its models by a `fit` of its own."""
    fit = getattr(type(hypermodel), "fit", None)
    return fit is not None and fit is not keras_tuner.HyperModel.fit
