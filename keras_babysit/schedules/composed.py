"""Schedules made of schedules, ours or Keras's; each sees its own time from 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import keras
import numpy as np

from keras_babysit.errors import wrong
from keras_babysit.schedules import lengths
from keras_babysit.schedules.decays import Constant
from keras_babysit.schedules.schedule import (
    Schedule,
    Timed,
    bound,
    lengths_of,
    one_steps_per_epoch,
    rate_of,
    real,
)

_register = keras.saving.register_keras_serializable(package="keras_babysit")


@_register
@dataclass(frozen=True, repr=False)
class WarmUp(Timed):
    """Rises in a straight line to the start of a schedule, which then takes over.

    Goyal et al., "Accurate, Large Minibatch SGD" (2017). The schedule's own time begins
    after the warm-up, so its lengths do not include it. `WarmUp` of a cosine is Keras's
    `CosineDecay(..., warmup_target=...)`.

    Args:
        schedule: a schedule, ours or Keras's, or a rate to stay at.
        initial_learning_rate: the rate of step 0. Default: the schedule's first rate
            divided by the length plus one, so that the rate rises by equal amounts and
            no step has a rate of 0.
        epochs: length of the warm-up in epochs (rounded to whole steps),
        steps: or in steps.
        steps_per_epoch: see `Schedule`; holds for `schedule` too.

    Raises:
        ValueError: for arguments out of range, or not exactly one length.

    Example:
    ```python
    WarmUp(CosineCycles(0.1, epochs=85, cycles=1), epochs=5, steps_per_epoch=500)
    ```
    """

    schedule: Any
    initial_learning_rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self, "schedule", _schedule("schedule", self.schedule))
        if self.initial_learning_rate is not None:
            self._set(
                "initial_learning_rate", self.initial_learning_rate, lengths.rate, True
            )

    def _rate(self, step: Any, xp: Any) -> Any:
        later = rate_of(self.schedule, xp.maximum(step - self.length, 0), xp)
        top = rate_of(self.schedule, xp.zeros_like(step), xp)
        start = self.initial_learning_rate
        low = top / (self.length + 1) if start is None else start
        share = real(xp.minimum(step, self.length), xp) / self.length
        return xp.where(step < self.length, low * (1.0 - share) + top * share, later)

    def _ends(self, total: int) -> Any:
        return _shifted(self.schedule, self.length, total)

    def _lengths(self) -> Iterator[tuple[str, float]]:
        yield from super()._lengths()
        yield from lengths_of(self.schedule)


@_register
@dataclass(frozen=True, repr=False)
class Chain(Schedule):
    """One schedule after the other, each for its length and with its own time from 0.

    A chain of `Constant`s is Keras's `PiecewiseConstantDecay`, except that there a
    boundary is the last step of the part before it, here the first of the part after.

    Args:
        schedules: schedules, ours or Keras's, or rates to stay at; at least one.
        epochs: how long each takes, in epochs (rounded to whole steps); one fewer than
            `schedules`, as the last one never ends;
        steps: or in steps.
        steps_per_epoch: see `Schedule`; holds for all in it.

    Raises:
        ValueError: for arguments out of range, a wrong number of lengths, or a warm-up
            that is longer than its part.

    Example:
    ```python
    decay = ExponentialDecay(0.1, k=0.1, epochs=1)
    Chain([0.1, decay], epochs=[20], steps_per_epoch=500)
    ```
    """

    schedules: tuple[Any, ...]
    _: KW_ONLY
    epochs: tuple[float, ...] | None = None
    steps: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths.one_of(self.epochs, self.steps, type(self).__name__)
        parts = tuple(
            _schedule(f"schedules[{i}]", part)
            for i, part in enumerate(_sequence("schedules", self.schedules))
        )
        if self.steps is not None:
            self._set("steps", self.steps, _all, lengths.whole)
        else:
            self._set("epochs", self.epochs, _all, lengths.epochs_length)
        given = self.steps if self.steps is not None else self.epochs
        if not parts or len(given or ()) != len(parts) - 1:
            raise ValueError(
                "A Chain needs one length fewer than schedules, as the last one never "
                f"ends. Received: {len(parts)} schedules and "
                f"{len(given or ())} lengths"
            )
        _share(self, "schedules", parts)
        for part, (unit, size) in zip(self.schedules, self._own(), strict=False):
            _check_warm_up(part, unit, size, self.steps_per_epoch)

    def _rate(self, step: Any, xp: Any) -> Any:
        starts = self._starts()
        rate = None
        for i, (part, start) in enumerate(zip(self.schedules, starts, strict=True)):
            # Clipped to its time, so that no part is asked for what may overflow.
            own = xp.maximum(step - start, 0)
            if i + 1 < len(starts):
                own = xp.minimum(own, starts[i + 1] - start)
            value = rate_of(part, own, xp)
            rate = value if rate is None else xp.where(step < start, rate, value)
        return rate

    def _starts(self) -> list[int]:
        """Returns the first step of each part."""
        if self.steps is not None:
            sizes = list(self.steps)
        else:
            self._need_steps_per_epoch()
            n = self.steps_per_epoch or 0
            sizes = [lengths.in_steps(e, n) for e in self.epochs or ()]
        return [0, *np.cumsum(sizes, dtype="int64").tolist()]

    def _ends(self, total: int) -> Any:
        starts = self._starts()
        stops = [*starts[1:], total]
        found: list[int] = []
        for part, start, stop in zip(self.schedules, starts, stops, strict=True):
            found += _shifted(part, start, max(start, min(stop, total)))
        return found

    def _own(self) -> list[tuple[str, float]]:
        unit = "steps" if self.steps is not None else "epochs"
        return [(unit, size) for size in getattr(self, unit)]

    def _lengths(self) -> Iterator[tuple[str, float]]:
        yield from self._own()
        for part in self.schedules:
            yield from lengths_of(part)


def _share(composition: Any, name: str, parts: Any) -> None:
    """Sets parts that all have the `steps_per_epoch` that any of them has."""
    as_tuple = parts if isinstance(parts, tuple) else (parts,)
    n = one_steps_per_epoch(composition.steps_per_epoch, as_tuple)
    if n is not None:
        as_tuple = tuple(bound(part, n) for part in as_tuple)
    value = as_tuple if isinstance(parts, tuple) else as_tuple[0]
    object.__setattr__(composition, name, value)
    object.__setattr__(composition, "steps_per_epoch", n)


def _schedule(name: str, value: Any) -> Any:
    """Returns a schedule; of a number, a constant one."""
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return value
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return Constant(lengths.rate(name, value, True))
    raise wrong(name, "a LearningRateSchedule or a learning rate", value)


def _sequence(name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple | np.ndarray):
        raise ValueError(f"`{name}` must be a list. Received: {name}={value!r}")
    return tuple(value)


def _all(name: str, value: Any, check: Any) -> tuple[Any, ...]:
    items = _sequence(name, value)
    return tuple(check(f"{name}[{i}]", item) for i, item in enumerate(items))


def _shifted(schedule: Any, start: int, stop: int) -> list[int]:
    """Returns the ends of cycles of a part that runs from `start` up to `stop`."""
    if not isinstance(schedule, Schedule) or stop <= start:
        return []
    found = np.asarray(schedule._ends(stop - start), "int64") + start
    return found[found < stop].tolist()


def _check_warm_up(part: Any, unit: str, size: float, n: int | None) -> None:
    """Raises if a part of a chain is over before it is warm."""
    if not isinstance(part, WarmUp):
        return
    own = getattr(part, unit)
    if n is not None:
        own = part.length
        size = size if unit == "steps" else lengths.in_steps(size, n)
        unit = "steps"
    if own is not None and own > size:
        raise ValueError(
            f"A warm-up must not be longer than its part of the Chain, of {size:g} "
            f"{unit}. Received: {part!r}"
        )
