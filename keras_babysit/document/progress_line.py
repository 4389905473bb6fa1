"""One line on the terminal that says how far something has come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

#: Tells how far something has come: a share from 0 to 1, and what it does now.
Progress = Callable[[float, str], None]


def silent(share: float, what: str) -> None:
    """Tells nobody."""


@contextlib.contextmanager
def shown(
    title: str, progress: Progress | None = None, verbose: int | str = "auto"
) -> Iterator[Progress]:
    """Yields a `Progress` to report to; what it showed is gone at the end.

    Args:
        title: what is going on.
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

    console = Console()
    if verbose == "auto" and not console.is_terminal:
        yield silent
        return
    columns = (TextColumn(title), BarColumn(), TextColumn("{task.description}"))
    with Bar(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, what: bar.update(task, completed=share, description=what)
