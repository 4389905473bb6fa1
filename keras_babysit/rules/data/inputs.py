"""Rules about the inputs: their scale, and columns that say nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.facts import ArrayFacts, DataFacts
from keras_babysit.history import RunHistory
from keras_babysit.records import Fix
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.arrays import (
    feature_rms,
    root_mean_square,
    samples_seen,
)
from keras_babysit.rules.evidence.connections import LOOKUPS, is_raw, kinds, rescaling
from keras_babysit.rules.evidence.phrases import number
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the data",
    severity="warning",
    when="start",
    since="CS231n, Neural Networks Part 2: Data Preprocessing; LeCun et al. 1998",
    also=("feature-scales-differ",),
    refutable=True,
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
        Inputs that reach a dense, convolutional or recurrent layer unchanged. Their
        root mean square is above `limit`, or that of a single feature is above
        `feature_limit`, or no value is larger than `small`. Also inputs whose
        differences are below `small` after Rescaling layers.

    Why it matters:
        Initial weights are made for inputs of about unit size. A gradient of the
        first layer grows with its input and the curvature with its square, so that
        inputs of 100 want a rate 10,000 times smaller; units saturate or die in the
        first steps. Tiny inputs leave nothing but the biases to learn from.

    What to do:
        Divide pixels by 255; standardise columns with the mean and deviation of the
        training data; or let a Rescaling or Normalization layer do it in the model.

    When it is wrong:
        A custom layer or the train step scales the inputs, and the rule cannot see it.
        It is silent before BatchNormalization, LayerNormalization, Embedding and the
        preprocessing layers, and before layers that are already trained, which need the
        scale they were trained with. It is also silent for inputs of 5 or 10, which
        train well.

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
        rms, features = root_mean_square(x), feature_rms(x)
        worst = float(features.max()) if features.size else rms
        tiny = max(abs(x.min), abs(x.max)) < small and x.std > 0
        if not tiny and rms <= limit and worst <= feature_limit:
            continue
        action, others = _scaled(x, tiny)
        effect = "next to nothing reaches" if tiny else "they are too large for"
        yield Sign(
            where=x.name,
            seen=(
                f"values from {number(x.min)} to {number(x.max)}, mean "
                f"{number(x.mean)} and deviation {number(x.std)} in "
                f"{samples_seen(x, data)}, reach the first layer as they are "
                "(about 1 is healthy)"
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
            fixes=_scalings(x),
        )


def _scaled_twice(x: ArrayFacts, data: DataFacts, factor: float, offset: float) -> Sign:
    low, high = sorted((factor * x.min + offset, factor * x.max + offset))
    return Sign(
        where=x.name,
        seen=f"values from {number(x.min)} to {number(x.max)} in "
        f"{samples_seen(x, data)} are from {number(low)} to {number(high)} "
        "after the Rescaling layer (about 1 is healthy)",
        cause=(
            "Likely they were scaled twice, before the model and in it: almost "
            "nothing reaches the initial weights"
        ),
        action=(
            "leave the Rescaling layer out, or feed the model what it was made for, "
            "usually pixels from 0 to 255"
        ),
        evidence={"min": x.min, "max": x.max, "factor": factor, "offset": offset},
        fixes=(fixes.scale_inputs(x.name),),
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


def _scalings(x: ArrayFacts) -> tuple[Fix, ...]:
    pixels = x.whole and x.min >= 0 and 100 < x.max <= 255 and len(x.shape)
    by_255 = (fixes.divide_inputs(x.name, 255),) if pixels else ()
    return (*by_255, fixes.scale_inputs(x.name))


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="CS231n, Neural Networks Part 2: Data Preprocessing; LeCun et al. 1998",
    also=("learning-rate-too-high", "loss-oscillating"),
    refutable=True,
)
def feature_scales_differ(
    history: RunHistory, *, ratio: float = 100.0, large: float = 10.0
) -> Iterator[Sign]:
    """Some features are hundreds of times larger than others.

    What it sees:
        Columns of a table that reaches a dense or recurrent layer unchanged: the
        largest column's root mean square and its largest value are both more than
        `ratio` times those of the smallest, and the values of the large one exceed
        `large`. Constant columns and columns of zeros and ones are left out.

    Why it matters:
        One learning rate serves all columns. The loss is steep along the large ones
        and flat along the small ones: a rate that is safe for the former learns
        nothing from the latter.

    What to do:
        Standardise each column with the mean and deviation of the training data.

    When it is wrong:
        The small columns carry nothing useful, or a custom layer scales them.

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
                f"{number(rms[low])} in {samples_seen(x, data)}: "
                f"{number(by)} times apart"
            ),
            cause="Likely the columns were not scaled, so the large ones dominate",
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
            fixes=(fixes.scale_inputs(x.name),),
        )


@rule(
    kind="limit",
    severity="info",
    when="start",
    since="CS231n, Neural Networks Part 2: Data Preprocessing",
    also=("conflicting-labels", "leaking-validation", "unrelated-inputs"),
    refutable=True,
)
def constant_features(
    history: RunHistory, *, most: float = 0.9, at_least: int = 20, zeros: float = 0.25
) -> Iterator[Sign]:
    """Features have the same value in all samples.

    What it sees:
        Columns of an input that do not vary over at least `at_least` samples. It is a
        warning from a share of `most` on, and an error if nothing varies in any input.
        Columns that are always 0 are not reported up to a share of `zeros` (the border
        pixels of pictures), in a table with many columns for the rows seen (rare
        words), or where rows end in zeros (padding).

    Why it matters:
        A constant column carries no information and acts like a second bias. Many of
        them usually mean a mistake in the preparation: a wrong column, an integer
        division (`x // 255`), a scaler applied twice.

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
    alone = len(data.inputs) == 1
    for x in measured:
        constant = np.flatnonzero(x.feature_std == 0)
        share = 1.0 if x in dead else constant.size / max(x.feature_std.size, 1)
        unused = constant.size > 0 and bool((x.feature_max[constant] == 0).all())
        # Words or border pixels that a sample of this size need not hold.
        rare = x.features >= 20 and (share <= zeros or 4 * x.features > x.seen)
        # A step of tokens is no feature, and sequences end in padding.
        looked_up = bool(kinds(history.model) & LOOKUPS)
        tokens = x.whole and len(x.shape) == 1 and looked_up
        padding = tokens or (len(x.shape) == 2 and x.padded > 0)
        unused = unused and (rare or padding)
        if share == 0 or ((unused or tokens) and x not in dead):
            continue  # Words, border pixels, or the padding of sequences.
        if x not in dead and len(x.shape) != 1 and share < most:
            continue
        where = ", ".join(map(str, constant[:5])) + (", ..." * (constant.size > 5))
        what = f"feature {where} of {x.features}" if x.features > 1 else "it"
        yield Sign(
            where=x.name,
            seen=(
                f"always {number(x.min)} in {samples_seen(x, data)}"
                if x in dead
                else f"{constant.size} of {x.features} features do not vary in "
                f"{samples_seen(x, data)}: {where}"
            ),
            cause=(
                "Nothing in the inputs varies: the model can learn nothing from them"
                if nothing
                else "Likely they hold no information, or were lost in preparation"
            ),
            action=(
                f"look at where `{x.name}` is made"
                + (", for example an integer division" if x.whole else "")
                if share >= most
                else f"check {what}, and leave it out if it is meant to be constant"
            ),
            evidence={"constant": int(constant.size), "share": float(share)},
            severity="error"
            if nothing
            # A constant input beside others may be meant: a mask, a first state.
            else ("warning" if share >= most and (x.std or alone) else None),
        )
