"""Healthy runs of architectures that are built for one kind of data."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import SGD, Adam

from zoo import data
from zoo.cases import fitting, healthy, net

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"


@healthy("sets regression", reaches="val_loss < 10")
def digits_of_a_set_added():
    """Deep sets: six digits as images, their sum as the target, order irrelevant."""
    split = data.digits()
    rng = np.random.default_rng(0)

    def sets(x, y, count):
        rows = rng.integers(0, len(x), (count, 6))
        return x[rows], y[rows].sum(1).astype("float32")

    each = net((64,), L.Dense(64, "relu"), L.Dense(16))
    inputs = keras.Input((6, 64))
    total = ops.sum(L.TimeDistributed(each)(inputs), axis=1)
    outputs = L.Dense(1)(L.Dense(32, activation="relu")(total))
    model = keras.Model(inputs, outputs)
    model.compile(Adam(3e-3), "mse", metrics=["mae"])
    train, val = sets(split.x, split.y, 4000), sets(split.val_x, split.val_y, 400)
    return model, fitting(data.Split(*train, *val), 15)


class Orthogonal(keras.regularizers.Regularizer):
    def __call__(self, x):
        x = ops.reshape(x, (-1, 3, 3))
        square = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
        return 1e-3 * ops.sum((square - ops.eye(3)) ** 2)


@healthy("points multi-class", reaches="val_accuracy > 0.9")
def clouds_of_points():
    """PointNet: a small network turns the cloud, a maximum gathers the points."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 1000)
    p = rng.normal(size=(1000, 48, 3))
    ball = p / np.linalg.norm(p, axis=2, keepdims=True)
    box = p / np.abs(p).max(axis=2, keepdims=True)
    rod = p * [0.2, 0.2, 1]
    x = np.choose(y[:, None, None], [ball, box, rod])
    x = x + rng.normal(scale=0.03, size=x.shape)

    def conv(x, filters):
        x = L.Conv1D(filters, 1)(x)
        return L.Activation("relu")(L.BatchNormalization(momentum=0.8)(x))

    inputs = keras.Input((48, 3))
    turn = L.GlobalMaxPooling1D()(conv(conv(inputs, 16), 32))
    turn = L.Dense(
        9,
        kernel_initializer="zeros",
        bias_initializer=lambda shape, dtype=None: ops.reshape(ops.eye(3), (9,)),
        activity_regularizer=Orthogonal(),
    )(turn)
    turned = L.Dot(axes=(2, 1))([inputs, L.Reshape((3, 3))(turn)])
    x1 = L.GlobalMaxPooling1D()(conv(conv(turned, 32), 64))
    outputs = L.Dense(3, activation="softmax")(L.Dropout(0.3)(x1))
    model = keras.Model(inputs, outputs)
    model.compile(
        Adam(3e-3), SPARSE, metrics=["sparse_categorical_accuracy", "accuracy"]
    )
    return model, fitting(data.Split(x[:800], y[:800], x[800:], y[800:]), 12)


class AttentionPooling(L.Layer):
    def __init__(self, units):
        super().__init__()
        self.v, self.u = L.Dense(units, activation="tanh"), L.Dense(units, "sigmoid")
        self.w = L.Dense(1)

    def call(self, x):
        weights = ops.softmax(self.w(self.v(x) * self.u(x)), axis=1)
        return ops.sum(weights * x, axis=1)


@healthy("bags binary", reaches="val_accuracy > 0.85")
def bags_with_one_label():
    """Multiple instances: a bag is positive if one of its eight digits is an eight."""
    split = data.digits()
    rng = np.random.default_rng(0)

    def bags(x, y, count):
        others, eights = np.flatnonzero(y != 8), np.flatnonzero(y == 8)
        rows = rng.choice(others, (count, 8))
        label = rng.integers(0, 2, count)
        found = rng.choice(eights, count)
        rows[:, 3] = np.where(label, found, rows[:, 3])
        return x[rng.permuted(rows, axis=1)], label

    inputs = keras.Input((8, 64))
    h = L.Dense(32, activation="relu")(L.Dense(64, activation="relu")(inputs))
    outputs = L.Dense(1, activation="sigmoid")(AttentionPooling(16)(h))
    model = keras.Model(inputs, outputs)
    model.compile(Adam(2e-3), BCE, metrics=["accuracy"])
    train, val = bags(split.x, split.y, 1500), bags(split.val_x, split.val_y, 400)
    return model, fitting(data.Split(*train, *val), 12)


@healthy("pointer sequences", reaches="val_accuracy > 0.9")
def largest_pointed_at():
    """The classes are the places of the sequence itself, scored by attention."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (3000, 10, 1))
    y = x[..., 0].argmax(1)
    inputs = keras.Input((10, 1))
    h = L.Bidirectional(L.GRU(16, return_sequences=True))(inputs)
    query = L.Dense(16)(L.GlobalMaxPooling1D()(h))
    scores = L.Dot(axes=(2, 1))([L.Dense(16)(h), query])
    model = keras.Model(inputs, scores)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Adam(1e-2), loss, metrics=["accuracy"])
    return model, fitting(data.Split(x[:2500], y[:2500], x[2500:], y[2500:]), 6, 64)


class Block(L.Layer):
    """One block of N-BEATS: what it explains of the past, and what it foresees."""

    def __init__(self, past, ahead):
        super().__init__()
        self.hidden = [L.Dense(48, activation="relu") for _ in range(2)]
        self.theta, self.past = L.Dense(past + ahead), past

    def call(self, x):
        for layer in self.hidden:
            x = layer(x)
        theta = self.theta(x)
        return theta[:, : self.past], theta[:, self.past :]


@healthy("residual forecast", reaches="val_loss < 0.15")
def backcast_and_forecast():
    """Each block sees what the blocks before it could not explain."""
    t = np.arange(3000)
    rng = np.random.default_rng(0)
    series = np.sin(t / 6) + 0.5 * np.sin(t / 17) + rng.normal(scale=0.1, size=3000)
    windows = np.lib.stride_tricks.sliding_window_view(series, 30).astype("float32")
    x, y = windows[:, :24], windows[:, 24:]
    inputs = rest = keras.Input((24,))
    forecasts = []
    for _ in range(4):
        back, ahead = Block(24, 6)(rest)
        rest = L.Subtract()([rest, back])
        forecasts.append(ahead)
    model = keras.Model(inputs, L.Add()(forecasts))
    model.compile(Adam(1e-3), "mae", metrics=["mse"])
    return model, fitting(data.Split(x[:2300], y[:2300], x[2330:], y[2330:]), 8)


@healthy("linear forecast", reaches="val_loss < 0.1")
def trend_and_season_linear():
    """DLinear: a moving average and what is left of it, each with one linear layer."""
    t = np.arange(2600)
    rng = np.random.default_rng(0)
    series = 0.4 * np.sin(t / 60) + np.sin(2 * np.pi * t / 12)
    series = series + rng.normal(scale=0.2, size=len(t))
    windows = np.lib.stride_tricks.sliding_window_view(series, 48).astype("float32")
    x, y = windows[:, :36, None], windows[:, 36:]
    inputs = keras.Input((36, 1))
    trend = L.AveragePooling1D(9, strides=1, padding="same")(inputs)
    season = inputs - trend
    outputs = L.Dense(12)(L.Flatten()(trend)) + L.Dense(12)(L.Flatten()(season))
    model = keras.Model(inputs, outputs)
    model.compile(Adam(5e-3), "mse", metrics=["mae"])
    return model, fitting(data.Split(x[:2000], y[:2000], x[2050:], y[2050:]), 12)


@healthy("coordinates regression", reaches="loss < 0.004")
def picture_as_a_network():
    """SIREN: sines of coordinates, with the initialization that its paper asks for."""
    from sklearn.datasets import load_sample_image

    picture = load_sample_image("flower.jpg")[150:310:5, 230:390:5] / 255.0
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, 32)] * 2), -1).reshape(-1, 2)

    def uniform(limit):
        return keras.initializers.RandomUniform(-limit, limit)

    def sine(x):
        return ops.sin(20 * x)

    small = np.sqrt(6 / 64) / 20
    model = net(
        (2,),
        L.Dense(64, activation=sine, kernel_initializer=uniform(0.5)),
        L.Dense(64, activation=sine, kernel_initializer=uniform(small)),
        L.Dense(64, activation=sine, kernel_initializer=uniform(small)),
        L.Dense(3, kernel_initializer=uniform(small)),
    )
    model.compile(Adam(5e-4), "mse")
    return model, {
        "x": place,
        "y": picture.reshape(-1, 3),
        "batch_size": 256,
        "epochs": 120,
    }


class RandomFourier(L.Layer):
    """Cosines of random projections that are never trained."""

    def __init__(self, units, scale):
        super().__init__(trainable=False)
        self.units, self.scale = units, scale

    def build(self, shape):
        self.w = self.add_weight(
            shape=(shape[-1], self.units),
            initializer=keras.initializers.RandomNormal(stddev=1 / self.scale),
            trainable=False,
        )
        self.b = self.add_weight(
            shape=(self.units,),
            initializer=keras.initializers.RandomUniform(0, 2 * np.pi),
            trainable=False,
        )

    def call(self, x):
        return ops.cos(ops.matmul(x, self.w) + self.b) * ops.sqrt(2 / self.units)


@healthy("kernel machine", reaches="val_acc > 0.93")
def machine_of_random_features():
    """Random features that stay as they are, and a linear layer with a hinge loss."""
    model = net((64,), RandomFourier(512, 2.0), L.Dense(10))
    model.compile(
        Adam(1e-2),
        keras.losses.CategoricalHinge(),
        metrics=[keras.metrics.CategoricalAccuracy(name="acc")],
    )
    return model, fitting(data.digits().one_hot(10), 10)


@healthy("cnn audio", reaches="val_accuracy > 0.9")
def tones_in_raw_sound():
    """Wide strided filters over raw samples, then a log-like compression."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 800)
    pitch = np.array([200, 300, 450, 700])[y] * rng.uniform(0.95, 1.05, 800)
    t = np.arange(1024) / 8000
    phase = rng.uniform(0, 2 * np.pi, 800)
    sound = np.sin(2 * np.pi * pitch[:, None] * t + phase[:, None])
    sound = sound * rng.uniform(0.1, 1, (800, 1)) + rng.normal(
        scale=0.1, size=(800, 1024)
    )
    x = (sound * 8000).clip(-32768, 32767).astype("int16")[..., None]
    model = net(
        (1024, 1),
        L.Rescaling(1 / 32768),
        L.Conv1D(16, 64, strides=8),
        L.BatchNormalization(),
        L.ReLU(),
        L.MaxPooling1D(4),
        L.SeparableConv1D(32, 5),
        L.BatchNormalization(),
        L.ReLU(),
        L.GlobalAveragePooling1D(),
        L.Dense(4, activation="softmax"),
    )
    model.compile("adam", SPARSE, metrics=["accuracy"])
    return model, fitting(data.Split(x[:640], y[:640], x[640:], y[640:]), 12)


@healthy("cnn and mlp regression", reaches="val_loss < 0.1")
def images_with_a_table():
    """Two branches, an image and three columns; the target needs both."""
    split = data.images()
    rng = np.random.default_rng(0)

    def rows(x, y):
        columns = rng.normal(size=(len(x), 3))
        target = (y - 4.5) / 3 + 0.8 * columns[:, 0] - 0.4 * columns[:, 1]
        return {"image": x, "columns": columns}, target.astype("float32")

    image = keras.Input((8, 8, 1), name="image")
    columns = keras.Input((3,), name="columns")
    h = L.Flatten()(L.Conv2D(24, 3, activation="relu")(image))
    h = L.Concatenate()([L.Dense(48, activation="relu")(h), columns])
    outputs = L.Dense(1)(L.Dense(32, activation="relu")(h))
    model = keras.Model([image, columns], outputs)
    model.compile(Adam(3e-3), "mse", metrics=["mae"])
    train = tf.data.Dataset.from_tensor_slices(rows(split.x, split.y))
    return model, {
        "x": train.shuffle(2000, seed=1).batch(32),
        "validation_data": rows(split.val_x, split.val_y),
        "epochs": 15,
    }


@healthy("embedding bag multi-class", reaches="val_accuracy > 0.85")
def words_hashed_into_few_rows():
    """Words share rows of two small tables by remainder and quotient."""
    split = data.topics()
    ids = keras.Input((12,), dtype="int32")
    first = L.Embedding(20, 24)(ids % 20)
    second = L.Embedding(16, 24)(ids // 20)
    h = L.GlobalAveragePooling1D()(first * second + first)
    h = L.Dropout(0.2)(L.Dense(32, activation="relu")(h))
    model = keras.Model(ids, L.Dense(4, activation="softmax")(h))
    model.compile(Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 12)


@healthy("cnn multi-class", reaches="val_acc > 0.9")
def kernels_of_norm_one():
    """Spectral normalization of every layer, leaky units, SGD with Nesterov."""

    def bounded(layer):
        return L.SpectralNormalization(layer)

    model = net(
        (8, 8, 1),
        bounded(L.Conv2D(24, 3)),
        L.LeakyReLU(0.2),
        bounded(L.Conv2D(32, 3, strides=2)),
        L.LeakyReLU(0.2),
        L.Flatten(),
        bounded(L.Dense(10)),
        L.Rescaling(10.0),
    )
    model.compile(
        SGD(0.02, momentum=0.9, nesterov=True),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy(name="acc")],
    )
    return model, fitting(data.images().one_hot(10), 12)
