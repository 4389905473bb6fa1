"""A model's outputs, and the loss of each with what Keras calls it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask

from keras_babysit.borrowing import attributes_set
from keras_babysit.checks.losses.loss_floor import Target
from keras_babysit.document.progress_line import Progress, silent
from keras_babysit.facts import LossFacts
from keras_babysit.inspection.compiled import loss_facts
from keras_babysit.inspection.sample import Sample, loss_of

_LOGITS = "_keras_logits"


@dataclass(frozen=True)
class Part:
    """One compiled loss of a borrowed model, and what it is called with.

    Attributes:
        name: what Keras calls it, the output's name if there are several.
        loss: the `keras.losses.Loss`.
        y: the targets, a tensor (or a structure of them).
        y_pred: the prediction, likewise.
        sample_weight: weights of the samples, or `None`.
        factor: its weight in the total loss.
        output: place of `y_pred` among the model's outputs; `None` if it is none.
    """

    name: str
    loss: Any
    y: Any
    y_pred: Any
    sample_weight: Any = None
    factor: float = 1.0
    output: int | None = None

    @property
    def facts(self) -> LossFacts:
        """What is known of the loss."""
        function = getattr(self.loss, "fn", None)
        wrapped = type(self.loss).__name__ == "LossFunctionWrapper"
        shape = tuple(getattr(self.y_pred, "shape", ()))
        found = loss_facts(
            function if wrapped and not self.loss._fn_kwargs else self.loss,
            shape[-1] if len(shape) > 1 else None,
        )
        assert found is not None
        return found

    def value_of(self, y_pred: Any) -> float:
        """Returns the loss of a prediction, without its factor."""
        value = self.loss(self.y, y_pred, self.sample_weight)
        return float(np.mean(numpy_of(value)))

    def target(self, activation: str | None = None) -> Target:
        """Returns the same as arrays, for the loss's floor."""
        return Target(
            name=self.name,
            loss=self.loss,
            y=numpy_of(self.y),
            y_pred=numpy_of(self.y_pred).astype(float),
            weight=_numpy_or_none(self.sample_weight),
            mask=_numpy_or_none(get_keras_mask(self.y_pred)),
            factor=self.factor,
            activation=activation,
        )


def _numpy_or_none(tensor: Any) -> np.ndarray | None:
    return None if tensor is None else numpy_of(tensor)


def numpy_of(tensor: Any) -> np.ndarray:
    """Returns a tensor's values, small floats as float32."""
    array = np.asarray(keras.ops.convert_to_numpy(tensor))
    small = array.dtype.kind == "V" or array.dtype == np.float16  # And bfloat16.
    return array.astype(np.float32) if small else array


def predictions(
    model: Any,
    sample: Sample,
    training: bool,
    progress: Progress = silent,
) -> Any:
    """Returns what a borrowed model puts out for a sample, computed in batches.

    Returns:
        A tensor or a structure of tensors. They have what Keras's losses look for:
        masks, and the logits behind a softmax or sigmoid.
    """
    found = []
    parts = sample.batches()
    for number, part in enumerate(parts):
        found.append(model(part.tensors.x, training=training))
        progress((number + 1) / len(parts), "computing the loss")
    return keras.tree.map_structure(_joined, *found)


def _joined(*tensors: Any) -> Any:
    if len(tensors) == 1:
        return tensors[0]
    whole = keras.ops.concatenate(tensors, axis=0)
    logits = [getattr(tensor, _LOGITS, None) for tensor in tensors]
    masks = [get_keras_mask(tensor) for tensor in tensors]
    if all(each is not None for each in logits):
        setattr(whole, _LOGITS, keras.ops.concatenate(logits, axis=0))
    if all(each is not None for each in masks):
        set_keras_mask(whole, keras.ops.concatenate(masks, axis=0))
    return whole


def has_logits(tensor: Any) -> bool:
    """Whether Keras keeps the logits behind a softmax or sigmoid on a tensor."""
    return hasattr(tensor, _LOGITS)


def like(values: Any, scores: Any, tensor: Any) -> Any:
    """Returns values as a prediction in the place of another one.

    Args:
        values: array of the other one's shape.
        scores: the array that the output's activation made `values` of.
        tensor: the other one. Its mask is taken over; where Keras keeps the logits
            behind it, the scores become those.
    """
    # Of half precision are only values that the model's own would be like.
    dtype = tensor.dtype if has_logits(tensor) else "float32"
    made = keras.ops.convert_to_tensor(values, dtype=dtype)
    if has_logits(tensor):
        setattr(made, _LOGITS, keras.ops.convert_to_tensor(scores, dtype=dtype))
    mask = get_keras_mask(tensor)
    if mask is not None:
        set_keras_mask(made, mask)
    return made


def parts_of(model: Any, sample: Sample, y_pred: Any, training: bool) -> list[Part]:
    """Returns each compiled loss of a borrowed model with what it is called with.

    Returns:
        A `Part` for each; empty if the model has no compiled loss, or a
        `compute_loss` of its own that does not call it.
    """
    known = model._compile_loss
    if known is None:
        return []
    calls: list[Part] = []
    outputs = {id(t): i for i, t in enumerate(keras.tree.flatten(y_pred))}
    compiled = type(known)(
        known._user_loss, known._user_loss_weights, output_names=known.output_names
    )
    build = compiled.build

    def build_recorders(y_true: Any, y_pred: Any) -> None:
        build(y_true, y_pred)
        compiled._flat_losses = [
            one._replace(loss=_recorder(one, calls, outputs))
            for one in compiled._flat_losses
        ]

    vars(compiled)["build"] = build_recorders
    with attributes_set(model, _compile_loss=compiled):
        loss_of(model, sample, y_pred, training)
    return calls


def _recorder(one: Any, calls: list[Part], outputs: dict[int, int]) -> Callable:
    factor = 1.0 if one.loss_weights is None else float(one.loss_weights)

    def record(y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        place = outputs.get(id(y_pred))
        calls.append(Part(one.name, one.loss, y, y_pred, sample_weight, factor, place))
        return keras.ops.zeros(())

    return record
