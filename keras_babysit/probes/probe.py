"""What a probe is: what it describes, with which function, and how it reads that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Tensor = Any


@dataclass(frozen=True)
class Describer:
    """Turns tensors into a few numbers each, inside a compiled function.

    Attributes:
        function: of float32 tensors of a common shape, packed along axis 0; returns
            a float32 table with a row for each and, if there are units, a second one
            with a value for each unit. One function of a module: it is compiled once
            in a process.
        layout: the shape that it takes: `"rows"` is `(k, n)`, `"units"` is
            `(k, samples, units)`, `"channels"` is `(k, samples, units, positions)`,
            `"samples"` is `(k, samples, second axis, others, last axis)`, of any dtype
            that numbers have, as float32.
    """

    function: Callable[..., Sequence[Tensor]]
    layout: str = "rows"


@dataclass(frozen=True)
class View:
    """What is known of a tensor before there are any values.

    Attributes:
        path: its name, made unique.
        shape: its shape, `None` for what is not known.
        layer: the layer that put it out, or `None`.
        call: what is known of the loss that gets it, or `None`.
    """

    path: str
    shape: tuple[int | None, ...]
    layer: Any = None
    call: Any = None


@dataclass(frozen=True)
class Described:
    """What was measured of a tensor in one step.

    Attributes:
        view: of which.
        table: its row on each replica, float array of shape `(replicas, numbers)`.
        units: likewise a value for each unit, if the probe has some.
        scale: the loss scale, for gradients.
    """

    view: View
    table: np.ndarray
    units: np.ndarray | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Reading:
    """What a probe reads out of its arrays: fields of the records, by path."""

    variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    step: dict[str, Any] = field(default_factory=dict)


def _no_units(view: View) -> int:
    return 0


@dataclass(frozen=True)
class Probe:
    """Measures one quantity.

    Attributes:
        name: as users write it in `probes=`.
        of: what it describes in a step: `"gradients"` (as they reach the optimizer,
            still scaled), `"layers"` (their outputs), `"losses"` (what losses get and
            give back) or `"updates"` (pairs of a variable before and after); `""` for
            nothing. Updates are nearly free,
            the others take a forward or backward pass.
        describer: given a `View`, returns the `Describer`.
        units: given a `View`, returns for how many units there are values.
        read: called on the host with what was measured; returns fields of
            `StepRecord` and its parts.
        epoch: called on the host before the first step and after each epoch, with
            the `EpochView`; returns fields of `EpochRecord`.
    """

    name: str
    of: str = ""
    describer: Callable[[View], Describer] | None = None
    units: Callable[[View], int] = _no_units
    read: Callable[[Sequence[Described]], Reading] | None = None
    epoch: Callable[[EpochView], dict[str, Any]] | None = None


@dataclass(frozen=True)
class EpochView:
    """What probes see between epochs.

    Attributes:
        model: the Keras model.
        paths: trainable variables' unique paths, in the model's order.
        describe: describes tensors that exist, all in one call: a row for each.
        image_shape: shape `(height, width[, channels])` of the inputs as given by
            the user, or `None`.
    """

    model: Any
    paths: tuple[str, ...]
    describe: Callable[[Sequence[Tensor], Describer], np.ndarray]
    image_shape: tuple[int, ...] | None = None


def unique(names: list[str], mark: str = "@") -> list[str]:
    """Returns `names` with `mark` and a running number behind repeated ones."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}{mark}{seen[name]}")
    return out
