"""One output's loss before any update, and the numbers by which it is judged."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_babysit.checks.losses import loss_kinds
from keras_babysit.checks.losses.chance import Guesses, guesses_of
from keras_babysit.checks.losses.parts import Part, has_logits, numpy_of
from keras_babysit.facts import ModelFacts, OutputFacts
from keras_babysit.inspection.sample import Sample
from keras_babysit.rules.evidence.phrases import number


@dataclass(frozen=True)
class OutputLoss:
    """One output's loss.

    Attributes:
        part: the loss with its targets, and the prediction in training.
        output: facts of the output; `None` if no graph tells them.
        later: the prediction with `training=False`; `None` if not known.
        model: facts of the model.
        sample: the samples.
        limit: root mean square of random scores whose loss is accepted.
        far: the same, above which the loss is surely too large.
    """

    part: Part
    output: OutputFacts | None
    later: Any
    model: ModelFacts
    sample: Sample
    limit: float
    far: float

    @functools.cached_property
    def guesses(self) -> Guesses | None:
        """What the loss gives for guesses; `None` if that is not known."""
        activation = self.output.activation if self.output is not None else None
        return guesses_of(self.part, activation)

    @functools.cached_property
    def known(self) -> Guesses:
        """The same where it is known."""
        assert self.guesses is not None
        return self.guesses

    @functools.cached_property
    def measured(self) -> float:
        """The loss as `fit` would compute it."""
        return self.part.value_of(self.part.y_pred)

    @functools.cached_property
    def in_use(self) -> float:
        """The loss with `training=False`."""
        if self.later is None:
            return self.measured
        return self.part.value_of(self.later)

    @functools.cached_property
    def accepted(self) -> float:
        """The largest loss that is accepted."""
        known = self.known
        return max(known.spread(self.limit)[1], known.untrained, known.largest)

    @functools.cached_property
    def prediction(self) -> np.ndarray:
        """The prediction in training."""
        return numpy_of(self.part.y_pred).astype(float)

    @functools.cached_property
    def target(self) -> np.ndarray:
        """The targets."""
        return numpy_of(self.part.y).astype(float)

    @functools.cached_property
    def ratio(self) -> float:
        """How many times chance the loss is; NaN where zero is not its end."""
        lowest = self.known.lowest
        zero = lowest is not None and abs(lowest) <= 0.01 * abs(self.known.untrained)
        return self.measured / self.known.untrained if zero else math.nan

    @property
    def name(self) -> str:
        """The output's name."""
        if self.output is not None and self.output.name:
            return self.output.name
        return self.part.name

    def numbers(self) -> dict[str, float]:
        """What was measured, and what is expected."""
        found = {"loss": self.measured}
        if not math.isclose(self.in_use, self.measured, rel_tol=1e-4):
            found["loss_in_use"] = self.in_use
        if self.guesses is None or not math.isfinite(self.measured):
            return found
        found |= {"chance": self.known.untrained, "accepted": self.accepted}
        if self.known.constant is not None:
            found["constant"] = self.known.constant
        if math.isfinite(self.ratio):
            found["ratio"] = self.ratio
        return found

    def chance_text(self) -> str:
        """Chance as text: `2.3 (log 10)`."""
        known, name = self.known, self.part.facts.name
        formula = loss_kinds.formula(name, known.classes) if known.kind else ""
        weighted = self.part.sample_weight is not None
        what = f" ({formula})" if formula and not weighted else ""
        return f"{number(known.untrained)}{what}"

    def times_text(self) -> str:
        """Measured against chance, as text."""
        if not math.isfinite(self.ratio):
            return f"chance gives {self.chance_text()}"
        return f"{number(self.ratio)} times chance, which is {self.chance_text()}"

    def are_tiny(self) -> bool:
        """Whether it is the targets that are small, not the outputs that are large."""
        if self.known.kind != "numbers" or not 0 < self.known.unit < 1:
            return False
        return float(np.sqrt(np.mean(self.prediction**2))) < self.limit

    def needs_probabilities(self) -> bool:
        """Whether the loss takes probabilities, and the outputs are none."""
        if self.known.kind not in ("classes", "binary", "overlap"):
            return False
        if self.part.facts.from_logits or has_logits(self.part.y_pred):
            return False
        p = self.prediction
        return bool(p.min() < -1e-3 or p.max() > 1 + 1e-3)

    def divides_by_zero(self) -> bool:
        """Whether it is the targets near zero that make a percentage so large."""
        if self.part.facts.name != "mean_absolute_percentage_error":
            return False
        large = self.measured > 10 * self.known.untrained
        return large and bool(nearly_zero(self.target).any())

    def starts_there(self) -> bool:
        """Whether the loss is nearer to that of the best constant than to chance's."""
        best, chance_loss = self.known.constant, self.known.untrained
        if best is None or not best < 0.9 * chance_loss:
            return False
        return self.measured < best + 0.5 * (chance_loss - best)

    def is_fresh(self) -> bool | None:
        """Whether all weights are as initialized; `None` if that is not known."""
        weights = [w for layer in self.model.layers for w in layer.weights]
        known = [w.as_initialized for w in weights if w.trainable or w.fan_in]
        if any(each is False for each in known):
            return False
        return True if known and all(known) else None

    def distinct_classes(self) -> int:
        """Number of classes among the targets."""
        y = self.target
        if self.part.facts.name not in loss_kinds.SPARSE:
            y = y.argmax(-1)
        return len(np.unique(y))

    def accuracy(self) -> float:
        """Share of hits; NaN if the targets are no classes."""
        y, p = self.target, self.prediction
        if self.known.kind == "classes":
            labels = y if self.part.facts.name in loss_kinds.SPARSE else y.argmax(-1)
            return float((p.argmax(-1).ravel() == labels.ravel()).mean())
        if self.known.kind == "binary" and y.size == p.size:
            middle = 0.0 if self.part.facts.from_logits else 0.5
            return float(((p.ravel() > middle) == (y.ravel() > 0.5)).mean())
        return math.nan


def nearly_zero(y: np.ndarray) -> np.ndarray:
    """Which values are nearly zero, compared with the others."""
    size = np.abs(y)
    return size < 1e-3 * max(float(np.median(size)), float(size.mean()))
