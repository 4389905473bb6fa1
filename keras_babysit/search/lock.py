"""One process at a time in the folder of a search."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from keras_babysit.search.store import LOCK


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the folder's lock; the system lets go of it when the process ends.

    Args:
        directory: the folder, which exists.

    Raises:
        RuntimeError: if another process, or another search of this one, holds it.
        OSError: if there can be no lock in the folder.
    """
    lock = filelock.FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0.2)  # `search status` looks whether it is free.
    except filelock.Timeout:
        raise RuntimeError(
            f"Another process is searching in {str(directory)!r}: its lock is held. "
            "Wait until it has ended, or choose another `project_name`. "
            "`keras-babysit search status` shows how it is getting on."
        ) from None
    try:
        yield
    finally:
        lock.release()
