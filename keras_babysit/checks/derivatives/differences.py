"""Slopes by centred differences, and how far a gradient is from them.

The advice is that of CS231n, "Gradient checks": centred differences, relative errors,
both zero passes, kinks set apart from mistakes, values that drown in rounding set
apart from both. All here is of plain functions of one number `t`, the way along some
direction from some point; where they come from, does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

#: A function along a direction: the way from the point to the value there.
Line = Callable[[float], float]

#: Steps to try, the first in the middle: in float64 the rounding of a centred
#: difference falls and its truncation grows with the step; they meet at eps ** (1/3).
STEPS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
#: Where a part is computed in float32, the same for its eps.
COARSE_STEPS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
#: A function noisier than this, relative to its terms, was not computed in float64.
_COARSE = 1e-12
#: CS231n: 1e-7 and less, be happy; 1e-4 is fine with kinks; 1e-2 is surely wrong.
HAPPY, FINE, WRONG = 1e-7, 1e-4, 1e-2
#: How much wider they are in float32; surely wrong is what is off by a tenth.
_COARSE_FINE, _COARSE_WRONG = 1e-2, 1e-1
#: Layers from which on an error of `WRONG` may have built up.
_DEEP = 10
#: Rounding may be off by this many of its standard deviations.
_DEVIATIONS = 8.0
#: Rounding must be smaller than this share of a slope for the slope to be judged.
_SHARP, _COARSE_SHARP = 1e-3, 3e-2
#: One-sided slopes that differ by a kink differ as much at a tenth of the step; those
#: of a smooth function by a tenth.
_STAYS = 0.3
EPS64 = float(np.finfo("float64").eps)
#: Order of the differences that show rounding, and the distance of their points: one
#: that float32 notices; and one within which hardly any ReLU has its corner, in
#: networks of a million as well.
_ORDER, _REACH, _NEAR = 7, 2e-6, 1e-9


@dataclass(frozen=True)
class Precision:
    """How well a function is computed.

    Attributes:
        noise: standard deviation of its values by rounding.
        steps: what to try, rising.
        sharp: share of a slope that rounding may be at most.
        fine: relative error up to which a slope is as it should be.
        wrong: relative error from which it is surely wrong.
        coarse: whether it is computed in less than float64.
    """

    noise: float
    steps: tuple[float, ...] = STEPS
    sharp: float = _SHARP
    fine: float = FINE
    wrong: float = WRONG
    coarse: bool = False


def precision_of(
    lines: Iterable[Line], value: float, scale: float, eps: float = EPS64
) -> Precision:
    """Measures how well a function is computed.

    Rounding shows in high differences over points so close to each other that a smooth
    function has none there (as in Hamming's and Moré and Wild's tables). It tells of
    parts that are computed in float32 whatever they are asked to.

    Args:
        lines: the function along some directions that move all it depends on by
            about its own size.
        value: the function's value.
        scale: size of the terms that the function is a sum of.
        eps: of the number format in which it is said to be computed.
    """
    lines, least = list(lines), eps * abs(value) / 4

    def noise(reach: float) -> float:
        # The least of them: a kink on the way would show as noise.
        return max(min((_noise(f, reach) for f in lines), default=0.0), least)

    far = noise(_REACH)
    if eps == EPS64 and far <= _COARSE * max(scale, abs(value)):
        # With many ReLUs there is a kink on every way. Without knowing it from
        # rounding, the small steps that avoid it would seem to drown.
        return Precision(min(far, noise(_NEAR)))
    return Precision(
        far,
        COARSE_STEPS,
        _COARSE_SHARP,
        _COARSE_FINE,
        _COARSE_WRONG,
        coarse=True,
    )


def _noise(line: Line, reach: float) -> float:
    # On one side only, and not from 0 on: kinks like to be exactly at a point.
    values = np.array([line(k * reach) for k in range(2, 4 + _ORDER)])
    high = np.diff(values, n=_ORDER)
    return float(np.sqrt(np.median(high**2) / math.comb(2 * _ORDER, _ORDER)))


@dataclass(frozen=True)
class Slope:
    """A derivative that was given, compared with the one that is measured.

    Attributes:
        given: by the model's own gradient.
        measured: by a centred difference.
        error: |given − measured| / max(|given|, |measured|), 0 if both are 0; the
            least over the steps tried.
        step: at which it was least.
        state: `"equal"`; `"zero"`: both 0; `"small"`: so small that what is between
            them may be rounding; `"kink"`: the function has a kink there;
            `"different"`.
    """

    given: float
    measured: float
    error: float
    step: float
    state: str


@dataclass(frozen=True)
class _Difference:
    given: float
    step: float
    above: float  # The slope above the point, and that below it.
    below: float
    bound: float  # How far rounding may put a slope off.

    @property
    def centred(self) -> float:
        return (self.above + self.below) / 2

    @property
    def size(self) -> float:
        return max(abs(self.given), abs(self.centred))

    @property
    def off(self) -> float:
        return abs(self.given - self.centred)

    @property
    def error(self) -> float:
        return self.off / self.size if self.size else 0.0

    @property
    def rounding(self) -> bool:
        return self.off <= self.bound

    @property
    def width(self) -> float:
        return abs(self.above - self.below)

    @property
    def between(self) -> bool:
        """Whether the given slope is one that a kink may have."""
        low, high = sorted((self.above, self.below))
        return low - 2 * self.bound <= self.given <= high + 2 * self.bound


def compare(line: Line, given: float, precision: Precision) -> Slope:
    """Compares a given slope with centred differences.

    The step is swept until one agrees: no single one suits functions of all sizes. A
    wrong gradient disagrees at each.

    Args:
        line: the function along a direction.
        given: its slope at 0, as the gradient has it.
        precision: how well the function is computed.
    """
    if not np.isfinite(given):
        return Slope(given, np.nan, np.inf, precision.steps[0], "different")
    middle = line(0.0)
    tried: list[_Difference] = []
    for step in _steps(precision, tried):
        above, below = line(step) - middle, middle - line(-step)
        bound = _DEVIATIONS * precision.noise / step
        new = _Difference(given, step, above / step, below / step, bound)
        if not np.isfinite([new.above, new.below]).all():
            continue
        tried.append(new)
        if given == 0.0 and new.rounding:
            return Slope(0.0, new.centred, 0.0, step, "zero")
        if new.error <= HAPPY or (len(tried) > 2 and _best(tried).error < FINE):
            break
    if not tried:
        return Slope(given, np.nan, np.inf, precision.steps[0], "different")
    return _judged(tried, precision)


def _steps(precision: Precision, tried: list[_Difference]) -> Iterator[float]:
    """Yields the middle step; then larger ones if it was rounding, else smaller."""
    middle = len(precision.steps) // 2
    yield precision.steps[middle]
    smaller = precision.steps[:middle][::-1]
    larger = precision.steps[middle + 1 :]
    noisy = bool(tried) and tried[0].rounding
    yield from (*larger, *smaller) if noisy else (*smaller, *larger)


def _best(tried: list[_Difference]) -> _Difference:
    return min(tried, key=lambda d: d.error)


def _judged(tried: list[_Difference], precision: Precision) -> Slope:
    sharp = [d for d in tried if d.bound <= precision.sharp * d.size]
    best = _best(sharp or tried)
    if any(d.error <= precision.fine for d in sharp):
        state = "equal"
    elif any(d.rounding for d in sharp or tried):
        state = "small"
    elif _is_kink(sharp, precision):
        state = "kink"
    else:
        state = "different"
    return Slope(best.given, best.centred, best.error, best.step, state)


def _is_kink(sharp: list[_Difference], precision: Precision) -> bool:
    """Whether the slopes on both sides stay apart, and the given one is between."""
    rising = sorted(sharp, key=lambda d: d.step)
    if len(rising) < 2 or not all(d.between for d in rising[:3]):
        return False
    small, large = rising[0], rising[1]
    return small.width > max(_STAYS * large.width, precision.fine * small.size)


def settled(attempts: Iterator[Slope]) -> Slope:
    """Compares at one point, and where that fails at others close by.

    A kink that a function has exactly at a point (a ReLU of a bias that is zero, a
    tie between two maxima) is not there a little aside; a wrong gradient is. It has to
    be seen twice. Where kinks of several terms cancel out, both sides agree and still
    the gradient differs: that is found only this way, too.

    Args:
        attempts: yields the same comparison at other points.

    Returns:
        The first one, if it did not fail; a kink, if that passed elsewhere; else one
        that failed.
    """
    first = last = next(attempts)
    failures = int(first.state == "different")
    while last.state in ("different", "kink"):
        if failures > 1:
            return first if first.state == "different" else last
        following = next(attempts, None)
        if following is None:
            break
        last = following
        failures += last.state == "different"
    if last is first and first.state != "kink":
        return first
    return Slope(first.given, first.measured, first.error, first.step, "kink")


def ratio(slopes: Iterable[Slope]) -> float | None:
    """Returns what given slopes are a multiple of measured ones, if always the same."""
    found = [s.given / s.measured if s.measured else np.inf for s in slopes]
    if not found or not np.isfinite(found).all():
        return None
    middle = float(np.median(found))
    same = np.ptp(found) <= 1e-3 * max(abs(middle), 1e-3)
    return middle if same else None


def spelled(factor: float | None) -> str:
    """What is wrong with a gradient that is a multiple of the true one."""
    if factor is None:
        return "wrong"
    if abs(factor) < 1e-9:
        return "zero"
    if abs(factor + 1) < 1e-3:
        return "wrong sign"
    digits = f"{factor:.4g}"
    return "slightly off" if digits == "1" else f"{digits} × the true one"


def tolerated(depth: int) -> float:
    """The relative error that may build up on the way through so many layers.

    CS231n: 1e-4 is too high for few layers, 1e-2 may be fine for ten.
    """
    return float(
        FINE * (WRONG / FINE) ** (np.clip(depth - 1, 0, _DEEP - 1) / (_DEEP - 1))
    )


def direction(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Returns a random direction of length 1 in which no coordinate stays out."""
    signs = random.integers(0, 2, shape) * 2.0 - 1.0
    return np.asarray(signs / np.sqrt(max(signs.size, 1)))


def nudged(
    values: np.ndarray, random: np.random.Generator, share: float = 1e-3
) -> np.ndarray:
    """Returns values moved a little, each its own way: far beyond any small step."""
    return values + share * (rms(values) or 0.1) * random.normal(size=values.shape)


def rms(values: np.ndarray) -> float:
    """Returns the root mean square; 0 of no values."""
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0
