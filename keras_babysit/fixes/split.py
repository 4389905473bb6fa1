"""The samples of an experiment: those to train on, and those held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_babysit.inspection.rows import leaves
from keras_babysit.inspection.sample import Sample

#: Share of the samples that are held out.
_HELD = 0.25


@dataclasses.dataclass
class Split:
    """What is trained on, and how.

    Attributes:
        train: samples to train on, in the order that the data have.
        held: samples to be judged by.
        batch_size: samples of an update.
        shuffled: whether each pass goes through them in another order.
    """

    train: Sample
    held: Sample
    batch_size: int
    shuffled: bool

    def map_x(self, name: str, make: Any) -> None:
        """Puts `make(training values)(values)` in place of an input's values."""
        self._map("x", name, make)

    def map_y(self, name: str, make: Any) -> None:
        """The same for targets."""
        self._map("y", name, make)

    def _map(self, part: str, name: str, make: Any) -> None:
        known = dict(leaves(part, getattr(self.train, part)))
        if name not in known:
            raise ValueError(f"the data have no `{name}`")
        change = make(np.asarray(known[name]))
        for which in ("train", "held"):
            sample = getattr(self, which)
            value = _changed(part, getattr(sample, part), name, change)
            setattr(self, which, dataclasses.replace(sample, **{part: value}))

    def weigh(self, weights: np.ndarray | None) -> None:
        """Gives the samples to train on other weights."""
        self.train = dataclasses.replace(self.train, sample_weight=weights)

    def batches(self, seed: int) -> Iterator[tuple]:
        """Yields batches without end, the same ones for the same seed."""
        draw = np.random.default_rng(seed)
        size = min(self.batch_size, self.train.size)
        while True:
            order = np.arange(self.train.size)
            if self.shuffled:
                order = draw.permutation(order)
            # Batches of one size: another size would be traced again.
            for begin in range(0, len(order) - size + 1, size):
                part = self.train.at(order[begin : begin + size])
                weight = part.sample_weight
                whole = (part.x, part.y, weight)
                yield whole if weight is not None else whole[: 2 - (part.y is None)]


def split(sample: Sample, seed: int, batch_size: int, shuffled: bool) -> Split:
    """Holds a quarter of the samples out, another one for each seed.

    Of each class a quarter where the first target has classes.
    """
    draw = np.random.default_rng(seed + 1)
    rank = draw.permutation(sample.size)
    labels = _labels(sample)
    held = np.zeros(sample.size, bool)
    for label in np.unique(labels):
        at = np.flatnonzero(labels == label)
        at = at[np.argsort(rank[at])]
        held[at[: round(_HELD * len(at))]] = True
    if not held.any():
        held[rank == 0] = True
    return Split(
        sample.at(np.flatnonzero(~held)),
        sample.at(np.flatnonzero(held)),
        batch_size,
        shuffled,
    )


def _labels(sample: Sample) -> np.ndarray:
    targets = keras.tree.flatten(sample.y)
    if targets:
        first = np.asarray(targets[0])
        if first.ndim == 2 and first.shape[1] > 1:
            first = first.argmax(1)
        if first.size == sample.size and len(np.unique(first)) <= sample.size // 4:
            return first.reshape(-1)
    return np.zeros(sample.size, int)


def _changed(name: str, nested: Any, wanted: str, change: Any) -> Any:
    """A nested structure with `change` of the array that an expression reaches."""
    if isinstance(nested, dict):
        return {
            k: _changed(f"{name}[{k!r}]", v, wanted, change) for k, v in nested.items()
        }
    if isinstance(nested, list | tuple):
        made = [
            _changed(f"{name}[{i}]", v, wanted, change) for i, v in enumerate(nested)
        ]
        return type(nested)(made)
    return change(np.asarray(nested)) if name == wanted else nested
