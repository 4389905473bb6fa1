"""Parallel coordinates: each trial is a line across an axis for each hyperparameter."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_babysit.document.plots import Axes, Drawing, Figure
from keras_babysit.document.words import clean, cut
from keras_babysit.search.results.plots.axes import (
    BEST,
    FAILED,
    NONE,
    View,
    room,
    shift,
    ticks,
)
from keras_babysit.search.trials import Trial

_INK, _FAINT = "#333333", "#999999"
#: From the worst to the best score: dark is good.
_COLOURS = "viridis"
#: The lightest tenth would not show on white.
_LIGHTEST = 0.92
#: Letters in a line of an axis' title, and of a tick's label.
_TITLE = 14


def figure(view: View) -> Figure:
    """Returns a line for each trial across an axis for each hyperparameter."""
    good = "low" if view.scores.direction == "min" else "high"
    return Figure(
        "Trials across all axes",
        (Axes((Drawing(lambda axes: draw(axes, view)),)),),
        width=min(max(1.45 * (len(view.shown) + 1), 8.0), 22.0),
        height=4.8,
        caption=f"One line a trial. Dark: a {good} {view.scores.axis.name}; the thick "
        "one is the best. Dashed: no score. Values below an axis: not active.",
        legend="",
    )


def draw(axes: Any, view: View) -> None:
    """Draws the lines, the best scores last, and the axes over them."""
    scores, last = view.scores, len(view.shown)
    missing = [t for t in view.trials if math.isnan(scores.place(t.score))]
    scored = [t for t in view.trials if t not in missing]
    scored.sort(key=lambda t: -scores.badness(t.score))
    for trial in (*missing, *scored):
        _draw_line(axes, _heights(trial, view), trial, view)
    for index, dimension in enumerate(view.shown):
        _draw_axis(axes, index, dimension.name, ticks(dimension))
        if any(dimension.name not in t.values for t in view.trials):
            _label(axes, index, -NONE, "not active", _FAINT)
    _draw_axis(axes, last, scores.axis.name, scores.ticks(), bold=True)
    _draw_colours(axes, last, scores.direction)
    if missing:
        _label(axes, last, scores.without, "no score", FAILED)
    axes.set_xlim(-0.62, last + 0.25)
    axes.set_ylim(-1.7 * NONE, 1 + 1.3 * NONE)
    axes.axis("off")


def _heights(trial: Trial, view: View) -> list[float]:
    found = []
    for dimension in view.shown:
        if dimension.name not in trial.values:
            found.append(-NONE + shift(trial.number, 0.03))
            continue
        place = dimension.place(trial.values[dimension.name])
        found.append(place + shift(trial.number, room(dimension)))
    place = view.scores.place(trial.score)
    return [*found, view.scores.without if math.isnan(place) else place]


def _draw_line(axes: Any, heights: Sequence[float], trial: Trial, view: View) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points, codes = [(0.0, heights[0])], [Path.MOVETO]
    for index, (a, b) in enumerate(itertools.pairwise(heights)):
        # Level where it crosses an axis, so that the eye can follow it.
        points += [(index + 0.4, a), (index + 0.6, b), (index + 1.0, b)]
        codes += [Path.CURVE4] * 3
    badness = view.scores.badness(trial.score)
    look: dict[str, Any]
    if trial.number == view.best:
        look = {"edgecolor": BEST, "linewidth": 3.2, "zorder": 5}
    elif math.isnan(badness):
        look = {"edgecolor": FAILED, "linestyle": (0, (4, 3)), "alpha": 0.8}
        axes.plot(len(heights) - 1, heights[-1], "x", color=FAILED, markersize=6)
    else:
        look = {"edgecolor": _colour(badness), "linewidth": 1.5 - 0.6 * badness}
        look |= {"alpha": 0.95 - 0.35 * badness, "zorder": 3 + (1 - badness)}
    axes.add_patch(PathPatch(Path(points, codes), fill=False, **look))


def _draw_axis(
    axes: Any, x: float, name: str, found: Sequence[Any], bold: bool = False
) -> None:
    axes.plot([x, x], [0, 1], color=_INK, linewidth=1.2, zorder=6)
    title = "\n".join(textwrap.wrap(clean(name).replace("_", "_ "), _TITLE))
    axes.text(
        x,
        1 + 1.45 * NONE,
        title.replace("_ ", "_"),
        ha="center",
        va="bottom",
        fontsize=10,
        color="black",
        weight="bold" if bold else "normal",
        parse_math=False,
    )
    for place, label in found:
        axes.plot([x - 0.025, x + 0.025], [place] * 2, color=_INK, lw=1.2, zorder=6)
        _label(axes, x, place, label, _INK)


def _draw_colours(axes: Any, x: float, direction: str) -> None:
    """The score's axis in the colours of the lines."""
    badness = np.linspace(0, _LIGHTEST, 128)[:, None]
    axes.pcolormesh(
        [x + 0.04, x + 0.09],
        np.linspace(0, 1, 129),
        badness if direction == "min" else badness[::-1],
        cmap=_COLOURS,
        vmin=0,
        vmax=1,
        rasterized=True,
    )


def _label(axes: Any, x: float, y: float, text: str, colour: str) -> None:
    from matplotlib import patheffects

    white = patheffects.withStroke(linewidth=3, foreground="white", alpha=0.85)
    axes.text(
        x - 0.05,
        y,
        clean(cut(text, _TITLE)),
        ha="right",
        va="center",
        fontsize=8.5,
        color=colour,
        zorder=7,
        path_effects=[white],
        parse_math=False,
    )


def _colour(badness: float) -> Any:
    from matplotlib import colormaps

    return colormaps[_COLOURS](_LIGHTEST * badness)
