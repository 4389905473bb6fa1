"""What observing costs: paired ratios against the same training with an idle callback.

Every round trains the same compiled model under each contender right beside a run
under the control, whichever first, and takes the ratio of the two durations: a machine
whose speed drifts is the same machine for both. Reported: the median ratio with its
quartiles, and the peak memory of a process of its own that trains under that contender,
against the control's.

    python benchmarks/overhead.py [--models mlp cnn] [--rounds 7] [--seconds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L

import keras_babysit


def mlp():
    inputs = keras.Input((784,))
    x = L.Dense(256, activation="relu")(inputs)
    x = L.Dense(256, activation="relu")(x)
    return keras.Model(inputs, L.Dense(10)(x)), 128


def cnn():
    inputs = keras.Input((32, 32, 3))
    x = inputs
    for filters in (32, 64):
        x = L.Conv2D(filters, 3, activation="relu", padding="same")(x)
        x = L.MaxPooling2D()(x)
    x = L.Dense(128, activation="relu")(L.Flatten()(x))
    return keras.Model(inputs, L.Dense(10)(x)), 64


def resnet20():
    def unit(x, filters, stride):
        y = L.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
        y = L.ReLU()(L.BatchNormalization()(y))
        y = L.Conv2D(filters, 3, padding="same", use_bias=False)(y)
        y = L.BatchNormalization()(y)
        if stride > 1:
            x = L.Conv2D(filters, 1, stride, use_bias=False)(x)
        return L.ReLU()(L.Add()([x, y]))

    inputs = keras.Input((32, 32, 3))
    x = L.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    x = L.ReLU()(L.BatchNormalization()(x))
    for filters, first in ((16, 1), (32, 2), (64, 2)):
        for stride in (first, 1, 1):
            x = unit(x, filters, stride)
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x))), 64


def transformer():
    inputs = keras.Input((64, 64))
    x = inputs
    for _ in range(4):
        y = L.LayerNormalization()(x)
        x = L.Add()([x, L.MultiHeadAttention(4, 16, dropout=0.1)(y, y)])
        y = L.Dense(256, activation="gelu")(L.LayerNormalization()(x))
        x = L.Add()([x, L.Dropout(0.1)(L.Dense(64)(y))])
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling1D()(x))), 32


MODELS = {"mlp": mlp, "cnn": cnn, "resnet20": resnet20, "transformer": transformer}


class Idle(keras.callbacks.Callback):
    """The control: has a hook, does nothing in it."""

    def on_train_batch_begin(self, batch, logs=None):
        pass


class SecondTape(keras.callbacks.Callback):
    """The usual recipe for gradients: one more pass of a batch kept aside."""

    def __init__(self, x, y, every, log_dir):
        super().__init__()
        self.x, self.y, self.every, self.n = x, y, every, 0
        self.writer = tf.summary.create_file_writer(log_dir)

    def log(self):
        with tf.GradientTape() as tape:
            loss = self.model.compute_loss(
                y=self.y, y_pred=self.model(self.x, training=True)
            )
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, variables)
        with self.writer.as_default(step=self.n):
            for v, g in zip(variables, gradients, strict=True):
                tf.summary.histogram(f"gradients/{v.path}", g)

    def on_train_batch_end(self, batch, logs=None):
        self.n += 1
        if self.every and self.n % self.every == 0:
            self.log()

    def on_epoch_end(self, epoch, logs=None):
        if not self.every:
            self.log()


class WeightCopies(keras.callbacks.Callback):
    """The usual recipe for update ratios: NumPy copies of the weights each batch."""

    def on_train_batch_begin(self, batch, logs=None):
        self.before = [v.numpy() for v in self.model.trainable_variables]

    def on_train_batch_end(self, batch, logs=None):
        self.ratios = [
            np.linalg.norm(v.numpy() - b) / (np.linalg.norm(b) or 1.0)
            for v, b in zip(self.model.trainable_variables, self.before, strict=True)
        ]


def contenders(x, y, path):
    """Name to a function that makes the callback; made once, used in every round."""
    dirs = (os.path.join(path, str(i)) for i in range(100))
    batch = (x[:64], y[:64])
    return {
        "control": Idle,
        "plain": lambda: None,
        "Babysitter": lambda: keras_babysit.Babysitter(next(dirs), verbose=0),
        "every step": lambda: keras_babysit.Babysitter(next(dirs), every=1, verbose=0),
        "every step, light": lambda: keras_babysit.Babysitter(
            next(dirs), every=1, probes=["update_ratio"], rules=[], verbose=0
        ),
        "Keras TensorBoard": lambda: keras.callbacks.TensorBoard(
            next(dirs), histogram_freq=1, write_images=True
        ),
        "second tape, epoch": lambda: SecondTape(*batch, 0, next(dirs)),
        "second tape, 10": lambda: SecondTape(*batch, 10, next(dirs)),
        "NumPy copies": WeightCopies,
    }


def prepare(name, seconds):
    """Returns a compiled model and data for an epoch of about `seconds`."""
    keras.utils.set_random_seed(0)
    model, size = MODELS[name]()
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4 * size, *model.input_shape[1:])).astype("float32")
    y = rng.integers(0, 10, len(x))
    model.fit(x, y, batch_size=size, verbose=0)
    began = time.perf_counter()
    model.fit(np.tile(x, (25, *[1] * (x.ndim - 1))), np.tile(y, 25), size, verbose=0)
    step = (time.perf_counter() - began) / 100
    steps = int(min(max(seconds / step, 30), 12_000))
    many = np.resize(np.arange(len(x)), steps * size)
    return model, x[many], y[many], size, steps


def fit(model, x, y, size, callback):
    began = time.perf_counter()
    model.fit(
        x,
        y,
        batch_size=size,
        verbose=0,
        shuffle=False,
        callbacks=[callback] if callback else [],
    )
    return time.perf_counter() - began


def peak_memory(name, contender):
    """Peak resident memory, in MB, of a process that trains under a contender."""
    command = [sys.executable, __file__, "--memory", name, contender]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def train_for_memory(name, contender):
    path = tempfile.mkdtemp()
    model, x, y, size, _ = prepare(name, 0.5)
    callback = contenders(x, y, path)[contender]()
    for _ in range(2):
        fit(model, x, y, size, callback)
    # Not `ru_maxrss`, which a process inherits from the one that started it.
    with open("/proc/self/status") as file:
        peak = next(line for line in file if line.startswith("VmHWM"))
    print(json.dumps(int(peak.split()[1]) / 1024))
    shutil.rmtree(path)


def measure(name, rounds, seconds, only, memory):
    path = tempfile.mkdtemp()
    model, x, y, size, steps = prepare(name, seconds)
    callbacks = {
        k: make()
        for k, make in contenders(x, y, path).items()
        if not only or k in (*only, "control")
    }
    for callback in callbacks.values():  # Compiles whatever each one compiles.
        fit(model, x[: 30 * size], y[: 30 * size], size, callback)
    ratios = {k: [] for k in callbacks if k != "control"}
    for i in range(rounds):
        for k in ratios:
            pair = ("control", k) if i % 2 == 0 else (k, "control")
            took = {which: fit(model, x, y, size, callbacks[which]) for which in pair}
            ratios[k].append(took[k] / took["control"])
    print(f"\n{name}: {steps} steps an epoch, {rounds} rounds")
    print(f"{'':22}{'ratio':>8}{'lower q':>8}{'upper q':>8}{'memory':>8}")
    base = peak_memory(name, "control") if memory else float("nan")
    for k, values in ratios.items():
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        peak = peak_memory(name, k) / base if memory else float("nan")
        print(f"{k:22}{median:8.3f}{low:8.3f}{high:8.3f}{peak:8.2f}", flush=True)
    for k, callback in callbacks.items():
        if isinstance(callback, keras_babysit.Babysitter):
            cost = callback.observation
            print(f"  {k}: {cost.observed} of {cost.steps} steps in the last fit")
    shutil.rmtree(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", nargs="+", default=None, help="contenders")
    parser.add_argument("--no-memory", action="store_true", help="time only")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        train_for_memory(*arguments.memory)
        return
    for name in arguments.models:
        measure(
            name,
            arguments.rounds,
            arguments.seconds,
            arguments.only,
            not arguments.no_memory,
        )


if __name__ == "__main__":
    main()
