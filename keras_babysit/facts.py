"""What is known of a model and its data before training, as frozen values.

`inspection` makes these from a Keras model and from what `fit` feeds it; rules read
them. They hold plain Python values and NumPy arrays, nothing of Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class WeightFacts:
    """One weight of a layer before the first step.

    Attributes:
        path: the variable's Keras path.
        role: its name in the layer, for example `"kernel"`, `"bias"`, `"gamma"`.
        shape: its shape.
        trainable: whether it is trained (its layer's `trainable` included).
        mean: mean of its values.
        std: their population standard deviation.
        min: smallest value.
        max: largest value.
        fan_in: inputs to one unit; `None` if the notion makes no sense.
        fan_out: outputs that one input reaches; `None` likewise.
        initializer: class name of the layer's initializer for it, if known.
        as_initialized: whether the values still look drawn from that initializer;
            `None` if that is not known.
    """

    path: str
    role: str
    shape: tuple[int, ...]
    trainable: bool
    mean: float
    std: float
    min: float
    max: float
    fan_in: int | None = None
    fan_out: int | None = None
    initializer: str | None = None
    as_initialized: bool | None = None


@dataclass(frozen=True)
class LayerFacts:
    """One layer of a model, nested models flattened.

    Attributes:
        path: the layer's Keras path (its name where it has none).
        kind: name of the Keras class it is, or derives from: `"Dense"`, `"Conv2D"`,
            `"BatchNormalization"`, ...; its own class name for a custom layer.
        activation: name of the function whose values it puts out; `None` if it has
            none or it is linear. A softmax over the samples of a batch is
            `"batch_softmax"`.
        units: size of its output's channel axis, if known.
        output_shape: shape of its output, batch axis left out, if known.
        inputs: paths of the layers that feed it; `None` if the graph is not known.
        takes: how many tensors feed a call of it.
        trainable: whether it is trained.
        rate: of a dropout or noise layer, and `dropout` of a recurrent one.
        regularizers: what is regularized to the strength, `"kernel l2": 0.01`.
        weights: its own weights.
        scaling: factor and offset of a Rescaling layer, if they are plain numbers.
        masks: whether it makes a mask: Masking, `Embedding(mask_zero=True)`.
    """

    path: str
    kind: str
    activation: str | None = None
    units: int | None = None
    output_shape: tuple[int | None, ...] | None = None
    inputs: tuple[str, ...] | None = None
    takes: int = 1
    trainable: bool = True
    rate: float | None = None
    regularizers: Mapping[str, float] = field(default_factory=dict)
    weights: tuple[WeightFacts, ...] = ()
    scaling: tuple[float, float] | None = None
    masks: bool = False


@dataclass(frozen=True)
class LossFacts:
    """The loss of one output.

    Attributes:
        name: in snake case, aliases resolved: `"sparse_categorical_crossentropy"`,
            `"mean_squared_error"`; the function's or class's name if custom.
        standard: whether it is one of Keras's own.
        from_logits: as configured; `None` where the loss has no such option.
        label_smoothing: as configured, 0 where there is none.
        ignore_class: the label that it passes over, if there is one.
    """

    name: str
    standard: bool = True
    from_logits: bool | None = None
    label_smoothing: float = 0.0
    ignore_class: int | None = None


@dataclass(frozen=True)
class OutputFacts:
    """One output of a model.

    Attributes:
        name: the output's name, as losses are given by; `""` if there is only one.
        layer: path of the layer that makes it; `None` if that is not known.
        activation: name of the last function applied, through layers that only move
            values about (Flatten, Reshape, Dropout); `"linear"` if there is none,
            `None` if that is not known.
        units: size of its last axis.
        shape: its shape, batch axis left out.
        loss: its loss, if it has one.
        loss_weight: weight of that loss.
        metrics: names of its metrics, in snake case, as configured (`"accuracy"`
            stays `"accuracy"`). An object of the class `keras.metrics.Accuracy`,
            which asks that predictions equal the labels, is `"exact_accuracy"`.
        reads_logits: whether the loss takes the logits behind the softmax or sigmoid
            in place of its values. Keras's cross-entropies do so on TensorFlow where
            that function is the very last operation.
    """

    name: str
    layer: str | None = None
    activation: str | None = None
    units: int | None = None
    shape: tuple[int | None, ...] | None = None
    loss: LossFacts | None = None
    loss_weight: float = 1.0
    metrics: tuple[str, ...] = ()
    reads_logits: bool = False


@dataclass(frozen=True)
class OptimizerFacts:
    """The optimizer as compiled.

    Attributes:
        name: class name, `"Adam"`, `"SGD"`.
        learning_rate: rate at the first step.
        scheduled: whether a schedule sets the rate.
        momentum: its momentum, 0 where it has none.
        weight_decay: its weight decay, 0 where it has none.
        clips: whether it clips gradients.
        accumulates: of so many batches the gradients make one update.
        unknown: paths of trainable weights that were none when it was built.
        frozen: paths of weights that are not trainable, but were when it was built.
    """

    name: str
    learning_rate: float
    scheduled: bool = False
    momentum: float = 0.0
    weight_decay: float = 0.0
    clips: bool = False
    accumulates: int = 1
    unknown: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFacts:
    """A compiled model before the first step.

    Attributes:
        name: its name.
        layers: its layers, nested models flattened, in order.
        outputs: its outputs.
        optimizer: its optimizer, if it has one.
        parameters: number of weights, trainable ones included.
        trainable_parameters: number of trainable weights.
        inputs: paths of its inputs in their order, if its graph is known.
        regularization_loss: sum of the weights' penalties before the first step.
        graph_known: whether `LayerFacts.inputs` and the outputs' layers are known
            (Sequential and functional models).
        custom_train_step: whether the model trains by a `train_step` of its own.
    """

    name: str
    layers: tuple[LayerFacts, ...] = ()
    outputs: tuple[OutputFacts, ...] = ()
    optimizer: OptimizerFacts | None = None
    parameters: int = 0
    trainable_parameters: int = 0
    inputs: tuple[str, ...] = ()
    regularization_loss: float = 0.0
    graph_known: bool = False
    custom_train_step: bool = False


@dataclass(frozen=True)
class ArrayFacts:
    """A sample of one array that `fit` is fed with.

    Attributes:
        name: `"x"`, `"x['tokens']"`, `"y"`, ...
        shape: shape of one sample, the batch axis left out.
        dtype: its dtype's name; `"string"` for text.
        seen: how many samples these facts are of.
        nan: number of NaN elements among them.
        inf: number of infinite elements.
        min: smallest finite element, like the next three; NaN if there is none.
        max: largest finite element.
        mean: mean of the finite elements.
        std: their population standard deviation.
        whole: whether all finite elements are whole numbers.
        features: number of features: the size of the last axis (1 without one).
        feature_min: per feature, float arrays of shape `(features,)`; empty where
            there are more than 20,000 features.
        feature_max: likewise.
        feature_mean: likewise.
        feature_std: likewise.
        feature_nonfinite: per feature, how many elements are NaN or infinite; empty
            if none is, or there are too many features.
        scanned: how many samples were looked at for NaN and infinite elements, if
            more than `seen`: `nan` and `inf` count those of all of them.
        counts: value to how often it occurs, if there are no more than 1,000 distinct
            ones; empty otherwise. Of one-hot rows: class to number of rows.
        one_hot: whether every row has a single 1 and otherwise 0.
        multi_hot: whether all elements are 0 or 1, two or more to a row, and it is
            not one-hot.
        distribution: whether every row is non-negative and sums to one.
        padded: mean share of a sample's steps that are zeros at its end; 0 where
            there are fewer than ten steps.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    seen: int
    nan: int = 0
    inf: int = 0
    min: float = np.nan
    max: float = np.nan
    mean: float = np.nan
    std: float = np.nan
    whole: bool = False
    features: int = 1
    feature_min: np.ndarray = field(default_factory=lambda: np.zeros(0))
    feature_max: np.ndarray = field(default_factory=lambda: np.zeros(0))
    feature_mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    feature_std: np.ndarray = field(default_factory=lambda: np.zeros(0))
    feature_nonfinite: np.ndarray = field(default_factory=lambda: np.zeros(0))
    scanned: int = 0
    counts: Mapping[float, int] = field(default_factory=dict)
    one_hot: bool = False
    multi_hot: bool = False
    distribution: bool = False
    padded: float = 0.0


@dataclass(frozen=True)
class ValidationFacts:
    """A sample of the validation data.

    Attributes:
        rows: number of validation samples, if known.
        partial: whether these facts are of its first batches alone.
        inputs: facts of its inputs.
        targets: facts of its targets.
        compared: how many of its samples were looked for among the training ones.
        shared: how many of those are also training samples, inputs and targets.
        among: how many of the training samples they were looked for among.
    """

    rows: int | None = None
    inputs: tuple[ArrayFacts, ...] = ()
    targets: tuple[ArrayFacts, ...] = ()
    compared: int = 0
    shared: int = 0
    among: int = 0
    partial: bool = False


@dataclass(frozen=True)
class DependenceFacts:
    """Whether the inputs say anything about the first target, by a cheap test.

    Attributes:
        tested: number of samples that were looked at; 0 if it could not be judged.
        shift: by how many rows the targets are shifted against the inputs, where they
            match only then; 0 otherwise. linear: how well a linear model by least
            squares does on these samples, in the
            same unit as `neighbours`; NaN where there are too many features to tell.
        neighbours: how well the nearest neighbours' targets predict a sample's own:
            accuracy for classes (of guessing that of one neighbour), explained
            variance otherwise.
        chance: the same when targets are shuffled (mean over shuffles).
        spread: standard deviation over the shuffles.
        linear_p: p-value of the strongest linear dependence: on a single feature,
            corrected for their number, or on all of them together; for quantities of
            which there is none, that of their distance from the middle.
    """

    tested: int = 0
    neighbours: float = np.nan
    chance: float = np.nan
    spread: float = np.nan
    linear_p: float = np.nan
    linear: float = np.nan
    shift: int = 0


@dataclass(frozen=True)
class DataFacts:
    """A bounded sample of what `fit` feeds the model.

    Attributes:
        inputs: facts of each input.
        targets: facts of each target; empty if there are none.
        rows: number of training samples, if known.
        batch_size: size of a batch, if known.
        steps: number of updates that `fit` is to make at most, if known.
        source: `"arrays"` if the sample is spread evenly over the arrays that `fit`
            was called with; `"batches"` if it is what training has drawn so far.
        shuffled: whether Keras shuffles the samples; `None` if not known.
        sorted: whether the rows of the first target come ordered by class.
        weighted: whether there are sample weights or class weights.
        validation: facts of the validation data, if it can be seen.
        validation_split: whether it was split off the training data's end by Keras.
        duplicated: share of the training samples that occur more than once, inputs
            and targets.
        conflicting: share of the samples whose inputs occur again with another class.
        dependence: whether inputs and targets have to do with each other.
        batch_places: how many places within an epoch the batches seen are from, of a
            dataset of which the number of batches is known.
        distinct_batches: how many of those batches differ from one another.
        batch_purity: how much batches differ in their classes: 0 where they do as
            chance has it, 1 where each holds a single class; NaN if that is not known.
        relabelled: share of the samples seen again in a later epoch that had another
            target then.
        target_at: where in the inputs the only target stands, as it is or in another
            unit: `"x[:, 7]"`; empty if it does not, as far as that was looked for.
    """

    inputs: tuple[ArrayFacts, ...] = ()
    targets: tuple[ArrayFacts, ...] = ()
    rows: int | None = None
    batch_size: int | None = None
    steps: int | None = None
    source: str = "batches"
    shuffled: bool | None = None
    sorted: bool = False
    weighted: bool = False
    validation: ValidationFacts | None = None
    validation_split: bool = False
    duplicated: float = 0.0
    conflicting: float = 0.0
    dependence: DependenceFacts = field(default_factory=DependenceFacts)
    batch_places: int = 0
    distinct_batches: int = 0
    batch_purity: float = np.nan
    relabelled: float = 0.0
    target_at: str = ""


@dataclass(frozen=True)
class CallbackFacts:
    """A callback of the running `fit` that acts on a logged quantity.

    Attributes:
        kind: name of the Keras class it is, `"EarlyStopping"`.
        monitor: name of the log that it looks at.
        mode: `"min"`, `"max"` or `"auto"`, as given.
        patience: its patience, if it has one.
        starts_from: first epoch that counts.
        restores: whether it restores the best weights.
        seen: whether it has come across a value of that name, as far as that is known.
    """

    kind: str
    monitor: str
    mode: str = "auto"
    patience: int | None = None
    starts_from: int = 0
    restores: bool = False
    seen: bool = True


@dataclass(frozen=True)
class ScheduleFacts:
    """A learning-rate schedule over the run that is coming, and beyond it.

    Attributes:
        steps: at which updates it was evaluated, float array of shape `(n,)`, rising.
        rates: the rates there, float array of shape `(n,)`.
        begin: the run's first update: more than 0 if the optimizer was used before.
        end: the update after its last one.
    """

    steps: np.ndarray
    rates: np.ndarray
    begin: int
    end: int


@dataclass(frozen=True)
class FitFacts:
    """The settings of the running `fit`.

    Attributes:
        epochs: how many epochs it is to make, if known.
        begin: how many updates the optimizer had made before it.
        validation_every: after how many epochs it validates; 0 if never.
        callbacks: those that act on a logged quantity.
        class_weight: weight of each class, if they were given.
        mean_weight: mean of the samples' weights; 1 if there are none.
        weighted_by: the argument that has weights which differ, `"class_weight"` or
            `"sample_weight"`; `""` if none does.
        schedule: the schedule of the learning rate, if there is one and the number
            of updates is known.
    """

    epochs: int | None = None
    begin: int = 0
    validation_every: int = 0
    callbacks: tuple[CallbackFacts, ...] = ()
    class_weight: Mapping[int, float] = field(default_factory=dict)
    mean_weight: float = 1.0
    weighted_by: str = ""
    schedule: ScheduleFacts | None = None


@dataclass(frozen=True)
class Outline:
    """What the charts of a model are chosen and named by.

    Attributes:
        model: its name.
        made_up: names that Keras made up for the model, its layers and its weights,
            each with its kind: `{"dense_3": "dense"}`.
        chosen: names of these that somebody has chosen.
        minor: paths of trained weights that are biases, scales or otherwise have less
            than two axes, and of layers with neither a kernel nor an activation.
    """

    model: str = ""
    made_up: Mapping[str, str] = field(default_factory=dict)
    chosen: frozenset[str] = frozenset()
    minor: frozenset[str] = frozenset()
