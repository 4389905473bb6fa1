"""What all checks look at: a sample in memory, and the facts of more of the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_babysit.facts import DataFacts
from keras_babysit.inspection.data import (
    INPUT_ROWS,
    INPUT_VALUES,
    BatchSample,
    Fed,
    data_facts,
    of_arrays,
    of_validation,
)
from keras_babysit.inspection.rows import even, leaves, rows_of
from keras_babysit.inspection.sample import (
    Sample,
    are_arrays,
    as_arrays,
    batches,
    sample_of,
    unpacked,
)

#: Checks compute with so many samples at most; with fewer if these are large.
SAMPLES = 512
#: But with so many in any case.
FEWEST = 32
#: 1 / golden ratio.
_GOLDEN = 0.6180339887498949


def gathered(
    x: Any, y: Any = None, sample_weight: Any = None, validation_data: Any = None
) -> tuple[Sample, DataFacts]:
    """Returns a sample for the checks, and facts of as much as rules look at.

    Arrays are sampled evenly, as the Babysitter does. Of datasets and the like the
    first 2,000 samples, 50 batches or 8 million values are read, once.

    Args:
        x: what `fit` takes: arrays, structures of arrays, `tf.data.Dataset`,
            `keras.utils.PyDataset`, a generator.
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays.
        validation_data: `(x, y)` or `(x, y, sample_weight)`, as for `fit`. Only
            arrays are looked at.

    Returns:
        A `Sample`, of which any first samples are spread over all of it; and
        `DataFacts`.

    Raises:
        ValueError: as `sample_of` does.
    """
    if x is None or are_arrays(x):
        sample = sample_of(x, y, sample_weight, n=_affordable(x))
        fed = _fed(as_arrays(x), as_arrays(y), as_arrays(sample_weight))
        facts = data_facts(Fed(**fed, **_validation(validation_data)))
        return _mixed(sample, sample.size), facts
    if y is not None or sample_weight is not None:
        sample_of(x, y, sample_weight, n=1)  # Says what is wrong with them.
    seen = BatchSample(Fed(**_validation(validation_data)))
    sample = sample_of(_read(x, seen), n=INPUT_ROWS)
    return _mixed(sample, _affordable(sample.x)), seen.facts()


def facts_of(sample: Sample) -> DataFacts:
    """Returns the facts of no more than a sample."""
    return data_facts(Fed(**_fed(sample.x, sample.y, sample.sample_weight)))


def _affordable(x: Any) -> int:
    """How many samples to compute with."""
    found = [rows_of(name, array) for name, array in leaves("x", as_arrays(x))]
    values = sum(rows.values for rows in found if rows is not None)
    return int(np.clip(INPUT_VALUES // max(values, 1), FEWEST, SAMPLES))


def _fed(x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    uneven = any(not even(w) for _, w in leaves("w", sample_weight))
    return {**of_arrays(x, y), "weighted": uneven}


def _validation(data: Any) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        return {"validation": True}
    return of_validation(as_arrays(data[0]), as_arrays(data[1]))


def _read(data: Any, seen: BatchSample) -> Iterator[tuple]:
    """Batches as NumPy arrays, until the rules and the checks have enough."""
    rows = 0
    for batch in batches(data):
        parts, size = unpacked(batch)
        seen.add(*parts)
        yield parts
        rows += size
        if seen.full and rows >= FEWEST:
            return


def _mixed(sample: Sample, n: int) -> Sample:
    """`n` samples in an order of which any beginning is spread over all of them.

    Checks that need only a few take the first: of data sorted by class, these would
    be one class.
    """
    n = min(n, sample.size)
    places = np.arange(sample.size) * _GOLDEN % 1
    order = np.argsort(np.argsort(places))[:n]
    found = sample.at(order)
    return dataclasses.replace(found, whole=sample.whole and n == sample.size)
