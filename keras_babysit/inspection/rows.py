"""Rows of whatever array a user hands to `fit`, read a few at a time as NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

#: 1 / golden ratio: its multiples, modulo 1, are spread evenly and never periodic.
_GOLDEN = 0.6180339887498949
#: Array-like, but without rows that could be had as a NumPy array.
_NOT_DENSE = ("RaggedTensor", "SparseTensor", "IndexedSlices")


@dataclass(frozen=True)
class Rows:
    """Read access to one array.

    Attributes:
        name: `"x"`, `"x['tokens']"`, `"y"`, ...
        shape: its whole shape, the axis of the rows first.
        take: returns a NumPy array of the rows at some indices, always a copy.
        array: the array itself if it is NumPy's and in memory.
    """

    name: str
    shape: tuple[int, ...]
    take: Callable[[np.ndarray], np.ndarray]
    array: np.ndarray | None = None

    @property
    def values(self) -> int:
        """Number of values in one row."""
        return int(np.prod(self.shape[1:], dtype=np.int64))


def spread(rows: int, limit: int) -> np.ndarray:
    """Returns indices of at most `limit` rows, spread evenly over all of them.

    Each lies somewhere else in its stretch: a fixed stride over data in which the
    classes alternate would only ever see one of them.
    """
    if rows <= limit:
        return np.arange(rows)
    edges = np.arange(limit + 1) * rows // limit
    within = np.arange(limit) * _GOLDEN % 1 * np.diff(edges)
    return edges[:-1] + within.astype(np.int64)


def leaves(name: str, nested: Any) -> Iterator[tuple[str, Any]]:
    """Yields the arrays of a nested structure with the expressions that reach them."""
    if isinstance(nested, dict):
        for key, value in nested.items():
            yield from leaves(f"{name}[{key!r}]", value)
    elif isinstance(nested, list | tuple):
        for i, value in enumerate(nested):
            yield from leaves(f"{name}[{i}]", value)
    elif nested is not None:
        yield name, nested


def even(weights: Any) -> bool:
    """Whether all of some weights are the same."""
    values = np.asarray(weights)
    return values.size == 0 or bool((values == values.flat[0]).all())


def rows_of(name: str, array: Any) -> Rows | None:
    """Returns access to an array; `None` if it is none, or not a dense one."""
    if isinstance(array, np.ndarray):
        if array.ndim == 0:
            return None
        array = array.view(np.ndarray)
        return Rows(name, array.shape, lambda at: array[at], array)
    if not is_array(array) or type(array).__name__ in _NOT_DENSE:
        return None
    if hasattr(array, "tocsr"):  # SciPy's sparse matrices.
        return None
    if any(size is None for size in array.shape):
        return None
    shape = tuple(int(size) for size in array.shape)
    if not shape:
        return None
    if hasattr(array, "iloc"):
        return Rows(name, shape, lambda at: array.iloc[at].to_numpy(copy=True))
    if _is_tensor(array):
        return Rows(name, shape, lambda at: _taken(array, at))
    return None


def is_array(value: Any) -> bool:
    """Whether Keras would slice a value like an array, by what it looks like.

    Datasets, generators and loaders are not: they have no shape.
    """
    return hasattr(value, "shape") and (
        hasattr(value, "__array__")
        or hasattr(value, "tocsr")
        or type(value).__name__ in _NOT_DENSE
    )


def _is_tensor(array: Any) -> bool:
    packages = {c.__module__.split(".")[0] for c in type(array).__mro__}
    return bool(packages & {"tensorflow", "torch", "jax", "jaxlib", "keras"})


def _taken(tensor: Any, at: np.ndarray) -> np.ndarray:
    from keras import ops  # Only now: whoever has a tensor has Keras loaded.

    return np.array(ops.convert_to_numpy(ops.take(tensor, at, axis=0)))
