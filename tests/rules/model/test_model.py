"""Every rule fires on its fault and is silent on the healthy twin."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
from keras import layers as L
from support.pictures import (
    BCE,
    CCE,
    REAL,
    RNG,
    SCCE,
    X,
    dense,
    history_of,
    mlp,
    own_rules,
    told,
)

from keras_babysit import facts
from keras_babysit.history import RunHistory
from keras_babysit.records import StepRecord
from keras_babysit.rules import get

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


def test_bad_initialization_in_residual_branches():
    def net(*blocks):
        x = inputs = keras.Input((64,))
        for block in blocks:
            x = block(x)
        model = keras.Model(inputs, dense(10, "softmax")(x))
        model.compile("adam", SCCE)
        return told(model)

    def residual(way_round):
        return lambda x: L.Add()([way_round(x), init(1e-3)(init(1e-3)(x))])

    # What is added to a branch that begins small does not vanish with it.
    assert not net(*(residual(lambda x: x) for _ in range(5)))
    assert not net(residual(dense(64, "relu")))
    # Here nothing else gets through.
    small = {"bad-initialization": "warning"}
    assert net(residual(init(1e-4))) == small
    assert net(init(1e-3), init(1e-3), residual(lambda x: x)) == small


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


def test_unfrozen_without_compile():
    first = dense(32, "relu")
    first.trainable = False
    model = mlp(dense(10, "softmax"), hidden=[first], loss=SCCE)
    first = model.layers[0]
    first.bias.assign(np.full(32, 0.5))  # It was trained before.
    first.kernel.assign(RNG.standard_t(2, size=(16, 32)) * 0.1)
    model.optimizer.build(model.trainable_variables)
    assert not told(model)
    first.trainable = True
    assert told(model) == {"unfrozen-without-compile": "warning"}
    model.compile("adam", SCCE)
    assert not told(model)


def frozen_late(*moved, model=None):
    """A history whose last step has changed weights that are not trainable."""
    history = RunHistory()
    history.model = model or facts.ModelFacts("m", trainable_parameters=10)
    ratios = {**dict.fromkeys(moved, 2e-3), "base/bias": np.nan}
    history.append(StepRecord(4, 0.1, frozen=ratios if moved else {}))
    return history


def test_frozen_without_compile():
    rule = get("frozen-without-compile")
    history = frozen_late("base/kernel", "base/conv/kernel")
    (sign,) = rule.signs(history)
    assert sign.where == "base"
    assert "3 weights of base, base/conv (update ratio up to 2e-3)" in sign.seen
    assert "`compile` again" in sign.action
    history.append(StepRecord(6, 0.2, frozen={"first/kernel": np.nan}))
    (sign,) = rule.signs(history)
    assert sign.where == "base"  # It stays one finding.
    assert sign.since == (4, 0.1)
    assert "4 weights of base, base/conv, first" in sign.seen
    history.append(StepRecord(8, 0.3))
    assert not rule.signs(history)  # Compiled again, or no longer frozen.


def test_weights_that_are_moved_on_purpose_are_no_fault():
    rule = get("frozen-without-compile")
    own = facts.ModelFacts("m", trainable_parameters=10, custom_train_step=True)
    frozen_for_another = facts.ModelFacts("m", parameters=10)
    for model in (own, frozen_for_another):
        assert not rule.signs(frozen_late("base/kernel", model=model))
    assert not rule.signs(frozen_late())
    assert not rule.signs(RunHistory())


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


def test_a_frozen_copy_of_what_trains():
    """As the teacher is that follows a student slowly."""
    x = keras.Input((16,))
    student, teacher = dense(32, "relu"), dense(32, "relu")
    teacher.trainable = False
    both = L.Concatenate()([student(x), teacher(x)])
    model = keras.Model(x, dense(10, "softmax")(both))
    model.compile("adam", SCCE)
    assert told(model) == {"frozen-untrained-layer": "warning"}
    teacher.set_weights(student.get_weights())
    assert not told(model)


def test_no_trainable_weights():
    model = mlp(dense(10, "softmax"), loss=SCCE)
    model.trainable = False
    assert told(model) == {"no-trainable-weights": "error"}


def test_no_trainable_weights_in_a_model_that_was_trained_before():
    rule = get("no-trainable-weights")
    model = mlp(dense(10, "softmax"), loss=SCCE)
    model.optimizer.build(model.trainable_variables)
    model.trainable = False
    history = history_of(model)
    assert len(history.model.optimizer.frozen) == 4
    assert not rule.signs(history)  # What was compiled before may go on training it.
    history.append(StepRecord(0, 0.1))
    assert rule.signs(history)
    slowly = dataclasses.replace(history.model.optimizer, accumulates=4)
    slow = dataclasses.replace(history.model, optimizer=slowly)
    history.model, model = slow, history.model
    assert not rule.signs(history)  # It may move in a step that is not observed.
    history.model = model
    history.append(StepRecord(1, 0.2, frozen={"dense/kernel": 1e-3}))
    assert not rule.signs(history)


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
