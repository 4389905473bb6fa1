"""Facts of a layer's weights: moments, fans, and whether they are as initialized."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_babysit.facts import WeightFacts

#: Weights with more elements are sampled: reading a gigabyte takes seconds.
MAX_ELEMENTS = 1_000_000
#: So many elements tell one distribution from another.
KS_SAMPLE = 4_000
#: Kolmogorov's point for one in a million: a large model has hundreds of weights.
KS_LIMIT = 2.7
#: Fewer elements than this look like anything.
KS_LEAST = 100
#: Above this, checking a matrix for orthogonality costs more than it tells.
MAX_ORTHOGONAL = 512 * 512

Cdf = Callable[[np.ndarray], np.ndarray]
_erf = np.vectorize(math.erf, otypes=[float])


def weight_facts(layer: Any, kind: str, variable: Any, trainable: bool) -> WeightFacts:
    """Returns the facts of one weight of a layer."""
    shape = tuple(variable.shape)
    role = variable.name
    fan_in, fan_out = fans(layer, kind, role, shape)
    values = read(variable)
    initializer = initializer_of(layer, role)
    # An LSTM adds ones for its forget gates to what the initializer gives.
    altered = role == "bias" and "LSTM" in kind
    return WeightFacts(
        path=variable.path,
        role=role,
        shape=shape,
        trainable=trainable,
        **_moments(values),
        fan_in=fan_in,
        fan_out=fan_out,
        initializer=type(initializer).__name__ if initializer is not None else None,
        as_initialized=None if altered else as_initialized(initializer, values, shape),
    )


def read(variable: Any) -> np.ndarray:
    """Returns a variable's values, flat; evenly spread ones of a huge variable."""
    size = math.prod(variable.shape)
    if size <= MAX_ELEMENTS:
        return _numpy(variable.value).ravel()
    stride = -(-size // MAX_ELEMENTS) + 1
    # A stride that shares a factor with the channels would miss some of them.
    while math.gcd(stride, variable.shape[-1]) > 1:
        stride += 1
    return _numpy(keras.ops.reshape(variable.value, (-1,))[::stride])


def _numpy(tensor: Any) -> np.ndarray:
    array = np.asarray(keras.ops.convert_to_numpy(tensor))
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _moments(values: np.ndarray) -> dict[str, float]:
    if not values.size:
        return dict.fromkeys(("mean", "std", "min", "max"), math.nan)
    with np.errstate(all="ignore"):  # A NaN among the weights is a rule's business.
        return {
            "mean": float(values.mean(dtype=float)),
            "std": float(values.std(dtype=float)),
            "min": float(values.min()),
            "max": float(values.max()),
        }


def fans(
    layer: Any, kind: str, role: str, shape: tuple[int, ...]
) -> tuple[int | None, int | None]:
    """Returns how many inputs one unit has, and how many outputs one input reaches.

    Unlike Keras's initializers it reads the axes of depthwise, transposed and einsum
    kernels as the layer uses them.
    """
    if "kernel" not in role or len(shape) < 2:
        return None, None
    if kind == "EinsumDense":
        return _einsum_fans(getattr(layer, "equation", ""), shape)
    receptive = math.prod(shape[:-2])
    inputs, outputs = shape[-2:]
    if kind.startswith("Depthwise") or role == "depthwise_kernel":
        return receptive, receptive * outputs
    if "Transpose" in kind:
        inputs, outputs = outputs, inputs
    return receptive * inputs, receptive * outputs


def _einsum_fans(
    equation: str, shape: tuple[int, ...]
) -> tuple[int | None, int | None]:
    operands, _, result = equation.replace("...", "").partition("->")
    kernel = operands.partition(",")[2]
    if len(kernel) != len(shape):
        return None, None
    sizes = dict(zip(kernel, shape, strict=True))
    inside = [size for axis, size in sizes.items() if axis not in result]
    outside = [size for axis, size in sizes.items() if axis in result]
    return math.prod(inside), math.prod(outside)


def initializer_of(layer: Any, role: str) -> Any:
    """Returns the initializer that a layer has for a weight, or `None`."""
    names = (
        role,
        role.removesuffix("_kernel"),
        "depthwise" if role == "kernel" else "",
    )
    for holder in (layer, getattr(layer, "cell", None)):
        for name in filter(None, names):
            found = getattr(holder, f"{name}_initializer", None)
            if found is not None and not isinstance(found, str):
                return found
    return None


def as_initialized(
    initializer: Any, values: np.ndarray, shape: tuple[int, ...]
) -> bool | None:
    """Returns whether values look drawn from an initializer, `None` if unknown."""
    init = keras.initializers
    if isinstance(initializer, init.Zeros):
        return bool((values == 0).all())
    if isinstance(initializer, init.Ones):
        return bool((values == 1).all())
    if isinstance(initializer, init.Constant):
        return _equals(values, initializer.value)
    if len(values) < KS_LEAST:
        return None
    if isinstance(initializer, init.Orthogonal):
        return _is_orthogonal(values, shape, initializer.gain)
    cdf = _cdf(initializer, shape)
    return None if cdf is None else _follows(values, cdf)


def _equals(values: np.ndarray, constant: Any) -> bool | None:
    # Layers that know their weights (`Embedding(weights=...)`) keep a whole array.
    wanted = np.asarray(constant, float)
    return bool(np.allclose(values, wanted)) if wanted.ndim == 0 else None


def _is_orthogonal(
    values: np.ndarray, shape: tuple[int, ...], gain: float
) -> bool | None:
    if len(values) != math.prod(shape) or len(values) > MAX_ORTHOGONAL:
        return None
    matrix = values.reshape(-1, shape[-1])
    matrix = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    product = matrix.T @ matrix
    return bool(np.allclose(product, gain**2 * np.eye(len(product)), atol=1e-3))


def _follows(values: np.ndarray, cdf: Cdf) -> bool:
    """Kolmogorov–Smirnov: whether values may well come from a distribution."""
    step = max(1, len(values) // KS_SAMPLE)
    sample = np.sort(values[::step].astype(float))
    n = len(sample)
    expected = cdf(sample)
    ranks = np.arange(n + 1) / n
    distance = max(np.max(ranks[1:] - expected), np.max(expected - ranks[:-1]))
    return bool(distance < KS_LIMIT / math.sqrt(n))


def _cdf(initializer: Any, shape: tuple[int, ...]) -> Cdf | None:
    """Returns the distribution function of an initializer's values."""
    init = keras.initializers
    if isinstance(initializer, init.VarianceScaling):
        return _scaled_cdf(initializer, shape)
    if isinstance(initializer, init.RandomUniform):
        return _uniform(initializer.minval, initializer.maxval)
    if isinstance(initializer, init.TruncatedNormal):
        return _truncated(initializer.mean, initializer.stddev)
    if isinstance(initializer, init.RandomNormal):
        return _normal(initializer.mean, initializer.stddev)
    return None


def _scaled_cdf(initializer: Any, shape: tuple[int, ...]) -> Cdf | None:
    if getattr(initializer, "input_axes", None) is not None or len(shape) < 2:
        return None
    receptive = math.prod(shape[:-2])
    fan_in, fan_out = receptive * shape[-2], receptive * shape[-1]
    fan = {"fan_in": fan_in, "fan_out": fan_out}.get(
        initializer.mode, (fan_in + fan_out) / 2
    )
    std = math.sqrt(initializer.scale / max(1.0, fan))
    if initializer.distribution == "uniform":
        return _uniform(-math.sqrt(3) * std, math.sqrt(3) * std)
    if initializer.distribution == "truncated_normal":
        return _truncated(0.0, std / 0.87962566103423978)
    return _normal(0.0, std)


def _uniform(low: float, high: float) -> Cdf:
    return lambda x: np.clip((x - low) / max(high - low, 1e-30), 0, 1)


def _normal(mean: float, std: float) -> Cdf:
    scale = max(std, 1e-30) * math.sqrt(2)
    return lambda x: 0.5 * (1 + _erf((x - mean) / scale))


def _truncated(mean: float, std: float) -> Cdf:
    normal = _normal(mean, std)
    low = 0.5 * (1 + math.erf(-math.sqrt(2)))
    return lambda x: np.clip((normal(x) - low) / (1 - 2 * low), 0, 1)
