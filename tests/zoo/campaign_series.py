"""Healthy runs on time series, graphs, equations, and what agents learn from."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import SGD, Adam

from zoo import data
from zoo.cases import fitting, healthy, net

SPARSE = "sparse_categorical_crossentropy"


def load_curve(hours=2000):
    """A daily and a weekly cycle with noise, in megawatts."""
    rng = np.random.default_rng(0)
    t = np.arange(hours)
    day, week = np.sin(2 * np.pi * t / 24), np.sin(2 * np.pi * t / 168)
    noise = np.convolve(rng.normal(size=hours + 7), np.ones(8) / 8, "valid")
    return (300 + 60 * day + 25 * week + 20 * noise).astype("float32")


def scaled(series, train=1500):
    mean, std = series[:train].mean(), series[:train].std()
    return (series - mean) / std


@healthy("rnn forecast", reaches="val_loss < 0.25")
def weather_like_windows():
    """Windows in the order of time, unshuffled, from Keras's own utility."""
    series = scaled(load_curve())

    def windows(values):
        return keras.utils.timeseries_dataset_from_array(
            values[:-24, None], values[47:], sequence_length=24, batch_size=64
        )

    model = net((24, 1), L.LSTM(32), L.Dense(1))
    model.compile(Adam(5e-3), "mse")
    return model, {
        "x": windows(series[:1500]),
        "validation_data": windows(series[1500:]),
        "epochs": 15,
    }


@healthy("cnn forecast", reaches="val_loss < 0.25")
def temporal_convolution():
    """A day ahead at once, with dilated causal convolutions."""
    series = scaled(load_curve())
    rows = np.lib.stride_tricks.sliding_window_view(series, 72)
    x, y = rows[:, :48, None], rows[:, 48:]
    inputs = keras.Input((48, 1))
    h = L.Conv1D(24, 1)(inputs)
    for dilation in (1, 2, 4, 8):
        z = L.Conv1D(24, 3, padding="causal", dilation_rate=dilation)(h)
        h = h + L.Dropout(0.1)(L.ReLU()(L.LayerNormalization()(z)))
    model = keras.Model(inputs, L.Dense(24)(h[:, -1]))
    model.compile(Adam(3e-3), "mae")
    split = data.Split(x[:1450], y[:1450], x[1550:], y[1550:])
    return model, fitting(split, 8)


@healthy("rnn forecast", reaches="val_loss < 0.3")
def several_series_in_and_out():
    """Stacked recurrent layers, several steps of three series ahead."""
    base = scaled(load_curve())
    series = np.stack([base, np.roll(base, 3), base**2 / 2 - 0.5], axis=1)
    rows = np.lib.stride_tricks.sliding_window_view(series[5:], 30, axis=0)
    rows = rows.transpose(0, 2, 1)
    model = net(
        (24, 3),
        L.GRU(48, return_sequences=True),
        L.GRU(48),
        L.Dense(18),
        L.Reshape((6, 3)),
    )
    model.compile(Adam(5e-3, clipnorm=1.0), keras.losses.Huber())
    x, y = rows[:, :24], rows[:, 24:]
    split = data.Split(x[:1400], y[:1400], x[1500:], y[1500:])
    stop = keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True)
    return model, fitting(split, 12, 64, callbacks=[stop])


@healthy("rnn forecast", reaches="loss < 0.35")
def stateful_over_batches():
    """A stateful network that reads ten series on and on, without shuffling."""
    rng = np.random.default_rng(0)
    t = np.arange(601)
    waves = np.sin(rng.uniform(0.1, 0.4, (10, 1)) * t + rng.uniform(0, 6, (10, 1)))
    waves += 0.05 * rng.normal(size=waves.shape)
    parts = [waves[:, i : i + 21] for i in range(0, 580, 20)]
    rows = np.concatenate(parts).astype("float32")[..., None]
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(10, 20, 1)),
            L.LSTM(24, stateful=True, return_sequences=True),
            L.Dense(1),
        ]
    )
    model.compile(Adam(5e-3), "mse")
    return model, {
        "x": rows[:, :-1],
        "y": rows[:, 1:],
        "epochs": 15,
        "batch_size": 10,
        "shuffle": False,
    }


@healthy("cnn multi-class", reaches="val_sparse_categorical_accuracy > 0.9")
def series_classified():
    """keras.io's convolutional classifier of engine noise, two classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1200)
    t = np.arange(120)
    speed = rng.uniform(0.1, 0.3, (1200, 1))
    x = np.sin(speed * t) + 0.6 * y[:, None] * np.sin(3 * speed * t + 1)
    x += rng.normal(scale=0.3, size=x.shape)
    x = ((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True))[..., None]
    hidden = []
    for _ in range(3):
        hidden += [L.Conv1D(32, 3, padding="same"), L.BatchNormalization(momentum=0.9)]
        hidden += [L.ReLU()]
    model = net((120, 1), *hidden, L.GlobalAveragePooling1D(), L.Dense(2, "softmax"))
    model.compile(Adam(2e-3), SPARSE, metrics=["sparse_categorical_accuracy"])
    reduce = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=5, min_lr=1e-4)
    split = data.Split(x[:960], y[:960], x[960:], y[960:])
    return model, fitting(split, 12, callbacks=[reduce])


class Graph(L.Layer):
    """Averages over neighbours (Kipf and Welling, 2017)."""

    def __init__(self, units, neighbours, activation=None, **more):
        super().__init__(**more)
        self.neighbours = ops.convert_to_tensor(neighbours)
        self.dense = L.Dense(units, activation=activation)

    def call(self, x):
        return self.dense(ops.matmul(self.neighbours, x))


@healthy("graph multi-class", reaches="val_accuracy > 0.7")
def nodes_of_one_graph():
    """One graph is the only sample; what counts is chosen by weights of the nodes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 300)
    chance = np.where(y[:, None] == y, 0.05, 0.006)
    edges = np.triu(rng.random((300, 300)) < chance, 1)
    near = (edges | edges.T) + np.eye(300)
    degree = near.sum(1) ** -0.5
    near = (degree[:, None] * near * degree).astype("float32")
    x = np.eye(4)[y] + rng.normal(scale=1.2, size=(300, 4))
    train = rng.random(300) < 0.5
    model = net(
        (300, 4),
        L.Dropout(0.2),
        Graph(16, near, "relu"),
        L.Dropout(0.2),
        Graph(4, near, "softmax"),
    )
    model.compile(Adam(1e-2), SPARSE, weighted_metrics=["accuracy"])
    return model, {
        "x": x[None],
        "y": y[None],
        "sample_weight": train[None].astype("float32"),
        "validation_data": (x[None], y[None], (~train)[None].astype("float32")),
        "epochs": 80,
    }


@healthy("graph regression", reaches="val_loss < 0.35")
def molecules_of_a_batch():
    """Small graphs, each with its own adjacency as a second input."""
    rng = np.random.default_rng(0)
    nodes = rng.integers(0, 4, (1500, 9))
    edges = np.triu(rng.random((1500, 9, 9)) < 0.3, 1)
    near = (edges | edges.transpose(0, 2, 1)).astype("float32")
    atoms = np.eye(4, dtype="float32")[nodes]
    charge = np.array([-1.0, 0.5, 1.0, 2.0])[nodes]
    y = np.einsum("bi,bij,bj->b", charge, near, charge) / 4
    y = (y - y[:1200].mean()) / y[:1200].std()
    a, e = keras.Input((9, 4)), keras.Input((9, 9))
    h = L.Dense(32, activation="relu")(a)
    for _ in range(2):
        told = ops.matmul(e, L.Dense(32)(h))
        h = L.Dense(32, activation="relu")(L.Concatenate()([h, told]))
    out = L.Dense(1)(L.Dense(32, activation="relu")(ops.sum(h, axis=1)))
    model = keras.Model([a, e], out)
    model.compile(Adam(3e-3), "mse", metrics=["mae"])
    return model, {
        "x": [atoms[:1200], near[:1200]],
        "y": y[:1200],
        "validation_data": ([atoms[1200:], near[1200:]], y[1200:]),
        "epochs": 20,
    }


class Flow(L.Layer):
    """Integrates a learned derivative with Runge and Kutta's method."""

    def __init__(self, steps=4, **more):
        super().__init__(**more)
        self.slope = net((2,), L.Dense(32, activation="tanh"), L.Dense(2))
        self.steps = steps

    def call(self, x):
        h = 1.0 / self.steps
        for _ in range(self.steps):
            a = self.slope(x)
            b = self.slope(x + h / 2 * a)
            c = self.slope(x + h / 2 * b)
            d = self.slope(x + h * c)
            x = x + h / 6 * (a + 2 * b + 2 * c + d)
        return x


@healthy("ode regression", reaches="val_loss < 0.02")
def neural_differential_equation():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.5, 1.5, (1200, 2))
    turn = np.exp(-0.2) * np.array([[np.cos(1), np.sin(1)], [-np.sin(1), np.cos(1)]])
    y = x @ turn + rng.normal(scale=0.02, size=x.shape)
    model = net((2,), Flow())
    model.compile(Adam(5e-3), "mse")
    return model, fitting(data.Split(x[:900], y[:900], x[900:], y[900:]), 10)


class Informed(keras.Model):
    """u'' = -u with u(0) = 0 and u'(0) = 1: derivatives stand in the loss."""

    def __init__(self):
        super().__init__()
        hidden = [L.Dense(32, activation="tanh") for _ in range(2)]
        self.network = net((1,), *hidden, L.Dense(1))
        self.trackers = [keras.metrics.Mean(n) for n in ("loss", "error")]

    @property
    def metrics(self):
        return self.trackers

    def call(self, t):
        return self.network(t)

    def residual(self, t):
        with tf.GradientTape() as outer:
            outer.watch(t)
            with tf.GradientTape() as inner:
                inner.watch(t)
                u = self(t)
            slope = inner.gradient(u, t)
        return u, slope, outer.gradient(slope, t) + u

    def train_step(self, t):
        with tf.GradientTape() as tape:
            u, _, off = self.residual(t)
            start, slope, _ = self.residual(tf.zeros((1, 1)))
            loss = tf.reduce_mean(off**2)
            loss += tf.reduce_mean(start**2 + (slope - 1) ** 2)
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        error = tf.reduce_mean(tf.abs(u - tf.sin(t)))
        for tracker, value in zip(self.trackers, (loss, error), strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}


@healthy("custom physics", reaches="error < 0.15")
def physics_informed():
    t = np.random.default_rng(0).uniform(0, 4, (1024, 1)).astype("float32")
    model = Informed()
    model.compile(Adam(5e-3))
    return model, {"x": t, "epochs": 40, "batch_size": 64}


def corridor(rows=3000):
    """States of a walk, actions, rewards and next states, as a replay buffer."""
    rng = np.random.default_rng(0)
    state = rng.uniform(-1, 1, (rows, 2)).astype("float32")
    action = rng.integers(0, 3, rows)
    after = np.clip(state + 0.2 * np.stack([action - 1, 0 * action], 1), -1, 1)
    reward = 1 - np.abs(after[:, 0] - after[:, 1])
    return state, action, reward.astype("float32"), after.astype("float32")


@healthy("mlp agent", reaches="loss < 0.02")
def action_values_fitted():
    """Q-learning targets for the action taken; the others weigh nothing."""
    state, action, reward, after = corridor()
    model = net((2,), L.Dense(48, "relu"), L.Dense(48, "relu"), L.Dense(3))
    model.compile(Adam(2e-3), keras.losses.Huber())
    taken = np.eye(3, dtype="float32")[action]
    values = np.zeros((len(state), 3), "float32")
    for _ in range(4):
        y = reward + 0.6 * values.max(1)
        model.fit(state, y[:, None] * taken + values * (1 - taken), epochs=2, verbose=0)
        values = model.predict(after, verbose=0)
    targets = np.where(taken > 0, (reward + 0.6 * values.max(1))[:, None], 0)
    # A row for each action, so that the loss is weighted by whether it was taken.
    inputs = keras.Input((2,))
    wide = keras.Model(inputs, L.Reshape((3, 1))(model(inputs)))
    wide.compile(Adam(1e-3), keras.losses.Huber())
    return wide, {
        "x": state,
        "y": targets[..., None],
        "sample_weight": taken,
        "epochs": 10,
        "batch_size": 64,
    }


def surrogate(y_true, y_pred):
    """Minus the log probability of the action taken, times its advantage."""
    taken, advantage = y_true[:, :3], y_true[:, 3]
    chance = ops.sum(taken * ops.log_softmax(y_pred), axis=1)
    return -chance * advantage


@healthy("mlp agent", reaches="loss < -0.1")
def policy_gradient():
    """Advantages of both signs: the loss is around zero and goes below."""
    state, action, reward, _ = corridor()
    best = np.sign(state[:, 1] - state[:, 0]) + 1
    advantage = reward - reward.mean() + 0.7 * (action == best) - 0.23
    y = np.concatenate([np.eye(3)[action], advantage[:, None]], axis=1)
    model = net((2,), L.Dense(32, "tanh"), L.Dense(32, "tanh"), L.Dense(3))
    entropy = 0.5

    def loss(y_true, y_pred):
        chance = ops.softmax(y_pred)
        spread = -ops.sum(chance * ops.log_softmax(y_pred), axis=1)
        return surrogate(y_true, y_pred) - entropy * spread

    model.compile(Adam(2e-3), loss)
    return model, {"x": state, "y": y, "epochs": 12, "batch_size": 64}


class ActorCritic(keras.Model):
    """Plays a two-armed game of contexts itself, as keras.io's cart-pole agent."""

    def __init__(self):
        super().__init__()
        self.common = L.Dense(64, activation="relu")
        self.actor, self.critic = L.Dense(2), L.Dense(1)
        self.seeds = keras.random.SeedGenerator(0)
        self.trackers = [keras.metrics.Mean(n) for n in ("loss", "reward")]

    @property
    def metrics(self):
        return self.trackers

    def call(self, state):
        h = self.common(state)
        return self.actor(h), self.critic(h)[:, 0]

    def train_step(self, state):
        with tf.GradientTape() as tape:
            logits, value = self(state)
            action = keras.random.categorical(logits, 1, seed=self.seeds)[:, 0]
            right = tf.cast(state[:, 0] * state[:, 1] > 0, action.dtype)
            reward = tf.cast(tf.equal(action, right), "float32")
            chance = tf.reduce_sum(
                tf.one_hot(action, 2) * tf.nn.log_softmax(logits), axis=1
            )
            gap = reward - value
            loss = tf.reduce_mean(-chance * tf.stop_gradient(gap))
            loss += tf.reduce_mean(keras.losses.huber(reward[:, None], value[:, None]))
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self.trackers[0].update_state(loss)
        self.trackers[1].update_state(reward)
        return {t.name: t.result() for t in self.trackers}


@healthy("custom agent", reaches="reward > 0.85")
def actor_and_critic():
    state = np.random.default_rng(0).uniform(-1, 1, (2000, 2)).astype("float32")
    model = ActorCritic()
    model.compile(Adam(5e-3))
    return model, {"x": state, "epochs": 20, "batch_size": 32}


@healthy("mlp agent", reaches="val_accuracy > 0.9")
def expert_imitated():
    state, _, _, _ = corridor()
    y = np.sign(state[:, 1] - state[:, 0]) * (np.abs(state[:, 1] - state[:, 0]) > 0.2)
    model = net((2,), L.Dense(32, "relu"), L.Dense(3, "softmax"))
    model.compile(SGD(0.05, momentum=0.9), SPARSE, metrics=["accuracy"])
    y = y.astype("int64") + 1
    return model, fitting(data.Split(state[:2400], y[:2400], state[2400:], y[2400:]), 8)
