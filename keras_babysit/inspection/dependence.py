"""Whether the inputs say anything about the targets, by a cheap test.

Two questions, each put against the same with shuffled targets: do samples that are
close to each other have alike targets, and does any feature go along with them?
Closeness is looked at in the features themselves and in summaries that do not change
when a picture or a series is shifted, and in what items have on average, which does
not change with their order. If nothing goes along with quantities, something
may with how far they are from their middle: where the size of their noise depends on
the inputs, or values of either sign are as likely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_babysit.facts import DependenceFacts
from keras_babysit.inspection.rows import spread

#: At most so many samples are looked at, and no fewer than the second.
MAX_SAMPLES = 1_000
MIN_SAMPLES = 200
#: Features are projected to so many at random before distances are taken.
PROJECTED = 64
NEIGHBOURS = 5
#: Up to so many features, their products are looked at too.
PAIRED = 40
SHUFFLES = 30
#: Targets with more columns (pictures, sequences) are not looked at.
MAX_COLUMNS = 20
MAX_CLASSES = 100
#: Of classes with fewer samples, no regression tells whether it is more than chance.
_FEW = 20
#: Below this p-value there is nothing left to ask.
_SURE = 1e-6
#: At most so many features are looked at where it has to be fast.
_SCREENED = 1_024
#: So many deviations from chance do not come by chance.
_FAR = 8.0
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Standardised features are cut here: a rare pixel must not decide on distances.
_CUT = 4.0
#: Added to the products of features of norm one before they are inverted.
_RIDGE = 1e-6


def dependence(inputs: Sequence[np.ndarray], target: np.ndarray) -> DependenceFacts:
    """Looks at rows of numeric inputs and of one numeric target."""
    columns = target.reshape(len(target), -1)
    if not inputs or columns.shape[1] == 0 or not len(columns):
        return DependenceFacts()
    inputs = [rows for rows in inputs if rows.size]
    usable = np.isfinite(columns).all(axis=1)
    for rows in inputs:
        usable &= np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
    if not inputs or usable.sum() < MIN_SAMPLES:
        return DependenceFacts()
    at = np.flatnonzero(usable)
    at = at[spread(len(at), MAX_SAMPLES)]
    rng = np.random.default_rng(0)
    raw = _joined([rows[at].reshape(len(at), -1) for rows in inputs])
    summaries = _joined([_summaries(rows[at]) for rows in inputs])
    wanted, classes = _wanted(columns[at])
    if wanted is None or raw.shape[1] + summaries.shape[1] == 0:
        return DependenceFacts()
    views = [_projected(raw, rng), summaries]
    scores = [_neighbours(view, wanted, classes, rng) for view in views if view.size]
    best = max(scores, key=lambda s: abs(s[0] - s[1]) / max(s[2], 1e-9))
    if (best[0] - best[1]) > _FAR * max(best[2], 1e-9):
        # Nothing left to ask.
        fit = _linear(raw, wanted, classes)
        return DependenceFacts(len(at), *best, linear_p=0.0, linear=fit)
    features = np.concatenate([raw, summaries, _products(raw)], axis=1)
    common = wanted[:, wanted.sum(axis=0) >= _FEW] if classes else wanted
    if classes and columns.shape[1] == 1 and wanted.shape[1] > 2:
        # Whole numbers may be quantities: a sum, an age.
        number = _standardised(_ranks(columns[at]))
        wanted = np.concatenate([wanted, number], axis=1)
        common = np.concatenate([common, number], axis=1)
    p = 2 * _strongest(features, wanted, rng)
    p = min(p, _joint(views, common)) if p > _SURE and common.size else p
    # Of a set, the target goes along with what its items have on average.
    items = [_standardised(x) for x in _averages([rows[at] for rows in inputs])]
    if p > _SURE and items and common.size:
        p = min(p, 2 * _joint([_projected(x, rng) for x in items], common))
    away = _standardised(np.abs(wanted))
    if p > _SURE and not classes and away.shape[1]:
        p = min(p, 2 * _strongest(features, away, rng))
    return DependenceFacts(len(at), *best, linear_p=min(p, 1.0))


def _linear(table: np.ndarray, wanted: np.ndarray, classes: bool) -> float:
    """Accuracy, or explained variance, of least squares on all features at once."""
    if not table.shape[1] or 4 * table.shape[1] > len(table):
        return math.nan
    table = np.column_stack([table, np.ones(len(table))])
    fitted = table @ np.linalg.lstsq(table, wanted, rcond=None)[0]
    if classes:
        return float((fitted.argmax(axis=1) == wanted.argmax(axis=1)).mean())
    return float(1 - ((wanted - fitted) ** 2).mean() / wanted.var(axis=0).mean())


def correlates(inputs: Sequence[np.ndarray], target: np.ndarray) -> bool:
    """Whether any feature surely goes along with the target: `dependence`, but fast.

    Of inputs with very many features some are looked at. Rows that are not finite, and
    relations that only `dependence` sees, are passed over.

    Args:
        inputs: float arrays, rows first.
        target: float array with the same rows.
    """
    n = len(target)
    tables = [rows.reshape(n, -1) for rows in inputs if rows.size]
    wanted, _ = _wanted(target.reshape(n, -1)) if n >= MIN_SAMPLES else (None, False)
    if wanted is None or not tables:
        return False
    at = [spread(x.shape[1], _SCREENED // len(tables)) for x in tables]
    features = np.concatenate(
        [x[:, i].astype(np.float32) for x, i in zip(tables, at, strict=True)], axis=1
    )
    with np.errstate(all="ignore"):
        centred = [x - x.mean(axis=0) for x in (features, wanted.astype(np.float32))]
        a, b = (x / np.linalg.norm(x, axis=0) for x in centred)
        strongest = float(np.nanmax(np.abs(a.T @ b), initial=0.0))
    by_chance = a.shape[1] * b.shape[1] * math.erfc(strongest * math.sqrt(n / 2))
    return by_chance < _SURE


def _standardised(table: np.ndarray) -> np.ndarray:
    """Columns of mean zero and spread one; constant ones are left out."""
    # What is float32 stays so: wide tables are limited by memory.
    exact = table.dtype in (np.float32, np.uint8, np.int8)
    table = table.astype(np.float32 if exact else np.float64)
    table -= table.mean(axis=0, dtype=np.float64).astype(table.dtype)
    scale = np.abs(table).max(axis=0, initial=0)
    table /= np.where(scale > 0, scale, 1.0)
    deviation = np.sqrt(np.einsum("ij,ij->j", table, table) / max(len(table), 1))
    kept = deviation > 1e-9
    table, deviation = (
        (table, deviation)
        if kept.all()
        else (
            table[:, kept],
            deviation[kept],
        )
    )
    table /= deviation
    return np.clip(table, -_CUT, _CUT, out=table)


def _joined(tables: Sequence[np.ndarray]) -> np.ndarray:
    return _standardised(np.concatenate(tables, axis=1))


def _summaries(rows: np.ndarray) -> np.ndarray:
    """Per sample, what stays as it is when the picture or series is shifted."""
    n = len(rows)
    flat = rows.reshape(n, -1)
    flat = flat if flat.dtype == np.float32 else flat.astype(np.float64)
    if flat.shape[1] < 16:
        return np.zeros((n, 0))
    # A strided part is enough for the quantiles of a large picture.
    part = flat[:, :: max(flat.shape[1] // 1024, 1)]
    found = [flat.mean(axis=1), flat.std(axis=1), flat.max(axis=1)]
    found += list(np.quantile(part, _QUANTILES, axis=1))
    for axis in range(1, rows.ndim):
        if rows.shape[axis] > 1:
            step = np.abs(np.diff(rows, axis=axis)).reshape(n, -1)
            found.append(step.mean(axis=1))
    if rows.ndim > 2 and rows.shape[-1] <= 8:
        found += list(rows.reshape(n, -1, rows.shape[-1]).mean(axis=1).T)
    return np.stack(found, axis=1)


def _averages(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Per sample, averages over the items of inputs that are lists of items."""
    return [
        rows.mean(axis=1) for rows in inputs if rows.ndim == 3 and rows.shape[1] > 1
    ]


def _products(table: np.ndarray) -> np.ndarray:
    """Products of all pairs of features, squares too: what XOR depends on."""
    n, width = table.shape
    if width > PAIRED:
        return np.zeros((n, 0))
    first, second = np.triu_indices(width)
    return _standardised(table[:, first] * table[:, second])


def _projected(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keeps distances, in about so many dimensions (Johnson and Lindenstrauss)."""
    if table.shape[1] <= PROJECTED:
        return table
    axes = rng.normal(size=(table.shape[1], PROJECTED)) / math.sqrt(PROJECTED)
    return table @ axes.astype(table.dtype)


def _wanted(columns: np.ndarray) -> tuple[np.ndarray | None, bool]:
    """The target's columns, one for each class, and whether they are classes."""
    n, width = columns.shape
    one_hot = width > 1 and bool(
        ((columns == 0) | (columns == 1)).all() and (columns.sum(axis=1) == 1).all()
    )
    if width > MAX_COLUMNS and not (one_hot and width <= MAX_CLASSES):
        return None, False
    values = columns.argmax(axis=1) if one_hot else columns[:, 0]
    distinct, labels = np.unique(values, return_inverse=True)
    whole = bool((values == np.rint(values)).all())
    if one_hot or (width == 1 and whole and distinct.size <= min(MAX_CLASSES, n // 10)):
        classes = np.eye(distinct.size)[labels]
        return (classes, True) if distinct.size > 1 else (None, True)
    table = _standardised(_ranks(columns))
    return (table, False) if table.shape[1] else (None, False)


def _ranks(columns: np.ndarray) -> np.ndarray:
    """Ranks in place of values, equal ones alike: outliers must not decide."""
    ranked = np.empty(columns.shape)
    for i, column in enumerate(columns.T):
        _, place, number = np.unique(column, return_inverse=True, return_counts=True)
        ranked[:, i] = (np.cumsum(number) - (number - 1) / 2)[place]
    return ranked


def _neighbours(
    table: np.ndarray, wanted: np.ndarray, classes: bool, rng: np.random.Generator
) -> tuple[float, float, float]:
    """How well neighbours predict: really, by chance, and how much chance varies."""
    table = table.astype(np.float32)
    square = np.einsum("ij,ij->i", table, table)
    distance = table @ table.T
    distance *= -2
    distance += square  # A row's own square does not change who is nearest.
    np.fill_diagonal(distance, np.inf)
    near = np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    score = _agreement if classes else _explained
    real = score(wanted, near)
    by_chance = [score(rng.permutation(wanted), near) for _ in range(SHUFFLES)]
    return real, float(np.mean(by_chance)), float(np.std(by_chance, ddof=1))


def _agreement(classes: np.ndarray, near: np.ndarray) -> float:
    """Accuracy of guessing each sample's class as that of one of its neighbours."""
    labels = classes.argmax(axis=1)
    return float((labels[near] == labels[:, None]).mean())


def _explained(wanted: np.ndarray, near: np.ndarray) -> float:
    left = wanted - wanted[near].mean(axis=1)
    return float(1 - (left**2).mean() / (wanted**2).mean())


def _strongest(
    table: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
) -> float:
    """p-value of the strongest correlation of any feature with any column.

    The strongest by chance, of so many, is known from shuffled targets; their maxima
    follow Gumbel's distribution. That holds for sparse and skewed features too,
    where the usual formula for a single correlation fails.
    """
    features = (table - table.mean(axis=0)).T.astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    columns = wanted - wanted.mean(axis=0)
    columns = (columns / np.linalg.norm(columns, axis=0)).astype(np.float32)
    shuffled = [rng.permutation(columns) for _ in range(SHUFFLES)]
    found = np.abs(features @ np.concatenate([columns, *shuffled], axis=1))
    real, *chance = found.reshape(len(features), -1, columns.shape[1]).max(axis=(0, 2))
    scale = max(float(np.std(chance, ddof=1)) * math.sqrt(6) / math.pi, 1e-9)
    mode = float(np.mean(chance)) - 0.5772 * scale
    return -math.expm1(-math.exp(min((mode - float(real)) / scale, 50.0)))


def _joint(views: Sequence[np.ndarray], wanted: np.ndarray) -> float:
    """p-value of a linear regression on all features together.

    By Paulson's normal approximation of F; doubled for the two questions asked, and
    times the number of columns that were wanted.
    """
    table = np.concatenate(views, axis=1)
    table = table - table.mean(axis=0)
    columns = _standardised(wanted)
    columns -= columns.mean(axis=0)
    columns /= np.linalg.norm(columns, axis=0)
    explained, d = _explained_by(table, columns)
    rest = len(table) - 1 - d
    if d == 0 or rest < d:
        return 1.0
    f = (explained / d) / (max(1 - explained, 1e-12) / rest)
    a, b, root = 2 / (9 * d), 2 / (9 * rest), f ** (1 / 3)
    z = ((1 - b) * root - (1 - a)) / math.sqrt(b * root**2 + a)
    return min(1.0, columns.shape[1] * math.erfc(z / math.sqrt(2)))


def _explained_by(table: np.ndarray, columns: np.ndarray) -> tuple[float, int]:
    """What a regression explains of the best column, and the table's rank."""
    # By the small matrix of products, with a trace of a ridge for features that say
    # the same: decompositions of the table, or of that matrix, take far longer.
    norms = np.linalg.norm(table, axis=0)
    table = table / np.where(norms > 0, norms, 1.0)
    products, shared = table.T @ table, table.T @ columns
    width = len(products)
    if not width:
        return 0.0, 0
    solved = np.linalg.solve(
        products + _RIDGE * np.eye(width), np.concatenate([products, shared], axis=1)
    )
    explained = (shared * solved[:, width:]).sum(axis=0)
    rank = round(float(solved[:, :width].trace()))
    return min(float(explained.max(initial=0)), 1.0), rank
