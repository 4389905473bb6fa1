"""Observed validations: nothing differs from the plain ones, and the numbers are right.

The batches that Keras's own test function gets, and everything that a run leaves, are
compared bit for bit, with each kind of validation data, model and setting.
"""

import os
import random
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from support import models
from support.combinations import pairwise
from tensorflow.python.eager import context

from keras_babysit import Babysitter
from keras_babysit.report.losses import class_tables
from keras_babysit.step import validation
from keras_babysit.step.derived import Derived

N = 50  # The last of four batches is smaller.


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 4

    def __getitem__(self, i):
        at = slice(16 * i, 16 * i + 16)
        return self.x[at], self.y[at]


def dataset(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(16)


def endless(x, y):
    # Always the same: how far tf.data reads ahead is another in each plain run too.
    while True:
        yield x[:16], y[:16]


DATA = {
    "arrays": lambda x, y: {"validation_data": (x, y), "validation_batch_size": 16},
    "weights": lambda x, y: {"validation_data": (x, y, np.linspace(0, 2, len(x)))},
    "split": lambda x, y: {"validation_split": 0.4},
    "dataset": lambda x, y: {"validation_data": dataset(x, y)},
    "drawing": lambda x, y: {
        "validation_data": dataset(x, y).map(
            lambda a, b: (a + tf.random.normal(tf.shape(a)), b)
        )
    },
    "unknown length": lambda x, y: {
        "validation_data": dataset(x, y).filter(lambda *batch: True)
    },
    "some steps": lambda x, y: {
        "validation_data": dataset(x, y).repeat(),
        "validation_steps": 3,
    },
    "generator": lambda x, y: {
        "validation_data": endless(x, y),
        "validation_steps": 3,
    },
    "py dataset": lambda x, y: {"validation_data": Batches(x, y)},
}


class OwnTestStep(models.Subclassed):
    """Draws numbers and counts, in Python and in the graph."""

    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(3)
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def test_step(self, data):
        x, y = data[:2]
        CountedLoss.calls += 100
        self.seen.assign_add(1.0)
        noise = keras.random.normal(keras.ops.shape(x), seed=self.seed)
        y_pred = self(x + 0.1 * noise, training=True)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        self._loss_tracker.update_state(loss)
        return {"loss": loss, "seen": self.seen}


MODELS = {
    "batch normalization": models.cnn,
    "dropout": models.mlp,
    "own test step": lambda: (OwnTestStep(), models.images((12,))),
    "subclassed": models.subclassed,
}


class CountedLoss(keras.losses.SparseCategoricalCrossentropy):
    calls = 0

    def call(self, y_true, y_pred):
        CountedLoss.calls += 1
        return super().call(y_true, y_pred)


class Logs(keras.callbacks.Callback):
    """A user's callback, which looks at each batch and evaluates in between."""

    def __init__(self, data):
        super().__init__()
        self.data, self.logs = data, []

    def on_test_batch_end(self, batch, logs=None):
        self.logs.append((batch, {k: float(v).hex() for k, v in logs.items()}))

    def on_epoch_end(self, epoch, logs=None):
        if epoch < 2:
            return  # What is traced before the first validation is another test's.
        found = self.model.evaluate(*self.data, verbose=0, return_dict=True)
        self.logs.append({k: float(v).hex() for k, v in found.items()})


def trained(choice, callbacks):
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(7)
    CountedLoss.calls = 0
    model, (x, y) = MODELS[choice["model"]]()
    model.compile(
        keras.optimizers.Adam(1e-2),
        CountedLoss(from_logits=True),
        # The own step updates none.
        metrics=None if choice["model"] == "own test step" else ["accuracy"],
        jit_compile=choice["jit"],
        run_eagerly=choice["eagerly"] and not choice["jit"],
        steps_per_execution=choice["per_execution"],
    )
    logs = Logs((x[:20], y[:20]))
    stopping = keras.callbacks.EarlyStopping(
        "val_loss", patience=2, restore_best_weights=True
    )
    history = model.fit(
        x,
        y,
        batch_size=16,
        epochs=5,
        verbose=0,
        callbacks=[*callbacks, logs, stopping],
        validation_freq=choice["every"],
        **DATA[choice["data"]](x[-N:], y[-N:]),
    )
    return {
        "weights": [v.tobytes() for v in models.state(model)],
        "history": {k: [float(v).hex() for v in h] for k, h in history.history.items()},
        "logs": logs.logs,
        "calls": CountedLoss.calls,
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tobytes(),
        "tensorflow": context.context()._rng.getstate(),
        "test function": model.test_function.__qualname__,
        "in its place": hasattr(model.test_function, "instead_of"),
    }


COMBINATIONS = pairwise(
    {
        "model": MODELS,
        "data": DATA,
        "per_execution": (1, 2),
        "eagerly": (False, True),
        "jit": (False, True),
        "every": (1, 2),
        "watching": ("every step", "budget"),
    }
)


#: To compile with XLA takes most of the time: the suite has one of those for each
#: model, and `make fuzz` tries all. Six run always.
COMPILED = [c for c in COMBINATIONS if c["jit"]]
ALWAYS = [
    *[c for c in COMBINATIONS if not c["jit"]][:5],
    *[c for c in COMPILED if c["model"] == "dropout"][:1],
]
TRIED = [c for c in COMBINATIONS if not c["jit"]] + (
    COMPILED
    if os.environ.get("KERAS_BABYSIT_FUZZ")
    else [next(c for c in COMPILED if c["model"] == model) for model in MODELS]
)


def name(choice):
    return ", ".join(str(one) for one in choice.values())


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param(c, id=name(c), marks=[] if c in ALWAYS else [pytest.mark.slow])
        for c in TRIED
    ],
)
def test_validated_is_as_plain(tmp_path, choice):
    expected = trained(choice, [])
    ours = Babysitter(
        tmp_path, verbose=0, **{"every step": {"every": 1}}.get(choice["watching"], {})
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Babysitter")
        found = trained(choice, [ours])
    for what, value in expected.items():
        assert found[what] == value, what
    records = ours.history.validations
    assert len(records) == (
        len(expected["history"]["val_loss"])
        if choice["watching"] == "every step"
        else len([n for n in (1, 2, 4) if n <= len(expected["history"]["val_loss"])])
    )
    for record in records:
        assert record.losses
        assert record.loss is not None
    assert [r.epoch for r in records] == sorted(r.epoch for r in records)


def classifier(n=64, classes=3, size=16):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 5)).astype("float32")
    y = rng.integers(0, classes, n)
    model = keras.Sequential(
        [keras.Input((5,)), L.Dropout(0.5), L.Dense(classes, activation="softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model, x, y


def test_the_numbers_are_those_of_the_first_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "SAMPLES", 32)
    model, x, y = classifier()
    ours = Babysitter(tmp_path, verbose=0)
    data = tf.data.Dataset.from_tensor_slices((2 * x, y)).batch(16)
    model.fit(x, y, epochs=2, verbose=0, validation_data=data, callbacks=[ours])
    first, last = ours.history.validations
    assert (first.epoch, last.epoch) == (1, 2)
    assert (first.step, last.step) == (2, 4)
    outputs = model.predict(2 * x[:32], verbose=0)
    got = last.losses[0]
    assert got.outputs.size == outputs.size == 96
    assert got.outputs.samples == got.targets.samples == 32
    assert got.outputs.mean == pytest.approx(outputs.mean(), rel=1e-5)
    assert got.outputs.max == pytest.approx(outputs.max(), rel=1e-5)
    assert got.targets.mean == pytest.approx(y[:32].mean())
    losses = -np.log(outputs[np.arange(32), y[:32]])
    assert got.values.mean == pytest.approx(losses.mean(), rel=1e-4)
    assert last.loss == pytest.approx(losses.mean(), rel=1e-4)
    table = np.zeros((3, 3))
    np.add.at(table, (y[:32], outputs.argmax(1)), 1)
    (found,) = last.confusions.values()
    np.testing.assert_array_equal(found, table)
    series = ours.history.series("val_outputs.mean", got.path)
    assert series.values[-1] == got.outputs.mean
    facts = ours.history.data.validation
    assert facts.partial
    assert facts.rows is None
    assert facts.inputs[0].seen == 32
    assert facts.inputs[0].mean == pytest.approx(2 * x[:32].mean(), abs=1e-6)


def test_classes_that_are_hit_in_training(tmp_path):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(96, 4)).astype("float32")
    y = rng.integers(0, 3, 96)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Nothing moves, so that each batch can be predicted again.
    model.compile(keras.optimizers.SGD(0.0), loss)
    ours = Babysitter(tmp_path, every=1, verbose=0)
    model.fit(x, y, epochs=2, shuffle=False, verbose=0, callbacks=[ours])
    table = np.zeros((3, 3))
    np.add.at(table, (y, model.predict(x, verbose=0).argmax(1)), 1)
    (tables,) = ours.history.confusions.values()
    assert len(tables) == 6
    np.testing.assert_array_equal(sum(tables), 2 * table)
    (summary,) = ours.report.losses
    assert summary.samples == tuple(2 * table.sum(1))
    assert summary.hits == tuple(2 * np.diagonal(table))
    shares = np.diagonal(table) / table.sum(1)
    (found,) = class_tables(ours.report.losses)
    assert [row.cells[0] for row in found.rows] == [str(i) for i in shares.argsort()]


def test_binary_and_one_hot_confusions(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(48, 4)).astype("float32")
    y = rng.integers(0, 2, 48)
    for units, loss, targets in (
        (1, keras.losses.BinaryCrossentropy(from_logits=True), y[:, None]),
        (1, keras.losses.BinaryCrossentropy(), y),
        (2, keras.losses.CategoricalCrossentropy(from_logits=True), np.eye(2)[y]),
    ):
        activation = None if getattr(loss, "from_logits", 0) else "sigmoid"
        model = keras.Sequential([keras.Input((4,)), L.Dense(units, activation)])
        model.compile("sgd", loss)
        ours = Babysitter(tmp_path, verbose=0)
        model.fit(x, targets, verbose=0, validation_data=(x, targets), callbacks=[ours])
        outputs = model.predict(x, verbose=0)
        limit = 0 if activation is None else 0.5
        predicted = outputs.argmax(1) if units > 1 else outputs[:, 0] > limit
        table = np.zeros((2, 2))
        np.add.at(table, (y, predicted.astype(int)), 1)
        (found,) = ours.history.validations[0].confusions.values()
        np.testing.assert_array_equal(found, table)


@pytest.mark.parametrize("at", ["measuring", "handing back", "looking"])
def test_what_fails_of_ours_leaves_the_validation_as_it_is(tmp_path, monkeypatch, at):
    def run(*callbacks):
        keras.utils.set_random_seed(3)
        model, x, y = classifier()
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
        return model.fit(
            x, y, epochs=3, verbose=0, validation_data=data, callbacks=list(callbacks)
        ).history

    def fails(*args, **kwargs):
        raise RuntimeError("injected")

    expected = run()
    if at == "measuring":
        monkeypatch.setattr(Derived, "measure", fails)
    elif at == "handing back":
        monkeypatch.setattr(validation.Validations, "end", fails)
    else:
        monkeypatch.setattr(validation, "_samples", fails)
    with pytest.warns(UserWarning, match="stopped watching") as caught:
        assert run(Babysitter(tmp_path, verbose=0)) == expected
    assert len([w for w in caught if "Babysitter" in str(w.message)]) == 1


def test_an_error_of_the_users_own_is_raised_once(tmp_path):
    class Failing(models.Subclassed):
        def test_step(self, data):
            tf.debugging.assert_less(tf.reduce_max(data[0]), 0.0, "of the user")
            return super().test_step(data)

    def run(*callbacks):
        keras.utils.set_random_seed(3)
        model, (x, y) = Failing(), models.images((12,))
        model.compile("sgd", CountedLoss(from_logits=True), jit_compile=False)
        with pytest.raises(tf.errors.InvalidArgumentError, match="of the user"):
            model.fit(
                x, y, verbose=0, validation_data=(x, y), callbacks=list(callbacks)
            )
        return [v.tobytes() for v in models.state(model)]

    assert run() == run(Babysitter(tmp_path, verbose=0))


def test_an_evaluation_beside_the_fit_is_none_of_its_validations(tmp_path):
    model, x, y = classifier()
    ours = Babysitter(tmp_path, verbose=0)
    model.fit(x, y, verbose=0, validation_data=(x, y), callbacks=[ours])
    plain = model.test_function
    model.evaluate(x, y, verbose=0, callbacks=[ours])
    assert model.test_function is plain
    assert len(ours.history.validations) == 1


def test_a_second_fit_traces_nothing_anew(tmp_path):
    model, x, y = classifier()
    ours = Babysitter(tmp_path, verbose=0)
    for _ in range(2):
        model.fit(x, y, verbose=0, validation_data=(x, y), callbacks=[ours])
    assert len(ours.history.validations) == 2
    multi = model.test_function.__closure__
    counts = [
        cell.cell_contents.experimental_get_tracing_count()
        for cell in multi
        if hasattr(cell.cell_contents, "experimental_get_tracing_count")
    ]
    assert counts == [1]


def test_a_test_function_that_was_traced_before_is_not_traced_again(tmp_path):
    def run(*callbacks):
        keras.utils.set_random_seed(3)
        model, (x, y) = models.mlp()
        model.compile("sgd", CountedLoss(from_logits=True))
        model.evaluate(x, y, verbose=0)
        CountedLoss.calls = 0
        history = model.fit(
            x,
            y,
            epochs=2,
            verbose=0,
            validation_data=dataset(x, y),
            callbacks=list(callbacks),
        )
        return history.history, CountedLoss.calls

    ours = Babysitter(tmp_path, verbose=0)
    assert run(ours) == run()
    assert "evaluated before" in " ".join(ours.observation.unobserved)
    assert ours.history.data.validation.inputs[0].seen == 64
