"""A borrowed model comes back as it was, and computes in float64 meanwhile."""

import random

import keras
import numpy as np
import pytest
from support import models

from keras_babysit.backend import load
from keras_babysit.borrowing import (
    borrowed,
    in_float64,
    is_noise,
    layers_of,
    without_noise,
    without_regularization,
)

pytestmark = pytest.mark.usefixtures("optimized_graphs")


class Twice(keras.layers.Layer):
    """Cannot be made again from its configuration."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.inner = keras.layers.Dense(4, activation="tanh")

    def call(self, x):
        return self.function(self.inner(x))


def noisy():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6,))
    x = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8)], name="part")(
        inputs
    )
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(x)
    x = Twice(lambda t: 2 * t)(x)
    x = keras.layers.GaussianNoise(0.3)(x)
    outputs = keras.layers.Dense(
        3, kernel_regularizer="l2", activity_regularizer=keras.regularizers.L1(0.1)
    )(x)
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)).astype("float32")
    return model, x, rng.integers(0, 3, 40)


def state(model):
    """Everything that a fit goes on from."""
    optimizer = model.optimizer
    variables = [*model.variables, *model.metrics_variables, *optimizer.variables]
    functions = [model.train_function, model.test_function, model.predict_function]
    return (
        [v.numpy().tobytes() for v in variables],
        [id(v) for v in variables],
        [v.dtype for v in variables],
        [layer.dtype_policy.name for layer in layers_of(model)],
        [id(f) for f in functions],
        [id(optimizer), id(getattr(model, "history", None)), id(model._compile_loss)],
        [model.stop_training, model.steps_per_execution, model.jit_compile],
        random.getstate(),
        np.random.get_state()[1].tobytes(),
        load("autodiff").random_state(),
        keras.config.floatx(),
    )


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_model_comes_back(trained, fails):
    model, x, y = noisy()
    if trained:
        model.fit(x, y, verbose=0)
    before = state(model)

    def disturb():
        with borrowed(model), without_noise(model), without_regularization(model):
            model.optimizer = keras.optimizers.SGD(0.5)
            model.fit(x, y, verbose=0)
            np.random.rand()
            random.random()
            keras.random.uniform((3,))
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            disturb()
    else:
        disturb()
    assert state(model) == before


def test_fit_goes_on_as_if_nothing_had_happened():
    def fitted(lent):
        model, x, y = noisy()
        model.fit(x, y, batch_size=8, verbose=0)
        if lent:
            with borrowed(model):
                model.optimizer = keras.optimizers.SGD(0.5)
                model.fit(x, y, batch_size=8, epochs=2, verbose=0)
        history = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history
        return history, [v.numpy().tobytes() for v in model.variables]

    assert fitted(True) == fitted(False)


def test_float64():
    model, x, y = noisy()
    model(x[:1])
    known = [v.dtype for v in model.variables]
    values = [v.numpy() for v in model.variables]
    exact = [v.astype("float64") if v.dtype == "float32" else v for v in values]
    with borrowed(model), in_float64(model):
        scope = keras.StatelessScope(zip(model.variables, exact, strict=True))
        with scope:
            out = model(x.astype("float64"), training=False)
            loss = model._compute_loss(y=y, y_pred=out)
    kinds = {keras.backend.standardize_dtype(x.dtype) for x in (out, loss)}
    assert kinds == {"float64"}
    # By hand: the layers in NumPy, in double precision.
    weights = {
        v.path.split("/", 1)[-1] if v.path.startswith("part") else v.path: e
        for v, e in zip(model.variables, exact, strict=True)
    }
    names = list(weights)
    kernels = [weights[n] for n in names if n.endswith("kernel")]
    hidden = x.astype("float64") @ kernels[0]
    hidden = hidden / np.sqrt(1 + 1e-3)
    hidden = 2 * np.tanh(hidden @ kernels[1])
    np.testing.assert_allclose(out, hidden @ kernels[2], rtol=1e-12, atol=1e-14)
    assert [v.dtype for v in model.variables] == known
    assert keras.backend.standardize_dtype(model(x[:1]).dtype) == "float32"
    assert keras.config.floatx() == "float32"


def test_float64_of_mixed_precision():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(5, dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, dtype="bfloat16")(hidden))
    model.compile("sgd", "mse")
    values = [v.numpy().astype("float64") for v in model.variables]
    x = np.random.default_rng(0).normal(size=(3, 4))
    given = list(zip(model.variables, values, strict=True))
    with borrowed(model), in_float64(model), keras.StatelessScope(given):
        out = model(x)
    assert keras.backend.standardize_dtype(out.dtype) == "float64"
    np.testing.assert_allclose(out, x @ values[0] @ values[2], rtol=1e-12)
    assert [v.dtype for v in model.variables] == ["float32"] * 2 + ["bfloat16"] * 2


def test_noise_and_penalties_are_off_only_meanwhile():
    model, x, _ = noisy()
    quiet = keras.ops.convert_to_numpy(model(x, training=False))
    penalties = [keras.ops.convert_to_numpy(loss) for loss in model.losses]
    assert len(penalties) == 2
    with without_noise(model), without_regularization(model):
        # BatchNormalization stays in training: only what is random is off.
        first, again = (
            keras.ops.convert_to_numpy(model(x, training=True)) for _ in range(2)
        )
        assert not model.losses
        np.testing.assert_array_equal(first, again)
    first, again = (
        keras.ops.convert_to_numpy(model(x, training=True)) for _ in range(2)
    )
    assert not np.array_equal(first, again)
    np.testing.assert_array_equal(quiet.shape, model(x, training=False).shape)
    assert len(model.losses) == 2


def test_dropout_inside_recurrent_layers():
    model = keras.Sequential(
        [
            keras.Input((5, 2)),
            keras.layers.LSTM(4, dropout=0.5, recurrent_dropout=0.5),
            keras.layers.Dense(1),
        ]
    )
    x = np.ones((2, 5, 2), "float32")

    def both():
        return (keras.ops.convert_to_numpy(model(x, training=t)) for t in (True, False))

    with without_noise(model):
        np.testing.assert_array_equal(*both())
    assert model.layers[0].cell.dropout == 0.5
    assert not np.array_equal(*both())


@pytest.mark.parametrize("name", ["RandomFlip", "RandomBrightness", "Dropout"])
def test_what_noise_is(name):
    make = getattr(keras.layers, name)
    assert is_noise(make() if name == "RandomFlip" else make(0.5))


def test_layers_of_the_user_are_no_noise():
    class RandomFeatures(keras.layers.Layer):
        pass

    assert not is_noise(RandomFeatures())
    assert not is_noise(models.mlp()[0].layers[0])
