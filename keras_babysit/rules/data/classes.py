"""Rules about the classes: how many there are, and how often each occurs."""

from __future__ import annotations

from collections.abc import Iterator

from keras_babysit.facts import ModelFacts, OutputFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.arrays import first_classes, is_rich, samples_seen
from keras_babysit.rules.evidence.catalogue import ADAPTIVE, CROSS_ENTROPIES
from keras_babysit.rules.evidence.connections import class_counts, loss_name, pairs
from keras_babysit.rules.evidence.graph import Network
from keras_babysit.rules.evidence.phrases import number, percent
from keras_babysit.rules.evidence.tasks import layer_of
from keras_babysit.rules.rule import Sign, rule

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


@rule(
    kind="limit",
    severity="error",
    when="start",
    since="A classifier needs two classes",
    also=(
        "class-imbalance",
        "initial-loss-off-chance",
        "overfitting",
        "unshuffled-sorted-data",
        "update-ratio-too-low",
        "vanishing-gradients",
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
        The model learns to predict that class for every input: loss 0, accuracy 1,
        nothing learned. Usually the labels were lost in preparation: a comparison that
        is never true, an integer division, the wrong column, or a part of sorted data.

    What to do:
        Look at the labels with `np.unique(y, return_counts=True)` where they are
        made.

    When it is wrong:
        The other class is too rare to appear among the samples seen. The rule is silent
        where the output layer is frozen: a generator learns to get one answer from a
        critic. It is also silent for a difference of two scores by the same layers:
        such a model learns only which of two is better, and no constant can say that.

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
        if _is_frozen(output, history.model) or _compares(output, history.model):
            continue
        if y.shape not in ((), (1,)) and not y.one_hot and not y.multi_hot:
            continue
        label = next(iter(y.counts))
        single = len(y.shape) <= 1
        yield Sign(
            where=y.name,
            seen=f"the label is {label:g} in {samples_seen(y, data)}",
            cause=(
                "The model has nothing to tell apart: likely the labels were lost in "
                "preparation, or these are the first rows of sorted data"
            ),
            action=f"look at `np.unique({y.name}, return_counts=True)` where the "
            "labels are made",
            alternatives=("shuffle before a part of the data is taken",),
            evidence={"label": label, "samples": y.seen},
            severity=None if single and data.source == "arrays" else "warning",
        )


def _compares(output: OutputFacts | None, model: ModelFacts | None) -> bool:
    """Whether an output is a difference of two scores by the same layers."""
    if output is None or model is None or not output.layer:
        return False
    return Network(model).compares(output.layer)


def _is_frozen(output: OutputFacts | None, model: ModelFacts | None) -> bool:
    """Whether the layer that makes an output is not trained."""
    layer = layer_of(model, output.layer) if output is not None else None
    return layer is not None and bool(layer.weights) and not layer.trainable


@rule(
    kind="note",
    severity="warning",
    when="start",
    since="He and Garcia 2009, Learning from Imbalanced Data",
    also=("accuracy-at-majority", "initial-loss-off-chance"),
    refutable=True,
)
def class_imbalance(
    history: RunHistory, *, strong: float = 0.95, notable: float = 0.85
) -> Iterator[Sign]:
    """One class has nearly all samples, and nothing makes up for it.

    What it sees:
        A cross-entropy without sample or class weights, and a most frequent class with
        a share of at least `strong`. It is information from `notable` on, and where a
        metric that shows rare classes is watched.

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
            alternatives=("sample the rare classes more often", "move the threshold"),
            evidence={"share": share, "label": label, "rarest": found[rare]},
            severity=None if share >= strong and not _is_watched(output) else "info",
            fixes=(fixes.class_weights(),),
        )


def _is_watched(output: OutputFacts | None) -> bool:
    """Whether a metric shows what becomes of a rare class, so that it is known."""
    metrics = output.metrics if output is not None else ()
    return any(word in name for name in metrics for word in _OF_RARE_CLASSES)


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="A gradient is a mean of weighted ones",
    also=("learning-rate-too-low", "update-ratio-too-low", "vanishing-gradients"),
    refutable=True,
)
def sample_weights_tiny(history: RunHistory, *, small: float = 0.05) -> Iterator[Sign]:
    """The sample weights take the loss away.

    What it sees:
        A mean of the sample weights below `small`, with an optimizer that does not
        divide by the gradient's size.

    Why it matters:
        The loss is a mean over samples of weighted losses: weights that sum to 1 make
        gradients smaller by the number of samples, which is a learning rate as small.

    What to do:
        Divide the weights by their mean.

    When it is wrong:
        The learning rate was chosen for these weights.

    References:
        Keras: `Model.fit(sample_weight=...)`.
    """
    mean = history.fit.mean_weight if history.fit is not None else 1.0
    model = history.model
    optimizer = model.optimizer if model is not None else None
    if not 0 < mean < small or optimizer is None or optimizer.name in ADAPTIVE:
        return
    yield Sign(
        where="sample_weight",
        seen=f"the sample weights are {number(mean)} on average (1 is healthy): so is "
        "every gradient",
        cause="Likely they were made to sum to 1",
        action="divide them by their mean: `sample_weight / sample_weight.mean()`",
        evidence={"mean": mean},
        fixes=(fixes.equal_weights(),),
    )


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="King, Zeng, Logistic regression in rare events data (2001): weighting",
)
def class_weight_reversed(history: RunHistory, *, apart: float = 1.5) -> Iterator[Sign]:
    """`class_weight` makes the rare class count less.

    What it sees:
        The commonest class occurs at least `apart` times as often as the rarest, and
        has at least `apart` times its weight.

    Why it matters:
        The weights are there to make up for rarity, and here they add to it: the rare
        class is rarely predicted.

    What to do:
        Use weights proportional to one over the number of samples of the class.

    When it is wrong:
        The commonest class matters most.

    References:
        scikit-learn: `compute_class_weight("balanced", ...)`.
    """
    weights = history.fit.class_weight if history.fit is not None else {}
    counts = {k: n for k, n in first_classes(history).items() if k in weights}
    if len(counts) < 2 or min(weights.values()) <= 0:
        return
    common, rare = (
        max(counts, key=counts.__getitem__),
        min(counts, key=counts.__getitem__),
    )
    times, heavier = counts[common] / counts[rare], weights[common] / weights[rare]
    if min(times, heavier) < apart:
        return
    total = sum(counts.values())
    right = {k: float(f"{total / len(counts) / n:.2g}") for k, n in counts.items()}
    yield Sign(
        where="class_weight",
        seen=f"class {common} is {number(times)} times as common as class {rare}, and "
        f"weighs {number(heavier)} times as much",
        cause="Likely the weights are the wrong way round",
        action=f"use `class_weight={right}`"
        if len(right) <= 5
        else "use weights that go by one over the number of samples",
        evidence={"times": times, "heavier": heavier},
        fixes=(fixes.class_weights(),),
    )


@rule(
    kind="note",
    severity="info",
    when="start",
    since="Northcutt et al. 2021, Confident Learning",
    also=("loss-plateaued", "underfitting"),
)
def conflicting_labels(
    history: RunHistory, *, some: float = 0.01, many: float = 0.2, coded: float = 0.3
) -> Iterator[Sign]:
    """The same inputs occur with different labels.

    What it sees:
        Samples whose inputs occur again, value for value, with another class. It is
        reported from a share of `some` on, as a warning from `many` on. Rows of a few
        categories or small numbers coincide by accident: those are information, from
        `coded` on.

    Why it matters:
        No model gets both right. Where inputs are pictures or measured quantities,
        copies with different labels mostly come from a wrong join or labels of more
        than one class stored as rows.

    What to do:
        Look at some of them.

    When it is wrong:
        The label really is random given these inputs.

    References:
        Northcutt, Jiang and Chuang, Confident Learning, JAIR 70 (2021).
    """
    data = history.data
    if data is None or not data.inputs or data.inputs[0].seen < 20:
        return
    rich = is_rich(data.inputs)
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
