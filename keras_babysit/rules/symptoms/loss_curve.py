"""Rules about the loss and the accuracy: their level and their shape over time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.facts import ArrayFacts, LossFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.kernels import (
    largest_ratio,
    middle,
    ratios,
    since_start,
)
from keras_babysit.rules.evidence.phrases import (
    number,
    percent,
    rate_in_force,
    try_rate,
)
from keras_babysit.rules.evidence.progress import (
    CLASS_LOSSES,
    Progress,
    accuracy_name,
    majority,
    progress,
    target_of,
)
from keras_babysit.rules.rule import Sign, rule

_PART_3 = "CS231n, Neural Networks Part 3"
_LOSS_CURVE = f"{_PART_3}: Babysitting the learning process, Loss function"

# Not finite.


@rule(
    severity="error",
    when=("step", "epoch"),
    since=f"{_PART_3}; Goodfellow et al., Deep Learning, 4.1",
    symptoms=(
        "initial-loss-off-chance",
        "loss-diverging",
        "loss-oscillating",
        "loss-flat",
        "loss-plateaued",
        "learning-rate-too-low",
        "learning-rate-too-high",
        "batch-loss-noisy",
        "accuracy-at-majority",
        "update-ratio-too-high",
        "update-ratio-too-low",
        "disconnected-layer",
        "vanishing-gradients",
        "exploding-gradients",
        "dead-relu",
        "saturated-activation",
        "activations-collapsing",
        "activations-exploding",
        "overfitting",
        "underfitting",
        "validation-better",
        "stopped-too-early",
        "noisy-first-layer",
    ),
)
def loss_not_finite(history: RunHistory) -> Iterator[Sign]:
    """The loss or a weight is NaN or infinite.

    What it sees:
        A loss (of an observed batch, of an epoch, of the validation) or a weight that
        is not finite, and where that came up first: in forward order through the
        layers' outputs, in backward order through the gradients. Weights are looked
        at too, because a ReLU can turn the NaN of an input into a zero: then the loss
        stays finite while the first kernel is lost.

    Why it matters:
        Every further update of such a weight is NaN: nothing can be learned any more.

    What to do:
        Clean the inputs and targets if they hold NaN; else lower the learning rate,
        clip the gradient's norm, and compute cross-entropies from logits.

    When it is wrong:
        Gradients alone that are infinite do not count: a loss scale (mixed precision)
        that skips such steps is healthy. Nor do outputs alone: masks may be infinite.

    References:
        CS231n, Neural Networks Part 3, "Babysitting the learning process".
        Goodfellow, Bengio, Courville, Deep Learning (2016), 4.1 Overflow and underflow.
        Micikevicius et al., Mixed Precision Training (2018), 3.2 Loss scaling.
    """
    logs = history.last_epoch.logs if history.last_epoch is not None else {}
    step = history.last_step
    lost = step is not None and step.loss is not None and not math.isfinite(step.loss)
    if step is not None and history.position[0] > step.step and "loss" in logs:
        lost = lost or not math.isfinite(logs["loss"])
    elif step is None:
        lost = not math.isfinite(logs.get("loss", 0.0))
    if lost or {"weight", "update"} & set(history.lost):
        yield _not_finite(history)
    elif not math.isfinite(logs.get("val_loss", 0.0)):
        yield Sign(
            where="val_loss",
            seen="the validation loss is not finite, the training loss is",
            cause="Likely the validation data hold NaN or values far from the "
            "training data's",
            action="look for NaN and Inf in the validation inputs and targets",
            severity="warning",
        )


def _not_finite(history: RunHistory) -> Sign:
    where, what, since = _origin(history)
    cause, action = _reason(history)
    return Sign(
        where=where,
        seen=f"{what} (all should be finite)",
        cause=cause,
        action=action,
        alternatives=(
            "clip the gradients: clipnorm=1.0 in the optimizer",
            "give the loss logits: no output activation and from_logits=True",
        ),
        evidence={"first": where or "loss", "step": since[0]},
        since=since,
    )


def _origin(history: RunHistory) -> tuple[str, str, tuple[float, float]]:
    """Where it was first, what was seen, and since when."""
    if not history.lost:
        return "", "the loss is not finite", history.position
    begin = min(step for step, _, _ in history.lost.values())
    first = {k: v for k, v in history.lost.items() if v[0] == begin}
    field = next(f for f in ("weight", "activation", *first) if f in first)
    step, epoch, places = first[field]
    if field == "weight":
        count = len(history.window("weight", 1).places)
        text = f"has values that are not finite, as have {len(places)} of {count}"
        return places[0], f"{text} weights", (step, epoch)
    # Gradients come from the back, everything else from the front.
    place = places[-1] if field == "gradient" else places[0]
    what = "output" if field == "activation" else field
    return place, f"its {what} is the first that is not finite", (step, epoch)


def _reason(history: RunHistory) -> tuple[str, str]:
    data = history.data
    arrays = (*data.inputs, *data.targets) if data is not None else ()
    dirty = [a.name for a in arrays if a.nan or a.inf]
    if dirty:
        text = f"{dirty[0]} holds NaN or Inf"
        return text, f"drop or fill in what is not finite in {dirty[0]}"
    if _was_growing(history):
        return "Likely the learning rate is too high", try_rate(history, 0.1)
    return (
        "Likely a logarithm or a division of zero, NaN in the data, or a learning "
        "rate that is too high",
        "look for NaN in inputs and targets first, then " + try_rate(history, 0.1),
    )


def _was_growing(history: RunHistory) -> bool:
    """Whether steps were huge or the loss rose before it was lost."""
    taken = history.window("update_ratio").values
    if (taken[np.isfinite(taken)] > 1).sum() > 1:
        return True
    losses = history.values("loss")
    losses = losses[np.isfinite(losses)]
    return len(losses) > 1 and bool(losses.max() > 10 * max(losses[0], 1e-12))


# The level.


@rule(
    severity="info",
    when=("step", "epoch"),
    since=f"{_PART_3}: Sanity checks, look for correct loss at chance performance",
)
def initial_loss_off_chance(
    history: RunHistory, *, limit: float = 3.0, far: float = 10.0, least: float = 1.0
) -> Iterator[Sign]:
    """The loss before the first update is far above what chance gives.

    What it sees:
        The loss of the very first batch, penalties of the weights taken off, against
        that of a guess: log C for C classes, log 2 for binary cross-entropy, the mean
        square of the targets for a mean squared error. It is told above `limit` times
        that and `least` more than it, and is a warning above `far` times if the loss
        is still above chance after three epochs.

    Why it matters:
        A fresh model should not be sure of anything. If it is, its outputs are too
        large: the first epochs go into unlearning that, and deep layers may not
        survive it.

    What to do:
        Scale the inputs to about unit size, then look at the last layer's
        initialization.

    When it is wrong:
        With weights that were trained on something else, or losses that are weighted
        by hand inside the model. Three times chance is what two units of spread in
        the logits give, which training soon repairs: so this is told as information.

    References:
        CS231n, Neural Networks Part 3, "Before learning: sanity checks".
        Karpathy, A Recipe for Training Neural Networks (2019), "verify loss @ init".
    """
    first = _first_loss(history)
    chance = _chance_at_start(history)
    if math.isnan(first) or not chance > 0:
        return
    if first > max(limit * chance, chance + least * min(1.0, chance)):
        far_off = first > far * chance and _still_above(history, chance)
        yield Sign(
            where="",
            seen=f"the first batch's loss is {number(first)} before any update "
            f"({number(chance)} is chance)",
            cause="Likely the outputs start too large: inputs not scaled, or initial "
            "weights too large",
            action="scale the inputs to mean 0 and standard deviation 1",
            alternatives=("initialize the last layer with smaller weights",),
            evidence={"loss": first, "chance": chance},
            since=(0.0, 0.0),
            severity="warning" if far_off else None,
        )


def _first_loss(history: RunHistory) -> float:
    """Loss of step 0 without the penalties; NaN if it is not known."""
    if history.model is None or not history.observed:
        return math.nan
    try:
        series = history.series("loss")
    except KeyError:
        return math.nan
    if series.steps[0] != 0:
        return math.nan
    return float(series.values[0]) - history.model.regularization_loss


def _chance_at_start(history: RunHistory) -> float:
    model, data = history.model, history.data
    if model is None or model.custom_train_step or not model.outputs:
        return math.nan
    if data is not None and data.weighted:
        return math.nan
    total = 0.0
    for i, output in enumerate(model.outputs):
        if output.loss is not None:
            one = _guess(output.loss, output.units or 0, target_of(data, i))
            total += output.loss_weight * one
    return total


def _guess(loss: LossFacts, classes: int, target: ArrayFacts | None) -> float:
    """Loss of a model that knows nothing yet, not even the targets' mean."""
    if not loss.standard:
        return math.nan
    if loss.name == "binary_crossentropy":
        return math.log(2)
    if loss.name in CLASS_LOSSES:
        return math.log(classes) if classes > 1 else math.nan
    if loss.name == "mean_squared_error" and target is not None:
        # Outputs of unit size at first are no fault.
        return target.mean * target.mean + target.std * target.std + 1
    return math.nan


def _still_above(history: RunHistory, chance: float) -> bool:
    losses = history.values("epoch.loss")
    return len(losses) >= 3 and bool(losses[-1] > 1.5 * chance)


@rule(
    severity="error",
    when=("step", "epoch"),
    since=_LOSS_CURVE,
    symptoms=(
        "loss-oscillating",
        "loss-flat",
        "loss-plateaued",
        "accuracy-at-majority",
        "batch-loss-noisy",
        "update-ratio-too-low",
        "underfitting",
        "overfitting",
        "exploding-gradients",
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
        Where the loss is meant to rise: a penalty that is turned up, harder samples
        later on, adversarial training. Models with a `train_step` of their own are
        left out for that reason.

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


# The shape.


@rule(severity="warning", when="epoch", since=_LOSS_CURVE)
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
        The steps overshoot the valley that they should go down in.

    What to do:
        Lower the learning rate about threefold, or let it decay.

    When it is wrong:
        With epochs of a handful of batches of generated data.

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
    severity="warning",
    when=("epoch", "end"),
    since=_LOSS_CURVE,
    symptoms=(
        "accuracy-at-majority",
        "underfitting",
        "loss-plateaued",
        "batch-loss-noisy",
        "noisy-first-layer",
        "validation-better",
    ),
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
        perfect one, and the loss has not fallen by 5 % in the later half. It is told
        after `patience` epochs and 200 updates, or when the training ends after
        `patience_at_end` epochs and 50 updates. It is an error when the loss is the
        same to six digits: then nothing can change any more.

    Why it matters:
        More of the same will not help: something keeps the inputs from the outputs,
        or the targets have nothing to do with the inputs.

    What to do:
        See whether the model can learn twenty samples by heart. If it cannot, look at
        the output activation, the loss and the learning rate; if it can, at the data.

    When it is wrong:
        Some tasks stay flat for long before they are learned at once (parity, long
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
    half = p.losses[len(p.losses) // 2 - 1 :]
    if half[0] - half.min() > 0.05 * abs(half[0]):
        return  # Bad as it is, it falls.
    chance = p.reference
    than = f" (a constant prediction has {number(chance)})" if chance == chance else ""
    yield Sign(
        where="",
        seen=f"the loss is {number(p.losses[-1])} after {p.epochs} epochs{than}: "
        "nothing was learned",
        cause="Likely the gradient does not reach the weights, or the targets do not "
        "depend on the inputs",
        action="see whether the model can learn 20 samples by heart; if not, look at "
        "the output activation and the loss",
        alternatives=(try_rate(history, 0.1), try_rate(history, 10)),
        evidence={"loss": p.losses[-1], "constant": chance, "skill": p.skill},
        since=(0.0, 0.0),
        severity="error" if stands else None,
    )


@rule(severity="info", when="epoch", since=_LOSS_CURVE)
def loss_plateaued(
    history: RunHistory, *, limit: float = 0.01, patience: int = 10
) -> Iterator[Sign]:
    """The loss has stopped falling well above its floor.

    What it sees:
        Over the last `patience` epochs the best training loss got better by less than
        the share `limit` of what had been learned before, while there is at least a
        tenth of the way left to go.

    Why it matters:
        The epochs since then were for nothing, or the learning rate is too high for
        what is left to learn.

    What to do:
        Lower the learning rate; if that does not help, the model is as good as it
        gets with this size and these data.

    When it is wrong:
        Where what is left is noise in the targets, which no model predicts.

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


# What the learning rate does to it.


@rule(
    severity="warning",
    when=("epoch", "end"),
    since=f"{_LOSS_CURVE}; Ratio of weights:updates",
    symptoms=(
        "update-ratio-too-low",
        "loss-flat",
        "loss-plateaued",
        "accuracy-at-majority",
        "underfitting",
        "stopped-too-early",
        "noisy-first-layer",
        "batch-loss-noisy",
        "validation-better",
    ),
)
def learning_rate_too_low(
    history: RunHistory, *, limit: float = 1e-4, slow: float = 1e-3
) -> Iterator[Sign]:
    """The steps are so small that hardly anything is learned.

    What it sees:
        No kernel ever changed by more than `limit` of itself in an observed step, nor
        can by 30 % in all of them, while the model is little better than a constant
        prediction. Or none by more than `slow`, and the loss falls slowly along a
        straight line: after 20 epochs, or at the end after five, it has made less than
        half of the way, and the later half as fast as the first. Or a schedule has
        brought the rate below a hundredth of what it was for half of the training.

    Why it matters:
        A loss that falls along a line has not come to where learning gets hard: larger
        steps would get there in a fraction of the time.

    What to do:
        Raise the learning rate tenfold.

    When it is wrong:
        When a trained model is tuned further, small steps are right; as it is good
        from the start, this says nothing then. While the rate is still warming up it
        says nothing either.

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
        how = "hardly moves" if tiny else "falls slowly, along a straight line"
        yield Sign(
            where="",
            seen=f"the loss {how} ({_from_to(p)}) with update ratios of at most "
            f"{number(most)} (about 1e-3 is healthy)",
            cause="Likely the learning rate is too low",
            action=try_rate(history, 100 if most < 1e-5 else 10),
            alternatives=("Adam in place of plain SGD", "more epochs"),
            evidence={"update_ratio": most, "skill": p.skill, "learning_rate": rate},
            since=(0.0, 0.0),
        )


def _has_faded(history: RunHistory, p: Progress) -> Sign | None:
    """A rate that a schedule has all but ended, long before anything was learned."""
    rates = history.values("learning_rate")
    if len(rates) < 6 or not p.gain < 0.05 or not rates.max() > 0:
        return None
    if not (rates[len(rates) // 2 :] < 1e-2 * rates.max()).all():
        return None
    return Sign(
        where="",
        seen=f"for half of the training the learning rate has been below 1 % of the "
        f"{number(rates.max())} that it was, and is {number(rates[-1])} now, with the "
        f"loss at {number(p.losses[-1] if len(p.losses) else math.nan)}",
        cause="Likely the schedule decays the learning rate too fast",
        action="give the schedule's lengths in steps of the whole training: "
        "epochs * steps_per_epoch",
        alternatives=("a constant learning rate first",),
        evidence={"learning_rate": rates[-1], "largest": rates.max(), "skill": p.skill},
    )


def _from_to(p: Progress) -> str:
    losses = p.losses
    first = (
        p.start if math.isfinite(p.start) else losses[0] if len(losses) else math.nan
    )
    last = losses[-1] if len(losses) else math.nan
    return f"from {number(first)} to {number(last)}"


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
    severity="warning",
    when=("step", "epoch", "end"),
    since=f"{_LOSS_CURVE}; Ratio of weights:updates",
    symptoms=(
        "update-ratio-too-high",
        "update-ratio-too-low",
        "loss-diverging",
        "loss-oscillating",
        "loss-flat",
        "loss-plateaued",
        "accuracy-at-majority",
        "batch-loss-noisy",
        "dead-relu",
        "saturated-activation",
        "activations-exploding",
        "activations-collapsing",
        "exploding-gradients",
        "vanishing-gradients",
        "disconnected-layer",
        "underfitting",
        "validation-better",
        "stopped-too-early",
        "noisy-first-layer",
    ),
)
def learning_rate_too_high(
    history: RunHistory,
    *,
    limit: float = 3e-2,
    far: float = 0.1,
    first: float = 0.3,
    growth: float = 10.0,
) -> Iterator[Sign]:
    """The steps are so large that they destroy what was learned.

    What it sees:
        The model is stuck near a constant prediction (or has lost most of what it had
        learned), and its kernels show why: they change by more than `limit` of
        themselves per step (30 times what is healthy), or the very first update
        changed them by more than `first`, or they have grown `growth`-fold. Where they
        still change by more than `far` a step, which makes new weights of them every
        ten steps, it is enough that the model is not good and not getting better.

    Why it matters:
        The loss drops at first and then stays high, or jumps: there is too much
        energy in the steps to settle in a good place.

    What to do:
        Lower the learning rate tenfold.

    When it is wrong:
        Kernels that start near zero grow manifold in healthy runs; so numbers of the
        weights never count by themselves, without a loss that is bad.

    References:
        CS231n, Neural Networks Part 3, "Loss function" and "Ratio of weights:updates".
        Bengio, Practical recommendations for gradient-based training (2012), 3.1.1.
    """
    p = progress(history)
    lost = p.judged and p.peak - p.skill > 0.5 and p.gain < 0.05
    if not (lost or p.stuck(0.9)):
        return
    lately = ratios(history, 10)
    now = float(middle(middle(lately.values))) if lately.values.size else math.nan
    if history.observed < 3 or math.isnan(now):
        return
    why = ""
    if p.stuck(0.9) and now > far:
        why = _changing(now)
    elif p.stuck(0.2) or lost:
        why = _changing(now) if now > limit else _thrown(history, first, growth)
    if why:
        yield Sign(
            where="",
            seen=f"{why}, and the loss is stuck at {number(_last(p))}",
            cause="Likely the learning rate is too high",
            action=try_rate(history, 0.01 if now > 1 else 0.1),
            alternatives=("warm the learning rate up", "clipnorm=1.0"),
            evidence={"update_ratio": now, "skill": p.skill, "peak": p.peak},
            severity="error" if p.skill < 0.02 else None,
        )


def _last(p: Progress) -> float:
    return float(p.losses[-1]) if len(p.losses) else math.nan


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


# The noise.


@rule(severity="info", when="epoch", since=f"{_LOSS_CURVE}: wiggle and batch size")
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


# The accuracy.


@rule(
    severity="warning",
    when=("epoch", "end"),
    since=f"{_PART_3}: Train/val accuracy",
    symptoms=("underfitting", "validation-better"),
)
def accuracy_at_majority(
    history: RunHistory,
    *,
    margin: float = 0.01,
    patience: int = 10,
    patience_at_end: int = 5,
) -> Iterator[Sign]:
    """The accuracy is that of always saying the commonest class.

    What it sees:
        For `patience` epochs and 200 updates (`patience_at_end` epochs and 50 updates
        when the training has ended, or when the loss falls meanwhile) the training
        accuracy was within `margin` of the commonest class's share of the targets. It
        is a warning if the loss says the same, or if it says the opposite: that half of
        the way is made. It is information where the commonest class has more than 70 %,
        as then a useful model may well look like this for some time.

    Why it matters:
        The model ignores its inputs. If the loss falls all the same, loss and
        accuracy do not speak of the same thing: look at the output activation,
        `from_logits`, and the shape of the targets.

    What to do:
        Look at the predictions: are they all the same class?

    When it is wrong:
        With rare classes, where the accuracy says little: use the AUC.

    References:
        CS231n, Neural Networks Part 3, "Train/Val accuracy".
        He, Garcia, Learning from Imbalanced Data (2009).
    """
    name, share = accuracy_name(history), majority(history)
    if name is None or not share < 1 or history.data is None:
        return
    p = progress(history)
    falls = _loss_skill(p) > 0.5
    early = history.ended or falls
    n = int(max(patience_at_end if early else patience, 2))
    recent = history.values(f"epoch.{name}")[-n:]
    if len(recent) < n or p.updates < (50 if early else 200):
        return
    if not _binary_or_classes(history) or not np.abs(recent - share).max() <= margin:
        return
    if falls and share <= 0.7:
        cause = "Likely loss and accuracy do not speak of the same thing"
        action = "compare output activation, from_logits and the targets' shape"
    else:
        cause = "Likely the model predicts the same class for every input"
        action = "count the predicted classes"
    yield Sign(
        where=name,
        seen=f"{percent(recent[-1])} for {n} epochs; the commonest class is "
        f"{percent(share)} of the targets",
        cause=cause,
        action=action,
        alternatives=("class_weight in fit", "metrics=['auc']"),
        evidence={"accuracy": recent[-1], "majority": share, "loss_skill": falls},
        severity="info" if share > 0.7 else None,
    )


def _binary_or_classes(history: RunHistory) -> bool:
    model = history.model
    losses = [o.loss.name for o in model.outputs if o.loss] if model is not None else []
    return any(name in CLASS_LOSSES for name in losses)


def _loss_skill(p: Progress) -> float:
    if not len(p.losses) or not p.reference > 0:
        return math.nan
    return 1 - float(p.losses[-1]) / p.reference
