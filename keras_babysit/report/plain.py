"""What rich would show on a terminal, as text."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console


def rendered(write: Callable[[Console], None], width: int) -> str:
    """Returns what a function writes to a console, without colour.

    Args:
        write: writes to the console that it is given.
        width: columns.
    """
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=False,
        force_jupyter=False,
        color_system=None,
        highlight=False,
    )
    write(console)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
