"""Healthy runs whose losses compare something other than an output with its target."""

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


def pairwise(y_true, y_pred):
    """RankNet: within a batch, what is better shall be scored higher."""
    y, s = ops.reshape(y_true, (-1, 1)), ops.reshape(y_pred, (-1, 1))
    better = ops.cast(y > ops.transpose(y), "float32")
    cost = ops.softplus(-(s - ops.transpose(s)))
    return ops.sum(better * cost) / ops.maximum(ops.sum(better), 1)


@healthy("mlp ranking", reaches="val_loss < 0.45")
def pairs_of_a_batch_ranked():
    model = net((13,), L.Dense(32, activation="relu"), L.Dense(1))
    model.compile(Adam(3e-3), pairwise)
    return model, fitting(data.housing(), 20)


def listwise(y_true, y_pred):
    return -ops.sum(ops.softmax(y_true) * ops.log_softmax(y_pred), axis=-1)


@healthy("mlp ranking", reaches="val_loss < 2.2")
def lists_ranked():
    """ListNet: ten documents for each query, scored by a shared network."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1200, 10, 12))
    y = np.clip(np.round(2 + x[..., :4].sum(2) * 0.8), 0, 4)
    model = net((10, 12), L.Dense(32, "relu"), L.Dense(1), L.Reshape((10,)))
    model.compile(Adam(3e-3), listwise)
    return model, fitting(data.Split(x[:1000], y[:1000], x[1000:], y[1000:]), 12)


def cox(y_true, y_pred):
    """Partial likelihood over those of the batch who are still at risk."""
    time, seen = y_true[:, 0], y_true[:, 1]
    at_risk = ops.cast(time[None, :] >= time[:, None], "float32")
    score = y_pred[:, 0]
    most = ops.max(score)
    sums = most + ops.log(ops.sum(at_risk * ops.exp(score - most)[None, :], axis=1))
    return ops.sum(seen * (sums - score)) / ops.maximum(ops.sum(seen), 1)


@healthy("mlp survival", reaches="val_loss < 3")
def proportional_hazards():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2048, 6))
    time = rng.exponential(np.exp(-(x @ [1.2, -0.8, 0.6, 0, 0, 0])))
    ends = rng.exponential(3, 2048)
    y = np.stack([np.minimum(time, ends), time < ends], 1).astype("float32")
    model = net((6,), L.Dense(24, activation="relu"), L.Dense(1, use_bias=False))
    model.compile(Adam(5e-3), cox)
    split = data.Split(x[:1664], y[:1664], x[1664:], y[1664:])
    return model, fitting(split, 15, 64)


@healthy("embedding ranking", reaches="loss < 0.3")
def liked_above_not_liked():
    """BPR: the target of each difference of two scores is 1."""
    rng = np.random.default_rng(0)
    taste = rng.integers(0, 5, 200)
    user = rng.integers(0, 200, 8000)
    liked = 20 * taste[user] + rng.integers(0, 20, 8000)
    other = (liked + rng.integers(20, 80, 8000)) % 100
    inputs = [keras.Input((), dtype="int32") for _ in range(3)]
    items, users = L.Embedding(100, 8), L.Embedding(200, 8)
    dot = L.Dot(axes=1)
    gap = dot([users(inputs[0]), items(inputs[1])])
    gap = gap - dot([users(inputs[0]), items(inputs[2])])
    model = keras.Model(inputs, L.Activation("sigmoid")(gap))
    model.compile(Adam(5e-3), BCE)
    return model, {
        "x": [user, liked, other],
        "y": np.ones((8000, 1)),
        "epochs": 8,
        "batch_size": 128,
    }


@healthy("cnn triplets", reaches="loss < 0.1")
def output_is_the_loss():
    """The model puts out its loss itself; the targets are zeros that nobody reads."""
    split = data.images()
    rng = np.random.default_rng(0)
    a = rng.integers(0, len(split.x), 2000)
    alike = [rng.choice(np.flatnonzero(split.y == split.y[i])) for i in a]
    other = [rng.choice(np.flatnonzero(split.y != split.y[i])) for i in a]
    embed = net((8, 8, 1), L.Conv2D(24, 3, activation="relu"), L.Flatten(), L.Dense(16))
    inputs = [keras.Input((8, 8, 1)) for _ in range(3)]
    one, two, three = (ops.normalize(embed(i), axis=1) for i in inputs)
    near, far = (ops.sum((one - o) ** 2, 1, keepdims=True) for o in (two, three))
    model = keras.Model(inputs, ops.relu(near - far + 0.4))
    model.compile(Adam(2e-3), lambda y_true, y_pred: ops.mean(y_pred))
    x = [split.x[a], split.x[alike], split.x[other]]
    return model, {"x": x, "y": np.zeros((2000, 1)), "epochs": 8}


def correlation(y_true, y_pred):
    """One minus the concordance of a batch."""
    a, b = ops.reshape(y_true, (-1,)), ops.reshape(y_pred, (-1,))
    ma, mb = ops.mean(a), ops.mean(b)
    both = ops.mean((a - ma) * (b - mb))
    return 1 - 2 * both / (ops.var(a) + ops.var(b) + (ma - mb) ** 2)


@healthy("mlp regression", reaches="val_loss < 0.2")
def concordance_as_the_loss():
    split = data.cars().map_y(lambda y: (y - 23) / 8)
    model = net((7,), L.Dense(32, "relu"), L.Dense(32, "relu"), L.Dense(1))
    model.compile(Adam(3e-3), correlation)
    return model, fitting(split, 20)


def spots(rows=700, size=16):
    """Images with two bright spots, and a heat map of where they are."""
    rng = np.random.default_rng(0)
    grid = np.arange(size)
    at = rng.uniform(2, size - 2, (rows, 2, 2))
    d = (grid[:, None] - at[:, :, :1, None]) ** 2 + (grid - at[:, :, 1:, None]) ** 2
    heat = np.exp(-d / 2).max(1)
    x = np.exp(-d / 6).max(1) + rng.normal(scale=0.1, size=heat.shape)
    return x[..., None].astype("float32"), heat[..., None].astype("float32")


@healthy("cnn heat maps", reaches="val_loss < 0.002")
def key_points():
    """Nearly all of the target is zero."""
    x, y = spots()
    hidden = [L.Conv2D(24, 3, padding="same", activation="relu") for _ in range(3)]
    model = net((16, 16, 1), *hidden, L.Conv2D(1, 1))
    model.compile(Adam(3e-3), "mse")
    return model, fitting(data.Split(x[:600], y[:600], x[600:], y[600:]), 12)


def centre_focal(y_true, y_pred):
    """CenterNet's focal loss: normalized by the number of centres."""
    p = ops.clip(y_pred, 1e-4, 1 - 1e-4)
    centre = ops.cast(y_true > 0.9, "float32")
    hit = centre * (1 - p) ** 2 * ops.log(p)
    miss = (1 - centre) * (1 - y_true) ** 4 * p**2 * ops.log(1 - p)
    return -ops.sum(hit + miss) / ops.maximum(ops.sum(centre), 1)


@healthy("cnn heat maps", reaches="val_loss < 1")
def centres_by_a_focal_loss():
    x, y = spots()
    hidden = [L.Conv2D(24, 3, padding="same", activation="relu") for _ in range(3)]
    rare = keras.initializers.Constant(-2.19)
    head = L.Conv2D(1, 1, activation="sigmoid", bias_initializer=rare)
    model = net((16, 16, 1), *hidden, head)
    model.compile(Adam(3e-3), centre_focal)
    return model, fitting(data.Split(x[:600], y[:600], x[600:], y[600:]), 14)


@healthy("cnn depth", reaches="val_loss < 0.02")
def pixels_without_a_measurement():
    """A weight of zero for each pixel whose depth is not known."""
    split = data.images()
    rng = np.random.default_rng(0)
    kernel = np.array([0.25, 0.5, 0.25])

    def depth(x):
        x = np.apply_along_axis(np.convolve, 1, x, kernel, "same")
        return np.apply_along_axis(np.convolve, 2, x, kernel, "same")

    y, val_y = depth(split.x), depth(split.val_x)
    known = (rng.random(y.shape) < 0.6).astype("float32")
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, padding="same", activation="relu"),
        L.Conv2D(1, 3, padding="same"),
    )
    model.compile(Adam(3e-3), "mse")
    return model, {
        "x": split.x,
        "y": np.where(known > 0, y, 0),
        "sample_weight": known[..., 0],
        "validation_data": (split.val_x, val_y),
        "epochs": 8,
    }


@healthy("rnn sequence", reaches="val_accuracy > 0.8")
def captions_with_padding_weighted_out():
    """Words after an image; weights take the padding out of loss and metric."""
    split = data.images()
    spelt = ["zero", "one", "two", "three", "four"]
    spelt += ["five", "six", "seven", "eight", "nine"]
    letters = sorted(set("".join(spelt)))
    table = np.zeros((10, 7), "int32")
    for i, word in enumerate(spelt):
        table[i, : len(word) + 1] = [2 + letters.index(c) for c in word] + [1]

    def inputs(x, y):
        said = table[y]
        fed = np.concatenate([np.ones((len(y), 1), int), said[:, :-1]], axis=1)
        return [x, fed], said, (said > 0).astype("float32")

    image, words = keras.Input((8, 8, 1)), keras.Input((7,))
    h = L.Conv2D(24, 3, activation="relu")(image)
    state = L.Dense(48, activation="tanh")(L.Flatten()(h))
    count = len(letters) + 2
    h = L.GRU(48, return_sequences=True)(
        L.Embedding(count, 24)(words), initial_state=state
    )
    model = keras.Model([image, words], L.Dense(count, activation="softmax")(h))
    model.compile(Adam(5e-3), SPARSE, weighted_metrics=["accuracy"])
    x, y, weights = inputs(split.x, split.y)
    return model, {
        "x": x,
        "y": y,
        "sample_weight": weights,
        "validation_data": inputs(*split.val),
        "epochs": 10,
    }


class Reversed(L.Layer):
    """Turns the gradient around (Ganin and Lempitsky, 2015)."""

    def call(self, x):
        return 1.1 * ops.stop_gradient(x) - 0.1 * x


@healthy("mlp domains", reaches="digit_accuracy > 0.9")
def domains_that_cannot_be_told():
    """An adversarial head stays at chance: that is what it is for."""
    split = data.digits()
    rng = np.random.default_rng(0)
    shifted = rng.random(len(split.x)) < 0.5
    x = np.where(shifted[:, None], 0.7 * split.x + 0.15, split.x)
    inputs = keras.Input((64,))
    h = L.Dense(64, activation="relu")(inputs)
    outputs = {
        "digit": L.Dense(10, activation="softmax", name="digit")(h),
        "domain": L.Dense(1, activation="sigmoid", name="domain")(
            L.Dense(16, activation="relu")(Reversed()(h))
        ),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        Adam(3e-3),
        {"digit": SPARSE, "domain": BCE},
        metrics={"digit": ["accuracy"], "domain": ["accuracy"]},
    )
    y = {"digit": split.y, "domain": shifted.astype("float32")[:, None]}
    return model, {"x": x, "y": y, "epochs": 12}


class Binary(L.Layer):
    """Signs forward, a straight line backward."""

    def call(self, x):
        return x + ops.stop_gradient(ops.sign(x) - x)


@healthy("mlp binarized", reaches="val_accuracy > 0.85")
def straight_through_signs():
    model = net(
        (64,),
        L.Dense(128),
        L.BatchNormalization(momentum=0.9),
        Binary(),
        L.Dense(10, activation="softmax"),
    )
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 10)


class Decorrelated(keras.Model):
    """Barlow Twins: the correlation of two views is the unit matrix."""

    def __init__(self):
        super().__init__()
        self.encoder = net(
            (64,), L.Dense(96, activation="relu"), L.Dense(16), L.BatchNormalization()
        )
        self.tracker = keras.metrics.Mean("loss")

    @property
    def metrics(self):
        return [self.tracker]

    def call(self, x, training=None):
        return self.encoder(x, training=training)

    def train_step(self, x):
        def seen():
            noise = tf.random.normal(tf.shape(x), stddev=0.15)
            z = self(x + noise, training=True)
            return (z - tf.reduce_mean(z, 0)) / (tf.math.reduce_std(z, 0) + 1e-4)

        with tf.GradientTape() as tape:
            a, b = seen(), seen()
            count = tf.cast(tf.shape(a)[0], "float32")
            c = tf.matmul(a, b, transpose_a=True) / count
            on = tf.reduce_sum((tf.linalg.diag_part(c) - 1) ** 2)
            off = tf.reduce_sum(c**2) - tf.reduce_sum(tf.linalg.diag_part(c) ** 2)
            loss = on + 0.05 * off
        weights = self.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


@healthy("custom contrastive", reaches="loss < 1.5")
def correlations_of_two_views():
    model = Decorrelated()
    model.compile(SGD(0.02, momentum=0.9))
    return model, {"x": data.digits().x, "epochs": 15, "batch_size": 128}


@healthy("mlp counts", reaches="val_loss < 1.6")
def many_zeros():
    """Zero-inflated Poisson: the logit of a zero, and a log rate."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 5))
    empty = rng.random(2000) < 1 / (1 + np.exp(-x[:, 0] * 2))
    y = np.where(empty, 0, rng.poisson(np.exp(1 + 0.5 * x[:, 1])))[:, None]

    def loss(y_true, y_pred):
        zero, rate = y_pred[:, :1], y_pred[:, 1:]
        counted = y_true * rate - ops.exp(rate) - tf.math.lgamma(y_true + 1)
        none = -ops.softplus(-zero)
        some = -ops.softplus(zero)
        either = ops.logaddexp(none, some - ops.exp(rate))
        return -ops.where(y_true > 0, some + counted, either)

    model = net((5,), L.Dense(32, activation="relu"), L.Dense(2))
    model.compile(Adam(3e-3), loss)
    y = y.astype("float32")
    return model, fitting(data.Split(x[:1600], y[:1600], x[1600:], y[1600:]), 14)


@healthy("cnn deep supervision", reaches="val_last_accuracy > 0.9")
def auxiliary_heads():
    """The same labels three times, at lower weights for the early heads."""
    split = data.images()
    inputs = keras.Input((8, 8, 1))
    x, outputs = inputs, {}
    for name in ("first", "second", "last"):
        x = L.Conv2D(24, 3, padding="same", activation="relu")(x)
        pooled = L.Flatten()(L.MaxPooling2D()(x))
        outputs[name] = L.Dense(10, activation="softmax", name=name)(pooled)
    model = keras.Model(inputs, outputs)
    model.compile(
        Adam(2e-3),
        dict.fromkeys(outputs, SPARSE),
        loss_weights={"first": 0.3, "second": 0.3, "last": 1.0},
        metrics={"last": ["accuracy"]},
    )

    def each(y):
        return dict.fromkeys(outputs, y)

    return model, {
        "x": split.x,
        "y": each(split.y),
        "validation_data": (split.val_x, each(split.val_y)),
        "epochs": 8,
    }


@healthy("convlstm forecast", reaches="val_loss < 0.25")
def next_frames_of_films():
    """A moving square, predicted a frame ahead, as keras.io's next-frame example."""
    rng = np.random.default_rng(0)
    at, speed = rng.integers(0, 12, (300, 1, 2)), rng.integers(-1, 2, (300, 1, 2))
    places = (at + speed * np.arange(9)[None, :, None]) % 12
    grid = np.arange(12)
    gap = [(grid - places[..., i, None]) % 12 < 4 for i in range(2)]
    films = (gap[0][..., :, None] & gap[1][..., None, :])[..., None].astype("float32")
    model = net(
        (8, 12, 12, 1),
        L.ConvLSTM2D(12, 3, padding="same", return_sequences=True),
        L.BatchNormalization(momentum=0.9),
        L.Conv3D(1, 3, padding="same", activation="sigmoid"),
    )
    model.compile(Adam(1e-2), BCE)
    x, y = films[:, :-1], films[:, 1:]
    return model, fitting(data.Split(x[:250], y[:250], x[250:], y[250:]), 10, 10)
