"""What goes wrong on the side of a trial, and does not end it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


class Notes:
    """Notes of one trial, one line each.

    Attributes:
        lines: the notes so far.
    """

    def __init__(self, folder: Path):
        self.lines: list[str] = []
        self._folder = folder
        self._in_trouble = False

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[None]:
        """Lets the training go on where the disk does not."""
        try:
            yield
        except OSError as error:
            self.trouble(error)

    def trouble(self, error: OSError) -> None:
        """Notes that files cannot be written: once, for of a full disk is no end."""
        if not self._in_trouble:
            self._in_trouble = True
            what = error.strerror or str(error)
            self.lines.append(f"not all of {str(self._folder)!r} was written: {what}")
