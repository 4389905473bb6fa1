"""What a case of the zoo is: a program as users write it, with or without a fault.

A fault is written down once, as a function `(bad)` that returns a compiled model and
the arguments of its `fit`; `pair` makes the faulty case and its mended twin of it.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_babysit.records import Finding

#: The modules that hold cases, in the order of the table.
FAMILIES = (
    "outputs",
    "loss_values",
    "architecture",
    "inputs",
    "training",
    "limits",
    "preparation",
    "settings",
    "streams",
    "shifts",
    "without_effect",
    "custom_models",
    "healthy",
    "campaign_language",
    "campaign_images",
    "campaign_generative",
    "campaign_representations",
    "campaign_series",
    "campaign_tables",
    "campaign_losses",
    "campaign_settings",
    "campaign_tabular",
    "campaign_structures",
    "campaign_steps",
    "campaign_habits",
)


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        name: of the function that makes it; a twin's ends in `"/mended"`.
        make: returns a compiled model and the arguments of `fit`.
        expected: names of the rules that would name the root cause; empty if there is
            nothing wrong. `"loss-not-finite: learning rate is"` is that rule if its
            finding has these words for the cause.
        symptoms: names of the rules that would name a consequence of it.
        family: module that it comes from, of `FAMILIES`.
        kind: architecture and task, `"cnn multi-class"`.
        reaches: what a healthy run must reach, `"val_accuracy > 0.9"`.
        raises: whether Keras itself refuses to train it.
    """

    name: str
    make: Callable[[], tuple[keras.Model, dict[str, Any]]]
    expected: frozenset[str] = frozenset()
    symptoms: frozenset[str] = frozenset()
    family: str = ""
    kind: str = ""
    reaches: str = ""
    raises: bool = False

    @property
    def faulty(self) -> bool:
        return bool(self.expected)

    def fit(self, model: keras.Model, arguments: dict[str, Any], *callbacks: Any):
        """Trains, with the case's own callbacks and these."""
        own = arguments.get("callbacks", [])
        return model.fit(**{**arguments, "callbacks": [*own, *callbacks]}, verbose=0)

    def well_trained(self, logs: Mapping[str, float]) -> bool:
        """Whether the last epoch's logs are as good as a healthy run's must be."""
        metric, sign, bar = self.reaches.split()
        better = {">": operator.gt, "<": operator.lt}[sign]
        return bool(better(logs[metric], float(bar)))


def named(finding: Finding, expected: frozenset[str]) -> bool:
    """Whether a finding is one of those expected."""
    rules = (one.partition(": ") for one in expected)
    return any(
        finding.rule == rule and words in finding.cause for rule, _, words in rules
    )


_CASES: dict[str, Case] = {}


def _add(case: Case) -> None:
    assert case.name not in _CASES, case.name
    _CASES[case.name] = case


def _family(function) -> str:
    return function.__module__.rpartition(".")[2]


def pair(kind, expected, symptoms=(), *, reaches, raises=False):
    """Adds a function `(bad)` as a faulty case and as its healthy twin."""

    def made(function):
        name = function.__name__.replace("_", "-")
        wrong = Case(
            name,
            functools.partial(function, True),
            family=_family(function),
            kind=kind,
            raises=raises,
        )
        twin = dataclasses.replace(
            wrong,
            name=f"{name}/mended",
            make=functools.partial(function, False),
            reaches=reaches,
            raises=False,
        )
        causes = {expected} if isinstance(expected, str) else expected
        _add(
            dataclasses.replace(
                wrong, expected=frozenset(causes), symptoms=frozenset(symptoms)
            )
        )
        _add(twin)
        return function

    return made


def healthy(kind, *, reaches):
    """Adds a function without arguments as a healthy case."""

    def made(function):
        _add(
            Case(
                function.__name__.replace("_", "-"),
                function,
                family=_family(function),
                kind=kind,
                reaches=reaches,
            )
        )
        return function

    return made


@functools.cache
def load() -> dict[str, Case]:
    """Returns all cases by name."""
    for family in FAMILIES:
        importlib.import_module(f"zoo.{family}")
    return dict(_CASES)


def net(shape, *layers) -> keras.Sequential:
    return keras.Sequential([keras.Input(shape), *layers])


def fitting(data, epochs, batch_size=32, **more) -> dict[str, Any]:
    """Arguments of `fit` for a `data.Split`."""
    return {
        "x": data.x,
        "y": data.y,
        "validation_data": data.val,
        "epochs": epochs,
        "batch_size": batch_size,
        **more,
    }
