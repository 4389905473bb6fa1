"""Rules about weights of samples and classes that are given to `fit`."""

from __future__ import annotations

from collections.abc import Iterator

from keras_babysit.history import RunHistory
from keras_babysit.records import LossInputs
from keras_babysit.rules.rule import Sign, rule

#: Weights whose spread is a smaller share of their mean differ by rounding alone.
_EVEN = 1e-3
_SYMPTOMS = ("class-never-predicted", "accuracy-at-majority")


@rule(
    severity="warning",
    when="step",
    since="Keras, `Loss.__call__`: weights multiply the values that `call` returns",
    also=_SYMPTOMS,
)
def weights_without_effect(history: RunHistory) -> Iterator[Sign]:
    """`class_weight` or `sample_weight` does nothing.

    What it sees:
        Either weights that differ were given to `fit`, and in the traced training step
        nothing depends on them: no update, no metric, no log. Or a loss gets weights
        that differ and gives one value for the whole batch, which they only scale.

    Why it matters:
        All samples count alike, as if no weights had been given, without any warning.

    What to do:
        Pass them to the loss in a custom `train_step` or `compute_loss`; a custom loss
        returns one value for each sample.

    When it is wrong:
        No case is known. A step that takes weights for its metrics alone is left out.

    References:
        Keras guide, Customizing what happens in `fit()`: `sample_weight` and
        `class_weight`.
    """
    last, fit = history.last_step, history.fit
    given = fit.weighted_by if fit is not None else ""
    if last is not None and last.weights_unread and given:
        yield Sign(
            where=given,
            seen=f"`{given}` was given to `fit`, but nothing in the training step "
            "depends on it",
            cause="The loss is computed without them, in a custom `train_step` or "
            "`compute_loss`, or by `add_loss`",
            action="unpack them with `x, y, sample_weight = "
            "keras.utils.unpack_x_y_sample_weight(data)`, and multiply each sample's "
            "loss by `sample_weight`",
        )
    scaled = [p for p, known in history.losses.items() if any(map(_scales, known))]
    if scaled:
        yield Sign(
            where=given or "sample_weight",
            seen=f"the loss {scaled[0]} gives one value for the whole batch, and the "
            "weights of the samples only scale it",
            cause="It averages over the samples before Keras applies the weights",
            action="return one value for each sample: take the mean over the last axis "
            "alone, `keras.ops.mean(..., axis=-1)`",
        )


def _scales(call: LossInputs) -> bool:
    weights = call.weights
    return call.single and weights is not None and weights.std > _EVEN * weights.mean
