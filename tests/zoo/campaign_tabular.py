"""Healthy runs on tables, as tutorials and competition notebooks write them."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.constraints import MaxNorm, NonNeg
from keras.optimizers import SGD, Adam

from zoo import data
from zoo.cases import fitting, healthy, net

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"


@healthy("mlp binary", reaches="accuracy > 0.85")
def bank_customers_who_leave():
    """The churn tutorial: six units, "uniform" kernels, batches of ten; 20 % leave."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 11))
    score = x[:, :4] @ [1.5, 1, -1, 0.5] + x[:, 4] ** 2 + rng.normal(size=2000)
    y = (score > np.quantile(score, 0.8)).astype(int)
    model = keras.Sequential()
    model.add(L.Dense(6, kernel_initializer="uniform", activation="relu"))
    model.add(L.Dense(6, kernel_initializer="uniform", activation="relu"))
    model.add(L.Dense(1, kernel_initializer="uniform", activation="sigmoid"))
    model.compile(optimizer="adam", loss=BCE, metrics=["accuracy"])
    return model, {"x": x, "y": y, "batch_size": 10, "epochs": 25}


@healthy("mlp binary", reaches="val_accuracy > 0.9")
def dropout_with_norms_held():
    """Dropout on the inputs, kernels held below 3, a high rate with momentum."""
    model = net(
        (30,),
        L.Dropout(0.2),
        L.Dense(60, activation="relu", kernel_constraint=MaxNorm(3)),
        L.Dense(30, activation="relu", kernel_constraint=MaxNorm(3)),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile(SGD(0.1, momentum=0.8), BCE, metrics=["accuracy"])
    return model, fitting(data.breast_cancer(), 30, 16)


@healthy("lookups binary", reaches="val_accuracy > 0.75")
def passengers_of_a_ship():
    """Every kind of preprocessing layer in one functional model, missing ages too."""
    rng = np.random.default_rng(0)
    n = 1200
    sex = rng.choice(["male", "female"], n)
    port = rng.choice(["S", "C", "Q", ""], n, p=[0.7, 0.19, 0.09, 0.02])
    rank = rng.integers(1, 4, n)
    age = np.where(rng.random(n) < 0.2, -1, rng.gamma(6, 5, n)).astype("float32")
    fare = rng.lognormal(4 - 0.8 * rank, 0.6).astype("float32")
    score = 2.5 * (sex == "female") - 1.1 * rank + 1.2 - 0.02 * np.maximum(age, 0)
    y = (score + rng.logistic(size=n) * 0.6 > 0).astype("float32")
    features = {
        "sex": sex[:, None],
        "port": port[:, None],
        "rank": rank[:, None],
        "age": age[:, None],
        "fare": fare[:, None],
    }
    words = {name: L.StringLookup(output_mode="one_hot") for name in ("sex", "port")}
    for name, layer in words.items():
        layer.adapt(tf.constant(features[name]))
    ages = L.Discretization(num_bins=6, output_mode="one_hot")
    ages.adapt(age)
    fares = L.Normalization()
    fares.adapt(np.log1p(fare)[:, None])
    kinds = {"sex": "string", "port": "string", "rank": "int32"}
    inputs = {k: keras.Input((1,), dtype=kinds.get(k, "float32")) for k in features}
    encoded = [
        *(layer(inputs[name]) for name, layer in words.items()),
        L.CategoryEncoding(4, output_mode="one_hot")(inputs["rank"]),
        ages(inputs["age"]),
        fares(ops.log1p(inputs["fare"])),
    ]
    hidden = L.Dense(32, activation="relu")(L.Concatenate()(encoded))
    hidden = L.Dropout(0.3)(hidden)
    model = keras.Model(inputs, L.Dense(1, activation="sigmoid")(hidden))
    model.compile("adam", BCE, metrics=["accuracy", "auc"])

    def rows(part):
        columns = {k: tf.constant(v[part]) for k, v in features.items()}
        return tf.data.Dataset.from_tensor_slices((columns, y[part]))

    return model, {
        "x": rows(slice(1000)).shuffle(1000, seed=0).batch(32).prefetch(1),
        "validation_data": rows(slice(1000, n)).batch(32),
        "epochs": 20,
    }


@healthy("cross binary", reaches="val_auc > 0.85")
def deep_and_cross():
    """Features crossed explicitly, next to a deep tower over the same embeddings."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 30, (6000, 6))
    taste = rng.normal(size=(6, 30))
    z = np.take_along_axis(taste, x.T, axis=1)
    y = (z[0] * z[1] + z[2] + 0.5 * z[3] * z[4] > 0).astype("float32")
    inputs = keras.Input((6,), dtype="int32")
    parts = [L.Embedding(30, 6)(inputs[:, i]) for i in range(6)]
    first = crossed = deep = L.Concatenate()(parts)
    for _ in range(2):
        crossed = first * L.Dense(36)(crossed) + crossed
    for units in (48, 24):
        deep = L.Dropout(0.1)(L.Dense(units, activation="relu")(deep))
    joined = L.Concatenate()([crossed, deep])
    model = keras.Model(inputs, L.Dense(1, activation="sigmoid")(joined))
    model.compile(Adam(3e-3), BCE, metrics=["auc"])
    return model, {"x": x, "y": y, "validation_split": 0.2, "epochs": 7}


class GatedResidual(L.Layer):
    """ELU, a linear layer, a gated linear unit, a skip and a normalization."""

    def __init__(self, units, rate=0.1):
        super().__init__()
        self.elu, self.linear = L.Dense(units, activation="elu"), L.Dense(units)
        self.dropout, self.norm = L.Dropout(rate), L.LayerNormalization()
        self.value, self.gate = L.Dense(units), L.Dense(units, activation="sigmoid")
        self.project = L.Dense(units)

    def call(self, x, training=None):
        h = self.dropout(self.linear(self.elu(x)), training=training)
        if x.shape[-1] != h.shape[-1]:
            x = self.project(x)
        return self.norm(x + self.value(h) * self.gate(h))


@healthy("gated binary", reaches="val_accuracy > 0.93")
def features_selected_by_gates():
    """Some features have a network each; a softmax of all of them weighs these."""
    inputs = keras.Input((30,))
    columns = [L.Dense(8)(inputs[:, i : i + 1]) for i in range(0, 30, 10)]
    weights = L.Dense(3, activation="softmax")(GatedResidual(16)(inputs))
    stacked = ops.stack([GatedResidual(8)(column) for column in columns], axis=1)
    chosen = ops.sum(weights[..., None] * stacked, axis=1)
    outputs = L.Dense(1, activation="sigmoid")(GatedResidual(8)(chosen))
    model = keras.Model(inputs, outputs)
    model.compile(Adam(2e-3), BCE, metrics=["accuracy"])
    return model, fitting(data.breast_cancer(), 20)


class Tree(keras.Model):
    """A soft decision tree whose leaves are distributions over the classes."""

    def __init__(self, depth, classes):
        super().__init__()
        self.depth, self.leaves = depth, 2**depth
        self.norm = L.BatchNormalization()
        self.decisions = L.Dense(self.leaves, activation="sigmoid")
        self.pi = self.add_weight(
            shape=(self.leaves, classes), initializer="random_normal"
        )

    def call(self, x):
        go = self.decisions(self.norm(x))
        reached = ops.ones_like(go[:, :1])
        for level in range(self.depth):
            here = go[:, 2**level : 2 ** (level + 1)]
            both = ops.stack([here, 1 - here], axis=-1)
            reached = ops.reshape(reached[..., None] * both, (-1, 2 ** (level + 1)))
        return ops.matmul(reached, ops.softmax(self.pi))


@healthy("soft tree multi-class", reaches="val_accuracy > 0.9")
def soft_decision_tree():
    model = Tree(5, 10)
    model.compile(Adam(2e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 20)


@healthy("mlp regression", reaches="val_loss < 0.02")
def rising_everywhere():
    """Kernels that cannot be negative and tanh units: the output can only rise."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1200, 3))
    y = np.tanh(2 * x[:, 0]) + 0.5 * x[:, 1] + np.maximum(x[:, 2], 0)
    y = y + rng.normal(scale=0.05, size=1200)
    rising = {"kernel_constraint": NonNeg()}
    model = net(
        (3,),
        L.Dense(24, activation="tanh", **rising),
        L.Dense(12, activation="tanh", **rising),
        L.Dense(1, **rising),
    )
    model.compile(Adam(1e-2), "mse", metrics=["mae"])
    return model, {"x": x, "y": y, "validation_split": 0.2, "epochs": 20}


@healthy("mlp regression", reaches="val_mean_absolute_error < 4500")
def prices_scaled_back_to_dollars():
    """The last layer brings the outputs to the targets' scale, which are dollars."""
    split = data.housing(raw=True).map_y(lambda y: y * 1000)
    into, back = L.Normalization(), L.Normalization(axis=None, invert=True)
    into.adapt(split.x)
    back.adapt(split.y)
    model = net((13,), into, L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(1), back)
    model.compile(Adam(3e-3), "mae", metrics=["mean_absolute_error"])
    return model, fitting(split, 30)


@healthy("mlp counts", reaches="val_loss < 0.9")
def claims_in_years_insured():
    """A Poisson rate times an exposure, which is an input of its own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 5)).astype("float32")
    years = rng.uniform(0.05, 1, (4000, 1)).astype("float32")
    rate = np.exp(-1.2 + x @ np.array([0.7, -0.5, 0.3, 0, 0]))[:, None]
    y = rng.poisson(rate * years)
    features, exposure = keras.Input((5,)), keras.Input((1,))
    hidden = L.Dense(16, activation="tanh")(features)
    log_rate = L.Dense(1)(hidden)
    model = keras.Model([features, exposure], ops.exp(log_rate + ops.log(exposure)))
    model.compile(Adam(3e-3), "poisson")
    return model, {
        "x": [x, years],
        "y": y,
        "validation_split": 0.2,
        "epochs": 12,
        "batch_size": 64,
    }


@healthy("autoencoder ratings", reaches="val_loss < 0.8")
def ratings_filled_in():
    """Rows of ratings, most of them 0 for unknown, which the loss leaves out."""
    rng = np.random.default_rng(0)
    users, films = rng.normal(size=(1500, 3)), rng.normal(size=(80, 3))
    stars = np.clip(np.round(3 + users @ films.T * 0.8), 1, 5)
    known = rng.random(stars.shape) < 0.2
    x = np.where(known, stars, 0).astype("float32")

    def known_only(y_true, y_pred):
        mask = ops.cast(y_true > 0, "float32")
        return ops.sum(mask * (y_true - y_pred) ** 2) / ops.sum(mask)

    model = net(
        (80,),
        L.Dense(32, activation="selu", kernel_regularizer="l2"),
        L.Dropout(0.3),
        L.Dense(80, kernel_regularizer=keras.regularizers.L2(1e-4)),
    )
    model.compile(Adam(3e-3), known_only)
    val = (x[1200:], x[1200:])
    return model, fitting(data.Split(x[:1200], x[:1200], *val), 20)


@healthy("mlp rare class", reaches="val_auc > 0.75")
def rare_class_drawn_as_often():
    """Both classes are drawn equally often for training; the validation is as found."""
    split = data.rare(0.05)

    def only(label):
        rows = split.y == label
        part = tf.data.Dataset.from_tensor_slices((split.x[rows], split.y[rows]))
        return part.shuffle(2000, seed=label).repeat()

    both = tf.data.Dataset.sample_from_datasets([only(0), only(1)], [0.5, 0.5], seed=0)
    model = net((12,), L.Dense(32, "relu"), L.Dropout(0.2), L.Dense(1, "sigmoid"))
    model.compile(Adam(2e-3), BCE, metrics=["auc"])
    return model, {
        "x": both.batch(64).prefetch(2),
        "steps_per_epoch": 30,
        "epochs": 12,
        "validation_data": tf.data.Dataset.from_tensor_slices(split.val).batch(128),
    }
