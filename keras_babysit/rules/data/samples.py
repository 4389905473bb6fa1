"""What is wrong with the set of samples: order, split, copies, number, relation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from keras_babysit.facts import ArrayFacts, DataFacts, ModelFacts, ValidationFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.connections import (
    LOOKUPS,
    SEQUENTIAL,
    class_counts,
    kinds,
    loss_name,
    pairs,
)
from keras_babysit.rules.evidence.phrases import names, number, percent
from keras_babysit.rules.evidence.progress import accuracy_name, majority, progress
from keras_babysit.rules.rule import Sign, rule

_SHUFFLE = (
    "shuffle first: `i = np.random.default_rng(0).permutation(len(y)); x, y = x[i], "
    "y[i]`"
)


def _first_classes(history: RunHistory) -> dict[int, int]:
    """How often each class occurs in the first target, if it is one of classes."""
    data = history.data
    if data is None or not data.targets:
        return {}
    return class_counts(data.targets[0])


def _is_rich(inputs: Sequence[ArrayFacts]) -> bool:
    """Whether two samples can hardly be the same by accident.

    A few categories or small numbers make equal rows all the time; pictures, long
    series and measured quantities do not.
    """
    for x in inputs:
        if x.dtype == "string" or x.one_hot or x.seen < 2 or not x.std > 0:
            continue
        many = not x.counts or len(x.counts) > 50
        if (many and not x.whole) or _bits(x) >= 64:
            return True
    return False


def _bits(x: ArrayFacts) -> float:
    """Entropy of a sample, were its values independent."""
    total = sum(x.counts.values())
    shares = [n / total for n in x.counts.values() if n > 0] if total > 0 else []
    # Without counts, more than a thousand values: ten bits.
    each = -sum(p * math.log2(p) for p in shares) if shares else 10.0
    return each * math.prod(x.shape)


@rule(
    severity="warning",
    when=("start", "epoch"),
    since="Permutation tests; Cover and Hart 1967 for nearest neighbours",
    symptoms=(
        "loss-flat",
        "loss-plateaued",
        "accuracy-at-majority",
        "overfitting",
        "underfitting",
        "learning-rate-too-low",
        "noisy-first-layer",
        "vanishing-gradients",
        "batch-loss-noisy",
    ),
)
def unrelated_inputs(
    history: RunHistory,
    *,
    at_least: float = 400,
    deviations: float = 2.5,
    p: float = 0.03,
    bits: int = 8,
) -> Iterator[Sign]:
    """The inputs seem to say nothing about the targets.

    What it sees:
        Up to 1,000 samples, and no fewer than `at_least`. Neighbours have targets no
        more alike than shuffled ones (within `deviations`), neither by their features
        nor by summaries that do not change when a picture is shifted; and no feature,
        product of two features, or all of them together correlate with the target, nor
        with a quantity's distance from the middle (p-value above `p`). Once the
        validation has not got better than a constant in five epochs and 100 updates,
        half as many samples and weaker evidence will do.

    Why it matters:
        Nothing can be learnt but the share of each class. Mostly samples and labels
        went out of step: only one of them was shuffled, sorted or filtered, or file
        names were listed in another order.

    What to do:
        Look at ten samples beside their labels.

    When it is wrong:
        The relation is one that none of these sees: parity of many bits, an order in
        a long sequence. Tokens, categories and more than `bits` columns of bits are
        not judged, and sequences only as info.

    References:
        Cover and Hart, Nearest Neighbor Pattern Classification (1967);
        Zhang et al., Understanding Deep Learning Requires Rethinking Generalization
        (2017): networks fit even random labels, and then fail on new samples.
    """
    data = history.data
    if data is None or data.dependence.tested < 1:
        return
    found = data.dependence
    if _learned_nothing_new(history):
        # What a smaller sample hints at, the validation confirms.
        at_least, deviations, p = at_least / 2, 1.6 * deviations, p / 300
    if found.tested < at_least:
        return
    away = abs(found.neighbours - found.chance) / max(found.spread, 1e-9)
    if not (away < deviations and found.linear_p > p):
        return
    if any(_is_coded(x, bits) for x in data.inputs):
        return
    if history.model is None or kinds(history.model) & LOOKUPS:
        return
    y = data.targets[0].name if data.targets else "y"
    sequences = bool(kinds(history.model) & SEQUENTIAL)
    yield Sign(
        where="",
        seen=(
            f"in {found.tested:,} samples, neighbours predict `{y}` no better "
            f"({number(found.neighbours)}) than shuffled targets do "
            f"({number(found.chance)} ± {number(found.spread)}), and no feature goes "
            "along with it"
        ),
        cause="Likely samples and targets are out of step, or have nothing to do with "
        "each other",
        action="look at ten samples beside their targets, and shuffle or filter `x` "
        "and `y` with the same indices",
        alternatives=("check the order in which files and labels are read",),
        evidence={
            "samples": found.tested,
            "neighbours": found.neighbours,
            "chance": found.chance,
            "deviations": away,
            "p": found.linear_p,
        },
        severity="info" if sequences else None,
    )


def _learned_nothing_new(history: RunHistory) -> bool:
    """Whether the validation never got better than a constant, in long enough."""
    p = progress(history)
    losses = history.values("epoch.val_loss")
    if p.epochs < 5 or p.updates < 100 or len(losses) < 5 or not p.reference > 0:
        return False
    losses = losses[np.isfinite(losses)]
    if not losses.min(initial=np.inf) > 0.97 * p.reference:
        return False
    name = accuracy_name(history)
    reached = history.values(f"epoch.val_{name}") if name else np.zeros(0)
    return not len(reached) or float(np.median(reached[-5:])) < majority(history) + 0.05


def _is_coded(x: ArrayFacts, bits: int) -> bool:
    """Whether an input's values are codes, of which the combination may matter."""
    coded = x.dtype == "string" or (x.whole and 0 < len(x.counts) <= 3)
    return coded and math.prod(x.shape) > bits and len(x.shape) < 2


@rule(
    severity="warning",
    when="start",
    since="Quiñonero-Candela et al. 2009, Dataset Shift in Machine Learning",
    symptoms=("overfitting", "validation-better", "stopped-too-early"),
)
def validation_differs(
    history: RunHistory, *, size: float = 5.0, shift: float = 3.0
) -> Iterator[Sign]:
    """The validation inputs are not scaled like the training inputs.

    What it sees:
        An input whose values in the validation data are `size` times as large as in the
        training data, or a `size`-th of that, by their root mean square; or whose mean
        is more than `shift` standard deviations away.

    Why it matters:
        The model meets numbers that it has never seen: the validation score says
        nothing of what it learned, and looks like overfitting.

    What to do:
        Apply the same preprocessing to both, with the mean and standard deviation of
        the training data.

    When it is wrong:
        The validation data are of another kind on purpose.

    References:
        Quiñonero-Candela et al., Dataset Shift in Machine Learning (2009).
    """
    data = history.data
    if data is None or data.validation is None:
        return
    others = {x.name: x for x in data.validation.inputs}
    for x in data.inputs:
        other = others.get(x.name)
        if other is None or min(x.seen, other.seen) < 20 or x.shape != other.shape:
            continue
        here, there = math.hypot(x.mean, x.std), math.hypot(other.mean, other.std)
        moved = abs(other.mean - x.mean) > shift * x.std > 0
        if min(here, there) > 0 and (not 1 / size < there / here < size or moved):
            yield Sign(
                where=x.name,
                seen=f"validation inputs of mean {number(other.mean)} and deviation "
                f"{number(other.std)}, training inputs of {number(x.mean)} and "
                f"{number(x.std)}",
                cause="Likely only one of the two was scaled",
                action="apply the same scaling to both, with the training data's mean "
                "and standard deviation",
                evidence={"training": here, "validation": there},
            )


@rule(
    severity="warning",
    when="start",
    since="Kaufman et al. 2012, Leakage in Data Mining",
    symptoms=("validation-better",),
)
def leaking_validation(
    history: RunHistory, *, share: float = 0.05, little: float = 0.01
) -> Iterator[Sign]:
    """Validation samples are training samples too.

    What it sees:
        Up to 2,000 validation samples, looked for among up to 20,000 training samples
        by their inputs and targets. Samples that occur twice in the training data
        give the share that is to be expected by accident; of pictures or measured
        quantities none is. A share above `share` is a
        warning, one above `little` information. If most samples of
        pictures or measured quantities do, copies were made before the split.

    Why it matters:
        The validation score says how well samples are remembered: overfitting does
        not show, and early stopping stops late.

    What to do:
        Split first; copy, augment or oversample the training part only.

    When it is wrong:
        Validating on training data is what you want, as a test of the program.

    References:
        Kaufman, Rosset, Perlich and Stitelman, Leakage in Data Mining: Formulation,
        Detection, and Avoidance, ACM TKDD 6 (2012).
    """
    data = history.data
    validation = data.validation if data is not None else None
    if data is None or validation is None or validation.compared < 20:
        return
    rich = _is_rich(data.inputs)
    seen = validation.shared / validation.compared
    chance = min(max(0.0, data.duplicated), 1.0)
    # A pair or two that belong to the data may lie on both sides.
    noise = 4 * math.sqrt(chance * (1 - chance) / validation.compared)
    noise = max(noise, 2.5 / validation.compared)
    copied = rich and min(seen, chance) > 2 * share
    if (not rich and chance > 0.3) or (seen - chance <= noise and not copied):
        return
    # Only a part of the training samples may have been looked at.
    looked_at = max(validation.among, 1)
    whole = min(1.0, seen * max(data.rows or 0, looked_at) / looked_at)
    if whole < little:
        return
    among = f"{validation.among:,} training samples"
    if data.rows and data.rows > validation.among:
        among += f" (of {data.rows:,})"
    yield Sign(
        where="validation",
        seen=(
            f"{validation.shared:,} of {validation.compared:,} validation samples are "
            f"among {among}"
        ),
        cause=(
            "Likely samples were copied or oversampled before the split"
            if copied
            else "The validation data were not kept apart: what it measures is memory"
        ),
        action="split first, and copy, augment or oversample the training part only"
        if copied
        else "split once into disjoint parts, with "
        "`sklearn.model_selection.train_test_split(x, y)` for example",
        alternatives=("drop duplicates before splitting",),
        evidence={
            "shared": validation.shared,
            "compared": validation.compared,
            "among": validation.among,
            "duplicated": chance,
        },
        severity=None if whole >= share else "info",
    )


@rule(
    severity="error",
    when="start",
    since="Keras, Model.fit: validation_split takes the last samples, before shuffling",
    symptoms=(
        "overfitting",
        "validation-better",
        "single-class-targets",
        "class-imbalance",
        "accuracy-at-majority",
        "unshuffled-sorted-data",
    ),
)
def sorted_validation_split(
    history: RunHistory, *, share: float = 0.1, at_least: int = 10
) -> Iterator[Sign]:
    """`validation_split` cut sorted data: classes are missing on one side.

    What it sees:
        Keras split off the end of the data, and classes that make up at least `share`
        of one side do not occur on the other; not of fewer than `at_least` validation
        samples. An error if the training part misses
        them, a warning if the validation part does; for regression, info if the two
        ranges do not overlap.

    Why it matters:
        `validation_split=0.2` takes the last fifth before any shuffling. In data
        sorted by class that fifth holds the last classes, which are then never
        learnt; the validation score measures just those.

    What to do:
        Shuffle before `fit`, or split by yourself.

    When it is wrong:
        The data are ordered by time, and a class really came up later.

    References:
        Keras, https://keras.io/api/models/model_training_apis/#fit-method.
    """
    data = history.data
    validation = data.validation if data is not None else None
    if data is None or validation is None or not data.validation_split:
        return
    if not data.targets or not validation.targets:
        return
    train, other = class_counts(data.targets[0]), class_counts(validation.targets[0])
    if not train or not other:
        yield from _ranges_apart(data, validation)
        return
    if (
        sum(other.values()) < at_least
        or len({*train, *other}) > sum(train.values()) / 5
    ):
        return
    never = _missing(other, train)
    unseen = _missing(train, other)
    lost = sum(other[k] for k in never) / sum(other.values())
    untold = sum(train[k] for k in unseen) / sum(train.values())
    if lost < share and not (untold >= share and data.sorted):
        return
    listed = names([str(k) for k in sorted(never if lost >= share else unseen)])
    yield Sign(
        where="validation",
        seen=(
            f"classes {listed} make up {percent(lost)} of the validation data and are "
            "not in the training data"
            if lost >= share
            else f"classes {listed} make up {percent(untold)} of the training data "
            "and are not in the validation data"
        ),
        cause="The samples are sorted by class, and validation_split takes the last "
        "ones as they stand",
        action=_SHUFFLE,
        alternatives=("use `train_test_split(x, y, stratify=y)` and validation_data",),
        evidence={
            "missing_in_training": lost,
            "missing_in_validation": untold,
            "training_classes": len(train),
            "validation_classes": len(other),
        },
        severity=None if lost >= share else "warning",
    )


def _missing(found: dict[int, int], there: dict[int, int]) -> list[int]:
    return [label for label in found if label not in there]


def _ranges_apart(data: DataFacts, validation: ValidationFacts) -> Iterator[Sign]:
    """For quantities: the validation targets lie outside those of training."""
    train, other = data.targets[0], validation.targets[0]
    if train.shape not in ((), (1,)) or other.seen < 20 or train.seen < 20:
        return
    if not (other.min > train.max or other.max < train.min):
        return
    yield Sign(
        where="validation",
        seen=(
            f"validation targets from {number(other.min)} to {number(other.max)}, "
            f"training targets from {number(train.min)} to {number(train.max)}"
        ),
        cause="The samples are sorted, and validation_split takes the last ones as "
        "they stand: it measures extrapolation",
        action=_SHUFFLE,
        alternatives=("keep it if the order is time and the future is the question",),
        evidence={"training_max": train.max, "validation_min": other.min},
        severity="info",
    )


@rule(
    severity="warning",
    when="start",
    since="Bottou 2012, Stochastic Gradient Descent Tricks: shuffle",
    symptoms=(
        "loss-oscillating",
        "batch-loss-noisy",
        "accuracy-at-majority",
        "loss-plateaued",
        "single-class-targets",
        "learning-rate-too-high",
        "overfitting",
        "initial-loss-off-chance",
    ),
)
def unshuffled_sorted_data(history: RunHistory) -> Iterator[Sign]:
    """Training goes through samples that are sorted by class.

    What it sees:
        Arrays whose rows come class by class with `shuffle=False`, or a dataset whose
        batches hold one class each.

    Why it matters:
        Every batch pulls towards its own class and undoes what the one before did:
        the model forgets the first classes while it learns the last. Batch
        normalization sees statistics of one class at a time.

    What to do:
        Shuffle the samples.

    When it is wrong:
        Training in stages of classes is what you are after.

    References:
        Bottou, Stochastic Gradient Descent Tricks (2012), section 4.1.
    """
    data = history.data
    if data is None or not data.sorted or data.shuffled:
        return
    arrays = data.source == "arrays"
    if arrays and data.shuffled is None:
        return
    # One batch of everything sees no order.
    if arrays and data.rows and data.batch_size and data.batch_size >= data.rows:
        return
    classes = len(_first_classes(history))
    yield Sign(
        where="",
        seen=(
            f"the samples come sorted by their {classes} classes and are not shuffled"
            if arrays
            else f"nearly all batches hold one of {classes} classes each"
        ),
        cause="Each batch sees one class and unlearns the others",
        action="leave out `shuffle=False`"
        if arrays
        else "shuffle before batching: `dataset.shuffle(10_000).batch(32)`, with a "
        "buffer as large as the data if they are sorted by class",
        alternatives=(_SHUFFLE,),
        evidence={"classes": classes},
    )


@rule(
    severity="info",
    when="start",
    since="Northcutt et al. 2021, Confident Learning",
    symptoms=("underfitting", "loss-plateaued"),
)
def conflicting_labels(
    history: RunHistory, *, some: float = 0.01, many: float = 0.2, coded: float = 0.3
) -> Iterator[Sign]:
    """The same inputs occur with different labels.

    What it sees:
        Samples whose inputs occur again, value for value, with another class: from a
        share of `some` on, a warning from `many` on. Rows of few categories or small
        numbers meet by accident: those are info, from `coded` on.

    Why it matters:
        No model gets both right. Where inputs are pictures or measured quantities,
        copies with different labels mostly come from a wrong join or labels of more
        than one class stored as rows.

    What to do:
        Look at some of them.

    When it is wrong:
        The label is chance given these inputs: then it is in the nature of the task.

    References:
        Northcutt, Jiang and Chuang, Confident Learning, JAIR 70 (2021).
    """
    data = history.data
    if data is None or not data.inputs or data.inputs[0].seen < 20:
        return
    rich = _is_rich(data.inputs)
    if data.conflicting < (some if rich else coded):
        return
    yield Sign(
        where="",
        seen=(
            f"{percent(data.conflicting)} of the samples have inputs that occur again "
            "with another class"
        ),
        cause="Likely labels went wrong in a join or a copy"
        if rich
        else "The inputs do not tell these classes apart",
        action="look at them: `pandas.DataFrame(x).duplicated(keep=False)`",
        alternatives=("keep one label for each, or add what tells them apart",),
        evidence={"share": data.conflicting},
        severity="warning" if rich and data.conflicting >= many else None,
    )


@rule(
    severity="warning",
    when="start",
    since="Goodfellow et al. 2016, Deep Learning, section 1.2.2: samples per class",
    symptoms=("overfitting", "stopped-too-early", "underfitting", "batch-loss-noisy"),
)
def too_few_samples(
    history: RunHistory, *, per_class: float = 5.0, updates: int = 40
) -> Iterator[Sign]:
    """There are too few samples for the batch size, the epochs or the classes.

    What it sees:
        A batch size of a quarter of the data or more that leaves fewer than `updates`
        updates in all of `fit`; fewer than `per_class` samples for each of three or
        more classes. One update an epoch alone is info.

    Why it matters:
        A network needs hundreds of updates to get anywhere; a class of a handful of
        samples is remembered, not learnt.

    What to do:
        A smaller batch size, more epochs, more data.

    When it is wrong:
        The model was trained before and only needs a touch; or all cases there are
        are in the data, as for XOR: with two classes it does not ask for more.

    References:
        Goodfellow, Bengio and Courville, Deep Learning (2016), sections 1.2.2, 8.1.3.
    """
    data = history.data
    if data is None or data.source != "arrays" or not data.rows:
        return
    yield from _few_updates(data, history.model, updates)
    found = _first_classes(history)
    y, output = next(pairs(history), (None, None))
    sparse = data.rows < per_class * len(found)
    if y is None or len(found) < 3 or not sparse or y.seen < data.rows:
        return
    known = "crossentropy" in loss_name(output)
    words = all(x.dtype == "string" or x.whole for x in data.inputs)
    if not known or words or kinds(history.model) & LOOKUPS:
        return
    yield Sign(
        where=y.name,
        seen=(
            f"{data.rows:,} samples of {len(found)} classes, "
            f"{number(data.rows / len(found))} for each"
        ),
        cause="Likely too few to learn more than these samples",
        action="add samples, or start from a model that was trained on similar data",
        alternatives=("augment them", "merge rare classes"),
        evidence={"samples": data.rows, "classes": len(found)},
    )


def _few_updates(
    data: DataFacts, model: ModelFacts | None, updates: int
) -> Iterator[Sign]:
    rows, size = data.rows, data.batch_size
    if not rows or not size or 4 * size < rows:
        return
    batches = -(-rows // size)
    few = data.steps is not None and data.steps < updates and _is_fresh(model)
    if not few and (batches > 1 or rows < 32):
        return
    # Eight updates or so for each epoch.
    smaller = max(rows // 8, 1)
    in_all = f", {data.steps:,} in all" if data.steps is not None else ""
    yield Sign(
        where="batch_size",
        seen=(
            f"{rows:,} samples in batches of {size:,} are {batches} "
            f"update{'s' * (batches > 1)} an epoch{in_all}"
        ),
        cause="Likely too few updates to get anywhere"
        if few
        else "Each update sees all samples: exact, but slow",
        action=f"pass `batch_size={min(smaller, 32)}` to `fit`"
        if size > min(smaller, 32)
        else "train for more epochs",
        alternatives=("train for more epochs",),
        evidence={"rows": rows, "batch_size": size, "updates": data.steps or 0},
        severity=None if few else "info",
    )


def _is_fresh(model: ModelFacts | None) -> bool:
    """Whether nothing in the model was trained before, as far as can be told."""
    if model is None:
        return False
    weights = [weight for layer in model.layers for weight in layer.weights]
    if not all(weight.trainable for weight in weights if weight.role == "kernel"):
        return False
    return not any(weight.as_initialized is False for weight in weights)
