"""What is wrong with the values that `fit` is fed with: scale, NaN, labels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.facts import (
    ArrayFacts,
    DataFacts,
    LayerFacts,
    ModelFacts,
    OutputFacts,
)
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.connections import (
    SENSITIVE,
    class_counts,
    is_raw,
    loss_name,
    may_mend,
    pairs,
    rescaling,
)
from keras_babysit.rules.evidence.graph import NORMALIZING
from keras_babysit.rules.evidence.phrases import number, percent
from keras_babysit.rules.evidence.tasks import BINARY, CROSS_ENTROPIES, ONE_HOT, SPARSE
from keras_babysit.rules.rule import Sign, rule

#: Losses whose gradient grows, or whose minimum moves, with the targets' scale.
_REGRESSION = frozenset(
    ("mean_squared_error", "mean_absolute_error", "huber", "log_cosh")
)
#: Functions between two asymptotes, and layers whose outputs keep to a scale: behind
#: them nothing grows.
_BOUNDED = frozenset(
    ("sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softsign", "softmax", "relu6")
)
_BOUND = frozenset(("LSTM", "GRU", "RNN", "Bidirectional", "ConvLSTM2D")) | NORMALIZING
#: Focal losses weight what is rare by themselves.
_UNWEIGHTED = CROSS_ENTROPIES - {
    "binary_focal_crossentropy",
    "categorical_focal_crossentropy",
}
#: What metrics that rare classes show in have in their names.
_OF_RARE_CLASSES = (
    *("auc", "precision", "recall", "f1", "beta", "sensitivity", "specificity"),
    *("true_positives", "false_negatives"),
)
_CLASSES = CROSS_ENTROPIES | {"hinge", "squared_hinge", "categorical_hinge"}
#: What follows from inputs or targets of the wrong scale, in one way or another.
_OF_SCALE = (
    "initial-loss-off-chance",
    "loss-not-finite",
    "loss-diverging",
    "loss-oscillating",
    "loss-flat",
    "loss-plateaued",
    "batch-loss-noisy",
    "accuracy-at-majority",
    "learning-rate-too-high",
    "learning-rate-too-low",
    "update-ratio-too-high",
    "update-ratio-too-low",
    "vanishing-gradients",
    "exploding-gradients",
    "dead-relu",
    "saturated-activation",
    "activations-exploding",
    "activations-collapsing",
    "underfitting",
    "stopped-too-early",
    "noisy-first-layer",
)


def _seen(array: ArrayFacts, data: DataFacts) -> str:
    """Says how many samples a statement rests on."""
    known = data.rows if data.source == "arrays" else None
    if known == array.seen:
        return f"all {array.seen:,} samples"
    return f"{array.seen:,} samples" + (f" of {known:,}" if known else "")


def _rms(array: ArrayFacts) -> float:
    return math.hypot(array.mean, array.std)


def _feature_rms(array: ArrayFacts) -> np.ndarray:
    found = np.hypot(array.feature_mean, array.feature_std)
    return found[np.isfinite(found)]


def _largest(array: ArrayFacts) -> float:
    return max(abs(array.min), abs(array.max))


# ------------------------------------------------------------------ scale of inputs


@rule(
    severity="warning",
    when="start",
    since="CS231n, Neural Networks Part 2: Data Preprocessing; LeCun et al. 1998",
    symptoms=("feature-scales-differ", *_OF_SCALE),
)
def inputs_not_scaled(
    history: RunHistory,
    *,
    limit: float = 20.0,
    feature_limit: float = 100.0,
    small: float = 0.05,
) -> Iterator[Sign]:
    """The inputs are far larger or smaller than the first layer expects.

    What it sees:
        Inputs that meet a dense, convolutional or recurrent layer as they are, and
        whose root mean square is above `limit`, or that of a single feature above
        `feature_limit`, or none of whose values is larger than `small`. Or such as
        Rescaling layers leave with differences below `small`.

    Why it matters:
        Initial weights are made for inputs of about unit size. A gradient of the
        first layer grows with its input and the curvature with its square, so that
        inputs of 100 want a rate 10,000 times smaller; units saturate or die in the
        first steps. Tiny inputs leave nothing but the biases to learn from.

    What to do:
        Divide pixels by 255; standardise columns with the mean and deviation of the
        training data; or let a Rescaling or Normalization layer do it in the model.

    When it is wrong:
        A layer of your own, or the train step, scales the inputs: it is silent then
        as far as it can tell. It is silent too before BatchNormalization,
        LayerNormalization, Embedding and the preprocessing layers, and before layers
        that were trained already, which want the scale that they were trained with.
        With plain inputs of 5 or 10 nothing is said: that trains.

    References:
        CS231n, https://cs231n.github.io/neural-networks-2/#datapre;
        LeCun, Bottou, Orr and Müller, Efficient BackProp (1998), section 4.3.
    """
    data = history.data
    for x in data.inputs if data is not None else ():
        if data is None or not _is_measured(x):
            continue
        rescaled = rescaling(history.model, x.name)
        if rescaled is not None and 0 < abs(rescaled[0]) * (x.max - x.min) < small:
            yield _scaled_twice(x, data, *rescaled)
        if not is_raw(history.model, x.name):
            continue
        rms, features = _rms(x), _feature_rms(x)
        worst = float(features.max()) if features.size else rms
        tiny = _largest(x) < small and x.std > 0
        if not tiny and rms <= limit and worst <= feature_limit:
            continue
        action, others = _scaled(x, tiny)
        effect = "next to nothing reaches" if tiny else "they are too large for"
        yield Sign(
            where=x.name,
            seen=(
                f"values from {number(x.min)} to {number(x.max)}, mean "
                f"{number(x.mean)} and deviation {number(x.std)} in {_seen(x, data)}, "
                "reach the first layer as they are (about 1 is healthy)"
            ),
            cause=f"Likely the inputs were not scaled: {effect} the initial weights",
            action=action,
            alternatives=others,
            evidence={
                "mean": x.mean,
                "std": x.std,
                "min": x.min,
                "max": x.max,
                "root_mean_square": rms,
                "largest_feature_root_mean_square": worst,
            },
        )


def _scaled_twice(x: ArrayFacts, data: DataFacts, factor: float, offset: float) -> Sign:
    low, high = sorted((factor * x.min + offset, factor * x.max + offset))
    return Sign(
        where=x.name,
        seen=f"values from {number(x.min)} to {number(x.max)} in {_seen(x, data)} are "
        f"from {number(low)} to {number(high)} behind the Rescaling layer (about 1 is "
        "healthy)",
        cause="Likely they were scaled twice, before the model and in it: next to "
        "nothing reaches the initial weights",
        action="leave the Rescaling layer out, or feed the model with what it is "
        "made for, mostly pixels from 0 to 255",
        evidence={"min": x.min, "max": x.max, "factor": factor, "offset": offset},
    )


def _is_measured(x: ArrayFacts) -> bool:
    """Whether an input is a quantity with a scale."""
    return (
        x.dtype not in ("string", "bool")
        and math.isfinite(x.std)
        and not x.one_hot
        and not x.multi_hot
        and x.seen > 1
    )


def _standardised(x: ArrayFacts) -> str:
    """Code that standardises an array: a table by columns, constant ones kept."""
    v = x.name
    if len(x.shape) == 1:
        return f"{v} = ({v} - {v}.mean(axis=0)) / ({v}.std(axis=0) + 1e-7)"
    return f"{v} = ({v} - {v}.mean()) / {v}.std()"


def _scaled(x: ArrayFacts, tiny: bool) -> tuple[str, tuple[str, ...]]:
    """Returns how to scale an input, and other ways to do so."""
    v = x.name
    layer = (
        "norm = keras.layers.Normalization(); "
        f"norm.adapt({v}), and make `norm` the model's first layer"
    )
    own = f"standardise it: `{_standardised(x)}`"
    again = "scale validation and test data by the same numbers"
    if tiny:
        return f"undo a scaling that was done twice, or {own}", (layer, again)
    if x.whole and x.min >= 0 and 100 < x.max <= 255 and len(x.shape):
        return (
            f'divide by 255: `{v} = {v}.astype("float32") / 255`, validation and test '
            "data too",
            ("make `keras.layers.Rescaling(1 / 255)` the model's first layer",),
        )
    if x.whole and len(x.shape) < 2 and "int" in x.dtype:
        layer = "put `keras.layers.Embedding` first if they stand for words or names"
    return own, (layer, again)


@rule(
    severity="warning",
    when="start",
    since="CS231n, Neural Networks Part 2: Data Preprocessing; LeCun et al. 1998",
    symptoms=(
        "loss-oscillating",
        "loss-plateaued",
        "learning-rate-too-high",
        "underfitting",
        "noisy-first-layer",
    ),
)
def feature_scales_differ(
    history: RunHistory, *, ratio: float = 100.0, large: float = 10.0
) -> Iterator[Sign]:
    """Some features are hundreds of times larger than others.

    What it sees:
        Columns of a table that meets a dense or recurrent layer as it is: the
        largest column's root mean square and its largest value are both more than
        `ratio` times those of the smallest, and the values of the large one exceed
        `large`. Constant columns and such of zeros and ones are left out.

    Why it matters:
        One learning rate serves all columns. The loss is steep along the large ones
        and flat along the small ones: a rate that is safe for the former learns
        nothing from the latter.

    What to do:
        Standardise each column with the mean and deviation of the training data.

    When it is wrong:
        The small columns carry nothing of use, or an own layer scales them.

    References:
        CS231n, https://cs231n.github.io/neural-networks-2/#datapre;
        LeCun, Bottou, Orr and Müller, Efficient BackProp (1998), section 4.3.
    """
    data = history.data
    for x in data.inputs if data is not None else ():
        if data is None or len(x.shape) != 1 or not _is_measured(x):
            continue
        if not is_raw(history.model, x.name):
            continue
        rms = np.hypot(x.feature_mean, x.feature_std)
        top = np.maximum(np.abs(x.feature_min), np.abs(x.feature_max))
        flags = (x.feature_min == 0) & (x.feature_max == 1)
        kept = np.flatnonzero(np.isfinite(rms) & (x.feature_std > 0) & ~flags)
        if kept.size < 2:
            continue
        low, high = kept[rms[kept].argmin()], kept[rms[kept].argmax()]
        by = min(rms[high] / rms[low], top[high] / top[low])
        if by <= ratio or top[high] <= large:
            continue
        yield Sign(
            where=x.name,
            seen=(
                f"feature {high} is about {number(rms[high])} and feature {low} about "
                f"{number(rms[low])} in {_seen(x, data)}: {number(by)} times apart"
            ),
            cause="Likely the columns were not scaled, so that the large ones rule",
            action=f"standardise the columns: `{_standardised(x)}`",
            alternatives=(
                "make a `keras.layers.Normalization()`, adapted to the training data, "
                "the model's first layer",
                "take the logarithm of columns that span orders of magnitude",
            ),
            evidence={
                "ratio": float(by),
                "largest": float(rms[high]),
                "smallest": float(rms[low]),
                "largest_feature": int(high),
                "smallest_feature": int(low),
            },
        )


@rule(
    severity="info",
    when="start",
    since="CS231n, Neural Networks Part 2: Data Preprocessing",
    symptoms=(
        "conflicting-labels",
        "unrelated-inputs",
        "loss-flat",
        "loss-plateaued",
        "underfitting",
        "accuracy-at-majority",
        "leaking-validation",
    ),
)
def constant_features(
    history: RunHistory, *, most: float = 0.9, at_least: int = 20, zeros: float = 0.25
) -> Iterator[Sign]:
    """Features have the same value in all samples.

    What it sees:
        Columns of an input that do not vary over at least `at_least` samples: told
        as a warning from a share of `most` on, and as an error if nothing varies in
        any input. Columns that are always 0 are not told up to a share of `zeros`
        (the border pixels of pictures), nor in a table of many columns for the rows
        that were seen (rare words).

    Why it matters:
        A constant column says nothing and acts like a second bias. Many of them
        mostly come from a mistake on the way: a wrong column, an integer division
        (`x // 255`), a scaler applied twice.

    What to do:
        Look at the column where it is made; leave it out if it belongs there.

    When it is wrong:
        The sample is small, or the feature is rare.

    References:
        CS231n, https://cs231n.github.io/neural-networks-2/#datapre.
    """
    data = history.data
    if data is None:
        return
    measured = [x for x in data.inputs if x.dtype != "string" and x.seen >= at_least]
    dead = [x for x in measured if x.std == 0 and not x.nan]
    nothing = bool(data.inputs) and len(dead) == len(data.inputs) and bool(data.targets)
    for x in measured:
        constant = np.flatnonzero(x.feature_std == 0)
        share = 1.0 if x in dead else constant.size / max(x.feature_std.size, 1)
        unused = constant.size > 0 and bool((x.feature_max[constant] == 0).all())
        # Words or border pixels that a sample of this size need not hold.
        rare = x.features >= 20 and (share <= zeros or 4 * x.features > x.seen)
        if share == 0 or (unused and rare and x not in dead):
            continue
        if x not in dead and len(x.shape) != 1 and share < most:
            continue
        where = ", ".join(map(str, constant[:5])) + (", ..." * (constant.size > 5))
        what = f"feature {where} of {x.features}" if x.features > 1 else "it"
        yield Sign(
            where=x.name,
            seen=(
                f"always {number(x.min)} in {_seen(x, data)}"
                if x in dead
                else f"{constant.size} of {x.features} features do not vary in "
                f"{_seen(x, data)}: {where}"
            ),
            cause=(
                "Nothing in the inputs varies: nothing can be learnt from them"
                if nothing
                else "Likely they hold no information, or were lost on the way"
            ),
            action=(
                f"look at where `{x.name}` is made, an integer division for one"
                if share >= most
                else f"check {what}, and leave it out if it is meant to be constant"
            ),
            evidence={"constant": int(constant.size), "share": float(share)},
            severity="error"
            if nothing
            else ("warning" if share >= most and not _is_given(x, data) else None),
        )


def _is_given(x: ArrayFacts, data: DataFacts) -> bool:
    """Whether a constant input beside others may be meant: a mask, a first state."""
    return x.std == 0 and len(data.inputs) > 1


# ----------------------------------------------------------------------------- NaN


@rule(
    severity="error",
    when="start",
    since="IEEE 754: NaN is contagious",
    symptoms=(
        *_OF_SCALE,
        "inputs-not-scaled",
        "targets-not-scaled",
        "constant-features",
        "disconnected-layer",
        "overfitting",
    ),
)
def nan_in_data(history: RunHistory) -> Iterator[Sign]:
    """Inputs or targets hold NaN or infinite values.

    What it sees:
        Elements that are NaN or infinite, in a sample of the rows, and in all of
        them where an array of floats is not too large to be summed. In validation
        data alone it is a warning: they only spoil the validation loss.

    Why it matters:
        One NaN makes the loss and then all weights NaN in the step that meets it. The
        loss can even stay finite while a kernel is NaN already.

    What to do:
        Find where they come from (missing values, a division by zero, a logarithm of
        zero), and fill or drop those rows.

    When it is wrong:
        A layer of your own replaces them, or your own loss passes over NaN targets:
        it only mentions them if the first layer or the loss is not one of Keras's.

    References:
        Goodfellow, Bengio and Courville, Deep Learning (2016), section 4.1.
    """
    data = history.data
    if data is None:
        return
    for x in data.inputs:
        mended = history.model is not None and may_mend(history.model, x.name)
        yield from _not_finite(x, data, "info" if mended else None)
    for y, output in pairs(history):
        own = output is not None and not loss_name(output)
        yield from _not_finite(y, data, "info" if own else None)
    known = {array.name for array in (*data.inputs, *data.targets) if _bad(array)}
    validation = data.validation
    for array in (*validation.inputs, *validation.targets) if validation else ():
        if array.name not in known:
            yield from _not_finite(array, data, "warning", "validation ")


def _bad(array: ArrayFacts) -> int:
    return array.nan + array.inf


def _not_finite(
    array: ArrayFacts, data: DataFacts, severity: str | None, of: str = ""
) -> Iterator[Sign]:
    if not _bad(array):
        return
    parts = [(array.nan, "NaN"), (array.inf, "infinite")]
    what = " and ".join(f"{n:,} {name}" for n, name in parts if n)
    within = array.scanned or array.seen
    features = np.flatnonzero(array.feature_nonfinite)
    where = ""
    if array.features > 1 and 0 < features.size < array.features:
        listed = ", ".join(map(str, features[:5])) + ", ..." * (features.size > 5)
        where = f", in feature {listed}"
    v = array.name
    yield Sign(
        where=f"{of}{v}",
        seen=f"{what} values in {within:,} samples{where}",
        cause="The loss and the weights become NaN with the first batch that has one"
        if not of
        else "The validation loss will be NaN",
        action=f"drop or fill them: `{v} = np.nan_to_num({v}, posinf=0, neginf=0)` as "
        "a first try, better the column's mean"
        if v.startswith("x")
        else f"drop those samples: `keep = np.isfinite({v})` along all axes but the "
        "first",
        alternatives=("find the division, logarithm or join that makes them",),
        evidence={
            "nan": array.nan,
            "inf": array.inf,
            "samples": within,
            "features": [int(i) for i in features[:20]],
        },
        severity=severity,
    )


# ------------------------------------------------------------------------- targets


@rule(
    severity="warning",
    when="start",
    since="LeCun et al. 1998, Efficient BackProp: choosing target values",
    symptoms=_OF_SCALE,
)
def targets_not_scaled(
    history: RunHistory, *, limit: float = 100.0, small: float = 1e-3
) -> Iterator[Sign]:
    """Regression targets are far from what an untrained output puts out.

    What it sees:
        Targets of mean squared, absolute, Huber or log-cosh error whose root mean
        square is above `limit` (or whose deviation is below `small`) at a dense or
        convolutional output. It is told as info only if the steps at hand can get
        there: an Adam-like optimizer moves each weight by the learning rate a step, and
        those of unbounded hidden layers multiply.

    Why it matters:
        An untrained output is about 1. Adam needs hundreds or thousands of steps only
        to reach the mean; under SGD the first gradients are as large as the targets,
        which throws the weights off or ends in NaN.

    What to do:
        Standardise the targets and undo it on the predictions.

    When it is wrong:
        The output's bias starts at the targets' mean (it is silent then), or you
        train long enough at a high rate.

    References:
        LeCun, Bottou, Orr and Müller, Efficient BackProp (1998), section 4.5.
    """
    data = history.data
    for y, output in pairs(history):
        if data is None or output is None or not _is_regressed(y, output, history):
            continue
        features = _feature_rms(y)
        rms = float(features.max()) if features.size else _rms(y)
        tiny = 0 < y.std < small and abs(y.mean) < small
        if not tiny and (rms <= limit or _starts_there(y, output, history.model)):
            continue
        if not tiny and _is_linear_least_squares(history.model):
            continue
        v = y.name
        yield Sign(
            where=v,
            seen=(
                f"regression targets of mean {number(y.mean)} and deviation "
                f"{number(y.std)} in {_seen(y, data)} (about 0 and 1 is healthy)"
            ),
            cause=(
                "Likely the targets were not scaled: the noise of an untrained output "
                "is larger than all of them"
                if tiny
                else "Likely the targets were not scaled: the output, which starts "
                "around 0, has to travel that far"
            ),
            action=f"standardise them: `{v} = ({v} - {v}.mean()) / {v}.std()`, and "
            "undo it on the predictions",
            alternatives=(
                "put `keras.layers.Rescaling(std, mean)` behind the output layer",
                "learn the logarithm if all are positive and span magnitudes",
            ),
            evidence={"mean": y.mean, "std": y.std, "root_mean_square": rms},
            severity="info" if not tiny and _gets_there(rms, output, history) else None,
        )


def _is_regressed(y: ArrayFacts, output: OutputFacts, history: RunHistory) -> bool:
    layers = history.model.layers if history.model is not None else ()
    made_by = next((layer for layer in layers if layer.path == output.layer), None)
    return (
        loss_name(output) in _REGRESSION
        and made_by is not None
        and made_by.kind in SENSITIVE
        and output.activation in ("linear", "relu", "softplus", "leaky_relu", "elu")
        and math.isfinite(y.std)
        and y.dtype != "string"
    )


def _starts_there(y: ArrayFacts, output: OutputFacts, model: ModelFacts | None) -> bool:
    """Whether the output's bias was set to the targets' mean."""
    for layer in model.layers if model is not None else ():
        for weight in layer.weights if layer.path == output.layer else ():
            if weight.role == "bias" and weight.mean != 0:
                return abs(weight.mean - y.mean) < max(abs(y.mean) / 2, y.std)
    return False


def _is_linear_least_squares(model: ModelFacts | None) -> bool:
    """Whether a single layer learns by SGD, whose pace then follows the targets."""
    if model is None or model.optimizer is None or model.optimizer.name != "SGD":
        return False
    return sum(layer.kind in SENSITIVE for layer in model.layers) == 1


def _gets_there(rms: float, output: OutputFacts, history: RunHistory) -> bool:
    """Whether an Adam-like optimizer can move the output that far, three times over.

    Each weight moves by up to the rate a step; a unit of the layer before passes on
    about half, and outputs of hidden layers grow meanwhile, as their weights move too.
    """
    data, model = history.data, history.model
    if data is None or data.steps is None or model is None or model.optimizer is None:
        return False
    if model.optimizer.name == "SGD" or not model.optimizer.learning_rate > 0:
        return False
    fan_in = max(
        (
            weight.fan_in or 0
            for layer in model.layers
            if layer.path == output.layer
            for weight in layer.weights
        ),
        default=0,
    )
    moved = model.optimizer.learning_rate * data.steps
    reach = moved * (1 + fan_in / 2) * _growth(model, output.layer, moved)
    return reach > 3 * rms


def _growth(model: ModelFacts, path: str | None, moved: float) -> float:
    """How much larger what feeds a layer can become while each weight moves so far.

    The inputs of a hidden layer pull less in one direction. An eighth of them was
    chosen on networks of two to four layers that Adam trained: it gives their steps
    within a third for targets of some hundreds, and up to five times too many beyond.
    """
    factors: dict[str, float] = {}
    last = 1.0  # Where the graph is not known, layers come in the order of their use.
    for layer in model.layers:
        fed = last
        if layer.inputs is not None:
            fed = max([1.0, *(factors.get(p, 1.0) for p in layer.inputs)])
        if layer.path == path:
            return fed
        bounded = layer.activation in _BOUNDED or layer.kind in _BOUND
        last = factors[layer.path] = 1.0 if bounded else fed * _own(layer, moved)
    return 1.0


def _own(layer: LayerFacts, moved: float) -> float:
    fans = [w.fan_in or 0 for w in layer.weights if w.role == "kernel" and w.trainable]
    return max([1.0, *(moved * (1 + fan_in / 8) for fan_in in fans)])


@rule(
    severity="error",
    when="start",
    since="Keras, losses: labels are class indices below the number of units",
    symptoms=(
        *_OF_SCALE,
        "class-imbalance",
        "output-range",
        "classification-loss-for-regression",
        "metric-mismatch",
        "overfitting",
    ),
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
            yield _out_of(y, "0 to 1", "The loss wants a distribution", _one_hot(y))


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
    yield _out_of(y, span, "The loss has no unit for such a label", how)


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
    yield _out_of(y, "0 to 1", "Binary crossentropy wants labels of 0 and 1", how)


def _one_hot(y: ArrayFacts) -> str:
    return (
        f"divide by the sum of each row: `{y.name} / {y.name}.sum(-1, keepdims=True)`"
    )


def _out_of(y: ArrayFacts, span: str, cause: str, action: str) -> Sign:
    return Sign(
        where=y.name,
        seen=f"labels from {number(y.min)} to {number(y.max)}, the loss takes {span}",
        cause=cause,
        action=action,
        evidence={"min": y.min, "max": y.max, "distinct": len(y.counts)},
    )


@rule(
    severity="error",
    when="start",
    since="A classifier needs two classes",
    symptoms=(
        "loss-flat",
        "accuracy-at-majority",
        "overfitting",
        "initial-loss-off-chance",
        "update-ratio-too-low",
        "vanishing-gradients",
        "unshuffled-sorted-data",
        "loss-plateaued",
        "validation-better",
        "class-imbalance",
    ),
)
def single_class_targets(
    history: RunHistory, *, at_least: int = 20, drawn: int = 1000
) -> Iterator[Sign]:
    """All labels are the same.

    What it sees:
        One distinct value in the targets of a cross-entropy or hinge loss, over at
        least `at_least` samples. Where only what training has drawn so far is known,
        it waits for `drawn` samples and warns.

    Why it matters:
        The model learns to say that class whatever it is shown: loss 0, accuracy 1,
        nothing learnt. Mostly the labels were lost on the way: a comparison that is
        never true, an integer division, the wrong column, or a part of sorted data.

    What to do:
        Look at the labels with `np.unique(y, return_counts=True)` where they are
        made.

    When it is wrong:
        The other class is rarer than one in the samples seen. Where the output layer is
        frozen nothing is said: a generator learns to get one answer from a critic.

    References:
        None beyond reason.
    """
    data = history.data
    if data is None:
        return
    enough = at_least if data.source == "arrays" else drawn
    for y, output in pairs(history):
        if loss_name(output) not in _CLASSES or y.seen < enough or len(y.counts) != 1:
            continue
        if _is_frozen(output, history.model):
            continue
        if y.shape not in ((), (1,)) and not y.one_hot and not y.multi_hot:
            continue
        label = next(iter(y.counts))
        single = len(y.shape) <= 1
        yield Sign(
            where=y.name,
            seen=f"the label is {label:g} in {_seen(y, data)}",
            cause="There is nothing to tell apart: likely the labels were lost on the "
            "way, or these are the first rows of sorted data",
            action=f"look at `np.unique({y.name}, return_counts=True)` where the "
            "labels are made",
            alternatives=("shuffle before a part of the data is taken",),
            evidence={"label": label, "samples": y.seen},
            severity=None if single and data.source == "arrays" else "warning",
        )


def _is_frozen(output: OutputFacts | None, model: ModelFacts | None) -> bool:
    """Whether the layer that makes an output is not trained."""
    layers = model.layers if model is not None else ()
    path = output.layer if output is not None else None
    return any(x.path == path and x.weights and not x.trainable for x in layers)


@rule(
    severity="warning",
    when="start",
    since="He and Garcia 2009, Learning from Imbalanced Data",
    symptoms=("accuracy-at-majority", "initial-loss-off-chance"),
)
def class_imbalance(
    history: RunHistory, *, strong: float = 0.95, notable: float = 0.85
) -> Iterator[Sign]:
    """One class has nearly all samples, and nothing makes up for it.

    What it sees:
        A cross-entropy without sample or class weights whose most frequent class has
        a share of at least `strong`; from `notable` on it is worth knowing, and so it
        is where a metric is watched in which rare classes show.

    Why it matters:
        Always saying that class gives an accuracy as high as its share. A few
        samples of the others move the loss little, and many batches have none.

    What to do:
        Weight the classes, and measure something that accuracy does not hide:
        precision and recall, or the area under the curve.

    When it is wrong:
        The classes are easy to tell apart, or frequencies are what you want to learn.

    References:
        He and Garcia, Learning from Imbalanced Data, IEEE TKDE 21 (2009).
    """
    data = history.data
    if data is None or data.weighted:
        return
    for y, output in pairs(history):
        found, name = class_counts(y), loss_name(output)
        total = sum(found.values())
        if name not in _UNWEIGHTED or len(found) < 2 or total < 100:
            continue
        label, most = max(found.items(), key=lambda item: item[1])
        share = most / total
        if share < notable:
            continue
        rare = min(found, key=lambda k: found[k])
        weights = {k: round(total / (len(found) * n), 3) for k, n in found.items()}
        weight = f"`class_weight={weights}`" if len(weights) <= 5 else "`class_weight`"
        yield Sign(
            where=y.name,
            seen=(
                f"{percent(share)} of {total:,} samples are of class {label}, only "
                f"{found[rare]:,} of class {rare}"
            ),
            cause="Likely the rare classes count too little: an accuracy of "
            f"{percent(share)} is what always saying {label} gives",
            action=f"pass {weight} to `fit`, and watch precision and recall",
            alternatives=("draw the rare classes more often", "move the threshold"),
            evidence={"share": share, "label": label, "rarest": found[rare]},
            severity=None if share >= strong and not _is_watched(output) else "info",
        )


def _is_watched(output: OutputFacts | None) -> bool:
    """Whether a metric shows what becomes of a rare class, so that it is known."""
    metrics = output.metrics if output is not None else ()
    return any(word in name for name in metrics for word in _OF_RARE_CLASSES)
