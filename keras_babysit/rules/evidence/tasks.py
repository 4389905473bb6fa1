"""What a model is trained for, as far as its loss and targets tell. No rules here."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property

from keras_babysit.facts import (
    ArrayFacts,
    DataFacts,
    LayerFacts,
    LossFacts,
    ModelFacts,
    OutputFacts,
)
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.catalogue import (
    ACCURACIES,
    CROSS_ENTROPIES,
    REGRESSION,
)

#: More distinct whole numbers than this are quantities rather than classes: the 256
#: values of a pixel are.
MAX_CLASSES = 200


@dataclass(frozen=True)
class Task:
    """One output with its loss and, if they are known, its targets.

    Attributes:
        output: the output.
        loss: its loss.
        layer: the layer that makes it, if known.
        target: facts of its targets, if known.
        inputs: facts of the model's inputs.
    """

    output: OutputFacts
    loss: LossFacts
    layer: LayerFacts | None = None
    target: ArrayFacts | None = None
    inputs: tuple[ArrayFacts, ...] = ()

    @property
    def where(self) -> str:
        """The output's layer, or else its name."""
        return self.output.layer or self.output.name

    @property
    def activation(self) -> str | None:
        """The output's activation function."""
        return self.output.activation

    @property
    def units(self) -> int | None:
        """Size of the output's last axis."""
        return self.output.units

    @property
    def probabilities(self) -> bool:
        """Whether the loss is a cross-entropy that gets probabilities."""
        standard = self.loss.standard and self.loss.name in CROSS_ENTROPIES
        return standard and self.loss.from_logits is False

    @property
    def regression(self) -> bool:
        """Whether the loss is one for quantities."""
        return self.loss.standard and self.loss.name in REGRESSION

    @property
    def accuracy(self) -> bool:
        """Whether a metric counts hits: then classes are meant."""
        return not ACCURACIES.isdisjoint(self.output.metrics)

    @cached_property
    def single(self) -> bool:
        """Whether the targets have one value where the output has a vector."""
        if self.target is None:
            return False
        shape, out = tuple(self.target.shape), self.output.shape
        if shape in ((), (1,)):
            return True
        if out is None or not out:
            return False
        return _fits(shape, out[:-1]) or _fits(shape, (*out[:-1], 1))

    @cached_property
    def aligned(self) -> bool:
        """Whether the targets have a value for each of the output's units."""
        if self.target is None or (self.single and self.units != 1):
            return False
        shape, out = tuple(self.target.shape), self.output.shape
        one_each = self.single and out is not None and _fits(shape, out[:-1])
        return out is None or _fits(shape, out) or one_each

    @property
    def labelled(self) -> bool:
        """Whether the targets have one value for each vector of the output."""
        shape = tuple(self.target.shape) if self.target is not None else ()
        out = self.output.shape or (self.units,)
        return _fits(shape, out[:-1]) or _fits(shape, (*out[:-1], 1))

    @cached_property
    def kind(self) -> str | None:
        """What the targets are: `None` if that is not known.

        `"one-hot"`, `"multi-hot"`, `"distribution"` per row; `"binary"` (0 and 1),
        `"signs"` (−1 and 1), `"labels"` (0, 1, 2, ...) or `"codes"` (a few other
        whole numbers) one by one; else `"numbers"`.
        """
        target = self.target
        if target is None or target.seen < 1 or not math.isfinite(target.min):
            return None
        if not self.single and target.features > 1:
            for kind in ("one_hot", "multi_hot", "distribution"):
                if getattr(target, kind):
                    return kind.replace("_", "-")
        return _kind_of_values(target)

    @property
    def distinct(self) -> int:
        """Number of distinct values among the targets, 0 if there are too many."""
        return len(self.target.counts) if self.target is not None else 0

    @property
    def classes(self) -> int | None:
        """Number of classes that the targets need units for, if they are classes."""
        if self.target is None or self.kind is None:
            return None
        if self.kind in ("one-hot", "multi-hot"):
            return self.target.features
        if self.kind in ("binary", "labels"):
            return max(2, int(self.target.max) + 1)
        return None

    @property
    def reconstructs(self) -> bool:
        """Whether the targets look like one of the inputs, as an autoencoder's do."""
        target = self.target
        return target is not None and any(
            tuple(x.shape) == tuple(target.shape)
            and target.shape not in ((), (1,))
            and _close(x.mean, target.mean, target.std)
            and _close(x.std, target.std, target.std)
            for x in self.inputs
        )

    def head(self, units: int | None, activation: str | None) -> str:
        """Returns code of the output layer as it should be."""
        kind = self.layer.kind if self.layer is not None else "Dense"
        how = f', activation="{activation}"' if activation else ""
        if kind.startswith("Conv"):
            return f"{kind}({_or_units(units)}, ...{how})"
        return f"Dense({_or_units(units)}{how})"


def tasks(history: RunHistory) -> list[Task]:
    """Returns a `Task` for each output that has a loss."""
    model, data = history.model, history.data
    if model is None:
        return []
    found = []
    for index, output in enumerate(model.outputs):
        if output.loss is None:
            continue
        layer = layer_of(model, output.layer)
        target = _without(target_of(model, data, index), output.loss.ignore_class)
        inputs = data.inputs if data is not None else ()
        found.append(Task(output, output.loss, layer, target, inputs))
    return found


def layer_of(model: ModelFacts | None, path: str | None) -> LayerFacts | None:
    """Returns a model's layer by its path."""
    layers = model.layers if model is not None else ()
    return next((x for x in layers if x.path == path), None)


def target_of(
    model: ModelFacts, data: DataFacts | None, index: int
) -> ArrayFacts | None:
    """Returns the targets of an output: by name, else by place if all are there."""
    targets = data.targets if data is not None else ()
    name = model.outputs[index].name
    for target in targets:
        if name and f"['{name}']" in target.name.replace('"', "'"):
            return target
    if len(targets) != len(model.outputs) or any("['" in t.name for t in targets):
        return targets[0] if len(targets) == len(model.outputs) == 1 else None
    return targets[index]


def _without(target: ArrayFacts | None, ignored: int | None) -> ArrayFacts | None:
    """Returns targets without the label that the loss passes over."""
    if target is None or ignored is None or ignored not in target.counts:
        return target
    counts = {value: n for value, n in target.counts.items() if value != ignored}
    if not counts:
        return None
    low, high = float(min(counts)), float(max(counts))
    return dataclasses.replace(target, counts=counts, min=low, max=high)


def _kind_of_values(target: ArrayFacts) -> str:
    values = set(target.counts)
    if not target.whole or not values:
        return "numbers"
    if values <= {0, 1}:
        return "binary"
    if values <= {-1, 1}:
        return "signs"
    dense = target.min in (0, 1) and target.max <= 2 * len(values) + 1
    if dense and len(values) <= MAX_CLASSES:
        return "labels"
    return "codes" if len(values) <= 20 else "numbers"


def _fits(shape: tuple, wanted: tuple) -> bool:
    return len(shape) == len(wanted) and all(
        b is None or a is None or a == b for a, b in zip(shape, wanted, strict=True)
    )


def _close(a: float, b: float, scale: float) -> bool:
    return abs(a - b) <= 0.1 * abs(scale) + 1e-9


def _or_units(units: int | None) -> str:
    return str(units) if units else "units"
