"""What the range test found: in words, and as a picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_babysit.document import figures
from keras_babysit.rules.evidence.phrases import number


@dataclass(frozen=True, repr=False)
class LearningRateRange:
    """What the range test found.

    Attributes:
        rates: learning rate of each step, float array `(steps,)`, rising.
        losses: loss of each step's batch, before its update, float array `(steps,)`.
        smoothed: bias-corrected exponential moving average of the losses, float
            array `(steps,)`, which lags behind them.
        suggestion: the rate to train with: half-way, on a logarithmic scale, between
            the next two. `None` if the loss did not fall.
        steepest: the rate at which the loss fell fastest.
        tenth: a tenth of the rate at which the loss was smallest.
        low: the rate from which on the loss fell, for schedules that begin low.
        high: the rate up to which it fell, for the peak of a cycle.
        diverged_at: the rate at which the loss began to rise for good; `None` if it
            never did.
        used: the model's own learning rate.
        notes: what else a reader should know, a sentence each.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float | None = None
    steepest: float | None = None
    tenth: float | None = None
    low: float | None = None
    high: float | None = None
    diverged_at: float | None = None
    used: float | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The result in words."""
        tested = f"{len(self.rates)} steps from {number_of(self.rates[0])} to "
        lines = [f"learning rate range: {tested}{number_of(self.rates[-1])}."]
        if self.suggestion is None:
            lines.append("No learning rate can be suggested.")
        else:
            lines.append(
                f"Suggested: {number_of(self.suggestion)} (steepest fall at "
                f"{number_of(self.steepest)}, a tenth of the lowest loss's rate is "
                f"{number_of(self.tenth)})."
            )
            lines.append(
                f"The loss falls from {number_of(self.low)} to {number_of(self.high)}: "
                "bounds for a cyclical or one-cycle schedule."
            )
        if self.diverged_at is not None:
            lines.append(f"It diverges from about {number_of(self.diverged_at)} on.")
        if self.used is not None:
            lines.append(f"The model is compiled with {number_of(self.used)}.")
        return " ".join(lines + [f"{note}." for note in self.notes])

    __repr__ = __str__

    def plot(self, path: str | os.PathLike | None = None) -> Any:
        """Draws the losses over the rates, with the suggestion and the range.

        Args:
            path: a file to write the picture to, in the format of its name.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show.

        Raises:
            ImportError: if matplotlib is not installed.
        """
        figure = figures.figure(7, 4, "range tests")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, color="0.75", lw=1, label="loss of a batch")
        axes.plot(self.rates, self.smoothed, color="C0", label="smoothed")
        if self.low is not None and self.high is not None:
            axes.axvspan(self.low, self.high, color="C2", alpha=0.15, label="range")
        if self.suggestion is not None:
            label = f"suggested: {number_of(self.suggestion)}"
            axes.axvline(self.suggestion, color="C3", label=label)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.set_ylim(*_shown(self.losses, self.smoothed))
        axes.legend()
        if path is not None:
            figure.savefig(os.fspath(path), dpi=150)
        return figure


def _shown(losses: np.ndarray, smoothed: np.ndarray) -> tuple[float, float]:
    """Limits that keep an explosion from flattening all the rest."""
    finite = losses[np.isfinite(losses)]
    known = smoothed[np.isfinite(smoothed)]
    if not finite.size or not known.size:
        return 0.0, 1.0
    low, top = min(finite.min(), known.min()), max(known[0], finite[0])
    margin = max(top - low, 0.1 * abs(top), 1e-6)
    return float(low - 0.1 * margin), float(top + 0.5 * margin)


def number_of(x: float | None) -> str:
    """Returns a rate as it is written in a sentence."""
    return "none" if x is None else number(x)
