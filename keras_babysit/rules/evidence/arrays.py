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
    """Whether two samples are unlikely to be the same by accident.

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


#: The largest distance from the mean, in standard deviations, of values whose
#: standard deviation a few samples show.
_TAIL = 20
#: So many values are never all on one side of zero by accident.
_MANY = 1_000


def out_of_scale(x: ArrayFacts, other: ArrayFacts, size: float, shift: float) -> bool:
    """Whether an array is scaled otherwise than another one.

    Args:
        x: the training data's.
        other: the validation data's.
        size: how many times as large it is.
        shift: how far the mean is away, in standard deviations.
    """
    here, there = root_mean_square(x), root_mean_square(other)
    if not min(here, there) > 0:
        return False
    if abs(other.mean - x.mean) > shift * x.std > 0:
        return True
    tail = x if here > there else other
    if max(tail.max - tail.mean, tail.mean - tail.min) > _TAIL * tail.std:
        return False  # A few outliers make up all of its size.
    return not 1 / size < there / here < size or _on_one_side(x, other)


def _on_one_side(x: ArrayFacts, other: ArrayFacts) -> bool:
    """Whether one of them only is never negative, and lies elsewhere."""
    if min(a.seen * math.prod(a.shape) for a in (x, other)) < _MANY:
        return False
    a, b = (x, other) if x.min > other.min else (other, x)
    apart = abs(a.mean - b.mean) > 0.5 * min(a.std, b.std)
    return a.min >= 0 and b.min < -0.25 * abs(b.max) and apart


def columns_moved(
    x: ArrayFacts, other: ArrayFacts, size: float, shift: float
) -> tuple[np.ndarray, bool]:
    """Which columns of a table are not those of another one.

    Args:
        x: the training data's.
        other: the validation data's.
        size: how many times as large as before a column is, in its deviation.
        shift: how far its mean is away, in standard deviations.

    Returns:
        Indices of columns, and whether they are another one's each.
    """
    from scipy.optimize import linear_sum_assignment

    none = np.zeros(0, int), False
    sizes = {len(a) for a in (x.feature_std, other.feature_std, x.feature_mean)}
    if len(x.shape) != 1 or sizes != {x.features} or not 2 <= x.features <= 1_000:
        return none
    fine = np.ones(x.features, bool)
    for one in (x, other):
        low, high = (
            one.feature_min - one.feature_mean,
            one.feature_max - one.feature_mean,
        )
        fine &= np.maximum(high, -low) < _TAIL * one.feature_std
    at = np.flatnonzero(fine)
    mean, std = other.feature_mean[at][:, None], other.feature_std[at][:, None]
    moved = np.abs(mean - x.feature_mean[at])
    distance = np.maximum(
        moved / x.feature_std[at] / shift,
        np.abs(np.log(std / x.feature_std[at])) / math.log(size),
    )
    far = np.diag(distance) > 0.5
    # Noise alone makes a column larger, and does not move it.
    apart = np.diag(moved) > shift * np.minimum(x.feature_std[at], std[:, 0])
    part = distance[np.ix_(far, far)]
    if not part.size:
        return none
    assigned = part[linear_sum_assignment(part)]
    # What belongs to a column that was left out has no other one to belong to.
    order = (apart & far).sum() > 1 and bool(
        (np.quantile(assigned, (0.5, 0.8)) < (0.25, 0.5)).all()
    )
    return (at[far], True) if order else (at[apart & (np.diag(distance) > 1)], False)
