"""Describes many tensors in one call: grouped by shape, with shared functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from keras_babysit.backend.tensorflow.runtime import Definition, Function, described

Tensor = Any

#: Tensors of at most so many elements are packed with others of their shape, up to
#: so many elements together: packing copies.
_SMALL, _TOGETHER = 1 << 16, 1 << 20


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


@dataclass
class Layout:
    """Where in the outputs of a function the rows of each item are.

    Attributes:
        tables: for each function that describes, the index of its table among the
            outputs, of its vectors of units if it has some, and the items' numbers.
        calls: the node that describes each item.
    """

    tables: list[tuple[int, int | None, list[int]]] = field(default_factory=list)
    calls: dict[int, str] = field(default_factory=dict)

    def read(
        self, outputs: Sequence[np.ndarray], units: Mapping[int, int]
    ) -> dict[int, tuple[np.ndarray, np.ndarray | None]]:
        """Returns each item's row and, if it has units, its vector of them."""
        found: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        for table, vectors, items in self.tables:
            at = 0
            for row, item in enumerate(items):
                vector = None
                if vectors is not None:
                    vector = outputs[vectors][at : at + units[item]]
                    at += units[item]
                found[item] = (outputs[table][row], vector)
        return found


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
    for group in _groups(items):
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


def _groups(items: Sequence[Item]) -> list[list[int]]:
    """Numbers of the items that are described together.

    Only such of a fixed shape are: `(None, 8)` can be 16 rows here and 18 there.
    """
    found: list[list[int]] = []
    open_ones: dict[Any, list[int]] = {}
    for i, item in enumerate(items):
        size = _size(item.shape)
        key = (item.describer, item.dtype, item.shape, len(item.references))
        group = open_ones.get(key)
        if (
            group is None
            or size is None
            or size > _SMALL
            or size * (len(group) + 1) > _TOGETHER
        ):
            group = open_ones[key] = []
            found.append(group)
        group.append(i)
    return found


def _size(shape: tuple[int | None, ...] | None) -> int | None:
    if shape is None or None in shape:
        return None
    return int(np.prod([n or 0 for n in shape], dtype=float))


class Tensors:
    """Describes tensors of known shapes that exist, such as the weights.

    Args:
        shapes: dtype and shape of each.
        describers: of each.
    """

    def __init__(
        self, shapes: Sequence[tuple[tf.DType, tuple | None]], describers: Sequence[Any]
    ):
        into = Definition("tensors")
        items = [
            Item((into.add_input(dtype),), dtype, shape, describer)
            for (dtype, shape), describer in zip(shapes, describers, strict=True)
        ]
        self.layout = describe(into, items)
        self._function: Function = into.finish()

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Returns the outputs, to be read with `layout`."""
        return self._function(tensors)


class Variables:
    """Copies variables, and describes what has become of them since.

    Args:
        variables: Keras variables.
        describer: of a variable's value before and after.
    """

    def __init__(self, variables: Sequence[Any], describer: Any):
        known = [(_resource(v), v) for v in variables]
        self._handles = [r.handle for r, _ in known]
        reading, into = Definition("copies"), Definition("updates")
        items = []
        for resource, variable in known:
            dtype = resource.dtype
            read = _read(reading, reading.add_input(tf.resource), dtype)
            reading.add_output(read, dtype)
            after = _read(into, into.add_input(tf.resource), dtype)
            items.append((after, dtype, tuple(variable.shape)))
        pairs = [
            Item((into.add_input(dtype), after), dtype, shape, describer)
            for after, dtype, shape in items
        ]
        self.layout = describe(into, pairs)
        self._copies, self._updates = reading.finish(), into.finish()

    def copies(self) -> list[Tensor]:
        """Returns the values, which later updates leave alone."""
        return self._copies(self._handles)

    def updates(self, before: Sequence[Tensor]) -> list[Tensor]:
        """Returns the descriptions, to be read with `layout`."""
        return self._updates([*self._handles, *before])


def _read(into: Definition, handle: str, dtype: tf.DType) -> str:
    return into.add_node("ReadVariableOp", [handle], dtype=dtype) + ":value:0"


def _resource(variable: Any) -> Any:
    """The TensorFlow variable behind Keras's; of several replicas the first one's."""
    value = getattr(variable, "_value", variable)
    value = value if isinstance(value, tf.Variable) else variable.value
    return getattr(value, "_primary", value)
