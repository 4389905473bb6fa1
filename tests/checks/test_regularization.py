"""More strength, more loss; and no regularizer that overwhelms the data."""

import random

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from keras import regularizers as R
from support import models

import keras_babysit
from keras_babysit import check_regularization
from keras_babysit.checks import available
from keras_babysit.checks.regularization import run
from keras_babysit.inspection.sample import sample_of

N, D, C = 96, 8, 4
RNG = np.random.default_rng(2)
X = RNG.normal(size=(N, D)).astype("float32")
LABELS = RNG.integers(0, C, N)
Y = RNG.normal(size=(N, 3)).astype("float32")


def small(regularizer=None, cls=keras.Sequential, optimizer="adam", **kwargs):
    keras.utils.set_random_seed(4)
    model = cls(
        [
            keras.Input((D,)),
            L.Dense(24, activation="relu", kernel_regularizer=regularizer, **kwargs),
            L.Dropout(0.5),
            L.Dense(C, kernel_regularizer=regularizer),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    return model


class Strength(R.Regularizer):
    """One of one's own, with whatever penalty."""

    def __init__(self, penalty, strength=0.1):
        self.penalty, self.strength = penalty, strength

    def __call__(self, w):
        return self.penalty(w, self.strength)


def test_nothing_to_check():
    found = check_regularization(small(optimizer="adamw"), X, LABELS)
    assert found.verdict == "skipped"
    assert "nothing is added" in found.summary
    assert "weight_decay=0.004" in found.notes[0]


def test_numbers():
    """Against NumPy: a linear model, whose gradients are known."""
    model = keras.Sequential(
        [
            keras.Input((D,)),
            L.Dense(
                3,
                kernel_regularizer=R.L2(0.02),
                bias_regularizer=R.L1(0.1),
                activity_regularizer=R.L2(0.005),
            ),
        ]
    )
    model.compile("sgd", "mse")
    model.layers[0].bias.assign([1.0, -2.0, 0.5])
    w, b = (np.array(v, float) for v in model.weights)
    x, y = X[:64].astype(float), Y[:64].astype(float)
    out = x @ w + b
    found = check_regularization(model, X[:64], Y[:64])
    kernel, bias, activity = found.rows
    data = ((out - y) ** 2).mean()
    assert found.evidence["data_loss"] == pytest.approx(data, rel=1e-5)
    l2, l1 = 0.02 * (w**2).sum(), 0.1 * np.abs(b).sum()
    outputs = 0.005 * (out**2).sum() / 64
    total = l2 + l1 + outputs
    assert found.evidence["penalties"] == pytest.approx(total, rel=1e-5)
    assert found.evidence["rise"] == pytest.approx(
        9 * (l2 + l1 + 0.005 * (out[:32] ** 2).sum() / 32), rel=1e-4
    )
    assert found.evidence["expected_rise"] == pytest.approx(
        found.evidence["rise"], rel=1e-4
    )
    assert float(kernel["Value"]) == pytest.approx(l2, rel=5e-3)
    assert float(kernel["At 10 times"]) == pytest.approx(10 * l2, rel=5e-3)
    assert float(bias["Value"]) == pytest.approx(l1, rel=5e-3)
    assert float(activity["Value"]) == pytest.approx(outputs, rel=5e-3)
    assert float(activity["At 10 times"]) == pytest.approx(10 * outputs, rel=5e-3)

    error = 2 * (out - y) / out.size
    of_data = x.T @ error, error.sum(0)
    norm = np.linalg.norm
    ratio = norm(0.04 * w) / norm(of_data[0])
    assert float(kernel["Gradient / data's"]) == pytest.approx(ratio, rel=5e-3)
    ratio = norm(0.1 * np.sign(b)) / norm(of_data[1])
    assert float(bias["Gradient / data's"]) == pytest.approx(ratio, rel=5e-3)
    push = 2 * 0.005 * out / 64
    of_outputs = x.T @ push, push.sum(0)
    whole = norm(np.concatenate([g.ravel() for g in of_data]))
    ratio = norm(np.concatenate([g.ravel() for g in of_outputs])) / whole
    assert float(activity["Gradient / data's"]) == pytest.approx(ratio, rel=5e-3)
    sums = 0.04 * w + of_outputs[0], 0.1 * np.sign(b) + of_outputs[1]
    ratio = norm(np.concatenate([g.ravel() for g in sums])) / whole
    assert found.evidence["gradient_ratio"] == pytest.approx(ratio, rel=1e-4)
    assert found.verdict == "passed"


def test_usual_regularizers_pass():
    for regularizer in (
        "l2",
        "l1",
        R.L1L2(1e-4, 1e-3),
        R.OrthogonalRegularizer(0.01),
        R.OrthogonalRegularizer(0.02, mode="columns"),
        Strength(lambda w, s: s * ops.mean(ops.square(w))),
        lambda w: 1e-3 * ops.sum(ops.square(w)),
    ):
        model = small(regularizer, bias_regularizer="l2", activity_regularizer="l2")
        found = check_regularization(model, X, LABELS)
        assert found.verdict == "passed", str(found)
        assert found.evidence["rise"] == pytest.approx(
            found.evidence["expected_rise"], rel=1e-3
        )
        assert len(found.rows) == 4
    # A bias of zeros has no penalty yet: no fault.
    assert "/bias" in str(found)


def test_other_models():
    keras.utils.set_random_seed(0)
    for make in (models.cnn, models.shared_and_nested, models.subclassed):
        model, (x, y) = make()
        models.compile_model(model)
        model(x if isinstance(x, dict) else x[:2])
        for variable in model.trainable_variables:
            variable.regularizer = R.L2(1e-3)
        found = check_regularization(model, x, y)
        assert found.verdict == "passed", str(found)
        assert len(found.rows) == len(model.trainable_variables)
        assert found.evidence["rise"] == pytest.approx(
            found.evidence["expected_rise"], rel=1e-2
        )
    cell = L.GRU(3, kernel_regularizer="l2", recurrent_regularizer="l1")
    model = keras.Sequential([keras.Input((5, 2)), L.Bidirectional(cell), L.Dense(1)])
    model.compile("adam", "mse")
    found = check_regularization(model, np.ones((9, 5, 2)), np.ones(9))
    assert len(found.rows) == 4


@pytest.mark.parametrize("regularizer", [R.L2, R.L1], ids=["l2", "l1"])
def test_overwhelming(regularizer):
    given = regularizer(3.0)
    found = check_regularization(small(given), X, LABELS)
    assert found.verdict == "failed"
    assert "overwhelms the data" in found.summary
    name = regularizer.__name__
    assert f"instead of `{name}({name.lower()}=3)` at all 2 places" in found.action
    # What it advises passes.
    advised = float(found.action.split("=")[1].split(")")[0])
    again = check_regularization(small(regularizer(advised)), X, LABELS)
    assert again.verdict == "passed"
    assert again.evidence["ratio"] == pytest.approx(0.1, rel=0.5)


def test_large_but_harmless():
    """The penalties of many weights sum up, but none of them is pulled much."""
    keras.utils.set_random_seed(4)
    wide = [L.Dense(256, "relu", kernel_regularizer=R.L1(1e-3)) for _ in range(2)]
    model = keras.Sequential([keras.Input((D,)), *wide, L.Dense(C)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    found = check_regularization(model, X, LABELS)
    assert found.evidence["ratio"] > 1
    assert found.evidence["gradient_ratio"] < 1
    assert found.verdict == "passed"
    assert "larger than the loss on the data" in found.notes[0]


def test_wrong_penalties():
    for penalty, seen, action in (
        (lambda w, s: -s * ops.sum(w * w), "negative penalty", "turn its sign"),
        (lambda w, s: s * ops.sum(ops.log(w)), "gives nan", "logarithm"),
        (lambda w, s: 0.1 * ops.sum(w * w), "no more at ten times", "multiply"),
    ):
        model = small(Strength(penalty))
        found = check_regularization(model, X, LABELS)
        assert found.verdict == "failed"
        assert seen in found.summary
        assert "Strength 0.1" in found.summary
        assert model.layers[0].kernel.path in found.summary
        assert action in found.action
    # Of outputs a negative one may be meant.
    entropy = Strength(lambda p, s: -s * ops.sum(ops.square(p)))
    found = check_regularization(small(activity_regularizer=entropy), X, LABELS)
    assert found.verdict == "worrying"


def test_loss_without_penalties():
    class Forgets(keras.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **k):
            losses = keras.losses.sparse_categorical_crossentropy(y, y_pred, True)
            return ops.mean(losses)

    found = check_regularization(small("l2", cls=Forgets), X, LABELS)
    assert found.verdict == "failed"
    assert "leaves them out" in found.summary
    assert "self.losses" in found.action
    model = models.CustomStep()
    model.out.kernel_regularizer = R.L2(0.01)
    models.compile_model(model)
    found = check_regularization(model, X, LABELS)
    assert found.verdict == "passed"
    assert any("its own `train_step`" in note for note in found.notes)


def test_noise_is_no_rise():
    class Noisy(L.Layer):
        def call(self, x):
            return x + 3 * keras.random.normal(ops.shape(x), seed=self.seed)

    for seed in range(3):
        noise = Noisy()
        noise.seed = keras.random.SeedGenerator(seed)
        inputs = keras.Input((D,))
        outputs = L.Dense(3, kernel_regularizer=R.L2(1e-3))(noise(inputs))
        model = keras.Model(inputs, outputs)
        model.compile("adam", "mse")
        found = check_regularization(model, X, Y)
        assert found.verdict == "passed"
        assert found.evidence["rise"] == pytest.approx(
            found.evidence["expected_rise"], rel=1e-2
        )


def test_notes():
    model = small(R.L2(0.01), optimizer=keras.optimizers.AdamW(weight_decay=0.02))
    found = check_regularization(model, X, LABELS)
    assert any("choose one" in note for note in found.notes)
    found = check_regularization(small(R.L1(1e-4), optimizer="adamw"), X, LABELS)
    assert any("no part of the loss" in note for note in found.notes)

    model = small("l2")
    model.layers[0].trainable = False
    model.compile("adam", model.loss)
    found = check_regularization(model, X, LABELS)
    frozen = model.layers[0].kernel.path
    assert any("frozen" in note and frozen in note for note in found.notes)
    assert [row["Where"] for row in found.rows] == [model.layers[-1].kernel.path]

    found = check_regularization(small(R.L2(1e-9)), X, LABELS)
    assert found.verdict == "passed"
    assert any("too small" in note for note in found.notes)
    some = small(R.L2(0.0))
    some.layers[-1].kernel.regularizer = R.L2(1e-3)
    found = check_regularization(some, X, LABELS)
    assert found.verdict == "passed"
    assert any("strength is 0" in note for note in found.notes)


def test_a_strength_of_0_adds_nothing():
    model = small(R.L2(0.0))
    found = check_regularization(model, X, LABELS)
    assert found.verdict == "skipped"
    assert "strength of every regularizer is 0" in found.summary
    assert model.layers[0].kernel.path in found.summary


def test_a_penalty_without_a_gradient_changes_nothing():
    penalty = Strength(lambda w, s: ops.stop_gradient(s * ops.sum(w * w)))
    found = check_regularization(small(penalty), X, LABELS)
    assert found.verdict == "failed"
    assert "its gradient is zero" in found.summary
    assert "stop_gradient" in found.action


def test_added_losses():
    class Adds(L.Layer):
        def call(self, x):
            self.add_loss(-7 * ops.mean(ops.square(x)))
            return x

    inputs = keras.Input((D,))
    h = Adds(name="adds", activity_regularizer=R.L2(0.01))(inputs)
    model = keras.Model(inputs, L.Dense(3)(h))
    model.compile("adam", "mse")
    found = check_regularization(model, X, Y)
    assert found.verdict == "passed"
    by_name = {row["Penalty"]: row for row in found.rows}
    expected = -7 * (X**2).mean()
    assert float(by_name["add_loss"]["Value"]) == pytest.approx(expected, rel=5e-3)
    expected = 0.01 * (X**2).sum() / N
    assert float(by_name["activity L2 0.01"]["Value"]) == pytest.approx(expected, 5e-3)
    assert found.evidence["penalties"] == pytest.approx(expected, rel=1e-5)
    assert any("may be what is trained" in note for note in found.notes)
    assert by_name["add_loss"]["Gradient / data's"] == "–"

    model = keras.Model(inputs, Adds()(L.Dense(3, kernel_regularizer="l2")(inputs)))
    model.compile("adam")
    found = check_regularization(model, X)
    assert found.verdict == "passed"
    assert any("no compiled loss" in note for note in found.notes)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    found = check_regularization(small("l2"), X, LABELS)
    assert found.verdict == "passed"
    assert found.evidence["rise"] == pytest.approx(
        found.evidence["expected_rise"], rel=1e-3
    )


def test_given_back_and_repeatable():
    model = small("l2", activity_regularizer="l1")
    model.fit(X, LABELS, verbose=0)
    model(X[:3])
    state, losses = (
        models.state(model),
        [keras.ops.convert_to_numpy(v) for v in model.losses],
    )
    before = random.getstate(), np.random.get_state()[1].tolist()
    kept = [
        *(v.regularizer for v in model.variables),
        *(layer.activity_regularizer for layer in model.layers),
        model._compile_loss,
        model.optimizer,
        model.train_function,
    ]
    first = check_regularization(model, X, LABELS)
    assert str(first) == str(check_regularization(model, X, LABELS))
    for a, b in zip(state, models.state(model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert losses == [keras.ops.convert_to_numpy(v) for v in model.losses]
    assert before == (random.getstate(), np.random.get_state()[1].tolist())
    after = [
        *(v.regularizer for v in model.variables),
        *(layer.activity_regularizer for layer in model.layers),
        model._compile_loss,
        model.optimizer,
        model.train_function,
    ]
    assert all(a is b for a, b in zip(kept, after, strict=True))
    assert float(kept[0].l2) == 0.01


def test_printing_progress_and_preflight():
    steps = []
    model = small(R.L1L2(1e-3, 2.0), activity_regularizer="l2")
    found = check_regularization(
        model, X, LABELS, progress=lambda share, what: steps.append(share)
    )
    assert max(map(len, str(found).splitlines())) <= 100
    assert steps == sorted(steps)
    assert steps[-1] == 1.0
    assert available()["regularization"].run is run
    assert run(model, sample_of(X, LABELS, n=N)).verdict == found.verdict
    assert keras_babysit.check_regularization is check_regularization


def test_bad_arguments():
    with pytest.raises(ValueError, match="positive integer"):
        check_regularization(small(), X, LABELS, samples=True)
    with pytest.raises(ValueError, match="must be positive"):
        check_regularization(small(), X, LABELS, limit=0)
    with pytest.raises(ValueError, match="must be finite"):
        check_regularization(small(), np.full_like(X, np.nan), LABELS)
    with pytest.raises(TypeError, match=r"must be a keras\.Model"):
        check_regularization("model", X, LABELS)
