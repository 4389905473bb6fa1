"""What one loss of a model gives for guesses: its own loss function, asked.

A fresh network guesses: its scores (the values that its last activation is applied to)
are random numbers of about unit size, or zero. What the loss makes of such numbers is
what it should give before training. Asked of the loss itself this holds for any loss,
weights, masks and targets; the tests compare it with closed forms.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from keras_babysit.checks.losses import loss_kinds
from keras_babysit.checks.losses.loss_floor import Target, best_prediction
from keras_babysit.checks.losses.parts import Part, has_logits, like, numpy_of
from keras_babysit.facts import LossFacts

#: Probabilities this close to 0 or 1 are where Keras clips them.
_EPSILON = 1e-7
#: Functions whose values cannot get any larger.
_BOUNDED = ("sigmoid", "softmax", "tanh", "hard_sigmoid", "softsign", "unit")
#: Targets of this root mean square or more are as large as outputs can start.
_SMALLEST = 0.01


@dataclass(frozen=True)
class Guesses:
    """One loss of a model and the function behind which its scores are.

    Attributes:
        part: the loss with its targets and the model's prediction.
        link: name of the function that makes predictions of scores.
    """

    part: Part
    link: str

    @functools.cached_property
    def facts(self) -> LossFacts:
        """What is known of the loss."""
        return self.part.facts

    @property
    def kind(self) -> str | None:
        """What the loss compares, see `loss_kinds.KINDS`; `None` for a custom one."""
        return loss_kinds.KINDS.get(self.facts.name) if self.facts.standard else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the prediction, samples first."""
        return tuple(self.part.y_pred.shape)

    @property
    def classes(self) -> int:
        """Size of the prediction's last axis."""
        return self.shape[-1] if len(self.shape) > 1 else 1

    def loss_at(self, scores: np.ndarray) -> float:
        """Returns the loss of the prediction that scores make."""
        scores = np.broadcast_to(np.asarray(scores, np.float32), self.shape)
        tensor = keras.ops.convert_to_tensor(scores)
        if self.link == "unit":
            values = keras.ops.normalize(tensor, axis=-1)
        else:
            values = keras.activations.get(self.link)(tensor)
        made = like(numpy_of(values), scores, self.part.y_pred)
        return self.part.value_of(made)

    @functools.cached_property
    def untrained(self) -> float:
        """The loss of scores of zero."""
        return self.loss_at(np.zeros(self.shape))

    @functools.cached_property
    def constant(self) -> float | None:
        """The loss of the best constant scores; `None` if they are not known."""
        scores = self._constant_scores
        return None if scores is None else self.loss_at(scores)

    @functools.cached_property
    def lowest(self) -> float | None:
        """The loss of the best scores there are; `None` if they are not known."""
        scores = self._best_scores
        return None if scores is None else self.loss_at(scores)

    @functools.cached_property
    def largest(self) -> float:
        """The largest loss that a fresh output may have all by itself; 0 if unknown.

        Of bounded losses it is the largest there is: no value of theirs says that
        scores are too large.
        """
        if self.kind in ("directions", "overlap") and self._best_scores is not None:
            return self.loss_at(-self._best_scores)
        if self.kind == "embeddings":
            return self._largest_of_embeddings()
        return 0.0

    def _largest_of_embeddings(self) -> float:
        """Of unit length: distances of up to 2, see `keras.losses.circle`."""
        labels = numpy_of(self.part.y).ravel()
        gamma, margin = (vars(self.part.loss).get(k) for k in ("gamma", "margin"))
        if gamma is None or margin is None:
            gamma, margin = 80.0, 0.4
        each = _untrained_circle(labels, gamma, margin)
        highest = gamma * (5 - 2 * margin**2) + 2 * np.log(len(labels))
        return float(self.untrained / each * highest) if each > 0 else 0.0

    def spread(self, size: float) -> tuple[float, float]:
        """Returns the lowest and the highest loss of random scores.

        Args:
            size: their root mean square; 1 is what the usual initializers give for
                inputs of unit size, or the targets' own where those are larger.
        """
        found = [self.loss_at(scores) for scores in self._random(size * self.unit)]
        known = [value for value in found if np.isfinite(value)]
        return min(known, default=np.nan), max(known, default=np.nan)

    @functools.cached_property
    def unit(self) -> float:
        """The size that scores may well have: 1, or that of the targets."""
        if self.link in _BOUNDED or self.kind not in ("numbers", None):
            return 1.0
        size = self.target_size
        if self.kind is None:
            return max(1.0, size) if self._are_numbers else 1.0
        return size if size > 1 else min(1.0, max(size, 1e-30) / _SMALLEST)

    @functools.cached_property
    def target_size(self) -> float:
        """Root mean square of the targets."""
        y = numpy_of(self.part.y).astype(float)
        return float(np.sqrt(np.mean(y**2))) if y.size else 0.0

    @property
    def _are_numbers(self) -> bool:
        y = numpy_of(self.part.y)
        return bool((y != np.round(y)).any())  # Else they may be labels.

    def _random(self, size: float) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        each = rng.normal(size=self.shape).astype(np.float32)
        # A fresh network may well say nearly the same to all inputs.
        same = rng.normal(size=(1,) * (len(self.shape) - 1) + (self.shape[-1],))
        same /= np.sqrt(np.mean(same**2))
        if len(self.shape) == 1:
            same = np.ones(1)
        known = self._constant_scores
        for base in (0.0,) if known is None else (0.0, known):
            for noise in (each, same, -same):
                yield base + size * noise

    @functools.cached_property
    def _best_scores(self) -> np.ndarray | None:
        """The scores with the lowest loss, of the prediction's shape."""
        target = self._target()
        if target is None:
            return None
        if self.kind in ("classes", "binary") and not self.facts.label_smoothing:
            rows = self._hard_rows(target.y)
            # What `best_prediction` would find as well, and take longer.
            if rows is not None:
                return inverse(self._probable_link, rows)
        return self._scores(target, np.arange(self.shape[0]))

    @property
    def _probable_link(self) -> str:
        if self.link != "linear":
            return self.link
        return "sigmoid" if self.kind == "binary" else "softmax"

    def _hard_rows(self, y: np.ndarray) -> np.ndarray | None:
        """Targets as rows of 0 and 1; `None` if they are soft, or out of range."""
        if self.facts.name in loss_kinds.SPARSE:
            if y.size * self.classes != int(np.prod(self.shape)):
                return None
            labels = y.reshape(self.shape[:-1])
            return (labels[..., None] == np.arange(self.classes)).astype(float)
        if y.size != int(np.prod(self.shape)) or not np.isin(y, (0, 1)).all():
            return None
        return y.reshape(self.shape)

    @functools.cached_property
    def _constant_scores(self) -> np.ndarray | None:
        """The best constant scores, of shape `(units,)`."""
        target = self._target(flat=True)
        if target is None:
            return None
        scores = self._scores(target, np.zeros(len(target.y_pred), int))
        return None if scores is None else scores[0]

    def _target(self, flat: bool = False) -> Target | None:
        """The loss for `best_prediction`; flat: every position a sample of its own."""
        part, shape = self.part, self.shape
        if self.kind is None or len(shape) < 2:
            return None
        target = part.target()
        if not flat or len(shape) == 2:
            return target
        y_size = target.y.size
        rows = int(np.prod(shape[:-1]))
        if y_size not in (rows, rows * shape[-1]):
            return None
        return dataclasses.replace(
            target,
            y=target.y.reshape(rows, -1),
            y_pred=target.y_pred.reshape(rows, -1),
            weight=target.weights.reshape(rows),
            mask=None,
        )

    def _scores(self, target: Target, groups: np.ndarray) -> np.ndarray | None:
        best = best_prediction(target, groups)
        if best is None:
            return None
        if self.facts.from_logits:
            return best if self.link == "linear" else None
        return inverse(self.link, best)


def _untrained_circle(labels: np.ndarray, gamma: float, margin: float) -> float:
    """Every pair at a distance of 1, or 0: positive and negative weights swap."""
    same = labels.reshape(-1, 1) == labels.reshape(1, -1)
    positive, negative = same.sum(1) - 1, (~same).sum(1)
    known = (positive > 0) & (negative > 0)  # The others are masked.
    if not known.any():
        return 0.0
    pairs = np.log(positive[known]) + np.log(negative[known])
    return float(np.logaddexp(0, pairs + gamma * (1 - 2 * margin**2)).mean())


def inverse(link: str, values: np.ndarray) -> np.ndarray | None:
    """Returns the scores that a function makes values of; `None` if not known."""
    if link in ("linear", "unit"):
        return values
    if link == "relu":
        return np.maximum(values, 0)
    if link in ("softmax", "exponential"):
        return np.log(np.maximum(values, _EPSILON))
    if link == "sigmoid":
        p = np.clip(values, _EPSILON, 1 - _EPSILON)
        return np.log(p) - np.log1p(-p)
    if link == "tanh":
        return np.arctanh(np.clip(values, -1 + _EPSILON, 1 - _EPSILON))
    if link == "softplus":
        positive = np.maximum(values, _EPSILON)
        return positive + np.log(-np.expm1(-positive))
    return None


def guesses_of(part: Part, activation: str | None) -> Guesses | None:
    """Returns the guesses of a part.

    Args:
        part: the part.
        activation: the output's last activation function; `None` if not known.

    Returns:
        `None` if nothing tells what the loss wants: a custom loss behind an output
        whose activation is not known.
    """
    if not all(hasattr(thing, "shape") for thing in (part.y, part.y_pred)):
        return None
    facts = part.facts
    known = activation if hasattr(keras.activations, activation or "") else None
    known = known or _seen_activation(part)
    if facts.standard and facts.name in loss_kinds.KINDS:
        logits = bool(facts.from_logits)
        return Guesses(part, loss_kinds.link_of(facts.name, known, logits))
    return Guesses(part, known) if known is not None else None


def _seen_activation(part: Part) -> str | None:
    """The activation by what an output holds, where no graph tells it."""
    values = numpy_of(part.y_pred)
    if not values.size or not np.isfinite(values).all():
        return None
    within = values.min() >= 0 and values.max() <= 1
    sums = values.sum(-1) if values.ndim > 1 and values.shape[-1] > 1 else 0.0
    if within and np.allclose(sums, 1, atol=1e-3):
        return "softmax"
    return "sigmoid" if has_logits(part.y_pred) and within else None
