"""Healthy runs on tables: encoded columns, and likelihoods other than the usual."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import SGD, Adam, Nadam

from zoo import data
from zoo.cases import fitting, healthy, net

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"


def people(rows=1600):
    """Columns of a census: numbers, strings, and whether they earn much."""
    rng = np.random.default_rng(0)
    columns = {
        "age": rng.integers(17, 80, rows).astype("float32"),
        "hours": rng.normal(40, 9, rows).astype("float32"),
        "job": rng.choice(["clerk", "cook", "engineer", "nurse"], rows),
        "region": rng.choice(["north", "south", "east"], rows),
    }
    worth = {"clerk": -0.5, "cook": -1.5, "engineer": 2.0, "nurse": 0.0}
    score = np.array([worth[j] for j in columns["job"]])
    score += 0.08 * (columns["hours"] - 40) + 0.04 * (columns["age"] - 45)
    return columns, (score + rng.logistic(scale=0.3, size=rows) > 0.5).astype("float32")


def piped(columns, y, rows, shuffled=False):
    part = {name: tf.constant(v[rows]) for name, v in columns.items()}
    found = tf.data.Dataset.from_tensor_slices((part, y[rows]))
    return (found.shuffle(2000, seed=0) if shuffled else found).batch(32)


@healthy("mlp table", reaches="val_accuracy > 0.85")
def feature_space():
    """keras.io's structured data, with crossed columns."""
    columns, y = people()
    space = keras.utils.FeatureSpace(
        features={
            "age": "float_discretized",
            "hours": "float_normalized",
            "job": "string_categorical",
            "region": "string_categorical",
        },
        crosses=[("job", "region")],
        crossing_dim=16,
        output_mode="concat",
    )
    train, val = (
        piped(columns, y, slice(0, 1300), True),
        piped(columns, y, slice(1300, None)),
    )
    space.adapt(train.map(lambda x, _: x))
    x = L.Dense(32, activation="relu")(space.get_encoded_features())
    out = L.Dense(1, activation="sigmoid")(L.Dropout(0.3)(x))
    model = keras.Model(space.get_encoded_features(), out)
    model.compile(Adam(5e-3), BCE, metrics=["accuracy"])
    return model, {
        "x": train.map(lambda x, y: (space(x), y)),
        "validation_data": val.map(lambda x, y: (space(x), y)),
        "epochs": 12,
    }


@healthy("mlp table", reaches="val_accuracy > 0.85")
def strings_looked_up_in_the_model():
    """Wide and deep, with `StringLookup` and `Normalization` as its first layers."""
    columns, y = people()
    inputs, wide, deep = {}, [], []
    for name, values in columns.items():
        if values.dtype.kind == "f":
            inputs[name] = keras.Input((1,), name=name)
            scale = L.Normalization(axis=None)
            scale.adapt(values[:1300])
            deep.append(scale(inputs[name]))
            continue
        inputs[name] = keras.Input((1,), name=name, dtype="string")
        known = sorted(set(values))
        ids = L.StringLookup(vocabulary=known)(inputs[name])
        wide.append(L.CategoryEncoding(len(known) + 1)(ids))
        deep.append(L.Flatten()(L.Embedding(len(known) + 1, 4)(ids)))
    h = L.Concatenate()(deep)
    for _ in range(2):
        h = L.Dropout(0.1)(L.Dense(32, activation="relu")(h))
    h = L.Concatenate()([*wide, h])
    model = keras.Model(inputs, L.Dense(1, activation="sigmoid")(h))
    model.compile(Adam(3e-3), BCE, metrics=["accuracy"])
    train, val = (
        piped(columns, y, slice(0, 1300), True),
        piped(columns, y, slice(1300, None)),
    )
    return model, {"x": train, "validation_data": val, "epochs": 12}


@healthy("embedding regression", reaches="val_loss < 0.9")
def films_recommended():
    """Users and films as vectors, with biases; ratings from 1 to 5."""
    rng = np.random.default_rng(0)
    u, f = rng.integers(0, 150, 9000), rng.integers(0, 100, 9000)
    taste, kind = rng.normal(size=(150, 3)), rng.normal(size=(100, 3))
    liking = (taste[u] * kind[f]).sum(1) / 1.7 + rng.normal(size=100)[f] * 0.4
    y = np.clip(np.round(3.4 + liking + rng.normal(scale=0.3, size=9000)), 1, 5)
    x = np.stack([u, f], 1)
    decay = keras.regularizers.L2(1e-5)
    inputs = keras.Input((2,), dtype="int32")
    user = L.Embedding(150, 8, embeddings_regularizer=decay)(inputs[:, 0])
    film = L.Embedding(100, 8, embeddings_regularizer=decay)(inputs[:, 1])
    out = L.Dot(axes=1)([user, film]) + L.Embedding(100, 1)(inputs[:, 1])
    out = out + L.Embedding(150, 1)(inputs[:, 0]) + 3.4
    model = keras.Model(inputs, out)
    model.compile(Adam(5e-3), "mse")
    split = data.Split(x[:7500], y[:7500], x[7500:], y[7500:])
    return model, fitting(split, 12, 64)


@healthy("embedding multi-class", reaches="val_loss < 2.7")
def next_item_of_a_basket():
    """Implicit feedback: scores over the whole catalogue from an average of items."""
    rng = np.random.default_rng(0)
    taste = rng.integers(0, 8, 3000)
    baskets = rng.integers(0, 10, (3000, 6)) + 10 * taste[:, None]
    model = net((5,), L.Embedding(80, 16), L.GlobalAveragePooling1D(), L.Dense(80))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    top = keras.metrics.SparseTopKCategoricalAccuracy(10, name="top")
    model.compile(Adam(1e-2), loss, metrics=[top])
    x, y = baskets[:, :5], baskets[:, 5]
    return model, fitting(data.Split(x[:2500], y[:2500], x[2500:], y[2500:]), 8)


def noisy_line(rows=1500):
    """Noise that grows with x."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (rows, 1)).astype("float32")
    y = np.sin(3 * x) + np.exp(1.5 * x - 2.5) * rng.normal(size=x.shape)
    return data.Split(x[:1200], y[:1200], x[1200:], y[1200:])


def gaussian(y_true, y_pred):
    """Negative log likelihood of a mean and a log deviation: goes below zero."""
    mean, log_std = y_pred[:, :1], y_pred[:, 1:]
    z = (y_true - mean) * ops.exp(-log_std)
    return 0.5 * z**2 + log_std + 0.5 * math.log(2 * math.pi)


@healthy("mlp likelihood", reaches="val_loss < -0.6")
def mean_and_deviation():
    model = net((1,), L.Dense(32, "relu"), L.Dense(32, "relu"), L.Dense(2))
    model.compile(Adam(5e-3), gaussian)
    return model, fitting(noisy_line(), 20)


def mixture(y_true, y_pred):
    weight, mean, log_std = ops.split(y_pred, 3, axis=1)
    z = (y_true - mean) * ops.exp(-log_std)
    chance = ops.log_softmax(weight) - 0.5 * z**2 - log_std - 0.919
    return -ops.logsumexp(chance, axis=1)


@healthy("mlp likelihood", reaches="val_loss < 1")
def mixture_of_densities():
    """Two answers to each question, which no mean can give."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2000, 1))
    y = np.where(rng.random((2000, 1)) < 0.5, 1 + x, -1 - x**2)
    y += rng.normal(scale=0.2, size=y.shape)
    model = net((1,), L.Dense(48, "tanh"), L.Dense(9))
    model.compile(Adam(5e-3), mixture)
    return model, fitting(data.Split(x[:1600], y[:1600], x[1600:], y[1600:]), 15)


def negative_binomial(y_true, y_pred):
    """Counts that spread more than Poisson's: log mean, log shape."""
    mean, r = ops.exp(y_pred[:, :1]), ops.exp(y_pred[:, 1:])
    both = ops.log(r + mean)
    lgamma = tf.math.lgamma
    chance = lgamma(y_true + r) - lgamma(r) - lgamma(y_true + 1)
    return -(chance + r * (ops.log(r) - both) + y_true * (y_pred[:, :1] - both))


@healthy("mlp counts", reaches="val_loss < 2.3")
def overdispersed_counts():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 4))
    mean = np.exp(1.0 + x @ [0.5, -0.4, 0.3, 0.2])
    y = rng.poisson(mean * rng.gamma(2.0, 0.5, 2000))[:, None].astype("float32")
    model = net((4,), L.Dense(24, activation="relu"), L.Dense(2))
    model.compile(Adam(3e-3), negative_binomial)
    return model, fitting(data.Split(x[:1600], y[:1600], x[1600:], y[1600:]), 12)


def survival(y_true, y_pred):
    """Exponential time to an event with a log rate; y: time, whether it was seen."""
    time, seen = y_true[:, :1], y_true[:, 1:]
    return ops.exp(y_pred) * time - seen * y_pred


@healthy("mlp survival", reaches="val_loss < 0.75")
def censored_times():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2400, 6))
    time = rng.exponential(np.exp(-(0.2 + x @ [0.9, -0.6, 0.5, 0, 0, 0])))
    ends = rng.exponential(2.5, 2400)
    y = np.stack([np.minimum(time, ends), time < ends], 1).astype("float32")
    model = net((6,), L.Dense(24, activation="relu"), L.Dropout(0.1), L.Dense(1))
    model.compile(Adam(3e-3), survival)
    return model, fitting(data.Split(x[:1900], y[:1900], x[1900:], y[1900:]), 12)


def pinball(q):
    def loss(y_true, y_pred):
        off = y_true - y_pred
        return ops.mean(ops.maximum(q * off, (q - 1) * off), axis=-1)

    return loss


@healthy("mlp quantiles", reaches="val_loss < 0.25")
def a_head_for_each_quantile():
    split = noisy_line()
    inputs = keras.Input((1,))
    h = L.Dense(32, "relu")(L.Dense(32, "relu")(inputs))
    names = {"low": 0.05, "median": 0.5, "high": 0.95}
    outputs = {n: L.Dense(1, name=n)(h) for n in names}
    model = keras.Model(inputs, outputs)
    model.compile(Adam(5e-3), {n: pinball(q) for n, q in names.items()})
    return model, fitting(split.map_y(lambda y: dict.fromkeys(names, y)), 20)


@healthy("mlp several tasks", reaches="val_loss < 2.5")
def three_tasks_of_a_shared_trunk():
    """A class, a number and a yes or no, with losses of other sizes."""
    split = data.digits()
    inputs = keras.Input((64,))
    h = L.Dropout(0.1)(L.Dense(96, activation="relu")(inputs))
    outputs = {
        "digit": L.Dense(10, activation="softmax", name="digit")(h),
        "ink": L.Dense(1, name="ink")(h),
        "loop": L.Dense(1, activation="sigmoid", name="loop")(h),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        Adam(3e-3),
        {"digit": SPARSE, "ink": "mae", "loop": BCE},
        loss_weights={"digit": 1.0, "ink": 0.1, "loop": 2.0},
        metrics={"digit": ["accuracy"], "loop": ["accuracy"]},
    )

    def targets(x, y):
        loop = np.isin(y, (0, 6, 8, 9)).astype("float32")
        return {"digit": y, "ink": 16 * x.sum(1), "loop": loop}

    return model, {
        "x": split.x,
        "y": targets(split.x, split.y),
        "validation_data": (split.val_x, targets(split.val_x, split.val_y)),
        "epochs": 15,
    }


@healthy("mlp multi-label", reaches="val_auc > 0.85")
def rare_labels_of_many():
    """Twelve labels, most of them rare, as in the arXiv example."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2500, 20)).astype("float32")
    score = x @ rng.normal(size=(20, 12)) / 4.5
    share = np.linspace(0.02, 0.3, 12)
    y = (score > np.quantile(score, 1 - share, axis=0).diagonal()).astype("float32")
    model = net((20,), L.Dense(64, "relu"), L.Dropout(0.2), L.Dense(12, "sigmoid"))
    auc = keras.metrics.AUC(multi_label=True, name="auc")
    model.compile(Adam(3e-3), BCE, metrics=[auc, "binary_accuracy"])
    return model, fitting(data.Split(x[:2000], y[:2000], x[2000:], y[2000:]), 12)


@healthy("mlp binary", reaches="val_auc > 0.75")
def focal_loss_for_a_rare_class():
    model = net((12,), L.Dense(32, activation="relu"), L.Dense(1, activation="sigmoid"))
    loss = keras.losses.BinaryFocalCrossentropy(apply_class_balancing=True, alpha=0.8)
    model.compile(Adam(5e-3), loss, metrics=[keras.metrics.AUC(name="auc")])
    return model, fitting(data.rare(0.08), 10, 64)


@healthy("mlp multi-class", reaches="val_accuracy > 0.85")
def balanced_by_class_weights():
    """`compute_class_weight("balanced")`, on classes of other sizes."""
    split = data.digits()
    keep = (split.y < 5) | (np.arange(len(split.y)) % 6 == 0)
    x, y = split.x[keep], split.y[keep]
    count = np.bincount(y)
    weights = {i: len(y) / (10 * n) for i, n in enumerate(count)}
    model = net((64,), L.Dense(48, activation="relu"), L.Dense(10, "softmax"))
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    arguments = fitting(data.Split(x, y, *split.val), 14, class_weight=weights)
    return model, arguments


@healthy("mlp ordinal", reaches="val_accuracy > 0.75")
def ranks_with_shared_weights():
    """CORAL: one score, and a threshold for each rank."""
    split = data.housing().map_y(
        lambda y: (y[:, None] > [15, 19, 22, 28]).astype("float32")
    )

    class Thresholds(L.Layer):
        def build(self, shape):
            self.b = self.add_weight(shape=(4,), initializer="zeros")

        def call(self, x):
            return x + self.b

    model = net((13,), L.Dense(24, "relu"), L.Dense(1, use_bias=False), Thresholds())
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    hits = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)
    model.compile(Adam(1e-2), loss, metrics=[hits])
    return model, fitting(split, 20)


class Experts(L.Layer):
    """Softly gated experts with a loss that keeps them all in use."""

    def __init__(self, count=4, units=32, **more):
        super().__init__(**more)
        self.gate = L.Dense(count, activation="softmax")
        self.experts = [L.Dense(units, activation="relu") for _ in range(count)]

    def call(self, x):
        gate = self.gate(x)
        used = ops.mean(gate, axis=0)
        self.add_loss(0.05 * len(self.experts) * ops.sum(used**2))
        each = ops.stack([e(x) for e in self.experts], axis=1)
        return ops.sum(gate[..., None] * each, axis=1)


@healthy("mlp experts", reaches="val_accuracy > 0.93")
def mixture_of_experts():
    model = net((64,), Experts(), L.Dense(10, activation="softmax"))
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 10)


@healthy("mlp regression", reaches="val_loss < 0.06")
def logarithm_of_prices():
    split = data.housing().map_y(np.log)
    model = net((13,), L.Dense(32, "relu"), L.Dense(16, "relu"), L.Dense(1))
    model.layers[-1].bias.assign([split.y.mean()])
    model.compile(Nadam(3e-3), "mse", metrics=["mae"])
    return model, fitting(split, 25, 16)


@healthy("linear multi-class", reaches="val_accuracy > 0.9")
def sparse_rows():
    """A matrix of counts, kept sparse up to the first layer."""
    split = data.topics(2400)

    def rows(x):
        dense = np.stack([np.bincount(r, minlength=data.VOCABULARY) for r in x])
        return tf.sparse.from_dense(dense.astype("float32"))

    inputs = keras.Input((data.VOCABULARY,), sparse=True)
    model = keras.Model(inputs, L.Dense(4, activation="softmax")(inputs))
    model.compile(Adam(2e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(split.map_x(rows), 10)


@healthy("mlp multi-class", reaches="accuracy > 0.8")
def twenty_samples():
    """All there is: five flowers of each of three kinds and a few more."""
    split = data.iris()
    few = np.concatenate([np.flatnonzero(split.y == c)[:7] for c in range(3)])[:20]
    model = net((4,), L.Dense(8, activation="relu"), L.Dense(3, activation="softmax"))
    model.compile(SGD(0.1), SPARSE, metrics=["accuracy"])
    return model, {
        "x": split.x[few],
        "y": split.y[few],
        "validation_data": split.val,
        "epochs": 40,
        "batch_size": 5,
    }
