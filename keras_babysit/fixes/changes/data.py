"""What changes of the data do: scaling, labels, weights, order."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_babysit.fixes.changes.setup import Change, Setup, standardized
from keras_babysit.records import Fix

Map = Callable[[np.ndarray], np.ndarray]


def _scale_inputs(setup: Setup, fix: Fix) -> None:
    setup.data.map_x(fix.where[0], standardized)


def _divide_inputs(setup: Setup, fix: Fix) -> None:
    def make(values: np.ndarray) -> Map:
        return lambda a: (a / fix["by"]).astype("float32")

    setup.data.map_x(fix.where[0], make)


def _scale_targets(setup: Setup, fix: Fix) -> None:
    setup.data.map_y(fix.where[0], standardized)


def _labels_from_zero(setup: Setup, fix: Fix) -> None:
    def make(values: np.ndarray) -> Map:
        known = np.unique(values)
        most = len(known) - 1
        return lambda a: np.searchsorted(known, a).clip(0, most).astype("int32")

    setup.data.map_y(fix.where[0], make)


def _labels_as_signs(setup: Setup, fix: Fix) -> None:
    def make(values: np.ndarray) -> Map:
        low = values.min()
        return lambda a: np.where(a > low, 1.0, -1.0).astype("float32")

    setup.data.map_y(fix.where[0], make)


def _class_weights(setup: Setup, fix: Fix) -> None:
    targets = keras.tree.flatten(setup.data.train.y)
    if len(targets) != 1:
        raise ValueError("class weights need a single target")
    labels = np.asarray(targets[0])
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = labels.argmax(1)
    if labels.size != setup.data.train.size:
        raise ValueError("class weights need one label for each sample")
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    each = labels.size / (len(counts) * counts)
    setup.data.weigh(each[index.reshape(-1)].astype("float32"))


def _equal_weights(setup: Setup, fix: Fix) -> None:
    setup.data.weigh(None)


def _shuffle(setup: Setup, fix: Fix) -> None:
    setup.data.shuffled = True


def _batch_size(setup: Setup, fix: Fix) -> None:
    setup.data.batch_size = fix["size"]


#: Kind to what it does.
CHANGES: dict[str, Change] = {
    "scale_inputs": _scale_inputs,
    "divide_inputs": _divide_inputs,
    "scale_targets": _scale_targets,
    "labels_from_zero": _labels_from_zero,
    "labels_as_signs": _labels_as_signs,
    "class_weights": _class_weights,
    "equal_weights": _equal_weights,
    "shuffle": _shuffle,
    "batch_size": _batch_size,
}
