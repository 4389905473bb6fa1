"""The TensorFlow backend's trainer: the only file that knows it.

Every function here is part of the backend that `step.observe` uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
from tensorflow.python.framework import op_def_registry

Tensor = Any

#: Keras's own training step, which feeds the model the batch as it is.
STANDARD_TRAIN_STEP = TensorFlowTrainer.train_step


def make_function(model: Any, step: Callable) -> Callable:
    """Compiles `step` exactly as Keras compiles the model's own `train_step`.

    Args:
        model: a compiled Keras model.
        step: function of one batch that returns its logs.

    Returns:
        Function of an iterator over batches that returns the logs of the last.
    """
    return model._make_function(step)


def make_forward(model: Any, step: Callable) -> Callable:
    """Like `make_function`, for a step without side effects, and never with XLA.

    XLA would take seconds to compile the many small reductions that describe the
    layers, and on a CPU would run them more slowly than TensorFlow's own kernels.
    """

    @tf.autograph.experimental.do_not_convert
    def forward(iterator: Iterator) -> Any:
        strategy = model.distribute_strategy
        outputs = strategy.run(step, args=(next(iterator),))
        # Stacked, not reduced: a standard deviation is no mean over replicas.
        return {
            name: tf.stack(strategy.experimental_local_results(value))
            for name, value in outputs.items()
        }

    return forward


def can_observe(model: Any, plain: Callable) -> str | None:
    """Returns why the model's steps cannot be observed, or `None` if they can.

    Args:
        model: a compiled Keras model.
        plain: its train function.
    """
    for name in ("make_train_function", "_make_function"):
        if getattr(type(model), name) is not getattr(TensorFlowTrainer, name):
            return f"{type(model).__name__} overrides {name}()"
    made_by = str(getattr(plain, "__module__", ""))
    if made_by.split(".")[0] not in ("keras", "tensorflow"):
        return "the model's train_function is not the one that Keras made"
    return None


def compiled(function: Callable) -> Callable:
    """Compiles a side-effect-free function of tensors; batches may vary in size."""
    return _compiled(function, reduce_retracing=True)


def shared(function: Callable) -> Callable:
    """Compiles a function of a float32 vector once, to be called all over a graph.

    It is not inlined: a graph that describes 60 layers is built in a ninth of the
    time, takes a tenth of the memory, and runs as fast.
    """
    return _compiled(
        function,
        input_signature=[tf.TensorSpec([None], tf.float32)],
        experimental_attributes={"_noinline": True},
    )


def _compiled(function: Callable, **options: Any) -> Callable:
    made = tf.function(function, autograph=False, **options)
    # Of each there is one for each model. Of several models TensorFlow would say that
    # one function is traced again and again.
    made._omit_frequent_tracing_warning = True
    return made


def is_of_fit(iterator: Any) -> bool:
    """Whether an iterator is one that `fit` hands to the train function."""
    return isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator)


def next_batches(iterator: Iterator, n: int) -> list:
    """Takes up to `n` batches from Keras's epoch iterator.

    Raises:
        StopIteration: if there is none left, as Keras's own step function does.
    """
    batches = [data for _, data in zip(range(n), iterator, strict=False)]
    if not batches:
        raise StopIteration
    return batches


class OnBatch:
    """Keras's function of an iterator as one of a single batch.

    It is traced for the iterator's own specification, in which the batch size is
    not fixed, as Keras traces its functions. A trace for the sizes of one batch
    would not do: Keras weighs the losses of several outputs by a batch size that
    it only sees there.

    Args:
        function: what `make_function` returned, or the model's train function.
        iterator: Keras's epoch iterator.
        eager: whether the model runs eagerly, and nothing is to be traced.
    """

    def __init__(self, function: Callable, iterator: Any, eager: bool):
        self._function = function
        self._of_leaves = None if eager else _of_leaves(function, iterator)

    def __call__(self, batch: Any) -> Any:
        """Returns the logs of the batch."""
        if self._of_leaves is None:
            return self._function(iter([batch]))
        compiled, given = self._of_leaves
        leaves = zip(tf.nest.flatten(batch), given, strict=True)
        return compiled([leaf for leaf, known in leaves if known])

    def trace(self) -> Traced | None:
        """Traces the function, if it is to be, and runs nothing."""
        if self._of_leaves is None:
            return None
        graph = self._of_leaves[0].get_concrete_function().graph
        return Traced(graph.as_graph_def())


class Traced:
    """What a traced function does, told by its operations.

    Args:
        definition: the graph with the functions that it calls.
    """

    def __init__(self, definition: Any):
        inner = [f.node_def for f in definition.library.function]
        self._nodes = [n for nodes in (definition.node, *inner) for n in nodes]

    def leaves_traces(self) -> bool:
        """Whether running it may change something: a `tf.Variable`, a file, Python."""
        return any(
            node.op not in _HARMLESS
            and "seed2" not in node.attr  # Its draws are counted where it stands.
            and _is_stateful(node.op)
            for node in self._nodes
        )

    def draws_with_seed(self) -> bool:
        """Whether it has an operation that counts its own draws from a seed."""
        return any(
            (node.attr["seed"].i or node.attr["seed2"].i) and _is_stateful(node.op)
            for node in self._nodes
            if "seed2" in node.attr
        )


#: Stateful operations that only read, or call other functions.
_HARMLESS = frozenset(
    {
        "Assert",
        "Case",
        "DeviceIndex",
        "HashTableV2",
        "If",
        "LookupTableExportV2",
        "LookupTableFindV2",
        "LookupTableSizeV2",
        "ReadVariableOp",
        "ResourceGather",
        "ResourceGatherNd",
        "StatefulPartitionedCall",
        "VarHandleOp",
        "VarIsInitializedOp",
        "VariableShape",
        "While",
    }
)
#: Beginnings of the names of more of them: reductions over replicas, lists in loops.
_HARMLESS_KINDS = ("Collective", "Nccl", "TensorArray")


def _is_stateful(name: str) -> bool:
    known = op_def_registry.get(name)
    if known is None or name.startswith(_HARMLESS_KINDS):
        return False  # Not an operation, but a call of a function by its name.
    return known.is_stateful


def _of_leaves(function: Callable, iterator: Any) -> tuple[Any, list[bool]]:
    """Makes a compiled function of a batch's tensors; says which leaves are some."""
    structure = iterator.element_spec
    specs = tf.nest.flatten(structure)
    given = [not (s is None or _is_none(s)) for s in specs]

    @tf.autograph.experimental.do_not_convert
    def run(leaves: list) -> Any:
        rest = iter(leaves)
        full = [next(rest) if known else None for known in given]
        return function(iter([tf.nest.pack_sequence_as(structure, full)]))

    signature = [spec for spec, known in zip(specs, given, strict=True) if known]
    return _compiled(run, input_signature=[signature]), given


def _is_none(spec: Any) -> bool:
    return type(spec).__name__ == "NoneTensorSpec"


def graph() -> Any:
    """Returns a token for the graph that is being traced; `None` when eager."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def belongs_to(tensor: Tensor, graph: Any) -> bool:
    """Whether `tensor`, of known rank, can be used in `graph` of `graph()`."""
    if not tf.is_tensor(tensor) or isinstance(tensor, tf.IndexedSlices):
        return False
    if tensor.shape.rank is None:
        return False
    if graph is None:
        return hasattr(tensor, "numpy")
    return getattr(tensor, "graph", None) is graph


def is_cast_of(tensor: Tensor, source: Tensor) -> bool:
    """Whether a tensor of a graph is `source`, at most in another dtype."""
    while tensor is not source:
        if not tf.is_tensor(tensor) or tensor.op.type not in ("Cast", "Identity"):
            return False
        tensor = tensor.op.inputs[0]
    return True


def value_of(variable: Any) -> Tensor:
    """Reads a Keras variable as a tensor that later updates leave alone."""
    return tf.identity(tf.convert_to_tensor(getattr(variable, "value", variable)))


def dense(gradient: Any) -> Tensor:
    """Returns a gradient as a tensor; repeated rows of a sparse one are summed."""
    return tf.convert_to_tensor(gradient)


def replicas_of(model: Any) -> int:
    """Returns over how many replicas Keras averages what a step returns."""
    return model.distribute_strategy.num_replicas_in_sync


def replicas() -> int:
    """Returns how many replicas run the step that is being traced."""
    if tf.distribute.in_cross_replica_context():
        return 1
    return tf.distribute.get_replica_context().num_replicas_in_sync


def gather_replicas(tensor: Tensor) -> Tensor:
    """Stacks a tensor of all replicas along a new first axis, in every replica."""
    if replicas() == 1:
        return tensor[None]
    return tf.distribute.get_replica_context().all_gather(tensor[None], axis=0)


def numpy_of(tensor: Tensor) -> np.ndarray:
    """Fetches a tensor that a step returned."""
    return np.asarray(tensor)


def numpy_of_batch(tensor: Tensor) -> np.ndarray | None:
    """Fetches a tensor of a batch; `None` for what is no plain array."""
    if not isinstance(tensor, tf.Tensor) or not hasattr(tensor, "numpy"):
        return None
    return np.asarray(tensor)
