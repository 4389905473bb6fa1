import random

import keras
import numpy as np
import pandas as pd
import pytest

from keras_babysit.inspection.data import data_facts
from keras_babysit.inspection.fit import fed_to

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = np.arange(40) % 2


class Look(keras.callbacks.Callback):
    """Keeps what is found at the start."""

    fed = None

    def on_train_begin(self, logs=None):
        self.fed = fed_to(self.model)
        self.facts = None if self.fed is None else data_facts(self.fed)


def small(inputs=None):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    return model


def fit(*args, model=None, **kwargs):
    look = Look()
    kwargs.setdefault("verbose", 0)
    (model or small()).fit(*args, callbacks=[look], **kwargs)
    return look.fed, look.facts


def test_arrays():
    fed, facts = fit(X, Y, batch_size=16, epochs=2, shuffle=False)
    assert facts.source == fed.source == "arrays"
    assert [x.name for x in facts.inputs] == ["x"]
    assert [y.name for y in facts.targets] == ["y"]
    assert (facts.rows, facts.batch_size, facts.steps) == (40, 16, 6)
    assert facts.shuffled is False
    assert not facts.weighted
    assert facts.validation is None
    assert facts.inputs[0].seen == 40
    assert fed.inputs[0].array.base is X or fed.inputs[0].array is X


def test_defaults_and_weights():
    _, facts = fit(X, Y, class_weight={0: 1.0, 1: 3.0})
    assert (facts.batch_size, facts.shuffled, facts.weighted) == (32, True, True)
    assert not fit(X, Y, class_weight={0: 2.0, 1: 2.0})[1].weighted
    assert fit(X, Y, sample_weight=np.arange(40.0))[1].weighted
    assert not fit(X, Y, sample_weight=np.ones(40))[1].weighted


def test_validation_split():
    _, facts = fit(X, Y, validation_split=0.25)
    assert facts.validation_split
    assert facts.rows == 30
    assert facts.validation.rows == facts.validation.compared == 10
    assert facts.validation.shared == 0


def test_validation_data():
    _, facts = fit(X, Y, validation_data=(X[:8], Y[:8]))
    assert not facts.validation_split
    assert facts.rows == 40
    assert (facts.validation.compared, facts.validation.shared) == (8, 8)
    _, facts = fit(X, Y, validation_data=(X[:8], Y[:8]), validation_split=0.5)
    assert not facts.validation_split


def test_nested():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    model = keras.Model({"a": a, "b": b}, keras.layers.Dense(1)(a + b))
    model.compile("sgd", "mse")
    _, facts = fit({"a": X, "b": X}, Y, model=model)
    assert [x.name for x in facts.inputs] == ["x['a']", "x['b']"]
    model = keras.Model([a, b], keras.layers.Dense(1)(a + b))
    model.compile("sgd", "mse")
    _, facts = fit([X, X + 1], Y, model=model)
    assert [x.name for x in facts.inputs] == ["x[0]", "x[1]"]


def test_pandas_and_tensors():
    _, facts = fit(pd.DataFrame(X, columns=list("abc")), pd.Series(Y))
    assert facts.inputs[0].mean == pytest.approx(X.mean(), abs=1e-6)
    _, facts = fit(keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y))
    assert facts.inputs[0].mean == pytest.approx(X.mean(), abs=1e-6)
    assert facts.targets[0].counts == {0: 20, 1: 20}


def batches(seen):
    for i in range(100):
        seen.append(i)
        yield X[:8], Y[:8]


def test_generator_is_not_drawn_from():
    seen = []

    class Count(Look):
        def on_train_begin(self, logs=None):
            before = len(seen)
            super().on_train_begin()
            assert len(seen) == before

    count = Count()
    model = small()
    model.fit(batches(seen), steps_per_epoch=3, epochs=2, verbose=0, callbacks=[count])
    fed, facts = count.fed, count.facts
    assert fed.source == facts.source == "batches"
    assert (facts.inputs, facts.rows, facts.batch_size) == ((), None, None)
    assert facts.steps == 6


class Batches(keras.utils.PyDataset):
    drawn = 0

    def __len__(self):
        return 5

    def __getitem__(self, index):
        self.drawn += 1
        return X[index * 8 :][:8], Y[index * 8 :][:8]


def test_pydataset_is_not_indexed():
    drawn = []
    for with_us in (False, True):
        batches = Batches()
        callbacks = [Look()] if with_us else []
        small().fit(batches, verbose=0, callbacks=callbacks)
        drawn.append(batches.drawn)
    assert drawn[0] == drawn[1]
    fed, _ = fit(Batches(), validation_data=Batches())
    assert fed.source == "batches"
    assert fed.validation
    assert fed.validation_inputs == ()


def test_dataset_is_not_iterated():
    tf = pytest.importorskip("tensorflow")
    made = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(40, seed=1).batch(8)
    fed, facts = fit(made, validation_data=made)
    assert fed.source == "batches"
    assert (fed.batch_size, fed.steps, fed.shuffled) == (None, 5, None)
    assert facts.inputs == ()
    fed, _ = fit(made.unbatch().batch(8, drop_remainder=True))
    assert fed.batch_size == 8
    # Seeded shuffling goes on as if nobody had looked.
    orders = []
    for with_us in (False, True):
        keras.utils.set_random_seed(1)
        made = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(40).batch(8)
        small().fit(made, verbose=0, callbacks=[Look()] if with_us else [])
        orders.append([y.numpy().tolist() for _, y in made])
    assert orders[0] == orders[1]


def test_training_is_the_same():
    weights, states = [], []
    for with_us in (False, True):
        keras.utils.set_random_seed(7)
        model = small()
        kwargs = {"callbacks": [Look()] if with_us else [], "verbose": 0}
        model.fit(X, Y, epochs=2, validation_split=0.2, **kwargs)
        weights.append(model.get_weights())
        states.append((random.random(), np.random.random()))
    assert states[0] == states[1]
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_model_with_a_fit_of_its_own():
    @keras.saving.register_keras_serializable("test_fit")
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

        def fit(self, data, **kwargs):
            x, y = data
            return super().fit(x, y, **kwargs)

    model = Own()
    model.compile("sgd", "mse")
    fed, _ = fit((X, Y), model=model)
    assert [rows.name for rows in fed.inputs] == ["x"]
    assert fed.rows == 40


def test_no_fit_is_running():
    assert fed_to(small()) is None
    assert fed_to(None) is None


def test_another_models_fit():
    class Other(keras.callbacks.Callback):
        found = "nothing"

        def on_train_begin(self, logs=None):
            self.found = fed_to(small())

    other = Other()
    small().fit(X, Y, verbose=0, callbacks=[other])
    assert other.found is None
