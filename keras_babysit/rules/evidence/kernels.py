"""What the kernels of a model did lately: their update ratios, growth and depth.

Kernels alone: biases, offsets and scales start at zero or one, so that their
ratios say nothing, and rows of an embedding change only when their token occurs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_babysit.facts import WeightFacts
from keras_babysit.history import RunHistory, Window

#: Adam's first steps are as large as they get: its averages have yet to form.
_WARM_UP = 10
_NOT_KERNELS = ("bias", "beta", "gamma", "scale", "alpha", "offset", "embedding")


def leaf(path: str) -> str:
    """Returns the last part of a variable's path: its own name."""
    return path.rsplit("/", 1)[-1]


@functools.lru_cache(maxsize=64)
def kernels(places: tuple[str, ...]) -> np.ndarray:
    """Returns which variables are kernels, as indices."""
    found = [
        i
        for i, path in enumerate(places)
        if not any(word in leaf(path) for word in _NOT_KERNELS)
    ]
    return np.array(found, int)


@functools.lru_cache(maxsize=64)
def layered(places: tuple[str, ...]) -> np.ndarray:
    """Returns which variables are kernels that follow one another in depth."""
    found = [i for i in kernels(places) if "recurrent" not in leaf(places[i])]
    return np.array(found, int)


def middle(x: np.ndarray) -> np.ndarray:
    """Median of the finite values over the first axis; NaN where there are none."""
    if not len(x):
        return np.full(x.shape[1:], np.nan)
    x = np.sort(np.where(np.isfinite(x), x, np.nan), axis=0)  # NaN goes last.
    n = np.isfinite(x).sum(axis=0)
    rest = (np.arange(x.shape[1]),) if x.ndim > 1 else ()
    return x[((n - 1) // 2, *rest)] / 2 + x[(n // 2, *rest)] / 2


def ratios(history: RunHistory, n: int) -> Window:
    """Returns the kernels' update ratios over the last `n` observed steps.

    Steps that changed nothing are left out, unless all did: gradients accumulate,
    or a loss scale was too large. So are the first steps once there are later ones.
    """
    window = history.window("update_ratio", 4 * n)
    at = matrices(history, window.places)
    places = tuple(window.places[i] for i in at)
    window = window._replace(places=places, values=window.values[:, at])
    moved = (window.values > 0).any(axis=1)
    kept = np.flatnonzero(moved if moved.any() else ~moved)
    warm = kept[window.steps[kept] > _WARM_UP]
    kept = (warm if len(warm) >= 3 else kept)[-n:]
    return window._replace(
        steps=window.steps[kept],
        epochs=window.epochs[kept],
        values=window.values[kept],
    )


def matrices(history: RunHistory, places: tuple[str, ...]) -> np.ndarray:
    """Returns which variables are kernels, as indices, by their names and beginnings.

    What began as a vector of one value is an offset or a scale, also where a custom
    layer gave it no name.
    """
    vectors = {w.path for w in _weights(history) if len(w.shape) < 2 and w.std == 0}
    return np.array([i for i in kernels(places) if places[i] not in vectors], int)


def _weights(history: RunHistory) -> list[WeightFacts]:
    layers = history.model.layers if history.model is not None else ()
    return [w for layer in layers for w in layer.weights]


def smallness(history: RunHistory, places: Sequence[str]) -> np.ndarray:
    """How many times smaller than usual each kernel began, 1 for usual ones.

    Usual is what Glorot and Bengio (2010) draw. Where a kernel begins below a third of
    that, as in gates and heads that are to do nothing at first, updates are large
    beside it, and it grows manifold, in healthy runs too.
    """
    times = {}
    for w in _weights(history):
        if w.fan_in and w.fan_out:
            usual = (2 / (w.fan_in + w.fan_out)) ** 0.5
            if w.std < 0.3 * usual:
                times[w.path] = usual / w.std if w.std > 0 else math.inf
    return np.array([times.get(place, 1.0) for place in places])


class Start(NamedTuple):
    """What the first updates did to the kernels.

    Those that began near zero are compared with what a usual initialization gives.

    Attributes:
        ratio: median of their update ratios in the first observed step.
        growth: median of their norms now over those before the first update.
    """

    ratio: float
    growth: float


def since_start(history: RunHistory) -> Start:
    """Returns what the kernels did since the first observed step."""
    window = history.window("weight.norm", 1)
    first = history.first_step
    known = first is not None and len(first.variables) == len(window.places)
    if first is None or not known or not len(window.values):
        return Start(math.nan, math.nan)
    at = matrices(history, window.places)
    times = smallness(history, [window.places[i] for i in at])
    ratio = np.array([first.variables[i].update_ratio or math.nan for i in at])
    norms = [first.variables[i].weight for i in at]
    before = np.array([math.nan if w is None else w.norm for w in norms])
    growth = np.where(before > 0, window.values[-1, at] / before, np.nan)
    return Start(float(middle(ratio / times)), float(middle(growth / times)))


def largest_ratio(history: RunHistory) -> float:
    """Returns the largest update ratio of any kernel ever."""
    whole = history.whole("update_ratio")
    taken = whole.values[:, matrices(history, whole.places)]
    if not taken.size:
        return math.nan
    return float(taken[np.isfinite(taken)].max(initial=0.0))


class Trend(NamedTuple):
    """A fit of the decimal logarithm over depth.

    Attributes:
        decades: powers of ten from the first layer to the last, by the fit.
        correlation: how straight the line is.
        layers: how many layers it is of.
    """

    decades: float
    correlation: float
    layers: int


def trend(values: np.ndarray) -> Trend:
    """Fits a line to the logarithm of positive values, in order of depth."""
    at = np.flatnonzero(np.isfinite(values) & (values > 0))
    n = len(at)
    if n < 3:
        return Trend(0.0, 0.0, n)
    y = np.log10(values[at])
    x, y = at - at.mean(), y - y.mean()
    spread = float((y**2).sum())
    if not spread > 0:
        return Trend(0.0, 0.0, n)
    slope = float((x * y).sum() / (x**2).sum())
    correlation = float((x * y).sum()) / math.sqrt(float((x**2).sum()) * spread)
    return Trend(slope * float(at[-1] - at[0]), correlation, n)


def not_hidden(history: RunHistory) -> set[str]:
    """Outputs, softmax layers and those in doubt: the last one if nothing is known."""
    model, step = history.model, history.last_step
    last = [step.layers[-1].path] if step is not None and step.layers else []
    if model is None:
        return set(last)
    outputs = [o.layer for o in model.outputs if o.layer is not None]
    softmax = [x.path for x in model.layers if x.activation == "softmax"]
    # A Flatten or Reshape may follow the layer that makes the output.
    ends = [x.path for x in model.layers if x.activation is not None][-1:]
    return {*outputs, *softmax, *(() if outputs else (*last, *ends))}
