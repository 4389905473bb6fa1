"""Functions of TensorFlow's runtime put together node by node, which needs no trace.

Describing four hundred tensors with `tf.function` takes seconds of tracing for each
model. Here a describing function is traced once in a process, and a model's own
function only calls it: its definition has one node for each group of tensors.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, function_pb2
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.eager import context

from keras_babysit import statistics
from keras_babysit.backend.packing import LAYOUTS

Tensor = Any

_numbers = itertools.count()


class Definition:
    """A function that is being put together; references are as in a `FunctionDef`.

    Args:
        label: part of its name, for those who read a profile.
    """

    def __init__(self, label: str):
        self.proto = function_pb2.FunctionDef()
        self.proto.signature.name = f"__babysit_{label}_{next(_numbers)}"
        self.proto.signature.is_stateful = True
        self._keep: list[Any] = []

    def keep(self, thing: Any) -> None:
        """Keeps something alive for as long as the function is."""
        self._keep.append(thing)

    def add_input(self, dtype: tf.DType) -> str:
        """Adds an argument; returns its reference."""
        arg = self.proto.signature.input_arg.add()
        arg.name = f"babysit_in_{len(self.proto.signature.input_arg)}"
        arg.type = dtype.as_datatype_enum
        return arg.name

    def add_node(self, op: str, inputs: Sequence[str], **attrs: Any) -> str:
        """Adds a node with a name of its own; returns the name."""
        node = self.proto.node_def.add()
        node.name = f"babysit_{len(self.proto.node_def)}"
        node.op = op
        node.input.extend(inputs)
        for name, value in attrs.items():
            node.attr[name].CopyFrom(_attribute(value))
        return node.name

    def constant(self, value: Any, dtype: tf.DType) -> str:
        """Adds a constant; returns its reference."""
        tensor = tf.make_tensor_proto(value, dtype)
        proto = attr_value_pb2.AttrValue(tensor=tensor)
        return self.add_node("Const", [], dtype=dtype, value=proto) + ":output:0"

    def add_output(self, reference: str, dtype: tf.DType) -> int:
        """Adds a result; returns its index."""
        index = len(self.proto.signature.output_arg)
        arg = self.proto.signature.output_arg.add()
        arg.name, arg.type = f"out_{index}", dtype.as_datatype_enum
        self.proto.ret[arg.name] = reference
        return index

    def finish(self) -> Function:
        """Registers the function."""
        return Function(self.proto, self._keep)


def _attribute(value: Any) -> Any:
    made = attr_value_pb2.AttrValue()
    if isinstance(value, attr_value_pb2.AttrValue):
        return value
    if isinstance(value, tf.DType):
        made.type = value.as_datatype_enum
    elif isinstance(value, int):
        made.i = value
    elif isinstance(value, bytes):
        made.s = value
    elif isinstance(value, str):
        made.func.name = value
    else:
        made.list.type.extend(dtype.as_datatype_enum for dtype in value)
    return made


class Function:
    """A registered function, removed when nothing refers to it any more.

    Args:
        proto: its `FunctionDef`.
        keep: what has to live as long, such as the functions that it calls.
    """

    def __init__(self, proto: Any, keep: Sequence[Any]):
        name = proto.signature.name
        context.context().add_function_def(proto)
        self.nodes = len(proto.node_def)
        self._name, self._keep = name.encode(), keep
        self._outputs = len(proto.signature.output_arg)
        weakref.finalize(self, _remove, name).atexit = False

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Runs it; no optimization of its graph, which takes longer than it saves."""
        with _unoptimized() as known:
            return known.call_function(self._name, list(inputs), self._outputs)


def _remove(name: str) -> None:
    known = context.context()
    if known.has_function(name):
        known.remove_function(name)


@contextlib.contextmanager
def _unoptimized() -> Iterator[Any]:
    known = context.context()
    usual = known.function_call_options
    known.function_call_options = _options()
    try:
        yield known
    finally:
        known.function_call_options = usual


@functools.cache
def _options() -> Any:
    config = config_pb2.ConfigProto()
    config.CopyFrom(context.context().config)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return context.FunctionCallOptions(config_proto=config)


class Described:
    """A describing function as TensorFlow has it: traced once for each dtype."""

    def __init__(self, function: Callable, layout: str, dtypes: tuple[tf.DType, ...]):
        def run(*tensors: Tensor) -> list[Tensor]:
            wide = (tf.cast(x, tf.float32) for x in tensors)
            return list(function(*(_laid_out(x, layout) for x in wide)))

        specs = [tf.TensorSpec(None, dtype) for dtype in dtypes]
        self._concrete = _traced(run, specs)
        definition = function_pb2.FunctionDef()
        definition.CopyFrom(self._concrete._inference_function.definition)
        self.name = f"__babysit_describe_{next(_numbers)}"
        definition.signature.name = self.name
        definition.attr["_noinline"].b = True
        _call_directly(definition)
        context.context().add_function_def(definition)
        self.outputs = [arg.name for arg in definition.signature.output_arg]
        self.dtypes = dtypes

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        """Describes tensors that exist."""
        return self._concrete(*tensors)

    def call(self, into: Definition, inputs: Sequence[str]) -> tuple[str, list[str]]:
        """Adds a call to a definition; returns the node and what it puts out."""
        if not has_accelerator():
            # A node whose operation is the function: set up without an optimization
            # pass of its own. Only the placer of a CPU takes it for granted.
            node = into.add_node(self.name, inputs)
            return node, [f"{node}:{name}:0" for name in self.outputs]
        node = into.add_node(
            "PartitionedCall",
            inputs,
            f=self.name,
            Tin=self.dtypes,
            Tout=[tf.float32] * len(self.outputs),
            config=b"",
            config_proto=b"",
            executor_type=b"",
        )
        return node, [f"{node}:output:{i}" for i in range(len(self.outputs))]


def _call_directly(definition: Any) -> None:
    """Makes calls of shared parts nodes whose operation is the part itself."""
    if has_accelerator():
        return
    renamed = {}
    for node in definition.node_def:
        if node.op != "PartitionedCall":
            continue
        part = node.attr["f"].func.name
        outputs = context.context().get_function_def(part).signature.output_arg
        for i, output in enumerate(outputs):
            renamed[f"{node.name}:output:{i}"] = f"{node.name}:{output.name}:0"
        node.op = part
        node.attr.clear()
    for node in definition.node_def:
        inputs = [renamed.get(name, name) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
    for name, reference in definition.ret.items():
        definition.ret[name] = renamed.get(reference, reference)


def described(
    function: Callable, layout: str, dtypes: tuple[tf.DType, ...]
) -> Described:
    """Returns a describing function, traced once in a process."""
    known = _described(function, layout, dtypes)
    if not context.context().has_function(known.name):
        # TensorFlow's context is another one, as where tests reset it.
        _described.cache_clear()
        _shared.cache_clear()
        _options.cache_clear()
        known = _described(function, layout, dtypes)
    return known


@functools.cache
def _described(
    function: Callable, layout: str, dtypes: tuple[tf.DType, ...]
) -> Described:
    with tf.init_scope():
        return Described(function, layout, dtypes)


def _traced(function: Callable, specs: Sequence[tf.TensorSpec]) -> Any:
    """Traces a function; the parts that it shares with others only once."""
    made = tf.function(function, input_signature=specs, autograph=False)
    token = statistics.sharing.set(lambda part, x: _shared(part)(x))
    try:
        return made.get_concrete_function()
    finally:
        statistics.sharing.reset(token)


@functools.cache
def _shared(function: Callable) -> Any:
    with tf.init_scope():
        return _traced(function, [tf.TensorSpec([None, None], tf.float32)])


@functools.cache
def has_accelerator() -> bool:
    """Whether there is a device beside the processor."""
    return any(d.device_type != "CPU" for d in tf.config.list_logical_devices())


def _laid_out(x: Tensor, layout: str) -> Tensor:
    """Packed tensors as a describer takes them, of a rank that is known."""
    new = LAYOUTS[layout](tf.shape(x), tf.reduce_prod)
    return tf.ensure_shape(tf.reshape(x, new), [None] * len(new))


def numpy_of(tensor: Tensor) -> np.ndarray:
    """Fetches a tensor; waits until the device has computed it."""
    return np.asarray(tensor)
