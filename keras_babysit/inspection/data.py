"""From the data that `fit` is fed with to facts, by a bounded sample of its rows.

Nothing here writes to the data, calls the framework's random numbers or NumPy's
global ones, or reads more than the constants below say.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_babysit.facts import (
    ArrayFacts,
    DataFacts,
    DependenceFacts,
    ValidationFacts,
)
from keras_babysit.inspection import duplicates
from keras_babysit.inspection.arrays import array_facts, dtype_name, numeric
from keras_babysit.inspection.dependence import MAX_SAMPLES, correlates, dependence
from keras_babysit.inspection.rows import Rows, even, leaves, rows_of, spread

#: Inputs are looked at in so many samples, and so many values, at most.
INPUT_ROWS = 2_000
INPUT_VALUES = 8_000_000
#: Ranges and moments need fewer.
RANGE_VALUES = 2_000_000
#: Targets likewise.
TARGET_ROWS = 20_000
TARGET_VALUES = 8_000_000
#: Training samples are compared with each other, and with samples of the validation
#: data, up to these numbers.
COMPARED_ROWS = 20_000
COMPARED_VALUES = 8_000_000
COMPARED_VALIDATION = 2_000
#: Float arrays in memory are summed whole, to find any NaN, up to this size.
SCANNED_VALUES = 50_000_000
#: Batches are collected up to so many, or `INPUT_ROWS` samples.
BATCHES = 50
#: Fewer changes of class than this say nothing about an order.
_MIN_CHANGES = 20
_MIN_PURE = 0.05
#: Fewer batches than this say nothing of how they were mixed.
_MIN_BATCHES = 5
#: A p-value above this is no sign of a relation.
_UNRELATED = 1e-2
#: Targets are looked for so many rows away from their inputs.
_SHIFTS = (1, -1, 2, -2)


@dataclass(frozen=True)
class Fed:
    """What `fit` is fed with.

    Attributes:
        source: `"arrays"`, or `"batches"` if it is a dataset, a generator or the
            like: then only `validation_*` may hold rows.
        inputs: the input arrays.
        targets: the target arrays.
        complete: whether these are all there are: ragged, sparse and odd ones are
            left out.
        rows: number of training samples, if known.
        batch_size: size of a batch, if known.
        steps: number of updates that are to be made at most, if known.
        shuffled: whether Keras shuffles the samples, if known.
        weighted: whether there are sample weights or class weights.
        validation: whether there is validation data.
        validation_inputs: its input arrays, if it is arrays.
        validation_targets: its target arrays.
        validation_split: whether Keras split it off the end of the training data.
        validation_partial: whether the arrays are its first batches alone.
    """

    source: str = "batches"
    inputs: tuple[Rows, ...] = ()
    targets: tuple[Rows, ...] = ()
    complete: bool = True
    rows: int | None = None
    batch_size: int | None = None
    steps: int | None = None
    shuffled: bool | None = None
    weighted: bool = False
    validation: bool = False
    validation_inputs: tuple[Rows, ...] = ()
    validation_targets: tuple[Rows, ...] = ()
    validation_split: bool = False
    validation_partial: bool = False


def arrays(name: str, nested: Any) -> tuple[tuple[Rows, ...], bool]:
    """Returns access to the arrays of a nested structure, and whether to all."""
    found = [rows_of(at, array) for at, array in leaves(name, nested)]
    dense = tuple(rows for rows in found if rows is not None)
    return dense, len(dense) == len(found)


def of_arrays(x: Any, y: Any) -> dict[str, Any]:
    """Returns what a `Fed` has of arrays to train on."""
    inputs, x_whole = arrays("x", x)
    targets, y_whole = arrays("y", y)
    return {
        "source": "arrays",
        "inputs": inputs,
        "targets": targets,
        "complete": x_whole and y_whole,
        "rows": inputs[0].shape[0] if inputs else None,
    }


def of_validation(x: Any, y: Any) -> dict[str, Any]:
    """Returns what a `Fed` has of arrays to validate on, if all of them are such."""
    inputs, x_whole = arrays("x", x)
    targets, y_whole = arrays("y", y)
    if not (inputs and x_whole and y_whole):
        return {"validation": True}
    return {
        "validation": True,
        "validation_inputs": inputs,
        "validation_targets": targets,
    }


def validated(fed: Fed, batches: Sequence[tuple[Any, ...]]) -> Fed:
    """Returns it with the first batches of the validation data.

    Args:
        fed: what is known otherwise.
        batches: nested NumPy arrays: inputs, targets, weights.
    """
    sample = BatchSample()
    for batch in batches:
        sample.add(*batch)
    return dataclasses.replace(
        fed,
        validation=True,
        validation_inputs=sample.joined(0)[0],
        validation_targets=sample.joined(1)[0],
        validation_partial=True,
    )


def validation_facts(fed: Fed) -> ValidationFacts | None:
    """Returns the facts of the validation data alone."""
    return _validation(fed, _keys(fed))


def data_facts(fed: Fed) -> DataFacts:
    """Returns the facts of what `fit` is fed with."""
    inputs, targets = _facts(fed.inputs, INPUT_ROWS), _facts(fed.targets, TARGET_ROWS)
    keys = _keys(fed)
    classes = bool(targets) and _classes(targets[0])
    related, target_at = _dependence(fed)
    return DataFacts(
        inputs=inputs,
        targets=targets,
        rows=fed.rows,
        batch_size=fed.batch_size,
        steps=fed.steps,
        source=fed.source,
        shuffled=fed.shuffled,
        sorted=_is_sorted(fed.targets, targets, [_rows(fed.targets)]),
        weighted=fed.weighted,
        validation=_validation(fed, keys),
        validation_split=fed.validation_split,
        dependence=related,
        target_at=target_at,
        duplicated=duplicates.duplicated(keys) if keys else 0.0,
        conflicting=duplicates.conflicting(keys) if keys and classes else 0.0,
    )


def fingerprint(fed: Fed) -> bytes:
    """Returns what tells whether two `fit`s are fed with the same.

    It reads some rows of each array, so it is much faster than `data_facts`.
    """
    digest = hashlib.blake2b(digest_size=16)
    for field in dataclasses.fields(fed):
        value = getattr(fed, field.name)
        if not isinstance(value, tuple):
            digest.update(repr(value).encode())
            continue
        for rows in value:
            digest.update(f"{rows.name} {rows.shape}".encode())
            digest.update(_raw(rows.take(spread(rows.shape[0], 64))))
    return digest.digest()


class BatchSample:
    """Collects the batches that observed steps bring, for the facts of a dataset.

    Samples that come again in another epoch count once, and so does a whole batch.

    Args:
        fed: what is known of the `fit` otherwise.

    Attributes:
        fed: likewise.
    """

    def __init__(self, fed: Fed | None = None):
        self.fed = fed or Fed()
        self._batches: list[tuple[dict[str, Any], dict[str, Any]]] = []
        # Of all batches, those that were there before too: keys, epoch and place.
        self._seen: list[tuple[duplicates.Keys | None, int, int | None]] = []
        self._weighted = False
        self._rows = self._epoch = 0
        # Batches, and the samples of all earlier epochs, by what tells them apart.
        self._known: set[tuple[Any, ...]] = set()
        self._earlier: set[Any] = set()

    @property
    def steps(self) -> int | None:
        """How many batches `fit` takes at most, if known."""
        return self.fed.steps

    @property
    def full(self) -> bool:
        """Whether enough was collected."""
        values = sum(_size(a) for x, y in self._batches for a in (x, y))
        return (
            self._rows >= INPUT_ROWS
            or len(self._seen) >= BATCHES
            or values >= INPUT_VALUES
        )

    def add(
        self, x: Any, y: Any = None, sample_weight: Any = None, *, at: Any = (0, None)
    ) -> None:
        """Adds a batch of nested NumPy arrays, unless enough was collected.

        Args:
            x: inputs.
            y: targets.
            sample_weight: weights.
            at: its epoch, and its place in it if that is known.
        """
        if self.full:
            return
        inputs, targets = dict(leaves("x", x)), dict(leaves("y", y))
        self._weighted |= any(not even(w) for _, w in leaves("w", sample_weight))
        keys = _keys_of(inputs, targets)
        self._seen.append((keys, *at))
        same = _digests(inputs, targets) if keys is None else keys.both.tolist()
        new = self._new(same, at[0])
        if not new:
            return
        if len(new) < len(same):
            inputs, targets = (
                {name: np.asarray(array)[new] for name, array in part.items()}
                for part in (inputs, targets)
            )
        self._rows += _length(inputs)
        self._batches.append((inputs, targets))

    def _new(self, samples: Sequence[Any], epoch: int) -> list[int]:
        """Which samples of a batch are no samples of an earlier epoch again.

        Args:
            samples: what tells whether two samples are the same.
            epoch: of the batch.
        """
        if epoch != self._epoch:
            self._epoch = epoch
            self._earlier = set().union(*self._known)
        if tuple(samples) in self._known:
            return []
        self._known.add(tuple(samples))
        return [i for i, sample in enumerate(samples) if sample not in self._earlier]

    def facts(self) -> DataFacts:
        """Returns the facts of what was collected so far."""
        inputs, x_whole = self.joined(0)
        targets, y_whole = self.joined(1)
        fed = dataclasses.replace(
            self.fed,
            source="batches",
            inputs=inputs,
            targets=targets,
            complete=x_whole and y_whole,
            weighted=self.fed.weighted or self._weighted,
        )
        sizes = [_length(y) for _, y in self._batches]
        if fed.batch_size is None and self._batches:
            largest = max(_length(x) for x, _ in self._batches)
            fed = dataclasses.replace(fed, batch_size=largest)
        facts = data_facts(fed)
        rows = [_length(x) for x, _ in self._batches]
        batch = np.repeat(np.arange(len(rows)), rows)
        return dataclasses.replace(
            facts,
            sorted=_is_sorted(targets, facts.targets, sizes),
            batch_purity=_purity(targets, facts.targets, batch),
            **_stream(self._seen),
        )

    def joined(self, part: int) -> tuple[tuple[Rows, ...], bool]:
        """The batches' arrays end to end; what differs in shape is left out."""
        found, whole = [], True
        for name in self._batches[0][part] if self._batches else ():
            of_all = [np.asarray(batch[part].get(name)) for batch in self._batches]
            alike = {(a.dtype, a.ndim, a.shape[1:]) for a in of_all}
            if len(alike) != 1 or not of_all[0].ndim:
                whole = False
                continue
            rows = rows_of(name, np.concatenate(of_all))
            if rows is not None:
                found.append(rows)
        return tuple(found), whole


def _size(arrays: Mapping[str, Any]) -> int:
    return sum(int(np.size(array)) for array in arrays.values())


def _length(arrays: Mapping[str, Any]) -> int:
    shape = np.shape(next(iter(arrays.values()), 0))
    return int(shape[0]) if shape else 0


def _digests(inputs: Mapping[str, Any], targets: Mapping[str, Any]) -> list[bytes]:
    """What tells samples apart that are not of numbers; one if there are no rows."""
    found = [np.asarray(a) for a in (*inputs.values(), *targets.values())]
    if len({a.shape[:1] for a in found}) != 1 or not found[0].ndim:
        found = [a[None] for a in found]
    return [
        hashlib.blake2b(
            b"".join(_raw(array[i : i + 1]) for array in found), digest_size=16
        ).digest()
        for i in range(len(found[0]) if found else 0)
    ]


def _raw(array: np.ndarray) -> bytes:
    return repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()


def _rows(arrays: Sequence[Rows]) -> int:
    return arrays[0].shape[0] if arrays else 0


def _sample(rows: Rows, limit: int, values: int) -> np.ndarray:
    """Indices of the rows to look at."""
    n = duplicates.bounded(rows.shape[0], rows.values, limit, values)
    return spread(rows.shape[0], n)


# Facts of each array.


def _facts(found: Sequence[Rows], limit: int) -> tuple[ArrayFacts, ...]:
    budget = RANGE_VALUES if limit == INPUT_ROWS else TARGET_VALUES
    facts = [_one(rows, limit, budget // len(found)) for rows in found]
    return tuple(one for one in facts if one is not None)


def _one(rows: Rows, limit: int, values: int) -> ArrayFacts | None:
    if rows.values > values:
        return None  # A single sample is more than may be read.
    facts = array_facts(rows.name, rows.take(_sample(rows, limit, values)))
    if facts is None or facts.seen == rows.shape[0]:
        return facts
    return _scanned(rows, facts)


def _scanned(rows: Rows, facts: ArrayFacts) -> ArrayFacts:
    """Counts NaN and infinite elements in the whole array, if it is cheap.

    A few missing values among many samples are what a sample does not show, and the
    sum of an array with any is not finite.
    """
    array = rows.array
    if (
        array is None
        or isinstance(array.base, np.memmap)
        or array.dtype.kind != "f"
        or array.size > SCANNED_VALUES
    ):
        return facts
    with np.errstate(all="ignore"):
        clean = np.isfinite(array.sum(dtype=None if array.itemsize > 2 else "f4"))
    if clean:
        return dataclasses.replace(facts, scanned=rows.shape[0])
    nan, bad = np.zeros(()), np.zeros(array.shape[-1] if array.ndim > 1 else 1)
    for part in np.array_split(array, max(array.size // 4_000_000, 1)):
        table = part.reshape(-1, bad.size)
        nan = nan + np.isnan(table).sum()
        bad = bad + (~np.isfinite(table)).sum(axis=0)
    return dataclasses.replace(
        facts,
        scanned=rows.shape[0],
        nan=int(nan),
        inf=int(bad.sum() - nan),
        feature_nonfinite=bad if bad.any() else facts.feature_nonfinite,
    )


# The order of the rows.


def _classes(target: ArrayFacts) -> bool:
    """Whether a target looks like one class for each sample."""
    if target.one_hot:
        return len(target.shape) == 1
    single = target.shape in ((), (1,)) and target.whole
    return single and 0 < len(target.counts) <= max(2, target.seen // 5)


def _is_sorted(
    found: Sequence[Rows], facts: Sequence[ArrayFacts], batches: Sequence[int]
) -> bool:
    """Whether the classes almost never change from one row to the next.

    Looked at within batches only: that they change between batches does not mix
    them. Without an order they change with probability 1 - sum(p^2).
    """
    if not found or not facts or not _classes(facts[0]):
        return False
    rows = found[0]
    at = _sample(rows, TARGET_ROWS, TARGET_VALUES)
    values = rows.take(at).reshape(len(at), -1)
    labels = values.argmax(axis=1) if values.shape[1] > 1 else values[:, 0]
    share = np.unique(labels, return_counts=True)[1] / max(len(labels), 1)
    inner = np.ones(max(len(labels) - 1, 0), bool)
    ends = np.cumsum(batches)[:-1] - 1
    if len(labels) == rows.shape[0]:
        inner[ends[ends < inner.size]] = False
    changes = int(((labels[1:] != labels[:-1]) & inner).sum())
    expected = float(inner.sum() * (1 - (share**2).sum()))
    allowed = 2 * (share.size - 1) if len(batches) == 1 else _MIN_PURE * expected
    return expected >= max(_MIN_CHANGES, 4 * allowed) and changes <= allowed


def _purity(
    found: Sequence[Rows], facts: Sequence[ArrayFacts], batch: np.ndarray
) -> float:
    """How far batches are from random ones, by the classes in them.

    Two samples of one batch have the same class with probability sum(p^2) by chance.
    """
    if not found or not facts or not _classes(facts[0]):
        return np.nan
    if found[0].shape[0] != len(batch) or batch[-1] < _MIN_BATCHES - 1:
        return np.nan
    values = found[0].take(np.arange(len(batch))).reshape(len(batch), -1)
    labels = values.argmax(axis=1) if values.shape[1] > 1 else values[:, 0]
    _, labels = np.unique(labels, return_inverse=True)
    table = np.zeros((batch[-1] + 1, labels.max() + 1))
    np.add.at(table, (batch, labels), 1)
    size = table.sum(axis=1)
    table, size = table[size > 1], size[size > 1]
    pairs = (table * (table - 1)).sum() / (size * (size - 1)).sum()
    by_chance = ((table.sum(axis=0) / table.sum()) ** 2).sum()
    return float((pairs - by_chance) / (1 - by_chance)) if by_chance < 1 else np.nan


def _keys_of(
    inputs: Mapping[str, Any], targets: Mapping[str, Any]
) -> duplicates.Keys | None:
    """Hashes of the samples of a batch, if they can be had."""
    parts = [
        [rows_of(name, np.asarray(array)) for name, array in arrays.items()]
        for arrays in (inputs, targets)
    ]
    x, y = ([rows for rows in part if rows is not None] for part in parts)
    if not x or len(x) < len(inputs) or len(y) < len(targets):
        return None
    try:
        return duplicates.keys(x, y, np.arange(_rows(x)))
    except (TypeError, ValueError, IndexError):
        return None


def _stream(
    seen: Sequence[tuple[duplicates.Keys | None, int, int | None]],
) -> dict[str, Any]:
    """What the order of the samples shows: batches that repeat, changed labels."""
    keys = [k for k, _, _ in seen if k is not None]
    if not keys or len(keys) < len(seen):
        return {}
    rows = duplicates.Keys(
        np.concatenate([k.inputs for k in keys]), np.concatenate([k.both for k in keys])
    )
    epochs = np.repeat([epoch for _, epoch, _ in seen], [len(k.both) for k in keys])
    return {
        "batch_places": len({place for _, _, place in seen if place is not None}),
        "distinct_batches": len({k.both.tobytes() for k in keys}),
        "relabelled": duplicates.relabelled(rows, epochs),
    }


# Samples that occur again.


def _keys(fed: Fed) -> duplicates.Keys | None:
    if not fed.inputs or not fed.complete or _rows(fed.inputs) < 2:
        return None
    try:
        return duplicates.keys(fed.inputs, fed.targets, _compared(fed))
    except (TypeError, ValueError, IndexError):
        return None  # Arrays of odd dtypes or of unlike lengths.


def _compared(fed: Fed) -> np.ndarray:
    per_row = sum(rows.values for rows in (*fed.inputs, *fed.targets))
    n = _rows(fed.inputs)
    n = duplicates.bounded(n, per_row, COMPARED_ROWS, COMPARED_VALUES)
    return spread(_rows(fed.inputs), n)


def _validation(fed: Fed, train: duplicates.Keys | None) -> ValidationFacts | None:
    if not fed.validation:
        return None
    inputs, targets = fed.validation_inputs, fed.validation_targets
    facts = ValidationFacts(
        rows=_rows(inputs) if inputs and not fed.validation_partial else None,
        partial=fed.validation_partial,
        inputs=_facts(inputs, INPUT_ROWS),
        targets=_facts(targets, TARGET_ROWS),
    )
    alike = duplicates.comparable(fed.inputs, inputs) and duplicates.comparable(
        fed.targets, targets
    )
    if train is None or not alike or not inputs:
        return facts
    per_row = sum(rows.values for rows in (*inputs, *targets))
    n = duplicates.bounded(
        _rows(inputs), per_row, COMPARED_VALIDATION, COMPARED_VALUES // 2
    )
    try:
        other = duplicates.keys(inputs, targets, spread(_rows(inputs), n))
    except (TypeError, ValueError, IndexError):
        return facts
    if other is None:
        return facts
    return dataclasses.replace(
        facts,
        compared=n,
        shared=duplicates.shared(train, other),
        among=len(train.both),
    )


# Whether inputs and targets have to do with each other.


def _dependence(fed: Fed) -> tuple[DependenceFacts, str]:
    """Also where the target stands among the inputs, if it does."""
    nothing = DependenceFacts(), ""
    if not fed.complete or not fed.inputs or not fed.targets:
        return nothing
    try:
        inputs, target = _numbers(fed)
        if target is None or not inputs:
            return nothing
        with np.errstate(all="ignore"):
            alone = len(fed.targets) == 1
            names = [rows.name for rows in fed.inputs]
            found = duplicates.target_at(names, inputs, target) if alone else ""
            related = dependence(inputs, target)
            return dataclasses.replace(related, shift=_shift(fed, related)), found
    except (TypeError, ValueError, IndexError, np.linalg.LinAlgError):
        return nothing


def _shift(fed: Fed, related: DependenceFacts) -> int:
    """By how many rows the targets are shifted, if it is a few."""
    if related.tested < 1 or not related.linear_p > _UNRELATED:
        return 0
    for shift in _SHIFTS:
        inputs, target = _numbers(fed, shift)
        if target is None or not inputs:
            return 0
        # Quickly at first: of unrelated data, none of these goes along either.
        if correlates(inputs, target) and (
            dependence(inputs, target).linear_p < _UNRELATED**3
        ):
            return shift
    return 0


def _numbers(fed: Fed, shift: int = 0) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Rows of all inputs and the first target; no inputs if one is not of numbers."""
    per_row = sum(rows.values for rows in fed.inputs)
    n = _rows(fed.inputs)
    limit = duplicates.bounded(n, per_row, MAX_SAMPLES, INPUT_VALUES)
    at = spread(n, limit)
    beyond = (at + shift >= 0) & (at + shift < n)
    at = at[beyond]
    target = numeric(fed.targets[0].take(at + shift))
    inputs = []
    for rows in fed.inputs:
        taken = rows.take(at)
        values = numeric(taken)
        if values is None or _is_tokens(taken):
            return [], target
        inputs.append(values)
    return inputs, target


def _is_tokens(rows: np.ndarray) -> bool:
    """Whether integers may stand for words or categories: their size says nothing."""
    if dtype_name(rows) == "string":
        return True
    return rows.dtype.kind in "iu" and rows.dtype.itemsize > 1 and rows.ndim <= 2
