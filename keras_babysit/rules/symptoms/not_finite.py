"""Rules about numbers that are not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.growth import exploded
from keras_babysit.rules.evidence.phrases import rate_fixes, try_rate
from keras_babysit.rules.rule import Sign, rule

_PART_3 = "CS231n, Neural Networks Part 3"


@rule(
    kind="symptom: breaks down",
    severity="error",
    when=("step", "epoch"),
    since=f"{_PART_3}; Goodfellow et al., Deep Learning, 4.1",
    also=("initial-loss-off-chance", "learning-rate-too-high", "overfitting"),
)
def loss_not_finite(history: RunHistory) -> Iterator[Sign]:
    """The loss or a weight is NaN or infinite.

    What it sees:
        A loss (of an observed batch, of an epoch, of the validation) or a weight that
        is not finite, and where that came up first: in forward order through the
        layers' outputs, in backward order through the gradients; and whether gradients
        or activations had grown over depth, or over time in recurrent layers, in the
        last steps in which they were finite. Weights are looked
        at too, because a ReLU can turn the NaN of an input into a zero: then the loss
        stays finite while the first kernel is lost.

    Why it matters:
        Every further update of such a weight is NaN: the model can no longer learn.

    What to do:
        Clean the inputs and targets if they contain NaN; otherwise lower the learning
        rate, clip the gradient's norm, and compute cross-entropies from logits.

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
    clip = "clip the gradients: clipnorm=1.0 in the optimizer"
    return Sign(
        where=where,
        seen=f"{what} (all should be finite)",
        cause=cause,
        action=action,
        alternatives=(
            *([clip] if action != clip else []),
            "give the loss logits: no output activation and from_logits=True",
        ),
        evidence={"first": where or "loss", "step": since[0]},
        since=since,
        fixes=(*rate_fixes(history, 0.1, 0.01), fixes.clip()),
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
    grown = exploded(history)
    if grown is not None:
        return grown
    if _was_growing(history):
        return "Likely the learning rate is too high", try_rate(history, 0.1)
    if _made_by_the_optimizer(history):
        return (
            "The optimizer makes it of gradients that are finite: likely a division by "
            "zero, as Adafactor's where a whole row of gradients is 0",
            "use another optimizer, such as Adam",
        )
    return (
        "Likely a logarithm or a division of zero, NaN in the data, or a learning "
        "rate that is too high",
        "look for NaN in inputs and targets first, then " + try_rate(history, 0.1),
    )


def _made_by_the_optimizer(history: RunHistory) -> bool:
    """Whether updates were lost while all that they are made of was finite."""
    begin = min((step for step, _, _ in history.lost.values()), default=0)
    first = {field for field, v in history.lost.items() if v[0] == begin}
    steps = history.whole("gradient.norm").steps
    return first == {"update"} and begin in steps


def _was_growing(history: RunHistory) -> bool:
    """Whether steps were huge or the loss rose before it was lost."""
    taken = history.window("update_ratio").values
    if (taken[np.isfinite(taken)] > 1).sum() > 1:
        return True
    losses = history.values("loss")
    losses = losses[np.isfinite(losses)]
    return len(losses) > 1 and bool(losses.max() > 10 * max(losses[0], 1e-12))
