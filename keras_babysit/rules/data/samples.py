"""Rules about the samples: their number, their order, what they say of the targets."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.facts import ArrayFacts, DataFacts, ModelFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.arrays import SHUFFLE, first_classes
from keras_babysit.rules.evidence.chance import majority
from keras_babysit.rules.evidence.connections import (
    LOOKUPS,
    SEQUENTIAL,
    kinds,
    loss_name,
    pairs,
)
from keras_babysit.rules.evidence.phrases import number
from keras_babysit.rules.evidence.progress import accuracy_name, progress
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="limit",
    severity="warning",
    when=("start", "epoch"),
    since="Permutation tests; Cover and Hart 1967 for nearest neighbours",
    also=("learning-rate-too-low", "overfitting", "vanishing-gradients"),
    refutable=True,
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
        with a quantity's distance from the middle (p-value above `p`). If validation
        has not become better than a constant in five epochs and 100 updates, half as
        many samples and weaker evidence are enough.

    Why it matters:
        The model can learn only the share of each class. Usually samples and labels no
        longer match: only one of them was shuffled, sorted or filtered, or file names
        were listed in another order.

    What to do:
        Look at ten samples and their labels.

    When it is wrong:
        None of these tests can see the relation: parity of many bits, an order in a
        long sequence, one item of a set. Tokens, categories and more than `bits`
        columns of bits are not judged; sequences and sets are only information.

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
    if found.tested < at_least and not found.shift:
        return
    away = abs(found.neighbours - found.chance) / max(found.spread, 1e-9)
    if not (away < deviations and found.linear_p > p) and not found.shift:
        return
    if any(_is_coded(x, bits) for x in data.inputs):
        return
    if history.model is None or kinds(history.model) & LOOKUPS:
        return
    y = data.targets[0].name if data.targets else "y"
    gentle = _has_items(history.model) and not found.shift
    rows = f"{abs(found.shift)} row{'s' * (abs(found.shift) > 1)}"
    side = "after" if found.shift > 0 else "before"
    yield Sign(
        where="",
        seen=(
            f"in {found.tested:,} samples, neighbours predict `{y}` no better "
            f"({number(found.neighbours)}) than shuffled targets do "
            f"({number(found.chance)} ± {number(found.spread)}), and no feature is "
            "correlated with it"
        ),
        cause=f"The targets are shifted: they match the inputs {rows} {side}"
        if found.shift
        else "Likely samples and targets no longer match, or are unrelated",
        action=f"shift the targets by {rows}"
        if found.shift
        else "look at ten samples beside their targets, and shuffle or filter `x` "
        "and `y` with the same indices",
        alternatives=("check the order in which files and labels are read",),
        evidence={
            "samples": found.tested,
            "neighbours": found.neighbours,
            "chance": found.chance,
            "deviations": away,
            "p": found.linear_p,
        },
        severity="info" if gentle else None,
    )


def _has_items(model: ModelFacts) -> bool:
    """Whether it takes sequences, or sets whose items it treats alike."""
    shared = any(
        layer.kind in ("Dense", "EinsumDense") and len(layer.output_shape or ()) == 2
        for layer in model.layers
    )
    return shared or bool(kinds(model) & (SEQUENTIAL | {"TimeDistributed"}))


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
    kind="limit",
    severity="warning",
    when="start",
    since="Bottou 2012, Stochastic Gradient Descent Tricks: shuffle",
    also=(
        "initial-loss-off-chance",
        "learning-rate-too-high",
        "loss-oscillating",
        "overfitting",
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
        You train on the classes in stages on purpose.

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
    classes = len(first_classes(history))
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
        alternatives=(SHUFFLE,),
        evidence={"classes": classes},
        fixes=(fixes.shuffle(),),
    )


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="Goodfellow et al. 2016, Deep Learning, section 1.2.2: samples per class",
    also=("overfitting",),
    refutable=True,
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
        A network needs hundreds of updates to learn anything; a class of a handful of
        samples is memorized, not learned.

    What to do:
        A smaller batch size, more epochs, more data.

    When it is wrong:
        The model is already trained and needs only a little more. Or the data contain
        every case there is, as for XOR: with two classes, the rule does not ask for
        more.

    References:
        Goodfellow, Bengio and Courville, Deep Learning (2016), sections 1.2.2, 8.1.3.
    """
    data = history.data
    if data is None or data.source != "arrays" or not data.rows:
        return
    yield from _few_updates(data, history.model, updates)
    found = first_classes(history)
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
        cause="Likely too few to learn anything beyond these samples",
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
    # Eight updates or so for each epoch, of batches that are in use.
    smaller = max([n for n in (8, 16) if 8 * n <= rows], default=8)
    smaller = 32 if rows >= 256 else smaller
    in_all = f", {data.steps:,} in all" if data.steps is not None else ""
    yield Sign(
        where="batch_size",
        seen=(
            f"{rows:,} samples in batches of {size:,} are {batches} "
            f"update{'s' * (batches > 1)} an epoch{in_all}"
        ),
        cause="Likely too few updates to learn much"
        if few
        else "Each update sees all samples: exact, but slow",
        action=f"pass `batch_size={smaller}` to `fit`"
        if size > smaller
        else "train for more epochs",
        alternatives=("train for more epochs",),
        evidence={"rows": rows, "batch_size": size, "updates": data.steps or 0},
        severity=None if few else "info",
    )


def _is_fresh(model: ModelFacts | None) -> bool:
    """Whether nothing in the model was trained before, as far as is known."""
    if model is None:
        return False
    weights = [weight for layer in model.layers for weight in layer.weights]
    if not all(weight.trainable for weight in weights if weight.role == "kernel"):
        return False
    return not any(weight.as_initialized is False for weight in weights)
