"""Faults of how data were prepared for the model: padding, scalers, class weights."""

import keras
import numpy as np
from keras import layers as L
from keras.optimizers import SGD, Adam

from zoo import data
from zoo.cases import fitting, net, pair
from zoo.causes import BLOWN, FLAT
from zoo.training import BCE, SPARSE


def padded(split, length, behind):
    """Sequences in `length` steps, filled up with zeros behind or in front."""

    def pad(x):
        shape = (len(x), length - x.shape[1], *x.shape[2:])
        parts = [x, np.zeros(shape, x.dtype)]
        return np.concatenate(parts if behind else parts[::-1], axis=1)

    return split.map_x(pad)


@pair("rnn binary", "padding-unmasked", FLAT, reaches="val_accuracy > 0.75")
def reviews_padded_behind(bad):
    model = net(
        (150,),
        L.Embedding(data.VOCABULARY, 16, mask_zero=not bad),
        L.LSTM(16),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile(Adam(5e-3), BCE, metrics=["accuracy"])
    return model, fitting(padded(data.reviews(), 150, True), 8)


@pair("rnn multi-class", "padding-unmasked", FLAT, reaches="val_accuracy > 0.7")
def topics_padded_behind(bad):
    model = net(
        (160,),
        L.Embedding(data.VOCABULARY, 16),
        L.GRU(24),
        L.Dense(4, activation="softmax"),
    )
    model.compile(Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(padded(data.topics(), 160, bad), 10)


@pair("rnn multi-class", "padding-unmasked", FLAT, reaches="val_accuracy > 0.8")
def rows_of_digits_padded_behind(bad):
    mask = [] if bad else [L.Masking()]
    model = net((150, 8), *mask, L.SimpleRNN(48), L.Dense(10, activation="softmax"))
    model.compile(Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(padded(data.sequences(), 150, True), 12)


def normalized(bad, x, *layers):
    scale = L.Normalization()
    if not bad:
        scale.adapt(x)
    return net((x.shape[1],), scale, *layers)


@pair(
    "mlp multi-class",
    "normalization-not-adapted",
    BLOWN | FLAT,
    reaches="val_accuracy > 0.9",
)
def wines_normalized_by_nothing(bad):
    split = data.wine(raw=True)
    hidden = L.Dense(32, activation="relu")
    model = normalized(bad, split.x, hidden, L.Dense(3, activation="softmax"))
    model.compile(SGD(0.05), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 20, 16)


@pair(
    "mlp binary",
    "normalization-not-adapted",
    BLOWN | FLAT,
    reaches="val_accuracy > 0.9",
)
def measurements_normalized_by_nothing(bad):
    split = data.breast_cancer(raw=True)
    hidden = L.Dense(16, activation="tanh")
    model = normalized(bad, split.x, hidden, L.Dense(1, activation="sigmoid"))
    model.compile(Adam(3e-3), BCE, metrics=["accuracy"])
    return model, fitting(split, 15)


@pair(
    "mlp regression", "normalization-not-adapted", BLOWN | FLAT, reaches="val_mae < 4"
)
def districts_normalized_by_nothing(bad):
    split = data.housing(raw=True)
    hidden = L.Dense(32, activation="relu")
    model = normalized(bad, split.x, hidden, L.Dense(1))
    model.compile(SGD(3e-3), "mse", metrics=["mae"])
    return model, fitting(split, 20)


def balanced(y, bad):
    """Class weights by one over the number of samples, or by that number."""
    count = np.bincount(y) / len(y)
    share = count if bad else 1 / count
    return {k: float(v) for k, v in enumerate(share / share.min())}


@pair("mlp binary", "class-weight-reversed", FLAT, reaches="val_auc > 0.8")
def frauds_weigh_less(bad):
    split = data.rare(0.06)
    width = split.x.shape[1]
    model = net(
        (width,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid")
    )
    model.compile(Adam(5e-3), BCE, metrics=[keras.metrics.AUC(name="auc")])
    return model, fitting(split, 10, class_weight=balanced(split.y.astype(int), bad))


def fewer(split, most):
    """Digits of which from class to class fewer are left."""
    kept = np.random.default_rng(0).random(len(split.y)) < most ** (split.y / 9)
    return data.Split(split.x[kept], split.y[kept], split.val_x, split.val_y)


@pair("mlp multi-class", "class-weight-reversed", FLAT, reaches="val_accuracy > 0.8")
def rare_digits_weigh_less(bad):
    split = fewer(data.digits(), 0.1)
    model = net(
        (64,), L.Dense(48, activation="relu"), L.Dense(10, activation="softmax")
    )
    model.compile(Adam(5e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 12, class_weight=balanced(split.y, bad))


@pair("cnn multi-class", "class-weight-reversed", FLAT, reaches="val_accuracy > 0.8")
def rare_images_weigh_less(bad):
    split = fewer(data.images(), 0.05)
    model = net(
        (8, 8, 1),
        L.Conv2D(24, 3, activation="relu"),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    weights = balanced(split.y, bad)
    hot = split.one_hot(10)
    model.compile(Adam(3e-3), "categorical_crossentropy", metrics=["accuracy"])
    return model, fitting(hot, 12, class_weight=weights)
