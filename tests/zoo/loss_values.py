"""Faults of what reaches the loss, which only its values show."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import Adam

from zoo import data
from zoo.cases import fitting, net, pair
from zoo.causes import FLAT

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"
ANY = FLAT | {"stopped-too-early", "learning-rate-too-low", "accuracy-at-majority"}


class OwnStep(keras.Model):
    """Computes a loss by itself, and logs it under a name of its own."""

    def __init__(self, body, loss, tracked=True, name_of_loss="own"):
        super().__init__()
        self.body, self.own = body, loss
        self.tracked, self.name_of_loss = tracked, name_of_loss

    def call(self, x):
        return self.body(x)

    def train_step(self, batch):
        x, y = batch[:2]
        with tf.GradientTape() as tape:
            loss = self.own(y, self(x, training=True))
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        if self.tracked:
            self._loss_tracker.update_state(loss)
        return {self.name_of_loss: loss}


def regressor(features, hidden=32):
    return net(
        (features,),
        L.Dense(hidden, activation="relu"),
        L.Dense(hidden, activation="relu"),
        L.Dense(1),
    )


def own(body, loss, split, epochs, rate=5e-3, size=32, **more):
    model = OwnStep(body, loss, **more)
    model(split.x[:2])
    model.compile(Adam(rate))
    return model, {"x": split.x, "y": split.y, "epochs": epochs, "batch_size": size}


BROADCAST = {"targets-broadcast"}


@pair("custom regression", BROADCAST, ANY, reaches="own < 6")
def prices_against_a_column(bad):
    def absolute(y, p):
        return ops.mean(ops.abs(p - (y if bad else y[:, None])))

    return own(regressor(13), absolute, data.housing(), 30)


@pair("custom regression", BROADCAST, ANY, reaches="own < 0.3")
def waves_against_a_column(bad):
    split = data.waves().map_y(lambda y: y[:, 0])

    def squared(y, p):
        p = p if bad else ops.squeeze(p, -1)
        return ops.mean(tf.math.squared_difference(y, p))

    body = net((16, 1), L.GRU(16), L.Dense(1))
    return own(body, squared, split, 10, 1e-2)


class Absolute(keras.losses.Loss):
    def __init__(self, bad):
        super().__init__(name="absolute")
        self.bad = bad

    def call(self, y, p):
        return ops.abs(y - (p if self.bad else ops.squeeze(p, -1)))


@pair("mlp regression", BROADCAST, ANY, reaches="val_loss < 4")
def loss_class_over_a_column(bad):
    model = regressor(7)
    model.compile(Adam(1e-2), Absolute(bad))
    return model, fitting(data.cars(), 30)


class Subclassed(keras.Model):
    """Whose outputs no name tells."""

    def __init__(self, units, function=None):
        super().__init__()
        self.hidden, self.out = L.Dense(32, activation="relu"), L.Dense(units)
        self.function = function

    def call(self, x):
        x = self.out(self.hidden(x))
        return x if self.function is None else self.function(x) + 0.0


TWICE = {"probabilities-for-logits"}


@pair("subclassed multi-class", TWICE, ANY, reaches="val_accuracy > 0.9")
def softmax_in_call(bad):
    model = Subclassed(10, ops.softmax if bad else None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Adam(3e-3), loss, metrics=["accuracy"])
    return model, fitting(data.digits(), 10)


@pair("subclassed binary", TWICE, ANY, reaches="val_loss < 0.25")
def sigmoid_in_call(bad):
    model = Subclassed(1, ops.sigmoid if bad else None)
    model.compile(Adam(3e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    return model, fitting(data.breast_cancer(), 12)


@pair("mlp multi-class", TWICE, ANY, reaches="val_accuracy > 0.9")
def own_loss_over_softmax(bad):
    def smooth(y, p):
        y = 0.95 * y + 0.05 / 3
        return keras.losses.categorical_crossentropy(y, p, from_logits=bad)

    model = net(
        (13,),
        L.Dense(24, activation="relu"),
        L.Dense(3, activation="softmax"),
        L.Rescaling(1.0),
    )
    model.compile(Adam(3e-3), smooth, metrics=["accuracy"])
    return model, fitting(data.wine().one_hot(3), 20, 8)


RAW = {"logits-for-probabilities"}


@pair("subclassed multi-class", RAW, ANY, reaches="val_accuracy > 0.85")
def no_softmax_in_call(bad):
    model = Subclassed(10, None if bad else ops.softmax)
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 10)


@pair("mlp binary", RAW, ANY, reaches="val_accuracy > 0.9")
def own_loss_over_logits(bad):
    def weighted(y, p):
        return 2.0 * keras.losses.binary_crossentropy(y, p, from_logits=not bad)

    model = net((30,), L.Dense(16, activation="relu"), L.Dense(1))
    metric = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)
    model.compile(Adam(3e-3), weighted, metrics=[metric])
    return model, fitting(data.breast_cancer(), 12)


@pair("custom multi-class", RAW, ANY, reaches="own < 0.4")
def own_step_over_logits(bad):
    def loss(y, p):
        found = keras.losses.sparse_categorical_crossentropy(y, p, from_logits=not bad)
        return ops.mean(found)

    body = net((8, 8, 1), L.Conv2D(8, 3, activation="relu"), L.Flatten(), L.Dense(10))
    return own(body, loss, data.images(), 8, 3e-3)


def masks(classes=2, noise=0.1):
    """Noisy images; the targets are which pixels are dark, grey or bright."""
    rng = np.random.default_rng(0)
    split = data.images()

    def classed(x):
        return np.digitize(x[..., 0], (0.5,) if classes == 2 else (0.25, 0.75))

    def noisy(x):
        return (x + rng.normal(scale=noise, size=x.shape)).astype("float32")

    y, val_y = classed(split.x), classed(split.val_x)
    return data.Split(noisy(split.x), y, noisy(split.val_x), val_y)


def segmenter(*head):
    return net((8, 8, 1), L.Conv2D(16, 3, padding="same", activation="relu"), *head)


AXIS = {"softmax-over-wrong-axis"}


@pair("cnn segmentation", AXIS, ANY, reaches="val_accuracy > 0.9")
def softmax_over_rows(bad):
    model = segmenter(L.Conv2D(3, 1), L.Softmax(axis=1 if bad else -1))
    model.compile(Adam(5e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(masks(3), 8)


@pair("cnn segmentation", AXIS, ANY, reaches="val_accuracy > 0.9")
def softmax_over_columns(bad):
    model = segmenter(L.Conv2D(2, 1), L.Softmax(axis=2 if bad else -1))
    model.compile(Adam(5e-3), "categorical_crossentropy", metrics=["accuracy"])
    return model, fitting(masks().one_hot(2), 8)


@pair("lstm tagging", AXIS, ANY, reaches="val_accuracy > 0.8")
def softmax_over_time(bad):
    split = masks(3)
    split = data.Split(
        split.x[:, 3], split.y[:, 3], split.val_x[:, 3], split.val_y[:, 3]
    )
    model = net(
        (8, 1),
        L.Bidirectional(L.LSTM(12, return_sequences=True)),
        L.Dense(3),
        L.Softmax(axis=1 if bad else -1),
    )
    model.compile(Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 12)


BEYOND = {"targets-beyond-outputs"}


def dice(y, p):
    return 1 - (2 * ops.sum(y * p) + 1) / (ops.sum(y) + ops.sum(p) + 1)


def of_bytes(split, bad):
    scale = 255.0 if bad else 1.0
    return split.map_y(lambda y: (scale * y[..., None]).astype("float32"))


def dice_and_entropy(y, p):
    return dice(y, p) + ops.mean(keras.losses.binary_crossentropy(y, p))


@pair("cnn segmentation", BEYOND, ANY, reaches="val_accuracy > 0.9")
def masks_of_bytes(bad):
    model = segmenter(L.Conv2D(1, 1, activation="sigmoid"))
    model.compile(Adam(5e-3), dice_and_entropy, metrics=["accuracy"])
    return model, fitting(of_bytes(masks(), bad), 8)


@pair("cnn segmentation", BEYOND, ANY, reaches="val_loss < 0.3")
def dice_of_bytes(bad):
    model = segmenter(L.Conv2D(8, 3, padding="same", activation="relu"))
    model.add(L.Conv2D(1, 1, activation="sigmoid"))
    model.compile(Adam(1e-2), dice)
    return model, fitting(of_bytes(masks(), bad), 10)


@pair("custom autoencoder", BEYOND, ANY, reaches="own < 0.45")
def raw_pixels_to_rebuild(bad):
    split = data.digits(raw=bad)
    split = data.Split(data.digits().x, split.x, split.val_x, split.val_x)

    def loss(y, p):
        return ops.mean(keras.losses.binary_crossentropy(y, p))

    body = net((64,), L.Dense(24, activation="relu"), L.Dense(64, activation="sigmoid"))
    return own(body, loss, split, 10)


class Code(L.Layer):
    """Draws a code, and adds its divergence to the loss."""

    def __init__(self, weight):
        super().__init__()
        self.weight, self.seed = weight, keras.random.SeedGenerator(1)

    def call(self, inputs):
        mean, log_var = inputs
        each = ops.square(mean) + ops.exp(log_var) - log_var - 1
        self.add_loss(self.weight * 0.5 * ops.mean(ops.sum(each, -1)))
        noise = keras.random.normal(ops.shape(mean), seed=self.seed)
        return mean + ops.exp(0.5 * log_var) * noise


ALIKE = {"added-loss-too-heavy"}


@pair("dense variational", ALIKE, ANY, reaches="val_loss < 0.06")
def divergence_against_a_mean(bad):
    x = data.digits()
    inputs = keras.Input((64,))
    h = L.Dense(32, activation="relu")(inputs)
    code = Code(1.0 if bad else 1e-3)([L.Dense(8)(h), L.Dense(8)(h)])
    h = L.Dense(32, activation="relu")(code)
    model = keras.Model(inputs, L.Dense(64)(h))
    model.compile(Adam(5e-3), "mse")
    return model, fitting(data.Split(x.x, x.x, x.val_x, x.val_x), 15)


@pair("cnn variational", ALIKE, ANY, reaches="val_loss < 0.5")
def divergence_against_a_mean_of_images(bad):
    x = data.images()
    inputs = keras.Input((8, 8, 1))
    h = L.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    h = L.Flatten()(h)
    code = Code(1.0 if bad else 1 / 64)([L.Dense(6)(h), L.Dense(6)(h)])
    h = L.Reshape((4, 4, 4))(L.Dense(64, activation="relu")(code))
    h = L.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(h)
    output = L.Conv2D(1, 3, padding="same", activation="sigmoid")(h)
    model = keras.Model(inputs, output)
    model.compile(Adam(5e-3), BCE)
    return model, fitting(data.Split(x.x, x.x, x.val_x, x.val_x), 15)


def specks(rows=500, size=16, shift=1.5):
    """Noise with a faint speck of 2 × 2 somewhere, which is to be found."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, size, size, 1)).astype("float32")
    y = np.zeros((rows, size, size, 1), "float32")
    for k, (i, j) in enumerate(rng.integers(0, size - 2, (rows, 2))):
        y[k, i : i + 2, j : j + 2] = 1
        x[k, i : i + 2, j : j + 2] += shift
    n = rows * 3 // 4
    return data.Split(x[:n], y[:n], x[n:], y[n:])


NEVER = {"class-never-predicted"}


def finder(loss, *head):
    first = L.Conv2D(12, 3, padding="same", activation="relu")
    model = net((16, 16, 1), first, *head)
    model.compile(Adam(5e-3), loss)
    return model


@pair("cnn segmentation", NEVER, ANY, reaches="loss < 0.9")
def specks_among_background(bad):
    loss = BCE if bad else dice_and_entropy
    model = finder(loss, L.Conv2D(1, 3, padding="same", activation="sigmoid"))
    return model, fitting(specks(), 10)


@pair("cnn segmentation", NEVER, ANY, reaches="loss < 0.4")
def specks_of_a_class_without_weight(bad):
    def weighted(y, p):
        each = keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)
        weight = 1.0 if bad else 1 + 60 * ops.cast(y[..., 0], "float32")
        return ops.mean(each * weight) / (1 if bad else 2)

    model = finder(weighted, L.Conv2D(2, 3, padding="same"))
    return model, fitting(specks(), 12)


@pair("custom regression", {"logged-loss-is-zero"}, reaches="loss < 8")
def tracker_that_is_not_updated(bad):
    def absolute(y, p):
        return ops.mean(ops.abs(p[:, 0] - y))

    model, arguments = own(
        regressor(13),
        absolute,
        data.housing(),
        20,
        tracked=not bad,
        name_of_loss="loss",
    )
    return model, arguments
