"""The folder of a search: locked, made, resumed, or begun anew."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from keras_babysit.search.replay import ABORTED
from keras_babysit.search.settings import check_same
from keras_babysit.search.store import EVENTS, LOCK, SETTINGS, TRIALS, Store


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the folder's lock; the system lets go of it when the process ends.

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


def make(directory: Path) -> None:
    """Makes the folder, and makes sure that it can be written."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Not by its permissions: they do not hold for everyone, nor everywhere.
        probe = directory / f"{SETTINGS}.{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"The folder of the search, {str(directory)!r}, cannot be written: "
            f"{error.strerror or error}. Choose another `directory`."
        ) from None


def stored(store: Store) -> dict[str, Any] | None:
    """Returns the settings of what there is to go on with; `None` for nothing."""
    return None if _was_aborted(store.events()) else store.settings()


def begin(store: Store, asked: Mapping[str, Any], overwrite: bool = False) -> None:
    """Makes the folder ready for a search, new or one that goes on.

    What is there is deleted with `overwrite`; if it was aborted since all of its trials
    had failed; and if it is another search none of whose trials has ended.

    Raises:
        ValueError: if another search is there.
    """
    if overwrite:
        _clear(store.directory)
    events = store.events()
    if _was_aborted(events):
        _clear(store.directory)
        events = []
    known = store.settings()
    if known is None and events:
        raise ValueError(
            f"The folder {str(store.directory)!r} has trials but no {SETTINGS}, so it "
            "is not known of what. Choose another `project_name`, or pass "
            "`overwrite=True` to delete them."
        )
    if known is not None:
        try:
            check_same(asked, known, str(store.directory))
        except ValueError:
            if any(event["event"] == "ended" for event in events):
                raise
            _clear(store.directory)
    if asked != known:
        store.begin(asked)


def _was_aborted(events: list[dict[str, Any]]) -> bool:
    """Whether the search saw no sense in going on, and nothing in it is any good."""
    if not events or events[-1]["event"] != ABORTED:
        return False
    ended = [event for event in events if event["event"] == "ended"]
    return all(event["outcome"]["status"] == "failed" for event in ended)


def _clear(directory: Path) -> None:
    """Deletes what a search has written, and nothing else."""
    # The events first: what is left, if this is cut off, is then a new search.
    (directory / EVENTS).unlink(missing_ok=True)
    shutil.rmtree(directory / TRIALS, ignore_errors=True)
    for path in [directory / SETTINGS, *directory.glob("events.out.tfevents.*")]:
        path.unlink(missing_ok=True)
