"""Files that are there whole or not at all, whoever is killed while writing them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

#: Begins the name of a file that is still being written.
PARTIAL = ".partial-"


@contextlib.contextmanager
def replacing(path: str | os.PathLike, sync: bool = True) -> Iterator[Path]:
    """Lends a path to write to; what is there then takes the place of the file.

    Args:
        path: the file; its directory is made if need be.
        sync: whether to wait until it is on the disk.

    Raises:
        OSError: if it cannot be written; then there is what was there before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The endings only: TensorBoard reads whatever has "tfevents" in its name.
    partial = path.with_name(f"{PARTIAL}{os.getpid()}{''.join(path.suffixes[-2:])}")
    try:
        yield partial
        if sync:
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write(path: str | os.PathLike, content: str | bytes, sync: bool = True) -> None:
    """Writes a file as `replacing` does."""
    with replacing(path, sync) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
