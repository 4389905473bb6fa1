"""Rules about what was not learned: too small a model, too short a training."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.phrases import count, number
from keras_babysit.rules.evidence.progress import accuracy_name, progress
from keras_babysit.rules.rule import Sign, rule

_ACCURACY = "CS231n, Neural Networks Part 3: Train/val accuracy"


@rule(
    kind="symptom: does not learn",
    severity="info",
    when=("epoch", "end"),
    since=_ACCURACY,
)
def underfitting(
    history: RunHistory,
    *,
    limit: float = 0.5,
    margin: float = 0.1,
    patience: int = 5,
) -> Iterator[Sign]:
    """The model does not even fit the training data.

    What it sees:
        The training no longer improves (judged after twice `patience` epochs at its
        end, four times before), and the model is less than `limit` of the way from a
        constant prediction to a perfect one: that is information, because noise in the
        targets looks the same. It is a warning if besides the nearest neighbour of a
        sample, found in a few of the data themselves, predicts its target better than
        the model does, by more than `margin`: then there is more to learn. If only the
        neighbour says so it is information.

    Why it matters:
        More epochs do not help a model that is too small.

    What to do:
        Make the model larger: more units, then more layers; less regularization.

    When it is wrong:
        Accuracies under dropout or augmentation are lower than the model's own; the
        better one of training and validation counts for that reason.

    References:
        CS231n, Neural Networks Part 3, "Train/Val accuracy".
        Cover, Hart, Nearest neighbor pattern classification (1967): its error is at
        most twice the least one possible.
    """
    p = progress(history)
    n = int(max(patience, 3))
    if p.epochs < n or p.updates < 50 or math.isnan(p.skill):
        return
    rests = p.gain < 0.02 and p.peak - p.skill < 0.05
    # What rests in the middle of a training may well wake up again.
    if not rests or p.epochs < (2 if history.ended else 4) * n:
        return
    neighbours = _neighbours(history)
    reached = _reached(history, p.skill)
    more = neighbours > reached + margin and p.skill < 0.9
    if not more and p.skill >= limit:
        return
    what = "accuracy" if accuracy_name(history) else "explained variance"
    also = f" (the nearest neighbour reaches {number(neighbours)})" if more else ""
    yield Sign(
        where="",
        seen=f"{what} levels off at {number(reached)}{also}, with a training loss "
        f"of {number(p.last)}",
        cause="Likely the model is too small or regularized too much"
        if more
        else "Likely the model is too small, or the targets hold that much noise",
        action="double the units of the hidden layers",
        alternatives=("another layer", "less dropout or weight decay"),
        evidence={"skill": p.skill, "neighbours": neighbours},
        severity="warning" if more and p.skill < limit else None,
    )


def _neighbours(history: RunHistory) -> float:
    """What nearest neighbours reach, by accuracy or explained variance."""
    found = history.data.dependence if history.data is not None else None
    if found is None or found.tested < 50:
        return math.nan
    return found.neighbours


def _reached(history: RunHistory, skill: float) -> float:
    """What the model reaches in the same unit: best accuracy of late, or skill."""
    name = accuracy_name(history)
    if name is None:
        return skill
    last = [history.values(f"epoch.{log}")[-3:] for log in (name, f"val_{name}")]
    return max((float(v.max()) for v in last if len(v)), default=skill)


@rule(
    kind="remark",
    severity="info",
    when="end",
    since=f"{_ACCURACY}; Prechelt (1998)",
)
def stopped_too_early(
    history: RunHistory, *, limit: float = 0.1, least: int = 3
) -> Iterator[Sign]:
    """The training ended while the model was still getting better.

    What it sees:
        When the training ends after `least` epochs or more, the validation loss (or the
        training loss if there is none) is at its best, and the last third of the epochs
        made more than the share `limit` of its whole fall (and a fifth of that share of
        what is left), while the model is not good yet. One or two epochs are too few
        whenever it is not good.

    Why it matters:
        More epochs would make it better.

    What to do:
        Train for twice as many epochs, with EarlyStopping.

    When it is wrong:
        You stopped the training on purpose, for a test or a budget.

    References:
        CS231n, Neural Networks Part 3, "Loss function".
        Prechelt, Early Stopping - But When? (1998).
    """
    losses = history.values("epoch.val_loss")
    name = "val_loss" if len(losses) else "loss"
    losses = losses if len(losses) else history.values("epoch.loss")
    losses = losses[np.isfinite(losses)]
    p = progress(history)
    n = len(losses)
    if not history.ended or not n or p.skill >= 0.95 or not losses[-1] > 0:
        return
    if n < least:
        falls = not p.skill >= 0.9 and _from_start(p.start, losses)
    else:
        falls = _still_falls(losses, p.start, limit)
    if falls:
        yield Sign(
            where="",
            seen=f"{name} was still falling after {count(p.epochs, 'epoch')}, at "
            f"{number(losses[-1])}",
            cause="Likely it was stopped too early",
            action=f"train for {max(2 * p.epochs, 10)} epochs, with EarlyStopping",
            alternatives=(
                f"train for {max(2 * p.epochs, 10)} epochs",
                "a higher learning rate",
            ),
            evidence={"loss": losses[-1], "epochs": p.epochs, "skill": p.skill},
        )


def _still_falls(losses: np.ndarray, start: float, limit: float) -> bool:
    """Whether the last third of the epochs still brought a good share of the fall."""
    n = len(losses)
    k = max(1, n // 3)
    fall = float(losses[-1 - k] - losses[-k:].min())
    total = max(start if math.isfinite(start) else 0.0, float(losses[0])) - losses[-1]
    best = int(np.argmin(losses)) >= n - max(1, n // 10)
    return bool(best and fall > limit * total and fall > limit / 5 * abs(losses[-1]))


def _from_start(start: float, losses: np.ndarray) -> bool:
    if len(losses) > 1:
        return bool(losses[-1] < losses[0])
    return bool(losses[-1] < start)


@rule(
    kind="remark",
    severity="info",
    when=("epoch", "end"),
    since="CS231n, Neural Networks Part 3: First-layer Visualizations",
)
def noisy_first_layer(
    history: RunHistory, *, limit: float = 0.1, patience: int = 5
) -> Iterator[Sign]:
    """The first layer's filters still look like noise.

    What it sees:
        The neighbour correlation of the first layer's filters (0 for noise, 1 for
        smooth ones) is below `limit` and has not risen by as much since the start,
        after `patience` epochs and 500 updates, while the model is less than half way
        from a constant prediction to a perfect one, and the layer is trained. Only for
        filters of 5×5 or more, and Dense layers on images: smaller ones have no shape.

    Why it matters:
        Filters that have learned something from images are smooth. Noise hints at
        training that has not converged, a wrong learning rate or weak regularization.

    What to do:
        Train longer; then weight decay.

    When it is wrong:
        The inputs are not images, or look like noise themselves.

    References:
        CS231n, Neural Networks Part 3, "First-layer Visualizations".
    """
    place = next(iter(history.quantities().get("first_layer_smoothness", ())), None)
    if place is None:
        return
    values = history.values("first_layer_smoothness", place)
    p = progress(history)
    if len(values) <= patience or p.updates < 500 or not p.skill < 0.5:
        return
    step = history.last_step
    trained = () if step is None else step.variables
    if not any(v.path.startswith(f"{place}/") for v in trained):
        return  # Frozen: it is as it was meant to be.
    if not values[-1] < limit or not values[-1] - values[0] < limit:
        return
    yield Sign(
        where=place,
        seen=f"its filters are noise: neighbour correlation {number(values[-1])} after "
        f"{p.epochs} epochs, {number(values[0])} at the start (0 is noise, 1 smooth)",
        cause="Likely it has not learned anything yet",
        action="train longer",
        alternatives=("weight decay", "another learning rate"),
        evidence={"smoothness": values[-1], "first": values[0]},
    )
