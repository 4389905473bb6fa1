"""The loss over the whole set is that of one batch of everything."""

import math

import keras
import numpy as np
import pytest
from keras import layers as L
from support import models

from keras_babysit.backend import load
from keras_babysit.inspection.sample import ready, sample_of
from keras_babysit.optimizers.data import batches_of
from keras_babysit.optimizers.objective import Objective

N = models.N


def objective_of(model, x, y, weight=None, batch_size=20, dtype=None):
    ready(model, sample_of(x, y, weight, n=8))
    return Objective(model, batches_of(x, y, weight, None, batch_size), dtype)


def reference(model, x, y, weight=None):
    """Loss and gradient of one batch of everything, as Keras computes them."""
    sample = sample_of(x, y, weight, n=N).tensors
    x, y, weight = sample.x, sample.y, sample.sample_weight

    def value(_):
        y_pred = model(x, training=False)
        return model.compute_loss(x, y, y_pred, weight, training=False)

    autodiff = load("autodiff")
    known = autodiff.value_and_gradients(value, [], model.trainable_weights)
    loss, found = keras.tree.map_structure(autodiff.numpy_of, known)
    return float(loss), np.concatenate([np.ravel(g) for g in found])


def tokens(rng):
    x = rng.integers(1, 9, (N, 6))
    x[np.arange(6) >= rng.integers(1, 7, N)[:, None]] = 0
    x[:10, 2:] = 0  # So that batches differ in how much of them is masked.
    return x


def masked(**loss):
    rng = np.random.default_rng(0)
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            L.Embedding(9, 4, mask_zero=True),
            L.SimpleRNN(5, return_sequences=True),
            L.Dense(3),
        ]
    )
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True, **loss)
    )
    return model, tokens(rng), rng.integers(0, 3, (N, 6)), None


def dense(loss="mse", weighted=False):
    rng = np.random.default_rng(0)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            L.Dense(4, "tanh", kernel_regularizer="l2", activity_regularizer="l1"),
            L.Dropout(0.5),
            L.Dense(2, bias_regularizer="l1"),
        ]
    )
    model.compile(None, loss)
    x = rng.normal(size=(N, 5)).astype("float32")
    y = rng.normal(size=(N, 2)).astype("float32")
    return model, x, y, rng.uniform(size=N) ** 4 if weighted else None


def mean_of_everything(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred))


def several():
    model, (x, y) = models.shared_and_nested()
    sparse = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    model.compile("sgd", {"one": sparse, "two": "mae"}, loss_weights=[0.3, 2.0])
    rng = np.random.default_rng(0)
    return model, x, y, {"one": rng.uniform(size=N), "two": rng.uniform(size=N)}


class Adds(L.Layer):
    """Draws random numbers also in inference, and has a loss of its own."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2)
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x):
        out = self.dense(x) + keras.random.normal((2,), seed=self.seeds)
        self.add_loss(keras.ops.mean(keras.ops.square(out - 1.0)))
        return out


def added():
    model = keras.Sequential([keras.Input((5,)), Adds()])
    model.compile(None, None)
    rng = np.random.default_rng(0)
    return model, rng.normal(size=(N, 5)).astype("float32"), None, None


def with_batch_norm():
    model, (x, y) = models.cnn()
    models.compile_model(model)
    model.fit(x, y, verbose=0)
    return model, x, y, None


CASES = {
    "penalties": dense,
    "weights": lambda: dense(weighted=True),
    "sum": lambda: dense(keras.losses.MeanSquaredError(reduction="sum"), True),
    "mean of weights": lambda: dense(
        keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"), True
    ),
    "one number": lambda: dense(mean_of_everything),
    "one number, weights": lambda: dense(mean_of_everything, True),
    "mask": masked,
    "mask, mean of weights": lambda: masked(reduction="mean_with_sample_weight"),
    "several outputs": several,
    "a layer's loss": added,
    "BatchNormalization": with_batch_norm,
}


@pytest.mark.parametrize("name", CASES)
def test_is_the_loss_of_one_batch(name):
    keras.utils.set_random_seed(1)
    model, x, y, weight = CASES[name]()
    before = [np.array(v) for v in model.variables]
    value, gradient = reference(model, x, y, weight)
    for variable, old in zip(model.variables, before, strict=True):
        variable.assign(old)  # The states of random numbers.
    whole = keras.tree.map_structure(np.asarray, x)
    evaluated = model.evaluate(
        whole, y, N, sample_weight=weight, verbose=0, return_dict=True
    )["loss"]
    assert value == pytest.approx(evaluated, rel=1e-6)
    for variable, old in zip(model.variables, before, strict=True):
        variable.assign(old)
    # With one number for all samples, there are none for the weights to weigh.
    sizes = {"one number, weights": (N,), "mask": (N, 20)}.get(name, (20,))
    for batch_size in sizes:
        objective = objective_of(model, x, y, weight, batch_size)
        assert objective.samples == N
        found = objective(objective.weights())
        assert found.value == pytest.approx(value, rel=2e-6)
        np.testing.assert_allclose(found.gradient, gradient, rtol=1e-4, atol=2e-6)
    for variable, old in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable), old)


def test_mean_of_batches_would_be_wrong():
    keras.utils.set_random_seed(1)
    model, x, y, _ = masked()
    means = [
        model.evaluate(x[i : i + 20], y[i : i + 20], verbose=0) for i in range(0, N, 20)
    ]
    sizes = [20, 20, 20, 12]
    whole = model.evaluate(x, y, N, verbose=0)
    assert abs(np.average(means, weights=sizes) - whole) > 5e-5


def test_float64_agrees_with_differences(rng):
    model, x, y, weight = dense("huber", weighted=True)
    before = [np.array(v) for v in model.variables]
    objective = objective_of(model, x, y, weight, dtype="float64")
    at = rng.normal(size=objective.size)  # Not at the kinks of L1, where it starts.
    point = objective(at)
    assert point.gradient.dtype == np.float64
    for _ in range(3):
        direction = rng.normal(size=at.size)
        ahead, behind = (objective(at + h * direction).value for h in (1e-5, -1e-5))
        slope = (ahead - behind) / 2e-5
        assert slope == pytest.approx(point.gradient @ direction, rel=1e-7)
    # In batches or not: to the rounding of float64.
    whole = objective_of(model, x, y, weight, N, "float64")(at)
    assert point.value == pytest.approx(whole.value, rel=1e-13)
    np.testing.assert_allclose(point.gradient, whole.gradient, rtol=1e-11, atol=1e-15)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, np.array(variable))
        assert variable.dtype == old.dtype


def test_hessian_agrees_with_differences(rng):
    model, x, y, weight = dense(weighted=True)
    objective = objective_of(model, x, y, weight, dtype="float64")
    at = rng.normal(size=objective.size)
    hessian = objective.hessian(at)
    np.testing.assert_array_equal(hessian, hessian.T)
    for _ in range(3):
        v = rng.normal(size=at.size)
        ahead, behind = (objective(at + h * v).gradient for h in (1e-6, -1e-6))
        np.testing.assert_allclose(
            hessian @ v, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-7
        )


def test_weights_go_there_and_back(rng):
    model, (x, y) = models.frozen_and_unused()
    models.compile_model(model)
    objective = objective_of(model, x, y)
    assert objective.size == sum(math.prod(v.shape) for v in model.trainable_weights)
    weights = rng.normal(size=objective.size).astype("float32").astype(float)
    objective.assign(weights)
    np.testing.assert_array_equal(objective.weights(), weights)


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "bfloat16", "float64"])
def test_other_dtypes(policy, rng):
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential([keras.Input((5,)), L.Dense(4, "tanh"), L.Dense(2)])
    model.compile("sgd", "mse")
    # In float16 the gradients of so small a loss vanish, unless it is scaled.
    small = 1e-4 if policy.endswith("float16") and policy[0] != "b" else 1.0
    x = rng.normal(size=(N, 5)).astype("float32")
    model.layers[1].kernel.assign(small * model.layers[1].kernel)
    y = small * (0.5 * x[:, :2] - 0.2)
    objective = objective_of(model, x, y)
    at = objective.weights()
    found = objective(at)
    exact = objective_of(model, x, y, dtype="float64")(at)
    loose = 1e-6 if policy == "float64" else 0.02
    assert found.value == pytest.approx(exact.value, rel=2 * loose)
    error = np.linalg.norm(found.gradient - exact.gradient)
    assert error < loose * np.linalg.norm(exact.gradient)
    assert (
        model.trainable_variables[0].dtype == keras.DTypePolicy(policy).variable_dtype
    )
