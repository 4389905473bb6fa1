"""Settings that do nothing: layers frozen too late, and weights that no one reads."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import SGD, Adam, AdamW

from zoo import data
from zoo.cases import fitting, healthy, net, pair
from zoo.causes import FLAT, WORSE

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"
FROZEN = {"frozen-without-compile"}
IGNORED = {"weights-without-effect"}
ANY = FLAT | WORSE


# Frozen after the train function was compiled: it goes on training these layers.


def frozen_late(model, parts, bad, compiled, fit, epochs=2):
    """Trains all of a model, then freezes parts of it and trains what is left."""
    compiled()
    model.fit(**{**fit, "epochs": epochs}, verbose=0)
    for part in parts:
        part.trainable = False
    if not bad:
        compiled()
    return model, fit


@pair("cnn multi-class", FROZEN, ANY, reaches="val_accuracy > 0.8")
def backbone_frozen_without_compile(bad):
    base = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.BatchNormalization(),
        L.Conv2D(32, 3, activation="relu"),
        L.GlobalAveragePooling2D(),
    )
    model = net((8, 8, 1), base, L.Dense(10, activation="softmax"))
    return frozen_late(
        model,
        [base],
        bad,
        lambda: model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"]),
        fitting(data.images(), 12),
        epochs=6,
    )


@pair("mlp regression", FROZEN, ANY, reaches="val_loss < 0.5")
def all_but_the_head_frozen_without_compile(bad):
    inputs = keras.Input((7,))
    h = L.Dense(32, activation="gelu", name="first")(inputs)
    h = L.Dense(32, activation="gelu", name="second")(h)
    model = keras.Model(inputs, L.Dense(1)(h))
    split = data.cars()
    mean, std = split.y.mean(), split.y.std()
    fit = fitting(split.map_y(lambda y: (y - mean) / std), 20)

    def compiled():
        model.compile(AdamW(1e-2, weight_decay=1e-3), "mse", jit_compile=True)

    return frozen_late(model, model.layers[1:3], bad, compiled, fit, epochs=4)


class FreezeAt(keras.callbacks.Callback):
    """Freezes layers when an epoch begins."""

    def __init__(self, epoch, names):
        super().__init__()
        self.epoch, self.names = epoch, names

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            for name in self.names:
                self.model.get_layer(name).trainable = False


@pair("rnn binary", FROZEN, ANY, reaches="val_accuracy > 0.8")
def embedding_frozen_by_a_callback(bad):
    model = net(
        (16,),
        L.Embedding(data.VOCABULARY, 16, name="tokens"),
        L.Bidirectional(L.GRU(12)),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile(Adam(5e-3), BCE, metrics=["accuracy"])
    fit = fitting(data.reviews(), 12)
    if bad:
        return model, {**fit, "callbacks": [FreezeAt(3, ["tokens"])]}
    model.fit(**{**fit, "epochs": 3}, verbose=0)
    model.get_layer("tokens").trainable = False
    model.compile(Adam(5e-3), BCE, metrics=["accuracy"])
    return model, {**fit, "epochs": 9}


class Tagger(keras.Model):
    """An encoder and a head, with nothing of its own but `call`."""

    def __init__(self, classes):
        super().__init__()
        self.encoder = keras.Sequential([L.Conv1D(24, 3, padding="same"), L.ReLU()])
        self.head = keras.Sequential(
            [L.GlobalMaxPooling1D(), L.Dense(classes, activation="softmax")]
        )

    def call(self, x):
        return self.head(self.encoder(x))


@pair("subclassed multi-class", FROZEN, ANY, reaches="val_accuracy > 0.7")
def encoder_frozen_between_two_datasets(bad):
    split = data.images()
    x, val_x = split.x[..., 0], split.val_x[..., 0]
    batches = tf.data.Dataset.from_tensor_slices((x, split.y)).shuffle(2000, 1)
    model = Tagger(10)

    def compiled():
        model.compile(
            SGD(0.05, momentum=0.9), SPARSE, metrics=["accuracy"], steps_per_execution=2
        )

    fit = {
        "x": batches.batch(32),
        "validation_data": (val_x, split.val_y),
        "epochs": 12,
    }
    return frozen_late(model, [model.encoder], bad, compiled, fit, epochs=5)


# Frozen, or kept out of training, on purpose.


@healthy("mlp binary", reaches="accuracy > 0.9")
def critic_frozen_for_its_generator():
    """The classic pattern: frozen in the stacked model, trained by its own `fit`."""
    split = data.breast_cancer()
    critic = net(
        (30,), L.Dense(24, activation="relu"), L.Dense(1, activation="sigmoid")
    )
    critic.compile(Adam(3e-3), BCE, metrics=["accuracy"])
    critic.fit(split.x, split.y, verbose=0)
    critic.trainable = False
    generator = net((6,), L.Dense(24, activation="relu"), L.Dense(30))
    stacked = net((6,), generator, critic)
    stacked.compile(Adam(1e-3), BCE)
    noise = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    stacked.fit(noise, np.ones((64, 1)), verbose=0)
    return critic, fitting(split, 12)


class TurnByTurn(keras.Model):
    """Two parts with an optimizer each, of which one is frozen in between."""

    def __init__(self):
        super().__init__()
        self.maker = net((4,), L.Dense(16, activation="relu"), L.Dense(2))
        self.judge = net((2,), L.Dense(16, activation="relu"), L.Dense(1))
        self.loss_of = keras.losses.BinaryCrossentropy(from_logits=True)

    def call(self, x):
        return self.judge(x)

    def train_step(self, batch):
        real, n = batch, ops.shape(batch)[0]
        noise = keras.random.normal((n, 4))
        self.judge.trainable = True
        with tf.GradientTape() as tape:
            fake = self.judge(self.maker(noise))
            loss = self.loss_of(ops.zeros((n, 1)), fake)
            loss += self.loss_of(ops.ones((n, 1)), self.judge(real))
        weights = self.judge.trainable_weights
        self.judge_optimizer.apply(tape.gradient(loss, weights), weights)
        self.judge.trainable = False
        with tf.GradientTape() as tape:
            other = self.loss_of(ops.ones((n, 1)), self.judge(self.maker(noise)))
        weights = self.maker.trainable_weights
        self.optimizer.apply(tape.gradient(other, weights), weights)
        return {"judge": loss, "maker": other}


@healthy("gan", reaches="judge > 0.5")
def judge_frozen_within_the_step():
    x = data.moons().x
    model = TurnByTurn()
    model.build((None, 2))
    model.compile(Adam(1e-3))
    model.judge_optimizer = Adam(1e-3)
    model.fit(x, verbose=0)
    return model, {"x": x, "epochs": 6}


class Follower(keras.Model):
    """Learns from a copy of itself that follows slowly; the step moves the copy."""

    def __init__(self, body, copy):
        super().__init__()
        self.body, self.slow = body, copy
        self.slow.trainable = False

    def call(self, x):
        return self.body(x)

    def train_step(self, batch):
        logs = super().train_step(batch)
        for slow, fast in zip(self.slow.weights, self.body.weights, strict=True):
            slow.assign(0.98 * slow + 0.02 * fast)
        return logs


@healthy("custom multi-class", reaches="val_accuracy > 0.9")
def slow_copy_moved_by_the_step():
    def body():
        return net((64,), L.Dense(32, activation="relu"), L.Dense(10))

    model = Follower(body(), body())
    model.slow.set_weights(model.body.get_weights())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Adam(3e-3), loss, metrics=["accuracy"])
    fit = fitting(data.digits(), 8)
    model.fit(**{**fit, "epochs": 1}, verbose=0)
    return model, fit


class Codebook(L.Layer):
    """Rounds to the nearest code; the codes follow their inputs, without gradients."""

    def build(self, shape):
        self.codes = self.add_weight(
            (16, shape[-1]), initializer="random_normal", trainable=False
        )

    def call(self, x, training=False):
        far = ops.sum((x[:, None] - self.codes) ** 2, -1)
        one = ops.one_hot(ops.argmin(far, -1), 16)
        if training:
            mean = ops.matmul(ops.transpose(one), x)
            count = ops.sum(one, 0)[:, None]
            moved = ops.where(count > 0, mean / ops.maximum(count, 1), self.codes)
            self.codes.assign(0.9 * self.codes + 0.1 * moved)
        return x + ops.stop_gradient(0.2 * (ops.matmul(one, self.codes) - x))


@healthy("mlp multi-class", reaches="val_accuracy > 0.85")
def codes_that_follow_their_inputs():
    model = net(
        (64,), L.Dense(24, activation="relu"), Codebook(), L.Dense(10), L.Softmax()
    )
    model.compile(
        Adam(1e-2, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=10),
        SPARSE,
        metrics=["accuracy"],
    )
    fit = fitting(data.digits(), 12)
    model.fit(**{**fit, "epochs": 1}, verbose=0)
    return model, fit


@healthy("cnn multi-class", reaches="val_accuracy > 0.8")
def frozen_with_the_same_optimizer():
    """Compiled again with the optimizer that was built for all of it."""
    base = net(
        (8, 8, 1),
        L.Conv2D(24, 3, activation="relu"),
        L.BatchNormalization(),
        L.Flatten(),
    )
    model = net((8, 8, 1), base, L.Dense(10, activation="softmax"))
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    fit = fitting(data.images(), 6)
    model.fit(**{**fit, "epochs": 2}, verbose=0)
    base.trainable = False
    model.compile(model.optimizer, SPARSE, metrics=["accuracy"])
    model.fit(**{**fit, "epochs": 1}, verbose=0)
    return model, fit


@healthy("mlp binary", reaches="val_accuracy > 0.9")
def frozen_before_other_data():
    """Batches of another make have Keras trace its function anew: it is frozen."""
    split = data.breast_cancer()
    model = net(
        (30,),
        L.Dense(32, activation="tanh", name="first"),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile(Adam(5e-3), BCE, metrics=["accuracy"])
    model.fit(split.x, split.y, epochs=3, verbose=0)
    model.get_layer("first").trainable = False
    weights = np.where(split.y.ravel() > 0.5, 1.2, 0.9)
    return model, fitting(split, 8, sample_weight=weights)


@healthy("mlp multi-class", reaches="val_accuracy > 0.85")
def frozen_in_eager_training():
    """Python runs each step, and asks each time what is to be trained."""
    model = net(
        (64,),
        L.Dense(32, activation="relu", name="first"),
        L.Dense(10, activation="softmax"),
    )
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"], run_eagerly=True)
    fit = fitting(data.digits(), 4, 64)
    model.fit(**{**fit, "epochs": 5}, verbose=0)
    model.get_layer("first").trainable = False
    return model, fit


# Weights given to `fit` that nothing in the step reads.


class OwnStep(keras.Model):
    """A step of its own, which may leave the weights where they are."""

    def __init__(self, body, read):
        super().__init__()
        self.body, self.read = body, read

    def call(self, x):
        return self.body(x)

    def train_step(self, batch):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        with tf.GradientTape() as tape:
            p = self(x, training=True)
            loss = self.compute_loss(
                x=x, y=y, y_pred=p, sample_weight=weight if self.read else None
            )
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self._loss_tracker.update_state(loss)
        return self.compute_metrics(x, y, p, sample_weight=weight)


def rare_weights(y):
    share = np.bincount(np.ravel(y).astype(int)) / len(y)
    return {k: float(v) for k, v in enumerate(share.max() / share)}


@pair("custom binary", IGNORED, ANY, reaches="val_auc > 0.75")
def class_weights_that_the_step_forgets(bad):
    split = data.rare(0.09)
    width = split.x.shape[1]
    body = net(
        (width,), L.Dense(24, activation="relu"), L.Dense(1, activation="sigmoid")
    )
    model = OwnStep(body, read=not bad)
    model.compile(Adam(3e-3), BCE, metrics=[keras.metrics.AUC(name="auc")])
    return model, fitting(split, 10, 64, class_weight=rare_weights(split.y))


class OwnLoss(keras.Model):
    """Overrides `compute_loss`, with or without the weights."""

    def __init__(self, body, read):
        super().__init__()
        self.body, self.read = body, read

    def call(self, x):
        return self.body(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        each = ops.mean(ops.abs(y - y_pred), -1)
        if self.read and sample_weight is not None:
            each = each * ops.reshape(sample_weight, (-1,))
        return ops.mean(each)


@pair("subclassed regression", IGNORED, ANY, reaches="val_loss < 0.4")
def sample_weights_that_the_loss_forgets(bad):
    split = data.waves()
    model = OwnLoss(net((16, 1), L.GRU(16), L.Dense(1)), read=not bad)
    model.compile(Adam(1e-2))
    late = np.linspace(0.2, 1.8, len(split.x))
    return model, fitting(split, 10, sample_weight=late)


class Pairs(keras.Model):
    """Unpacks the batch as if there were never more than two parts."""

    def __init__(self, body, all_of_it):
        super().__init__()
        self.body, self.all_of_it = body, all_of_it

    def call(self, x):
        return self.body(x)

    def train_step(self, batch):
        x, y = batch[:2]
        with tf.GradientTape() as tape:
            each = keras.losses.sparse_categorical_crossentropy(y, self(x))
            if self.all_of_it:
                each = each * batch[2]
            loss = ops.mean(each)
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self._loss_tracker.update_state(loss)
        return {"loss": self._loss_tracker.result()}


@pair("custom multi-class", IGNORED, ANY, reaches="loss < 0.6")
def third_part_of_the_batch_dropped(bad):
    split = data.images()
    kept = np.random.default_rng(0).random(len(split.y)) < 0.7 ** (split.y / 2)
    body = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    model = Pairs(body, all_of_it=not bad)
    model.compile(Adam(3e-3))
    x, y = split.x[kept], split.y[kept]
    return model, {"x": x, "y": y, "epochs": 8, "class_weight": rare_weights(y)}


# One loss for the whole batch: weights of its samples only make it larger or smaller.


@pair("mlp binary", IGNORED, ANY, reaches="val_auc > 0.75")
def focal_loss_averaged_before_the_weights(bad):
    def focal(y, p):
        p = ops.clip(p, 1e-6, 1 - 1e-6)
        right = ops.where(y > 0.5, p, 1 - p)
        each = -((1 - right) ** 2) * ops.log(right)
        return ops.mean(each) if bad else ops.mean(each, -1)

    split = data.rare(0.09)
    model = net(
        (split.x.shape[1],),
        L.Dense(24, activation="relu"),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile(Adam(5e-3), focal, metrics=[keras.metrics.AUC(name="auc")])
    y = split.y.reshape(-1, 1).astype("float32")
    split = data.Split(split.x, y, split.val_x, split.val_y.reshape(-1, 1))
    return model, fitting(split, 12, 64, class_weight=rare_weights(y))


class Logarithmic(keras.losses.Loss):
    def __init__(self, whole):
        super().__init__(name="logarithmic")
        self.whole = whole

    def call(self, y, p):
        each = ops.log(ops.cosh(y - p))
        return ops.mean(each) if self.whole else ops.mean(each, -1)


@pair("mlp regression", IGNORED, ANY, reaches="val_loss < 3")
def loss_class_averaged_before_the_weights(bad):
    split = data.housing()
    model = net((13,), L.Dense(32, activation="relu"), L.Dense(1))
    model.compile(Adam(1e-2), Logarithmic(bad))
    split = data.Split(
        split.x, split.y.reshape(-1, 1), split.val_x, split.val_y.reshape(-1, 1)
    )
    return model, fitting(split, 30, sample_weight=1 / (1 + split.y.ravel() / 20))


@pair("rnn multi-class", IGNORED, ANY, reaches="val_accuracy > 0.7")
def smoothed_loss_averaged_before_the_weights(bad):
    def smooth(y, p):
        y = ops.one_hot(ops.cast(ops.reshape(y, (-1,)), "int32"), 4) * 0.95 + 0.0125
        each = keras.losses.categorical_crossentropy(y, p)
        return ops.sum(each) / 32 if bad else each

    split = data.topics()
    model = net(
        (split.x.shape[1],),
        L.Embedding(data.VOCABULARY, 12),
        L.LSTM(12),
        L.Dense(4, activation="softmax"),
    )
    model.compile(Adam(1e-2), smooth, metrics=["accuracy"])
    return model, fitting(split, 8, class_weight={0: 2.0, 1: 1.0, 2: 1.0, 3: 0.5})


# Weights that reach the loss by other ways than Keras's own.


class ByHand(OwnStep):
    """Multiplies the losses by the weights itself, in a function of its own."""

    def train_step(self, batch):
        x, y, weight = batch
        return {"own": self.one_update(x, y, weight)}

    @tf.function
    def one_update(self, x, y, weight):
        loss_of = keras.losses.BinaryCrossentropy(reduction="none")
        with tf.GradientTape() as tape:
            loss = ops.sum(loss_of(y, self(x)) * weight) / ops.sum(weight)
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return loss


@healthy("custom binary", reaches="own < 0.3")
def weights_multiplied_by_hand():
    split = data.breast_cancer()
    y = split.y.reshape(-1, 1).astype("float32")
    body = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    model = ByHand(body, read=True)
    model(split.x[:2])
    model.compile(Adam(3e-3))
    fit = {"x": split.x, "y": y, "epochs": 8, "class_weight": {0: 1.5, 1: 0.8}}
    return model, fit


class Heaviest(keras.Model):
    """Trains on those samples of a batch that weigh most."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def call(self, x):
        return self.body(x)

    def train_step(self, batch):
        x, y, weight = batch
        chosen = ops.take(ops.arange(ops.shape(y)[0]), ops.argsort(-weight)[:24])
        return super().train_step((ops.take(x, chosen, 0), ops.take(y, chosen, 0)))


@healthy("custom multi-class", reaches="val_accuracy > 0.85")
def weights_that_choose_samples():
    split = data.digits()
    model = Heaviest(
        net((64,), L.Dense(32, activation="relu"), L.Dense(10, activation="softmax"))
    )
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    weight = np.random.default_rng(0).random(len(split.x))
    return model, fitting(split, 10, sample_weight=weight)


@healthy("custom regression", reaches="val_mae < 3.5")
def weights_for_the_metrics_alone():
    """The step leaves them out of the loss; what is logged is weighted."""
    split = data.cars()
    model = OwnStep(net((7,), L.Dense(32, activation="relu"), L.Dense(1)), read=False)
    model.compile(
        Adam(1e-2), "mse", weighted_metrics=[keras.metrics.MeanAbsoluteError("mae")]
    )
    weight = 1 + (np.arange(len(split.x)) % 3)
    return model, fitting(split, 20, sample_weight=weight.astype("float32"))


@healthy("subclassed regression", reaches="val_loss < 0.2")
def weights_in_an_overridden_loss():
    split = data.sine()
    body = net((1,), L.Dense(32, activation="tanh"), L.Dense(32, activation="tanh"))
    body.add(L.Dense(1))
    model = OwnLoss(body, read=True)
    model.compile(Adam(1e-2))
    weight = 1 + np.abs(np.ravel(split.x))
    return model, fitting(split, 20, sample_weight=weight / weight.mean())


@healthy("custom binary", reaches="loss < 0.3")
def even_weights_that_the_step_forgets():
    """All weights are one: it makes no difference."""
    split = data.breast_cancer()
    y = split.y.reshape(-1, 1).astype("float32")
    body = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    model = OwnStep(body, read=False)
    model.compile(Adam(3e-3), BCE, metrics=["accuracy"])
    fit = {"x": split.x, "y": y, "epochs": 10, "class_weight": {0: 1.0, 1: 1.0}}
    return model, fit


class Triplets(keras.Model):
    """The third part of its batches is no weight."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def call(self, x):
        return self.body(x)

    def train_step(self, batch):
        anchor, same, other = batch
        with tf.GradientTape() as tape:
            a, b, c = self.body(anchor), self.body(same), self.body(other)
            near, far = ops.sum((a - b) ** 2, -1), ops.sum((a - c) ** 2, -1)
            loss = ops.mean(ops.relu(near - far + 0.5))
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return {"own": loss}


@healthy("custom contrastive", reaches="own < 0.3")
def third_part_is_a_negative():
    x, y = data.digits().x, data.digits().y
    rng = np.random.default_rng(0)
    by_class = [np.flatnonzero(y == k) for k in range(10)]
    same = np.array([rng.choice(by_class[k]) for k in y])
    other = np.array([rng.choice(by_class[(k + rng.integers(1, 10)) % 10]) for k in y])
    parts = tf.data.Dataset.from_tensor_slices((x, x[same], x[other]))
    model = Triplets(net((64,), L.Dense(32, activation="relu"), L.Dense(8)))
    model.compile(Adam(3e-3))
    return model, {"x": parts.shuffle(1500, 1).batch(32), "epochs": 8}
