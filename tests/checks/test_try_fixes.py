"""Advice that is tried out: whole trainings, and everything a user may ask for."""

import json
import re

import keras
import numpy as np
import pytest
from keras import layers as L
from sklearn.datasets import load_digits
from support import untouched

import keras_babysit
from keras_babysit import Babysitter, preflight, try_fixes
from keras_babysit.rules import fixes

QUIET = {"verbose": 0, "seconds": 300, "steps": 120, "seeds": 2}


def blobs(n=400, classes=3):
    draw = np.random.default_rng(0)
    y = draw.integers(0, classes, n)
    x = draw.normal(size=(n, 8)) + 4 * np.eye(8)[y]
    return x.astype("float32"), y


def net(rate=1e-2, activation="softmax", loss="sparse_categorical_crossentropy"):
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8,)), L.Dense(16, "relu"), L.Dense(3, activation)]
    )
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def digits():
    x, y = load_digits(return_X_y=True)
    return x[:800].astype("float32"), y[:800]


def too_fast():
    """Under a rate that is 300 times too high."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    hidden = [L.Dense(48, "relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((64,)), *hidden, L.Dense(10, "softmax")])
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(0.3), loss, metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def high_rate():
    """A rate a thousand times too high: the model, before, and what was tried."""
    model, (x, y) = too_fast(), digits()
    before = untouched.everything(model)
    tried = try_fixes(model, x, y, **QUIET)
    return untouched.differences(before, untouched.everything(model)), tried


def test_the_cause_is_named_by_what_helps(high_rate):
    _, tried = high_rate
    assert tried.best.verdict == "better"
    assert [fix.kind for fix in tried.best.fixes] == ["learning_rate"]
    assert tried.best.value > 0.8 > 0.4 > tried.baseline.value
    assert tried.findings[0].tried.startswith("tried: with a learning rate of")
    assert "learning_rate=" in tried.code
    assert "'sparse_categorical_crossentropy'" not in tried.code
    assert "loss=model.loss" in tried.code
    assert max(map(len, tried.code.splitlines())) <= 88


def test_the_model_is_as_it_was(high_rate):
    differences, _ = high_rate
    assert not differences


def test_what_was_tried_shows_itself(high_rate, tmp_path):
    _, tried = high_rate
    text = str(tried)
    assert "as it is" in text
    assert tried.code.splitlines()[0] in text
    for ending in ("html", "md", "json", "txt"):
        assert tried.save(tmp_path / f"tried.{ending}").stat().st_size > 200
    found = json.loads(tried.to_json())
    assert found["best"]["words"] == tried.best.words
    assert found["findings"][0]["tried"] == tried.findings[0].tried


@pytest.mark.tensorflow
def test_a_missing_activation_has_two_remedies():
    x, y = blobs()
    tried = try_fixes(net(activation=None), x, y, **QUIET)
    better = {trial.words for trial in tried.trials if trial.verdict == "better"}
    assert better <= {"softmax as the output activation", "from_logits=True"}
    assert better
    assert tried.findings[0].rule == "missing-output-activation"


def test_a_model_that_cannot_be_trained_as_it_is():
    x, y = blobs()
    tried = try_fixes(net(loss="categorical_crossentropy"), x, y, **QUIET)
    assert "cannot be trained" in tried.summary
    assert "sparse_categorical_crossentropy" in tried.code


def test_nothing_is_claimed_of_a_healthy_model():
    x, y = blobs()
    tried = try_fixes(net(), x, y, **QUIET)
    assert tried.best is None
    assert tried.code == ""
    assert "no advice" in tried.summary
    forced = try_fixes(
        net(), x, y, findings=(), fixes=[fixes.clip(), fixes.shuffle()], **QUIET
    )
    assert [trial.verdict for trial in forced.trials] == ["no difference"] * 2


def test_a_report_tries_its_advice(tmp_path):
    model, (x, y) = too_fast(), digits()
    babysitter = Babysitter(tmp_path, verbose=0)
    model.fit(x, y, epochs=4, verbose=0, callbacks=[babysitter])
    before = untouched.everything(model)
    tried = babysitter.report.try_fixes(x, y, **QUIET)
    assert tried.best is not None
    assert tried.batch_size == 32
    assert not untouched.differences(before, untouched.everything(model))


def test_a_report_of_another_process_says_what_to_do(tmp_path):
    report = keras_babysit.Report()
    with pytest.raises(ValueError, match="in this process"):
        report.try_fixes(np.zeros((20, 1)))


def test_preflight_tries_as_well(high_rate, monkeypatch):
    _, tried = high_rate
    asked = []

    def stub(model, sample, findings, changes, terms, verbose):
        asked.append((model.name, sample.size, findings, terms.seconds, verbose))
        return tried

    monkeypatch.setattr("keras_babysit.checks.try_fixes.tried", stub)
    x, y = blobs()
    model = net()
    arguments = {"checks": ["model_and_data"], "verbose": 0}
    found = preflight(model, x, y, try_fixes=True, **arguments)
    assert asked == [(model.name, 400, None, 60.0, 0)]
    assert found.tried is tried
    assert "Advice tried" in str(found)
    assert found.to_dict()["tried"]["best"]
    assert preflight(model, x, y, **arguments).tried is None


@pytest.mark.tensorflow
def test_from_a_dataset_and_with_weights():
    import tensorflow as tf

    x, y = blobs()
    data = tf.data.Dataset.from_tensor_slices((x, y, np.ones(len(y)))).batch(20)
    tried = try_fixes(net(), data, findings=(), fixes=[fixes.equal_weights()], **QUIET)
    assert tried.samples == 400
    assert tried.trials[0].verdict == "no difference"


class OwnStep(keras.Model):
    """Trains without a call and without targets."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(1)

    def call(self, x):
        return self.dense(x)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        return keras.ops.mean((y_pred - keras.ops.sum(x, 1, keepdims=True)) ** 2)


def test_where_only_the_loss_can_tell():
    keras.utils.clear_session()
    model = OwnStep()
    model.compile(keras.optimizers.SGD(1e-6))
    x, _ = blobs()
    change = fixes.learning_rate(0.02)
    tried = try_fixes(model, x, findings=(), fixes=[change], **QUIET)
    assert tried.metric == "fall of the loss"
    assert tried.best.fixes == (change,)
    assert "the loss falls by" in tried.summary


def test_a_budget_that_is_far_too_short():
    x, y = digits()
    tried = try_fixes(too_fast(), x, y, seconds=0.05, verbose=0)
    assert tried.best is None
    assert tried.unfinished
    assert "not enough time" in tried.summary or "no advice" in tried.summary


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"steps": 3}, ValueError, "Received: steps=3"),
        ({"seeds": 0}, ValueError, "Received: seeds=0"),
        ({"seconds": -1}, ValueError, "Received: seconds=-1"),
        ({"batch_size": 0}, ValueError, "Received: batch_size=0"),
        ({"samples": 2}, ValueError, "Received: samples=2"),
        ({"shuffle": "no"}, ValueError, "Received: shuffle='no'"),
        ({"fixes": fixes.clip()}, ValueError, "`fixes` must be a list"),
        ({"fixes": ["clip"]}, ValueError, "`fixes` must be a list"),
        ({"findings": "loss-flat"}, ValueError, "`findings` must be findings"),
        ({"verbose": 7}, ValueError, "Received: verbose=7"),
        ({"x": None}, ValueError, "Received: x=None"),
        ({"y": np.zeros(3)}, ValueError, "same number of samples"),
        ({"model": "mlp"}, TypeError, "Received: 'mlp'"),
    ],
    ids=str,
)
def test_bad_input(arguments, error, words):
    x, y = blobs(40)
    given = {"model": net(), "x": x, "y": y, **arguments}
    with pytest.raises(error, match=re.escape(words)):
        try_fixes(**given)


def test_a_model_that_is_not_compiled():
    x, y = blobs(40)
    model = keras.Sequential([keras.Input((8,)), L.Dense(3)])
    with pytest.raises(ValueError, match="must be compiled"):
        try_fixes(model, x, y)
    with pytest.raises(ValueError, match="try_fixes"):
        preflight(net(), x, y, try_fixes="yes")
