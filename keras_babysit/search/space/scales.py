"""The scale that a hyperparameter is searched on: its coordinate or its points."""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras_tuner

from keras_babysit.errors import is_number

types = keras_tuner.engine.hyperparameters


class Scoped(keras_tuner.HyperParameters):
    """KerasTuner's, where a scope may lie in another one, whatever its parent.

    KerasTuner (1.4.8) only knows a parent that was asked for in the very same scope, so
    two scopes on one parent cannot be nested.
    """

    def _exists(self, name: str, conditions: Any = None) -> bool:
        if conditions is not None:
            return super()._exists(name, conditions)
        return any(
            all(condition in self._conditions for condition in hp.conditions)
            for hp in self._hps.get(name, ())
        )


def is_active(hp: Any, values: Mapping[str, Any]) -> bool:
    """Whether all of the hyperparameter's conditions hold for these values."""
    return all(condition.is_active(values) for condition in hp.conditions)


def has_scale(hp: Any) -> bool:
    """Whether its values have an order that a range can be cut from.

    That is any `Float`, `Int` or ordered `Choice`. A reversed logarithm with a step is
    left out: its points depend on both ends of the range.
    """
    if isinstance(hp, types.Choice):
        return bool(hp.ordered)
    if not isinstance(hp, types.Float | types.Int):
        return False
    return hp.sampling != "reverse_log" or hp.step is None


def points(hp: Any) -> Sequence[Any] | None:
    """Returns all values in ascending order; `None` if they lie densely.

    Integers on a logarithmic scale without a step count as dense: they are not equally
    likely.
    """
    if isinstance(hp, types.Choice):
        return sorted(set(hp.values))
    if isinstance(hp, types.Int) and hp.sampling == "linear":
        return range(hp.min_value, hp.max_value + 1, hp.step)
    if hp.step is None:
        return None
    kind = int if isinstance(hp, types.Int) else float
    return sorted({kind(value) for value in hp.values})


def nearest(ladder: Sequence[Any], value: float) -> int:
    """Returns the index of the point that is closest to a value."""
    above = min(bisect.bisect_left(ladder, value), len(ladder) - 1)
    below = max(above - 1, 0)
    return below if value - ladder[below] < ladder[above] - value else above


def position(hp: Any, value: float) -> float:
    """Returns where a value lies on its scale: 0 at the minimum, 1 at the maximum."""
    low, high = hp.min_value, hp.max_value
    value = min(max(value, low), high)
    if low == high:
        return 0.0
    if hp.sampling == "linear":
        return (value - low) / (high - low)
    if hp.sampling == "log":
        return math.log(value / low) / math.log(high / low)
    return 1 - math.log((low + high - value) / low) / math.log(high / low)


def value_at(hp: Any, place: float) -> float:
    """Returns the value at a position, also outside 0 to 1: `position` inverted."""
    low, high = hp.min_value, hp.max_value
    if hp.sampling == "linear":
        return low + place * (high - low)
    if hp.sampling == "log":
        return low * math.pow(high / low, place)
    return low + high - low * math.pow(high / low, 1 - place)


def with_range(hp: Any, low: Any, high: Any, default: Any) -> Any:
    """Returns a copy with another range, and with `default` if its own is outside."""
    config = {**hp.get_config(), "min_value": low, "max_value": high}
    if not low <= hp.default <= high:
        config["default"] = default
    return type(hp).from_config(config)


def space_of(hps: Iterable[Any]) -> keras_tuner.HyperParameters:
    """Returns new `HyperParameters` of these, with their defaults as values."""
    made = keras_tuner.HyperParameters()
    made.merge(list(hps))
    return made


def copied(config: Mapping[str, Any]) -> keras_tuner.HyperParameters:
    """Returns the `HyperParameters` of a configuration, which is left as it is.

    KerasTuner's own `from_config` (1.4.8) puts objects in the place of the conditions.
    """
    whole = {"values": {}, **config}
    return Scoped.from_config(copy.deepcopy(whole))


def with_values(
    config: Mapping[str, Any], values: Mapping[str, Any]
) -> keras_tuner.HyperParameters:
    """Returns a space with the values of a trial.

    Values of `config` that the trial does not have stay, those that are not active go,
    and what is active and has none gets its default. KerasTuner's own
    `ensure_active_values` draws it at random, without a seed, and drops the value of a
    name that has two conditions.
    """
    made = copied(config)
    made.values = {**made.values, **values}
    made.values = {n: v for n, v in made.values.items() if made.is_active(n)}
    for hp in made.space:
        if made.is_active(hp):
            made.values.setdefault(hp.name, hp.default)
    return made


def found_values(best: Any) -> list[Mapping[str, Any]]:
    """Returns the values of trials as mappings.

    Args:
        best: mappings of names to values, or `HyperParameters`, best first.

    Raises:
        ValueError: if there are none, or one is neither.
    """
    if isinstance(best, Mapping | str) or not isinstance(best, Iterable):
        given: list[Any] = []
    else:
        hps = keras_tuner.HyperParameters
        given = [b.values if isinstance(b, hps) else b for b in best]
    if not given or not all(isinstance(one, Mapping) for one in given):
        raise ValueError(
            "`best_values` must be a list, best first, of the values of at least one "
            "trial: dictionaries of names to values, or HyperParameters such as "
            "`tuner.get_best_hyperparameters(5)` returns. Received: "
            f"best_values={best!r}"
        )
    return given


def values_of(hp: Any, found: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Returns the hyperparameter's values in the trials in which it was active."""
    values = [f[hp.name] for f in found if hp.name in f and is_active(hp, f)]
    for value in values:
        if not is_number(value):
            raise ValueError(
                f"The values of {hp.name!r} must be finite numbers. Received: {value!r}"
            )
    return values
