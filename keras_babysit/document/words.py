"""Numbers, counts and names as people write them."""

from __future__ import annotations

import math


def clean(text: object) -> str:
    """Text without what could move a cursor or break a line."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def cut(text: str, most: int) -> str:
    """Text of at most so many letters, the last one `…` if there were more."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def count(n: int, what: str) -> str:
    """`"1 error"`, `"2,000 errors"`."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def number(value: float | None) -> str:
    """A number for people: `3.1e-4`, `0.25`, `1,000`, `NaN`; empty for `None`."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{value:+}"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    if 0.01 <= abs(value) < 1e4:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def share(value: float | None) -> str:
    """`"93 %"`; empty for `None`."""
    if value is None or not math.isfinite(value):
        return number(value)
    # 99.7 % dead isn't all dead.
    percent = f"{100 * value:.0f}"
    if (percent == "100" and value < 1) or (percent == "0" and value > 0):
        percent = f"{100 * value:.2g}" if value < 0.5 else ">99"
    return f"{percent} %"


def moment(step: float, epoch: float) -> str:
    """`"epoch 2.5"`, or `"step 12"` within the first epoch."""
    if epoch < 1:
        return f"step {step:.0f}"
    return f"epoch {epoch:.1f}".removesuffix(".0")


def ended(text: str) -> str:
    """Text with one full stop last."""
    text = text.strip()
    return text if not text or text.endswith((*".!?",)) else f"{text}."


def sentence(text: str) -> str:
    """Text with a capital letter first and one full stop last."""
    text = ended(text)
    return f"{text[:1].upper()}{text[1:]}"
