"""Hyperparameters as axes to draw and count along, read from a search's files.

From the configuration of `HyperParameters` as JSON has it: without KerasTuner, so that
a search can be looked at where it is not installed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_babysit.errors import is_number
from keras_babysit.search.results.table import shown
from keras_babysit.search.trials import Trial


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter: its range and the scale that it is searched on.

    Attributes:
        name: its name.
        low: smallest value of a range; NaN of a choice.
        high: largest one.
        whole: whether it takes whole numbers only.
        sampling: `"linear"`, `"log"` or `"reverse_log"`.
        choices: the values of a choice, in their order; empty for a range.
        condition: when it is active, in words; `""` for always.
        step: distance, or with `"log"` ratio, of its values; `None` if it is dense.
    """

    name: str
    low: float = math.nan
    high: float = math.nan
    whole: bool = False
    sampling: str = "linear"
    choices: tuple[Any, ...] = ()
    condition: str = ""
    step: float | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether there is only one value."""
        if self.choices:
            return len(self.choices) == 1
        return self.low == self.high

    def place(self, value: Any) -> float:
        """Returns where a value lies: 0 at the lower end, 1 at the upper one.

        Choices lie in the middle of equally wide cells. NaN for what is none of them,
        or cannot be on the scale.
        """
        if self.choices:
            kind = isinstance(value, bool)  # 1 is not True.
            for index, choice in enumerate(self.choices):
                if choice == value and isinstance(choice, bool) == kind:
                    return (index + 0.5) / len(self.choices)
            return math.nan
        low, high = self.low, self.high
        if not is_number(value):
            return math.nan
        if low == high:
            return 0.5
        if self.sampling == "log":
            return _log(value / low) / _log(high / low)
        if self.sampling == "reverse_log":
            return 1 - _log((low + high - value) / low) / _log(high / low)
        return (value - low) / (high - low)

    def value(self, place: float) -> float:
        """Returns the number at a place of a range: `place` inverted."""
        low, high = self.low, self.high
        if self.sampling == "log":
            return low * math.pow(high / low, place)
        if self.sampling == "reverse_log":
            return low + high - low * math.pow(high / low, 1 - place)
        return low + place * (high - low)

    def __str__(self) -> str:
        """Its range in words: `"1e-6 to 0.1, log"`, `"adam, sgd"`."""
        if self.choices:
            text = ", ".join(map(shown, self.choices))
        else:
            kind = int if self.whole else float
            low, high = (shown(kind(v)) for v in (self.low, self.high))
            text = low if self.low == self.high else f"{low} to {high}"
            text += {"log": ", log", "reverse_log": ", reversed log"}.get(
                self.sampling, ""
            )
        return f"{text} (if {self.condition})" if self.condition else text


def dimensions(
    spaces: Iterable[Mapping[str, Any]], trials: Iterable[Trial] = ()
) -> list[Dimension]:
    """Returns the hyperparameters of a search, each once, in the order they turn up.

    Args:
        spaces: `HyperParameters.get_config()` of the start and of each stage. A
            hyperparameter's range is all that its name has had.
        trials: their values make the ranges longer where they lie outside, and tell of
            hyperparameters that are in no space.
    """
    trials = list(trials)
    found: dict[str, Dimension] = {}
    configs = [*spaces, *(t.outcome.space or {} for t in trials if t.outcome)]
    for config in configs:
        for item in config.get("space", ()):
            one = _dimension(item)
            known = found.get(one.name)
            found[one.name] = one if known is None else _joined(known, one)
    for name in dict.fromkeys(name for trial in trials for name in trial.values):
        values = [t.values[name] for t in trials if name in t.values]
        found[name] = _covering(found.get(name), name, values)
    return list(found.values())


def _dimension(item: Mapping[str, Any]) -> Dimension:
    kind, config = item["class_name"], item["config"]
    name, condition = config["name"], _condition(config.get("conditions") or ())
    if kind == "Boolean":
        return Dimension(name, choices=(False, True), condition=condition)
    if kind == "Fixed":
        return Dimension(name, choices=(config["value"],), condition=condition)
    if kind == "Choice":
        values = tuple(dict.fromkeys(config["values"]))
        if config.get("ordered"):
            values = tuple(sorted(values))
        return Dimension(name, choices=values, condition=condition)
    return Dimension(
        name,
        low=config["min_value"],
        high=config["max_value"],
        whole=kind == "Int",
        sampling=config.get("sampling") or "linear",
        condition=condition,
        step=config.get("step"),
    )


def _condition(conditions: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for condition in conditions:
        config = condition.get("config", condition)
        values = " or ".join(map(shown, config.get("values", ())))
        parts.append(f"{config.get('name')} is {values}")
    return " and ".join(parts)


def _joined(a: Dimension, b: Dimension) -> Dimension:
    """All values of both; a condition only if it is the same."""
    condition = a.condition if a.condition == b.condition else _either(a, b)
    if a.choices or b.choices:
        if not (a.choices and b.choices):
            return replace(a if a.choices else b, condition=condition)
        choices = tuple(dict.fromkeys([*a.choices, *b.choices]))
        # Narrowed runs of an ordered choice stay in their order.
        wider = b.choices if len(b.choices) > len(a.choices) else a.choices
        choices = wider if set(choices) == set(wider) else choices
        return replace(a, choices=choices, condition=condition)
    return replace(
        a,
        low=min(a.low, b.low),
        high=max(a.high, b.high),
        whole=a.whole and b.whole,
        sampling=a.sampling if a.sampling == b.sampling else "linear",
        condition=condition,
    )


def _either(a: Dimension, b: Dimension) -> str:
    known = a.condition.split(" or if ")
    if not a.condition or not b.condition:
        return ""
    return (
        a.condition if b.condition in known else " or if ".join([*known, b.condition])
    )


def _covering(known: Dimension | None, name: str, values: Sequence[Any]) -> Dimension:
    """The dimension with a range or choices that hold these values."""
    if known is None:
        if all(map(is_number, values)):
            known = Dimension(
                name, min(values), max(values), all(isinstance(v, int) for v in values)
            )
        else:
            known = Dimension(name, choices=tuple(dict.fromkeys(values)))
    if known.choices:
        return replace(known, choices=tuple(dict.fromkeys([*known.choices, *values])))
    numbers = [v for v in values if is_number(v)]
    return replace(
        known,
        low=min([known.low, *numbers]),
        high=max([known.high, *numbers]),
    )


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else math.nan
