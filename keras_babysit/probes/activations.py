"""Activations of each layer: moments, zeros, saturation, dead units, histogram.

CS231n, Neural Networks Part 3, "Activation/Gradient distributions per layer": an
incorrect initialization slows or stalls learning, and shows here first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_babysit import statistics
from keras_babysit.probes import rows
from keras_babysit.probes.probe import (
    Arrays,
    Blocks,
    LayerView,
    Probe,
    Reading,
    StepView,
)

#: An output is saturated within this share of the function's range of an asymptote.
SATURATION_MARGIN = 0.025

#: Lower and upper asymptote of the activation functions that have one.
ASYMPTOTES: dict[str, tuple[float | None, float | None]] = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "soft_sign": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
}

#: Activation functions whose units can die: zero for every sample, no gradient.
RELUS = ("relu", "relu6")


@dataclass(frozen=True)
class LayerContext:
    """What reading a layer's rows needs to know.

    Attributes:
        path: name of the output.
        units: number of ReLU units or channels; 0 if there are none.
        saturates: whether the activation function has an asymptote.
        sampled_from: size of the output if its histogram is of a sample.
    """

    path: str
    units: int
    saturates: bool
    sampled_from: int | None


def activation_name(layer: Any) -> str | None:
    """Returns the name of the function whose values the layer puts out, if any."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return "relu" if plain else None
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if isinstance(layer, keras.layers.RNN) and not isinstance(
        layer, keras.layers.SimpleRNN
    ):
        return None  # A gated cell puts out a product of activations.
    function = getattr(layer, "activation", None)
    return getattr(function, "__name__", None)


def _unit_axis(view: LayerView) -> int:
    rank = len(view.output.shape)
    channels_first = getattr(view.layer, "data_format", None) == "channels_first"
    return 1 if channels_first and rank > 2 else rank - 1


def _units(view: LayerView) -> int:
    if activation_name(view.layer) not in RELUS or len(view.output.shape) < 2:
        return 0
    return view.output.shape[_unit_axis(view)] or 0


def _saturated(view: LayerView) -> Any:
    low, high = ASYMPTOTES.get(activation_name(view.layer) or "", (None, None))
    if low is None or high is None:
        return ops.convert_to_tensor(0.0, "float32")
    margin = SATURATION_MARGIN * (high - low)
    x = statistics.flat(view.output)
    outside = ops.logical_or(x < low + margin, x > high - margin)
    return statistics.fraction(outside)


def measure(view: StepView) -> Blocks:
    """Describes each output, counts its histogram, notes which units are alive."""
    if not view.layers:
        return {}
    table, counts, alive = [], [], []
    for v in view.layers:
        x = ops.cast(v.output, "float32")
        stats = view.describe(x)
        if _units(v):
            nonzero = _nonzero_by_unit(x, _unit_axis(v))
            alive.append(ops.cast(nonzero > 0, "float32"))
        else:
            nonzero = ops.cast(ops.not_equal(x, 0.0), "float32")
        zeros = 1 - ops.sum(nonzero) / stats[0]
        extra = ops.stack([zeros, _saturated(v)])
        table.append(ops.concatenate([stats, extra]))
        counts.append(view.histogram(x))
    blocks = {"layer": ops.stack(table), "histogram": ops.stack(counts)}
    if alive:
        blocks["alive"] = ops.concatenate(alive)
    return blocks


def _nonzero_by_unit(x: Any, axis: int) -> Any:
    """How many values of each unit are not zero; float32 of shape `(units,)`."""
    nonzero = ops.cast(ops.not_equal(x, 0.0), "float32")
    if axis != len(x.shape) - 1:
        others = tuple(i for i in range(len(x.shape)) if i != axis)
        return ops.sum(nonzero, others)
    # As a product of matrices: adding up columns takes twice the time.
    rows = ops.reshape(nonzero, (-1, x.shape[axis]))
    return ops.matmul(ops.ones_like(rows[:, 0])[None], rows)[0]


def context(view: StepView) -> tuple[LayerContext, ...]:
    """Returns what `read` has to know of each row."""
    return tuple(
        LayerContext(
            path=v.path,
            units=_units(v),
            saturates=activation_name(v.layer) in ASYMPTOTES,
            sampled_from=_size(v.output) if statistics.is_sampled(v.output) else None,
        )
        for v in view.layers
    )


def _size(x: Any) -> int:
    return int(np.prod([n or 1 for n in x.shape]))


def read(arrays: Arrays, layers: tuple[LayerContext, ...]) -> Reading:
    """Returns each layer's statistics.

    Units that were alive for a sample of this step are in the private field
    `alive`; whoever watches over a window of steps turns it into a dead fraction.
    """
    reading = Reading()
    first = 0
    for i, layer in enumerate(layers):
        table = arrays["layer"][:, i]
        stats = rows.tensor_stats(table[:, :8])
        zero, saturated = _weighed(table[:, 8:10], table[:, 0])
        fields: dict[str, Any] = {
            "activation": stats,
            "zero_fraction": float(zero),
            "saturation_fraction": float(saturated) if layer.saturates else None,
            "histogram": rows.merged_histogram(
                arrays["histogram"][:, i], layer.sampled_from
            ),
        }
        if layer.units:
            part = arrays["alive"][:, first : first + layer.units]
            fields["alive"] = part.any(axis=0)
            first += layer.units
        reading.layers[layer.path] = fields
    return reading


def _weighed(fractions: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Mean over replicas; of a small last batch some of them have no sample."""
    some = sizes > 0
    if not some.any():
        return np.full(fractions.shape[1], np.nan)
    return np.average(fractions[some], axis=0, weights=sizes[some])


PROBE = Probe(
    "activations",
    measure=measure,
    context=context,
    read=read,
    needs=frozenset({"layers"}),
)
