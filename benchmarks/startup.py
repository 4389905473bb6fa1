"""What watching adds to a short run, building included, and to its peak memory.

Each model trains for a few steps in a process of its own: plain, watched, and with
Keras's TensorBoard callback. Processor seconds count, not the clock, so that a busy
machine does not matter much. The first step is Keras's own: tracing and compiling.

    python benchmarks/startup.py [--models mlp cnn] [--steps 30] [--rounds 1]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

WHO = ("plain", "watched", "first step", "tensorboard")


def models():
    """Name to a function that makes a model, and its batch size."""
    import keras
    from keras import layers as L

    sys.path.insert(0, str(Path(__file__).parent))
    import overhead

    def lstm():
        inputs = keras.Input((32, 16))
        x = L.LSTM(64)(L.LSTM(64, return_sequences=True)(inputs))
        return keras.Model(inputs, L.Dense(10)(x)), 32

    def convolutions():
        inputs = keras.Input((28, 28, 1))
        x = L.Conv2D(8, 3, strides=4, padding="same")(inputs)
        for _ in range(29):
            y = x
            for _ in range(2):
                y = L.Conv2D(8, 3, padding="same", use_bias=False)(y)
                y = L.ReLU()(L.BatchNormalization()(y))
            x = L.Add()([x, y])
        return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x))), 64

    def dense(n):
        def make():
            layers = [L.Dense(32, activation="relu") for _ in range(n)]
            return keras.Sequential([keras.Input((32,)), *layers, L.Dense(10)]), 32

        return make

    def application(name, size):
        def make():
            made = getattr(keras.applications, name)
            model = made(
                weights=None,
                input_shape=(size, size, 3),
                classes=10,
                classifier_activation=None,
            )
            return model, 8

        return make

    return {
        **overhead.MODELS,
        "lstm": lstm,
        "60 convolutions": convolutions,
        "100 dense": dense(100),
        "400 dense": dense(400),
        "MobileNetV3-Small": application("MobileNetV3Small", 96),
        "EfficientNetV2-B0": application("EfficientNetV2B0", 96),
        "ResNet-50": application("ResNet50", 96),
    }


NAMES = (
    *("mlp", "cnn", "lstm", "resnet20", "transformer", "60 convolutions"),
    *("100 dense", "400 dense", "MobileNetV3-Small", "EfficientNetV2-B0", "ResNet-50"),
)


def train(name, who, steps):
    """Trains one model; prints processor seconds and the peak of memory in MB."""
    import keras
    import numpy as np

    import keras_babysit

    keras.utils.set_random_seed(0)
    model, size = models()[name]()
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    rng = np.random.default_rng(0)
    # Classes that can be told apart, as real ones can: of data that say nothing of
    # their targets, looking for what they might say takes some 0.3 s longer.
    y = rng.integers(0, 10, steps * size)
    x = rng.normal(size=(10, *model.input_shape[1:]))[y]
    x = (x + rng.normal(size=x.shape)).astype("float32")
    first = []

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.began = time.process_time()

        def on_train_batch_begin(self, batch, logs=None):
            if batch == 1:
                first.append(time.process_time() - self.began)

    path = tempfile.mkdtemp()
    callbacks = {
        "plain": lambda: [],
        "watched": lambda: [keras_babysit.Babysitter(path, verbose=0)],
        "first step": lambda: [keras_babysit.Babysitter(path, every=10**9, verbose=0)],
        "tensorboard": lambda: [
            keras.callbacks.TensorBoard(path, histogram_freq=1, write_images=True)
        ],
    }[who]()
    began = time.process_time()
    model.fit(x, y, batch_size=size, verbose=0, callbacks=[Clock(), *callbacks])
    took = time.process_time() - began
    # Not `ru_maxrss`, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in status if line.startswith("VmHWM"))
    print(json.dumps([took, first[0] if first else took, int(peak.split()[1]) / 1024]))


def measure(name, who, steps):
    """Runs `train` in a process of its own."""
    command = [sys.executable, __file__, "--train", name, who, "--steps", str(steps)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--who", nargs="+", choices=WHO, default=list(WHO))
    parser.add_argument("--train", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(*arguments.train, arguments.steps)
        return
    others = [who for who in arguments.who if who != "plain"]
    print(" | ".join(["| ", "Keras's first step", "its fit", *others]) + " |")
    print("|---" * (len(others) + 3) + "|")
    for name in arguments.models:
        found = {who: median(name, who, arguments) for who in arguments.who}
        fit, first, memory = found.pop("plain")
        cells = [f"{first:.2f} s", f"{fit:.2f} s"]
        for _who, (seconds, _, peak) in found.items():
            added = seconds - fit
            cells += [f"{added:.2f} s ({added / first:.2f}), {peak / memory:.2f}"]
        print(" | ".join([f"| {name}", *cells]) + " |", flush=True)


def median(name, who, arguments):
    """Medians of what `train` prints over the rounds."""
    rounds = [measure(name, who, arguments.steps) for _ in range(arguments.rounds)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


if __name__ == "__main__":
    main()
