"""What rules ask of an array: its size, and how much of it was seen. No rules here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_babysit.facts import ArrayFacts, DataFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.connections import class_counts


def samples_seen(array: ArrayFacts, data: DataFacts) -> str:
    """Says how many samples a statement rests on."""
    known = data.rows if data.source == "arrays" else None
    if known == array.seen:
        return f"all {array.seen:,} samples"
    return f"{array.seen:,} samples" + (f" of {known:,}" if known else "")


def root_mean_square(array: ArrayFacts) -> float:
    """Returns the root mean square of all values."""
    return math.hypot(array.mean, array.std)


def feature_rms(array: ArrayFacts) -> np.ndarray:
    """Returns the root mean square of each feature, where that is finite."""
    found = np.hypot(array.feature_mean, array.feature_std)
    return found[np.isfinite(found)]


SHUFFLE = (
    "shuffle first: `i = np.random.default_rng(0).permutation(len(y)); x, y = x[i], "
    "y[i]`"
)


def first_classes(history: RunHistory) -> dict[int, int]:
    """How often each class occurs in the first target, if it is one of classes."""
    data = history.data
    if data is None or not data.targets:
        return {}
    return class_counts(data.targets[0])


def is_rich(inputs: Sequence[ArrayFacts]) -> bool:
    """Whether two samples can hardly be the same by accident.

    A few categories or small numbers make equal rows all the time; pictures, long
    series and measured quantities do not.
    """
    for x in inputs:
        if x.dtype == "string" or x.one_hot or x.seen < 2 or not x.std > 0:
            continue
        many = not x.counts or len(x.counts) > 50
        if (many and not x.whole) or _bits(x) >= 64:
            return True
    return False


def _bits(x: ArrayFacts) -> float:
    """Entropy of a sample, were its values independent."""
    total = sum(x.counts.values())
    shares = [n / total for n in x.counts.values() if n > 0] if total > 0 else []
    # Without counts, more than a thousand values: ten bits.
    each = -sum(p * math.log2(p) for p in shares) if shares else 10.0
    return each * math.prod(x.shape)
