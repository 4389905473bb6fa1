"""What notes the calls of losses never gets between a loss and its caller."""

import keras
import numpy as np
import pytest

from keras_babysit.step import loss_calls

Y, P = np.eye(3)[[0, 2]], np.full((2, 3), 1 / 3)


def hear(function, listener=None):
    calls, errors = [], []
    with loss_calls.heard(
        listener or (lambda *call: calls.append(call)), errors.append
    ):
        return function(), calls, errors


def raises(*_):
    raise MemoryError("ours")


def test_a_listener_that_fails():
    loss = keras.losses.CategoricalCrossentropy()
    plain = loss(Y, P)
    found, _, errors = hear(lambda: loss(Y, P), raises)
    assert float(found) == float(plain)
    assert [str(e) for e in errors] == ["ours"]
    assert "call" not in vars(loss)


@pytest.mark.parametrize("name", ["_note_loss", "_name_of", "_note_cross_entropy"])
def test_noting_that_fails(monkeypatch, name):
    monkeypatch.setattr(loss_calls, name, raises)
    loss = keras.losses.CategoricalCrossentropy()
    found, _, errors = hear(lambda: loss(Y, P))
    assert float(found) == float(loss(Y, P))
    assert errors
    assert "call" not in vars(loss)


def test_the_users_own_error_is_passed_on():
    class Wrong(keras.losses.Loss):
        def call(self, y, p):
            raise ZeroDivisionError("the user's")

    loss = Wrong()
    with pytest.raises(ZeroDivisionError, match="the user's"):
        hear(lambda: loss(Y, P))
    assert "call" not in vars(loss)
    _, calls, errors = hear(lambda: keras.losses.MeanSquaredError()(Y, P))
    assert [call.loss for call, _ in calls] == ["mean_squared_error"]
    assert errors == []


def test_losses_in_losses_and_metrics():
    class Both(keras.losses.Loss):
        def call(self, y, p):
            return keras.losses.CategoricalCrossentropy()(y, p) + 1.0

    metric = keras.metrics.CategoricalCrossentropy()

    def both():
        metric.update_state(Y, P)
        return Both(name="both")(Y, P)

    _, calls, _ = hear(both)
    assert [(c.loss, c.takes) for c, _ in calls] == [("both", "probabilities")]
    assert loss_calls._here.stack == []


def test_nothing_stays_wrapped():
    before = keras.losses.Loss.__call__, keras.metrics.MeanMetricWrapper.update_state
    hear(lambda: None)
    after = keras.losses.Loss.__call__, keras.metrics.MeanMetricWrapper.update_state
    assert after == before
