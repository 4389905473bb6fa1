"""Samples of whatever `fit` takes, and one clear error for what it does not."""

import keras
import numpy as np
import pytest
from support import models
from support.batched import dataset

from keras_babysit.inspection.sample import ready, sample_of


class Sequence(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x) // 8

    def __getitem__(self, i):
        return self.x[8 * i : 8 * i + 8], self.y[8 * i : 8 * i + 8]


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 5)).astype("float32"), rng.integers(0, 3, 64)


def batches(x, y):
    for i in range(0, len(x), 8):
        yield x[i : i + 8], y[i : i + 8]


def test_arrays_are_spread():
    x = np.arange(1000.0)[:, None]
    sample = sample_of(x, np.repeat(np.arange(10), 100), n=20)
    assert sample.size == 20
    assert not sample.whole
    assert set(sample.y) == set(range(10))
    np.testing.assert_array_equal(sample.x[:, 0] // 100, sample.y)


def test_fewer_than_wanted():
    sample = sample_of(*data(), n=500)
    assert sample.size == 64
    assert sample.whole


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: dataset(x, y, size=8),
        Sequence,
        batches,
        lambda x, y: list(batches(x, y)) and batches(x, y),
    ],
    ids=["dataset", "pydataset", "generator", "iterator"],
)
def test_batches(make):
    x, y = data()
    sample = sample_of(make(x, y), n=20)
    np.testing.assert_array_equal(sample.x, x[:20])
    np.testing.assert_array_equal(sample.y, y[:20])
    assert sample.sample_weight is None
    assert sample.size == 20


def test_structures_and_weights():
    x, y = data()
    nested = {"a": x, "b": [x, x[:, :2]]}
    sample = sample_of(nested, (y, y), np.ones(64), n=10).first(4)
    assert sample.x["b"][1].shape == (4, 2)
    assert [len(part) for part in sample.y] == [4, 4]
    assert sample.sample_weight.shape == (4,)


def test_plain_lists():
    sample = sample_of(np.ones((3, 2)), [0, 1, 1], n=3)
    np.testing.assert_array_equal(sample.y, [0, 1, 1])


def changed(**parts):
    x, y = data()
    return {"x": x, "y": y, **parts}


def test_data_is_only_read():
    x, y = data()
    x.flags.writeable = y.flags.writeable = False
    sample = sample_of(x, y, n=64)
    sample.x[:] = 0
    assert x.any()


def nan():
    x, _ = data()
    x[:, 3] = np.nan
    return x


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (changed(x=None), "no data to check with"),
        (changed(x=np.ones((0, 5)), y=np.ones(0)), "at least one sample"),
        (changed(y=np.zeros(10)), r"same number of samples.*y of shape \(10,\)"),
        (changed(y=np.array(["cat", "dog"] * 32)), "`y` must hold numbers.*'cat'"),
        (changed(y=["cat", "dog"] * 32), "`y` must hold numbers.*'cat'"),
        (changed(x=nan()), r"`x` must be finite.*nan at x\[0, 3\]"),
        (changed(y=np.full(64, np.inf)), "`y` must be finite"),
        (changed(x=3), "must be an array.*x=3"),
        (changed(x=iter([]), y=None), "yields no data|must be something"),
        (
            changed(x=dataset(nan(), data()[1])),
            "must be None if `x` is a dataset",
        ),
    ],
)
def test_bad_data(parts, message):
    with pytest.raises(ValueError, match=message):
        sample_of(**parts, n=32)


def test_model_that_is_ready():
    model, (x, _) = models.mlp()
    model.compile("sgd", "mse")
    ready(model, sample_of(x, np.zeros((len(x), model.output_shape[-1])), n=8))
    assert not model.optimizer.built


def test_unbuilt_model_is_built():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = data()
    ready(model, sample_of(x, y, n=8))
    assert model.built


def compiled(model, loss="sparse_categorical_crossentropy"):
    model.compile("sgd", loss)
    return model


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (3, TypeError, "must be a keras.Model. Received: 3"),
        (keras.Sequential([keras.layers.Dense(3)]), ValueError, "must be compiled"),
        (
            compiled(
                keras.Sequential(
                    [keras.Input((5,), batch_size=8), keras.layers.Dense(3)]
                )
            ),
            ValueError,
            "any number of samples at once.*batches of 8",
        ),
        (
            compiled(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])),
            ValueError,
            r"must have shape \(None, 4\).*\(64, 5\)|cannot be called",
        ),
        (
            compiled(
                keras.Sequential([keras.Input((5,)), keras.layers.Dense(7)]), "mse"
            ),
            ValueError,
            r"loss cannot be computed from an output of shape \(2, 7\)",
        ),
    ],
    ids=["no model", "not compiled", "fixed batch", "wrong input", "wrong output"],
)
def test_models_that_are_not_ready(model, error, message):
    x, y = data()
    y = np.zeros((64, 3)) if "wrong output" in message else np.eye(3)[y]
    with pytest.raises(error, match=message):
        ready(model, sample_of(x, y, n=64))
