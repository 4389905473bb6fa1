"""Which tensors are described together, where their rows are, and NumPy for few.

Describing takes functions that have to be traced and compiled, once in a process:
longer than a short run of a small model takes. Of tensors that are small, NumPy says
the same sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Tensors of at most so many elements are packed with others of their shape, up to
#: so many elements together: packing copies.
_SMALL, _TOGETHER = 1 << 16, 1 << 20
#: So many elements together NumPy describes, where they are on the host.
ON_HOST = 1 << 23

Shape = tuple[int | None, ...] | None


@dataclass(frozen=True)
class Target:
    """Something that a step computes and that is to be described.

    Attributes:
        tensors: of it; more than one are added up (gradients of replicas).
        describer: a `probes.Describer`; `None` for the value itself.
        units: how many units its description is of.
        shape: its shape, where more is known of it than the tensors know.
    """

    tensors: tuple[Any, ...]
    describer: Any = None
    units: int = 0
    shape: Shape = None


@dataclass
class Layout:
    """Where in the outputs of a function the rows of each item are.

    Attributes:
        tables: for each function that describes, the index of its table among the
            outputs, of its vectors of units if it has some, and the items' numbers.
        calls: the node that describes each item.
    """

    tables: list[tuple[int, int | None, list[int]]] = field(default_factory=list)
    calls: dict[int, str] = field(default_factory=dict)

    def read(
        self, outputs: Sequence[np.ndarray], units: Mapping[int, int]
    ) -> dict[int, tuple[np.ndarray, np.ndarray | None]]:
        """Returns each item's row and, if it has units, its vector of them."""
        found: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        for table, vectors, items in self.tables:
            at = 0
            for row, item in enumerate(items):
                vector = None
                if vectors is not None and units.get(item):
                    vector = outputs[vectors][at : at + units[item]]
                    at += units[item]
                found[item] = (outputs[table][row], vector)
        return found


def groups(items: Sequence[Any]) -> list[list[int]]:
    """Numbers of the items that are described together.

    Items have a shape, a dtype, a describer, and references to one tensor or more. Only
    those of a fixed shape are: `(None, 8)` can be 16 rows here and 18 there.
    """
    found: list[list[int]] = []
    open_ones: dict[Any, list[int]] = {}
    for i, item in enumerate(items):
        size = size_of(item.shape)
        key = (item.describer, item.dtype, item.shape, len(item.references))
        group = open_ones.get(key)
        if (
            group is None
            or size is None
            or size > _SMALL
            or size * (len(group) + 1) > _TOGETHER
        ):
            group = open_ones[key] = []
            found.append(group)
        group.append(i)
    return found


def size_of(shape: Shape) -> int | None:
    """The number of elements, if it is known."""
    if shape is None or None in shape:
        return None
    return int(np.prod([n or 0 for n in shape], dtype=float))


@dataclass(frozen=True)
class _Item:
    references: tuple[int, ...]
    shape: Shape
    describer: Any
    dtype: Any = None


def _float32(x: Any) -> np.ndarray:
    return np.asarray(x, np.float32)


class Describing:
    """Describes arrays, by default with NumPy.

    Args:
        shapes: of each, as far as they are known.
        describers: of each.
        stack: makes one array of several, as `np.stack` does.
        wide: makes an array of float32.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        describers: Sequence[Any],
        stack: Callable = np.stack,
        wide: Callable = _float32,
    ):
        self._stack, self._wide = stack, wide
        items = [
            _Item((i,), shape, describer)
            for i, (shape, describer) in enumerate(zip(shapes, describers, strict=True))
        ]
        self._groups = [(group, describers[group[0]]) for group in groups(items)]
        self.layout = Layout(
            [(2 * i, 2 * i + 1, group) for i, (group, _) in enumerate(self._groups)]
        )

    def __call__(self, *arrays: Sequence[Any]) -> list[Any]:
        """Returns tables and units, to be read with `layout`.

        Args:
            *arrays: the arrays; two sequences of them for a describer of pairs.
        """
        found = []
        with np.errstate(all="ignore"):
            for group, describer in self._groups:
                packed = [self._packed([some[i] for i in group]) for some in arrays]
                table, *units = described(describer, *packed)
                found += [table, units[0].reshape(-1) if units else table[:0]]
        return found

    def _packed(self, arrays: Sequence[Any]) -> Any:
        wide = [self._wide(x) for x in arrays]
        return wide[0][None] if len(wide) == 1 else self._stack(wide)


def described(describer: Any, *packed: Any) -> list[Any]:
    """Describes arrays of float32 of one shape, packed along the first axis."""
    shape = LAYOUTS[describer.layout]
    return describer.function(*(x.reshape(shape(x.shape, _product)) for x in packed))


def fit_on_host(shapes: Sequence[Shape]) -> bool:
    """Whether tensors of these shapes are small enough for NumPy."""
    sizes = [size_of(shape) for shape in shapes]
    return None not in sizes and sum(size or 0 for size in sizes) <= ON_HOST


def _product(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes, dtype=np.int64))


def _rows(sizes: Any, product: Callable) -> list[Any]:
    """`(k, ...)` as `(k, n)`, whatever is empty."""
    return [sizes[0], product(sizes[1:])]


def _units(sizes: Any, product: Callable) -> list[Any]:
    """`(k, ..., units)` as `(k, samples, units)`."""
    return [sizes[0], product(sizes[1:-1]), sizes[-1]]


def _channels(sizes: Any, product: Callable) -> list[Any]:
    """`(k, samples, units, ...)` as `(k, samples, units, positions)`."""
    return [sizes[0], sizes[1], sizes[2], product(sizes[3:])]


def _samples(sizes: Any, product: Callable) -> list[Any]:
    """`(k, ...)` as `(k, samples, second axis, others, last axis)`; 1 for none."""
    inner = sizes[2:-1]
    parts = (sizes[1:2], inner[:1], inner[1:], sizes[2:][-1:])
    return [sizes[0], *map(product, parts)]


#: For each layout of a describer the shape that it takes: of the sizes that packed
#: tensors have, as numbers or as a tensor, and of what multiplies some of them.
LAYOUTS = {
    "rows": _rows,
    "units": _units,
    "channels": _channels,
    "samples": _samples,
}
