"""Rules about missing values: NaN and infinite ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_babysit.facts import ArrayFacts, DataFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.connections import loss_name, may_mend, pairs
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the data",
    severity="error",
    when="start",
    since="IEEE 754: NaN is contagious",
    also=(
        "constant-features",
        "inputs-not-scaled",
        "overfitting",
        "targets-not-scaled",
    ),
)
def nan_in_data(history: RunHistory) -> Iterator[Sign]:
    """Inputs or targets contain NaN or infinite values.

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
        A custom layer replaces them, or a custom loss skips NaN targets. If the first
        layer or the loss is not one of Keras's, it is only information.

    References:
        Goodfellow, Bengio and Courville, Deep Learning (2016), section 4.1.
    """
    data = history.data
    if data is None:
        return
    for x in data.inputs:
        repaired = history.model is not None and may_mend(history.model, x.name)
        yield from _not_finite(x, data, "info" if repaired else None)
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
        action=(
            f"drop or fill them: `{v} = np.nan_to_num({v}, posinf=0, neginf=0)` as a "
            "first try; the column's mean is better"
        )
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
