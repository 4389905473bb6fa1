"""The short trainings: the same for the same seed, right, and without a trace."""

import keras
import numpy as np
import pytest
from keras import layers as L
from support import untouched

from keras_babysit.fixes import bench as module
from keras_babysit.fixes.bench import Bench
from keras_babysit.inspection.model import model_facts
from keras_babysit.inspection.sample import Sample
from keras_babysit.rules import fixes


def linear(n=64):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(n, 2)).astype("float32")
    return Sample(x, (x @ [1.0, -2.0]).astype("float32"), size=n)


def regression():
    keras.utils.clear_session()
    model = keras.Sequential(
        [keras.Input((2,)), L.Dense(1, kernel_initializer="zeros")]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


@pytest.mark.parametrize("rate", [None, 0.02])
def test_steps_are_those_of_gradient_descent(rate):
    model = regression()
    with Bench(model, model_facts(model), linear(), 16, True) as bench:
        data = bench.split(0)
        batches = data.batches(0)
        w, b, losses = np.zeros(2), 0.0, []
        for _ in range(30):
            x, y = next(batches)
            error = x @ w + b - y
            losses.append(np.mean(error**2))
            w -= (rate or 0.1) * 2 * x.T @ error / len(y)
            b -= (rate or 0.1) * 2 * error.mean()
        run = bench.train([fixes.learning_rate(rate)] if rate else [], 0, 30)
    np.testing.assert_allclose(run.losses, losses, rtol=2e-4)
    y = data.held.y
    missed = ((data.held.x @ w + b - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert run.held.value == pytest.approx(1 - missed, abs=1e-4)


def classifier():
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((2,)),
            L.Dense(8, "relu"),
            L.BatchNormalization(),
            L.Dropout(0.3),
            L.Dense(2, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    data = linear()
    model.fit(data.x, data.y > 0, verbose=0)
    return model, Sample(data.x, (data.y > 0).astype("int32"), size=64)


def test_seeds():
    model, data = classifier()
    with Bench(model, model_facts(model), data, 16, True) as bench:
        first, again, other = (bench.train([], seed, 20) for seed in (0, 0, 1))
    assert first == again
    assert first.losses != other.losses


def test_a_trained_model_is_redrawn():
    model, data = classifier()
    fresh = keras.models.clone_model(model)
    fresh.compile("adam", "sparse_categorical_crossentropy")
    facts = model_facts(fresh)
    paths = [layer.path for layer in facts.layers]
    assert paths == [layer.path for layer in model_facts(model).layers]
    trained = model.layers[0].kernel.numpy()
    with Bench(model, facts, data, 16, True, redrawn=True) as bench:
        seen = []
        bench._draw(0)
        seen.append(model.layers[0].kernel.numpy())
        bench._draw(1)
        seen.append(model.layers[0].kernel.numpy())
    # 16 weights are too few to tell, so they stay; the rest of the model likewise.
    np.testing.assert_array_equal(trained, model.layers[0].kernel.numpy())
    assert len(seen) == 2


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt, MemoryError])
def test_the_model_comes_back_whatever_happens(monkeypatch, error):
    model, data = classifier()
    before = untouched.everything(model)

    def breaks(*args):
        keras.Model.fit(model, data.x, data.y, verbose=0)
        raise error

    monkeypatch.setattr(module, "_fit", breaks)
    changes = [fixes.dropout(["dropout"], 0.0), fixes.trainable(())]
    with Bench(model, model_facts(model), data, 16, True) as bench:
        try:
            assert error.__name__ in bench.train(changes, 1, 20).failed
        except KeyboardInterrupt:
            assert error is KeyboardInterrupt
    assert not untouched.differences(before, untouched.everything(model))


def test_a_plain_fit_goes_on_as_if_nothing_had_been():
    results = []
    for tried in (False, True):
        model, data = classifier()
        if tried:
            with Bench(model, model_facts(model), data, 16, True) as bench:
                bench.train([fixes.learning_rate(0.1)], 1, 20)
        model.fit(data.x, data.y, epochs=2, verbose=0)
        results.append(
            [v.numpy() for v in [*model.variables, *model.optimizer.variables]]
        )
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
