"""Pictures as values: axes with marks on them, which `figures.py` draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np


@dataclass(frozen=True)
class Line:
    """Points joined by a line.

    Attributes:
        x: float array `(n,)`.
        y: float array `(n,)`; where it is not finite, the line has a gap.
        label: in the legend; none for `""`.
        color: matplotlib's colour; the next one for `""`.
        style: matplotlib's line style; `""` draws no line.
        marker: matplotlib's marker; none for `""`.
        width: of the line, in points.
        error: float array `(n,)`, half the length of bars around `y`; or `None`.
    """

    x: np.ndarray
    y: np.ndarray
    label: str = ""
    color: str = ""
    style: str = "-"
    marker: str = ""
    width: float = 1.6
    error: np.ndarray | None = None


@dataclass(frozen=True)
class Reference:
    """A straight line at one value, across the axes.

    Attributes:
        value: where.
        axis: `"x"` for an upright line, `"y"` for a level one.
        label: in the legend; none for `""`.
        color: matplotlib's colour.
        style: matplotlib's line style.
    """

    value: float
    axis: str = "y"
    label: str = ""
    color: str = "#888888"
    style: str = "-"


@dataclass(frozen=True)
class Band:
    """A shaded range of the x-axis."""

    low: float
    high: float
    label: str = ""
    color: str = "C2"


@dataclass(frozen=True)
class Drawing:
    """What the other marks cannot say: a function that draws on matplotlib's axes."""

    draw: Callable[[Any], None]


Mark: TypeAlias = Line | Reference | Band | Drawing


@dataclass(frozen=True)
class Axes:
    """One pair of axes.

    Attributes:
        marks: what is on them, from the back to the front.
        title: above them.
        x_label: what the x-axis shows, with its unit.
        y_label: what the y-axis shows, with its unit.
        x_scale: `"linear"` or `"log"`.
        y_scale: `"linear"` or `"log"`.
        x_limits: lower and upper end; `None` for as the marks need.
        y_limits: likewise.
        x_ticks: places of ticks with their labels; `None` for matplotlib's own.
        y_ticks: likewise.
        x_whole: whether the x-axis has ticks at whole numbers only.
    """

    marks: tuple[Mark, ...]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    x_scale: str = "linear"
    y_scale: str = "linear"
    x_limits: tuple[float | None, float | None] | None = None
    y_limits: tuple[float | None, float | None] | None = None
    x_ticks: tuple[tuple[float, str], ...] | None = None
    y_ticks: tuple[tuple[float, str], ...] | None = None
    x_whole: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture: axes beside each other, or in rows.

    Attributes:
        title: what it shows, for those who cannot see it.
        axes: the axes, from the left.
        width: in inches.
        height: in inches.
        caption: how to read it.
        legend: `"below"` the picture, `"inside"` the first axes, or `""` for none.
        share_y: whether the axes have the same y-axis.
        columns: so many axes beside each other, the others below; 0 for all.
    """

    title: str
    axes: tuple[Axes, ...]
    width: float = 7.0
    height: float = 4.0
    caption: str = ""
    legend: str = "inside"
    share_y: bool = False
    columns: int = 0
