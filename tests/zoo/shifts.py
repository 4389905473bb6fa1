"""Faults of validation data that were prepared otherwise than the training data."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras.optimizers import Adam

from zoo import data
from zoo.cases import fitting, net, pair
from zoo.causes import WORSE
from zoo.streams import batches_of
from zoo.training import BCE, SPARSE, cnn, mlp

DIFFERS = "validation-differs"


def trained(model, loss=SPARSE, rate=3e-3, metric="accuracy"):
    model.compile(Adam(rate), loss, metrics=[metric])
    return model


def validation_of(split, size=32):
    return tf.data.Dataset.from_tensor_slices(split.val).batch(size)


@pair("cnn multi-class", DIFFERS, WORSE, reaches="val_accuracy > 0.9")
def only_the_training_pipeline_rescales(bad):
    split = data.images(raw=True)

    def rescaled(x, y):
        return x / 16, y

    validation = validation_of(split)
    return trained(cnn()), {
        "x": batches_of(split).shuffle(50, seed=1).map(rescaled),
        "validation_data": validation if bad else validation.map(rescaled),
        "epochs": 8,
    }


class Table(keras.utils.PyDataset):
    """Batches of a table; `scaler` are the mean and standard deviation."""

    def __init__(self, x, y, scaler=(0, 1)):
        super().__init__()
        self.x, self.y = (x - scaler[0]) / scaler[1], y

    def __len__(self):
        return -(-len(self.x) // 16)

    def __getitem__(self, i):
        at = slice(16 * i, 16 * i + 16)
        return self.x[at], self.y[at]


@pair("mlp multi-class", DIFFERS, WORSE, reaches="val_accuracy > 0.9")
def only_the_training_table_is_standardized(bad):
    split = data.wine(raw=True)
    scaler = split.x.mean(axis=0), split.x.std(axis=0)
    hidden = L.Dense(24, activation="relu")
    model = trained(net((13,), hidden, L.Dense(3, activation="softmax")), rate=1e-2)
    validation = Table(*split.val, *([] if bad else [scaler]))
    return model, {
        "x": Table(split.x, split.y, scaler),
        "validation_data": validation,
        "epochs": 15,
    }


@pair("mlp multi-class", DIFFERS, WORSE, reaches="val_accuracy > 0.9")
def generators_of_two_ranges(bad):
    split = data.digits()

    def batches(x, y):
        while True:
            for i in range(0, len(x) - 32, 32):
                yield x[i : i + 32], y[i : i + 32]

    val_x = 2 * split.val_x - 1 if bad else split.val_x
    return trained(mlp()), {
        "x": batches(split.x, split.y),
        "steps_per_epoch": 41,
        "validation_data": batches(val_x, split.val_y),
        "validation_steps": 13,
        "epochs": 10,
    }


@pair("mlp regression", DIFFERS, WORSE, reaches="val_r2_score > 0.6")
def only_training_targets_standardized(bad):
    split = data.housing()
    mean, std = split.y.mean(), split.y.std()
    val_y = split.val_y if bad else (split.val_y - mean) / std
    split = split._replace(y=(split.y - mean) / std, val_y=val_y)
    model = net((13,), L.Dense(32, activation="relu"), L.Dense(1))
    model = trained(model, "mse", 3e-3, keras.metrics.R2Score())
    column = split.map_y(lambda y: y[:, None])
    return model, {
        "x": batches_of(column).shuffle(20, seed=1),
        "validation_data": validation_of(column),
        "epochs": 30,
    }


ORDER = {f"{DIFFERS}: Likely the columns stand in another order"}


def reordered(split, bad):
    """The validation's columns from the last to the first."""
    return split._replace(val_x=split.val_x[:, ::-1]) if bad else split


def standardizing(x, *layers):
    scale = L.Normalization()
    scale.adapt(x)
    return net((x.shape[1],), scale, *layers)


@pair("mlp multi-class", ORDER, WORSE, reaches="val_accuracy > 0.9")
def wines_with_columns_backwards(bad):
    split = reordered(data.wine(raw=True), bad)
    hidden = L.Dense(24, activation="relu")
    model = standardizing(split.x, hidden, L.Dense(3, activation="softmax"))
    return trained(model, rate=1e-2), fitting(split, 15, 16)


@pair("mlp binary", ORDER, WORSE, reaches="val_accuracy > 0.9")
def measurements_with_columns_backwards(bad):
    split = reordered(data.breast_cancer(raw=True), bad)
    hidden = L.Dense(16, activation="relu")
    model = standardizing(split.x, hidden, L.Dense(1, activation="sigmoid"))
    return trained(model, BCE), {
        "x": batches_of(split).shuffle(50, seed=1),
        "validation_data": validation_of(split),
        "epochs": 12,
    }


@pair("mlp regression", ORDER, WORSE, reaches="val_r2_score > 0.6")
def cars_with_columns_backwards(bad):
    split = reordered(data.cars(raw=True), bad).map_y(lambda y: y[:, None])
    model = standardizing(split.x, L.Dense(32, activation="relu"), L.Dense(1))
    return trained(model, "mse", 1e-2, keras.metrics.R2Score()), {
        "x": Table(split.x, split.y),
        "validation_data": Table(*split.val),
        "epochs": 40,
    }


RENUMBERED = "validation-classes-permuted"


def renumbered(split, bad, order):
    """The validation's classes as another encoder numbers them."""
    return split._replace(val_y=np.array(order)[split.val_y]) if bad else split


@pair("cnn multi-class", RENUMBERED, WORSE, reaches="val_accuracy > 0.9")
def folders_in_another_order(bad):
    split = renumbered(data.images(), bad, [8, 5, 4, 9, 3, 2, 7, 6, 1, 0])
    return trained(cnn()), {
        "x": batches_of(split).shuffle(50, seed=1),
        "validation_data": validation_of(split),
        "epochs": 8,
    }


@pair("mlp multi-class", RENUMBERED, WORSE, reaches="val_accuracy > 0.9")
def wines_of_two_encoders(bad):
    split = renumbered(data.wine(), bad, [1, 2, 0]).one_hot(3)
    hidden = L.Dense(24, activation="relu")
    model = net((13,), hidden, L.Dense(3, activation="softmax"))
    return trained(model, "categorical_crossentropy", 1e-2), fitting(split, 15, 16)


@pair("mlp multi-class", RENUMBERED, WORSE, reaches="val_accuracy > 0.9")
def two_digits_exchanged(bad):
    split = renumbered(data.digits(), bad, [0, 1, 2, 9, 4, 5, 6, 7, 8, 3])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = net((64,), L.Dense(64, activation="relu"), L.Dense(10))
    return trained(model, loss), fitting(split, 12)


@pair("mlp binary", RENUMBERED, WORSE, reaches="val_accuracy > 0.9")
def sick_and_healthy_exchanged(bad):
    split = renumbered(data.breast_cancer(), bad, [1, 0])
    model = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    return trained(model, BCE), {
        "x": Table(split.x, split.y),
        "validation_data": Table(*split.val),
        "epochs": 10,
    }


TRAINING_ONLY = {"validation-better: What acts in training only explains it"}


class Noisy(keras.Model):
    """Adds noise to its inputs in training, in its own code."""

    def __init__(self, classes, noise):
        super().__init__()
        self.inner = L.Dense(48, activation="relu")
        self.out = L.Dense(classes)
        self.noise = noise
        self.seed = keras.random.SeedGenerator(1)

    def call(self, x, training=False):
        if training and self.noise:
            shape = keras.ops.shape(x)
            x += self.noise * keras.random.normal(shape, seed=self.seed)
        return self.out(self.inner(x))


LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pair("mlp multi-class", TRAINING_ONLY, reaches="val_accuracy > 0.85")
def digits_with_noise_in_call(bad):
    return trained(Noisy(10, 0.6 if bad else 0), LOGITS), fitting(data.digits(), 16)


class Dropping(keras.Model):
    """Drops units in its own code."""

    def __init__(self, classes, rate):
        super().__init__()
        self.inner = L.Dense(64, activation="relu")
        self.out = L.Dense(classes)
        self.rate = rate
        self.seed = keras.random.SeedGenerator(1)

    def call(self, x, training=False):
        x = self.inner(x)
        if training and self.rate:
            x = keras.random.dropout(x, self.rate, seed=self.seed)
        return self.out(x)


@pair("mlp multi-class", TRAINING_ONLY, reaches="val_accuracy > 0.85")
def digits_dropped_in_call(bad):
    return trained(Dropping(10, 0.8 if bad else 0), LOGITS), fitting(data.digits(), 16)


class Erasing(keras.Sequential):
    """Erases pixels in its training step."""

    share = 0.0

    def train_step(self, batch):
        x, y = batch
        keep = tf.random.stateless_uniform(
            tf.shape(x), tf.stack([self.optimizer.iterations.value, 0]), 0, 1
        )
        x = tf.where(keep < self.share, tf.zeros_like(x), x)
        return super().train_step((x, y))


@pair("cnn multi-class", TRAINING_ONLY, reaches="val_accuracy > 0.85")
def images_erased_in_the_step(bad):
    model = Erasing(cnn().layers)
    model.share = 0.6 if bad else 0.0
    return trained(model), fitting(data.images(), 14)
