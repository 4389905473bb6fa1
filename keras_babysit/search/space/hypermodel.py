"""The hypermodel is built once before the search: what it asks for, if it works."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner

from keras_babysit.errors import wrong
from keras_babysit.search.space import scales
from keras_babysit.search.space.scales import types
from keras_babysit.search.trial.isolation import in_one_line, isolated


@dataclass(frozen=True)
class Entries:
    """Which hyperparameters are searched, as in KerasTuner's oracles.

    Attributes:
        given: those that override the hypermodel's of the same names; `None` for none.
        tune_new: whether what the hypermodel asks for beside them is searched; if not,
            it has its default.
        allow_new: whether it may ask for others at all.
    """

    given: keras_tuner.HyperParameters | None = None
    tune_new: bool = True
    allow_new: bool = True

    def __post_init__(self) -> None:
        if self.given is None:
            for name in ("tune_new", "allow_new"):
                if not getattr(self, name):
                    raise ValueError(
                        f"`{name}_entries=False` needs `hyperparameters`: those to "
                        "search. Received: hyperparameters=None"
                    )
        elif not isinstance(self.given, keras_tuner.HyperParameters):
            raise wrong(
                "hyperparameters", "a `keras_tuner.HyperParameters`", self.given
            )

    def first(self) -> keras_tuner.HyperParameters:
        """Returns the space before the hypermodel has asked for anything."""
        return (
            keras_tuner.HyperParameters() if self.given is None else self.given.copy()
        )

    def of(self, space: keras_tuner.HyperParameters) -> keras_tuner.HyperParameters:
        """Returns what is searched of all that was asked for."""
        if self.given is None:
            return space
        known = [(hp.name, hp.conditions) for hp in self.given.space]
        new = [hp for hp in space.space if (hp.name, hp.conditions) not in known]
        if new and not self.allow_new:
            raise ValueError(
                "With `allow_new_entries=False` the hypermodel must not ask for what "
                "`hyperparameters` does not have. It asks for "
                f"{', '.join(repr(hp.name) for hp in new)}."
            )
        return space if self.tune_new else scales.space_of(self.given.space)


class FromFunction(keras_tuner.HyperModel):
    """A hypermodel that builds by a function `hp -> model`."""

    def __init__(self, build: Callable[[keras_tuner.HyperParameters], Any]):
        super().__init__(name=getattr(build, "__name__", None))
        self.build = build


def hypermodel_of(given: Any) -> keras_tuner.HyperModel:
    """Returns a `keras_tuner.HyperModel` of what the user gave."""
    is_class = isinstance(given, type)
    if is_class or not (isinstance(given, keras_tuner.HyperModel) or callable(given)):
        raise ValueError(
            "`hypermodel` must be a function that takes HyperParameters and returns a "
            "compiled model, or an instance of keras_tuner.HyperModel. "
            f"Received: {given!r}"
        )
    return given if isinstance(given, keras_tuner.HyperModel) else FromFunction(given)


def space_of(
    hypermodel: keras_tuner.HyperModel, entries: Entries, own_fit: bool = False
) -> keras_tuner.HyperParameters:
    """Builds the hypermodel with its defaults, and returns what it asked for.

    Where it opens conditional scopes that are not active, it is built again with values
    that activate them, as KerasTuner does. The models are thrown away; random numbers
    and the names of layers go on as if none had been built.

    Args:
        hypermodel: the hypermodel.
        entries: which of the hyperparameters that it asks for are searched.
        own_fit: whether the user's code trains. It may compile, and ask for more.

    Raises:
        ValueError: if it raises, returns no compiled model, or asks for nothing that
            could be searched, or for something new that is not allowed.
    """
    space = entries.first()
    tried: list[Any] = []
    hypermodel.declare_hyperparameters(space)
    conditions: Any = []
    while conditions is not None:
        asked = _with_values(space, conditions)
        with isolated():
            _check_model(_built(hypermodel, asked), own_fit)
        space.merge(asked.space, overwrite=False)
        tried += [conditions, *asked.active_scopes]
        untried = [scope for scope in asked.inactive_scopes if scope not in tried]
        conditions = copy.deepcopy(untried[0]) if untried else None
    space = entries.of(space)
    if not searchable(space) and not own_fit:
        raise ValueError(
            "The search space is empty: the hypermodel asked for no hyperparameter "
            "that could be searched. Ask for one, for example "
            "`keras_babysit.search.learning_rate(hp)` or "
            '`hp.Int("units", 16, 256, sampling="log")`.'
        )
    space.values = {}
    return scales.copied(space.get_config())


def searchable(space: keras_tuner.HyperParameters) -> list[str]:
    """Returns the names of what is not fixed."""
    return [hp.name for hp in space.space if not isinstance(hp, types.Fixed)]


def _with_values(
    space: keras_tuner.HyperParameters, conditions: Any
) -> keras_tuner.HyperParameters:
    """Returns the space with its defaults, but for those that conditions ask for."""
    made = scales.Scoped()
    wanted: dict[str, list[Any]] = {}
    for condition in conditions:  # Nested ones of one parent ask for what both take.
        before = wanted.get(condition.name, condition.values)
        wanted[condition.name] = [v for v in before if v in condition.values]
    made.values = {name: values[0] for name, values in wanted.items() if values}
    for hp in space.space:
        made.merge([hp], overwrite=False)
    return made


def _built(hypermodel: Any, asked: keras_tuner.HyperParameters) -> Any:
    try:
        return hypermodel.build(asked)
    except Exception as error:
        raise ValueError(
            "The hypermodel failed when it was built for the first time: "
            f"{in_one_line(error)}"
        ) from None


def _check_model(model: Any, own_fit: bool) -> None:
    if not isinstance(model, keras.Model):
        raise ValueError(
            "The hypermodel must return a Keras model. Received: "
            f"{model!r} (of type {type(model).__name__})"
        )
    if not model.compiled and not own_fit:
        raise ValueError(
            "The hypermodel must return a compiled model. Received one that is not: "
            "call `model.compile(...)` in it."
        )
