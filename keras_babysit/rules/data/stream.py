"""Rules about the order in which batches come."""

from __future__ import annotations

from collections.abc import Iterator

from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.arrays import first_classes, is_rich
from keras_babysit.rules.evidence.phrases import percent
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="A generator that does not move on",
    also=("overfitting",),
    refutable=True,
)
def same_batch_again(
    history: RunHistory, *, places: int = 3, distinct: int = 2, full: int = 256
) -> Iterator[Sign]:
    """The data yield the same batch again and again.

    What it sees:
        No more than `distinct` different batches, inputs and targets, at `places` or
        more places within the epoch, more than twice as many as batches differ. It is
        information from batches of `full` samples on: they may be all the data.

    Why it matters:
        The rest of the data is never seen, and what is seen is memorized.

    What to do:
        Let the generator move on: `repeat` behind `shuffle` and `batch`; an index
        that grows; no `take(1)` or `cache` at the wrong place.

    When it is wrong:
        You overfit a single batch on purpose, as a test.

    References:
        Karpathy, A Recipe for Training Neural Networks (2019), "overfit one batch".
    """
    data = history.data
    if data is None or data.source != "batches" or data.batch_places < places:
        return
    n = data.distinct_batches
    if not 0 < n <= distinct or data.batch_places <= 2 * n:
        return
    yield Sign(
        where="x",
        seen=f"batches from {data.batch_places} places in the epoch are "
        f"{'one and the same' if n == 1 else f'{n} again and again'}, sample by sample",
        cause="Likely the dataset or generator keeps starting over",
        action="look at where the generator or the dataset starts over",
        alternatives=("`dataset.shuffle(n).batch(32).repeat()`, in this order",),
        evidence={"places": data.batch_places, "distinct": n},
        severity="info" if (data.batch_size or 0) >= full else None,
    )


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="Bottou 2012, Stochastic Gradient Descent Tricks: shuffle",
    also=("learning-rate-too-high", "loss-oscillating", "overfitting"),
    refutable=True,
)
def barely_shuffled(history: RunHistory, *, purity: float = 0.3) -> Iterator[Sign]:
    """Batches of a dataset hold far fewer classes than chance would put there.

    What it sees:
        At least five batches in which two samples have the same class more often
        than any two samples, by `purity` of what there is between chance and always.

    Why it matters:
        A shuffle buffer that is much smaller than the data leaves their order as it is:
        each batch pulls towards its own classes.

    What to do:
        Use a buffer as large as the data, or shuffle the files and rows beforehand.

    When it is wrong:
        Batches are made of few classes on purpose, as in metric learning.

    References:
        Bottou, Stochastic Gradient Descent Tricks (2012), section 4.1.
    """
    data = history.data
    if data is None or data.source != "batches" or data.sorted:
        return
    if not data.batch_purity > purity:
        return
    classes = len(first_classes(history))
    yield Sign(
        where="",
        seen=f"batches hold few of the {classes} classes each: they are "
        f"{percent(data.batch_purity)} of the way from a random batch to one of a "
        "single class",
        cause="Likely the data are sorted, and the shuffle buffer is too small",
        action="use a buffer as large as the data: `dataset.shuffle(len(data))`",
        alternatives=("shuffle the rows or files before making the dataset",),
        evidence={"purity": data.batch_purity, "classes": classes},
        fixes=(fixes.shuffle(),),
    )


@rule(
    kind="limit",
    severity="error",
    when="start",
    since="A data set that is shuffled between epochs, in part",
    also=("conflicting-labels", "overfitting", "unrelated-inputs"),
)
def relabelled_samples(history: RunHistory, *, share: float = 0.3) -> Iterator[Sign]:
    """The same inputs come with other targets in the next epoch.

    What it sees:
        Inputs that were seen in two epochs, ten at least, and more than `share` of
        them with another target the second time.

    Why it matters:
        In the first epoch everything is right. Then inputs and targets no longer match,
        and what was learned is lost.

    What to do:
        Shuffle both with the same indices in `on_epoch_end`.

    When it is wrong:
        Targets that change on purpose: bootstrapped values, random labels.

    References:
        Keras: `keras.utils.PyDataset.on_epoch_end`.
    """
    data = history.data
    if data is None or not data.relabelled > share or not is_rich(data.inputs):
        return
    if not first_classes(history):
        return
    yield Sign(
        where="y",
        seen=f"{percent(data.relabelled)} of the inputs that came again in a later "
        "epoch had a different target",
        cause="Likely only one of the two is shuffled between epochs",
        action="shuffle inputs and targets with the same indices",
        alternatives=("look at `on_epoch_end` of the dataset",),
        evidence={"share": data.relabelled},
    )
