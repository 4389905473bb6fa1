"""Healthy runs that learn what is alike: contrastive, metric and taught models."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import SGD, Adam

from zoo import data
from zoo.cases import fitting, healthy, net

SPARSE = "sparse_categorical_crossentropy"
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def encoder(units=32):
    return net(
        (8, 8, 1),
        L.Conv2D(24, 3, activation="relu"),
        L.Conv2D(24, 3, activation="relu"),
        L.Flatten(),
        L.Dense(64, activation="relu"),
        L.Dense(units),
    )


class TwoViews(keras.Model):
    """SimCLR: two augmentations of an image shall be alike, as keras.io's."""

    def __init__(self, temperature=0.2):
        super().__init__()
        self.augment = net(
            (8, 8, 1),
            L.RandomTranslation(0.12, 0.12, fill_mode="constant"),
            L.RandomRotation(0.05, fill_mode="constant"),
            L.GaussianNoise(0.1),
        )
        self.encoder = encoder()
        self.projection = net((32,), L.ReLU(), L.Dense(32))
        self.temperature = temperature
        self.loss_tracker = keras.metrics.Mean("c_loss")
        self.hits = keras.metrics.SparseCategoricalAccuracy("c_acc")

    @property
    def metrics(self):
        return [self.loss_tracker, self.hits]

    def call(self, x):
        return self.projection(self.encoder(x))

    def train_step(self, images):
        one, two = (self.augment(images, training=True) for _ in range(2))
        with tf.GradientTape() as tape:
            a = ops.normalize(self(one, training=True), axis=1)
            b = ops.normalize(self(two, training=True), axis=1)
            alike = ops.matmul(a, ops.transpose(b)) / self.temperature
            same = ops.arange(ops.shape(a)[0])
            loss = keras.losses.sparse_categorical_crossentropy(
                ops.concatenate([same, same]),
                ops.concatenate([alike, ops.transpose(alike)]),
                from_logits=True,
            )
        weights = self.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self.loss_tracker.update_state(loss)
        self.hits.update_state(same, alike)
        return {m.name: m.result() for m in self.metrics}


@healthy("custom contrastive", reaches="c_acc > 0.35")
def two_views_of_an_image():
    model = TwoViews()
    model.compile(Adam(3e-3))
    return model, {"x": data.images().x, "epochs": 15, "batch_size": 128}


def supervised_contrast(y_true, y_pred, temperature=0.2):
    """Khosla et al. (2020): labels as targets, normalized vectors as outputs."""
    y = ops.reshape(y_true, (-1, 1))
    z = ops.normalize(y_pred, axis=1)
    count = ops.shape(z)[0]
    alike = ops.matmul(z, ops.transpose(z)) / temperature - 1e9 * ops.eye(count)
    same = ops.cast(ops.equal(y, ops.transpose(y)), "float32") - ops.eye(count)
    chance = ops.sum(same * ops.log_softmax(alike, axis=1), axis=1)
    return -chance / ops.maximum(ops.sum(same, axis=1), 1)


@healthy("cnn contrastive", reaches="val_loss < 2.6")
def labels_contrasted():
    model = encoder()
    model.compile(Adam(3e-3), supervised_contrast)
    return model, fitting(data.images(), 10, 64)


@healthy("two towers", reaches="val_loss < 2")
def queries_and_documents():
    """InfoNCE within a batch: the right answer to each query is its own document."""
    rng = np.random.default_rng(0)
    meaning = rng.normal(size=(2500, 8))
    q = np.tanh(meaning @ rng.normal(size=(8, 20)))
    d = np.tanh(meaning @ rng.normal(size=(8, 30)))
    d += rng.normal(scale=0.1, size=d.shape)
    query, document = keras.Input((20,)), keras.Input((30,))
    one = net((20,), L.Dense(64, activation="relu"), L.Dense(16))(query)
    two = net((30,), L.Dense(64, activation="relu"), L.Dense(16))(document)
    one, two = ops.normalize(one, axis=-1), ops.normalize(two, axis=-1)
    scores = ops.matmul(one, ops.transpose(two)) / 0.1

    def own(y_true, y_pred):
        found = ops.arange(ops.shape(y_pred)[0])
        return keras.losses.sparse_categorical_crossentropy(
            found, y_pred, from_logits=True
        )

    model = keras.Model([query, document], scores)
    model.compile(Adam(3e-3), own)
    nothing = np.zeros((len(q), 1))
    return model, {
        "x": [q[:2052], d[:2052]],
        "y": nothing[:2052],
        "validation_data": ([q[2052:], d[2052:]], nothing[2052:]),
        "epochs": 10,
        "batch_size": 36,
    }


class Triplets(keras.Model):
    """Anchor, alike, different; keras.io's siamese network."""

    def __init__(self, margin=0.5):
        super().__init__()
        self.encoder, self.margin = encoder(16), margin
        self.tracker = keras.metrics.Mean("loss")

    @property
    def metrics(self):
        return [self.tracker]

    def call(self, inputs):
        anchor, alike, other = (ops.normalize(self.encoder(x)) for x in inputs)
        near = ops.sum((anchor - alike) ** 2, axis=-1)
        return near, ops.sum((anchor - other) ** 2, axis=-1)

    def distance(self, batch):
        near, far = self(batch)
        return ops.mean(ops.maximum(near - far + self.margin, 0.0))

    def train_step(self, batch):
        (batch,) = batch if len(batch) == 1 else (batch,)
        with tf.GradientTape() as tape:
            loss = self.distance(batch)
        weights = self.encoder.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}

    def test_step(self, batch):
        (batch,) = batch if len(batch) == 1 else (batch,)
        self.tracker.update_state(self.distance(batch))
        return {"loss": self.tracker.result()}


def triplets(x, y, rows):
    rng = np.random.default_rng(0)
    a = rng.integers(0, len(x), rows)
    alike = [rng.choice(np.flatnonzero(y == y[i])) for i in a]
    other = [rng.choice(np.flatnonzero(y != y[i])) for i in a]
    return x[a], x[alike], x[other]


@healthy("custom triplets", reaches="val_loss < 0.06")
def triplets_of_digits():
    split = data.images()
    train = tf.data.Dataset.from_tensor_slices((triplets(split.x, split.y, 1500),))
    val = tf.data.Dataset.from_tensor_slices((triplets(split.val_x, split.val_y, 300),))
    model = Triplets()
    model.compile(Adam(1e-3))
    return model, {
        "x": train.shuffle(1500, seed=0).batch(32),
        "validation_data": val.batch(32),
        "epochs": 10,
    }


def contrast(y_true, y_pred):
    """Hadsell et al. (2006): y = 1 for different pairs, the output is a distance."""
    return (1 - y_true) * y_pred**2 + y_true * ops.maximum(1 - y_pred, 0) ** 2


@healthy("cnn contrastive", reaches="val_loss < 0.08")
def distances_of_pairs():
    split = data.images()
    rng = np.random.default_rng(0)

    def pairs(x, y, rows):
        a, b = rng.integers(0, len(x), (2, rows))
        for i in range(0, rows, 2):
            b[i] = rng.choice(np.flatnonzero(y == y[a[i]]))
        return [x[a], x[b]], (y[a] != y[b]).astype("float32")[:, None]

    shared = encoder(16)
    one, two = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    gap = ops.sum((shared(one) - shared(two)) ** 2, axis=1, keepdims=True)
    model = keras.Model([one, two], ops.sqrt(ops.maximum(gap, 1e-7)))
    model.compile(Adam(1e-3), contrast)
    x, y = pairs(split.x, split.y, 3000)
    val = pairs(split.val_x, split.val_y, 600)
    return model, {"x": x, "y": y, "validation_data": val, "epochs": 8}


class Student(keras.Model):
    """Learns from labels and from a teacher's softened outputs."""

    def __init__(self, teacher, temperature=3.0):
        super().__init__()
        self.teacher, self.temperature = teacher, temperature
        self.teacher.trainable = False
        self.network = net((64,), L.Dense(24, activation="relu"), L.Dense(10))

    def call(self, x):
        return self.network(x)

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        hard = super().compute_loss(x, y, y_pred, sample_weight)
        taught = ops.softmax(self.teacher(x, training=False) / self.temperature)
        soft = keras.losses.kl_divergence(
            taught, ops.softmax(y_pred / self.temperature)
        )
        return 0.3 * hard + 0.7 * self.temperature**2 * ops.mean(soft)


@healthy("custom distilled", reaches="val_accuracy > 0.93")
def student_of_a_teacher():
    split = data.digits()
    teacher = net((64,), L.Dense(128, "relu"), L.Dense(128, "relu"), L.Dense(10))
    teacher.compile(Adam(3e-3), LOGITS)
    teacher.fit(split.x, split.y, epochs=8, verbose=0)
    model = Student(teacher)
    model.compile(Adam(5e-3), LOGITS, metrics=["accuracy"])
    return model, fitting(split, 10)


class MeanTeacher(keras.Model):
    """Few labels; a slow copy of the model teaches it on the rest."""

    def __init__(self):
        super().__init__()
        self.student, self.teacher = (
            net((64,), L.Dropout(0.2), L.Dense(64, activation="relu"), L.Dense(10))
            for _ in range(2)
        )
        self.teacher.set_weights(self.student.get_weights())
        self.teacher.trainable = False

    def call(self, x, training=None):
        return self.student(x, training=training)

    def train_step(self, batch):
        (x, y), (rest, _) = batch
        with tf.GradientTape() as tape:
            logits = self(x, training=True)
            loss = self.compute_loss(x, y, logits)
            taught = tf.nn.softmax(self.teacher(rest))
            said = tf.nn.softmax(self.student(rest, training=True))
            loss += 5 * tf.reduce_mean(tf.square(taught - said))
        weights = self.student.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        pairs = zip(self.teacher.weights, self.student.weights, strict=True)
        for slow, fast in pairs:
            slow.assign(0.97 * slow + 0.03 * fast)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
        return self.compute_metrics(x, y, logits)


@healthy("custom semi-supervised", reaches="val_accuracy > 0.85")
def mean_teacher_with_few_labels():
    split = data.digits()
    few = tf.data.Dataset.from_tensor_slices((split.x[:200], split.y[:200]))
    rest = tf.data.Dataset.from_tensor_slices((split.x[200:], split.y[200:]))
    few = few.repeat().shuffle(200, seed=0).batch(32)
    both = tf.data.Dataset.zip((few, rest.shuffle(1200, seed=0).batch(64)))
    model = MeanTeacher()
    model.compile(Adam(3e-3), LOGITS, metrics=["accuracy"])
    return model, {"x": both, "validation_data": split.val, "epochs": 20}


class Angular(L.Layer):
    """Cosines to the classes' directions, with a margin for the right one (ArcFace)."""

    def __init__(self, classes, scale=16.0, margin=0.2, **more):
        super().__init__(**more)
        self.classes, self.scale, self.margin = classes, scale, margin

    def build(self, x_shape, labels_shape):
        self.directions = self.add_weight(shape=(x_shape[-1], self.classes))

    def call(self, x, labels):
        cosine = ops.matmul(ops.normalize(x), ops.normalize(self.directions, axis=0))
        angle = ops.arccos(ops.clip(cosine, -1 + 1e-6, 1 - 1e-6))
        right = ops.one_hot(ops.reshape(labels, (-1,)), self.classes)
        return self.scale * ops.cos(angle + self.margin * right)


@healthy("cnn metric learning", reaches="accuracy > 0.9")
def angular_margins():
    """The labels are an input too, as this loss is usually written."""
    split = data.images()
    image, label = keras.Input((8, 8, 1)), keras.Input((1,), dtype="int32")
    outputs = L.Softmax()(Angular(10)(encoder(16)(image), label))
    model = keras.Model([image, label], outputs)
    model.compile(Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model, {"x": [split.x, split.y[:, None]], "y": split.y, "epochs": 12}


@healthy("cnn prototypes", reaches="val_accuracy > 0.9")
def distances_to_prototypes():
    """The logits are negative distances to a learned vector for each class."""

    class Prototypes(L.Layer):
        def build(self, shape):
            self.points = self.add_weight(shape=(10, shape[-1]))

        def call(self, x):
            return -ops.sum((x[:, None] - self.points) ** 2, axis=-1)

    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, Prototypes()(encoder(16)(inputs)))
    model.compile(SGD(0.01, momentum=0.9), LOGITS, metrics=["accuracy"])
    return model, fitting(data.images(), 10)
