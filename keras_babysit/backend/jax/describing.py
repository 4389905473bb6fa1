"""Describes many arrays in one call: by shape, and by NumPy where they are small."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from keras_babysit.backend import packing
from keras_babysit.backend.packing import Describing, Layout, Target

Tensor = Any


def _wide(x: Tensor) -> Tensor:
    return jnp.asarray(x, jnp.float32)


def fit_on_host(shapes: Sequence[packing.Shape]) -> bool:
    """Whether NumPy describes arrays of these shapes: they are there, and small."""
    return jax.default_backend() == "cpu" and packing.fit_on_host(shapes)


def numpy_of(tensor: Tensor) -> np.ndarray:
    """Fetches a tensor; waits until the device has computed it."""
    x = np.asarray(tensor)
    # NumPy computes with none of the small floating dtypes.
    return x.astype(np.float32) if x.dtype.kind == "V" else x


class Measuring:
    """Describes what a step computes, while it is traced.

    Args:
        targets: what to describe.
    """

    def __init__(self, targets: Sequence[Target]):
        self._targets = targets
        self._numbers = [i for i, t in enumerate(targets) if t.describer is not None]
        self._values = [i for i, t in enumerate(targets) if t.describer is None]
        chosen = [targets[i] for i in self._numbers]
        self._tensors = [target.tensors[0] for target in chosen]
        self._units = {k: target.units for k, target in enumerate(chosen)}
        shapes = [tuple(x.shape) for x in self._tensors]
        describers = [target.describer for target in chosen]
        self._on_host = fit_on_host(shapes)
        self._describing = (
            Describing(shapes, describers)
            if self._on_host
            else Describing(shapes, describers, jnp.stack, _wide)
        )

    def results(self) -> tuple[list[Tensor], list[Tensor]]:
        """Returns what the compiled function does; forgets the tensors."""
        tensors, self._tensors = self._tensors, []
        values = [self._targets[i].tensors[0] for i in self._values]
        self._targets = []
        return (tensors if self._on_host else self._describing(tensors)), values

    def read(
        self, results: tuple[list[Tensor], list[Tensor]]
    ) -> dict[int, tuple[np.ndarray, np.ndarray | None]]:
        """Fetches, by the targets' numbers, what `results` has become."""
        outputs, values = ([numpy_of(x) for x in some] for some in results)
        if self._on_host:
            outputs = self._describing(outputs)
        rows = self._describing.layout.read(outputs, self._units)
        return {
            **{self._numbers[k]: row for k, row in rows.items()},
            **{i: (x, None) for i, x in zip(self._values, values, strict=True)},
        }


class Tensors:
    """Describes arrays that exist, such as the weights.

    Args:
        kinds: dtype and shape of each.
        describers: of each.
    """

    def __init__(
        self,
        kinds: Sequence[tuple[Any, tuple[int, ...]]],
        describers: Sequence[Any],
    ):
        shapes = [shape for _, shape in kinds]
        self._on_host = fit_on_host(shapes)
        wide = {} if self._on_host else {"stack": jnp.stack, "wide": _wide}
        describing = Describing(shapes, describers, **wide)
        self.layout: Layout = describing.layout
        self._function = describing if self._on_host else jax.jit(describing)

    def __call__(self, *tensors: Sequence[Tensor]) -> list[Tensor]:
        """Returns the outputs, to be read with `layout`.

        Args:
            *tensors: the arrays; two sequences of them for a describer of pairs.
        """
        if self._on_host:
            return self._function(*([numpy_of(x) for x in some] for some in tensors))
        return self._function(*map(list, tensors))


class Variables:
    """Copies variables, and describes what has become of them since.

    Args:
        variables: Keras variables, read as the state has them.
        describer: of a variable's value before and after.
    """

    def __init__(self, variables: Sequence[Any], describer: Any):
        self._variables = variables
        kinds = [(v.dtype, tuple(v.shape)) for v in variables]
        self._tensors = Tensors(kinds, [describer] * len(kinds))

    def copies(self) -> list[Tensor]:
        """Returns the values; a step gives up the memory of those that it gets."""
        return _copies([v.value for v in self._variables])

    def updates(self, before: Sequence[Tensor]) -> list[list[Tensor]]:
        """Returns the values before and after, to be read with `read`."""
        return [list(before), self.copies()]

    def read(self, outputs: list[list[Tensor]]) -> dict[int, tuple[np.ndarray, Any]]:
        """Returns each variable's row, of what `updates` has returned."""
        found = self._tensors(*outputs)
        return self._tensors.layout.read([np.asarray(x) for x in found], {})


@functools.partial(jax.jit)
def _copies(values: list[Tensor]) -> list[Tensor]:
    return [jnp.copy(x) for x in values]
