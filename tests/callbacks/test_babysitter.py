"""Behaviour around the training: errors, failures, other callbacks, two fits."""

import copy
import functools
import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from support import models

import keras_babysit
from keras_babysit import Babysitter


def fitted(callbacks, make=models.mlp, epochs=1, **kwargs):
    keras.utils.set_random_seed(5)
    model, (x, y) = make()
    models.compile_model(model, jit_compile=False)
    model.fit(x, y, epochs=epochs, verbose=0, callbacks=callbacks, **kwargs)
    return model


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"every": 0}, r"Received: every=0"),
        ({"every": 2.5}, r"Received: every=2.5"),
        ({"every": True}, r"Received: every=True"),
        ({"overhead": -1}, r"Received: overhead=-1"),
        ({"overhead": 0}, r"Received: overhead=0"),
        ({"strict": 1}, r"Received: strict=1"),
        ({"every": 2, "strict": True}, r"leave one.*Received: every=2, strict=True"),
        ({"overhead": "fast"}, r"Received: overhead='fast'"),
        ({"probes": ["gradient"]}, r"\['gradient'\].*Expected some of.*gradients"),
        ({"probes": "gradients"}, r"must be a list.*Received: probes='gradients'"),
        ({"image_shape": (28,)}, r"Received: image_shape=\(28,\)"),
        ({"log_dir": None}, r"Received: log_dir=None"),
        ({"log_dir": ""}, r"Received: log_dir=''"),
        ({"log_dir": "gs://bucket/logs"}, r"file system.*gs://bucket"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Babysitter(**{"log_dir": "logs", **kwargs})


def test_log_dir_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    started = []
    spy = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: started.append(batch)
    )
    with pytest.raises(ValueError, match=r"`log_dir` cannot be written.*file"):
        fitted([Babysitter(tmp_path / "file" / "logs"), spy])
    assert not started


def test_other_backends_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(
        ValueError, match=r"Received: keras.backend.backend..='openvino'"
    ):
        Babysitter(tmp_path).on_train_begin()


@pytest.mark.tensorflow
def test_missing_tensorflow_names_the_extra(monkeypatch):
    from keras_babysit import backend

    def missing(name):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr(backend.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"keras_babysit\[tensorflow\]"):
        backend.load("step")


def test_model_that_is_not_compiled(tmp_path):
    model, (x, y) = models.mlp()
    with pytest.raises(ValueError, match="compile"):
        model.fit(x, y, verbose=0, callbacks=[Babysitter(tmp_path)])


def test_nothing_to_train(tmp_path):
    def make():
        model, data = models.mlp()
        model.trainable = False
        return model, data

    babysitter = Babysitter(tmp_path)
    with pytest.warns(UserWarning, match="Babysitter: the model has no trainable"):
        fitted([babysitter], make)
    record = babysitter.history.last_step
    assert record.layers
    assert record.loss is not None
    assert not record.variables


class BrokenError(Exception):
    pass


def broken(*args, **kwargs):
    raise BrokenError("planted")


@functools.cache
def expected_state():
    return models.state(fitted([], epochs=2))


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "place",
    [
        "keras_babysit.step.plan.targets",
        "keras_babysit.probes.gradients.rows.tensor_stats",
        "keras_babysit.probes.first_layer.draw",
        "keras_babysit.step.budget.within_budget",
        "keras_babysit.step.observe.ObservedStep.__init__",
        "keras_babysit.step.observe.ObservedStep._look_before",
        "keras_babysit.step.observe.ObservedStep._fetch",
        "keras_babysit.step.recorder._visible_layers",
        "keras_babysit.backend.tensorflow.describing.Variables.updates",
        "keras_babysit.backend.tensorflow.derivation.Measuring.__call__",
        "keras_babysit.step.watch.Watch._fetch",
        "keras_babysit.step.watch.Watch.end",
        "keras_babysit.step.watch.join",
        "keras_babysit.history.RunHistory.append",
        "keras_babysit.sinks.opened.OpenedSinks.emit",
        "keras_babysit.sinks.opened.OpenedSinks.close",
    ],
)
def test_its_own_failure_is_one_warning(tmp_path, monkeypatch, place):
    expected = expected_state()
    monkeypatch.setattr(place, broken)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fitted([Babysitter(tmp_path, overhead=0.5)], epochs=2)
    ours = [w for w in caught if "stopped watching" in str(w.message)]
    assert len(ours) == 1
    assert "planted" in str(ours[0].message)
    for a, b in zip(models.state(model), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk(tmp_path, monkeypatch):
    import builtins

    from keras_babysit.event_files import writer

    expected = expected_state()

    def full(path, mode, buffering):
        path.touch()
        return builtins.open("/dev/full", mode, buffering)

    monkeypatch.setattr(writer, "open", full, raising=False)
    with pytest.warns(UserWarning, match="No space left"):
        model = fitted([Babysitter(tmp_path, every=1)], epochs=2)
    for a, b in zip(models.state(model), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_error_of_the_users_own_comes_through(tmp_path):
    model, (x, y) = models.mlp()
    models.compile_model(model, jit_compile=False)
    bad = np.full_like(y, 99)  # No such class.
    with pytest.raises(Exception, match="99"):
        model.fit(x, bad, verbose=0, callbacks=[Babysitter(tmp_path)])


def test_interrupted_and_fitted_again(tmp_path):
    babysitter = Babysitter(tmp_path, every=1)

    def interrupt(batch, logs):
        if batch == 2:
            raise KeyboardInterrupt

    model, (x, y) = models.mlp()
    models.compile_model(model, jit_compile=False)
    stop = keras.callbacks.LambdaCallback(on_train_batch_begin=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=8, verbose=0, callbacks=[babysitter, stop])
    model.fit(x, y, batch_size=8, verbose=0)
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[babysitter])
    steps = babysitter.history.series("loss").steps
    # Two before the interrupt (the second was still pending), nine unwatched.
    assert steps[-1] == 2 + 9 + 8
    assert "babysit" not in model.train_function.__module__


def test_two_fits_and_compile_between_them(tmp_path):
    babysitter = Babysitter(tmp_path, every=1)
    model, (x, y) = models.mlp()
    models.compile_model(model, jit_compile=False)
    for _ in range(2):
        model.fit(x, y, verbose=0, callbacks=[babysitter])
    assert babysitter.history.last_step.step == 5
    models.compile_model(model, keras.optimizers.SGD(0.5), jit_compile=False)
    model.fit(x, y, verbose=0, callbacks=[babysitter])
    last = babysitter.history.last_step
    assert last.learning_rate == 0.5
    assert last.step == 2


def test_initial_epoch(tmp_path):
    babysitter = Babysitter(tmp_path, every=1)
    fitted([babysitter], initial_epoch=3, epochs=5)
    epochs = babysitter.history.series("epoch.loss").epochs
    assert epochs.tolist() == [4, 5]
    assert babysitter.history.last_step.epoch == pytest.approx(5)


def test_several_callbacks_share_one_observed_step(tmp_path, monkeypatch):
    built = []
    from keras_babysit.step import observe

    original = observe.ObservedStep.__init__

    def counting(self, *args, **kwargs):
        built.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(observe.ObservedStep, "__init__", counting)
    callbacks = [
        keras_babysit.UpdateRatioLogger(tmp_path / "a", every=1),
        keras_babysit.GradientHistogramLogger(tmp_path / "b", every=2),
        keras_babysit.ActivationHistogramLogger(tmp_path / "c", every=1),
        keras_babysit.FirstLayerImageLogger(tmp_path / "d", image_shape=(3, 4)),
        Babysitter(tmp_path / "e", every=1),
    ]
    fitted(callbacks)
    assert len(built) == 1
    ratio, gradient, activation, image, everything = (c.history for c in callbacks)
    assert len(ratio.series("loss").steps) == 3
    assert len(gradient.series("loss").steps) == 2
    assert ratio.last_step.variables[0].update_ratio is not None
    assert ratio.last_step.variables[0].gradient is None
    assert not ratio.last_step.layers
    assert gradient.last_step.variables[0].gradient_histogram is not None
    assert gradient.last_step.variables[0].update_ratio is None
    assert activation.last_step.layers
    assert not activation.last_step.variables
    assert image.last_epoch.images
    assert not image.last_epoch.weight_histograms
    full = everything.last_step.variables[0]
    assert full.gradient is not None
    assert full.update is not None


def test_another_leads_after_one_steps_aside(tmp_path):
    first, second = (Babysitter(tmp_path / n, every=1, verbose=0) for n in "ab")

    class Full:
        def emit(self, record):
            if getattr(record, "logs", None):
                raise OSError("planted")

        def close(self):
            pass

    def fill(logs):
        first._sink.close()
        first._sink = Full()

    filling = keras.callbacks.LambdaCallback(on_train_begin=fill)
    with pytest.warns(UserWarning, match="planted"):
        fitted([first, filling, second], epochs=2)
    assert second.history.series("epoch.loss").steps.tolist() == [3, 6]
    assert second.history.series("loss").steps.tolist() == [0, 1, 2, 3, 4, 5]


def test_deepcopy_of_the_unused_callback(tmp_path):
    original = Babysitter(tmp_path / "a", every=3)
    twin = copy.deepcopy(original)
    fitted([twin])
    assert twin.history.last_step is not None
    assert original.history.last_step is None
    # A used one has a part in a `fit`, with compiled functions, and its copy none.
    again = copy.deepcopy(twin)
    assert again.history.observed == twin.history.observed
    assert again.observation is None


def test_observation_says_what_it_cost(tmp_path):
    babysitter = Babysitter(tmp_path, every=2)
    assert babysitter.observation is None
    fitted([babysitter], epochs=3)
    cost = babysitter.observation
    assert cost.steps == 9
    assert cost.observed == 5
    assert cost.build_seconds > 0


@pytest.mark.tensorflow
def test_beside_the_callbacks_of_keras(tmp_path):
    best = tmp_path / "best.keras"
    callbacks = [
        Babysitter(tmp_path / "logs"),
        keras.callbacks.TensorBoard(tmp_path / "logs", write_images=False),
        keras.callbacks.ModelCheckpoint(best, monitor="loss"),
        keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2),
        keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1),
        keras.callbacks.EarlyStopping(monitor="loss", patience=5),
    ]
    model = fitted(callbacks, models.cnn, epochs=2, validation_split=0.2)
    code = f"""
import sys
sys.modules["keras_babysit"] = None
import keras, numpy as np
model = keras.saving.load_model({str(best)!r})
print(len(model.optimizer.variables), model.predict(np.zeros((1, 8, 8, 3)), verbose=0))
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.startswith(f"{len(model.optimizer.variables)} ")


def test_model_that_its_first_batch_builds(tmp_path):
    babysitter = Babysitter(tmp_path, every=1)
    fitted([babysitter], models.subclassed)
    assert len(babysitter.history.series("loss").steps) >= 2
