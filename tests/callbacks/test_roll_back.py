"""RollBack: the only callback of ours that changes a training."""

import keras
import numpy as np
import pytest

import keras_babysit
from keras_babysit import RollBack


def regression(rate, **kwargs):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(rate, **kwargs), "mse", jit_compile=False)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
    return model, x, x @ np.array([[1.0], [-2.0], [0.5], [3.0]], "float32")


def weights(model):
    return [np.array(v) for v in model.variables]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"factor": 1.5}, "Received: factor=1.5"),
        ({"factor": True}, "Received: factor=True"),
        ({"tries": 0}, "Received: tries=0"),
        ({"tries": 2.5}, "Received: tries=2.5"),
        ({"limit": 1}, "Received: limit=1"),
        ({"limit": "10"}, "Received: limit='10'"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RollBack(**kwargs)


def test_a_schedule_cannot_be_lowered():
    model, x, y = regression(keras.optimizers.schedules.CosineDecay(0.1, 100))
    with pytest.raises(ValueError, match="Received: learning_rate=CosineDecay"):
        model.fit(x, y, verbose=0, callbacks=[RollBack()])


def test_healthy_training_is_left_alone():
    model, x, y = regression(0.01)
    model.fit(x, y, epochs=3, verbose=0)
    expected = weights(model)
    model, x, y = regression(0.01)
    back = RollBack()
    model.fit(x, y, epochs=3, verbose=0, callbacks=[back])
    assert back.repairs == []
    for a, b in zip(weights(model), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_goes_back_and_learns_with_a_lower_rate(tmp_path, capsys):
    model, x, y = regression(100.0, momentum=0.5)
    babysitter = keras_babysit.Babysitter(tmp_path, verbose=0)
    back = RollBack(factor=1e-4)
    history = model.fit(
        x, y, epochs=30, batch_size=8, verbose=0, callbacks=[babysitter, back]
    )
    assert len(back.repairs) == 1
    assert "weights went back to those before training" in back.repairs[0]
    assert "learning rate 100 → 0.01 (repair 1 of 3)" in back.repairs[0]
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert history.history["loss"][-1] < 0.5
    assert babysitter.report.notes == tuple(back.repairs)
    assert "RollBack: Epoch 1" in capsys.readouterr().out


def test_goes_back_to_the_last_good_epoch():
    model, x, y = regression(0.01, momentum=0.9)
    kept = {}

    def spoil(epoch, logs):
        if epoch == 1:
            kept["weights"] = weights(model)
            kept["state"] = [np.array(v) for v in model.optimizer.variables]
            kept["rate"] = float(model.optimizer.learning_rate)

    def explode(batch, logs):
        if "weights" in kept and "done" not in kept:
            kept["done"] = True
            model.trainable_variables[0].assign(np.full((4, 8), 1e6))

    class Restored(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                kept["after"] = weights(model)
                state = [np.array(v) for v in model.optimizer.variables]
                kept["state_after"] = state

    back = RollBack(factor=0.5, verbose=0)
    callbacks = [
        back,
        Restored(),
        keras.callbacks.LambdaCallback(
            on_epoch_end=spoil, on_train_batch_begin=explode
        ),
    ]
    model.fit(x, y, epochs=3, batch_size=16, verbose=0, callbacks=callbacks)
    assert len(back.repairs) == 1
    assert "those after epoch 2" in back.repairs[0]
    for a, b in zip(kept["after"], kept["weights"], strict=True):
        np.testing.assert_array_equal(a, b)
    rate = model.optimizer.variables.index(model.optimizer._learning_rate)
    for i, (a, b) in enumerate(zip(kept["state_after"], kept["state"], strict=True)):
        np.testing.assert_array_equal(a, b * 0.5 if i == rate else b)


@pytest.mark.parametrize(("other", "then"), [(50.0, 0.005), (0.001, 0.0005)])
def test_a_rate_that_has_risen_since_is_not_what_is_lowered(other, then):
    model, x, y = regression(0.01)
    back = RollBack(factor=0.5, verbose=0)

    def meddle(epoch, logs):
        if epoch == 1:
            model.optimizer.learning_rate = other
            model.trainable_variables[0].assign(np.full((4, 8), 1e9))

    meddler = keras.callbacks.LambdaCallback(on_epoch_begin=meddle)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[back, meddler])
    assert len(back.repairs) == 1
    assert float(model.optimizer.learning_rate) == pytest.approx(then)


def test_gives_up_after_its_tries():
    model, x, y = regression(1e6)
    y[0] = np.nan  # No rate helps.
    before = weights(model)
    back = RollBack(tries=2, verbose=0)
    history = model.fit(x, y, epochs=10, verbose=0, callbacks=[back])
    assert len(history.epoch) == 3
    assert "training was stopped after 2 repairs" in back.repairs[-1]
    for a, b in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_observed_step_is_enough(tmp_path):
    model, x, y = regression(1e6)
    babysitter = keras_babysit.Babysitter(tmp_path, every=1, verbose=0)
    back = RollBack(tries=1, factor=1e-8, verbose=0)
    model.fit(x, y, epochs=1, batch_size=1, verbose=0, callbacks=[babysitter, back])
    assert len(back.repairs) == 1
    assert "the loss of step" in back.repairs[0]
