"""What losses give that know nothing: closed forms for the losses of Keras.

Two kinds of not knowing: an *untrained* output has equal scores, whatever the targets
are; the best *constant* knows how the targets are distributed, and nothing of the
inputs, as an output whose bias was set to the class shares or to the mean.

No Keras here: rules can use it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

#: Loss, named as in `LossFacts`, to what it compares.
KINDS: Mapping[str, str] = {
    "binary_crossentropy": "binary",
    "binary_focal_crossentropy": "binary",
    "categorical_crossentropy": "classes",
    "categorical_focal_crossentropy": "classes",
    "categorical_generalized_cross_entropy": "classes",
    "categorical_hinge": "margins",
    "circle": "embeddings",
    "cosine_similarity": "directions",
    "ctc": "paths",
    "dice": "overlap",
    "hinge": "margins",
    "huber": "numbers",
    "kl_divergence": "classes",
    "log_cosh": "numbers",
    "mean_absolute_error": "numbers",
    "mean_absolute_percentage_error": "numbers",
    "mean_squared_error": "numbers",
    "mean_squared_logarithmic_error": "numbers",
    "poisson": "counts",
    "sparse_categorical_crossentropy": "classes",
    "squared_hinge": "margins",
    "tversky": "overlap",
}
#: Losses of classes whose targets are labels, not rows.
SPARSE = ("sparse_categorical_crossentropy", "categorical_generalized_cross_entropy")
#: Kinds that only some outputs suit: the usual activation first.
_SUITED: Mapping[str, tuple[str, ...]] = {
    "classes": ("softmax", "sigmoid"),
    "binary": ("sigmoid", "softmax", "hard_sigmoid"),
    "overlap": ("sigmoid", "softmax", "hard_sigmoid"),
    "counts": ("exponential", "softplus", "relu", "sigmoid", "softmax"),
    "embeddings": ("unit",),
}


def link_of(name: str, activation: str | None, from_logits: bool = False) -> str:
    """Returns the function that makes a loss's prediction of scores around zero.

    It is the output's own activation, unless that gives nothing the loss could work
    with: a cross-entropy of probabilities behind a linear output.

    Args:
        name: the loss, as in `KINDS`.
        activation: the output's activation; `None` if it is not known.
        from_logits: whether the loss takes logits.

    Returns:
        Name of an activation function, or `"unit"`: scaled to unit length.
    """
    suited = () if from_logits else _SUITED.get(KINDS[name], ())
    if not suited:
        return activation or "linear"
    return activation if activation in suited else suited[0]


def untrained_loss(
    name: str, targets: Any = None, classes: int | None = None, **options: Any
) -> float:
    """Returns the loss of equal scores: logits of 0, probabilities 1/C, outputs of 0.

    Args:
        name: the loss, as in `KINDS`.
        targets: float array `(samples, units)` for losses that depend on them: rows
            of quantities, of 0 and 1, or of probabilities. Of `circle` the labels,
            `(samples,)`; of `ctc` the padded labels `(samples, length)`.
        classes: number of classes, of losses of classes.
        **options: the loss's arguments where they are not Keras's defaults; of `ctc`
            the number of `frames`.

    Returns:
        The mean over the samples, in nats for entropies; NaN if it is not known.

    Raises:
        ValueError: if the loss is none of Keras's.
    """
    _check(name)
    y = np.zeros((1, 1)) if targets is None else np.asarray(targets, float)
    count = y.shape[-1] if classes is None else classes
    return float(_UNTRAINED[name](y, count, options))


def constant_loss(name: str, targets: Any, **options: Any) -> float:
    """Returns the loss of the best constant prediction.

    Args:
        name: the loss, as in `KINDS`.
        targets: float array `(samples, units)`: rows of quantities, of probabilities,
            of 0 and 1, or one-hot.
        **options: `label_smoothing`.

    Returns:
        The mean over the samples; NaN if no closed form is known.

    Raises:
        ValueError: if the loss is none of Keras's.
    """
    _check(name)
    if name not in _CONSTANT:
        return math.nan
    y = np.asarray(targets, float)
    smoothing = options.get("label_smoothing", 0.0)
    if smoothing:
        size = 2 if KINDS[name] == "binary" else y.shape[-1]
        y = y * (1 - smoothing) + smoothing / size
    return float(_CONSTANT[name](y))


def formula(name: str, classes: int | None = None) -> str:
    """Returns how the loss of equal scores is reckoned, `"log 10"`; empty if long."""
    if name in ("sparse_categorical_crossentropy", "categorical_crossentropy"):
        return f"log {classes}" if classes else ""
    if name == "binary_crossentropy":
        return "log 2"
    if KINDS.get(name) == "margins":
        return "a margin of 1"
    return ""


def entropy(p: np.ndarray) -> np.ndarray:
    """Entropy of the rows of an array, in nats; 0 log 0 is 0."""
    p = np.asarray(p, float)
    return -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)


def _check(name: str) -> None:
    if name not in KINDS:
        raise ValueError(
            "`name` must be one of Keras's losses in snake case. Received: "
            f"name={name!r}"
        )


# -------------------------------------------------------------------- equal scores


def _log_classes(y: np.ndarray, classes: int, options: Any) -> float:
    return math.log(classes)


def _log_two(y: np.ndarray, classes: int, options: Any) -> float:
    return math.log(2)


def _one(y: np.ndarray, classes: int, options: Any) -> float:
    return 1.0


def _zero(y: np.ndarray, classes: int, options: Any) -> float:
    return 0.0


def _binary_focal(y: np.ndarray, classes: int, options: Any) -> float:
    each = 0.5 ** options.get("gamma", 2.0) * math.log(2)
    if not options.get("apply_class_balancing"):
        return each
    alpha = options.get("alpha", 0.25)
    smoothing = options.get("label_smoothing", 0.0)
    share = np.mean(y) * (1 - smoothing) + smoothing / 2
    return each * (share * alpha + (1 - share) * (1 - alpha))


def _focal(y: np.ndarray, classes: int, options: Any) -> float:
    rest = 1 - 1 / classes
    alpha = options.get("alpha", 0.25)
    return alpha * rest ** options.get("gamma", 2.0) * math.log(classes)


def _generalized(y: np.ndarray, classes: int, options: Any) -> float:
    q = options.get("q", 0.5)
    return (1 - classes**-q) / q


def _divergence(y: np.ndarray, classes: int, options: Any) -> float:
    return math.log(classes) - float(entropy(y).mean())


def _huber(y: np.ndarray, classes: int, options: Any) -> float:
    delta, size = options.get("delta", 1.0), np.abs(y)
    return np.where(size <= delta, y**2 / 2, delta * size - delta**2 / 2).mean()


def _log_cosh(y: np.ndarray, classes: int, options: Any) -> float:
    return (np.logaddexp(y, -y) - math.log(2)).mean()


def _dice(y: np.ndarray, classes: int, options: Any) -> float:
    return 1 - y.sum() / (y.sum() + y.size / 2)


def _tversky(y: np.ndarray, classes: int, options: Any) -> float:
    alpha, beta = options.get("alpha", 0.5), options.get("beta", 0.5)
    hit = y.sum()
    return 1 - hit / (hit * (1 + alpha) + beta * (y.size - hit))


def _circle(labels: np.ndarray, classes: int, options: Any) -> float:
    """Every pair at a distance of 1, or 0: positive and negative weights swap."""
    gamma, margin = options.get("gamma", 80.0), options.get("margin", 0.4)
    same = labels.reshape(-1, 1) == labels.reshape(1, -1)
    positive = same.sum(1) - (1 if options.get("remove_diagonal", True) else 0)
    negative = (~same).sum(1)
    known = (positive > 0) & (negative > 0)  # The others are masked.
    if not known.any():
        return 0.0
    pairs = np.log(positive[known]) + np.log(negative[known])
    return np.logaddexp(0, pairs + gamma * (1 - 2 * margin**2)).mean()


def _ctc(labels: np.ndarray, classes: int, options: Any) -> float:
    frames = options["frames"]
    each = [frames * math.log(classes) - _log_paths(row, frames) for row in labels]
    return float(np.mean(each))


def _log_paths(row: np.ndarray, frames: int) -> float:
    """Logarithm of the number of ways in which labels can be spread over frames."""
    labels = row[row != 0]
    # Between two equal labels there has to be a blank.
    repeats = int((labels[1:] == labels[:-1]).sum())
    ways = math.comb(frames + len(labels) - repeats, 2 * len(labels))
    return math.log(ways) if ways else -math.inf


_Untrained = Callable[[np.ndarray, int, Mapping[str, Any]], Any]
_UNTRAINED: Mapping[str, _Untrained] = {
    "binary_crossentropy": _log_two,
    "binary_focal_crossentropy": _binary_focal,
    "categorical_crossentropy": _log_classes,
    "categorical_focal_crossentropy": _focal,
    "categorical_generalized_cross_entropy": _generalized,
    "categorical_hinge": _one,
    "circle": _circle,
    "cosine_similarity": _zero,
    "ctc": _ctc,
    "dice": _dice,
    "hinge": _one,
    "huber": _huber,
    "kl_divergence": _divergence,
    "log_cosh": _log_cosh,
    "mean_absolute_error": lambda y, classes, options: np.abs(y).mean(),
    "mean_absolute_percentage_error": lambda y, c, o: 100.0 * (y != 0).mean(),
    "mean_squared_error": lambda y, classes, options: (y**2).mean(),
    "mean_squared_logarithmic_error": lambda y, c, o: (np.log1p(y) ** 2).mean(),
    "poisson": _one,  # Of a rate of 1, which is what exp makes of 0.
    "sparse_categorical_crossentropy": _log_classes,
    "squared_hinge": _one,
    "tversky": _tversky,
}


# ------------------------------------------------------------------- best constants


def _binary_entropy(y: np.ndarray) -> float:
    p = y.mean(0)
    return entropy(np.stack([p, 1 - p], -1)).mean()


def _lesser_share(y: np.ndarray) -> float:
    p = (y > 0).mean(0)
    return 2 * np.minimum(p, 1 - p).mean()


def _shares_product(y: np.ndarray) -> float:
    p = (y > 0).mean(0)
    return 4 * (p * (1 - p)).mean()


def _rate(y: np.ndarray) -> float:
    rate = y.mean(0)
    return (rate - rate * np.log(np.where(rate > 0, rate, 1))).mean()


def _mean_direction(y: np.ndarray) -> float:
    length = np.linalg.norm(y, axis=-1, keepdims=True)
    return -float(np.linalg.norm((y / np.where(length > 0, length, 1)).mean(0)))


_CONSTANT: Mapping[str, Callable[[np.ndarray], Any]] = {
    "binary_crossentropy": _binary_entropy,
    "categorical_crossentropy": lambda y: entropy(y.mean(0)),
    "categorical_hinge": lambda y: min(1.0, 2 * (1 - y.mean(0).max())),
    "cosine_similarity": _mean_direction,
    "hinge": _lesser_share,
    "kl_divergence": lambda y: entropy(y.mean(0)) - entropy(y).mean(),
    "mean_absolute_error": lambda y: np.abs(y - np.median(y, 0)).mean(),
    "mean_squared_error": lambda y: y.var(0).mean(),
    "mean_squared_logarithmic_error": lambda y: np.log1p(y).var(0).mean(),
    "poisson": _rate,
    "sparse_categorical_crossentropy": lambda y: entropy(y.mean(0)),
    "squared_hinge": _shares_product,
}
