"""Which layer has the wrong gradient.

Behind a wrong layer all gradients are right, before it all are wrong: so each layer is
checked alone, on what it was given in the model, and the innermost ones that fail are
named.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

from keras_babysit.checks.derivatives.differences import (
    Slope,
    direction,
    nudged,
    ratio,
    spelled,
    tolerated,
)
from keras_babysit.checks.derivatives.function import Function
from keras_babysit.checks.derivatives.twin import Reading, Twin

#: Calls of one layer that are looked at: a shared layer's, a cell's first steps.
_CALLS = 3
#: Further directions in which to look at what is wrong.
_MORE = 2
#: Size of the gradient that comes from behind, of the order of a mean loss's.
_FROM_BEHIND = 0.1


@dataclass(frozen=True)
class LayerGradient:
    """A layer whose own gradient is not the derivative of what it computes.

    Attributes:
        path: of the layer; `"loss"` for the loss, a weight's for its regularizer.
        kind: name of its class, or `"loss"` or `"regularizer"`.
        wrong: what its gradient is wrong with respect to: `"input"`, names of weights.
        how: `"wrong sign"`, `"zero"`, `"2 × the true one"`, or only `"wrong"`.
        error: the largest relative error.
        certain: whether that error is too large to be by chance.
        ignored: whether the user knows.
    """

    path: str
    kind: str
    wrong: tuple[str, ...]
    how: str
    error: float
    certain: bool
    ignored: bool = False


@dataclass(frozen=True)
class _Call:
    layer: Any
    arguments: tuple[tuple, dict]
    output: Any
    training: Any


@dataclass(frozen=True)
class _Piece:
    """A part of the model as a function of its inputs and of some weights.

    Attributes:
        function: of a list of tensors, a scalar; reads the weights.
        inputs: where it is looked at.
        names: of the inputs.
        weights: indices of the weights among the twin's.
    """

    function: Callable[[list], Any]
    inputs: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    weights: tuple[int, ...] = ()


def locate(
    twin: Twin,
    random: np.random.Generator,
    suspects: frozenset[int],
    ignored: Callable[[Any], bool],
    tell: Callable[[float, str], None],
) -> tuple[LayerGradient, ...]:
    """Returns the layers, innermost ones, whose own gradients are wrong.

    Args:
        twin: the model at the weights at which it is to be looked at.
        random: for directions.
        suspects: indices of the weights that may be to blame: those whose gradients
            are wrong in the whole model.
        ignored: whether a layer's gradient is known to be wrong.
        tell: called with how far it has come.
    """
    calls, after = _recorded(twin)
    found: dict[int, LayerGradient] = {}
    layers = list(dict.fromkeys(call.layer for call, _ in calls))
    inner = {
        id(layer): list(layer._flatten_layers(include_self=False)) for layer in layers
    }
    # Inner ones first: a layer is to blame only if none within it is.
    for k, layer in enumerate(sorted(layers, key=lambda one: len(inner[id(one)]))):
        tell(k / len(layers), f"looking at {layer.name}")
        if not any(id(within) in found for within in inner[id(layer)]):
            own = [(call, lively) for call, lively in calls if call.layer is layer]
            blame = _of_layer(twin, own[:_CALLS], suspects, random)
            # Within the model or a model in it errors build up as they do in the whole.
            if blame is not None and blame[2] > tolerated(depth_of(layer)):
                known = any(map(ignored, [layer, *inner[id(layer)]]))
                found[id(layer)] = LayerGradient(
                    layer.path or layer.name,
                    type(layer).__name__,
                    *blame,
                    ignored=known,
                )
    guilty = [found[id(layer)] for layer in layers if id(layer) in found]
    return (*guilty, *_of_the_rest(twin, after, suspects, random))


def depth_of(layer: Any) -> int:
    """Returns how many layers with weights there are in a layer or model."""
    return sum(bool(one._trainable_variables) for one in layer._flatten_layers())


def _recorded(twin: Twin) -> tuple[list[tuple[_Call, list[int]]], Any]:
    """Calls the model once; returns the layers' calls, and what the model returned.

    With each call come the places of those inputs that depend on the weights. Only
    for them must there be gradients: not for data on its way through preprocessing.
    """
    calls, output = _call_model(twin)
    here = twin.values
    aside = np.random.default_rng(0)
    twin.move([nudged(value, aside, 1e-2) for value in here])
    try:
        others, _ = _call_model(twin)
    finally:
        twin.move(here)
    found = []
    for k, call in enumerate(calls):
        leaves = keras.tree.flatten(call.arguments)
        other = (
            keras.tree.flatten(others[k].arguments)
            if len(others) == len(calls)
            else [None] * len(leaves)
        )
        lively = [
            i
            for i, (one, two) in enumerate(zip(leaves, other, strict=True))
            if _is_float(one) and not _same(twin, one, two)
        ]
        found.append((call, lively))
    return found, output


def _same(twin: Twin, one: Any, two: Any) -> bool:
    numpy_of = twin.backend.numpy_of
    return two is not None and np.array_equal(numpy_of(one), numpy_of(two))


def _call_model(twin: Twin) -> tuple[list[_Call], Any]:
    calls: list[_Call] = []

    def wrap(layer: Any, call: Callable) -> Callable:
        @functools.wraps(call)
        def watched(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            tensors = keras.tree.flatten((args, kwargs, output))
            # Within a compiled loop nothing has a value.
            if all(twin.backend.is_concrete(t) for t in tensors if _is_tensor(t)):
                context = global_state.get_global_attribute("current_call_ctx")
                training = None if context is None else context.get_value("training")
                calls.append(_Call(layer, (args, kwargs), output, training))
            return output

        return watched

    return calls, twin.forward_through(wrap)


def _is_tensor(leaf: Any) -> bool:
    return bool(keras.ops.is_tensor(leaf))


def _is_float(leaf: Any) -> bool:
    return _is_tensor(leaf) and keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(leaf.dtype)
    )


Blame = tuple[tuple[str, ...], str, float, bool]


def _of_layer(
    twin: Twin,
    calls: list[tuple[_Call, list[int]]],
    suspects: frozenset[int],
    random: np.random.Generator,
) -> Blame | None:
    blames = []
    for call, lively in calls:
        piece = _piece_of(twin, call, lively, random)
        weights = tuple(k for k in piece.weights if k in suspects)
        piece = dataclasses.replace(piece, weights=weights)
        blames.append(_blame(twin, piece, random, call.layer.path or ""))
    return _all_of([blame for blame in blames if blame is not None])


def _all_of(blames: list[Blame]) -> Blame | None:
    """One blame for all calls of a layer."""
    if not blames:
        return None
    wrong, how, errors, certain = zip(*blames, strict=True)
    names = dict.fromkeys(name for names in wrong for name in names)
    same = how[0] if len(set(how)) == 1 else "wrong"
    return tuple(names), same, max(errors), any(certain)


def _piece_of(
    twin: Twin, call: _Call, lively: list[int], random: np.random.Generator
) -> _Piece:
    """A layer's output, weighted at random, and what it adds to the loss."""
    numpy_of = twin.backend.numpy_of
    leaves = keras.tree.flatten(call.arguments)
    weights = [
        None if not _is_float(t) else random.normal(size=t.shape)
        for t in keras.tree.flatten(call.output)
    ]
    count = sum(w.size for w in weights if w is not None) or 1
    size = _FROM_BEHIND / np.sqrt(count)

    def function(inputs: list) -> Any:
        given = list(leaves)
        for i, tensor in zip(lively, inputs, strict=True):
            given[i] = tensor
        args, kwargs = keras.tree.pack_sequence_as(call.arguments, given)
        with Reading() as scope:
            output = call.layer(*args, **{"training": call.training, **kwargs})
            total = keras.ops.zeros((), twin.dtype)
            for tensor, weight in zip(keras.tree.flatten(output), weights, strict=True):
                if weight is not None:
                    tensor = keras.ops.cast(tensor, twin.dtype)
                    by = keras.ops.convert_to_tensor(weight * size, twin.dtype)
                    total = total + keras.ops.sum(tensor * by)
            for loss in scope.losses:
                total = total + keras.ops.cast(keras.ops.sum(loss), twin.dtype)
        return total

    own = {id(v) for v in call.layer.trainable_variables}
    return _Piece(
        function,
        tuple(numpy_of(leaves[i]) for i in lively),
        _input_names(lively),
        tuple(k for k, v in enumerate(twin.variables) if id(v) in own),
    )


def _input_names(lively: list[int]) -> tuple[str, ...]:
    if len(lively) == 1:
        return ("input",)
    return tuple(f"input {k}" for k in range(len(lively)))


def _of_the_rest(
    twin: Twin, y_pred: Any, suspects: frozenset[int], random: np.random.Generator
) -> list[LayerGradient]:
    """The loss, and the regularizers of weights."""
    found = []
    leaves = keras.tree.flatten(y_pred)
    places = [i for i, leaf in enumerate(leaves) if _is_float(leaf)]

    def loss(inputs: list) -> Any:
        given = list(leaves)
        for i, tensor in zip(places, inputs, strict=True):
            given[i] = tensor
        with Reading():
            return twin.data_loss(keras.tree.pack_sequence_as(y_pred, given))

    outputs = tuple(twin.backend.numpy_of(leaves[i]) for i in places)
    piece = _Piece(loss, outputs, ("predictions",) * len(places))
    blame = _blame(twin, piece, random)
    if blame is not None:
        found.append(LayerGradient("loss", "loss", *blame))
    for k in sorted(suspects):
        variable, value = twin.variables[k], twin.values[k]
        regularizer = getattr(variable, "regularizer", None)
        if regularizer is not None:
            of_one = functools.partial(_of_first, regularizer)
            piece = _Piece(of_one, (value,), ("weight",))
            blame = _blame(twin, piece, random)
            if blame is not None:
                found.append(LayerGradient(variable.path, "regularizer", *blame))
    return found


def _of_first(function: Callable, inputs: list) -> Any:
    return function(inputs[0])


def _blame(
    twin: Twin, piece: _Piece, random: np.random.Generator, path: str = ""
) -> Blame | None:
    """What a piece's gradient is wrong with respect to; `None` if it is right."""
    if not piece.inputs and not piece.weights:
        return None
    alone = _alone(twin, piece, random)

    def slope(k: int) -> Slope:
        return alone.slopes(k, direction(alone.points[0].values[k].shape, random))[0]

    paths = [twin.variables[k].path for k in piece.weights]
    names = [*piece.names, *(p.removeprefix(f"{path}/") for p in paths)]
    wrong: dict[str, list[Slope]] = {}
    for k, name in enumerate(names):
        slopes = [slope(k)]
        if slopes[0].state == "different":
            # More of them tell whether it is off by the same factor everywhere.
            wrong[name] = [*slopes, *(slope(k) for _ in range(_MORE))]
    if not wrong:
        return None
    slopes = [slope for of_one in wrong.values() for slope in of_one]
    error = max(slope.error for slope in slopes)
    certain = error > alone.precisions[0].wrong
    return tuple(wrong), spelled(ratio(slopes)), error, certain


def _alone(twin: Twin, piece: _Piece, random: np.random.Generator) -> Function:
    """A piece as a function of its inputs and weights."""
    count = len(piece.inputs)
    variables = [twin.variables[k] for k in piece.weights]
    numpy_of = twin.backend.numpy_of

    def value_and_gradients(inputs: list) -> tuple:
        return twin.backend.value_and_gradients(piece.function, inputs, variables)

    compiled = twin.compiled(value_and_gradients)

    def derive(values: list[np.ndarray]) -> tuple:
        for variable, value in zip(variables, values[count:], strict=True):
            variable.assign(value)
        try:
            value, gradients = compiled(
                [keras.ops.convert_to_tensor(v, twin.dtype) for v in values[:count]]
            )
        finally:
            for variable, k in zip(variables, piece.weights, strict=True):
                variable.assign(twin.values[k])
        return np.array([float(numpy_of(value))]), [[numpy_of(g) for g in gradients]]

    values = [*piece.inputs, *(twin.values[k] for k in piece.weights)]
    return Function(derive, lambda v: derive(v)[0], values, random, twin.eps)
