"""BestCheckpoints keeps the best, whatever the order they come in."""

import copy
import functools
import os

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from keras import layers as L

from keras_babysit.ensemble import BestCheckpoints, average_weights


@functools.cache
def compiled():
    model = keras.Sequential([keras.Input((2,)), L.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    return model


def begin(callback, model, epoch=0):
    callback.set_model(model)
    callback.set_params({"epochs": 99, "steps": 1})
    callback.on_train_begin()
    callback.on_epoch_begin(epoch)
    return callback


def feed(callback, values, start=0, monitor="val_loss"):
    """Ends epochs with these values; the bias says which epoch a file is of."""
    begin(callback, callback_model := compiled(), start)
    for epoch, value in enumerate(values, start):
        callback_model.layers[0].bias.assign([float(epoch)])
        callback.on_epoch_end(epoch, {monitor: value, "loss": 0.5})
    return callback


def epochs_of(paths):
    return [int(os.path.basename(p).split("-")[2]) - 1 for p in paths]


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    values=st.lists(
        st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=8
    ),
    k=st.integers(1, 4),
    mode=st.sampled_from(["min", "max"]),
)
@example(values=[2.0**-14, 0.1, float(np.float32(0.1))], k=3, mode="max")
def test_the_k_best_by_sorting(values, k, mode, tmp_path_factory, monkeypatch):
    def save(model, path):
        path = os.fspath(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w"):
            pass

    monkeypatch.setattr("keras_babysit.ensemble.files.save", save)
    folder = tmp_path_factory.mktemp("best")
    best = feed(BestCheckpoints(folder, k, mode=mode), values)
    sign = 1 if mode == "min" else -1
    ranked = [(sign * v, e) for e, v in enumerate(values) if v == v]
    expected = [epoch for _, epoch in sorted(ranked)][:k]
    assert epochs_of(best.paths) == expected
    assert best.values == [values[epoch] for epoch in expected]
    assert sorted(os.listdir(folder)) == sorted(map(os.path.basename, best.paths))
    # Another process finds them again, with their exact values.
    later = feed(BestCheckpoints(folder, k, mode=mode), [0.5], start=len(values))
    together = [*ranked, (sign * 0.5, len(values))]
    assert epochs_of(later.paths) == [epoch for _, epoch in sorted(together)][:k]
    assert [sign * v for v in later.values] == [v for v, _ in sorted(together)][:k]


def test_files_hold_the_weights_of_their_epoch(tmp_path):
    best = feed(BestCheckpoints(tmp_path, 2), [0.75, 0.125, 0.5, 0.25])
    assert [os.path.basename(p) for p in best.paths] == [
        "best-epoch-002-val_loss-0.125.keras",
        "best-epoch-004-val_loss-0.25.keras",
    ]
    biases = [keras.saving.load_model(p).layers[0].bias[0] for p in best.paths]
    assert [float(b) for b in biases] == [1, 3]
    average = average_weights(best.paths)
    assert float(average.layers[0].bias[0]) == 2


@pytest.mark.parametrize(("monitor", "high"), [("val_accuracy", True), ("mae", False)])
def test_in_a_fit_the_direction_is_found_as_keras_finds_it(monitor, high, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), L.Dense(1, "sigmoid")])
    metrics = [keras.metrics.BinaryAccuracy("accuracy"), "mae"]
    model.compile("adam", "binary_crossentropy", metrics=metrics, run_eagerly=True)
    x = np.random.default_rng(0).normal(size=(32, 2)).astype("float32")
    y = (x[:, :1] > 0).astype("float32")
    best = copy.deepcopy(BestCheckpoints(tmp_path, 3, monitor))
    history = model.fit(
        x, y, epochs=6, validation_data=(x, y), verbose=0, callbacks=[best]
    ).history[monitor]
    order = np.argsort(-np.array(history) if high else history, kind="stable")
    assert epochs_of(best.paths) == order[:3].tolist()
    np.testing.assert_array_equal(best.values, np.array(history)[order[:3]])
    copy.deepcopy(best)


def test_an_interrupted_training_goes_on(tmp_path):
    feed(BestCheckpoints(tmp_path, 2), [0.3, 0.2, 0.1])
    # Back to the third epoch: what it had written is written once more.
    best = feed(BestCheckpoints(tmp_path, 2), [0.4, 0.25], start=2)
    assert epochs_of(best.paths) == [1, 3]
    assert len(os.listdir(tmp_path)) == 2


def test_checkpoints_of_another_training_are_not_mixed_in(tmp_path):
    feed(BestCheckpoints(tmp_path, 3), [0.05, 0.3, 0.1])
    with pytest.raises(ValueError, match="has checkpoints of another training"):
        feed(BestCheckpoints(tmp_path, 3), [0.5])
    assert len(os.listdir(tmp_path)) == 3
    with pytest.raises(ValueError, match="has checkpoints of another training"):
        feed(BestCheckpoints(tmp_path, 2, "loss"), [0.5], start=5)
    best = feed(BestCheckpoints(tmp_path, 2, overwrite=True), [0.5])
    assert epochs_of(best.paths) == [0]
    assert len(os.listdir(tmp_path)) == 1


def test_it_never_ends_a_training(tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match="no number 'val_loss' in the logs") as found:
        best = feed(BestCheckpoints(tmp_path), [1, 2], monitor="val_auc")
    assert "of epoch 1, so that it is not kept. There are: loss, val_auc" in str(
        found[0].message
    )
    assert best.paths == []

    def save(model, path):
        raise OSError("No space left on device")

    monkeypatch.setattr("keras_babysit.ensemble.files.save", save)
    with pytest.warns(UserWarning, match="No space left on device") as found:
        best = feed(BestCheckpoints(tmp_path), [1, 2])
    assert len(found) == 1
    assert best.paths == best.values == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"directory": None}, "`directory` must be a directory"),
        ({"k": 0}, "`k` must be a positive integer"),
        ({"monitor": ""}, "`monitor` must be the name of a metric"),
        ({"mode": "best"}, "`mode` must be 'auto', 'min' or 'max'"),
    ],
)
def test_bad_input(arguments, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        BestCheckpoints(**{"directory": tmp_path, **arguments})


def test_a_metric_of_unknown_direction(tmp_path):
    with pytest.raises(ValueError, match=r"isn't able to automatically determine"):
        feed(BestCheckpoints(tmp_path, monitor="mine"), [1.0], monitor="mine")
