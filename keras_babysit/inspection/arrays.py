"""From the sampled rows of one array to its facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_babysit.facts import ArrayFacts

#: More features than this are not told apart.
MAX_FEATURES = 20_000
#: More distinct values than this are not counted.
MAX_DISTINCT = 1_000
#: Values that are not whole numbers are counted in so many elements at most.
COUNTED = 200_000
#: Whole numbers are counted if they span no more than this.
_SPAN = 100_000
#: Shorter rows are no sequences that would be padded.
_FEWEST_STEPS = 10
_TEXT = "UST"


class Moments(NamedTuple):
    """Number and moments of each column's finite elements; NaN where none are."""

    known: np.ndarray
    min: np.ndarray
    max: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def dtype_name(rows: np.ndarray) -> str:
    """Returns the name of an array's dtype; `"string"` for text."""
    if rows.dtype.kind in _TEXT or (rows.dtype.kind == "O" and _is_text(rows)):
        return "string"
    return rows.dtype.name


def numeric(rows: np.ndarray) -> np.ndarray | None:
    """Returns the array as float32 or float64; `None` if it holds something else."""
    kind, size = rows.dtype.kind, rows.dtype.itemsize
    if kind in "biu":
        return rows.astype(np.float32 if size <= 2 else np.float64)
    if kind == "f":
        return rows if size in (4, 8) else rows.astype("f4" if size < 4 else "f8")
    if kind == "V" and rows.dtype.names is None and "float" in rows.dtype.name:
        return rows.astype(np.float32)  # bfloat16 and the 8 bit ones.
    if kind == "O" and all(isinstance(v, _NUMBERS) for v in rows.flat):
        # What pandas makes of columns of unlike types.
        return rows.astype(np.float64)
    return None


_NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)


def _is_text(rows: np.ndarray) -> bool:
    return rows.size > 0 and all(isinstance(v, str | bytes) for v in rows.flat)


def array_facts(name: str, rows: np.ndarray) -> ArrayFacts | None:
    """Returns the facts of the rows; `None` if they are neither numbers nor text."""
    dtype, shape, seen = dtype_name(rows), rows.shape[1:], rows.shape[0]
    if dtype == "string":
        return ArrayFacts(name, shape, dtype, seen)
    values = numeric(rows)
    if values is None:
        return None
    with np.errstate(all="ignore"):
        return ArrayFacts(name, shape, dtype, seen, **_facts(values))


def _facts(values: np.ndarray) -> dict[str, Any]:
    features = values.shape[-1] if values.ndim > 1 else 1
    table = values.reshape(-1, features) if values.size else values.reshape(0, 1)
    finite = np.isfinite(table)
    clean = bool(finite.all())
    facts: dict[str, Any] = {"features": features}
    if not clean:
        nan = int(np.isnan(table).sum())
        bad = (~finite).sum(axis=0)
        facts |= {"nan": nan, "inf": int(bad.sum()) - nan}
        if features <= MAX_FEATURES:
            facts["feature_nonfinite"] = bad.astype(float)
    wide = features > MAX_FEATURES
    columns = np.ascontiguousarray(table.reshape(1, -1) if wide else table.T)
    mask = None if clean else np.isfinite(columns)
    moments = _moments(columns, mask)
    facts |= _overall(moments)
    if not wide:
        facts |= {f"feature_{k}": getattr(moments, k) for k in Moments._fields[1:]}
    whole = bool(values.size) and _is_whole(table if clean else table[finite])
    facts["whole"] = whole
    facts |= _kind_of_rows(table, clean, whole, facts)
    facts["padded"] = _padded(values)
    if not facts.get("counts"):
        flat = table.ravel() if clean else table[finite]
        facts["counts"] = counts(flat, whole)
    return facts


def _padded(values: np.ndarray) -> float:
    """Mean share of the steps that are zeros at the end of a sample."""
    if values.ndim not in (2, 3) or values.shape[1] < _FEWEST_STEPS or not len(values):
        return 0.0
    if not (values[:, -1] == 0).any():
        return 0.0
    full = values != 0
    full = full.any(axis=2) if full.ndim == 3 else full
    # The first step from behind that is not zero; all of them if there is none.
    behind = np.where(full.any(axis=1), full[:, ::-1].argmax(axis=1), full.shape[1])
    return float(behind.mean() / full.shape[1])


def _moments(columns: np.ndarray, finite: np.ndarray | None) -> Moments:
    """Of each of the columns, which are the rows here: fast, and summed pairwise."""
    if columns.size == 0:
        nan = np.full(columns.shape[0], np.nan)
        return Moments(np.zeros_like(nan), nan, nan, nan, nan)
    where: Any = True if finite is None else finite
    if finite is None:
        count = np.full(columns.shape[0], float(columns.shape[1]))
    else:
        count = finite.sum(axis=1).astype(float)
    lowest = columns.min(axis=1, where=where, initial=np.inf).astype(float)
    highest = columns.max(axis=1, where=where, initial=-np.inf).astype(float)
    mean = columns.sum(axis=1, where=where, dtype=np.float64) / count
    away = columns - mean[:, None]
    variance = np.square(away, out=away).sum(axis=1, where=where) / count
    none = count == 0
    lowest[none], highest[none] = np.nan, np.nan
    # Rounding can leave a trace of spread where all values are the same.
    std = np.where(lowest == highest, 0.0, np.sqrt(variance))
    return Moments(count, lowest, highest, mean, std)


def _overall(columns: Moments) -> dict[str, float]:
    known = columns.known > 0
    if not known.any():
        return {}
    share = columns.known[known] / columns.known[known].sum()
    mean = float(np.sum(share * columns.mean[known]))
    away = columns.std[known] ** 2 + (columns.mean[known] - mean) ** 2
    return {
        "min": float(columns.min[known].min()),
        "max": float(columns.max[known].max()),
        "mean": mean,
        "std": float(np.sqrt(np.sum(share * away))),
    }


def _is_whole(values: np.ndarray) -> bool:
    flat = values.ravel()
    # Most arrays of fractions show it at once.
    return bool(
        flat.size
        and (flat[:1000] == np.rint(flat[:1000])).all()
        and (flat == np.rint(flat)).all()
    )


def _kind_of_rows(
    table: np.ndarray, clean: bool, whole: bool, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Whether the rows are one-hot, multi-hot or distributions."""
    if not clean or table.size == 0 or table.shape[1] < 2 or facts["min"] < 0:
        return {}
    if facts["max"] > 1 + 1e-3:
        return {}
    sums = table.sum(axis=1)
    distribution = bool((np.abs(sums - 1) < 1e-3).all())
    if not whole:
        return {"distribution": distribution}
    if not distribution:
        return {"multi_hot": True}
    classes, numbers = np.unique(table.argmax(axis=1), return_counts=True)
    found = dict(zip(classes.astype(float).tolist(), numbers.tolist(), strict=True))
    return {"one_hot": True, "distribution": True, "counts": found}


def counts(values: np.ndarray, whole: bool) -> dict[float, int]:
    """Returns how often each value occurs; empty if too many are distinct."""
    if values.size == 0 or np.unique(values[:5000]).size > MAX_DISTINCT:
        return {}
    lowest, highest = float(values.min()), float(values.max())
    if whole and highest - lowest <= _SPAN:
        numbers = np.bincount((values - lowest).astype(np.int64))
        found = np.flatnonzero(numbers)
        distinct, number = found + lowest, numbers[found]
    else:
        step = -(-values.size // COUNTED)
        distinct, number = np.unique(values[::step], return_counts=True)
    if distinct.size > MAX_DISTINCT:
        return {}
    return dict(
        zip(distinct.astype(float).tolist(), number.astype(int).tolist(), strict=True)
    )
