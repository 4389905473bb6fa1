"""Whether anything in a step depends on the weights of its samples."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from keras import ops
from support import models

from keras_babysit import Babysitter

X, Y = models.images((6,))
W = np.linspace(0.5, 1.5, len(X)).astype("float32")
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")


class Weighing(keras.Model):
    """Does something with the weights in its step, or nothing."""

    def __init__(self, use):
        super().__init__()
        self.use, self.body = use, models.head()
        self.total = tf.Variable(0.0, trainable=False)
        self.mean = keras.metrics.Mean("mean")

    def call(self, x):
        return self.body(x)

    def train_step(self, batch):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        with tf.GradientTape() as tape:
            loss = ops.mean(self.use(self, LOSS(y, self(x)), weight))
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss, **self.logged(weight)}

    def logged(self, weight):
        return {"weight": ops.mean(weight)} if self.use is log else {}


def multiply(model, each, weight):
    return each * weight


def ignore(model, each, weight):
    return each


def compute_in_vain(model, each, weight):
    ops.sum(ops.cast(weight, "float64") ** 2) / ops.cast(
        ops.shape(weight)[0], "float64"
    )
    return each


def choose(model, each, weight):
    return ops.where(weight > 1, each, 0.0)


def sort(model, each, weight):
    return ops.take(each, ops.argsort(weight)[:4])


def in_a_condition(model, each, weight):
    return ops.cond(ops.mean(weight) > 1, lambda: each, lambda: 2 * each)


@tf.function
def multiplied(each, weight):
    return each * weight


def in_a_function(model, each, weight):
    return multiplied(each, weight)


def in_python(model, each, weight):
    seen = tf.numpy_function(lambda w: w, [weight], tf.float32)
    return each * tf.ensure_shape(seen, weight.shape)


def keep(model, each, weight):
    model.total.assign_add(ops.sum(weight))
    return each


def measure(model, each, weight):
    model.mean.update_state(each, sample_weight=weight)
    return each


def check(model, each, weight):
    tf.debugging.assert_non_negative(weight)
    return each


def log(model, each, weight):
    return each


def observed(tmp_path, model, *data, **more):
    ours = Babysitter(tmp_path, every=1, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(*data, batch_size=18, verbose=0, callbacks=[ours], **more)
    assert ours.history.observed == 4
    found = "weights-without-effect" in {f.rule for f in ours.report.findings}
    assert found == ours.history.last_step.weights_unread
    return found


def weighing(use, **more):
    model = Weighing(use)
    model(X[:2])
    model.compile(keras.optimizers.SGD(0.1), **{"jit_compile": False, **more})
    return model


@pytest.mark.parametrize("use", [ignore, compute_in_vain])
@pytest.mark.parametrize("jit", [False, True])
def test_weights_that_are_left_out(tmp_path, use, jit):
    model = weighing(use, jit_compile=jit)
    assert observed(tmp_path, model, X, Y, sample_weight=W)


@pytest.mark.parametrize(
    "use",
    [
        multiply,
        choose,
        sort,
        in_a_condition,
        in_a_function,
        in_python,
        keep,
        measure,
        check,
        log,
    ],
)
def test_weights_that_are_used(tmp_path, use):
    assert not observed(tmp_path, weighing(use), X, Y, sample_weight=W)


def test_class_weights(tmp_path):
    weights = {k: 1.0 + k for k in range(models.CLASSES)}
    assert observed(tmp_path, weighing(ignore), X, Y, class_weight=weights)


def test_even_weights_make_no_difference(tmp_path):
    model, ours = weighing(ignore), Babysitter(tmp_path, every=1, verbose=0)
    model.fit(X, Y, sample_weight=np.ones(len(X)), verbose=0, callbacks=[ours])
    assert ours.history.last_step.weights_unread
    assert "weights-without-effect" not in {f.rule for f in ours.report.findings}


def test_a_step_that_was_traced_before(tmp_path):
    model = weighing(ignore)
    model.fit(X, Y, sample_weight=W, batch_size=18, verbose=0)
    assert observed(tmp_path, model, X, Y, sample_weight=W)


def test_steps_that_python_runs_say_nothing(tmp_path):
    model = weighing(ignore, run_eagerly=True)
    assert not observed(tmp_path, model, X, Y, sample_weight=W)


def test_several_inputs_and_targets(tmp_path):
    class Two(Weighing):
        def call(self, x):
            return self.body(x["a"] + x["b"])

        def train_step(self, batch):
            x, y, weight = batch
            return super().train_step((x, y[0], weight))

    for use, unread in ((ignore, True), (multiply, False)):
        model = Two(use)
        model({"a": X[:2], "b": X[:2]})
        model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        x, y = {"a": X, "b": X}, (Y, Y)
        assert observed(tmp_path, model, x, y, sample_weight=W) == unread


def test_keras_own_step_uses_them(tmp_path):
    model = keras.Sequential([keras.Input((6,)), L.Dense(4), models.head()])
    models.compile_model(model)
    assert not observed(tmp_path, model, X, Y, sample_weight=W)


def test_a_loss_of_one_value_for_the_batch(tmp_path):
    def whole(y, p):
        each = keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)
        return ops.mean(each)

    for eager in (False, True):
        model = keras.Sequential([keras.Input((6,)), models.head()])
        model.compile("sgd", whole, run_eagerly=eager, jit_compile=False)
        ours = Babysitter(tmp_path, every=1, verbose=0)
        model.fit(X, Y, sample_weight=W, verbose=0, callbacks=[ours])
        ((path, calls),) = ours.history.losses.items()
        assert path == "whole"
        assert calls[-1].single
        assert calls[-1].values is None
        assert "weights-without-effect" in {f.rule for f in ours.report.findings}
