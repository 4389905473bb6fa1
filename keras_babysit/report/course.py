"""The course of a run: its numbers over time, thinned to what can be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from keras_babysit.history import RunHistory, Series, State, Window

#: What is drawn layer by layer: names as `RunHistory.whole` takes them.
QUANTITIES = (
    "update_ratio",
    "gradient.norm",
    "dead_fraction",
    "saturation_fraction",
    "activation.std",
    "weight.norm",
)
#: What is drawn as curves, beside Keras's logs.
CURVES = ("loss", "learning_rate", "gradient_norm")
#: Before the names of Keras's logs.
LOGS = "epoch."
#: How noisy the batches are, which is no log of Keras's.
_SPREAD = f"{LOGS}loss_std"
#: So many moments are kept: a screen has no room for more.
MAX_MOMENTS = 160
MAX_POINTS = 500


@dataclass(frozen=True)
class Course:
    """The numbers of a run over time.

    Attributes:
        maps: quantity to a `Window` of all of its places, oldest moment first.
        curves: quantity of the whole model to its `Series`; `"epoch.val_loss"` is one
            of Keras's logs.
        histograms: kind and path to `State`s with a `Histogram`, oldest first.
        pictures: tag to `State`s with an `Image`, oldest first.
    """

    maps: Mapping[str, Window] = field(default_factory=dict)
    curves: Mapping[str, Series] = field(default_factory=dict)
    histograms: Mapping[tuple[str, str], tuple[State, ...]] = field(
        default_factory=dict
    )
    pictures: Mapping[str, tuple[State, ...]] = field(default_factory=dict)


def course_of(history: RunHistory) -> Course:
    """Returns the course of a run so far."""
    windows = {name: history.whole(name) for name in QUANTITIES}
    known = [name for name, places in history.quantities().items() if "" in places]
    curves = [
        name
        for name in known
        if name in CURVES or (name.startswith(LOGS) and name != _SPREAD)
    ]
    return Course(
        maps={k: _thinned(v) for k, v in windows.items() if len(v.values)},
        curves={name: _curve(history.series(name)) for name in curves},
        histograms={k: tuple(v) for k, v in history.histograms.items()},
        pictures={k: tuple(v) for k, v in history.pictures.items()},
    )


def _thinned(window: Window) -> Window:
    kept = _indices(len(window.steps), MAX_MOMENTS)
    return Window(
        window.places, window.steps[kept], window.epochs[kept], window.values[kept]
    )


def _curve(series: Series) -> Series:
    kept = _indices(len(series.steps), MAX_POINTS)
    return Series(*(column[kept] for column in series))


def _indices(n: int, most: int) -> np.ndarray:
    """Which of `n` moments are kept: the first, the last, and some between."""
    if n <= most:
        return np.arange(n)
    return np.unique(np.linspace(0, n - 1, most).round().astype(int))
