"""The hypermodel is built once before the search: what it asks for, if it works."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import keras
import keras_tuner

from keras_babysit.search.space.scales import types
from keras_babysit.search.trial.isolation import in_one_line, isolated
from keras_babysit.search.trial.task import has_own_fit


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


def space_of(hypermodel: keras_tuner.HyperModel) -> keras_tuner.HyperParameters:
    """Builds the hypermodel with its defaults, and returns what it asked for.

    Where it opens conditional scopes that are not active, it is built again with values
    that activate them, as KerasTuner does. The models are thrown away; random numbers
    and the names of layers go on as if none had been built.

    Raises:
        ValueError: if it raises, returns no compiled model, or asks for nothing that
            could be searched.
    """
    space = keras_tuner.HyperParameters()
    tried: list[Any] = []
    hypermodel.declare_hyperparameters(space)
    conditions: Any = []
    while conditions is not None:
        asked = _with_values(space, conditions)
        with isolated():
            _check_model(_built(hypermodel, asked), has_own_fit(hypermodel))
        space.merge(asked.space, overwrite=False)
        tried += [conditions, *asked.active_scopes]
        untried = [scope for scope in asked.inactive_scopes if scope not in tried]
        conditions = copy.deepcopy(untried[0]) if untried else None
    if not searchable(space) and not has_own_fit(hypermodel):
        raise ValueError(
            "The search space is empty: the hypermodel asked for no hyperparameter "
            "that could be searched. Ask for one, for example "
            "`keras_babysit.search.learning_rate(hp)` or "
            '`hp.Int("units", 16, 256, sampling="log")`.'
        )
    space.values = {}
    return keras_tuner.HyperParameters.from_config(space.get_config())


def searchable(space: keras_tuner.HyperParameters) -> list[str]:
    """Returns the names of what is not fixed."""
    return [hp.name for hp in space.space if not isinstance(hp, types.Fixed)]


def _with_values(
    space: keras_tuner.HyperParameters, conditions: Any
) -> keras_tuner.HyperParameters:
    """Returns the space with its defaults, but for those that conditions ask for."""
    made = keras_tuner.HyperParameters()
    made.values = {condition.name: condition.values[0] for condition in conditions}
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
