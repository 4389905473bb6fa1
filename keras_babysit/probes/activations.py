"""Activations of each layer: moments, zeros, saturation, dead units, histogram.

CS231n, Neural Networks Part 3, "Activation/Gradient distributions per layer": an
incorrect initialization slows or stalls learning, and shows here first.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_babysit import statistics
from keras_babysit.probes import rows
from keras_babysit.probes.probe import Described, Describer, Probe, Reading, View
from keras_babysit.statistics import namespace

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
    ops = namespace(x)
    # As a product of matrices: adding up columns takes twice the time.
    nonzero = ops.cast(ops.not_equal(x, 0.0), "float32")
    ones = ops.ones_like(nonzero[:, None, :, 0])
    return _with_units(x, ops.squeeze(ops.matmul(ones, nonzero), 1))


def describe_channels(x: Any) -> list[Any]:
    """The same for outputs `(k, samples, units, positions)`."""
    ops = namespace(x)
    nonzero = ops.cast(ops.not_equal(x, 0.0), "float32")
    return _with_units(x, ops.sum(nonzero, (1, 3)))


def _with_units(x: Any, alive: Any) -> list[Any]:
    ops = namespace(x)
    first, *others = ops.shape(x)
    flat = ops.reshape(x, (first, functools.reduce(lambda a, b: a * b, others)))
    return [statistics.table_rows(flat), alive]


@functools.cache
def _saturating(low: float, high: float) -> Describer:
    """Returns what describes outputs of a function with two asymptotes."""
    margin = SATURATION_MARGIN * (high - low)

    def describe(x: Any) -> list[Any]:
        ops = namespace(x)
        outside = ops.logical_or(x < low + margin, x > high - margin)
        share = ops.sum(ops.cast(outside, "float32"), 1) / ops.cast(
            ops.shape(x)[1], "float32"
        )
        return [ops.concatenate([statistics.table_rows(x), share[:, None]], 1)]

    return Describer(describe)


def describer(view: View) -> Describer:
    """Returns what describes an output."""
    if units(view):
        if _unit_axis(view) == len(view.shape) - 1:
            return Describer(describe_units, "units")
        return Describer(describe_channels, "channels")
    low, high = _asymptotes(view)
    return rows.TABLE if low is None or high is None else _saturating(low, high)


def read(found: Sequence[Described]) -> Reading:
    """Returns each layer's statistics.

    Units that were alive for a sample of this step are in the private field
    `alive`; whoever watches over a window of steps turns it into a dead fraction.
    """
    reading = Reading()
    for one in found:
        table = one.table
        stats = rows.tensor_stats(table[:, rows.STATS])
        sizes = table[:, 0]
        saturates = _asymptotes(one.view)[0] is not None
        fields: dict[str, Any] = {
            "activation": stats,
            "zero_fraction": _weighed(table[:, rows.ZEROS], sizes),
            "saturation_fraction": _weighed(table[:, -1], sizes) if saturates else None,
            "histogram": rows.merged_histogram(
                table[:, rows.COUNTS],
                int(stats.size) if rows.sampled([sizes.max()]) else None,
            ),
        }
        if one.units is not None:
            fields["alive"] = (one.units > 0).any(axis=0)
        reading.layers[one.view.path] = fields
    return reading


def _weighed(shares: np.ndarray, sizes: np.ndarray) -> float:
    """Mean over replicas; of a small last batch some of them have no sample."""
    some = sizes > 0
    if not some.any():
        return float("nan")
    return float(np.average(shares[some], weights=sizes[some]))


PROBE = Probe("activations", of="layers", describer=describer, units=units, read=read)
