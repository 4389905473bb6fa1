"""Rules about the loss before the first update."""

from __future__ import annotations

import math
from collections.abc import Iterator

from keras_babysit.facts import ArrayFacts, LossFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.arrays import root_mean_square
from keras_babysit.rules.evidence.catalogue import CLASS_LOSSES
from keras_babysit.rules.evidence.chance import target_of
from keras_babysit.rules.evidence.connections import is_raw
from keras_babysit.rules.evidence.phrases import number
from keras_babysit.rules.rule import Sign, rule

_PART_3 = "CS231n, Neural Networks Part 3"


@rule(
    kind="note",
    severity="info",
    when=("step", "epoch"),
    since=f"{_PART_3}: Sanity checks, look for correct loss at chance performance",
    refutable=True,
)
def initial_loss_off_chance(
    history: RunHistory,
    *,
    limit: float = 3.0,
    far: float = 10.0,
    least: float = 1.0,
    absurd: float = 1e3,
) -> Iterator[Sign]:
    """The loss before the first update is far above what chance gives.

    What it sees:
        The loss of the very first batch, penalties of the weights taken off, against
        that of a guess: log C for C classes, log 2 for binary cross-entropy, the mean
        square of the targets for a mean squared error. It is reported above `limit`
        times that, if it is also `least` more. It is a warning above `far` times if the
        loss is still above chance after three epochs, and above `absurd` times until
        the loss has come down to chance.

    Why it matters:
        A fresh model should not be sure of anything. If it is, its outputs are too
        large: the first epochs are spent unlearning that, and units in deep layers may
        die meanwhile.

    What to do:
        Scale the inputs to about unit size, then look at the last layer's
        initialization.

    When it is wrong:
        With weights that were trained on something else, or losses that are weighted
        by hand inside the model. Three times chance is what two units of spread in
        the logits give, which training soon repairs, so this is only info.

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
        far_off |= first > absurd * chance and not _has_come_down(history, chance)
        cause, action, other = _why(history)
        yield Sign(
            where="",
            seen=f"the first batch's loss is {number(first)} before any update "
            f"({number(chance)} is chance)",
            cause=cause,
            action=action,
            alternatives=(other,),
            evidence={"loss": first, "chance": chance},
            since=(0.0, 0.0),
            severity="warning" if far_off else None,
        )


def _why(history: RunHistory) -> tuple[str, str, str]:
    """Cause, action and alternative, by whether the inputs are large."""
    smaller = "initialize the last layer with smaller weights"
    scale = "scale the inputs to mean 0 and standard deviation 1"
    inputs = history.data.inputs if history.data is not None else ()
    large = [x for x in inputs if root_mean_square(x) > 3]
    if any(is_raw(history.model, x.name) for x in large):
        return "Likely the outputs start too large: inputs not scaled", scale, smaller
    frozen = history.model is not None and any(
        not layer.trainable and layer.weights for layer in history.model.layers
    )
    if frozen:
        return (
            "Likely the frozen layers' outputs are too large for the layers after them",
            "put BatchNormalization or LayerNormalization after the frozen layers",
            smaller,
        )
    return (
        "Likely the outputs start too large: the inputs are not, but weights or an "
        "unnormalized sum are"
        if inputs and not large
        else "Likely the outputs start too large: inputs not scaled, or initial "
        "weights too large",
        smaller if inputs and not large else scale,
        "normalization layers" if inputs and not large else smaller,
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


def _has_come_down(history: RunHistory, chance: float) -> bool:
    losses = history.values("epoch.loss")
    return len(losses) > 0 and bool(losses[-1] <= chance)


def _still_above(history: RunHistory, chance: float) -> bool:
    losses = history.values("epoch.loss")
    return len(losses) >= 3 and bool(losses[-1] > 1.5 * chance)
