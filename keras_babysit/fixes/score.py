"""How good predictions are, whatever the loss: on a scale from chance to perfect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

#: More distinct whole numbers than this are quantities rather than classes.
MAX_CLASSES = 200


@dataclass(frozen=True)
class Score:
    """How good predictions are.

    Attributes:
        share: 0 for what chance gives, 1 for perfect predictions; below 0 if they are
            worse than chance.
        value: the metric by its name: accuracy (the mean over the classes, so that
            each counts alike) or R².
        metric: `"accuracy"` or `"R²"`.
        count: number of values that it is the mean of.
    """

    share: float
    value: float
    metric: str
    count: int

    @property
    def error(self) -> float:
        """Standard error of the share, as far as it comes from few samples."""
        p = float(np.clip(self.share, 0.0, 1.0))
        return math.sqrt(max(p * (1 - p), 0.25 / max(self.count, 1)) / self.count)


def scored(y: Any, outputs: Sequence[np.ndarray], middles: Sequence[float]) -> Score:
    """Returns the mean score over a model's outputs.

    Args:
        y: targets, an array or a structure with one for each output.
        outputs: a float array for each output.
        middles: for each output the value between "no" and "yes" of a single unit.

    Returns:
        A `Score`; that of the first output gives its metric's name and value.

    Raises:
        ValueError: if targets and outputs do not go together.
    """
    targets = [np.asarray(t) for t in keras.tree.flatten(y)]
    if len(targets) != len(outputs):
        raise ValueError(f"{len(targets)} targets for {len(outputs)} outputs")
    found = [
        _score(t, np.asarray(o, float), m)
        for t, o, m in zip(targets, outputs, middles, strict=True)
    ]
    share = float(np.mean([s.share for s in found]))
    count = min(s.count for s in found)
    return Score(share, found[0].value, found[0].metric, count)


def _score(y: np.ndarray, output: np.ndarray, middle: float) -> Score:
    units = output.shape[-1] if output.ndim > 1 else 1
    finite = np.isfinite(output)
    if units > 1 and y.size * units == output.size:
        labels = y.reshape(-1)
        if _are_classes(labels) and labels.min() >= 0:
            return _hits(labels, _largest(output, finite, units))
    if y.size != output.size:
        raise ValueError(f"targets of shape {y.shape}, outputs of {output.shape}")
    if units > 1:
        rows = y.reshape(-1, units)
        if _are_one_hot(rows):
            return _hits(rows.argmax(1), _largest(output, finite, units))
    values = y.reshape(-1, units)
    if np.isin(values, (0, 1)).all() or np.isin(values, (-1, 1)).all():
        return _yes_or_no(values > 0, output.reshape(-1, units), middle)
    return _explained(values.astype(float), output.reshape(-1, units))


def _largest(output: np.ndarray, finite: np.ndarray, units: int) -> np.ndarray:
    """The predicted class of each row; none of them where a value is not finite."""
    found = np.where(finite, output, 0).reshape(-1, units).argmax(1)
    return np.where(finite.reshape(-1, units).all(1), found, -1)


def _are_classes(labels: np.ndarray) -> bool:
    whole = bool(np.isfinite(labels).all() and (labels == np.round(labels)).all())
    return whole and len(np.unique(labels)) <= MAX_CLASSES


def _are_one_hot(rows: np.ndarray) -> bool:
    return bool(np.isin(rows, (0, 1)).all() and (rows.sum(1) == 1).all())


def _hits(labels: np.ndarray, predicted: np.ndarray) -> Score:
    """Accuracy as the mean over classes, so that a rare one counts like the others."""
    known = np.unique(labels)
    each = [float((predicted[labels == k] == k).mean()) for k in known]
    value, chance = float(np.mean(each)), 1 / max(len(known), 2)
    return Score((value - chance) / (1 - chance), value, "accuracy", len(labels))


def _yes_or_no(yes: np.ndarray, output: np.ndarray, middle: float) -> Score:
    """The same for units that say yes or no, each of them by itself."""
    with np.errstate(invalid="ignore"):
        said = np.where(np.isfinite(output), output > middle, ~yes)
    columns = [
        _hits(t.astype(int), p.astype(int)) for t, p in zip(yes.T, said.T, strict=True)
    ]
    both = [c for c, t in zip(columns, yes.T, strict=True) if t.any() and not t.all()]
    value = float(np.mean([c.value for c in both or columns]))
    return Score(2 * value - 1, value, "accuracy", len(yes))


def _explained(y: np.ndarray, output: np.ndarray) -> Score:
    """R² over all values, no worse than -1."""
    spread = float(((y - y.mean(0)) ** 2).sum())
    with np.errstate(all="ignore"):
        missed = float(((y - output) ** 2).sum())
        value = 1 - missed / spread if spread > 0 else math.nan
    value = max(value, -1.0) if math.isfinite(value) else -1.0
    return Score(value, value, "R²", len(y))
