"""Why a loss is so large before any update, and what to do, the likeliest first."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.checks.losses.output_loss import OutputLoss, nearly_zero
from keras_babysit.inspection.rows import leaves
from keras_babysit.rules.evidence.phrases import number, percent

#: Root mean square of inputs beyond which they are the likely cause, as in the rules.
_LARGE_INPUTS = 20.0
_SCALERS = ("Embedding", "Hashing", "Normalization", "Rescaling", "StringLookup")

STANDARDISE = (
    "standardise the targets, `(y - y.mean()) / y.std()`, and undo it on the "
    "predictions"
)
_SMALLER = (
    "give the output layer smaller initial weights, the default "
    '`kernel_initializer="glorot_uniform"`'
)


def _rms(values: np.ndarray) -> str:
    return number(root(values))


def root(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def class_name(loss: str) -> str:
    """Name of the class of one of Keras's losses."""
    return "".join(word.capitalize() for word in loss.split("_"))


def causes(one: OutputLoss) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yields what likely makes the loss so large, and what to do, likeliest first.

    The last one always applies.
    """
    yield from _mismatches(one)
    y = one.target
    if one.are_tiny():
        yield (
            f"Likely the targets are too small (root mean square {_rms(y)}): the "
            "noise of an untrained output is larger than all of them",
            STANDARDISE,
            (),
        )
    inputs = _large_inputs(one)
    if inputs:
        yield (
            f"Likely the inputs are not scaled: {inputs}",
            "scale the inputs to mean 0 and standard deviation 1",
            ("put a `keras.layers.Normalization` layer in front",),
        )
    layer = _large_weights(one)
    if layer:
        yield (f"Likely the initial weights are too large: {layer}", _SMALLER, ())
    size = _rms(one.prediction)
    yield (
        f"Likely the outputs start too large (root mean square {size}): initial "
        "weights too large, or inputs not scaled",
        _SMALLER,
        ("scale the inputs to mean 0 and standard deviation 1",),
    )


def _mismatches(one: OutputLoss) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yields what does not fit between output and loss."""
    kind, p, y = one.known.kind, one.prediction, one.target
    low, high = number(p.min()), number(p.max())
    if one.needs_probabilities():
        name = one.part.facts.name
        link = "softmax" if kind == "classes" else "sigmoid"
        action = f'end the model in `activation="{link}"`'
        other: tuple[str, ...] = ()
        if "crossentropy" in name:
            other = (f"compile with `{class_name(name)}(from_logits=True)`",)
        cause = f"The loss takes probabilities, but the outputs go from {low} to "
        yield f"{cause}{high}", action, other
    if kind == "embeddings":
        length = np.linalg.norm(p, axis=-1)
        if not np.allclose(length, 1, atol=1e-2):
            yield (
                "The loss takes embeddings of unit length, but theirs go from "
                f"{number(length.min())} to {number(length.max())}",
                "end the model in `keras.layers.UnitNormalization()`",
                (),
            )
    name = one.part.facts.name
    if name == "mean_absolute_percentage_error" and nearly_zero(y).any():
        share = percent(nearly_zero(y).mean())
        yield (
            f"It divides by the targets, and {share} of them are nearly 0",
            'compile with `loss="mean_absolute_error"`',
            (),
        )


def _large_inputs(one: OutputLoss) -> str:
    kinds = {layer.kind for layer in one.model.layers}
    if kinds.intersection(_SCALERS):
        return ""
    for name, array in leaves("x", one.sample.x):
        if array.dtype.kind not in "fiub":
            continue
        values = array.astype(float)
        size = root(values)
        if size > _LARGE_INPUTS:
            low, high = number(values.min()), number(values.max())
            return f"`{name}` goes from {low} to {high}"
    return ""


def _large_weights(one: OutputLoss) -> str:
    path = one.output.layer if one.output is not None else None
    for layer in one.model.layers:
        for weight in layer.weights if layer.path == path else ():
            if weight.fan_in and weight.std * math.sqrt(weight.fan_in) > 3:
                usual = number(math.sqrt(1 / weight.fan_in))
                return (
                    f"those of `{weight.path}` have a standard deviation of "
                    f"{number(weight.std)} (about {usual} is usual)"
                )
    return ""
