"""The changes that rules advise and that can be tried out mechanically.

Values only: rules know nothing of a framework. What each of them does to a model or
its data is in the room `fixes`, under the name of its kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras_babysit.records import Fix


def learning_rate(value: float) -> Fix:
    """A constant learning rate."""
    return _fix("learning_rate", value=float(value))


def clip() -> Fix:
    """Gradients of a norm of at most 1 for each variable."""
    return _fix("clip", norm=1.0)


def output(
    where: str,
    activation: str | None = None,
    loss: str | None = None,
    from_logits: bool | None = None,
) -> Fix:
    """Another output activation, another loss, or both, where they have to match.

    Args:
        where: path of the layer that makes the output, or the output's name.
        activation: name of the activation function; `None` leaves it.
        loss: name of the loss in snake case; `None` leaves it.
        from_logits: whether that loss takes logits; `None` for its default.
    """
    return _fix(
        "output", (where,), activation=activation, loss=loss, from_logits=from_logits
    )


def activation(where: Iterable[str], name: str = "relu") -> Fix:
    """Another activation function of hidden layers."""
    return _fix("activation", where, name=name)


def initializer(where: Iterable[str], name: str = "glorot_uniform") -> Fix:
    """Kernels redrawn from another initializer; biases of zero."""
    return _fix("initializer", where, name=name)


def dropout(where: Iterable[str], rate: float) -> Fix:
    """Another dropout rate."""
    return _fix("dropout", where, rate=float(rate))


def no_penalty() -> Fix:
    """No penalties on weights and activations, and no weight decay."""
    return _fix("no_penalty")


def trainable(where: Iterable[str]) -> Fix:
    """Layers that are trained; all of them if none is named."""
    return _fix("trainable", where)


def adapt(where: str) -> Fix:
    """A Normalization layer that has seen the training data."""
    return _fix("adapt", (where,))


def scale_inputs(where: str) -> Fix:
    """Inputs of mean 0 and deviation 1, tables by their columns."""
    return _fix("scale_inputs", (where,))


def divide_inputs(where: str, by: float) -> Fix:
    """Inputs divided by a number."""
    return _fix("divide_inputs", (where,), by=float(by))


def scale_targets(where: str) -> Fix:
    """Targets of mean 0 and deviation 1."""
    return _fix("scale_targets", (where,))


def labels_from_zero(where: str) -> Fix:
    """Classes numbered 0, 1, 2, ... in the order of their values."""
    return _fix("labels_from_zero", (where,))


def labels_as_signs(where: str) -> Fix:
    """Two classes written as -1 and 1."""
    return _fix("labels_as_signs", (where,))


def class_weights() -> Fix:
    """Samples weighted so that every class counts alike."""
    return _fix("class_weights")


def equal_weights() -> Fix:
    """No sample weights."""
    return _fix("equal_weights")


def shuffle() -> Fix:
    """Samples in random order."""
    return _fix("shuffle")


def batch_size(size: int) -> Fix:
    """Another batch size."""
    return _fix("batch_size", size=int(size))


def _fix(kind: str, where: Iterable[str] = (), **settings: Any) -> Fix:
    known = tuple((k, v) for k, v in settings.items() if v is not None)
    return Fix(kind, tuple(where), known)
