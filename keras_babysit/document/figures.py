"""Figures of matplotlib, which is asked for only where something is drawn."""

from __future__ import annotations

from typing import Any

from keras_babysit.errors import installing


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
