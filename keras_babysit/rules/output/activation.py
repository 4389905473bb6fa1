"""Rules about the output's activation function and the loss that it feeds."""

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
    RANGES,
    SPARSE_LOSS,
)
from keras_babysit.rules.evidence.tasks import Task, tasks
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the task",
    severity="error",
    when="start",
    since="The definition of softmax: it sums to 1 over the units",
    also=(
        "classification-loss-for-regression",
        "labels-for-other-loss",
        "output-units",
        "targets-not-scaled",
    ),
)
def softmax_on_one_unit(history: RunHistory) -> Iterator[Sign]:
    """A softmax over a single unit is always 1.

    What it sees:
        A layer with one unit and the activation function softmax.

    Why it matters:
        Softmax divides by the sum over the units. Over one unit that is `x / x = 1`,
        so the layer outputs 1 for every input and no gradient passes through it. On
        TensorFlow, Keras's binary cross-entropy uses the logits before it: then the
        loss falls, but the predictions are still 1.

    What to do:
        Two classes: `Dense(1, activation="sigmoid")` with binary cross-entropy. More:
        one unit for each class. A quantity: no activation function.

    When it is wrong:
        Never for the last axis. Layers whose softmax runs over another axis, such as
        attention over time steps, are left out.

    References:
        Goodfellow et al., Deep Learning, 6.2.2.3.
    """
    if history.model is None:
        return
    known = tasks(history)
    outputs = {output.layer for output in history.model.outputs}
    for layer in history.model.layers:
        if layer.activation != "softmax" or layer.units != 1:
            continue
        task = next((t for t in known if t.output.layer == layer.path), None)
        hidden = layer.path not in outputs
        yield Sign(
            where=layer.path,
            seen="softmax over 1 unit is 1 for every input",
            cause="Its output is constant, and no gradient passes through it",
            action=_instead_of_one_softmax(task, hidden),
            alternatives=_or_two_units(task),
            evidence={"units": 1, "activation": "softmax"},
            severity="warning" if hidden and history.model.graph_known else None,
            fixes=() if hidden or task is None else _one_unit(task),
        )


def _one_unit(task: Task) -> tuple[Fix, ...]:
    if task.kind == "numbers" or (task.regression and not task.accuracy):
        return (fixes.output(task.where, "linear", "mean_squared_error"),)
    if (task.classes or 2) > 2:
        return ()
    return (fixes.output(task.where, "sigmoid", "binary_crossentropy"),)


def _activated(task: Task, function: str) -> tuple[Fix, ...]:
    by_loss = (fixes.output(task.where, from_logits=True),)
    logits = task.probabilities and task.loss.from_logits is not None
    return (fixes.output(task.where, function), *(by_loss if logits else ()))


def _corrected(task: Task, wanted: str) -> tuple[Fix, ...]:
    if task.loss.from_logits:
        return (fixes.output(task.where, "linear"),)
    if wanted == task.activation:
        name = _right_loss(task).split('"')[1]
        return (fixes.output(task.where, loss=name),)
    return (fixes.output(task.where, wanted),)


def _or_two_units(task: Task | None) -> tuple[str, ...]:
    if task is None or task.kind != "binary":
        return ()
    return (f"or `{task.head(2, 'softmax')}` with `{SPARSE_LOSS}`",)


def _instead_of_one_softmax(task: Task | None, hidden: bool) -> str:
    if hidden or task is None:
        return (
            "use `sigmoid` for a gate, or, for attention over time steps, a layer "
            "without activation and then `Softmax(axis=1)`"
            if hidden
            else f'use `activation="sigmoid"` with `{BINARY_LOSS}`'
        )
    if task.kind == "numbers" or (task.regression and not task.accuracy):
        return f'use `{task.head(1, None)}` without activation, with `loss="mse"`'
    classes = task.classes or 2
    if classes > 2:
        loss = ONE_HOT_LOSS if task.kind == "one-hot" else SPARSE_LOSS
        return f"use `{task.head(classes, 'softmax')}` with `{loss}`"
    return f"use `{task.head(1, 'sigmoid')}` with `{BINARY_LOSS}`"


@rule(
    kind="cause in the output",
    severity="error",
    when="start",
    since="Keras: the cross-entropies take probabilities unless from_logits=True",
)
def missing_output_activation(history: RunHistory) -> Iterator[Sign]:
    """Outputs of any size go into a loss that takes them for probabilities.

    What it sees:
        An output without activation function, or with a linear one, and a
        cross-entropy, Kullback–Leibler or Poisson loss without `from_logits=True`.

    Why it matters:
        The loss clips what it gets to between 0 and 1 before the logarithm: outside
        that range the gradient is zero, and which outputs fall outside depends on the
        initialization. Poisson loss takes the logarithm of negative numbers.

    What to do:
        Give the last layer the activation function that makes probabilities
        (`sigmoid` for binary, `softmax` for categorical cross-entropy), or say
        `from_logits=True` in the loss.

    When it is wrong:
        A custom layer already outputs probabilities, and what follows only moves them
        around.

    References:
        Keras API, Probabilistic losses. CS231n, Linear classification: softmax.
    """
    fits = {"kl_divergence": "softmax", "poisson": "softplus"}
    for task in tasks(history):
        name = task.loss.name
        expects = task.probabilities or (task.loss.standard and name in fits)
        if task.activation != "linear" or not expects:
            continue
        function = fits.get(name, "sigmoid" if _is_binary(task) else "softmax")
        logits = f"`keras.losses.{_class_of(name)}(from_logits=True)`"
        yield Sign(
            where=task.where,
            seen=f"its outputs have no activation function, and {name} takes them for "
            + ("rates, which are positive" if name == "poisson" else "probabilities"),
            cause="The loss clips outputs outside of 0 to 1 and gives no gradient there"
            if name != "poisson"
            else "The logarithm of a negative output is NaN",
            action=f"use `{task.head(task.units, function)}`",
            alternatives=() if name in fits else (f"keep it and use {logits}",),
            evidence={"activation": "linear", "loss": name, "from_logits": False},
            fixes=_activated(task, function),
        )


def _is_binary(task: Task) -> bool:
    return task.loss.name in BINARY or task.units == 1


def _class_of(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


@rule(
    kind="cause in the output",
    severity="error",
    when="start",
    since="Probabilities lie between 0 and 1, those of classes sum to 1",
)
def wrong_output_activation(history: RunHistory) -> Iterator[Sign]:
    """The output's activation function does not make what the loss takes.

    What it sees:
        A cross-entropy on the values of ReLU, tanh or another function that makes no
        probabilities; softmax with binary cross-entropy; sigmoid with categorical
        cross-entropy over several units; ReLU or tanh in front of `from_logits=True`;
        a softmax over the axis of the samples.

    Why it matters:
        The logarithm of 0 (ReLU) or of a negative number (tanh) is clipped: the
        gradient vanishes where the output is most wrong. Softmax with binary
        cross-entropy and sigmoid with categorical cross-entropy do train, but the
        probabilities are wrong. A softmax over the samples makes each prediction depend
        on its batch.

    What to do:
        `sigmoid` with `binary_crossentropy`, for two classes or for labels that do
        not exclude each other; `softmax` with `categorical_crossentropy` for one-hot
        and `sparse_categorical_crossentropy` for integer labels.

    When it is wrong:
        Two softmax units with binary cross-entropy on one-hot targets are only
        information: that is the same as categorical cross-entropy.

    References:
        Goodfellow et al., Deep Learning, 6.2.2.
    """
    for task in tasks(history):
        if not task.loss.standard:
            continue
        seen = _wrong_activation(task)
        if seen is None:
            continue
        severity, why = seen
        binary = _wants_sigmoid(task)
        loss = task.loss.name
        wanted = "sigmoid" if binary else "softmax"
        if task.loss.from_logits:
            action = f"use `{task.head(task.units, None)}` without activation"
        elif wanted == task.activation:
            action = f"keep {wanted} and use `{_right_loss(task)}`"
        else:
            action = f"use `{task.head(task.units, wanted)}`"
        yield Sign(
            where=task.where,
            seen=f"{_in_words(task.activation)} makes the outputs that {loss} gets",
            cause=why,
            action=action,
            alternatives=_other_ways(task, wanted),
            evidence={
                "activation": task.activation,
                "loss": loss,
                "units": task.units,
                "from_logits": task.loss.from_logits,
            },
            severity=severity,
            fixes=_corrected(task, wanted),
        )


def _in_words(activation: str | None) -> str:
    over_batch = activation == "batch_softmax"
    return "a softmax over the axis of the samples" if over_batch else str(activation)


def _wrong_activation(task: Task) -> tuple[str, str] | None:
    """Returns severity and cause if the activation does not fit the loss."""
    loss, activation = task.loss.name, task.activation
    if activation in (None, "linear"):
        return None
    if activation == "batch_softmax":
        return "error", (
            "The softmax goes over the samples of a batch, not over the units: a "
            "prediction depends on which others are in its batch"
        )
    if task.loss.from_logits:
        return _squeezed_logits(task)
    if not task.probabilities and loss != "kl_divergence":
        return None
    if activation == "softmax":
        return _softmax_in_binary(task) if loss in BINARY else None
    if activation in ("sigmoid", "hard_sigmoid"):
        return _sigmoid_in_classes(task) if loss in CLASSES else None
    return _no_probabilities(task)


def _no_probabilities(task: Task) -> tuple[str, str] | None:
    loss, activation = task.loss.name, task.activation
    if task.loss.from_logits or not (task.probabilities or loss == "kl_divergence"):
        return None
    # Categorical cross-entropy divides by the sum: any positive function will do.
    positive = ("exponential", "softplus", "squareplus")
    if activation == "sparsemax" or (activation in positive and loss in ONE_HOT):
        return None
    if activation not in RANGES and activation not in ("leaky_relu", "prelu"):
        return None  # A function of the user's may make probabilities.
    return "error", (
        f"{activation} makes no probabilities: the loss clips its values, and where "
        "it does there is no gradient"
    )


def _softmax_in_binary(task: Task) -> tuple[str, str] | None:
    if not task.units or task.units < 2:
        return None
    why = "Likely meant for classes that exclude each other; this trains each unit "
    why += "as a separate yes or no"
    if task.units == 2:
        return "info", why + ", which is the same for one-hot pairs"
    return "warning", why + ", and the softmax's probabilities are not what is trained"


def _sigmoid_in_classes(task: Task) -> tuple[str, str] | None:
    if not task.units or task.units < 2:
        return None
    if task.output.reads_logits:
        return "warning", (
            "The loss is that of a softmax on the values behind the sigmoid, so the "
            "outputs are no probabilities: they need not sum to 1"
        )
    return "warning", "Sigmoids do not sum to 1 over the classes, softmax does"


def _squeezed_logits(task: Task) -> tuple[str, str] | None:
    """Activation functions in front of `from_logits=True`, softmax aside."""
    if task.activation == "relu":
        severity = "error" if task.loss.name in BINARY else "warning"
        return severity, "ReLU cuts off negative logits: " + (
            "no probability can be below one half"
            if severity == "error"
            else "a class at 0 gets no gradient to rise again"
        )
    if task.activation in ("tanh", "softsign", "hard_tanh"):
        return "warning", "Logits between −1 and 1 cannot make a confident prediction"
    return None


def _wants_sigmoid(task: Task) -> bool:
    if task.kind == "one-hot":
        return False
    return task.loss.name in BINARY and not (
        task.activation == "softmax" and (task.units or 0) > 1
    )


def _right_loss(task: Task) -> str:
    if task.activation == "sigmoid":
        return BINARY_LOSS
    return ONE_HOT_LOSS if task.kind in ("one-hot", None) else SPARSE_LOSS


def _other_ways(task: Task, wanted: str) -> tuple[str, ...]:
    if task.loss.from_logits:
        return ()
    if task.activation == "sigmoid" and wanted == "softmax":
        return (f"keep sigmoid and use `{BINARY_LOSS}` if a sample can have several",)
    if task.activation == "softmax" and wanted == "softmax":
        return ("sigmoid units if the labels do not exclude each other",)
    return ("no activation, and `from_logits=True` in the loss",)


@rule(
    kind="cause in the output",
    severity="warning",
    when="start",
    since="Keras: from_logits=True means that the outputs are not yet probabilities",
)
def logits_after_activation(history: RunHistory) -> Iterator[Sign]:
    """The loss is set to expect logits, but gets probabilities.

    What it sees:
        A softmax or sigmoid output and a loss with `from_logits=True`.

    Why it matters:
        The values are squashed twice. A softmax of values between 0 and 1 is nearly
        flat, so the loss cannot come near zero (for 10 classes not below 1.46) and
        learning is slow. With a binary loss no probability can be below one half.

    What to do:
        Remove the activation function, or `from_logits=True`.

    When it is wrong:
        On TensorFlow, Keras finds the logits behind a softmax or sigmoid that is the
        very last operation and trains with those: then this is only information. It
        holds on JAX and PyTorch, and where a layer or a cast follows.

    References:
        Keras, `binary_crossentropy` in `backend/tensorflow/nn.py`.
    """
    for task in tasks(history):
        if not task.loss.from_logits or not task.loss.standard:
            continue
        if task.activation not in ("softmax", "sigmoid", "hard_sigmoid"):
            continue
        rescued = task.output.reads_logits
        binary = task.loss.name in BINARY
        yield Sign(
            where=task.where,
            seen=f"{task.loss.name} with from_logits=True gets the values of a "
            f"{task.activation}",
            cause="On TensorFlow Keras takes the logits behind it, elsewhere it would "
            "be applied twice"
            if rescued
            else "It is applied twice, which leaves almost no gradient",
            action="remove `from_logits=True`",
            alternatives=(f"use `{task.head(task.units, None)}` without activation",),
            evidence={"activation": task.activation, "reads_logits": rescued},
            severity="info" if rescued else "error" if binary else None,
            fixes=(
                fixes.output(task.where, from_logits=False),
                fixes.output(task.where, "linear", from_logits=True),
            ),
        )
