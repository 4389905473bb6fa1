"""Rules that read the output, its loss and metrics, and what its targets are.

They need no training: half of all failing programs are wrong here, and no curve
shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.tasks import (
    ACCURACIES,
    BINARY,
    CLASSES,
    CROSS_ENTROPIES,
    NOTHING_LEARNED,
    ONE_HOT,
    SPARSE,
    Task,
    tasks,
)
from keras_babysit.rules.rule import Sign, rule

BINARY_LOSS = 'loss="binary_crossentropy"'
SPARSE_LOSS = 'loss="sparse_categorical_crossentropy"'
ONE_HOT_LOSS = 'loss="categorical_crossentropy"'

#: Smallest and largest value that an activation function can put out.
RANGES: dict[str, tuple[float, float]] = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "sparsemax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, math.inf),
    "squareplus": (0.0, math.inf),
    "exponential": (0.0, math.inf),
    "elu": (-1.0, math.inf),
    "celu": (-1.0, math.inf),
    "selu": (-1.7581, math.inf),
    "gelu": (-0.17, math.inf),
    "silu": (-0.2785, math.inf),
    "mish": (-0.3088, math.inf),
    "log_softmax": (-math.inf, 0.0),
    "log_sigmoid": (-math.inf, 0.0),
}

# ---------------------------------------------------------------- output and loss


@rule(
    severity="error",
    when="start",
    since="The definition of softmax: it sums to 1 over the units",
    symptoms=(
        *NOTHING_LEARNED,
        "dead-relu",
        "output-units",
        "output-range",
        "labels-for-other-loss",
        "labels-out-of-range",
        "wrong-output-activation",
        "logits-after-activation",
        "regression-loss-for-classes",
        "classification-loss-for-regression",
        "metric-mismatch",
        "targets-not-scaled",
    ),
)
def softmax_on_one_unit(history: RunHistory) -> Iterator[Sign]:
    """A softmax over a single unit is always 1.

    What it sees:
        A layer with one unit and the activation function softmax.

    Why it matters:
        Softmax divides by the sum over the units. Over one unit that is `x / x = 1`,
        so the layer puts out 1 for every input and no gradient passes it. On
        TensorFlow, Keras's binary cross-entropy takes the logits behind it: then the
        loss falls, and the predictions are 1 all the same.

    What to do:
        Two classes: `Dense(1, activation="sigmoid")` with binary cross-entropy. More:
        one unit for each class. A quantity: no activation function.

    When it is wrong:
        Never for the last axis. Layers whose softmax runs over another axis, as
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
            cause="Its output is constant, and no gradient passes it",
            action=_instead_of_one_softmax(task, hidden),
            alternatives=_or_two_units(task),
            evidence={"units": 1, "activation": "softmax"},
            severity="warning" if hidden and history.model.graph_known else None,
        )


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
    severity="error",
    when="start",
    since="Keras: the cross-entropies take probabilities unless from_logits=True",
    symptoms=(*NOTHING_LEARNED, "metric-mismatch"),
)
def missing_output_activation(history: RunHistory) -> Iterator[Sign]:
    """Outputs of any size go into a loss that takes them for probabilities.

    What it sees:
        An output without activation function, or with a linear one, and a
        cross-entropy, Kullback–Leibler or Poisson loss that was not told
        `from_logits=True`.

    Why it matters:
        The loss clips what it gets to between 0 and 1 before the logarithm: outside
        of that the gradient is zero, and which outputs fall outside is an accident
        of initialization. Poisson loss takes the logarithm of negative numbers.

    What to do:
        Give the last layer the activation function that makes probabilities
        (`sigmoid` for binary, `softmax` for categorical cross-entropy), or say
        `from_logits=True` in the loss.

    When it is wrong:
        If a custom layer in front already puts out probabilities and what follows
        only moves them in a way that is not known here.

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
        )


def _is_binary(task: Task) -> bool:
    return task.loss.name in BINARY or task.units == 1


def _class_of(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


@rule(
    severity="error",
    when="start",
    since="Probabilities lie between 0 and 1, those of classes sum to 1",
    symptoms=(*NOTHING_LEARNED, "dead-relu", "output-range"),
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
        cross-entropy and sigmoid with categorical cross-entropy do train, but what
        the model puts out is not what was trained: the probabilities are off. A
        softmax over the samples makes each prediction depend on its batch.

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
            seen=f"{_in_words(task.activation)} makes the outputs that {loss} is fed "
            "with",
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
    why += "as a yes or no of its own"
    if task.units == 2:
        return "info", why + ", which comes to the same with one-hot pairs"
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
    severity="warning",
    when="start",
    since="Keras: from_logits=True means that the outputs are not yet probabilities",
    symptoms=(*NOTHING_LEARNED, "metric-mismatch"),
)
def logits_after_activation(history: RunHistory) -> Iterator[Sign]:
    """The loss is told to expect logits, but gets probabilities.

    What it sees:
        A softmax or sigmoid output and a loss with `from_logits=True`.

    Why it matters:
        Squashed twice: a softmax of values between 0 and 1 is nearly flat, so the loss
        cannot come near zero (for 10 classes not under 1.46), learning is slow, and
        with a binary loss no probability can be below one half.

    What to do:
        Take away the activation function, or `from_logits=True`.

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
            else "It is applied twice, which leaves hardly any gradient",
            action="take away `from_logits=True`",
            alternatives=(f"use `{task.head(task.units, None)}` without activation",),
            evidence={"activation": task.activation, "reads_logits": rescued},
            severity="info" if rescued else "error" if binary else None,
        )


@rule(
    severity="error",
    when="start",
    since="A function cannot put out what is not in its range",
    symptoms=(
        *NOTHING_LEARNED,
        "dead-relu",
        "targets-not-scaled",
        "regression-loss-for-classes",
        "metric-mismatch",
    ),
)
def output_range(
    history: RunHistory, *, margin: float = 0.1, limit: float = 0.5
) -> Iterator[Sign]:
    """The output's activation function cannot reach the targets.

    What it sees:
        A regression loss with targets outside of the range of the output's activation
        function, by more than `margin` standard deviations of the targets: negative
        ones for ReLU, ones above 1 for sigmoid. An error above `limit`.

    Why it matters:
        The error on those targets cannot fall under a bound, and pushing towards them
        saturates the function, which stops learning on the others too.

    What to do:
        A regression output has no activation function. Or scale the targets into the
        function's range.

    When it is wrong:
        If few targets lie outside and are errors in the data.

    References:
        Goodfellow et al., Deep Learning, 6.2.2.1 (linear units for regression).
    """
    for task in tasks(history):
        target = task.target
        if target is None or not task.regression or task.activation not in RANGES:
            continue
        if task.kind is None or not target.std >= 0:
            continue
        if task.single and (task.units or 1) > 1:
            continue  # Values are compared with the wrong ones: other rules say so.
        low, high = RANGES[task.activation]
        beyond = max(low - target.min, target.max - high, 0.0)
        share = beyond / max(target.std, 1e-12)
        if share <= margin or beyond < 1e-6:
            if _needs_no_sum(task):
                yield _sums_to_one(task)
            continue
        yield Sign(
            where=task.where,
            seen=f"{task.activation} puts out {_interval(low, high)}, but the targets "
            f"lie between {target.min:.4g} and {target.max:.4g}",
            cause="Targets outside of the range cannot be reached",
            action=f"use `{task.head(task.units, None)}` without activation",
            alternatives=(f"scale the targets into {_interval(low, high)}",),
            evidence={
                "activation": task.activation,
                "target_min": target.min,
                "target_max": target.max,
                "beyond_in_std": share,
            },
            severity="error" if share >= limit else "warning",
        )


def _interval(low: float, high: float) -> str:
    if math.isinf(high):
        return f"values from {low:g} up"
    return f"values up to {high:g}" if math.isinf(low) else f"{low:g} to {high:g}"


def _needs_no_sum(task: Task) -> bool:
    """Whether a softmax is to reach rows that do not sum to one."""
    target = task.target
    if target is None or task.activation != "softmax" or not task.aligned:
        return False
    many = (task.units or 0) > 1 and task.kind == "numbers"
    return many and abs(target.mean * target.features - 1) > 0.1


def _sums_to_one(task: Task) -> Sign:
    assert task.target is not None
    total = task.target.mean * task.target.features
    return Sign(
        where=task.where,
        seen=f"softmax outputs sum to 1, but the targets' rows to {total:.3g}",
        cause="Such rows cannot be reached",
        action=f"use `{task.head(task.units, None)}` without activation",
        alternatives=(f"`{task.head(task.units, 'sigmoid')}` for values in 0 to 1",),
        evidence={"activation": "softmax", "row_sum": total},
    )


@rule(
    severity="error",
    when="start",
    since="Labels that do not exclude each other are no distribution",
    symptoms=(
        *NOTHING_LEARNED,
        "wrong-output-activation",
        "missing-output-activation",
        "logits-after-activation",
        "regression-loss-for-classes",
        "metric-mismatch",
    ),
)
def softmax_for_multi_label(history: RunHistory) -> Iterator[Sign]:
    """Samples have several labels, but the outputs exclude each other.

    What it sees:
        Targets of zeros and ones with several ones to a row, and a softmax output or
        categorical cross-entropy.

    Why it matters:
        Softmax makes probabilities that sum to 1: with three labels none can get over
        a third, and the threshold of one half finds none of them.

    What to do:
        `Dense(labels, activation="sigmoid")` with `loss="binary_crossentropy"`.

    When it is wrong:
        If the rows are meant as unnormalized shares. Where rows have at most one
        label on average it is only a warning: some may have none.

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
        )


@rule(
    severity="info",
    when="start",
    since="One-vs-rest against softmax regression",
    symptoms=("metric-mismatch",),
)
def sigmoid_for_classes(history: RunHistory, *, many: int = 50) -> Iterator[Sign]:
    """Classes that exclude each other are trained as labels that do not.

    What it sees:
        One-hot targets with binary cross-entropy on several sigmoid units.

    Why it matters:
        It trains, and the largest output is mostly the right class: this is one
        classifier for each class against the rest. But the outputs do not sum to 1,
        and with many classes (`many`, then it is a warning) nearly all of the loss
        comes from zeros, so that putting out nothing looks good for long.

    What to do:
        `softmax` with `categorical_crossentropy`.

    When it is wrong:
        If samples may have no class or several, and the sample did not show it.

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
            f"{task.loss.name} trains each as a yes or no of its own",
            cause="Likely meant for labels that do not exclude each other",
            action=f"use `{task.head(units, 'softmax')}` with `{ONE_HOT_LOSS}`",
            evidence={"units": units, "activation": task.activation},
            severity="warning" if units >= many else None,
        )


# --------------------------------------------------------------- units and labels


@rule(
    severity="error",
    when="start",
    since="Keras: shapes of targets and outputs have to fit, or are broadcast",
    symptoms=(
        *NOTHING_LEARNED,
        "labels-out-of-range",
        "labels-for-other-loss",
        "wrong-output-activation",
        "missing-output-activation",
        "metric-mismatch",
        "sigmoid-for-classes",
    ),
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
        raise. A cross-entropy over one class is zero whatever the model does. Shapes
        that differ are broadcast against each other without a word: a target of one
        value trains every unit or time step towards it.

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
        seen=f"{_count(units, 'unit')} for {task.distinct} classes "
        f"(labels {_label(task, min)} to {_label(task, max)})",
        cause="Classes without a unit of their own cannot be told apart",
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
    if task.loss.name in SPARSE and len(out) == 1:
        return None  # One label for each sample is what it takes, whatever it is.
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
        cause="Likely units without a class: they only learn to stay silent",
        action=f"use `{task.head(classes, _usual(task))}`"
        if task.activation == "batch_softmax"
        else f"use `{task.head(classes, task.activation)}`",
        evidence={"units": units, "classes": task.distinct, "seen": target.seen},
        severity="info",
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _shape(shape: tuple) -> str:
    return f"({', '.join(str(n) for n in shape)})"


@rule(
    severity="error",
    when="start",
    since="Keras: categorical takes one-hot rows, sparse categorical integers",
    symptoms=(
        *NOTHING_LEARNED,
        "missing-output-activation",
        "wrong-output-activation",
        "logits-after-activation",
        "labels-out-of-range",
        "metric-mismatch",
    ),
)
def labels_for_other_loss(history: RunHistory) -> Iterator[Sign]:
    """The labels are of the kind that another cross-entropy takes.

    What it sees:
        Integer labels with a loss for one-hot rows, or one-hot rows with the loss for
        integers; labels 0 and 1 on one unit with a loss over classes; integer labels
        with binary cross-entropy over several units.

    Why it matters:
        Shapes that do not fit raise or are broadcast: every unit is then trained
        towards the label's number. Over one unit a loss over classes is always zero.

    What to do:
        `sparse_categorical_crossentropy` for integers, `categorical_crossentropy` for
        one-hot rows, `binary_crossentropy` for 0 and 1 on one sigmoid unit.

    When it is wrong:
        If a custom layer or loss in between turns the one into the other.

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


@rule(
    severity="warning",
    when="start",
    since="Maximum likelihood: squared errors assume Gaussian noise",
    symptoms=(*NOTHING_LEARNED, "metric-mismatch", "targets-not-scaled"),
)
def regression_loss_for_classes(history: RunHistory) -> Iterator[Sign]:
    """Classes are trained with a loss for quantities.

    What it sees:
        Mean squared error or the like with one-hot targets, or with labels where a
        sigmoid, a softmax or an accuracy metric shows that classes are meant.

    Why it matters:
        Behind a sigmoid or softmax the gradient of a squared error vanishes where the
        prediction is confidently wrong, so training starts slowly and gets stuck. On
        integer labels it takes class 4 for twice class 2.

    What to do:
        The cross-entropy for these labels.

    When it is wrong:
        It does train: as the Brier score it is even a proper one. If it does well,
        ignore this. Autoencoders are left out, and labels that have no sign of
        being classes.

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
            alternatives=("keep it if it learns well: then the choice is yours",)
            if severity != "error"
            else (),
            evidence={
                "loss": task.loss.name,
                "targets": task.kind or "",
                "activation": task.activation or "",
            },
            severity=severity,
        )


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
    severity="error",
    when="start",
    since="Cross-entropy compares distributions",
    symptoms=(
        *NOTHING_LEARNED,
        "dead-relu",
        "labels-out-of-range",
        "targets-not-scaled",
        "class-imbalance",
        "output-units",
        "output-range",
        "missing-output-activation",
        "wrong-output-activation",
        "logits-after-activation",
        "metric-mismatch",
    ),
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
        `loss="mse"` and an output without activation function. An autoencoder can also
        have its data scaled to 0 to 1.

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


@rule(
    severity="warning",
    when="start",
    since="Keras: what each accuracy compares",
    symptoms=("accuracy-at-majority",),
)
def metric_mismatch(history: RunHistory) -> Iterator[Sign]:
    """A metric does not measure what the task is about.

    What it sees:
        Accuracy for quantities; binary accuracy for one-hot classes; categorical
        accuracy for a single unit or integer labels; the class `Accuracy`, which asks
        that predictions equal the labels; a threshold of one half on logits.

    Why it matters:
        Training is not touched, but what you judge it by is wrong. Accuracy of a
        regression counts exact hits and stays near 0. Binary accuracy on one-hot rows
        counts the zeros too: with 10 classes 80 % when always wrong. Categorical
        accuracy of one unit is always 1.

    What to do:
        `"mae"` for quantities; `"accuracy"` as a string for classes: Keras picks the
        kind that fits the shapes.

    When it is wrong:
        Where rounded predictions are really wanted. For autoencoders it is only
        information.

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
        "It counts exact hits, which quantities hardly ever are",
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
        why = "It takes the largest of a row, and a label is a row of one"
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
