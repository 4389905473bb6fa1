"""Rows of packed statistics, back on the host: replicas merged, as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_babysit import statistics
from keras_babysit.probes.probe import Describer, View
from keras_babysit.records import Histogram, TensorStats

#: Where in a row of `TABLE` the statistics, the zeros and the histogram are.
STATS, ZEROS, COUNTS = slice(8), 8, slice(9, 9 + statistics.BINS + 2)


def table(x: Any) -> list[Any]:
    """Statistics, zeros and histogram of tensors `(k, n)`."""
    return [statistics.table_rows(x)]


TABLE = Describer(table)


def describer(view: View) -> Describer:
    """Returns what describes any tensor."""
    return TABLE


def tensor_stats(rows: np.ndarray) -> TensorStats:
    """Merges what `statistics.describe` said of each replica's part of a tensor.

    Args:
        rows: float array of shape `(replicas, 8)`.

    Returns:
        The `TensorStats` of the parts taken together.
    """
    if len(rows) == 1:
        return TensorStats(*rows[0].tolist())
    rows = np.asarray(rows, np.float64)
    size, nan, inf, norm, low, high, mean, std = rows.T
    count = size - nan - inf
    some = count > 0
    total = max(count.sum(), 1.0)
    mid = float(np.sum((count * mean)[some]) / total) if some.any() else np.nan
    square = np.sum((count * (std**2 + (mean - mid) ** 2))[some]) / total
    return TensorStats(
        size=float(size.sum()),
        nan=float(nan.sum()),
        inf=float(inf.sum()),
        norm=float(np.sqrt(np.sum(norm**2))),
        min=float(low[some].min()) if some.any() else np.nan,
        max=float(high[some].max()) if some.any() else np.nan,
        mean=mid,
        std=float(np.sqrt(square)) if some.any() else np.nan,
    )


def unscaled(row: np.ndarray, scale: float, first: int) -> np.ndarray:
    """Returns a row of statistics with all from the `first` one on divided."""
    return np.concatenate([row[:first], row[first:] / scale])


def sampled(row: Sequence[float] | np.ndarray) -> int | None:
    """The size of a tensor if its histogram is of a sample; from its statistics."""
    return int(row[0]) if row[0] > statistics.SAMPLE_ABOVE else None


def histogram(row: np.ndarray, sampled_from: int | None = None) -> Histogram:
    """Returns one row of `statistics.histogram` as a record.

    Args:
        row: float array of shape `(bins + 2,)`.
        sampled_from: size of the tensor if the row is of a sample of it.
    """
    return Histogram(
        left=float(row[0]),
        right=float(row[1]),
        counts=np.array(row[2:], np.float64),
        sampled_from=sampled_from,
    )


def merged_histogram(parts: np.ndarray, sampled_from: int | None = None) -> Histogram:
    """Adds up the histograms of several replicas.

    Where their ranges differ, the counts of a bin are spread evenly over it.

    Args:
        parts: float array of shape `(replicas, bins + 2)`.
        sampled_from: as in `histogram`.
    """
    if len(parts) == 1 or np.isnan(parts[:, 0]).all():
        return histogram(parts[0], sampled_from)
    bins = parts.shape[1] - 2
    left, right = np.nanmin(parts[:, 0]), np.nanmax(parts[:, 1])
    edges = np.linspace(left, right, bins + 1)
    total = np.zeros(bins)
    for part in parts[~np.isnan(parts[:, 0])]:
        low, high, counts = part[0], part[1], part[2:]
        if high > low:
            below = np.concatenate([[0.0], np.cumsum(counts)])
            own = np.linspace(low, high, bins + 1)
            total += np.diff(np.interp(edges, own, below))
        else:
            at = np.searchsorted(edges, low, side="right") - 1
            total[min(max(at, 0), bins - 1)] += counts.sum()
    return Histogram(float(left), float(right), total, sampled_from)
