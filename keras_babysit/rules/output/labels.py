"""Rules about the labels: the kind that the loss takes."""

from __future__ import annotations

from collections.abc import Iterator

from keras_babysit.history import RunHistory
from keras_babysit.records import Fix
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.catalogue import (
    BINARY,
    BINARY_LOSS,
    CLASSES,
    ONE_HOT,
    ONE_HOT_LOSS,
    SPARSE,
    SPARSE_LOSS,
)
from keras_babysit.rules.evidence.tasks import Task, tasks
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the task",
    severity="error",
    when="start",
    since="Keras: categorical takes one-hot rows, sparse categorical integers",
)
def labels_for_other_loss(history: RunHistory) -> Iterator[Sign]:
    """The labels are of the kind that another cross-entropy takes.

    What it sees:
        Integer labels with a loss for one-hot rows, or one-hot rows with the loss for
        integers; labels 0 and 1 on one unit with a loss over classes; integer labels
        with binary cross-entropy over several units.

    Why it matters:
        Shapes that do not fit raise an error or are broadcast: every unit is then
        trained towards the label's number. Over one unit a loss over classes is always
        zero.

    What to do:
        `sparse_categorical_crossentropy` for integers, `categorical_crossentropy` for
        one-hot rows, `binary_crossentropy` for 0 and 1 on one sigmoid unit.

    When it is wrong:
        A custom layer or loss converts between the two.

    References:
        Keras API, Probabilistic losses.
    """
    for task in tasks(history):
        if not task.loss.standard or task.target is None:
            continue
        found = _other_labels(task)
        if found is None:
            continue
        seen, cause, loss = found
        yield Sign(
            where=task.where,
            seen=seen,
            cause=cause,
            action=_with_head(task, loss),
            alternatives=_or_convert(task, loss),
            evidence={
                "loss": task.loss.name,
                "targets": task.kind or "",
                "units": task.units,
                "target_shape": str(tuple(task.target.shape)),
            },
            fixes=_other_loss(task, loss),
        )


def _other_labels(task: Task) -> tuple[str, str, str] | None:
    """Returns what is seen, why it is wrong, and the loss for these labels."""
    name, units = task.loss.name, task.units
    integers = task.single and task.kind in ("binary", "labels")
    if integers and units == 1 and name in CLASSES - SPARSE and task.distinct <= 2:
        why = "The cross-entropy over one class is 0 whatever the model does"
        return f"labels 0 and 1 on one unit with {name}", why, BINARY_LOSS
    if integers and units != 1 and name in ONE_HOT:
        why = f"{name} takes one-hot rows"
        return f"integer labels with {name}", why, SPARSE_LOSS
    if integers and units and units > 1 and name in BINARY:
        if task.distinct > units:
            return None
        why = "Every unit is trained towards the label's number"
        return f"integer labels with {name} over {units} units", why, SPARSE_LOSS
    if task.kind == "one-hot" and name in SPARSE and _is_rows(task):
        why = f"{name} takes integer labels"
        return f"one-hot rows with {name}", why, ONE_HOT_LOSS
    return None


def _other_loss(task: Task, loss: str) -> tuple[Fix, ...]:
    name = loss.split('"')[1]
    wanted = "sigmoid" if loss == BINARY_LOSS else "softmax"
    logits = bool(task.loss.from_logits)
    fits = logits or task.activation in (wanted, None)
    return (fixes.output(task.where, None if fits else wanted, name, logits or None),)


def _is_rows(task: Task) -> bool:
    rank_known = task.output.shape is not None
    assert task.target is not None
    return task.aligned if rank_known else len(task.target.shape) == 1


def _with_head(task: Task, loss: str) -> str:
    wanted = "sigmoid" if loss == BINARY_LOSS else "softmax"
    fits = task.activation in (wanted, None) or task.loss.from_logits
    # A missing activation is a fault of its own, but one edit mends both.
    also = "" if fits else f" and `{task.head(task.units, wanted)}`"
    return f"use `{loss}`{also}"


def _or_convert(task: Task, loss: str) -> tuple[str, ...]:
    if loss == SPARSE_LOSS and task.loss.name in ONE_HOT:
        return ("or make them one-hot: `keras.utils.to_categorical(y)`",)
    if loss == ONE_HOT_LOSS:
        return ("or make them integers: `np.argmax(y, axis=-1)`",)
    if loss == BINARY_LOSS:
        return (f"or two units: `{task.head(2, 'softmax')}` with `{SPARSE_LOSS}`",)
    return ()
