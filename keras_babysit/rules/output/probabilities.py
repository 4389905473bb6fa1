"""Rules about probabilities and logits, by the values that reach the loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from keras_babysit.history import RunHistory
from keras_babysit.records import LossInputs
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.catalogue import BINARY
from keras_babysit.rules.evidence.losses import (
    calls,
    is_judged_by_name,
    outputs,
    targets,
    units,
)
from keras_babysit.rules.evidence.phrases import number
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the output",
    severity="error",
    when=("step", "end"),
    since="Keras: from_logits=True means that the outputs are not yet probabilities",
    refutable=True,
)
def probabilities_for_logits(
    history: RunHistory, *, least: int = 3, binary: int = 8
) -> Iterator[Sign]:
    """A loss that expects logits gets probabilities.

    What it sees:
        The values that reach a cross-entropy with `from_logits=True`: in `least` fully
        observed steps, all rows were between 0 and 1 and summed to one. For a binary
        one, whose outputs need not sum to anything: in `binary` of them no output was
        below 0 or above 1, though some targets were 0. Where names tell the same, as of
        a softmax layer and a loss of Keras's, `logits-after-activation` reports it.

    Why it matters:
        They are squashed twice: a softmax of values between 0 and 1 is nearly flat, so
        that the loss cannot come near zero, and with a binary loss no probability can
        be below one half.

    What to do:
        Remove `from_logits=True`, or the softmax or sigmoid in the model.

    When it is wrong:
        Keras finds the logits before the softmax, which it does if the softmax is the
        very last operation.

    References:
        Keras, `binary_crossentropy` in `backend/tensorflow/nn.py`.
    """
    if is_judged_by_name(history):
        return
    for known in calls(history, int(least)):
        call = known[-1]
        if call.takes != "logits" or any(x.outside > 0 for x in outputs(known)):
            continue
        two = call.cross_entropy in BINARY
        if two and not _never_negative(known, int(binary)):
            continue
        if not two and not all(x.unit_sums[0] > 0.999 for x in outputs(known)):
            continue
        function = "sigmoid" if two else "softmax"
        yield Sign(
            where=call.layer,
            seen=f"{call.loss} with from_logits=True gets outputs that "
            "are all between 0 and 1" + ("" if two else " and sum to one"),
            cause=f"Likely a {function} has been applied to them already, and it is "
            "applied twice",
            action="remove `from_logits=True`",
            alternatives=(f"remove the {function} in the model",),
            evidence={
                "min": min(x.min for x in outputs(known)),
                "max": max(x.max for x in outputs(known)),
            },
            fixes=(fixes.output(call.layer, from_logits=False),),
        )


def _never_negative(known: Sequence[LossInputs], least: int) -> bool:
    """Whether outputs stay in 0 to 1, though logits would not."""
    some_zero = all(t.positive < 1 for t in targets(known))
    return len(known) >= least and some_zero and outputs(known)[-1].spread > 0


@rule(
    kind="cause in the output",
    severity="error",
    when=("step", "end"),
    since="Keras: the cross-entropies take probabilities unless from_logits=True",
    refutable=True,
)
def logits_for_probabilities(
    history: RunHistory, *, least: int = 3, limit: float = 0.02
) -> Iterator[Sign]:
    """A loss that expects probabilities gets other numbers.

    What it sees:
        The values that reach a cross-entropy without `from_logits=True`: in each of
        `least` fully observed steps, more than the share `limit` of them was below 0 or
        above 1; over classes, some below 0. Where names tell the same, as of a layer
        without an activation function and a loss of Keras's,
        `missing-output-activation` reports it.

    Why it matters:
        The loss clips what it gets to between 0 and 1 before the logarithm: outside
        that range the gradient is zero, and which outputs fall outside depends on the
        initialization.

    What to do:
        Set `from_logits=True` in the loss, or put a softmax (a sigmoid for a binary
        loss) after the last layer.

    When it is wrong:
        Never for values this far from probabilities.

    References:
        Keras API, Probabilistic losses.
    """
    if is_judged_by_name(history):
        return
    for known in calls(history, int(least)):
        call, found = known[-1], outputs(known)
        shares = [x.outside for x in found]
        if call.takes != "probabilities" or min(shares) <= limit:
            continue
        # Over classes Keras divides by the sum: any positive numbers will do.
        if call.cross_entropy not in BINARY and max(x.min for x in found) >= 0:
            continue
        low, high = min(x.min for x in found), max(x.max for x in found)
        function = "sigmoid" if call.cross_entropy in BINARY else "softmax"
        yield Sign(
            where=call.layer,
            seen=f"{call.loss} takes probabilities, but {shares[-1]:.0%} of the "
            f"outputs it gets are below 0 or above 1 (from {number(low)} to "
            f"{number(high)})",
            cause="The loss clips outputs outside of 0 to 1 and gives no gradient "
            "there; likely these are logits",
            action="use `from_logits=True` in the loss",
            alternatives=(f"a {function} after the last layer of the model",),
            evidence={"outside": shares[-1], "min": low, "max": high},
            fixes=(fixes.output(call.layer, from_logits=True),),
        )


@rule(
    kind="cause in the output",
    severity="error",
    when=("step", "end"),
    since="The definition of softmax: it sums to 1 over the classes",
)
def softmax_over_wrong_axis(history: RunHistory, *, least: int = 3) -> Iterator[Sign]:
    """The softmax goes over places or time steps, not over the classes.

    What it sees:
        The values that reach a loss, in `least` fully observed steps: they are between
        0 and 1 and sum to one over an axis that is not the last, nearly all of them,
        while most do not over the last one; each place has one class as its target.

    Why it matters:
        Places compete with each other instead of classes, so the outputs are not class
        probabilities. On TensorFlow, Keras's cross-entropies take the logits behind a
        softmax that is the last operation: then the loss falls as it should, but the
        predictions are still wrong.

    What to do:
        `Softmax(axis=-1)`, or `activation="softmax"` in the last layer.

    When it is wrong:
        The outputs have channels first: their classes are on the second axis.

    References:
        Keras, `categorical_crossentropy` in `backend/tensorflow/nn.py`.
    """
    for known in calls(history, int(least)):
        found = outputs(known)
        sums = found[-1].unit_sums
        if units(found[-1]) == 1 or any(x.outside > 0 for x in found):
            continue
        if not _one_class_each(known) or any(x.unit_sums[0] > 0.5 for x in found):
            continue
        axes = [i for i in (1, 2) if all(x.unit_sums[i] > 0.99 for x in found)]
        if not axes:
            continue
        axis = 1 if axes[0] == 1 else len(found[-1].shape) - 2
        yield Sign(
            where=known[-1].layer,
            seen=f"outputs sum to one over axis {axis}, and over the classes only "
            f"{sums[0]:.0%} of them do",
            cause=(
                f"The softmax goes over axis {axis}: places compete instead of classes"
            ),
            action='use `activation="softmax"` in the last layer, or '
            "`Softmax(axis=-1)`",
            evidence={"axis": axis, "over_classes": sums[0]},
            fixes=(fixes.output(known[-1].layer, "softmax"),),
        )


def _one_class_each(known: Sequence[LossInputs]) -> bool:
    """Whether each place has one class as its target: a label, or a one-hot row."""
    call = known[-1]
    if call.targets is None or call.outputs is None:
        return False
    if call.cross_entropy == "sparse_categorical_crossentropy":
        return True
    one_hot = [t.unit_sums[0] > 0.99 for t in targets(known)]
    return bool(one_hot) and all(one_hot)
