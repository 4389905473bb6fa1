"""Newton's method converges in a handful of iterations, and says what it would need."""

import keras
import numpy as np
import pytest
from keras import layers as L
from support import models, problems

from keras_babysit.optimizers import Newton


def test_a_parabola_takes_one_step():
    model, x, y, solution = problems.quadratic()
    optimizer = Newton()
    history = optimizer.fit(model, x, y, batch_size=16, verbose=0)
    assert optimizer.result.iterations == len(history.history["loss"]) == 1
    assert optimizer.result.converged
    np.testing.assert_allclose(np.vstack(model.get_weights()), solution, rtol=1e-6)
    least = np.mean((np.column_stack([x, np.ones(40)]) @ solution - y) ** 2)
    assert optimizer.result.loss == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("name", ["breast_cancer", "iris"])
def test_logistic_regression_of_scikit_learn(name):
    problem = problems.Logistic(name)
    model, optimizer = problem.model(), Newton()
    optimizer.fit(model, problem.x, problem.y, verbose=0)
    assert optimizer.result.iterations < 10
    assert optimizer.result.converged
    assert optimizer.result.loss == pytest.approx(problem.least, abs=1e-12)
    assert problem.distance(model) < 1e-6


def test_rosenbrock():
    model, x, y = problems.rosenbrock()
    optimizer = Newton()
    losses = optimizer.fit(model, x, y, verbose=0).history["loss"]
    np.testing.assert_allclose(model.get_weights()[0], [1.0, 1.0], rtol=1e-8)
    assert optimizer.result.iterations < 30
    assert (np.diff(losses) < 0).all()


class Saddle(L.Layer):
    """(a² - 1)² + b²: a maximum along a at 0, minima at ±1."""

    def build(self, shape):
        self.at = self.add_weight(shape=(2,), name="at")

    def call(self, x):
        a, b = self.at[0], self.at[1]
        return x * ((a**2 - 1) ** 2 + b**2)


def test_leaves_a_saddle_downhill():
    model = keras.Sequential([keras.Input((1,)), Saddle()])
    model.compile(None, lambda y_true, y_pred: y_pred)
    model.set_weights([np.array([0.01, 1.0])])
    optimizer = Newton()
    history = optimizer.fit(model, np.ones((1, 1)), np.ones((1, 1)), verbose=0)
    assert (np.diff(history.history["loss"]) < 0).all()
    np.testing.assert_allclose(model.get_weights()[0], [1.0, 0.0], atol=1e-6)


def test_a_singular_hessian():
    """Softmax without a penalty: all logits may be shifted together."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)).astype("float32")
    y = (x @ rng.normal(size=(3, 3)) + rng.gumbel(size=(60, 3))).argmax(1)
    model = keras.Sequential([keras.Input((3,)), L.Dense(3)])
    model.compile(None, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    optimizer = Newton()
    optimizer.fit(model, x, y, verbose=0)
    assert optimizer.result.converged
    assert optimizer.result.iterations < 12
    z = x @ model.get_weights()[0] + model.get_weights()[1]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    gradient = x.T @ (p - np.eye(3)[y]) / len(x)
    assert np.abs(gradient).max() < 1e-6


def recurrent():
    x, y = models.images((3, 2))
    model = keras.Sequential(
        [keras.Input((3, 2)), L.SimpleRNN(2), L.Dense(models.CLASSES)]
    )
    return model, (x, y)


@pytest.mark.parametrize("make", [recurrent, models.embedding])
def test_networks(make):
    model, (x, y) = make()
    models.compile_model(model)
    before = model.evaluate(x, y, 72, verbose=0)
    frozen = [np.array(v) for v in model.non_trainable_variables]
    optimizer = Newton()
    optimizer.fit(model, x, y, epochs=2, verbose=0)
    assert optimizer.result.loss < before
    after = model.evaluate(x, y, 72, verbose=0)
    assert after == pytest.approx(optimizer.result.loss, rel=1e-5)
    for old, variable in zip(frozen, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, np.array(variable))


def test_in_the_models_own_dtype():
    model, x, y, solution = problems.quadratic()
    optimizer = Newton(dtype=None)
    optimizer.fit(model, x, y, verbose=0)
    assert optimizer.result.iterations <= 4
    np.testing.assert_allclose(np.vstack(model.get_weights()), solution, atol=1e-4)


class InFloat32(L.Layer):
    def call(self, x):
        if keras.backend.standardize_dtype(x.dtype) != "float32":
            raise TypeError(f"float32 was expected, and not {x.dtype}")
        return x + 1.0


def test_a_model_that_cannot_be_in_float64(rng):
    model = keras.Sequential([keras.Input((3,)), L.Dense(1), InFloat32()])
    model.compile(None, "mse")
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 1))
    with pytest.raises(ValueError, match=r"in float64: .* Use Newton\(dtype=None\)"):
        Newton().fit(model, x, y, verbose=0)
    optimizer = Newton(dtype=None)
    optimizer.fit(model, x, y, verbose=0)
    assert optimizer.result.iterations < 5
    model.compile(None, keras.losses.MeanSquaredError(reduction=None))
    with pytest.raises(ValueError, match="must be one number"):
        Newton().fit(model, x, y, verbose=0)


def test_a_callback_stops_it():
    problem = problems.Logistic("iris")
    stop = keras.callbacks.EarlyStopping("loss", min_delta=10.0, patience=1)
    optimizer = Newton()
    optimizer.fit(problem.model(), problem.x, problem.y, callbacks=[stop], verbose=0)
    assert optimizer.result.iterations == 2
    assert optimizer.result.message.startswith("A callback stopped it.")


def test_says_what_memory_it_would_need():
    model = keras.Sequential([keras.Input((784,)), L.Dense(32), L.Dense(10)])
    model.compile(None, "mse")
    x, y = np.zeros((4, 784)), np.zeros((4, 10))
    with pytest.raises(ValueError, match=r"25,450 × 25,450 parameters needs 4\.83 GiB"):
        Newton().fit(model, x, y)
    model.layers[0].trainable = False
    Newton().fit(model, x, y, epochs=1, verbose=0)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"damping": 0.0}, "`damping` must be a positive number"),
        ({"damping": -1.0}, "`damping` must be a positive number"),
        ({"max_parameters": 0}, "`max_parameters` must be a positive integer"),
        ({"gradient_tolerance": "small"}, "`gradient_tolerance` must be a number"),
        ({"dtype": "bfloat16"}, "`dtype` must be"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Newton(**kwargs)
