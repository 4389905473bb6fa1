"""Faults of the optimizer, the learning rate, the size and the length of training."""

import keras
import numpy as np
from keras import layers as L
from keras.optimizers import SGD, Adam, RMSprop

from zoo import data
from zoo.cases import fitting, net, pair
from zoo.causes import BLOWN, FLAT, WORSE

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"
TOO_HIGH = frozenset(
    {
        "learning-rate-too-high",
        "learning-rate-extreme",
        "update-ratio-too-high",
        "loss-not-finite: learning rate is too high",
        "loss-diverging: learning rate is too high",
    }
)
TOO_LOW = frozenset(
    {"learning-rate-too-low", "learning-rate-extreme", "update-ratio-too-low"}
)


def mlp():
    return net(
        (64,),
        L.Dense(64, activation="relu"),
        L.Dense(32, activation="relu"),
        L.Dense(10, activation="softmax"),
    )


def cnn():
    return net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.Conv2D(16, 3, activation="relu"),
        L.Flatten(),
        L.Dense(32, activation="relu"),
        L.Dense(10, activation="softmax"),
    )


def transformer():
    inputs = keras.Input((12,))
    x = L.Embedding(data.VOCABULARY, 16)(inputs)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 8)(x, x))
    y = L.Dense(16)(L.Dense(32, activation="relu")(x))
    x = L.GlobalAveragePooling1D()(L.LayerNormalization()(x + y))
    return keras.Model(inputs, L.Dense(4, activation="softmax")(x))


@pair("mlp multi-class", TOO_HIGH, BLOWN | FLAT, reaches="val_accuracy > 0.93")
def sgd_rate_of_five(bad):
    model = mlp()
    model.compile(SGD(5.0 if bad else 0.1, momentum=0.9), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 8)


@pair("cnn multi-class", TOO_HIGH, BLOWN | FLAT, reaches="val_accuracy > 0.93")
def adam_rate_of_a_third(bad):
    model = cnn()
    model.compile(Adam(0.3 if bad else 3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 8)


@pair("rnn binary", TOO_HIGH, BLOWN | FLAT, reaches="val_accuracy > 0.8")
def rmsprop_rate_of_one(bad):
    model = net(
        (16,),
        L.Embedding(data.VOCABULARY, 16),
        L.LSTM(16),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile(RMSprop(1.0 if bad else 5e-3), BCE, metrics=["accuracy"])
    return model, fitting(data.reviews(), 7)


@pair("mlp regression", TOO_HIGH, BLOWN | FLAT, reaches="val_mae < 3.5")
def sgd_diverges_on_prices(bad):
    model = net((13,), L.Dense(32, activation="relu"), L.Dense(1))
    model.compile(SGD(0.2 if bad else 5e-3), "mse", metrics=["mae"])
    return model, fitting(data.housing(), 20)


@pair("transformer multi-class", TOO_HIGH, BLOWN | FLAT, reaches="val_accuracy > 0.9")
def adam_rate_in_transformer(bad):
    model = transformer()
    model.compile(Adam(0.3 if bad else 5e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.topics(), 8, 64)


@pair("linear regression", TOO_HIGH, BLOWN, reaches="val_mae < 4")
def linear_regression_diverges(bad):
    model = net((7,), L.Dense(1))
    model.compile(SGD(1.0 if bad else 0.02), "mse", metrics=["mae"])
    return model, fitting(data.cars(), 20)


@pair(
    "mlp regression", TOO_HIGH | {"dead-relu"}, BLOWN | FLAT, reaches="val_loss < 0.7"
)
def relus_killed_by_the_rate(bad):
    model = net(
        (10,),
        L.Dense(32, activation="relu"),
        L.Dense(32, activation="relu"),
        L.Dense(1),
    )
    model.compile(SGD(0.6 if bad else 5e-3, momentum=0.9), "mse")
    return model, fitting(data.diabetes(), 10)


@pair("mlp multi-class", TOO_LOW, FLAT, reaches="val_accuracy > 0.93")
def sgd_rate_too_low(bad):
    model = mlp()
    model.compile(SGD(1e-5 if bad else 0.1, momentum=0.9), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 8)


@pair("cnn multi-class", TOO_LOW, FLAT, reaches="val_accuracy > 0.93")
def adam_rate_too_low(bad):
    model = cnn()
    model.compile(Adam(1e-6 if bad else 3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 8)


@pair("transformer multi-class", TOO_LOW, FLAT, reaches="val_accuracy > 0.9")
def rate_too_low_in_transformer(bad):
    model = transformer()
    model.compile(Adam(1e-6 if bad else 5e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.topics(), 8, 64)


@pair("mlp regression", TOO_LOW, FLAT, reaches="val_mae < 3")
def rate_too_low_for_mileage(bad):
    model = net((7,), L.Dense(64, "elu"), L.Dense(16, "elu"), L.Dense(1))
    model.compile(Adam(1e-5 if bad else 5e-3), "mse", metrics=["mae"])
    return model, fitting(data.cars(), 25)


@pair(
    "mlp multi-class",
    TOO_LOW | {"stopped-too-early", "schedule-ends-early"},
    FLAT,
    reaches="val_accuracy > 0.93",
)
def rate_decays_within_an_epoch(bad):
    schedule = keras.optimizers.schedules.ExponentialDecay(
        0.1, decay_steps=8 if bad else 400, decay_rate=0.5
    )
    model = mlp()
    model.compile(SGD(schedule), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 14)


@pair("mlp regression", "overfitting", WORSE, reaches="val_loss < 0.7")
def fifty_patients(bad):
    split = data.diabetes().head(50) if bad else data.diabetes()
    model = net(
        (10,),
        L.Dense(128, activation="relu"),
        L.Dense(128, activation="relu"),
        L.Dense(1),
    )
    model.compile(Adam(2e-3), "mse")
    stop = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
    callbacks = [] if bad else [stop]
    return model, fitting(split, 60 if bad else 12, callbacks=callbacks)


@pair("mlp binary", "overfitting", WORSE, reaches="val_accuracy > 0.8")
def noise_learned_by_heart(bad):
    split = data.moons(noise=0.4)
    model = net(
        (2,),
        L.Dense(256, activation="relu"),
        L.Dense(256, activation="relu"),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile(Adam(1e-2), BCE, metrics=["accuracy"])
    return model, fitting(split.head(40) if bad else split, 40 if bad else 6)


@pair("rnn binary", "overfitting", WORSE, reaches="val_accuracy > 0.8")
def hundred_reviews(bad):
    split = data.reviews().head(120) if bad else data.reviews()
    model = net(
        (16,),
        L.Embedding(data.VOCABULARY, 32),
        L.LSTM(32),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile(Adam(5e-3), BCE, metrics=["accuracy"])
    return model, fitting(split, 25 if bad else 5)


@pair("cnn multi-class", "overfitting", WORSE, reaches="val_accuracy > 0.93")
def forty_images(bad):
    split = data.images()
    if bad:
        split = split.head(60)
    model = net(
        (8, 8, 1),
        L.Conv2D(32, 3, activation="relu"),
        L.Flatten(),
        L.Dense(128, activation="relu"),
        L.Dense(10, activation="softmax"),
    )
    model.compile(Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 40 if bad else 6)


@pair(
    "linear multi-class",
    {"underfitting", "linear-model"},
    FLAT,
    reaches="val_accuracy > 0.9",
)
def no_hidden_layer_for_spirals(bad):
    hidden = [] if bad else [L.Dense(64, activation="relu"), L.Dense(32, "relu")]
    model = net((2,), *hidden, L.Dense(3, activation="softmax"))
    model.compile(Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(data.spirals(), 15)


@pair("mlp regression", "underfitting", FLAT, reaches="val_loss < 0.02")
def one_unit_for_a_sine(bad):
    model = net((1,), L.Dense(1 if bad else 32, activation="tanh"), L.Dense(1))
    model.compile(Adam(2e-2), "mse")
    return model, fitting(data.sine().map_x(lambda x: 2 * x), 20)


@pair(
    "mlp multi-class",
    {"stopped-too-early", "learning-rate-too-low"},
    TOO_LOW | FLAT,
    reaches="val_accuracy > 0.85",
)
def two_epochs(bad):
    model = net(
        (784,),
        L.Dense(64, activation="relu"),
        L.Dense(10, activation="softmax"),
    )
    model.compile(SGD(0.02 if bad else 0.1), SPARSE, metrics=["accuracy"])
    return model, fitting(data.mnist(), 2 if bad else 12, 64)


@pair(
    "cnn multi-class",
    {"stopped-too-early", *TOO_LOW},
    FLAT,
    reaches="val_accuracy > 0.93",
)
def one_epoch_at_a_tiny_rate(bad):
    model = cnn()
    model.compile(Adam(1e-5 if bad else 3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 1 if bad else 8)


def log_likelihood(y_true, y_pred):
    """Of a normal distribution whose variance may become negative."""
    mean, variance = y_pred[:, :1], y_pred[:, 1:]
    error = keras.ops.square(y_true - mean)
    return keras.ops.log(variance) + error / variance


def safe_likelihood(y_true, y_pred):
    mean, variance = y_pred[:, :1], keras.ops.softplus(y_pred[:, 1:]) + 1e-3
    return keras.ops.log(variance) + keras.ops.square(y_true - mean) / variance


@pair("mlp regression", "loss-not-finite", BLOWN, reaches="val_loss < -2")
def logarithm_in_the_loss(bad):
    model = net((1,), L.Dense(32, activation="tanh"), L.Dense(2))
    model.compile(Adam(1e-2), log_likelihood if bad else safe_likelihood)
    return model, fitting(data.sine(), 15)


@pair(
    "cnn binary",
    TOO_HIGH | {"batch-loss-noisy"},
    BLOWN | FLAT,
    reaches="val_loss < 0.2",
)
def single_samples_at_a_high_rate(bad):
    split = data.even(image=True)
    model = net(
        (8, 8, 1),
        L.Conv2D(8, 3, activation="relu"),
        L.Flatten(),
        L.Dense(16, activation="relu"),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile(SGD(0.5 if bad else 0.1, momentum=0.9), BCE, metrics=["accuracy"])
    if bad:
        return model, fitting(split.head(300), 2, 1)
    return model, fitting(split, 8, 32)


@pair(
    "mlp multi-class",
    {"inputs-not-scaled", "feature-scales-differ"},
    BLOWN | FLAT | {"learning-rate-too-high", "loss-not-finite"},
    reaches="val_accuracy > 0.88",
)
def raw_pixels_and_a_high_rate(bad):
    model = net(
        (784,),
        L.Dense(64, activation="relu"),
        L.Dense(64, activation="relu"),
        L.Dense(10, activation="softmax"),
    )
    model.compile(SGD(0.1), SPARSE, metrics=["accuracy"])
    return model, fitting(data.mnist(raw=bad), 9, 64)


@pair(
    "mlp binary",
    "softmax-on-one-unit",
    {"inputs-not-scaled", "feature-scales-differ", *FLAT, *BLOWN},
    reaches="val_accuracy > 0.93",
)
def softmax_on_one_unit_and_raw_inputs(bad):
    model = net(
        (30,),
        L.Dense(16, activation="relu"),
        L.Dense(1, activation="softmax" if bad else "sigmoid"),
    )
    model.compile("adam", BCE, metrics=["accuracy"])
    return model, fitting(data.breast_cancer(raw=bad), 18)


@pair(
    "cnn multi-class",
    "nan-in-data",
    BLOWN | FLAT,
    reaches="val_accuracy > 0.9",
)
def images_divided_by_their_range(bad):
    def standardized(x):
        flat = x.reshape(len(x), -1)
        low, high = flat.min(0), flat.max(0)
        width = high - low
        with np.errstate(invalid="ignore", divide="ignore"):
            scaled = (flat - low) / (width if bad else np.maximum(width, 1e-3))
        return scaled.reshape(x.shape).astype("float32")

    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3),
        L.BatchNormalization(),
        L.ReLU(),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images().map_x(standardized), 8)
