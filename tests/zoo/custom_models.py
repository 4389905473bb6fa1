"""Faults in subclassed models, own losses and steps, and pipelines of datasets."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import SGD, Adam, Nadam, RMSprop

from zoo import data
from zoo.cases import fitting, net, pair
from zoo.causes import BLOWN, FLAT, WORSE

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"
ANY = FLAT | BLOWN | WORSE


def rows_of(x, y, size=32, seed=0):
    rows = tf.data.Dataset.from_tensor_slices((x, y))
    return rows.shuffle(len(x), seed=seed).batch(size)


class Scorer(keras.Model):
    """Computes its loss with a function of TensorFlow's that takes logits."""

    def __init__(self, squashed):
        super().__init__()
        self.hidden, self.out = L.Dense(64, "gelu"), L.Dense(10)
        self.squashed = squashed

    def call(self, x):
        scores = self.out(self.hidden(x))
        return tf.nn.softmax(scores) if self.squashed else scores

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **more):
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=y_pred)
        )


@pair(
    "subclassed multi-class",
    {"probabilities-for-logits", "logits-after-activation"},
    ANY,
    reaches="val_accuracy > 0.9",
)
def softmax_before_a_loss_of_tensorflow(bad):
    model = Scorer(bad)
    model.compile(Nadam(1e-3), metrics=["accuracy"])
    split = data.digits()
    return model, {
        "x": rows_of(split.x, split.y),
        "validation_data": rows_of(*split.val),
        "epochs": 12,
    }


def by_hand(y_true, y_pred):
    p = ops.clip(y_pred, 1e-6, 1 - 1e-6)
    return -ops.mean(y_true * ops.log(p) + (1 - y_true) * ops.log(1 - p), axis=-1)


@pair(
    "mlp binary",
    {"labels-out-of-range", "targets-beyond-outputs", "output-range"},
    ANY,
    reaches="val_loss < 0.3",
)
def crossentropy_by_hand_of_signs(bad):
    split = data.moons().map_y(lambda y: (2.0 * y - 1 if bad else y)[:, None])
    model = net((2,), L.Dense(32, "tanh"), L.Dense(1, "sigmoid"))
    model.compile(RMSprop(5e-3), by_hand)
    return model, fitting(split, 15)


class Robust(keras.Model):
    """An own step with a loss in TensorFlow's operations."""

    def train_step(self, batch):
        x, y = batch
        with tf.GradientTape() as tape:
            gap = self(x, training=True) - y
            loss = tf.reduce_mean(tf.where(tf.abs(gap) < 1, gap**2 / 2, tf.abs(gap)))
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        self._loss_tracker.update_state(loss)
        return {"loss": self._loss_tracker.result()}


@pair("mlp regression", "targets-broadcast", ANY, reaches="loss < 0.3")
def robust_loss_against_a_column(bad):
    split = data.diabetes().map_y(lambda y: y if bad else y[:, None])
    inputs = keras.Input((10,))
    h = L.Dense(48, "swish")(inputs)
    model = Robust(inputs, L.Dense(1)(L.Dense(24, "swish")(h)))
    model.compile(SGD(0.03, momentum=0.9))
    return model, {"x": rows_of(split.x, split.y, 16), "epochs": 25}


class Variational(keras.Model):
    """The variational autoencoder of the guide, with an own step."""

    def __init__(self, weight):
        super().__init__()
        self.encoder = net((64,), L.Dense(48, "leaky_relu"), L.Dense(12))
        self.decoder = net((6,), L.Dense(48, "leaky_relu"), L.Dense(64))
        self.weight, self.tracker = weight, keras.metrics.Mean(name="loss")
        self.mse = keras.losses.MeanSquaredError()

    @property
    def metrics(self):
        return [self.tracker]

    def call(self, x):
        return self.decoder(self.encoder(x)[:, :6])

    def train_step(self, x):
        with tf.GradientTape() as tape:
            mean, log_var = tf.split(self.encoder(x, training=True), 2, axis=1)
            noise = tf.random.normal(tf.shape(mean))
            out = self.decoder(mean + tf.exp(log_var / 2) * noise, training=True)
            each = tf.square(mean) + tf.exp(log_var) - log_var - 1
            kl = 0.5 * tf.reduce_mean(tf.reduce_sum(each, axis=1))
            loss = self.mse(x, out) + self.weight * kl
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


@pair("subclassed variational", "outputs-alike", ANY, reaches="loss < 0.07")
def divergence_summed_in_an_own_step(bad):
    model = Variational(1.0 if bad else 1e-3)
    model.compile(Adam(3e-3))
    rows = tf.data.Dataset.from_tensor_slices(data.digits().x)
    return model, {"x": rows.shuffle(2000, seed=0).batch(32), "epochs": 15}


class Segmenter(keras.Model):
    def __init__(self):
        super().__init__()
        self.down = L.Conv2D(8, 3, padding="same", activation="relu")
        self.mid = L.Conv2D(8, 3, padding="same", activation="relu")
        self.out = L.Conv2D(1, 1)

    def call(self, x):
        return self.out(self.mid(self.down(x)))


def faint(y_true, y_pred):
    weight = 1 + 30 * y_true
    return ops.mean(weight * ops.binary_crossentropy(y_true, y_pred, from_logits=True))


@pair(
    "subclassed segmentation",
    "class-never-predicted",
    ANY,
    reaches="val_loss < 1.5",
)
def spots_that_are_never_found(bad):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(320, 16, 16, 1)).astype("float32")
    y = (rng.random((320, 16, 16, 1)) < 0.03).astype("float32")
    x = x + 1.2 * y
    plain = keras.losses.BinaryCrossentropy(from_logits=True)
    model = Segmenter()
    model.compile(Adam(3e-3), plain if bad else faint)
    return model, {
        "x": rows_of(x[:256], y[:256], 16),
        "validation_data": (x[256:], y[256:]),
        "epochs": 12,
    }


class Unfreezing(keras.callbacks.Callback):
    """Unfreezes the trunk after some epochs."""

    def __init__(self, trunk):
        super().__init__()
        self.trunk = trunk

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            self.trunk.trainable = True


@pair(
    "mlp fine-tuned",
    {"unfrozen-without-compile", "frozen-untrained-layer"},
    ANY,
    reaches="val_accuracy > 0.9",
)
def trunk_unfrozen_by_a_callback(bad):
    trunk = net((64,), L.Dense(24, "relu"), L.Dense(12, "relu"))
    model = keras.Sequential([trunk, L.Dense(10, "softmax")])
    trunk.trainable = not bad
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    callbacks = [Unfreezing(trunk)] if bad else []
    return model, fitting(data.digits(), 12, callbacks=callbacks)


@pair("cnn multi-class", "validation-differs", ANY, reaches="val_accuracy > 0.9")
def only_training_images_standardized(bad):
    split = data.images(raw=True)

    def standardized(image, label):
        return tf.image.per_image_standardization(image), label

    train = tf.data.Dataset.from_tensor_slices((split.x, split.y))
    val = tf.data.Dataset.from_tensor_slices(split.val)
    train = train.map(standardized).shuffle(1500, seed=0).batch(32).prefetch(1)
    val = (val if bad else val.map(standardized)).batch(64)
    model = net(
        (8, 8, 1),
        L.Conv2D(24, 3, activation="relu"),
        L.Flatten(),
        L.Dense(48, activation="relu"),
        L.Dense(10),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Adam(2e-3), loss, metrics=["accuracy"])
    return model, {"x": train, "validation_data": val, "epochs": 10}


@pair(
    "mlp multi-class",
    {"unshuffled-sorted-data", "barely-shuffled"},
    ANY,
    reaches="val_accuracy > 0.85",
)
def records_written_class_by_class(bad):
    """A generator of files reads one folder after the other."""
    split = data.digits()
    order = np.argsort(split.y, kind="stable")
    if not bad:
        order = np.random.default_rng(0).permutation(order)

    def records():
        for i in order:
            yield split.x[i], np.int32(split.y[i])

    spec = (tf.TensorSpec((64,), tf.float32), tf.TensorSpec((), tf.int32))
    stream = tf.data.Dataset.from_generator(records, output_signature=spec)
    model = net((64,), L.Dense(48, "elu"), L.Dense(10, "softmax"))
    model.compile(RMSprop(2e-3), SPARSE, metrics=["accuracy"])
    val = tf.data.Dataset.from_tensor_slices(split.val).batch(64)
    return model, {"x": stream.batch(32), "validation_data": val, "epochs": 8}


@pair(
    "mlp multi-class",
    {"unrelated-inputs: shifted", "relabelled-samples"},
    ANY | {"unrelated-inputs"},
    reaches="val_accuracy > 0.9",
)
def header_skipped_in_one_of_two_files(bad):
    """Samples and labels are read from two files, and one line is skipped in one."""
    split = data.digits()
    samples = tf.data.Dataset.from_tensor_slices(split.x)
    labels = tf.data.Dataset.from_tensor_slices(split.y).skip(1 if bad else 0)
    stream = tf.data.Dataset.zip((samples, labels)).batch(32)
    model = net((64,), L.Dense(64, "relu"), L.Dense(10, "softmax"))
    model.compile(Adam(2e-3), SPARSE, metrics=["accuracy"])
    val = tf.data.Dataset.from_tensor_slices(split.val).batch(64)
    return model, {"x": stream, "validation_data": val, "epochs": 10}


@pair(
    "mlp regression",
    {"schedule-ends-early", "learning-rate-too-low"},
    ANY,
    reaches="val_mae < 4",
)
def rate_divided_by_ten_each_epoch(bad):
    rate = (
        (lambda epoch: 1e-3 * 0.1**epoch) if bad else (lambda epoch: 3e-3 * 0.9**epoch)
    )
    model = net((13,), L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(1))
    model.compile(Adam(), "mse", metrics=["mae"])
    lower = keras.callbacks.LearningRateScheduler(rate)
    return model, fitting(data.housing(), 20, callbacks=[lower])


@pair(
    "subclassed multi-class",
    {"sorted-validation-split", "validation-differs"},
    ANY,
    reaches="val_accuracy > 0.9",
)
def sorted_dataset_taken_and_skipped(bad):
    x = np.concatenate([data.digits().x, data.digits().val_x])
    y = np.concatenate([data.digits().y, data.digits().val_y])
    order = np.argsort(y, kind="stable")
    if not bad:
        order = np.random.default_rng(0).permutation(order)
    rows = tf.data.Dataset.from_tensor_slices((x[order], y[order]))
    train = rows.take(1400).shuffle(1400, seed=0).batch(32)
    model = net((64,), L.Dense(64, "relu"), L.Dense(10, "softmax"))
    model.compile(Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model, {
        "x": train,
        "validation_data": rows.skip(1400).batch(64),
        "epochs": 8,
    }


class OwnCell(keras.Model):
    """A recurrence written out in `call`."""

    def __init__(self, deviation):
        super().__init__()
        normal = keras.initializers.RandomNormal(stddev=deviation, seed=0)
        self.into = L.Dense(32)
        self.again = self.add_weight(shape=(32, 32), initializer=normal, name="again")
        self.out = L.Dense(1)

    def call(self, x):
        h = ops.zeros((ops.shape(x)[0], 32))
        for t in range(16):
            h = ops.relu(self.into(x[:, t]) + h @ self.again)
        return self.out(h)


@pair(
    "subclassed recurrence",
    {
        "bad-initialization",
        "exploding-gradients",
        "activations-exploding",
        "loss-not-finite: explode",
        "loss-not-finite: grow",
    },
    ANY,
    reaches="val_loss < 0.1",
)
def recurrence_of_unit_weights(bad):
    model = OwnCell(1.0 if bad else 0.15)
    model.compile(SGD(1e-2) if bad else Adam(3e-3), "mse")
    return model, fitting(data.waves(), 12)
