"""What a model's losses are called with, how well they could be met, and how well."""

from __future__ import annotations

import keras
import numpy as np

from keras_babysit.checks.losses import loss_kinds
from keras_babysit.checks.losses.loss_floor import Target, by_group, weighted_mean
from keras_babysit.checks.losses.parts import parts_of
from keras_babysit.inspection.model import model_facts
from keras_babysit.inspection.rows import leaves
from keras_babysit.inspection.sample import Sample

ONE_HOT = (
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
)
BINARY = ("binary_crossentropy", "binary_focal_crossentropy")
HINGES = ("hinge", "squared_hinge")


def targets_of(model: keras.Model, sample: Sample) -> list[tuple[int, Target]] | None:
    """Returns what each loss of a borrowed model is called with on a sample.

    Returns:
        For each loss the index of its output and a `Target`; `None` if the total
        loss is more than the compiled ones.
    """
    y_pred = model(sample.tensors.x, training=True)
    parts = parts_of(model, sample, y_pred, training=True)
    if model.losses or not parts:
        return None
    outputs = dict(enumerate(model_facts(model).outputs))
    found = []
    for part in parts:
        index = part.output or 0
        known = outputs[index].activation if index in outputs else None
        found.append((index, part.target(known)))
    return found


def groups_of(sample: Sample) -> np.ndarray:
    """Returns an int array `(samples,)`, equal where all inputs are."""
    rows = [
        np.unique(np.asarray(a).reshape(len(a), -1), axis=0, return_inverse=True)[1]
        for _, a in leaves("x", sample.x)
    ]
    both = np.stack([r.reshape(-1) for r in rows], axis=1)
    return np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)


def prefixes_of(
    model: keras.Model, sample: Sample, targets: list[tuple[int, Target]]
) -> np.ndarray | None:
    """Returns an int array `(samples, positions)`, equal where all so far is.

    Of a model that sees no later position, such as a causal language model: where
    sequences begin alike, its predictions are alike whatever comes next.

    Returns:
        The array; `None` if it is not such a model, or no two sequences begin alike.
    """
    x = sample.x
    if len(targets) != 1 or not isinstance(x, np.ndarray) or x.ndim < 2:
        return None
    y_pred = targets[0][1].y_pred
    n, length = (int(size) for size in x.shape[:2])
    if y_pred.ndim < 3 or y_pred.shape[1] != length or min(n, length) < 2:
        return None
    if len(np.unique(x[:, :1].reshape(n, -1), axis=0)) == n:
        return None
    half = (length + 1) // 2
    other = np.concatenate([x[:, :half], np.roll(x[:, half:], 1, axis=0)], axis=1)
    seen = (model(Sample(each).tensors.x, training=True) for each in (x, other))
    first, second = (
        keras.ops.convert_to_numpy(keras.tree.flatten(s)[0]).astype(float) for s in seen
    )
    if not np.allclose(first[:, :half], second[:, :half], rtol=1e-4, atol=1e-6):
        return None
    found, count = [], 0
    for t in range(length):
        prefix = x[:, : t + 1].reshape(n, -1)
        same = np.unique(prefix, axis=0, return_inverse=True)[1].reshape(-1)
        found.append(same + count)
        count += n
    return np.stack(found, axis=1)


def accuracy(
    target: Target, y_pred: np.ndarray, groups: np.ndarray
) -> tuple[float, float] | None:
    """Returns the accuracy of a prediction, and the best that there could be.

    Args:
        target: a loss and what it is called with.
        y_pred: float array of the shape of `target.y_pred`.
        groups: as for `loss_floor.floor`: equal inputs get equal predictions.

    Returns:
        Both as shares of what has a weight; `None` if the loss is not one for
        classes, or the targets are not classes.
    """
    name = target.facts.name
    if not target.facts.standard or y_pred.ndim < 2:
        return None
    if name in loss_kinds.SPARSE:
        said, labels = y_pred.argmax(-1), np.asarray(target.labels)
        return _shares(said, labels, target.weights, groups)
    try:
        y = np.asarray(target.y, float).reshape(y_pred.shape)
    except ValueError:
        return None
    units = y_pred.shape[y_pred.ndim - 1]
    if name in ONE_HOT and units > 1:
        return _shares(y_pred.argmax(-1), y.argmax(-1), target.weights, groups)
    if name not in (*BINARY, *HINGES, *ONE_HOT) or (y != np.round(y)).any():
        return None
    positive = 0.0 if name in HINGES or target.facts.from_logits else 0.5
    labels = np.where(y < 0, 0, y) if name in HINGES else y
    weights = np.broadcast_to(target.weights[..., None], y.shape)
    return _shares(y_pred > positive, labels, weights, groups)


def _shares(
    said: np.ndarray, labels: np.ndarray, weights: np.ndarray, groups: np.ndarray
) -> tuple[float, float] | None:
    weights = (weights > 0).astype(float)
    if not weights.sum():
        return None
    if len(np.unique(groups)) == groups.size:
        best = 1.0
    else:
        classes = np.unique(labels)
        one_hot = (labels[..., None] == classes).astype(float)
        share = by_group(weighted_mean, one_hot, weights[..., None], groups)
        best = _weighted(classes[share.argmax(-1)] == labels, weights)
    return _weighted(said.astype(float) == labels, weights), best


def _weighted(values: np.ndarray, weights: np.ndarray) -> float:
    return float((values * weights).sum() / weights.sum())
