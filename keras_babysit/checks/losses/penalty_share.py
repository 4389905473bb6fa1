"""Weighs what is added to a model's loss against the loss on the data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_babysit.checks.losses import penalties
from keras_babysit.checks.losses.chance import guesses_of
from keras_babysit.checks.losses.parts import parts_of
from keras_babysit.checks.losses.penalties import Losses, Regularizer
from keras_babysit.document.progress_line import Progress
from keras_babysit.facts import ModelFacts
from keras_babysit.inspection.sample import Sample

#: So many times stronger, to see the loss rise.
FACTOR = 10.0
#: Samples that gradients are computed of.
_OF_GRADIENTS = 64


@dataclass(frozen=True)
class Penalty:
    """One penalty.

    Attributes:
        source: its regularizer; `None` of what is added by `add_loss`.
        where: path of the weight or the layer.
        value: the penalty.
        raised: the same at ten times the strength.
        own: whether it was raised by the regularizer's own strengths.
        of_others: penalty of random values instead; at ten times the strength.
        gradient: ratio of its gradient to that of the data; of all penalties of
            outputs together. NaN if not known.
    """

    source: Regularizer | None
    where: str
    value: float
    raised: float = math.nan
    own: bool = False
    of_others: tuple[float, float] = (math.nan, math.nan)
    gradient: float = math.nan

    @property
    def of_outputs(self) -> bool:
        """Whether it is that of a layer's outputs."""
        return self.source is not None and self.source.variable is None

    @property
    def idle(self) -> bool:
        """Whether it is a regularizer of strength 0."""
        strengths = self.source.strengths if self.source is not None else {}
        return bool(strengths) and not any(strengths.values())

    @property
    def rises(self) -> bool | None:
        """Whether it rises with the strength; `None` if that is not known."""
        if self.source is None or not self.own:
            return None
        at, raised = self.value, self.raised
        if at == 0:
            at, raised = self.of_others
        if self.idle or not at > 0:
            return None
        return raised > at * (1 + 1e-6)


@dataclass(frozen=True)
class Seen:
    """All that was measured.

    Attributes:
        penalties: each penalty.
        frozen: regularizers of weights that are not trained.
        data: the loss on the data.
        reference: the same, or the loss of an untrained output if that is larger.
        rise: by how much the model's loss rose, and by how much it should have.
        total: the model's loss meanwhile.
        gradient: ratio of the gradient of all penalties to that of the data.
        facts: of the model.
        own_loss: whether the model has no compiled loss.
    """

    penalties: tuple[Penalty, ...]
    frozen: tuple[Regularizer, ...]
    data: float
    reference: float
    rise: tuple[float, float]
    total: float
    gradient: float
    facts: ModelFacts
    own_loss: bool = False

    @property
    def regularizing(self) -> list[Penalty]:
        """The penalties of regularizers."""
        return [one for one in self.penalties if one.source is not None]

    @property
    def sum(self) -> float:
        """Sum of the penalties, without what is added by `add_loss`."""
        return sum(one.value for one in self.regularizing)

    @property
    def ratio(self) -> float:
        """How many times the loss on the data the penalties are."""
        return self.sum / self.reference if self.reference > 0 else math.nan


def weighed(model: Any, sample: Sample, facts: ModelFacts, progress: Progress) -> Seen:
    """Measures the penalties of a borrowed model without noise, and their effect."""
    weights, frozen = penalties.of_weights(model)
    outputs = penalties.of_outputs(model)
    batches = sample.batches()
    reference = _untrained(model, batches[0])
    measured = []
    for count, batch in enumerate(batches):
        progress(0.6 * count / len(batches), "computing the penalties")
        measured.append(penalties.losses_of(model, batch, outputs))
        if not (weights or outputs or measured[0].added):
            break
    data = _mean(measured, batches, lambda losses: losses.data)
    known = [_of_weight(one) for one in weights]
    known += _of_outputs(outputs, measured, batches)
    progress(0.6, "raising the strength")
    rise = _rise(model, batches[0], weights, outputs, known, measured[0])
    progress(0.7, "comparing the gradients")
    few = sample.first(_OF_GRADIENTS).batches()
    ratio, each = _gradient_ratios(model, few, weights, outputs)
    known = [replace(one, gradient=each.get(one.where, math.nan)) for one in known]
    added = (
        Penalty(None, path, _mean(measured, batches, _added_by(path)))
        for path in measured[0].added
    )
    return Seen(
        penalties=(*known, *added),
        frozen=tuple(frozen),
        data=data,
        reference=max(abs(data), reference),
        rise=rise,
        total=measured[0].total,
        gradient=ratio,
        facts=facts,
        own_loss=model._compile_loss is None,
    )


def _mean(measured: Sequence[Losses], batches: Sequence[Sample], of: Any) -> float:
    sizes = [batch.size for batch in batches[: len(measured)]]
    values = [of(losses) for losses in measured]
    return float(np.average(values, weights=sizes))


def _added_by(path: str) -> Any:
    return lambda losses: losses.added.get(path, 0.0)


def _of_weight(one: Regularizer) -> Penalty:
    stronger, own = one.times(FACTOR)
    value, raised = one.of(one.variable), one.of(one.variable, stronger)
    others = (math.nan, math.nan)
    if value == 0:  # As of a bias of zeros: told by other values.
        shape = tuple(one.variable.shape)
        values = np.random.default_rng(0).normal(size=shape)
        tensor = keras.ops.convert_to_tensor(values, dtype=one.variable.dtype)
        others = one.of(tensor), one.of(tensor, stronger)
    return Penalty(one, one.where, value, raised, own, others)


def _of_outputs(
    outputs: Sequence[Regularizer],
    measured: Sequence[Losses],
    batches: Sequence[Sample],
) -> Iterator[Penalty]:
    for place, one in enumerate(outputs):
        value = _mean(measured, batches, lambda x, place=place: x.outputs[place])
        yield Penalty(one, one.where, value, own=one.times(FACTOR)[1])


def _rise(
    model: Any,
    batch: Sample,
    weights: Sequence[Regularizer],
    outputs: Sequence[Regularizer],
    known: list[Penalty],
    before: Losses,
) -> tuple[float, float]:
    """Returns by how much a stronger regularization raises the loss, and should.

    Fills in by how much penalties of outputs rise.
    """
    if not weights and not outputs:
        return 0.0, 0.0
    with penalties.stronger_weights(weights, FACTOR):
        after = penalties.losses_of(model, batch, outputs, FACTOR)
    expected = sum(one.raised - one.value for one in known[: len(weights)])
    for place in range(len(outputs)):
        at = len(weights) + place
        first, stronger = before.outputs[place], after.outputs[place]
        rise = stronger - first
        # Of one batch; the penalty itself is of all.
        raised = known[at].value * stronger / first if first else stronger
        known[at] = replace(known[at], raised=raised)
        expected += rise
    return after.penalties - before.penalties, expected


def _untrained(model: Any, batch: Sample) -> float:
    """The loss of equal scores, as far as it is known."""
    y_pred = model(batch.tensors.x, training=True)
    total = 0.0
    for part in parts_of(model, batch, y_pred, training=True):
        known = guesses_of(part, None)
        if known is not None:
            total += abs(part.factor * known.untrained)
    return total if math.isfinite(total) else 0.0


def _gradient_ratios(
    model: Any,
    batches: Sequence[Sample],
    weights: Sequence[Regularizer],
    outputs: Sequence[Regularizer],
) -> tuple[float, dict[str, float]]:
    """Returns the ratio for all penalties, and for each weight and output."""
    variables = model.trainable_variables
    if not variables or not (weights or outputs):
        return math.nan, {}
    data = penalties.gradients_of_data(model, batches)
    zeros = [np.zeros(v.shape) for v in variables]
    of_weights = penalties.gradients_of_weights(model, weights) if weights else zeros
    of_outputs = zeros
    each = {}
    if outputs:
        of_outputs = penalties.gradients_of_outputs(model, batches, outputs)
        shared = _ratio(of_outputs, data)
        each = {one.where: shared for one in outputs}
    place = {id(v): i for i, v in enumerate(variables)}
    for one in weights:
        at = place[id(one.variable)]
        each[one.where] = _ratio([of_weights[at]], [data[at]])
    together = [a + b for a, b in zip(of_weights, of_outputs, strict=True)]
    return _ratio(together, data), each


def _ratio(above: Sequence[np.ndarray], below: Sequence[np.ndarray]) -> float:
    """Ratio of norms, of the variables that the numerator depends on."""
    pairs = [(a, b) for a, b in zip(above, below, strict=True) if a.any()]
    top = math.sqrt(sum(float((a**2).sum()) for a, _ in pairs))
    bottom = math.sqrt(sum(float((b**2).sum()) for _, b in pairs))
    return top / bottom if bottom > 0 else (math.inf if top > 0 else 0.0)
