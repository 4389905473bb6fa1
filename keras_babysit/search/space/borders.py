"""Best values at the edge of their range: what that looks like, and a wider range."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner
from scipy import stats

from keras_babysit.errors import is_number
from keras_babysit.records import Finding
from keras_babysit.search.space import scales

types = scales.types

#: As limits: none.
_ENDS = (-math.inf, math.inf)
#: Chance of an agreement by luck above which nothing is said.
_LUCK = 0.01


@dataclass(frozen=True)
class Border:
    """One end of one range at which the best trials gather.

    Attributes:
        hp: the hyperparameter.
        upper: whether it is the upper end.
        values: the best trials' values, best first.
        agreeing: how many of them are at that end.
    """

    hp: Any
    upper: bool
    values: tuple[Any, ...]
    agreeing: int


def at_border(
    hps: keras_tuner.HyperParameters, best_values: Any, tolerance: float = 0.05
) -> list[Finding]:
    """Finds ranges at whose edge the best trials lie.

    "Careful with best values on border", say the notes. A finding needs the very best
    trial within `tolerance` of an end of the range, on its scale, and so many of the
    other trials too that values drawn from the whole range would agree like that in
    less than one case in a hundred: 2 of 2, or 3 of 5, where the edge is 5 % of the
    range; more of them where there are few values to choose from.

    An end that is a natural one is not found: 0 of a linear range, 1 at the upper end
    of a linear `Float` range that starts at 0 or above, and 0 or 1 at the lower end of
    an `Int`. Neither are unordered choices and reversed logarithms.

    Args:
        hps: the space that was searched. Not changed.
        best_values: the values of the best trials, best first: dictionaries, or
            `tuner.get_best_hyperparameters(5)`.
        tolerance: width of the edge as a share of the range, above 0 and below 0.5.

    Returns:
        A warning for each, in the order of the space, with the range to try.

    Raises:
        ValueError: for no trials, values that are no numbers, or a wrong tolerance.

    References:
        CS231n, "Hyperparameter optimization".

    Example:
    ```python
    best = tuner.get_best_hyperparameters(5)
    for finding in search.at_border(tuner.oracle.get_space(), best):
        print(finding)
    ```
    """
    borders = _borders(hps, best_values, tolerance)
    return [_finding(border, len(border.values)) for border in borders]


def widened(
    hps: keras_tuner.HyperParameters,
    best_values: Any,
    factor: float = 0.25,
    limits: Mapping[str, tuple[float, float]] | None = None,
    tolerance: float = 0.05,
) -> keras_tuner.HyperParameters:
    """Returns the space with every range longer at the end where the best trials lie.

    An end that `at_border` finds moves outwards by `factor` times the width of the
    range, on its scale; all other ends stay. A range that does not reach below 0 is not
    made to, a linear `Float` range within 0 to 1 stays there, integers above 0 stay
    above 0, and steps stay steps. A `Choice` cannot be widened and stays as it is.

    Args:
        hps: the space that was searched. Not changed.
        best_values: as for `at_border`.
        factor: how much longer, as a share of the width; positive.
        limits: name to smallest and largest value allowed; an end never passes them.
        tolerance: as for `at_border`.

    Returns:
        New `HyperParameters` with their defaults as values.

    Raises:
        ValueError: as `at_border` does; for a factor that is not positive, or limits
            that are not two numbers in order.
    """
    if not is_number(factor) or factor <= 0:
        raise ValueError(f"`factor` must be a positive number. Received: {factor!r}")
    given = (limits or {}).items()
    allowed = {name: checked_limits(name, pair) for name, pair in given}
    found = _borders(hps, best_values, tolerance)
    borders = {id(border.hp): border for border in found}

    def wider(hp: Any) -> Any:
        if id(hp) not in borders:
            return hp
        limit = allowed.get(hp.name, (-math.inf, math.inf))
        return _moved(hp, borders[id(hp)].upper, factor, limit)

    return scales.space_of(wider(hp) for hp in hps.space)


def _borders(hps: Any, best_values: Any, tolerance: float) -> Iterator[Border]:
    found = scales.found_values(best_values)
    if not is_number(tolerance) or not 0 < tolerance < 0.5:
        raise ValueError(
            f"`tolerance` must be above 0 and below 0.5. Received: {tolerance!r}"
        )
    for hp in hps.space:
        if not scales.has_scale(hp) or getattr(hp, "sampling", "") == "reverse_log":
            continue
        values = tuple(scales.values_of(hp, found))
        for upper in (False, True):
            if values and not _is_natural(hp, upper):
                edge, share = _edge(hp, upper, tolerance)
                inside = [v >= edge if upper else v <= edge for v in values]
                luck = 2 * stats.binom.sf(sum(inside) - 1, len(values), share)
                if inside[0] and luck < _LUCK:
                    yield Border(hp, upper, values, sum(inside))


def _is_natural(hp: Any, upper: bool) -> bool:
    if isinstance(hp, types.Choice) or hp.sampling != "linear":
        return False
    if upper:
        is_float = isinstance(hp, types.Float)
        return is_float and hp.min_value >= 0 and hp.max_value == 1
    return hp.min_value == 0 or (isinstance(hp, types.Int) and hp.min_value == 1)


def _edge(hp: Any, upper: bool, tolerance: float) -> tuple[Any, float]:
    """Returns the innermost value of the edge, and its share of what can be drawn."""
    ladder = scales.points(hp)
    if ladder is not None:
        count = max(1, int(tolerance * len(ladder)))
        return ladder[-count if upper else count - 1], count / len(ladder)
    edge = scales.value_at(hp, 1 - tolerance if upper else tolerance)
    if isinstance(hp, types.Float):
        share = tolerance if hp.min_value < hp.max_value else 1.0
        return edge, share
    # KerasTuner draws a logarithmic Int as if each filled the space up to the next one.
    edge = math.ceil(edge) if upper else math.floor(edge)
    part = (hp.max_value + 1) / edge if upper else (edge + 1) / hp.min_value
    return edge, math.log(part) / math.log((hp.max_value + 1) / hp.min_value)


def _moved(hp: Any, upper: bool, factor: float, limit: tuple[float, float]) -> Any:
    if isinstance(hp, types.Choice):
        return hp
    low, high = hp.min_value, hp.max_value
    outer = _outer_steps if hp.step is not None else _outer_range
    if upper:
        # A share stays a share.
        is_share = isinstance(hp, types.Float) and hp.sampling == "linear"
        most = 1.0 if is_share and low >= 0 and high <= 1 else math.inf
        high = max(high, outer(hp, upper, factor, min(limit[1], most)))
    else:
        # Neither do counts become zero, nor anything negative.
        least: float = 1 if isinstance(hp, types.Int) and low > 0 else 0
        least = -math.inf if low < 0 else least
        low = min(low, outer(hp, upper, factor, max(limit[0], least)))
    return scales.with_range(hp, low, high, hp.default)


def _outer_range(hp: Any, upper: bool, factor: float, limit: float) -> Any:
    value = scales.value_at(hp, 1 + factor if upper else -factor)
    if isinstance(hp, types.Float):
        return min(value, limit) if upper else max(value, limit)
    return _whole(min(value, limit) if upper else max(value, limit), upper, limit)


def _whole(value: float, upper: bool, limit: float) -> int:
    """Returns the next whole number outwards, or inwards where the limit is met."""
    outward = math.ceil(value - 1e-9) if upper else math.floor(value + 1e-9)
    passes = outward > limit if upper else outward < limit
    if passes:
        return math.floor(limit) if upper else math.ceil(limit)
    return outward


def _outer_steps(hp: Any, upper: bool, factor: float, limit: float) -> Any:
    """Returns the point so many whole steps further out, short of the limit."""
    ladder = scales.points(hp) or ()
    value = ladder[-1] if upper else ladder[0]
    is_log, whole = hp.sampling == "log", isinstance(hp, types.Int)
    for _ in range(max(1, math.ceil(factor * (len(ladder) - 1)))):
        if is_log:
            if whole and not upper and value % hp.step:
                break  # 3, 6, 12 has nothing whole below it.
            down = value // hp.step if whole else value / hp.step
            further = value * hp.step if upper else down
        else:
            further = value + hp.step if upper else value - hp.step
        if further > limit if upper else further < limit:
            break
        value = further
    return value


def _finding(border: Border, count: int) -> Finding:
    hp, upper = border.hp, border.upper
    ladder = scales.points(hp)
    low, high = (
        (hp.min_value, hp.max_value) if ladder is None else (ladder[0], ladder[-1])
    )
    first, last = min(border.values), max(border.values)
    lies = f"{first:g} to {last:g}" if first < last else f"all {first:g}"
    side, end = ("upper", high) if upper else ("lower", low)
    return Finding(
        rule="best-at-border",
        severity="warning",
        where=hp.name,
        step=0,
        epoch=0.0,
        since_step=0,
        since_epoch=0.0,
        seen=(
            f"{border.agreeing} of the best {count} trials, the best among them, are "
            f"at the {side} end of the range {low:g} to {high:g} (they are {lies})"
        ),
        cause=f"Better values likely lie {'above' if upper else 'below'} {end:g}",
        action=_action(hp, upper),
        evidence={
            "values": list(border.values),
            "min_value": low,
            "max_value": high,
            "agreeing": border.agreeing,
            "upper": upper,
        },
    )


def _action(hp: Any, upper: bool) -> str:
    if isinstance(hp, types.Choice):
        side = "larger" if upper else "smaller"
        return f"add {side} values to {hp.name!r} than {sorted(hp.values)}"
    wider = _moved(hp, upper, 0.25, (-math.inf, math.inf))
    kind = type(hp).__name__
    options = f", step={hp.step:g}" if hp.step not in (None, 1) else ""
    options += f', sampling="{hp.sampling}"' if hp.sampling != "linear" else ""
    low, high = _short(wider.min_value), _short(wider.max_value)
    return f'try hp.{kind}("{hp.name}", {low}, {high}{options})'


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def checked_limits(name: str, pair: Any) -> tuple[float, float]:
    """Returns the smallest and the largest value that a range may have."""
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    are_numbers = is_pair and all(is_number(v) or v in _ENDS for v in pair)
    if not are_numbers or not pair[0] <= pair[1]:
        raise ValueError(
            f"`limits` must give the smallest and the largest value of {name!r}, two "
            f"numbers in order. Received: {pair!r}"
        )
    return pair[0], pair[1]
