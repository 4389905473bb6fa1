"""Describes many tensors in one call: grouped by shape, with shared functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_babysit.backend import packing
from keras_babysit.backend.packing import Describing, Layout, groups
from keras_babysit.backend.tensorflow.runtime import (
    Definition,
    Function,
    described,
    has_accelerator,
)

Tensor = Any


@dataclass(frozen=True)
class Item:
    """Something to describe.

    Attributes:
        references: of its tensors, in a `Definition`: two for a describer of pairs.
        dtype: of the tensors.
        shape: as far as it is known; `None` if not even the rank is.
        describer: a `probes.Describer`.
        order: where in the graph it is computed.
    """

    references: tuple[str, ...]
    dtype: tf.DType
    shape: tuple[int | None, ...] | None
    describer: Any
    order: int = 0


def describe(into: Definition, items: Sequence[Item]) -> Layout:
    """Adds to a definition what describes items; each function's rows are one output.

    Args:
        into: the definition.
        items: what to describe.

    Returns:
        Where the rows are.
    """
    layout = Layout()
    parts: dict[Callable, tuple[list[str], list[str], list[int]]] = {}
    for group in groups(items):
        first = items[group[0]]
        function = described(
            first.describer.function,
            first.describer.layout,
            (first.dtype,) * len(first.references),
        )
        packed = [
            into.add_node(
                "Pack",
                [items[i].references[k] for i in group],
                N=len(group),
                T=first.dtype,
                axis=0,
            )
            + ":output:0"
            for k in range(len(first.references))
        ]
        node, outputs = function.call(into, packed)
        into.keep(function)
        layout.calls.update(dict.fromkeys(group, node))
        tables, vectors, numbers = parts.setdefault(
            first.describer.function, ([], [], [])
        )
        tables.append(outputs[0])
        if len(outputs) > 1:
            flat = into.constant([-1], tf.int32)
            shaped = into.add_node(
                "Reshape", [outputs[1], flat], T=tf.float32, Tshape=tf.int32
            )
            vectors.append(f"{shaped}:output:0")
        numbers += group
    for tables, vectors, numbers in parts.values():
        table = into.add_output(_joined(into, tables), tf.float32)
        vector = (
            into.add_output(_joined(into, vectors), tf.float32) if vectors else None
        )
        layout.tables.append((table, vector, numbers))
    return layout


def _joined(into: Definition, references: list[str]) -> str:
    if len(references) == 1:
        return references[0]
    axis = into.constant(0, tf.int32)
    n = len(references)
    node = into.add_node(
        "ConcatV2", [*references, axis], N=n, T=tf.float32, Tidx=tf.int32
    )
    return f"{node}:output:0"


def fit_on_host(shapes: Sequence[tuple[int | None, ...] | None]) -> bool:
    """Whether NumPy describes tensors of these shapes: they are there, and small."""
    return not has_accelerator() and packing.fit_on_host(shapes)


class Tensors:
    """Describes tensors that exist, such as the weights.

    Args:
        shapes: dtype and shape of each.
        describers: of each.
        on_host: whether NumPy describes them; by default where they are small.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[tf.DType, tuple | None]],
        describers: Sequence[Any],
        on_host: bool | None = None,
    ):
        if on_host is None:
            on_host = fit_on_host([shape for _, shape in shapes])
        self._on_host = None
        if on_host:
            self._on_host = Describing([shape for _, shape in shapes], describers)
            self.layout = self._on_host.layout
            return
        into = Definition("tensors")
        items = [
            Item((into.add_input(dtype),), dtype, shape, describer)
            for (dtype, shape), describer in zip(shapes, describers, strict=True)
        ]
        self.layout = describe(into, items)
        self._function: Function = into.finish()

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Returns the outputs, to be read with `layout`."""
        if self._on_host is None:
            return self._function(tensors)
        return self._on_host([np.asarray(x) for x in tensors])


class Variables:
    """Copies variables, and describes what has become of them since.

    Args:
        variables: Keras variables.
        describer: of a variable's value before and after.
    """

    def __init__(self, variables: Sequence[Any], describer: Any):
        known = [(_resource(v), v) for v in variables]
        self._handles = [r.handle for r, _ in known]
        shapes = [tuple(v.shape) for v in variables]
        reading = Definition("copies")
        for resource, _ in known:
            read = _read(reading, reading.add_input(tf.resource), resource.dtype)
            reading.add_output(read, resource.dtype)
        self._copies = reading.finish()
        self._on_host = None
        if fit_on_host(shapes):
            self._on_host = Describing(shapes, [describer] * len(shapes))
            self.layout = self._on_host.layout
            return
        into = Definition("updates")
        after = [
            _read(into, into.add_input(tf.resource), resource.dtype)
            for resource, _ in known
        ]
        pairs = [
            Item((into.add_input(r.dtype), new), r.dtype, shape, describer)
            for (r, _), new, shape in zip(known, after, shapes, strict=True)
        ]
        self.layout = describe(into, pairs)
        self._updates = into.finish()

    def copies(self) -> list[Tensor]:
        """Returns the values, which later updates leave alone."""
        return self._copies(self._handles)

    def read(self, outputs: Sequence[Tensor]) -> dict[int, tuple[np.ndarray, Any]]:
        """Returns each variable's row, of what `updates` has returned."""
        return self.layout.read([np.asarray(x) for x in outputs], {})

    def updates(self, before: Sequence[Tensor]) -> list[Tensor]:
        """Returns the descriptions, to be read with `read`."""
        if self._on_host is None:
            return self._updates([*self._handles, *before])
        pair = before, self.copies()
        return self._on_host(*([np.asarray(x) for x in some] for some in pair))


def _read(into: Definition, handle: str, dtype: tf.DType) -> str:
    return into.add_node("ReadVariableOp", [handle], dtype=dtype) + ":value:0"


def _resource(variable: Any) -> Any:
    """The TensorFlow variable behind Keras's; of several replicas the first one's."""
    value = getattr(variable, "_value", variable)
    value = value if isinstance(value, tf.Variable) else variable.value
    return getattr(value, "_primary", value)
