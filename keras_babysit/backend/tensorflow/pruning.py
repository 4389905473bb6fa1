"""What of a traced training step can be computed without its side effects."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import op_def_registry

#: Operations that read a variable and change nothing.
READS = frozenset(
    {
        "ReadVariableOp",
        "ResourceGather",
        "ResourceGatherNd",
        "VarIsInitializedOp",
        "VariableShape",
    }
)
#: More stateful operations that change nothing by themselves.
_HARMLESS = READS | {
    "Assert",
    "Case",
    "DeviceIndex",
    "HashTableV2",
    "If",
    "LookupTableExportV2",
    "LookupTableFindV2",
    "LookupTableSizeV2",
    "Placeholder",
    "StatefulPartitionedCall",
    "VarHandleOp",
    "While",
}
#: Beginnings of the names of more of them: reductions over replicas, lists in loops.
_HARMLESS_KINDS = ("Collective", "Nccl", "TensorArray")
#: Operations that run other functions.
_CALLS = frozenset(
    {
        "Case",
        "If",
        "PartitionedCall",
        "StatefulPartitionedCall",
        "StatelessCase",
        "StatelessIf",
        "StatelessWhile",
        "While",
    }
)
_PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
#: What an assignment does to what was there before.
ASSIGNMENTS = {
    "AssignVariableOp": "",
    "AssignAddVariableOp": "AddV2",
    "AssignSubVariableOp": "Sub",
}


@dataclass(frozen=True)
class Effects:
    """What comes with computing something.

    Attributes:
        reason: why it cannot be computed without a side effect; `""` if it can.
        draws: whether it draws numbers with `tf.random`, which are others each time.
        random: whether random numbers are in it at all, those of Keras too.
    """

    reason: str = ""
    draws: bool = False
    random: bool = False

    def __or__(self, other: Effects) -> Effects:
        return Effects(
            self.reason or other.reason,
            self.draws or other.draws,
            self.random or other.random,
        )


NONE = Effects()


def writer_of(op: Any) -> Any | None:
    """The assignment whose value `op` finds in its variable, if the step made one."""
    for control in op.control_inputs:
        if control.type in ASSIGNMENTS and control.inputs[0] is op.inputs[0]:
            return control
    return None


@dataclass
class Closure:
    """The operations that tensors depend on by their values.

    Attributes:
        kept: name to operation.
        written: name of a read to the assignment whose value it finds.
    """

    kept: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Any] = field(default_factory=dict)

    def sources(self, op: Any) -> Iterator[Any]:
        """The operations whose results an operation takes."""
        writer = self.written.get(op.name)
        yield from (tensor.op for tensor in op.inputs)
        while writer is not None:
            yield from (tensor.op for tensor in writer.inputs)
            before = writer.type != "AssignVariableOp"
            writer = writer_of(writer) if before else None


def closure(tensors: Iterable[Any]) -> Closure:
    """Returns what some tensors of a graph depend on."""
    found = Closure()
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        op = waiting.pop()
        if op.name in found.kept:
            continue
        found.kept[op.name] = op
        if op.type == "ReadVariableOp":
            writer = writer_of(op)
            if writer is not None:
                found.written[op.name] = writer
        waiting.extend(found.sources(op))
    return found


def effects(tensors: list[Any]) -> list[Effects]:
    """Returns, for each tensor of one graph, what comes with computing it."""
    if not tensors:
        return []
    found = closure(tensors)
    order = graph_order(tensors[0].graph)
    known: dict[str, Effects] = {}
    seen: dict[str, Effects] = {}
    for op in sorted(found.kept.values(), key=lambda op: order[op.name]):
        total = _own(op, found, seen)
        for source in found.sources(op):
            total = total if source.name not in known else total | known[source.name]
        known[op.name] = total
    return [known[tensor.op.name] for tensor in tensors]


def graph_order(graph: Any) -> dict[str, int]:
    """Name of each operation to its place: none depends on a later one."""
    return {op.name: i for i, op in enumerate(graph.get_operations())}


def _own(op: Any, found: Closure, seen: dict[str, Effects]) -> Effects:
    """What comes with one operation."""
    own = _of_type(op.type)
    if op.type in _CALLS:
        for name in _functions(op.node_def):
            own |= _of_function(name, seen)
    if own.reason or not is_stateful(op.type):
        return own
    mine = {id(tensor) for tensor in op.inputs if tensor.dtype == tf.resource}
    for control in op.control_inputs:
        if control.type in READS or op.name in found.written:
            continue
        # TensorFlow makes a read wait for the write before it, if it is of the same
        # variable.
        if control.name not in found.kept and mine & {id(x) for x in control.inputs}:
            return Effects("it reads what the step itself has written before")
    return own


@functools.cache
def _of_type(name: str) -> Effects:
    """What comes with an operation of a kind; function calls apart."""
    random = "Random" in name
    if not is_stateful(name) or name in _HARMLESS or name.startswith(_HARMLESS_KINDS):
        return Effects(random=random)
    if name in _PYTHON:
        return Effects("it calls Python (tf.numpy_function or tf.py_function)")
    if any(a.name == "seed2" for a in op_def_registry.get(name).attr):
        return Effects(draws=True, random=True)
    if name.startswith("Stateful") or name == "RngReadAndSkip":
        return Effects("it draws from a tf.random.Generator")
    if name.startswith(("Assign", "Resource")):
        return Effects("it assigns to a variable on the way")
    return Effects(f"it has a side effect ({name})")


def _of_function(name: str, seen: dict[str, Effects]) -> Effects:
    """What comes with a function and those that it calls."""
    if name in seen:
        return seen[name]
    seen[name] = NONE
    known = context.context()
    if known.has_function(name):
        for node in known.get_function_def(name).node_def:
            seen[name] |= _of_type(node.op)
            for inner in _functions(node):
                seen[name] |= _of_function(inner, seen)
    return seen[name]


def _functions(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (f.name for f in value.list.func)


@functools.cache
def is_stateful(name: str) -> bool:
    """Whether operations of a kind do more than to compute what they put out."""
    known = op_def_registry.get(name)
    return known is not None and known.is_stateful
