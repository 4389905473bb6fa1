"""The folder of a search: what has happened, on disk, in an order that never changes.

```
DIR/
  search.json          what was asked for; made once
  events.jsonl         what has happened, one line each, only ever added to
  lock                 held by the process that runs the search
  trials/0007/         one trial: its folder may be written by another machine
    epochs.jsonl         one line an epoch
    checkpoints/         epoch-0003-val_loss-0.1234.keras
    logs/                TensorBoard files
```

The events are the one truth. Whatever else there is can be made from them again, so a
process that is killed at any moment leaves nothing that does not fit together: at worst
a last line that was cut off, which is left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_babysit.event_files.replacing import write
from keras_babysit.search.trials import (
    EpochResult,
    Trial,
    epoch_of,
    outcome_of,
    to_json,
    with_outcome,
)

SETTINGS, EVENTS, LOCK, TRIALS = "search.json", "events.jsonl", "lock", "trials"
EPOCHS, CHECKPOINTS, LOGS = "epochs.jsonl", "checkpoints", "logs"


class Store:
    """Reads a search's folder; adds to it.

    Args:
        directory: the folder. It need not exist before something is written.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = Path(directory)

    def settings(self) -> dict[str, Any] | None:
        """Returns what the search was begun with; `None` if there is no search."""
        try:
            text = (self.directory / SETTINGS).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{str(self.directory / SETTINGS)!r} is not a search: {error}"
            ) from None

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Makes the folder and writes what the search is begun with."""
        (self.directory / TRIALS).mkdir(parents=True, exist_ok=True)
        write(self.directory / SETTINGS, json.dumps(settings, indent=2) + "\n")

    def folder(self, trial: Trial | int) -> Path:
        """Returns the folder of a trial; it need not exist yet."""
        number = trial if isinstance(trial, int) else trial.number
        return self.directory / TRIALS / f"{number:04d}"

    def append(self, event: str, **values: Any) -> None:
        """Adds an event, and returns when it is on the disk.

        Raises:
            OSError: if it could not be written; then it has not happened.
        """
        line = {"event": event, "time": time.time(), **values}
        append_line(self.directory / EVENTS, line, sync=True)

    def events(self) -> list[dict[str, Any]]:
        """Returns all events in their order.

        Raises:
            ValueError: if they do not fit together: something else has changed the
                file.
        """
        events = list(read_lines(self.directory / EVENTS))
        begun: set[Any] = set()
        for event in events:
            kind, number = event.get("event"), event.get("number")
            if kind == "started":
                begun.add(number)
            if kind is None or (kind == "ended" and number not in begun):
                wrong = f"trial {number} ends before it begins" if kind else "no event"
                raise ValueError(
                    f"{str(self.directory / EVENTS)!r} is damaged ({wrong}), so it is "
                    "not known what the search has done. Put a copy of it back, or "
                    "pass `overwrite=True` to start over."
                )
        return events

    def trials(self) -> list[Trial]:
        """Returns all trials that have begun, by number, as they are now."""
        found: dict[int, Trial] = {}
        for event in self.events():
            if event["event"] == "started":
                known = found.get(event["number"])
                one = known or started(event)
                one = replace(one, attempts=event["attempts"], outcome=None)
                found[one.number] = one
            elif event["event"] == "ended":
                number = event["number"]
                outcome = outcome_of(event["outcome"])
                found[number] = with_outcome(found[number], outcome)
        return [found[number] for number in sorted(found)]

    def epochs(self, trial: Trial | int) -> list[EpochResult]:
        """Returns the epochs that a trial has finished, as its worker wrote them.

        An epoch that was trained twice, since a worker was killed, counts once: the
        last time. Lines that are no epochs are left out.
        """
        found: dict[tuple[int, int], EpochResult] = {}
        for line in read_lines(self.folder(trial) / EPOCHS):
            with contextlib.suppress(TypeError, ValueError, KeyError):
                epoch = epoch_of(line)
                if isinstance(epoch.logs, Mapping):
                    found[int(epoch.fold), int(epoch.epoch)] = epoch
        return [found[key] for key in sorted(found)]


def started(event: Mapping[str, Any]) -> Trial:
    """Returns the trial of a `started` event."""
    names = "number", "stage", "values", "epochs", "seed", "origin", "source"
    return Trial(**{name: event[name] for name in names}, attempts=event["attempts"])


def append_line(path: Path, values: Any, sync: bool = False) -> None:
    """Adds a line of JSON to a file; one that was cut off before is closed first.

    Args:
        path: the file.
        values: a mapping, or a record of `trials`.
        sync: whether to wait until it is on the disk.
    """
    line = json.dumps(to_json(values), allow_nan=False) + "\n"
    with open(path, "a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            line = line if file.read(1) == b"\n" else "\n" + line
        try:
            file.write(line.encode())
            file.flush()
        except OSError:
            # Not half a line: what follows would be read as part of it.
            with contextlib.suppress(OSError):
                os.truncate(path, end)
            raise
        if sync:
            os.fsync(file.fileno())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the lines of such a file, but for those that were cut off."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from lines_of(content)


def lines_of(content: bytes) -> Iterator[dict[str, Any]]:
    """Yields the lines of a part of such a file, but for those that were cut off."""
    for line in content.split(b"\n"):
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict):
            yield values
