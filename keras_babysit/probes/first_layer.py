"""First-layer images: what the first layer with weights has learned to look for.

CS231n, Neural Networks Part 3, "First-layer Visualizations": noisy filters hint at
a network that has not converged, a wrong learning rate or weak regularization;
smooth and varied ones that training goes well.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_babysit.probes.probe import EpochView, Probe
from keras_babysit.records import Image

#: No more filters than this are drawn of one layer.
MAX_FILTERS = 64
#: Of filters with more than three input channels, so many filters and channels.
MAX_FILTERS_BY_CHANNEL = 8
MAX_CHANNELS = 16
#: Smallest side, in pixels, that a filter is enlarged to.
MIN_SIDE = 48
#: No picture is wider than this, unless a single filter is.
MAX_WIDTH = 1280
#: Rows and columns of an embedding that are drawn.
MAX_EMBEDDING = 256
#: Filters of fewer rows or columns have no shape that could be noise or not.
MIN_SHAPE = 5
_GAP = 2


def epoch(view: EpochView) -> dict[str, Any]:
    """Draws the first layer of the model that has a kernel or an embedding."""
    layer = first_layer(view.model)
    if layer is None:
        return {}
    path = layer.path or layer.name
    weights = np.asarray(_matrix(layer), np.float32)
    shape = view.image_shape or _input_image_shape(view.model)
    drawn = draw(layer, weights, shape)
    if isinstance(drawn, str):
        return {"notes": {path: drawn}}
    pixels, text = drawn
    found: dict[str, Any] = {"images": (Image(f"first_layer/{path}", pixels, text),)}
    shaped = _as_filters(layer, weights, shape)
    if shaped is not None:
        found["first_layer_smoothness"] = {path: smoothness(shaped)}
    return found


def smoothness(filters: np.ndarray) -> float:
    """How alike neighbouring weights of filters are.

    Σ w·w′ over Σ (w² + w′²)/2, over all pairs of neighbours in a row or a column of
    all filters and channels: 1 for constant filters, about 0 for noise.

    Args:
        filters: `(height, width, channels, filters)`.

    Returns:
        A number between -1 and 1; NaN where it makes no sense.
    """
    # In double precision and scaled, so that no square overflows.
    w = np.asarray(filters, np.float64)
    largest = np.abs(w).max(initial=0.0)
    if not np.isfinite(largest) or largest == 0:
        return math.nan
    w = w / largest
    pairs = ((w[1:], w[:-1]), (w[:, 1:], w[:, :-1]))
    alike = sum(float((a * b).sum()) for a, b in pairs)
    size = sum(float((a * a + b * b).sum()) / 2 for a, b in pairs)
    return alike / size if size > 0 else math.nan


def _as_filters(
    layer: Any, weights: np.ndarray, image_shape: tuple[int, ...] | None
) -> np.ndarray | None:
    """A layer's weights as filters on images, if large enough to have a shape."""
    if weights.ndim == 2 and isinstance(layer, keras.layers.Dense):
        shape = image_shape or _guess(weights.shape[0])
        if shape is None or math.prod(shape) != weights.shape[0]:
            return None
        weights = weights.reshape(*shape[:2], -1, weights.shape[1])
    elif isinstance(layer, keras.layers.Embedding) or weights.ndim != 4:
        return None
    return weights if min(weights.shape[:2]) >= MIN_SHAPE else None


def first_layer(model: Any) -> Any | None:
    """Returns the first layer that has a kernel or is an embedding, or `None`."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.Model):
            continue
        if isinstance(_matrix(layer), keras.Variable):
            return layer
    return None


def _matrix(layer: Any) -> Any | None:
    if isinstance(layer, keras.layers.Embedding):
        return layer._embeddings
    for name in ("_kernel", "kernel", "depthwise_kernel"):
        value = getattr(layer, name, None) if layer.built else None
        if isinstance(value, keras.Variable):
            return value
    return None


def _input_image_shape(model: Any) -> tuple[int, ...] | None:
    """Shape of the model's one input if it looks like an image."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) not in (3, 4):
        return None
    shape = shape[1:]
    if not all(isinstance(n, int) for n in shape) or min(shape[:2]) < 2:
        return None
    return shape if len(shape) == 2 or shape[-1] in (1, 3) else None


def draw(
    layer: Any, weights: np.ndarray, image_shape: tuple[int, ...] | None
) -> tuple[np.ndarray, str] | str:
    """Draws a layer's weights.

    Args:
        layer: the Keras layer.
        weights: its kernel or embedding matrix.
        image_shape: `(height, width[, channels])` of the layer's inputs, if they
            are images.

    Returns:
        uint8 pixels of shape `(height, width, 3)` and a caption, or a sentence that
        says why there is no picture.
    """
    if isinstance(layer, keras.layers.Embedding):
        return embedding(weights)
    if weights.ndim == 4:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            weights = weights.reshape(*weights.shape[:2], 1, -1)
        if isinstance(layer, keras.layers.Conv2DTranspose):
            weights = weights.transpose(0, 1, 3, 2)
        return filters(weights)
    if weights.ndim == 2 and isinstance(layer, keras.layers.Dense):
        shape = image_shape or _guess(weights.shape[0])
        if shape is None:
            return (
                f"not an image: {weights.shape[0]} inputs. If they are pixels, pass "
                "image_shape=(height, width) or (height, width, channels)."
            )
        if math.prod(shape) != weights.shape[0]:
            return (
                f"not an image: {weights.shape[0]} inputs do not fill "
                f"image_shape={tuple(shape)}."
            )
        full = tuple(shape) if len(shape) == 3 else (*shape, 1)
        return filters(weights.reshape(*full, -1))
    return (
        f"not an image: a {type(layer).__name__} kernel of shape "
        f"{tuple(weights.shape)}."
    )


def _guess(inputs: int) -> tuple[int, ...] | None:
    """Flattened pictures that everybody uses: 8×8, 28×28, 32×32×3."""
    known = {64: (8, 8), 784: (28, 28), 3072: (32, 32, 3)}
    return known.get(inputs)


def normalize(x: np.ndarray) -> np.ndarray:
    """Stretches the finite values of `x` to 0…1; a constant becomes 0.5."""
    finite = np.isfinite(x)
    if not finite.any():
        return np.full(x.shape, 0.5, np.float32)
    low, high = x[finite].min(), x[finite].max()
    if high <= low:
        return np.full(x.shape, 0.5, np.float32)
    scaled = (x.astype(np.float64) - low) / (np.float64(high) - low)
    return np.nan_to_num(scaled, nan=0.5, posinf=1.0, neginf=0.0).astype(np.float32)


def filters(kernel: np.ndarray) -> tuple[np.ndarray, str]:
    """Tiles filters into a grid, each stretched to full contrast by itself.

    Args:
        kernel: `(height, width, channels, filters)`. One channel is drawn in grey,
            three in colour; of more, a sample of filters (rows) by channels
            (columns).

    Returns:
        Pixels and a caption.
    """
    height, width, channels, count = kernel.shape
    if channels in (1, 3):
        chosen = _spread(count, MAX_FILTERS)
        tiles = [normalize(kernel[..., i]) for i in chosen]
        columns = math.ceil(math.sqrt(len(tiles)))
        text = f"{len(tiles)} of {count} filters, {height}×{width}×{channels}"
    else:
        chosen = _spread(count, MAX_FILTERS_BY_CHANNEL)
        shown = _spread(channels, MAX_CHANNELS)
        tiles = [
            normalize(kernel[..., i])[:, :, c, None] for i in chosen for c in shown
        ]
        columns = len(shown)
        text = (
            f"{len(chosen)} of {count} filters (rows) × {len(shown)} of {channels} "
            f"input channels (columns), {height}×{width}"
        )
    text += "; each filter is stretched to its own full contrast"
    return _grid(tiles, columns), text


def embedding(matrix: np.ndarray) -> tuple[np.ndarray, str]:
    """Draws an embedding as a heat map: a row for each token, red above zero.

    Args:
        matrix: `(tokens, dimensions)`.

    Returns:
        Pixels and a caption.
    """
    tokens = _spread(matrix.shape[0], MAX_EMBEDDING)
    dims = _spread(matrix.shape[1], MAX_EMBEDDING)
    part = np.nan_to_num(matrix[np.ix_(tokens, dims)])
    limit = float(np.abs(part).max()) or 1.0
    x = part / limit
    fade = 1 - np.abs(x)
    red, blue = np.where(x >= 0, 1, fade), np.where(x <= 0, 1, fade)
    pixels = _enlarge(np.stack([red, fade, blue], -1), max(1, 512 // max(part.shape)))
    text = (
        f"embedding: {len(tokens)} of {matrix.shape[0]} tokens (rows) × {len(dims)} "
        f"of {matrix.shape[1]} dimensions; red above zero, blue below, white zero; "
        f"full colour at ±{limit:.3g}"
    )
    return _bytes(pixels), text


def _spread(n: int, most: int) -> np.ndarray:
    """At most `most` indices of `n`, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _grid(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    height, width = tiles[0].shape[:2]
    widest = (MAX_WIDTH - _GAP) // columns - _GAP
    scale = max(1, min(math.ceil(MIN_SIDE / min(height, width)), widest // width))
    high, wide = height * scale + _GAP, width * scale + _GAP
    lines = math.ceil(len(tiles) / columns)
    canvas = np.ones((lines * high + _GAP, columns * wide + _GAP, 3), np.float32)
    for i, tile in enumerate(tiles):
        top, left = _GAP + i // columns * high, _GAP + i % columns * wide
        big = _enlarge(tile, scale)
        canvas[top : top + high - _GAP, left : left + wide - _GAP] = big
    return _bytes(canvas)


def _enlarge(x: np.ndarray, times: int) -> np.ndarray:
    return x.repeat(times, axis=0).repeat(times, axis=1)


def _bytes(x: np.ndarray) -> np.ndarray:
    return (x * 255).round().astype(np.uint8)


PROBE = Probe("first_layer", epoch=epoch)
