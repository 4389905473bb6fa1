"""Where the data meet the model: first layers of an input, outputs of targets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from keras_babysit.facts import ArrayFacts, LayerFacts, ModelFacts, OutputFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.catalogue import words
from keras_babysit.rules.evidence.graph import NORMALIZING, family
from keras_babysit.rules.evidence.tasks import tasks

#: Families of layers whose training suffers from the scale of what they are given.
SENSITIVE = words(
    "Dense EinsumDense Conv ConvTranspose DepthwiseConv SeparableConv SimpleRNN "
    "LSTM GRU RNN Bidirectional ConvLSTM MultiHeadAttention GroupQueryAttention"
)
#: Layers that bring their input to a scale of their own.
SCALING = NORMALIZING | words("Rescaling Normalization Discretization")
#: Layers that take numbers or strings for names of things.
LOOKUPS = words(
    "Embedding ReversibleEmbedding StringLookup IntegerLookup Hashing HashedCrossing "
    "CategoryEncoding TextVectorization Discretization FeatureSpace"
)
#: Families that hand on the values they are given, or some of them, or averages.
PASSING = words(
    "InputLayer Flatten Reshape Permute RepeatVector Dropout AlphaDropout "
    "SpatialDropout GaussianDropout Identity Masking ActivityRegularization "
    "ZeroPadding Cropping UpSampling Resizing CenterCrop RandomCrop RandomFlip "
    "RandomRotation RandomTranslation RandomZoom RandomContrast RandomBrightness "
    "GaussianNoise AveragePooling MaxPooling GlobalAveragePooling GlobalMaxPooling "
    "Squeeze ExpandDims Transpose Cast Concatenate"
)
#: Layers for which the order of the values along an axis matters.
SEQUENTIAL = words(
    "SimpleRNN LSTM GRU RNN Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D Conv1D "
    "SeparableConv1D DepthwiseConv1D MultiHeadAttention GroupQueryAttention "
    "Attention AdditiveAttention"
)


def kinds(model: ModelFacts | None) -> set[str]:
    """Returns the kinds of a model's layers."""
    return {layer.kind for layer in model.layers} if model is not None else set()


def is_raw(model: ModelFacts | None, name: str) -> bool:
    """Whether an input surely meets layers that suffer from its scale first.

    It does not where a layer scales it, or may do so for all we know, nor where the
    first layer was trained before: that one wants the scale it was trained with.

    Args:
        model: the model.
        name: the input's name, `"x"`, `"x['left']"`, `"x[0]"`.
    """
    if model is None or model.custom_train_step:
        return False
    met, after = _met(model, name)
    return bool(met) and all(_suffers(layer, after) for layer in met)


def rescaling(model: ModelFacts | None, name: str) -> tuple[float, float] | None:
    """Returns factor and offset of the Rescaling layers that an input meets first.

    `None` without such layers, or where what is behind them does not suffer from scale.
    """
    if model is None or model.custom_train_step or not model.graph_known:
        return None
    met, after = _met(model, name)
    factor, offset = 1.0, 0.0
    while len(met) == 1 and met[0].scaling is not None:
        a, b = met[0].scaling
        factor, offset = factor * a, offset * a + b
        met = _acting(after.get(met[0].path, []), after)
    suffers = bool(met) and all(_suffers(layer, after) for layer in met)
    return (factor, offset) if suffers and (factor, offset) != (1.0, 0.0) else None


def may_mend(model: ModelFacts | None, name: str) -> bool:
    """Whether a layer or operation that we don't know is the first to see an input."""
    if model is None:
        return False
    met, _ = _met(model, name)
    known = SENSITIVE | SCALING | LOOKUPS
    return not met or any(family(layer) not in known for layer in met)


def met(model: ModelFacts, name: str) -> list[LayerFacts]:
    """Returns the first layers to see an input that do more than hand it on."""
    return _met(model, name)[0]


_After = dict[str, list[LayerFacts]]


def _met(model: ModelFacts, name: str) -> tuple[list[LayerFacts], _After]:
    """The first layers to see an input that do more than hand it on."""
    after: _After = {}
    for layer in model.layers:
        for source in layer.inputs or ():
            after.setdefault(source, []).append(layer)
    if not model.graph_known:
        return _first_defined(model.layers), after
    return _acting(_roots(model, name), after), after


def _acting(layers: Sequence[LayerFacts], after: _After) -> list[LayerFacts]:
    """The first of some layers, and of those behind, that do more than hand it on."""
    found: dict[str, LayerFacts] = {}
    waiting, seen = list(layers), set()
    while waiting:
        layer = waiting.pop()
        if layer.path in seen:
            continue
        seen.add(layer.path)
        if family(layer) in PASSING and layer.activation is None:
            waiting += after.get(layer.path, [])
        else:
            found[layer.path] = layer
    return list(found.values())


def _roots(model: ModelFacts, name: str) -> Sequence[LayerFacts]:
    """The roots that an input may be; all if neither name nor place tells."""
    roots = {layer.path: layer for layer in model.layers if layer.inputs == ()}
    key = name[2:-1].strip("'\"")
    named = [r for path, r in roots.items() if path.rsplit("/", 1)[-1] == key]
    if not named and key.isdigit():
        place = int(key)
        named = [roots[p] for p in model.inputs[place : place + 1] if p in roots]
    return named or list(roots.values())


def _first_defined(layers: Sequence[LayerFacts]) -> list[LayerFacts]:
    """The first layer of a model whose graph is not known, if none in it scales.

    Layers are defined in the order of their use, as a rule.
    """
    acting = [layer for layer in layers if family(layer) not in PASSING]
    scaled = [layer for layer in acting if family(layer) in SCALING | LOOKUPS]
    return (scaled or acting)[:1]


def _suffers(layer: LayerFacts, after: _After) -> bool:
    if family(layer) not in SENSITIVE or not layer.trainable:
        return False
    if any(weight.as_initialized is False for weight in layer.weights):
        return False
    if layer.weights and not any(weight.trainable for weight in layer.weights):
        return False
    # A normalization right behind a linear layer undoes the scale of its input.
    following = after.get(layer.path, [])
    undone = layer.activation is None and following
    return not (undone and all(n.kind in SCALING for n in following))


def pairs(history: RunHistory) -> Iterator[tuple[ArrayFacts, OutputFacts | None]]:
    """Yields the targets, each with the output whose loss reads it, if that is sure."""
    data, model = history.data, history.model
    if data is None:
        return
    known = {id(task.target): task.output for task in tasks(history)}
    if model is not None and model.custom_train_step:
        known = {}  # What its loss is given is anyone's guess.
    for target in data.targets:
        yield target, known.get(id(target))


def loss_name(output: OutputFacts | None) -> str:
    """Returns the name of an output's loss; empty unless it is one of Keras's own."""
    if output is None or output.loss is None or not output.loss.standard:
        return ""
    return output.loss.name


def class_counts(target: ArrayFacts) -> dict[int, int]:
    """Returns how often each class occurs; empty if the target is no single class."""
    single = target.shape in ((), (1,)) and target.whole
    if not single and not (target.one_hot and len(target.shape) == 1):
        return {}
    return {int(k): int(n) for k, n in target.counts.items() if math.isfinite(k)}
