"""What was recorded, as frozen values: plain floats and NumPy arrays.

A record is made once, from one observed step or one epoch, and handed to the
history and the sinks. It knows nothing of Keras, TensorFlow or TensorBoard.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_babysit.document.values import plain


def scalars(logs: Mapping[str, Any]) -> dict[str, float]:
    """Returns those of Keras's logs that are numbers.

    A metric can have several values, such as `F1Score`, one for each class.
    """
    return {name: float(v) for name, v in logs.items() if np.ndim(v) == 0}


@dataclass(frozen=True)
class TensorStats:
    """Summary of one tensor.

    Attributes:
        size: number of elements.
        nan: number of NaN elements.
        inf: number of infinite elements.
        norm: L2 norm; not finite if an element is not.
        min: smallest finite element (NaN if there is none), like the next three.
        max: largest finite element.
        mean: mean of the finite elements.
        std: population standard deviation of the finite elements.
    """

    size: float
    nan: float
    inf: float
    norm: float
    min: float
    max: float
    mean: float
    std: float


TENSOR_STATS = tuple(f.name for f in dataclasses.fields(TensorStats))


@dataclass(frozen=True)
class Histogram:
    """Counts over equally wide bins between the smallest and largest value.

    Attributes:
        left: left edge of the first bin.
        right: right edge of the last bin.
        counts: float array of shape `(bins,)`.
        sampled_from: size of the tensor of which the counts are a sample, or
            `None` if every finite element was counted.
    """

    left: float
    right: float
    counts: np.ndarray
    sampled_from: int | None = None


@dataclass(frozen=True)
class VariableStats:
    """One trainable variable in one observed step.

    Attributes:
        path: the variable's Keras path, for example `"dense/kernel"`.
        weight: the variable before the update.
        update: what the step added to it: weights after minus weights before.
        gradient: its gradient, unscaled, before clipping. `None` if it had none.
        update_ratio: `update.norm / weight.norm`; NaN where the weight is zero.
        gradient_histogram: histogram of the gradient.
    """

    path: str
    weight: TensorStats | None = None
    update: TensorStats | None = None
    gradient: TensorStats | None = None
    update_ratio: float | None = None
    gradient_histogram: Histogram | None = None


@dataclass(frozen=True)
class LayerStats:
    """The output of one layer in one observed step.

    Attributes:
        path: the layer's path or name; a layer called again in the same step has
            `"@2"`, `"@3"` behind it.
        activation: statistics of the output.
        zero_fraction: share of elements that are exactly zero.
        saturation_fraction: share of elements close to an asymptote of the
            layer's activation function; `None` if it has none.
        dead_fraction: share of units that were zero for every sample seen in the
            window of `dead_window` observed steps; `None` unless the activation
            is a ReLU.
        dead_window: number of observed steps that `dead_fraction` covers.
        histogram: histogram of the output.
    """

    path: str
    activation: TensorStats | None = None
    zero_fraction: float | None = None
    saturation_fraction: float | None = None
    dead_fraction: float | None = None
    dead_window: int | None = None
    histogram: Histogram | None = None


@dataclass(frozen=True)
class LossTensor:
    """Something that a loss gets or gives back, in one observed step.

    Attributes:
        shape: as far as it is known before the step runs.
        size: number of elements.
        samples: size of the first axis.
        min: smallest element; NaN if one is, like the next three.
        max: largest element.
        mean: mean of all elements.
        std: their standard deviation.
        outside: share of elements that are not within 0 to 1.
        whole: share of elements that are whole numbers.
        positive: share of elements above zero.
        spread: how much samples differ: the standard deviation over samples, as a mean
            over the elements of a sample.
        unit_sums: share of sums over the last axis that are one, of those over the
            second axis, and of those over the axes between; NaN for an axis of size
            one.
        classes: float array: how often each unit of the last axis was the largest, or,
            of labels and where it has one unit, how often a value was 0, 1, 2, ... when
            rounded; the last place is for all others.
    """

    shape: tuple[int | None, ...]
    size: float
    samples: float
    min: float
    max: float
    mean: float
    std: float
    outside: float
    whole: float
    positive: float
    spread: float
    unit_sums: tuple[float, ...]
    classes: np.ndarray


@dataclass(frozen=True)
class LossInputs:
    """One call of a loss in one observed step.

    Attributes:
        path: the name of the loss; a loss that is called again in the same step has
            `"@2"`, `"@3"` behind it.
        loss: the name of the loss.
        takes: `"probabilities"` or `"logits"` if it is a cross-entropy of Keras's.
        cross_entropy: its name, if it is one.
        layer: path of the layer whose output it gets, if it is one's.
        expanded: whether targets `(n,)` were broadcast against outputs `(n, 1)`.
        single: whether it gives one value for the whole batch, before any weights.
        targets: what is to be predicted.
        outputs: what is predicted.
        weights: of the samples.
        values: the losses before they are averaged.
    """

    path: str
    loss: str
    takes: str = ""
    cross_entropy: str = ""
    layer: str = ""
    expanded: bool = False
    single: bool = False
    targets: LossTensor | None = None
    outputs: LossTensor | None = None
    weights: LossTensor | None = None
    values: LossTensor | None = None


#: What a call of a loss has, by the names of its fields.
LOSS_ROLES = ("targets", "outputs", "weights", "values")


@dataclass(frozen=True)
class StepRecord:
    """One observed training step.

    Attributes:
        step: optimizer updates since the start of the run, 0-based.
        epoch: position as a float: 2.5 is half-way through the third epoch.
        loss: loss of this batch, or `None` if the step does not track one.
        learning_rate: the rate that this step used.
        gradient_norm: global L2 norm over all gradients.
        variables: a `VariableStats` for each variable that was updated, in the
            order of the model's `trainable_variables`.
        layers: a `LayerStats` for each layer output, in the order of the calls.
        losses: a `LossInputs` for each call of a loss, in the order of the calls.
        confusions: path of a loss to how often each class was predicted for each, as in
            `ValidationRecord`.
        frozen: path of each variable that the step changed although the model says
            that it is not trainable, to its update ratio.
        weights_unread: whether the step is given weights of its samples, and nothing
            in it depends on them.
    """

    step: int
    epoch: float
    loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    variables: tuple[VariableStats, ...] = ()
    layers: tuple[LayerStats, ...] = ()
    losses: tuple[LossInputs, ...] = ()
    confusions: Mapping[str, np.ndarray] = field(default_factory=dict)
    frozen: Mapping[str, float] = field(default_factory=dict)
    weights_unread: bool = False


@dataclass(frozen=True)
class ValidationRecord:
    """The first batches of one observed validation.

    Attributes:
        step: optimizer updates so far.
        epoch: number of finished epochs.
        loss: mean of the batches' losses, or `None` if the step does not track one.
        losses: a `LossInputs` for each call of a loss, of all these batches.
        training: the same of the training batch that was observed last, evaluated like
            the validation data: without dropout, with BatchNormalization's averages.
        confusions: path of a loss to how often each class was predicted for each: float
            array of shape `(classes, classes)`, a row for each true class.
    """

    step: int
    epoch: float
    loss: float | None = None
    losses: tuple[LossInputs, ...] = ()
    training: tuple[LossInputs, ...] = ()
    confusions: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """A picture: `pixels` is uint8 of shape `(height, width, 3)`."""

    tag: str
    pixels: np.ndarray
    description: str = ""


@dataclass(frozen=True)
class EpochRecord:
    """The end of one epoch (or, with `epoch=0` and no logs, the start of the run).

    Attributes:
        epoch: number of finished epochs.
        step: optimizer updates so far.
        logs: Keras's epoch logs, `val_` names included.
        loss_mean: mean of the losses of this epoch's observed batches.
        loss_std: their standard deviation: how noisy the batch loss is.
        loss_count: how many batches that were.
        weight_histograms: variable path to histogram.
        images: pictures, for example of the first layer's weights.
        first_layer_smoothness: layer to the neighbour correlation of its filters on
            images: about 0 for noise, 1 for smooth ones.
        notes: variable or layer to a sentence that says what could not be drawn.
    """

    epoch: int
    step: int
    logs: dict[str, float] = field(default_factory=dict)
    loss_mean: float | None = None
    loss_std: float | None = None
    loss_count: int = 0
    weight_histograms: dict[str, Histogram] = field(default_factory=dict)
    images: tuple[Image, ...] = ()
    first_layer_smoothness: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ObservationCost:
    """What observing decided and what it cost; see `Babysitter.observation`.

    Attributes:
        steps: training steps so far.
        observed: how many of them were observed; `full` of them with `looked_at`, the
            others only with updates, loss and rate.
        plain_seconds: median duration of a step that was not observed.
        observed_seconds: median duration of a fully observed step.
        extra_seconds: time that watching added so far, but for what comes once.
        overhead: `extra_seconds` as a share of the training time without them.
        build_seconds: time that came once: for looking at the model and the data, and
            for building what measures.
        every: distance between fully observed steps in force now, in steps.
        full: see `observed`.
        looked_at: what full observations look at, in words, as the probes ask.
        unobserved: sentences that say what is not observed, or not as it was in the
            step, and why.
    """

    steps: int
    observed: int
    plain_seconds: float
    observed_seconds: float
    extra_seconds: float
    overhead: float
    build_seconds: float
    every: int
    full: int = 0
    unobserved: tuple[str, ...] = ()
    looked_at: str = "gradients and activations"

    @property
    def total_seconds(self) -> float:
        """What watching has added to this run, all in all."""
        return self.extra_seconds + self.build_seconds


#: What is recorded of a run, in the order of the time.
Record = StepRecord | EpochRecord | ValidationRecord | ObservationCost


@dataclass(frozen=True)
class Fix:
    """A change that can be tried out mechanically; `rules/fixes.py` makes them.

    Attributes:
        kind: what it changes, `"learning_rate"`.
        where: paths of the layers, or names of the arrays, that it changes; empty if it
            changes something that there is one of.
        settings: what it changes them to, as pairs of name and value.
    """

    kind: str
    where: tuple[str, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()

    def __getitem__(self, name: str) -> Any:
        """Returns a setting; `None` if it leaves that as it is."""
        return dict(self.settings).get(name)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fix:
        """Returns the fix that `plain` was called on."""
        settings = tuple((name, value) for name, value in values["settings"])
        return cls(values["kind"], tuple(values["where"]), settings)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or likely to be, with what to do about it.

    Attributes:
        rule: name of the rule that found it, `"dead-relu"`.
        severity: `"error"` training cannot work, `"warning"` it probably hurts,
            `"info"` worth knowing.
        where: layer, variable, input or output it is about; `""` for all of it.
        step: optimizer updates when it was last seen.
        epoch: position as a float when it was last seen.
        since_step: since when, in updates.
        since_epoch: since when, in epochs.
        seen: what was seen, with its numbers.
        cause: the likely cause.
        action: the one thing to try first.
        alternatives: what to try after that.
        evidence: the numbers, by name.
        because: rule that explains it, if one does: then it is not reported by itself.
        healed: whether it is over.
        healed_step: when it was found to be over.
        healed_epoch: likewise.
        fixes: what `try_fixes` can try, the first one first.
        tried: what came of it, a sentence; empty if nothing was tried.

    Example:
    ```python
    for finding in babysitter.report.findings:
        print(finding.severity, finding.rule, finding.action)
    ```
    """

    rule: str
    severity: str
    where: str
    step: int
    epoch: float
    since_step: int
    since_epoch: float
    seen: str
    cause: str
    action: str
    alternatives: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    because: str = ""
    healed: bool = False
    healed_step: int | None = None
    healed_epoch: float | None = None
    fixes: tuple[Fix, ...] = ()
    tried: str = ""

    def __str__(self) -> str:
        """In one sentence or two: where, what, why, and what to try."""
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.seen}. {self.cause}: {self.action}."

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain values that JSON can hold."""
        return plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        """Returns the finding that `to_dict` was called on; ignores other keys."""
        known = {f.name for f in dataclasses.fields(cls)}
        fields = {k: v for k, v in values.items() if k in known}
        fields["alternatives"] = tuple(fields.get("alternatives", ()))
        fields["fixes"] = tuple(map(Fix.from_dict, fields.get("fixes", ())))
        return cls(**fields)
