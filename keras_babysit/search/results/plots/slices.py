"""Slices: the score of all trials along each hyperparameter, on its own scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_babysit.document.words import clean, count
from keras_babysit.search.results.dimensions import Dimension
from keras_babysit.search.results.plots.axes import (
    BEST,
    FAILED,
    View,
    room,
    shift,
    ticks,
)
from keras_babysit.search.trials import Trial

#: Panels in a row.
_COLUMNS = 4


def size(view: View) -> tuple[float, float]:
    """Width and height in inches."""
    columns = min(len(view.shown), _COLUMNS)
    return max(3.1 * columns, 6.0), 2.6 * math.ceil(len(view.shown) / _COLUMNS) + 0.5


def draw(figure: Any, view: View) -> None:
    """Draws a panel for each hyperparameter, with a point for each trial."""
    columns = min(len(view.shown), _COLUMNS)
    lines = math.ceil(len(view.shown) / columns)
    grid = figure.subplots(lines, columns, squeeze=False)
    for index, panel in enumerate(grid.flat):
        if index >= len(view.shown):
            panel.axis("off")
            continue
        _draw_panel(panel, view.shown[index], view)
        if index % columns == 0:
            panel.set_ylabel(clean(view.objective.name), fontsize=9, parse_math=False)
        else:
            panel.tick_params(labelleft=False)
    handles = _legend(view)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 6),
        frameon=False,
        fontsize=9,
    )


def _draw_panel(panel: Any, dimension: Dimension, view: View) -> None:
    active = [t for t in view.trials if dimension.name in t.values]
    width = (2 if dimension.choices else 1) * room(dimension)
    for trial in active:
        x = dimension.place(trial.values[dimension.name])
        _draw_point(panel, x + shift(trial.number, width), trial, view)
    places, labels = zip(*ticks(dimension), strict=True)
    shown = _fitting(labels) if dimension.choices else labels
    panel.set_xticks(places, shown, fontsize=8, parse_math=False)
    places, labels = zip(*view.scores.ticks(), strict=True)
    panel.set_yticks(places, labels, fontsize=8)
    margin = 0.04 + room(dimension) * (not dimension.choices)
    panel.set_xlim(-margin, 1 + margin)
    panel.set_ylim(-0.08 - 0.1 * (view.objective.direction == "max"), 1.18)
    panel.set_title(clean(dimension.name), fontsize=10, parse_math=False)
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)


def _draw_point(panel: Any, x: float, trial: Trial, view: View) -> None:
    y = view.scores.place(trial.score)
    if trial.number == view.best:
        panel.plot(x, y, **_best_look())
    elif math.isnan(y):
        panel.plot(x, view.scores.without, "x", color=FAILED, ms=5, mew=1.4, zorder=4)
    else:
        colour = _shade(trial.stage, max(t.stage for t in view.trials))
        face = "white" if trial.status == "stopped" else colour
        panel.plot(x, y, "o", ms=4.5, mec=colour, mfc=face, zorder=3 + trial.stage)


def _fitting(labels: Sequence[str]) -> Sequence[str]:
    """Labels cut to what has room side by side."""
    room = max(4, 34 // max(len(labels), 1))
    return [t if len(t) <= room else f"{t[: room - 1]}…" for t in map(clean, labels)]


def _shade(stage: int, stages: int) -> Any:
    from matplotlib import colormaps

    return colormaps["Blues"](np.interp(stage, [0, max(stages, 1)], [0.45, 1.0]))


def _best_look() -> dict[str, Any]:
    return {
        "marker": "s",
        "linestyle": "",
        "color": BEST,
        "markeredgecolor": "black",
        "markersize": 8,
        "zorder": 20,
    }


def _legend(view: View) -> list[Any]:
    from matplotlib.lines import Line2D

    stages = sorted({trial.stage for trial in view.trials})
    handles = []
    for stage in stages:
        epochs = max(t.epochs for t in view.trials if t.stage == stage)
        told = (
            f"stage {stage + 1}, {count(epochs, 'epoch')}"
            if len(stages) > 1
            else "trial"
        )
        colour = _shade(stage, max(stages))
        handles.append(Line2D([], [], color=colour, marker="o", ls="", label=told))
    if any(t.status == "stopped" and t.score is not None for t in view.trials):
        look = {"mec": _shade(0, 1), "mfc": "white", "marker": "o", "ls": ""}
        handles.append(Line2D([], [], label="stopped", **look))
    if any(math.isnan(view.scores.place(t.score)) for t in view.trials):
        look = {"color": FAILED, "marker": "x", "ls": ""}
        handles.append(Line2D([], [], label="no score", **look))
    if view.best is not None:
        handles.append(Line2D([], [], label="the best", **_best_look()))
    return handles
