"""Rules about targets that the outputs cannot reach, by the values of own losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from keras_babysit.history import RunHistory
from keras_babysit.records import LossInputs, LossTensor
from keras_babysit.rules.evidence.losses import (
    calls,
    is_judged_by_name,
    outputs,
    targets,
    units,
)
from keras_babysit.rules.evidence.phrases import number
from keras_babysit.rules.evidence.tasks import tasks
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the output",
    severity="error",
    when=("step", "end"),
    since="A sigmoid or softmax puts out nothing beyond 0 to 1",
    refutable=True,
)
def targets_beyond_outputs(
    history: RunHistory, *, least: int = 5, limit: float = 1.5
) -> Iterator[Sign]:
    """Targets of a custom loss lie where the outputs can never be.

    What it sees:
        Targets of the same shape as the outputs, above `limit` in each of `least` fully
        observed steps, or labels as far below 0, while no output was below 0 or above
        1: the output's activation function is a sigmoid or softmax, or some came to
        within 0.05 of 1. Besides,
        they go into a cross-entropy of Keras's as they are, or the loss is below zero.
        A compiled loss of Keras's is judged by `output-range`.

    Why it matters:
        The minimum of such a loss is not the one you want: a Dice loss or a
        cross-entropy falls without bound, below zero, for outputs of 1 everywhere.

    What to do:
        Scale the targets to 0 and 1: masks of 0 and 255 by `y / 255`.

    When it is wrong:
        The loss scales the targets itself.

    References:
        Milletari et al., V-Net (2016): the Dice loss of masks of 0 and 1.
    """
    if is_judged_by_name(history):
        return
    for known in calls(history, int(least)):
        call, wanted = known[-1], targets(known)
        if len(wanted) < len(known) or not _are_bounded(history, known):
            continue
        if call.cross_entropy.startswith("sparse") or not _same_size(known):
            continue
        negative = max(t.min for t in wanted) < 1 - limit
        if min(t.max for t in wanted) <= limit and not (
            negative and _are_labels(wanted)
        ):
            continue
        low, high = min(t.min for t in wanted), max(t.max for t in wanted)
        loss = history.last_step.loss if history.last_step is not None else None
        below = f", and the loss is {number(loss)}" if loss and loss < 0 else ""
        if not call.takes and not below:
            continue
        divides = low >= 0 and high > 1
        signs = (low, high) == (-1, 1)
        yield Sign(
            where=call.layer,
            seen=f"{call.loss} gets targets from {number(low)} to {number(high)}, but "
            f"outputs only between 0 and 1{below}",
            cause="Such targets cannot be reached: the loss is lowest somewhere else",
            action=f"divide the targets by {number(high)}"
            if divides
            else "map them to 0 and 1: `(y + 1) / 2`"
            if signs
            else "scale the targets to 0 to 1",
            alternatives=(
                "an output without activation, if the targets are quantities",
            ),
            evidence={"min": low, "max": high},
        )


def _are_labels(wanted: Sequence[LossTensor]) -> bool:
    return all(t.whole == 1 for t in wanted)


def _are_bounded(history: RunHistory, known: Sequence[LossInputs]) -> bool:
    """Whether outputs are always within 0 to 1, and not by accident."""
    found = outputs(known)
    if any(x.outside > 0 for x in found):
        return False
    names = {t.activation for t in tasks(history)}
    bounded = bool(names) and names <= {"sigmoid", "hard_sigmoid", "softmax"}
    return bounded or max(x.max for x in found) > 0.95


def _same_size(known: Sequence[LossInputs]) -> bool:
    return all(
        a.size == b.size and units(a) == units(b)
        for a, b in zip(targets(known), outputs(known), strict=True)
    )
