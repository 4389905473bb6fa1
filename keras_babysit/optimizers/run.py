"""One fit over the whole training set, as Keras and its callbacks see it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_babysit.backend import load
from keras_babysit.borrowing import attributes_kept, attributes_set
from keras_babysit.optimizers.objective import Objective, Point

#: Two losses of the same weights differ by no more than rounding: as a share, or this.
_SAME, _NOTHING = 1e-3, 1e-6


class Run:
    """One fit as Keras sees it: callbacks, logs, validation and the best weights.

    Args:
        objective: what is minimized.
        callbacks: those of the user.
        epochs: number of iterations at most.
        verbose: as in `keras.Model.fit`.
        evaluate: returns the validation's logs, given the callbacks.

    Attributes:
        objective: what is minimized.
        at: the `Point` where the last iteration ended.
        best: the one of the lowest loss seen.
        iterations: how many have ended.
    """

    def __init__(
        self,
        objective: Objective,
        callbacks: Any,
        epochs: int,
        verbose: str | int,
        evaluate: Callable[[Any], dict[str, float]],
    ):
        self.objective = objective
        self.model = objective.model
        self.iterations = 0
        self._evaluate = evaluate
        self._last: Point | None = None
        self._logs: dict[str, float] = {}
        self._begun = False
        self._first_epoch = self.model._initial_epoch or 0
        self._epochs = epochs
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(
                callbacks,
                add_history=True,
                add_progbar=verbose != 0,
                verbose=verbose,
                epochs=epochs,
                steps=1,
                model=self.model,
            )
        self._callbacks = callbacks
        self.at: Point
        self.best: Point

    @property
    def limit(self) -> int:
        """How many iterations there may be."""
        return max(self._epochs - self._first_epoch, 0)

    @property
    def evaluations(self) -> int:
        """How often loss and gradient were computed."""
        return self.objective.evaluations

    @property
    def stopped(self) -> bool:
        """Whether a callback wants to end the training."""
        return bool(self.model.stop_training)

    def start(self) -> Point:
        """Begins the training, and returns where it starts."""
        self.model.stop_training = False
        self._callbacks.on_train_begin()
        # A callback may have put other weights in place, or want to go on.
        self._first_epoch = self.model._initial_epoch or 0
        self.at = self.best = self.objective(self.objective.weights())
        if not self.at.finite:
            what = "The loss" if not math.isfinite(self.at.value) else "The gradient"
            raise ValueError(
                f"{what} must be finite at the weights that the training starts from. "
                f"Received: loss={self.at.value}"
            )
        again = self.objective(self.at.weights)
        if not math.isclose(
            self.at.value, again.value, rel_tol=_SAME, abs_tol=_NOTHING
        ):
            raise ValueError(
                "The loss must be the same whenever it is computed at the same "
                "weights. A layer draws random numbers by itself, or the data "
                "changes: shuffle or augment it once, not every time it is read. "
                f"Received: losses {self.at.value:.6g} and {again.value:.6g}"
            )
        return self.at

    def evaluate(self, weights: np.ndarray) -> Point:
        """Returns the objective somewhere; an iteration begins with the first."""
        if self._last is not None and np.array_equal(self._last.weights, weights):
            return self._last
        if np.array_equal(self.at.weights, weights):
            return self.at
        self._begin()
        self._last = self.objective(weights)
        if self._last.finite and self._last.value < self.best.value:
            self.best = self._last
        return self._last

    def accept(self, point: Point) -> None:
        """Ends an iteration at a point."""
        self._begin()
        self.at = point
        self.iterations += 1
        self.objective.assign(point.weights)
        self._logs = {"loss": point.value, **self._metrics()}
        self._logs["gradient_norm"] = float(np.linalg.norm(point.gradient))
        self._end_epoch()

    def leave_best(self) -> None:
        """Gives the model the weights of the lowest loss."""
        self.objective.assign(self.best.weights)

    def end(self) -> None:
        """Ends the training."""
        if self._begun:
            # An iteration that found nothing better: it ends where it began.
            self.accept(self.at)
            self.iterations -= 1
            self.leave_best()
        self._callbacks.on_train_end(self._logs or None)

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._callbacks.on_epoch_begin(self._epoch)
            self._callbacks.on_train_batch_begin(0)

    def _end_epoch(self) -> None:
        epoch, self._begun = self._epoch - 1, False
        self._callbacks.on_train_batch_end(0, dict(self._logs))
        self._logs |= self._evaluate(self._callbacks)
        self._callbacks.on_epoch_end(epoch, dict(self._logs))

    @property
    def _epoch(self) -> int:
        return self._first_epoch + self.iterations

    def _metrics(self) -> dict[str, float]:
        """The compiled metrics at the weights as they are."""
        model = self.model
        if self.objective.losses < 2 and len(model.metrics) < 2:
            return {}
        model.reset_metrics()
        logs: dict[str, Any] = {}
        # Over all batches: Keras would begin with each of them.
        with attributes_set(model, reset_metrics=lambda: None):
            for batch in self.objective.batches:
                parts = keras.utils.unpack_x_y_sample_weight(batch)
                logs = model.test_on_batch(*parts, return_dict=True)
        return {name: float(v) for name, v in logs.items() if name != "loss"}


@contextlib.contextmanager
def evaluation(
    model: Any, data: tuple, batch_size: int
) -> Iterator[Callable[[Any], dict[str, float]]]:
    """Gives a function that evaluates the model on validation data, if there is any."""
    if data[0] is None:
        yield lambda callbacks: {}
        return

    def evaluate(callbacks: Any) -> dict[str, float]:
        model._eval_epoch_iterator = prepared
        logs = model.evaluate(
            callbacks=callbacks, return_dict=True, _use_cached_eval_dataset=True
        )
        return {f"val_{name}": float(value) for name, value in logs.items()}

    # Made once, as Keras's own `fit` does.
    prepared = load("autodiff").evaluation_batches(model, data, batch_size)
    with attributes_kept(model, "_eval_epoch_iterator"):
        yield evaluate
