"""Rules about the updates: how much each step changes the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.history import RunHistory, Window
from keras_babysit.rules.evidence.kernels import middle, ratios, smallness
from keras_babysit.rules.evidence.phrases import names, number, try_rate
from keras_babysit.rules.evidence.progress import progress
from keras_babysit.rules.rule import Sign, rule

_RATIO = "CS231n, Neural Networks Part 3: Ratio of weights:updates"


#: A layer is told by itself where its ratio is so many times off the others'.
_APART = 10


def _lately(history: RunHistory, patience: float) -> tuple[Window, np.ndarray] | None:
    """The kernels' ratios over the latest steps and their medians, if enough."""
    window = ratios(history, int(max(patience, 3)))
    if len(window.steps) < 3 or not window.places:
        return None
    # Steps that follow one another at once can all be one rare batch's.
    if window.steps[-1] - window.steps[0] < patience - 1:
        return None
    return window, middle(window.values)


@rule(
    kind="symptom: unstable",
    severity="warning",
    when=("step", "epoch"),
    since=_RATIO,
    also=(
        "activations-exploding",
        "dead-relu",
        "loss-oscillating",
        "saturated-activation",
    ),
)
def update_ratio_too_high(
    history: RunHistory, *, limit: float = 1e-2, far: float = 0.1, patience: int = 10
) -> Iterator[Sign]:
    """A kernel changes too much per step.

    What it sees:
        The median update ratio of a kernel over the last `patience` observed steps
        (three at least) is above `limit`, ten times what is healthy, for half of the
        kernels or threefold for one that did not begin near zero, and the model is
        stuck near a constant prediction, for half of the kernels after three epochs or
        300 updates: slow starts are common; or it is above `far` while the model is not
        good and not getting better. Above `far` it is information otherwise. One
        finding for all kernels, unless some are ten times above the others.

    Why it matters:
        At 1e-1 a kernel is replaced every ten steps: it cannot keep what it learned.

    What to do:
        Lower the learning rate by the factor that brings the ratio to about 1e-3.

    When it is wrong:
        Adam's first steps change each weight by the learning rate, which is 1e-2 of
        wide layers' weights at its default; wide layers with noisy gradients continue
        like that and learn well. That is why the loss has to agree.

    References:
        CS231n, Neural Networks Part 3, "Ratio of weights:updates".
        You, Gitman, Ginsburg, Large Batch Training of CNNs (LARS, 2017), section 4.
    """
    found = _lately(history, patience)
    if found is None:
        return
    window, taken = found
    high = taken > limit
    if not high.any():
        return
    p = progress(history)
    # One kernel alone may well be a last layer that chases noise.
    broad = high.mean() >= 0.5 and (not p.by_batch or p.updates >= 300)
    far_off = (taken > 3 * limit) & (smallness(history, window.places) == 1)
    if p.stuck(0.2) and (broad or far_off.any()):
        severity = "warning"
    elif (taken > far).any() and p.judged and p.epochs + history.observed >= 10:
        high = taken > far
        severity = "warning" if p.stuck(0.9) else "info"
    else:
        return
    yield from _told(history, window, taken, high, severity)


def _told(
    history: RunHistory,
    window: Window,
    taken: np.ndarray,
    high: np.ndarray,
    severity: str,
) -> Iterator[Sign]:
    usual = float(middle(taken))
    apart = high & (taken > _APART * usual)
    at = np.flatnonzero(apart if apart.any() else high)
    worst = float(taken[at].max())
    factor = 10 ** -max(1, round(math.log10(worst / 1e-3)) - 1)
    places = [window.places[i] for i in at]
    yield Sign(
        where=places[0] if len(places) == 1 else "",
        seen=f"update ratio {number(worst)} over the last "
        f"{len(window.steps)} observed steps (about 1e-3 is healthy)"
        + (f", in {names(places)}" if len(places) > 1 else ""),
        cause="Likely the learning rate is too high",
        action=try_rate(history, max(factor, 1e-3)),
        alternatives=("warm the learning rate up", "larger initial weights there"),
        evidence={"update_ratio": worst, "median": usual, "kernels": len(places)},
        since=(float(window.steps[0]), float(window.epochs[0])),
        severity=severity,
    )


@rule(
    kind="symptom: too slow",
    severity="warning",
    when=("epoch", "end"),
    since=_RATIO,
)
def update_ratio_too_low(
    history: RunHistory, *, limit: float = 1e-6, others: float = 1e-4, patience: int = 5
) -> Iterator[Sign]:
    """Some kernels barely change while others do.

    What it sees:
        The median update ratio of kernels over the last `patience` observed steps
        (three at least) is below `limit`, a thousandth of what is healthy, while
        others' are above `others`; and the model is stuck. Where no kernel changes,
        `learning-rate-too-low` reports it.

    Why it matters:
        At 1e-6 it takes a million steps to replace a kernel: these layers stay as they
        were initialized.

    What to do:
        Look at the gradients of these layers; with SGD, try Adam, which gives every
        layer steps of the same size.

    When it is wrong:
        Layers that were trained before and need no change. Zero updates are left out:
        they are frozen or disconnected layers.

    References:
        CS231n, Neural Networks Part 3, "Ratio of weights:updates".
    """
    found = _lately(history, min(patience, 5))
    if found is None:
        return
    window, taken = found
    low = (taken > 0) & (taken < limit)
    if not low.any() or not (taken > others).any() or not progress(history).stuck(0.5):
        return
    places = [window.places[i] for i in np.flatnonzero(low)]
    least = float(taken[low].min())
    yield Sign(
        where=places[0],
        seen=f"update ratio {number(least)} over the last {len(window.steps)} "
        f"observed steps (about 1e-3 is healthy), in {names(places)}",
        cause="Likely almost no gradient reaches these layers",
        action="use ReLU activations with He initialization, or BatchNormalization",
        alternatives=("Adam in place of plain SGD",),
        evidence={"update_ratio": least, "kernels": len(places)},
        since=(float(window.steps[0]), float(window.epochs[0])),
    )
