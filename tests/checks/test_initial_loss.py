"""Fresh models are at chance whatever their loss; planted faults are named."""

import random
import re

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from support import models

import keras_babysit
from keras_babysit import check_initial_loss
from keras_babysit.checks import available
from keras_babysit.checks.initial_loss import run
from keras_babysit.inspection.sample import sample_of

N, C, D = 96, 6, 20
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, D)).astype("float32")
LABELS = RNG.integers(0, C, N)
ONE_HOT = np.eye(C, dtype="float32")[LABELS]
BITS = (RNG.random((N, C)) < 0.2).astype("float32")
NUMBERS = RNG.normal(size=(N, 1)).astype("float32")
K = keras.losses

#: Output: units, activation, loss, targets.
HEADS = {
    "sparse": (C, "softmax", "sparse_categorical_crossentropy", LABELS),
    "sparse_logits": (C, None, K.SparseCategoricalCrossentropy(True), LABELS),
    "classes": (C, "softmax", "categorical_crossentropy", ONE_HOT),
    "smoothed": (C, None, K.CategoricalCrossentropy(True, 0.1), ONE_HOT),
    "focal": (C, "softmax", "categorical_focal_crossentropy", ONE_HOT),
    "generalized": (C, "softmax", K.CategoricalGeneralizedCrossEntropy(), LABELS),
    "kld": (C, "softmax", "kl_divergence", RNG.dirichlet(np.ones(C), N)),
    "category_hinge": (C, None, "categorical_hinge", ONE_HOT),
    "binary": (1, "sigmoid", "binary_crossentropy", BITS[:, 0]),
    "multi_label": (C, None, K.BinaryCrossentropy(from_logits=True), BITS),
    "binary_focal": (C, "sigmoid", "binary_focal_crossentropy", BITS),
    "hinge": (1, None, "hinge", BITS[:, :1]),
    "squared_hinge": (1, "tanh", "squared_hinge", 2 * BITS[:, :1] - 1),
    "dice": (C, "sigmoid", "dice", BITS),
    "tversky": (C, "softmax", "tversky", ONE_HOT),
    "mse": (1, None, "mse", NUMBERS[:, 0]),
    "mse_positive": (1, "relu", "mse", np.abs(NUMBERS)),
    "mse_unit": (3, "sigmoid", "mse", RNG.random((N, 3))),
    "mae": (1, None, "mae", 5 + 4 * NUMBERS),
    "mape": (1, None, "mape", 20 + NUMBERS),
    "msle": (1, "softplus", "msle", 1000 * np.exp(NUMBERS)),
    "huber": (2, None, "huber", RNG.normal(size=(N, 2))),
    "log_cosh": (1, None, "log_cosh", NUMBERS),
    "poisson": (1, "exponential", "poisson", RNG.poisson(40, N)),
    "poisson_softplus": (1, "softplus", "poisson", RNG.poisson(2, N)),
    "cosine": (8, None, "cosine_similarity", RNG.normal(size=(N, 8))),
    "cosine_positive": (8, "relu", "cosine_similarity", RNG.random((N, 8))),
    "circle": (16, "unit", K.Circle(), LABELS),
    "ctc": (5, "frames", "ctc", RNG.integers(1, 5, (N, 3))),
}
INITIALIZERS = (
    "glorot_uniform",
    "he_normal",
    "zeros",
)


def many(initializer, seed, names=tuple(HEADS), depth=2, activation="relu"):
    """One model with an output for each loss."""
    keras.utils.set_random_seed(seed)
    h = inputs = keras.Input((D,))
    for _ in range(depth):
        hidden = "he_normal" if initializer == "zeros" else initializer
        h = L.Dense(48, activation, kernel_initializer=hidden)(h)
    outputs = {}
    for name in names:
        units, activation, _, _ = HEADS[name]
        own = {"kernel_initializer": initializer, "name": name}
        if activation == "unit":
            made = L.UnitNormalization(name=name)(L.Dense(units)(h))
        elif activation == "frames":
            made = L.Dense(units, **own)(L.Reshape((8, 6))(h))
        else:
            made = L.Dense(units, activation, **own)(h)
        outputs[name] = made
    model = keras.Model(inputs, outputs)
    model.compile("adam", {name: HEADS[name][2] for name in names})
    return model, {name: HEADS[name][3] for name in names}


def small(units=C, activation=None, loss=None, seed=0, layers=(), **kwargs):
    keras.utils.set_random_seed(seed)
    hidden = L.Dense(32, activation="relu")
    model = keras.Sequential(
        [keras.Input((D,)), *layers, hidden, L.Dense(units, activation, **kwargs)]
    )
    loss = loss or K.SparseCategoricalCrossentropy(from_logits=activation is None)
    model.compile("adam", loss)
    return model


@pytest.mark.slow
def test_fresh_models_pass():
    """29 losses and heads, three initializers: nothing is said of any."""
    assert len({str(head[2]) for head in HEADS.values()}) >= 20
    for seed, initializer in enumerate(INITIALIZERS):
        activation = ("relu", "tanh", "gelu")[seed % 3]
        model, y = many(initializer, seed, HEADS, 1 + seed % 3, activation)
        found = check_initial_loss(model, X, y)
        wrong = [row for row in found.rows if row["Verdict"] != "passed"]
        assert not wrong, (initializer, wrong)
        assert found.verdict == "passed"
        assert len(found.evidence["outputs"]) == len(HEADS)
        assert f"{len(HEADS)} of {len(HEADS)} outputs" in found.summary


def test_usual_architectures_pass():
    for make in (
        models.cnn,
        models.shared_and_nested,
        models.subclassed,
        models.custom_step,
        models.embedding,
        models.transformer,
    ):
        keras.utils.set_random_seed(1)
        model, (x, y) = make()
        models.compile_model(model)
        found = check_initial_loss(model, x, y)
        assert found.verdict == "passed", (make.__name__, str(found))
        assert found.evidence["loss"] > 0
        if make is models.custom_step:
            assert any("its own `train_step`" in note for note in found.notes)


def test_numbers():
    model = small(activation="softmax")
    found = check_initial_loss(model, X, LABELS)
    p = keras.ops.convert_to_numpy(model(X))
    loss = -np.log(p[np.arange(N), LABELS]).mean()
    assert found.evidence["loss"] == pytest.approx(loss, rel=1e-5)
    assert found.evidence["chance"] == pytest.approx(np.log(C), rel=1e-5)
    shares = np.bincount(LABELS, minlength=C) / N
    entropy = -(shares * np.log(shares)).sum()
    assert found.evidence["constant"] == pytest.approx(entropy, rel=1e-4)
    assert found.evidence["ratio"] == pytest.approx(loss / np.log(C), rel=1e-4)
    assert "log 6" in found.summary


def test_regularization_is_left_out():
    plain = check_initial_loss(small(), X, LABELS).evidence
    model = small(kernel_regularizer=keras.regularizers.L2(100.0))
    assert check_initial_loss(model, X, LABELS).evidence == plain


def test_weights_of_samples_and_losses():
    weight = np.linspace(0, 4, N).astype("float32")
    found = check_initial_loss(small(activation="softmax"), X, LABELS, weight)
    assert found.verdict == "passed"
    assert found.evidence["chance"] == pytest.approx(weight.mean() * np.log(C), 1e-5)

    h = inputs = keras.Input((D,))
    a, b = L.Dense(C, "softmax", name="a")(h), L.Dense(1, name="b")(h)
    model = keras.Model(inputs, {"a": a, "b": b})
    losses = {"a": "sparse_categorical_crossentropy", "b": "mse"}
    model.compile("adam", losses, loss_weights={"a": 2.0, "b": 0.5})
    y = {"a": LABELS, "b": NUMBERS}
    found = check_initial_loss(model, X, y)
    expected = 2 * np.log(C) + 0.5 * (NUMBERS**2).mean()
    assert found.evidence["chance"] == pytest.approx(expected, rel=1e-5)
    assert found.evidence["loss"] == pytest.approx(
        model.evaluate(X, y, verbose=0, batch_size=N, return_dict=True)["loss"], 1e-4
    )
    assert [row["Weight"] for row in found.rows] == ["2", "0.5"]
    found = check_initial_loss(model, X, {"a": LABELS, "b": 60 * NUMBERS})
    assert found.verdict == "passed"
    assert re.match("output `b` makes (99|100)", found.notes[0])


def test_large_weights():
    for units, activation, loss, y in list(HEADS.values())[:10]:
        model = small(units, activation, loss)
        kernel = model.layers[-1].kernel
        kernel.assign(50 * kernel)
        found = check_initial_loss(model, X, y)
        if loss in ("categorical_focal_crossentropy", "kl_divergence") or (
            isinstance(loss, K.CategoricalGeneralizedCrossEntropy)
        ):
            continue  # Of wrong certainties these say little.
        assert found.verdict in ("worrying", "failed"), str(found)
        assert kernel.path in found.summary
        assert "smaller initial weights" in found.action
    model = small(1, None, "mse")
    model.layers[-1].kernel.assign(50 * model.layers[-1].kernel)
    assert check_initial_loss(model, X, NUMBERS).verdict == "failed"


def test_large_inputs():
    pixels = RNG.integers(0, 256, (N, D)).astype("uint8")
    found = check_initial_loss(small(), pixels, LABELS)
    assert found.verdict == "failed"
    assert "`x` goes from 0 to 255" in found.summary
    assert found.action.startswith("scale the inputs")
    # A normalization in front mends that, when training: the one that counts.
    for layer in (L.Rescaling(1 / 255), L.BatchNormalization()):
        found = check_initial_loss(small(layers=(layer,)), pixels, LABELS)
        assert found.verdict == "passed", str(found)
    assert found.evidence["loss_in_use"] > 3 * found.evidence["loss"]


def test_not_finite():
    model = small()
    kernel = np.array(model.layers[0].kernel)
    kernel[0, 0] = np.nan
    model.layers[0].kernel.assign(kernel)
    found = check_initial_loss(model, X, LABELS)
    assert found.verdict == "failed"
    assert "the loss is nan" in found.summary
    assert "of the outputs are not finite" in found.summary
    found = check_initial_loss(small(1, None, "poisson"), X, RNG.poisson(3, N))
    assert found.verdict == "failed"
    assert '`activation="exponential"`' in found.action

    def logarithm(y, p):
        return ops.log(y - 10) + 0 * ops.sum(p, -1)

    found = check_initial_loss(small(1, None, logarithm), X, NUMBERS)
    assert found.verdict == "failed"
    assert "`logarithm`" in found.action


def test_no_probabilities():
    found = check_initial_loss(small(loss="sparse_categorical_crossentropy"), X, LABELS)
    assert found.verdict in ("worrying", "failed")
    assert found.action == 'end the model in `activation="softmax"`'
    assert "from_logits=True" in found.alternatives[0]
    found = check_initial_loss(
        small(1, None, "binary_crossentropy", use_bias=False), X, BITS[:, 0]
    )
    assert "sigmoid" in found.action


def test_labels_out_of_range():
    found = check_initial_loss(small(activation="softmax"), X, LABELS + 1)
    assert found.verdict == "failed"
    assert f"from 1 to {C}" in found.summary
    assert f"{C + 1} units" in found.action
    labels = LABELS.copy()
    labels[5] = -1
    found = check_initial_loss(small(), X, labels)
    assert "ignore_class=-1" in found.action
    loss = K.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    found = check_initial_loss(small(loss=loss), X, labels)
    assert found.verdict == "passed"


def test_targets_not_scaled():
    houses = 2e5 + 8e4 * NUMBERS
    found = check_initial_loss(small(1, None, "mse"), X, houses)
    assert found.verdict == "worrying"
    assert "standardise the targets" in found.action
    assert found.evidence["constant"] == pytest.approx(houses.var(), rel=1e-3)
    ages = 60 + 12 * NUMBERS
    for loss in ("mse", "mae", "huber"):
        found = check_initial_loss(small(1, None, loss), X, ages)
        assert found.verdict == "worrying", loss
        assert "bias_initializer" in found.alternatives[0]
        mean = keras.initializers.Constant(float(ages.mean()))
        model = small(1, None, loss, bias_initializer=mean)
        assert check_initial_loss(model, X, ages).verdict == "passed", loss
    tiny = 1e-4 * NUMBERS
    found = check_initial_loss(small(1, None, "mse"), X, tiny)
    assert found.verdict == "worrying"
    assert "too small" in found.summary
    found = check_initial_loss(small(1, None, "mape"), X, np.abs(NUMBERS) * BITS[:, :1])
    assert found.verdict == "worrying"
    assert "mean_absolute_error" in found.action


def test_class_shares():
    rare = np.zeros(N, "float32")
    rare[::24] = 1
    found = check_initial_loss(small(1, "sigmoid", "binary_crossentropy"), X, rare)
    assert found.verdict == "passed"
    assert "nearly all of one class" in found.notes[0]
    share = rare.mean()
    model = small(
        1,
        "sigmoid",
        "binary_crossentropy",
        bias_initializer=keras.initializers.Constant(np.log(share / (1 - share))),
        kernel_initializer="zeros",
    )
    found = check_initial_loss(model, X, rare)
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert found.verdict == "passed"
    assert found.evidence["loss"] == pytest.approx(entropy, rel=1e-4)
    assert "entropy of the class shares" in found.summary
    assert not found.notes


def test_trained_model():
    x = X + 4 * ONE_HOT @ RNG.normal(size=(C, D)).astype("float32")
    model = small(activation="softmax")
    model.optimizer.learning_rate = 0.01
    model.fit(x, LABELS, epochs=20, verbose=0)
    found = check_initial_loss(model, x, LABELS)
    assert found.verdict == "passed"
    assert "trained already" in found.summary
    assert "accuracy 9" in found.summary or "accuracy 100 %" in found.summary


def test_leaking_labels():
    class PassesOn(L.Layer):
        def call(self, x):
            return 8 * x[:, :C]

    inputs = keras.Input((D,))
    outputs = PassesOn()(inputs) + 0.1 * L.Dense(C)(inputs)
    model = keras.Model(inputs, outputs)
    model.compile("adam", K.SparseCategoricalCrossentropy(from_logits=True))
    leaking = np.concatenate([ONE_HOT, X[:, C:]], axis=1)
    found = check_initial_loss(model, leaking, LABELS)
    assert found.verdict == "worrying"
    assert "inputs contain the labels" in found.summary
    # A residual regression starts below chance too, and well so.
    inputs = keras.Input((D,))
    model = keras.Model(inputs, inputs + 0.1 * L.Dense(D)(inputs))
    model.compile("adam", "mse")
    found = check_initial_loss(model, X, X)
    assert found.verdict == "passed"
    assert "much like the targets" in found.summary


@pytest.mark.tensorflow
def test_logits_behind_a_softmax():
    """Keras on TensorFlow reads them: a loss of 1,000 is not clipped at 16."""
    model = small(activation="softmax")
    model.layers[-1].kernel.assign(2000 * model.layers[-1].kernel)
    found = check_initial_loss(model, X, LABELS)
    assert found.evidence["loss"] > 500
    assert found.evidence["loss"] == pytest.approx(
        model.evaluate(X, LABELS, verbose=0), rel=1e-4
    )


def test_masks():
    tokens = RNG.integers(1, 30, (N, 7))
    tokens[:, 4:] = 0
    tags = np.where(tokens > 0, RNG.integers(0, C, (N, 7)), 0)
    model = keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            L.Embedding(30, 8, mask_zero=True),
            L.LSTM(8, return_sequences=True),
            L.Dense(C, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    found = check_initial_loss(model, tokens, tags)
    assert found.verdict == "passed"
    assert found.evidence["chance"] == pytest.approx(np.log(C), rel=1e-5)
    shares = np.bincount(tags[:, :4].ravel(), minlength=C) / (4 * N)
    entropy = -(shares * np.log(shares)).sum()
    assert found.evidence["constant"] == pytest.approx(entropy, rel=1e-4)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    for activation in (None, "softmax"):
        found = check_initial_loss(small(activation=activation), X, LABELS)
        assert found.verdict == "passed"
        assert found.evidence["chance"] == pytest.approx(np.log(C), rel=1e-3)
    found = check_initial_loss(small(activation="softmax"), 1e4 * X, LABELS)
    assert found.verdict in ("worrying", "failed")


def test_own_losses():
    def root_mean_square(y, p):
        return ops.sqrt(ops.mean(ops.square(y - p), -1) + 1e-9)

    found = check_initial_loss(small(1, None, root_mean_square), X, NUMBERS)
    assert found.verdict == "passed"
    assert found.evidence["chance"] == pytest.approx(np.abs(NUMBERS).mean(), rel=1e-3)
    model = small(1, None, root_mean_square)
    model.layers[-1].kernel.assign(50 * model.layers[-1].kernel)
    assert check_initial_loss(model, X, NUMBERS).verdict == "worrying"

    class Unknown(models.Subclassed):
        pass

    model = Unknown()
    model.compile("adam", root_mean_square)
    found = check_initial_loss(model, X, ONE_HOT[:, :5])
    assert found.verdict == "skipped"
    assert "not known" in found.summary


def test_models_without_compiled_losses():
    class Adds(L.Layer):
        def call(self, x):
            self.add_loss(ops.mean(x**2))
            return x

    inputs = keras.Input((D,))
    model = keras.Model(inputs, Adds()(L.Dense(3)(inputs)))
    model.compile("adam")
    found = check_initial_loss(model, X)
    assert found.verdict == "skipped"
    assert "computes its loss by itself" in found.summary

    class Doubled(keras.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **k):
            return 2 * super().compute_loss(x, y, y_pred, sample_weight)

    model = Doubled([keras.Input((D,)), L.Dense(1)])
    model.compile("adam", "mse")
    assert check_initial_loss(model, X, NUMBERS).verdict == "passed"


def test_large_outputs_are_thinned():
    model = keras.Sequential(
        [
            keras.Input((64, 64, 1)),
            L.Conv2D(21, 1, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    x = RNG.normal(size=(40, 64, 64, 1)).astype("float32")
    y = RNG.integers(0, 21, (40, 64, 64))
    found = check_initial_loss(model, x, y)
    assert found.verdict == "passed"
    assert found.evidence["chance"] == pytest.approx(np.log(21), rel=1e-4)


def test_given_back_and_repeatable():
    few = ("binary", "mse", "circle")
    many_outputs, targets = many("glorot_uniform", 0, few)
    keras.utils.set_random_seed(3)
    noisy = small(layers=(L.Dropout(0.5), L.BatchNormalization()))
    for model, y in ((many_outputs, targets), (noisy, LABELS)):
        state, losses = models.state(model), model.losses
        before = random.getstate(), np.random.get_state()[1].tolist()
        compiled = model._compile_loss, model._compile_metrics, model.optimizer
        first = check_initial_loss(model, X, y)
        again = check_initial_loss(model, X, y)
        assert str(first) == str(again)
        assert first.evidence == again.evidence
        for a, b in zip(state, models.state(model), strict=True):
            np.testing.assert_array_equal(a, b)
        assert before == (random.getstate(), np.random.get_state()[1].tolist())
        assert compiled == (
            model._compile_loss,
            model._compile_metrics,
            model.optimizer,
        )
        assert model.losses == losses
        assert not model.optimizer.built or model.optimizer.iterations == 0


def test_what_is_printed():
    text = str(check_initial_loss(small(), 255 * np.abs(X), LABELS))
    assert text.startswith("✖ failed")
    assert max(map(len, text.splitlines())) <= 100
    few = ("sparse_logits", "generalized", "mape")
    model, y = many("he_normal", 1, few)
    text = str(check_initial_loss(model, X, y))
    assert max(map(len, text.splitlines())) <= 100
    assert all(name in text for name in few)


def test_progress_and_preflight():
    steps = []
    model = small()
    check_initial_loss(model, X, LABELS, progress=lambda s, w: steps.append(s))
    assert steps == sorted(steps)
    assert steps[-1] == 1.0
    check = available()["initial_loss"]
    assert check.run is run
    assert run(model, sample_of(X, LABELS, n=N)).verdict == "passed"
    assert keras_babysit.check_initial_loss is check_initial_loss


def test_bad_arguments():
    model = small()
    with pytest.raises(ValueError, match="positive integer"):
        check_initial_loss(model, X, LABELS, samples=0)
    with pytest.raises(ValueError, match="must be positive"):
        check_initial_loss(model, X, LABELS, limit=9, far=2)
    with pytest.raises(ValueError, match="must hold numbers"):
        check_initial_loss(model, X, LABELS.astype(str))
    with pytest.raises(ValueError, match="must be compiled"):
        check_initial_loss(keras.Sequential([L.Dense(2)]), X, LABELS)
