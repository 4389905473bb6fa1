"""What was written of a run, collected from its event files or from TensorBoard."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_babysit.event_files.tables import Table, add_to, epoch_of
from keras_babysit.history import RunHistory, State, keep
from keras_babysit.records import EpochRecord, Finding, Histogram, Image
from keras_babysit.report import Report
from keras_babysit.report.course import Course, course_of
from keras_babysit.report.layers import RECENT, known_layers, measured
from keras_babysit.report.report import worst_first


@dataclass
class RunData:
    """What a report needs of a run, the latest of each.

    Attributes:
        run: the report as it was written last.
        findings: the findings as they were written last.
        logs: number of finished epochs to Keras's logs of that epoch.
        tables: step to its tables by kind, each a function that returns it: most of a
            long run are never asked for.
        histograms: kind and path to its `State`s; those of weights have the number of
            finished epochs as their step.
        pictures: tag to its `State`s, likewise.
        places: tag of a histogram to its kind and path.
    """

    run: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, Any]] | None = None
    logs: dict[int, dict[str, float]] = field(default_factory=dict)
    tables: dict[int, dict[str, Callable[[], Table]]] = field(default_factory=dict)
    histograms: dict[tuple[str, str], list[State]] = field(default_factory=dict)
    pictures: dict[str, list[State]] = field(default_factory=dict)
    places: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    _passing: deque[int] = field(default_factory=deque)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the run."""
        return not (self.run or self.findings or self.tables)

    def add_table(
        self, step: int, kind: str, table: Callable[[], Table], stays: bool
    ) -> None:
        """Adds a table.

        Args:
            step: the step that it is of.
            kind: what it is of.
            table: returns it.
            stays: whether it is kept to the end, or only as one of the latest.
        """
        if step not in self.tables:
            self.tables[step] = {}
            if not stays:
                self._passing.append(step)
                if len(self._passing) > RECENT:
                    del self.tables[self._passing.popleft()]
        self.tables[step][kind] = table

    def add_histogram(self, kind: str, path: str, at: int, value: Histogram) -> None:
        """Adds a histogram, of weights after `at` epochs, of others in step `at`."""
        keep(self.histograms.setdefault((kind, path), []), State(at, at, value))

    def add_picture(self, epoch: int, value: Image) -> None:
        """Adds a picture as it was after `epoch` epochs."""
        keep(self.pictures.setdefault(value.tag, []), State(epoch, epoch, value))

    def report(self, damaged: int = 0) -> Report:
        """Returns the report: the one that was written, brought up to date."""
        report = Report.from_dict(self.run) if self.run else Report()
        findings = report.findings
        if self.findings is not None:
            findings = worst_first(map(Finding.from_dict, self.findings))
        history = self._history()
        # In Keras's order, which was written with the report.
        logs = dict(report.logs)
        for epoch in sorted(self.logs):
            logs |= self.logs[epoch]
        return dataclasses.replace(
            report,
            findings=findings,
            steps=max([report.steps, *(step + 1 for step in self.tables)]),
            epochs=max([report.epochs, *map(float, self.logs)]),
            logs=logs,
            layers=measured(report.layers or known_layers(history), history, findings),
            damaged=damaged,
            course=self._course(history),
        )

    def _course(self, history: RunHistory) -> Course:
        times = {step: epoch_of(found) for step, found in self._found()}
        placed = {
            (kind, path): tuple(
                # Weights are described between epochs, and written by epoch.
                state
                if kind == "weights" or not times
                else state._replace(
                    epoch=float(np.interp(state.step, [*times], [*times.values()]))
                )
                for state in states
            )
            for (kind, path), states in self.histograms.items()
        }
        pictures = {tag: tuple(states) for tag, states in self.pictures.items()}
        return dataclasses.replace(
            course_of(history), histograms=placed, pictures=pictures
        )

    def _history(self) -> RunHistory:
        history = RunHistory()
        for step, found in self._found():
            add_to(history, step, found)
        for epoch in sorted(self.logs):
            history.append(EpochRecord(epoch, 0, logs=self.logs[epoch]))
        return history

    def _found(self) -> Iterator[tuple[int, dict[str, Table]]]:
        """Steps with their tables, in order."""
        for step in sorted(self.tables):
            yield step, {kind: table() for kind, table in self.tables[step].items()}
