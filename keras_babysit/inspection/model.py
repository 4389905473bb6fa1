"""Facts of a compiled model: its layers, how they are connected, how it is compiled.

Nothing is called and nothing is changed: attributes, shapes and the symbolic graph
are read, weights are copied. What is not known is `None` or left out.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from keras_babysit.facts import LayerFacts, LossFacts, ModelFacts, OutputFacts
from keras_babysit.inspection import compiled
from keras_babysit.inspection.layers import (
    graph_of,
    is_graph,
    layer_facts,
    name_in_model,
    parts,
)

#: Layers and operations that only move values about, drop or average some of them:
#: their output has the range of their input.
MOVING = compiled.words(
    "Flatten Reshape Permute RepeatVector Dropout AlphaDropout SpatialDropout "
    "GaussianDropout Identity Masking ActivityRegularization Activation Cropping "
    "UpSampling Resizing AveragePooling MaxPooling GlobalAveragePooling "
    "GlobalMaxPooling Squeeze ExpandDims Transpose GetItem Cast Copy Ravel Moveaxis "
    "Swapaxes Concatenate"
)

#: Layers that end in an affine map if they have no activation function.
AFFINE = compiled.words(
    "Dense EinsumDense Conv ConvTranspose DepthwiseConv SeparableConv "
    "BatchNormalization LayerNormalization MultiHeadAttention"
)

#: Losses that take the logits behind a softmax or sigmoid if they can get at them.
LOGIT_READERS = compiled.words(
    "binary_crossentropy categorical_crossentropy sparse_categorical_crossentropy "
    "crossentropy"
)

Sources = tuple[str, ...] | None


def model_facts(model: keras.Model, output_layer: str | None = None) -> ModelFacts:
    """Returns what is known of a compiled, built model before its first step.

    It neither changes the model nor calls it, and gives what it can for odd ones.

    Args:
        model: the model.
        output_layer: path of the layer that makes the output, for models whose graph
            Keras does not know.
    """
    walk = _Walk(model)
    sources = walk.flatten(model)
    graph = graph_of(model)
    outputs = (
        _graph_outputs(model, graph, walk.layers, sources)
        if graph is not None
        else _told_outputs(model, walk.layers.get(output_layer or ""))
    )
    return ModelFacts(
        name=str(getattr(model, "name", "")),
        layers=tuple(walk.layers.values()),
        outputs=outputs,
        optimizer=compiled.optimizer_facts(model),
        parameters=_count(model.weights),
        trainable_parameters=_count(model.trainable_weights),
        inputs=tuple(walk.path(t) for t in graph.inputs) if graph is not None else (),
        regularization_loss=_penalty(model.trainable_weights),
        graph_known=graph is not None,
        custom_train_step=compiled.has_own_step(model),
    )


def _count(weights: Iterable[Any]) -> int:
    return sum(math.prod(w.shape) for w in weights)


def _penalty(weights: Iterable[Any]) -> float:
    """Returns the sum of the weights' penalties."""
    total = 0.0
    for weight in weights:
        regularizer = getattr(weight, "regularizer", None)
        if regularizer is None:
            continue
        try:
            total += float(keras.ops.convert_to_numpy(regularizer(weight.value)))
        except Exception:  # A regularizer of the user's may want more than values.
            continue
    return total


class _Walk:
    """Goes through a model and its nested models, and notes each layer once.

    Attributes:
        layers: path to facts, in the order in which values flow.
    """

    def __init__(self, model: Any):
        self.layers: dict[str, LayerFacts] = {}
        self._trained = {id(v) for v in model.trainable_variables}
        self._paths: dict[int, str] = {}
        self._kept: list[Any] = []  # An `id` holds only while its object lives.

    def flatten(self, model: Any) -> list[Sources]:
        """Notes the layers of a model; returns what makes each of its outputs."""
        graph = graph_of(model)
        if graph is None:
            self._note_parts(model)
            return []
        return self._graph(graph, [])

    def path(self, tensor: Any) -> str:
        """The path of what makes a tensor; empty if that is not known."""
        return self._paths.get(id(tensor._keras_history.operation), "")

    def _graph(self, graph: Any, feeds: list[Sources]) -> list[Sources]:
        made: dict[int, Sources] = {}
        for tensor, feed in zip(graph.inputs, feeds, strict=False):
            made[id(tensor)] = feed
        by_depth = graph._nodes_by_depth
        nodes = [n for depth in sorted(by_depth, reverse=True) for n in by_depth[depth]]
        for node in nodes:
            self._node(node, made)
        return [made.get(id(t)) for t in graph.outputs]

    def _node(self, node: Any, made: dict[int, Sources]) -> None:
        if node.is_input:
            # A nested model's inputs are what feeds it; only the outermost are layers.
            for tensor in node.outputs:
                if id(tensor) not in made:
                    made[id(tensor)] = (self._note(node.operation, (), tensor),)
            return
        feeds = [made.get(id(t)) for t in node.input_tensors]
        if is_graph(node.operation):
            made_inside = self._graph(graph_of(node.operation), feeds)
        else:
            path = self._note(node.operation, _union(feeds), node.outputs[0])
            self._now(path, takes=max(len(feeds), self.layers[path].takes))
            made_inside = [(path,)] * len(node.outputs)
        for tensor, source in zip(node.outputs, made_inside, strict=False):
            made[id(tensor)] = source

    def _note(self, operation: Any, inputs: Sources, tensor: Any = None) -> str:
        """Adds a layer, or another call of one that is known."""
        path = self._paths.get(id(operation))
        if path is not None:
            self._now(path, inputs=_union([self.layers[path].inputs, inputs]))
            return path
        path = self._unique(name_in_model(operation))
        self._paths[id(operation)] = path
        self._kept.append(operation)
        shape = getattr(tensor, "shape", None)
        shape = tuple(shape[1:]) if shape else None
        self.layers[path] = self._facts(operation, path, inputs, shape)
        self._note_parts(operation)
        return path

    def _now(self, path: str, **facts: Any) -> None:
        self.layers[path] = dataclasses.replace(self.layers[path], **facts)

    def _facts(
        self,
        operation: Any,
        path: str,
        inputs: Sources,
        shape: tuple[int | None, ...] | None,
    ) -> LayerFacts:
        try:
            return layer_facts(operation, path, inputs, shape, self._trained)
        except Exception:  # Whatever a custom layer does to its own attributes.
            kind = type(operation).__name__
            return LayerFacts(path, kind, inputs=inputs, output_shape=shape)

    def _note_parts(self, layer: Any) -> None:
        """Notes the layers inside a layer whose graph is not known."""
        for part in parts(layer):
            if is_graph(part):
                graph = graph_of(part)
                self._graph(graph, [None] * len(graph.inputs))
            else:
                self._note(part, None)

    def _unique(self, path: str) -> str:
        unique, count = path, 1
        while unique in self.layers:
            count += 1
            unique = f"{path}@{count}"
        return unique


def _union(feeds: Iterable[Sources]) -> Sources:
    """Returns all sources in order; `None` if one of them is not known."""
    found: dict[str, None] = {}
    for feed in feeds:
        if feed is None:
            return None
        found.update(dict.fromkeys(feed))
    return tuple(found)


# ------------------------------------------------------------------------ outputs


def _graph_outputs(
    model: Any, graph: Any, layers: Mapping[str, LayerFacts], sources: list[Sources]
) -> tuple[OutputFacts, ...]:
    names = output_names(model)
    found = []
    for index, tensor in enumerate(graph.outputs):
        shape = tuple(tensor.shape[1:])
        units = shape[-1] if shape else None
        source = sources[index]
        layer, activation = _origin(layers, source[0] if source else None)
        given, weight = compiled.loss_of(model, names, index)
        loss = _loss(given, units)
        found.append(
            OutputFacts(
                name=names[index] if len(names) > 1 else "",
                layer=layer,
                activation=activation,
                units=units,
                shape=shape,
                loss=loss,
                loss_weight=weight,
                metrics=_metrics(model, names, index),
                reads_logits=_reads_logits(tensor, layer, source, activation, loss),
            )
        )
    return tuple(found)


def _told_outputs(model: Any, layer: LayerFacts | None) -> tuple[OutputFacts, ...]:
    """Returns what `compile` tells of outputs that no graph leads to."""
    given = getattr(model, "loss", None)
    names = [str(n) for n in given] if isinstance(given, Mapping) else [""]
    if isinstance(given, list | tuple):
        names = [f"output_{i}" for i in range(len(given))] if len(given) > 1 else [""]
    one = layer if len(names) == 1 else None
    found = []
    for index in range(len(names)):
        loss, weight = compiled.loss_of(model, names, index)
        found.append(
            OutputFacts(
                name=names[index],
                layer=one.path if one else None,
                activation=_own_activation(one) if one else None,
                units=one.units if one else None,
                loss=_loss(loss, one.units if one else None),
                loss_weight=weight,
                metrics=_metrics(model, names, index),
            )
        )
    return tuple(found)


def _own_activation(layer: LayerFacts) -> str | None:
    linear = _family(layer) in AFFINE
    return layer.activation or ("linear" if linear else None)


def output_names(model: Any) -> list[str]:
    """Returns the outputs' names as `compile` has them: keys, or layers' names.

    Args:
        model: a model whose graph Keras knows.
    """
    graph = graph_of(model)
    struct = getattr(graph, "_outputs_struct", None)
    if isinstance(struct, Mapping):
        flat = {id(t): str(key) for key, t in struct.items()}
        if all(id(t) in flat for t in graph.outputs):
            return [flat[id(t)] for t in graph.outputs]
    names = getattr(model, "output_names", None) or graph.output_names
    return [str(n) for n in names]


def _loss(given: Any, units: int | None) -> LossFacts | None:
    try:
        return compiled.loss_facts(given, units)
    except Exception:
        return LossFacts(compiled.name_of(given), standard=False)


def _metrics(model: Any, names: list[str], index: int) -> tuple[str, ...]:
    try:
        return compiled.metric_names(model, names, index)
    except Exception:
        return ()


def _origin(
    layers: Mapping[str, LayerFacts], path: str | None
) -> tuple[str | None, str | None]:
    """Returns which layer makes an output, and the last function applied to it."""
    seen: set[str] = set()
    while path is not None and path not in seen:
        seen.add(path)
        layer = layers[path]
        if layer.activation is not None:
            return path, layer.activation if _is_known(layer) else None
        if _family(layer) not in MOVING or not layer.inputs:
            return path, _own_activation(layer)
        if len(layer.inputs) > 1:
            origins = [_origin(layers, p) for p in layer.inputs]
            same = len({activation for _, activation in origins}) == 1
            return path, origins[0][1] if same else None
        path = layer.inputs[0]
    return None, None


def _family(layer: LayerFacts) -> str:
    """Returns its kind without the number of dimensions."""
    return re.sub(r"\dD", "", layer.kind)


def _is_known(layer: LayerFacts) -> bool:
    """Whether a layer's `activation` is surely the last thing it does."""
    return hasattr(keras.layers, layer.kind) or not layer.weights


def _reads_logits(
    tensor: Any,
    layer: str | None,
    source: Sources,
    activation: str | None,
    loss: LossFacts | None,
) -> bool:
    """Whether the loss will find the logits that Keras keeps on the tensor."""
    return (
        keras.config.backend() == "tensorflow"
        and activation in ("softmax", "sigmoid")
        and source == (layer,)
        # Losses cast to this, and a cast tensor has lost its logits.
        and tensor.dtype == keras.config.floatx()
        and loss is not None
        and loss.standard
        and loss.name in LOGIT_READERS
    )
