"""Ways through a model's graph. No rules here."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from functools import cached_property

from keras_babysit.facts import LayerFacts, ModelFacts, WeightFacts
from keras_babysit.rules.evidence.catalogue import words

#: Families of layers whose units each weigh all of their inputs.
WEIGHING = frozenset({"Dense", "Conv", "ConvTranspose"})
#: Layers that are linear in their input and mix no channels.
LINEAR = words(
    "Dropout AlphaDropout GaussianDropout GaussianNoise SpatialDropout Flatten "
    "Reshape Permute RepeatVector Identity Activation ActivityRegularization "
    "BatchNormalization Rescaling Normalization ZeroPadding Cropping UpSampling "
    "AveragePooling GlobalAveragePooling InputLayer"
)
#: Layers behind which the scale of what comes in makes no difference.
NORMALIZING = words(
    "BatchNormalization LayerNormalization GroupNormalization UnitNormalization "
    "RMSNormalization"
)
POOLING = frozenset({"MaxPooling", "GlobalMaxPooling"})


def family(layer: LayerFacts) -> str:
    """Returns a layer's kind without its number of dimensions: `"Conv"`."""
    return re.sub(r"\dD", "", layer.kind)


class Network:
    """A model's layers with what they feed.

    Attributes:
        layers: path to layer.
        outputs: paths of the layers that make the outputs.
    """

    def __init__(self, model: ModelFacts):
        self.layers = {layer.path: layer for layer in model.layers}
        self.outputs = {output.layer for output in model.outputs}

    @cached_property
    def fed(self) -> dict[str, list[LayerFacts]]:
        """Path to the layers that take its output."""
        found: dict[str, list[LayerFacts]] = {path: [] for path in self.layers}
        for layer in self.layers.values():
            for path in layer.inputs or ():
                found.setdefault(path, []).append(layer)
        return found

    def next(
        self, layer: LayerFacts, through: frozenset[str], blank: bool = True
    ) -> Iterator[LayerFacts]:
        """Yields the first layers behind one that are not of some kinds.

        Args:
            layer: where to begin.
            through: kinds to pass through.
            blank: whether to stop at those that have an activation function.
        """
        seen = {layer.path}
        waiting = list(self.fed.get(layer.path, ()))
        while waiting:
            one = waiting.pop(0)
            if one.path in seen:
                continue
            seen.add(one.path)
            if family(one) in through and not (blank and one.activation):
                waiting += self.fed.get(one.path, ())
            else:
                yield one

    def behind(self, layer: LayerFacts) -> set[str]:
        """Returns the paths of all layers that a layer's output reaches."""
        found: set[str] = set()
        waiting = list(self.fed.get(layer.path, ()))
        while waiting:
            one = waiting.pop()
            if one.path not in found:
                found.add(one.path)
                waiting += self.fed.get(one.path, ())
        return found

    def before(self, path: str) -> set[str]:
        """Returns the paths of all layers with weights that a layer depends on."""
        return {one for one in self.upstream(path) if self.layers[one].weights}

    def upstream(self, path: str) -> set[str]:
        """Returns the paths of a layer and of all that it depends on."""
        seen: set[str] = set()
        waiting = [path]
        while waiting:
            one = waiting.pop()
            if one not in seen and one in self.layers:
                seen.add(one)
                waiting += self.layers[one].inputs or ()
        return seen

    def is_bypassed(self, layer: LayerFacts, closed: Container[str] = ()) -> bool:
        """Whether what a layer gets is added to what comes of it: a residual branch.

        Args:
            layer: the layer.
            closed: paths of layers that are no way round it.
        """
        others = frozenset(family(x) for x in self.layers.values()) - {"Add"}
        before = self.upstream(layer.path)
        for added in self.next(layer, others, blank=False):
            for source in added.inputs or ():
                around = self.upstream(source)
                if layer.path in around or not around & before:
                    continue
                if not any(path in closed for path in around - before):
                    return True
        return False

    def compares(self, path: str) -> bool:
        """Whether a layer's output is a difference of what the same layers make twice.

        As of the scores of two things, of which one should be the better one.
        """
        layer = self.layers.get(path)
        for _ in range(len(self.layers)):
            if layer is None or layer.weights or not layer.inputs:
                return False
            if layer.kind == "Subtract" and layer.takes == 2:
                # Two calls of one layer are one of its inputs.
                each = [self.before(source) for source in layer.inputs]
                return bool(each[0]) and all(one == each[0] for one in each)
            if len(layer.inputs) > 1:
                return False
            layer = self.layers.get(layer.inputs[0])
        return False

    def follower(self, layer: LayerFacts) -> LayerFacts | None:
        """Returns the layer that alone weighs a layer's output, nothing between."""
        one = layer
        for _ in range(len(self.layers)):
            fed = self.fed.get(one.path, [])
            if len(fed) != 1 or len(fed[0].inputs or ()) != 1:
                return None
            one = fed[0]
            if family(one) in WEIGHING:
                return one
            if family(one) not in LINEAR or one.activation:
                return None
        return None

    def function(self, layer: LayerFacts) -> str | None:
        """Returns the activation function behind a layer, its own or a later one."""
        if layer.activation:
            return layer.activation
        found = {x.activation for x in self.next(layer, LINEAR | NORMALIZING)}
        return found.pop() if len(found) == 1 else None

    def is_output(self, layer: LayerFacts) -> bool:
        """Whether the model's output is this layer's, activation and shape aside."""
        if layer.path in self.outputs:
            return True
        through = LINEAR | POOLING | {"Softmax", "ReLU", "Sigmoid"}
        fed = self.fed.get(layer.path, [])
        return bool(fed) and not list(self.next(layer, through, blank=False))

    def is_normalized(self, layer: LayerFacts) -> bool:
        """Whether a normalization follows, so that the size of weights cancels out."""
        if layer.inputs is None:  # Such a layer may stand anywhere.
            return any(family(x) in NORMALIZING for x in self.layers.values())
        return any(
            family(x) in NORMALIZING for x in self.next(layer, LINEAR - NORMALIZING)
        )


def kernel(layer: LayerFacts) -> WeightFacts | None:
    """Returns the kernel of a layer that weighs its inputs, if it has one."""
    if family(layer) not in WEIGHING:
        return None
    return next((w for w in layer.weights if w.role == "kernel"), None)


def is_dropout(layer: LayerFacts) -> bool:
    """Whether it is a dropout layer; noise layers are not."""
    return "Dropout" in layer.kind
