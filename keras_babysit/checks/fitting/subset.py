"""Picks a few samples that have a bit of everything, and repeats them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_babysit.inspection.rows import leaves, spread
from keras_babysit.inspection.sample import Sample

#: More distinct whole numbers than this share of the samples are no classes.
_MOST_CLASSES = 0.5
#: Bytes that repeated samples may take, and how often they are repeated at most.
_MOST_BYTES, _MOST_REPEATS = 2**26, 25


def balanced(sample: Sample, n: int) -> Sample:
    """Returns `n` of the samples, of as many classes as possible, in their order.

    Samples with a weight come before those without.
    """
    if sample.size <= n:
        return sample
    labels = _labels(sample)
    order = np.arange(sample.size)
    weighted = _weighted(sample)
    if labels is None:
        at = order[weighted] if weighted.sum() >= n else order
        return sample.at(at[spread(len(at), n)])
    # The first of each class, then the second of each, and so on.
    turn = np.zeros(sample.size, int)
    for label in np.unique(labels):
        for part in (weighted, ~weighted):
            at = (labels == label) & part
            turn[at] = np.arange(at.sum()) + (0 if part is weighted else sample.size)
    return sample.at(np.sort(np.lexsort((order, turn))[:n]))


def fitting(model: keras.Model, sample: Sample) -> Sample:
    """Returns as many of the samples as a model with a fixed batch size takes."""
    inputs = getattr(model, "inputs", None) or ()
    sizes = {t.shape[0] for t in inputs if len(t.shape) and t.shape[0] is not None}
    if not sizes:
        return sample
    size = int(sizes.pop())
    return sample.at(np.arange(size) % sample.size)


def repeated(sample: Sample) -> tuple[Sample, int]:
    """Returns samples several times over, and how often.

    An epoch that is a single step takes longer to begin than to do.
    """
    parts = (sample.x, sample.y, sample.sample_weight)
    size = sum(a.nbytes for part in parts for _, a in leaves("", part))
    times = int(np.clip(_MOST_BYTES // max(size, 1), 1, _MOST_REPEATS))
    again = sample.map(lambda a: np.concatenate([a] * times), times * sample.size)
    return again, times


def _labels(sample: Sample) -> np.ndarray | None:
    """The class of each sample, by the first target that has classes."""
    for _, target in leaves("y", sample.y):
        values = np.asarray(target)
        if values.dtype.kind not in "biuf":
            continue
        if values.ndim == 2 and values.shape[1] > 1:
            if (values.sum(1) == 1).all() and np.isin(values, (0, 1)).all():
                return values.argmax(1)
            continue
        if values.size != sample.size or (values != np.round(values)).any():
            continue
        labels = values.reshape(-1)
        if 1 < len(np.unique(labels)) <= max(2, _MOST_CLASSES * sample.size):
            return labels
    return None


def _weighted(sample: Sample) -> np.ndarray:
    found = np.zeros(sample.size, bool)
    weights: list[Any] = [w for _, w in leaves("w", sample.sample_weight)]
    for weight in weights:
        found |= (np.asarray(weight).reshape(sample.size, -1) > 0).any(1)
    return found if weights else ~found
