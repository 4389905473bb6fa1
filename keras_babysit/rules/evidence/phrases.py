"""How rules write numbers and advice."""

from __future__ import annotations

import math

from keras_babysit.history import RunHistory
from keras_babysit.records import Fix
from keras_babysit.rules import fixes


def number(x: float) -> str:
    """Writes a number in the fewest characters that say it: `3e-4`, `0.25`, `12`."""
    x = float(x)
    if not math.isfinite(x) or x == 0 or 0.01 <= abs(x) < 1e4:
        return f"{x:.3g}"
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def percent(x: float) -> str:
    """Writes a share."""
    return f"{100 * float(x):.3g} %"


def count(n: int, what: str) -> str:
    """Writes how many there are of something."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def rate_in_force(history: RunHistory) -> float | None:
    """Returns the learning rate of the last observed step, or as compiled."""
    step, model = history.last_step, history.model
    rate = step.learning_rate if step is not None else None
    if rate is None and model is not None and model.optimizer is not None:
        rate = model.optimizer.learning_rate
    return rate if rate is not None and math.isfinite(rate) and rate > 0 else None


def try_rate(history: RunHistory, factor: float) -> str:
    """Advises a learning rate `factor` times the one in force."""
    rate = rate_in_force(history)
    if rate is None:
        how = "lower" if factor < 1 else "raise"
        times = number(1 / factor if factor < 1 else factor)
        return f"{how} the learning rate {times}-fold"
    new = number(float(f"{rate * factor:.1g}"))
    return f"try a learning rate of {new} instead of {number(rate)}"


def rate_fixes(history: RunHistory, *factors: float) -> tuple[Fix, ...]:
    """Returns what `try_rate` advises as changes to try."""
    rate = rate_in_force(history)
    if rate is None:
        return ()
    return tuple(fixes.learning_rate(float(f"{rate * f:.1g}")) for f in factors)


def names(places: list[str], most: int = 3) -> str:
    """Names a few places of many."""
    more = len(places) - most
    return ", ".join(places[:most]) + (f" and {more} more" if more > 0 else "")
