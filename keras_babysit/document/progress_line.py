"""One line on the terminal that shows how far something has come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

#: Reports how far something has come: a share from 0 to 1, and what it does now.
Progress = Callable[[float, str], None]
#: Columns for what is being done.
_WIDTH = 44


def silent(share: float, what: str) -> None:
    """Reports to nobody."""


@contextlib.contextmanager
def shown(
    title: str, progress: Progress | None = None, verbose: int | str = "auto"
) -> Iterator[Progress]:
    """Yields a `Progress` to report to; what it showed is gone at the end.

    The line is on standard error: what is printed to standard output may be piped.

    Args:
        title: what is being done.
        progress: whom to report to instead.
        verbose: 0 shows nothing; 1 a line; `"auto"` a line on a terminal.

    Raises:
        ValueError: for another `verbose`.
    """
    if isinstance(verbose, bool) or verbose not in (0, 1, "auto"):
        raise ValueError(
            f'`verbose` must be 0, 1 or "auto". Received: verbose={verbose!r}'
        )
    if progress is not None or verbose == 0:
        yield progress or silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, highlight=False)
    if verbose == "auto" and not console.is_terminal:
        yield silent
        return
    what = TextColumn("{task.description}", markup=False)
    bar = Bar(
        TextColumn(title),
        BarColumn(),
        what,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        # What the model itself prints must not be caught.
        redirect_stdout=False,
        redirect_stderr=False,
    )

    def tell(share: float, what: str) -> None:
        share = min(max(float(share), 0.0), 1.0)
        said = " ".join(what.split())[:_WIDTH]
        # At once: what comes next may take its time to report more.
        bar.update(task, completed=share, description=said, refresh=True)

    with bar:
        task = bar.add_task("", total=1.0)
        yield tell


def part(progress: Progress, start: float, end: float, title: str = "") -> Progress:
    """Returns a `Progress` for a part of something."""

    def tell(share: float, what: str) -> None:
        said = ": ".join(filter(None, (title, what)))
        progress(start + (end - start) * min(max(float(share), 0.0), 1.0), said)

    return tell
