"""Facts of single layers and operations, read without calling them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.utils.naming import to_snake_case

from keras_babysit.facts import LayerFacts, Outline
from keras_babysit.inspection.compiled import is_keras, name_of, snake, words
from keras_babysit.inspection.weights import weight_facts

#: Classes of Keras that say nothing about what a layer does.
ABSTRACT = ("Layer", "Operation", "Model", "Wrapper", "Functional", "Sequential")

#: Names of functions as backends spell them, to Keras's.
ALIASES = {
    "swish": "silu",
    "hard_swish": "hard_silu",
    "soft_sign": "softsign",
    "soft_plus": "softplus",
    "softmax_v2": "softmax",
    "log_softmax_v2": "log_softmax",
    "exp": "exponential",
    "leaky_re_lu": "leaky_relu",
    "p_re_lu": "prelu",
}

#: Operations of `keras.ops` that apply an activation function, in snake case.
FUNCTIONS = words(
    "relu relu6 leaky_relu elu selu celu gelu silu mish softplus softsign sigmoid "
    "hard_sigmoid log_sigmoid hard_silu hard_tanh tanh softmax log_softmax sparsemax "
    "squareplus exponential"
)

#: Recurrent layers put out a product of gates, not the values of their `activation`.
GATED = ("LSTM", "GRU", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")

#: Layers with parts of their own whose weights are told as theirs.
WHOLE = (*GATED, "SimpleRNN")

#: Words in the names of weights that are no kernels, whatever their shape: a GRU's bias
#: has two axes.
_NO_KERNEL = ("bias", "beta", "gamma", "scale", "alpha", "offset")
#: What Bidirectional puts before the name of the layer that it wraps.
_WRAPPED = "(?:forward_|backward_)?"


def is_graph(thing: Any) -> bool:
    """Returns whether it is a built Sequential or functional model."""
    return graph_of(thing) is not None


def graph_of(thing: Any) -> Any:
    """Returns the functional graph behind a model, or `None`."""
    if isinstance(thing, keras.Sequential):
        thing = getattr(thing, "_functional", None)
    return thing if hasattr(thing, "_nodes_by_depth") else None


def name_in_model(operation: Any) -> str:
    """Returns what a layer goes by: its path, or its name where it has none."""
    return getattr(operation, "path", None) or operation.name


def kind_of(operation: Any) -> str:
    """Returns the name of the Keras class that an operation is, or derives from."""
    for cls in type(operation).__mro__:
        if is_keras(cls) and cls.__name__ not in ABSTRACT:
            if cls.__name__.startswith("Base") or not issubclass(cls, keras.Operation):
                continue
            return cls.__name__
        if cls.__name__ in ABSTRACT:
            break
    return type(operation).__name__


def inner(layer: Any) -> Any:
    """Returns the layer that a `TimeDistributed` merely applies to each step."""
    if isinstance(layer, keras.layers.TimeDistributed):
        wrapped = layer.layer
        if not isinstance(wrapped, keras.Model) and not list(parts(wrapped)):
            return wrapped
    return layer


def parts(layer: Any) -> Iterator[Any]:
    """Yields the layers directly inside a layer that are listed by themselves."""
    if inner(layer) is not layer or kind_of(layer) in WHOLE:
        return
    for part in getattr(layer, "_layers", None) or ():
        if isinstance(part, keras.Layer) and part is not layer:
            yield part


# --------------------------------------------------------------------- activation


def activation_of(operation: Any) -> str | None:
    """Returns the name of the function whose values it puts out, if any."""
    kind = kind_of(operation)
    if isinstance(operation, keras.layers.Layer):
        special = _activation_layer(operation, kind)
        if special is not None:
            return special or None
        return function_name(getattr(operation, "activation", None))
    name = ALIASES.get(snake(kind), snake(kind))
    if name not in FUNCTIONS:
        return None
    axis = getattr(operation, "axis", -1)
    if name == "softmax":
        return _softmax(axis, operation) or None
    return name if _is_last(axis, operation) else None


def _activation_layer(layer: Any, kind: str) -> str | None:
    """Returns the function of a layer that has no `activation`; `""` for none."""
    if kind == "ReLU":
        if layer.negative_slope:
            return "leaky_relu"
        return "relu6" if layer.max_value == 6 else "relu"
    if kind == "Softmax":
        return _softmax(layer.axis, layer)
    if kind == "Lambda":
        function = layer.function
        return function_name(function) if is_keras(function) else ""
    if kind in ("LeakyReLU", "PReLU", "ELU"):
        return ALIASES.get(snake(kind), kind.lower())
    return "" if kind in (*GATED, "Bidirectional") else None


def _softmax(axis: Any, operation: Any) -> str:
    """Returns a softmax's name by what it sums over; `""` over time or space."""
    if _is_last(axis, operation):
        return "softmax"
    over_batch = axis == 0 or (isinstance(axis, int) and _ranks(operation) == {-axis})
    return "batch_softmax" if over_batch else ""


def _is_last(axis: Any, operation: Any) -> bool:
    if axis == -1 or not isinstance(axis, int):
        return axis == -1
    return _ranks(operation) == {axis + 1}


def _ranks(operation: Any) -> set[int]:
    nodes = getattr(operation, "_inbound_nodes", ())
    return {len(t.shape) for node in nodes for t in node.outputs}


def function_name(function: Any) -> str | None:
    """Returns an activation function's name; `None` if there is none or linear."""
    if function is None:
        return None
    if isinstance(function, keras.layers.Layer):
        return activation_of(function)
    name = name_of(function)
    name = ALIASES.get(name, name)
    return None if name == "linear" else name


# ------------------------------------------------------------------------- layers


def layer_facts(
    operation: Any,
    path: str,
    inputs: tuple[str, ...] | None,
    shape: tuple[int | None, ...] | None,
    trained: set[int],
) -> LayerFacts:
    """Returns the facts of one layer or operation.

    Args:
        operation: the layer, or an operation of `keras.ops`.
        path: what it goes by.
        inputs: what feeds it, if known.
        shape: shape of its output, batch axis left out, if known.
        trained: `id`s of the model's trainable variables.
    """
    layer = inner(operation)
    kind = kind_of(layer)
    return LayerFacts(
        path=path,
        kind=kind,
        activation=activation_of(layer),
        units=units_of(layer, shape),
        output_shape=shape,
        inputs=inputs,
        trainable=bool(getattr(operation, "trainable", True)),
        rate=rate_of(layer),
        regularizers=regularizers_of(layer),
        weights=tuple(
            weight_facts(layer, kind, v, id(v) in trained)
            for v in own_weights(operation)
        ),
        scaling=scaling_of(layer, kind),
        masks=kind == "Masking" or bool(getattr(layer, "mask_zero", False)),
    )


def scaling_of(layer: Any, kind: str) -> tuple[float, float] | None:
    """Returns the factor and the offset of a Rescaling layer, if they are numbers."""
    if kind != "Rescaling":
        return None
    both = (layer.scale, layer.offset)
    plain = all(isinstance(x, int | float) for x in both)
    return (float(layer.scale), float(layer.offset)) if plain else None


def own_weights(layer: Any) -> list[Any]:
    """Returns a layer's weights without those of its own listed parts."""
    weights = getattr(layer, "weights", None) or []
    others = {id(w) for part in parts(layer) for w in part.weights}
    return [w for w in weights if id(w) not in others]


def units_of(layer: Any, shape: tuple[int | None, ...] | None) -> int | None:
    """Returns the size of the channel axis."""
    for name in ("units", "filters"):
        if isinstance(getattr(layer, name, None), int):
            return getattr(layer, name)
    if not shape:
        return None
    first = getattr(layer, "data_format", None) == "channels_first" and len(shape) > 1
    return shape[0] if first else shape[-1]


def rate_of(layer: Any) -> float | None:
    """Returns the rate of a dropout or noise layer, `dropout` of a recurrent one."""
    for name in ("rate", "stddev", "dropout"):
        rate = getattr(layer, name, None)
        if isinstance(rate, int | float) and not isinstance(rate, bool):
            return float(rate)
    return None


def regularizers_of(layer: Any) -> dict[str, float]:
    """Returns what is regularized how strongly: `{"kernel l2": 0.01}`."""
    found = {}
    for holder in (getattr(layer, "cell", None), layer):
        for name, value in vars(holder).items() if holder is not None else ():
            if not name.endswith("_regularizer") or value is None:
                continue
            part = name.strip("_").removesuffix("_regularizer")
            found.update({f"{part} {k}": v for k, v in _strengths(value)})
    return found


def _strengths(regularizer: Any) -> Iterator[tuple[str, float]]:
    for norm in ("l1", "l2"):
        try:
            strength = float(getattr(regularizer, norm, None) or 0.0)
        except (TypeError, ValueError):
            continue
        if strength:
            yield norm, strength


# ------------------------------------------------------------------------ charts


def outline(model: Any) -> Outline:
    """Returns the outline of a model that is built."""
    layers = list(model._flatten_layers(include_self=False))
    kinds = {v.name: _kind(v) for v in (model, *layers, *model.trainable_variables)}
    made_up = {name: kind for name, kind in kinds.items() if kind}
    chosen = frozenset(name for name, kind in kinds.items() if not kind)
    return Outline(model.name, made_up, chosen, frozenset(_minor(model)))


def _kind(thing: Any) -> str:
    """The kind of a name that Keras has made up in this process; empty of others.

    Somebody may have chosen `dense_2`, but Keras counts the names that it makes up.
    """
    word = to_snake_case(type(thing).__name__)
    found = re.fullmatch(rf"({_WRAPPED}{re.escape(word)})(?:_(\d+))?", thing.name)
    made = global_state.get_global_attribute("object_name_uids") or {}
    if found is None or int(found[2] or 0) >= made.get(word, 0):
        return ""
    return found[1]


def _minor(model: Any) -> Iterator[str]:
    for layer in model._flatten_layers(include_self=False):
        has_kernel = any(map(_is_kernel, own_weights(layer)))
        if not has_kernel and activation_of(layer) is None:
            yield name_in_model(layer)
    yield from (v.path for v in model.trainable_variables if not _is_kernel(v))


def _is_kernel(variable: Any) -> bool:
    small = any(word in variable.name for word in _NO_KERNEL)
    return len(variable.shape) >= 2 and not small
