"""Ends a training that takes too long."""

from __future__ import annotations

import time
from typing import Any

import keras


class EndsAfter(keras.callbacks.Callback):
    """Ends a training after a number of seconds, at the end of a step."""

    def __init__(self, seconds: float):
        super().__init__()
        self._end = time.monotonic() + seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends it if it is time."""
        if time.monotonic() > self._end:
            self.model.stop_training = True
