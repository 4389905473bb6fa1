"""Every rule of the output fires on its fault and is silent on the healthy twin."""

import keras
import numpy as np
import pytest
from keras import layers as L
from support.pictures import (
    BCE,
    BIT,
    BIT_LOGITS,
    CCE,
    FOUR,
    LOGITS,
    ONE_HOT,
    PIXELS,
    PRICE,
    REAL,
    RNG,
    SCCE,
    TAGS,
    TEN,
    N,
    X,
    copy_of,
    dense,
    findings,
    history_of,
    mlp,
    told,
)

# Head, loss, targets, metrics; what is told.
OUTPUTS = {
    "softmax on one, bce": (dense(1, "softmax"), BCE, BIT, "softmax-on-one-unit"),
    "softmax on one, cce": (dense(1, "softmax"), CCE, BIT, "softmax-on-one-unit"),
    "softmax on one, 10": (dense(1, "softmax"), SCCE, TEN, "softmax-on-one-unit"),
    "softmax on one, mse": (dense(1, "softmax"), "mse", REAL, "softmax-on-one-unit"),
    "softmax on one, price": (dense(1, "softmax"), BCE, PRICE, "softmax-on-one-unit"),
    "softmax on one, blind": (dense(1, "softmax"), BCE, None, "softmax-on-one-unit"),
    "linear, bce": (dense(1), BCE, BIT, "missing-output-activation"),
    "linear, blind": (dense(1), BCE, None, "missing-output-activation"),
    "linear, scce": (dense(10), SCCE, TEN, "missing-output-activation"),
    "linear, cce": (dense(10), CCE, ONE_HOT, "missing-output-activation"),
    "linear, poisson": (dense(1), "poisson", FOUR, "missing-output-activation"),
    "relu, bce": (dense(1, "relu"), BCE, BIT, "wrong-output-activation"),
    "relu, scce": (dense(10, "relu"), SCCE, TEN, "wrong-output-activation"),
    "relu, blind": (dense(10, "relu"), CCE, None, "wrong-output-activation"),
    "tanh, bce": (dense(1, "tanh"), BCE, BIT, "wrong-output-activation"),
    "leaky, cce": (dense(10, "leaky_relu"), CCE, ONE_HOT, "wrong-output-activation"),
    "sigmoid, scce": (dense(10, "sigmoid"), SCCE, TEN, "wrong-output-activation"),
    "sigmoid, cce": (dense(10, "sigmoid"), CCE, ONE_HOT, "wrong-output-activation"),
    "softmax, bce": (dense(10, "softmax"), BCE, ONE_HOT, "wrong-output-activation"),
    "relu logits": (dense(1, "relu"), BIT_LOGITS, BIT, "wrong-output-activation"),
    "tanh logits": (dense(10, "tanh"), LOGITS, TEN, "wrong-output-activation"),
    "sigmoid, price": (dense(1, "sigmoid"), "mse", PRICE, "output-range"),
    "sigmoid, real": (dense(1, "sigmoid"), "mae", REAL, "output-range"),
    "relu, real": (dense(1, "relu"), "mse", REAL, "output-range"),
    "tanh, price": (dense(1, "tanh"), "huber", PRICE, "output-range"),
    "sigmoid, ten": (dense(1, "sigmoid"), "mse", TEN, "output-range"),
    "softmax, pixels": (dense(28, "softmax"), "mse", PIXELS, "output-range"),
    "tags softmax": (dense(6, "softmax"), CCE, TAGS, "softmax-for-multi-label"),
    "tags softmax bce": (dense(6, "softmax"), BCE, TAGS, "softmax-for-multi-label"),
    "tags sigmoid cce": (dense(6, "sigmoid"), CCE, TAGS, "softmax-for-multi-label"),
    "9 units": (dense(9, "softmax"), SCCE, TEN, "output-units"),
    "1 unit": (dense(1, "sigmoid"), BCE, TEN, "output-units"),
    "1 unit, scce": (dense(1, "sigmoid"), SCCE, TEN, "output-units"),
    "1 unit, cce": (dense(1, "sigmoid"), CCE, None, "output-units"),
    "8 of 10": (dense(8, "softmax"), CCE, ONE_HOT, "output-units"),
    "width": (dense(1), "mse", X[:, :3], "output-units"),
    "integers, cce": (dense(10, "softmax"), CCE, TEN, "labels-for-other-loss"),
    "integers, col": (dense(10, "softmax"), CCE, TEN[:, None], "labels-for-other-loss"),
    "rows, scce": (dense(10, "softmax"), SCCE, ONE_HOT, "labels-for-other-loss"),
    "bits, cce": (dense(1, "sigmoid"), CCE, BIT, "labels-for-other-loss"),
    "bits, scce": (dense(1), SCCE, BIT, "output-units"),
    "two, bce": (dense(2, "softmax"), BCE, BIT[:, None], "labels-for-other-loss"),
    "ten, bce": (dense(10, "sigmoid"), BCE, TEN[:, None], "labels-for-other-loss"),
    "mse rows": (dense(10, "softmax"), "mse", ONE_HOT, "regression-loss-for-classes"),
    "mse bits": (dense(1, "sigmoid"), "mse", BIT, "regression-loss-for-classes"),
    "mse ints": (dense(10, "softmax"), "mse", TEN, "regression-loss-for-classes"),
    "bce price": (dense(1), BCE, PRICE, "classification-loss-for-regression"),
    "bce sigmoid": (
        dense(1, "sigmoid"),
        BCE,
        PRICE,
        "classification-loss-for-regression",
    ),
    "scce real": (
        dense(5, "softmax"),
        SCCE,
        REAL,
        "classification-loss-for-regression",
    ),
    "cce real": (dense(1), CCE, REAL, "classification-loss-for-regression"),
}


def test_one_fault_of_the_output_is_one_finding():
    wrong = {}
    for name, (head, loss, y, expected) in OUTPUTS.items():
        seen = told(mlp(head, loss=loss), X, y)
        if list(seen) != [expected] or seen[expected] == "info":
            wrong[name] = seen
    assert not wrong


HEALTHY = {
    "bits": (dense(1, "sigmoid"), BCE, BIT, ["accuracy"]),
    "bits two": (dense(2, "softmax"), SCCE, BIT, ["accuracy"]),
    "bit logits": (dense(1), BIT_LOGITS, BIT, ["accuracy"]),
    "ten": (dense(10, "softmax"), SCCE, TEN, ["accuracy"]),
    "ten column": (dense(10, "softmax"), SCCE, TEN[:, None], ["accuracy"]),
    "ten logits": (dense(10), LOGITS, TEN, ["accuracy"]),
    "ten auto": (dense(10, "softmax"), "crossentropy", TEN, ["accuracy"]),
    "rows": (dense(10, "softmax"), CCE, ONE_HOT, ["accuracy"]),
    "smooth rows": (dense(10, "softmax"), CCE, ONE_HOT * 0.9 + 0.01, ["accuracy"]),
    "pairs": (dense(2, "softmax"), BCE, np.eye(2)[BIT], ["accuracy"]),
    "one-vs-rest": (dense(10, "sigmoid"), BCE, ONE_HOT, ["accuracy"]),
    "tags": (dense(6, "sigmoid"), BCE, TAGS, ["binary_accuracy"]),
    "real": (dense(1), "mse", REAL, ["mae"]),
    "real flat": (dense(1), "mse", REAL[:, 0], ["mae"]),
    "price": (dense(1), "mse", PRICE, ["mae"]),
    "positive": (dense(1, "softplus"), "mse", np.abs(REAL), None),
    "relu price": (dense(1, "relu"), "mse", PRICE, None),
    "counts": (dense(1), "mse", RNG.poisson(40, N), ["mae"]),
    "ratings": (dense(1), "mse", 1 + FOUR, ["mae"]),
    "poisson": (dense(1, "exponential"), "poisson", FOUR, None),
    "three": (dense(3), "mse", X[:, :3], None),
    "tanh": (dense(1, "tanh"), "mse", np.sin(REAL), None),
    "hinge": (dense(1, "tanh"), "hinge", 2 * BIT - 1, None),
    "soft": (dense(1, "sigmoid"), BCE, PIXELS[:, :1], None),
    "first class one": (dense(11, "softmax"), SCCE, TEN + 1, ["accuracy"]),
    "no data": (dense(10, "softmax"), SCCE, None, ["accuracy"]),
    "custom": (dense(3), lambda y, p: keras.ops.mean((y - p) ** 2), TEN, None),
}


def bad(seen):
    return {rule: s for rule, s in seen.items() if s != "info"}


def test_healthy_outputs_are_left_alone():
    wrong = {}
    for name, (head, loss, y, metrics) in HEALTHY.items():
        seen = bad(told(mlp(head, loss=loss, metrics=metrics), X, y))
        if seen:
            wrong[name] = seen
    assert not wrong


def test_autoencoders_are_healthy():
    for loss, y in ((BCE, PIXELS), ("mse", PIXELS), (BCE, (PIXELS > 0.5) * 1.0)):
        code = [dense(32, "relu"), dense(4), dense(32, "relu")]
        model = mlp(dense(28, "sigmoid"), inputs=28, hidden=code, loss=loss)
        assert not told(model, y, y)
    linear = mlp(dense(28), inputs=28, hidden=[dense(4)], loss="mse")
    assert not told(linear, PIXELS, PIXELS)
    raw = np.round(255 * PIXELS)
    model = mlp(dense(28, "sigmoid"), inputs=28, loss=BCE)
    [finding] = findings(model, raw, raw)
    assert finding.rule == "classification-loss-for-regression"
    assert "255" in finding.action


def test_softmax_over_the_samples():
    for loss in (SCCE, LOGITS):
        model = mlp(L.Softmax(axis=0), hidden=[dense(4)], loss=loss)
        [finding] = findings(model, X, FOUR)
        assert (finding.rule, finding.severity) == ("wrong-output-activation", "error")
        assert "over the axis of the samples" in finding.seen


def test_the_fix_is_spelled_out():
    cases = [
        (dense(1, "softmax"), BCE, BIT, 'Dense(1, activation="sigmoid")'),
        (dense(1, "softmax"), SCCE, TEN, 'Dense(10, activation="softmax")'),
        (dense(1, "softmax"), "mse", REAL, "Dense(1)"),
        (dense(1), BCE, BIT, 'Dense(1, activation="sigmoid")'),
        (dense(10, "relu"), SCCE, TEN, 'Dense(10, activation="softmax")'),
        (dense(1, "sigmoid"), "mse", PRICE, "Dense(1)"),
        (dense(6, "softmax"), CCE, TAGS, 'Dense(6, activation="sigmoid")'),
        (dense(9, "softmax"), SCCE, TEN, 'Dense(10, activation="softmax")'),
        (dense(10, "softmax"), CCE, TEN, SCCE),
        (dense(1), CCE, BIT, 'Dense(1, activation="sigmoid")'),
        (dense(1, "sigmoid"), "mse", BIT, BCE),
        (dense(1, "sigmoid"), BCE, PRICE, 'loss="mse"'),
    ]
    for head, loss, y, fix in cases:
        [finding] = findings(mlp(head, loss=loss), X, y)
        assert fix in finding.action
        assert finding.where


def test_a_label_that_is_ignored_needs_no_unit():
    for ignored in (-1, 4, 255):
        y = np.where(np.arange(N) % 7 == 0, ignored, FOUR)
        loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=ignored)
        assert not told(mlp(dense(4, "softmax"), loss=loss), X, y)
        few = mlp(dense(3, "softmax"), loss=loss)
        assert told(few, X, y) == {"output-units": "error"}


def test_segmentation_and_sequences():
    image = keras.Input((8, 8, 3))
    mask = (RNG.random((N, 8, 8, 1)) > 0.5) * 1
    ids = RNG.integers(0, 5, (N, 8, 8))

    def net(units, activation, loss):
        x = L.Conv2D(4, 3, padding="same", activation="relu")(image)
        model = keras.Model(image, L.Conv2D(units, 1, activation=activation)(x))
        model.compile("adam", loss)
        return model

    assert not told(net(1, "sigmoid", BCE), None, mask)
    assert not told(net(5, "softmax", SCCE), None, ids)
    assert not told(net(5, "softmax", SCCE), None, ids[..., None])
    assert not told(net(5, "softmax", CCE), None, np.eye(5)[ids])
    assert list(told(net(1, "softmax", BCE), None, mask)) == ["softmax-on-one-unit"]
    assert list(told(net(1, None, BCE), None, mask)) == ["missing-output-activation"]
    assert list(told(net(4, "softmax", SCCE), None, ids)) == ["output-units"]


def test_labels_of_a_sequence_may_begin_anywhere():
    """Where the first ones mean padding and the start, texts have neither 0 nor 1."""
    words = keras.Input((6,))
    x = L.Embedding(20, 8)(words)
    model = keras.Model(words, L.Dense(20, activation="softmax")(x))
    model.compile("adam", SCCE)
    ids = RNG.integers(2, 20, (N, 6))
    assert not told(model, ids, ids[:, ::-1])


@pytest.mark.parametrize(
    ("head", "loss", "y"),
    [(dense(1), "mse", REAL), (dense(1, "sigmoid"), BCE, BIT[:, None])],
)
def test_a_sequence_for_one_target(head, loss, y):
    for sequences in (True, False):
        hidden = [L.LSTM(8, return_sequences=sequences)]
        model = keras.Sequential([keras.Input((5, 3)), *hidden, copy_of(head)])
        model.compile("adam", loss)
        seen = findings(model, None, y)
        assert [f.rule for f in seen] == ["output-units"] * sequences
        if seen:
            assert "return_sequences=False" in seen[0].action


def test_outputs_are_judged_with_their_own_targets():
    x = keras.Input((16,))
    h = dense(8, "relu")(x)
    outputs = {"b": dense(1, "sigmoid")(h), "a": dense(10)(h)}
    model = keras.Model(x, outputs)
    model.compile("adam", {"a": SCCE, "b": BCE}, metrics={"b": ["accuracy"]})
    [finding] = findings(model, X, {"a": TEN, "b": BIT})
    assert finding.rule == "missing-output-activation"
    assert finding.where == "dense_2" or finding.where.startswith("dense")
    assert 'Dense(10, activation="softmax")' in finding.action


@pytest.mark.tensorflow
def test_logits_after_activation():
    late = [dense(10, "softmax"), L.Reshape((10,))]
    assert bad(told(mlp(*late, loss=LOGITS), X, TEN)) == {
        "logits-after-activation": "warning"
    }
    # Keras on TensorFlow finds the logits behind the very last softmax.
    direct = told(mlp(dense(10, "softmax"), loss=LOGITS), X, TEN)
    assert direct == {"logits-after-activation": "info"}
    late = [dense(1, "sigmoid"), L.Reshape((1,))]
    assert told(mlp(*late, loss=BIT_LOGITS), X, BIT)["logits-after-activation"] == (
        "error"
    )


def test_sigmoid_for_classes():
    seen = told(mlp(dense(10, "sigmoid"), loss=BCE), X, ONE_HOT)
    assert seen == {"sigmoid-for-classes": "info"}
    many = np.eye(60)[np.arange(N) % 60]
    seen = told(mlp(dense(60, "sigmoid"), loss=BCE), X, many)
    assert seen == {"sigmoid-for-classes": "warning"}


def test_too_many_units_are_information():
    assert told(mlp(dense(10, "softmax"), loss=SCCE), X, FOUR) == {
        "output-units": "info"
    }
    assert not told(mlp(dense(100, "softmax"), loss=SCCE), X, FOUR)  # Too few seen.


METRICS = [
    (dense(1), "mse", REAL, "accuracy", "warning"),
    (dense(10, "softmax"), CCE, ONE_HOT, "binary_accuracy", "warning"),
    (dense(1, "sigmoid"), BCE, BIT, "categorical_accuracy", "warning"),
    (dense(10, "softmax"), SCCE, TEN, "categorical_accuracy", "warning"),
    (dense(10, "softmax"), SCCE, TEN, keras.metrics.Accuracy, "warning"),
    (dense(6, "sigmoid"), BCE, TAGS, "accuracy", "info"),
    (dense(1), BIT_LOGITS, BIT, "accuracy", "info"),
    (dense(1, "sigmoid"), BCE, BIT, "accuracy", None),
    (dense(1, "sigmoid"), BCE, BIT, "AUC", None),
    (dense(1), "mse", REAL, "mae", None),
]


def test_metric_mismatch():
    for head, loss, y, metric, severity in METRICS:
        metric = metric() if isinstance(metric, type) else metric
        seen = told(mlp(head, loss=loss, metrics=[metric]), X, y)
        assert seen.get("metric-mismatch") == severity
        assert len(seen) == (severity is not None)


def test_subclassed_models():
    class Net(keras.Model):
        def __init__(self, units, activation=None):
            super().__init__()
            self.hidden = dense(8, "relu", name="hidden")
            self.head = dense(units, activation, name="head")

        def call(self, x):
            return self.head(self.hidden(x))

    model = Net(1)
    model.compile("adam", BCE)
    model(X[:2])
    assert not told(model, X, BIT)  # What it puts out is not known.
    path = next(x.path for x in history_of(model).model.layers if "head" in x.path)
    assert told(model, X, BIT, output_layer=path) == {
        "missing-output-activation": "error"
    }
    model = Net(10, "softmax")
    model.compile("adam", CCE)
    model(X[:2])
    assert list(told(model, X, TEN)) == ["labels-for-other-loss"]


def test_signs_are_sentences():
    seen = set()
    for head, loss, y, _ in list(OUTPUTS.values())[::3]:
        for finding in findings(mlp(head, loss=loss), X, y):
            seen.add(finding.rule)
            assert finding.action[0].islower(), finding.action
            assert not finding.seen.endswith("."), finding.seen
            assert not finding.cause.endswith("."), finding.cause
            assert finding.evidence
    assert len(seen) >= 7
