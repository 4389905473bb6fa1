"""The measuring function: what a training step computes, without what it does.

It is made of the step's own trace. Its definition is a part of the step's: what layer
outputs, gradients and the loss depend on, and nothing that assigns to a variable. Small
tensors are handed out; large ones are described inside, so that they need not all live
at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_babysit.backend.packing import Layout, Target
from keras_babysit.backend.tensorflow import pruning
from keras_babysit.backend.tensorflow.describing import (
    Item,
    Tensors,
    describe,
    fit_on_host,
)
from keras_babysit.backend.tensorflow.runtime import Definition, Function

Tensor = Any

#: An operation waits until what was computed so many outputs before is described.
_AHEAD = 2


class NotDerivableError(Exception):
    """A step's trace cannot be taken apart."""


def _parts_of(target: Target) -> list[Tensor]:
    """All dense tensors that a target is made of."""
    return [part for t in target.tensors for part in _dense_parts(t)]


def _dense_parts(tensor: Tensor) -> list[Tensor]:
    if not isinstance(tensor, tf.IndexedSlices):
        return [tensor]
    shape = tensor.dense_shape
    return [tensor.values, tensor.indices, *([] if shape is None else [shape])]


def is_of(graph: Any, tensor: Tensor) -> bool:
    """Whether a tensor, or the parts of a sparse one, are a graph's."""
    return all(getattr(part, "graph", None) is graph for part in _dense_parts(tensor))


def effects(targets: Sequence[Target]) -> list[pruning.Effects]:
    """Returns what comes with computing each target."""
    found = iter(pruning.effects([p for t in targets for p in _parts_of(t)]))
    totals = []
    for target in targets:
        total = pruning.NONE
        for _ in _parts_of(target):
            total |= next(found)
        totals.append(total)
    return totals


class Measuring:
    """Computes and describes targets for a batch; changes nothing.

    Args:
        concrete: the traced function of one step.
        targets: tensors of its graph that come without side effects.
        xla: whether to compile it with XLA, so that random numbers are those of a
            step that is. Then it hands out the targets and describes them later.
    """

    def __init__(self, concrete: Any, targets: Sequence[Target], xla: bool = False):
        self._targets = targets
        part = _Part(concrete, targets)
        self._part = part
        self._describes: Tensors | None = None
        self._layout: Layout
        self._values: dict[int, int] = {}
        self._xla = xla
        self._numbers = [i for i, t in enumerate(targets) if t.describer is not None]
        self._items = [part.item(targets[i]) for i in self._numbers]
        self._function: Function | None = None

    def _finish(self, batch_size: int | None) -> Function:
        """Makes the function, as it is best for batches of a size."""
        shapes = [_for_batches(item.shape, batch_size) for item in self._items]
        on_host = fit_on_host(shapes)
        if self._xla or on_host:
            self._hand_out(on_host)
        else:
            self._layout = describe(self._part.into, self._items)
            self._part.gate(self._items, self._layout)
        self._hand_out_values()
        return self._part.into.finish()

    def _hand_out(self, on_host: bool) -> None:
        into = self._part.into
        for item in self._items:
            into.add_output(item.references[0], item.dtype)
        kinds = [(item.dtype, item.shape) for item in self._items]
        describers = [item.describer for item in self._items]
        self._describes = Tensors(kinds, describers, on_host)
        self._layout = self._describes.layout
        if self._xla:
            into.proto.attr["_XlaMustCompile"].b = True

    def _hand_out_values(self) -> None:
        for i, target in enumerate(self._targets):
            if target.describer is None:
                (tensor,) = target.tensors
                reference = self._part.reference(tensor)
                self._values[i] = self._part.into.add_output(reference, tensor.dtype)

    def __call__(self, leaves: Sequence[Tensor]) -> list[Tensor]:
        """Measures a batch, given by the tensors that it consists of."""
        if self._function is None:
            self._function = self._finish(_batch_size(leaves))
        outputs = list(self._function(self._part.inputs(leaves)))
        if self._describes is None:
            return outputs
        n = len(self._numbers)
        described_ones = self._describes(outputs[:n]) if n else []
        # Values come behind what was described.
        self._shift = len(described_ones) - n
        return [*described_ones, *outputs[n:]]

    def read(
        self, outputs: Sequence[Tensor]
    ) -> dict[int, tuple[np.ndarray, np.ndarray | None]]:
        """Returns, by the targets' numbers, what `__call__` has measured."""
        arrays = [np.asarray(x) for x in outputs]
        units = {k: self._targets[i].units for k, i in enumerate(self._numbers)}
        rows = self._layout.read(arrays, units)
        shift = self._shift if self._describes is not None else 0
        return {
            **{self._numbers[k]: row for k, row in rows.items()},
            **{i: (arrays[at + shift], None) for i, at in self._values.items()},
        }


def _batch_size(leaves: Sequence[Tensor]) -> int | None:
    sizes = [leaf.shape[0] for leaf in leaves if getattr(leaf, "shape", None)]
    return sizes[0] if sizes else None


def _for_batches(
    shape: tuple[int | None, ...] | None, size: int | None
) -> tuple[int | None, ...] | None:
    """A shape with the size of batches where only its first axis is unknown."""
    return (size, *shape[1:]) if shape and shape[0] is None else shape


class _Part:
    """A function's definition, reduced to what some targets depend on."""

    def __init__(self, concrete: Any, targets: Sequence[Target]):
        self.into = Definition("measuring")
        self._graph = concrete.graph
        self._concrete = concrete
        self.into.keep(concrete)  # It keeps the functions alive that it calls.
        self._closure = pruning.closure([p for t in targets for p in _parts_of(t)])
        self._order = pruning.graph_order(self._graph)
        definition = concrete._inference_function.definition
        arguments = definition.signature.input_arg
        self._used = [
            i
            for i, placeholder in enumerate(self._graph.inputs)
            if placeholder.op.name in self._closure.kept
        ]
        self._argument = {
            placeholder.op.name: argument.name
            for placeholder, argument in zip(self._graph.inputs, arguments, strict=True)
        }
        for j, i in enumerate(self._used):
            self.into.proto.signature.input_arg.add().CopyFrom(arguments[i])
            if i in definition.arg_attr:
                self.into.proto.arg_attr[j].CopyFrom(definition.arg_attr[i])
        self._renamed: dict[str, str] = {}
        self._copy_nodes(definition)
        self._find_captures()

    # The inputs.

    def _find_captures(self) -> None:
        graph = self._graph
        inside = tf.nest.flatten(
            [*graph.internal_captures, *graph.deferred_internal_captures],
            expand_composites=True,
        )
        self._leaves = len(graph.inputs) - len(inside)
        given = self._concrete._captured_inputs
        self._fixed = None
        if not any(callable(x) for x in given):
            self._fixed = self._captured()

    def _captured(self) -> list[Tensor]:
        known = self._concrete.captured_inputs
        found = [known[i - self._leaves] for i in self._used if i >= self._leaves]
        if any(tf.is_symbolic_tensor(x) for x in found):
            raise NotDerivableError("it captures a tensor of another graph")
        return found

    def inputs(self, leaves: Sequence[Tensor]) -> list[Tensor]:
        """The arguments for a batch."""
        if len(leaves) != self._leaves:
            raise NotDerivableError("the batch has other parts than the traced step")
        captured = self._captured() if self._fixed is None else self._fixed
        return [*(leaves[i] for i in self._used if i < self._leaves), *captured]

    # The nodes.

    def _copy_nodes(self, definition: Any) -> None:
        kept, written = self._closure.kept, self._closure.written
        nodes = {n.name: n for n in definition.node_def if n.name in kept}
        missing = set(kept) - set(nodes) - set(self._argument)
        if missing or any(n.op != kept[name].type for name, n in nodes.items()):
            raise NotDerivableError("its definition has other names than its trace")
        for name in written:
            # It becomes the value that was assigned, under another output's name.
            self._renamed[f"{name}:value:0"] = f"{name}:output:0"
        for name, node in nodes.items():
            if name in written:
                self._add_value(kept[name], node)
                continue
            copy = self.into.proto.node_def.add()
            copy.CopyFrom(node)
            inputs = [self._renamed.get(i, i) for i in node.input]
            del copy.input[:]
            copy.input.extend(i for i in inputs if not self._is_cut(i))

    def _is_cut(self, reference: str) -> bool:
        """Whether it only asks to wait for something that is not computed."""
        name = reference.removeprefix("^")
        waits = reference.startswith("^")
        return waits and (name not in self._closure.kept or name in self._argument)

    def _add_value(self, read: Any, node: Any) -> None:
        dtype = read.outputs[0].dtype
        value = self._value_after(self._closure.written[read.name], dtype)
        copy = self.into.proto.node_def.add()
        copy.name, copy.op, copy.device = read.name, "Identity", node.device
        copy.input.append(value)
        copy.attr["T"].type = dtype.as_datatype_enum

    def _value_after(self, assignment: Any, dtype: tf.DType) -> str:
        """What is in a variable after an assignment of the step."""
        given = self.reference(assignment.inputs[1])
        operation = pruning.ASSIGNMENTS[assignment.type]
        if not operation:
            return given
        earlier = pruning.writer_of(assignment)
        if earlier is not None:
            before = self._value_after(earlier, dtype)
        else:
            handle = self.reference(assignment.inputs[0])
            node = self.into.add_node("ReadVariableOp", [handle], dtype=dtype)
            before = f"{node}:value:0"
        return self.into.add_node(operation, [before, given], T=dtype) + ":z:0"

    def reference(self, tensor: Tensor) -> str:
        """What a tensor of the graph is called in the definition."""
        op = tensor.op
        if op.name in self._argument:
            return self._argument[op.name]
        at = 0
        for output in op.op_def.output_arg:
            n = 1
            if output.number_attr:
                n = op.get_attr(output.number_attr)
            elif output.type_list_attr:
                n = len(op.get_attr(output.type_list_attr))
            if tensor.value_index < at + n:
                name = f"{op.name}:{output.name}:{tensor.value_index - at}"
                return self._renamed.get(name, name)
            at += n
        raise NotDerivableError(f"{op.name} has no such output")

    # What is described.

    def item(self, target: Target) -> Item:
        """A target as something to describe; adds up what it is made of."""
        found = [self._dense(tensor) for tensor in target.tensors]
        reference, dtype, shape = found[0]
        if len(found) > 1:
            references = [reference for reference, _, _ in found]
            node = self.into.add_node("AddN", references, N=len(found), T=dtype)
            reference = f"{node}:sum:0"
        if target.describer.layout == "samples" and dtype != tf.float32:
            # What describes it is traced for float32 alone.
            node = self.into.add_node("Cast", [reference], SrcT=dtype, DstT=tf.float32)
            reference, dtype = f"{node}:y:0", tf.float32
        order = max(self._order[part.op.name] for part in _parts_of(target))
        known = shape if target.shape is None else target.shape
        return Item((reference,), dtype, known, target.describer, order)

    def _dense(self, tensor: Tensor) -> tuple[str, tf.DType, Any]:
        if not isinstance(tensor, tf.IndexedSlices):
            rank = tensor.shape.rank
            shape = None if rank is None else tuple(tensor.shape)
            return self.reference(tensor), tensor.dtype, shape
        if tensor.dense_shape is None:
            raise NotDerivableError("a sparse gradient has no shape")
        shape = tuple(tf.get_static_value(tensor.dense_shape, partial=True))
        if shape[0] is None:
            raise NotDerivableError("a sparse gradient has no fixed shape")
        into = self.into
        rows = into.constant(int(shape[0]), tf.int64)
        node = into.add_node(
            "UnsortedSegmentSum",
            [self.reference(tensor.values), self.reference(tensor.indices), rows],
            T=tensor.values.dtype,
            Tindices=tensor.indices.dtype,
            Tnumsegments=tf.int64,
        )
        return f"{node}:output:0", tensor.values.dtype, shape

    def gate(self, items: Sequence[Item], layout: Layout) -> None:
        """Makes what is computed late wait until what came before is described.

        Otherwise all layers run first, and their outputs live until the end.
        """
        nodes = {node.name: node for node in self.into.proto.node_def}
        last: dict[str, int] = {}
        for i, node in layout.calls.items():
            last[node] = max(last.get(node, 0), items[i].order)
        calls = sorted(last, key=lambda node: last[node])
        by_order = {self._order[name]: name for name in self._closure.kept}
        for early, late in zip(calls, calls[_AHEAD:], strict=False):
            waiting = nodes.get(by_order.get(last[late], ""))
            if waiting is not None and last[early] < last[late]:
                waiting.input.append(f"^{early}")
