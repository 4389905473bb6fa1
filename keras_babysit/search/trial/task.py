"""What all trials of a search share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner

from keras_babysit.search.trials import Objective


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
    babysit: bool = True
    stop_on_error: bool = True
    verbose: int = 0

    @property
    def own_fit(self) -> bool:
        """Whether the hypermodel has a `fit` of its own."""
        return has_own_fit(self.hypermodel)


def has_own_fit(hypermodel: Any) -> bool:
    """Whether a `HyperModel` trains its models by a `fit` of its own."""
    fit = getattr(type(hypermodel), "fit", None)
    return fit is not None and fit is not keras_tuner.HyperModel.fit
