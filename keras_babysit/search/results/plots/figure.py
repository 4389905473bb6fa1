"""Pictures of a search: trials across all axes, and the score along each of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from keras_babysit.document import figures as drawing
from keras_babysit.search.results.dimensions import Dimension
from keras_babysit.search.results.plots import parallel, slices
from keras_babysit.search.results.plots.axes import View, score_axis

if TYPE_CHECKING:
    from keras_babysit.search.results.report import SearchReport

#: Hyperparameters in a picture at most.
_MOST = 16


def figures(report: SearchReport) -> list[tuple[str, str, Any]]:
    """Returns the pictures that there are: title, caption, and matplotlib's figure.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    view = view_of(report)
    if view is None:
        return []
    good = "low" if report.objective.direction == "min" else "high"
    across = (
        f"One line a trial. Dark: a {good} {report.objective.name}; the thick one is "
        "the best. Dashed: no score. Values below an axis: not active."
    )
    along = (
        "One point a trial. Darker: a later stage. The square is the best; crosses "
        "have no score; hollow points were stopped."
    )
    wide = drawing.figure(*parallel.size(view), "searches")
    many = drawing.figure(*slices.size(view), "searches")
    parallel.draw(wide, view)
    slices.draw(many, view)
    return [("Trials across all axes", across, wide), ("Score along each", along, many)]


def figure(report: SearchReport, path: str | os.PathLike | None = None) -> Any:
    """Draws both pictures, one above the other.

    Args:
        report: what to draw.
        path: file to write it to as well.

    Returns:
        A `matplotlib.figure.Figure` of its own, unknown to pyplot.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if there is nothing to draw yet.
    """
    view = view_of(report)
    if view is None:
        raise ValueError(
            "There is nothing to draw yet: no trial has a score, or nothing varies."
        )
    (width, above), (other, below) = parallel.size(view), slices.size(view)
    drawn = drawing.figure(max(width, other), above + below, "searches")
    upper, lower = drawn.subfigures(2, 1, height_ratios=(above, below))
    parallel.draw(upper, view)
    slices.draw(lower, view)
    if path is not None:
        drawn.savefig(path, dpi=110)
    return drawn


def view_of(report: SearchReport) -> View | None:
    """Returns what is drawn; `None` if there is nothing.

    Trials that have not ended are left out, and repeats, which would only cover what
    they repeat.
    """
    trials = tuple(
        t for t in report.trials if t.outcome is not None and t.origin != "repeat"
    )
    shown = _shown(report)
    scores = score_axis([t.score for t in trials], report.objective)
    if not shown or scores is None:
        return None
    best = report.best[0].trial if report.best else None
    return View(report.objective, trials, shown, scores, best)


def _shown(report: SearchReport) -> tuple[Dimension, ...]:
    """The hyperparameters that vary; of very many the most important, if known."""
    varied = [d for d in report.dimensions if not d.is_fixed]
    if len(varied) > _MOST and report.importance:
        order = [share.names[0] for share in report.importance.singles]
        varied.sort(key=lambda d: order.index(d.name) if d.name in order else _MOST)
    return tuple(varied[:_MOST])
