"""Norms, moments and histograms of tensors: pure functions over `keras.ops`.

All of them work in float32, inside or outside a compiled graph, on any backend; given
NumPy arrays, they compute with NumPy, which needs neither a trace nor a compiler.
Half-precision input is widened first, so that sums neither overflow nor stall.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, cast

import numpy as np
from keras import ops

Tensor = Any

#: Number of histogram bins, as TensorBoard's own summaries have by default.
BINS = 30
#: Tensors with more elements than this have their histogram taken from a sample.
SAMPLE_ABOVE = 1 << 14
#: Size of that sample.
SAMPLE_SIZE = 1 << 14

#: Calls a `shared` function; a backend may compile it once for all that call it.
sharing: ContextVar[Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]] = (
    ContextVar("sharing", default=lambda function, x: function(x))
)


def shared(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Marks a function of rows `(k, n)` as a part of several others."""

    @functools.wraps(function)
    def call(x: Tensor) -> Tensor:
        return sharing.get()(function, x)

    return call


class _NumPy:
    """Those functions of `keras.ops` that describe tensors, for NumPy arrays."""

    cast = staticmethod(np.asarray)
    convert_to_tensor = staticmethod(np.asarray)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def cond(condition: Any, true: Callable[[], Any], false: Callable[[], Any]) -> Any:
        return true() if condition else false()

    @staticmethod
    def segment_sum(data: Any, segment_ids: Any, num_segments: int) -> Any:
        return np.bincount(segment_ids, data, num_segments)


_numpy = _NumPy()


def namespace(x: Tensor) -> ModuleType:
    """What to compute with: `keras.ops`, or functions like it for a NumPy array.

    The latter hold back no warning: `np.errstate` is for the caller.
    """
    return cast(ModuleType, _numpy) if isinstance(x, np.ndarray) else ops


def flat(x: Tensor) -> Tensor:
    """Returns `x` as a float32 vector."""
    ops = namespace(x)
    return ops.reshape(ops.cast(x, "float32"), (-1,))


def describe(x: Tensor) -> Tensor:
    """Summary of one tensor: size, NaNs, infinities, norm, min, max, mean, std.

    Minimum, maximum, mean and (population) standard deviation are those of the
    finite elements; NaN if there are none.

    Args:
        x: tensor of any shape and floating dtype.

    Returns:
        float32 tensor of shape `(8,)`, in the order of `records.TENSOR_STATS`.
    """
    return describe_rows(flat(x)[None])[0]


@shared
def describe_rows(x: Tensor) -> Tensor:
    """`describe` for many tensors of one size at once, which takes fewer operations.

    Args:
        x: float32 tensor of shape `(k, n)`, a row for each tensor.

    Returns:
        float32 tensor of shape `(k, 8)`.
    """
    ops = namespace(x)
    low, high = _range(x)
    total = ops.zeros_like(low) + _length(x)
    mean, square = _sum(x) / total, _sum(ops.square(x))
    variance = square / total - ops.square(mean)
    # Neither NaNs nor infinities, squares well inside float32, and a difference of
    # two squares that neither dwarfs: nearly always. Then a few passes over the tensor
    # say it all; else it takes twice as many.
    zero = ops.logical_and(low == 0, high == 0)
    plain = ops.logical_and(square > 1e-24 * total, ops.square(mean) <= 4 * variance)
    quick = ops.logical_and(ops.isfinite(square), ops.logical_or(plain, zero))

    def table() -> Tensor:
        none = ops.zeros_like(total)
        deviation = ops.sqrt(ops.maximum(variance, 0.0))
        columns = [total, none, none, ops.sqrt(square), low, high, mean, deviation]
        return ops.concatenate(columns, 1)

    return ops.cond(ops.all(quick), table, lambda: _describe_any(x))


# Columns keep their axis: slicing one back in takes four operations of a graph.


def _sum(x: Tensor) -> Tensor:
    return namespace(x).sum(x, 1, keepdims=True)


def _range(x: Tensor) -> tuple[Tensor, Tensor]:
    ops = namespace(x)
    if 0 in tuple(x.shape):  # With PyTorch, Keras forgets how many rows there were.
        none = _sum(x)
        return none + np.inf, none - np.inf
    low = ops.min(x, 1, keepdims=True, initial=np.inf)
    return low, ops.max(x, 1, keepdims=True, initial=-np.inf)


def _finite_range(x: Tensor, finite: Tensor) -> tuple[Tensor, Tensor]:
    ops = namespace(x)
    if 0 in tuple(x.shape):
        return _range(x)
    low = ops.min(ops.where(finite, x, np.inf), 1, keepdims=True, initial=np.inf)
    high = ops.max(ops.where(finite, x, -np.inf), 1, keepdims=True, initial=-np.inf)
    return low, high


def _length(x: Tensor) -> Tensor:
    """The size of a row, as a float32 scalar."""
    ops = namespace(x)
    return ops.cast(ops.shape(x)[1], "float32")


def _describe_any(x: Tensor) -> Tensor:
    """`describe_rows` for rows with non-finite, huge or tiny elements."""
    ops = namespace(x)
    finite = ops.isfinite(x)
    nans = _sum(ops.cast(ops.isnan(x), "float32"))
    count = _sum(ops.cast(finite, "float32"))
    total = ops.zeros_like(count) + _length(x)
    infs = total - count - nans
    low, high = _finite_range(x, finite)
    some = count > 0
    # Scaled to [-1, 1], squares stay inside float32 whatever the magnitude.
    largest = ops.where(some, ops.maximum(ops.abs(low), ops.abs(high)), 0.0)
    scale = ops.where(largest > 0, largest, 1.0)
    z = ops.where(finite, x / scale, 0.0)
    z_norm = ops.sqrt(_sum(ops.square(z)))
    divisor = ops.maximum(count, 1.0)
    z_mean = _sum(z) / divisor
    z_var = _sum(ops.where(finite, ops.square(z - z_mean), 0.0)) / divisor
    # Tensors, not 0.0: two Python numbers make one of Keras's default dtype.
    none = ops.zeros_like(total)
    not_finite = ops.where(infs > 0, np.inf, none) + ops.where(nans > 0, np.nan, none)
    nothing = ops.where(some, none, np.nan)
    columns = [
        total,
        nans,
        infs,
        scale * z_norm + not_finite,
        low + nothing,
        high + nothing,
        scale * z_mean + nothing,
        scale * ops.sqrt(z_var) + nothing,
    ]
    return ops.concatenate(columns, 1)


def histogram(x: Tensor, bins: int = BINS) -> Tensor:
    """Counts of the finite elements in equal bins from smallest to largest.

    A bin holds its left edge and not its right one; the last bin holds both. If
    all elements are equal they are counted in the last bin.

    Args:
        x: tensor of any shape and floating dtype.
        bins: number of bins.

    Returns:
        float32 tensor of shape `(bins + 2,)`: smallest, largest, counts. The
        edges are NaN and the counts zero if no element is finite.
    """
    return _histograms(flat(x)[None], bins)[0]


def _histograms(x: Tensor, bins: int) -> Tensor:
    """`histogram` of each row: `(k, n)` to `(k, bins + 2)`."""
    ops = namespace(x)
    finite = ops.isfinite(x)
    low, high = _finite_range(x, finite)
    nothing = ops.where(high >= low, ops.zeros_like(low), np.nan)
    low, high = low + nothing, high + nothing
    # Halves, because high - low itself can overflow.
    start = low / 2
    width = high / 2 - start
    wide = width > 0
    position = ops.where(wide, (x / 2 - start) / ops.where(wide, width, 1.0), 1.0)
    index = ops.floor(ops.where(finite, position, 0.0) * bins)
    index = ops.cast(ops.clip(index, 0, bins - 1), "int32")
    # Non-finite elements go to a bin of their own, which is cut off.
    index = ops.where(finite, index, bins)
    rows = ops.shape(x)[0]
    first = ops.reshape(ops.arange(rows, dtype="int32") * (bins + 1), (-1, 1))
    index = ops.reshape(index + first, (-1,))
    counts = ops.segment_sum(
        ops.ones_like(index), index, num_segments=rows * (bins + 1)
    )
    counts = ops.reshape(ops.cast(counts, "float32"), (rows, bins + 1))
    return ops.concatenate([low, high, counts[:, :bins]], 1)


@shared
def histogram_rows(x: Tensor) -> Tensor:
    """Histograms of many tensors of one size, of a sample where they are large.

    The sample is of `SAMPLE_SIZE` elements at fixed pseudo-random positions. These
    are the same at every call, drawn once from NumPy's own generator with a fixed
    seed: no random state of the training is touched, and no regular stride can fall
    in step with the channel layout. Elements can be drawn more than once.

    Args:
        x: float32 tensor of shape `(k, n)`, a row for each tensor.

    Returns:
        float32 tensor of shape `(k, BINS + 2)`, rows as those of `histogram`.
    """
    ops = namespace(x)

    def sample() -> Tensor:
        drawn = np.random.default_rng(0).random(SAMPLE_SIZE, dtype=np.float32)
        where = ops.convert_to_tensor(drawn)
        last = ops.maximum(_length(x) - 1, 0.0)
        return ops.take(x, ops.cast(where * last, "int32"), axis=1)

    large = ops.shape(x)[1] > SAMPLE_ABOVE
    if isinstance(large, bool):  # Where the size is known, only one of them is made.
        return _histograms(sample() if large else x, BINS)
    return _histograms(ops.cond(large, sample, lambda: x), BINS)


def table_rows(x: Tensor) -> Tensor:
    """Everything that is recorded of most tensors.

    Args:
        x: float32 tensor of shape `(k, n)`, a row for each tensor.

    Returns:
        float32 tensor of shape `(k, 8 + 1 + BINS + 2)`: `describe_rows`, the share of
        zeros, `histogram_rows`.
    """
    ops = namespace(x)
    stats = describe_rows(x)
    zeros = _sum(ops.cast(ops.equal(x, 0.0), "float32")) / _length(x)
    return ops.concatenate([stats, zeros, histogram_rows(x)], 1)
