"""Training for a few batches while the rate rises."""

from __future__ import annotations

import math
import types
import warnings
from typing import Any

import keras
import numpy as np

from keras_babysit.document.progress_line import Progress
from keras_babysit.lr_range.curve import MIN_STEPS, quiet_steps

#: The loss has diverged where it is so many times its best.
DIVERGED = 4.0
#: Of so many batches in a row so many must be worse than any at the start: one is by
#: chance where losses have heavy tails.
_WINDOW, _WORSE = 7, 5
#: Deviation of the losses from batch to batch, as a share of their mean, that still
#: shows a fall; where it is larger, rates are held for several batches.
_NOISE = 0.25


class Sweep(keras.callbacks.Callback):
    """Sets the rate of each step, notes its loss, and ends it when it diverges.

    The first rates are too low to do anything: the losses meanwhile show how much
    batches differ. Where that is much, the sweep starts over and holds each rate for
    several batches.

    Args:
        optimizer: whose rate to set.
        rates: the rates, rising.
        progress: whom to tell.
        held: for how many updates a rate may be held.

    Attributes:
        batches: number of batches that it takes.
        most: number of batches that it may take, noise included.
        diverged: whether the loss has diverged.
        in_order: whether the data are in the order in which to take them.
    """

    def __init__(
        self, optimizer: Any, rates: np.ndarray, progress: Progress, held: int
    ):
        super().__init__()
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        # An update that is made of several batches is one step.
        self._each = inner.gradient_accumulation_steps or 1
        self._optimizer, self._rates, self._progress = optimizer, rates, progress
        self._losses: list[float] = []
        self._before = self._seen = 0
        self._quiet = quiet_steps(len(rates))
        self._start = self._best = self._worst = math.nan
        self._problem = ""
        self.most = self._each * (self._quiet + held * len(rates))
        self.diverged = False
        self.in_order = False

    @property
    def batches(self) -> int:
        """Number of batches that it takes."""
        return self._before + self._each * len(self._rates)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes where the epoch begins."""
        self._seen = self._before + len(self._losses)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Sets the rate."""
        # Metrics are means over an epoch; this makes the loss that of one batch.
        self.model.reset_metrics()
        self._optimizer.learning_rate = self._rates[len(self._losses) // self._each]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes the loss, and whether that was enough."""
        loss = (logs or {}).get("loss")
        if loss is None:
            self._problem = "reports no `loss`"
            self.model.stop_training = True
            return
        self._losses.append(float(np.mean(loss)))
        self.diverged = self._has_diverged()
        done = self._before + len(self._losses)
        self._progress(done / self.batches, f"loss {self._losses[-1]:.3g}")
        if self.diverged or done >= self.batches:
            self.model.stop_training = True
        elif len(self._losses) == self._each * self._quiet:
            self._look_at_noise(np.array(self._losses))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Ends it where the data do."""
        if self._before + len(self._losses) == self._seen:  # There is no more data.
            self.model.stop_training = True

    def _look_at_noise(self, losses: np.ndarray) -> None:
        """At the end of the quiet steps: how much do the losses of batches differ?"""
        self._start = self._best = float(np.median(losses))
        self._worst = float(losses.max())
        half = len(losses) // 2
        rising = losses[half:].min() > losses[:half].max()  # Not quiet at all.
        mean = abs(float(losses.mean()))
        if self._before or rising or not mean:
            return
        wanted = math.ceil((losses.std() / mean / _NOISE) ** 2)
        room = (self.most - len(losses)) // (self._each * len(self._rates))
        held = min(wanted, room)
        if held > 1:
            self._each *= held
            self._before, self._losses = len(losses), []

    def _has_diverged(self) -> bool:
        if not math.isfinite(self._losses[-1]):
            return True
        last = self._losses[-_WINDOW:]
        if len(self._losses) <= self._each * self._quiet or len(last) < _WINDOW:
            return False
        self._best = min(self._best, float(np.median(last)))
        # Where the best is next to nothing, the start is the measure.
        scale = max(abs(self._best), self._start - self._best)
        limit = max(self._worst, self._best + (DIVERGED - 1) * scale)
        return sum(loss > limit for loss in last) >= _WORSE

    def finished(self) -> np.ndarray:
        """The loss of each update.

        Raises:
            ValueError: if there were too few.
        """
        if self._problem:
            raise ValueError(
                "The model's `train_step` must report a `loss`. Received: "
                f"{self.model.name!r}, whose step {self._problem}"
            )
        whole = len(self._losses) // self._each * self._each
        if self.diverged:  # The last update may be incomplete.
            whole = len(self._losses)
        losses = np.array(self._losses[:whole])
        parts = np.split(losses, np.arange(self._each, len(losses), self._each))
        found = np.array([part.mean() for part in parts if part.size])
        if len(found) < MIN_STEPS and not self.diverged:
            raise ValueError(
                f"There must be data for at least {MIN_STEPS} updates. Received: data "
                f"for {len(found)}"
            )
        return found


def run(model: Any, data: tuple, batch_size: int | None, sweep: Sweep) -> None:
    """Trains the model on x, y and sample weights for as long as the sweep takes."""
    x, y, sample_weight = data
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        warnings.filterwarnings("ignore", message="Gradients do not exist")
        warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
        # Not the `fit` of a subclass, which may do more than to train.
        keras.Model.fit(
            model,
            x,
            y,
            sample_weight=sample_weight,
            batch_size=batch_size,
            # A generator does not begin again, but for what Keras has peeked at.
            epochs=1 if isinstance(x, types.GeneratorType) else sweep.most,
            verbose=0,
            shuffle=not sweep.in_order,
            callbacks=[sweep],
        )
