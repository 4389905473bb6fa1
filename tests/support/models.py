"""Small models and data, one of each kind that must be watched without harm."""

import keras
import numpy as np
from keras import layers as L

from keras_babysit.backend import load
from support import own_steps

N = 72  # Not a multiple of the batch size: the last batch is smaller.
CLASSES = 5


def images(shape=(8, 8, 3)):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(N, *shape)).astype("float32")
    return x, rng.integers(0, CLASSES, N)


def head():
    return L.Dense(CLASSES)


def mlp():
    return keras.Sequential(
        [
            keras.Input((12,)),
            L.Dense(16, activation="relu"),
            L.Dropout(0.3),
            L.Dense(8, activation="tanh"),
            head(),
        ]
    ), images((12,))


def cnn():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.Conv2D(6, 3, activation="relu"),
            L.BatchNormalization(),
            L.MaxPooling2D(),
            L.Conv2D(4, 2, activation="relu"),
            L.Flatten(),
            L.Dropout(0.2),
            head(),
        ]
    ), images()


def residual():
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, padding="same", use_bias=False)(inputs)
    for _ in range(2):
        y = L.Conv2D(4, 3, padding="same", use_bias=False)(x)
        y = L.ReLU()(L.BatchNormalization()(y))
        x = L.Add()([x, y])
    outputs = head()(L.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs), images()


def shared_and_nested():
    shared = L.Dense(6, activation="relu", name="shared")
    inner = keras.Sequential([keras.Input((6,)), L.Dense(4), L.ReLU()], name="inner")
    a, b = keras.Input((12,), name="a"), keras.Input((12,), name="b")
    both = L.Concatenate()([inner(shared(a)), inner(shared(b))])
    out = {"one": head()(both), "two": L.Dense(1)(both)}
    x, y = images((12,))
    model = keras.Model({"a": a, "b": b}, out)
    return model, ({"a": x, "b": -x}, {"one": y, "two": y.astype("float32")[:, None]})


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block = [L.Dense(10, activation="relu"), L.Dense(6, activation="elu")]
        self.drop = L.Dropout(0.5)
        self.out = head()

    def call(self, x, training=False):
        for layer in self.block:
            x = layer(x)
        return self.out(self.drop(x, training=training))


def subclassed():
    return Subclassed(), images((12,))


@keras.saving.register_keras_serializable("tests")
class CustomStep(Subclassed):
    train_step = own_steps.train_step(1.0)


def custom_step():
    return CustomStep(), images((12,))


class Augmented(Subclassed):
    train_step = own_steps.train_step(2.0)


def augmented():
    return Augmented(), images((12,))


def lstm():
    return keras.Sequential(
        [
            keras.Input((6, 3)),
            L.Bidirectional(L.LSTM(4, return_sequences=True)),
            L.TimeDistributed(L.Dense(4, activation="relu")),
            L.GRU(5),
            head(),
        ]
    ), images((6, 3))


def embedding():
    rng = np.random.default_rng(2)
    tokens = rng.integers(0, 30, (N, 7))
    model = keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            L.Embedding(30, 6),
            L.GlobalAveragePooling1D(),
            head(),
        ]
    )
    return model, (tokens, rng.integers(0, CLASSES, N))


def frozen_and_unused():
    inputs = keras.Input((12,))
    frozen = L.Dense(8, activation="relu", trainable=False)
    x = WithUnused()(frozen(inputs))
    return keras.Model(inputs, head()(x)), images((12,))


class WithUnused(L.Layer):
    """Has a weight that the output does not depend on: its gradient is None."""

    def build(self, shape):
        self.used = self.add_weight(shape=(shape[-1],), name="used")
        self.unused = self.add_weight(shape=(3,), name="unused")

    def call(self, x):
        return x * (1 + self.used)


def transformer():
    inputs = keras.Input((6, 8))
    x = L.LayerNormalization()(inputs)
    x = L.Add()([inputs, L.MultiHeadAttention(2, 4, dropout=0.1)(x, x)])
    y = L.Dense(16, activation="gelu")(L.LayerNormalization()(x))
    x = L.Add()([x, L.Dense(8)(y)])
    return keras.Model(inputs, head()(L.GlobalAveragePooling1D()(x))), images((6, 8))


class Gan(keras.Model):
    """Two optimizers, no `call`, inputs that are not the data's."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential([keras.Input((3,)), L.Dense(12)])
        self.critic = keras.Sequential([keras.Input((12,)), L.Dense(4), L.Dense(1)])
        self.seed = keras.random.SeedGenerator(3)
        self.built = True

    def compile(self):
        super().compile(loss=None)
        self.g_optimizer = keras.optimizers.Adam(1e-3)
        self.c_optimizer = keras.optimizers.SGD(1e-3)

    # With JAX the state of two optimizers takes a trainer of one's own.
    train_step = (
        own_steps.gan_step_on_torch
        if own_steps.BACKEND == "torch"
        else own_steps.gan_step_on_tensorflow
    )


def compile_model(model, optimizer=None, **kwargs):
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = sparse
    if isinstance(getattr(model, "output_names", None), list) and (
        len(model.output_names) > 1
    ):
        loss = {"one": sparse, "two": "mse"}
    model.compile(optimizer or keras.optimizers.Adam(1e-2), loss=loss, **kwargs)
    return model


def state(model):
    """All weights and optimizer variables, as arrays."""
    variables = list(model.variables)
    for value in vars(model).values():
        if isinstance(value, keras.optimizers.Optimizer):
            variables += value.variables
    numpy_of = load("autodiff").numpy_of
    return [numpy_of(v.value).copy() for v in variables]


def Gan_and_data():  # noqa: N802
    return Gan(), images((12,))
