"""The sinks that a run is written to: one that fails is left out from then on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from keras_babysit.records import Finding, Record
from keras_babysit.report import Report
from keras_babysit.sinks.sink import Run, Sink, UnwritableError, Writer


class OpenedSinks:
    """Writes to several sinks.

    Args:
        sinks: the sinks to open.
        run: the run that they are opened for.
        on_failure: function of the name of a sink that failed, and of what it raised.

    Raises:
        UnwritableError: if nothing can be written where a sink should.
    """

    def __init__(
        self,
        sinks: Iterable[Sink],
        run: Run,
        on_failure: Callable[[str, Exception], None],
    ):
        self._on_failure = on_failure
        self._writers: dict[int, tuple[str, Writer]] = {}
        for i, sink in enumerate(sinks):
            try:
                self._writers[i] = sink.name, sink.open(run)
            except UnwritableError:
                self.close()
                raise
            except Exception as error:
                on_failure(sink.name, error)

    def emit(self, record: Record) -> None:
        """Passes a record on."""
        self._each(lambda writer: writer.emit(record))

    def emit_findings(self, findings: Iterable[Finding], step: int) -> None:
        """Passes the findings on."""
        found = tuple(findings)
        self._each(lambda writer: writer.emit_findings(found, step))

    def emit_run(self, report: Report, step: int) -> None:
        """Passes the report on."""
        self._each(lambda writer: writer.emit_run(report, step))

    def flush(self) -> None:
        """Flushes all of them."""
        self._each(lambda writer: writer.flush())

    def close(self) -> None:
        """Closes all of them."""
        self._each(lambda writer: writer.close())
        self._writers.clear()

    def _each(self, act: Callable[[Writer], None]) -> None:
        for i, (name, writer) in list(self._writers.items()):
            try:
                act(writer)
            except Exception as error:
                del self._writers[i]
                with contextlib.suppress(Exception):
                    writer.close()
                self._on_failure(name, error)
