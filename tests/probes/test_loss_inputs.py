"""What the probe `"loss"` records: of every way to compute a loss."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_babysit import Babysitter
from keras_babysit.search.trial import record_file

L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5)).astype("float32")
LABELS = RNG.integers(0, 3, 48)


def net(*layers):
    return keras.Sequential([keras.Input((5,)), *layers])


def watched(tmp_path, model, y, x=X, **more):
    babysitter = Babysitter(tmp_path, every=1, verbose=0, rules=[])
    more = {"epochs": 2, "batch_size": 16, "shuffle": False} | more
    model.fit(x, y, verbose=0, callbacks=[babysitter], **more)
    assert not babysitter.observation.unobserved
    return babysitter.history


def first(history, **of):
    return next(
        call
        for call in history.first_step.losses
        if all(getattr(call, name) == value for name, value in of.items())
    )


@pytest.mark.parametrize("eager", [False, True])
def test_values_of_a_compiled_loss(tmp_path, eager):
    model = net(L.Dense(3, activation="softmax"))
    before = keras.ops.convert_to_numpy(model(X[:16]))
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=eager)
    history = watched(tmp_path, model, LABELS)
    (call,) = history.first_step.losses
    assert call.path == call.loss == "sparse_categorical_crossentropy"
    assert call.takes == "probabilities"
    assert call.layer == model.layers[-1].path
    assert not call.expanded
    assert (call.targets.min, call.targets.max) == (0, 2)
    assert call.targets.classes[:3].tolist() == np.bincount(LABELS[:16]).tolist()
    assert call.outputs.size == 48
    assert call.outputs.samples == 16
    np.testing.assert_allclose(call.outputs.min, before.min(), rtol=1e-5)
    np.testing.assert_allclose(call.outputs.mean, before.mean(), rtol=1e-5)
    np.testing.assert_allclose(call.outputs.std, before.std(), rtol=1e-4)
    np.testing.assert_allclose(call.outputs.spread, before.std(0).mean(), rtol=1e-4)
    assert call.outputs.outside == 0
    assert call.outputs.unit_sums[0] == 1
    counts = np.bincount(before.argmax(1), minlength=3)
    assert call.outputs.classes[:3].tolist() == counts.tolist()
    chosen = -np.log(before[np.arange(16), LABELS[:16]])
    np.testing.assert_allclose(call.values.mean, chosen.mean(), rtol=1e-4)
    assert call.weights is None
    assert len(history.values("outputs.spread", call.path)) == 6


def test_sums_over_other_axes(tmp_path):
    model = keras.Sequential(
        [keras.Input((4, 6, 2)), L.Conv2D(3, 1), L.Softmax(axis=2)]
    )
    model.compile("sgd", "mse")
    x = RNG.normal(size=(16, 4, 6, 2)).astype("float32")
    y = np.ones((16, 4, 6, 3), "float32") / 4
    (call,) = watched(tmp_path, model, y, x).first_step.losses
    assert call.takes == ""
    assert call.outputs.unit_sums[2] == 1
    assert max(call.outputs.unit_sums[:2]) < 0.5
    assert call.targets.unit_sums[1] == 1
    assert call.targets.spread == 0


@pytest.mark.parametrize("sparse", [True, False])
def test_classes_of_places(tmp_path, sparse):
    model = keras.Sequential([keras.Input((4, 3, 2)), L.Conv2D(3, 1)])
    places = RNG.integers(0, 3, (16, 4, 3))
    loss = "SparseCategoricalCrossentropy" if sparse else "CategoricalCrossentropy"
    model.compile("sgd", getattr(keras.losses, loss)(from_logits=True))
    y = places if sparse else keras.utils.to_categorical(places, 3)
    x = RNG.normal(size=(16, 4, 3, 2)).astype("float32")
    (call,) = watched(tmp_path, model, y, x).first_step.losses
    assert call.targets.classes[:3].tolist() == np.bincount(places.ravel()).tolist()
    assert call.outputs.classes[:3].sum() == places.size


def test_every_output_with_weights(tmp_path):
    inputs = keras.Input((5,))
    one, two = L.Dense(3, name="one")(inputs), L.Dense(1, name="two")(inputs)
    model = keras.Model(inputs, {"one": one, "two": two})
    logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", {"one": logits, "two": "mse"})
    weights = {"one": np.full(48, 2.0), "two": np.arange(48.0)}
    y = {"one": LABELS, "two": X[:, :1]}
    history = watched(tmp_path, model, y, sample_weight=weights)
    assert [c.layer for c in history.first_step.losses] == ["one", "two"]
    classes, numbers = history.first_step.losses
    assert classes.takes == "logits"
    assert (classes.weights.min, classes.weights.max) == (2, 2)
    assert numbers.weights.max == 15
    assert numbers.loss == "mean_squared_error"


def test_own_function_and_cross_entropy_in_it(tmp_path):
    def mine(y, p):
        return keras.losses.binary_crossentropy(y, ops.sigmoid(p)) + 0.1

    model = net(L.Dense(1))
    model.compile("sgd", mine, metrics=[keras.metrics.BinaryCrossentropy()])
    history = watched(tmp_path, model, (X[:, :1] > 0).astype("float32"))
    own, inner = history.first_step.losses  # That of the metric is none.
    assert (own.loss, own.takes) == ("mine", "")
    assert inner.loss == "binary_crossentropy in mine"
    assert inner.takes == "probabilities"
    assert inner.outputs.outside == 0 < own.outputs.outside


class Own(keras.Model):
    """Computes its loss by itself."""

    def __init__(self, loss):
        super().__init__()
        self.dense, self.own = L.Dense(1), loss

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            loss = self.own(y, self(x, training=True))
        weights = self.trainable_variables
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, weights), weights, strict=True)
        )
        return {"own": loss}


def squared(y, p):
    return ops.mean(ops.square(y - p))


def trained_by_own_step(tmp_path, loss, y, **more):
    model = Own(loss)
    model(X[:2])
    model.compile("sgd")
    return watched(tmp_path, model, y, **more)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "loss",
    [
        squared,
        lambda y, p: ops.mean(ops.abs(p - y)),
        lambda y, p: ops.mean(ops.sqrt(1 + ops.square((y - p) / 2))),
    ],
)
def test_targets_that_are_broadcast(tmp_path, loss):
    call = first(trained_by_own_step(tmp_path, loss, X[:, 0]), expanded=True)
    assert call.targets.shape == (16,)
    assert call.outputs.shape == (16, 1)
    assert call.values.shape == (16, 16)


@pytest.mark.tensorflow
def test_targets_that_are_broadcast_in_batches_of_any_size(tmp_path):
    history = trained_by_own_step(tmp_path, squared, X[:, 0], batch_size=20)
    assert first(history, expanded=True).values.shape == (None, None)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (squared, X[:, :1]),
        (lambda y, p: squared(y, p[:, 0]), X[:, 0]),
        (lambda y, p: keras.losses.MeanSquaredError()(y, p), X[:, 0]),
        # All pairs of a batch, of targets and of outputs by themselves.
        (lambda y, p: squared(y[:, None] - y[None], p - p[:, 0][None]), X[:, 0]),
    ],
)
def test_nothing_is_broadcast(tmp_path, loss, y):
    history = trained_by_own_step(tmp_path, loss, y)
    assert not any(call.expanded for call in history.first_step.losses)


def test_records_can_be_written(tmp_path):
    model = net(L.Dense(1))
    model.compile("sgd", "mse")
    record = watched(tmp_path / "run", model, X[:, :1]).first_step
    record_file.append(tmp_path / "records", [record])
    ((found,), _) = record_file.read(tmp_path / "records")
    assert repr(found) == repr(record)


def test_nothing_stays_wrapped(tmp_path):
    before = keras.losses.Loss.__call__
    loss = keras.losses.MeanSquaredError()
    model = net(L.Dense(1))
    model.compile("sgd", loss)
    watched(tmp_path, model, X[:, :1])
    assert keras.losses.Loss.__call__ is before
    assert "call" not in vars(loss)
