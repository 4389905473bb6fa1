"""Gradients with PyTorch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import torch
from keras.src.backend.torch.trainer import TorchEpochIterator

from keras_babysit.backend.precision import float64_kept
from keras_babysit.backend.torch.step import numpy_of

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
    """Returns a function as it is: PyTorch runs it operation by operation.

    Args:
        function: of (structures of) tensors.
        reads: the Keras variables that it reads.
    """
    return function


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
    given = [_leaf(x) for x in at]
    everything = [*given, *(vars(v)["_value"] for v in reads)]
    with torch.enable_grad():
        value = function(given)
    found = _gradients(value, everything)
    return value.detach(), [
        g.to_dense() if g.layout != torch.strided else g for g in found
    ]


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
    given = at.detach().requires_grad_()
    with torch.enable_grad():
        value = function([given])
        (gradient,) = _gradients(value, [given], create_graph=True)
    rows = [_gradients(g, [given], retain_graph=True)[0] for g in gradient]
    return value.detach(), gradient.detach(), torch.stack(rows)


def _leaf(x: Tensor) -> Tensor:
    return x if x.requires_grad else x.detach().requires_grad_()


def _gradients(value: Tensor, at: Sequence[Tensor], **options: bool) -> list[Tensor]:
    found: Sequence[Tensor | None] = [None] * len(at)
    if value.requires_grad and at:
        found = torch.autograd.grad(value, at, allow_unused=True, **options)
    return [
        torch.zeros_like(x) if g is None else g for x, g in zip(at, found, strict=True)
    ]


class _Batches:
    def __init__(self, adapter: Any):
        self._adapter = adapter

    def __iter__(self) -> Iterator[tuple]:
        for batch in self._adapter.get_torch_dataloader():
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
    return TorchEpochIterator(
        x=x, y=y, sample_weight=sample_weight, batch_size=batch_size
    )


@contextlib.contextmanager
def stand_ins(variables: Sequence[Any], dtype: str) -> Iterator[None]:
    """Lends Keras variables values in another float dtype, which may be assigned.

    Args:
        variables: Keras variables, each once, whose `dtype` is already the other one.
        dtype: of the values.
    """
    own = [vars(variable)["_value"] for variable in variables]
    lent = [
        torch.nn.Parameter(
            value.detach().to(getattr(torch, dtype), copy=True),
            requires_grad=value.requires_grad,
        )
        for value in own
    ]
    try:
        for variable, value in zip(variables, lent, strict=True):
            vars(variable)["_value"] = value
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            vars(variable)["_value"] = value


def in_float64() -> contextlib.AbstractContextManager[None]:
    """Float64 can be computed with inside."""
    return float64_kept()


def is_concrete(tensor: Tensor) -> bool:
    """Whether a tensor has a value yet, so is not part of a function being traced."""
    return True


def random_state() -> tuple[bytes, ...]:
    """Returns the states from which operations on each device draw."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return tuple(state.numpy().tobytes() for state in states)


def set_random_state(state: Sequence[bytes]) -> None:
    """Sets what `random_state` returned."""
    states = [torch.from_numpy(np.frombuffer(s, np.uint8).copy()) for s in state]
    torch.set_rng_state(states[0])
    if states[1:]:
        torch.cuda.set_rng_state_all(states[1:])
