"""Activations of each layer: moments, zeros, saturation, dead units, histogram.

CS231n, Neural Networks Part 3, "Activation/Gradient distributions per layer": an
incorrect initialization slows or stalls learning, and shows here first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_babysit import statistics
from keras_babysit.probes import rows
from keras_babysit.probes.probe import Described, Describer, Probe, Reading, View

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


def _unit_axis(view: View) -> int:
    rank = len(view.shape)
    channels_first = getattr(view.layer, "data_format", None) == "channels_first"
    return 1 if channels_first and rank > 2 else rank - 1


def units(view: View) -> int:
    """The number of ReLU units or channels of an output; 0 if there are none."""
    if activation_name(view.layer) not in RELUS or len(view.shape) < 2:
        return 0
    return view.shape[_unit_axis(view)] or 0


def _asymptotes(view: View) -> tuple[float | None, float | None]:
    return ASYMPTOTES.get(activation_name(view.layer) or "", (None, None))


def describe_units(x: Any) -> list[Any]:
    """Describes outputs `(k, samples, units)`; says how often a unit is not zero."""
    # As a product of matrices: adding up columns takes twice the time.
    nonzero = ops.cast(ops.not_equal(x, 0.0), "float32")
    ones = ops.ones_like(nonzero[:, None, :, 0])
    alive = ops.squeeze(ops.matmul(ones, nonzero), 1)
    return _table(x, ops.sum(alive, 1)) + [alive]


def describe_channels(x: Any) -> list[Any]:
    """The same for outputs `(k, samples, units, positions)`."""
    alive = ops.sum(ops.cast(ops.not_equal(x, 0.0), "float32"), (1, 3))
    return _table(x, ops.sum(alive, 1)) + [alive]


@functools.cache
def _outputs(low: float | None, high: float | None) -> Callable[[Any], list[Any]]:
    """Returns a function that describes outputs of a function with asymptotes."""

    def describe(x: Any) -> list[Any]:
        nonzero = ops.sum(ops.cast(ops.not_equal(x, 0.0), "float32"), 1)
        if low is None or high is None:
            return _table(x, nonzero)
        margin = SATURATION_MARGIN * (high - low)
        outside = ops.logical_or(x < low + margin, x > high - margin)
        return _table(x, nonzero, ops.sum(ops.cast(outside, "float32"), 1))

    return describe


def _table(x: Any, nonzero: Any, saturated: Any = None) -> list[Any]:
    """A table `(k, 8 + 2 + bins + 2)`."""
    x = ops.reshape(x, (ops.shape(x)[0], _product(ops.shape(x)[1:])))
    stats = statistics.describe_rows(x)
    total = stats[:, 0]
    zeros = 1 - nonzero / total
    share = ops.zeros_like(total) if saturated is None else saturated / total
    columns = [stats, zeros[:, None], share[:, None], statistics.histogram_rows(x)]
    return [ops.concatenate(columns, 1)]


def _product(sizes: Any) -> Any:
    return functools.reduce(lambda a, b: a * b, sizes)


def describer(view: View) -> Describer:
    """Returns what describes an output."""
    if not units(view):
        return Describer(_outputs(*_asymptotes(view)))
    if _unit_axis(view) == len(view.shape) - 1:
        return Describer(describe_units, "units")
    return Describer(describe_channels, "channels")


def read(found: Sequence[Described]) -> Reading:
    """Returns each layer's statistics.

    Units that were alive for a sample of this step are in the private field
    `alive`; whoever watches over a window of steps turns it into a dead fraction.
    """
    reading = Reading()
    for one in found:
        table = one.table
        stats = rows.tensor_stats(table[:, :8])
        zero, saturated = _weighed(table[:, 8:10], table[:, 0])
        largest = [float(table[:, 0].max())]
        fields: dict[str, Any] = {
            "activation": stats,
            "zero_fraction": float(zero),
            "saturation_fraction": (
                None if _asymptotes(one.view)[0] is None else float(saturated)
            ),
            "histogram": rows.merged_histogram(
                table[:, 10:], int(stats.size) if rows.sampled(largest) else None
            ),
        }
        if one.units is not None:
            fields["alive"] = (one.units > 0).any(axis=0)
        reading.layers[one.view.path] = fields
    return reading


def _weighed(fractions: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Mean over replicas; of a small last batch some of them have no sample."""
    some = sizes > 0
    if not some.any():
        return np.full(fractions.shape[1], np.nan)
    return np.average(fractions[some], axis=0, weights=sizes[some])


PROBE = Probe(
    "activations", of="layers", describer=describer, units=units, read=read
)
