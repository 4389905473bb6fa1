"""Training for a few batches while the rate rises."""

from __future__ import annotations

import math
import types
import warnings
from typing import Any

import keras
import numpy as np

from keras_babysit.document.progress_line import Progress
from keras_babysit.lr_range.curve import MIN_STEPS, QUIET, SMOOTHING

#: The sweep ends where the smoothed loss is so many times its best.
DIVERGED = 4.0


class Sweep(keras.callbacks.Callback):
    """Sets the rate of each step, notes its loss, and ends it when it diverges."""

    def __init__(self, optimizer: Any, rates: np.ndarray, progress: Progress):
        super().__init__()
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        # An update that is made of several batches is one step.
        self._each = inner.gradient_accumulation_steps or 1
        self.batches = self._each * len(rates)
        self._optimizer, self._rates, self._progress = optimizer, rates, progress
        self._losses: list[float] = []
        self._seen = 0
        self._average, self._best, self._start = 0.0, math.inf, math.nan
        self._problem = ""
        self.diverged = False
        self.in_order = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes where the epoch begins."""
        self._seen = len(self._losses)

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
        self._judge(self._losses[-1])
        done = len(self._losses)
        self._progress(done / self.batches, f"loss {self._losses[-1]:.3g}")
        if self.diverged or done >= self.batches:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Ends it where the data do."""
        if len(self._losses) == self._seen:  # There is no more data.
            self.model.stop_training = True

    def _judge(self, loss: float) -> None:
        done = len(self._losses)
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * loss
        smoothed = self._average / (1 - SMOOTHING**done)
        if done == 1:
            self._start = smoothed
        self._best = min(self._best, smoothed)
        # Where the best is next to nothing, the start is the measure.
        scale = max(abs(self._best), self._start - self._best)
        far = smoothed > self._best + (DIVERGED - 1) * scale
        quiet = done <= QUIET * self.batches
        self.diverged = not math.isfinite(loss) or (far and not quiet)

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
            epochs=1 if isinstance(x, types.GeneratorType) else sweep.batches,
            verbose=0,
            shuffle=not sweep.in_order,
            callbacks=[sweep],
        )
