"""How far a training has come: what its loss and its metrics say, as one number.

The number is the *skill*: 0 where the best constant prediction is, 1 for a perfect
one, negative if worse than constant. Rules use it to tell something odd that hurts
from something odd that does not.
"""

from __future__ import annotations

import math
import statistics
import weakref
from typing import NamedTuple

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.catalogue import CLASS_LOSSES
from keras_babysit.rules.evidence.chance import (
    constant_loss,
    lowest_loss,
    majority,
    only_output,
    target_of,
)

_ACCURACY_LOGS = (
    "accuracy",
    "acc",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
)
#: Observed losses, on average, that are taken together where there are no epochs.
_BLOCK = 10


class Progress(NamedTuple):
    """How far the training has come.

    Attributes:
        epochs: epochs finished.
        batches: batches trained on since the first record.
        updates: updates that they made, which gradients of several may be gathered for.
        losses: finite training losses by epoch, or medians of observed batches over
            equal spans of steps while there are no three epochs.
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
    batches: int
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

    @property
    def last(self) -> float:
        """The latest of `losses`; NaN if there is none."""
        return float(self.losses[-1]) if len(self.losses) else math.nan

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


def first_losses(history: RunHistory, steps: int) -> np.ndarray:
    """Returns the losses of those of the first steps that were observed."""
    found = _series(history, "loss")
    return found[found[:, 0] < steps, 2]


def _progress(history: RunHistory) -> Progress:
    batches = _series(history, "loss")
    logged = _series(history, "epoch.loss")
    epochs = len(logged)
    begin = min([s[0] for s in (batches[:, 0], logged[:, 0]) if len(s)], default=0)
    trained = int(history.position[0] - begin) if np.isfinite(begin) else 0
    optimizer = history.model.optimizer if history.model is not None else None
    updates = trained // (optimizer.accumulates if optimizer is not None else 1)
    start = float(batches[0, 2]) if len(batches) and batches[0, 0] == 0 else math.nan
    known = constant_loss(history)
    reference = start if math.isnan(known) else known
    blocks = _blocks(batches) if epochs < 3 else batches[:0, 2]
    by_batch = len(blocks) >= 2
    losses = blocks if by_batch else logged[:, 2]
    tracks = [_skill_of_loss(losses, history, reference)]
    if not by_batch:
        tracks += _metrics(history)
        tracks += [_skill_of_loss(history.values("epoch.val_loss"), history, reference)]
    tracks = [t for t in (track[np.isfinite(track)] for track in tracks) if len(t)]
    return Progress(
        epochs=epochs,
        batches=trained,
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


def well_trained(history: RunHistory, bar: float = 0.9, known: float = 0.0) -> str:
    """Returns what a good model has reached; `""` if it is not good, or unknown.

    Good is a skill of `bar` in validation, and nearly that in training, of the last
    two epochs, by the accuracy. Where there is none, by the loss, of which a third of
    what is left to `bar` may be left.

    Args:
        history: the history.
        bar: the least skill.
        known: share of the validation samples that the training knew.
    """
    if not progress(history).judged:
        return ""
    name = accuracy_name(history)
    least = majority(history) if name else constant_loss(history)
    quantity = name or "loss"
    train, val = (history.values(f"epoch.{x}") for x in (quantity, f"val_{quantity}"))
    if name:
        skills = [(v - least) / (1 - least) for v in (train, val)] if least < 1 else []
    else:
        skills = [_skill_of_loss(v, history, least) for v in (train, val)]
        bar = 1 - (1 - bar) / 3
    if not skills or len(skills[0]) < 2:
        return ""
    by = skills[1] if len(skills[1]) >= 2 else skills[0]
    # Of those that the training did not know, at least so much.
    reached = (float(by[-2:].min()) - known) / max(1 - known, 1e-9)
    if not reached >= bar or not skills[0][-2:].min() >= bar - 0.1:
        return ""
    shown = val if by is skills[1] else train
    return f"{'val_' * (by is skills[1])}{quantity} {shown[-1]:.3g}"


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


def _blocks(batches: np.ndarray) -> np.ndarray:
    """Medians of the batches' losses over equal spans of steps; none if too few.

    Early steps are observed more densely than later ones. As many spans are taken as
    have five observed steps each, of one for ten at most.
    """
    steps, losses = batches[:, 0], batches[:, 2]
    for n in range(len(steps) // _BLOCK, 1, -1):
        edges = np.linspace(steps[0], steps[-1] + 1, n + 1)
        at = np.searchsorted(steps, edges)
        if np.diff(at).min() >= _BLOCK // 2:
            return np.array([np.median(part) for part in np.split(losses, at[1:-1])])
    return np.zeros(0)


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

    Of quantities there is none: exact hits say nothing about how close they are.
    """
    output, target = only_output(history), target_of(history.data)
    loss = output.loss if output is not None else None
    quantity = target is not None and not (target.whole or target.multi_hot)
    if quantity and loss is not None and loss.standard:
        named = loss.name in CLASS_LOSSES
        return _accuracy_in(history) if named else None
    return _accuracy_in(history)


def _accuracy_in(history: RunHistory) -> str | None:
    logs = history.last_epoch.logs if history.last_epoch is not None else {}
    found = [n for n in logs if n in _ACCURACY_LOGS]
    return found[0] if len(found) == 1 else None


def _metrics(history: RunHistory) -> list[np.ndarray]:
    """Skill by every metric that says it by itself, of training and validation."""
    tracks = []
    name = accuracy_name(history)
    share = majority(history)
    # What weighs rare classes more does not go for the commonest.
    weighted = history.data is not None and history.data.weighted
    if name is not None and share < 1 and not weighted:
        for log in (name, f"val_{name}"):
            accuracy = history.values(f"epoch.{log}")
            tracks.append((accuracy - share) / (1 - share))
    for log in ("auc", "val_auc"):
        tracks.append(2 * history.values(f"epoch.{log}") - 1)
    for log in ("r2_score", "val_r2_score"):
        tracks.append(history.values(f"epoch.{log}"))
    return tracks
