"""Where in a training cycles end, counted in epochs or in batches."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_babysit.callbacks.schedule_learning_rate import (
    ScheduleLearningRate,
    batches_seen,
    inner,
    schedule_in_fit,
)
from keras_babysit.schedules import CosineCycles, Schedule
from keras_babysit.schedules.schedule import bound

#: How many batches to look ahead where Keras cannot know how many an epoch has.
_UNKNOWN = 1_000_000


class Due(NamedTuple):
    """A snapshot to take.

    Attributes:
        number: which of the cycles ends, from 0.
        unit: `"epoch"` or `"step"`.
        after: after how many epochs or batches.
    """

    number: int
    unit: str
    after: int


class Ends(abc.ABC):
    """Says, while a model trains, when a cycle ends."""

    @abc.abstractmethod
    def begin_epoch(self, model: keras.Model, epoch: int) -> Due | None:
        """Looks at the epoch that begins; returns what is due exactly there."""

    @abc.abstractmethod
    def epochs_ahead(self, unit: str, count: int) -> float:
        """How many epochs after the beginning of this one a file was written.

        Args:
            unit: `"epoch"` or `"step"`, as in the file's name;
            count: and how many of them.

        Returns:
            0 or less for what this training has been through already; infinity for
            files of another kind of training.
        """

    def after_batch(self, model: keras.Model, batch: int) -> Due | None:
        """What is due after a batch of the epoch (from 0)."""
        return None

    def after_epoch(self, epoch: int) -> Due | None:
        """What is due after an epoch (from 0)."""
        return None


class EpochEnds(Ends):
    """Cycles of whole epochs.

    Args:
        ends: the last epoch (from 0) of each cycle.
    """

    def __init__(self, ends: Any):
        self._numbers = {int(end): number for number, end in enumerate(ends)}
        self._epoch = 0

    def begin_epoch(self, model: keras.Model, epoch: int) -> Due | None:
        """See `Ends`."""
        self._epoch = epoch
        return self.after_epoch(epoch - 1)

    def epochs_ahead(self, unit: str, count: int) -> float:
        """See `Ends`."""
        return count - self._epoch if unit == "epoch" else np.inf

    def after_epoch(self, epoch: int) -> Due | None:
        """See `Ends`."""
        number = self._numbers.get(epoch)
        return None if number is None else Due(number, "epoch", epoch + 1)


class StepEnds(Ends):
    """Cycles of batches, as the optimizer counts them.

    Args:
        schedule: a schedule with cycles, which knows how long epochs are.
        params: the parameters of the `fit`.
        rates: the callback that sets the rate, which may count batches that this
            optimizer has not seen.
    """

    def __init__(
        self,
        schedule: Schedule,
        params: dict[str, Any],
        rates: ScheduleLearningRate | None = None,
    ):
        self._schedule, self._rates = schedule, rates
        self._size, self._epochs = params.get("steps"), params.get("epochs") or 1
        self._start = self._added = self._next = 0
        self._ends = np.zeros(0, "int64")

    def begin_epoch(self, model: keras.Model, epoch: int) -> Due | None:
        """Counts again: the optimizer's count may have been restored."""
        self._added = 0 if self._rates is None else self._rates.batches_added(epoch)
        self._start = self._count(model)
        left = max(1, self._epochs - epoch) * (self._size or _UNKNOWN)
        self._ends = _ends(self._schedule, self._start + left, "steps")
        ended = int(np.searchsorted(self._ends, self._start))
        # It may be ahead, where Keras did not stop at the end of a cycle.
        self._next = max(self._next, ended)
        if ended and self._ends[ended - 1] + 1 == self._start:
            return self._due(ended - 1, self._start)
        return None

    def epochs_ahead(self, unit: str, count: int) -> float:
        """See `Ends`."""
        if unit == "epoch":
            if self._size is None:
                return np.inf
            count *= self._size
        return (count - self._start) / (self._size or _UNKNOWN)

    def after_batch(self, model: keras.Model, batch: int) -> Due | None:
        """See `Ends`."""
        if not self._ends_before_next(self._start + batch + 1, model, batch):
            return None
        # Only now, for that waits for the step: loss scaling skips batches.
        count = self._count(model)
        self._start = count - batch - 1
        if not self._ends_before_next(count, model, batch):
            return None
        self._next += 1
        return self._due(self._next - 1, count)

    def _ends_before_next(self, count: int, model: keras.Model, batch: int) -> bool:
        """Whether the rate goes up before the next call of a callback."""
        if self._next >= len(self._ends):
            return False
        at_once = model.steps_per_execution
        at_once = at_once if isinstance(at_once, int) else 1
        if self._size is not None:
            left = self._size - batch - 1
            at_once = min(at_once, left if left > 0 else self._size)
        return bool(self._ends[self._next] + 1 < count + at_once)

    def _due(self, number: int, count: int) -> Due:
        if self._size is not None and count % self._size == 0:
            return Due(number, "epoch", count // self._size)
        return Due(number, "step", count)

    def _count(self, model: keras.Model) -> int:
        return batches_seen(model.optimizer) + self._added


def ends_in_fit(
    given: Any, every: int | None, model: keras.Model, params: dict[str, Any]
) -> Ends:
    """Returns where cycles end in a `fit`."""
    epochs, steps = params.get("epochs") or 1, params.get("steps")
    if every is not None:
        if every > epochs:
            raise ValueError(
                "SnapshotCheckpoint: the training ends before the first snapshot. "
                f"Received: every={every}, epochs={epochs}"
            )
        return EpochEnds(range(every - 1, epochs, every))
    rates = schedule_in_fit(params)
    if given is None and rates is not None:
        schedule = _cyclic(rates.curve)
        if rates.unit == "epoch":
            return EpochEnds(_ends(schedule, epochs, "epochs"))
        return StepEnds(schedule, params, rates)
    schedule = _cyclic(_of_optimizer(model) if given is None else given)
    if "epochs" in schedule.units() and schedule.steps_per_epoch is None:
        if steps is None:
            raise ValueError(
                "The schedule has lengths in epochs, and `fit` does not know how many "
                "batches an epoch has. Expected: steps_per_epoch=... in the schedule. "
                f"Received: {schedule!r}"
            )
        schedule = bound(schedule, steps)
    counting = rates if rates is not None and rates.unit == "step" else None
    return StepEnds(schedule, params, counting)


def _of_optimizer(model: keras.Model) -> Any:
    found = getattr(inner(model.optimizer), "_learning_rate", None)
    if isinstance(found, keras.optimizers.schedules.LearningRateSchedule):
        return found
    raise ValueError(
        "SnapshotCheckpoint takes a snapshot where a cycle of the learning rate ends, "
        "and the rate of this optimizer is constant. Expected: a model compiled with a "
        "schedule with cycles, as in SGD(keras_babysit.schedules.CosineCycles(...)), "
        "ScheduleLearningRate in the same `fit`, `schedule=...` or `every=...` epochs."
    )


def _ends(schedule: Schedule, total: int, unit: str) -> np.ndarray:
    """The last step (or epoch, where it counts those) of each cycle."""
    found = schedule.ends(steps=total)
    if not len(found):
        raise ValueError(
            "SnapshotCheckpoint: no cycle of the schedule ends in this training of "
            f"{total} {unit}. Received: {schedule!r}"
        )
    return found


def _cyclic(schedule: Any) -> Schedule:
    """Returns a schedule of ours that knows where its cycles end."""
    if isinstance(schedule, keras.optimizers.schedules.CosineDecayRestarts):
        return CosineCycles(
            schedule.initial_learning_rate,
            schedule.alpha * schedule.initial_learning_rate,
            schedule._t_mul,
            schedule._m_mul,
            steps=schedule.first_decay_steps,
        )
    if not isinstance(schedule, Schedule):
        raise ValueError(
            "SnapshotCheckpoint does not know where the cycles of this schedule end. "
            "Expected: one of keras_babysit.schedules with cycles, such as "
            "CosineCycles, or every=... epochs. Received: "
            f"{type(schedule).__name__}"
        )
    return schedule
