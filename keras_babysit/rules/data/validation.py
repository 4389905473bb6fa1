"""Rules about how the validation data were split off."""

from __future__ import annotations

import math
from collections.abc import Iterator

from keras_babysit.facts import DataFacts, ValidationFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.arrays import SHUFFLE, is_rich
from keras_babysit.rules.evidence.connections import class_counts
from keras_babysit.rules.evidence.phrases import names, number, percent
from keras_babysit.rules.evidence.progress import well_trained
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="note",
    severity="warning",
    when=("start", "epoch", "end"),
    since="Kaufman et al. 2012, Leakage in Data Mining",
    also=("overfitting", "validation-better"),
)
def leaking_validation(
    history: RunHistory,
    *,
    share: float = 0.05,
    little: float = 0.01,
    handful: int = 100,
) -> Iterator[Sign]:
    """Validation samples are training samples too.

    What it sees:
        Up to 2,000 validation samples, looked for among up to 20,000 training samples
        by their inputs and targets. Samples that occur twice in the training data give
        the share expected by accident; for pictures and measured quantities it is 0. A
        share above `share` is a warning, one above `little` information. If most
        samples of pictures or measured quantities occur twice, copies were made before
        the split. It is information where the model does well on the other samples too,
        and where up to a `handful` of samples are validated on themselves.

    Why it matters:
        The validation score measures how well samples are memorized: overfitting does
        not show, and early stopping stops late.

    What to do:
        Split first; copy, augment or oversample the training part only.

    When it is wrong:
        You validate on training data on purpose, to test the program.

    References:
        Kaufman, Rosset, Perlich and Stitelman, Leakage in Data Mining: Formulation,
        Detection, and Avoidance, ACM TKDD 6 (2012).
    """
    data = history.data
    validation = data.validation if data is not None else None
    if data is None or validation is None or validation.compared < 20:
        return
    rich = is_rich(data.inputs)
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
    # A handful that is meant to be learned by heart, or too few copies to matter.
    tiny = seen == 1 and (data.rows or math.inf) <= handful
    harmless = tiny or well_trained(history, known=seen)
    yield Sign(
        where="validation",
        seen=(
            f"{validation.shared:,} of {validation.compared:,} validation samples are "
            f"among {among}"
        ),
        cause=(
            "Likely samples were copied or oversampled before the split"
            if copied
            else "The validation data were not kept apart: the score measures memory"
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
        severity=None if whole >= share and not harmless else "info",
    )


@rule(
    kind="limit",
    severity="error",
    when="start",
    since="Keras, Model.fit: validation_split takes the last samples, before shuffling",
    also=(
        "class-imbalance",
        "overfitting",
        "single-class-targets",
        "unshuffled-sorted-data",
    ),
)
def sorted_validation_split(
    history: RunHistory, *, share: float = 0.1, at_least: int = 10, drawn: int = 200
) -> Iterator[Sign]:
    """Sorted data were split: classes are missing on one side.

    What it sees:
        Classes that make up at least `share` of the training or the validation arrays
        and do not occur in the other; not of fewer than `at_least` validation
        samples. Of a dataset, whether the training misses some that the first
        validation batches have, once `drawn` of its samples have been seen, in batches
        that mix the classes. An error if the training part misses
        them, a warning if the validation part does; for regression, info if the two
        ranges do not overlap.

    Why it matters:
        `validation_split=0.2` takes the last fifth before any shuffling. In data sorted
        by class that fifth holds the last classes. They are never learned, and the
        validation score measures only them.

    What to do:
        Shuffle before `fit`, or split the data yourself.

    When it is wrong:
        The data are ordered by time, and a class really appeared later.

    References:
        Keras, https://keras.io/api/models/model_training_apis/#fit-method.
    """
    data = history.data
    validation = data.validation if data is not None else None
    if data is None or validation is None:
        return
    whole = data.source == "arrays"
    if not whole and not data.batch_purity < 0.2:
        return  # Other classes may come later in the epoch.
    if not data.targets or not validation.targets:
        return
    train, other = class_counts(data.targets[0]), class_counts(validation.targets[0])
    if not train or not other:
        if data.validation_split:
            yield from _ranges_apart(data, validation)
        return
    labels = sum(train.values())
    if sum(other.values()) < at_least or len({*train, *other}) > labels / 5:
        return
    if not whole and labels < drawn:
        return
    never = _missing(other, train)
    unseen = _missing(train, other)
    lost = sum(other[k] for k in never) / sum(other.values())
    untold = sum(train[k] for k in unseen) / sum(train.values())
    # Of a split by hand, what it is not validated on may be left out on purpose.
    cut = data.validation_split and data.sorted
    if lost < share and not (untold >= share and cut):
        return
    listed = names([str(k) for k in sorted(never if lost >= share else unseen)])
    yield Sign(
        where="validation",
        seen=(
            f"classes {listed} make up {percent(lost)} of the validation data and are "
            + (
                "not in the training data"
                if whole
                else f"in none of the {labels:,} training samples seen"
            )
            if lost >= share
            else f"classes {listed} make up {percent(untold)} of the training data "
            "and are not in the validation data"
        ),
        cause="The samples are sorted by class, and validation_split takes the last "
        "ones as they stand"
        if data.validation_split
        else "Likely the samples were sorted by class when they were split",
        action=SHUFFLE,
        alternatives=("use `train_test_split(x, y, stratify=y)` and validation_data",),
        evidence={
            "missing_in_training": lost,
            "missing_in_validation": untold,
            "training_classes": len(train),
            "validation_classes": len(other),
        },
        severity=None if lost >= share and whole else "warning",
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
        action=SHUFFLE,
        alternatives=(
            "keep it if the order is time and you want to predict the future",
        ),
        evidence={"training_max": train.max, "validation_min": other.min},
        severity="info",
    )
