"""Rules about the learning-rate schedule, over the run that is coming."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.facts import FitFacts, ScheduleFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.kernels import largest_ratio
from keras_babysit.rules.evidence.phrases import count, number, percent, rate_fixes
from keras_babysit.rules.evidence.progress import progress
from keras_babysit.rules.rule import Sign, rule

_EXPLAINED = (
    "learning-rate-too-low",
    "update-ratio-too-low",
    "vanishing-gradients",
)


@rule(
    kind="limit",
    severity="warning",
    when=("start", "epoch", "end"),
    since="Goyal et al., Accurate, Large Minibatch SGD, 2017: five epochs of 90",
    also=_EXPLAINED,
    refutable=True,
)
def warmup_too_long(
    history: RunHistory,
    *,
    reached: float = 0.5,
    good: float = 0.7,
    unlearned: float = 0.2,
) -> Iterator[Sign]:
    """The learning rate is still warming up when the run ends.

    What it sees:
        A schedule that rises all through the run that is coming (of two epochs or
        more), and does not get to the share `reached` of the highest rate that it
        has later on. Where a callback sets the rate: one that has risen all through
        the run, while the loss barely moved (a skill below `unlearned`) and no kernel
        changed by more than a thousandth of itself in a step.

    Why it matters:
        The run trains at a small part of the rate that was chosen. Warm-up lengths are
        often copied from runs of 100,000 updates.

    What to do:
        Warm up over five to ten percent of the run.

    When it is wrong:
        If the model still gets good (a skill of `good`), the finding is withdrawn. A
        `fit` that is one of many, each of which continues the schedule, is left out if
        it is of one epoch. A rate that only ever rises, as in a range test, is no
        warm-up.

    References:
        Goyal et al., Accurate, Large Minibatch SGD (2017), section 2.2.
        Vaswani et al., Attention Is All You Need (2017), section 5.3: 4,000 of 100,000.
    """
    _, s = _schedule(history)
    if s is None:
        yield from _still_rising(history, unlearned)
        return
    if progress(history).peak >= good:
        return
    inside = _inside(s)
    top, peak = float(inside.max()), float(s.rates.max())
    at = int(s.steps[int(np.argmax(s.rates))])
    rises = (np.diff(inside) >= -1e-6 * peak).all() and inside[-1] > inside[0]
    # Beyond the last point it may rise still: then there is no top to get to.
    if not rises or at in (s.steps[-1], s.end - 1) or not top < reached * peak:
        return
    length = s.end - s.begin
    yield Sign(
        where="",
        seen=f"the learning rate rises to {number(top)} in the "
        f"{count(length, 'update')} of this run, {percent(top / peak)} of the "
        f"{number(peak)} that it reaches at about update {at:,}",
        cause="The warm-up is longer than the run",
        action=f"warm up over {max(length // 10, 1):,} updates, a tenth of the run",
        alternatives=("train for longer", "a constant learning rate"),
        evidence={"highest": top, "later": peak, "updates": length, "peak_at": at},
        since=(0.0, 0.0),
        fixes=(fixes.learning_rate(peak),),
    )


def _still_rising(history: RunHistory, unlearned: float) -> Iterator[Sign]:
    """A warm-up by a callback: what comes later is not known, only what was."""
    rates = history.values("learning_rate")
    p = progress(history)
    model = history.model
    scheduled = model is None or model.optimizer is None or model.optimizer.scheduled
    if not history.ended or scheduled or len(rates) < 6 or not p.judged:
        return
    rises = (np.diff(rates) >= 0).all() and rates[-1] > 2 * rates[0]
    if not rises or not p.peak < unlearned or largest_ratio(history) > 1e-3:
        return
    yield Sign(
        where="",
        seen=f"the learning rate has risen from {number(rates[0])} to "
        f"{number(rates[-1])} all through the run, and the loss barely moved",
        cause="Likely the warm-up is longer than the run",
        action=f"warm up over {max(p.batches // 10, 1):,} updates, a tenth of the run",
        alternatives=("a constant learning rate",),
        evidence={"first": rates[0], "last": rates[-1], "updates": p.updates},
        fixes=rate_fixes(history, 10, 100),
    )


@rule(
    kind="limit",
    severity="warning",
    when=("start", "epoch", "end"),
    since="Keras: `decay_steps` of its schedules are updates, not epochs",
    also=_EXPLAINED,
    refutable=True,
)
def schedule_ends_early(
    history: RunHistory,
    *,
    faded: float = 1e-2,
    worth: float = 0.1,
    good: float = 0.7,
) -> Iterator[Sign]:
    """The learning rate is almost zero for most of the run.

    What it sees:
        A schedule that over the run that is coming (of two epochs or more) is worth
        less than the share `worth` of its updates, and less than two epochs of them, at
        its highest rate, and that is below `faded` of that rate for the later half.
        Or one whose rate is 0 all through the run. Or that was below `faded` before
        the run begins, because the optimizer has been used before.

    Why it matters:
        What is not learned in the first updates is never learned.

    What to do:
        Give the lengths of Keras's schedules in updates: epochs times batches an
        epoch. Before a second training run, compile the model again with a new
        schedule.

    When it is wrong:
        If the model still gets good (a skill of `good`), the finding is withdrawn.

    References:
        Keras: `keras.optimizers.schedules.ExponentialDecay`.
    """
    fit, s = _schedule(history)
    if s is None or fit is None or progress(history).peak >= good:
        return
    inside, peak = _inside(s), float(s.rates[s.steps < s.end].max())
    length = s.end - s.begin
    if not inside.max() > 0:
        yield _ended(s, inside, "the learning rate is 0 all through this run", "error")
        return
    if s.begin and inside.max() < faded * peak:
        seen = (
            f"the learning rate is {number(inside.max())} from the start: the schedule "
            f"continues at update {s.begin:,} and began with {number(peak)}"
        )
        yield _ended(s, inside, seen, None)
        return
    later = _inside(s, s.begin + length // 2)
    full = float(np.trapezoid(inside, s.steps[_of_run(s)])) / inside.max()
    epoch = length / (fit.epochs or 1)
    if full < min(worth * length, 2 * epoch) and later.max() < faded * inside.max():
        seen = (
            f"the schedule is worth {count(math.ceil(full), 'update')} at its highest "
            f"rate, of the {length:,} that this run makes: it is below "
            f"{percent(faded)} of {number(inside.max())} for more than half of them"
        )
        yield _ended(s, inside, seen, None)


def _ended(s: ScheduleFacts, inside: np.ndarray, seen: str, how: str | None) -> Sign:
    length = s.end - s.begin
    return Sign(
        where="",
        seen=seen,
        cause="The schedule had ended before this run"
        if s.begin
        else "Likely its lengths are meant as epochs, but count updates",
        action="compile the model again, with a new schedule"
        if s.begin
        else f"give its lengths in updates: this run makes {length:,}",
        alternatives=("a constant learning rate first",),
        evidence={"first": inside[0], "last": inside[-1], "updates": length},
        since=(0.0, 0.0),
        severity=how,
        fixes=(fixes.learning_rate(float(s.rates.max())),),
    )


def _schedule(history: RunHistory) -> tuple[FitFacts | None, ScheduleFacts | None]:
    """The schedule of a run that is long enough to be one by itself."""
    fit = history.fit
    if fit is None or fit.schedule is None or (fit.epochs or 0) < 2:
        return None, None
    s = fit.schedule
    return (fit, s) if np.isfinite(s.rates).all() else (None, None)


def _of_run(s: ScheduleFacts, begin: float = 0) -> np.ndarray:
    return (s.steps >= max(s.begin, begin)) & (s.steps < s.end)


def _inside(s: ScheduleFacts, begin: float = 0) -> np.ndarray:
    """The rates within the run."""
    return s.rates[_of_run(s, begin)]
