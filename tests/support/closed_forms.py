"""What losses give that know nothing, in closed form: `Guesses` asks the losses.

`UNTRAINED` are those of equal scores: logits of 0, probabilities 1/C, outputs of 0;
functions of the targets as rows, the number of classes, and the loss's options.
`CONSTANT` are those of the best constant prediction, functions of the targets.
"""

import math

import numpy as np


def entropy(p):
    p = np.asarray(p, float)
    return -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)


def smoothed(y, smoothing, binary):
    return y * (1 - smoothing) + smoothing / (2 if binary else y.shape[-1])


def binary_focal(
    y, c, gamma=2.0, alpha=0.25, apply_class_balancing=False, label_smoothing=0.0
):
    each = 0.5**gamma * math.log(2)
    share = np.mean(smoothed(y, label_smoothing, True))
    balance = share * alpha + (1 - share) * (1 - alpha)
    return each * (balance if apply_class_balancing else 1.0)


def huber(y, c, delta=1.0):
    size = np.abs(y)
    return np.where(size <= delta, y**2 / 2, delta * size - delta**2 / 2).mean()


def tversky(y, c, alpha=0.5, beta=0.5):
    hit = y.sum()
    return 1 - hit / (hit * (1 + alpha) + beta * (y.size - hit))


def circle(labels, c, gamma=80.0, margin=0.4, remove_diagonal=True):
    """Every pair at a distance of 1, or 0: positive and negative weights swap."""
    same = labels.reshape(-1, 1) == labels.reshape(1, -1)
    positive, negative = same.sum(1) - remove_diagonal, (~same).sum(1)
    known = (positive > 0) & (negative > 0)  # The others are masked.
    pairs = np.log(positive[known]) + np.log(negative[known])
    return np.logaddexp(0, pairs + gamma * (1 - 2 * margin**2)).mean()


def ctc(labels, c, frames):
    return np.mean([frames * math.log(c) - log_paths(row, frames) for row in labels])


def log_paths(row, frames):
    """Logarithm of the number of ways in which labels can be spread over frames."""
    labels = row[row != 0]
    # Between two equal labels there has to be a blank.
    repeats = int((labels[1:] == labels[:-1]).sum())
    ways = math.comb(frames + len(labels) - repeats, 2 * len(labels))
    return math.log(ways) if ways else -math.inf


def log_classes(y, c, label_smoothing=0.0):
    return math.log(c)


def log_two(y, c, label_smoothing=0.0):
    return math.log(2)


def one(y, c):
    return 1.0


UNTRAINED = {
    "binary_crossentropy": log_two,
    "binary_focal_crossentropy": binary_focal,
    "categorical_crossentropy": log_classes,
    "categorical_focal_crossentropy": lambda y, c, alpha=0.25, gamma=2.0: (
        alpha * (1 - 1 / c) ** gamma * math.log(c)
    ),
    "categorical_generalized_cross_entropy": lambda y, c, q=0.5: (1 - c**-q) / q,
    "categorical_hinge": one,
    "circle": circle,
    "cosine_similarity": lambda y, c: 0.0,
    "ctc": ctc,
    "dice": lambda y, c: 1 - y.sum() / (y.sum() + y.size / 2),
    "hinge": one,
    "huber": huber,
    "kl_divergence": lambda y, c: math.log(c) - entropy(y).mean(),
    "log_cosh": lambda y, c: (np.logaddexp(y, -y) - math.log(2)).mean(),
    "mean_absolute_error": lambda y, c: np.abs(y).mean(),
    "mean_absolute_percentage_error": lambda y, c: 100.0 * (y != 0).mean(),
    "mean_squared_error": lambda y, c: (y**2).mean(),
    "mean_squared_logarithmic_error": lambda y, c: (np.log1p(y) ** 2).mean(),
    "poisson": one,  # Of a rate of 1, which is what exp makes of 0.
    "sparse_categorical_crossentropy": log_classes,
    "squared_hinge": one,
    "tversky": tversky,
}


def lesser_share(y):
    p = (y > 0).mean(0)
    return 2 * np.minimum(p, 1 - p).mean()


def shares_product(y):
    p = (y > 0).mean(0)
    return 4 * (p * (1 - p)).mean()


def poisson(y):
    rate = y.mean(0)
    return (rate - rate * np.log(np.where(rate > 0, rate, 1))).mean()


def mean_direction(y):
    return -np.linalg.norm((y / np.linalg.norm(y, axis=-1, keepdims=True)).mean(0))


CONSTANT = {
    "binary_crossentropy": lambda y: entropy(
        np.stack([y.mean(0), 1 - y.mean(0)], -1)
    ).mean(),
    "categorical_crossentropy": lambda y: entropy(y.mean(0)),
    "categorical_hinge": lambda y: min(1.0, 2 * (1 - y.mean(0).max())),
    "cosine_similarity": mean_direction,
    "hinge": lesser_share,
    "kl_divergence": lambda y: entropy(y.mean(0)) - entropy(y).mean(),
    "mean_absolute_error": lambda y: np.abs(y - np.median(y, 0)).mean(),
    "mean_squared_error": lambda y: y.var(0).mean(),
    "mean_squared_logarithmic_error": lambda y: np.log1p(y).var(0).mean(),
    "poisson": poisson,
    "sparse_categorical_crossentropy": lambda y: entropy(y.mean(0)),
    "squared_hinge": shares_product,
}
