"""L-BFGS finds what SciPy and scikit-learn find, and behaves like Keras's `fit`."""

import sys
import warnings

import keras
import numpy as np
import pytest
from keras import layers as L
from scipy import optimize
from support import models, problems
from support.batched import dataset

import keras_babysit
from keras_babysit import records
from keras_babysit.optimizers import LBFGS, FitResult


def small(loss="mse", **kwargs):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((3,)), L.Dense(4, "tanh"), L.Dense(1)])
    model.compile("sgd", loss, **kwargs)
    return model


RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3)).astype("float32")
Y = np.sin(X[:, :1]) + 0.1 * RNG.normal(size=(50, 1)).astype("float32")


def test_validation_split_is_kerass():
    weight = np.linspace(1, 2, 50).astype("float32")
    split, known = small(), small()
    found = LBFGS().fit(split, X, Y, weight, epochs=5, validation_split=0.2, verbose=0)
    kept = (X[40:], Y[40:], weight[40:])
    parts = (X[:40], Y[:40], weight[:40])
    expected = LBFGS().fit(known, *parts, epochs=5, validation_data=kept, verbose=0)
    assert "val_loss" in found.history
    assert found.history == expected.history
    data = dataset(X, Y, size=10)
    with pytest.raises(ValueError, match="validation_split"):
        LBFGS().fit(small(), data, validation_split=0.2)
    with pytest.raises(ValueError, match=r"`validation_split` must be in \[0, 1\)"):
        LBFGS().fit(small(), X, Y, validation_split=1)


# What it finds.


def test_rosenbrock_takes_scipys_path():
    model, x, y = problems.rosenbrock()
    path, keras_path = [], []
    known = optimize.minimize(
        optimize.rosen,
        [-1.2, 1.0],
        jac=optimize.rosen_der,
        method="L-BFGS-B",
        callback=path.append,
    )
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: keras_path.append(model.get_weights()[0])
    )
    optimizer = LBFGS(dtype="float64")
    history = optimizer.fit(model, x, y, callbacks=[note], verbose=0)
    assert optimizer.result.iterations == known.nit == len(history.history["loss"])
    # Twice at the start: once to see that the loss is always the same.
    assert optimizer.result.evaluations == known.nfev + 1
    np.testing.assert_allclose(keras_path, path, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.get_weights()[0], known.x, rtol=1e-9)
    assert optimizer.result.converged
    assert optimizer.result.loss == pytest.approx(known.fun, rel=1e-4)


@pytest.mark.parametrize("name", ["breast_cancer", "wine"])
def test_logistic_regression_of_scikit_learn(name):
    problem = problems.Logistic(name)
    model = problem.model()
    optimizer = LBFGS(dtype="float64", gradient_tolerance=1e-9, loss_tolerance=0)
    optimizer.fit(model, problem.x, problem.y, epochs=500, batch_size=300, verbose=0)
    assert optimizer.result.loss == pytest.approx(problem.least, abs=1e-12)
    assert problem.distance(model) < 1e-6
    # As far as float32 goes: there the loss is as low, to rounding.
    model = problem.model()
    LBFGS().fit(model, problem.x, problem.y, epochs=500, verbose=0)
    kernel, bias = (w.astype(float) for w in model.get_weights())
    assert problem.loss(kernel, bias) - problem.least < 1e-6
    assert problem.distance(model) < 1e-2


def test_batches_make_no_difference():
    found = []
    for batch_size in (50, 7):
        model = small()
        optimizer = LBFGS(dtype="float64")
        history = optimizer.fit(
            model, X, Y, epochs=15, batch_size=batch_size, verbose=0
        )
        found.append((model.get_weights(), history.history["loss"]))
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-9)
    for a, b in zip(found[0][0], found[1][0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_datasets():
    losses = []
    for data in [(X, Y), (dataset(X, Y, size=8),), (Batches(),)]:
        history = LBFGS().fit(small(), *data, epochs=3, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-4)


class Batches(keras.utils.PyDataset):
    def __init__(self, batches=5):
        super().__init__()
        self.num = batches

    @property
    def num_batches(self):
        return self.num

    def __getitem__(self, i):
        rows = slice(10 * i, 10 * i + 10)
        return X[rows], Y[rows]


def test_class_weights_are_weights():
    y = (Y[:, 0] > 0).astype(int)
    losses = []
    given = [{"class_weight": {0: 1.0, 1: 3.0}}, {"sample_weight": 1.0 + 2.0 * y}]
    for kwargs in given:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        history = LBFGS().fit(small(loss), X, y, epochs=3, verbose=0, **kwargs)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model, optimizer = small(), LBFGS()
    before = model.evaluate(X, Y, 50, verbose=0)
    optimizer.fit(model, X, Y, epochs=10, verbose=0)
    assert optimizer.result.loss < 0.7 * before
    after = model.evaluate(X, Y, 50, verbose=0)
    assert after == pytest.approx(optimizer.result.loss, rel=1e-3)


def test_eagerly():
    losses = []
    for eager in (True, False):
        model = small(run_eagerly=eager)
        history = LBFGS(dtype="float64").fit(model, X, Y, epochs=3, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)


# What it leaves alone.


def test_frozen_weights_and_state():
    model, (x, y) = models.cnn()
    models.compile_model(model)
    model.fit(x, y, verbose=0)
    model.layers[0].trainable = False
    models.compile_model(model)
    model.optimizer.build(model.trainable_variables)
    function = model.make_train_function() or model.train_function
    trained = {id(v) for v in model.trainable_variables}
    rest = [v for v in model.variables if id(v) not in trained]
    rest += model.optimizer.variables
    before = [np.array(v) for v in rest]
    start = model.evaluate(x, y, verbose=0)
    history = LBFGS().fit(model, x, y, epochs=4, verbose=0)
    for old, variable in zip(before, rest, strict=True):
        np.testing.assert_array_equal(old, np.array(variable))
    assert model.train_function is function
    # Dropout is off and the statistics are the moving ones: it is what evaluate finds.
    assert history.history["loss"][-1] < start
    assert model.evaluate(x, y, 72, verbose=0) == pytest.approx(
        history.history["loss"][-1], rel=1e-5
    )


# How it behaves.


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __getattribute__(self, name):
        if not name.startswith("on_") or name.startswith(("on_predict", "on_batch")):
            return super().__getattribute__(name)

        def hook(*args, logs=None):
            *at, logs = (
                args if len(args) == 2 or (args and logs is None) else (*args, logs)
            )
            keys = sorted(logs) if isinstance(logs, dict) else []
            self.calls.append((name, *at, [k for k in keys if k != "gradient_norm"]))

        return hook


def test_callbacks_run_as_in_keras():
    found = []
    for fit in (keras.Model.fit, LBFGS().fit):
        model, recorder = small(metrics=["mae"]), Recorder()
        given = {"validation_data": (X[:30], Y[:30]), "callbacks": [recorder]}
        history = fit(model, X, Y, epochs=3, batch_size=50, verbose=0, **given)
        found.append((recorder.calls, set(history.history) - {"gradient_norm"}))
        assert model.history is history
    assert found[0] == found[1]
    assert len(found[0][0]) > 20


def test_logs_are_those_of_the_weights():
    model = small(metrics=["mae"], weighted_metrics=["mse"])
    weight = np.linspace(0, 1, 50)
    history = (
        LBFGS()
        .fit(
            model,
            X,
            Y,
            weight,
            epochs=4,
            batch_size=20,
            validation_data=(X[:9], Y[:9]),
            verbose=0,
        )
        .history
    )
    whole = model.evaluate(X, Y, 50, 0, sample_weight=weight, return_dict=True)
    for name in ("loss", "mae", "mse"):
        assert history[name][-1] == pytest.approx(whole[name], rel=1e-5)
    validation = model.evaluate(X[:9], Y[:9], verbose=0, return_dict=True)
    for name in ("loss", "mae", "mse"):
        assert history[f"val_{name}"][-1] == pytest.approx(validation[name], rel=1e-5)


def test_losses_of_several_outputs_are_logged():
    model, (x, y) = models.shared_and_nested()
    models.compile_model(model)
    history = LBFGS().fit(model, x, y, epochs=2, verbose=0).history
    assert {"loss", "one_loss", "two_loss"} <= set(history)
    assert history["loss"][-1] == pytest.approx(
        history["one_loss"][-1] + history["two_loss"][-1], rel=1e-5
    )


def test_early_stopping_and_files(tmp_path, capsys):
    optimizer = LBFGS()
    callbacks = [
        keras.callbacks.EarlyStopping("loss", min_delta=10.0, patience=2),
        keras.callbacks.ModelCheckpoint(
            tmp_path / "{epoch}.weights.h5", save_weights_only=True
        ),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TerminateOnNaN(),
    ]
    if keras.backend.backend() == "tensorflow":  # Which this callback needs.
        callbacks.append(keras.callbacks.TensorBoard(tmp_path))
    history = optimizer.fit(small(), X, Y, epochs=30, callbacks=callbacks, verbose=2)
    assert len(history.history["loss"]) == optimizer.result.iterations == 3
    assert not optimizer.result.converged
    assert "A callback stopped it." in optimizer.result.message
    out = capsys.readouterr().out
    assert "Epoch 3/30" in out
    assert f"LBFGS: {optimizer.result.message}" in out
    assert (tmp_path / "3.weights.h5").exists()
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


def test_early_stopping_has_the_last_word():
    stop = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    model, held_out = small(), (X[:9], -Y[:9])
    history = (
        LBFGS()
        .fit(model, X[9:], Y[9:], validation_data=held_out, callbacks=[stop], verbose=0)
        .history["val_loss"]
    )
    assert history[-1] > min(history)
    assert model.evaluate(*held_out, verbose=0) == pytest.approx(min(history))


def test_interrupted_training_keeps_the_best():
    model = small()
    losses = []

    def interrupt(epoch, logs):
        losses.append(logs["loss"])
        if epoch == 3:
            model.set_weights([np.zeros_like(w) for w in model.get_weights()])
            raise KeyboardInterrupt

    callback = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    with pytest.raises(KeyboardInterrupt):
        LBFGS().fit(model, X, Y, callbacks=[callback], verbose=0)
    assert model.evaluate(X, Y, 50, 0) == pytest.approx(min(losses), rel=1e-5)


def test_goes_on_from_a_backup(tmp_path):
    backup = keras.callbacks.BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
    model = small()
    LBFGS().fit(model, X, Y, epochs=3, callbacks=[backup], verbose=0)
    again, optimizer = small(), LBFGS()
    history = optimizer.fit(again, X, Y, epochs=5, callbacks=[backup], verbose=0)
    assert history.epoch == [3, 4]
    assert history.history["loss"][0] < model.evaluate(X, Y, 50, 0)


class Sitter(keras_babysit.Babysitter):
    def receive(self, record):
        super().receive(record)
        self.records = [*getattr(self, "records", []), record]


def test_babysitter(tmp_path):
    sitter = Sitter(tmp_path, verbose=0, image_shape=(3, 1))
    model = small()
    model.fit(X, Y, verbose=0)  # So that there is a train function to leave alone.
    function = model.train_function
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        LBFGS().fit(model, X, Y, epochs=20, callbacks=[sitter], verbose=0)
    assert model.train_function is function
    history = sitter.history
    assert len(history.values("epoch.loss")) == 20
    facts = history.data
    assert (facts.rows, facts.shuffled, facts.batch_size) == (50, None, None)
    epochs = [r for r in sitter.records if isinstance(r, records.EpochRecord)]
    assert [r.epoch for r in epochs] == list(range(21))
    paths = {v.path for v in model.trainable_variables}
    assert all(set(r.weight_histograms) == paths for r in epochs)
    assert all(r.images for r in epochs)
    # Its steps are not those of an optimizer with a rate, and are not judged so.
    assert history.observed == 0
    assert sitter.report.findings == (), sitter.report
    assert str(sitter.report)


# Where it ends.


class Domain(L.Layer):
    """w - log(w): lowest at 1, not defined below 0."""

    def build(self, shape):
        self.w = self.add_weight(shape=(), name="w", initializer="ones")

    def call(self, x):
        return x * (self.w - keras.ops.log(self.w))


def test_steps_out_of_the_domain_are_shortened():
    model = keras.Sequential([keras.Input((1,)), Domain()])
    model.compile(None, lambda y_true, y_pred: y_pred)
    one = np.ones((1, 1))
    for start in (0.01, 30.0):
        model.set_weights([np.array(start)])
        optimizer = LBFGS()
        history = optimizer.fit(model, one, one, verbose=0)
        assert np.isfinite(history.history["loss"]).all()
        assert model.get_weights()[0] == pytest.approx(1.0, abs=1e-2)
        assert optimizer.result.converged, optimizer.result
    model.set_weights([np.array(-1.0)])
    with pytest.raises(ValueError, match="The loss must be finite at the weights"):
        LBFGS().fit(model, one, one, verbose=0)


def test_results():
    optimizer = LBFGS()
    assert optimizer.result is None
    optimizer.fit(small(), X, Y, epochs=2, verbose=0)
    assert isinstance(optimizer.result, FitResult)
    assert optimizer.result.message.startswith("It reached its limit of 2 iterations.")
    model, x, y, solution = problems.quadratic()
    optimizer = LBFGS(dtype="float64")
    optimizer.fit(model, x, y, verbose=0)
    assert "gradient is within its tolerance" in optimizer.result.message
    np.testing.assert_allclose(np.vstack(model.get_weights()), solution, atol=1e-4)
    # There already: nothing to do, and no epoch.
    history = LBFGS(gradient_tolerance=1e-2).fit(model, x, y, verbose=0)
    assert history.history == {}


# Bad input.


def uncompiled():
    return keras.Sequential([keras.Input((3,)), L.Dense(1)])


def frozen():
    model = small()
    model.trainable = False
    return model


def noisy():
    class Noise(L.Layer):
        def call(self, x):
            import tensorflow as tf

            return x + tf.random.normal(tf.shape(x))

    keras.utils.set_random_seed(1)

    model = keras.Sequential([keras.Input((3,)), Noise(), L.Dense(1)])
    model.compile(None, "mse")
    return model


def custom():
    model = models.CustomStep()
    models.compile_model(model)
    return model


def unreduced():
    return small(keras.losses.MeanSquaredError(reduction=None))


def generator():
    yield X, Y


RATES = [keras.callbacks.ReduceLROnPlateau("loss")]

BAD = [
    (small, (generator(),), {}, "data that can be read again"),
    (small, (Batches(None),), {}, "`x` must end"),
    (small, (X[:0], Y[:0]), {}, "at least one sample"),
    (small, (X, Y[:9]), {}, "same number of samples"),
    (small, (X * np.nan, Y), {}, "finite"),
    (small, (X, Y), {"epochs": -1}, "`epochs` must be a positive integer"),
    (small, (X, Y), {"epochs": 2.0}, "`epochs` must be a positive integer"),
    (small, (X, Y), {"batch_size": 0}, "`batch_size` must be a positive integer"),
    (small, (X, Y), {"callbacks": RATES}, "no learning rate: leave ReduceLROnPlateau"),
    (uncompiled, (X, Y), {}, "must be compiled"),
    (frozen, (X, Y), {}, "must have trainable weights"),
    (custom, (np.ones((9, 12)), np.ones(9, int)), {}, "CustomStep overrides"),
    (unreduced, (X, Y), {}, "must be one number"),
]


@pytest.mark.parametrize(("make", "data", "kwargs", "message"), BAD)
def test_bad_input(make, data, kwargs, message):
    with pytest.raises(ValueError, match=message):
        LBFGS().fit(make(), *data, verbose=0, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"history": 0}, "`history` must be a positive integer. Received: history=0"),
        ({"line_search": True}, "`line_search` must be a positive integer"),
        ({"gradient_tolerance": -1.0}, "`gradient_tolerance` must be a number"),
        ({"loss_tolerance": float("nan")}, "`loss_tolerance` must be a number"),
        ({"dtype": "float32"}, "`dtype` must be"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        LBFGS(**kwargs)


def test_no_model():
    with pytest.raises(TypeError, match="must be a keras"):
        LBFGS().fit("model", X, Y)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"pip install .*\[scipy\]'"):
        LBFGS().fit(small(), X, Y)


@pytest.mark.tensorflow
def test_what_only_tensorflow_has():
    import tensorflow as tf

    endless = tf.data.Dataset.from_tensors((X, Y)).repeat()
    with pytest.raises(ValueError, match="`x` must end"):
        LBFGS().fit(small(), endless, verbose=0)
    with pytest.raises(ValueError, match="The loss must be the same"):
        LBFGS().fit(noisy(), X, Y, verbose=0)


@pytest.mark.tensorflow
def test_several_devices():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = small()
    with pytest.raises(ValueError, match="works on one device so far"):
        LBFGS().fit(model, X, Y)


def test_untrained_batch_normalization_is_told():
    model, (x, y) = models.cnn()
    models.compile_model(model)
    with pytest.warns(UserWarning, match="those of an untrained layer"):
        LBFGS().fit(model, x, y, epochs=1, verbose=0)
