"""Copies of members: other weights of the same values, other names, nothing shared."""

from __future__ import annotations

import tempfile
from typing import Any

import keras
from keras.src.models.functional import Functional
from keras.src.saving.serialization_lib import SafeModeScope

from keras_babysit.borrowing import layers_of, random_numbers_kept
from keras_babysit.document.words import sentence
from keras_babysit.errors import first_line
from keras_babysit.inspection.layers import graph_of

#: What raises where a layer of the user's cannot be made again from its `get_config`.
_NOT_MADE = (TypeError, ValueError, NotImplementedError, AttributeError, KeyError)


def copy_of(member: keras.Model, name: str) -> keras.Model | None:
    """Returns a plain functional copy of a member, not compiled.

    Layers are made again from their configuration, without penalties on weights and
    activations: those would add up over the members in the loss of `evaluate`.

    Returns:
        The copy; `None` if a layer of it cannot be made again, or if its graph is not
        what it does (a subclass with a `call` of its own).
    """
    nested = [layer for layer in layers_of(member) if graph_of(layer) is not None]
    if not all(map(has_graph, [member, *nested])):
        return None
    # A view of the same graph: a subclass with a `train_step` of its own, say, becomes
    # a model that loads where that class is not known.
    graph = graph_of(member)
    view = Functional(graph.input, graph.output, name=name)
    try:
        copy = keras.models.clone_model(
            view, clone_function=_copied_layer, recursive=True
        )
    except _NOT_MADE:
        return None
    pairs = list(zip(layers_of(view), layers_of(copy), strict=True))
    if any(type(a) is not type(b) for a, b in pairs) or not _fits(view, copy):
        return None
    copy_values(view, copy)
    return copy


def remade(model: keras.Model, inputs: Any = None, compiled: bool = False) -> Any:
    """Returns a copy of a model by its configuration, values and all.

    Args:
        model: a built model; not changed.
        inputs: symbolic inputs, on which the copy is built if it is not by then.
        compiled: whether to compile the copy as the model is.
    """
    # What is in memory already is as safe as it was.
    trusted = SafeModeScope(False), keras.saving.custom_object_scope(_own(model))
    try:
        with random_numbers_kept(), trusted[0], trusted[1]:
            config = keras.saving.serialize_keras_object(model)
            if not compiled:
                config.pop("compile_config", None)
            copy = keras.saving.deserialize_keras_object(config)
            if inputs is not None:
                copy(inputs)
    except Exception as e:
        raise ValueError(
            f"{model.name!r} cannot be copied: {sentence(first_line(e))} Models and "
            "layers of your own need `get_config`, as for `model.save`."
        ) from None
    if copy.__class__ is not model.__class__ or not _fits(model, copy):
        raise ValueError(
            f"{model.name!r} cannot be copied: built from its configuration it has "
            "other variables. Models of your own must make all weights in `__init__` "
            "and `build`."
        )
    copy_values(model, copy)
    for made, layer in zip(layers_of(copy), layers_of(model), strict=True):
        vars(made)["_trainable"] = vars(layer)["_trainable"]
    return copy


def _own(model: keras.Model) -> dict[str, Any]:
    """Functions and classes that Keras might not find by their names."""
    config = model._compile_config.config if model.compiled else {}
    known = [*keras.tree.flatten(list(config.values())), *layers_of(model)]
    functions = [thing for thing in known if hasattr(thing, "__name__")]
    return {
        **{type(thing).__name__: type(thing) for thing in known},
        **{function.__name__: function for function in functions},
    }


def has_graph(model: keras.Model) -> bool:
    """Whether a model does what its symbolic graph says."""
    own = (Functional.call, keras.Sequential.call)
    return graph_of(model) is not None and type(model).call in own


def _fits(original: keras.Model, copy: keras.Model) -> bool:
    shapes = [[tuple(v.shape) for v in m.variables] for m in (original, copy)]
    return shapes[0] == shapes[1]


def _copied_layer(layer: Any) -> Any:
    if isinstance(layer, keras.layers.Lambda):
        # From its configuration a lambda would lose what it refers to.
        kept = layer.get_config()
        return keras.layers.Lambda(
            layer.function,
            output_shape=layer._output_shape,
            mask=layer.mask,
            arguments=layer.arguments,
            name=layer.name,
            dtype=kept["dtype"],
        )
    config = _without_penalties(layer.get_config())
    if isinstance(layer, keras.layers.ActivityRegularization):
        config.update(l1=0.0, l2=0.0)
    return type(layer).from_config(config)


def _without_penalties(config: Any) -> Any:
    """A configuration whose regularizers are `None`, those of layers inside it too."""
    if isinstance(config, dict):
        return {
            key: None
            if isinstance(key, str) and key.endswith("_regularizer")
            else _without_penalties(value)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [_without_penalties(value) for value in config]
    return config


def copy_values(original: keras.Model, copy: keras.Model) -> None:
    """Copies variables, what layers work out from them, and vocabularies."""
    for variable, made in zip(original.variables, copy.variables, strict=True):
        made.assign(variable.value)
    base = keras.layers.Layer.load_own_variables
    for layer, made in zip(layers_of(original), layers_of(copy), strict=True):
        if type(layer).load_own_variables is not base:
            # What follows from variables: the mean that a Normalization subtracts.
            store: dict[str, Any] = {}
            layer.save_own_variables(store)
            made.load_own_variables(store)
        if hasattr(layer, "save_assets"):
            # What is no variable: the vocabulary of a lookup.
            with tempfile.TemporaryDirectory() as folder:
                layer.save_assets(folder)
                made.load_assets(folder)
