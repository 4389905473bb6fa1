"""Healthy runs with own training steps, tied or random weights and added losses."""

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


class Transposed(L.Layer):
    """A dense layer with the transposed kernel of another."""

    def __init__(self, dense, activation=None):
        super().__init__()
        self.dense, self.activation = dense, keras.activations.get(activation)

    def build(self, shape):
        self.bias = self.add_weight(shape=(self.dense.kernel.shape[0],))

    def call(self, x):
        return self.activation(x @ ops.transpose(self.dense.kernel) + self.bias)


@healthy("autoencoder tied", reaches="val_loss < 0.2")
def decoder_of_transposed_kernels():
    first, second = L.Dense(96, activation="selu"), L.Dense(24, activation="selu")
    encoder = net((784,), first, second)
    decoder = keras.Sequential(
        [Transposed(second, "selu"), Transposed(first, "sigmoid")]
    )
    model = keras.Sequential([encoder, decoder])
    model.compile(SGD(1.5), BCE)
    split = data.mnist()
    return model, fitting(data.Split(split.x, split.x, split.val_x, split.val_x), 15)


class Sparsity(keras.regularizers.Regularizer):
    """Kullback–Leibler divergence of each unit's mean from a tenth."""

    def __call__(self, inputs):
        mean = ops.clip(ops.mean(inputs, axis=0), 1e-6, 1 - 1e-6)
        one = 0.1 * ops.log(0.1 / mean) + 0.9 * ops.log(0.9 / (1 - mean))
        return 0.05 * ops.sum(one)


@healthy("autoencoder sparse", reaches="val_mse < 0.04")
def units_that_seldom_fire():
    model = net(
        (64,),
        L.Dense(100, activation="sigmoid", activity_regularizer=Sparsity()),
        L.Dense(64, activation="sigmoid"),
    )
    model.compile(Adam(1e-2), "mse", metrics=["mse"])
    split = data.digits()
    return model, fitting(data.Split(split.x, split.x, split.val_x, split.val_x), 30)


class DenseVariational(L.Layer):
    """Weights that are drawn anew in each step: Bayes by backprop."""

    def __init__(self, units, weight, activation=None):
        super().__init__()
        self.units, self.weight = units, weight
        self.activation = keras.activations.get(activation)
        self.seed = keras.random.SeedGenerator(0)

    def build(self, shape):
        kernel = (shape[-1], self.units)
        self.mean = self.add_weight(shape=kernel, initializer="glorot_uniform")
        self.rho = self.add_weight(
            shape=kernel, initializer=keras.initializers.Constant(-4)
        )
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros")

    def call(self, x):
        deviation = ops.softplus(self.rho)
        noise = keras.random.normal(self.mean.shape, seed=self.seed)
        both = ops.square(self.mean) + ops.square(deviation)
        self.add_loss(self.weight * ops.sum(both / 2 - ops.log(deviation)))
        return self.activation(x @ (self.mean + deviation * noise) + self.bias)


@healthy("bayesian regression", reaches="val_mae < 0.15")
def weights_drawn_in_each_step():
    model = net(
        (1,),
        DenseVariational(32, 1e-5, "tanh"),
        DenseVariational(32, 1e-5, "tanh"),
        DenseVariational(1, 1e-5),
    )
    model.compile(Adam(1e-2), "mse", metrics=["mae"])
    return model, fitting(data.sine(), 40)


class Codebook(L.Layer):
    """Replaces each vector with the nearest of a table, straight through."""

    def __init__(self, codes, size):
        super().__init__()
        self.table = self.add_weight(
            shape=(size, codes), initializer="random_uniform", name="table"
        )

    def call(self, x):
        flat = ops.reshape(x, (-1, self.table.shape[0]))
        distances = ops.sum(self.table**2, 0) - 2 * flat @ self.table
        chosen = ops.one_hot(ops.argmin(distances, 1), self.table.shape[1])
        found = ops.reshape(chosen @ ops.transpose(self.table), ops.shape(x))
        self.add_loss(0.25 * ops.mean((ops.stop_gradient(found) - x) ** 2))
        self.add_loss(ops.mean((found - ops.stop_gradient(x)) ** 2))
        return x + ops.stop_gradient(found - x)


@healthy("autoencoder quantized", reaches="val_mse < 0.05")
def codes_from_a_table():
    model = net(
        (8, 8, 1),
        L.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
        L.Conv2D(8, 1),
        Codebook(32, 8),
        L.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
        L.Conv2D(1, 3, padding="same"),
    )
    model.compile(Adam(3e-3), "mse", metrics=["mse"])
    split = data.images()
    return model, fitting(data.Split(split.x, split.x, split.val_x, split.val_x), 20)


class BarlowTwins(keras.Model):
    """Two noisy views of a sample: their features shall correlate one to one."""

    def __init__(self):
        super().__init__()
        self.encoder = net((64,), L.Dense(96, "relu"), L.Dense(48, "relu"))
        self.projector = net(
            (48,), L.Dense(48), L.BatchNormalization(), L.ReLU(), L.Dense(32)
        )
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def call(self, x):
        return self.encoder(x)

    def train_step(self, x):
        def view():
            seen = tf.random.uniform(tf.shape(x)) > 0.25
            return tf.where(seen, x, 0.0) + tf.random.normal(tf.shape(x), stddev=0.05)

        def features(x):
            z = self.projector(self.encoder(x, training=True), training=True)
            return (z - tf.reduce_mean(z, 0)) / (tf.math.reduce_std(z, 0) + 1e-5)

        with tf.GradientTape() as tape:
            a, b = features(view()), features(view())
            c = tf.matmul(a, b, transpose_a=True) / tf.cast(tf.shape(x)[0], tf.float32)
            gap = tf.square(c - tf.eye(32))
            loss = tf.reduce_sum(gap * tf.where(tf.eye(32) > 0, 1.0, 0.02))
        variables = self.encoder.trainable_weights + self.projector.trainable_weights
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


@healthy("views without labels", reaches="loss < 8")
def correlations_one_to_one():
    model = BarlowTwins()
    model.compile(Adam(2e-3))
    rows = tf.data.Dataset.from_tensor_slices(data.digits().x)
    stream = rows.shuffle(2000, seed=0).batch(128, drop_remainder=True)
    return model, {"x": stream, "epochs": 30}


class Brightener(keras.Model):
    """Curves for dark pictures from losses without any target."""

    def __init__(self):
        super().__init__()
        same = {"padding": "same", "activation": "relu"}
        self.convs = [L.Conv2D(16, 3, **same) for _ in range(3)]
        self.curves = L.Conv2D(12, 3, padding="same", activation="tanh")

    def call(self, x):
        h = x
        for conv in self.convs:
            h = conv(h)
        curves = self.curves(h)
        out = x
        for i in range(4):
            out = out + curves[..., 3 * i : 3 * i + 3] * (ops.square(out) - out)
        blocks = ops.average_pool(ops.mean(out, axis=-1, keepdims=True), 8, 8)
        self.add_loss(10 * ops.mean(ops.square(blocks - 0.6)))
        colours = ops.mean(out, axis=(1, 2))
        self.add_loss(5 * ops.mean(ops.var(colours, axis=-1)))
        rough = ops.mean(ops.square(curves[:, 1:] - curves[:, :-1]))
        self.add_loss(20 * rough)
        return out


@healthy("cnn without targets", reaches="val_loss < 0.6")
def dark_pictures_brightened():
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    pictures = [p / 255 * 0.25 for p in load_sample_images().images]
    at = rng.integers(0, 380, (320, 2))
    x = np.stack(
        [pictures[i % 2][a : a + 32, b : b + 32] for i, (a, b) in enumerate(at)]
    ).astype("float32")
    model = Brightener()
    model.compile(Adam(1e-3))
    stream = tf.data.Dataset.from_tensor_slices(x[:256]).shuffle(256, seed=0).batch(16)
    val = tf.data.Dataset.from_tensor_slices(x[256:]).batch(16)
    return model, {"x": stream, "validation_data": val, "epochs": 12}


class SharpnessAware(keras.Model):
    """The gradient where the loss nearby is worst, applied at the weights."""

    def __init__(self, inner, rho=0.05):
        super().__init__()
        self.inner, self.rho = inner, rho

    def call(self, x, training=None):
        return self.inner(x, training=training)

    def train_step(self, batch):
        x, y = batch
        variables = self.inner.trainable_variables
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, variables)
        scale = self.rho / (tf.linalg.global_norm(gradients) + 1e-12)
        for i, v in enumerate(variables):
            v.assign_add(gradients[i] * scale)
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            loss = self.compute_loss(x, y, outputs)
        sharp = tape.gradient(loss, variables)
        for i, v in enumerate(variables):
            v.assign_sub(gradients[i] * scale)
        self.optimizer.apply(sharp, variables)
        return self.compute_metrics(x, y, outputs)


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def flat_minima_sought():
    inner = net(
        (8, 8, 1),
        L.Conv2D(24, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(48, activation="relu"),
        L.Dense(10, activation="softmax"),
    )
    model = SharpnessAware(inner)
    model.compile(SGD(0.05, momentum=0.9), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 12)


class Attacked(keras.Model):
    """Half the loss is of samples that were moved against the model."""

    def train_step(self, batch):
        x, y = batch
        with tf.GradientTape() as outer:
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = self(x, training=True)
                clean = self.compute_loss(x, y, outputs)
            worse = x + 0.1 * tf.sign(tape.gradient(clean, x))
            worse = tf.stop_gradient(tf.clip_by_value(worse, 0, 1))
            attacked = self.compute_loss(x, y, self(worse, training=True))
            loss = 0.5 * clean + 0.5 * attacked
        variables = self.trainable_variables
        self.optimizer.apply(outer.gradient(loss, variables), variables)
        return self.compute_metrics(x, y, outputs)


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def trained_against_an_attacker():
    inputs = keras.Input((64,))
    h = L.Dense(96, activation="relu")(inputs)
    model = Attacked(inputs, L.Dense(10, activation="softmax")(h))
    model.compile(Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 15)


class ForwardOnly(keras.Model):
    """Layers trained one by one: high activity for right labels, low for wrong ones."""

    def __init__(self):
        super().__init__()
        self.hidden = [L.Dense(128, activation="relu") for _ in range(2)]
        self.own = [Adam(3e-3) for _ in range(2)]
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def call(self, x):
        for layer in self.hidden:
            x = layer(x)
        return x

    def train_step(self, batch):
        x, y = batch
        wrong = (y + tf.random.uniform(tf.shape(y), 1, 10, y.dtype)) % 10
        good = tf.concat([x, tf.one_hot(y, 10)], 1)
        bad = tf.concat([x, tf.one_hot(wrong, 10)], 1)
        for i, layer in enumerate(self.hidden):
            optimizer = self.own[i]
            with tf.GradientTape() as tape:
                high = tf.reduce_mean(layer(good) ** 2, 1)
                low = tf.reduce_mean(layer(bad) ** 2, 1)
                both = tf.concat([1.0 - high, low - 1.0], 0)
                loss = tf.reduce_mean(tf.math.softplus(4 * both))
            weights = layer.trainable_weights
            optimizer.apply(tape.gradient(loss, weights), weights)
            self.tracker.update_state(loss)
            good = tf.math.l2_normalize(layer(good), 1) * 8
            bad = tf.math.l2_normalize(layer(bad), 1) * 8
        return {"loss": self.tracker.result()}


@healthy("layers one by one", reaches="loss < 0.5")
def layers_trained_one_by_one():
    model = ForwardOnly()
    model(np.zeros((1, 74), "float32"))
    model.compile(Adam())
    split = data.digits()
    return model, {"x": split.x, "y": split.y, "epochs": 20, "batch_size": 32}


class Shares(L.Layer):
    """How likely a point belongs to each centre, by Student's t."""

    def __init__(self, centres):
        super().__init__()
        self.centres = self.add_weight(shape=centres.shape, name="centres")
        self.centres.assign(centres)

    def call(self, x):
        gap = ops.sum((x[:, None] - self.centres) ** 2, axis=2)
        q = 1 / (1 + gap)
        return q / ops.sum(q, axis=1, keepdims=True)


@healthy("clustering", reaches="loss < 0.3")
def clusters_sharpened():
    """Deep embedded clustering: the targets are the outputs, squared and scaled."""
    from sklearn.cluster import KMeans

    x = data.digits().x
    encoder = net((64,), L.Dense(64, "relu"), L.Dense(8))
    auto = keras.Sequential([encoder, L.Dense(64, "relu"), L.Dense(64)])
    auto.compile(Adam(3e-3), "mse")
    auto.fit(x, x, epochs=8, verbose=0)
    codes = encoder.predict(x, verbose=0)
    centres = KMeans(10, n_init=3, random_state=0).fit(codes).cluster_centers_
    model = keras.Sequential([encoder, Shares(centres)])
    q = model.predict(x, verbose=0)
    weight = q**2 / q.sum(0)
    p = weight / weight.sum(1, keepdims=True)
    model.compile(SGD(0.05, momentum=0.9), "kl_divergence")
    return model, {"x": x, "y": p, "epochs": 10, "batch_size": 64}


class Annealing(keras.callbacks.Callback):
    def __init__(self, variable, epochs):
        super().__init__()
        self.variable, self.epochs = variable, epochs

    def on_epoch_begin(self, epoch, logs=None):
        self.variable.assign(min(1.0, epoch / self.epochs))


@healthy("mlp evidence", reaches="val_accuracy > 0.9")
def evidence_for_each_class():
    """Dirichlet outputs; a penalty on wrong evidence rises over the epochs."""
    weight = keras.Variable(0.0, trainable=False)

    def evidential(y_true, y_pred):
        alpha = y_pred + 1
        total = ops.sum(alpha, axis=1, keepdims=True)
        p = alpha / total
        error = ops.sum((y_true - p) ** 2 + p * (1 - p) / (total + 1), axis=1)
        wrong = ops.sum((1 - y_true) * y_pred / total, axis=1)
        return error + 0.3 * weight * wrong

    model = net((64,), L.Dense(64, "relu"), L.Dense(10, "softplus"))
    model.compile(Adam(3e-3), evidential, metrics=["accuracy"])
    rise = Annealing(weight, 10)
    return model, fitting(data.digits().one_hot(10), 15, callbacks=[rise])


class WithSlopes(keras.Model):
    """Fits values and their derivatives."""

    def train_step(self, batch):
        x, (y, slope) = batch
        with tf.GradientTape() as outer:
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = self(x, training=True)
            found = tape.gradient(outputs, x)
            loss = tf.reduce_mean((outputs - y) ** 2)
            loss += 0.2 * tf.reduce_mean((found - slope) ** 2)
        variables = self.trainable_variables
        self.optimizer.apply(outer.gradient(loss, variables), variables)
        return {"loss": loss}


@healthy("mlp derivatives", reaches="loss < 0.02")
def values_and_slopes():
    x = np.random.default_rng(0).uniform(-2, 2, (1024, 1)).astype("float32")
    inputs = keras.Input((1,))
    h = L.Dense(32, "tanh")(L.Dense(32, "tanh")(inputs))
    model = WithSlopes(inputs, L.Dense(1)(h))
    model.compile(Adam(5e-3))
    y = np.sin(2 * x), 2 * np.cos(2 * x)
    rows = tf.data.Dataset.from_tensor_slices((x, y))
    return model, {"x": rows.shuffle(1024, seed=0).batch(32), "epochs": 25}
