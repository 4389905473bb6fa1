"""Norms, moments and histograms of tensors: pure functions over `keras.ops`.

All of them work in float32, inside or outside a compiled graph, on any backend.
Half-precision input is widened first, so that sums neither overflow nor stall.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

Tensor = Any

#: Number of histogram bins, as TensorBoard's own summaries have by default.
BINS = 30
#: Tensors with more elements than this have their histogram taken from a sample.
SAMPLE_ABOVE = 1 << 14
#: Size of that sample.
SAMPLE_SIZE = 1 << 14


def flat(x: Tensor) -> Tensor:
    """Returns `x` as a float32 vector."""
    return ops.reshape(ops.cast(x, "float32"), (-1,))


def size(x: Tensor) -> Tensor:
    """Returns the number of elements of `x` as a float32 scalar."""
    known = getattr(x, "shape", ())
    if all(isinstance(n, int) for n in known):
        return ops.convert_to_tensor(float(np.prod(known, dtype=float)), "float32")
    counts = [ops.cast(n, "float32") for n in ops.shape(x)]
    return ops.prod(ops.stack(counts))


def norm(x: Tensor) -> Tensor:
    """L2 norm of all elements, without overflow or underflow on the way.

    Squares of float32 values below 1e-23 vanish and above 1e19 overflow, both of
    which real gradients reach; so the elements are scaled by the largest first.

    Args:
        x: tensor of any shape and floating dtype.

    Returns:
        float32 scalar; NaN if `x` has a NaN, infinite if it has an infinity.
    """
    x = flat(x)
    largest = ops.max(ops.abs(x), initial=0.0)
    scale = ops.where(ops.logical_and(largest > 0, ops.isfinite(largest)), largest, 1.0)
    return scale * ops.sqrt(ops.sum(ops.square(x / scale)))


def describe(x: Tensor) -> Tensor:
    """Summary of one tensor: size, NaNs, infinities, norm, min, max, mean, std.

    Minimum, maximum, mean and (population) standard deviation are those of the
    finite elements; NaN if there are none.

    Args:
        x: tensor of any shape and floating dtype.

    Returns:
        float32 tensor of shape `(8,)`, in the order of `records.TENSOR_STATS`.
    """
    x = flat(x)
    total = size(x)
    low, high = ops.min(x, initial=np.inf), ops.max(x, initial=-np.inf)
    mean, square = ops.sum(x) / total, ops.sum(ops.square(x))
    variance = square / total - ops.square(mean)
    # Neither NaNs nor infinities, and squares well inside float32: nearly always.
    # Then a few passes over the tensor say it all; else it takes twice as many.
    zero = ops.logical_and(low == 0, high == 0)
    plain = ops.logical_and(
        ops.isfinite(square), ops.logical_or(square > 1e-24 * total, zero)
    )
    # The difference of two squares is exact enough where neither dwarfs it.
    quick = ops.logical_and(
        plain, ops.logical_or(ops.square(mean) <= 4 * variance, zero)
    )

    def row(variance: Tensor) -> Tensor:
        none = ops.zeros_like(total)
        deviation = ops.sqrt(ops.maximum(variance, 0.0))
        return ops.stack(
            [total, none, none, ops.sqrt(square), low, high, mean, deviation]
        )

    return ops.cond(
        quick,
        lambda: row(variance),
        lambda: ops.cond(
            plain,
            lambda: row(ops.sum(ops.square(x - mean)) / total),
            lambda: _describe_any(x),
        ),
    )


def _describe_any(x: Tensor) -> Tensor:
    """`describe` for a vector with non-finite, huge or tiny elements."""
    finite = ops.isfinite(x)
    nans = ops.sum(ops.cast(ops.isnan(x), "float32"))
    count = ops.sum(ops.cast(finite, "float32"))
    total = size(x)
    infs = total - count - nans
    low = ops.min(ops.where(finite, x, np.inf), initial=np.inf)
    high = ops.max(ops.where(finite, x, -np.inf), initial=-np.inf)
    some = count > 0
    # Scaled to [-1, 1], squares stay inside float32 whatever the magnitude.
    largest = ops.where(some, ops.maximum(ops.abs(low), ops.abs(high)), 0.0)
    scale = ops.where(largest > 0, largest, 1.0)
    z = ops.where(finite, x / scale, 0.0)
    z_norm = ops.sqrt(ops.sum(ops.square(z)))
    divisor = ops.maximum(count, 1.0)
    z_mean = ops.sum(z) / divisor
    z_var = ops.sum(ops.where(finite, ops.square(z - z_mean), 0.0)) / divisor
    # Tensors, not 0.0: two Python numbers make one of Keras's default dtype.
    none = ops.zeros_like(total)
    not_finite = ops.where(infs > 0, np.inf, none) + ops.where(nans > 0, np.nan, none)
    nothing = ops.where(some, none, np.nan)
    return ops.stack(
        [
            total,
            nans,
            infs,
            scale * z_norm + not_finite,
            ops.where(some, low, np.nan),
            ops.where(some, high, np.nan),
            scale * z_mean + nothing,
            scale * ops.sqrt(z_var) + nothing,
        ]
    )


def fraction(condition: Tensor) -> Tensor:
    """Share of true elements, a float32 scalar (NaN for an empty tensor)."""
    return ops.mean(ops.cast(condition, "float32"))


def sample(x: Tensor, n: int = SAMPLE_SIZE) -> Tensor:
    """`n` elements of `x` at fixed pseudo-random positions, as a float32 vector.

    The positions are the same at every call, drawn once from NumPy's own
    generator with a fixed seed: no random state of the training is touched, and
    no regular stride can fall in step with the channel layout.

    Args:
        x: tensor of any shape.
        n: sample size; elements can be drawn more than once.

    Returns:
        float32 tensor of shape `(n,)`.
    """
    x = flat(x)
    where = np.random.default_rng(0).random(n, dtype=np.float32)
    last = ops.maximum(size(x) - 1, 0.0)
    return ops.take(x, ops.cast(where * last, "int32"))


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
    x = flat(x)
    finite = ops.isfinite(x)
    low = ops.min(ops.where(finite, x, np.inf), initial=np.inf)
    high = ops.max(ops.where(finite, x, -np.inf), initial=-np.inf)
    some = high >= low
    low, high = ops.where(some, low, np.nan), ops.where(some, high, np.nan)
    # Halves, because high - low itself can overflow.
    width = high / 2 - low / 2
    position = (x / 2 - low / 2) / ops.where(width > 0, width, 1.0)
    position = ops.where(width > 0, position, 1.0)
    index = ops.floor(ops.where(finite, position, 0.0) * bins)
    index = ops.cast(ops.clip(index, 0, bins - 1), "int32")
    # Non-finite elements go to a bin of their own, which is cut off.
    index = ops.where(finite, index, bins)
    counts = ops.segment_sum(ops.ones_like(index), index, num_segments=bins + 1)
    counts = ops.cast(counts[:bins], "float32")
    return ops.concatenate([ops.stack([low, high]), counts])


def bounded_histogram(x: Tensor, bins: int = BINS) -> Tensor:
    """Like `histogram`, from a sample where `x` is large.

    Args:
        x: tensor of any shape and floating dtype.
        bins: number of bins.

    Returns:
        float32 tensor of shape `(bins + 2,)`.
    """
    return histogram(sample(x) if is_sampled(x) else x, bins)


def is_sampled(x: Tensor) -> bool:
    """Whether `bounded_histogram` takes a sample of `x`.

    Dimensions that are unknown while tracing count as 64, a common batch.
    """
    return int(np.prod([n or 64 for n in x.shape], dtype=float)) > SAMPLE_ABOVE
