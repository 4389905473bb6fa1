"""Repairs: callbacks that change the training, for those who ask for it."""

from __future__ import annotations

import math

import keras
import numpy as np

from keras_babysit.errors import number, whole
from keras_babysit.step import watch


class RollBack(keras.callbacks.Callback):
    """Goes back to the last good weights with a lower rate when training diverges.

    Unlike a `Babysitter` it changes the training run. If the training loss of an epoch
    is not finite, or more than `limit` times the lowest one so far, weights and
    optimizer go back to their state after the last good epoch (or before training). The
    learning rate becomes `factor` times the current one, or `factor` times that epoch's
    if the rate has risen since. With a `Babysitter` in the same `fit`, an observed step
    whose loss is not finite has the same effect at once, without waiting for the
    epoch's end; and each repair is a line in its report.

    After `tries` repairs it goes back once more and stops training.

    The good weights are kept in host memory, which takes as much as the model's weights
    and the optimizer's variables.

    Args:
        factor: what the learning rate is multiplied by, between 0 and 1.
        tries: number of repairs in one `fit`.
        limit: an epoch has diverged if its training loss is more than this many times
            the lowest one so far. A loss that is not positive counts as diverged only
            if it is not finite.
        verbose: 0 for no output; 1 for a line at each repair.

    Attributes:
        repairs: a line for each repair of the last `fit`.

    Raises:
        ValueError: for arguments out of range; at the start of `fit`, if a schedule
            sets the learning rate, which then cannot be lowered.

    Example:
    ```python
    callbacks = [keras_babysit.Babysitter("logs"), keras_babysit.RollBack()]
    model.fit(x, y, epochs=10, callbacks=callbacks)
    ```
    """

    def __init__(
        self,
        factor: float = 0.1,
        tries: int = 3,
        limit: float = 10.0,
        verbose: int = 1,
    ):
        super().__init__()
        self.factor = number(
            "factor", factor, "between 0 and 1", lambda value: 0 < value < 1
        )
        self.tries = whole("tries", tries)
        self.limit = number("limit", limit, "greater than 1", lambda value: value > 1)
        self.verbose = verbose
        self.repairs: list[str] = []
        self._good: tuple[list[np.ndarray], list[np.ndarray]] | None = None
        self._place = ""
        self._epoch = 0
        self._best = self._rate = math.inf
        self._seen_step = -1

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Checks that the rate can be lowered, and keeps the weights as they are."""
        optimizer = self.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        rate = getattr(inner, "_learning_rate", None)
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError(
                "RollBack lowers the learning rate, but a schedule sets it. Expected "
                "an optimizer with a plain learning rate. Received: learning_rate="
                f"{type(rate).__name__}"
            )
        self.repairs, self._best, self._good = [], math.inf, None
        self._seen_step = -1

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Keeps the untrained weights, before the first epoch."""
        if self._good is None and self.model.built:
            self._keep("those before training")
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Goes back if a `Babysitter` has seen a loss that is not finite."""
        for record in watch.last_steps(self.params):
            if record.step <= self._seen_step or record.loss is None:
                continue
            self._seen_step = record.step
            if not math.isfinite(record.loss):
                self._repair(f"the loss of step {record.step} was {record.loss}")
                # The epoch's mean would stay what it is, and tell of it once more.
                self.model.reset_metrics()
                return

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Goes back if the epoch has diverged, or keeps its weights."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            self._repair(f"the training loss was {loss}")
        elif 0 < self._best < math.inf and loss > self.limit * self._best:
            self._repair(f"the training loss rose from {self._best:.3g} to {loss:.3g}")
        elif self._is_finite():
            self._best = min(self._best, loss)
            self._keep(f"those after epoch {epoch + 1}")

    def _keep(self, place: str) -> None:
        optimizer = self.model.optimizer
        self._good = (
            [np.array(v) for v in self.model.variables],
            [np.array(v) for v in optimizer.variables],
        )
        self._place = place
        self._rate = float(np.asarray(optimizer.learning_rate))

    def _is_finite(self) -> bool:
        """The loss can still be finite when a weight no longer is."""
        return all(
            bool(keras.ops.all(keras.ops.isfinite(v)))
            for v in self.model.trainable_variables
        )

    def _repair(self, reason: str) -> None:
        if self._good is None:
            return
        optimizer = self.model.optimizer
        # Another callback may have raised the rate since, and be the reason.
        rate = min(float(np.asarray(optimizer.learning_rate)), self._rate)
        weights, state = self._good
        for variable, value in zip(self.model.variables, weights, strict=True):
            variable.assign(value)
        # An optimizer that was not built yet has more variables now: those that are
        # new go back to where they start.
        for i, variable in enumerate(optimizer.variables):
            new = state[i] if i < len(state) else np.zeros(variable.shape)
            variable.assign(new)
        given_up = len(self.repairs) >= self.tries
        optimizer.learning_rate = rate if given_up else rate * self.factor
        went = f"weights went back to {self._place}"
        if given_up:
            self.model.stop_training = True
            then = f"training was stopped after {self.tries} repairs"
        else:
            tried = f"repair {len(self.repairs) + 1} of {self.tries}"
            then = f"learning rate {rate:.3g} → {rate * self.factor:.3g} ({tried})"
        self._say(f"Epoch {self._epoch + 1}: {reason}; {went}; {then}.")

    def _say(self, line: str) -> None:
        self.repairs.append(line)
        for babysitter in watch.subscribers_of(self.params):
            babysitter.note(line)
        if self.verbose:
            print(f"\nRollBack: {line}", flush=True)
