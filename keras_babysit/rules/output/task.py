"""Rules about the loss: whether it is one for this task."""

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
    since="Labels that do not exclude each other are no distribution",
)
def softmax_for_multi_label(history: RunHistory) -> Iterator[Sign]:
    """Samples have several labels, but the outputs exclude each other.

    What it sees:
        Targets of zeros and ones with several ones to a row, and a softmax output or
        categorical cross-entropy.

    Why it matters:
        Softmax makes probabilities that sum to 1: with three labels, none of them can
        rise far above a third, and the threshold of one half finds none.

    What to do:
        `Dense(labels, activation="sigmoid")` with `loss="binary_crossentropy"`.

    When it is wrong:
        The rows are unnormalized shares. Where rows have at most one label on average,
        it is only a warning: some may have none.

    References:
        Goodfellow et al., Deep Learning, 6.2.2.2.
    """
    for task in tasks(history):
        one_of_many = task.activation == "softmax" or task.loss.name in ONE_HOT
        if task.kind != "multi-hot" or not one_of_many or task.target is None:
            continue
        if not task.aligned or (task.units or 2) < 2:
            continue
        labels = task.target.mean * task.target.features
        yield Sign(
            where=task.where,
            seen=f"samples have {labels:.3g} labels on average, but "
            + (
                "softmax outputs sum to 1"
                if task.activation == "softmax"
                else f"{task.loss.name} is for one label each"
            ),
            cause="The labels do not exclude each other",
            action=f"use `{task.head(task.units, 'sigmoid')}` with `{BINARY_LOSS}`",
            alternatives=(
                "`metrics=[keras.metrics.BinaryAccuracy(), keras.metrics.AUC("
                "multi_label=True)]` to see how well it does",
            ),
            evidence={"labels_per_sample": labels, "activation": task.activation},
            severity="error" if labels > 1.05 else "warning",
            fixes=(fixes.output(task.where, "sigmoid", "binary_crossentropy"),),
        )


@rule(
    kind="note",
    severity="info",
    when="start",
    since="One-vs-rest against softmax regression",
    also=("metric-mismatch",),
    refutable=True,
)
def sigmoid_for_classes(history: RunHistory, *, many: int = 50) -> Iterator[Sign]:
    """Classes that exclude each other are trained as labels that do not.

    What it sees:
        One-hot targets with binary cross-entropy on several sigmoid units.

    Why it matters:
        It trains, and the largest output is mostly the right class: this is one
        classifier for each class against the rest. But the outputs do not sum to 1,
        and with many classes (`many`, then it is a warning) nearly all of the loss
        comes from zeros, so outputs of 0 look good for a long time.

    What to do:
        `softmax` with `categorical_crossentropy`.

    When it is wrong:
        Samples may have no class or several, and the sample did not show it.

    References:
        Goodfellow et al., Deep Learning, 6.2.2.3. Rifkin and Klautau, In defense of
        one-vs-all classification, JMLR 2004.
    """
    for task in tasks(history):
        binary = task.loss.standard and task.loss.name in BINARY
        logits = task.activation == "linear" and task.loss.from_logits
        if not binary or task.kind != "one-hot" or not task.aligned:
            continue
        if not (task.activation == "sigmoid" or logits) or task.reconstructs:
            continue
        units = task.units or 2
        if units < 2:
            continue
        yield Sign(
            where=task.where,
            seen=f"every sample has exactly one of {units} classes, but "
            f"{task.loss.name} trains each as a separate yes or no",
            cause="Likely meant for labels that do not exclude each other",
            action=f"use `{task.head(units, 'softmax')}` with `{ONE_HOT_LOSS}`",
            evidence={"units": units, "activation": task.activation},
            severity="warning" if units >= many else None,
            fixes=(fixes.output(task.where, "softmax", "categorical_crossentropy"),),
        )


@rule(
    kind="cause in the output",
    severity="warning",
    when="start",
    since="Maximum likelihood: squared errors assume Gaussian noise",
    also=("targets-not-scaled",),
    refutable=True,
)
def regression_loss_for_classes(history: RunHistory) -> Iterator[Sign]:
    """Classes are trained with a loss for quantities.

    What it sees:
        Mean squared error or the like with one-hot targets, or with labels where a
        sigmoid, a softmax or an accuracy metric shows that classes are meant.

    Why it matters:
        Behind a sigmoid or softmax the gradient of a squared error vanishes where the
        prediction is confidently wrong, so training starts slowly and gets stuck. On
        integer labels it treats class 4 as twice class 2.

    What to do:
        The cross-entropy for these labels.

    When it is wrong:
        It does train: as the Brier score it is even a proper scoring rule. If the model
        does well, ignore this. Autoencoders are left out, and labels that have no sign
        of being classes.

    References:
        Glorot and Bengio, Understanding the difficulty of training deep feedforward
        neural networks, AISTATS 2010, figure 5. Goodfellow et al., 6.2.1.1.
    """
    for task in tasks(history):
        if not task.regression or task.target is None or task.reconstructs:
            continue
        found = _meant_as_classes(task)
        if found is None:
            continue
        severity, what, units, loss = found
        wanted = "sigmoid" if loss == BINARY_LOSS else "softmax"
        fits = task.activation == wanted and task.units == units
        head = "" if fits else f" and `{task.head(units, wanted)}`"
        yield Sign(
            where=task.where,
            seen=f"{what} with {task.loss.name}",
            cause="Likely classes are meant, and this loss is for quantities",
            action=f"use `{loss}`{head}",
            alternatives=("keep it if the model learns well",)
            if severity != "error"
            else (),
            evidence={
                "loss": task.loss.name,
                "targets": task.kind or "",
                "activation": task.activation or "",
            },
            severity=severity,
            fixes=_as_classes(task, loss, wanted, units),
        )


def _as_classes(task: Task, loss: str, wanted: str, units: int) -> tuple[Fix, ...]:
    if task.units != units:
        return ()
    name = loss.split('"')[1]
    return (fixes.output(task.where, wanted, name),)


def _meant_as_classes(task: Task) -> tuple[str, str, int, str] | None:
    """Returns severity, what the targets are, units and loss for them."""
    squashed = task.activation in ("sigmoid", "softmax")
    classes = task.classes or 2
    if task.kind == "one-hot" and task.aligned:
        what = f"one-hot rows of {classes} classes"
        return "warning", what, classes, ONE_HOT_LOSS
    if task.kind == "multi-hot" and task.aligned and squashed:
        units = task.units or classes
        return "info", "labels that are 0 or 1", units, BINARY_LOSS
    if not task.single or task.kind not in ("binary", "labels"):
        return None
    if task.activation == "softmax" and (task.units or 0) > 1:
        units = max(classes, task.units or 0)
        return "error", "integer labels and a softmax", units, SPARSE_LOSS
    if task.units != 1 or not (task.accuracy or squashed):
        return None
    if task.kind == "binary":
        return "warning", "labels 0 and 1", 1, BINARY_LOSS
    # Twenty or more different numbers are rather ages or counts.
    if task.accuracy and task.distinct <= 20:
        what = f"integer labels of {task.distinct} classes"
        return "warning", what, classes, SPARSE_LOSS
    return None


@rule(
    kind="cause in the task",
    severity="error",
    when="start",
    since="Cross-entropy compares distributions",
    also=("class-imbalance", "output-units", "targets-not-scaled"),
)
def classification_loss_for_regression(history: RunHistory) -> Iterator[Sign]:
    """Quantities are trained with a loss for classes.

    What it sees:
        A cross-entropy with targets that are neither classes nor probabilities: not
        whole numbers, or outside of 0 to 1.

    Why it matters:
        With targets outside of 0 to 1 cross-entropy has no minimum at the target: it
        falls without bound while predictions go to 0 or 1. Sparse cross-entropy cuts
        2.7 to class 2.

    What to do:
        Use `loss="mse"` and an output without activation function. For an autoencoder
        you can also scale the data to 0 to 1.

    When it is wrong:
        Targets inside 0 to 1 are left alone: they may be probabilities.

    References:
        Goodfellow et al., Deep Learning, 6.2.1.
    """
    for task in tasks(history):
        target = task.target
        cross_entropy = task.loss.standard and (
            task.loss.name in BINARY | CLASSES | {"kl_divergence"}
        )
        if not cross_entropy or target is None or task.kind != "numbers":
            continue
        if not _is_quantity(task):
            continue
        scaled = f"scale the targets to 0 to 1 and keep {task.loss.name}"
        head = task.head(1 if task.single else task.units, None)
        plain = f'use `{head}` with `loss="mse"`'
        pixels = task.reconstructs and target.min >= 0 and target.max <= 255
        yield Sign(
            where=task.where,
            seen=f"targets between {target.min:.4g} and {target.max:.4g} with "
            f"{task.loss.name}",
            cause="They are quantities, not classes or probabilities",
            action="scale inputs and targets to 0 to 1: `x / 255`" if pixels else plain,
            alternatives=(plain,) if pixels else (scaled,) * task.reconstructs,
            evidence={
                "loss": task.loss.name,
                "target_min": target.min,
                "target_max": target.max,
                "whole": target.whole,
            },
            fixes=(fixes.output(task.where, "linear", "mean_squared_error"),),
        )


def _is_quantity(task: Task) -> bool:
    target = task.target
    if target is None:
        return False
    if task.loss.name in SPARSE:
        many = task.units is not None and target.max >= max(task.units, 2)
        return not target.whole or (many and task.single)
    if task.loss.name in CLASSES and task.single and not target.whole:
        return True
    slack = 0.01  # Smoothed or resized labels overshoot a little.
    return target.min < -slack or target.max > 1 + slack
