"""Keras's compiled training step: where it is, and how it is traced."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
from tensorflow.python.eager import record

Tensor = Any

#: Where the parts of a train function are, that Keras has made.
_PARTS = ("multi_step_on_iterator", "one_step_on_data")


def why_closed(model: Any, plain: Callable, kind: str = "train") -> str:
    """Returns why one cannot look into a train or test function; `""` if one can.

    Args:
        model: a compiled Keras model.
        plain: its function.
        kind: `"train"` or `"test"`.
    """
    for name in (f"make_{kind}_function", "_make_function"):
        if getattr(type(model), name) is not getattr(TensorFlowTrainer, name):
            return f"{type(model).__name__} overrides {name}()"
    made_by = str(getattr(plain, "__module__", ""))
    known = getattr(getattr(plain, "__code__", None), "co_freevars", ())
    if made_by.split(".")[0] != "keras" or not set(_PARTS) <= set(known):
        return f"the model's {kind}_function is not the one that Keras made"
    return ""


def is_validating(model: Any, iterator: Any = None) -> bool:
    """Whether `fit` validates a model, and by this iterator, as far as Keras knows."""
    own = getattr(model, "_eval_epoch_iterator", None)
    if own is None or iterator is None:
        return own is not None
    # Keras does not keep an iterator over data of unknown length.
    known = isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator)
    return known and (
        own._current_iterator is None or own._current_iterator is iterator
    )


def is_eager(model: Any) -> bool:
    """Whether the model's step is run by Python, and nothing is traced."""
    return bool(model.run_eagerly) or tf.config.functions_run_eagerly()


@dataclass(frozen=True)
class Parts:
    """The compiled functions inside a train function.

    Attributes:
        multi: of an iterator; makes all steps of an execution.
        one: of a batch; makes one step.
    """

    multi: Any
    one: Any


def parts_of(plain: Callable) -> Parts:
    """Returns the compiled functions inside a train function that Keras has made."""
    multi, one = (_in_closure(plain, name) for name in _PARTS)
    return Parts(multi, _in_closure(one, "step_func"))


def _in_closure(function: Any, name: str) -> Any:
    at = function.__code__.co_freevars.index(name)
    return function.__closure__[at].cell_contents


class Tracing:
    """Has Keras's function traced, as its first call would; runs nothing.

    Args:
        plain: a train function.

    Attributes:
        run: traces it for an iterator.
    """

    def __init__(self, plain: Callable):
        self._multi = parts_of(plain).multi
        self.run = self._multi.get_concrete_function
        self._before = self._multi.experimental_get_tracing_count()

    @property
    def is_new(self) -> bool:
        """Whether `run` has traced it; if not, that had happened before."""
        return self._multi.experimental_get_tracing_count() > self._before


def new_function(model: Any, kind: str = "train") -> Callable:
    """Returns a train or test function as Keras would make it now."""
    return model._make_function(getattr(model, f"{kind}_step"))


def traces_of(plain: Callable) -> list[Any]:
    """Returns the traces of one step, each a function that has a `graph`."""
    return parts_of(plain).one._list_all_concrete_functions()


def is_xla(concrete: Any) -> bool:
    """Whether a traced function is compiled with XLA."""
    return bool(concrete._inference_function.definition.attr["_XlaMustCompile"].b)


def are_alike(a: Any, b: Any) -> bool:
    """Whether two traces consist of the same operations.

    But for those with which a first trace initializes the variables that it makes.
    """
    kinds = [Counter(op.type for op in x.graph.get_operations()) for x in (a, b)]
    for counts in kinds:
        for name in ("Const", "Identity", "If", "NoOp", "VarIsInitializedOp"):
            counts.pop(name, None)
    return kinds[0] == kinds[1]


def reading(model: Any, state: tuple) -> contextlib.AbstractContextManager[None]:
    """Has variables read as they are in a training; they are that anyway."""
    return contextlib.nullcontext()


def primal(tensor: Tensor) -> Tensor:
    """A tensor itself, of one that is differentiated."""
    return tensor


def replica() -> int:
    """The number of the replica whose step is being traced or run."""
    known = tf.distribute.get_replica_context()
    number = None if known is None else known.replica_id_in_sync_group
    return number if isinstance(number, int) else 0


def is_value(tensor: Tensor, graph: Any) -> bool:
    """Whether a tensor is computed in `graph`, or exists if that is `None`."""
    if not tf.is_tensor(tensor) or isinstance(tensor, tf.IndexedSlices):
        return False
    if graph is None:
        return not tf.is_symbolic_tensor(tensor)
    # An argument that is handed through was not computed here.
    return getattr(tensor, "graph", None) is graph and tensor.op.type != "Placeholder"


def is_in(tensor: Any, graph: Any) -> bool:
    """Whether it is a dense tensor of a graph, its arguments too; `None`: it exists."""
    if not isinstance(tensor, tf.Tensor):
        return False
    symbolic = tf.is_symbolic_tensor(tensor)
    return not symbolic if graph is None else symbolic and tensor.graph is graph


def is_number(tensor: Tensor) -> bool:
    """Whether the elements of a tensor are real numbers, or true and false."""
    dtype = tensor.dtype
    return bool(dtype.is_floating or dtype.is_integer or dtype.is_bool)


def graph_of(tensor: Tensor) -> Any:
    """The graph of a tensor, sparse ones included; `None` for one that exists."""
    values = tensor.values if isinstance(tensor, tf.IndexedSlices) else tensor
    return getattr(values, "graph", None) if tf.is_symbolic_tensor(values) else None


def dense(gradient: Tensor) -> Tensor:
    """Returns a gradient as a tensor; repeated rows of a sparse one are summed."""
    return tf.convert_to_tensor(gradient)


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """What is computed inside is no part of a gradient."""
    with record.stop_recording():
        yield
