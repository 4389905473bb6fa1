"""What a watched run is like on whichever backend is in use."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from support import agreement, models

from keras_babysit import Babysitter, RollBack, gradient_check
from keras_babysit.backend import SUPPORTED, load

BACKEND = keras.backend.backend()


def fitted(callbacks, make=models.mlp, optimizer=None, **settings):
    keras.utils.set_random_seed(7)
    model, (x, y) = make()
    models.compile_model(model, optimizer, **settings)
    history = model.fit(
        x,
        y,
        batch_size=18,
        epochs=3,
        verbose=0,
        callbacks=callbacks,
        validation_split=0.25,
    )
    return model, history.history


@pytest.mark.parametrize("make", [models.mlp, models.cnn], ids=lambda m: m.__name__)
def test_validated_runs_are_exact_and_seen(tmp_path, make):
    babysitter = Babysitter(tmp_path, verbose=0, every=1)
    plain, history = fitted([], make)
    watched, again = fitted([babysitter], make)
    assert history == again
    for a, b in zip(models.state(plain), models.state(watched), strict=True):
        np.testing.assert_array_equal(a, b)
    (first, *_) = babysitter.history.validations
    assert first.losses
    # An eager step takes nothing along that could be measured again.
    assert bool(first.training) == (BACKEND != "torch")
    assert not [n for n in babysitter.observation.unobserved if "Not observed" in n]


def test_the_loss_knows_its_layer(tmp_path):
    babysitter = Babysitter(tmp_path, verbose=0, every=1)
    fitted([babysitter])
    (loss,) = babysitter.history.last_step.losses
    assert loss.layer.startswith("sequential")


def test_what_a_finding_changes_is_trained_with(tmp_path):
    """Also where a step is a function of the values that it was given."""
    model = None

    def lowered(finding):
        model.optimizer.learning_rate = 0.0

    class Own(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            nonlocal model
            model = self.model

        def on_epoch_end(self, epoch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    rates = []
    babysitter = Babysitter(tmp_path, verbose=0, every=1, on_finding=lowered)
    fitted([Own(), babysitter], optimizer=keras.optimizers.Adam(30.0))
    assert babysitter.report.findings
    assert rates[-1] == 0.0


def test_goes_back_from_a_loss_that_is_not_finite(tmp_path):
    class Spoils(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                weights = [w * np.nan for w in self.model.get_weights()]
                self.model.set_weights(weights)

    repairs = RollBack(verbose=0)
    model, _ = fitted([Spoils(), Babysitter(tmp_path, verbose=0, every=1), repairs])
    assert len(repairs.repairs) == 1
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_a_callback_may_look_at_the_model_within_a_step(tmp_path):
    """With JAX that puts values into it which are a step old, if one lets it."""

    class Looks(Babysitter):
        def see_batch(self, batch):
            seen.append(float(np.abs(self.model.get_weights()[0]).sum()))
            super().see_batch(batch)

    def fitted_to_a_generator(callbacks):
        keras.utils.set_random_seed(7)
        model, (x, y) = models.mlp()
        models.compile_model(model)

        def batches():
            while True:
                for i in range(0, len(x), 18):
                    yield x[i : i + 18], y[i : i + 18]

        model.fit(
            batches(), steps_per_epoch=4, epochs=3, verbose=0, callbacks=callbacks
        )
        return model

    seen = []
    plain = fitted_to_a_generator([])
    watched = fitted_to_a_generator([Looks(tmp_path, verbose=0, every=1)])
    for a, b in zip(plain.get_weights(), watched.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert seen


def test_gradients_are_checked_in_float64():
    keras.utils.set_random_seed(0)
    model, (x, y) = models.mlp()
    models.compile_model(model)
    before = models.state(model)
    found = gradient_check(model, x, y)
    assert found.ok, found
    for a, b in zip(before, models.state(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_backend_is_one_of_those_supported():
    assert keras.backend.backend() in SUPPORTED
    assert (keras.backend.backend() == "jax") == load("step").STATELESS


@pytest.mark.parametrize("name", agreement.MODELS)
def test_records_agree_between_backends(name):
    expected = json.loads(agreement.FILE.read_text())[name]
    found = agreement.numbers(agreement.MODELS[name])
    assert set(found) == set(expected)
    for number, value in expected.items():
        # An update is a difference of two weights: float32 leaves fewer digits of it.
        few = " update " in number or " ratio" in number
        # Of values about one: each backend has a batch normalization of its own.
        close = {"rel": 1e-3, "abs": 1e-7} if few else {"rel": 1e-5, "abs": 5e-6}
        assert found[number] == pytest.approx(value, **close), number


if BACKEND == "jax":

    @pytest.mark.parametrize("kind", ["data", "model"])
    def test_two_devices(tmp_path, kind):
        program = agreement.FILE.with_name("two_devices.py")
        ended = subprocess.run(
            [sys.executable, program, kind, tmp_path], capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
