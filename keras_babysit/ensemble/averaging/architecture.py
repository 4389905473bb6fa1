"""Whether two models are of one architecture, and where they first differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import keras

from keras_babysit.borrowing import layers_of
from keras_babysit.document.words import cut

#: What a configuration may differ in: it matters before or in training only.
_OF_TRAINING = re.compile(
    r"seed|trainable|.*_(initializer|regularizer|constraint)|build_config"
    r"|shared_object_id|registered_name"
)


def first_difference(one: keras.Model, other: keras.Model) -> str | None:
    """Returns in words where two models first differ, or `None`.

    Names may differ in the number that Keras adds to them. Weights, initialization,
    regularization, what is trainable, optimizer and loss are not compared.
    """
    pairs = zip(_described(one), _described(other), strict=False)
    for (value, what), (other_value, _) in pairs:
        if value != other_value:
            told = [cut(repr(one), 80) for one in (value, other_value)]
            return f"{what} is {told[0]} in one, {told[1]} in the other"
    return None


def _described(model: keras.Model) -> Iterator[tuple[Any, str]]:
    """Yields what makes an architecture, and what that is called.

    Not by names: those of layers are numbered, and how paths begin depends on how a
    model was built.
    """
    layers = layers_of(model)
    yield type(model).__name__, "the class of the model"
    yield len(layers), "the number of layers"
    for layer in layers[1:]:
        config, name = _config(layer), layer.name
        yield type(layer).__name__, f"the class of {name!r}"
        yield _base(name), f"the name of {name!r}"
        yield list(config), f"what can be set of {name!r}"
        yield from ((value, f"`{key}` of {name!r}") for key, value in config.items())
    yield len(model.weights), "the number of weights"
    for weight in model.weights:
        where = f"of the weight {weight.path!r}"
        yield _base(weight.name), f"the name {where}"
        yield tuple(weight.shape), f"the shape {where}"
        yield weight.dtype, f"the dtype {where}"
    for layer in layers:
        yield _connections(layer), f"what is connected in {layer.name!r}"


def _config(layer: Any) -> dict[str, Any]:
    """Returns what a layer does, in plain values."""
    if isinstance(layer, keras.Model):
        return {}  # Its layers come by themselves, and its connections.
    try:
        config = layer.get_config()
    except NotImplementedError:
        return {}  # A layer that cannot be saved; its weights are compared.
    return {key: value for key, value in _plain(config).items() if key != "name"}


def _plain(value: Any) -> Any:
    """Returns a value without what may differ, to be compared by `==`."""
    if isinstance(value, dict):
        return {
            key: _base(item) if key == "name" and item else _plain(item)
            for key, item in value.items()
            if not _OF_TRAINING.fullmatch(key)
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, keras.KerasTensor):
        return "tensor"
    if value is None or isinstance(value, str | int | float):
        return value
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)


def _connections(layer: Any) -> Any:
    """Returns, for a model with a graph, which operation takes what of which."""
    graph = getattr(layer, "_functional", None) or layer
    if not hasattr(graph, "_nodes_by_depth"):
        return None
    order = {id(op): i for i, op in enumerate(graph.operations)}
    nodes = [
        node
        for depth in sorted(graph._nodes_by_depth, reverse=True)
        for node in sorted(
            graph._nodes_by_depth[depth], key=lambda n: order[id(n.operation)]
        )
    ]
    places = {id(node): i for i, node in enumerate(nodes)}

    def source(tensor: Any) -> tuple[int, int]:
        operation, number, part = tensor._keras_history
        return places[id(operation._inbound_nodes[number])], part

    made = [
        (
            type(node.operation).__name__,
            order[id(node.operation)],
            [source(t) for t in node.input_tensors if not node.is_input],
            _plain([node.arguments.args, node.arguments.kwargs]),
        )
        for node in nodes
    ]
    return made, keras.tree.map_structure(source, graph._outputs_struct)


def _base(name: str) -> str:
    return re.sub(r"_\d+$", "", name)
