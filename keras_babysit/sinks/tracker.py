"""Records as experiment trackers take them: numbers by name, a table, settings.

The numbers have the tags of TensorBoard's charts, those of validation with
`validation/` before them: trackers have one run where TensorBoard has two.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from keras_babysit.records import (
    EpochRecord,
    Finding,
    Record,
    StepRecord,
    ValidationRecord,
)
from keras_babysit.report import Report
from keras_babysit.sinks import scalars
from keras_babysit.sinks.names import Names
from keras_babysit.sinks.scalars import Scalar
from keras_babysit.sinks.sink import Run

#: Calls that may wait; the training waits where there are more, but not longer than so.
MAX_QUEUE = 512
MAX_WAIT_SECONDS = 30.0
#: What each row of numbers has beside them.
STEP, EPOCH = "babysit/step", "babysit/epoch"
#: Before the tags of what is of the validation data.
VALIDATION = "validation/"
FINDINGS = "babysit/findings"
#: Fields of the findings in a table.
COLUMNS = (
    "rule",
    "severity",
    "where",
    "since_step",
    "since_epoch",
    "seen",
    "cause",
    "action",
    "because",
    "healed",
)


class Row(NamedTuple):
    """Numbers of one moment.

    Attributes:
        values: the numbers by tag.
        step: optimizer updates so far.
        epoch: position as a float.
    """

    values: Mapping[str, float]
    step: int
    epoch: float


class Client(abc.ABC):
    """A run of a tracker. One thread calls everything but `close`, which comes last."""

    @abc.abstractmethod
    def log(self, row: Row) -> None:
        """Takes a row of numbers."""

    @abc.abstractmethod
    def configure(self, settings: Mapping[str, Any]) -> None:
        """Takes the hyperparameters, without changing any that the run has."""

    @abc.abstractmethod
    def findings(self, table: list[list[Any]], step: int) -> None:
        """Takes the findings: a row each, of `COLUMNS`."""

    @abc.abstractmethod
    def conclude(self, report: Report) -> None:
        """Takes the report at the end of the run."""

    def flush(self) -> None:  # noqa: B027  # Most trackers send by themselves.
        """Sends what was taken, while nothing else is waiting."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends the run, unless the user has started it."""


class Tracker:
    """Passes records on to a tracker, in a thread: it may be at the end of a network.

    Args:
        client: the tracker's run.
        run: the run that is recorded.
    """

    def __init__(self, client: Client, run: Run):
        self._client, self._outline = client, run.outline
        self._error: Exception | None = None
        self._told: list[list[Any]] = []
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_QUEUE)
        self._thread = threading.Thread(
            target=self._work, name="keras_babysit_tracker", daemon=True
        )
        self._thread.start()
        if run.settings:
            self._add(lambda: client.configure(run.settings))

    def emit(self, record: Record) -> None:
        """Queues what is charted of a record.

        Raises:
            Exception: whatever an earlier call of the tracker has raised.
        """
        if isinstance(record, StepRecord):
            names = self._names
            self._add(lambda: self._log(record, scalars.of_step(record, names)))
        elif isinstance(record, EpochRecord):
            self._add(lambda: self._log(record, _of_epoch(record)))
        elif isinstance(record, ValidationRecord):
            found = scalars.of_losses(record)
            self._add(lambda: self._log(record, map(_of_validation, found)))

    def emit_findings(self, findings: Iterable[Finding], step: int) -> None:
        """Queues the findings, if they are others than before."""
        table = [[getattr(f, name) for name in COLUMNS] for f in findings]
        if table != self._told:
            self._told = table
            self._add(lambda: self._client.findings(table, step))

    def emit_run(self, report: Report, step: int) -> None:
        """Queues the report, if the run has ended."""
        if report.ended:
            self._add(lambda: self._client.conclude(report))

    def flush(self) -> None:
        """Looks whether something went wrong: the thread sends what it has anyway."""
        self._check()

    def close(self) -> None:
        """Waits for what is queued, and ends the tracker's run."""
        if self._error is None:
            self._put(None)
            self._thread.join(MAX_WAIT_SECONDS)
            if self._thread.is_alive():
                raise self._no_answer()
        else:
            # Nobody waits for what has failed.
            with contextlib.suppress(queue.Full):
                self._calls.put_nowait(None)
        self._client.close()
        self._check()

    @functools.cached_property
    def _names(self) -> Names:
        # Not earlier: a model may be built by its first step. Not in the thread, which
        # does not know what names Keras has made up.
        return Names(self._outline())

    def _log(self, record: Any, found: Iterable[Scalar]) -> None:
        values = {tag: value for tag, value, _ in found}
        if values:
            self._client.log(Row(values, record.step, float(record.epoch)))

    def _add(self, call: Callable[[], None]) -> None:
        self._check()
        self._put(call)

    def _put(self, call: Callable[[], None] | None) -> None:
        try:
            self._calls.put(call, timeout=MAX_WAIT_SECONDS)
        except queue.Full:
            raise self._no_answer() from None

    def _no_answer(self) -> Exception:
        self._error = TimeoutError(f"it did not answer for {MAX_WAIT_SECONDS:.0f} s")
        return self._error

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        call: Callable[[], None] | None = _nothing
        while call is not None:
            call = self._calls.get()
            # After an error the queue is emptied without being sent.
            if self._error is None:
                try:
                    (call or _nothing)()
                    if call is None or self._calls.empty():
                        self._client.flush()
                except Exception as e:
                    self._error = e


def _nothing() -> None:
    """In place of a call."""


def _of_epoch(record: EpochRecord) -> list[Scalar]:
    validation = map(_of_validation, scalars.of_validation(record))
    return [*scalars.of_epoch(record), *validation]


def _of_validation(scalar: Scalar) -> Scalar:
    return scalar._replace(tag=f"{VALIDATION}{scalar.tag}")
