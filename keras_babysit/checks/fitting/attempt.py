"""Trains a few samples towards the smallest loss that they allow."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras
import numpy as np

from keras_babysit.backend import load
from keras_babysit.borrowing import synced
from keras_babysit.checks.fitting.subset import repeated
from keras_babysit.checks.losses.loss_floor import Target, floor
from keras_babysit.checks.losses.targets import (
    accuracy,
    groups_of,
    prefixes_of,
    targets_of,
)
from keras_babysit.document.progress_line import Progress
from keras_babysit.inspection.compiled import has_own_step
from keras_babysit.inspection.sample import Sample

#: Share of the way to the floor at which training ends.
ARRIVED = 0.99
#: And that counts as arrived, if it ends for another reason.
NEAR = 0.95
#: Of a training that is not the first: given up if so many steps brought so little.
_PATIENCE, _LEAST = 200, 0.02
#: Of the first, which gets more patience.
_FLAT = 1e-6
#: The loss at the end is the median of so many.
_LAST = 15
#: Below this part of the loss, a difference is rounding.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Goal:
    """What the loss on a few samples can come to.

    Attributes:
        targets: the losses with the indices of their outputs; empty if not known.
        groups: which predictions have to be equal.
        floor: the smallest loss; `None` if not known.
        apart: the same if equal inputs could have different predictions.
        chance: the smallest loss without looking at the inputs.
        conflicting: number of samples whose inputs others have with other targets.
    """

    targets: tuple[tuple[int, Target], ...] = ()
    groups: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    floor: float | None = None
    apart: float | None = None
    chance: float | None = None
    conflicting: int = 0

    @property
    def certain(self) -> bool:
        """Whether the floor is known for sure, rather than found by a search."""
        standard = all(target.facts.standard for _, target in self.targets)
        return self.floor is not None and standard

    @property
    def values(self) -> int:
        """How many values are to be predicted."""
        return sum(int(np.size(target.y)) for _, target in self.targets)

    @property
    def conflict(self) -> float:
        """Share of the way from chance to the floor that contradictions take away."""
        if self.apart is None or self.floor is None or self.chance is None:
            return 0.0
        if not self.conflicting or self.chance - self.apart <= 0:
            return 0.0
        return (self.floor - self.apart) / (self.chance - self.apart)

    @property
    def hopeless(self) -> bool:
        """Whether the targets contradict each other so that nothing can be learned."""
        return self.conflict > ARRIVED

    def share(self, loss: float, start: float) -> float:
        """Returns how far a loss has come from chance, or the start, to the floor."""
        if not math.isfinite(loss):
            return -math.inf
        if self.floor is None:
            return (start - loss) / abs(start) if start else 0.0
        top = start if self.chance is None else self.chance
        # With a single target there is nothing to be had over chance.
        if top - self.floor <= _ROUNDING * max(abs(top), abs(self.floor), 1e-6):
            top = start
        if top - self.floor <= _ROUNDING * max(abs(top), abs(self.floor), 1e-6):
            return 1.0 if loss <= top + 1e-3 * max(abs(top), 1e-3) else 0.0
        return (top - loss) / (top - self.floor)

    def accuracy(self, outputs: list[np.ndarray]) -> tuple[float, float] | None:
        """Returns accuracy and the best possible, of the output that lacks most."""
        found = [accuracy(t, outputs[i], self.groups) for i, t in self.targets]
        return min(
            (f for f in found if f is not None),
            key=lambda f: f[0] - f[1],
            default=None,
        )


def goal_of(model: keras.Model, sample: Sample) -> Goal:
    """Returns what the loss of a borrowed model can come to."""
    if has_own_step(model) and (model._compile_loss is None or sample.y is None):
        return Goal()
    calls = targets_of(model, sample)
    if calls is None:
        return Goal()
    rows = groups_of(sample)
    prefixes = prefixes_of(model, sample, calls)
    groups = rows if prefixes is None else prefixes
    least, apart = (
        _total(calls, g) for g in (groups, np.arange(groups.size).reshape(groups.shape))
    )
    chance = _total(calls, np.zeros(len(rows), int))
    together = len(np.unique(rows)) < rows.size
    standard = all(t.facts.standard for _, t in calls)
    return Goal(
        targets=tuple(calls),
        groups=groups,
        floor=least,
        apart=apart if standard else None,
        chance=chance,
        conflicting=_conflicting(calls, rows) if together else 0,
    )


def _total(calls: list[tuple[int, Target]], groups: np.ndarray) -> float | None:
    found = [floor(target, groups) for _, target in calls]
    total = math.fsum(f for f in found if f is not None)
    known = all(f is not None for f in found) and math.isfinite(total)
    return total if known else None


def _conflicting(calls: list[tuple[int, Target]], rows: np.ndarray) -> int:
    """Number of samples of equal inputs whose targets differ."""
    found = np.zeros(rows.size, bool)
    for _, target in calls:
        y = np.asarray(target.y).reshape(rows.size, -1)
        weight = target.weights.reshape(rows.size, -1).any(1)
        for name in np.unique(rows):
            at = (rows == name) & weight
            found[at] |= bool((y[at] != y[at][:1]).any())
    return int(found.sum())


@dataclass
class Attempt:
    """One training with one learning rate.

    Attributes:
        rate: the learning rate.
        goal: what it was to come to.
        losses: of each step, before its update.
        accuracies: step to accuracy and the best possible, after it.
        late: whether it ended because there was no more time.
        problem: why no step could be made.
    """

    rate: float
    goal: Goal
    losses: list[float] = field(default_factory=list)
    accuracies: dict[int, tuple[float, float]] = field(default_factory=dict)
    late: bool = False
    problem: str = ""

    @property
    def start(self) -> float:
        """The loss before the first update."""
        return self.losses[0] if self.losses else math.nan

    @cached_property
    def loss(self) -> float:
        """The loss at the end."""
        if self.arrived(self.losses[-1:]):
            return self.losses[-1]
        return float(np.median(self.losses[-_LAST:])) if self.losses else math.nan

    @property
    def share(self) -> float:
        """How far it came."""
        return self.goal.share(self.loss, self.start)

    @property
    def moved(self) -> float:
        """How far it came from the start, rather than from chance."""
        low = self.goal.floor
        if low is None or not self.start > low:
            return self.share
        return (self.start - self.loss) / (self.start - low)

    def arrived(self, losses: list[float]) -> bool:
        """Whether a loss is so close to the floor that there is no need to continue."""
        return bool(losses) and self.goal.share(losses[-1], self.start) >= ARRIVED

    @property
    def accuracy(self) -> tuple[float, float] | None:
        """Accuracy at the end, and the best possible."""
        return self.accuracies[max(self.accuracies)] if self.accuracies else None

    @property
    def accurate(self) -> bool:
        """Whether the accuracy is as good as can be, or there is none."""
        return self.accuracy is None or self.accuracy[0] >= self.accuracy[1] - 1e-9

    @property
    def worked(self) -> bool:
        """Whether it arrived."""
        if self.goal.floor is None and self.accuracy and self.share > 0:
            return self.accurate
        return self.share >= NEAR and self.accurate

    @property
    def wild(self) -> bool:
        """Whether the loss went up or to and fro."""
        losses = np.array(self.losses)
        if not np.isfinite(losses).all():
            return True
        if len(losses) < 2:
            return False
        rises = float((np.diff(losses) > _ROUNDING * np.abs(losses[:-1])).mean())
        return self.loss > self.start + 0.01 * abs(self.start) or rises > 0.3

    @property
    def falling(self) -> bool:
        """Whether the last quarter still brought it nearer."""
        quarter = len(self.losses) // 4
        if quarter < 2 or not np.isfinite(self.losses).all():
            return False
        before, after = np.mean(self.losses[-2 * quarter : -quarter]), self.losses[-1]
        return self.goal.share(after, self.start) > _LEAST + self.goal.share(
            float(before), self.start
        )


def tried(
    model: keras.Model,
    optimizer: Any,
    sample: Sample,
    goal: Goal,
    others: Callable[[float, list[Attempt]], Iterable[float]],
    steps: int,
    seconds: float,
    progress: Progress,
) -> list[Attempt]:
    """Trains with one learning rate after the other until one works.

    Args:
        model: a model that is borrowed.
        optimizer: a fresh optimizer that is in its place.
        sample: what to train on, as one batch.
        goal: what it is to come to.
        others: function of the optimizer's own rate and the attempts so far: returns
            the rates to try next.
        steps: updates for each.
        seconds: time for all of them; the first may take half of it.
        progress: whom to tell.
    """
    end = time.monotonic() + seconds
    measure = _measuring(model, sample, goal)
    many, times = repeated(sample)
    optimizer.build(model.trainable_variables)
    kept = [*model.variables, *model.metrics_variables, *optimizer.variables]
    values = [np.array(keras.ops.convert_to_numpy(v.value)) for v in kept]
    attempts: list[Attempt] = []
    own = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    left = [own]
    while left:
        rate = left.pop(0)
        optimizer.learning_rate = rate
        attempt = Attempt(rate, goal)
        attempts.append(attempt)
        now = time.monotonic()
        until = now + (end - now) / (2 if len(attempts) == 1 else len(left) + 1)
        follower = _Follower(
            attempt, steps, until, measure, progress, len(attempts) == 1
        )
        _fit(model, many, sample.size, math.ceil(steps / times), follower)
        # For the next one, and for whoever asks why none has worked.
        for variable, value in zip(kept, values, strict=True):
            variable.assign(value)
        at_floor = attempt.share >= NEAR  # What is wrong then is not the rate.
        if at_floor or attempt.worked or attempt.problem or time.monotonic() > end:
            break
        if len(attempts) == 1:
            left = list(others(own, attempts))
    return attempts


def _fit(
    model: keras.Model, many: Sample, size: int, epochs: int, follower: _Follower
) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gradients do not exist")
        try:
            # Not the `fit` of a subclass, which may do more than to train.
            keras.Model.fit(
                model,
                many.x,
                many.y,
                sample_weight=many.sample_weight,
                batch_size=size,
                epochs=epochs,
                shuffle=False,
                verbose=0,
                callbacks=[follower],
            )
        except (ValueError, RuntimeError) as e:
            if not has_no_gradient(e):
                raise
            follower.attempt.problem = "no gradient of the loss reaches any weight"


def has_no_gradient(error: Exception) -> bool:
    """Whether a training ended because no weight has a gradient."""
    # Keras says the first, PyTorch the second.
    known = ("No gradients provided", "does not require grad")
    return any(text in str(error) for text in known)


def _measuring(
    model: keras.Model, sample: Sample, goal: Goal
) -> Callable[[], tuple[float, float] | None]:
    if not goal.targets:
        return lambda: None
    x = sample.tensors.x

    def predict(x: Any) -> list[Any]:
        # As in training: the averages of batch normalization lag far behind.
        return keras.tree.flatten(model(x, training=True))

    backend = load("autodiff")
    if not model.run_eagerly:
        predict = backend.compiled(predict, reads=model.variables)

    def measure() -> tuple[float, float] | None:
        synced(model)
        return goal.accuracy([backend.numpy_of(t).astype(float) for t in predict(x)])

    return measure


class _Follower(keras.callbacks.Callback):
    """Notes the loss of each step, and ends the training when all is clear."""

    def __init__(
        self,
        attempt: Attempt,
        steps: int,
        until: float,
        measure: Callable[[], tuple[float, float] | None],
        progress: Progress,
        first: bool,
    ):
        super().__init__()
        self.attempt = attempt
        self._steps, self._until = steps, until
        self._measure, self._progress = measure, progress
        self._began = time.monotonic()
        self._first = first

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        # Metrics are means over an epoch; this makes the loss that of one batch.
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        attempt, loss = self.attempt, (logs or {}).get("loss")
        if loss is None:
            attempt.problem = "the model's `train_step` reports no `loss`"
            self.model.stop_training = True
            return
        if not attempt.losses:  # The time that it takes to build the step is not its.
            self._until += time.monotonic() - self._began
        attempt.losses.append(float(np.mean(loss)))
        done = len(attempt.losses)
        arrived = attempt.arrived(attempt.losses)
        if arrived:
            self._note_accuracy()
        attempt.late = time.monotonic() > self._until
        if (
            (arrived and attempt.accurate)
            or not math.isfinite(attempt.losses[-1])
            or attempt.late
            or done >= self._steps
        ):
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        attempt = self.attempt
        if not attempt.losses:
            return
        if math.isfinite(attempt.losses[-1]):
            self._note_accuracy()
        done = len(attempt.losses)
        spent = time.monotonic() - self._began
        whole = max(self._until - self._began, 1e-9)
        self._progress(
            min(max(done / self._steps, spent / whole), 1.0),
            f"step {done}, loss {attempt.losses[-1]:.3g}",
        )
        if self._stuck(done):
            self.model.stop_training = True

    def _note_accuracy(self) -> None:
        done = len(self.attempt.losses)
        if done in self.attempt.accuracies:
            return
        found = self._measure()
        if found is not None:
            self.attempt.accuracies[done] = found

    def _stuck(self, done: int) -> bool:
        """Whether a training that will not get there has stopped to fall."""
        if done <= _PATIENCE:
            return False
        start, now = (
            self.attempt.goal.share(float(np.median(losses)), self.attempt.start)
            for losses in (
                self.attempt.losses[-_PATIENCE:][:_LAST],
                self.attempt.losses[-_LAST:],
            )
        )
        return now - start < (_FLAT if self._first else _LEAST)
