"""What the rules read, from small Keras models and arrays. Nothing is trained."""

import keras
import numpy as np
from keras import layers as L

from keras_babysit.facts import ArrayFacts, DataFacts
from keras_babysit.history import RunHistory
from keras_babysit.inspection.model import model_facts
from keras_babysit.rules import available
from keras_babysit.rules.judge import Judge

#: Where the rules are that read the model, its output and the settings.
ROOMS = ("model", "output", "settings")
RNG = np.random.default_rng(0)
N = 600
X = RNG.normal(size=(N, 16)).astype("float32")
BIT = RNG.integers(0, 2, N)
TEN = np.arange(N) % 10
FOUR = np.arange(N) % 4
ONE_HOT = np.eye(10)[TEN]
TAGS = (RNG.random((N, 6)) < 0.4).astype("float32")
REAL = RNG.normal(size=(N, 1)).astype("float32")
PRICE = np.exp(12 + REAL)
PIXELS = RNG.random((N, 28)).astype("float32")


def mlp(*head, inputs=16, hidden=None, loss, metrics=None, optimizer="adam"):
    hidden = [L.Dense(12, activation="relu")] if hidden is None else hidden
    # Tables of cases hold layers: each use is of a copy, with a name of its own.
    layers = [copy_of(layer) for layer in (*hidden, *head)]
    model = keras.Sequential([keras.Input((inputs,)), *layers])
    model.compile(optimizer, loss, metrics=metrics)
    return model


def copy_of(layer):
    if layer.built or isinstance(layer, L.Lambda):
        return layer
    config = {k: v for k, v in layer.get_config().items() if k != "name"}
    return type(layer).from_config(config)


def dense(units, activation=None, **kwargs):
    return L.Dense(units, activation=activation, **kwargs)


BCE, CCE, SCCE = (
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
)
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
BIT_LOGITS = keras.losses.BinaryCrossentropy(from_logits=True)


def own_rules():
    places = tuple(f"keras_babysit.rules.{room}." for room in ROOMS)
    rules = available().values()
    return [r for r in rules if r.function.__module__.startswith(places)]


def array_facts(array, name="y"):
    array = np.asarray(array)
    shape = array.shape[1:]
    values, counts = np.unique(array, return_counts=True)
    rows = array.reshape(-1, array.shape[-1]) if shape else array[:, None]
    bits = set(values.tolist()) <= {0, 1}
    wide = rows.shape[1] > 1
    one_hot = wide and bits and bool((rows.sum(1) == 1).all())
    if one_hot:
        values, counts = np.arange(rows.shape[1]), rows.sum(0).astype(int)
    few = len(values) <= 1000
    total = rows.astype(float).sum(1)
    return ArrayFacts(
        name=name,
        shape=shape,
        dtype=str(array.dtype),
        seen=len(array),
        min=float(array.min()),
        max=float(array.max()),
        mean=float(array.mean()),
        std=float(array.std()),
        whole=bool((array == np.round(array)).all()),
        features=rows.shape[1],
        counts=dict(zip(values.tolist(), counts.tolist(), strict=True)) if few else {},
        one_hot=one_hot,
        multi_hot=wide and bits and not one_hot,
        distribution=bool((rows >= 0).all() and np.allclose(total, 1, atol=1e-3)),
    )


def history_of(model, x=None, y=None, batch_size=32, **kwargs):
    history = RunHistory()
    history.model = model_facts(model, **kwargs)
    if y is not None:
        inputs = () if x is None else (array_facts(x, "x"),)
        named = isinstance(y, dict)
        targets = (
            tuple(array_facts(v, f"y['{k}']") for k, v in y.items())
            if named
            else (array_facts(y),)
        )
        rows = len(next(iter(y.values())) if named else y)
        history.data = DataFacts(inputs, targets, rows, batch_size, "arrays")
    return history


def findings(model, x=None, y=None, **kwargs):
    """Findings that are told: those that no other one explains."""
    judge = Judge(own_rules())
    return judge.judge(history_of(model, x, y, **kwargs), "start")


def told(model, x=None, y=None, **kwargs):
    """Rule to severity of what is told."""
    return {f.rule: f.severity for f in findings(model, x, y, **kwargs)}
