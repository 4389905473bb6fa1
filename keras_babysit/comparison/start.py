"""Where each training starts: the first model's values, in a new model each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import layers_of, names_kept
from keras_babysit.inspection.sample import Sample, sample_of


@dataclass
class Start:
    """The state that each training starts from, and how to get a model in it."""

    make_model: Callable[[], keras.Model]
    seed: int
    sample: Sample | None
    values: list[np.ndarray]
    first: keras.Model | None

    def model(self) -> Any:
        """A new model in this state."""
        keras.utils.set_random_seed(self.seed)
        model = _made(self.make_model)
        if self.first is not None and model is self.first:
            raise ValueError(
                "`make_model` must return a new model each time. Received: a function "
                f"that returned the same one twice, {model.name!r}"
            )
        self.first = None
        _build(model, self.sample)
        variables = model.variables
        found = [tuple(v.shape) for v in variables]
        wanted = [v.shape for v in self.values]
        if found != wanted:
            raise ValueError(
                "`make_model` must return the same model each time. Received: models "
                f"with weights of shapes {wanted} and {found}"
            )
        for variable, value in zip(variables, self.values, strict=True):
            variable.assign(value)
        return model


def start_of(make_model: Callable, x: Any, y: Any, seed: int) -> Start:
    """Makes a first model and keeps what its variables hold."""
    keras.utils.set_random_seed(seed)
    with names_kept():
        model = _made(make_model)
        sample = None if _is_built(model) else sample_of(x, y, n=2)
        _build(model, sample)
    values = [np.array(keras.ops.convert_to_numpy(v.value)) for v in model.variables]
    return Start(make_model, seed, sample, values, first=model)


def _made(make_model: Callable) -> Any:
    model = make_model()
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`make_model` must return a compiled keras.Model. Received: a function "
            f"that returned {model!r}"
        )
    if not model.compiled or getattr(model, "optimizer", None) is None:
        raise ValueError(
            "`make_model` must return a compiled model: call `model.compile(loss=..., "
            "metrics=...)` in it; the optimizer is replaced. Received: "
            f"{model.name!r}, not compiled with an optimizer"
        )
    return model


def _is_built(model: keras.Model) -> bool:
    return all(layer.built for layer in layers_of(model))


def _build(model: keras.Model, sample: Sample | None) -> None:
    if sample is not None and not _is_built(model):
        model(keras.tree.map_structure(keras.ops.convert_to_tensor, sample.x))
