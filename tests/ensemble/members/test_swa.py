"""StochasticWeightAveraging: NumPy's mean, and nothing else touched."""

import copy

import keras
import numpy as np
import pytest
from keras import layers as L

from keras_babysit.ensemble import (
    SnapshotCheckpoint,
    StochasticWeightAveraging,
    average_weights,
)

EPOCHS = 7


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(1.0, 2.0, size=(24, 3)).astype("float32")
    return x, (x[:, :1] > 1).astype("float32")


def compiled(*layers, rate=0.2, **kwargs):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), *layers, L.Dense(1)])
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    model.compile(optimizer, "mse", run_eagerly=True, **kwargs)
    return model


def fit(model, *callbacks, epochs=EPOCHS, **kwargs):
    x, y = data()
    model.fit(
        x,
        y,
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **kwargs,
    )


def normalized():
    keras.utils.set_random_seed(0)
    return compiled(L.Dense(4, use_bias=False), L.BatchNormalization(), L.ReLU())


RANGES = [(0, 1), (3, 1), (1, 2), (6, 1)]


def test_it_is_numpys_mean_of_the_ends_of_epochs(tmp_path):
    ends = []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(keep.model.get_weights())
    )
    made = [StochasticWeightAveraging(*arguments) for arguments in RANGES]
    snapshots = SnapshotCheckpoint(tmp_path, every=1)
    model = normalized()
    fit(model, keep, *made, snapshots)
    for swa, (start, every) in zip(made, RANGES, strict=True):
        chosen = ends[start::every]
        assert swa.count == len(chosen)
        for i, value in enumerate(swa.average):
            exact = np.mean([weights[i] for weights in chosen], 0, dtype="float64")
            np.testing.assert_allclose(value, exact, rtol=1e-14, atol=1e-14)
    # As the files of the same epochs, which survive an interruption.
    x, _ = data()
    one = made[1].averaged_model(x)
    other = average_weights(snapshots.paths[3:], x=x)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # The model itself was only watched.
    for a, b in zip(model.get_weights(), ends[-1], strict=True):
        np.testing.assert_array_equal(a, b)
    plain = normalized()
    fit(plain)
    for a, b in zip(plain.variables, model.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_average_is_swapped_in_on_request():
    x, y = data()
    watching = StochasticWeightAveraging(3, x=x, batch_size=24)
    swapping = StochasticWeightAveraging(3, swap=True, x=x, batch_size=24)
    model = normalized()
    fit(model, watching, swapping)
    average = watching.averaged_model()
    for a, b in zip(average.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # What batch normalization gets now: the kernel of the average times x.
    kernel, _, _, mean, variance = model.get_weights()[:5]
    seen = x.astype("float64") @ kernel.astype("float64")
    np.testing.assert_allclose(mean, seen.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, seen.var(0), rtol=1e-5, atol=1e-6)
    assert average.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_with_a_moving_average_of_keras_too():
    model = compiled()
    model.optimizer.use_ema, model.optimizer.ema_momentum = True, 0.9
    swa = StochasticWeightAveraging(2, swap=True)
    fit(model, swa)
    for value, mean in zip(model.get_weights(), swa.average, strict=True):
        np.testing.assert_array_equal(value, mean.astype("float32"))


def test_each_fit_begins_anew_and_a_copy_shares_the_data():
    x, _ = data()
    swa = StochasticWeightAveraging(1, x=x)
    other = copy.deepcopy(swa)
    assert other._data.value is x
    fit(compiled(), other, epochs=3)
    fit(compiled(), other, epochs=2)
    assert other.count == 1
    copy.deepcopy(other)
    assert swa.count == 0


def test_it_says_if_it_is_not_of_all_epochs():
    swa = StochasticWeightAveraging(1)
    with pytest.warns(UserWarning, match="begins at epoch 3, and earlier ones"):
        fit(compiled(), swa, initial_epoch=3)
    assert swa.count == 4


def test_it_says_if_there_is_nothing_to_put_in():
    swa = StochasticWeightAveraging(3, swap=True)
    swa.set_params({"epochs": 9})
    swa.set_model(compiled())
    swa.on_train_begin()
    swa.on_epoch_end(0)
    with pytest.warns(UserWarning, match="ended before an epoch from start_epoch=3"):
        swa.on_train_end()


def test_without_data_batch_normalization_is_told_of():
    swa = StochasticWeightAveraging(1)
    with pytest.raises(ValueError, match="no average yet"):
        swa.averaged_model()
    fit(normalized(), swa, epochs=2)
    with pytest.warns(UserWarning, match="has batch normalization"):
        swa.averaged_model()
    with pytest.raises(ValueError, match="needs training inputs"):
        fit(normalized(), StochasticWeightAveraging(1, swap=True))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"start_epoch": -1}, "`start_epoch` must be a non-negative integer"),
        ({"start_epoch": 0.75}, "`start_epoch` must be a non-negative integer"),
        ({"every": 0}, "`every` must be a positive integer"),
        ({"batch_size": True}, "`batch_size` must be a positive integer"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        StochasticWeightAveraging(**{"start_epoch": 2, **arguments})


def test_a_training_that_is_too_short():
    with pytest.raises(ValueError, match=r"start_epoch=7, epochs=7"):
        fit(compiled(), StochasticWeightAveraging(7))
