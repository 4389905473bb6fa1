"""The training data of a fit over the whole set: the same batches every time."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any

import numpy as np
from keras.src.trainers.data_adapters import get_data_adapter

from keras_babysit.backend import load
from keras_babysit.errors import rereadable

_ARRAYS = "ArrayDataAdapter"


def batches_of(
    x: Any, y: Any, sample_weight: Any, class_weight: Any, batch_size: int
) -> Iterable[tuple]:
    """Returns the training data in batches, to be iterated again and again.

    Arrays are made into tensors once; a dataset is iterated again each time.

    Args:
        x: what `fit` takes, but for generators.
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays.
        class_weight: dict of class index to weight.
        batch_size: size of a batch, of arrays.

    Raises:
        ValueError: if `x` is a generator, or never ends.
    """
    adapter = get_data_adapter(
        x, y, sample_weight, batch_size=batch_size, class_weight=class_weight
    )
    batches = load("autodiff").batches_of(adapter)
    return list(batches) if type(adapter).__name__ == _ARRAYS else batches


def check_repeatable(x: Any) -> None:
    """Makes sure that data can be read more than once, and to its end."""
    if isinstance(x, types.GeneratorType) or hasattr(x, "__next__"):
        raise ValueError(
            "`x` must be data that can be read again: every evaluation of the loss "
            f"reads all of it. Use {rereadable()}. Received: {type(x).__name__}"
        )
    if _is_endless(x):
        raise ValueError(
            "`x` must end: the loss is that of all samples. Leave out `.repeat()`, or "
            f"use `.take(n)`. Received: {type(x).__name__} without an end"
        )


def _is_endless(x: Any) -> bool:
    cardinality = getattr(x, "cardinality", None)
    if callable(cardinality) and not isinstance(x, np.ndarray):
        return int(np.asarray(cardinality())) == -1  # tf.data.INFINITE_CARDINALITY
    if hasattr(x, "py_dataset") or hasattr(type(x), "num_batches"):
        return getattr(x, "num_batches", 0) is None
    return False
