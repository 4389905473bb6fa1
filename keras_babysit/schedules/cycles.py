"""Rates that rise again: Smith's one cycle, and cosine cycles with warm restarts."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_babysit.errors import wrong
from keras_babysit.schedules import lengths
from keras_babysit.schedules.schedule import Timed, real

_register = keras.saving.register_keras_serializable(package="keras_babysit")

#: Steps that cycles of growing length are laid out for: what an int32 counts to.
_HORIZON = 2.0**31


@_register
@dataclass(frozen=True, repr=False)
class OneCycle(Timed):
    """Rises to a high rate, falls again, and ends far below where it started.

    Smith & Topin, "Super-Convergence" (2017); Smith, "A disciplined approach to neural
    network hyper-parameters: Part 1" (2018), who takes the highest rate from a range
    test, starts at a tenth of it, and ends ("annihilation") several orders of magnitude
    lower. After its length the rate stays at the end rate.

    Args:
        max_learning_rate: the rate at the top.
        initial_learning_rate: where it begins, and returns to after the way down; at
            most the maximum. Default: a tenth of it.
        end_learning_rate: where it ends; at most the initial rate. Default: a
            hundredth of that.
        up: share of the length for the way up, greater than 0.
        down: share for the way down; what is left is annihilation.
        shape: `"linear"`, or `"cosine"` for slopes that start and end flat.
        epochs: length of the whole in epochs (rounded to whole steps),
        steps: or in steps.
        steps_per_epoch: see `Schedule`.

    Raises:
        ValueError: for arguments out of range, or not exactly one length.

    Example:
    ```python
    OneCycle(1.0, epochs=30, steps_per_epoch=500, shape="cosine")
    ```
    """

    max_learning_rate: float
    initial_learning_rate: float | None = None
    end_learning_rate: float | None = None
    up: float = 0.45
    down: float = 0.45
    shape: str = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("max_learning_rate", self.max_learning_rate, lengths.rate)
        if self.initial_learning_rate is None:
            object.__setattr__(self, "initial_learning_rate", self._top / 10)
        if self.end_learning_rate is None:
            object.__setattr__(self, "end_learning_rate", self._start / 100)
        self._set("initial_learning_rate", self.initial_learning_rate, lengths.rate)
        self._set("end_learning_rate", self.end_learning_rate, lengths.rate, True)
        if not self._end <= self._start <= self._top:
            raise ValueError(
                "Expected: end_learning_rate <= initial_learning_rate <= "
                f"max_learning_rate. Received: end_learning_rate={self._end:g}, "
                f"initial_learning_rate={self._start:g}, max_learning_rate="
                f"{self._top:g}"
            )
        self._set("up", self.up, lengths.number, *lengths.FACTOR)
        self._set("down", self.down, lengths.number, *_DOWN)
        # Not exactly 1: 0.7 + 0.3 is less, 0.9 + 0.1 is not.
        if self.up + self.down > 1 + 1e-9:
            raise ValueError(
                "The ways up and down must not be longer than the whole: expected "
                f"up + down <= 1. Received: up={self.up}, down={self.down}"
            )
        if self.shape not in ("linear", "cosine"):
            raise wrong("shape", "'linear' or 'cosine'", self.shape)

    @property
    def _top(self) -> float:
        return float(self.max_learning_rate)

    @property
    def _start(self) -> float:
        return float(self.initial_learning_rate)  # type: ignore[arg-type]

    @property
    def _end(self) -> float:
        return float(self.end_learning_rate)  # type: ignore[arg-type]

    def _knots(self) -> list[tuple[float, float]]:
        """Returns times and rates between which the rate goes one way."""
        top = self.up * self.length
        back = min((self.up + self.down) * self.length, float(self.length))
        times = (0.0, top, back, float(self.length))
        return list(
            zip(times, (self._start, self._top, self._start, self._end), strict=True)
        )

    def _rate(self, step: Any, xp: Any) -> Any:
        time = real(xp.minimum(step, self.length), xp)
        knots, rate = self._knots(), self._start
        for (t0, a), (t1, b) in itertools.pairwise(knots):
            if t1 - t0 < 1e-9 * self.length:
                continue  # No way down, or no annihilation.
            share = xp.clip((time - t0) / (t1 - t0), 0.0, 1.0)
            if self.shape == "cosine":
                share = (1.0 - xp.cos(math.pi * share)) / 2.0
            # Not a + (b - a) * share, whose error at the end is as large as a's.
            rate = xp.where(time >= t0, a * (1.0 - share) + b * share, rate)
        return rate

    def _ends(self, total: int) -> Any:
        return [self.length - 1]


@_register
@dataclass(frozen=True, repr=False)
class CosineCycles(Timed):
    """Falls along half a cosine, jumps back up, and repeats: SGDR's warm restarts.

    end + (initial − end) · factor^i · (1 + cos(π t/T)) / 2 at step t of the i-th
    cycle, T steps long. Loshchilov & Hutter, "SGDR" (2016); with `multiplier=1` it is
    the schedule of snapshot ensembles (Huang et al., 2017), and `ends` returns when to
    take the snapshots. Keras's `CosineDecayRestarts` is the same curve, except that its
    float32 logarithm misses some restarts by a step (with 10 steps and `t_mul=1.2` that
    at step 22); with `cycles=1` it is `CosineDecay`.

    Args:
        initial_learning_rate: where the first cycle begins.
        end_learning_rate: what each cycle goes down to; not above the initial rate.
        multiplier: each cycle is this many times as long as the one before: 1, or at
            least 1.01.
        factor: each cycle starts this many times as high (above the end rate) as the
            one before, greater than 0 and at most 1.
        cycles: number of cycles, after which the rate stays at the end; `None` for
            no end.
        epochs: length of the first cycle in epochs (rounded to whole steps),
        steps: or in steps.
        steps_per_epoch: see `Schedule`.

    Raises:
        ValueError: for arguments out of range, or not exactly one length.

    Example:
    ```python
    cycles = CosineCycles(0.1, epochs=10, cycles=5, steps_per_epoch=500)
    cycles.ends(epochs=50)  # [4999, 9999, 14999, 19999, 24999]
    ```
    """

    initial_learning_rate: float
    end_learning_rate: float = 0.0
    multiplier: float = 1.0
    factor: float = 1.0
    cycles: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("initial_learning_rate", self.initial_learning_rate, lengths.rate)
        self._set("end_learning_rate", self.end_learning_rate, lengths.rate, True)
        if self.end_learning_rate > self.initial_learning_rate:
            raise ValueError(
                "`end_learning_rate` must not be above the initial one. Received: "
                f"initial_learning_rate={self.initial_learning_rate:g}, "
                f"end_learning_rate={self.end_learning_rate:g}"
            )
        self._set("multiplier", self.multiplier, lengths.number, *_MULTIPLIER)
        self._set("factor", self.factor, lengths.number, *lengths.FACTOR)
        if self.cycles is not None:
            self._set("cycles", self.cycles, lengths.whole)

    def _rate(self, step: Any, xp: Any) -> Any:
        number, share = self._place(step, xp)
        height = self.initial_learning_rate - self.end_learning_rate
        wave = (1.0 + xp.cos(math.pi * share)) / 2.0
        return self.end_learning_rate + height * self.factor**number * wave

    def _place(self, step: Any, xp: Any) -> tuple[Any, Any]:
        """Returns the cycle, from 0, and what share of it has passed, both as floats.

        Whole numbers as long as possible: a float32 cannot tell late steps apart.
        """
        if self.multiplier == 1:
            number = step // self.length
            if self.cycles is not None:
                number = xp.minimum(number, self.cycles - 1)
            share = real(step - number * self.length, xp) / self.length
        else:
            firsts, early, sizes = self._layout
            kind = keras.backend.standardize_dtype(step.dtype)
            table = firsts if xp is np else xp.cast(firsts, kind)
            # Flat, for TensorFlow searches for no single number.
            flat = xp.searchsorted(table, xp.reshape(step, (-1,)), side="right")
            number = xp.reshape(flat, step.shape) - 1
            whole = step - xp.take(table, number)
            passed = real(whole, xp) + xp.take(real(early, xp), number)
            share = passed / xp.take(real(sizes, xp), number)
        return real(number, xp), xp.minimum(share, 1.0)

    @functools.cached_property
    def _layout(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First step of each cycle, how much earlier it began, and its length.

        Lengths need not be whole: 3 steps, then 4.5, then 6.75.
        """
        m, n = self.multiplier, self.length
        count = math.ceil(math.log(1 + _HORIZON * (m - 1) / n) / math.log(m))
        count = max(1, count if self.cycles is None else min(count, self.cycles))
        sizes = n * m ** np.arange(count)
        starts = np.concatenate([[0.0], np.cumsum(sizes)[:-1]])
        firsts = _up(starts)
        return firsts, firsts - starts, sizes

    def _ends(self, total: int) -> Any:
        if self.multiplier == 1:
            count = total // self.length
            count = count if self.cycles is None else min(count, self.cycles)
            return self.length * np.arange(1, count + 1) - 1
        _, _, sizes = self._layout
        return _up(np.cumsum(sizes)) - 1

    def to_keras(self) -> Any:
        """Returns Keras's `CosineDecayRestarts`, or `CosineDecay` for one cycle."""
        initial, length = self.initial_learning_rate, self.length
        alpha = self.end_learning_rate / initial
        if self.cycles == 1:
            return keras.optimizers.schedules.CosineDecay(initial, length, alpha)
        if self.cycles is not None:
            return super().to_keras()
        return keras.optimizers.schedules.CosineDecayRestarts(
            initial, length, self.multiplier, self.factor, alpha
        )


def _up(times: np.ndarray) -> np.ndarray:
    """Rounds up to whole steps, but for what rounding errors are above one."""
    nearest = np.round(times)
    near = np.abs(times - nearest) <= 1e-9 * np.maximum(nearest, 1)
    return np.where(near, nearest, np.ceil(times)).astype("int64")


_DOWN = ("from 0 to 1", lambda v: 0 <= v <= 1)
_MULTIPLIER = ("that is 1 or at least 1.01", lambda v: v == 1 or v >= 1.01)
