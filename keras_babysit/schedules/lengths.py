"""Numbers and lengths that users give: checked at the call, in epochs or in steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras_babysit import errors

#: What a share that is not 0 must be, for `number`.
FACTOR = ("greater than 0 and at most 1", lambda v: 0 < v <= 1)


def number(
    name: str, value: Any, expected: str, holds: Callable[[float], bool]
) -> float:
    """Returns `value` as a float."""
    return errors.number(
        name, value, f"a number {expected}", lambda v: math.isfinite(v) and holds(v)
    )


def rate(name: str, value: Any, zero: bool = False) -> float:
    """Returns a learning rate as a float: greater than 0, or 0 too where allowed."""
    if zero:
        return number(name, value, "not below 0", lambda v: v >= 0)
    return number(name, value, "greater than 0", lambda v: v > 0)


def whole(name: str, value: Any) -> int:
    """Returns a positive whole number as an int; `3e4` will do."""
    return int(
        number(
            name, value, "that is whole and positive", lambda v: v >= 1 and v % 1 == 0
        )
    )


def epochs_length(name: str, value: Any) -> float:
    """Returns a length in epochs, which need not be whole."""
    return number(name, value, "greater than 0", lambda v: v > 0)


def one_of(epochs: Any, steps: Any, of: str) -> None:
    """Checks that a length is given once, in epochs or in steps."""
    if (epochs is None) == (steps is None):
        raise ValueError(
            f"{of} needs exactly one of `epochs` and `steps`. "
            f"Received: epochs={epochs!r}, steps={steps!r}"
        )


def in_steps(epochs: float, steps_per_epoch: int) -> int:
    """Returns a length in epochs as the nearest number of steps.

    Raises:
        ValueError: if that is less than one step.
    """
    steps = round(epochs * steps_per_epoch)
    if steps < 1:
        raise ValueError(
            "A length must be at least one step. Received: "
            f"epochs={epochs:g} with steps_per_epoch={steps_per_epoch}"
        )
    return steps
