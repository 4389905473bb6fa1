"""What the range test found: in words, and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_babysit.document.blocks import Block, Heading, Text
from keras_babysit.document.plots import Axes, Band, Figure, Line, Mark, Reference
from keras_babysit.document.shown import Shown
from keras_babysit.document.words import number, sentence


@dataclass(frozen=True, repr=False)
class LearningRateRange(Shown):
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

    Example:
    ```python
    found = keras_babysit.find_learning_rate(model, x_train, y_train)
    found.suggestion, found.low, found.high
    found.plot("range_test.png")
    ```
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

    def content(self) -> list[Block]:
        """Returns what was found in sentences, and the losses over the rates."""
        tone = "warning" if self.suggestion is None else "good"
        title = (
            f"Learning rate range: {len(self.rates)} steps from "
            f"{number(self.rates[0])} to {number(self.rates[-1])}"
        )
        notes = (Text(sentence(note), "faint") for note in self.notes)
        return [
            Heading(title, tone=tone),
            *map(Text, self._sentences()),
            *notes,
            self._figure(),
        ]

    def _sentences(self) -> Iterator[str]:
        if self.suggestion is None:
            yield "No learning rate can be suggested."
        else:
            yield (
                f"Suggested: {number(self.suggestion)} (steepest fall at "
                f"{number(self.steepest)}, a tenth of the lowest loss's rate is "
                f"{number(self.tenth)})."
            )
            yield (
                f"The loss falls from {number(self.low)} to {number(self.high)}: "
                "bounds for a cyclical or one-cycle schedule."
            )
        if self.diverged_at is not None:
            yield f"It diverges from about {number(self.diverged_at)} on."
        if self.used is not None:
            yield f"The model is compiled with {number(self.used)}."

    def _figure(self) -> Figure:
        marks: list[Mark] = [
            Line(self.rates, self.losses, "loss of a batch", "0.75", width=1),
            Line(self.rates, self.smoothed, "smoothed", "C0"),
        ]
        if self.low is not None and self.high is not None:
            marks.append(Band(self.low, self.high, "range"))
        if self.suggestion is not None:
            label = f"suggested: {number(self.suggestion)}"
            marks.append(Reference(self.suggestion, "x", label, "C3"))
        axes = Axes(
            tuple(marks),
            x_label="learning rate",
            y_label="loss",
            x_scale="log",
            y_limits=_limits(self.losses, self.smoothed),
        )
        return Figure("Loss of each batch over the learning rate", (axes,))

    __repr__ = Shown.__str__


def _limits(losses: np.ndarray, smoothed: np.ndarray) -> tuple[float, float]:
    """Limits that keep an explosion from flattening all the rest."""
    finite = losses[np.isfinite(losses)]
    known = smoothed[np.isfinite(smoothed)]
    if not finite.size or not known.size:
        return 0.0, 1.0
    low, top = min(finite.min(), known.min()), max(known[0], finite[0])
    margin = max(top - low, 0.1 * abs(top), 1e-6)
    return float(low - 0.1 * margin), float(top + 0.5 * margin)
