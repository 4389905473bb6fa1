"""The average of what members put out, in NumPy and float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_babysit.ensemble.outputs.forms import OutputForm

#: Probabilities below it count as it where their logarithm is taken.
SMALLEST = 1e-7


def probabilities(values: Any, form: OutputForm) -> np.ndarray:
    """Returns an output in float64, logits as the probabilities that they mean."""
    z = np.asarray(values, float)
    if not form.logits:
        return z
    if form.kind == "binary":
        # exp of what is not positive only: nothing overflows.
        small = np.exp(-np.abs(z))
        return np.where(z >= 0, 1.0, small) / (1 + small)
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def to_average(value: Any, form: OutputForm, average: str) -> np.ndarray:
    """Returns what is averaged of one member's output, float64."""
    if average == "probabilities":
        return probabilities(value, form)
    z = np.asarray(value, float)
    if average == "mean" or form.logits:
        return z
    return _log(z) - _log(1 - z) if form.kind == "binary" else _log(z)


def from_average(total: np.ndarray, kind: str, average: str) -> np.ndarray:
    """Returns what an ensemble puts out, of the average."""
    if average != "geometric":
        return total
    return probabilities(total, OutputForm(kind=kind, logits=True))


def _log(p: np.ndarray) -> np.ndarray:
    return np.log(np.clip(p, SMALLEST, 1.0))
