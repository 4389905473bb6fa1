"""Rules about targets: their scale, and whether the inputs hold them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from keras_babysit.facts import ArrayFacts, LayerFacts, ModelFacts, OutputFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.arrays import (
    feature_rms,
    root_mean_square,
    samples_seen,
)
from keras_babysit.rules.evidence.catalogue import words
from keras_babysit.rules.evidence.connections import SENSITIVE, loss_name, pairs
from keras_babysit.rules.evidence.graph import NORMALIZING, family
from keras_babysit.rules.evidence.phrases import number
from keras_babysit.rules.evidence.tasks import layer_of
from keras_babysit.rules.rule import Sign, rule

#: Losses whose gradient grows, or whose minimum moves, with the targets' scale.
_REGRESSION = words("mean_squared_error mean_absolute_error huber log_cosh")


#: Functions between two asymptotes, and layers whose outputs keep to a scale: behind
#: them nothing grows.
_BOUNDED = words("sigmoid hard_sigmoid tanh hard_tanh softsign softmax relu6")


_BOUND = frozenset(("LSTM", "GRU", "RNN", "Bidirectional", "ConvLSTM2D")) | NORMALIZING


@rule(
    kind="cause in the data",
    severity="warning",
    when="start",
    since="LeCun et al. 1998, Efficient BackProp: choosing target values",
    refutable=True,
)
def targets_not_scaled(
    history: RunHistory, *, limit: float = 100.0, small: float = 1e-3
) -> Iterator[Sign]:
    """Regression targets are far from what an untrained output puts out.

    What it sees:
        Targets of mean squared, absolute, Huber or log-cosh error whose root mean
        square is above `limit` (or whose deviation is below `small`) at a dense or
        convolutional output. It is only information if the planned steps can get there:
        an Adam-like optimizer moves each weight by the learning rate a step, and
        those of unbounded hidden layers multiply.

    Why it matters:
        An untrained output is about 1. Adam needs hundreds or thousands of steps only
        to reach the mean; under SGD the first gradients are as large as the targets,
        which throws the weights off or ends in NaN.

    What to do:
        Standardise the targets and undo it on the predictions.

    When it is wrong:
        The output's bias starts at the targets' mean (it is silent then), or you
        train long enough at a high rate.

    References:
        LeCun, Bottou, Orr and Müller, Efficient BackProp (1998), section 4.5.
    """
    data = history.data
    for y, output in pairs(history):
        if data is None or output is None or not _is_regressed(y, output, history):
            continue
        features = feature_rms(y)
        rms = float(features.max()) if features.size else root_mean_square(y)
        tiny = 0 < y.std < small and abs(y.mean) < small
        if not tiny and (rms <= limit or _starts_there(y, output, history.model)):
            continue
        if not tiny and _is_linear_least_squares(history.model):
            continue
        v = y.name
        yield Sign(
            where=v,
            seen=(
                f"regression targets of mean {number(y.mean)} and deviation "
                f"{number(y.std)} in {samples_seen(y, data)} (about 0 and 1 is healthy)"
            ),
            cause=(
                "Likely the targets were not scaled: the noise of an untrained output "
                "is larger than all of them"
                if tiny
                else "Likely the targets were not scaled: the output, which starts "
                "around 0, has to move that far"
            ),
            action=f"standardise them: `{v} = ({v} - {v}.mean()) / {v}.std()`, and "
            "undo it on the predictions",
            alternatives=(
                "put `keras.layers.Rescaling(std, mean)` behind the output layer",
                "learn the logarithm if all are positive and span magnitudes",
            ),
            evidence={"mean": y.mean, "std": y.std, "root_mean_square": rms},
            severity="info" if not tiny and _gets_there(rms, output, history) else None,
            fixes=(fixes.scale_targets(v),),
        )


def _is_regressed(y: ArrayFacts, output: OutputFacts, history: RunHistory) -> bool:
    made_by = layer_of(history.model, output.layer)
    return (
        loss_name(output) in _REGRESSION
        and made_by is not None
        and family(made_by) in SENSITIVE
        and output.activation in ("linear", "relu", "softplus", "leaky_relu", "elu")
        and math.isfinite(y.std)
        and y.dtype != "string"
    )


def _starts_there(y: ArrayFacts, output: OutputFacts, model: ModelFacts | None) -> bool:
    """Whether the output's bias was set to the targets' mean."""
    layer = layer_of(model, output.layer)
    for weight in layer.weights if layer is not None else ():
        if weight.role == "bias" and weight.mean != 0:
            return abs(weight.mean - y.mean) < max(abs(y.mean) / 2, y.std)
    return False


def _is_linear_least_squares(model: ModelFacts | None) -> bool:
    """Whether a single layer learns by SGD, whose pace then follows the targets."""
    if model is None or model.optimizer is None or model.optimizer.name != "SGD":
        return False
    return sum(family(layer) in SENSITIVE for layer in model.layers) == 1


def _gets_there(rms: float, output: OutputFacts, history: RunHistory) -> bool:
    """Whether an Adam-like optimizer can move the output that far, three times over.

    Each weight moves by up to the rate a step; a unit of the layer before passes on
    about half, and outputs of hidden layers grow meanwhile, as their weights move too.
    """
    data, model = history.data, history.model
    if data is None or data.steps is None or model is None or model.optimizer is None:
        return False
    if model.optimizer.name == "SGD" or not model.optimizer.learning_rate > 0:
        return False
    layer = layer_of(model, output.layer)
    weights = layer.weights if layer is not None else ()
    fan_in = max((weight.fan_in or 0 for weight in weights), default=0)
    moved = model.optimizer.learning_rate * data.steps
    reach = moved * (1 + fan_in / 2) * _growth(model, output.layer, moved)
    return reach > 3 * rms


def _growth(model: ModelFacts, path: str | None, moved: float) -> float:
    """How much larger what feeds a layer can become while each weight moves so far.

    The inputs of a hidden layer pull less in one direction. An eighth of them was
    chosen on networks of two to four layers that Adam trained: it gives their steps
    within a third for targets of some hundreds, and up to five times too many beyond.
    """
    factors: dict[str, float] = {}
    last = 1.0  # Where the graph is not known, layers come in the order of their use.
    for layer in model.layers:
        fed = last
        if layer.inputs is not None:
            fed = max([1.0, *(factors.get(p, 1.0) for p in layer.inputs)])
        if layer.path == path:
            return fed
        bounded = layer.activation in _BOUNDED or layer.kind in _BOUND
        last = factors[layer.path] = 1.0 if bounded else fed * _own(layer, moved)
    return 1.0


def _own(layer: LayerFacts, moved: float) -> float:
    fans = [w.fan_in or 0 for w in layer.weights if w.role == "kernel" and w.trainable]
    return max([1.0, *(moved * (1 + fan_in / 8) for fan_in in fans)])


@rule(
    kind="note",
    severity="warning",
    when="start",
    since="Kaufman et al., Leakage in data mining, TKDD 2012",
)
def target_in_inputs(history: RunHistory) -> Iterator[Sign]:
    """The target stands in the inputs.

    What it sees:
        A column of a table, or of the last step of a window, that is the target, as it
        is or in another unit, in all samples looked at.

    Why it matters:
        The model copies that column. It looks perfect, and is useless where the target
        is not known yet. In forecasts the window is usually off by one, so that its
        last value is the one to predict.

    What to do:
        Leave the column out, or shift the targets by one step.

    When it is wrong:
        Copying a column is the task. Targets of several values and tokens are not
        checked.

    References:
        Kaufman, Rosset, Perlich, Stitelman, Leakage in data mining: formulation,
        detection, and avoidance, ACM TKDD 6 (2012).
    """
    data = history.data
    if data is None or not data.target_at:
        return
    name = data.target_at.partition("[:")[0]
    steps = "[:, -1, " in data.target_at
    yield Sign(
        where=name,
        seen=f"`{data.target_at}` is the target, up to its unit, in "
        f"{samples_seen(data.targets[0], data)}",
        cause="Likely window and target are off by one: the value to predict is the "
        "window's last"
        if steps
        else "The target leaks into the inputs: all that is learned is to copy it",
        action="take the target from the step after the window"
        if steps
        else f"leave `{data.target_at}` out of the inputs",
        alternatives=()
        if steps
        else ("take the target from the step after it if the columns are a window",),
        evidence={"column": data.target_at},
    )
