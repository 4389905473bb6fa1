"""The statistics of batch normalization, found again by a pass over data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_babysit.borrowing import attributes_set, layers_of, without_noise
from keras_babysit.document.words import sentence
from keras_babysit.ensemble.arguments import check_inputs
from keras_babysit.errors import first_line, whole, whole_or_none


def reestimate_batch_normalization(
    model: keras.Model,
    x: Any,
    batch_size: int | None = None,
    steps: int | None = None,
    passes: int = 1,
) -> None:
    """Re-estimates the statistics of all batch normalization layers on data.

    Averaged weights need this: the moving averages of a model belong to the activations
    of its own weights, and an average of several fits none. Izmailov et al., "Averaging
    Weights Leads to Wider Optima and Better Generalization" (2018), end with one pass
    over the training data.

    Afterwards each `BatchNormalization` has the mean and the (population) variance of
    all of its inputs, with batches weighted by their size. During the pass each layer
    normalizes a batch by the batch's own statistics, as in training. So the layers
    after the first one depend on the batch size, and are exact if all of `x` is one
    batch. Each further pass normalizes by the results of the one before, as in
    prediction: with as many passes as layers in a row, all are exact.

    Nothing else changes: no weights, optimizer, seeds or metrics. Dropout, noise and
    random augmentation of Keras are off. Layers that would not learn their statistics
    in training keep them: frozen ones and those called with `training=False`.

    Args:
        model: a built Keras model; nested models are searched too.
        x: inputs as for `predict`: arrays, a `tf.data.Dataset`, a `PyDataset`, a
            generator (for one pass). Use the training data, without augmentation.
        batch_size: samples in a batch, if `x` is arrays. Default: 32, as in `fit`.
        steps: how many batches to use. Default: all.
        passes: how often to go over the data.

    Raises:
        ValueError: if the model is not built, an argument is out of range, there are
            no data, or what comes into a layer is not finite.
        TypeError: if `model` is no Keras model.

    Example:
    ```python
    average = keras_babysit.ensemble.average_weights(snapshots.paths)
    keras_babysit.ensemble.reestimate_batch_normalization(average, x_train)
    ```
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: model={model!r}")
    whole_or_none("batch_size", batch_size)
    whole("passes", passes)
    whole_or_none("steps", steps)
    if not model.built:
        raise ValueError(
            "The model must be built before its batch normalization can be estimated: "
            f"call it on data first. Received: {model.name!r}, not built"
        )
    check_inputs(x, again="in each pass" if passes > 1 else "")
    layers = batch_normalization_in(model)
    for number in range(passes if layers else 0):
        _one_pass(model, layers, x, batch_size, steps, by_batch=number == 0)


def batch_normalization_in(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers with batch statistics that training would change."""
    kind = keras.layers.BatchNormalization
    return [
        layer
        for layer in layers_of(model)
        if isinstance(layer, kind) and layer.trainable and layer.built
    ]


class _Moments(keras.Model):
    """A model that puts out, for each batch, what came into batch normalization.

    For each layer, and each of its calls, a row with the count of values, then the
    means and the variances of all channels.
    """

    def __init__(self, model: keras.Model, layers: list, by_batch: bool):
        super().__init__(name="moments")
        self._model, self._watched, self._by_batch = model, layers, by_batch

    def call(self, x: Any) -> dict[str, Any]:
        """Runs the model as in training, and discards all that this changes."""
        found: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            stack.enter_context(without_noise(self._model))
            for i, layer in enumerate(self._watched):
                stack.enter_context(_watched(layer, i, found, self._by_batch))
            stack.enter_context(_Discarding())
            self._model(x, training=True)
        # Where no layer was to learn there must be an output all the same.
        return found or {"none": ops.zeros((1, 1))}


class _Discarding(keras.StatelessScope):
    """Discards what is assigned; what is read is what it is in the scope outside."""

    def get_current_value(self, variable: Any) -> Any:
        """The value set within this scope, or that of the scope it is in."""
        found = super().get_current_value(variable)
        outer = self.original_scope
        if found is None and outer is not None:
            return outer.get_current_value(variable)
        return found


@contextlib.contextmanager
def _watched(layer: Any, i: int, found: dict, by_batch: bool) -> Iterator[None]:
    call = layer.call

    def watch(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if training:
            number = sum(name.startswith(f"{i}/") for name in found)
            found[f"{i}/{number}"] = _moments(inputs, mask, layer.axis)
        return call(inputs, training=training and by_batch, mask=mask)

    with attributes_set(layer, call=watch):
        yield


def _moments(inputs: Any, mask: Any, axis: int) -> Any:
    """Returns count, means and variances of a batch as one row.

    The means in two parts: what float32 rounds off them is much if they are large.
    """
    kind = "float64" if inputs.dtype == "float64" else "float32"
    x = ops.cast(inputs, kind)
    axes = [a for a in range(len(x.shape)) if a != axis % len(x.shape)]
    count = ops.cast(ops.prod(ops.shape(x)), kind) / x.shape[axis]
    kept = True
    if mask is not None:
        kept = ops.cast(ops.expand_dims(mask, -1), "bool")
        kept = ops.broadcast_to(kept, ops.shape(x))
        count = ops.sum(ops.cast(mask, kind))

    def mean_of(values: Any) -> Any:
        values = values if mask is None else ops.where(kept, values, 0)
        return ops.sum(values, axes, keepdims=True) / ops.maximum(count, 1)

    mean = mean_of(x)
    rest = mean_of(x - mean)
    variance = mean_of(ops.square(x - mean - rest))
    row = [ops.reshape(v, (-1,)) for v in (count, mean, rest, variance)]
    return ops.expand_dims(ops.concatenate(row), 0)


def _one_pass(
    model: Any, layers: list, x: Any, batch_size: Any, steps: Any, by_batch: bool
) -> None:
    watching = _Moments(model, layers, by_batch)
    # Compiling takes longer than the pass, and the last batch would need it again.
    watching.jit_compile = False
    try:
        rows = watching.predict(x, batch_size=batch_size, steps=steps, verbose=0)
    except Exception as e:
        shapes = keras.tree.map_structure(lambda a: getattr(a, "shape", type(a)), x)
        raise ValueError(
            f"{model.name!r} cannot be called on `x`: {sentence(first_line(e))} "
            f"Received: x of shape {shapes}"
        ) from None
    for i, layer in enumerate(layers):
        parts = [value for name, value in rows.items() if name.startswith(f"{i}/")]
        if parts:
            _assign(layer, *_together(np.concatenate(parts).astype("float64"), layer))


def _together(rows: np.ndarray, layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of all batches together."""
    count, (mean, rest, variance) = rows[:, :1], np.split(rows[:, 1:], 3, axis=1)
    mean = mean + rest
    if not np.isfinite(rows).all() or not count.sum():
        what = "not finite" if count.sum() else "masked throughout"
        raise ValueError(
            f"The statistics of {layer.path!r} cannot be estimated: what comes into it "
            f"is {what}."
        )
    share = count / count.sum()
    center = np.sum(share * mean, axis=0)
    # Within batches and between them; no difference of large numbers.
    return center, np.sum(share * (variance + (mean - center) ** 2), axis=0)


def _assign(layer: Any, mean: np.ndarray, variance: np.ndarray) -> None:
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    if layer.renorm:
        deviation = np.sqrt(variance + layer.epsilon)
        layer.moving_stddev.assign(deviation)
        layer.renorm_mean.assign(mean)
        layer.renorm_stddev.assign(deviation)
