"""A comparison as a picture of three panels."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_babysit.document import figures
from keras_babysit.document.words import clean

if TYPE_CHECKING:
    from keras_babysit.comparison.result import OptimizerComparison, OptimizerRun

#: Okabe and Ito's colours, told apart by the colour-blind too; without the yellow,
#: which white paper swallows.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
#: Another number of them than of colours: the pairs repeat late.
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: Losses above so many times the largest of those that did not diverge are cut off.
_OUTLIER = 3
#: CS231n: about so much of the weights should each update change.
_HEALTHY = 1e-3
_STILL = 1e-6
#: Letters of a line of the legend, and those that a name's own sign takes.
_LEGEND, _SIGN = 160, 9
_TITLES = (
    "Loss against epochs",
    "Loss against time",
    "Update ratio of the kernels",
)


def figure(comparison: OptimizerComparison, path: Any = None) -> Any:
    """Draws loss against epochs and against time, and the update ratios.

    Args:
        comparison: what to draw.
        path: file to write it to as well.

    Returns:
        A `matplotlib.figure.Figure` of its own, unknown to pyplot.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    drawn = figures.figure(13, 4.6, "comparisons")
    axes = drawn.subplots(1, 3)
    axes[1].sharey(axes[0])
    for run, style in zip(comparison.runs, _styles(), strict=False):
        _draw(run, style, axes)
    _finish(axes, comparison)
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=max(1, min(len(labels), _LEGEND // (max(map(len, labels)) + _SIGN))),
        frameon=False,
    )
    if path is not None:
        drawn.savefig(path, dpi=110)
    return drawn


def _styles() -> Any:
    """Colours, lines and markers, another combination for each run."""
    return (
        {"color": colour, "linestyle": line, "marker": marker}
        for colour, line, marker in zip(
            itertools.cycle(COLOURS),
            itertools.cycle(LINES),
            itertools.cycle(MARKERS),
            strict=False,
        )
    )


def _draw(run: OptimizerRun, style: dict[str, Any], axes: Any) -> None:
    loss = np.array(run.history.get("loss", ()), float)
    epochs = np.arange(1, len(loss) + 1)
    look = {**style, "markersize": 4, "linewidth": 1.6}
    look["markevery"] = max(1, len(loss) // 12)
    axes[0].plot(epochs, loss, label=_label(run), **look)
    axes[1].plot(run.seconds, loss, **look)
    finite = np.flatnonzero(np.isfinite(loss))
    if run.diverged and len(finite):
        at = finite[-1]
        axes[0].plot(epochs[at], loss[at], "x", color=style["color"], markersize=10)
    ratios = run.update_ratios
    look["markevery"] = max(1, len(ratios.values) // 12)
    axes[2].plot(ratios.epochs, _positive(ratios.values), **look)


def _finish(axes: Any, comparison: OptimizerComparison) -> None:
    for ax, title in zip(axes, _TITLES, strict=True):
        ax.set_title(title, fontsize=11)
        ax.grid(which="major", alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_xlabel("epoch")
    axes[1].set_xlabel("seconds of training, compilation left out")
    axes[2].set_xlabel("epoch")
    axes[0].set_ylabel("training loss")
    axes[2].set_ylabel("‖update‖ / ‖weights‖, about 1e-3 when healthy")
    losses = _losses(comparison.runs)
    if losses.size and losses.min() > 0:
        axes[0].set_yscale("log")
    healthy = _losses([run for run in comparison.runs if not run.diverged])
    if healthy.size and losses.max() > _OUTLIER * healthy.max() > 0:
        axes[0].set_ylim(top=_OUTLIER * healthy.max())
    ratios = np.concatenate([run.update_ratios.values for run in comparison.runs])
    ratios = ratios[np.isfinite(ratios)]
    if ratios.size and ratios.max() > 0:
        axes[2].set_yscale("log")
        # Below, nothing moves: how far below does not matter.
        low = np.min(np.maximum(ratios, _STILL))
        axes[2].set_ylim(min(low, _HEALTHY) / 2, 2 * max(ratios.max(), _HEALTHY))
    axes[2].axhline(_HEALTHY, color="#888888", linewidth=1, zorder=0)


def _losses(runs: Any) -> np.ndarray:
    found = np.array([v for run in runs for v in run.history.get("loss", ())], float)
    return found[np.isfinite(found)]


def _positive(values: np.ndarray) -> np.ndarray:
    """Values as a logarithmic axis can show them."""
    return np.where(np.isfinite(values) & (values > 0), values, math.nan)


def _label(run: OptimizerRun) -> str:
    if run.error:
        return f"{clean(run.name)} (failed)"
    return f"{clean(run.name)}{' (diverged)' if run.diverged else ''}"
