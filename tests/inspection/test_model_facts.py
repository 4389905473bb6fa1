"""What is read from models of every kind, and that reading leaves no trace."""

import keras
import numpy as np
import pytest
from keras import layers as L
from support import models

from keras_babysit.facts import LossFacts
from keras_babysit.inspection import compiled
from keras_babysit.inspection.model import model_facts
from keras_babysit.inspection.weights import as_initialized

KINDS = [
    "mlp",
    "cnn",
    "residual",
    "shared_and_nested",
    "subclassed",
    "custom_step",
    "lstm",
    "embedding",
    "frozen_and_unused",
    "transformer",
]


def ready(name):
    model, (x, _) = getattr(models, name)()
    models.compile_model(model)
    if not model.built:
        model(x[:2])
    return model


def by_path(found):
    return {layer.path: layer for layer in found.layers}


def compiled_head(*layers, loss="mse", inputs=(6,), **kwargs):
    model = keras.Sequential([keras.Input(inputs), *layers])
    model.compile("adam", loss, **kwargs)
    return model


def output(*layers, **kwargs):
    [found] = model_facts(compiled_head(*layers, **kwargs)).outputs
    return found


def test_reading_changes_nothing():
    for name in KINDS:
        keras.utils.set_random_seed(3)
        model = ready(name)
        before, train = models.state(model), model.train_function
        generator = np.random.get_state()[1].copy()
        seeds = [np.asarray(v) for v in model.variables if "seed" in v.path]
        found = model_facts(model)
        assert model_facts(model).outputs == found.outputs
        for a, b in zip(before, models.state(model), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(generator, np.random.get_state()[1])
        for a, b in zip(
            seeds, [v for v in model.variables if "seed" in v.path], strict=True
        ):
            np.testing.assert_array_equal(a, b)
        assert model.train_function is train


def test_every_weight_is_told_once():
    for name in KINDS:
        model = ready(name)
        found = model_facts(model)
        told = [w.path for layer in found.layers for w in layer.weights]
        assert sorted(told) == sorted(w.path for w in model.weights), name
        assert found.parameters == model.count_params()
        trained = [w.path for x in found.layers for w in x.weights if w.trainable]
        assert sorted(trained) == sorted(w.path for w in model.trainable_weights)
        assert found.graph_known == (name not in ("subclassed", "custom_step"))
        assert found.custom_train_step == (name == "custom_step")


def test_moments():
    model = ready("mlp")
    [kernel, bias] = by_path(model_facts(model))[model.layers[0].path].weights
    values = np.asarray(model.layers[0].kernel)
    assert kernel.role == "kernel"
    assert kernel.shape == (12, 16)
    np.testing.assert_allclose(kernel.mean, values.mean(), rtol=1e-5)
    np.testing.assert_allclose(kernel.std, values.std(), rtol=1e-5)
    assert (kernel.min, kernel.max) == (values.min(), values.max())
    assert (bias.initializer, bias.as_initialized, bias.std) == ("Zeros", True, 0.0)


def test_huge_weights_are_sampled():
    model = compiled_head(L.Embedding(40_000, 64), L.Flatten(), L.Dense(1), inputs=(2,))
    weights = np.asarray(model.layers[0].embeddings)
    [found] = model_facts(model).layers[1].weights
    np.testing.assert_allclose(found.std, weights.std(), rtol=1e-2)
    assert found.as_initialized


def test_graph_of_shared_and_nested_layers():
    found = by_path(model_facts(ready("shared_and_nested")))
    assert set(found["shared"].inputs) == {"a", "b"}
    inner = next(x for x in found.values() if x.kind == "Dense" and x.units == 4)
    assert inner.inputs == ("shared",)
    relu = next(x for x in found.values() if x.kind == "ReLU")
    assert (relu.inputs, relu.activation) == ((inner.path,), "relu")
    assert found["concatenate"].inputs == (relu.path,)


def test_layer_called_on_itself_and_operations():
    x = keras.Input((4,), name="x")
    layer = L.Dense(4, name="again")
    y = keras.ops.relu(layer(layer(x)) + 1)
    model = keras.Model(x, L.Dense(1)(y[:, :2]))
    model.compile("adam", "mse")
    found = by_path(model_facts(model))
    assert found["again"].inputs == ("x", "again")
    relu = next(f for f in found.values() if f.kind == "Relu")
    assert relu.activation == "relu"


def test_inputs_in_their_order_and_how_many_a_call_takes():
    """Layers are listed as values flow, which is another order."""
    a, b, c = (keras.Input((4,), name=name) for name in "abc")
    score = L.Dense(1, name="score")
    hidden = L.Dense(4)(L.Dense(4)(a))
    gap = score(hidden + b) - score(c)
    facts = model_facts(keras.Model([b, a, c], gap - 1.0))
    assert facts.inputs == ("b", "a", "c")
    taken = [f.takes for f in facts.layers if f.kind == "Subtract"]
    assert taken == [2, 1]
    assert {f.takes for f in facts.layers if f.kind == "Add"} == {2}


def test_output_is_followed_through_what_only_moves_values():
    softmax = L.Dense(4, activation="softmax", name="head")
    found = output(softmax, L.Reshape((2, 2)), L.Dropout(0.1), L.Flatten())
    assert (found.activation, found.units, found.shape) == ("softmax", 4, (4,))
    assert found.layer.endswith("head")
    cases = [
        ([L.Dense(3)], "linear"),
        ([L.Dense(3), L.Activation("linear")], "linear"),
        ([L.Dense(3), L.Activation("sigmoid")], "sigmoid"),
        ([L.Dense(3), L.Softmax()], "softmax"),
        ([L.Dense(3), L.Softmax(axis=1)], "softmax"),
        ([L.Dense(3), L.Softmax(axis=0)], "batch_softmax"),
        ([L.Dense(3), L.Softmax(axis=-2)], "batch_softmax"),
        ([L.Dense(3), L.ReLU()], "relu"),
        ([L.Dense(3), L.ReLU(6.0)], "relu6"),
        ([L.Dense(3), L.LeakyReLU()], "leaky_relu"),
        ([L.Dense(3, activation=L.ELU())], "elu"),
        ([L.Dense(3, activation="tanh"), L.BatchNormalization()], "linear"),
        ([L.Dense(3), L.Lambda(keras.activations.softmax)], "softmax"),
        ([L.Dense(3), L.Lambda(lambda x: 2 * x)], None),
        ([L.Dense(3, activation="sigmoid"), L.Rescaling(5)], None),
        ([L.Reshape((3, 2)), L.Dense(3), L.Softmax(axis=1)], None),
        ([L.Reshape((3, 2)), L.LSTM(3)], None),
        ([L.Reshape((3, 2)), L.SimpleRNN(3)], "tanh"),
        ([L.Reshape((3, 2)), L.TimeDistributed(L.Dense(3, "softmax"))], "softmax"),
    ]
    for layers, activation in cases:
        found = output(*layers)
        assert found.activation == activation, layers


def test_output_of_operations_and_nested_models():
    x = keras.Input((6,))
    head = keras.Sequential([keras.Input((5,)), L.Dense(3), L.Softmax()], name="head")
    nested = keras.Model(x, L.Reshape((3,))(head(L.Dense(5)(x))))
    bare = keras.Model(x, keras.ops.sigmoid(L.Dense(1)(x)))
    mixed = keras.Model(x, keras.ops.softmax(L.Dense(3)(x), axis=0))
    both = keras.Model(x, L.Concatenate()([head(L.Dense(5)(x)), head(L.Dense(5)(x))]))
    for model, activation in (
        (nested, "softmax"),
        (bare, "sigmoid"),
        (mixed, "batch_softmax"),
        (both, "softmax"),
    ):
        model.compile("adam", "mse")
        assert model_facts(model).outputs[0].activation == activation


class Mine(L.Dense):
    pass


class Head(L.Layer):
    """Whether its activation comes last is known only to who wrote it."""

    def __init__(self):
        super().__init__()
        self.activation = keras.activations.softmax

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 2), name="w")

    def call(self, x):
        return 3 * self.activation(x @ self.w)


class Awkward(L.Layer):
    """Attributes that cannot be read."""

    @property
    def activation(self):
        raise RuntimeError("no")

    def call(self, x):
        return x


def test_custom_layers():
    found = model_facts(compiled_head(Mine(4, "relu"), Head()))
    assert [x.kind for x in found.layers] == ["InputLayer", "Dense", "Head"]
    assert found.outputs[0].activation is None
    assert model_facts(compiled_head(Awkward())).layers[-1].kind == "Awkward"


@pytest.mark.tensorflow
def test_reads_logits_is_what_keras_does():
    """Where it is said, a saturated softmax still has a loss above its clip."""
    y = keras.ops.convert_to_tensor(np.eye(3)[[0]])
    for late, reads in (([], True), ([L.Reshape((3,))], False)):
        big = keras.initializers.Constant(np.diag([0.0, 0.0, 90.0])[:, [0, 2, 1]])
        head = L.Dense(3, activation="softmax", kernel_initializer=big)
        model = compiled_head(head, *late, inputs=(3,), loss="categorical_crossentropy")
        assert model_facts(model).outputs[0].reads_logits is reads
        import tensorflow as tf

        loss = tf.function(lambda x, m=model: m.compute_loss(y=y, y_pred=m(x)))
        assert (float(loss(tf.ones((1, 3)))) > 50) is reads
    half = L.Dense(3, activation="softmax", dtype="mixed_float16")
    found = output(half, loss="categorical_crossentropy")
    assert (found.activation, found.reads_logits) == ("softmax", False)


def test_losses():
    losses = keras.losses
    cases = [
        ("mse", LossFacts("mean_squared_error")),
        ("MAE", LossFacts("mean_absolute_error")),
        ("BinaryCrossentropy", LossFacts("binary_crossentropy", from_logits=False)),
        ("kld", LossFacts("kl_divergence")),
        ("ce", LossFacts("crossentropy", from_logits=False)),
        (losses.MeanSquaredError(), LossFacts("mean_squared_error")),
        (losses.MeanSquaredError, LossFacts("mean_squared_error")),
        (losses.KLDivergence(), LossFacts("kl_divergence")),
        (losses.LogCosh(), LossFacts("log_cosh")),
        (losses.Huber(), LossFacts("huber")),
        (
            losses.SparseCategoricalCrossentropy(from_logits=True),
            LossFacts("sparse_categorical_crossentropy", from_logits=True),
        ),
        (
            losses.CategoricalCrossentropy(label_smoothing=0.1),
            LossFacts("categorical_crossentropy", True, False, 0.1),
        ),
        (
            losses.binary_crossentropy,
            LossFacts("binary_crossentropy", from_logits=False),
        ),
        (lambda y, p: y - p, LossFacts("<lambda>", standard=False)),
        ("nonsense", LossFacts("nonsense", standard=False)),
        (None, None),
    ]
    for given, expected in cases:
        assert compiled.loss_facts(given, 3) == expected
    assert compiled.loss_facts("crossentropy", 1).name == "binary_crossentropy"

    class Own(keras.losses.Loss):
        def call(self, y, p):
            return y - p

    assert compiled.loss_facts(Own(), 1) == LossFacts("own", standard=False)


def test_metrics():
    metrics = keras.metrics
    names = {
        "acc": "accuracy",
        "accuracy": "accuracy",
        "mse": "mean_squared_error",
        "AUC": "auc",
        metrics.Accuracy(): "exact_accuracy",
        metrics.BinaryAccuracy(name="x"): "binary_accuracy",
        metrics.SparseCategoricalAccuracy(): "sparse_categorical_accuracy",
        metrics.mean_absolute_error: "mean_absolute_error",
        metrics.R2Score: "r2_score",
    }
    for given, expected in names.items():
        assert compiled.metric_name(given) == expected
    found = output(
        L.Dense(1), metrics=["mae", "accuracy"], weighted_metrics=[metrics.AUC()]
    )
    assert found.metrics == ("mean_absolute_error", "accuracy", "auc")


def test_multiple_outputs():
    x = keras.Input((6,))
    h = L.Dense(4)(x)
    one, two = L.Dense(1, name="one")(h), L.Dense(3, name="two")(h)
    bce, mse = keras.losses.BinaryCrossentropy(from_logits=True), "mse"
    forms = [
        ([one, two], [bce, mse], [["accuracy"], ["mae"]], [0.5, 2.0]),
        (
            [one, two],
            {"one": bce, "two": mse},
            {"one": ["accuracy"], "two": "mae"},
            {"one": 0.5, "two": 2.0},
        ),
        (
            {"two": two, "one": one},
            {"one": bce, "two": mse},
            {"one": "accuracy", "two": ["mae"]},
            {"one": 0.5, "two": 2.0},
        ),
    ]
    for outputs, loss, metrics, weights in forms:
        model = keras.Model(x, outputs)
        model.compile("sgd", loss, metrics=metrics, loss_weights=weights)
        found = {o.name: o for o in model_facts(model).outputs}
        assert found["one"].loss.from_logits
        assert found["two"].loss.name == "mean_squared_error"
        assert (found["one"].units, found["two"].units) == (1, 3)
        assert found["one"].metrics == ("accuracy",)
        assert found["two"].metrics == ("mean_absolute_error",)
        assert (found["one"].loss_weight, found["two"].loss_weight) == (0.5, 2.0)
    model = keras.Model(x, [one, two])
    model.compile("sgd", [bce, None])
    assert [o.loss is None for o in model_facts(model).outputs] == [False, True]


def test_optimizers():
    o = keras.optimizers

    def facts(optimizer):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.optimizer = optimizer
        return compiled.optimizer_facts(model)

    assert facts(o.SGD(0.1, momentum=0.9)).momentum == 0.9
    assert facts(o.AdamW(1e-3, weight_decay=0.02, clipnorm=1.0)).weight_decay == 0.02
    assert facts(o.Adam(global_clipnorm=1.0)).clips
    assert facts(o.Adam(0.01)).learning_rate == 0.01
    assert facts(o.Adam(0.01)).accumulates == 1
    assert facts(o.Adam(0.01, gradient_accumulation_steps=8)).accumulates == 8
    scaled = facts(o.LossScaleOptimizer(o.RMSprop(0.5)))
    assert (scaled.name, scaled.learning_rate) == ("RMSprop", 0.5)
    schedule = o.schedules.ExponentialDecay(0.3, 10, 0.9)
    scheduled = facts(o.Adagrad(schedule))
    assert (scheduled.scheduled, round(scheduled.learning_rate, 6)) == (True, 0.3)
    assert facts(None) is None

    class Own(o.Adam):
        pass

    assert facts(Own()).name == "Adam"


def initializers():
    """One of each; made when called, as an object draws its seed when it is made."""
    return [
        "glorot_uniform",
        "glorot_normal",
        "he_normal",
        "he_uniform",
        "lecun_normal",
        "orthogonal",
        keras.initializers.RandomNormal(1.0, 0.3),
        keras.initializers.RandomUniform(-1, 3),
        keras.initializers.TruncatedNormal(0.0, 0.2),
        keras.initializers.VarianceScaling(0.3, "fan_out", "untruncated_normal"),
        "zeros",
        "ones",
        keras.initializers.Constant(0.3),
    ]


def test_as_initialized():
    keras.utils.set_random_seed(0)
    for given in initializers():
        layer = L.Dense(30, kernel_initializer=given)
        model = compiled_head(layer, inputs=(40,))

        def kernel(m=model):
            return model_facts(m).layers[-1].weights[0]

        assert kernel().as_initialized is True, given
        shifted = np.asarray(layer.kernel) + 0.1 * np.arange(30)
        layer.kernel.assign(shifted)
        assert kernel().as_initialized is False, given
    small = compiled_head(L.Dense(3), inputs=(4,))
    assert model_facts(small).layers[-1].weights[0].as_initialized is None


def test_fresh_weights_are_not_called_changed():
    rng = np.random.default_rng(0)
    kernels = rng.uniform(-1, 3, (10_000, 1200))
    given = keras.initializers.RandomUniform(-1, 3)
    assert all(as_initialized(given, kernel, (40, 30)) for kernel in kernels)
    assert not any(as_initialized(given, 1.3 * k - 0.3, (40, 30)) for k in kernels)


def test_fans():
    layers = [
        (L.Conv2D(8, 3), (27, 72)),
        (L.DepthwiseConv2D(3, depth_multiplier=2), (9, 18)),
        (L.Conv2DTranspose(8, 3), (27, 72)),
    ]
    for layer, expected in layers:
        found = model_facts(compiled_head(layer, inputs=(8, 8, 3)))
        kernel = found.layers[-1].weights[0]
        assert (kernel.fan_in, kernel.fan_out) == expected
    attention = L.EinsumDense("abc,cde->abde", (None, 2, 4))
    found = model_facts(compiled_head(attention, inputs=(5, 8)))
    kernel = found.layers[-1].weights[0]
    assert (kernel.fan_in, kernel.fan_out) == (8, 8)


def test_regularizers_and_rates():
    l1_l2 = keras.regularizers.L1L2(0.25, 0.5)
    model = compiled_head(
        L.Dense(4, kernel_regularizer=l1_l2, activity_regularizer="l2"),
        L.Dropout(0.25),
        L.Reshape((2, 2)),
        L.LSTM(2, dropout=0.5, kernel_regularizer="l2"),
    )
    _, dense, drop, _, lstm = model_facts(model).layers
    assert dense.regularizers == {
        "kernel l1": 0.25,
        "kernel l2": 0.5,
        "activity l2": pytest.approx(0.01),
    }
    assert (drop.rate, lstm.rate) == (0.25, 0.5)
    assert lstm.regularizers == {"kernel l2": pytest.approx(0.01)}
    values = [np.asarray(layer.weights[0]) for layer in (model.layers[0],)]
    penalty = 0.25 * np.abs(values[0]).sum() + 0.5 * (values[0] ** 2).sum()
    penalty += 0.01 * (np.asarray(model.layers[-1].weights[0]) ** 2).sum()
    assert model_facts(model).regularization_loss == pytest.approx(penalty, rel=1e-5)


def test_output_layer_of_a_subclassed_model():
    model = ready("subclassed")
    [found] = model_facts(model).outputs
    assert (found.activation, found.layer, found.units) == (None, None, None)
    assert found.loss.from_logits
    [found] = model_facts(model, output_layer=model.out.path).outputs
    assert (found.activation, found.units) == ("linear", models.CLASSES)
    assert model_facts(model, output_layer="nonsense").outputs[0].layer is None


def test_odd_models():
    gan, _ = models.Gan_and_data()
    gan.compile()
    assert model_facts(gan).outputs[0].loss is None
    unbuilt = keras.Sequential([L.Dense(3), L.Dense(1)])
    unbuilt.compile("adam", "mse")
    found = model_facts(unbuilt)
    assert [x.kind for x in found.layers] == ["Dense", "Dense"]
    assert not found.graph_known
    never = keras.Sequential([keras.Input((2,)), L.Dense(1)])
    found = model_facts(never)
    assert found.outputs[0].loss is None


def test_factor_and_offset_of_rescaling():
    layers = [L.Rescaling(1 / 255, -1), L.Rescaling([1.0, 2.0]), L.Dense(2)]
    model = keras.Sequential([keras.Input((2,)), *layers])
    found = [layer.scaling for layer in model_facts(model).layers]
    assert found == [None, (1 / 255, -1.0), None, None]
