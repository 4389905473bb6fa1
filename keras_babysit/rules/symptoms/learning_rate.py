"""Rules about the learning rate, by what it does to the loss."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.kernels import (
    largest_ratio,
    middle,
    ratios,
    since_start,
)
from keras_babysit.rules.evidence.phrases import (
    number,
    percent,
    rate_fixes,
    rate_in_force,
    try_rate,
)
from keras_babysit.rules.evidence.progress import Progress, first_losses, progress
from keras_babysit.rules.rule import Sign, rule

#: The loss that the first updates have led to is that of one of so many first steps.
_FIRST_STEPS = 6

_LOSS_CURVE = (
    "CS231n, Neural Networks Part 3: Babysitting the learning process, Loss function"
)


@rule(
    kind="symptom: too slow",
    severity="warning",
    when=("epoch", "end"),
    since=f"{_LOSS_CURVE}; Ratio of weights:updates",
    also=("update-ratio-too-low",),
)
def learning_rate_too_low(
    history: RunHistory, *, limit: float = 1e-4, slow: float = 1e-3
) -> Iterator[Sign]:
    """The steps are so small that almost nothing is learned.

    What it sees:
        No kernel ever changed by more than `limit` of itself in an observed step, nor
        can by 30 % in all of them, while the model is little better than a constant
        prediction. Or none by more than `slow`, and the loss falls slowly along a
        straight line: after 20 epochs, or at the end after five, it has made less than
        half of the way, and the later half as fast as the first. Or a schedule has
        brought the rate below a hundredth of what it was for half of the training.

    Why it matters:
        A loss that falls along a straight line has not reached the point where learning
        gets hard: larger steps would get there in a fraction of the time.

    What to do:
        Raise the learning rate tenfold.

    When it is wrong:
        Small steps are right for fine-tuning a trained model: the rule is silent there,
        because the model is good from the start. It is also silent while the rate is
        warming up.

    References:
        CS231n, Neural Networks Part 3, "Loss function" and "Ratio of weights:updates".
        Smith, A disciplined approach to neural network hyper-parameters (2018).
    """
    p = progress(history)
    # Anything that made half of the way does not learn too slowly to see.
    if not p.judged or not p.skill < 0.5 or p.peak >= 0.5 or _warms_up(history):
        return
    most = largest_ratio(history)
    # Even if all steps went the same way, the kernels would be nearly as at first.
    still = most * p.updates < 0.3 or most < 0.1 * limit
    tiny = most < limit and still and p.skill < 0.2 and p.gain < 0.1
    lasted = history.ended or p.epochs >= 20
    line = most < slow and lasted and _falls_in_line(p)
    faded = _has_faded(history, p)
    if faded:
        yield faded
    elif tiny or line:
        rate = rate_in_force(history)
        how = "barely moves" if tiny else "falls slowly, along a straight line"
        yield Sign(
            where="",
            seen=f"the loss {how} ({_from_to(p)}) with update ratios of at most "
            f"{number(most)} (about 1e-3 is healthy)",
            cause="Likely the learning rate is too low",
            action=try_rate(history, 100 if most < 1e-5 else 10),
            alternatives=("Adam in place of plain SGD", "more epochs"),
            evidence={"update_ratio": most, "skill": p.skill, "learning_rate": rate},
            since=(0.0, 0.0),
            fixes=rate_fixes(history, 10, 100, 1000),
        )


def _has_faded(history: RunHistory, p: Progress) -> Sign | None:
    """A rate that a schedule has all but ended, long before anything was learned."""
    rates = history.values("learning_rate")
    if len(rates) < 6 or not p.gain < 0.05 or not rates.max() > 0:
        return None
    # By steps: early ones are observed more densely than later ones.
    steps = np.array(history.series("learning_rate")[0])
    late = rates[steps >= (steps[0] + steps[-1]) / 2]
    if len(late) < 3 or not (late < 1e-2 * rates.max()).all():
        return None
    return Sign(
        where="",
        seen=f"for half of the training the learning rate has been below 1 % of the "
        f"{number(rates.max())} that it was, and is {number(rates[-1])} now, with the "
        f"loss at {number(p.last)}",
        cause="Likely the schedule decays the learning rate too fast",
        action="give the schedule's lengths in steps of the whole training: "
        "epochs * steps_per_epoch",
        alternatives=("a constant learning rate first",),
        evidence={"learning_rate": rates[-1], "largest": rates.max(), "skill": p.skill},
        fixes=(fixes.learning_rate(float(rates.max())),),
    )


def _from_to(p: Progress) -> str:
    known = [x for x in (p.start, *p.losses[:1]) if math.isfinite(x)]
    return f"from {number(known[0] if known else math.nan)} to {number(p.last)}"


def _warms_up(history: RunHistory) -> bool:
    rates = history.values("learning_rate")
    return len(rates) > 1 and bool(rates[-1] > 1.01 * rates.min())


def _falls_in_line(p: Progress) -> bool:
    losses = p.losses
    n = len(losses)
    if n < 5 or p.epochs < 5:
        return False
    half = n // 2
    early, late = losses[0] - losses[half], losses[-1 - half] - losses[-1]
    noise = float(np.median(np.abs(np.diff(losses, 2))))
    return bool(late > 0.7 * early and early > 2 * noise and late > 2 * noise)


@rule(
    kind="symptom: breaks down",
    severity="warning",
    when=("step", "epoch", "end"),
    since=f"{_LOSS_CURVE}; Ratio of weights:updates",
)
def learning_rate_too_high(
    history: RunHistory,
    *,
    limit: float = 3e-2,
    far: float = 0.1,
    first: float = 0.3,
    growth: float = 10.0,
    jump: float = 3.0,
) -> Iterator[Sign]:
    """The steps are so large that they destroy what was learned.

    What it sees:
        The model is stuck near a constant prediction (or has lost most of what it had
        learned), and its kernels show why: they change by more than `limit` of
        themselves per step (30 times what is healthy), or the very first update
        changed them by more than `first`, or they have grown `growth`-fold. Where they
        still change by more than `far` a step, which replaces them every ten steps, it
        is enough that the model is not good and not getting better. Or, from the second
        step on: the first updates changed the kernels by more than `first` and took the
        loss to more than `jump` times what it was; that stands until the model is good.

    Why it matters:
        The loss drops at first and then stays high, or jumps: there is too much
        energy in the steps to settle in a good place.

    What to do:
        Lower the learning rate tenfold.

    When it is wrong:
        Kernels that start near zero grow manifold in healthy runs; so the weights alone
        never count without a bad loss.

    References:
        CS231n, Neural Networks Part 3, "Loss function" and "Ratio of weights:updates".
        Bengio, Practical recommendations for gradient-based training (2012), 3.1.1.
    """
    p = progress(history)
    why, ratio = _destroyed(history, p, limit, far, first, growth)
    if why:
        yield Sign(
            where="",
            seen=f"{why}, and the loss is stuck at {number(p.last)}",
            cause="Likely the learning rate is too high",
            action=try_rate(history, 0.01 if ratio > 1 else 0.1),
            alternatives=("warm the learning rate up", "clipnorm=1.0"),
            evidence={"update_ratio": ratio, "skill": p.skill, "peak": p.peak},
            severity="error" if p.skill < 0.02 else None,
            fixes=rate_fixes(history, 0.1, 0.01),
        )
    elif not p.skill > 0.9:
        yield from _blown(history, first, jump)


def _destroyed(
    history: RunHistory,
    p: Progress,
    limit: float,
    far: float,
    first: float,
    growth: float,
) -> tuple[str, float]:
    """What shows that too large steps keep the model bad, and how large they were."""
    lost = p.judged and p.peak - p.skill > 0.5 and p.gain < 0.05
    lately = ratios(history, 10)
    now = float(middle(middle(lately.values))) if lately.values.size else math.nan
    if not (lost or p.stuck(0.9)) or history.observed < 3 or math.isnan(now):
        return "", now
    bad = lost or p.stuck(0.2)
    if (p.stuck(0.9) and now > far) or (bad and now > limit):
        return _changing(now), now
    thrown = _thrown(history, first, growth) if bad else ""
    return thrown, max(now, since_start(history).ratio)


def _blown(history: RunHistory, first: float, jump: float) -> Iterator[Sign]:
    """The first updates made other weights, with which the loss is far worse."""
    start = progress(history).start
    early = first_losses(history, _FIRST_STEPS)
    ratio = since_start(history).ratio
    if len(early) < 2 or not ratio > first:
        return
    worst = float(np.max(early))
    if not (start > 0 and jump * start < worst < math.inf):
        return
    yield Sign(
        where="",
        seen=f"the first update changed the weights by {percent(ratio)}, and the loss "
        f"went from {number(start)} to {number(worst)}",
        cause="Likely the learning rate is too high: the initialization is lost",
        action=try_rate(history, 0.01 if ratio > 1 else 0.1),
        alternatives=("warm the learning rate up",),
        evidence={"update_ratio": ratio, "start": start, "worst": worst},
        since=(0.0, 0.0),
        fixes=rate_fixes(history, 0.1, 0.01),
    )


def _changing(ratio: float) -> str:
    return (
        f"update ratio {number(ratio)} over the last observed steps (about 1e-3 is "
        "healthy)"
    )


def _thrown(history: RunHistory, first: float, growth: float) -> str:
    """What the kernels went through earlier on, if it was too much."""
    start = since_start(history)
    if start.ratio > first:
        return f"the first update changed the weights by {percent(start.ratio)}"
    if start.growth > growth:
        return f"the weights have grown {number(start.growth)}-fold"
    return ""
