"""Learning-rate annealing: every curve in one picture, and what it does to a model.

Run it with `python examples/annealing.py [picture.png]`. The same small network, from
the same weights, learns handwritten digits by SGD with momentum under each of them; the
last line needs no curve: Keras lowers the rate where the validation loss stops falling.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from rich.console import Console
from rich.table import Column, Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_babysit import schedules

EPOCHS, BATCH = 30, 32
RATE = 0.1

#: All lengths are in epochs: the number of batches in one comes with the data.
CURVES = {
    "Constant": schedules.Constant(RATE),
    "StepDecay": schedules.StepDecay(RATE, factor=0.3, epochs=8),
    "ExponentialDecay": schedules.ExponentialDecay(RATE, k=0.12, epochs=1),
    "InverseTimeDecay": schedules.InverseTimeDecay(RATE, k=0.5, epochs=1),
    "WarmUp, then a cosine": schedules.WarmUp(
        schedules.CosineCycles(RATE, epochs=EPOCHS - 3, cycles=1), epochs=3
    ),
    "OneCycle": schedules.OneCycle(2 * RATE, epochs=EPOCHS),
    "CosineCycles": schedules.CosineCycles(RATE, epochs=10, factor=0.7, cycles=3),
    "Chain": schedules.Chain(
        [RATE / 4, RATE, schedules.ExponentialDecay(RATE, k=0.3, epochs=1)],
        epochs=[2, 12],
    ),
}
TRAINED = ["Constant", "StepDecay", "WarmUp, then a cosine", "OneCycle", "CosineCycles"]


def digits():
    """Returns training and validation data, too few to learn them without effort."""
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        (x / 16).astype("float32"), y, train_size=640, stratify=y, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)


def network(rate):
    """Returns a compiled network that always begins with the same weights."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(48, activation="relu"),
            keras.layers.Dense(48, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train(rate, callbacks=()):
    """Returns the history of a training, and the rate that it ended with."""
    (x, y), held_out = digits()
    model = network(rate)
    history = model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=EPOCHS,
        validation_data=held_out,
        callbacks=list(callbacks),
        verbose=0,
    )
    return history.history, float(model.optimizer.learning_rate)


def main(path):
    """Draws the curves, trains under some of them, and prints a table."""
    (x, _), _ = digits()
    batches = -(-len(x) // BATCH)
    schedules.plot(CURVES, epochs=EPOCHS, path=path)

    table = Table(
        Column("rate", no_wrap=True),
        "training loss",
        "validation loss",
        "accuracy",
        "last rate",
    )

    def run(name, rate, callbacks=()):
        history, last = train(rate, callbacks)
        table.add_row(
            name,
            f"{history['loss'][-1]:.5f}",
            f"{history['val_loss'][-1]:.3f}",
            f"{history['val_accuracy'][-1]:.1%}",
            f"{last:.2g}",
        )

    for name in TRAINED:
        run(name, CURVES[name].with_steps_per_epoch(batches))
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.3, patience=3)
    run("ReduceLROnPlateau", RATE, [plateau])

    console = Console()
    console.print(table)
    console.print(f"The curves are in {path}.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "annealing.png").resolve())
