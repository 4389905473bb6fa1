"""Healthy runs of models that generate, and of those that look for what is odd."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import Adam, RMSprop

from zoo import data
from zoo.cases import fitting, healthy, net

MSE = "mean_squared_error"


@healthy("autoencoder", reaches="val_loss < 0.035")
def autoencoder_of_mnist():
    """A small code; the targets are the inputs."""
    split = data.mnist()
    split = data.Split(split.x, split.x, split.val_x, split.val_x)
    model = net(
        (784,),
        L.Dense(128, activation="relu"),
        L.Dense(32, activation="relu"),
        L.Dense(128, activation="relu"),
        L.Dense(784, activation="sigmoid"),
    )
    model.compile(Adam(2e-3), MSE)
    return model, fitting(split, 12, 64)


@healthy("autoencoder", reaches="val_loss < 0.2")
def noise_removed():
    """Noisy images in, clean ones out, as keras.io's autoencoder example."""
    split = data.mnist_images()
    rng = np.random.default_rng(0)

    def noisy(x):
        return np.clip(x + rng.normal(scale=0.4, size=x.shape), 0, 1)

    model = net(
        (28, 28, 1),
        L.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
        L.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
        L.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
        L.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
        L.Conv2D(1, 3, padding="same", activation="sigmoid"),
    )
    model.compile(Adam(3e-3), "binary_crossentropy")
    return model, fitting(
        data.Split(noisy(split.x), split.x, noisy(split.val_x), split.val_x), 6, 64
    )


class Sampling(L.Layer):
    """Draws from the code's distribution and adds the divergence to the loss."""

    def __init__(self, weight=1.0, **more):
        super().__init__(**more)
        self.weight = weight
        self.seed_generator = keras.random.SeedGenerator(7)

    def call(self, mean, log_var):
        divergence = ops.square(mean) + ops.exp(log_var) - log_var - 1
        self.add_loss(0.5 * self.weight * ops.mean(ops.sum(divergence, axis=1)))
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_var) * noise


@healthy("autoencoder variational", reaches="loss < 36")
def variational_with_an_added_loss():
    """The reconstruction is summed over pixels in a loss of its own."""
    inputs = keras.Input((8, 8, 1))
    h = L.Conv2D(16, 3, strides=2, padding="same", activation="relu")(inputs)
    h = L.Dense(32, activation="relu")(L.Flatten()(h))
    z = Sampling()(L.Dense(6, name="mean")(h), L.Dense(6, name="log_var")(h))
    h = L.Reshape((4, 4, 16))(L.Dense(256, activation="relu")(z))
    h = L.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu")(h)
    outputs = L.Conv2D(1, 3, padding="same", activation="sigmoid")(h)

    def summed(y_true, y_pred):
        loss = keras.losses.binary_crossentropy(y_true, y_pred)
        return ops.sum(loss, axis=(1, 2))

    model = keras.Model(inputs, outputs)
    model.compile(Adam(3e-3), summed)
    split = data.images()
    split = data.Split(split.x, split.x, split.val_x, split.val_x)
    return model, fitting(split, 12)


class Adversarial(keras.Model):
    """A generator and a discriminator, as keras.io's DCGAN example."""

    def __init__(self):
        super().__init__()
        self.generator = net(
            (16,),
            L.Dense(64, activation="relu"),
            L.Dense(64, activation="relu"),
            L.Dense(2),
        )
        self.discriminator = net((2,), *self.judging(), L.Dense(1))
        self.seeds = keras.random.SeedGenerator(3)
        self.trackers = [keras.metrics.Mean(n) for n in ("d_loss", "g_loss", "gap")]

    def judging(self):
        return [L.Dense(64), L.LeakyReLU(0.2), L.Dense(64), L.LeakyReLU(0.2)]

    def compile(self, g_optimizer, d_optimizer):
        super().compile()
        self.g_optimizer, self.d_optimizer = g_optimizer, d_optimizer
        self.judge = keras.losses.BinaryCrossentropy(from_logits=True)

    @property
    def metrics(self):
        return self.trackers

    def call(self, noise):
        return self.generator(noise)

    def noise(self, batch):
        return keras.random.normal((batch, 16), seed=self.seeds)

    def d_loss(self, real, fake):
        a, b = self.discriminator(real), self.discriminator(fake)
        smooth = 0.9 * tf.ones_like(a)
        return (self.judge(smooth, a) + self.judge(tf.zeros_like(b), b)) / 2

    def g_loss(self, fake):
        judged = self.discriminator(fake)
        return self.judge(tf.ones_like(judged), judged)

    def train_step(self, real):
        batch = tf.shape(real)[0]
        for _ in range(self.rounds):
            fake = self.generator(self.noise(batch), training=True)
            with tf.GradientTape() as tape:
                d_loss = self.d_loss(real, fake)
            weights = self.discriminator.trainable_weights
            self.d_optimizer.apply(tape.gradient(d_loss, weights), weights)
        with tf.GradientTape() as tape:
            fake = self.generator(self.noise(batch), training=True)
            g_loss = self.g_loss(fake)
        weights = self.generator.trainable_weights
        self.g_optimizer.apply(tape.gradient(g_loss, weights), weights)
        # How far the generated points are from the ring.
        gap = tf.reduce_mean(tf.abs(tf.norm(fake, axis=1) - 1))
        for tracker, value in zip(self.trackers, (d_loss, g_loss, gap), strict=True):
            tracker.update_state(value)
        return {t.name: t.result() for t in self.trackers}

    rounds = 1


class Wasserstein(Adversarial):
    """With a critic whose gradient is held at one (WGAN-GP)."""

    rounds = 3

    def d_loss(self, real, fake):
        share = keras.random.uniform((tf.shape(real)[0], 1), seed=self.seeds)
        between = share * real + (1 - share) * fake
        with tf.GradientTape() as tape:
            tape.watch(between)
            judged = self.discriminator(between, training=True)
        slope = tf.norm(tape.gradient(judged, between), axis=1)
        earth = self.discriminator(fake) - self.discriminator(real)
        return tf.reduce_mean(earth) + tf.reduce_mean(tf.square(slope - 1))

    def g_loss(self, fake):
        return -tf.reduce_mean(self.discriminator(fake))


def ring(rows=2000):
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, rows)
    x = np.stack([np.cos(angle), np.sin(angle)], 1)
    return (x + rng.normal(scale=0.03, size=x.shape)).astype("float32")


@healthy("custom adversarial", reaches="gap < 0.3")
def adversarial_pair():
    model = Adversarial()
    model.compile(Adam(2e-3, beta_1=0.5), Adam(2e-3, beta_1=0.5))
    return model, {"x": ring(), "epochs": 50, "batch_size": 64}


@healthy("custom adversarial", reaches="gap < 0.3")
def wasserstein_pair():
    model = Wasserstein()
    model.compile(Adam(2e-3, 0.5, 0.9), Adam(2e-3, 0.5, 0.9))
    return model, {"x": ring(), "epochs": 40, "batch_size": 64}


class Diffusion(keras.Model):
    """Predicts the noise in an image, as keras.io's DDIM example."""

    def __init__(self):
        super().__init__()
        self.normalizer = L.Normalization(axis=-1)
        image, level = keras.Input((8, 8, 1)), keras.Input((1, 1, 1))
        e = ops.concatenate([ops.sin(level * f) for f in (1.0, 3.0, 9.0)], axis=-1)
        e = L.UpSampling2D(8)(e)
        x = L.Concatenate()([L.Conv2D(24, 1)(image), e])
        for dilation in (1, 2, 1):
            y = L.Conv2D(32, 3, padding="same", dilation_rate=dilation)(x)
            y = L.Activation("swish")(L.BatchNormalization(momentum=0.9)(y))
            x = L.Concatenate()([x, y])
        out = L.Conv2D(1, 1, kernel_initializer="zeros")(x)
        self.network = keras.Model([image, level], out)
        self.slow = keras.models.clone_model(self.network)
        self.seeds = keras.random.SeedGenerator(0)
        self.noise_loss = keras.metrics.Mean("n_loss")
        self.image_loss = keras.metrics.Mean("i_loss")

    @property
    def metrics(self):
        return [self.noise_loss, self.image_loss]

    def call(self, images):
        return self.slow([images, tf.zeros((tf.shape(images)[0], 1, 1, 1))])

    def step(self, images, training):
        images = self.normalizer(images)
        batch = tf.shape(images)[0]
        noise = keras.random.normal(tf.shape(images), seed=self.seeds)
        level = keras.random.uniform((batch, 1, 1, 1), seed=self.seeds)
        angle = 0.2 + level * 1.2
        signal, noisy = tf.cos(angle), tf.sin(angle)
        mixed = signal * images + noisy * noise
        network = self.network if training else self.slow
        found = network([mixed, noisy**2], training=training)
        clean = (mixed - noisy * found) / signal
        loss = tf.reduce_mean(tf.abs(noise - found))
        self.noise_loss.update_state(loss)
        self.image_loss.update_state(tf.reduce_mean(tf.abs(images - clean)))
        return loss

    def train_step(self, images):
        with tf.GradientTape() as tape:
            loss = self.step(images, training=True)
        weights = self.network.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        for fast, slow in zip(self.network.weights, self.slow.weights, strict=True):
            slow.assign(0.95 * slow + 0.05 * fast)
        return {m.name: m.result() for m in self.metrics}

    def test_step(self, images):
        self.step(images, training=False)
        return {m.name: m.result() for m in self.metrics}


@healthy("custom diffusion", reaches="val_n_loss < 0.45")
def denoising_diffusion():
    split = data.images()
    model = Diffusion()
    model.normalizer.adapt(split.x)
    model.compile(keras.optimizers.AdamW(2e-3, weight_decay=1e-4))
    return model, {"x": split.x, "validation_data": (split.val_x,), "epochs": 15}


class Coupled(keras.Model):
    """Real-valued non-volume-preserving flow, as keras.io's RealNVP example."""

    def __init__(self, layers=6):
        super().__init__()
        self.masks = [[i % 2, 1 - i % 2] for i in range(layers)]
        self.scale = [self.part("tanh") for _ in range(layers)]
        self.shift = [self.part(None) for _ in range(layers)]
        self.tracker = keras.metrics.Mean("loss")

    def part(self, activation):
        hidden = [L.Dense(32, activation="relu") for _ in range(2)]
        return net((2,), *hidden, L.Dense(2, activation=activation))

    @property
    def metrics(self):
        return [self.tracker]

    def call(self, x):
        volume = 0.0
        for mask, scale, shift in zip(self.masks, self.scale, self.shift, strict=True):
            mask = tf.constant([mask], "float32")
            kept = x * mask
            s, t = scale(kept) * (1 - mask), shift(kept) * (1 - mask)
            x = kept + (1 - mask) * (x * tf.exp(-s) - t)
            volume -= tf.reduce_sum(s, axis=1)
        return x, volume

    def surprise(self, x):
        z, volume = self(x)
        density = -0.5 * tf.reduce_sum(z**2, axis=1) - np.log(2 * np.pi)
        return -tf.reduce_mean(density + volume)

    def train_step(self, x):
        with tf.GradientTape() as tape:
            loss = self.surprise(x)
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}

    def test_step(self, x):
        self.tracker.update_state(self.surprise(x))
        return {"loss": self.tracker.result()}


@healthy("custom flow", reaches="val_loss < 2")
def normalizing_flow():
    model = Coupled()
    model.compile(Adam(3e-3))
    split = data.moons(2000, noise=0.05)
    return model, {"x": split.x, "validation_data": (split.val_x,), "epochs": 35}


@healthy("cnn sequence", reaches="val_loss < 0.34")
def pixels_after_pixels():
    """A causal convolution over the pixels of a digit, black or white."""
    split = data.digits().map_x(lambda x: (x > 0.5).astype("float32")[..., None])
    inputs = keras.Input((64, 1))
    x = inputs
    for dilation in (1, 2, 4, 8, 16):
        y = L.Conv1D(
            24, 3, padding="causal", dilation_rate=dilation, activation="relu"
        )(x)
        x = y if x is inputs else x + y
    model = keras.Model(inputs, L.Dense(1, activation="sigmoid")(x))
    model.compile(Adam(3e-3), "binary_crossentropy")

    def before(x):
        return np.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0)))

    pairs = data.Split(before(split.x), split.x, before(split.val_x), split.val_x)
    return model, fitting(pairs, 12)


@healthy("autoencoder anomalies", reaches="val_loss < 0.2")
def odd_heartbeats():
    """Only normal series to train on; validated with normal ones."""
    rng = np.random.default_rng(0)
    t = np.arange(64)[None, :, None]
    phase, speed = rng.uniform(0, 6.3, (900, 1, 1)), rng.uniform(0.2, 0.3, (900, 1, 1))
    x = np.sin(speed * t + phase) + rng.normal(scale=0.1, size=(900, 64, 1))
    model = net(
        (64, 1),
        L.Conv1D(32, 7, padding="same", strides=2, activation="relu"),
        L.Dropout(0.2),
        L.Conv1D(16, 7, padding="same", strides=2, activation="relu"),
        L.Conv1DTranspose(16, 7, padding="same", strides=2, activation="relu"),
        L.Dropout(0.2),
        L.Conv1DTranspose(32, 7, padding="same", strides=2, activation="relu"),
        L.Conv1DTranspose(1, 7, padding="same"),
    )
    model.compile(Adam(3e-3), "mse")
    stop = keras.callbacks.EarlyStopping(patience=5, mode="min")
    return model, {
        "x": x,
        "y": x,
        "validation_split": 0.1,
        "epochs": 12,
        "callbacks": [stop],
    }


class Quantizer(L.Layer):
    """The nearest vector of a book, with a straight-through gradient."""

    def __init__(self, count, width, **more):
        super().__init__(**more)
        self.book = self.add_weight(
            shape=(width, count),
            initializer=keras.initializers.RandomUniform(-0.5, 0.5),
        )

    def call(self, x):
        far = ops.sum(x**2, -1, keepdims=True) - 2 * x @ self.book
        nearest = ops.argmin(far + ops.sum(self.book**2, axis=0), axis=-1)
        found = ops.take(ops.transpose(self.book), nearest, axis=0)
        kept = ops.mean((ops.stop_gradient(found) - x) ** 2)
        self.add_loss(0.25 * kept + ops.mean((found - ops.stop_gradient(x)) ** 2))
        return x + ops.stop_gradient(found - x)


@healthy("autoencoder quantized", reaches="val_loss < 0.06")
def vectors_from_a_book():
    split = data.images()
    split = data.Split(split.x, split.x, split.val_x, split.val_x)
    model = net(
        (8, 8, 1),
        L.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
        L.Conv2D(8, 1),
        Quantizer(64, 8),
        L.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
        L.Conv2D(1, 3, padding="same"),
    )
    model.compile(RMSprop(3e-3), "mse")
    return model, fitting(split, 12)
