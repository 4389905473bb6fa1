"""The time that epochs take, with what they log."""

from __future__ import annotations

import time

import keras
import numpy as np

from keras_babysit.callbacks.babysitter import Babysitter


class Clock(keras.callbacks.Callback):
    """Takes the time and Keras's logs, and ends a training whose loss is lost."""

    def __init__(self, babysitter: Babysitter):
        super().__init__()
        self.logs: dict[str, list[float]] = {}
        self._babysitter = babysitter
        self._measured: list[float] = []
        self._executions = 0
        self._began = self._watched = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Starts the clock."""
        self._watched = self._watching()
        self._began = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Counts what is executed: steps, or several of them at once."""
        self._executions += 1

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stops the clock, keeps the logs, and stops a training that is lost."""
        passed = time.perf_counter() - self._began
        extra = self._watching() - self._watched
        self._measured.append(max(passed - extra, 0.0))
        for log, value in (logs or {}).items():
            self.logs.setdefault(log, []).append(float(value))
        if not np.isfinite(self.logs.get("loss", [0.0])[-1]):
            self.model.stop_training = True

    def epoch_seconds(self) -> tuple[float, ...]:
        """Seconds of each epoch without compiling; see `compare_optimizers`."""
        later = self._measured[1:]
        if later:
            return (float(np.median(later)), *later)
        cost = self._babysitter.observation
        if not self._measured or cost is None or np.isnan(cost.plain_seconds):
            return ()
        return (cost.plain_seconds * self._executions,)

    def _watching(self) -> float:
        cost = self._babysitter.observation
        return 0.0 if cost is None else cost.extra_seconds + cost.build_seconds
