"""How far a training has come: what its loss and its metrics say, as one number.

The number is the *skill*: 0 where the best constant prediction is, 1 for a perfect
one, negative if worse than constant. Rules use it to tell something odd that hurts
from something odd that does not.
"""

from __future__ import annotations

import math
import statistics
import weakref
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from keras_babysit.facts import ArrayFacts, DataFacts, LossFacts, OutputFacts
from keras_babysit.history import RunHistory

CLASS_LOSSES = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
)
#: Losses that no prediction brings below zero, and a perfect one to zero.
FROM_ZERO = (
    *CLASS_LOSSES,
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "huber",
    "log_cosh",
    "hinge",
    "squared_hinge",
    "categorical_hinge",
)
ACCURACIES = (
    "accuracy",
    "acc",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
)
#: Observed losses that are taken together where there are no epochs to go by.
_BLOCK = 10


class Progress(NamedTuple):
    """How far the training has come.

    Attributes:
        epochs: epochs finished.
        updates: optimizer updates since the first record.
        losses: finite training losses by epoch, or medians of ten observed batches
            each while there are no three epochs.
        start: loss before the first update; NaN if that was not seen.
        reference: loss of the best constant prediction, or else `start`.
        skill: of late, the best that loss or a metric says; NaN if nothing does.
        peak: the best skill so far.
        gain: how much skill has risen of late.
        judged: whether it has lasted long enough to judge.
        by_batch: whether `losses` are of batches.
        falling: whether the loss is well below its start and still falls: a model
            whose targets are far from zero is worse than a constant at first.
    """

    epochs: int
    updates: int
    losses: np.ndarray
    start: float
    reference: float
    skill: float
    peak: float
    gain: float
    judged: bool
    by_batch: bool
    falling: bool

    def stuck(self, below: float, gain: float = 0.05) -> bool:
        """Whether it has lasted long enough, is bad, and is not getting better."""
        bad = self.judged and self.skill < below and not self.falling
        return bad and self.gain < gain


#: What was worked out last of each history, with what it was worked out from.
_known: weakref.WeakKeyDictionary[RunHistory, tuple[tuple, Progress]]
_known = weakref.WeakKeyDictionary()


def progress(history: RunHistory) -> Progress:
    """Returns how far the training has come."""
    # Many rules ask this of the same history: it only grows, so this says which.
    state = (
        history.observed,
        id(history.last_epoch),
        id(history.model),
        id(history.data),
        history.ended,
    )
    known = _known.get(history)
    if known is None or known[0] != state:
        known = _known[history] = (state, _progress(history))
    return known[1]


def _progress(history: RunHistory) -> Progress:
    batches = _series(history, "loss")
    logged = _series(history, "epoch.loss")
    epochs = len(logged)
    begin = min([s[0] for s in (batches[:, 0], logged[:, 0]) if len(s)], default=0)
    updates = int(history.position[0] - begin) if np.isfinite(begin) else 0
    start = float(batches[0, 2]) if len(batches) and batches[0, 0] == 0 else math.nan
    known = constant_loss(history)
    reference = start if math.isnan(known) else known
    by_batch = epochs < 3 and len(batches) >= 2 * _BLOCK
    losses = _blocks(batches[:, 2]) if by_batch else logged[:, 2]
    tracks = [_skill_of_loss(losses, history, reference)]
    if not by_batch:
        tracks += _metrics(history)
        tracks += [_skill_of_loss(history.values("epoch.val_loss"), history, reference)]
    tracks = [t for t in (track[np.isfinite(track)] for track in tracks) if len(t)]
    return Progress(
        epochs=epochs,
        updates=updates,
        losses=losses[np.isfinite(losses)],
        start=start,
        reference=reference,
        skill=max((float(_late(t)) for t in tracks), default=math.nan),
        peak=max((float(t.max()) for t in tracks), default=math.nan),
        gain=max((_gain(t) for t in tracks), default=0.0),
        judged=(epochs >= 3 and updates >= 30)
        or (by_batch and updates >= 100)
        or (history.ended and epochs >= 2 and updates >= 20),
        by_batch=by_batch,
        falling=_falls(losses[np.isfinite(losses)], start),
    )


def _falls(losses: np.ndarray, start: float) -> bool:
    """Whether each of the last losses is 5 % below the one before."""
    track = losses[-4:]
    if len(track) < 3 or not (track > 0).all():
        return False
    below = not track[-1] > 0.9 * start
    return bool(below and (track[1:] < 0.95 * track[:-1]).all())


def _series(history: RunHistory, quantity: str) -> np.ndarray:
    """Steps, epochs and values as columns; no rows if nothing was recorded."""
    try:
        return np.array(history.series(quantity)).T
    except KeyError:
        return np.zeros((0, 3))


def _blocks(values: np.ndarray) -> np.ndarray:
    whole = len(values) // _BLOCK * _BLOCK
    return np.median(values[len(values) - whole :].reshape(-1, _BLOCK), axis=1)


def _late(track: np.ndarray) -> float:
    """The last value, or the better of the last two: one bad epoch is no state."""
    return float(track[-2:].max())


def _gain(track: np.ndarray) -> float:
    """How much the last third, at most three points, is above those before it."""
    if len(track) < 2:
        return 0.0
    k = max(1, min(3, len(track) // 3))
    track = np.clip(track, -1, 1)  # Less bad is not better yet.
    late, before = track[-k:].tolist(), track[-2 * k : -k].tolist()
    return statistics.median(late) - statistics.median(before)


def _skill_of_loss(
    losses: np.ndarray, history: RunHistory, reference: float
) -> np.ndarray:
    floor = lowest_loss(history)
    if math.isnan(floor) or not reference > floor:
        return np.zeros(0)
    return 1 - (losses - floor) / (reference - floor)


def accuracy_name(history: RunHistory) -> str | None:
    """Returns the name of the training accuracy in the logs, if there is just one.

    Of quantities there is none: exact hits say nothing of how close they are.
    """
    output, target = _only_output(history), target_of(history.data)
    loss = output.loss if output is not None else None
    quantity = target is not None and not (target.whole or target.multi_hot)
    if quantity and loss is not None and loss.standard:
        named = loss.name in CLASS_LOSSES
        return _accuracy_in(history) if named else None
    return _accuracy_in(history)


def _accuracy_in(history: RunHistory) -> str | None:
    logs = history.last_epoch.logs if history.last_epoch is not None else {}
    found = [n for n in logs if n in ACCURACIES]
    return found[0] if len(found) == 1 else None


def _metrics(history: RunHistory) -> list[np.ndarray]:
    """Skill by every metric that says it by itself, of training and validation."""
    tracks = []
    name = accuracy_name(history)
    share = majority(history)
    if name is not None and share < 1:
        for log in (name, f"val_{name}"):
            accuracy = history.values(f"epoch.{log}")
            tracks.append((accuracy - share) / (1 - share))
    for log in ("auc", "val_auc"):
        tracks.append(2 * history.values(f"epoch.{log}") - 1)
    for log in ("r2_score", "val_r2_score"):
        tracks.append(history.values(f"epoch.{log}"))
    return tracks


# What chance gives.


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
    target, output = target_of(history.data), _only_output(history)
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


def _only_output(history: RunHistory) -> OutputFacts | None:
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
