"""What counts as a number or a count in the arguments of a search."""

from __future__ import annotations

import math
import numbers
from typing import Any


def is_number(value: Any) -> bool:
    """Whether it is a finite integer or float, and no boolean."""
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and math.isfinite(value)


def check_count(what: str, value: Any, name: str = "", least: int = 1) -> None:
    """Raises a `ValueError` for what is not an integer of at least `least`.

    Args:
        what: the argument as the message calls it.
        value: what was given.
        name: the argument as it is written; `what` without backquotes by default.
        least: smallest integer that is allowed.
    """
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < least:
        kind = {0: "a non-negative integer", 1: "a positive integer"}.get(least)
        kind = kind or f"an integer of at least {least}"
        name = name or what.strip("`")
        raise ValueError(f"{what} must be {kind}. Received: {name}={value!r}")
