"""Gradients with JAX."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
from keras.src.backend.jax.trainer import JAXEpochIterator

from keras_babysit.backend.jax.describing import numpy_of
from keras_babysit.backend.precision import float64_kept

__all__ = [
    "batches_of",
    "compiled",
    "evaluation_batches",
    "in_float64",
    "is_concrete",
    "numpy_of",
    "random_state",
    "set_random_state",
    "stand_ins",
    "value_and_gradients",
    "value_gradient_and_hessian",
]

Tensor = Any


def compiled(function: Callable, reads: Sequence[Any] = ()) -> Callable:
    """Compiles a side-effect-free function of (structures of) tensors.

    Args:
        function: the function.
        reads: the Keras variables that it reads; the values that they have when it is
            called are arguments of what is compiled.
    """
    if not reads:
        return jax.jit(function)

    @jax.jit
    def run(values: list[Tensor], *args: Any) -> Any:
        with _set(reads, values):
            return function(*args)

    return lambda *args: run([vars(v)["_value"] for v in reads], *args)


@contextlib.contextmanager
def _set(variables: Sequence[Any], values: Sequence[Tensor]) -> Iterator[None]:
    own = [vars(variable)["_value"] for variable in variables]
    try:
        for variable, value in zip(variables, values, strict=True):
            vars(variable)["_value"] = value
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            vars(variable)["_value"] = value


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
        doesn't depend on it.
    """

    def scalar(given: list[Tensor], values: list[Tensor]) -> Tensor:
        with _set(reads, values):
            return jnp.reshape(function(given), ())

    values = [vars(v)["_value"] for v in reads]
    value, found = jax.value_and_grad(scalar, argnums=(0, 1))(list(at), values)
    return value, [*found[0], *found[1]]


def value_gradient_and_hessian(
    function: Callable[[list[Tensor]], Tensor], at: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a scalar function's value, its gradient and its Hessian, row by row.

    Args:
        function: of a list with one tensor, returns a scalar.
        at: a vector of a float dtype, of shape `(n,)`.

    Returns:
        The value, the gradient `(n,)`, the Hessian `(n, n)`.
    """

    def gradient_of(x: Tensor) -> tuple[Tensor, Tensor]:
        value, (gradient,) = value_and_gradients(function, [x])
        return gradient, value

    gradient, back, value = jax.vjp(gradient_of, at, has_aux=True)
    # A loop takes more time than all rows at once, but the memory of one.
    hessian = jax.lax.map(lambda unit: back(unit)[0], jnp.eye(len(at), dtype=at.dtype))
    return value, gradient, hessian


class _Batches:
    def __init__(self, adapter: Any):
        self._adapter = adapter

    def __iter__(self) -> Iterator[tuple]:
        for batch in self._adapter.get_jax_iterator():
            # Inputs alone may come without a tuple.
            whole = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
            yield keras.tree.map_structure(_tensor, whole)


def _tensor(value: Any) -> Any:
    return None if value is None else keras.ops.convert_to_tensor(value)


def batches_of(adapter: Any) -> Iterable[tuple]:
    """Returns the batches of a Keras data adapter, to be iterated again and again.

    Returns:
        Tuples of (structures of) tensors, as `fit` gives them to `train_step`.
    """
    return _Batches(adapter)


def evaluation_batches(model: Any, data: tuple, batch_size: int) -> Any:
    """Returns what `evaluate` iterates over, to be made once for many evaluations.

    Args:
        model: a compiled model.
        data: `(x, y, sample_weight)`.
        batch_size: size of a batch, of arrays.
    """
    x, y, sample_weight = data
    return JAXEpochIterator(
        x=x,
        y=y,
        sample_weight=sample_weight,
        batch_size=batch_size,
        steps_per_execution=model.steps_per_execution,
    )


@contextlib.contextmanager
def stand_ins(variables: Sequence[Any], dtype: str) -> Iterator[None]:
    """Lends Keras variables values in another float dtype, which may be assigned.

    Args:
        variables: Keras variables, each once, whose `dtype` is already the other one.
        dtype: of the values.
    """
    values = [jnp.asarray(vars(v)["_value"], dtype) for v in variables]
    with _set(variables, values):
        yield


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Float64 can be computed with inside; JAX makes it float32 otherwise."""
    with jax.enable_x64(True), float64_kept():
        yield


def is_concrete(tensor: Tensor) -> bool:
    """Whether a tensor has a value yet, so is not part of a function being traced."""
    return not isinstance(tensor, jax.core.Tracer)


def random_state() -> None:
    """Returns nothing: operations draw from keys that they are given."""


def set_random_state(state: None) -> None:
    """Sets what `random_state` returned."""
