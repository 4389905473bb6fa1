"""The TensorBoard sink: records to tags, in runs as Keras's own callback has them.

Batch-level values are charted by step, epoch-level ones by epoch. The charts show what
one looks at first, see `charts`; the full tables are in our own plugin's tags, so that
the event files hold every number of every layer and weight.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from keras_babysit.document import markdown
from keras_babysit.document.values import plain
from keras_babysit.errors import warn
from keras_babysit.event_files import summaries
from keras_babysit.event_files.tables import Spread, tables
from keras_babysit.event_files.tags import FINDINGS, RUN, TABLE
from keras_babysit.event_files.writer import EventFile
from keras_babysit.facts import Outline
from keras_babysit.records import (
    EpochRecord,
    Finding,
    ObservationCost,
    Record,
    StepRecord,
    ValidationRecord,
)
from keras_babysit.report import Report
from keras_babysit.report.groups import cards
from keras_babysit.sinks import charts, scalars
from keras_babysit.sinks.layout import layout
from keras_babysit.sinks.names import Names
from keras_babysit.sinks.sink import Run, Sink, UnwritableError


class TensorBoard(Sink):
    """Writes event files to the `log_dir`: what the *Babysit* tab and reports read.

    This is the default. Without it there is no tab, and `keras-babysit report` has
    nothing to read.

    Example:
    ```python
    keras_babysit.Babysitter("logs/run1", sinks=["tensorboard"])
    ```
    """

    name: ClassVar[str] = "tensorboard"

    def open(self, run: Run) -> TensorBoardSink:
        """Opens the event files."""
        try:
            return TensorBoardSink(run.log_dir, run.outline)
        except OSError as e:
            raise UnwritableError(
                "`log_dir` cannot be written: expected a directory, or a path where "
                f"one can be made. {type(e).__name__}: {e.strerror or e}. "
                f"Received: log_dir={run.log_dir!r}"
            ) from e


SINK = TensorBoard


class TensorBoardSink:
    """Writes records to `<log_dir>/train` and `<log_dir>/validation`.

    Args:
        log_dir: directory of the run.
        outline: returns the outline of the model, once it is built; without one, all
            layers and weights have charts, under their own names.

    Raises:
        OSError: if the directory cannot be written.
    """

    def __init__(
        self, log_dir: str | os.PathLike, outline: Callable[[], Outline] = Outline
    ):
        # The second file is made later, from another working directory perhaps.
        self._log_dir = Path(log_dir).absolute()
        self._has_told = False
        self._train = EventFile(self._log_dir / "train", self._tell)
        self._validation: EventFile | None = None
        self._has_layout = False
        self._outline = outline
        self._full, self._light = Spread("full"), Spread("light")

    def emit(self, record: Record) -> None:
        """Queues a record for writing.

        Raises:
            OSError: if an earlier write failed.
        """
        if isinstance(record, StepRecord):
            self._emit_step(record, self._charts)
        elif isinstance(record, EpochRecord):
            self._emit_epoch(record)
        elif isinstance(record, ValidationRecord):
            if record.losses:
                index = int(record.epoch) - 1
                found = scalars.of_losses(record)
                self._of_validation().add(lambda: charts.points(found), index)
        else:
            text = _cost_text(record)
            self._train.add(
                lambda: [summaries.text("babysit/observation", text)], record.steps
            )

    def emit_findings(self, findings: Iterable[Finding], step: int) -> None:
        """Queues all findings so far: as text, and as JSON in our plugin's tag.

        Args:
            findings: all of them, healed and explained ones too; not only new ones.
            step: optimizer updates so far.

        Raises:
            OSError: if an earlier write failed.
        """
        found = tuple(findings)
        self._train.add(lambda: _finding_values(found), step, FINDINGS)

    def emit_run(self, report: Report, step: int) -> None:
        """Queues the report, which `reading.read_report` starts from.

        Once at the start lets a running training be read; again at the end, with all
        that is in no other tag: cost, notes, why it stopped.

        Args:
            report: the report so far.
            step: optimizer updates so far.

        Raises:
            OSError: if an earlier write failed.
        """
        self._train.add(lambda: [summaries.json_text(RUN, report.to_dict())], step, RUN)

    def flush(self, wait: bool = False) -> None:
        """Flushes the files; see `EventFile.flush`."""
        for file in self._files():
            file.flush(wait)

    def close(self) -> None:
        """Closes the files; see `EventFile.close`."""
        for file in self._files():
            file.close()

    def _tell(self, loss: str) -> None:
        # Whoever removes one file mostly removes both, or does so again and again.
        if not self._has_told:
            self._has_told = True
            warn(loss)

    def _files(self) -> list[EventFile]:
        return [f for f in (self._train, self._validation) if f is not None]

    def _of_validation(self) -> EventFile:
        if self._validation is None:
            self._validation = EventFile(self._log_dir / "validation", self._tell)
        return self._validation

    @functools.cached_property
    def _charts(self) -> charts.Charts:
        # Not earlier: a model may be built by its first step.
        return charts.Charts(Names(self._outline()))

    def _emit_step(self, record: StepRecord, made: charts.Charts) -> None:
        if not self._has_layout and record.variables:
            self._train.add(
                lambda: [layout(scalars.kernels(record, made.names), made.names.model)],
                record.step,
                "layout",
            )
            self._has_layout = True
        spread = self._full if record.layers else self._light
        places = [v.path for v in record.variables], [v.path for v in record.layers]
        ending = spread.ending(places)
        self._train.add(
            lambda: made.of_step(record) + _tables(record, ending), record.step
        )

    def _emit_epoch(self, record: EpochRecord) -> None:
        # Keras numbers the finished epoch from zero; pictures and histograms also
        # have the state before the first epoch.
        index = record.epoch - 1
        self._train.add(lambda: charts.points(scalars.of_epoch(record)), index)
        if any(name.startswith("val_") for name in record.logs):
            found = scalars.of_validation(record)
            self._of_validation().add(lambda: charts.points(found), index)
        if record.weight_histograms or record.images or record.notes:
            made = self._charts
            self._train.add(lambda: made.of_weights(record), record.epoch)


def _finding_values(findings: tuple[Finding, ...]) -> list[summaries.Value]:
    return [
        summaries.text("babysit/findings", markdown.text(cards(findings))),
        summaries.json_text(FINDINGS, plain([f.to_dict() for f in findings])),
    ]


def _tables(record: StepRecord, ending: str) -> list[summaries.Value]:
    """Everything of a step, a table for each kind of tensor."""
    found = tables(record).items()
    return [summaries.table(f"{TABLE}{kind}{ending}", table) for kind, table in found]


def _cost_text(cost: ObservationCost) -> str:
    text = (
        f"Observed {cost.observed} of {cost.steps} steps, {cost.full} of them with "
        f"{cost.looked_at or 'all'}, every {cost.every} now. "
        f"A plain step takes {cost.plain_seconds * 1e3:.2f} ms, a fully observed one "
        f"{cost.observed_seconds * 1e3:.2f} ms; watching added "
        f"{cost.extra_seconds:.2f} s ({cost.overhead:.1%}) to the training, and "
        f"{cost.build_seconds:.1f} s once for looking at the model and the data and "
        "for building what measures."
    )
    return " ".join([text, *(f"{note}." for note in cost.unobserved)])
