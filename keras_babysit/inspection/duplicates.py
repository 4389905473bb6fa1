"""What occurs again: samples, by a hash of their values, and targets in the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_babysit.inspection.rows import Rows

#: A column is a target in another unit if their correlation is 1, up to rounding.
_ROUNDING = 1e-9
#: Fewer rows than this say nothing, nor are more classes looked for.
_FEWEST = 50
_MAX_CLASSES = 20
#: Nor do fewer samples that were seen twice.
_FEWEST_AGAIN = 10
#: Rows are read and hashed so many at a time.
_CHUNK = 1_000


class Keys(NamedTuple):
    """Hashes of samples: of the inputs, and of inputs and targets."""

    inputs: np.ndarray
    both: np.ndarray


def comparable(train: Sequence[Rows], other: Sequence[Rows]) -> bool:
    """Whether the rows of two lists of arrays can be equal at all."""
    return len(train) == len(other) and all(
        a.values == b.values for a, b in zip(train, other, strict=True)
    )


def keys(
    inputs: Sequence[Rows], targets: Sequence[Rows], at: np.ndarray
) -> Keys | None:
    """Returns the hashes of the rows at some indices; `None` if they hold no numbers.

    Values are compared as float32, so that a copy in another dtype is found too.
    """
    of_inputs = _hashes(inputs, at)
    of_targets = _hashes(targets, at)
    if of_inputs is None or of_targets is None:
        return None
    # Odd multipliers are bijections of the 64 bit integers.
    both = of_inputs * np.uint64(0x9E3779B97F4A7C15) ^ of_targets
    return Keys(of_inputs, both)


def _hashes(arrays: Sequence[Rows], at: np.ndarray) -> np.ndarray | None:
    if not arrays:
        return np.zeros(len(at), np.uint64)
    found = []
    for start in range(0, len(at), _CHUNK):
        parts = [_bytes(rows.take(at[start : start + _CHUNK])) for rows in arrays]
        whole = [part for part in parts if part is not None]
        if len(whole) < len(parts):
            return None
        found.append(_digests(np.concatenate(whole, axis=1)))
    return np.concatenate(found) if found else np.zeros(0, np.uint64)


def _bytes(rows: np.ndarray) -> np.ndarray | None:
    if rows.dtype.kind not in "biuf" or rows.size == 0:
        return None
    table = rows.reshape(len(rows), -1)
    exact = rows.dtype.kind in "iu" and rows.dtype.itemsize > 2
    if exact and np.abs(table, dtype=np.float64, casting="unsafe").max() > 2**24:
        return None  # Identifiers or times, which float32 would make equal.
    with np.errstate(over="ignore"):
        values = table.astype(np.float32)
    values += 0.0  # Minus zero is zero.
    return values.view(np.uint8)


def _digests(table: np.ndarray) -> np.ndarray:
    """A hash of 64 bits for each row of bytes `(n, 4 k)`: a sum of mixed words."""
    n, width = table.shape
    words = np.zeros((n, -(-width // 8)), np.uint64)
    words.view(np.uint8)[:, :width] = table
    multipliers = np.random.default_rng(0).integers(
        0, 2**64, (2, words.shape[1]), np.uint64
    ) | np.uint64(1)
    # Round numbers end in many zero bits, which a product keeps: they are mixed first.
    words += multipliers[0]
    words *= np.uint64(0x9E3779B97F4A7C15)
    words ^= words >> np.uint64(32)
    return words @ multipliers[1]


def duplicated(found: Keys) -> float:
    """Share of the samples that occur more than once."""
    if not len(found.both):
        return 0.0
    _, counts = np.unique(found.both, return_counts=True)
    return float(counts[counts > 1].sum() / counts.sum())


def conflicting(found: Keys) -> float:
    """Share of the samples whose inputs occur again with another target."""
    if not len(found.inputs):
        return 0.0
    _, group, size = np.unique(found.inputs, return_inverse=True, return_counts=True)
    pairs = np.unique(np.stack([group, found.both.astype(np.uint64)]), axis=1)
    kinds = np.bincount(pairs[0].astype(np.int64), minlength=len(size))
    return float(size[kinds > 1].sum() / size.sum())


def relabelled(found: Keys, epoch: np.ndarray) -> float:
    """Share of the inputs seen in two epochs that had another target in the second.

    Args:
        found: the keys of the samples.
        epoch: in which epoch each was seen.
    """
    first: dict[int, tuple[int, int]] = {}
    again = other = 0
    for key, both, when in zip(found.inputs, found.both, epoch, strict=True):
        known = first.setdefault(int(key), (int(both), int(when)))
        if known[1] != when:
            again += 1
            other += known[0] != int(both)
    return other / again if again >= _FEWEST_AGAIN else 0.0


def shared(train: Keys, other: Keys) -> int:
    """How many of the other samples are among the training ones."""
    return int(np.isin(other.both, train.both).sum())


def target_at(
    names: Sequence[str], inputs: Sequence[np.ndarray], target: np.ndarray
) -> str:
    """Returns where in the inputs a target stands, as an expression; or `""`.

    As it is or in another unit: multiplied, shifted. Of sequences the last step alone
    is looked at: to repeat an earlier one is a task. An input that is the target as a
    whole belongs to models that ask for it.

    Args:
        names: names of the inputs.
        inputs: float arrays with the rows first.
        target: float array with the same rows: one quantity, or one-hot classes.
    """
    flat = target.reshape(len(target), -1)
    if len(flat) < _FEWEST or not 0 < flat.shape[1] <= _MAX_CLASSES:
        return ""
    if flat.shape[1] > 1:
        return _found(names, inputs, flat) if np.isin(flat, (0, 1)).all() else ""
    classes, labels = np.unique(flat, return_inverse=True)
    found = _found(names, inputs, flat)
    if found or not 2 < len(classes) <= _MAX_CLASSES:
        return found
    return _found(names, inputs, np.eye(len(classes))[labels.reshape(-1)])


def _found(
    names: Sequence[str], inputs: Sequence[np.ndarray], target: np.ndarray
) -> str:
    """The first of the inputs in which all columns of a target stand."""
    wanted = _standardised(target)
    if wanted is None:
        return ""
    for name, rows in zip(names, inputs, strict=True):
        last = rows[:, -1] if rows.ndim > 2 else rows
        table = last.reshape(len(rows), -1)
        if rows.ndim > 3 or table.shape[0] != len(wanted) or rows[0].size < 2:
            continue
        found = _columns(table, wanted)
        if found.size and (found.size < table.shape[1] or rows.ndim > 2):
            where = ", ".join(map(str, found[:3])) + (", ..." * (found.size > 3))
            where = where if found.size == 1 else f"[{where}]"
            return f"{name}[:, {'-1, ' * (rows.ndim > 2)}{where}]"
    return ""


def _columns(table: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which columns of a table are the wanted ones; empty unless all were found."""
    columns = _standardised(table)
    if columns is None or not np.isfinite(columns).all():
        return np.zeros(0, int)
    along = np.abs(wanted.T @ columns) / len(table)
    alike = along > 1 - _ROUNDING
    return alike.argmax(axis=1) if alike.any(axis=1).all() else np.zeros(0, int)


def _standardised(table: np.ndarray) -> np.ndarray | None:
    """Columns of mean zero and spread one; constant ones are zero.

    `None` if nothing varies.
    """
    table = table.astype(np.float64)
    spread = table.std(axis=0)
    if not (spread > 0).any():
        return None
    table = table - table.mean(axis=0)
    return table / np.where(spread > 0, spread, np.inf)


def bounded(rows: int, per_row: int, limit: int, values: int) -> int:
    """Returns how many of the rows may be read: a number of rows, and of values."""
    return min(rows, limit, max(values // max(per_row, 1), 1))
