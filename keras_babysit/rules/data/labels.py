"""Rules about the labels: their values."""

from __future__ import annotations

import math
from collections.abc import Iterator

from keras_babysit.facts import ArrayFacts, OutputFacts
from keras_babysit.history import RunHistory
from keras_babysit.records import Fix
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.catalogue import (
    BINARY,
    ONE_HOT,
    SPARSE,
)
from keras_babysit.rules.evidence.connections import loss_name, pairs
from keras_babysit.rules.evidence.phrases import number
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the output",
    severity="error",
    when="start",
    since="Keras, losses: labels are class indices below the number of units",
    also=("class-imbalance", "classification-loss-for-regression", "overfitting"),
)
def labels_out_of_range(history: RunHistory) -> Iterator[Sign]:
    """Labels lie outside what the loss and the output units allow.

    What it sees:
        For `sparse_categorical_crossentropy`: labels below 0 or not below the number
        of output units. For binary crossentropy: whole labels or pictures outside 0
        to 1, as -1/1, 1/2 or 0/255. For categorical crossentropy: values outside 0
        to 1.

    Why it matters:
        A cross-entropy only has its minimum at the right answer for targets in its
        range: otherwise the loss falls without bound below zero, becomes NaN, or the
        step fails, depending on the device.

    What to do:
        Number the classes from 0, or fit the number of output units.

    When it is wrong:
        The loss ignores a class (`ignore_class`), which is respected where known.

    References:
        Keras, https://keras.io/api/losses/probabilistic_losses/.
    """
    for y, output in pairs(history):
        if output is None or not math.isfinite(y.min + y.max):
            continue
        name = loss_name(output)
        if name in SPARSE:
            yield from _beyond_units(y, output)
        elif name in BINARY and (y.min < 0 or y.max > 1):
            yield from _not_binary(y)
        elif name in ONE_HOT and y.shape[-1:] == (output.units,):
            if y.min >= 0 and y.max <= 1 + 1e-6:
                continue
            v = y.name
            how = f"divide by the sum of each row: `{v} / {v}.sum(-1, keepdims=True)`"
            yield _out_of(y, "0 to 1", "The loss wants a distribution", how)


def _beyond_units(y: ArrayFacts, output: OutputFacts) -> Iterator[Sign]:
    units = output.units
    ignored = output.loss.ignore_class if output.loss is not None else None
    labels = [v for v in y.counts if v != ignored] or [y.min, y.max]
    low, high = min(labels), max(labels)
    if units is None or units < 2 or (low >= 0 and high < units):
        return
    if y.shape[-1:] == (units,) and y.shape != (output.shape or ())[:-1]:
        return  # One-hot or scores: another rule's.
    span = f"0 to {units - 1}, one for each of the {units} output units"
    distinct = len(labels) if y.counts else int(high - low + 1)
    if distinct <= units and y.counts:
        how = (
            f"number the classes from 0: `{y.name} = {y.name} - {int(low)}`"
            if high - low < units
            else f"number the classes from 0 without gaps: `_, {y.name} = "
            f"np.unique({y.name}, return_inverse=True)`"
        )
    else:
        how = f"give the output layer {int(high) + 1} units, or correct the labels"
    units_do = (fixes.labels_from_zero(y.name),) if distinct <= units else ()
    cause = "The loss has no unit for such a label"
    yield _out_of(y, span, cause, how, units_do)


def _not_binary(y: ArrayFacts) -> Iterator[Sign]:
    picture = len(y.shape) > 1 or (len(y.shape) == 1 and y.shape[0] > 20)
    if not y.whole and not picture:
        return  # Quantities: the wrong loss, which is another rule's.
    values = sorted(y.counts)
    v = y.name
    if values == [-1, 1]:
        how = f"map them to 0 and 1: `{v} = ({v} + 1) / 2`"
    elif len(values) == 2:
        how = f'map them to 0 and 1: `{v} = ({v} == {values[1]:g}).astype("float32")`'
    elif picture and y.min >= 0 and y.max <= 255:
        how = f'divide them by 255: `{v} = {v}.astype("float32") / 255`'
    elif picture:
        how = "scale them to 0 to 1, or use mean squared error with a linear output"
    else:
        how = (
            f"with {len(values) or 'many'} classes use as many output units, a softmax "
            "and sparse_categorical_crossentropy; with two, number them 0 and 1"
        )
    cause = "Binary crossentropy wants labels of 0 and 1"
    two = (fixes.labels_from_zero(v),) if len(values) == 2 else ()
    yield _out_of(y, "0 to 1", cause, how, two)


def _out_of(
    y: ArrayFacts, span: str, cause: str, action: str, to_try: tuple[Fix, ...] = ()
) -> Sign:
    return Sign(
        where=y.name,
        seen=f"labels from {number(y.min)} to {number(y.max)}, the loss takes {span}",
        cause=cause,
        action=action,
        evidence={"min": y.min, "max": y.max, "distinct": len(y.counts)},
        fixes=to_try,
    )
