"""What the Babysitter says, and what it does about it."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_babysit
from keras_babysit import Babysitter
from keras_babysit.rules.rule import Sign, rule


def fitted(babysitter, *, units=1, activation="softmax", epochs=2, data=None, **kwargs):
    """A classifier of two classes; by default with softmax on one unit."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(8, "relu"),
            keras.layers.Dense(units, activation),
        ]
    )
    model.compile(
        "adam", "binary_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 5)).astype("float32")
    y = (x[:, 0] > 0).astype("float32")
    data = data(x, y) if data else {"x": x, "y": y}
    model.fit(**data, epochs=epochs, verbose=0, callbacks=[babysitter], **kwargs)
    return model


def told(babysitter):
    return [f.rule for f in babysitter.report.findings if not f.because]


def test_the_root_cause_is_told_before_the_first_step(tmp_path, capsys):
    babysitter = Babysitter(tmp_path)
    fitted(babysitter)
    assert told(babysitter)[0] == "softmax-on-one-unit"
    finding = babysitter.report.findings[0]
    assert (finding.since_step, finding.since_epoch) == (0, 0.0)
    assert finding.severity == "error"
    assert 'activation="sigmoid"' in finding.action
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "softmax-on-one-unit" in out or "softmax" in out


def test_silent_when_all_is_well(tmp_path, capsys):
    babysitter = Babysitter(tmp_path, verbose=0)
    fitted(babysitter, activation="sigmoid", epochs=5)
    assert list(babysitter.report.problems) == []
    assert capsys.readouterr().out == ""


class Copied(keras.Model):
    """Trains one part and keeps a slow copy of it; the model itself is not called."""

    def __init__(self):
        super().__init__()
        self.fast, self.slow = (
            keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
            for _ in range(2)
        )

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.fast(x)[:, 0] - y))
        weights = self.fast.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss}


def test_a_model_that_is_never_called_is_known(tmp_path):
    keras.utils.set_random_seed(0)
    model = Copied()
    model.compile(keras.optimizers.Adam(1e-2))
    x = np.random.default_rng(0).normal(size=(256, 5)).astype("float32")
    babysitter = Babysitter(tmp_path, verbose=0)
    model.fit(x, x[:, 0], epochs=3, verbose=0, callbacks=[babysitter])
    assert not model.built
    # Known to have a step of its own, which may well train a part of it.
    assert "disconnected-layer" not in told(babysitter)


def test_a_model_without_an_input_is_known_as_it_was_at_first(tmp_path):
    """Keras builds it while the first step is traced, after the data were seen."""
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    babysitter = Babysitter(tmp_path, verbose=0)
    model.fit(x, x[:, :1], epochs=2, verbose=0, callbacks=[babysitter])
    layer = babysitter.history.model.layers[-1]
    assert layer.weights[0].min == layer.weights[0].max == 1
    assert babysitter.report.unasked == ()


def test_ignore_rules_and_none_at_all(tmp_path):
    babysitter = Babysitter(tmp_path / "a", verbose=0, ignore=["softmax-on-one-unit"])
    fitted(babysitter)
    assert "softmax-on-one-unit" not in told(babysitter)
    babysitter = Babysitter(tmp_path / "b", verbose=0, rules=["softmax-on-one-unit"])
    fitted(babysitter)
    assert told(babysitter) == ["softmax-on-one-unit"]
    babysitter = Babysitter(tmp_path / "c", rules=[])
    fitted(babysitter)
    assert babysitter.report.findings == ()


def test_stop_at_the_first_error(tmp_path):
    babysitter = Babysitter(tmp_path, verbose=0, on_finding="stop")
    model = fitted(babysitter, epochs=50)
    assert len(model.history.epoch) == 1
    assert babysitter.report.stopped.startswith("softmax-on-one-unit")


def test_a_function_gets_each_new_finding(tmp_path):
    got = []
    babysitter = Babysitter(tmp_path, verbose=0, on_finding=got.append)
    fitted(babysitter)
    assert got[0].rule == "softmax-on-one-unit"
    assert len({(f.rule, f.where) for f in got}) == len(got)


def as_dataset(x, y):
    import tensorflow as tf

    return {"x": tf.data.Dataset.from_tensor_slices((x, y[:, None])).batch(32)}


def as_generator(x, y):
    def batches():
        while True:
            for i in range(0, 256, 32):
                yield x[i : i + 32], y[i : i + 32, None]

    return {"x": batches(), "steps_per_epoch": 8}


@pytest.mark.parametrize("data", [as_dataset, as_generator])
def test_data_that_only_training_draws(tmp_path, data):
    babysitter = Babysitter(tmp_path, verbose=0)
    fitted(babysitter, activation="sigmoid", data=data)
    facts = babysitter.history.data
    assert facts.source == "batches"
    assert facts.inputs[0].seen >= 32
    assert facts.targets[0].counts


def test_labels_of_data_sets_are_judged_too(tmp_path):
    def wrong(x, y):
        return as_dataset(x, 2 * y - 1)

    babysitter = Babysitter(tmp_path, verbose=0)
    fitted(babysitter, activation="sigmoid", data=wrong)
    assert "labels-out-of-range" in told(babysitter)


def test_a_broken_rule_is_one_warning(tmp_path):
    @rule(severity="error", when="step", since="a test")
    def broken(history):
        """Broken."""
        raise RuntimeError("planted")
        yield

    babysitter = Babysitter(tmp_path, verbose=0, rules=[broken])
    with pytest.warns(UserWarning, match="planted") as caught:
        fitted(babysitter, activation="sigmoid")
    assert len([w for w in caught if "planted" in str(w.message)]) == 1


def test_an_error_of_the_users_function_is_the_users(tmp_path):
    def on_finding(finding):
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fitted(Babysitter(tmp_path, verbose=0, on_finding=on_finding))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"on_finding": "halt"}, "Received: on_finding='halt'"),
        ({"verbose": 3}, "Received: verbose=3"),
        ({"rules": "dead-relu"}, "Received: rules='dead-relu'"),
        ({"ignore": ["dead"]}, "no rule of that name.*Received: 'dead'"),
        ({"thresholds": {"dead-relu": {"x": 1}}}, "has no threshold 'x'"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Babysitter("logs", **kwargs)


def test_report_of_the_files_is_that_of_the_run(tmp_path):
    from keras_babysit.event_files.reader import read_report

    babysitter = Babysitter(tmp_path, verbose=0)
    fitted(babysitter)
    report = read_report(tmp_path)
    expected = [json.dumps(f.to_dict()) for f in babysitter.report.findings]
    assert [json.dumps(f.to_dict()) for f in report.findings] == expected


def test_a_report_before_training(tmp_path):
    report = Babysitter(tmp_path).report
    assert report.findings == ()
    assert str(report)


def test_loggers_judge_nothing_unless_asked(tmp_path, capsys):
    logger = keras_babysit.UpdateRatioLogger(tmp_path / "a")
    fitted(logger)
    assert logger.report.findings == ()
    assert capsys.readouterr().out == ""


def test_the_window_that_rules_see():
    from keras_babysit.history import MAX_WINDOW, RunHistory
    from keras_babysit.records import (
        LayerStats,
        StepRecord,
        TensorStats,
        VariableStats,
    )

    def stats(value):
        return TensorStats(4, 0, 0, value, -1, 1, 0, 1)

    history = RunHistory()
    assert history.window("gradient.norm").values.shape == (0, 0)
    for i in range(MAX_WINDOW + 5):
        history.append(
            StepRecord(
                step=i,
                epoch=i / 10,
                variables=(
                    VariableStats("a", gradient=stats(i), update_ratio=0.1),
                    VariableStats("b", update_ratio=0.2),
                ),
                layers=(LayerStats("l", stats(2 * i), dead_fraction=0.5),),
            )
        )
    window = history.window("gradient.norm", 3)
    assert window.places == ("a",)
    assert window.steps.tolist() == [MAX_WINDOW + 2, MAX_WINDOW + 3, MAX_WINDOW + 4]
    assert window.values[:, 0].tolist() == window.steps.tolist()
    assert history.window("update_ratio").values.shape == (MAX_WINDOW, 2)
    assert history.window("activation.norm", 1).values[0, 0] == 2 * (MAX_WINDOW + 4)
    assert history.window("saturation_fraction").places == ()

    # Without its variables a step is no row of theirs; other variables start anew.
    history.append(StepRecord(step=500, epoch=50.0))
    assert history.window("update_ratio", 1).steps.tolist() == [MAX_WINDOW + 4]
    other = (VariableStats("c", update_ratio=1.0),)
    history.append(StepRecord(step=501, epoch=50.1, variables=other))
    assert history.window("update_ratio").values.tolist() == [[1.0]]


class Same(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        self.state = [np.array(v) for v in self.model.variables]
        self.random = np.random.get_state()[1].copy()


def test_judging_changes_nothing(tmp_path):
    seen = []
    for callbacks in ([], [Babysitter(tmp_path, verbose=0, every=1)]):
        same = Same()
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                keras.Input((5,)),
                keras.layers.Dense(8, "relu"),
                keras.layers.Dropout(0.5),
                keras.layers.Dense(1, "sigmoid"),
            ]
        )
        model.compile("adam", "binary_crossentropy", jit_compile=False)
        x = np.random.normal(size=(300, 5))
        model.fit(
            x,
            x[:, 0] > 0,
            validation_split=0.2,
            verbose=0,
            callbacks=[*callbacks, same],
        )
        seen.append(same)
    for a, b in zip(seen[0].state, seen[1].state, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(seen[0].random, seen[1].random)


def test_custom_sign_severity():
    sign = Sign("a", "seen", "cause", "action", severity="info")
    assert sign.severity == "info"


def test_the_same_arrays_are_looked_at_once(tmp_path, monkeypatch):
    from keras_babysit.inspection import data

    looked = []
    original = data.data_facts

    def counting(fed):
        looked.append(fed)
        return original(fed)

    monkeypatch.setattr(data, "data_facts", counting)
    babysitter = Babysitter(tmp_path, verbose=0)
    for _ in range(2):
        fitted(babysitter, activation="sigmoid", epochs=1)
    assert len(looked) == 1
    fitted(babysitter, epochs=1, data=lambda x, y: {"x": x, "y": 1 - y})
    assert len(looked) == 2
