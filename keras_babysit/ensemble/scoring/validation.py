"""Predictions of members on validation data, and what they should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_babysit.ensemble import arguments
from keras_babysit.ensemble.scoring import metrics
from keras_babysit.ensemble.scoring.measurement import source_of
from keras_babysit.errors import whole_or_none


@dataclass(frozen=True)
class Validation:
    """Members' predictions, and what they should be.

    Attributes:
        predictions: float64 array of shape `(members, n, ...)`.
        targets: labels or values.
        kind: `"categorical"`, `"binary"` or `"values"`.
    """

    predictions: np.ndarray
    targets: np.ndarray
    kind: str

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """The weighted mean of the predictions; a lone member's, to the bit."""
        used = np.flatnonzero(weights)
        if len(used) == 1:
            return self.predictions[used[0]]
        return np.tensordot(weights[used], self.predictions[used], axes=1)


def validation_of(
    members: Any,
    x: Any,
    y: Any,
    output: str | None = None,
    from_logits: bool | None = None,
    batch_size: int | None = None,
) -> Validation:
    """Returns what members predict, and what they should."""
    whole_or_none("batch_size", batch_size)
    if _are_predictions(members):
        if x is not None:
            raise ValueError(
                "`x` must be left out where predictions are given: "
                "`greedy_weights(predictions, y=y)`. Received: both"
            )
        predictions, kind = _stacked(members), None
    else:
        predictions, kind = _predicted(members, x, output, from_logits, batch_size)
    targets = arguments.targets_of(y, predictions.shape[1])
    for number, one in enumerate(predictions, start=1):
        if not np.isfinite(one).all():
            raise ValueError(
                f"Predictions must be finite. Received: {np.sum(~np.isfinite(one))} of "
                f"{one.size} of member {number} that are not. Leave it out."
            )
    return Validation(predictions, targets, kind or _kind(predictions, targets))


def _are_predictions(members: Any) -> bool:
    if isinstance(members, list | tuple):
        return any(map(_is_array, members))
    return _is_array(members) and members.dtype != object


def _is_array(value: Any) -> bool:
    """Whether it is an array of any kind, or what makes one."""
    return isinstance(value, list | tuple) or hasattr(value, "shape")


def _stacked(members: Any) -> np.ndarray:
    shapes = {np.shape(one) for one in members}
    if len(shapes) != 1 or len(next(iter(shapes))) == 0:
        raise ValueError(
            "Predictions must have the shape (members, n, ...), all members the same. "
            f"Received: shapes {sorted(shapes)}"
        )
    return np.asarray(members, float)


def _predicted(
    members: Any,
    x: Any,
    output: str | None,
    from_logits: bool | None,
    batch_size: int | None,
) -> tuple[np.ndarray, str]:
    source = source_of(members, output, from_logits)
    if x is None:
        raise ValueError(
            "`x` must be the inputs of the validation data. Received: None"
        )
    arguments.check_inputs(x, again="for each member")
    made = list(source.probabilities(x, batch_size))
    return _stacked(made), source.combination.forms[0][source.at].kind


def _kind(predictions: np.ndarray, targets: np.ndarray) -> str:
    """What an array of predictions must be, seen beside its targets."""
    if predictions.min() < 0 or predictions.max() > 1:
        return "values"
    shape = predictions.shape[1:]
    if len(shape) > 1 and shape[-1] > 1:
        sums = np.abs(predictions.sum(-1) - 1).max()
        return "categorical" if sums < 1e-2 else "values"
    return "binary" if np.isin(targets, (0, 1)).all() else "values"


def as_values(data: Validation) -> np.ndarray:
    """Returns targets in the predictions' shape: labels as one-hot rows."""
    shape = data.predictions.shape[1:]
    targets = data.targets
    if data.kind == "categorical" and targets.shape != shape:
        metrics.error(data.predictions[0], targets, kind=data.kind)  # Checks labels.
        return np.eye(shape[-1])[targets.astype(int).reshape(shape[:-1])]
    if targets.size != np.prod(shape):
        raise ValueError(
            "`y` must be as many values as each member predicts; labels are for "
            "probabilities, or for models with `from_logits=True`. Received: shape "
            f"{targets.shape} for predictions of shape {shape}"
        )
    return targets.astype(float).reshape(shape)
