"""Reading a learning rate off a curve of losses over rising rates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from keras_babysit.document.words import number
from keras_babysit.lr_range.result import LearningRateRange

#: Fewer batches make no curve.
MIN_STEPS = 10
#: Weight of the past in the smoothed loss.
SMOOTHING = 0.9
#: Share of the steps, at rates too low to do anything, that show the loss's noise.
QUIET = 0.15
#: A fall counts if it is so many of its standard errors, and this share of the loss.
_SURE, _VISIBLE = 4.5, 0.01
#: Noise that hides a fall by this share of the loss is the first thing to name.
_HIDDEN = 0.3
#: Half-width in decades of the window over which a slope is fitted.
_REACH = 0.25
#: Shares of the whole fall after which the range begins and ends.
_BEGUN, _DONE = 0.1, 0.95


def quiet_steps(planned: int) -> int:
    """Returns how many of the steps show the noise."""
    return max(5, round(QUIET * planned))


def averaged(losses: np.ndarray, weight: float = SMOOTHING) -> np.ndarray:
    """Returns the bias-corrected exponential moving average.

    Args:
        losses: float array `(steps,)`.
        weight: of the past, between 0 and 1.

    Returns:
        Float array `(steps,)`; NaN from the first that is not finite.
    """
    found = np.empty(len(losses))
    average = 0.0
    for i, loss in enumerate(losses):
        average = weight * average + (1 - weight) * (
            loss if np.isfinite(loss) else np.nan
        )
        found[i] = average / (1 - weight ** (i + 1))
    return found


def judged(
    losses: np.ndarray,
    planned: np.ndarray,
    diverged: bool,
    used: float | None = None,
    scheduled: bool = False,
) -> LearningRateRange:
    """Reads the suggestions off a curve.

    The level of the loss at a rate is the mean of those within a quarter of a decade,
    its slope that of a straight line fitted to them: unlike a moving average of what
    was before, they do not lag behind.

    Args:
        losses: loss of each step, float array `(steps,)`.
        planned: the rates, float array of at least as many, rising exponentially.
        diverged: whether the loss diverged at the end.
        used: the model's own learning rate.
        scheduled: whether that is of a schedule.
    """
    rates = planned[: len(losses)]
    common: dict[str, Any] = {
        "rates": rates,
        "losses": losses,
        "smoothed": averaged(losses),
        "used": used,
    }
    end = _onset(losses) if diverged else len(losses)
    if diverged:
        common["diverged_at"] = float(rates[min(end, len(rates) - 1)])
    notes = []
    if scheduled:
        notes.append("That is the highest rate of its schedule")
    if not diverged and len(losses) < len(planned):
        notes.append(f"The data ended after {len(losses)} of {len(planned)} steps")
    curve = _Curve(rates[:end], losses[:end], planned)
    if not curve.falls:
        notes.append(_why_none(curve, diverged, planned))
        return LearningRateRange(**common, notes=tuple(notes))
    if not diverged and curve.lowest >= len(losses) - 1 - curve.reach:
        notes.append(
            "The loss was still falling at the end: a larger `max_rate` may show more"
        )
    if curve.steepest <= curve.reach:
        notes.append(
            "The loss fell from the very first step on: a smaller `min_rate` may show "
            "more"
        )
    steepest = float(rates[curve.steepest])
    tenth = float(rates[curve.lowest]) / 10
    return LearningRateRange(
        **common,
        suggestion=math.sqrt(steepest * tenth),
        steepest=steepest,
        tenth=tenth,
        low=float(rates[curve.begins]),
        high=float(rates[curve.ends]),
        notes=tuple(notes),
    )


def _onset(losses: np.ndarray) -> int:
    """Index of the first step of the rise that the losses end with."""
    smooth = np.where(np.isfinite(losses), losses, np.inf)
    padded = np.concatenate([smooth[:1], smooth, smooth[-1:]])
    middle = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    i = len(middle) - 1
    while i > 0 and middle[i - 1] <= middle[i]:
        i -= 1
    return i


class _Curve:
    """Level and slope of the loss over the logarithm of the rate, before it diverges.

    Attributes:
        reach: half-width of the window in steps.
        steps: number of steps before the loss diverges.
        falls: whether the loss falls by more than its noise.
        hidden: whether the noise would hide most of a fall.
        lowest: index of the step where it is lowest.
        steepest: index of the step, before that, where it falls fastest.
        begins: index of the step from which on it falls.
        ends: index of the step at which most of the fall is over.
    """

    def __init__(self, rates: np.ndarray, losses: np.ndarray, planned: np.ndarray):
        decades = math.log10(planned[-1] / planned[0])
        per_decade = (len(planned) - 1) / decades
        self.reach = max(2, round(_REACH * per_decade))
        self.falls = self.hidden = False
        self.steps = len(losses)
        if len(losses) < MIN_STEPS:
            return
        quiet = losses[: quiet_steps(len(planned))]
        self.start, noise = float(quiet.mean()), float(quiet.std())
        level, slope = _lines(np.log10(rates), losses, self.reach)
        self.lowest = int(np.argmin(level))
        fall = self.start - level[self.lowest]
        near = np.abs(np.arange(len(losses)) - self.lowest) <= self.reach
        limit = _SURE * noise * math.sqrt(1 / near.sum() + 1 / len(quiet))
        self.hidden = bool(limit > _HIDDEN * abs(self.start))
        self.falls = bool(fall > max(limit, _VISIBLE * abs(self.start), 1e-12))
        before = slice(0, self.lowest + 1)
        above = np.flatnonzero(level[before] > self.start - _BEGUN * fall)
        self.begins = min(int(above[-1]) + 1 if above.size else 0, self.lowest)
        falling = slice(self.begins, self.lowest + 1)
        self.steepest = self.begins + int(np.argmin(slope[falling]))
        self.ends = int(np.argmax(level[before] <= self.start - _DONE * fall))


def _lines(x: np.ndarray, y: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the points around each, and the slope of a line fitted to them."""
    level, slope = np.empty(len(y)), np.empty(len(y))
    for i in range(len(y)):
        near = slice(max(i - reach, 0), i + reach + 1)
        dx = x[near] - x[near].mean()
        slope[i] = (dx * y[near]).sum() / (dx * dx).sum()
        # The line's own value would be noisy at either end.
        level[i] = y[near].mean()
    return level, slope


def _why_none(curve: _Curve, diverged: bool, planned: np.ndarray) -> str:
    if curve.hidden:
        return (
            "The losses of the batches differ too much from each other to show a fall. "
            "The model is not at fault: use a larger `batch_size`, or more `steps`"
        )
    if diverged and curve.steps <= quiet_steps(len(planned)):
        return (
            "The loss rose without having fallen: start below "
            f"`min_rate={number(planned[0])}`, or look for what is wrong with the "
            "model"
        )
    until = "before it rose" if diverged else f"up to {number(planned[-1])}"
    return (
        f"The loss did not fall at any rate {until}, beyond the noise of its batches: "
        "the model is trained already, there is nothing left to learn, or something is "
        "wrong with the model; `keras_babysit.overfit_subset` can tell"
    )
