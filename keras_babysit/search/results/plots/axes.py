"""What pictures of a search have in common: where ticks and scores lie, 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from keras_babysit.search.results.dimensions import Dimension
from keras_babysit.search.results.table import shown
from keras_babysit.search.trials import Objective, Trial

#: Okabe and Ito's vermilion for what has no score, and their orange for the best.
FAILED, BEST = "#D55E00", "#E69F00"
#: How far beyond an axis what has no place on it is drawn.
NONE = 0.11
#: Ticks of an axis at most.
_MOST = 6
#: Scores that spread over more than this factor are on a logarithmic axis.
_WIDE = 10.0
#: Ticks are not closer to the ends than this.
_ROOM = 0.09
#: A place to draw a tick at, and its label.
Tick = tuple[float, str]


def ticks(dimension: Dimension) -> list[Tick]:
    """Returns the places and labels of a hyperparameter's ticks."""
    if dimension.choices:
        return [(dimension.place(c), shown(c)) for c in dimension.choices]
    low, high = dimension.low, dimension.high
    kind = int if dimension.whole else float
    if low == high:
        return [(0.5, shown(kind(low)))]
    if dimension.sampling == "log":
        values = _decades(low, high)
    elif dimension.sampling == "reverse_log":
        values = [dimension.value(0.5)]
    else:
        values = _round(low, high, dimension.whole)
    found = [(dimension.place(value), shown(kind(value))) for value in values]
    # The ends say what was searched, so they come first.
    inner = [tick for tick in found if _ROOM < tick[0] < 1 - _ROOM]
    return [(0.0, shown(kind(low))), *inner, (1.0, shown(kind(high)))]


@dataclass(frozen=True)
class Scores:
    """The axis of the scores, from the lowest to the highest.

    Attributes:
        axis: as a dimension.
        direction: `"min"` or `"max"`.
        cut: whether worse scores are drawn at its bad end.
    """

    axis: Dimension
    direction: str
    cut: bool = False

    def place(self, score: float | None) -> float:
        """Returns where a score lies; NaN for none."""
        if score is None or not math.isfinite(score):
            return math.nan
        return self.axis.place(min(max(score, self.axis.low), self.axis.high))

    def badness(self, score: float | None) -> float:
        """Returns 0 for the best score, 1 for the worst; NaN for none."""
        place = self.place(score)
        return place if self.direction == "min" else 1 - place

    @property
    def without(self) -> float:
        """Where trials without a score are drawn: beyond the bad end."""
        return 1 + NONE if self.direction == "min" else -NONE

    def ticks(self) -> list[Tick]:
        """Returns places and labels; the bad end says if scores are cut off there."""
        found = ticks(self.axis)
        if self.cut:
            bad, sign = (-1, "≥") if self.direction == "min" else (0, "≤")
            found[bad] = (found[bad][0], f"{sign} {found[bad][1]}")
        return found


@dataclass(frozen=True)
class View:
    """What is drawn.

    Attributes:
        trials: the trials.
        shown: the hyperparameters, in their order.
        scores: the axis of the scores.
        best: number of the best trial.
    """

    trials: tuple[Trial, ...]
    shown: tuple[Dimension, ...]
    scores: Scores
    best: int | None


def scores_of(trials: Iterable[Trial], objective: Objective) -> Scores | None:
    """Returns an axis that holds the scores, but for those far out on the bad side.

    `None` if there is no finite score.
    """
    scores = [t.score for t in trials if t.score is not None and np.isfinite(t.score)]
    if not scores:
        return None
    log = min(scores) > 0 and max(scores) > _WIDE * min(scores)
    sign = 1 if objective.direction == "min" else -1
    losses = sign * (np.log(scores) if log else np.array(scores))
    first, third = np.quantile(losses, [0.25, 0.75])
    fence = third + 1.5 * (third - first)  # Tukey's.
    ends = sorted(sign * np.array([losses.min(), min(losses.max(), fence)]))
    low, high = map(float, np.exp(ends) if log else ends)
    axis = Dimension(objective.name, low, high, sampling="log" if log else "linear")
    return Scores(axis, objective.direction, bool(losses.max() > fence))


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten, and where there are few, thrice, or twice and five times them."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        values = [s * 10.0**e for e in exponents for s in steps]
        inside = [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
        if len(inside) >= 3:
            break
    return inside[:: max(1, math.ceil(len(inside) / _MOST))]


def _round(low: float, high: float, whole: bool = False) -> list[float]:
    """Round numbers at equal distances."""
    rough = (high - low) / (_MOST - 1)
    base = 10.0 ** math.floor(math.log10(rough))
    step = next(s * base for s in (1, 2, 2.5, 5, 10) if s * base >= rough * (1 - 1e-9))
    step = max(math.ceil(step), 1) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def room(dimension: Dimension) -> float:
    """Returns how far trials of the same value may be drawn from each other."""
    if dimension.choices:
        return min(0.5 / len(dimension.choices), 0.12)
    if dimension.whole and dimension.sampling == "linear":
        steps = (dimension.high - dimension.low) / (dimension.step or 1)
        return min(0.4 / max(steps, 1), 0.08) if steps <= 10 else 0.0
    return 0.0


def shift(number: int, width: float) -> float:
    """Returns how far a trial is drawn from its place, at most half of `width`.

    By multiples of the golden ratio, so that a few trials lie far apart; the same in
    each picture.
    """
    golden = (math.sqrt(5) - 1) / 2
    return width * ((number * golden) % 1 - 0.5)
