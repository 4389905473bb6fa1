"""Which variables are seen to move though they are not trainable."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as L
from support import models

from keras_babysit import Babysitter

X, Y = models.images((6,))
O = keras.optimizers  # noqa: E741


def small():
    keras.utils.set_random_seed(3)
    first = L.Dense(4, activation="tanh", name="first")
    middle = L.BatchNormalization(name="middle")
    return keras.Sequential([keras.Input((6,)), first, middle, models.head()])


def compiled(model, optimizer=None, **more):
    models.compile_model(model, optimizer or O.Adam(1e-2), **more)


def fit(model, *callbacks, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, Y, verbose=0, batch_size=18, callbacks=callbacks, **more)


def watched(tmp_path, model, *before, **more):
    """What moved in a second training, and the finding about it."""
    ours = Babysitter(tmp_path, every=1, verbose=0)
    fit(model, *before, ours, **more)
    found = [f for f in ours.report.findings if f.rule == "frozen-without-compile"]
    assert ours.history.last_step.variables
    return ours.history, found


@pytest.mark.parametrize("jit", [False, True])
def test_frozen_after_a_fit(tmp_path, jit):
    model = small()
    compiled(model, jit_compile=jit)
    fit(model)
    model.get_layer("first").trainable = False
    before = model.get_layer("first").get_weights()
    history, (finding,) = watched(tmp_path, model)
    after = model.get_layer("first").get_weights()
    assert (before[0] != after[0]).any()
    assert [path.rpartition("/")[2] for path in history.frozen] == ["kernel", "bias"]
    assert finding.where.endswith("first")
    assert finding.since_step == 4
    # What is trained is recorded as ever, without what is frozen.
    recorded = [v.path for v in history.last_step.variables]
    assert len(recorded) == 4
    assert not set(recorded) & set(history.frozen)


def test_update_ratios_are_those_of_the_weights(tmp_path):
    model = small()
    compiled(model)
    fit(model)
    model.get_layer("first").trainable = False
    before = model.get_layer("first").get_weights()
    history, _ = watched(tmp_path, model, steps_per_epoch=1)
    after = model.get_layer("first").get_weights()
    expected = [
        np.linalg.norm(b - a) / np.linalg.norm(a)
        for a, b in zip(before, after, strict=True)
    ]
    np.testing.assert_allclose(
        list(history.last_step.frozen.values()), expected, rtol=1e-5
    )


def test_frozen_by_a_callback(tmp_path):
    model = small()
    compiled(model)

    def freeze(epoch, logs):
        model.get_layer("first").trainable = epoch < 1

    freezing = keras.callbacks.LambdaCallback(on_epoch_begin=freeze)
    history, (finding,) = watched(tmp_path, model, freezing, epochs=3)
    assert finding.since_step == 4
    assert len(history.frozen) == 2
    # It was trainable when the training began: its updates stay in one series.
    assert len(history.last_step.variables) == 6


def compile_again(model):
    compiled(model, model.optimizer)


def unfreeze(model):
    model.get_layer("first").trainable = True


def other_batches(model):
    return {"sample_weight": np.linspace(0.5, 1.5, len(X))}


def nothing(model):
    return None


@pytest.mark.parametrize(
    ("settings", "then"),
    [
        ({}, compile_again),
        ({}, unfreeze),
        ({}, other_batches),
        ({"run_eagerly": True, "jit_compile": False}, nothing),
    ],
    ids=["compiled again", "unfrozen", "traced anew", "eager"],
)
def test_frozen_layers_that_stand_still(tmp_path, settings, then):
    model = small()
    compiled(model, **settings)
    fit(model)
    first = model.get_layer("first")
    first.trainable = False
    more = then(model) or {}
    before = first.get_weights()
    history, found = watched(tmp_path, model, **more)
    assert not found
    assert not history.frozen
    if then is not unfreeze:
        for a, b in zip(before, first.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_frozen_before_the_first_fit(tmp_path):
    model = small()
    compiled(model)
    model.get_layer("first").trainable = False
    history, found = watched(tmp_path, model, epochs=2)
    assert not found
    assert not history.frozen


def test_averages_and_counters_are_not_trainable_by_design(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            L.Dense(8),
            L.BatchNormalization(),
            L.Dropout(0.2),
            models.head(),
        ]
    )
    average = O.Adam(1e-2, use_ema=True, ema_overwrite_frequency=2)
    compiled(model, average)
    fit(model)
    history, found = watched(tmp_path, model, epochs=2)
    assert not found
    assert not history.frozen


def test_a_model_that_is_frozen_for_another_one(tmp_path):
    critic = small()
    compiled(critic)
    fit(critic)
    critic.trainable = False
    stacked = keras.Sequential([keras.Input((6,)), L.Dense(6), critic])
    compiled(stacked)
    fit(stacked)
    before = critic.get_layer("first").get_weights()
    ours = Babysitter(tmp_path, every=1, verbose=0)
    fit(critic, ours)
    assert (before[0] != critic.get_layer("first").get_weights()[0]).any()
    told = {f.rule for f in ours.report.findings}
    assert not told & {"frozen-without-compile", "no-trainable-weights"}
    assert len(ours.history.frozen) == 6


def test_a_model_that_is_frozen_and_stands_still(tmp_path):
    model = small()
    compiled(model)
    fit(model)
    model.trainable = False
    compiled(model, model.optimizer)
    ours = Babysitter(tmp_path, every=1, verbose=0)
    fit(model, ours)
    assert "no-trainable-weights" in {f.rule for f in ours.report.findings}
