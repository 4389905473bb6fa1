"""What models predict, one model after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np


def predict(model: keras.Model, x: Any, batch_size: int | None = None) -> Any:
    """Returns what a model predicts, in the structure of its outputs."""
    return model.predict(x, batch_size=batch_size, verbose=0)


def predicted(
    model: keras.Model, x: Any, batch_size: int | None = None
) -> list[np.ndarray]:
    """Returns what a model predicts: an array for each output, flat."""
    made = predict(model, x, batch_size)
    return [np.asarray(one) for one in keras.tree.flatten(made)]


def of_each(
    models: Iterable[keras.Model], x: Any, batch_size: int | None = None
) -> Iterator[Any]:
    """Yields what each model predicts, in the structure of its outputs."""
    for model in models:
        made = predict(model, x, batch_size)
        # It would outlive the loading of the next.
        del model
        yield made


def size_of(model: keras.Model) -> int:
    """Returns the bytes of a model's weights."""
    return sum(
        int(np.prod(v.shape)) * np.dtype(_numpy(v.dtype)).itemsize
        for v in model.weights
    )


def _numpy(dtype: Any) -> str:
    """A dtype of as many bytes that NumPy knows."""
    name = keras.backend.standardize_dtype(dtype)
    return {"bfloat16": "float16", "string": "object"}.get(name, name)
