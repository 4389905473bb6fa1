"""Rules about the shape of the output: units and classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.catalogue import (
    BINARY,
    BINARY_LOSS,
    CLASSES,
    CROSS_ENTROPIES,
    SPARSE,
    SPARSE_LOSS,
)
from keras_babysit.rules.evidence.phrases import count
from keras_babysit.rules.evidence.tasks import Task, tasks
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the task",
    severity="error",
    when="start",
    since="Keras: shapes of targets and outputs have to fit, or are broadcast",
    also=("labels-for-other-loss", "sigmoid-for-classes"),
)
def output_units(history: RunHistory, *, unseen: int = 50) -> Iterator[Sign]:
    """The output has too few units for the classes, or not the targets' shape.

    What it sees:
        Fewer units than there are classes among the targets; one unit with a loss
        over classes; an output whose shape is not that of the targets. More units
        than classes are only information, once `unseen` samples for each unit were
        seen.

    Why it matters:
        A class without a unit cannot be predicted: its labels make the loss NaN or
        raise an error. A cross-entropy over one class is zero whatever the model does.
        Shapes that differ are silently broadcast against each other: a target of
        one value trains every unit or time step towards it.

    What to do:
        One unit for each class with softmax; as many units as a row of targets has
        values for regression; `return_sequences=False` in the last recurrent layer if
        a sequence has one target.

    When it is wrong:
        A custom loss may compare other shapes: those are left alone.

    References:
        Keras API, Losses.
    """
    for task in tasks(history):
        if not task.loss.standard:
            continue
        sign = (
            _too_few_units(task)
            or _one_class(task)
            or _other_shape(task)
            or _too_many_units(task, unseen)
        )
        if sign is not None:
            yield sign


def _too_few_units(task: Task) -> Sign | None:
    units, classes = task.units, task.classes
    if not task.single or not units or not classes:
        return None
    by_class = task.loss.name in CLASSES
    by_bit = task.loss.name in BINARY and units == 1
    if task.distinct <= (2 if by_bit else units) or not (by_class or by_bit):
        return None
    if units == 1 and classes == 2:
        return None  # Not the units are wrong, but the loss or its labels.
    return Sign(
        where=task.where,
        seen=f"{count(units, 'unit')} for {task.distinct} classes "
        f"(labels {_label(task, min)} to {_label(task, max)})",
        cause="A class without a unit cannot be predicted",
        action=f"use `{task.head(classes, 'softmax')}` with `{SPARSE_LOSS}`",
        evidence={"units": units, "classes": task.distinct},
    )


def _label(task: Task, pick: Callable[..., float]) -> str:
    return f"{pick(task.target.counts):g}" if task.target is not None else "?"


def _one_class(task: Task) -> Sign | None:
    # With a loss for one-hot rows, labels 0 and 1 are what is wrong.
    known = task.kind is not None and task.loss.name not in SPARSE
    if task.units != 1 or task.loss.name not in CLASSES or known:
        return None
    if task.kind not in (None, "binary"):
        return None
    return Sign(
        where=task.where,
        seen=f"1 unit with {task.loss.name}, which is over several classes",
        cause="The cross-entropy over one class is 0 whatever the model does",
        action=f"use `{task.head(1, 'sigmoid')}` with `{BINARY_LOSS}`",
        alternatives=(f"one unit for each class: `{task.head(None, 'softmax')}`",),
        evidence={"units": 1, "loss": task.loss.name},
    )


def _other_shape(task: Task) -> Sign | None:
    target, out = task.target, task.output.shape
    if target is None or out is None or not out or task.aligned or task.kind is None:
        return None
    if task.single and task.labelled and _are_labels(task):
        return None  # If something is wrong, then the kind of labels.
    if not (task.probabilities or task.regression or task.loss.from_logits):
        return None
    takes_labels = task.loss.name in SPARSE | {"crossentropy"}
    if (takes_labels and not task.single) or _same_size(target.shape, out):
        return None
    if task.loss.name in SPARSE and task.labelled:
        return None  # It takes one label for each vector, of any value.
    shape = tuple(target.shape) or (1,)
    if len(out) == 2 and len(shape) == 1 and shape[0] in (1, out[1]):
        action = "use `return_sequences=False` in the last recurrent layer"
        more = ("`Flatten()` or `GlobalAveragePooling1D()` before the last layer",)
    else:
        action = f"use `{task.head(shape[-1], _usual(task))}`"
        more = ("reshape the targets to the output's shape",)
    return Sign(
        where=task.where,
        seen=f"an output of shape {_shape(out)} for targets of shape {_shape(shape)}",
        cause="Shapes that differ are broadcast or raise: each value is compared "
        "with the wrong ones",
        action=action,
        alternatives=more,
        evidence={"output": str(out), "target": str(shape)},
    )


def _are_labels(task: Task) -> bool:
    of_classes = task.activation == "softmax" or task.loss.name in CROSS_ENTROPIES
    return of_classes and task.units != 1 and task.kind in ("binary", "labels")


def _same_size(shape: tuple, out: tuple) -> bool:
    """Whether Keras itself will add or drop an axis of one."""
    return [n for n in shape if n != 1] == [n for n in out if n != 1]


def _usual(task: Task) -> str | None:
    if task.regression:
        return None
    return "sigmoid" if task.loss.name in BINARY else "softmax"


def _too_many_units(task: Task, unseen: int) -> Sign | None:
    units, classes, target = task.units, task.classes, task.target
    sparse = task.single and task.loss.name in SPARSE
    if not sparse or not units or not classes or target is None or units <= classes:
        return None
    # Labels that begin at 1 need one unit more than there are of them.
    if target.seen < unseen * units or units <= task.distinct + 1:
        return None
    return Sign(
        where=task.where,
        seen=f"{units} units for {task.distinct} classes seen among {target.seen} "
        "samples",
        cause="Likely some units have no class: they only learn to output 0",
        action=f"use `{task.head(classes, _usual(task))}`"
        if task.activation == "batch_softmax"
        else f"use `{task.head(classes, task.activation)}`",
        evidence={"units": units, "classes": task.distinct, "seen": target.seen},
        severity="info",
    )


def _shape(shape: tuple) -> str:
    return f"({', '.join(str(n) for n in shape)})"
