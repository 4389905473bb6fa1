"""TensorBoard event files, written off the training thread, without TensorFlow."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import queue
import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image as PillowImage
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.histogram import metadata as histograms
from tensorboard.plugins.image import metadata as images
from tensorboard.plugins.scalar import metadata as scalars
from tensorboard.plugins.text import metadata as texts
from tensorboard.util.tensor_util import make_tensor_proto

from keras_babysit.event_files.frames import framed
from keras_babysit.records import Histogram, Image

#: Name of our own plugin, under which the full tables are kept.
PLUGIN = "keras_babysit"

#: The writer flushes by itself when it has had nothing to do for so long.
IDLE_SECONDS = 1.0
#: Events that may wait; more means that the disk does not keep up.
MAX_QUEUE = 512
#: How long the training thread waits for a slow disk before observing stops.
MAX_WAIT_SECONDS = 30.0

_serial = itertools.count()
_FLUSH, _CLOSE = object(), object()

#: A `Summary.Value` protocol buffer.
Value: TypeAlias = Any
_new_value = summary_pb2.Summary.Value


@dataclass(frozen=True)
class _Event:
    """What waits for the thread; without values, the file's first event."""

    wall_time: float
    step: int
    values: Callable[[], list[Value]] | None

    def protos(self) -> list[Any]:
        if self.values is None:
            version = "brain.Event:2"
            return [event_pb2.Event(wall_time=self.wall_time, file_version=version)]
        values = self.values()
        if not values:
            return []
        summary = summary_pb2.Summary(value=values)
        return [
            event_pb2.Event(wall_time=self.wall_time, step=self.step, summary=summary)
        ]


class EventFile:
    """One event file of one run, with the thread that writes it.

    What the thread has flushed survives even if the process is killed. The file is
    closed by `close()`, when the object is collected, or when Python exits.

    Args:
        directory: directory of the run, made if it does not exist.

    Raises:
        OSError: if the directory or the file cannot be made.
    """

    def __init__(self, directory: str | os.PathLike):
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        name = (
            f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
            f".{os.getpid()}.{next(_serial):06d}.babysit"
        )
        self.path = directory / name
        file = open(self.path, "wb")  # noqa: SIM115 - closed by the thread
        # Values travel as functions that make them: the thread has all the work.
        self._queue: queue.Queue[Any] = queue.Queue(MAX_QUEUE)
        self._errors: list[BaseException] = []
        self._queue.put(_Event(time.time(), 0, None))
        self._thread = threading.Thread(
            target=_write,
            args=(file, self._queue, self._errors),
            name="keras_babysit_events",
            daemon=True,
        )
        try:
            self._thread.start()
        except BaseException:
            file.close()
            raise
        self._finish = weakref.finalize(self, _stop, self._queue, self._thread)

    def add(self, values: Callable[[], list[Value]], step: int) -> None:
        """Queues the values of one step.

        Args:
            values: makes them; called by the thread.
            step: their step.

        Raises:
            OSError: if an earlier write failed, or the disk does not keep up.
        """
        self._check()
        self._put(_Event(time.time(), step, values))

    def flush(self, wait: bool = False) -> None:
        """Asks the thread to flush; with `wait`, returns when it has.

        Raises:
            OSError: if a write failed.
        """
        self._check()
        done = threading.Event() if wait else None
        self._put((_FLUSH, done))
        if done is not None:
            done.wait(MAX_WAIT_SECONDS)
            self._check()

    def close(self) -> None:
        """Writes what is queued and closes the file.

        Raises:
            OSError: if a write failed.
        """
        self._finish()
        self._check()

    def _put(self, item: Any) -> None:
        try:
            self._queue.put(item, timeout=MAX_WAIT_SECONDS)
        except queue.Full:
            raise OSError(f"{self.path}: the disk does not keep up") from None

    def _check(self) -> None:
        if self._errors:
            raise OSError(f"Could not write {self.path}: {self._errors[0]}")


def _stop(waiting: queue.Queue, thread: threading.Thread) -> None:
    with contextlib.suppress(queue.Full):
        waiting.put(_CLOSE, timeout=MAX_WAIT_SECONDS)
        thread.join(MAX_WAIT_SECONDS)


def _write(file: BinaryIO, waiting: queue.Queue, errors: list) -> None:
    """The writer thread. After an error it only empties the queue."""
    dirty = False
    while True:
        try:
            item = waiting.get(timeout=IDLE_SECONDS if dirty else None)
        except queue.Empty:
            item = (_FLUSH, None)
        try:
            if isinstance(item, _Event):
                if not errors:
                    for event in item.protos():
                        file.write(framed(event.SerializeToString()))
                        dirty = True
                continue
            if not errors:
                file.flush()
            dirty = False
        except Exception as e:
            errors.append(e)
            dirty = False
        if item is _CLOSE:
            # Closing flushes, which fails again on a full disk: said already.
            with contextlib.suppress(OSError):
                file.close()
            return
        if isinstance(item, tuple) and item[1] is not None:
            item[1].set()


def _float_tensor(array: Any) -> tensor_pb2.TensorProto:
    # TensorBoard's make_tensor_proto takes three times as long.
    array = np.asarray(array)
    double = array.dtype == np.float64
    array = array.astype(np.float64 if double else np.float32)
    return tensor_pb2.TensorProto(
        dtype=types_pb2.DT_DOUBLE if double else types_pb2.DT_FLOAT,
        tensor_shape=TensorShapeProto(
            dim=[TensorShapeProto.Dim(size=n) for n in array.shape]
        ),
        tensor_content=array.tobytes(),
    )


# Made once: a training has a great many points.
_SCALAR = scalars.create_summary_metadata("", "")
_HISTOGRAM = histograms.create_summary_metadata("", "")
_NO_AXES = TensorShapeProto()


def scalar(tag: str, value: float) -> Value:
    """A point of a chart in the Time Series and Scalars tabs."""
    tensor = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_FLOAT, tensor_shape=_NO_AXES, float_val=(value,)
    )
    return _new_value(tag=tag, metadata=_SCALAR, tensor=tensor)


def histogram(tag: str, value: Histogram) -> Value:
    """A histogram as its tab wants it: `[left, right, count]` for each bin."""
    counts = value.counts
    if value.right > value.left:
        edges = np.linspace(value.left, value.right, len(counts) + 1)
        table = np.empty((len(counts), 3))
        table[:, 0], table[:, 1], table[:, 2] = edges[:-1], edges[1:], counts
    else:
        # All values are equal: one bin around them, as wide as they are large.
        half = 0.5 * (abs(value.left) or 1.0)
        total = counts.sum()
        table = np.array([[value.left - half, value.right + half, total]])
    metadata = _HISTOGRAM
    if value.sampled_from is not None:
        metadata = histograms.create_summary_metadata(
            "", f"A sample of {counts.sum():,.0f} of {value.sampled_from:,} values."
        )
    return _new_value(tag=tag, metadata=metadata, tensor=_float_tensor(table))


def image(value: Image) -> Value:
    """A picture in the Images tab."""
    height, width = value.pixels.shape[:2]
    png = io.BytesIO()
    PillowImage.fromarray(value.pixels).save(png, format="png")
    metadata = images.create_summary_metadata("", value.description)
    parts = [str(width).encode(), str(height).encode(), png.getvalue()]
    return _new_value(tag=value.tag, metadata=metadata, tensor=make_tensor_proto(parts))


def text(tag: str, markdown: str) -> Value:
    """A paragraph in the Text tab."""
    metadata = texts.create_summary_metadata("", "")
    tensor = make_tensor_proto([markdown.encode()])
    return _new_value(tag=tag, metadata=metadata, tensor=tensor)


def table(tag: str, rows: list[str], columns: list[str], values: np.ndarray) -> Value:
    """A table of numbers in our own plugin's tag.

    Args:
        tag: the tag.
        rows: what each row is of, for example variable paths.
        columns: what each column is.
        values: float array of shape `(len(rows), len(columns))`.
    """
    metadata = _our_metadata({"rows": rows, "columns": columns})
    tensor = _float_tensor(np.asarray(values, np.float32))
    return _new_value(tag=tag, metadata=metadata, tensor=tensor)


def json_text(tag: str, value: Any) -> Value:
    """A JSON document in our own plugin's tag, as one string.

    Args:
        tag: the tag.
        value: plain values; numbers have to be finite.
    """
    document = json.dumps(value, allow_nan=False).encode()
    metadata = _our_metadata({"type": "json"})
    tensor = make_tensor_proto(document)
    return _new_value(tag=tag, metadata=metadata, tensor=tensor)


def _our_metadata(content: dict[str, Any]) -> Any:
    return summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(
            plugin_name=PLUGIN, content=json.dumps(content).encode()
        ),
        data_class=summary_pb2.DATA_CLASS_TENSOR,
    )


def layout(categories: dict[str, dict[str, list[str]]]) -> Value:
    """The layout of the Custom Scalars tab.

    Args:
        categories: title of a group to its charts, each a title and the regular
            expressions of the tags in it.
    """
    proto = layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=title,
                chart=[
                    layout_pb2.Chart(
                        title=name,
                        multiline=layout_pb2.MultilineChartContent(tag=tags),
                    )
                    for name, tags in charts.items()
                ],
            )
            for title, charts in categories.items()
        ]
    )
    return _new_value(
        tag=custom_scalar.CONFIG_SUMMARY_TAG,
        metadata=custom_scalar.create_summary_metadata(),
        tensor=make_tensor_proto(proto.SerializeToString()),
    )
