"""Faults of the order in which a dataset or generator yields its batches."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras.optimizers import Adam

from zoo import data
from zoo.cases import net, pair
from zoo.causes import FLAT, WORSE
from zoo.training import BCE, SPARSE, cnn, mlp


def trained(model, loss=SPARSE, rate=3e-3):
    model.compile(Adam(rate), loss, metrics=["accuracy"])
    return model


def streamed(x, split, epochs, **more):
    return {"x": x, "validation_data": split.val, "epochs": epochs, **more}


def batches_of(split, size=32):
    return tf.data.Dataset.from_tensor_slices((split.x, split.y)).batch(size)


@pair("mlp multi-class", "same-batch-again", WORSE, reaches="val_accuracy > 0.9")
def generator_that_starts_anew(bad):
    split = data.digits()

    def batches():
        i = 0
        while True:
            yield split.x[i : i + 32], split.y[i : i + 32]
            i = 0 if bad else (i + 32) % 1_300

    return trained(mlp()), streamed(batches(), split, 8, steps_per_epoch=40)


@pair("cnn multi-class", "same-batch-again", WORSE, reaches="val_accuracy > 0.9")
def taken_before_it_repeats(bad):
    split = data.images()
    stream = batches_of(split).shuffle(50, seed=1)
    stream = stream.take(1).cache().repeat() if bad else stream.repeat()
    return trained(cnn()), streamed(stream, split, 6, steps_per_epoch=42)


class Pages(keras.utils.PyDataset):
    def __init__(self, split, bad):
        super().__init__()
        self.split, self.bad = split, bad

    def __len__(self):
        return len(self.split.x) // 16

    def __getitem__(self, i):
        at = slice(0, 16) if self.bad else slice(16 * i, 16 * i + 16)
        return self.split.x[at], self.split.y[at]


@pair("mlp binary", "same-batch-again", WORSE, reaches="val_accuracy > 0.9")
def index_that_is_not_used(bad):
    split = data.breast_cancer()
    model = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    return trained(model, BCE), streamed(Pages(split, bad), split, 12)


def by_class(split):
    order = np.argsort(split.y, kind="stable")
    return data.Split(split.x[order], split.y[order], split.val_x, split.val_y)


MIXED = {"barely-shuffled", "unshuffled-sorted-data"}


def mixed(split, buffer, size=32):
    stream = tf.data.Dataset.from_tensor_slices((split.x, split.y))
    return stream.shuffle(buffer, seed=1).batch(size)


@pair("mlp multi-class", MIXED, WORSE | FLAT, reaches="val_accuracy > 0.9")
def small_buffer_over_sorted_digits(bad):
    split = by_class(data.digits())
    return trained(mlp()), streamed(mixed(split, 100 if bad else 2_000), split, 8)


@pair("cnn multi-class", MIXED, WORSE | FLAT, reaches="val_accuracy > 0.9")
def small_buffer_over_sorted_images(bad):
    split = by_class(data.images())
    return trained(cnn()), streamed(mixed(split, 64 if bad else 2_000, 16), split, 6)


@pair("mlp multi-class", MIXED, WORSE | FLAT, reaches="val_accuracy > 0.9")
def batches_shuffled_in_place_of_samples(bad):
    split = by_class(data.wine())
    stream = tf.data.Dataset.from_tensor_slices((split.x, split.y))
    stream = stream.batch(8).shuffle(50) if bad else stream.shuffle(500).batch(8)
    hidden = L.Dense(24, activation="relu")
    model = net((13,), hidden, L.Dense(3, activation="softmax"))
    return trained(model, rate=1e-2), streamed(stream, split, 12)


SHIFTED = {"unrelated-inputs: shifted"}


def shifted(split, bad):
    """Labels of the row before."""
    return split._replace(y=np.roll(split.y, 1)) if bad else split


@pair("mlp multi-class", SHIFTED, FLAT | WORSE, reaches="val_accuracy > 0.9")
def labels_of_the_row_before(bad):
    split = shifted(data.digits(), bad)
    arguments = streamed(split.x, split, 10, y=split.y)
    return trained(mlp()), arguments


@pair("cnn multi-class", SHIFTED, FLAT | WORSE, reaches="val_accuracy > 0.9")
def images_without_the_first_row(bad):
    split = data.images()
    x, y = (split.x[2:], split.y[:-2]) if bad else (split.x, split.y)
    return trained(cnn()), streamed(x, split, 8, y=y)


@pair("mlp regression", SHIFTED, FLAT | WORSE, reaches="val_loss < 0.4")
def prices_of_the_next_row(bad):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1_000, 6)).astype("float32")
    y = (x[:, 0] - 0.7 * x[:, 1] + 0.2 * rng.normal(size=1_000)).astype("float32")
    split = data.Split(x[:750], y[:750], x[750:], y[750:])
    split = split._replace(y=np.roll(split.y, -1)) if bad else split
    model = net((6,), L.Dense(24, activation="relu"), L.Dense(1))
    model.compile(Adam(5e-3), "mse")
    return model, streamed(split.x, split, 15, y=split.y)


class Reshuffled(keras.utils.PyDataset):
    """Shuffles between epochs: inputs and labels, or inputs alone."""

    def __init__(self, split, bad, size=32):
        super().__init__()
        self.x, self.y, self.bad, self.size = split.x, split.y, bad, size
        self.rng = np.random.default_rng(0)

    def __len__(self):
        return len(self.x) // self.size

    def __getitem__(self, i):
        at = slice(self.size * i, self.size * (i + 1))
        return self.x[at], self.y[at]

    def on_epoch_end(self):
        order = self.rng.permutation(len(self.x))
        self.x = self.x[order]
        self.y = self.y if self.bad else self.y[order]


APART = {"relabelled-samples"}


@pair("cnn multi-class", APART, FLAT | WORSE, reaches="val_accuracy > 0.9")
def images_reshuffled_alone(bad):
    split = data.images()
    return trained(cnn()), streamed(Reshuffled(split, bad), split, 8)


@pair("mlp binary", APART, FLAT | WORSE, reaches="val_accuracy > 0.9")
def patients_reshuffled_alone(bad):
    split = data.breast_cancer()
    model = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    return trained(model, BCE), streamed(Reshuffled(split, bad, 16), split, 12)


@pair(
    "mlp multi-class",
    APART | {"unrelated-inputs"},
    FLAT | WORSE,
    reaches="val_accuracy > 0.9",
)
def two_datasets_shuffled_apart(bad):
    split = data.digits()
    x, y = (
        tf.data.Dataset.from_tensor_slices(a).shuffle(2_000, seed=s if bad else 5)
        for a, s in ((split.x, 1), (split.y, 2))
    )
    return trained(mlp()), streamed(
        tf.data.Dataset.zip((x, y)).batch(32, True), split, 14
    )
