"""Data that comes in batches, of the kind that goes with the backend in use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

BACKEND = keras.backend.backend()


class Batches(keras.utils.PyDataset):
    """Batches of arrays.

    Args:
        parts: arrays of one length.
        size: of a batch.
    """

    def __init__(self, parts: Sequence[np.ndarray], size: int):
        super().__init__()
        self.parts, self.size = parts, size

    def __len__(self) -> int:
        return math.ceil(len(self.parts[0]) / self.size)

    def __getitem__(self, i: int) -> tuple[np.ndarray, ...]:
        rows = slice(self.size * i, self.size * (i + 1))
        return tuple(part[rows] for part in self.parts)


def dataset(*parts: np.ndarray, size: int = 16) -> Any:
    """Returns a `tf.data.Dataset`, a `DataLoader`, or with JAX a `PyDataset`."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(parts).batch(size)
    if BACKEND == "torch":
        from torch.utils import data

        return data.DataLoader([*zip(*parts, strict=True)], batch_size=size)
    return Batches(parts, size)
