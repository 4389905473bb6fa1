"""Gradients with TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TFEpochIterator
from tensorflow.python.eager import context

Tensor = Any


def compiled(function: Callable, reads: Sequence[Any] = ()) -> Callable:
    """Compiles a side-effect-free function of (structures of) tensors.

    It is traced again for another dtype or rank, but not for another size.

    Args:
        function: the function.
        reads: the Keras variables that it reads.
    """
    return tf.function(function, autograph=False, reduce_retracing=True)


def value_and_gradients(
    function: Callable[[list[Tensor]], Tensor],
    at: Sequence[Tensor],
    reads: Sequence[Any] = (),
) -> tuple[Tensor, list[Tensor]]:
    """Returns a scalar function's value and its gradients.

    Args:
        function: of a list of tensors, returns a scalar.
        at: the tensors, all of a float dtype.
        reads: Keras variables that it reads, to have gradients for too.

    Returns:
        The value; a gradient for each tensor and each variable, zeros where the value
        doesn't depend on it. Sparse gradients (of embeddings) are made dense.
    """
    at = list(at)
    everything = [*at, *(vars(v)["_value"] for v in reads)]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(everything)
        value = function(at)
    found = tape.gradient(value, everything, unconnected_gradients="zero")
    return value, [tf.convert_to_tensor(g) for g in found]


def value_gradient_and_hessian(
    function: Callable[[list[Tensor]], Tensor], at: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a scalar function's value, its gradient and its Hessian.

    The Hessian is had row by row: a loop takes more time than all rows at once, but
    the memory of one, and works for every operation that has a second derivative.

    Args:
        function: of a list with one tensor, returns a scalar.
        at: a vector of a float dtype, of shape `(n,)`.

    Returns:
        The value, the gradient `(n,)`, the Hessian `(n, n)`.
    """
    with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
        tape.watch(at)
        value, (gradient,) = value_and_gradients(function, [at])
    hessian = tape.jacobian(
        gradient, at, unconnected_gradients="zero", experimental_use_pfor=False
    )
    return value, gradient, hessian


class _Batches:
    def __init__(self, dataset: Any):
        self._dataset = dataset

    def __iter__(self) -> Iterator[tuple]:
        for batch in self._dataset:
            yield tf.nest.map_structure(_or_none, batch)


def batches_of(adapter: Any) -> Iterable[tuple]:
    """Returns the batches of a Keras data adapter, to be iterated again and again.

    Returns:
        Tuples of (structures of) tensors, as `fit` gives them to `train_step`.
    """
    return _Batches(adapter.get_tf_dataset())


def _or_none(value: Any) -> Any:
    return None if isinstance(value, tf.experimental.Optional) else value


def evaluation_batches(model: Any, data: tuple, batch_size: int) -> Any:
    """Returns what `evaluate` iterates over, to be made once for many evaluations.

    Args:
        model: a compiled model.
        data: `(x, y, sample_weight)`.
        batch_size: size of a batch, of arrays.
    """
    return TFEpochIterator(
        x=data[0],
        y=data[1],
        sample_weight=data[2],
        batch_size=batch_size,
        distribute_strategy=model.distribute_strategy,
        steps_per_execution=model.steps_per_execution,
    )


@contextlib.contextmanager
def stand_ins(variables: Sequence[Any], dtype: str) -> Iterator[None]:
    """Lends Keras variables values in another float dtype, which may be assigned.

    A layer then reads a variable of the backend, as in training, not a tensor: custom
    gradients and rematerialized layers ask which variables were read.

    Args:
        variables: Keras variables, each once, whose `dtype` is already the other one.
        dtype: of the values.
    """
    own = [vars(variable)["_value"] for variable in variables]
    lent = [
        tf.Variable(tf.cast(value, dtype), trainable=value.trainable) for value in own
    ]
    try:
        for variable, value in zip(variables, lent, strict=True):
            vars(variable)["_value"] = value
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            vars(variable)["_value"] = value


def in_float64() -> contextlib.AbstractContextManager[None]:
    """Float64 can be computed with inside: as it can be anyway."""
    return contextlib.nullcontext()


def is_concrete(tensor: Tensor) -> bool:
    """Whether a tensor has a value yet, so is not part of a function being traced."""
    return not tf.is_symbolic_tensor(tensor)


def numpy_of(tensor: Tensor) -> np.ndarray:
    """Returns a tensor's value; of more than one replica or shard the first's."""
    return np.asarray(tensor)


def random_state() -> object:
    """Returns the global seed and the state from which eager operations draw theirs."""
    known = context.context()
    source = getattr(known, "_rng", None)  # There is none before a seed is set.
    return known._seed, None if source is None else source.getstate()


def set_random_state(state: Any) -> None:
    """Sets what `random_state` returned."""
    known = context.context()
    known._seed, draws = state
    if draws is None:
        vars(known).pop("_rng", None)
    else:
        known._rng.setstate(draws)
