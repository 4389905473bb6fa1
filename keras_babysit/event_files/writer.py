"""TensorBoard event files, written off the training thread, without TensorFlow."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2

from keras_babysit.errors import warn
from keras_babysit.event_files.frames import framed
from keras_babysit.event_files.summaries import Value

#: The writer flushes by itself when it has had nothing to do for so long.
IDLE_SECONDS = 1.0
#: Events that may wait; more means that the disk does not keep up.
MAX_QUEUE = 512
#: How long the training thread waits for a slow disk before observing stops.
MAX_WAIT_SECONDS = 30.0
#: So much is kept in memory before it is written without having been asked for.
_BUFFER = 1 << 16

_serial = itertools.count()
_FLUSH, _CLOSE = object(), object()


@dataclass(frozen=True)
class _Event:
    """What waits for the thread; without values, the file's first event."""

    wall_time: float
    step: int
    values: Callable[[], list[Value]] | None
    key: str = ""

    def record(self) -> bytes:
        """The event as it stands in a file; nothing if it has no values after all."""
        event = event_pb2.Event(wall_time=self.wall_time)
        if self.values is None:
            event.file_version = "brain.Event:2"
        else:
            values = self.values()
            if not values:
                return b""
            event.step = self.step
            event.summary.CopyFrom(summary_pb2.Summary(value=values))
        return framed(event.SerializeToString())


class EventFile:
    """One event file of one run, with the thread that writes it.

    What the thread has flushed survives even if the process is killed. The file is
    closed by `close()`, when the object is collected, or when Python exits. Where it is
    removed or cut off by somebody else, or its thread has died (in a forked process),
    a warning says so and a new file is begun.

    Args:
        directory: directory of the run, made if it does not exist.
        tell: gets the warning.

    Raises:
        OSError: if the directory or the file cannot be made.
    """

    def __init__(
        self, directory: str | os.PathLike, tell: Callable[[str], None] = warn
    ):
        self._stream, self._tell = _Stream(Path(directory)), tell
        self._start()

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._stream.path

    def add(
        self, values: Callable[[], list[Value]], step: int, latest: str = ""
    ) -> None:
        """Queues the values of one step.

        Args:
            values: makes them; called by the thread.
            step: their step.
            latest: a name, if a new file, should one be necessary, has to begin with
                the latest values of this name.

        Raises:
            OSError: if an earlier write failed, or the disk does not keep up.
        """
        self._check()
        self._put(_Event(time.time(), step, values, latest))

    def flush(self, wait: bool = False) -> None:
        """Asks the thread to flush; with `wait`, returns when it has."""
        self._check()
        done = threading.Event() if wait else None
        self._put((_FLUSH, done))
        if done is not None:
            done.wait(MAX_WAIT_SECONDS)
            self._check()

    def close(self) -> None:
        """Writes what is queued and closes the file."""
        try:
            self._check()
        finally:
            self._finish()
        self._check()

    def _start(self) -> None:
        # Values travel as functions that make them: the thread has all the work.
        self._queue: queue.Queue[Any] = queue.Queue(MAX_QUEUE)
        self._thread = threading.Thread(
            target=_write,
            args=(self._stream, self._queue),
            name="keras_babysit_events",
            daemon=True,
        )
        try:
            self._thread.start()
        except BaseException:
            self._stream.close()
            raise
        self._finish = weakref.finalize(self, _stop, self._queue, self._thread)

    def _put(self, item: Any) -> None:
        try:
            self._queue.put(item, timeout=MAX_WAIT_SECONDS)
        except queue.Full:
            raise OSError(f"{self.path}: the disk does not keep up") from None

    def _check(self) -> None:
        stream = self._stream
        if self._finish.alive and not self._thread.is_alive():
            self._finish.detach()
            stream.begin(f"The thread that writes {self.path} has ended")
            self._start()
        if stream.errors:
            raise OSError(f"Could not write {self.path}: {stream.errors[0]}")
        while stream.losses:
            lost = stream.losses.pop(0)
            self._tell(f"{lost}. Recording continues in a new file beside it.")


class _Stream:
    """The file itself, and the next one if it is lost. Only the thread writes it.

    Attributes:
        path: the file.
        losses: what has become of the files before.
        errors: what went wrong; after that nothing is written.
    """

    def __init__(self, directory: Path):
        # A new file may be made from another working directory.
        self._directory = directory.absolute()
        self._began = int(time.time())
        self._latest: dict[str, _Event] = {}
        self.losses: list[str] = []
        self.errors: list[BaseException] = []
        self.begin()

    def begin(self, lost: str = "") -> None:
        """Begins a file."""
        if lost:
            self.losses.append(lost)
        self._directory.mkdir(parents=True, exist_ok=True)
        name = (
            f"events.out.tfevents.{self._began:010d}.{socket.gethostname()}"
            f".{os.getpid()}.{next(_serial):06d}.babysit"
        )
        self.path = self._directory / name
        self._file = open(self.path, "wb", buffering=0)  # noqa: SIM115 - closed by the thread
        self._size, self._waiting = 0, bytearray()
        for event in (_Event(time.time(), 0, None), *self._latest.values()):
            self._waiting += event.record()

    def add(self, event: _Event) -> None:
        """Takes an event; writes what waits if that is a lot."""
        if event.key:
            self._latest[event.key] = event
        self._waiting += event.record()
        if len(self._waiting) >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Writes what waits, to a new file if something has become of this one."""
        if lost := self._lost():
            waiting = self._waiting
            self.close()
            self.begin(lost)
            self._waiting += waiting
        while self._waiting:
            written = self._file.write(self._waiting)
            self._size += written
            del self._waiting[:written]

    def close(self) -> None:
        """Closes the file, and writes nothing."""
        self._file.close()

    def _lost(self) -> str:
        """What has become of the file; nothing if it is as it was left."""
        state = os.fstat(self._file.fileno())
        if state.st_size < self._size:
            return f"{self.path} was cut off by another process"
        # On NFS a removed file that is open keeps a name. One that was moved with its
        # directory is where its owner wants it.
        gone = not self.path.exists() and self._directory.exists()
        is_removed = gone or not state.st_nlink
        return f"{self.path} was removed by another process" if is_removed else ""


def _stop(waiting: queue.Queue, thread: threading.Thread) -> None:
    with contextlib.suppress(queue.Full):
        waiting.put(_CLOSE, timeout=MAX_WAIT_SECONDS)
        thread.join(MAX_WAIT_SECONDS)


def _write(stream: _Stream, waiting: queue.Queue) -> None:
    """The writer thread. After an error it only empties the queue."""
    dirty = True
    while True:
        try:
            item = waiting.get(timeout=IDLE_SECONDS if dirty else None)
        except queue.Empty:
            item = (_FLUSH, None)
        is_event = isinstance(item, _Event)
        try:
            if not stream.errors:
                if is_event:
                    stream.add(item)
                else:
                    stream.flush()
        except Exception as e:
            stream.errors.append(e)
        dirty = is_event and not stream.errors
        if item is _CLOSE:
            with contextlib.suppress(Exception):  # All is written by then.
                stream.close()
            return
        if isinstance(item, tuple) and item[1] is not None:
            item[1].set()
