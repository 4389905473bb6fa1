"""What watches a trial while it trains: its babysitter, and what ends each epoch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_babysit.callbacks.babysitter import Babysitter
from keras_babysit.records import (
    EpochRecord,
    Finding,
    Record,
    StepRecord,
    scalars,
)
from keras_babysit.search.trial import record_file
from keras_babysit.sinks.sink import UnwritableError

#: In a trial, the first step of each epoch is observed, and one in so many.
EVERY = 100


class Ended(BaseException):
    """Ends a trial at once; not an `Exception`, which a user's `fit` might catch."""

    def __init__(self, status: str, reason: str, raised: str = ""):
        super().__init__(reason)
        self.status, self.reason, self.raised = status, reason, raised


class TrialBabysitter(Babysitter):
    """A `Babysitter` that finds the same whenever a trial is trained.

    An ordinary one observes as many steps as its budget pays for, which depends on
    how busy the machine is. This one observes the first step of each epoch and each
    hundredth one after it. What it has seen is kept in a file, so that a trial which
    goes on after its process was killed is judged by all of its history.

    Args:
        log_dir: of the event files.
        kept: file of the records.
        on_finding: function of each new `Finding`.
        on_trouble: function of an `OSError`, when files cannot be written.
    """

    def __init__(
        self,
        log_dir: Path,
        kept: Path,
        on_finding: Callable[[Finding], Any],
        on_trouble: Callable[[OSError], None],
    ):
        super().__init__(log_dir, every=EVERY, on_finding=on_finding, verbose=0)
        self._kept, self._on_trouble = kept, on_trouble
        self._unsaved: list[StepRecord | EpochRecord] = []
        self._replayed = False

    def _open_sink(self) -> Any:
        try:
            return super()._open_sink()
        except UnwritableError as error:
            self._leave_out("tensorboard", error.__cause__)
            return None

    def _leave_out(self, sink: str, error: Any) -> None:
        # Files that cannot be written are no reason to lose what a trial finds.
        if isinstance(error, OSError):
            self._on_trouble(error)
        else:
            super()._leave_out(sink, error)

    def is_due(self, position: Any, times: Any) -> str | None:
        """Fully, if a step is the first of its epoch or a hundredth one."""
        return "full" if -position.batch % EVERY < position.per_execution else None

    def receive(self, record: Record) -> None:
        """Takes a record, and remembers to keep it."""
        if isinstance(record, EpochRecord):
            if self._replayed and not record.logs:
                return  # Going on is no second beginning.
            self._unsaved.append(dataclasses.replace(record, images=()))
        elif isinstance(record, StepRecord):
            self._unsaved.append(record)
        super().receive(record)

    def save(self) -> None:
        """Adds what is new to the file."""
        new, self._unsaved = self._unsaved, []
        record_file.append(self._kept, new)

    def replay(self, step: int) -> int:
        """Takes the records of the first so many updates once more, from the file.

        Returns:
            How many of its lines were damaged, and are not among them.
        """
        found, damaged = record_file.read(self._kept)
        records = [r for r in found if _ended_at(r) <= step]
        self._kept.unlink(missing_ok=True)
        for record in records:
            self._unsaved.append(record)
            self.history.append(record)
            self._diagnose("recorded", record)
        self._replayed = True
        return damaged


def _ended_at(record: StepRecord | EpochRecord) -> int:
    return record.step + isinstance(record, StepRecord)


class EpochEnd(keras.callbacks.Callback):
    """Comes last: tells the trial when its training begins and when an epoch ends.

    Args:
        began: function of the model, before the first step.
        ended: function of the model, the logs and the duration of each epoch in
            seconds; returns why the training should end, or `""`.
        stop: function of the model that returns why the training should end at once,
            or `""`; or ends it itself.
    """

    def __init__(
        self,
        began: Callable[[keras.Model], None],
        ended: Callable[[keras.Model, dict[str, float], float], str],
        stop: Callable[[keras.Model], str],
    ):
        super().__init__()
        self._began, self._ended, self._stop = began, ended, stop
        self._since = 0.0

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Lets the trial put the model where it was, and ends what cannot work."""
        self._began(self.model)
        self._end_if_hopeless()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Takes the time."""
        self._since = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Ends the trial if something has been found."""
        self._end_if_hopeless()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Passes the epoch on."""
        seconds = time.perf_counter() - self._since
        if self._ended(self.model, scalars(logs or {}), seconds):
            self.model.stop_training = True
        self._end_if_hopeless()

    def _end_if_hopeless(self) -> None:
        reason = self._stop(self.model)
        if reason:
            raise Ended("stopped", reason)
