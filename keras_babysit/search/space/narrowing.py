"""From coarse to fine: the space around the best trials of the last stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras_tuner

from keras_babysit.errors import is_number
from keras_babysit.search.space import scales

types = scales.types


def narrowed(
    hps: keras_tuner.HyperParameters, best_values: Any, factor: float = 0.5
) -> keras_tuner.HyperParameters:
    """Returns the space around the best trials, for the next and finer stage.

    Each range becomes `factor` times as wide as it was, on its own scale (for a
    logarithmic one: in the logarithm), around the very best value, but wide enough to
    contain the values of all the trials given. So a parameter in which the best trials
    disagree keeps its range. A range that would stick out is moved, not cut; the result
    is always within `hps`. Integers and steps stay on their points; an ordered `Choice`
    keeps a run of its values. Unordered ones, `Boolean`, `Fixed`, and what was active
    in none of the trials stay as they are, and conditions stay with everything.

    Args:
        hps: the space of the last stage, `tuner.oracle.get_space()`. Not changed.
        best_values: the best trials' values, best first: dictionaries, or
            `tuner.get_best_hyperparameters(5)`. Values outside of the range count as
            its ends.
        factor: new width by old width, 0 to 1.

    Returns:
        New `HyperParameters` with their defaults as values, for
        `OptunaOracle(hyperparameters=...)` or any other oracle. A default that is
        outside of its new range becomes the best value.

    Raises:
        ValueError: for no trials, values that are no numbers, or a factor out of range.

    References:
        CS231n, "Hyperparameter optimization": first coarse ranges, then narrower ones
        "depending on where the best results are turning up".

    Example:
    ```python
    best = tuner.get_best_hyperparameters(5)
    finer = search.narrowed(tuner.oracle.get_space(), best, factor=0.5)
    ```
    """
    found = scales.found_values(best_values)
    if not is_number(factor) or not 0 <= factor <= 1:
        raise ValueError(f"`factor` must be between 0 and 1. Received: {factor!r}")
    return scales.space_of(_narrowed(hp, found, factor) for hp in hps.space)


def _narrowed(hp: Any, found: Sequence[Any], factor: float) -> Any:
    if not scales.has_scale(hp):
        return hp
    values = scales.values_of(hp, found)
    if not values:
        return hp
    ladder = scales.points(hp)
    if ladder is None:
        return _narrowed_range(hp, values, factor)
    kept = _run(len(ladder), [scales.nearest(ladder, v) for v in values], factor)
    if isinstance(hp, types.Choice):
        return _narrowed_choice(hp, ladder[kept.start : kept.stop], values[0])
    return _narrowed_steps(hp, ladder, kept, values[0])


def _narrowed_range(hp: Any, values: list[Any], factor: float) -> Any:
    values = [min(max(v, hp.min_value), hp.max_value) for v in values]
    places = [scales.position(hp, v) for v in values]
    left, right = _window(places, factor)
    if right - left >= 1:
        return hp
    # A value itself where the window ends at it: there and back would round it.
    low = min(values) if left >= min(places) else scales.value_at(hp, left)
    high = max(values) if right <= max(places) else scales.value_at(hp, right)
    low, high = max(low, hp.min_value), min(high, hp.max_value)
    if isinstance(hp, types.Int):  # 7.999999999 is 8.
        low, high = math.floor(low + 1e-9), math.ceil(high - 1e-9)
    low, high = min(low, *values), max(high, *values)
    return scales.with_range(hp, low, high, values[0])


def _window(places: list[float], factor: float) -> tuple[float, float]:
    """Returns the ends of the part of 0 to 1 that has all places, the first centred."""
    width = max(max(places) - min(places), factor)
    centre = min(max(places[0], max(places) - width / 2), min(places) + width / 2)
    left = min(max(centre - width / 2, 0.0), 1.0 - width)
    return left, left + width


def _run(count: int, indices: list[int], factor: float) -> range:
    """Returns consecutive indices below `count` with all these, the first centred."""
    width = max(max(indices) - min(indices) + 1, math.ceil(factor * count))
    start = round(indices[0] - (width - 1) / 2)
    start = min(max(start, max(indices) - width + 1), min(indices))
    start = min(max(start, 0), count - width)
    return range(start, start + width)


def _narrowed_choice(hp: Any, kept: Sequence[Any], best: Any) -> Any:
    values = [value for value in hp.values if value in kept]
    default = hp.default if hp.default in values else best
    if default not in values:
        default = values[0]
    config = {**hp.get_config(), "values": values, "default": default}
    return types.Choice.from_config(config)


def _narrowed_steps(hp: Any, ladder: Sequence[Any], kept: range, best: Any) -> Any:
    if len(kept) == len(ladder):
        return hp
    low, high = ladder[kept.start], ladder[kept.stop - 1]
    best = ladder[scales.nearest(ladder, best)]
    made = scales.with_range(hp, low, high, best)
    # (0.3 - 0.1) // 0.1 is 1: rounding can lose the last step.
    while len(scales.points(made) or ()) < len(kept):
        if high < hp.max_value:
            high = math.nextafter(high, math.inf)
        else:
            low = math.nextafter(low, -math.inf)
        made = scales.with_range(hp, low, high, best)
    return made
