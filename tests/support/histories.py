"""Hand-made histories: runs whose curves and layers are given, sparse or dense."""

from __future__ import annotations

import math

import numpy as np

from keras_babysit.facts import (
    ArrayFacts,
    DataFacts,
    DependenceFacts,
    LayerFacts,
    LossFacts,
    ModelFacts,
    OptimizerFacts,
    OutputFacts,
    ValidationFacts,
)
from keras_babysit.history import RunHistory
from keras_babysit.records import (
    EpochRecord,
    LayerStats,
    LossInputs,
    LossTensor,
    StepRecord,
    TensorStats,
    VariableStats,
)

#: Observed steps an epoch of twenty: the last one as on a budget, or all of them.
REGIMES = {"sparse": (19,), "dense": range(20)}
STEPS = 20


def stats(norm=1.0, std=1.0, size=100, nan=0, inf=0):
    return TensorStats(size, nan, inf, norm, -std, std, 0.0, std)


def variable(path, ratio=1e-3, gradient=0.1, weight=1.0, **bad):
    return VariableStats(
        path,
        weight=stats(weight, **bad),
        update=stats(ratio * weight),
        gradient=None if gradient is None else stats(gradient),
        update_ratio=ratio,
    )


def healthy_variables(n=4):
    return tuple(
        variable(f"dense_{i}/{role}", 1e-3 if role == "kernel" else float("nan"))
        for i in range(n)
        for role in ("kernel", "bias")
    )


def layer(path, std=1.0, dead=None, saturated=None, nan=0):
    return LayerStats(
        path,
        activation=stats(std=std, nan=nan),
        zero_fraction=0.0,
        saturation_fraction=saturated,
        dead_fraction=dead,
        dead_window=None if dead is None else 20,
    )


def loss_tensor(shape=(None, 10), size=320, samples=32, counts=(), **values):
    """Outputs of a softmax, unless `values` say otherwise."""
    values = {
        "min": 0.0,
        "max": 1.0,
        "mean": 0.1,
        "std": 0.3,
        "outside": 0.0,
        "whole": 0.0,
        "positive": 1.0,
        "spread": 0.3,
        "unit_sums": (1.0, math.nan, math.nan),
    } | values
    classes = np.zeros(101)
    classes[: len(counts)] = counts
    return LossTensor(shape, size, samples, classes=classes, **values)


def labels(shape=(None,), size=32, samples=32, **values):
    """Targets that are labels from 0 to 9."""
    values = {
        "max": 9.0,
        "mean": 4.5,
        "std": 2.9,
        "outside": 0.8,
        "whole": 1.0,
        "positive": 0.9,
        "spread": 2.9,
        "unit_sums": (math.nan,) * 3,
    } | values
    return loss_tensor(shape, size, samples, **values)


def loss_call(targets=None, outputs=None, loss="mine", **more):
    return LossInputs(
        loss,
        loss,
        targets=labels() if targets is None else targets,
        outputs=loss_tensor() if outputs is None else outputs,
        **more,
    )


def healthy_layers(n=4):
    hidden = tuple(layer(f"dense_{i}", dead=0.1) for i in range(n - 1))
    return (*hidden, layer(f"dense_{n - 1}", saturated=0.99))


def run(
    losses,
    *,
    regime="sparse",
    variables=None,
    layers=None,
    calls=(),
    start=2.3,
    rate=1e-3,
    model="classes",
    data="classes",
    ended=False,
    steps=STEPS,
    loss_std=0.1,
    epochs=None,
    smoothness=None,
    **logs,
):
    """Makes a history.

    Args:
        losses: training loss by epoch.
        variables: function of the step to `VariableStats`; healthy ones by default.
        layers: likewise.
        calls: what losses got, in every step, or a function of the step.
        start: loss of step 0.
        rate: function of the step to the learning rate, or a number.
        logs: other logs, by epoch.
    """
    history = RunHistory()
    history.model = MODELS[model] if isinstance(model, str) else model
    history.data = DATA[data] if isinstance(data, str) else data
    variables = variables or (lambda step: healthy_variables())
    layers = layers or (lambda step: healthy_layers())
    history.append(EpochRecord(0, 0, first_layer_smoothness=_smooth(smoothness, 0)))
    before = start
    for epoch, loss in enumerate(losses):
        seen = set(REGIMES[regime]) | ({0, 10} if epoch == 0 else set())
        for batch in sorted(b * steps // STEPS for b in seen):
            step = epoch * steps + batch
            part = (batch + 1) / steps
            history.append(
                StepRecord(
                    step,
                    epoch + part,
                    loss=start if step == 0 else before + part * (loss - before),
                    learning_rate=rate(step) if callable(rate) else rate,
                    gradient_norm=1.0,
                    variables=variables(step),
                    layers=layers(step),
                    losses=calls(step) if callable(calls) else calls,
                )
            )
        before = loss if math.isfinite(loss) else start
        named = {"loss": loss} | {k: v[epoch] for k, v in logs.items()}
        history.append(
            EpochRecord(
                epoch + 1,
                (epoch + 1) * steps,
                logs=named,
                loss_mean=loss,
                loss_std=loss_std,
                loss_count=len(REGIMES[regime]),
                first_layer_smoothness=_smooth(smoothness, epoch + 1),
            )
        )
    history.ended = ended
    return history


def _smooth(values, i):
    return {} if values is None else {"dense_0": values[i]}


def learning(n=10, start=2.3, end=0.1):
    """A loss that falls as it should."""
    return [end + (start - end) * 0.5 ** (i + 1) for i in range(n)]


def flat(n=12, at=2.303):
    """A loss that does not, with the noise of the batches."""
    return [at + 0.001 * (-1) ** i for i in range(n)]


def class_model(units=10, loss="sparse_categorical_crossentropy", **kwargs):
    output = OutputFacts(
        "",
        layer="dense_3",
        activation="softmax",
        units=units,
        loss=LossFacts(loss, from_logits=False),
        metrics=("accuracy",),
    )
    return ModelFacts(
        "classes",
        layers=tuple(
            LayerFacts(f"dense_{i}", "Dense", activation="relu" if i < 3 else "softmax")
            for i in range(4)
        ),
        outputs=(output,),
        optimizer=OptimizerFacts("Adam", 1e-3),
        **kwargs,
    )


def class_data(shares=(0.1,) * 10, neighbours=float("nan"), **kwargs):
    targets = ArrayFacts(
        "y",
        (),
        "int64",
        1000,
        min=0,
        max=len(shares) - 1,
        whole=True,
        counts={float(i): int(1000 * s) for i, s in enumerate(shares)},
    )
    inputs = ArrayFacts("x", (64,), "float32", 1000, mean=0, std=1, features=64)
    fields = {"batch_size": 32, "rows": 1000} | kwargs
    return DataFacts(
        (inputs,),
        (targets,),
        validation=ValidationFacts(rows=500),
        dependence=DependenceFacts(1000, neighbours, 0.1, 0.02, 1e-9),
        **fields,
    )


def regression_model():
    output = OutputFacts(
        "",
        layer="dense_3",
        activation="linear",
        units=1,
        loss=LossFacts("mean_squared_error"),
    )
    return ModelFacts("values", outputs=(output,), optimizer=OptimizerFacts("SGD", 0.1))


def regression_data(std=1.0, mean=0.0):
    targets = ArrayFacts("y", (), "float32", 1000, min=-3, max=3, mean=mean, std=std)
    return DataFacts((), (targets,), rows=1000, batch_size=32)


MODELS = {"classes": class_model(), "values": regression_model(), "none": None}
DATA = {"classes": class_data(), "values": regression_data(), "none": None}
