"""What pictures of a search have in common: where ticks and scores lie, 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from keras_babysit.search.results.dimensions import Dimension
from keras_babysit.search.results.table import score_text, shown
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
        labels = [shown(choice) for choice in dimension.choices]
        return [
            (dimension.place(c), labels[i]) for i, c in enumerate(dimension.choices)
        ]
    low, high = dimension.low, dimension.high
    if low == high:
        return [(0.5, shown(low))]
    if dimension.sampling == "log":
        values = _decades(low, high)
    elif dimension.sampling == "reverse_log":
        values = [dimension.value(place) for place in (0.0, 0.5, 1.0)]
    else:
        values = _round(low, high, dimension.whole)
    kind = int if dimension.whole else float
    found = [(dimension.place(value), shown(kind(value))) for value in values]
    ends = [(place, shown(kind(end))) for place, end in ((0.0, low), (1.0, high))]
    # The ends say what was searched, so they come first.
    inner = [tick for tick in found if _ROOM < tick[0] < 1 - _ROOM]
    return [ends[0], *inner, ends[1]]


@dataclass(frozen=True)
class ScoreAxis:
    """The axis of the scores.

    Attributes:
        low: value at its lower end.
        high: value at its upper end.
        log: whether it is logarithmic.
        direction: `"min"` or `"max"`.
        cut: whether worse scores are drawn at its bad end.
    """

    low: float
    high: float
    log: bool
    direction: str
    cut: bool = False

    def place(self, score: float | None) -> float:
        """Returns where a score lies; NaN for none."""
        if score is None or not math.isfinite(score):
            return math.nan
        low, high = self._scaled(self.low), self._scaled(self.high)
        if low == high:
            return 0.5
        score = min(max(score, self.low), self.high)
        return (self._scaled(score) - low) / (high - low)

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
        if self.low == self.high:
            return [(0.5, score_text(self.low))]
        make = _decades if self.log else _round
        found = [(self.place(v), shown(float(v))) for v in make(self.low, self.high)]
        if not self.cut:
            return found
        bad, sign = (1.0, "≥") if self.direction == "min" else (0.0, "≤")
        end = self.high if self.direction == "min" else self.low
        kept = [tick for tick in found if abs(tick[0] - bad) > 0.08]
        return [*kept, (bad, f"{sign} {shown(float(f'{end:.2g}'))}")]

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value


@dataclass(frozen=True)
class View:
    """What is drawn.

    Attributes:
        objective: what is searched for.
        trials: the trials.
        shown: the hyperparameters, in their order.
        scores: the axis of the scores.
        best: number of the best trial.
    """

    objective: Objective
    trials: tuple[Trial, ...]
    shown: tuple[Dimension, ...]
    scores: ScoreAxis
    best: int | None


def score_axis(
    scores: Iterable[float | None], objective: Objective
) -> ScoreAxis | None:
    """Returns an axis that holds the scores, but for those far out on the bad side.

    `None` if there is no finite score.
    """
    finite = [s for s in scores if s is not None and math.isfinite(s)]
    if not finite:
        return None
    values = np.array(finite)
    log = values.min() > 0 and values.max() / values.min() > _WIDE
    scaled = np.log(values) if log else values
    first, third = np.quantile(scaled, [0.25, 0.75])
    low, high = scaled.min(), scaled.max()
    if objective.direction == "min":
        fence = third + 1.5 * (third - first)
        cut, high = high > fence, min(high, fence)
    else:
        fence = first - 1.5 * (third - first)
        cut, low = low < fence, max(low, fence)
    low, high = (math.exp(low), math.exp(high)) if log else (float(low), float(high))
    return ScoreAxis(low, high, bool(log), objective.direction, bool(cut))


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten, and where there are few, twice and five times them."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        values = [s * 10.0**e for e in exponents for s in steps]
        inside = [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / _MOST)]
    return sorted({low, *inside, high}) if len(inside) < 2 else inside


def _round(low: float, high: float, whole: bool = False) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    if whole and high - low < _MOST:
        return list(range(int(low), int(high) + 1))
    found = MaxNLocator(_MOST - 1, integer=whole).tick_values(low, high)
    slack = 1e-9 * (high - low)
    return [float(v) for v in found if low - slack <= v <= high + slack]


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
