"""The TensorBoard sink: records to tags, in runs as Keras's own callback has them.

Batch-level values are charted by step, epoch-level ones by epoch. The charts show
the quantities one looks at; the full tables are in our own plugin's tags, so that
the event files hold everything that was recorded.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from keras_babysit.document import markdown
from keras_babysit.document.values import plain
from keras_babysit.errors import warn
from keras_babysit.event_files import summaries
from keras_babysit.event_files.tags import FINDINGS, RUN, TABLE
from keras_babysit.event_files.writer import EventFile
from keras_babysit.records import (
    TENSOR_STATS,
    EpochRecord,
    Finding,
    LayerStats,
    LossInputs,
    ObservationCost,
    Record,
    StepRecord,
    TensorStats,
    ValidationRecord,
    VariableStats,
)
from keras_babysit.report import Report
from keras_babysit.report.groups import cards

#: Constant lines that show where update ratios are healthy.
BAND = {
    "~ 1e-2 high": -2.0,
    "~ 1e-3 healthy": -3.0,
    "~ 1e-4 low": -4.0,
}
_RATIO = "log10_update_ratio"


class TensorBoardSink:
    """Writes records to `<log_dir>/train` and `<log_dir>/validation`.

    Args:
        log_dir: directory of the run.

    Raises:
        OSError: if the directory cannot be written.
    """

    def __init__(self, log_dir: str | os.PathLike):
        # The second file is made later, from another working directory perhaps.
        self._log_dir = Path(log_dir).absolute()
        self._has_told = False
        self._train = EventFile(self._log_dir / "train", self._tell)
        self._validation: EventFile | None = None
        self._has_layout = False

    def emit(self, record: Record) -> None:
        """Queues a record for writing.

        Raises:
            OSError: if an earlier write failed.
        """
        if isinstance(record, StepRecord):
            if not self._has_layout and record.variables:
                self._train.add(lambda: [_layout(record)], record.step, "layout")
                self._has_layout = True
            self._train.add(lambda: _step_values(record), record.step)
        elif isinstance(record, EpochRecord):
            self._emit_epoch(record)
        elif isinstance(record, ValidationRecord):
            if record.losses:
                index = int(record.epoch) - 1
                self._of_validation().add(lambda: _losses_values(record), index)
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

    def _emit_epoch(self, record: EpochRecord) -> None:
        # Keras numbers the finished epoch from zero; pictures and histograms also
        # have the state before the first epoch.
        index = record.epoch - 1
        self._train.add(lambda: _epoch_values(record), index)
        if any(name.startswith("val_") for name in record.logs):
            self._of_validation().add(lambda: _validation_values(record), index)
        self._train.add(lambda: _state_values(record), record.epoch)


def _finding_values(findings: tuple[Finding, ...]) -> list[summaries.Value]:
    return [
        summaries.text("babysit/findings", markdown.text(cards(findings))),
        summaries.json_text(FINDINGS, plain([f.to_dict() for f in findings])),
    ]


def _step_values(record: StepRecord) -> list[summaries.Value]:
    values = []
    for tag, value in (
        ("loss/batch", record.loss),
        ("learning_rate", record.learning_rate),
        ("gradients/global_norm", record.gradient_norm),
    ):
        if value is not None:
            values.append(summaries.scalar(tag, value))
    for variable in record.variables:
        values += _variable_values(variable)
    if any(v.update_ratio is not None for v in record.variables):
        values += [summaries.scalar(f"{_RATIO}/{k}", v) for k, v in BAND.items()]
    for layer in record.layers:
        values += _layer_values(layer)
    return values + _losses_values(record) + _tables(record)


def _epoch_values(record: EpochRecord) -> list[summaries.Value]:
    values = [
        summaries.scalar(f"epoch_{name}", value)
        for name, value in record.logs.items()
        if not name.startswith("val_")
    ]
    if record.loss_mean is not None and record.loss_std is not None:
        values.append(summaries.scalar("loss/batch_mean", record.loss_mean))
        values.append(summaries.scalar("loss/batch_std", record.loss_std))
    return values


def _validation_values(record: EpochRecord) -> list[summaries.Value]:
    return [
        summaries.scalar(f"epoch_{name.removeprefix('val_')}", value)
        for name, value in record.logs.items()
        if name.startswith("val_")
    ]


def _state_values(record: EpochRecord) -> list[summaries.Value]:
    values = [
        summaries.histogram(f"weights/{path}", h)
        for path, h in record.weight_histograms.items()
        if h.counts.sum() > 0
    ]
    values += [summaries.image(picture) for picture in record.images]
    values += [
        summaries.text(f"first_layer/{path}", note)
        for path, note in record.notes.items()
    ]
    return values


def _variable_values(v: VariableStats) -> list[summaries.Value]:
    values = []
    ratio = v.update_ratio
    if ratio is not None and math.isfinite(ratio):
        values.append(summaries.scalar(f"update_ratio/{v.path}", ratio))
        if ratio > 0:
            values.append(summaries.scalar(f"{_RATIO}/{v.path}", math.log10(ratio)))
    if v.weight is not None:
        values.append(summaries.scalar(f"weights/{v.path}/norm", v.weight.norm))
        values += _non_finite(f"weights/{v.path}", v.weight)
    if v.gradient is not None:
        values.append(summaries.scalar(f"gradients/{v.path}/norm", v.gradient.norm))
        values += _non_finite(f"gradients/{v.path}", v.gradient)
    if v.gradient_histogram is not None and v.gradient_histogram.counts.sum() > 0:
        values.append(summaries.histogram(f"gradients/{v.path}", v.gradient_histogram))
    return values


def _layer_values(layer: LayerStats) -> list[summaries.Value]:
    tag = f"activations/{layer.path}"
    values = []
    if layer.activation is not None:
        values.append(summaries.scalar(f"{tag}/mean", layer.activation.mean))
        values.append(summaries.scalar(f"{tag}/std", layer.activation.std))
        values += _non_finite(tag, layer.activation)
    for name in ("zero_fraction", "saturation_fraction", "dead_fraction"):
        value = getattr(layer, name)
        if value is not None:
            values.append(summaries.scalar(f"{tag}/{name}", value))
    if layer.histogram is not None and layer.histogram.counts.sum() > 0:
        values.append(summaries.histogram(tag, layer.histogram))
    return values


def _losses_values(record: StepRecord | ValidationRecord) -> list[summaries.Value]:
    return [value for call in record.losses for value in _loss_values(call)]


def _loss_values(call: LossInputs) -> list[summaries.Value]:
    """How outputs and targets lie and differ between samples, as the loss gets them."""
    return [
        summaries.scalar(f"loss/{call.path}/{role}_{name}", getattr(tensor, name))
        for role in ("targets", "outputs")
        for tensor in [getattr(call, role)]
        if tensor is not None
        for name in ("mean", "spread")
    ]


def _non_finite(tag: str, stats: TensorStats) -> list[summaries.Value]:
    """A chart that only exists where something went wrong."""
    bad = stats.nan + stats.inf
    return [summaries.scalar(f"{tag}/nan_or_inf", bad)] if bad else []


def _tables(record: StepRecord) -> list[summaries.Value]:
    """Everything of a step, a table for each kind of tensor."""
    values = []
    for kind in ("weight", "update", "gradient"):
        found = [(v.path, getattr(v, kind)) for v in record.variables]
        values += _table(f"{TABLE}{kind}", found, {})
    extras = ("zero_fraction", "saturation_fraction", "dead_fraction")
    more = {name: [getattr(v, name) for v in record.layers] for name in extras}
    found = [(v.path, v.activation) for v in record.layers]
    values += _table(f"{TABLE}activation", found, more)
    return values


def _table(
    tag: str,
    found: list[tuple[str, TensorStats | None]],
    more: dict[str, list[float | None]],
) -> list[summaries.Value]:
    rows = [path for path, stats in found if stats is not None]
    if not rows:
        return []
    numbers = [
        [
            *vars(stats).values(),
            *(math.nan if column[i] is None else column[i] for column in more.values()),
        ]
        for i, (_, stats) in enumerate(found)
        if stats is not None
    ]
    columns = [*TENSOR_STATS, *more]
    return [summaries.table(tag, rows, columns, np.array(numbers, np.float64))]


def _layout(record: StepRecord) -> summaries.Value:
    paths = [re.escape(v.path) for v in record.variables]
    with_gradient = [re.escape(v.path) for v in record.variables if v.gradient]
    band = [rf"^{_RATIO}/{re.escape(name)}$" for name in BAND]
    charts = {
        "Update ratio (log10; about -3 is healthy)": [
            *band,
            *(rf"^{_RATIO}/{path}$" for path in paths),
        ],
        "Gradient norm, by depth": [rf"^gradients/{p}/norm$" for p in with_gradient],
    }
    return summaries.layout(
        {
            "Learning": {
                "Loss: train and validation": [r"^epoch_loss$"],
                "Metrics: train and validation": [
                    r"^epoch_(?!loss$|learning_rate$).*$"
                ],
                "Loss of single batches": [r"^loss/batch$"],
                "Learning rate": [r"^learning_rate$"],
            },
            "Layers": charts,
        }
    )


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
