"""Snapshots of one run: the weights at the end of each cycle of the learning rate."""

from __future__ import annotations

import os
import re
from typing import Any

import keras

from keras_babysit.ensemble import files
from keras_babysit.ensemble.members.cycle_ends import Ends, ends_in_fit
from keras_babysit.ensemble.members.model_files import ModelFiles
from keras_babysit.errors import whole_or_none
from keras_babysit.schedules import Schedule

_NAME = re.compile(r"snapshot-(\d+)-(epoch|step)-(\d+)\.keras")


class SnapshotCheckpoint(ModelFiles):
    """Saves the model at the end of each cycle of the learning rate.

    Huang et al., "Snapshot Ensembles: Train 1, get M for free" (2017); CS231n, "Model
    ensembles": different checkpoints of a single model. Without `schedule` and `every`
    it uses the schedule in the optimizer (ours, or Keras's `CosineDecayRestarts`) or
    that of a `ScheduleLearningRate` in the same `fit`.

    A cycle ends with a step, before the rate goes up again. If that is inside an epoch,
    the snapshot is taken after that batch. With `steps_per_execution` above 1 it is
    taken after the last batch Keras stops at before the rate goes up.

    Each snapshot is a complete `.keras` file that loads in plain Keras, and is never
    written partially: `snapshot-000-epoch-010.keras` for the weights after ten epochs,
    `snapshot-000-step-1250.keras` for those after 1,250 batches within an epoch.

    A run that is killed and resumes with `keras.callbacks.BackupAndRestore` has the
    snapshots that it would have had, whichever callback comes first. It only watches:
    if a file cannot be written, it warns once and training continues.

    Args:
        directory: where the snapshots go, one directory for each training.
        schedule: where cycles end: one of `keras_babysit.schedules` with
            cycles, such as `CosineCycles`, or Keras's `CosineDecayRestarts`. It counts
            steps as the optimizer does.
        every: take them after this many epochs instead.
        keep: how many of the last to keep; older files are deleted. Default: all.
        overwrite: whether to delete snapshots of another training in the directory.
        verbose: 0, or 1 for a line for each snapshot.

    Raises:
        ValueError: for arguments out of range; at the start of `fit`, if no schedule
            with cycles is found, no cycle ends in the training, or the directory has
            snapshots of another training.

    Attributes:
        paths: the files of this training, in the order of training.

    Example:
    ```python
    cycles = keras_babysit.schedules.CosineCycles(
        0.1, epochs=10, cycles=5, steps_per_epoch=500
    )
    model.compile(keras.optimizers.SGD(cycles), loss)
    snapshots = keras_babysit.ensemble.SnapshotCheckpoint("snapshots")
    model.fit(x, y, epochs=50, callbacks=[snapshots])
    members = keras_babysit.ensemble.load_members(snapshots.paths)
    ensemble = keras_babysit.ensemble.Ensemble(members)
    ```
    """

    kind = "snapshots"

    def __init__(
        self,
        directory: str | os.PathLike,
        schedule: Any = None,
        every: int | None = None,
        keep: int | None = None,
        overwrite: bool = False,
        verbose: int = 0,
    ):
        super().__init__(directory, overwrite, verbose)
        if schedule is not None and every is not None:
            raise ValueError(
                "Only one of `schedule` and `every` can tell when to take snapshots. "
                f"Received: schedule={schedule!r}, every={every!r}"
            )
        if schedule is not None and not isinstance(
            schedule, Schedule | keras.optimizers.schedules.LearningRateSchedule
        ):
            raise ValueError(
                "`schedule` must be a schedule with cycles, such as "
                "keras_babysit.schedules.CosineCycles. "
                f"Received: schedule={schedule!r}"
            )
        self.schedule = schedule
        self.every = whole_or_none("every", every)
        self.keep = whole_or_none("keep", keep)
        self.paths: list[str] = []
        self._ends: Ends | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Forgets the last `fit`."""
        # All else waits for the first epoch: BackupAndRestore may come after us here.
        self._ends, self.paths, self._warned = None, [], False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Finds out where cycles end, and what is there already."""
        if self._ends is not None:
            self._ends.begin_epoch(self.model, epoch)
            return
        params = self.params or {}
        self._ends = ends_in_fit(self.schedule, self.every, self.model, params)
        due = self._ends.begin_epoch(self.model, epoch)
        self._take_stock()
        # Killed between the backup of the epoch and its snapshot: these weights.
        if due is not None:
            self._save(*due)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Takes a snapshot if a cycle ends with this batch."""
        due = None if self._ends is None else self._ends.after_batch(self.model, batch)
        if due is not None:
            self._save(*due)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Takes a snapshot if it is due after this epoch."""
        due = None if self._ends is None else self._ends.after_epoch(epoch)
        if due is not None:
            self._save(*due)

    def _take_stock(self) -> None:
        """Lists what this training has written before it was interrupted."""
        assert self._ends is not None
        ahead, found = [], []
        for path in self.directory.glob("snapshot-*.keras"):
            if match := _NAME.fullmatch(path.name):
                found.append((int(match[1]), match, path))
        for _, match, path in sorted(found, key=lambda one: one[0]):
            distance = self._ends.epochs_ahead(match[2], int(match[3]))
            if distance <= 0:
                self.paths.append(str(path))
            elif distance > 1:  # Those of this epoch are written once more.
                ahead.append(path)
        self._remove_foreign(ahead)

    def _save(self, number: int, unit: str, count: int) -> None:
        start = f"snapshot-{number:03d}-"
        if any(os.path.basename(path).startswith(start) for path in self.paths):
            return  # Before an interruption.
        name = f"snapshot-{number:03d}-{unit}-{count:03d}.keras"
        path = str(self.directory / name)
        if not self._written(path):
            return
        self.paths.append(path)
        if self.keep is not None:
            files.remove(self.paths[: -self.keep])
            self.paths = self.paths[-self.keep :]
