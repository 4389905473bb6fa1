"""Keras's own layers that average what members put out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_babysit.ensemble.outputs.averages import SMALLEST
from keras_babysit.ensemble.outputs.forms import OutputForm


def averaged(
    tensors: Sequence[Any],
    forms: Sequence[OutputForm],
    weights: np.ndarray,
    average: str,
    name: str,
) -> Any:
    """Returns the weighted average of symbolic tensors, made by standard layers.

    In float32, whatever the members compute in; in float64 if one of them does.
    """
    dtypes = [keras.backend.standardize_dtype(t.dtype) for t in tensors]
    dtype = "float64" if "float64" in dtypes else "float32"
    kind = forms[0].kind
    if average == "probabilities":
        parts = [
            _function(kind, dtype)(t) if form.logits else t
            for t, form in zip(tensors, forms, strict=True)
        ]
        return _weighted(parts, weights, dtype, name)
    if average == "mean":
        return _weighted(tensors, weights, dtype, name)
    parts = [
        t if form.logits else _logits(t, kind, dtype)
        for t, form in zip(tensors, forms, strict=True)
    ]
    if average == "logits":
        return _weighted(parts, weights, dtype, name)
    return _function(kind, dtype, name)(
        _weighted(parts, weights, dtype, f"{name}_logits")
    )


def _function(kind: str, dtype: str, name: str | None = None) -> Any:
    if kind == "binary":
        return keras.layers.Activation("sigmoid", dtype=dtype, name=name)
    return keras.layers.Softmax(dtype=dtype, name=name)


def _logits(tensor: Any, kind: str, dtype: str) -> Any:
    """Logits of probabilities; of one class out of several, up to a constant."""
    p = keras.ops.cast(tensor, dtype)

    def log(values: Any) -> Any:
        return keras.ops.log(keras.ops.clip(values, SMALLEST, 1.0))

    return log(p) - log(1 - p) if kind == "binary" else log(p)


def _weighted(
    tensors: Sequence[Any], weights: np.ndarray, dtype: str, name: str
) -> Any:
    layers = keras.layers
    if len(tensors) == 1:
        return layers.Activation("linear", dtype=dtype, name=name)(tensors[0])
    if np.ptp(weights) == 0:
        return layers.Average(dtype=dtype, name=name)(list(tensors))
    parts = [
        layers.Rescaling(float(weight), dtype=dtype, name=f"{name}_weight_{number}")(t)
        for number, (t, weight) in enumerate(zip(tensors, weights, strict=True), 1)
    ]
    return layers.Add(dtype=dtype, name=name)(parts)
