"""A callback that sets a plain learning rate by a schedule."""

from __future__ import annotations

import inspect
import math
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_babysit.schedules import Schedule, WarmUp
from keras_babysit.schedules.lengths import whole
from keras_babysit.schedules.schedule import bound, lengths_of

_UNITS = ("epoch", "step")
#: Those that have set a rate, for other callbacks to ask.
_USED: weakref.WeakSet[ScheduleLearningRate] = weakref.WeakSet()


class ScheduleLearningRate(keras.callbacks.Callback):
    """Sets the optimizer's learning rate before each epoch, or before each step.

    For optimizers with a plain rate. With `unit="step"` the rates are those of
    `optimizer=SGD(schedule)`. The advantage is that other callbacks can still read and
    change the rate as a number, and that the saved model contains no schedule.

    Keras, not this callback, keeps what the rate depends on, so an interrupted run
    resumes as it would have continued:

    - `unit="epoch"`: the number of the epoch as `fit` counts it, so with
      `initial_epoch` and `BackupAndRestore` too.
    - `unit="step"`: the number of batches that the optimizer has seen, which is saved
      with it. A second `fit` with the same optimizer continues where the first ended.
      Whole epochs that it has not seen, as with a new optimizer in a `fit` with
      `initial_epoch`, count as seen.

    After each epoch the rate is in the logs as `learning_rate`, as Keras has it.

    Args:
        schedule: one of our schedules or of Keras's, or a function of one number that
            returns a rate. The number is the step for `unit="step"`, and the epoch for
            `unit="epoch"`: then lengths must be given in epochs, and `decay_steps` and
            the like of Keras's schedules count epochs.
        unit: `"epoch"` or `"step"`: when the rate is set.
        steps_per_epoch: number of batches in an epoch, where `fit` cannot know it
            (generators); only for `unit="step"`.
        verbose: 0, or 1 for a line at the start of each epoch.

    Raises:
        ValueError: for arguments out of range; at the start of `fit`, if the rate of
            the optimizer is a schedule already, if `steps_per_epoch` is needed and
            unknown, or if a warm-up is longer than the training; in it, if a rate is
            not finite or negative.

    Example:
    ```python
    decay = keras_babysit.schedules.StepDecay(0.1, factor=0.5, epochs=30)
    callbacks = [keras_babysit.ScheduleLearningRate(decay)]
    model.fit(x, y, epochs=100, callbacks=callbacks)
    ```
    """

    def __init__(
        self,
        schedule: Any,
        unit: str = "epoch",
        steps_per_epoch: int | None = None,
        verbose: int = 0,
    ):
        super().__init__()
        if unit not in _UNITS:
            raise ValueError(f"`unit` must be one of {_UNITS}. Received: unit={unit!r}")
        _check_schedule(schedule)
        if steps_per_epoch is not None:
            steps_per_epoch = whole("steps_per_epoch", steps_per_epoch)
            if unit == "epoch":
                raise ValueError(
                    '`steps_per_epoch` is only for unit="step". Received: '
                    f"unit={unit!r}, steps_per_epoch={steps_per_epoch}"
                )
            if isinstance(schedule, Schedule):
                schedule.with_steps_per_epoch(steps_per_epoch)  # Raises if not its own.
        self.schedule, self.unit, self.verbose = schedule, unit, verbose
        self.steps_per_epoch = steps_per_epoch
        #: What is asked in this `fit`: the schedule for epochs of known size.
        self.curve = _in_epochs(schedule) if unit == "epoch" else schedule
        self._offset: int | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Checks that the rate can be set, and how long the training is."""
        self._check_optimizer()
        self._offset = None
        _USED.add(self)
        batches = (self.params or {}).get("steps")
        size = self.steps_per_epoch or batches
        if self.unit == "step" and isinstance(self.schedule, Schedule):
            self.curve = self._of_size(size, batches)
        self._check_warm_up(1 if self.unit == "epoch" else size)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Sets the rate of the epoch, or of its first step."""
        if self._offset is None and self.unit == "step":
            # Only now: BackupAndRestore may come after us in `on_train_begin`.
            self._offset = self._start(epoch)
        rate = self._set(epoch if self.unit == "epoch" else self._step())
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: ScheduleLearningRate: rate {rate:.3g}")

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Sets the rate of the step, with `unit="step"`.

        With `steps_per_execution` several steps are one call, and share a rate.
        """
        if self.unit == "step":
            self._set(self._step())

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the rate into the logs."""
        if logs is not None:
            logs["learning_rate"] = _number(self.model.optimizer.learning_rate)

    def _check_optimizer(self) -> None:
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            raise ValueError(
                "ScheduleLearningRate sets the rate of `model.optimizer`, and this "
                f"model has none. Received: {type(self.model).__name__}"
            )
        rate = getattr(inner(optimizer), "_learning_rate", None)
        if callable(rate):
            kind = type(rate).__name__
            raise ValueError(
                "ScheduleLearningRate sets the learning rate, but a schedule in the "
                "optimizer does so already. Use one of them: compile with a number, "
                f"as in SGD(learning_rate=0.1). Received: learning_rate={kind}"
            )

    def _check_warm_up(self, size: int | None) -> None:
        epochs = (self.params or {}).get("epochs")
        if not isinstance(self.curve, WarmUp) or size is None or epochs is None:
            return
        if self.curve.length > epochs * size:
            raise ValueError(
                "A warm-up must not be longer than the training, which is of "
                f"{epochs * size} {self.unit}s. Received: a warm-up of "
                f"{self.curve.length} in schedule={self.schedule!r}"
            )

    def _of_size(self, size: int | None, batches: int | None) -> Schedule:
        """Returns our schedule for the epochs of this `fit`."""
        own = self.schedule.steps_per_epoch
        if own is None and size is None and "epochs" in self.schedule.units():
            raise ValueError(
                "The schedule has lengths in epochs, and `fit` does not know how many "
                "batches an epoch has. Expected: ScheduleLearningRate(..., "
                f"steps_per_epoch=...). Received: schedule={self.schedule!r}"
            )
        told = own or self.steps_per_epoch
        if None not in (told, batches) and told != batches:
            warnings.warn(
                f"ScheduleLearningRate: the schedule is for epochs of {told} batches, "
                f"and `fit` has {batches} in an epoch.",
                stacklevel=2,
            )
        if self.steps_per_epoch is not None:
            return self.schedule.with_steps_per_epoch(self.steps_per_epoch)
        return self.schedule if own or not size else bound(self.schedule, size)

    def batches_added(self, epoch: int) -> int:
        """Returns what it adds to the optimizer's count of batches.

        Args:
            epoch: the epoch that begins, where it is asked before itself knows.
        """
        return self._start(epoch) if self._offset is None else self._offset

    def _start(self, epoch: int) -> int:
        size = self.steps_per_epoch or (self.params or {}).get("steps")
        seen = batches_seen(self.model.optimizer)
        if size is not None:
            # Only whole epochs: loss scaling skips batches, and a backup taken within
            # an epoch has more of them than the epochs before it.
            return max(0, (epoch * size - seen) // size * size)
        if epoch == 0 or seen > 0:
            return 0
        raise ValueError(
            "The optimizer is new, and `fit` begins at a later epoch but does not know "
            "how many batches an epoch has. Expected: ScheduleLearningRate(..., "
            f"steps_per_epoch=...). Received: initial_epoch={epoch}"
        )

    def _step(self) -> int:
        return batches_seen(self.model.optimizer) + (self._offset or 0)

    def _set(self, time: int) -> float:
        rate = _number(self.curve(time))
        if not math.isfinite(rate) or rate < 0:
            raise ValueError(
                "A learning rate must be finite and not negative. Received: "
                f"{rate} at {self.unit} {time} from {self.schedule!r}"
            )
        self.model.optimizer.learning_rate = rate
        return rate


def schedule_in_fit(params: dict | None) -> ScheduleLearningRate | None:
    """Returns the callback that sets the rate in a `fit`, if there is one.

    Args:
        params: the `params` of another callback in the same `fit`.
    """
    # Keras gives all callbacks of a `fit` the same object.
    used = () if params is None else list(_USED)
    return next((c for c in used if c.params is params), None)


def _check_schedule(schedule: Any) -> None:
    """Raises for what is neither a schedule nor a function of one number."""
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return
    if not callable(schedule):
        raise ValueError(
            "`schedule` must be a LearningRateSchedule or a function. "
            f"Received: schedule={schedule!r}"
        )
    if not _takes_one_number(schedule):
        raise ValueError(
            "`schedule` must be a function of one number, the epoch or the step. A "
            "function that also takes the current rate cannot be resumed: use "
            "keras.callbacks.LearningRateScheduler for it. Received: "
            "schedule={schedule!r}"
        )


def _takes_one_number(function: Callable) -> bool:
    try:
        inspect.signature(function).bind(0)
    except ValueError:  # Some built-in functions have no signature.
        return True
    except TypeError:
        return False
    return True


def _in_epochs(schedule: Any) -> Any:
    """Returns a schedule that is called with the epoch.

    Raises:
        ValueError: if ours has a length in steps, or not in whole epochs.
    """
    if not isinstance(schedule, Schedule):
        return schedule
    for unit, size in lengths_of(schedule):
        if unit == "steps" or size % 1:
            raise ValueError(
                'With unit="epoch" the rate stays for an epoch, so all lengths of the '
                'schedule must be in whole epochs. Use unit="step". Received: a length '
                f"of {size:g} {unit} in {schedule!r}"
            )
    return bound(schedule, 1)


def inner(optimizer: Any) -> Any:
    """Returns the optimizer in a `LossScaleOptimizer`, or the optimizer."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def batches_seen(optimizer: Any) -> int:
    """Returns the step that Keras would call a schedule in the optimizer with.

    Not `optimizer.iterations`: with gradient accumulation that counts updates.
    """
    return int(keras.ops.convert_to_numpy(inner(optimizer)._iterations))


def _number(value: Any) -> float:
    if isinstance(value, int | float | np.generic):
        return float(value)
    return float(keras.ops.convert_to_numpy(value))
