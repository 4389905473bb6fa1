"""An ensemble's report as a picture: scores against the number of members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_babysit.document import figures
from keras_babysit.ensemble.scoring.text import TITLES

if TYPE_CHECKING:
    from keras_babysit.ensemble.scoring.report import EnsembleReport

#: Of Okabe and Ito's colours, told apart by the colour-blind too.
_ENSEMBLE, _MEMBER, _TIME, _MEMORY = "#0072B2", "#999999", "#D55E00", "#009E73"
#: Scores that are drawn.
_DRAWN = ("error", "rmse", "nll", "calibration_error", "spread")
_UNITS = {"error": "%", "calibration_error": "%", "nll": "nats"}


def figure(report: EnsembleReport, path: Any = None) -> Any:
    """Draws the scores, and what they cost, against the number of members.

    Args:
        report: what to draw.
        path: file to write it to as well.

    Returns:
        A `matplotlib.figure.Figure` of its own, unknown to pyplot.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    names = [name for name in report.ensemble.scores if name in _DRAWN]
    drawn = figures.figure(3.7 * (len(names) + 1), 3.6, "reports")
    *panels, last = drawn.subplots(1, len(names) + 1)
    for axis, name in zip(panels, names, strict=True):
        _score(axis, report, name)
    memory = _cost(last, report)
    from matplotlib.ticker import MaxNLocator

    for axis in (*panels, last):
        axis.set_xlabel("members")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlim(0.6, len(report.sizes) + 0.4)
    handles = [
        handle
        for axis in (panels[0], last, memory)
        for handle in axis.get_legend_handles_labels()[0]
    ]
    drawn.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
    )
    if path is not None:
        drawn.savefig(path, dpi=110)
    return drawn


def _score(axis: Any, report: EnsembleReport, name: str) -> None:
    unit = _UNITS.get(name, "")
    scale = 100 if unit == "%" else 1
    sizes = [row.size for row in report.sizes]
    mean = scale * np.array([row.scores[name] for row in report.sizes])
    std = scale * np.array([row.std[name] for row in report.sizes])
    alone = [scale * row.scores[name] for row in report.members]
    axis.plot(
        sizes, mean, "o-", color=_ENSEMBLE, label="mean of ensembles of this size"
    )
    axis.fill_between(
        sizes,
        mean - std,
        mean + std,
        color=_ENSEMBLE,
        alpha=0.15,
        linewidth=0,
        label="± one standard deviation of these",
    )
    axis.plot(
        np.ones(len(alone)), alone, "_", color=_MEMBER, markersize=12, label="a member"
    )
    axis.set_title(f"{TITLES[name]}{f' ({unit})' if unit else ''}", fontsize=11)


def _cost(axis: Any, report: EnsembleReport) -> Any:
    """Draws time as a line and memory as bars; returns the latter's axis."""
    sizes = [row.size for row in report.sizes]
    memory = axis.twinx()
    memory.bar(
        sizes,
        [row.bytes / 1e6 for row in report.sizes],
        width=0.5,
        color=_MEMORY,
        alpha=0.3,
        label="memory",
    )
    seconds = [row.seconds for row in report.sizes]
    axis.plot(sizes, seconds, "o-", color=_TIME, label="time, one after the other")
    if np.isfinite(report.seconds_as_one):
        one = sizes[-1:], [report.seconds_as_one]
        axis.plot(*one, "D", color=_TIME, mfc="white", label="time as one model")
    # The line in front of the bars of the other axis.
    axis.set_zorder(memory.get_zorder() + 1)
    axis.patch.set_visible(False)
    axis.set_title("time (s) and memory (MB)", fontsize=11)
    axis.set_ylabel("seconds", color=_TIME)
    memory.set_ylabel("MB of weights", color=_MEMORY)
    axis.set_ylim(bottom=0)
    memory.spines["top"].set_visible(False)
    return memory
