"""What chance gives: loss and accuracy of predictions that ignore the inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from keras_babysit.facts import ArrayFacts, DataFacts, LossFacts, OutputFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.catalogue import CLASS_LOSSES, FROM_ZERO


def target_of(data: DataFacts | None, i: int = 0) -> ArrayFacts | None:
    """Returns the facts of one target, if they are known."""
    targets = data.targets if data is not None else ()
    return targets[i] if i < len(targets) else None


def shares(counts: Mapping[float, int]) -> np.ndarray:
    """Returns the share of each class that occurs, the largest first."""
    found = np.array(sorted(counts.values(), reverse=True), float)
    total = found.sum()
    return found[found > 0] / total if total > 0 else np.zeros(0)


def entropy(p: np.ndarray) -> float:
    """Entropy in nats."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def majority(history: RunHistory) -> float:
    """Accuracy of always saying the commonest class; 1/C, or NaN, if not known."""
    target, output = target_of(history.data), only_output(history)
    if target is not None and target.multi_hot:
        return _majority_of_labels(target)
    if target is not None and target.counts and (target.whole or target.one_hot):
        found = shares(target.counts)
        return float(found[0]) if len(found) else math.nan
    if output is None or output.loss is None or output.loss.name not in CLASS_LOSSES:
        return math.nan
    return 1 / max(2, output.units or 2)


def _majority_of_labels(target: ArrayFacts) -> float:
    p = np.asarray(target.feature_mean, float)
    return float(np.maximum(p, 1 - p).mean()) if p.size else math.nan


def of_classes(history: RunHistory) -> bool:
    """Whether a loss is one over classes whose loss at chance is known."""
    outputs = history.model.outputs if history.model is not None else ()
    return any(o.loss is not None and o.loss.name in CLASS_LOSSES for o in outputs)


def only_output(history: RunHistory) -> OutputFacts | None:
    """Returns the output of a model that has a single one."""
    model = history.model
    if model is None or len(model.outputs) != 1:
        return None
    return model.outputs[0]


def lowest_loss(history: RunHistory) -> float:
    """Loss of a perfect prediction; NaN if that is not known."""
    model = history.model
    if model is None or model.custom_train_step or not model.outputs:
        return math.nan
    total = 0.0
    for i, output in enumerate(model.outputs):
        loss = output.loss
        if loss is None:
            continue
        if not loss.standard or loss.name not in FROM_ZERO:
            return math.nan
        if loss.name in CLASS_LOSSES and _soft(target_of(history.data, i)):
            return math.nan  # Its lowest is the entropy of the targets.
        total += output.loss_weight * _smoothed(loss, output.units or 2)
    return total


def _soft(target: ArrayFacts | None) -> bool:
    """Whether class targets are not plain classes but shares or brightnesses."""
    return target is not None and not (
        target.whole or target.one_hot or target.multi_hot
    )


def _smoothed(loss: LossFacts, classes: int) -> float:
    s = loss.label_smoothing
    if not 0 < s < 1:
        return 0.0
    binary = loss.name == "binary_crossentropy"
    c = 2 if binary else max(classes, 2)
    return entropy(np.array([1 - s + s / c] + [s / c] * (c - 1)))


def constant_loss(history: RunHistory) -> float:
    """Loss of the best constant prediction, penalties of the weights included.

    Returns:
        NaN if it is not known: custom losses, weighted samples, targets not seen.
    """
    model, data = history.model, history.data
    if model is None or not model.outputs or model.custom_train_step:
        return math.nan
    if data is not None and data.weighted:
        return math.nan
    total = float(model.regularization_loss)
    for i, output in enumerate(model.outputs):
        if output.loss is not None:
            one = constant_loss_of(output, target_of(data, i))
            total += output.loss_weight * one
    return total if math.isfinite(total) else math.nan


def constant_loss_of(output: OutputFacts, target: ArrayFacts | None) -> float:
    """Loss of the best constant prediction of one output; NaN if not known."""
    loss = output.loss
    assert loss is not None
    if not loss.standard:
        return math.nan
    if loss.name in CLASS_LOSSES:
        return _class_chance(output, loss, target)
    if target is None or not target.std > 0:
        return math.nan
    if loss.name == "mean_squared_error":
        return _variance(target)
    if loss.name == "mean_absolute_error":
        # Of a normal distribution; 0.74 to 0.87 of the usual ones.
        return 0.8 * math.sqrt(_variance(target))
    return math.nan


def _variance(target: ArrayFacts) -> float:
    std = np.asarray(target.feature_std, float)
    if len(target.shape) <= 1 and std.size and np.isfinite(std).all():
        return float(np.mean(std**2))
    return float(target.std) * float(target.std)


def _class_chance(
    output: OutputFacts, loss: LossFacts, target: ArrayFacts | None
) -> float:
    if loss.name == "binary_crossentropy":
        if target is None:
            return math.log(2)
        p = np.asarray(target.feature_mean, float)
        if _soft(target) or not p.size or p.min() < 0 or p.max() > 1:
            return math.nan
        return entropy(np.concatenate([p, 1 - p])) / p.size
    if target is not None and target.counts and not _soft(target):
        return entropy(shares(target.counts))
    return math.log(output.units) if output.units and output.units > 1 else math.nan
