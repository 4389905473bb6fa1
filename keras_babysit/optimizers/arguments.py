"""Checks of what a method of the whole training set is given."""

from __future__ import annotations

import warnings
from typing import Any

import keras

from keras_babysit.borrowing import layers_of
from keras_babysit.errors import number

#: Callbacks that set the rate of an optimizer that is not used here.
_OF_RATES = (
    "LearningRateScheduler",
    "ReduceLROnPlateau",
    "RollBack",
    "ScheduleLearningRate",
)


def check_devices(model: Any, name: str) -> None:
    """Makes sure that a model is on one device."""
    strategy = getattr(model, "distribute_strategy", None)
    replicas = getattr(strategy, "num_replicas_in_sync", 1)
    if replicas > 1:
        raise ValueError(
            f"{name} works on one device so far. Received: a model distributed over "
            f"{replicas} replicas"
        )


def check_model(model: Any, name: str) -> None:
    """Makes sure that a compiled model can be trained by a method of the whole set."""
    if not model.trainable_variables:
        raise ValueError(
            "The model must have trainable weights. Received: "
            f"{model.name!r}, with none of {len(model.weights)} weights trainable"
        )
    if type(model).train_step is not keras.Model.train_step:
        raise ValueError(
            f"{name} minimizes what `compute_loss()` returns and does not run "
            f"`train_step()`, which {type(model).__name__} overrides: what it does "
            "there would be left out. Override `compute_loss()` instead."
        )
    _warn_of_statistics(model, name)


def _warn_of_statistics(model: Any, name: str) -> None:
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            mean, variance = (
                keras.ops.convert_to_numpy(v.value)
                for v in (layer.moving_mean, layer.moving_variance)
            )
            if not mean.any() and (variance == 1).all():
                warnings.warn(
                    f"{name}: {layer.name} normalizes with its moving statistics, as "
                    "in inference, and they are those of an untrained layer. Train an "
                    "epoch with another optimizer first.",
                    stacklevel=4,
                )
                return


def check_callbacks(callbacks: Any, name: str) -> None:
    """Makes sure that no callback wants to set a learning rate."""
    given = getattr(callbacks, "callbacks", callbacks)
    for callback in keras.tree.flatten(given) if given else []:
        for kind in type(callback).__mro__:
            if kind.__name__ in _OF_RATES:
                raise ValueError(
                    f"{name} has no learning rate: leave {kind.__name__} out of "
                    f"`callbacks`. Received: {type(callback).__name__}"
                )


def tolerance(name: str, value: Any) -> float:
    """Returns a number that is not negative."""
    return number(name, value, "a number that is not negative", lambda v: v >= 0)


def check_dtype(dtype: Any) -> str | None:
    """Returns in what dtype to compute."""
    if dtype not in (None, "float64"):
        raise ValueError(
            '`dtype` must be "float64", or None for the model\'s own. '
            f"Received: dtype={dtype!r}"
        )
    return dtype
