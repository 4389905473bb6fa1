"""A folder of one machine kept like that of another, where no disk is shared."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from keras_babysit.event_files import replacing

#: In the search's folder while workers run: which driver they belong to. A worker that
#: finds the same there sees the driver's folder; one that finds another is an orphan.
DRIVER = "driver"

Files = Mapping[str, bytes]
Stamps = Mapping[str, tuple[int, int]]


def driver_of(directory: str | os.PathLike) -> str:
    """Returns whose workers may write there; `""` if nobody's."""
    try:
        return (Path(directory) / DRIVER).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns when each file below a folder was changed, and its size in bytes."""
    found = {}
    for path in _files(folder):
        with contextlib.suppress(FileNotFoundError):  # Replaced just now.
            of = path.stat()
            found[path.relative_to(folder).as_posix()] = (of.st_mtime_ns, of.st_size)
    return found


def changed(before: Stamps, after: Stamps) -> tuple[list[str], list[str]]:
    """Returns the names of the files that are new or changed, and of those gone."""
    new = [name for name, stamp in after.items() if before.get(name) != stamp]
    return new, [name for name in before if name not in after]


def read(folder: Path, names: Iterable[str] | None = None) -> dict[str, bytes]:
    """Returns the contents of files below a folder, of all of them by default."""
    wanted = stamps(folder) if names is None else names
    found = {}
    for name in wanted:
        with contextlib.suppress(FileNotFoundError):
            found[name] = (folder / name).read_bytes()
    return found


def write(folder: Path, files: Files, gone: Iterable[str] = ()) -> None:
    """Writes files below a folder, each of them whole or not at all; removes others.

    Raises:
        OSError: if one could not be written; the others are there.
    """
    failed = None
    for name, content in files.items():
        try:
            replacing.write(folder / name, content, sync=False)
        except OSError as error:
            failed = failed or error
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    if failed is not None:
        raise failed


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in found if not path.name.startswith(replacing.PARTIAL)]
