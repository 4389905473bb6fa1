"""What the observed step needs of PyTorch; the only module that others import.

Keras's step is run by Python there, operation by operation: what passes by is described
at once, and nothing is traced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from keras.src.backend.torch.trainer import TorchTrainer

from keras_babysit.backend.packing import Describing, fit_on_host

Tensor = Any

#: Whether a step is a function of the values of all variables.
STATELESS = False


def why_closed(model: Any, plain: Callable, kind: str = "train") -> str:
    """Returns why one cannot look into a train or test function; `""` if one can.

    Args:
        model: a compiled Keras model.
        plain: its function.
        kind: `"train"` or `"test"`.
    """
    name = f"make_{kind}_function"
    if getattr(type(model), name) is not getattr(TorchTrainer, name):
        return f"{type(model).__name__} overrides {name}()"
    if model.jit_compile:
        return "torch.compile has compiled the step; use compile(jit_compile=False)"
    if str(getattr(plain, "__module__", "")).split(".")[0] != "keras":
        return f"the model's {kind}_function is not the one that Keras made"
    return ""


def is_eager(model: Any) -> bool:
    """Whether the model's step is run by Python, and nothing is traced."""
    return True


def traces_of(plain: Callable) -> list[Any]:
    """What Keras compiled before: nothing."""
    return []


def is_of_fit(batches: Any) -> bool:
    """Whether something is what `fit` hands to the train function."""
    # `train_on_batch` has a tuple.
    return isinstance(batches, list)


def is_validating(model: Any, batches: Any = None) -> bool:
    """Whether `fit` validates a model, as far as Keras knows."""
    return getattr(model, "_eval_epoch_iterator", None) is not None


class Iterators:
    """Hands on batches that were taken.

    Args:
        model: the model that is being trained.
    """

    def __init__(self, model: Any):
        pass

    def over(self, batches: Sequence[Any], like: Any) -> Any:
        """Returns batches as the train function takes them."""
        return list(batches)


def reading(model: Any, state: tuple) -> contextlib.AbstractContextManager[None]:
    """Has variables read as they are in a training; they are that anyway."""
    return contextlib.nullcontext()


# While a step runs.


def primal(tensor: Tensor) -> Tensor:
    """A tensor itself, of one that is differentiated."""
    return tensor.detach() if isinstance(tensor, torch.Tensor) else tensor


def is_in(tensor: Any, trace: Any) -> bool:
    """Whether it is a tensor with values."""
    return isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided


#: Whether a tensor exists.
is_value = is_in


def is_number(tensor: Tensor) -> bool:
    """Whether the elements of a tensor are real numbers, or true and false."""
    return not tensor.dtype.is_complex


def replica() -> int:
    """The number of the replica: there is one."""
    return 0


def dense(gradient: Tensor) -> Tensor:
    """Returns a gradient as a tensor; repeated rows of a sparse one are summed."""
    return gradient.to_dense() if gradient.layout != torch.strided else gradient


def unrecorded() -> contextlib.AbstractContextManager[None]:
    """What is computed inside is no part of a gradient."""
    return torch.no_grad()


# Values.


def value_of(variable: Any) -> Tensor:
    """Reads a Keras variable as a tensor that later updates leave alone."""
    value = getattr(variable, "value", variable)
    if not isinstance(value, torch.Tensor):
        return torch.as_tensor(value)
    return value.detach().clone()


def numpy_of(tensor: Tensor) -> np.ndarray:
    """Fetches a tensor; waits until the device has computed it."""
    if not isinstance(tensor, torch.Tensor):
        return np.asarray(tensor)
    x = tensor.detach().cpu()
    # NumPy has no bfloat16.
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def numpy_of_batch(tensor: Tensor) -> np.ndarray | None:
    """Fetches a tensor of a batch; `None` for what is no plain array."""
    if isinstance(tensor, np.ndarray) or is_in(tensor, None):
        return numpy_of(tensor)
    return None


def _wide(x: Tensor) -> Tensor:
    return x.detach().float()


class Tensors:
    """Describes tensors that exist, such as the weights.

    Args:
        shapes: of each.
        describers: of each.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], describers: Sequence[Any]):
        # For those on a processor; what is on another device is described there.
        self._on_host = fit_on_host(shapes)
        self._by_numpy = Describing(shapes, describers)
        self._by_torch = Describing(shapes, describers, torch.stack, _wide)
        self.layout = self._by_numpy.layout

    def __call__(self, *tensors: Sequence[Tensor]) -> list[Any]:
        """Returns the outputs, to be read with `layout`.

        Args:
            *tensors: two sequences of them for a describer of pairs.
        """
        if self._on_host and all(x.device.type == "cpu" for x in tensors[0]):
            return self._by_numpy(*([numpy_of(x) for x in some] for some in tensors))
        with torch.no_grad():
            return self._by_torch(*tensors)


def describe_value(tensor: Tensor, describer: Any) -> list[Any]:
    """Describes one tensor that exists: its row, and its units if it has some."""
    table, units = Tensors([tuple(tensor.shape)], [describer])([tensor])
    return [table[0], units] if len(units) else [table[0]]


def describe_values(
    values: Sequence[Tensor], describer: Any, known: Tensors | None = None
) -> tuple[np.ndarray, Tensors]:
    """Describes tensors that exist, all in one call.

    Args:
        values: the tensors.
        describer: a `probes.Describer`.
        known: what an earlier call for tensors of these shapes returned second.

    Returns:
        A row for each, and what makes the next call fast.
    """
    tensors: list[Any] = [getattr(value, "value", value) for value in values]
    if known is None:
        shapes = [tuple(x.shape) for x in tensors]
        known = Tensors(shapes, [describer] * len(shapes))
    rows = known.layout.read([numpy_of(x) for x in known(tensors)], {})
    return np.stack([rows[i][0] for i in range(len(tensors))]), known


class Variables:
    """Copies variables, and describes what has become of them since.

    Args:
        variables: Keras variables.
        describer: of a variable's value before and after.
    """

    def __init__(self, variables: Sequence[Any], describer: Any):
        self._variables = variables
        shapes = [tuple(v.shape) for v in variables]
        self._tensors = Tensors(shapes, [describer] * len(shapes))

    def copies(self) -> list[Tensor]:
        """Returns the values, which later updates leave alone."""
        return [value_of(v) for v in self._variables]

    def updates(self, before: Sequence[Tensor]) -> list[Any]:
        """Returns the descriptions, to be read with `read`."""
        after = [v.value.detach() for v in self._variables]
        return self._tensors(before, after)

    def read(
        self, outputs: Sequence[Any]
    ) -> dict[int, tuple[np.ndarray, np.ndarray | None]]:
        """Returns each variable's row, of what `updates` has returned."""
        return self._tensors.layout.read([numpy_of(x) for x in outputs], {})
