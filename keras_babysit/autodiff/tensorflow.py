"""Gradients with TensorFlow. Every function here is part of the backend seam."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

Tensor = Any


def compiled(function: Callable) -> Callable:
    """Compiles a side-effect-free function of (structures of) tensors.

    It is traced anew for other dtypes and other ranks, not for every other size.
    """
    return tf.function(function, autograph=False, reduce_retracing=True)


def value_and_gradients(
    function: Callable[[list[Tensor]], Tensor], at: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Returns a scalar function's value and its gradients.

    Args:
        function: of a list of tensors, returns a scalar.
        at: the tensors, all of a float dtype.

    Returns:
        The value; a gradient for each tensor, zeros where the value doesn't depend
        on it. Sparse gradients (of embeddings) are made dense.
    """
    at = list(at)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(at)
        value = function(at)
    found = tape.gradient(value, at, unconnected_gradients="zero")
    return value, [tf.convert_to_tensor(g) for g in found]


def numpy_of(tensor: Tensor) -> np.ndarray:
    """Returns a tensor's value; of more than one replica or shard the first's."""
    return np.asarray(tensor)


def random_state() -> object:
    """Returns the state from which eager operations draw their seeds."""
    source = context.context()._rng
    return None if source is None else source.getstate()


def set_random_state(state: Any) -> None:
    """Sets what `random_state` returned."""
    source = context.context()._rng
    if state is not None and isinstance(source, random.Random):
        source.setstate(state)
