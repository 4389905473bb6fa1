"""Every rule fires on its fault and is silent on the healthy twin."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
from keras import layers as L
from support.pictures import findings, history_of, own_rules, told

from keras_babysit import facts
from keras_babysit.history import RunHistory
from keras_babysit.records import StepRecord
from keras_babysit.rules import get

RNG = np.random.default_rng(0)
N = 600
X = RNG.normal(size=(N, 16)).astype("float32")
BIT = RNG.integers(0, 2, N)
TEN = np.arange(N) % 10
FOUR = np.arange(N) % 4
ONE_HOT = np.eye(10)[TEN]
TAGS = (RNG.random((N, 6)) < 0.4).astype("float32")
REAL = RNG.normal(size=(N, 1)).astype("float32")
PRICE = np.exp(12 + REAL)
PIXELS = RNG.random((N, 28)).astype("float32")


def mlp(*head, inputs=16, hidden=None, loss, metrics=None, optimizer="adam"):
    hidden = [L.Dense(12, activation="relu")] if hidden is None else hidden
    # Tables of cases hold layers: each use is of a copy, with a name of its own.
    layers = [copy_of(layer) for layer in (*hidden, *head)]
    model = keras.Sequential([keras.Input((inputs,)), *layers])
    model.compile(optimizer, loss, metrics=metrics)
    return model


def copy_of(layer):
    if layer.built or isinstance(layer, L.Lambda):
        return layer
    config = {k: v for k, v in layer.get_config().items() if k != "name"}
    return type(layer).from_config(config)


def dense(units, activation=None, **kwargs):
    return L.Dense(units, activation=activation, **kwargs)


BCE, CCE, SCCE = (
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
)
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
BIT_LOGITS = keras.losses.BinaryCrossentropy(from_logits=True)

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


# ----------------------------------------------------------------- architecture


def architecture(*hidden, inputs=16, **kwargs):
    """Rules on a classifier with these hidden layers."""
    head = kwargs.pop("head", None) or dense(10, "softmax")
    model = mlp(head, inputs=inputs, hidden=list(hidden), loss=SCCE, **kwargs)
    return told(model)


def test_no_nonlinearity():
    fires = [
        [dense(64), dense(32)],
        [dense(64)],
        [dense(64), L.Dropout(0.5), L.BatchNormalization(), dense(64)],
        [dense(64, "relu"), dense(64), dense(32)],
        [L.Reshape((4, 4)), L.Conv1D(8, 2), L.AveragePooling1D(2), L.Flatten()],
        [dense(64), L.Activation("linear"), dense(64, "linear")],
    ]
    for hidden in fires:
        assert architecture(*hidden) == {"no-nonlinearity": "warning"}, hidden
    silent = [
        [],
        [dense(64, "relu"), dense(32, "tanh")],
        [dense(64), L.ReLU(), dense(32), L.LeakyReLU()],
        [dense(64), L.BatchNormalization(), L.Activation("relu")],
        [dense(64, "relu"), dense(32)],
        [dense(4)],  # A bottleneck: narrower than both its neighbours.
        [dense(64), L.PReLU()],
        [L.Reshape((4, 4)), L.Conv1D(8, 2), L.MaxPooling1D(), L.Flatten()],
        [dense(64), L.LayerNormalization(), dense(64, "relu")],
        [dense(64), L.Lambda(lambda x: x**2), dense(64), L.Lambda(lambda x: x**2)],
        [L.Reshape((4, 4)), L.LSTM(8), dense(25)],
        [L.Reshape((4, 4)), L.Conv1D(16, 2), L.Conv1D(8, 2, activation="relu")],
    ]
    for hidden in silent:
        assert not architecture(*hidden, L.Flatten()), hidden


def test_residual_and_inverted_bottlenecks_are_healthy():
    x = inputs = keras.Input((16,))
    for _ in range(3):
        y = dense(64, "relu")(x)
        x = L.Add()([x, dense(16, kernel_initializer="zeros")(y)])
    model = keras.Model(inputs, dense(10, "softmax")(x))
    model.compile("adam", SCCE)
    assert not told(model)

    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = L.ReLU(6)(L.BatchNormalization()(x))
    for _ in range(3):
        y = L.ReLU(6)(L.BatchNormalization()(L.Conv2D(48, 1, use_bias=False)(x)))
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
        y = L.ReLU(6)(L.BatchNormalization()(y))
        x = L.BatchNormalization()(L.Conv2D(8, 1, use_bias=False)(y))
    x = L.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, dense(10, "softmax")(x))
    model.compile("adam", SCCE)
    assert not told(model)


def test_softmax_in_hidden_layer():
    assert architecture(dense(32, "softmax")) == {"softmax-in-hidden-layer": "warning"}
    assert architecture(dense(32), L.Softmax(), L.Dropout(0.1)) == {
        "softmax-in-hidden-layer": "warning"
    }
    steps = keras.Input((6, 4))
    scores = L.Flatten()(dense(1, "tanh")(steps))
    weights = L.RepeatVector(4)(L.Activation("softmax")(scores))
    summed = L.Multiply()([steps, L.Permute((2, 1))(weights)])
    model = keras.Model(steps, dense(1)(L.GlobalAveragePooling1D()(summed)))
    model.compile("adam", "mse")
    assert not told(model)


def test_softmax_over_one_score_in_attention():
    steps = keras.Input((6, 4))
    summed = L.Multiply()([steps, dense(1, "softmax")(steps)])
    model = keras.Model(steps, dense(1)(L.GlobalAveragePooling1D()(summed)))
    model.compile("adam", "mse")
    assert told(model) == {"softmax-on-one-unit": "warning"}


def test_dropout_too_high():
    relu = dense(32, "relu")
    for hidden in ([relu, L.Dropout(0.9)], [dense(2, "relu"), L.Dropout(0.5)]):
        assert architecture(*hidden) == {"dropout-too-high": "warning"}
    assert architecture(dense(32, "relu"), L.Dropout(1.0)) == {
        "dropout-too-high": "error"
    }
    head = [dense(10, "softmax"), L.Dropout(0.3)]
    assert told(mlp(*head, loss=SCCE)) == {"dropout-too-high": "warning"}
    for hidden in (
        [dense(32, "relu"), L.Dropout(0.5)],
        [L.GaussianNoise(0.9), dense(32, "relu")],
        [dense(8, "relu"), L.Dropout(0.7)],
    ):
        assert not architecture(*hidden)


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_regularization_too_strong(norm):
    def net(strength, depth=2):
        cls = getattr(keras.regularizers, norm)
        kwargs = {"activation": "relu", "kernel_regularizer": cls(strength)}
        return architecture(*(L.Dense(64, **kwargs) for _ in range(depth)))

    assert net(0.3) == {"regularization-too-strong": "warning"}
    assert not net(0.001, depth=4)
    relu = L.Activation("relu")
    free = [dense(64, kernel_regularizer="l2"), L.BatchNormalization(), relu] * 9
    assert not architecture(*free)
    decay = keras.optimizers.AdamW(weight_decay=10.0)
    assert architecture(dense(32, "relu"), optimizer=decay) == {
        "regularization-too-strong": "warning"
    }
    assert not architecture(dense(32, "relu"), optimizer=keras.optimizers.AdamW())


def init(std, units=64, activation="relu"):
    normal = keras.initializers.RandomNormal(stddev=std)
    return dense(units, activation, kernel_initializer=normal)


def test_bad_initialization_alike():
    zeros = {"kernel_initializer": "zeros"}
    ones = {"kernel_initializer": "ones"}
    for hidden, severity in (
        ([dense(32, "relu", **zeros)], "error"),
        ([dense(32, **zeros), L.ReLU()], "error"),
        ([dense(32, "tanh", **zeros), dense(32, "tanh", **zeros)], "error"),
        ([dense(32, "tanh", **ones)], "warning"),
    ):
        assert architecture(*hidden) == {"bad-initialization": severity}
    both = told(mlp(dense(1, **ones), hidden=[dense(8, "tanh", **ones)], loss="mse"))
    assert both == {"bad-initialization": "error"}
    for hidden, head in (
        ([dense(32, "relu")], dense(10, "softmax", **zeros)),
        ([], dense(10, "softmax", **zeros)),
        ([dense(32, "tanh", **zeros)], None),  # What follows breaks the symmetry.
    ):
        assert not architecture(*hidden, head=head)


def test_bad_initialization_scale():
    sgd = {"optimizer": "sgd"}
    assert architecture(init(3.0)) == {"bad-initialization": "warning"}
    assert architecture(*(init(0.6) for _ in range(5))) == {
        "bad-initialization": "warning"
    }
    assert architecture(init(0.01), init(0.01), **sgd) == {
        "bad-initialization": "warning"
    }
    assert architecture(init(1e-3), init(1e-3)) == {"bad-initialization": "warning"}
    for hidden in (
        [init(0.05), init(0.05), init(0.05)],
        [init(0.3) for _ in range(5)],
        [init(3.0, activation=None), L.BatchNormalization(), L.ReLU()],
    ):
        assert not architecture(*hidden)
    for name in ("glorot_normal", "he_uniform", "lecun_normal", "orthogonal"):
        for units in (2, 16, 512):
            layer = dense(units, "relu", kernel_initializer=name)
            assert not architecture(layer, dense(16, "relu", kernel_initializer=name))


def test_bad_initialization_over_time():
    wild = keras.initializers.RandomNormal(stddev=0.5)
    for given, activation, fires in (
        (wild, "relu", True),
        (wild, "tanh", False),
        ("orthogonal", "relu", False),
        (keras.initializers.Identity(), "relu", False),
    ):
        rnn = L.SimpleRNN(32, activation=activation, recurrent_initializer=given)
        seen = architecture(L.Reshape((16, 1)), rnn)
        assert ("bad-initialization" in seen) == fires


def test_weights_that_are_not_finite():
    model = mlp(dense(10, "softmax"), loss=SCCE)
    kernel = model.layers[0].kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    assert told(model) == {"bad-initialization": "error"}


def test_frozen_untrained_layer():
    frozen = dense(32, "relu")
    frozen.trainable = False
    model = mlp(dense(10, "softmax"), hidden=[frozen], loss=SCCE)
    frozen = model.layers[0]
    assert told(model) == {"frozen-untrained-layer": "warning"}
    frozen.bias.assign(np.full(32, 0.01))  # Trained a little: the kernel looks random.
    assert not told(model)
    frozen.bias.assign(np.zeros(32))
    frozen.kernel.assign(RNG.standard_t(2, size=(16, 32)) * 0.1)
    assert not told(model)
    assert not architecture(L.Normalization(), dense(32, "relu"))


def test_no_trainable_weights():
    model = mlp(dense(10, "softmax"), loss=SCCE)
    model.trainable = False
    assert told(model) == {"no-trainable-weights": "error"}


def test_batchnorm_small_batch():
    flat = mlp(
        dense(1), hidden=[dense(8), L.BatchNormalization(), L.ReLU()], loss="mse"
    )
    for size, severity in ((1, "error"), (2, "warning"), (4, None)):
        seen = told(flat, X, REAL, batch_size=size)
        assert seen.get("batchnorm-small-batch") == severity
    image = keras.Input((16, 16, 1))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3)(image)))
    model = keras.Model(image, dense(1)(L.GlobalAveragePooling2D()(x)))
    model.compile("adam", "mse")
    assert told(model, None, REAL, batch_size=2) == {"batchnorm-small-batch": "info"}


RATES = [
    (keras.optimizers.Adam(1.0), "error"),
    (keras.optimizers.RMSprop(0.5), "error"),
    (keras.optimizers.SGD(100.0), "error"),
    (keras.optimizers.SGD(-0.01), "error"),
    (keras.optimizers.Adam(1e-9), "warning"),
    (keras.optimizers.Adam(0.0), "warning"),
    (keras.optimizers.Adam(0.01), None),
    (keras.optimizers.SGD(1.0), None),
    (keras.optimizers.Adadelta(1.0), None),
    (keras.optimizers.Adam(1e-6), None),
    (
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(
                0.0, 1000, warmup_target=1e-3, warmup_steps=100
            )
        ),
        None,
    ),
]


def test_learning_rate_extreme():
    for optimizer, severity in RATES:
        copy = type(optimizer).from_config(optimizer.get_config())
        seen = architecture(dense(32, "relu"), optimizer=copy)
        assert seen.get("learning-rate-extreme") == severity
        assert len(seen) == (severity is not None)


def test_a_rate_that_training_raises_is_not_too_low():
    model = mlp(dense(1), loss="mse", optimizer=keras.optimizers.Adam(0.0))
    history = history_of(model)
    rule = get("learning-rate-extreme")
    assert rule.signs(history)
    history.append(StepRecord(3, 0.1, learning_rate=1e-3))
    assert not rule.signs(history)


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


def test_rules_say_nothing_of_nothing():
    empty = RunHistory()
    bare = RunHistory()
    bare.model = facts.ModelFacts("model")
    bare.data = facts.DataFacts()
    for rule in own_rules():
        assert not rule.signs(empty), rule.name
        assert not rule.signs(bare), rule.name


# What a field may hold that was not meant.
ODD = {
    "activation": (None, "softmax", "linear", "relu", "sigmoid", "odd"),
    "units": (None, 0, 1, 3),
    "shape": (None, (), (3,), (None, 1)),
    "layer": (None, "missing", "dense"),
}
LOSSES = (BCE, CCE, SCCE, "mean_squared_error", "poisson", "kl_divergence", "odd")
TARGETS = (
    None,
    facts.ArrayFacts("y", (), "float32", 0),
    facts.ArrayFacts("y", (3,), "float32", 9, nan=3, features=3),
    facts.ArrayFacts("y", (1,), "int64", 9, min=0, max=2, mean=1, whole=True),
    facts.ArrayFacts(
        "y", (3,), "int64", 9, min=0, max=1, whole=True, features=3, one_hot=True
    ),
    facts.ArrayFacts("y", (), "f", 9, 0, 0, -1e9, 1e9, 0, 0, counts={-1e9: 1}),
)


def test_rules_never_raise():
    weight = facts.WeightFacts("dense/kernel", "kernel", (3, 1), True, *[np.nan] * 4)
    layers = (
        facts.LayerFacts("dense", "Dense", "softmax", None, None, ("dense",)),
        facts.LayerFacts(
            "d", "Dropout", inputs=("gone",), rate=np.nan, weights=(weight,)
        ),
        facts.LayerFacts("k", "Dense", inputs=("d", "k"), weights=(weight,)),
        facts.LayerFacts("b", "BatchNormalization", regularizers={"kernel l2": np.inf}),
    )
    optimizer = facts.OptimizerFacts("Adam", np.nan, weight_decay=np.nan)
    names = [f.name for f in dataclasses.fields(facts.OutputFacts)]
    assert set(ODD) <= set(names)
    for values in itertools.product(*ODD.values()):
        cases = itertools.product(LOSSES, (None, True, False), TARGETS)
        # All of them would take half a minute.
        for index, (loss, logits, target) in list(enumerate(cases))[::13]:
            output = facts.OutputFacts(
                "",
                **dict(zip(ODD, values, strict=True)),
                loss=facts.LossFacts(loss, from_logits=logits),
                metrics=("accuracy", "exact_accuracy", "categorical_accuracy"),
            )
            history = RunHistory()
            history.model = facts.ModelFacts(
                "m", layers, (output,), optimizer, 3, 3, np.nan, bool(index % 2)
            )
            history.data = facts.DataFacts(
                targets=() if target is None else (target,), batch_size=1
            )
            for rule in OWN:
                assert rule.signs(history) == rule.signs(history)


OWN = own_rules()


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


def test_rules_are_documented():
    sections = ("What it sees", "Why it matters", "What to do", "When it is wrong")
    for rule in OWN:
        for section in (*sections, "References"):
            assert f"\n{section}:\n" in rule.doc, rule.name
