"""Slices: the score of all trials along each hyperparameter, on its own scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_babysit.document.plots import Axes, Drawing, Figure
from keras_babysit.document.words import clean, count, cut
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
#: From the first to the last stage.
_LIGHT, _DARK = (0.47, 0.71, 0.85), (0.03, 0.19, 0.42)
_BEST_LOOK = {"marker": "s", "color": BEST, "mec": "black", "ms": 8, "zorder": 20}
_FAILED_LOOK = {"marker": "x", "color": FAILED, "ms": 5, "mew": 1.4, "zorder": 4}
#: Trials that look alike, what the legend calls them, and how they look.
Group = tuple[str, list[Trial], dict[str, Any]]


def figure(view: View) -> Figure:
    """Returns a panel for each hyperparameter, with a point for each trial."""
    groups = list(_groups(view))
    lines = math.ceil(len(view.shown) / _COLUMNS)
    return Figure(
        "Score along each hyperparameter",
        tuple(_panel(index, view, groups) for index in range(len(view.shown))),
        width=max(3.1 * min(len(view.shown), _COLUMNS), 6.0),
        height=2.6 * lines + 0.5,
        caption="One point a trial. Darker: a later stage. The square is the best; "
        "crosses have no score; hollow points were stopped.",
        legend="below",
        columns=_COLUMNS,
    )


def _groups(view: View) -> Iterable[Group]:
    scored = [t for t in view.trials if not math.isnan(view.scores.place(t.score))]
    others = [t for t in scored if t.number != view.best]
    stages = sorted({trial.stage for trial in view.trials})
    for stage in stages:
        colour = _shade(stage, stages[-1])
        own = [t for t in others if t.stage == stage]
        epochs = max(t.epochs for t in view.trials if t.stage == stage)
        label = f"stage {stage + 1}, {count(epochs, 'epoch')}"
        look = {"marker": "o", "ms": 4.5, "color": colour, "zorder": 3 + stage}
        full = [t for t in own if t.status != "stopped"]
        yield label if len(stages) > 1 else "trial", full, look
        hollow = [t for t in own if t.status == "stopped"]
        yield "stopped" if stage == 0 else "", hollow, look | {"mfc": "white"}
    without = [t for t in view.trials if t not in scored]
    yield "no score", without, _FAILED_LOOK
    yield "the best", [t for t in scored if t.number == view.best], _BEST_LOOK


def _panel(index: int, view: View, groups: Sequence[Group]) -> Axes:
    dimension = view.shown[index]
    width = (2 if dimension.choices else 1) * room(dimension)

    def draw(axes: Any) -> None:
        for label, trials, look in groups:
            # All of them in each panel: the legend is the first one's.
            active = [t for t in trials if dimension.name in t.values]
            x = [dimension.place(t.values[dimension.name]) for t in active]
            x = [a + shift(t.number, width) for a, t in zip(x, active, strict=True)]
            y = [view.scores.place(t.score) for t in active]
            y = [view.scores.without if math.isnan(b) else b for b in y]
            known = label if trials else ""
            axes.plot(x, y, ls="", label=known or None, **look)

    margin = 0.04 + room(dimension) * (not dimension.choices)
    return Axes(
        (Drawing(draw),),
        title=clean(dimension.name),
        y_label="" if index % _COLUMNS else clean(view.scores.axis.name),
        x_limits=(-margin, 1 + margin),
        y_limits=(-0.08 - 0.1 * (view.scores.direction == "max"), 1.18),
        x_ticks=_fitting(ticks(dimension), bool(dimension.choices)),
        y_ticks=tuple(view.scores.ticks()),
    )


def _fitting(
    found: Sequence[tuple[float, str]], choices: bool
) -> tuple[tuple[float, str], ...]:
    """Labels of choices cut to what has room side by side."""
    most = max(4, 34 // max(len(found), 1)) if choices else 34
    return tuple((place, cut(text, most)) for place, text in found)


def _shade(stage: int, last: int) -> tuple[float, ...]:
    light, dark = np.array(_LIGHT), np.array(_DARK)
    return tuple(light + (dark - light) * stage / max(last, 1))
