"""Layers, losses and regularizers with planted gradient bugs, and right ones like them.

Each case is a compiled model, its data, and who is to blame for what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers as L
from keras import ops


def with_gradient(value, slope):
    """A function of one tensor: what it computes, and what it says its slope is."""

    @ops.custom_gradient
    def function(x):
        return value(x), lambda *args, upstream=None: of(args, upstream) * slope(x)

    return function


def of(args, upstream):
    """The gradient from behind, which backends hand over in two ways."""
    return args[0] if upstream is None else upstream


negated = with_gradient(ops.tanh, lambda x: ops.tanh(x) ** 2 - 1)
half_square = with_gradient(ops.square, lambda x: x)
leaky = with_gradient(
    lambda x: ops.where(x < 0, 0.3 * x, x),
    lambda x: ops.where(x < 0, 0.1 * ops.ones_like(x), ops.ones_like(x)),
)
outside = with_gradient(  # Wrong where it is clipped: its slope is 0 there.
    lambda x: ops.clip(x, -0.4, 0.4), ops.ones_like
)
nearly = with_gradient(ops.tanh, lambda x: 0.998 / ops.cosh(x) ** 2)
straight_through = with_gradient(lambda x: ops.round(x * 4) / 4, ops.ones_like)
nothing = with_gradient(ops.sin, ops.zeros_like)


class Apply(L.Layer):
    """Applies a function."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)


class OwnDense(L.Layer):
    """A dense layer with a gradient of its own.

    Args:
        units: number of units.
        bug: what is wrong with it.
    """

    def __init__(self, units, bug="", **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.bug = bug

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.bias = self.add_weight(shape=(self.units,), name="bias")

    def call(self, x):
        bug = self.bug

        @ops.custom_gradient
        def affine(x, w, b):
            def grad(*args, upstream=None):
                dy = of(args, upstream)
                dx = ops.matmul(dy, ops.transpose(w))
                dw = ops.matmul(ops.transpose(x), dy)
                db = ops.sum(dy, 0)
                if bug == "bias zero":
                    db = ops.zeros_like(db)
                if bug == "bias none":
                    db = None
                if bug == "bias mean":
                    db = ops.mean(dy, 0)
                if bug == "input":
                    dx = ops.matmul(ops.relu(dy), ops.transpose(w))
                if bug == "kernel row":  # One row of the kernel.
                    first = ops.one_hot(0, w.shape[0], dtype=w.dtype)
                    dw = dw * first[:, None]
                return dx, dw, db

            return ops.matmul(x, w) + b, grad

        # As a user would: where they may, Keras's variables go in as they are.
        given = self.kernel, self.bias
        if keras.backend.backend() == "torch":
            given = [v.value for v in given]
        return affine(x, *given)


class Remembering(L.Layer):
    """A right custom gradient that takes its weight from outside."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="s")

    def call(self, x):
        import tensorflow as tf

        @tf.custom_gradient
        def scaled(x):
            s = tf.convert_to_tensor(self.scale)

            def grad(dy, variables=None):
                assert len(variables) == 1
                return dy * s, [tf.reduce_sum(dy * x, 0)]

            return x * s, grad

        return scaled(x)


class Recomputed(L.Layer):
    """Its inner layer's activations are computed twice, to spare memory."""

    def build(self, shape):
        self.inner = L.Dense(5, activation="tanh")
        self.inner.build(shape)

    def call(self, x):
        return keras.remat(lambda x: self.inner(x))(x)


class Where(L.Layer):
    """Two branches in one layer, one of them wrong."""

    def call(self, x):
        return ops.where(x > 0.1, ops.sin(x), half_square(x))


class Composite(L.Layer):
    """Holds the wrong layer, and does not take `training`."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.before = L.Dense(6, activation="tanh")
        self.inner = inner
        self.drop = L.Dropout(0.3)

    def build(self, shape):
        self.before.build(shape)

    def call(self, x):
        return self.drop(self.inner(self.before(x)))


class InCall(keras.Model):
    """A wrong gradient in the model's own `call`, between right layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.one = L.Dense(6, activation="tanh")
        self.two = L.Dense(3)

    def call(self, x, training=False):
        return self.two(negated(self.one(x)))


class Holds(keras.Model):
    """A subclassed model with a wrong layer in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block = [L.Dense(6), Apply(half_square, name="bad"), L.Dense(3)]

    def call(self, x, training=False):
        for layer in self.block:
            x = layer(x)
        return x


class Cell(L.Layer):
    """A recurrent cell whose state's activation is wrong."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.again = self.add_weight(shape=(self.units, self.units), name="again")

    def call(self, x, states):
        y = negated(x @ self.kernel + states[0] @ self.again)
        return y, [y]


class AddsLoss(L.Layer):
    """What it adds to the loss has a wrong gradient, its output a right one."""

    def call(self, x):
        self.add_loss(0.1 * ops.sum(half_square(x)))
        return x


def wrong_loss(y_true, y_pred):
    return ops.mean(half_square(y_pred - y_true), axis=-1)


@keras.saving.register_keras_serializable("tests")
def wrong_penalty(weight):
    return 0.01 * ops.sum(half_square(weight))


@dataclass(frozen=True)
class Case:
    """A model, and who is to blame.

    Attributes:
        model: compiled.
        x: inputs.
        y: targets.
        path: what its `LayerGradient` must be called.
        wrong: what it must be wrong with respect to.
        how: what must be said of it, if anything.
    """

    model: Any
    x: np.ndarray
    y: np.ndarray
    path: str
    wrong: tuple[str, ...] = ("input",)
    how: str | None = None


def data(shape=(5,), outputs=3):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, *shape)).astype("float32")
    return x, rng.normal(size=(12, outputs)).astype("float32")


def stack(*layers, shape=(5,), loss="mse"):
    model = keras.Sequential([keras.Input(shape), *layers])
    model.compile("adam", loss=loss)
    return model


def around(layer):
    """A small network around a layer."""
    return stack(L.Dense(6, activation="tanh"), layer, L.Dense(3))


def _case(model, *expected, shape=(5,), **kwargs):
    return Case(model, *data(shape), *expected, **kwargs)


def wrong_sign():
    return _case(around(Apply(negated, name="bad")), "bad", how="wrong sign")


def missing_factor():
    layer = Apply(half_square, name="bad")
    return _case(around(layer), "bad", how="0.5 × the true one")


def zero_gradient():
    return _case(around(Apply(nothing, name="bad")), "bad", how="zero")


def bias_zero():
    layer = OwnDense(4, "bias zero", name="bad")
    return _case(around(layer), "bad", ("bias",), how="zero")


def bias_none():
    layer = OwnDense(4, "bias none", name="bad")
    return _case(around(layer), "bad", ("bias",), how="zero")


def bias_mean():
    layer = OwnDense(4, "bias mean", name="bad")
    return _case(around(layer), "bad", ("bias",), how="0.25 × the true one")


def input_only():
    return _case(around(OwnDense(4, "input", name="bad")), "bad", ("input",))


def kernel_row():
    return _case(around(OwnDense(4, "kernel row", name="bad")), "bad", ("kernel",))


def one_branch():
    inputs = keras.Input((5,))
    good = L.Dense(4, activation="tanh", name="good")(inputs)
    bad = Apply(leaky, name="bad")(L.Dense(4, name="before")(inputs))
    model = keras.Model(inputs, L.Dense(3)(L.Concatenate()([good, bad])))
    model.compile("adam", "mse")
    return _case(model, "bad")


def branch_of_where():
    return _case(around(Where(name="bad")), "bad")


def negative_inputs():
    return _case(around(Apply(leaky, name="bad")), "bad")


def clipped_inputs():
    return _case(around(Apply(outside, name="bad")), "bad")


def activation_of_dense():
    layer = L.Dense(4, activation=negated, name="bad")
    return _case(around(layer), "bad", ("input", "kernel", "bias"), how="wrong sign")


def in_nested_model():
    inner = keras.Sequential(
        [keras.Input((6,)), L.Dense(4), Apply(negated, name="bad"), L.Dense(4)],
        name="inner",
    )
    return _case(around(inner), "inner/bad")


def in_subclassed_model():
    model = Holds()
    model.compile("adam", "mse")
    return _case(model, "bad")


def in_call_of_model():
    model = InCall(name="in_call")
    model.compile("adam", "mse")
    return _case(model, "in_call", ("one/kernel", "one/bias"))


def in_composite():
    layer = Composite(Apply(half_square, name="bad"), name="outer")
    return _case(around(layer), "outer/bad")


def used_twice():
    shared = L.Dense(5, activation=half_square, name="bad")
    inputs = keras.Input((5,))
    model = keras.Model(inputs, L.Dense(3)(shared(shared(inputs))))
    model.compile("adam", "mse")
    return _case(model, "bad", ("kernel", "bias", "input"))


def in_recurrent_cell():
    layers = L.RNN(Cell(4, name="bad"), name="rnn"), L.Dense(3)
    model = stack(*layers, shape=(4, 3))
    wrong = ("kernel", "again", "input")  # Its state.
    return _case(model, "rnn/bad", wrong, shape=(4, 3))


def in_time_distributed():
    inner = L.Dense(3, activation=negated, name="bad")
    bad = L.TimeDistributed(inner, name="steps")
    model = stack(bad, L.Flatten(), L.Dense(3), shape=(4, 3))
    return _case(model, "steps/bad", ("kernel", "bias"), shape=(4, 3))


def of_convolution():
    conv = L.Conv2D(3, 2, activation=negated, name="bad")
    model = stack(conv, L.MaxPooling2D(), L.Flatten(), L.Dense(3), shape=(6, 6, 2))
    return _case(model, "bad", ("kernel", "bias"), shape=(6, 6, 2))


def of_loss():
    model = stack(L.Dense(4, activation="tanh"), L.Dense(3), loss=wrong_loss)
    return _case(model, "loss", ("predictions",), how="0.5 × the true one")


def of_regularizer():
    layer = L.Dense(3, kernel_regularizer=wrong_penalty, name="last")
    model = stack(L.Dense(4, activation="tanh"), layer)
    return _case(model, "last/kernel", ("weight",), how="0.5 × the true one")


def of_added_loss():
    return _case(around(AddsLoss(name="bad")), "bad")


BUGS = (
    wrong_sign,
    missing_factor,
    zero_gradient,
    bias_zero,
    bias_none,
    bias_mean,
    input_only,
    kernel_row,
    one_branch,
    branch_of_where,
    negative_inputs,
    clipped_inputs,
    activation_of_dense,
    in_nested_model,
    in_subclassed_model,
    in_call_of_model,
    in_composite,
    used_twice,
    in_recurrent_cell,
    in_time_distributed,
    of_convolution,
    of_loss,
    of_regularizer,
    of_added_loss,
)
