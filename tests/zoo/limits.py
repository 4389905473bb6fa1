"""Faults of what a model can represent, of hinge losses, of NaN over depth and time."""

import keras
import numpy as np
from keras import layers as L
from keras.optimizers import SGD, Adam, RMSprop

from zoo import data
from zoo.cases import fitting, net, pair
from zoo.causes import BLOWN, FLAT
from zoo.training import BCE, SPARSE


def bent(bad, width, units, activation, hidden=32):
    middle = [] if bad else [L.Dense(hidden, activation="relu")]
    return net((width,), *middle, L.Dense(units, activation=activation))


@pair("mlp binary", "linear-model", FLAT, reaches="val_accuracy > 0.9")
def xor_without_hidden_layer(bad):
    model = bent(bad, 2, 1, "sigmoid")
    model.compile(Adam(1e-2), BCE, metrics=["accuracy"])
    return model, fitting(data.xor(), 20)


@pair("mlp multi-class", "linear-model", FLAT, reaches="val_accuracy > 0.8")
def spirals_without_hidden_layer(bad):
    model = bent(bad, 2, 3, "softmax", 64)
    model.compile(Adam(3e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(data.spirals(), 40)


@pair("mlp regression", "linear-model", FLAT, reaches="val_loss < 0.2")
def product_without_hidden_layer(bad):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 3)).astype("float32")
    y = (x[:, 0] * x[:, 1] + 0.3 * x[:, 2]).astype("float32")
    model = bent(bad, 3, 1, None)
    model.compile(Adam(1e-2), "mse")
    return model, fitting(data.Split(x[:800], y[:800], x[800:], y[800:]), 25)


HINGE = {"hinge-range", "output-range", "wrong-output-activation"}


@pair("mlp binary", HINGE, FLAT, reaches="val_loss < 0.3")
def hinge_behind_a_sigmoid(bad):
    split = data.breast_cancer().map_y(lambda y: 2.0 * y - 1)
    output = L.Dense(1, activation="sigmoid" if bad else "tanh")
    model = net((30,), L.Dense(16, activation="relu"), output)
    model.compile(Adam(3e-3), "hinge")
    return model, fitting(split, 12)


@pair("mlp binary", HINGE | {"labels-out-of-range"}, FLAT, reaches="val_loss < 0.3")
def hinge_with_labels_one_and_two(bad):
    split = data.moons().map_y(lambda y: y + 1.0 if bad else 2.0 * y - 1)
    model = net((2,), L.Dense(32, activation="relu"), L.Dense(1))
    model.compile(Adam(1e-2), "squared_hinge")
    return model, fitting(split, 12)


@pair("mlp binary", HINGE, FLAT, reaches="val_loss < 0.4")
def hinge_behind_a_relu(bad):
    split = data.breast_cancer()
    output = L.Dense(1, activation="relu" if bad else None)
    model = net((30,), L.Dense(16, activation="relu"), output)
    model.compile(Adam(3e-3), "squared_hinge")
    return model, fitting(split, 12)


OVER_DEPTH = frozenset(
    {
        "loss-not-finite: explode",
        "bad-initialization",
        "activations-exploding",
        "exploding-gradients",
    }
)


def deep(depth, start, shape=(64,), width=48):
    hidden = [
        L.Dense(width, activation="relu", kernel_initializer=start)
        for _ in range(depth)
    ]
    return net(shape, *hidden, L.Dense(10, activation="softmax"))


@pair("deep mlp multi-class", OVER_DEPTH, BLOWN | FLAT, reaches="val_accuracy > 0.8")
def weights_of_unit_size_in_a_deep_model(bad):
    start = keras.initializers.RandomNormal(stddev=0.8) if bad else "he_normal"
    model = deep(14, start)
    model.compile(Adam(1e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 15)


@pair("deep mlp multi-class", OVER_DEPTH, BLOWN | FLAT, reaches="val_accuracy > 0.9")
def residual_sums_without_normalization(bad):
    inputs = keras.Input((64,))
    x = L.Dense(48, activation="relu")(inputs)
    for _ in range(24):
        y = x if bad else L.LayerNormalization()(x)
        y = L.Dense(48, activation="relu", kernel_initializer="he_normal")(y)
        x = x + y
    x = x if bad else L.LayerNormalization()(x)
    model = keras.Model(inputs, L.Dense(10, activation="softmax")(x))
    model.compile(SGD(0.01, momentum=0.9), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 10)


VANISHING = frozenset(
    {
        "vanishing-gradients",
        "activations-collapsing",
        "saturated-activation",
        "bad-initialization",
        "dead-relu",
        "long-memory",
    }
)


@pair("deep mlp multi-class", VANISHING, FLAT, reaches="val_accuracy > 0.85")
def thirty_glorot_relus(bad):
    model = deep(30 if bad else 6, "glorot_uniform", width=24)
    model.compile(
        SGD(0.01 if bad else 0.05, momentum=0.9), SPARSE, metrics=["accuracy"]
    )
    return model, fitting(data.digits(), 15)


@pair("rnn multi-class", VANISHING, FLAT, reaches="val_accuracy > 0.9")
def first_step_of_a_long_series(bad):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 80, 1)).astype("float32")
    y = (x[:, 2 if bad else -3, 0] > 0).astype(int)
    model = net((80, 1), L.SimpleRNN(24), L.Dense(2, activation="softmax"))
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.Split(x[:800], y[:800], x[800:], y[800:]), 15)


@pair("deep mlp binary", VANISHING, FLAT, reaches="val_accuracy > 0.85")
def deep_sigmoids_on_moons(bad):
    kind = "sigmoid" if bad else "tanh"
    hidden = [L.Dense(24, activation=kind) for _ in range(10 if bad else 3)]
    model = net((2,), *hidden, L.Dense(1, activation="sigmoid"))
    model.compile(SGD(0.1, momentum=0.9), BCE, metrics=["accuracy"])
    return model, fitting(data.moons(), 20)


def ramps(length):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, length, 1)).astype("float32")
    y = x[:, -4:, 0].sum(axis=1).astype("float32")
    return data.Split(x[:600], y[:600], x[600:], y[600:])


@pair("rnn regression", OVER_DEPTH, BLOWN | FLAT, reaches="val_loss < 1")
def relu_rnn_explodes_over_time(bad):
    start = keras.initializers.RandomNormal(stddev=0.35) if bad else "orthogonal"
    activation = "relu" if bad else "tanh"
    layer = L.SimpleRNN(24, activation=activation, recurrent_initializer=start)
    model = net((40, 1), layer, L.Dense(1))
    model.compile(SGD(5e-3), "mse")
    return model, fitting(ramps(40), 12)


@pair("deep mlp regression", OVER_DEPTH, BLOWN | FLAT, reaches="val_loss < 0.8")
def deep_regression_of_unit_weights(bad):
    start = keras.initializers.RandomUniform(-1, 1) if bad else "he_uniform"
    hidden = [
        L.Dense(32, activation="relu", kernel_initializer=start) for _ in range(10)
    ]
    model = net((10,), *hidden, L.Dense(1))
    model.compile(RMSprop(1e-3) if not bad else SGD(1e-3), "mse")
    return model, fitting(data.diabetes(), 12)


def by_class(split, known):
    """The samples sorted by class and cut by hand, and as they should be."""
    x = np.concatenate([split.x, split.val_x])
    y = np.concatenate([split.y, split.val_y])
    order = np.argsort(y, kind="stable")
    x, y = x[order], y[order]
    cut = int((y < known).sum())
    return data.Split(x[:cut], y[:cut], x[cut:], y[cut:])


def unseen(bad, split, classes, known, *hidden):
    cut = by_class(split, known) if bad else split
    shape = split.x.shape[1:]
    model = net(shape, *hidden, L.Dense(classes, activation="softmax"))
    model.compile(Adam(5e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(cut, 15)


MISSING = "sorted-validation-split"


@pair("mlp multi-class", MISSING, {"overfitting"}, reaches="val_accuracy > 0.9")
def digits_cut_by_hand(bad):
    return unseen(bad, data.digits(), 10, 8, L.Dense(48, activation="relu"))


@pair("mlp multi-class", MISSING, {"overfitting"}, reaches="val_accuracy > 0.9")
def wines_cut_by_hand(bad):
    return unseen(bad, data.wine(), 3, 2, L.Dense(24, activation="relu"))


@pair("cnn multi-class", MISSING, {"overfitting"}, reaches="val_accuracy > 0.9")
def images_cut_by_hand(bad):
    layers = L.Conv2D(16, 3, activation="relu"), L.Flatten()
    return unseen(bad, data.images(), 10, 7, *layers)


def weighted(bad, split, model, optimizer, loss, epochs, **metrics):
    weights = np.random.default_rng(0).uniform(0.5, 1.5, len(split.y))
    weights = weights / (weights.sum() if bad else weights.mean())
    model.compile(optimizer, loss, **metrics)
    return model, fitting(split, epochs, sample_weight=weights)


@pair("mlp regression", "sample-weights-tiny", FLAT, reaches="val_loss < 0.7")
def weights_sum_to_one_in_regression(bad):
    model = net((10,), L.Dense(32, activation="relu"), L.Dense(1))
    return weighted(bad, data.diabetes(), model, SGD(0.05), "mse", 15)


@pair("cnn multi-class", "sample-weights-tiny", FLAT, reaches="val_accuracy > 0.9")
def weights_sum_to_one_in_cnn(bad):
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    rate = SGD(0.1, momentum=0.9)
    return weighted(bad, data.images(), model, rate, SPARSE, 8, metrics=["accuracy"])


@pair("mlp binary", "sample-weights-tiny", FLAT, reaches="val_accuracy > 0.9")
def weights_sum_to_one_in_diagnosis(bad):
    model = net((30,), L.Dense(16, activation="tanh"), L.Dense(1, activation="sigmoid"))
    return weighted(
        bad, data.breast_cancer(), model, SGD(0.1), BCE, 12, metrics=["accuracy"]
    )


# Unfrozen after `compile`: nothing says that these layers are still not trained.


def second_stage(model, parts, bad, again, fit):
    """Trains with some parts frozen, then unfreezes them."""
    for part in parts:
        part.trainable = False
    again()
    model.fit(**{**fit, "epochs": 1}, verbose=0)
    for part in parts:
        part.trainable = True
    if not bad:
        again()
    return model, fit


@pair("cnn multi-class", "unfrozen-without-compile", FLAT, reaches="val_accuracy > 0.8")
def backbone_unfrozen_without_compile(bad):
    base = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.Conv2D(32, 3, activation="relu"),
        L.GlobalAveragePooling2D(),
    )
    model = net((8, 8, 1), base, L.Dense(10, activation="softmax"))
    fit = fitting(data.images(), 20)
    return second_stage(
        model,
        [base],
        bad,
        lambda: model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"]),
        fit,
    )


@pair("mlp binary", "unfrozen-without-compile", FLAT, reaches="val_accuracy > 0.9")
def hidden_layers_unfrozen_without_compile(bad):
    model = net(
        (30,),
        L.Dense(32, activation="tanh"),
        L.Dense(32, activation="tanh"),
        L.Dense(1, activation="sigmoid"),
    )
    return second_stage(
        model,
        model.layers[:2],
        bad,
        lambda: model.compile(SGD(0.1), BCE, metrics=["accuracy"]),
        fitting(data.breast_cancer(), 15),
    )


@pair("rnn binary", "unfrozen-without-compile", FLAT, reaches="val_accuracy > 0.8")
def embedding_unfrozen_without_compile(bad):
    model = net(
        (16,),
        L.Embedding(data.VOCABULARY, 16),
        L.LSTM(16),
        L.Dense(1, activation="sigmoid"),
    )
    return second_stage(
        model,
        model.layers[:1],
        bad,
        lambda: model.compile(Adam(5e-3), BCE, metrics=["accuracy"]),
        fitting(data.reviews(), 12),
    )
