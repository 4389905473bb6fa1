"""Numbers that a record has on every backend, given the same weights and batch.

    KERAS_BACKEND=tensorflow python tests/support/agreement.py

writes them to agreement.json beside it.
"""

import json
import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import layers as L

import keras_babysit

FILE = Path(__file__).with_suffix(".json")


def mlp():
    shape = (12,)
    return [L.Dense(16, "relu"), L.Dense(8, "tanh"), L.Dense(5)], shape


def cnn():
    shape = (8, 8, 3)
    convolved = [L.Conv2D(6, 3, activation="relu"), L.BatchNormalization()]
    pooled = [L.MaxPooling2D(), L.Conv2D(4, 2, activation="relu")]
    return [*convolved, *pooled, L.Flatten(), L.Dense(5)], shape


def recurrent():
    return [L.LSTM(4, return_sequences=True), L.GRU(5), L.Dense(5)], (6, 3)


def numbers(make):
    """Path and name of each number to its value, of the first step of a model."""
    keras.backend.clear_session()
    rng = np.random.default_rng(1)
    layers, shape = make()
    model = keras.Sequential([keras.Input(shape), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss)
    model.set_weights(
        [
            0.3 * rng.normal(size=w.shape) if w.ndim > 1 else rng.uniform(size=w.shape)
            for w in model.get_weights()
        ]
    )
    x, y = rng.normal(size=(32, *shape)), rng.integers(0, 5, 32)
    with tempfile.TemporaryDirectory() as place:
        babysitter = keras_babysit.Babysitter(place, every=1, verbose=0, rules=[])
        model.fit(x, y, batch_size=32, shuffle=False, verbose=0, callbacks=[babysitter])
    record = babysitter.history.last_step
    found = {"loss": record.loss, "gradient norm": record.gradient_norm}
    for stats in record.variables:
        for kind in ("weight", "gradient", "update"):
            found |= _of_tensor(f"{stats.path} {kind}", getattr(stats, kind))
        found[f"{stats.path} ratio"] = stats.update_ratio
    for layer in record.layers:
        found |= _of_tensor(f"{layer.path} activation", layer.activation)
        found[f"{layer.path} zeros"] = layer.zero_fraction
    for call in record.losses:
        found[f"{call.path} values"] = call.values.mean
        found[f"{call.path} spread"] = call.outputs.spread
    return {name: float(value) for name, value in found.items() if value is not None}


def _of_tensor(name, stats):
    return {f"{name} {what}": getattr(stats, what) for what in ("norm", "min", "max")}


MODELS = {make.__name__: make for make in (mlp, cnn, recurrent)}

if __name__ == "__main__":
    found = {name: numbers(make) for name, make in MODELS.items()}
    FILE.write_text(json.dumps(found, indent=1) + "\n")
