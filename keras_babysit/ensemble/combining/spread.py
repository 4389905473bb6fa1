"""How far members disagree about each sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_babysit.ensemble.outputs.averages import probabilities
from keras_babysit.ensemble.outputs.combination import Combination


@dataclass(frozen=True)
class Spread:
    """What members think of samples, and how far they disagree.

    Attributes:
        mean: weighted mean of the members' probabilities or values, float64 array of
            the shape of the output, `(n, ...)`.
        std: weighted population standard deviation over the members, of the same shape
            and in the output's unit; 0 for a lone member.
        entropy: entropy of the mean probabilities in nats, shape `(n, ...)` without the
            axis of the classes: all of the uncertainty. `None` for values.
        mutual_information: that part of it on which the members disagree: entropy of
            the mean less the mean of the members' entropies, in nats, 0 or above. It
            falls with more training data; the rest is noise in the labels. `None` for
            values.

    References:
        Depeweg et al.: Decomposition of Uncertainty in Bayesian Deep Learning for
        Efficient and Risk-sensitive Learning (2018), eq. 1; Lakshminarayanan, Pritzel
        and Blundell (2017) for ensembles.
    """

    mean: np.ndarray
    std: np.ndarray
    entropy: np.ndarray | None = None
    mutual_information: np.ndarray | None = None


def spreads(made: Iterable[Any], combination: Combination) -> list[Spread]:
    """Returns the spread of each output."""
    predictions = [
        [probabilities(one, form) for one, form in zip(own, forms, strict=True)]
        for own, forms in zip(
            map(keras.tree.flatten, made), combination.forms, strict=True
        )
    ]
    return [
        spread_of(column, combination.weights, form.kind)
        for column, form in zip(
            zip(*predictions, strict=True), combination.forms[0], strict=True
        )
    ]


def spread_of(predictions: Sequence[Any], weights: np.ndarray, kind: str) -> Spread:
    """Returns the spread of members' predictions of one output.

    Args:
        predictions: of each member, probabilities or values of shape `(n, ...)`.
        weights: of each member, summing to one.
        kind: `"categorical"`, `"binary"` (each value is a probability of its own) or
            `"values"`.
    """
    p = np.asarray(predictions, float)
    mean = np.tensordot(weights, p, axes=1)
    std = np.sqrt(np.tensordot(weights, (p - mean) ** 2, axes=1))
    if kind == "values":
        return Spread(mean, std)
    total = entropy(mean, kind)
    own = np.tensordot(weights, np.array([entropy(one, kind) for one in p]), axes=1)
    # Rounding alone makes it negative.
    return Spread(mean, std, total, np.maximum(total - own, 0.0))


def entropy(chances: Any, kind: str = "categorical") -> np.ndarray:
    """Returns the entropy of probabilities in nats.

    Args:
        chances: float array of shape `(..., classes)`, probabilities; for `"binary"`
            of any shape, each that of class 1. A last axis of one is dropped.
        kind: `"categorical"` or `"binary"`.
    """
    p = np.asarray(chances, float)
    if kind == "binary":
        each = _surprise(p) + _surprise(1 - p)
        return each[..., 0] if each.ndim > 1 and each.shape[-1] == 1 else each
    return _surprise(p).sum(-1)


def _surprise(p: np.ndarray) -> np.ndarray:
    """−p log p, whose limit at 0 is 0."""
    p = np.clip(p, 0.0, 1.0)
    return -p * np.log(np.where(p > 0, p, 1.0))
