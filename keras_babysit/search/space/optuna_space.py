"""KerasTuner's hyperparameters as parameters of an Optuna study, and back."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from keras_babysit.search.space import scales

types = scales.types


@dataclass(frozen=True)
class Axis:
    """One hyperparameter as Optuna sees it.

    Attributes:
        hp: the KerasTuner `HyperParameter`.
        name: the parameter's name in the study, unique in the space.
        distribution: its Optuna distribution.
        inward: from a value of `hp` to one of `distribution`; `None` for a value
            that is out of its range.
        outward: the way back.
    """

    hp: Any
    name: str
    distribution: BaseDistribution
    inward: Callable[[Any], Any]
    outward: Callable[[Any], Any]

    def suggest(self, trial: optuna.Trial) -> Any:
        """Returns the value of the hyperparameter that the trial's sampler suggests."""
        of = self.distribution
        if isinstance(of, CategoricalDistribution):
            return self.outward(trial.suggest_categorical(self.name, of.choices))
        if isinstance(of, IntDistribution):
            value = trial.suggest_int(
                self.name, of.low, of.high, step=of.step, log=of.log
            )
            return self.outward(value)
        assert isinstance(of, FloatDistribution)
        return self.outward(trial.suggest_float(self.name, of.low, of.high, log=of.log))


def axes_of(space: Iterable[Any], grid: bool = False) -> list[Axis]:
    """Returns the axes of all hyperparameters but `Fixed` ones, in their order.

    Args:
        space: the list `HyperParameters.space`.
        grid: make every axis finite: a range without a step becomes the ten values
            that KerasTuner's own grid search tries.
    """
    space = [hp for hp in space if not isinstance(hp, types.Fixed)]
    count = collections.Counter(hp.name for hp in space)
    named = [(hp, hp.name if count[hp.name] == 1 else _long_name(hp)) for hp in space]
    return [_axis(hp, name, grid) for hp, name in named]


def _long_name(hp: Any) -> str:
    # KerasTuner tells hyperparameters of one name apart by their conditions.
    conditions = " and ".join(f"{c.name} in {c.values}" for c in hp.conditions)
    return f"{hp.name} if {conditions}" if conditions else hp.name


def _axis(hp: Any, name: str, grid: bool) -> Axis:
    if isinstance(hp, types.Boolean):
        return _categorical(hp, name, (False, True))
    if isinstance(hp, types.Choice):
        # An order makes a ladder of it, whatever order it was written in.
        if hp.ordered:
            return _ladder(hp, name, sorted(set(hp.values)))
        return _categorical(hp, name, tuple(dict.fromkeys(hp.values)))
    linear_int = isinstance(hp, types.Int) and hp.sampling == "linear"
    if grid or (hp.step is not None and not linear_int):
        # A logarithmic Int counts in floats: 2.0, 4.0, 8.0.
        kind = int if isinstance(hp, types.Int) else float
        return _ladder(hp, name, sorted({kind(value) for value in hp.values}))
    return _range(hp, name)


def _categorical(hp: Any, name: str, choices: tuple[Any, ...]) -> Axis:
    def inward(value: Any) -> Any:
        return value if value in choices else None

    return Axis(hp, name, CategoricalDistribution(choices), inward, _same)


def _ladder(hp: Any, name: str, values: list[Any]) -> Axis:
    def inward(value: Any) -> int | None:
        index = scales.nearest(values, value)
        # The points of a narrowed range can differ from the old ones by a rounding.
        return index if math.isclose(values[index], value, rel_tol=1e-9) else None

    return Axis(
        hp, name, IntDistribution(0, len(values) - 1), inward, values.__getitem__
    )


def _range(hp: Any, name: str) -> Axis:
    low, high, log = hp.min_value, hp.max_value, hp.sampling != "linear"
    distribution: BaseDistribution
    if isinstance(hp, types.Float):
        distribution = FloatDistribution(low, high, log=log)
    else:
        step = 1 if log else hp.step
        # Optuna warns of a range that its step does not divide.
        high = low + (high - low) // step * step
        distribution = IntDistribution(low, high, log=log, step=step)

    # In a reversed logarithm it is the distance from the other end that counts.
    def turned(value: Any) -> Any:
        return low + high - value if hp.sampling == "reverse_log" else value

    def inward(value: Any) -> Any:
        if not low <= value <= high:
            return None
        if isinstance(hp, types.Int) and (value - low) % step:
            return None
        return min(max(turned(value), low), high)

    def outward(value: Any) -> Any:
        return min(max(turned(value), low), high)

    return Axis(hp, name, distribution, inward, outward)


def _same(value: Any) -> Any:
    return value
