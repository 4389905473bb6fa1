"""A made-up run with findings of all kinds, for the tests of what shows them."""

import math

from keras_babysit.facts import LayerFacts, ModelFacts, WeightFacts
from keras_babysit.history import RunHistory
from keras_babysit.records import (
    EpochRecord,
    Finding,
    LayerStats,
    ObservationCost,
    StepRecord,
    TensorStats,
    VariableStats,
)

COST = ObservationCost(600, 30, 0.002, 0.004, 0.06, 0.013, 1.1, 20)


def stats(norm, size=100.0):
    return TensorStats(size, 0.0, 0.0, norm, -1.0, 1.0, 0.0, 0.1)


def finding(rule="dead-relu", where="", severity="error", since=(0, 0.0), **more):
    values = {
        "step": 599,
        "epoch": 9.9,
        "since_step": since[0],
        "since_epoch": since[1],
        "seen": "93 % of the units are dead",
        "cause": "Likely the learning rate is too high",
        "action": "try 1e-4 instead of 1e-3",
    }
    return Finding(rule=rule, severity=severity, where=where, **{**values, **more})


def findings():
    """A cause in five layers with two symptoms, a warning, a remark, a healed one."""
    return (
        *(
            finding(
                where=f"conv2d_{i}",
                since=(120, 2.0),
                seen=f"{90 + i} % of the units are dead",
                alternatives=("use LeakyReLU",),
                evidence={"dead_fraction": 0.9 + i / 100},
            )
            for i in range(5)
        ),
        finding("vanishing-gradient", "conv2d_0", "warning", because="dead-relu"),
        finding("loss-flat", "", "warning", because="dead-relu"),
        finding("inputs-not-scaled", "x", "warning", seen="values from 0 to 255"),
        finding("loss-linear", "", "info", (300, 5.0), seen="the loss falls linearly"),
        finding(
            "loss-oscillates",
            "",
            "warning",
            (120, 2.0),
            seen="the loss oscillates",
            healed=True,
            healed_step=300,
            healed_epoch=5.0,
        ),
    )


def weight(path, *shape):
    return WeightFacts(path, path.split("/")[-1], shape, True, 0.0, 0.1, -1.0, 1.0)


def facts(layers=5, prefix="conv2d_"):
    paths = [f"{prefix}{i}" for i in range(layers)]
    return ModelFacts(
        "digits",
        layers=(
            *(
                LayerFacts(
                    path,
                    "Conv2D",
                    "relu",
                    weights=(
                        weight(f"{path}/kernel", 3, 3, 8, 8),
                        weight(f"{path}/b", 8),
                    ),
                )
                for path in paths
            ),
            LayerFacts("flatten", "Flatten"),
            LayerFacts(
                "dense", "Dense", "tanh", weights=(weight("dense/kernel", 9, 9),)
            ),
        ),
        parameters=3001,
    )


def step_record(model, step, ratio=1e-3):
    return StepRecord(
        step,
        step / 60,
        loss=0.5,
        variables=tuple(
            VariableStats(
                w.path,
                stats(10.0, float(math.prod(w.shape))),
                stats(10.0 * ratio),
                stats(3.0),
                # Biases change faster: not what is asked for.
                ratio if w.path.endswith("kernel") else 1.0,
            )
            for layer in model.layers
            for w in layer.weights
        ),
        layers=tuple(
            LayerStats(
                layer.path,
                stats(4.0),
                zero_fraction=0.3,
                dead_fraction=0.93 if layer.activation == "relu" else None,
                saturation_fraction=0.5 if layer.activation == "tanh" else None,
                dead_window=20,
            )
            for layer in model.layers
        ),
    )


def history(model=None, steps=range(0, 600, 20)):
    """Ten epochs; by default with the facts of `facts()`."""
    past = RunHistory()
    past.model = facts() if model is None else model
    past.append(EpochRecord(0, 0))
    for step in steps:
        past.append(step_record(past.model, step))
    past.append(EpochRecord(10, 600, {"loss": 0.25, "val_loss": 0.5}))
    past.ended = True
    return past
