"""One model whose weights are the average of several models' weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import layers_of
from keras_babysit.ensemble import files
from keras_babysit.ensemble.arguments import weights_of
from keras_babysit.ensemble.averaging.architecture import first_difference
from keras_babysit.ensemble.averaging.batch_statistics import (
    batch_normalization_in,
    reestimate_batch_normalization,
)
from keras_babysit.ensemble.copies import copy_values, remade
from keras_babysit.errors import whole_or_none


def average_weights(
    members: Sequence[Any] | str | os.PathLike,
    weights: Sequence[float] | None = None,
    x: Any = None,
    batch_size: int | None = None,
    custom_objects: dict[str, Any] | None = None,
) -> keras.Model:
    """Returns a new model with the average of the weights of others.

    For weights of one training run: late snapshots, its best checkpoints, the ends of
    its epochs (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", 2018). Models that were trained separately do not lie in one valley
    of the loss: average their predictions with `Ensemble`, not their weights.

    All floating-point weights are averaged, in float64. Integers and random states are
    those of the first member. Statistics of batch normalization cannot be averaged:
    they are estimated again on `x`, see `reestimate_batch_normalization`.

    Args:
        members: Keras models, paths of `.keras` files (read one at a time, so that
            there are never more than two in memory), or a directory of them.
        weights: the weight of each: numbers of 0 or more that sum to one. Default:
            equal.
        x: training inputs as for `predict`, for models with batch normalization.
        batch_size: samples in a batch, for `x`.
        custom_objects: as for `keras.saving.load_model`.

    Returns:
        A new model, compiled like the first member.

    Raises:
        ValueError: if there are no members, they are not of one architecture, a file is
            no model, or `weights` or `batch_size` are out of range.

    Warns:
        UserWarning: if there is batch normalization and no `x`.

    Example:
    ```python
    model = keras_babysit.ensemble.average_weights(best.paths, x=x_train)
    model.evaluate(x_test, y_test)
    ```
    """
    whole_or_none("batch_size", batch_size)
    found = files.listed("members", members)
    shares = weights_of(weights, len(found))
    models = _one_by_one(found, custom_objects)
    first, name = next(models)
    # What comes from a file is nobody else's.
    average = first if files.is_path(found[0]) else remade(first, compiled=True)
    total = RunningMean(average)
    total.add(first, shares[0])
    for (model, other), share in zip(models, shares[1:], strict=True):
        difference = first_difference(first, model)
        if difference is not None:
            raise ValueError(
                "Only weights of one architecture can be averaged, and "
                f"{other} is not of that of {name}: {difference}."
            )
        total.add(model, share)
    total.assign(average)
    finish(average, x, batch_size, "average_weights")
    return average


class RunningMean:
    """A mean of the weights of models of one architecture, in float64.

    Args:
        model: a model of the architecture.
    """

    def __init__(self, model: keras.Model):
        self.sums = [np.zeros(v.shape) for v in averaged_variables(model)]
        self.share = 0.0

    def add(self, model: keras.Model, share: float = 1.0) -> None:
        """Takes the weights of a model in, for so much."""
        for total, variable in zip(self.sums, averaged_variables(model), strict=True):
            value = keras.ops.convert_to_numpy(variable.value)
            total += share * value.astype("float64")
        self.share += share

    def values(self) -> list[np.ndarray]:
        """Returns the mean of each variable."""
        return [total / self.share for total in self.sums]

    def assign(self, model: keras.Model) -> None:
        """Sets the weights of a model to the mean."""
        for variable, value in zip(
            averaged_variables(model), self.values(), strict=True
        ):
            variable.assign(value)
        # What layers work out from their variables, such as Normalization's mean.
        copy_values(model, model)


def averaged_variables(model: keras.Model) -> list[Any]:
    """Returns the variables of a model of which an average makes sense."""
    return [v for v in model.weights if keras.backend.is_float_dtype(v.dtype)]


def finish(model: keras.Model, x: Any, batch_size: int | None, who: str) -> None:
    """Estimates batch normalization again, or says that it would be needed."""
    if x is not None:
        reestimate_batch_normalization(model, x, batch_size)
    elif batch_normalization_in(model):
        warnings.warn(
            f"{who}: the model has batch normalization, whose statistics belong to the "
            "weights they were made with: their average can be far off. Give the "
            "training inputs, `x=x_train`, or call "
            "`reestimate_batch_normalization(model, x_train)`.",
            stacklevel=3,
        )


def _one_by_one(
    members: list[Any], custom_objects: dict[str, Any] | None
) -> Iterator[tuple[keras.Model, str]]:
    for i, member in enumerate(members):
        if files.is_path(member):
            yield _built(files.load(member, custom_objects), str(member))
        else:
            yield _built(member, f"member {i}")


def _built(model: keras.Model, name: str) -> tuple[keras.Model, str]:
    if not model.built or not model.weights:
        raise ValueError(
            f"A member must have weights to average: {name} is not built, or has none."
        )
    for layer in layers_of(model):
        if getattr(layer, "quantization_mode", None) is not None:
            raise ValueError(
                f"Quantized weights cannot be averaged. Received: {layer.name!r} of "
                f"{name}, quantized to {layer.quantization_mode}"
            )
    return model, name
