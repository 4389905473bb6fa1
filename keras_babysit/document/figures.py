"""Pictures drawn by matplotlib, which is asked for only where something is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras_babysit.document.plots import Axes, Band, Drawing, Figure, Line, Reference
from keras_babysit.errors import installing

#: Letters of a line of a legend below a picture, and those that a line's sample takes.
_LEGEND, _SAMPLE = 160, 9


def figure(width: float, height: float, what: str) -> Any:
    """Makes an empty figure, unknown to pyplot.

    pyplot keeps its figures, and chooses how those of the whole program are shown.

    Args:
        width: in inches.
        height: in inches.
        what: is to be drawn, for the error: `"schedules"`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"Drawing {what} needs matplotlib: {installing('plot')}"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def drawn(pictures: Sequence[Figure], what: str) -> Any:
    """Draws pictures below each other.

    Args:
        pictures: the pictures, from the top.
        what: is drawn, for the errors: `"an OptimizerComparison"`.

    Returns:
        A `matplotlib.figure.Figure`, unknown to pyplot.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if there are no pictures.
    """
    if not pictures:
        raise ValueError(f"There is nothing to draw in {what}.")
    heights = [picture.height for picture in pictures]
    whole = figure(max(p.width for p in pictures), sum(heights), what)
    parts = [whole]
    if len(pictures) > 1:
        parts = list(whole.subfigures(len(pictures), 1, height_ratios=heights))
    for part, picture in zip(parts, pictures, strict=True):
        _draw(part, picture)
    return whole


def _draw(part: Any, picture: Figure) -> None:
    """Draws one picture on a figure, or a part of one."""
    count = len(picture.axes)
    columns = min(picture.columns or count, count)
    grid = part.subplots(math.ceil(count / columns), columns, squeeze=False)
    all_axes, left = grid.flat[:count], grid.flat[count:]
    for axes in left:
        axes.axis("off")
    for axes, values in zip(all_axes, picture.axes, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(which="major", alpha=0.3)
        for mark in values.marks:
            _mark(axes, mark)
        _finish(axes, values)
    if picture.share_y:
        for axes in all_axes[1:]:
            axes.sharey(all_axes[0])
    # Below, a line that is on several axes is named once.
    shown: dict[str, Any] = {}
    for axes in all_axes if picture.legend == "below" else all_axes[:1]:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    labels = list(shown)
    if picture.legend == "inside" and labels:
        _plain(all_axes[0].legend(shown.values(), labels, frameon=False))
    elif picture.legend == "below" and labels:
        across = _LEGEND // (max(map(len, labels)) + _SAMPLE)
        _plain(
            part.legend(
                shown.values(),
                labels,
                loc="outside lower center",
                ncols=max(1, min(len(labels), across)),
                frameon=False,
            )
        )


def _plain(legend: Any) -> None:
    """Names are users': a dollar sign in them begins no formula."""
    for label in legend.get_texts():
        label.set_parse_math(False)


def _mark(axes: Any, mark: Line | Reference | Band | Drawing) -> None:
    if isinstance(mark, Drawing):
        mark.draw(axes)
    elif isinstance(mark, Band):
        axes.axvspan(
            mark.low, mark.high, color=mark.color, alpha=0.15, label=mark.label or None
        )
    elif isinstance(mark, Reference):
        straight = axes.axvline if mark.axis == "x" else axes.axhline
        straight(
            mark.value,
            color=mark.color,
            linestyle=mark.style,
            linewidth=1,
            label=mark.label or None,
            zorder=0 if mark.axis == "y" else 2,
        )
    else:
        _line(axes, mark)


def _line(axes: Any, line: Line) -> None:
    look = {
        "label": line.label or None,
        "linestyle": line.style or "none",
        "marker": line.marker or None,
        "markersize": 4,
        "linewidth": line.width,
    }
    if line.color:
        look["color"] = line.color
    if line.error is not None:
        axes.errorbar(line.x, line.y, yerr=line.error, capsize=3, **look)
    else:
        axes.plot(line.x, line.y, markevery=max(1, len(line.x) // 12), **look)


def _finish(axes: Any, values: Axes) -> None:
    axes.set_xscale(values.x_scale)
    axes.set_yscale(values.y_scale)
    axes.set_xlabel(values.x_label, parse_math=False)
    axes.set_ylabel(values.y_label, parse_math=False)
    if values.title:
        axes.set_title(values.title, fontsize=11, parse_math=False)
    small = {"fontsize": 8, "parse_math": False}
    if values.x_ticks:
        axes.set_xticks(*zip(*values.x_ticks, strict=True), **small)
    if values.y_ticks:
        axes.set_yticks(*zip(*values.y_ticks, strict=True), **small)
    if values.x_whole:
        axes.xaxis.get_major_locator().set_params(integer=True)
    if values.x_limits:
        axes.set_xlim(*values.x_limits)
    if values.y_limits:
        axes.set_ylim(*values.y_limits)
