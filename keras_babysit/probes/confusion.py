"""Which classes were predicted for which: from targets and outputs of each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keras_babysit.records import LossInputs

#: With more classes than this a few batches say nothing.
MAX_CLASSES = 100


def confusions(
    losses: Sequence[LossInputs], raw: Mapping[str, Sequence[np.ndarray]]
) -> dict[str, np.ndarray]:
    """Returns a table for each loss that compares classes.

    Args:
        losses: the calls of losses.
        raw: `"<path>/targets"` and `"<path>/outputs"` to arrays of several batches, a
            row for each sample.

    Returns:
        Path of a loss to a float array of shape `(classes, classes)`, with a row for
        each true class and a column for each predicted one.
    """
    found = {}
    for one in losses:
        targets, outputs = (raw.get(f"{one.path}/{x}") for x in ("targets", "outputs"))
        if not one.cross_entropy or not targets or not outputs:
            continue
        table = _table(one, np.concatenate(targets), np.concatenate(outputs))
        if table is not None:
            found[one.path] = table
    return found


def _table(
    one: LossInputs, targets: np.ndarray, outputs: np.ndarray
) -> np.ndarray | None:
    if len(targets) != len(outputs) or not np.isfinite(outputs).all():
        return None
    binary = one.cross_entropy.startswith("binary")
    outputs = outputs.reshape(len(outputs), -1)
    classes = outputs.shape[1]
    if binary != (classes == 1) or classes > MAX_CLASSES:
        return None
    if binary:
        predicted = (outputs[:, 0] > (0 if one.takes == "logits" else 0.5)).astype(int)
        classes = 2
    else:
        predicted = outputs.argmax(axis=1)
    labels = _labels(targets.reshape(len(targets), -1), classes)
    if labels is None:
        return None
    table = np.zeros((classes, classes))
    np.add.at(table, (labels, predicted), 1)
    return table


def _labels(targets: np.ndarray, classes: int) -> np.ndarray | None:
    """The true classes; `None` if targets are none, or several to a sample."""
    if targets.shape[1] == classes > 1:
        return targets.argmax(axis=1)
    values = targets[:, 0]
    known = (values == np.round(values)) & (values >= 0) & (values < classes)
    if targets.shape[1] != 1 or not known.all():
        return None
    return values.astype(int)
