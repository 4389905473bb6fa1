"""The console sink: a line when something is found, a summary at the end."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console

from keras_babysit.document.console import write
from keras_babysit.document.shown import WIDTH
from keras_babysit.records import Finding
from keras_babysit.report import Report
from keras_babysit.report.groups import group_by_rule

#: Goes to the first column and erases the line, in a terminal.
_ERASE = "\r\x1b[2K"
#: Signs for an output that cannot have ours.
_ASCII = str.maketrans("✖▲•✔", "x!-+")


class ConsoleSink:
    """Writes findings to standard output: a terminal, a notebook, or a log file.

    Args:
        verbose: 0 writes nothing.
    """

    def __init__(self, verbose: int = 1):
        self.verbose = verbose

    def tell(self, findings: Iterable[Finding], bar: bool = True) -> None:
        """Writes findings that are new or have healed, one line for each rule.

        Args:
            findings: the findings.
            bar: whether a progress bar may have left the cursor inside a line, as
                Keras's does with `verbose=1`.
        """
        groups = group_by_rule(findings)
        if not self.verbose or not groups:
            return
        with shown(bar) as console:
            write(console, [group.card for group in groups], wrap=_wraps(console))

    def summary(self, report: Report) -> None:
        """Writes the findings and the table of layers; one line if all is well."""
        if not self.verbose:
            return
        with shown(bar=False) as console:
            write(console, report.brief(), wrap=_wraps(console))


class _Buffer(io.StringIO):
    """Collects what is printed; rich takes it for the file it is to be written to."""

    def __init__(self, file: Any):
        super().__init__()
        self.encoded_as = getattr(file, "encoding", None) or "utf-8"
        self.terminal = _is_terminal(file)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the file."""
        return self.encoded_as

    def isatty(self) -> bool:
        """Whether the file is a terminal."""
        return self.terminal


def _console(buffer: _Buffer) -> Console:
    console = Console(file=buffer, highlight=False)
    if console.is_jupyter or not console.is_terminal:
        # The width of a terminal that is not there would be 80, a notebook's too wide.
        console = Console(file=buffer, highlight=False, width=WIDTH)
    return console


def _wraps(console: Console) -> bool:
    """Lines are broken for a screen; a log file has one line for each finding."""
    return console.is_terminal or console.is_jupyter


@contextlib.contextmanager
def shown(bar: bool) -> Iterator[Console]:
    """A console, whose text is then written at once, from a fresh line.

    Args:
        bar: whether a progress bar may have left the cursor inside a line.
    """
    file = sys.stdout
    buffer = _Buffer(file)
    console = _console(buffer)
    yield console
    if console.is_jupyter or file is None:
        return
    # Not `console.is_terminal`: a setting can have a file taken for one.
    can_erase = buffer.isatty() and not console.is_dumb_terminal
    start = "" if not bar else _ERASE if can_erase else "\n"
    # A closed or full output is no reason to stop watching.
    with contextlib.suppress(OSError, ValueError):
        file.write(_encodable(start + buffer.getvalue(), console.encoding))
        file.flush()


def _is_terminal(file: Any) -> bool:
    try:
        return bool(file.isatty())
    except (AttributeError, ValueError):  # It is not a whole file, or closed.
        return False


def _encodable(words: str, encoding: str) -> str:
    try:
        words.encode(encoding)
    except UnicodeEncodeError:
        words = words.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return words
