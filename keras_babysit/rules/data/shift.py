"""Rules about validation data that were prepared otherwise than the training data."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.facts import ArrayFacts, DataFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.arrays import columns_moved, out_of_scale
from keras_babysit.rules.evidence.phrases import names, number, percent
from keras_babysit.rules.evidence.progress import accuracy_name, majority
from keras_babysit.rules.rule import Sign, rule

#: Fewer samples say nothing about means.
_FEW = 20
#: So many samples are no accident if all of a class are taken for the same other one.
_CLEAR = 8
#: A sample of fewer values could be of a narrow range by its order alone.
_WIDE = 16
_SHIFT = "Quiñonero-Candela et al. 2009, Dataset Shift in Machine Learning"
_WORSE = ("overfitting", "stopped-too-early", "validation-better")


@rule(
    kind="note",
    severity="warning",
    when=("start", "epoch", "end"),
    since=_SHIFT,
    also=(*_WORSE, "batchnorm-lagging"),
)
def validation_differs(
    history: RunHistory, *, size: float = 5.0, shift: float = 3.0, worse: float = 2.0
) -> Iterator[Sign]:
    """The validation data are not scaled like the training data.

    What it sees:
        An input whose values in the validation data are `size` times as large as in the
        training data, or a `size`-th of that, by their root mean square; or whose mean
        is more than `shift` standard deviations away; or which is negative in one of
        the two only. The same of single columns of a table, of columns that stand in
        another order, and of targets that are quantities. For a dataset, a generator or
        a `PyDataset`, the rule looks at the first validation batches, and reports only
        if the validation loss is `worse` times the training loss, or the validation
        accuracy is 0.1 lower.

    Why it matters:
        The model gets numbers that it has never seen. The validation score says nothing
        about what it learned, and looks like overfitting.

    What to do:
        Apply the same preprocessing to both, with the mean and standard deviation of
        the training data.

    When it is wrong:
        The validation data differ on purpose.

    References:
        Quiñonero-Candela et al., Dataset Shift in Machine Learning (2009).
    """
    data = history.data
    if data is None or data.validation is None:
        return
    if data.validation.partial and not _is_worse(history, worse):
        return
    for x, other in _pairs(data):
        yield from _moved(x, other, size, shift, data.validation.partial)
    for y, other in _target_pairs(data):
        if out_of_scale(y, other, size, shift):
            yield _scaled(y, other, "targets")


def _pairs(data: DataFacts) -> list[tuple[ArrayFacts, ArrayFacts]]:
    """Inputs of both that can be compared."""
    assert data.validation is not None
    others = {x.name: x for x in data.validation.inputs}
    pairs = [(x, others[x.name]) for x in data.inputs if x.name in others]
    return [
        (x, other)
        for x, other in pairs
        if min(x.seen, other.seen) >= _FEW and x.shape == other.shape
    ]


def _target_pairs(data: DataFacts) -> list[tuple[ArrayFacts, ArrayFacts]]:
    assert data.validation is not None
    pairs = zip(data.targets, data.validation.targets, strict=False)
    return [
        (y, other)
        for y, other in pairs
        if min(y.seen, other.seen) >= _FEW and y.shape == other.shape
        if not (y.whole and other.whole) and not y.distribution
        if not data.validation.partial or _outside(y, other)
    ]


def _outside(x: ArrayFacts, other: ArrayFacts) -> bool:
    """Whether some of its values are far outside of the training data's range."""
    return max(other.max - x.max, x.min - other.min) > x.max - x.min


def _is_worse(history: RunHistory, worse: float) -> bool:
    """Whether the last validation's loss or accuracy is worse than the training's."""
    logs = history.last_epoch.logs if history.last_epoch is not None else {}
    loss, other = logs.get("loss", math.nan), logs.get("val_loss", math.nan)
    name = accuracy_name(history)
    apart = logs.get(name, math.nan) - logs.get(f"val_{name}", math.nan) if name else 0
    lost = math.isfinite(loss) and not math.isfinite(other) and "val_loss" in logs
    return lost or apart > 0.1 or (loss > 0 and other > worse * loss)


def _moved(
    x: ArrayFacts, other: ArrayFacts, size: float, shift: float, partial: bool
) -> Iterator[Sign]:
    # The first of sorted samples may be of a narrow range.
    wide = not partial or math.prod(x.shape) >= _WIDE or _outside(x, other)
    if wide and out_of_scale(x, other, size, shift):
        yield _scaled(x, other, "inputs")
        return
    moved, order = columns_moved(x, other, size, shift)
    if not len(moved) or (partial and not order):
        return
    listed = names([str(i) for i in moved], 5)
    i = moved[0]
    yield Sign(
        where=x.name,
        seen=f"columns {listed} are not those of the training data: in validation "
        f"column {i} has mean {number(other.feature_mean[i])} and deviation "
        f"{number(other.feature_std[i])}, in training {number(x.feature_mean[i])} and "
        f"{number(x.feature_std[i])}",
        cause="Likely the columns stand in another order"
        if order
        else "Likely only one of the two was scaled",
        action="put the columns of both into the same order, as in "
        "`val = val[train.columns]`"
        if order
        else "apply the same scaling to both, with the training data's mean and "
        "standard deviation",
        evidence={"columns": len(moved), "reordered": order},
    )


def _scaled(x: ArrayFacts, other: ArrayFacts, what: str) -> Sign:
    return Sign(
        where=x.name,
        seen=f"validation {what} of mean {number(other.mean)} and deviation "
        f"{number(other.std)}, from {number(other.min)} to {number(other.max)}; "
        f"training {what} of {number(x.mean)} and {number(x.std)}, from "
        f"{number(x.min)} to {number(x.max)}",
        cause="Likely only one of the two was scaled",
        action="apply the same scaling to both, with the training data's mean and "
        "standard deviation",
        evidence={
            "training": math.hypot(x.mean, x.std),
            "validation": math.hypot(other.mean, other.std),
        },
    )


@rule(
    kind="note",
    severity="error",
    when=("epoch", "end"),
    since=_SHIFT,
    also=(*_WORSE, "validation-differs"),
)
def validation_classes_permuted(
    history: RunHistory, *, skill: float = 0.5, share: float = 0.7, least: int = 3
) -> Iterator[Sign]:
    """The classes of the validation data are numbered in another order.

    What it sees:
        A model that does well on the training data, by `skill` of the way from the
        commonest class to 1, and that takes validation samples of two classes or more
        for another class each, always the same: at least the `share` of the samples,
        at least `least` samples of a class, and no two classes for the same one. It
        looks at the first batches of a validation, and at what the model puts out.

    Why it matters:
        The model is right and is counted as wrong. It looks like overfitting, and
        `EarlyStopping` or a checkpoint by the validation score keeps the wrong weights.

    What to do:
        Number the classes once: the same `class_names` in the same order for both
        folders, one encoder fitted on the training labels.

    When it is wrong:
        No case is known.

    References:
        Quiñonero-Candela et al., Dataset Shift in Machine Learning (2009).
    """
    name = accuracy_name(history)
    logs = history.last_epoch.logs if history.last_epoch is not None else {}
    if not history.validations or not name or f"val_{name}" not in logs:
        return
    common = min(majority(history), 0.99)
    if not logs[name] > common + skill * (1 - common):
        return
    for path, table in history.validations[-1].confusions.items():
        taken = permuted(table, share, least)
        part = sum(table[i].sum() for i in taken) / max(table.sum(), 1)
        # Of the rest, all could be right.
        if not taken or logs[f"val_{name}"] > 1 - 0.5 * part:
            continue
        pairs = [
            f"{i} for {j} ({table[i, j]:.0f} of {table[i].sum():.0f})"
            for i, j in taken.items()
        ]
        yield Sign(
            where="validation",
            seen=f"accuracy {percent(logs[name])} in training, "
            f"{percent(logs[f'val_{name}'])} in validation, where the model takes "
            f"class {names(pairs)}",
            cause="The classes of the validation data are numbered in another order",
            action="number the classes once: the same `class_names` in the same order "
            "for both folders, one encoder fitted on the training labels",
            evidence={"loss": path, "classes": len(taken), "share": part},
        )


def permuted(table: np.ndarray, share: float, least: int) -> dict[int, int]:
    """Which classes are taken for which, if consistently; fewer than two are none.

    Args:
        table: true classes in rows, predicted ones in columns, `(classes, classes)`.
        share: of the samples of such a class, at least.
        least: so many samples of a class, at least.
    """
    rows = table.sum(axis=1)
    best = table.argmax(axis=1)
    clear = (rows >= least) & (table.max(axis=1) >= share * rows)
    seen = best[clear].tolist()
    if len(set(seen)) < len(seen):
        return {}
    moved = np.flatnonzero(clear & (best != np.arange(len(table))))
    if len(moved) < 2 or rows[moved].sum() < _CLEAR:
        return {}
    return {int(i): int(best[i]) for i in moved}
