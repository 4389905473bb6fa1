"""What a probe is, and what it sees of a training step while that is traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_babysit import statistics

Tensor = Any


@dataclass(frozen=True)
class VariableView:
    """A trainable variable around one update; all tensors in its own shape.

    Attributes:
        path: its Keras path, made unique.
        gradient: dense, unscaled, summed over replicas, before clipping; `None` if
            it has none, or no probe needs gradients.
        before: value before the update, if a probe needs updates.
        after: value after the update, if a probe needs updates.
    """

    path: str
    gradient: Tensor | None = None
    before: Tensor | None = None
    after: Tensor | None = None


@dataclass(frozen=True)
class LayerView:
    """One output of one call of a layer."""

    path: str
    layer: Any
    output: Tensor


@dataclass(frozen=True)
class StepView:
    """Everything that one training step shows, as tensors of that step's graph.

    Attributes:
        variables: the variables that it updated.
        layers: the layers' outputs.
        shared: turns a function of a float32 vector into one that is traced once and
            called for every tensor: graphs of many layers stay small.
    """

    variables: list[VariableView] = field(default_factory=list)
    layers: list[LayerView] = field(default_factory=list)
    shared: Callable[[Callable], Callable] = lambda function: function

    def describe(self, x: Tensor) -> Tensor:
        """`statistics.describe`, shared."""
        return self.shared(statistics.describe)(statistics.flat(x))

    def histogram(self, x: Tensor) -> Tensor:
        """`statistics.bounded_histogram`, shared."""
        return histogram(x, self.shared)


def histogram(x: Tensor, shared: Callable[[Callable], Callable]) -> Tensor:
    """`statistics.bounded_histogram`, shared as `StepView.shared` does it."""
    x = statistics.sample(x) if statistics.is_sampled(x) else statistics.flat(x)
    return shared(statistics.histogram)(x)


#: What a probe measures: name to a float32 tensor.
Blocks = dict[str, Tensor]
#: The same on the host; axis 0 is the replica.
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Reading:
    """What a probe reads out of its arrays: fields of the records, by path."""

    variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    step: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """Measures one quantity.

    Attributes:
        name: as users write it in `probes=`.
        measure: called while the observed step is traced, with its `StepView`;
            returns float32 tensors, few and packed: each is an output of the step.
        context: called right after `measure` with the same view; returns what
            `read` has to know, such as the names of the rows.
        read: called on the host with these tensors as arrays (axis 0: replicas)
            and the context; returns fields of `StepRecord` and its parts.
        epoch: called on the host before the first step and after each epoch, with
            the `EpochView`; returns fields of `EpochRecord`.
        needs: what `measure` looks at: some of `"gradients"`, `"updates"` (values
            before and after), or `"layers"` alone.
    """

    name: str
    measure: Callable[[StepView], Blocks] | None = None
    context: Callable[[StepView], Any] | None = None
    read: Callable[[Arrays, Any], Reading] | None = None
    epoch: Callable[[EpochView], dict[str, Any]] | None = None
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class EpochView:
    """What probes see between epochs.

    Attributes:
        model: the Keras model.
        paths: trainable variables' unique paths, in the model's order.
        compiled: compiles a function of tensors for the backend, once per key.
        image_shape: shape `(height, width[, channels])` of the inputs as given by
            the user, or `None`.
        shared: as in `StepView`.
    """

    model: Any
    paths: tuple[str, ...]
    compiled: Callable[[str, Callable], Callable]
    image_shape: tuple[int, ...] | None = None
    shared: Callable[[Callable], Callable] = lambda function: function


def unique(names: list[str], mark: str = "@") -> list[str]:
    """Returns `names` with `mark` and a running number behind repeated ones."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}{mark}{seen[name]}")
    return out
