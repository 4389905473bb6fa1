"""The best checkpoints of a training, not only the best one."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from keras.src.callbacks.monitor_callback import MonitorCallback

from keras_babysit.ensemble import files
from keras_babysit.ensemble.members.model_files import ModelFiles
from keras_babysit.errors import whole, wrong


class BestCheckpoints(ModelFiles, MonitorCallback):
    """Keeps the `k` best models of a training run, by a metric at the ends of epochs.

    `keras.callbacks.ModelCheckpoint(save_best_only=True)` does this for one model.
    Average their weights with `average_weights(best.paths, x=x_train)`, or their
    predictions with `Ensemble(load_members(best.paths))`.

    Each is a complete `.keras` file that loads in plain Keras, and is never written
    partially, with its epoch (from 1) and its value in the name:
    `best-epoch-012-val_loss-0.1234.keras`. Of equal values the earlier is the better. A
    run that resumes with `keras.callbacks.BackupAndRestore` continues with the files
    that exist. It only watches: if a file cannot be written, it warns once and training
    continues.

    Args:
        directory: where the files go, one directory for each training and `monitor`.
        k: how many to keep.
        monitor: the metric, as `fit` logs it.
        mode: `"min"`, `"max"` or `"auto"`, as for `ModelCheckpoint`.
        overwrite: whether to delete checkpoints of another training in the directory.
        verbose: 0, or 1 for a line for each file.

    Raises:
        ValueError: for arguments out of range; in `fit`, if it is not known whether the
            metric should be high or low, or the directory has checkpoints of another
            training.

    Attributes:
        paths: the files, the best first.
        values: what was monitored, for each.

    Example:
    ```python
    best = keras_babysit.ensemble.BestCheckpoints("best", k=5, monitor="val_loss")
    model.fit(x, y, validation_data=(x_val, y_val), epochs=50, callbacks=[best])
    average = keras_babysit.ensemble.average_weights(best.paths, x=x)
    ```
    """

    kind = "checkpoints"

    def __init__(
        self,
        directory: str | os.PathLike,
        k: int = 5,
        monitor: str = "val_loss",
        mode: str = "auto",
        overwrite: bool = False,
        verbose: int = 0,
    ):
        if mode not in ("auto", "min", "max"):
            raise wrong("mode", "'auto', 'min' or 'max'", mode)
        whole("k", k)
        if not isinstance(monitor, str) or not monitor:
            raise wrong("monitor", "the name of a metric", monitor)
        super().__init__(directory, overwrite, verbose, monitor, mode)
        self.k = int(k)
        self._known: dict[str, tuple[int, float]] = {}
        self._begun = False

    @property
    def paths(self) -> list[str]:
        """The files, the best first."""
        return sorted(self._known, key=self._rank)

    @property
    def values(self) -> list[float]:
        """What was monitored, for each of `paths`."""
        return [self._known[path][1] for path in self.paths]

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Forgets the last `fit`."""
        self._known, self._begun, self._warned = {}, False, False
        # Keras works out the direction from the metrics, which the first epoch builds.
        self.monitor_op = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Lists what this training has written before it was interrupted."""
        if not self._begun:
            self._begun = True
            self._take_stock(epoch)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Saves the model if it is one of the best; deletes what no longer is."""
        value = self._value(logs or {}, epoch)
        if value is None:
            return
        if self.monitor_op is None:
            self._set_monitor_op()
        name = f"best-epoch-{epoch + 1:03d}-{self._metric()}-{_shown(value)}.keras"
        path = str(self.directory / name)
        self._known[path] = (epoch, value)
        if path in self.paths[self.k :]:
            del self._known[path]
        else:
            self._save(path)

    def _save(self, path: str) -> None:
        if not self._written(path):
            del self._known[path]
            return
        for worse in self.paths[self.k :]:
            del self._known[worse]
            files.remove([worse])

    def _value(self, logs: dict, epoch: int) -> float | None:
        value: Any = logs.get(self.monitor)
        try:
            number = None if value is None else float(value)
        except (TypeError, ValueError):
            number = None
        if number is None:
            self._warn(
                f"there is no number {self.monitor!r} in the logs of epoch "
                f"{epoch + 1}, so that it is not kept. There are: "
                f"{', '.join(sorted(logs)) or 'none'}"
            )
        elif math.isnan(number):
            return None  # Never one of the best.
        return number

    def _rank(self, path: str) -> tuple[float, int]:
        epoch, value = self._known[path]
        higher = self.monitor_op is not None and bool(self.monitor_op(2.0, 1.0))
        return (-value if higher else value, epoch)

    def _take_stock(self, epoch: int) -> None:
        ahead: list[Path] = []
        interrupted: list[Path] = []  # Of this epoch.
        name = re.compile(rf"best-epoch-(\d+)-{re.escape(self._metric())}-(.+)\.keras")
        for path in sorted(self.directory.glob("best-epoch-*.keras")):
            match = name.fullmatch(path.name)
            if match is None or int(match[1]) > epoch + 1:
                ahead.append(path)
            elif int(match[1]) == epoch + 1:
                interrupted.append(path)
            else:
                self._known[str(path)] = (int(match[1]) - 1, _read(match[2]))
        self._remove_foreign(ahead)
        files.remove(interrupted)

    def _metric(self) -> str:
        return re.sub(r"[^\w.]", "_", self.monitor)


def _shown(value: float) -> str:
    """Returns a float32, as Keras logs them, in few digits, and others in all 17."""
    single = np.float32(value)
    return str(single) if float(single) == value else f"{value:#.17g}"


def _read(text: str) -> float:
    """Returns exactly the number that was shown so."""
    single = float(np.float32(text))
    return single if _shown(single) == text else float(text)
