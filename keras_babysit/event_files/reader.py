"""Reads the event files of a finished or a running training, without TensorFlow."""

from __future__ import annotations

import functools
import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.histogram import metadata as histograms
from tensorboard.plugins.image import metadata as images
from tensorboard.util import tensor_util

from keras_babysit.event_files import summaries
from keras_babysit.event_files.frames import Damage, contents
from keras_babysit.event_files.run_data import RunData
from keras_babysit.event_files.tables import Table, is_spread, kind_of
from keras_babysit.event_files.tags import (
    FINDINGS,
    LOGS,
    PLUGIN,
    RUN,
    TABLE,
    kind_and_path,
)
from keras_babysit.report import Report

_FILES = "events.out.tfevents.*.babysit"
#: What the records have in them that a report needs, and its pictures.
_MARKS = (TABLE.encode(), LOGS.encode())
_PICTURES = (histograms.PLUGIN_NAME.encode(), images.PLUGIN_NAME.encode())


def find_runs(log_dir: str | os.PathLike) -> list[Path]:
    """Returns the directories of all judged runs at or below a directory, sorted."""
    found = {
        file.parent.parent
        for file in Path(log_dir).rglob(f"train/{_FILES}")
        if _holds_run(file)
    }
    return sorted(found)


def read_report(log_dir: str | os.PathLike, pictures: bool = False) -> Report:
    """Returns the report of the last training in a directory.

    Damaged records are passed over, and counted in the report.

    Args:
        log_dir: the directory.
        pictures: whether the report's `course` has histograms and pictures too, which
            take longer to read.

    Raises:
        ValueError: if there are no event files of a judged run, or if the one there is
            was cut off or damaged before anything of it could be read.
    """
    train = _last_run_file(Path(log_dir))
    found, damage = RunData(), Damage()
    marks = _MARKS + _PICTURES if pictures else _MARKS
    for event in _events(train, damage, marks):
        _add(found, event, "")
    if found.is_empty:
        how = "damaged" if damage.records else "cut off"
        raise ValueError(
            f"The event file of this run is {how} before its first findings, so "
            f"nothing is known of the run. Received: {train}"
        )
    for validation in _validation_files(Path(log_dir), train):
        for event in _events(validation, damage, _MARKS):
            _add(found, event, "val_")
    return found.report(damage.records)


def _add(data: RunData, event: Any, prefix: str) -> None:
    """Adds what is needed of one event."""
    for value in event.summary.value:
        plugin = value.metadata.plugin_data.plugin_name
        if value.tag == RUN:
            data.run = json.loads(value.tensor.string_val[0])
        elif value.tag == FINDINGS:
            data.findings = json.loads(value.tensor.string_val[0])
        elif value.tag.startswith(LOGS):
            name = prefix + value.tag.removeprefix(LOGS)
            # Keras numbers the finished epoch from zero.
            logs = data.logs.setdefault(event.step + 1, {})
            logs[name] = tensor_util.make_ndarray(value.tensor).item()
        elif plugin == PLUGIN and value.tag.startswith(TABLE):
            table = functools.partial(_table, value)
            kind, stays = kind_of(value.tag), is_spread(value.tag)
            data.add_table(event.step, kind, table, stays)
        elif plugin == histograms.PLUGIN_NAME:
            # Only the first histogram of a tag may have a description.
            about = value.metadata.summary_description
            found = data.places.setdefault(value.tag, kind_and_path(value.tag, about))
            bins = tensor_util.make_ndarray(value.tensor)
            if found is not None:
                data.add_histogram(*found, event.step, summaries.bins(bins))
        elif plugin == images.PLUGIN_NAME:
            png = value.tensor.string_val[2]
            about = value.metadata.summary_description
            data.add_picture(event.step, summaries.picture(value.tag, png, about))


def _table(value: Any) -> Table:
    names = json.loads(value.metadata.plugin_data.content)
    return Table(
        names["rows"], names["columns"], tensor_util.make_ndarray(value.tensor)
    )


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


def _events(file: Path, damage: Damage, marks: tuple[bytes, ...]) -> Iterator[Any]:
    """Yields the events that may matter.

    TensorBoard's own reader imports TensorFlow where it is installed, and its
    checksums in Python take seconds on a long run's histograms.
    """
    for record in contents(file, damage):
        if any(mark in record for mark in marks):
            try:
                yield event_pb2.Event.FromString(record)
            except DecodeError:
                damage.records += 1
