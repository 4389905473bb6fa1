"""Scores and costs against the number of members, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_babysit.document.plots import Axes, Figure, Line
from keras_babysit.ensemble.scoring.rows import SHARES, TITLES, Row

#: Of Okabe and Ito's colours, told apart by the colour-blind too.
_ENSEMBLE, _MEMBER, _COST = "#0072B2", "#999999", "#D55E00"


def curves(
    members: Sequence[Row], sizes: Sequence[Row], seconds_as_one: float
) -> Figure:
    """Returns a picture of what ensembles are worth, and of what they cost."""
    names = [name for name in sizes[-1].scores if name in TITLES]
    axes = [_score(name, members, sizes) for name in names]
    axes.append(_cost(sizes, seconds_as_one))
    return Figure(
        "Scores, time and memory against the number of members",
        tuple(axes),
        width=3.7 * len(axes),
        height=3.6,
        legend="below",
    )


def _score(name: str, members: Sequence[Row], sizes: Sequence[Row]) -> Axes:
    unit = "%" if name in SHARES else "nats" if name == "nll" else ""
    scale = 100 if name in SHARES else 1
    alone = scale * np.array([row.scores[name] for row in members])
    marks = (
        Line(np.ones(len(alone)), alone, "a member", _MEMBER, style="", marker="x"),
        Line(
            np.array([row.size for row in sizes]),
            scale * np.array([row.scores[name] for row in sizes]),
            "mean of this size ± standard deviation",
            _ENSEMBLE,
            marker="o",
            error=scale * np.array([row.std[name] for row in sizes]),
        ),
    )
    return _axes(f"{TITLES[name]}{f' ({unit})' if unit else ''}", marks, len(sizes))


def _cost(sizes: Sequence[Row], seconds_as_one: float) -> Axes:
    x, one = np.array([row.size for row in sizes]), sizes[0].seconds
    seconds = np.array([row.seconds for row in sizes]) / one
    marks = [Line(x, seconds, "time and memory, one by one", _COST, marker="o")]
    if np.isfinite(seconds_as_one):
        times = np.array([seconds_as_one / one])
        marks.append(Line(x[-1:], times, "time as one model", _COST, "", "D"))
    return _axes(
        "cost (× a member's mean)", tuple(marks), len(sizes), y_limits=(0, None)
    )


def _axes(title: str, marks: tuple[Line, ...], most: int, **limits: Any) -> Axes:
    across = (0.6, most + 0.4)
    return Axes(marks, title, "members", x_limits=across, x_whole=True, **limits)
