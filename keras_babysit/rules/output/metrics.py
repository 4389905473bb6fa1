"""Rules about the metrics."""

from __future__ import annotations

from collections.abc import Iterator

from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.catalogue import ACCURACIES, BINARY
from keras_babysit.rules.evidence.tasks import Task, tasks
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="note",
    severity="warning",
    when="start",
    since="Keras: what each accuracy compares",
    also=("accuracy-at-majority",),
)
def metric_mismatch(history: RunHistory) -> Iterator[Sign]:
    """A metric does not measure what the task is about.

    What it sees:
        Accuracy for quantities; binary accuracy for one-hot classes; categorical
        accuracy for a single unit or integer labels; the class `Accuracy`, which asks
        that predictions equal the labels; a threshold of one half on logits.

    Why it matters:
        Training is not affected, but the number that you judge it by is wrong. Accuracy
        of a regression counts exact hits and stays near 0. Binary accuracy on one-hot
        rows counts the zeros too: with 10 classes 80 % when always wrong. Categorical
        accuracy of one unit is always 1.

    What to do:
        `"mae"` for quantities; `"accuracy"` as a string for classes: Keras picks the
        kind that fits the shapes.

    When it is wrong:
        You really want rounded predictions. For autoencoders it is only information.

    References:
        Keras API, Accuracy metrics.
    """
    for task in tasks(history):
        for metric in task.output.metrics:
            found = _metric(task, metric) if metric in ACCURACIES else None
            if found is None:
                continue
            severity, seen, cause, action = found
            yield Sign(
                where=task.where,
                seen=seen,
                cause=cause,
                action=action,
                evidence={"metric": metric, "targets": task.kind or ""},
                severity=severity,
            )
            break


def _metric(task: Task, metric: str) -> tuple[str, str, str, str] | None:
    """Returns severity, what is seen, cause and action."""
    return (
        _accuracy_of_quantities(task, metric)
        or _accuracy_of_equals(task, metric)
        or _accuracy_of_rows(task, metric)
        or _accuracy_of_logits(task, metric)
    )


def _accuracy_of_quantities(
    task: Task, metric: str
) -> tuple[str, str, str, str] | None:
    if task.kind != "numbers":
        return None
    severity = "warning" if task.regression and not task.reconstructs else "info"
    return (
        severity,
        f"metric {metric} with targets that are quantities",
        "It counts exact hits, which quantities almost never are",
        'use `metrics=["mae"]`',
    )


def _accuracy_of_equals(task: Task, metric: str) -> tuple[str, str, str, str] | None:
    if metric != "exact_accuracy" or task.kind is None:
        return None
    return (
        "warning",
        "metric keras.metrics.Accuracy() on probabilities",
        "It asks that predictions equal the labels exactly",
        'use `metrics=["accuracy"]`, the string',
    )


def _accuracy_of_rows(task: Task, metric: str) -> tuple[str, str, str, str] | None:
    classes, use = task.classes or 0, 'use `metrics=["accuracy"]`, the string'
    if metric == "binary_accuracy" and task.kind == "one-hot" and classes > 2:
        floor = 100 * (1 - 2 / classes)
        why = f"It counts zeros as hits: {floor:.0f} % when always wrong"
        return "warning", f"binary_accuracy over {classes} one-hot classes", why, use
    if metric == "categorical_accuracy" and task.units == 1:
        why = "The largest of one output is always the first: it is always 1"
        return "warning", "categorical_accuracy of 1 unit", why, use
    integers = task.single and task.kind == "labels"
    if metric == "categorical_accuracy" and integers:
        why = (
            "It takes the largest element of a row, and a label is a row of one element"
        )
        return "warning", "categorical_accuracy of integer labels", why, use
    if metric in ("accuracy", "categorical_accuracy") and task.kind == "multi-hot":
        why = "It compares only the largest output with the first label of a sample"
        better = "use `metrics=[keras.metrics.BinaryAccuracy()]`"
        return "info", f"{metric} with several labels to a sample", why, better
    return None


def _accuracy_of_logits(task: Task, metric: str) -> tuple[str, str, str, str] | None:
    logits = task.activation == "linear" and task.loss.from_logits
    if metric != "accuracy" or not logits or task.loss.name not in BINARY:
        return None
    return (
        "info",
        "accuracy with the threshold 0.5 on logits, whose middle is 0",
        "Logits between 0 and 0.5 are counted on the wrong side",
        "use `metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)]`",
    )
