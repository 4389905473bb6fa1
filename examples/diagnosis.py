"""Three ways to get a classifier wrong, and what the Babysitter says of each.

Run it with `python examples/diagnosis.py [log_dir]`. Nothing here is contrived: these
are mistakes that people make and that no curve shows by itself.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from rich.console import Console
from sklearn.datasets import load_breast_cancer, load_digits

import keras_babysit


def network(inputs, units, activation):
    """Returns a small network with one hidden layer."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((inputs,)),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(units, activation=activation, name="output"),
        ]
    )


def softmax_on_one_unit():
    """One unit with softmax always says 1.0, whatever the input."""
    x, y = load_breast_cancer(return_X_y=True)
    x = ((x - x.mean(0)) / x.std(0)).astype("float32")
    model = network(30, 1, "softmax")
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model, x, y


def inputs_as_they_came():
    """Measurements of very different size, straight from the file."""
    x, y = load_breast_cancer(return_X_y=True)
    model = network(30, 1, "sigmoid")
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model, x, y


def rate_too_high():
    """Everything is right but the learning rate."""
    x, y = load_digits(return_X_y=True)
    model = network(64, 10, None)
    model.compile(
        keras.optimizers.Adam(1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model, (x / 16).astype("float32"), y


def main(log_dir):
    """Trains all three and prints what was found."""
    console = Console()
    for make in (softmax_on_one_unit, inputs_as_they_came, rate_too_high):
        console.rule(make.__name__)
        console.print(make.__doc__, "\n")
        model, x, y = make()
        order = np.random.default_rng(0).permutation(len(x))
        babysitter = keras_babysit.Babysitter(log_dir / make.__name__)
        model.fit(
            x[order],
            y[order],
            epochs=8,
            validation_split=0.2,
            callbacks=[babysitter],
            verbose=0,
        )
        console.print()
    print(f"The same again, from the files:\n\n    keras-babysit report {log_dir}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "logs/diagnosis").resolve())
