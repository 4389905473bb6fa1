"""A comparison as a picture of three panels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_babysit.comparison.run import OptimizerRun
from keras_babysit.document.plots import Axes, Figure, Line, Reference

#: Okabe and Ito's colours, told apart by the colour-blind too; without the yellow,
#: which white paper swallows.
_COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
#: Another number of them than of colours: the pairs repeat late.
_STYLES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: Losses above so many times the largest of those that did not diverge are cut off.
_OUTLIER = 3
#: CS231n: about so much of the weights should each update change.
_HEALTHY = 1e-3
_STILL = 1e-6


def comparison_figure(runs: Sequence[OptimizerRun]) -> Figure:
    """Returns loss against epochs and against time, and the update ratios."""
    looks = list(zip(runs, _looks(), strict=False))
    against_epochs = [mark for run, look in looks for mark in _losses(run, look)]
    against_time = (Line(run.seconds, _loss(run), **look) for run, look in looks)
    ratios = (
        Line(run.update_ratios.epochs, _positive(run.update_ratios.values), **look)
        for run, look in looks
    )
    losses = _finite([_loss(run) for run in runs])
    healthy = _finite([_loss(run) for run in runs if not run.diverged])
    cut = healthy.size and losses.max() > _OUTLIER * healthy.max() > 0
    limits = (None, float(_OUTLIER * healthy.max())) if cut else None
    scale = "log" if losses.size and losses.min() > 0 else "linear"
    ratio_limits = _ratio_limits(_finite([run.update_ratios.values for run in runs]))
    return Figure(
        "Training under several optimizers: loss and update ratio",
        (
            Axes(
                tuple(against_epochs),
                "Loss against epochs",
                "epoch",
                "training loss",
                y_scale=scale,
                y_limits=limits,
            ),
            Axes(
                tuple(against_time),
                "Loss against time",
                "seconds of training, compilation left out",
                y_scale=scale,
                y_limits=limits,
            ),
            Axes(
                (*ratios, Reference(_HEALTHY)),
                "Update ratio of the kernels",
                "epoch",
                "‖update‖ / ‖weights‖, about 1e-3 when healthy",
                y_scale="log" if ratio_limits else "linear",
                y_limits=ratio_limits,
            ),
        ),
        width=13,
        height=4.6,
        legend="below",
    )


def _looks() -> Iterator[dict[str, Any]]:
    """A colour and line style that are no other pair's, for each run."""
    for colour, style, marker in zip(
        itertools.cycle(_COLOURS),
        itertools.cycle(_STYLES),
        itertools.cycle(_MARKERS),
        strict=False,
    ):
        yield {"color": colour, "style": style, "marker": marker}


def _losses(run: OptimizerRun, look: dict[str, Any]) -> Iterator[Line]:
    loss = _loss(run)
    epochs = np.arange(1, len(loss) + 1)
    ending = " (failed)" if run.error else " (diverged)" if run.diverged else ""
    yield Line(epochs, loss, f"{run.name}{ending}", **look)
    finite = np.flatnonzero(np.isfinite(loss))
    if run.diverged and len(finite):
        last = finite[-1:]
        yield Line(epochs[last], loss[last], color=look["color"], style="", marker="x")


def _loss(run: OptimizerRun) -> np.ndarray:
    return np.array(run.history.get("loss", ()), float)


def _finite(values: Sequence[np.ndarray]) -> np.ndarray:
    found = np.concatenate([np.zeros(0), *values])
    return found[np.isfinite(found)]


def _positive(values: np.ndarray) -> np.ndarray:
    """Values as a logarithmic axis can show them."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _ratio_limits(ratios: np.ndarray) -> tuple[float, float] | None:
    if not ratios.size or not ratios.max() > 0:
        return None
    # Below, nothing moves: how far below does not matter.
    low = np.min(np.maximum(ratios, _STILL))
    return float(min(low, _HEALTHY) / 2), float(2 * max(ratios.max(), _HEALTHY))
