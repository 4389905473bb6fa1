"""Reads the event files of a finished or a running training, without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import math
import mmap
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2
from tensorboard.util import tensor_util

from keras_babysit.event_files.frames import Damage, contents
from keras_babysit.event_files.tags import FINDINGS, RUN, TABLE
from keras_babysit.history import RunHistory
from keras_babysit.records import (
    TENSOR_STATS,
    Finding,
    LayerStats,
    StepRecord,
    TensorStats,
    VariableStats,
)
from keras_babysit.report import Report
from keras_babysit.report.layers import RECENT, known_layers, measured
from keras_babysit.report.report import worst_first

_FILES = "events.out.tfevents.*.babysit"
#: Parts of a step's tables.
_VARIABLES = ("weight", "update", "gradient")


def find_runs(log_dir: str | os.PathLike) -> list[Path]:
    """Returns the directories of all judged runs at or below a directory, sorted."""
    found = {
        file.parent.parent
        for file in Path(log_dir).rglob(f"train/{_FILES}")
        if _holds_run(file)
    }
    return sorted(found)


def read_report(log_dir: str | os.PathLike) -> Report:
    """Returns the report of the last training in a directory.

    Damaged records are passed over, and counted in the report.

    Raises:
        ValueError: if there are no event files of a judged run, or if the one there is
            was cut off or damaged before anything of it could be read.
    """
    train = _last_run_file(Path(log_dir))
    found, damage = _Found(), Damage()
    for event in _events(train, damage):
        found.add(event)
    if not (found.run or found.findings or found.tables):
        how = "damaged" if damage.records else "cut off"
        raise ValueError(
            f"The event file of this run is {how} before its first findings, so "
            f"nothing is known of the run. Received: {train}"
        )
    for validation in _validation_files(Path(log_dir), train):
        for event in _events(validation, damage):
            found.add(event, prefix="val_")
    return found.report(damage.records)


@dataclass
class _Found:
    """What the report needs of the events, the latest of each."""

    run: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, Any]] | None = None
    logs: dict[str, float] = field(default_factory=dict)
    epochs: int = 0
    last_step: int = 0
    tables: dict[int, dict[str, Any]] = field(default_factory=dict)
    steps: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))

    def add(self, event: Any, prefix: str = "") -> None:
        """Takes what it needs of one event."""
        for value in event.summary.value:
            if value.tag == RUN:
                self.run = json.loads(value.tensor.string_val[0])
            elif value.tag == FINDINGS:
                self.findings = json.loads(value.tensor.string_val[0])
            elif value.tag.startswith("epoch_"):
                name = prefix + value.tag.removeprefix("epoch_")
                self.logs[name] = tensor_util.make_ndarray(value.tensor).item()
                # Keras numbers the finished epoch from zero.
                self.epochs = max(self.epochs, event.step + 1)
            elif value.metadata.plugin_data.content.startswith(b'{"rows"'):
                self._add_table(event.step, value)

    def _add_table(self, step: int, value: Any) -> None:
        if step not in self.tables:
            if len(self.steps) == RECENT:
                del self.tables[self.steps[0]]
            self.steps.append(step)
            self.tables[step] = {}
        self.tables[step][value.tag.removeprefix(TABLE)] = value
        self.last_step = max(self.last_step, step)

    def report(self, damaged: int) -> Report:
        """Returns the report: the one that was written, brought up to date."""
        report = Report.from_dict(self.run) if self.run else Report()
        findings = report.findings
        if self.findings is not None:
            findings = worst_first(map(Finding.from_dict, self.findings))
        history = RunHistory()
        for step, tables in self.tables.items():
            history.append(_step_record(step, tables))
        return dataclasses.replace(
            report,
            findings=findings,
            steps=max(report.steps, self.last_step + 1 if self.tables else 0),
            epochs=max(report.epochs, float(self.epochs)),
            logs=self.logs or report.logs,
            layers=measured(report.layers or known_layers(history), history, findings),
            damaged=damaged,
        )


def _step_record(step: int, tables: dict[str, Any]) -> StepRecord:
    """A step's record as far as its tables hold it; they don't have the epoch."""
    variables: dict[str, dict[str, TensorStats]] = {}
    for kind in _VARIABLES:
        for path, row in _rows(tables.get(kind)):
            variables.setdefault(path, {})[kind] = _stats(row)
    return StepRecord(
        step,
        0.0,
        variables=tuple(
            VariableStats(
                path,
                weight=stats.get("weight"),
                update=stats.get("update"),
                gradient=stats.get("gradient"),
                update_ratio=_ratio(stats),
            )
            for path, stats in variables.items()
        ),
        layers=tuple(
            LayerStats(
                path,
                activation=_stats(row),
                saturation_fraction=_or_none(row["saturation_fraction"]),
                dead_fraction=_or_none(row["dead_fraction"]),
            )
            for path, row in _rows(tables.get("activation"))
        ),
    )


def _rows(value: Any) -> Iterator[tuple[str, dict[str, float]]]:
    """Each row's name and its numbers by column; NaN for those that it lacks."""
    if value is None:
        return
    names = json.loads(value.metadata.plugin_data.content)
    table = np.asarray(tensor_util.make_ndarray(value.tensor), float)
    for path, row in zip(names["rows"], table.tolist(), strict=True):
        yield path, dict(zip(names["columns"], row, strict=True))


def _stats(row: dict[str, float]) -> TensorStats:
    return TensorStats(*(row[name] for name in TENSOR_STATS))


def _ratio(stats: dict[str, TensorStats]) -> float | None:
    if "update" not in stats or "weight" not in stats:
        return None
    norm = stats["weight"].norm
    return stats["update"].norm / norm if norm else float("nan")


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _last_run_file(log_dir: Path) -> Path:
    files = sorted((log_dir / "train").glob(_FILES))
    judged = [file for file in files if _holds_run(file)]
    if not judged:
        raise ValueError(
            "`log_dir` must be the directory of a run that a Babysitter watched: "
            f"there is no event file with its findings below. Received: {log_dir}"
        )
    return judged[-1]


def _validation_files(log_dir: Path, train: Path) -> list[Path]:
    """The last validation file, unless an earlier training has written it."""
    files = sorted((log_dir / "validation").glob(_FILES))
    return [f for f in files[-1:] if _started(f) >= _started(train)]


def _started(file: Path) -> int:
    return int(file.name.split(".")[3])


def _holds_run(file: Path) -> bool:
    """Whether a judged run is in a file, or was before the file was damaged."""
    try:
        # Much faster than reading the events.
        with (
            open(file, "rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            if any(data.find(tag.encode()) >= 0 for tag in (RUN, FINDINGS)):
                return True
        damage = Damage()
        for _ in contents(file, damage):
            pass
        return damage.records > 0
    except (OSError, ValueError):  # An empty file cannot be mapped.
        return False


def _events(file: Path, damage: Damage) -> Iterator[Any]:
    """Yields the events that may matter.

    TensorBoard's own reader imports TensorFlow where it is installed, and its
    checksums in Python take seconds on a long run's histograms.
    """
    for record in contents(file, damage):
        if TABLE.encode() in record or b"epoch_" in record:
            try:
                yield event_pb2.Event.FromString(record)
            except DecodeError:
                damage.records += 1
