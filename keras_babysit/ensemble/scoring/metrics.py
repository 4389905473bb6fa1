"""How good predictions are: NumPy in float64, of predictions and labels.

All scores of classes take the same three arguments:

* `probabilities`: float array of shape `(n, classes)`, or `(n,)` or `(n, 1)`: the
  probability of class 1. Further axes in between (sequences, images) count as samples.
* `labels`: integers of shape `(n,)` or `(n, 1)`, or one-hot rows; of smoothed ones the
  largest counts.
* `kind`: `"categorical"`, or `"binary"`: each value is a probability of its own, which
  is right above one half (several labels for a sample). By default binary if the last
  axis has one value.

They raise a `ValueError` if these are no probabilities, or no labels of them.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from keras_babysit.errors import whole, wrong

#: Probabilities below it count as it, as in Keras's losses: one float32 zero would
#: make the mean infinite.
CLIP = 1e-7
#: Guo et al. 2017.
BINS = 15
#: How far rows of probabilities may be from a sum of one: half precision is.
_ROUNDING = 1e-2


def error(probabilities: Any, labels: Any, *, kind: str | None = None) -> float:
    """Returns the share of samples whose most probable class is not the label.

    A float in [0, 1]. Of classes that are equally probable the first counts.

    Example:
        >>> error([[0.9, 0.1], [0.4, 0.6]], [0, 0])
        0.5
    """
    p, y = checked(probabilities, labels, kind)
    return float(np.mean(p.argmax(1) != y))


def negative_log_likelihood(
    probabilities: Any, labels: Any, *, kind: str | None = None
) -> float:
    """Returns the mean of −log p(label), in nats.

    Probabilities below 1e-7 count as 1e-7, as they do in Keras's losses: a sample
    costs at most 16.1.

    Example:
        >>> negative_log_likelihood([[0.5, 0.5]], [1]) == math.log(2)
        True
    """
    p, y = checked(probabilities, labels, kind)
    return float(-np.log(np.clip(p[np.arange(len(y)), y], CLIP, 1.0)).mean())


def calibration_error(
    probabilities: Any, labels: Any, *, bins: int = BINS, kind: str | None = None
) -> float:
    """Returns the expected calibration error: how far confidence is from accuracy.

    The probability of the predicted class is the confidence. Samples are put into bins
    of equal width by it; the distance of a bin's mean confidence from its accuracy
    counts by the bin's share of the samples. It is biased upwards where there are few
    samples to a bin.

    Args:
        probabilities: as for `error`.
        labels: as for `error`.
        bins: number of bins, closed above, between 0 and 1.
        kind: as for `error`.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: as `error`, or if `bins` is not a positive integer.

    References:
        Guo, Pleiss, Sun and Weinberger: On Calibration of Modern Neural Networks
        (2017), eq. 5.
    """
    whole("bins", bins)
    p, y = checked(probabilities, labels, kind)
    confidence, right = p.max(1), p.argmax(1) == y
    edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    at = np.searchsorted(edges, confidence, side="left")
    gaps = np.bincount(at, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(y))


def brier(probabilities: Any, labels: Any, *, kind: str | None = None) -> float:
    """Returns the Brier score: the mean squared error of the probabilities.

    Summed over classes (0 to 2); for the probability of class 1 alone it is that of
    this one value (0 to 1), as in scikit-learn.

    References:
        Brier: Verification of forecasts expressed in terms of probability (1950).
    """
    p, y = checked(probabilities, labels, kind)
    squares = (p - np.eye(p.shape[1])[y]) ** 2
    halved = kind_of(probabilities, kind) == "binary"
    return float(squares.sum(1).mean() * (0.5 if halved else 1.0))


def disagreement(predictions: Any, *, kind: str | None = None) -> float:
    """Returns how often two members predict different classes, the mean of all pairs.

    Returns:
        A float in [0, 1]; NaN for one member.

    References:
        Lakshminarayanan, Pritzel and Blundell (2017) and Fort, Hu and
        Lakshminarayanan: Deep Ensembles: A Loss Landscape Perspective (2019) measure
        the diversity of members by it.
    """
    classes = [_columns(p, kind).argmax(1) for p in np.asarray(predictions, float)]
    pairs = itertools.combinations(classes, 2)
    shares = [float(np.mean(a != b)) for a, b in pairs]
    return float(np.mean(shares)) if shares else math.nan


def rmse(predictions: Any, targets: Any) -> float:
    """Returns the root of the mean squared error, in the targets' unit.

    Raises:
        ValueError: for other shapes, or values that are not finite.
    """
    p, y = _values(predictions, targets)
    return float(np.sqrt(np.mean((p - y) ** 2)))


def gaussian_nll(predictions: Any, targets: Any, variances: Any) -> float:
    """Returns the mean of −log N(target; prediction, variance), in nats.

    Args:
        predictions: float array: the means.
        targets: array of as many values.
        variances: as many values, or one for all; above 0.

    Raises:
        ValueError: for other shapes, values that are not finite, a variance of 0.

    References:
        Lakshminarayanan, Pritzel and Blundell: Simple and Scalable Predictive
        Uncertainty Estimation using Deep Ensembles (2017), eq. 1.
    """
    p, y = _values(predictions, targets)
    v = np.asarray(variances, float).ravel()
    if v.size not in (1, p.size) or not np.all(np.isfinite(v)) or v.min() <= 0:
        raise ValueError(
            "`variances` must be positive: one, or one for each prediction. Received: "
            f"{v.size} for {p.size} predictions, the smallest "
            f"{v.min() if v.size else None}"
        )
    return float(np.mean(0.5 * np.log(2 * math.pi * v) + (p - y) ** 2 / (2 * v)))


def noise_variance(predictions: Any, targets: Any, spread: Any = 0.0) -> float:
    """Returns the variance of the errors that the members' spread leaves unexplained.

    The mean squared error less the mean squared spread, and not below a millionth of
    the former. Members that predict means know nothing of the noise in the targets:
    with this added, their spread is the variance of a Gaussian that fits on average.

    Args:
        predictions: float array: the ensemble's means.
        targets: array of as many values.
        spread: standard deviations over the members, as many values; 0 of one member.

    Raises:
        ValueError: as `rmse`.
    """
    squared = rmse(predictions, targets) ** 2
    explained = float(np.mean(np.asarray(spread, float) ** 2))
    return max(squared - explained, 1e-6 * squared, np.finfo(float).tiny)


def kind_of(probabilities: Any, kind: str | None = None) -> str:
    """Returns `"binary"` or `"categorical"`: as given, or else by the last axis."""
    if kind not in (None, "binary", "categorical"):
        raise wrong("kind", '"binary" or "categorical"', kind)
    shape = np.shape(probabilities)
    return kind or ("binary" if len(shape) < 2 or shape[-1] == 1 else "categorical")


def _columns(probabilities: Any, kind: str | None) -> np.ndarray:
    """Probabilities of shape `(samples, classes)`, checked."""
    p = np.asarray(probabilities, float)
    if p.ndim == 0 or p.size == 0:
        raise ValueError(
            "`probabilities` must be an array of shape (n, classes) or (n,). "
            f"Received: shape {p.shape}"
        )
    if not np.isfinite(p).all():
        raise ValueError(
            "`probabilities` must be finite. Received: "
            f"{np.count_nonzero(~np.isfinite(p))} of {p.size} that are not"
        )
    if p.min() < -_ROUNDING or p.max() > 1 + _ROUNDING:
        raise ValueError(
            "`probabilities` must be between 0 and 1: are these logits? Received: "
            f"{p.min():.3g} to {p.max():.3g}"
        )
    if kind_of(p, kind) == "binary":
        p = p.ravel()
        # The first of two equal ones counts: of exactly one half, class 0.
        return np.stack([1 - p, p], axis=1)
    p = p.reshape(-1, p.shape[-1])
    sums = p.sum(1)
    if np.abs(sums - 1).max() > _ROUNDING:
        raise ValueError(
            "`probabilities` must sum to 1 over the last axis; several labels for a "
            'sample are `kind="binary"`. Received: a sum of '
            f"{sums[np.abs(sums - 1).argmax()]:.3g}"
        )
    return p


def checked(
    probabilities: Any, labels: Any, kind: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns probabilities `(samples, classes)` and integer labels `(samples,)`."""
    p = _columns(probabilities, kind)
    classes = p.shape[1]
    y = np.asarray(labels)
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"`labels` must be integers from 0 to {classes - 1}. Received: labels of "
            f"dtype {y.dtype}"
        )
    shape = np.shape(probabilities)
    binary = kind_of(probabilities, kind) == "binary"
    if not binary and y.shape == shape:
        y = _of_rows(y)
    y = y.ravel()
    if len(y) != len(p):
        raise ValueError(
            f"`labels` must have one label for each {'value' if binary else 'sample'}. "
            f"Received: labels of shape {np.shape(labels)} for probabilities of shape "
            f"{shape}"
        )
    with np.errstate(invalid="ignore"):
        whole = y.astype(int)
    if not np.array_equal(whole, y) or whole.min() < 0 or whole.max() >= classes:
        raise ValueError(
            f"`labels` must be integers from 0 to {classes - 1}. Received: "
            f"{y.min()} to {y.max()}"
        )
    return p, whole


def _of_rows(y: np.ndarray) -> np.ndarray:
    """The class of each row: the one, or the most probable one of smoothed labels."""
    sums = np.asarray(y, float).sum(-1)
    # Not `>`: NaN is wrong too.
    if not (np.abs(sums - 1) <= _ROUNDING).all() or y.min() < 0:
        raise ValueError(
            "Rows of `labels` must be one-hot and sum to 1; models with several labels "
            "for a sample end in a sigmoid. Received: a sum of "
            f"{sums.flat[np.abs(sums - 1).argmax()]:.3g}"
        )
    return y.argmax(-1)


def _values(predictions: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    p, y = np.asarray(predictions, float), np.asarray(targets, float)
    # (n,) against (n, 1), which NumPy would broadcast to (n, n).
    if p.size != y.size or p.size == 0:
        raise ValueError(
            "`targets` must be as many as the predictions. Received: targets of shape "
            f"{y.shape} for predictions of shape {p.shape}"
        )
    for name, values in (("predictions", p), ("targets", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"`{name}` must be finite. Received: some that are not")
    return p.ravel(), y.ravel()
