"""Rules about the loss over the epochs: where it goes, and how smoothly."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.chance import constant_loss
from keras_babysit.rules.evidence.kernels import middle
from keras_babysit.rules.evidence.phrases import number, rate_fixes, try_rate
from keras_babysit.rules.evidence.progress import Progress, progress
from keras_babysit.rules.rule import Sign, rule

_LOSS_CURVE = (
    "CS231n, Neural Networks Part 3: Babysitting the learning process, Loss function"
)


@rule(
    kind="symptom: unstable",
    severity="error",
    when=("step", "epoch"),
    since=_LOSS_CURVE,
    also=(
        "exploding-gradients",
        "loss-oscillating",
        "overfitting",
        "update-ratio-too-low",
    ),
)
def loss_diverging(
    history: RunHistory, *, limit: float = 3.0, back: float = 0.5
) -> Iterator[Sign]:
    """The loss goes up and stays up.

    What it sees:
        The training loss of the last two epochs above `limit` times that of the
        untrained model (or of the best constant prediction, if that is more), and not
        falling fast. Or a loss that was learned down and has been back up, by more
        than the share `back` of the way, for three epochs in a row. Before three epochs
        are over, ten observed batches count as one, and the limit is three times that.

    Why it matters:
        A loss above that of the untrained model means that the steps make it worse.

    What to do:
        Lower the learning rate tenfold; go back to the last good weights.

    When it is wrong:
        The loss is meant to rise: a penalty that grows, harder samples later,
        adversarial training. Models with a custom `train_step` are left out for that
        reason.

    References:
        CS231n, Neural Networks Part 3, "Loss function".
        Goodfellow, Bengio, Courville, Deep Learning (2016), 11.4.1 (learning rate).
    """
    if not _may_diverge(history):
        return
    p = progress(history)
    seen = _above_start(p, limit) or _fell_back(p, back)
    if seen:
        yield Sign(
            where="",
            seen=seen,
            cause="Likely the learning rate is too high",
            action=try_rate(history, 0.1),
            alternatives=("clip the gradients: clipnorm=1.0 in the optimizer",),
            evidence={"loss": p.losses[-1], "best": p.losses.min(), "start": p.start},
            fixes=(*rate_fixes(history, 0.1, 0.01), fixes.clip()),
        )


def _may_diverge(history: RunHistory) -> bool:
    """Whether the last loss gives any reason to look closer; that is cheap."""
    model = history.model
    if model is not None and model.custom_train_step:
        return False
    return history.last_epoch is not None or history.observed >= 20


def _above_start(p: Progress, limit: float) -> str:
    known = [x for x in (p.start, p.reference) if math.isfinite(x)]
    if len(p.losses) < 2 or not known:
        return ""
    # The first steps may well overshoot before they come down.
    limit, least = (3 * limit, 60) if p.by_batch else (limit, 20)
    bar, last, before = limit * max(known), p.losses[-1], p.losses[-2]
    if p.updates < least or bar <= 0 or min(last, before) <= bar:
        return ""
    if last < 0.7 * before:
        return ""
    return (
        f"the loss is {number(last)} after {p.updates} updates, {number(max(known))} "
        "before any learning"
    )


def _fell_back(p: Progress, back: float) -> str:
    n = len(p.losses)
    if n < 6 or not math.isfinite(p.reference) or p.updates < 60:
        return ""
    best = float(p.losses[:-3].min())
    bar = best + back * (p.reference - best)
    if p.reference <= best or p.losses[-3:].min() <= bar:
        return ""
    if best > 0.8 * p.reference:
        return ""  # Nothing was learned that could be lost: noise.
    return f"the loss had come down to {number(best)} and is {number(p.losses[-1])} now"


@rule(
    kind="symptom: unstable",
    severity="warning",
    when="epoch",
    since=_LOSS_CURVE,
)
def loss_oscillating(
    history: RunHistory, *, limit: float = 0.25, patience: int = 8
) -> Iterator[Sign]:
    """The epochs' loss jumps up and down and gets nowhere.

    What it sees:
        Over the last `patience` epochs the training loss changed direction most of
        the time, by steps of at least the share `limit` of all that was learned so
        far and of a tenth of its own size, without going down; and more than the
        noise of its batches explains.

    Why it matters:
        The steps overshoot the valley that they should descend into.

    What to do:
        Lower the learning rate about threefold, or let it decay.

    When it is wrong:
        An epoch is a handful of batches of generated data.

    References:
        CS231n, Neural Networks Part 3, "Loss function".
        LeCun et al., Efficient BackProp (1998), 4.7 Choosing learning rates.
    """
    losses = history.values("epoch.loss")
    if len(losses) < max(patience, 4) or not np.isfinite(losses).all():
        return
    recent = losses[-int(max(patience, 4)) :]
    jump = _jumps(recent)
    p = progress(history)
    learned = max(p.reference, losses[0]) - losses.min()
    big = jump > max(limit * learned, 0.1 * abs(recent.mean()))
    if big and jump > 3 * _noise_of_mean(history) and p.skill < 0.9:
        yield Sign(
            where="",
            seen=f"the loss jumps by {number(jump)} from epoch to epoch, around "
            f"{number(recent.mean())}, without getting better",
            cause="Likely the learning rate is too high",
            action=try_rate(history, 0.3),
            alternatives=("a learning-rate schedule that decays", "a larger batch"),
            evidence={"jump": jump, "mean": recent.mean(), "best": losses.min()},
            fixes=rate_fixes(history, 0.1, 0.01),
        )


def _jumps(recent: np.ndarray) -> float:
    """Median size of the jumps, if they go up and down and nowhere; else 0."""
    steps = np.diff(recent)
    turns = (steps[1:] * steps[:-1] < 0).mean()
    jump = float(np.median(np.abs(steps)))
    half = len(recent) // 2
    sinks = recent[:half].mean() - recent[half:].mean() > 0.5 * jump
    return 0.0 if turns < 0.5 or sinks else jump


def _noise_of_mean(history: RunHistory) -> float:
    """Standard error of an epoch's loss that comes from its batches."""
    spread = history.values("epoch.loss_std")
    steps = history.series("epoch.loss").steps
    if not len(spread) or len(steps) < 2 or not math.isfinite(spread[-1]):
        return 0.0
    batches = max((steps[-1] - steps[0]) / (len(steps) - 1), 1.0)
    return float(spread[-1]) / math.sqrt(batches)


@rule(
    kind="symptom: does not learn",
    severity="warning",
    when=("epoch", "end"),
    since=_LOSS_CURVE,
    also=("accuracy-at-majority", "underfitting"),
)
def loss_flat(
    history: RunHistory,
    *,
    limit: float = 0.02,
    patience: int = 10,
    patience_at_end: int = 3,
) -> Iterator[Sign]:
    """Nothing has been learned since the start.

    What it sees:
        By no loss and no metric, of training or validation, has the model ever been
        better than a constant prediction by more than the share `limit` of the way to a
        perfect one, and the loss has not fallen by 5 % in the later half. It is
        reported after `patience` epochs and 200 updates, or when the training ends
        after `patience_at_end` epochs and 50 updates. It is an error when the loss is
        the same to six digits: then nothing can change any more.

    Why it matters:
        More epochs will not help: something cuts the inputs off from the outputs, or
        the targets have nothing to do with the inputs.

    What to do:
        Check whether the model can memorize twenty samples. If it cannot, look at the
        output activation, the loss and the learning rate; if it can, look at the data.

    When it is wrong:
        Some tasks stay flat for a long time and are then learned at once (parity, long
        memories). Where less than 2 % of the targets can be predicted, being flat is
        right.

    References:
        CS231n, Neural Networks Part 3, "Sanity checks: overfit a tiny subset".
        Karpathy, A Recipe for Training Neural Networks (2019).
    """
    p = progress(history)
    losses = history.values("epoch.loss")
    needed = (patience_at_end, 50) if history.ended else (patience, 200)
    if p.epochs < needed[0] or p.updates < needed[1] or not len(p.losses):
        return
    stands = len(losses) > 2 and np.ptp(losses) <= 1e-6 * abs(losses[-1])
    if not p.peak < limit and not (stands and p.skill < 0.5):
        return
    if _fell_from_start(history, p):
        return
    half = p.losses[len(p.losses) // 2 - 1 :]
    if half[0] - half.min() > 0.05 * abs(half[0]):
        return  # Bad as it is, it falls.
    chance = p.reference
    what = "it began with" if chance == p.start else "a constant prediction has"
    than = f" ({what} {number(chance)})" if chance == chance else ""
    yield Sign(
        where="",
        seen=f"the loss is {number(p.losses[-1])} after {p.epochs} epochs{than}: "
        "nothing was learned",
        cause="Likely the gradient does not reach the weights, or the targets do not "
        "depend on the inputs",
        action="check whether the model can memorize 20 samples; if not, look at "
        "the output activation and the loss",
        alternatives=(try_rate(history, 0.1), try_rate(history, 10)),
        evidence={"loss": p.losses[-1], "constant": chance, "skill": p.skill},
        since=(0.0, 0.0),
        severity="error" if stands else None,
        fixes=rate_fixes(history, 0.1, 10, 0.01),
    )


def _fell_from_start(history: RunHistory, p: Progress) -> bool:
    """Whether a loss of which no constant is known has come down all the same."""
    if not math.isnan(constant_loss(history)) or not p.losses[-1] > 0:
        return False
    within = 1 - p.losses[-1] / p.losses[0]
    return bool(within > 0.2 or p.losses[-1] < 0.5 * p.start)


@rule(
    kind="remark",
    severity="info",
    when="epoch",
    since=_LOSS_CURVE,
)
def loss_plateaued(
    history: RunHistory, *, limit: float = 0.01, patience: int = 10
) -> Iterator[Sign]:
    """The loss has stopped falling well above its floor.

    What it sees:
        Over the last `patience` epochs the best training loss got better by less than
        the share `limit` of what had been learned before, while there is at least a
        tenth of the way left to go.

    Why it matters:
        The epochs since then were wasted, or the learning rate is too high for what is
        left to learn.

    What to do:
        Lower the learning rate; if that does not help, the model is as good as it
        gets with this size and these data.

    When it is wrong:
        What is left is noise in the targets, which no model can predict.

    References:
        CS231n, Neural Networks Part 3, "Annealing the learning rate".
        Keras: `ReduceLROnPlateau`, `EarlyStopping`.
    """
    losses = history.values("epoch.loss")
    n = int(max(patience, 2))
    if len(losses) < 2 * n or not np.isfinite(losses).all():
        return
    # Where no rate was ever seen, as in L-BFGS, none is too high.
    if not len(history.values("learning_rate")):
        return
    p = progress(history)
    before, now = losses[:-n].min(), losses[-n:].min()
    learned = max(losses[0], p.reference) - before
    if p.skill < 0.9 and p.peak > 0.05 and before - now < limit * learned:
        yield Sign(
            where="",
            seen=f"the loss is {number(now)} and has not got better for {n} epochs "
            f"({number(before)} before)",
            cause="Likely the learning rate is too high for what is left to learn, or "
            "the model has learned what it can",
            action=try_rate(history, 0.1),
            alternatives=("a larger model", "stop here: EarlyStopping"),
            evidence={"loss": now, "before": before, "skill": p.skill},
        )


@rule(
    kind="remark",
    severity="info",
    when="epoch",
    since=f"{_LOSS_CURVE}: wiggle and batch size",
)
def batch_loss_noisy(
    history: RunHistory, *, limit: float = 0.5, patience: int = 5
) -> Iterator[Sign]:
    """The batch loss is so noisy that the batch is likely too small.

    What it sees:
        Over `patience` epochs the standard deviation of the observed batches' losses
        (five or more an epoch) was above the share `limit` of their mean, and more
        than ten times what an epoch improves, with batches of 16 or fewer and a model
        that is not good yet.

    Why it matters:
        Steps follow the noise of single samples rather than the data.

    What to do:
        Double the batch size, or lower the learning rate.

    When it is wrong:
        Small batches with a small learning rate average out just as well.

    References:
        CS231n, Neural Networks Part 3, "Loss function": the wiggle.
        McCandlish et al., An Empirical Model of Large-Batch Training (2018).
    """
    n = int(max(patience, 3))
    spread = history.values("epoch.loss_std")[-n:]
    losses = history.values("epoch.loss")[-n:]
    size = history.data.batch_size if history.data is not None else None
    record = history.last_epoch
    if record is None or record.loss_count < 5 or not size or size > 16:
        return
    if len(spread) < n or len(losses) < n or not progress(history).skill < 0.9:
        return
    noise, level = float(middle(spread)), float(middle(losses))
    step = float(np.median(-np.diff(losses)))
    if noise > limit * abs(level) and noise > 10 * step:
        yield Sign(
            where="",
            seen=f"the loss varies by {number(noise)} from batch to batch, around "
            f"{number(level)}",
            cause=f"Likely batches of {size} are too small",
            action=f"try batches of {2 * size}",
            alternatives=(try_rate(history, 0.3),),
            evidence={"loss_std": noise, "loss": level, "batch_size": size},
        )
