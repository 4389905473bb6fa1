"""What a schedule is: a frozen value that turns a step into a learning rate."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_babysit.schedules import lengths


@dataclass(frozen=True, repr=False)
class Schedule(keras.optimizers.schedules.LearningRateSchedule, abc.ABC):
    """A learning rate as a pure function of the step, with lengths in epochs or steps.

    Steps are what Keras calls a schedule with: the batches that the optimizer has
    seen, from 0. That holds with `gradient_accumulation_steps` too, so
    `steps_per_epoch` is always the number of batches in an epoch.

    Called with a tensor it computes with `keras.ops` in float32 (float64 if that is
    `keras.config.floatx()`); steps stay whole numbers as long as possible, so that
    steps beyond 2²⁴ are exact. Called with a number or a NumPy array it computes
    in float64 with NumPy and returns a `float64` or an array of them.

    A composition has one `steps_per_epoch`: given to any part of it, it holds for all.

    Args:
        steps_per_epoch: number of batches in an epoch; needed where a length is in
            epochs, here or later through what contains the schedule,
            `with_steps_per_epoch` or `keras_babysit.ScheduleLearningRate`.

    Example:
    ```python
    rate = StepDecay(0.1, factor=0.5, epochs=30)
    rate = rate.with_steps_per_epoch(500)
    model.compile(keras.optimizers.SGD(rate), loss)
    ```
    """

    _: KW_ONLY
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        if self.steps_per_epoch is not None:
            self._set("steps_per_epoch", self.steps_per_epoch, lengths.whole)

    def __call__(self, step: Any) -> Any:
        """Returns the rate of a step (or of each of several).

        Raises:
            ValueError: if a length is in epochs and `steps_per_epoch` is not known;
                for numbers below 0.
        """
        self._need_steps_per_epoch()
        if isinstance(step, int | float | np.ndarray | np.generic):
            if np.any(np.less(step, 0)):
                raise ValueError(
                    f"`step` must not be negative: steps count from 0. Received: {step}"
                )
            # Not `np.float64(...)`: of an array of one, NumPy 2.0 makes a number.
            return np.asarray(self._rate(np.asarray(step), np), np.float64)[()]
        return self._rate(ops.convert_to_tensor(step), ops)

    def __repr__(self) -> str:
        """Arguments that are not as by default, as they would be written."""
        shown = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING and not field.kw_only:
                shown.append(repr(value))
            elif value != field.default:
                shown.append(f"{field.name}={value!r}")
        shown.sort(key=lambda text: "=" in text.split("(")[0])
        return f"{type(self).__name__}({', '.join(shown)})"

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, contained schedules serialised."""
        return {
            field.name: _serialised(getattr(self, field.name))
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes a schedule of what `get_config` returned."""
        return cls(**{name: _deserialised(value) for name, value in config.items()})

    def with_steps_per_epoch(self, steps_per_epoch: int) -> Self:
        """Returns this schedule for epochs of so many batches.

        Raises:
            ValueError: if it is not positive and whole, or another one is set.
        """
        n = lengths.whole("steps_per_epoch", steps_per_epoch)
        if self.steps_per_epoch not in (None, n):
            raise ValueError(
                f"{type(self).__name__} has steps_per_epoch={self.steps_per_epoch} "
                f"already. Received: steps_per_epoch={n}"
            )
        return bound(self, n)

    def ends(
        self, *, epochs: float | None = None, steps: int | None = None
    ) -> np.ndarray:
        """Returns the steps that end a cycle: where to take a snapshot.

        Args:
            epochs: how long the training is, in epochs;
            steps: or in steps.

        Returns:
            The last step (from 0) of each cycle that ends within the training, as an
            `int64` array. Empty for curves without cycles.
        """
        lengths.one_of(epochs, steps, "`ends`")
        self._need_steps_per_epoch()
        if steps is not None:
            total = lengths.whole("steps", steps)
        elif self.steps_per_epoch is None:
            raise ValueError("`ends(epochs=...)` needs a `steps_per_epoch`")
        else:
            total = lengths.in_steps(
                lengths.epochs_length("epochs", epochs), self.steps_per_epoch
            )
        found = np.asarray(self._ends(total), "int64")
        return found[found < total]

    def to_keras(self) -> Any:
        """Returns Keras's own schedule of the same curve, where there is one.

        A model saved with it loads without keras_babysit.

        Raises:
            ValueError: if Keras has none, or `steps_per_epoch` is needed and unknown.
        """
        raise ValueError(f"Keras has no schedule of the curve of {self!r}")

    def units(self) -> set[str]:
        """Returns what its lengths, and those it contains, are in: epochs, steps."""
        return {unit for unit, _ in self._lengths()}

    @abc.abstractmethod
    def _rate(self, step: Any, xp: Any) -> Any:
        """Returns the rate; `xp` is `numpy` or `keras.ops`, as the step is."""

    def _ends(self, total: int) -> Any:
        return []

    def _lengths(self) -> Iterator[tuple[str, float]]:
        """Yields unit and size of each length in it."""
        yield from ()

    def _need_steps_per_epoch(self) -> None:
        if self.steps_per_epoch is None and "epochs" in self.units():
            raise ValueError(
                f"{type(self).__name__} has lengths in epochs, so it needs to know "
                "how many batches an epoch has. Expected: steps_per_epoch=... as its "
                "argument (len(x) / batch_size, rounded up). Received: "
                f"{self!r}"
            )

    def _set(self, name: str, value: Any, check: Any, *args: Any) -> None:
        object.__setattr__(self, name, check(name, value, *args))


@dataclass(frozen=True, repr=False)
class Timed(Schedule):
    """A schedule with one length, in epochs or in steps.

    Args:
        epochs: the length in epochs, a number; rounded to whole steps,
        steps: or in steps, a whole number.
    """

    _: KW_ONLY
    epochs: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths.one_of(self.epochs, self.steps, type(self).__name__)
        if self.steps is not None:
            self._set("steps", self.steps, lengths.whole)
        else:
            self._set("epochs", self.epochs, lengths.epochs_length)
        if self.epochs is not None and self.steps_per_epoch is not None:
            lengths.in_steps(self.epochs, self.steps_per_epoch)

    @property
    def length(self) -> int:
        """The length in steps."""
        if self.steps is not None:
            return self.steps
        self._need_steps_per_epoch()
        assert self.epochs is not None
        assert self.steps_per_epoch is not None
        return lengths.in_steps(self.epochs, self.steps_per_epoch)

    def _lengths(self) -> Iterator[tuple[str, float]]:
        if self.steps is not None:
            yield "steps", self.steps
        elif self.epochs is not None:
            yield "epochs", self.epochs


def bound(schedule: Any, steps_per_epoch: int) -> Any:
    """Returns a schedule, and all in it, for epochs of so many batches.

    Keras's own count steps only and are returned as they are.
    """
    if not isinstance(schedule, Schedule):
        return schedule
    inside = {
        field.name: _each(getattr(schedule, field.name), steps_per_epoch)
        for field in dataclasses.fields(schedule)
    }
    return dataclasses.replace(
        schedule, **{**inside, "steps_per_epoch": steps_per_epoch}
    )


def _each(value: Any, steps_per_epoch: int) -> Any:
    if isinstance(value, tuple):
        return tuple(bound(item, steps_per_epoch) for item in value)
    return bound(value, steps_per_epoch)


def one_steps_per_epoch(own: int | None, parts: tuple[Any, ...]) -> int | None:
    """Returns the `steps_per_epoch` of a composition.

    Raises:
        ValueError: if its parts disagree.
    """
    found = [own, *(getattr(part, "steps_per_epoch", None) for part in parts)]
    known = sorted({n for n in found if n is not None})
    if len(known) > 1:
        raise ValueError(
            "All schedules in one must have the same `steps_per_epoch`. "
            f"Received: {', '.join(map(str, known))}"
        )
    return known[0] if known else None


def lengths_of(schedule: Any) -> Iterator[tuple[str, float]]:
    """Yields unit and size of the lengths in a schedule; Keras's count steps."""
    if isinstance(schedule, Schedule):
        yield from schedule._lengths()
    else:
        yield "steps", 1


def rate_of(schedule: Any, step: Any, xp: Any) -> Any:
    """Returns the rate of ours or of Keras's schedules, by `numpy` or `keras.ops`."""
    if isinstance(schedule, Schedule):
        return schedule._rate(step, xp)
    if xp is ops:
        return real(schedule(step), ops)
    # Keras's are made for one step at a time, and always work with tensors.
    rates = [float(ops.convert_to_numpy(schedule(s))) for s in step.ravel().tolist()]
    return np.reshape(rates, step.shape)


def real(x: Any, xp: Any) -> Any:
    """Returns whole numbers as floats, in the precision in which we compute."""
    if xp is np:
        return np.asarray(x, "float64")
    # Not floatx as such: half precision has no step beyond 65,504.
    return ops.cast(x, "float64" if keras.config.floatx() == "float64" else "float32")


def _serialised(value: Any) -> Any:
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return keras.optimizers.schedules.serialize(value)
    if isinstance(value, tuple):
        return [_serialised(item) for item in value]
    return value


def _deserialised(value: Any) -> Any:
    if isinstance(value, dict):
        return keras.optimizers.schedules.deserialize(value)
    if isinstance(value, list):
        return tuple(_deserialised(item) for item in value)
    return value
