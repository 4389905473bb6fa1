"""The smallest value that a loss can take on given targets.

It is zero only for some losses and some targets: smoothed labels, soft targets, the
Poisson loss, cosine similarity, or two equal inputs with different targets all have
another. Found by computing the best prediction, and then Keras's own loss of it.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.masking import set_keras_mask

from keras_babysit.backend import load
from keras_babysit.checks.losses import loss_kinds
from keras_babysit.facts import LossFacts
from keras_babysit.inspection.compiled import loss_facts

#: Logits stand for probabilities of no less than e**-40 of the largest.
_SMALLEST = math.exp(-40)
#: Halvings of an interval that leave nothing of it in float64.
_HALVINGS = 60
#: Activation functions whose range restricts what an output can be.
_RESTRICTING = ("softmax", "sigmoid", "tanh", "relu", "softplus", "exponential")
_STEPS = 400


@dataclass(frozen=True)
class Target:
    """What one loss of a model is called with.

    Attributes:
        name: the output's name; `""` if there is only one.
        loss: the `keras.losses.Loss`.
        y: float array, the targets.
        y_pred: float array `(samples, ..., units)`, a prediction.
        weight: sample weights, as the loss gets them, or `None`.
        mask: mask of the prediction, or `None`.
        factor: the weight of this loss in the total.
        activation: the output's last activation function; `None` if not known.
    """

    name: str
    loss: Any
    y: np.ndarray
    y_pred: np.ndarray
    weight: np.ndarray | None = None
    mask: np.ndarray | None = None
    factor: float = 1.0
    activation: str | None = None

    @property
    def facts(self) -> LossFacts:
        """What is known of the loss."""
        units = self.y_pred.shape[-1] if self.y_pred.ndim > 1 else None
        return loss_facts(self.loss, units) or LossFacts("", standard=False)

    @property
    def options(self) -> Mapping[str, Any]:
        """The loss's keyword arguments, defaults included."""
        function, given = getattr(self.loss, "fn", None), {}
        given = dict(getattr(self.loss, "_fn_kwargs", {}))
        if isinstance(function, functools.partial):
            given = {**function.keywords, **given}
            function = function.func
        if function is None:
            return given
        parameters = inspect.signature(function).parameters.values()
        known = {p.name: p.default for p in parameters if p.default is not p.empty}
        return {**known, **given}

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """The weight of each value of the loss: `(samples, ...)`, without units."""
        found = np.ones(self.y_pred.shape[:-1] or self.y_pred.shape)
        for part in (self.weight, self.mask):
            if part is not None:
                found = found * _of_rank(np.asarray(part, float), found.ndim)
        ignored = self.facts.ignore_class
        if ignored is not None:
            found = found * (self.labels != ignored)
        return found

    @property
    def labels(self) -> np.ndarray:
        """Sparse labels, of the shape of `weights`."""
        return self.y.reshape(self.y_pred.shape[:-1])

    def value_of(self, y_pred: np.ndarray) -> float:
        """Returns the loss of a prediction, times its factor."""
        tensor = keras.ops.convert_to_tensor(y_pred, self.loss.dtype)
        if self.mask is not None:
            set_keras_mask(tensor, keras.ops.convert_to_tensor(self.mask))
        value = self.loss(self.y, tensor, self.weight)
        return self.factor * float(np.mean(keras.ops.convert_to_numpy(value)))


def floor(target: Target, groups: np.ndarray) -> float | None:
    """Returns the smallest value that a loss can take, times its factor.

    Args:
        target: the loss and what it is called with.
        groups: int array `(samples,)`, or `(samples, positions)` for sequences.
            Where it is equal the inputs are, so that predictions have to be.

    Returns:
        The value; `None` if it is not known. For losses that are not Keras's own it
        is the smallest that a search finds.
    """
    best = best_prediction(target, groups)
    if best is not None:
        return target.value_of(best)
    if target.facts.standard and target.facts.name in _BEST:
        return None
    return _searched(target, groups)


def best_prediction(target: Target, groups: np.ndarray) -> np.ndarray | None:
    """Returns the prediction with the smallest loss.

    Returns:
        A float array of the shape of `target.y_pred`, logits if the loss takes them;
        `None` if it is not known for this loss or such targets.
    """
    facts, options = target.facts, target.options
    if not facts.standard or facts.name not in _BEST:
        return None
    if options.get("axis", -1) not in (-1, target.y_pred.ndim - 1, None):
        return None
    y = _dense(target)
    if y is None or y.ndim < 2:
        return None
    if facts.name in ("dice", "tversky"):
        return _overlapping(target, y, groups)
    if facts.name == "kl_divergence" and target.activation not in ("softmax", None):
        return np.ones_like(y)  # Nothing makes the probabilities sum to one.
    find = functools.partial(_BEST[facts.name], options=options)
    best = by_group(find, y, target.weights[..., None], groups)
    return _as_logits(best, facts) if facts.from_logits else best


def _dense(target: Target) -> np.ndarray | None:
    """Targets of the shape of the predictions, converted as the loss does."""
    y, y_pred, facts = np.asarray(target.y, float), target.y_pred, target.facts
    if facts.name in loss_kinds.SPARSE:
        if y.size != target.weights.size:
            return None
        return (target.labels[..., None] == np.arange(y_pred.shape[-1])).astype(float)
    if y.size == y_pred.size:
        y = y.reshape(y_pred.shape)
    elif y.ndim == y_pred.ndim and y.shape[-1] == 1:
        y = np.broadcast_to(y, y_pred.shape)  # Likely a mistake, but Keras does so.
    else:
        return None
    if facts.label_smoothing:
        share = facts.label_smoothing
        y = y * (1 - share) + share / (2 if "binary" in facts.name else y.shape[-1])
    if facts.name in ("hinge", "squared_hinge") and np.isin(y, (0, 1)).all():
        y = 2 * y - 1
    return y


def by_group(
    find: Callable[[np.ndarray, np.ndarray], np.ndarray],
    y: np.ndarray,
    weight: np.ndarray,
    groups: np.ndarray,
) -> np.ndarray:
    """Applies `find` to the targets of each group, stacked along the first axis."""
    shape = y.shape
    if groups.ndim == 2:  # Every position of a sequence is a sample of its own.
        y, weight = (a.reshape(-1, *a.shape[2:]) for a in (y, weight))
        groups = groups.reshape(-1)
    best = find(y[None], weight[None])  # As if each were a group of its own.
    names, counts = np.unique(groups, return_counts=True)
    for name in names[counts > 1]:
        at = groups == name
        best[at] = find(y[at], weight[at])
    return best.reshape(shape)


# ------------------------------------------- best predictions: (samples, ..., units)


def weighted_mean(y: np.ndarray, w: np.ndarray, options: Any = None) -> np.ndarray:
    """Returns the mean over the first axis; of all alike where nothing has weight."""
    total = w.sum(0)
    weighted = (w * y).sum(0) / np.where(total > 0, total, 1)
    return np.where(total > 0, weighted, y.mean(0))


def _median(y: np.ndarray, w: np.ndarray, options: Any = None) -> np.ndarray:
    w = np.broadcast_to(w, y.shape)
    order = np.argsort(y, axis=0)
    below = np.cumsum(np.take_along_axis(w, order, 0), axis=0)
    at = np.argmax(below >= below[-1] / 2, axis=0)[None]
    return np.take_along_axis(np.take_along_axis(y, order, 0), at, 0)[0]


def _relative_median(y: np.ndarray, w: np.ndarray, options: Any) -> np.ndarray:
    return _median(y, w / np.maximum(np.abs(y), keras.config.epsilon()))


def _log_mean(y: np.ndarray, w: np.ndarray, options: Any) -> np.ndarray:
    return np.expm1(weighted_mean(np.log1p(np.maximum(y, keras.config.epsilon())), w))


def _probability(y: np.ndarray, w: np.ndarray, options: Any) -> np.ndarray:
    return np.clip(weighted_mean(y, w), 0, 1)


def _distribution(y: np.ndarray, w: np.ndarray, options: Any) -> np.ndarray:
    share = np.maximum(weighted_mean(y, w), 0)
    total = share.sum(-1, keepdims=True)
    return np.where(total > 0, share / np.where(total > 0, total, 1), 1 / y.shape[-1])


def _rate(y: np.ndarray, w: np.ndarray, options: Any) -> np.ndarray:
    return np.maximum(weighted_mean(y, w), 0)


def _direction(y: np.ndarray, w: np.ndarray, options: Any) -> np.ndarray:
    length = np.linalg.norm(y, axis=-1, keepdims=True)
    return weighted_mean(y / np.where(length > 0, length, 1), w)


def _sharpened(y: np.ndarray, w: np.ndarray, options: Any) -> np.ndarray:
    share = weighted_mean(y, w)
    power = share ** (1 / (1 - options["q"]))
    return power / power.sum(-1, keepdims=True)


def _flattest(
    slope: Callable[..., np.ndarray], y: np.ndarray, w: np.ndarray, options: Any
) -> np.ndarray:
    """Where the derivative of a sum of convex functions changes its sign."""
    edges = y
    if slope is _squared_hinge_slope:
        edges = np.divide(1.0, y, out=np.zeros_like(y), where=y != 0)
    low, high = edges.min(0), edges.max(0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        rising = (w * slope(middle, y, options)).sum(0) > 0
        low, high = np.where(rising, low, middle), np.where(rising, middle, high)
    return (low + high) / 2


def _huber_slope(p: np.ndarray, y: np.ndarray, options: Any) -> np.ndarray:
    return np.clip(p - y, -options["delta"], options["delta"])


def _log_cosh_slope(p: np.ndarray, y: np.ndarray, options: Any) -> np.ndarray:
    return np.tanh(p - y)


def _squared_hinge_slope(p: np.ndarray, y: np.ndarray, options: Any) -> np.ndarray:
    return -y * np.maximum(1 - y * p, 0)


def _margin(y: np.ndarray, w: np.ndarray, options: Any) -> np.ndarray:
    """Of a sum of hinges, the best of their edges."""
    edges = np.divide(1.0, y, out=np.zeros_like(y), where=y != 0)
    costs = [(w * np.maximum(1 - y * edge, 0)).sum(0) for edge in edges]
    return np.take_along_axis(edges, np.argmin(costs, axis=0)[None], 0)[0]


def _one_class(y: np.ndarray, w: np.ndarray, options: Any) -> np.ndarray:
    """Of the categorical hinge: the commonest class, or none if it has no majority."""
    share = weighted_mean(y, w)
    most = share.max(-1, keepdims=True)
    hard = (y == y[:1]).all(0).all(-1, keepdims=True)
    return np.where(hard, y[0], (share == most) & (most >= 0.5)).astype(float)


def _focused(y: np.ndarray, w: np.ndarray, options: Any) -> np.ndarray:
    """Of the binary focal loss, by a search that narrows down three times."""
    gamma, balanced = options["gamma"], options.get("apply_class_balancing")
    alpha = options["alpha"] if balanced else 0.5

    def cost(logit: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-logit))
        entropy = y * np.logaddexp(0, -logit) + (1 - y) * np.logaddexp(0, logit)
        hit = y * p + (1 - y) * (1 - p)
        weight = y * alpha + (1 - y) * (1 - alpha)
        return (w * weight * (1 - hit) ** gamma * entropy).sum(0)

    middle, reach = np.zeros(y.shape[1:]), 16.0
    for _ in range(4):
        steps = [middle + reach * step for step in np.linspace(-1, 1, 101)]
        at = np.argmin([cost(step) for step in steps], axis=0)
        middle = np.take_along_axis(np.array(steps), at[None], 0)[0]
        reach /= 50
    return 1 / (1 + np.exp(-middle))


def _focused_classes(y: np.ndarray, w: np.ndarray, options: Any) -> np.ndarray:
    """Of the categorical focal loss: equal slopes, in sum one (Lagrange)."""
    gamma = options["gamma"]
    share = np.maximum(weighted_mean(y, w), 0) * np.asarray(options["alpha"], float)

    def falls(p: np.ndarray) -> np.ndarray:
        rest = 1 - p
        inner = gamma * rest ** (gamma - 1) * np.log(p) if gamma else 0.0
        return share * (rest**gamma / p - inner)

    def at_slope(slope: np.ndarray) -> np.ndarray:
        low, high = np.full(share.shape, 1e-12), np.full(share.shape, 1 - 1e-12)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            steep = falls(middle) > slope
            low, high = np.where(steep, middle, low), np.where(steep, high, middle)
        return (low + high) / 2

    flat, steep = (np.full((*share.shape[:-1], 1), v) for v in (-60.0, 60.0))
    for _ in range(_HALVINGS):
        middle = (flat + steep) / 2
        too_much = at_slope(np.exp(middle)).sum(-1, keepdims=True) > 1
        flat, steep = (
            np.where(too_much, middle, flat),
            np.where(too_much, steep, middle),
        )
    found = at_slope(np.exp(steep))
    return found / found.sum(-1, keepdims=True)


def _overlapping(
    target: Target, y: np.ndarray, groups: np.ndarray
) -> np.ndarray | None:
    """Of Dice and Tversky over all values: ones where the targets are largest."""
    options = target.options
    if options.get("axis") is not None or groups.ndim != 1:
        distinct = len(np.unique(groups)) == groups.size
        return y if np.isin(y, (0, 1)).all() and distinct else None
    share = by_group(weighted_mean, y, np.ones((*y.shape[:-1], 1)), groups)
    alpha, beta = options.get("alpha", 0.5), options.get("beta", 0.5)
    order = np.argsort(-share, axis=None, kind="stable")
    hit = np.cumsum(share.ravel()[order])
    ones = np.arange(1, hit.size + 1)
    # Keras takes its `alpha` for what is missed.
    missed = alpha * (y.sum() - hit) + beta * (ones - hit)
    number = int(np.argmax(hit / (hit + missed + keras.config.epsilon()))) + 1
    best = np.zeros(y.size)
    best[order[:number]] = 1
    return best.reshape(y.shape)


_BEST: dict[str, Callable[..., np.ndarray]] = {
    "binary_crossentropy": _probability,
    "binary_focal_crossentropy": _focused,
    "categorical_crossentropy": _distribution,
    "categorical_focal_crossentropy": _focused_classes,
    "categorical_generalized_cross_entropy": _sharpened,
    "categorical_hinge": _one_class,
    "cosine_similarity": _direction,
    "dice": weighted_mean,
    "hinge": _margin,
    "huber": functools.partial(_flattest, _huber_slope),
    "kl_divergence": _distribution,
    "log_cosh": functools.partial(_flattest, _log_cosh_slope),
    "mean_absolute_error": _median,
    "mean_absolute_percentage_error": _relative_median,
    "mean_squared_error": weighted_mean,
    "mean_squared_logarithmic_error": _log_mean,
    "poisson": _rate,
    "sparse_categorical_crossentropy": _distribution,
    "squared_hinge": functools.partial(_flattest, _squared_hinge_slope),
    "tversky": weighted_mean,
}


def _as_logits(p: np.ndarray, facts: LossFacts) -> np.ndarray:
    logits = np.log(np.maximum(p, _SMALLEST))
    if "binary" not in facts.name:
        return logits
    return logits - np.log(np.maximum(1 - p, _SMALLEST))


def _of_rank(array: np.ndarray, rank: int) -> np.ndarray:
    """Axes of one value added or taken away at the end."""
    while array.ndim > rank and array.shape[-1] == 1:
        array = array[..., 0]
    return array.reshape(*array.shape, *[1] * (rank - array.ndim))


# ------------------------------------------------------------------ any other loss


def _searched(target: Target, groups: np.ndarray) -> float | None:
    """The smallest loss that Adam finds over free predictions."""
    _, inverse = np.unique(groups, return_inverse=True)
    shape = target.y_pred.shape
    rows = inverse.reshape(groups.shape)
    size = (inverse.max() + 1, *shape[groups.ndim :])
    name = target.activation if target.activation in _RESTRICTING else "linear"
    activation = keras.activations.get(name)
    y = keras.ops.convert_to_tensor(target.y, target.loss.dtype)

    def value(at: list[Any]) -> Any:
        y_pred = activation(keras.ops.take(at[0], rows, axis=0))
        if target.mask is not None:
            set_keras_mask(y_pred, keras.ops.convert_to_tensor(target.mask))
        return keras.ops.mean(target.loss(y, y_pred, target.weight))

    backend = load("autodiff")
    both = backend.compiled(lambda at: backend.value_and_gradients(value, at))
    return _descended(both, np.full(size, 0.5, "float32"), target.factor)


def _descended(both: Callable, z: np.ndarray, factor: float) -> float | None:
    mean, square, best = np.zeros_like(z), np.zeros_like(z), math.inf
    for step in range(_STEPS):
        found, (gradient,) = both([keras.ops.convert_to_tensor(z)])
        found = factor * float(keras.ops.convert_to_numpy(found))
        gradient = factor * keras.ops.convert_to_numpy(gradient)
        if not math.isfinite(found) or not np.isfinite(gradient).all():
            break
        best = min(best, found)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        up = mean / (1 - 0.9 ** (step + 1))
        down = np.sqrt(square / (1 - 0.99 ** (step + 1))) + 1e-12
        z = z - 0.3 * (1 - step / _STEPS) * up / down
    return best if math.isfinite(best) else None
