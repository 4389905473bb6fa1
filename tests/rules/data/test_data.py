import dataclasses

import keras
import numpy as np
import pytest
from keras import layers as L
from sklearn import datasets

from keras_babysit.facts import (
    ArrayFacts,
    DataFacts,
    DependenceFacts,
    LayerFacts,
    LossFacts,
    ModelFacts,
    OptimizerFacts,
    OutputFacts,
    ValidationFacts,
    WeightFacts,
)
from keras_babysit.history import RunHistory
from keras_babysit.inspection.data import Fed, arrays, data_facts
from keras_babysit.inspection.model import model_facts
from keras_babysit.rules import available
from keras_babysit.rules.data import samples
from keras_babysit.rules.rule import SEVERITIES

RULES = [r for r in available().values() if ".rules.data." in r.function.__module__]
RNG = np.random.default_rng(5)
SPARSE, ONE_HOT, BINARY, MSE = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
    "mean_squared_error",
)
RELU = LayerFacts("hidden", "Dense", "relu")


def model(*layers, loss=SPARSE, units=10, activation="softmax", optimizer="Adam"):
    """A chain of layers with a dense output."""
    layers = (LayerFacts("in", "InputLayer"), *(layers or (RELU,)))
    layers += (LayerFacts("out", "Dense", activation, units),)
    chain, before = [], ()
    for layer in layers:
        chain.append(dataclasses.replace(layer, inputs=before))
        before = (layer.path,)
    output = OutputFacts("", "out", activation, units, (units,), LossFacts(loss))
    return ModelFacts(
        "model",
        tuple(chain),
        (output,),
        OptimizerFacts(optimizer, 1e-3),
        graph_known=True,
    )


def binary(*layers):
    return model(*layers, loss=BINARY, units=1, activation="sigmoid")


def regression(*layers, **kwargs):
    return model(*layers, loss=MSE, units=1, activation="linear", **kwargs)


def data(x, y=None, xv=None, yv=None, **fields):
    inputs, whole = arrays("x", x)
    fields = {"shuffled": True, "batch_size": 32, **fields}
    if xv is not None:
        fields |= {
            "validation": True,
            "validation_inputs": arrays("x", xv)[0],
            "validation_targets": arrays("y", yv)[0],
        }
    rows = inputs[0].shape[0]
    return data_facts(Fed("arrays", inputs, arrays("y", y)[0], whole, rows, **fields))


def found(of_data, of_model=None):
    """Severity by name of the rules that see something."""
    history = RunHistory()
    history.data, history.model = of_data, of_model
    signs = {}
    for rule in RULES:
        for sign in rule.signs(history):
            severity = sign.severity or rule.severity
            assert severity in SEVERITIES
            assert sign.seen
            assert sign.cause
            assert sign.action[:1].islower()
            worst = signs.get(rule.name, "info")
            signs[rule.name] = min(severity, worst, key=SEVERITIES.index)
    return signs


def bunch(load):
    x, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return x[order].astype("float32"), y[order]


DIGITS, DIGIT = bunch(datasets.load_digits)
CANCER, SICK = bunch(datasets.load_breast_cancer)
SCALED = (CANCER - CANCER.mean(axis=0)) / CANCER.std(axis=0)
DIABETES, PROGRESS = bunch(datasets.load_diabetes)
PROGRESS = (PROGRESS - PROGRESS.mean()) / PROGRESS.std()
IRIS, SPECIES = bunch(datasets.load_iris)
PIXELS = DIGITS.reshape(-1, 8, 8, 1)
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
WORDS = RNG.integers(0, 500, (800, 20))
ONE_OF = np.eye(40, dtype="float32")[RNG.integers(0, 40, 800)]
BITS = RNG.integers(0, 2, (1000, 12)).astype("float32")

HEALTHY = {
    "digits": (data(DIGITS / 16, DIGIT), model()),
    "digits, raw": (data(DIGITS, DIGIT), model()),
    "digits, one-hot": (data(PIXELS / 16, np.eye(10)[DIGIT]), model(loss=ONE_HOT)),
    "digits, signed": (data(PIXELS / 8 - 1, DIGIT), model()),
    "digits, split": (
        data(PIXELS[:1500], DIGIT[:1500], PIXELS[1500:], DIGIT[1500:]),
        model(),
    ),
    "table": (data(SCALED, SICK), binary()),
    "iris": (data(IRIS, SPECIES), model(units=3)),
    "regression": (data(DIABETES, PROGRESS), regression()),
    "xor": (data(CORNERS, np.array([0, 1, 1, 0]), steps=500), binary()),
    "parity": (data(BITS, BITS.sum(axis=1) % 2), binary()),
    "tokens": (
        data(WORDS, WORDS[:, 0] > WORDS[:, 1]),
        binary(LayerFacts("words", "Embedding"), RELU),
    ),
    "one-hot inputs": (data(ONE_OF, ONE_OF[:, :20].sum(axis=1)), binary()),
    "several labels": (
        data(SCALED, (SCALED[:, :4] > 0.3).astype(int)),
        model(loss=BINARY, units=4, activation="sigmoid"),
    ),
    "autoencoder": (
        data(DIGITS / 16, DIGITS / 16),
        model(loss=BINARY, units=64, activation="sigmoid"),
    ),
    "bag of words": (
        data((RNG.random((500, 3000)) < 0.002).astype("f4"), np.arange(500) % 2),
        None,
    ),
    "no targets": (data(SCALED), None),
    "rescaled in the model": (
        data(PIXELS * 16, DIGIT),
        model(LayerFacts("scale", "Rescaling"), RELU),
    ),
    "weighted": (
        data(SCALED, np.arange(569) % 30 == 0, weighted=True),
        None,
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_silent_on_healthy_data(name):
    signs = found(*HEALTHY[name])
    assert not {k: v for k, v in signs.items() if v != "info"}


def corrupted(x, at, value):
    x = x.astype("float32").copy()
    x[at] = value
    return x


HALF = SICK[RNG.permutation(569)]
SORTED = np.argsort(SICK, kind="stable")

FAULTY = {
    "pixels": ("inputs-not-scaled", "warning", (PIXELS * 15.9, DIGIT), model()),
    "table, raw": ("inputs-not-scaled", "warning", (CANCER, SICK), binary()),
    "scaled twice": ("inputs-not-scaled", "warning", (PIXELS / 4080, DIGIT), model()),
    "one big column": (
        "feature-scales-differ",
        "warning",
        (SCALED * np.where(np.arange(30) == 3, 10, 0.05), SICK),
        binary(),
    ),
    "dead columns": (
        "constant-features",
        "warning",
        (corrupted(SCALED, np.s_[:, :28], 3), SICK),
        binary(),
    ),
    "nothing varies": ("constant-features", "error", (SCALED * 0, SICK), binary()),
    "nan": ("nan-in-data", "error", (corrupted(SCALED, (7, 3), np.nan), SICK), None),
    "inf in y": (
        "nan-in-data",
        "error",
        (DIABETES, corrupted(PROGRESS, 3, np.inf)),
        regression(),
    ),
    "prices": (
        "targets-not-scaled",
        "warning",
        (DIABETES, 2e5 + 5e4 * PROGRESS),
        regression(),
    ),
    "from 1": ("labels-out-of-range", "error", (DIGITS / 16, DIGIT + 1), model()),
    "below 0": ("labels-out-of-range", "error", (DIGITS / 16, DIGIT - 1), model()),
    "signs": ("labels-out-of-range", "error", (SCALED, 2 * SICK - 1), binary()),
    "1 and 2": ("labels-out-of-range", "error", (SCALED, SICK + 1), binary()),
    "0 and 255": ("labels-out-of-range", "error", (SCALED, SICK * 255), binary()),
    "one class": ("single-class-targets", "error", (SCALED, SICK * 0), binary()),
    "rare": (
        "class-imbalance",
        "warning",
        (SCALED, (SCALED[:, 0] > 2.5).astype(int)),
        binary(),
    ),
    "out of step": ("unrelated-inputs", "warning", (SCALED, HALF), binary()),
    "same rows": (
        "leaking-validation",
        "warning",
        (SCALED, SICK, SCALED[:100], SICK[:100]),
        binary(),
    ),
    "copies of all": (
        "leaking-validation",
        "warning",
        (
            np.tile(SCALED, (2, 1)),
            np.tile(SICK, 2),
            SCALED[:100],
            SICK[:100],
        ),
        binary(),
    ),
    "copies with other labels": (
        "conflicting-labels",
        "warning",
        (np.tile(SCALED, (2, 1)), np.concatenate([SICK, HALF])),
        binary(),
    ),
    "few of each class": (
        "too-few-samples",
        "warning",
        (DIGITS[:30] / 16, DIGIT[:30]),
        model(),
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_fires_on_its_fault(name):
    rule, severity, given, of_model = FAULTY[name]
    signs = found(data(*given), of_model)
    assert signs[rule] == severity
    # Nothing else is told as loud, but for what the rule explains.
    others = {k for k, v in signs.items() if v != "info"} - {rule}
    cause = available()[rule]
    assert all(cause.explains(available()[other]) for other in others)


def test_sorted_split():
    x, y = SCALED[SORTED], SICK[SORTED]
    of = data(x[:450], y[:450], x[450:], y[450:], validation_split=True)
    assert found(of, binary())["sorted-validation-split"] == "warning"
    of = data(x[:200], y[:200], x[200:], y[200:], validation_split=True)
    signs = found(of, binary())
    assert signs["sorted-validation-split"] == "error"
    of = data(x[:450], y[:450], x[450:], y[450:])
    assert "sorted-validation-split" not in found(of, binary())
    x, y = SCALED[:450], SICK[:450]
    of = data(x, y, SCALED[450:], SICK[450:], validation_split=True)
    assert found(of, binary()) == {}


def test_unshuffled():
    x, y = SCALED[SORTED], SICK[SORTED]
    assert "unshuffled-sorted-data" not in found(data(x, y), binary())
    assert "unshuffled-sorted-data" in found(data(x, y, shuffled=False), binary())
    of = data(SCALED, SICK, shuffled=False)
    assert found(of, binary()) == {}
    of = data(x, y, shuffled=False, batch_size=569)
    assert "unshuffled-sorted-data" not in found(of, binary())


def test_few_updates():
    of = data(SCALED, SICK, batch_size=600, steps=10)
    assert found(of, binary()) == {"too-few-samples": "warning"}
    of = data(SCALED, SICK, batch_size=600, steps=5000)
    assert found(of, binary()) == {"too-few-samples": "info"}


@pytest.mark.parametrize(
    "layers",
    [
        [LayerFacts("a", "Normalization"), RELU],
        [LayerFacts("a", "Flatten"), LayerFacts("b", "BatchNormalization"), RELU],
        [LayerFacts("a", "Lambda"), RELU],
        [LayerFacts("a", "TrueDivide"), RELU],
        [LayerFacts("a", "MyLayer"), RELU],
        [LayerFacts("a", "Conv2D"), LayerFacts("b", "BatchNormalization"), RELU],
        [dataclasses.replace(RELU, trainable=False), LayerFacts("b", "Dense", "relu")],
    ],
    ids=lambda layers: ", ".join(layer.kind for layer in layers),
)
def test_scaled_on_the_way(layers):
    assert "inputs-not-scaled" not in found(data(PIXELS * 16, DIGIT), model(*layers))


@pytest.mark.parametrize("kind", ["Flatten", "RandomFlip", "ZeroPadding2D", "Masking"])
def test_not_scaled_on_the_way(kind):
    layers = LayerFacts("a", kind), RELU
    assert "inputs-not-scaled" in found(data(PIXELS * 16, DIGIT), model(*layers))


@pytest.mark.parametrize(
    ("scales", "behind", "fires"),
    [
        ([(1 / 255, 0.0)], [], True),
        ([(1 / 127.5, -1.0)], [LayerFacts("flip", "RandomFlip")], True),
        ([(255.0, 0.0), (1 / 255, 0.0)], [], False),
        ([(2.0, -1.0)], [], False),
        ([(1 / 255, 0.0)], [LayerFacts("norm", "Normalization")], False),
        ([None], [], False),
    ],
    ids=["twice", "to -1 and 1", "back", "once", "normalized", "by channel"],
)
def test_scaled_twice(scales, behind, fires):
    first = [
        LayerFacts(f"scale_{i}", "Rescaling", scaling=scaling)
        for i, scaling in enumerate(scales)
    ]
    signs = found(data(PIXELS / 16, DIGIT), model(*first, *behind, RELU))
    assert ("inputs-not-scaled" in signs) == fires
    raw = found(data(PIXELS * 16, DIGIT), model(*first[:1], *behind, RELU))
    if fires:
        assert "inputs-not-scaled" not in raw


def test_scale_of_one_of_two_inputs():
    layers = (
        LayerFacts("raw", "InputLayer", inputs=()),
        LayerFacts("words", "InputLayer", inputs=()),
        LayerFacts("dense", "Dense", "relu", inputs=("raw",)),
        LayerFacts("embedding", "Embedding", inputs=("words",)),
    )
    of_model = ModelFacts("model", layers, graph_known=True)
    for name, fires in (("raw", True), ("words", False)):
        signs = found(data({name: WORDS}), of_model)
        assert ("inputs-not-scaled" in signs) == fires


def test_model_whose_graph_is_not_known():
    layers = LayerFacts("a", "Dense", "relu"), LayerFacts("b", "Dense")
    of = data(PIXELS * 16, DIGIT)
    assert "inputs-not-scaled" in found(of, ModelFacts("own", layers))
    layers += (LayerFacts("c", "Rescaling"),)
    assert "inputs-not-scaled" not in found(of, ModelFacts("own", layers))
    assert "inputs-not-scaled" not in found(of, None)


def test_own_loss_may_know_its_targets():
    own = model()
    output = dataclasses.replace(
        own.outputs[0], loss=LossFacts("masked", standard=False)
    )
    own = dataclasses.replace(own, outputs=(output,))
    assert found(data(SCALED, corrupted(SICK, 3, np.nan)), own) == {
        "nan-in-data": "info"
    }
    assert found(data(SCALED, SICK * 0), own) == {}
    ignoring = LossFacts(SPARSE, ignore_class=255)
    output = dataclasses.replace(output, loss=ignoring, units=2, shape=(2,))
    ignores = dataclasses.replace(own, outputs=(output,))
    labels = np.where(np.arange(569) % 3 == 0, 255, SICK)
    assert "labels-out-of-range" not in found(data(SCALED, labels), ignores)


def test_targets_that_the_steps_can_reach():
    y = 150 + 70 * PROGRESS
    of = data(DIABETES, y, steps=10_000_000)
    assert found(of, regression())["targets-not-scaled"] == "info"
    alone = dataclasses.replace(regression(), layers=regression().layers[-1:])
    sgd = dataclasses.replace(alone, optimizer=OptimizerFacts("SGD", 0.01))
    assert "targets-not-scaled" not in found(data(DIABETES, y), sgd)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_frozen_critic_is_to_say_one_thing(trainable):
    of = binary()
    critic = dense_layer("out", 16, "sigmoid", trainable=trainable)
    of = dataclasses.replace(of, layers=(*of.layers[:-1], critic))
    signs = found(data(SCALED, SICK * 0), of)
    assert ("single-class-targets" in signs) == trainable


@pytest.mark.parametrize("shared", [True, False])
def test_that_one_of_two_is_better_is_all_that_is_taught(shared):
    """A model that ranks: the target of a difference of two scores is 1."""
    one, other = keras.Input((30,)), keras.Input((30,))
    score = L.Dense(1)
    gap = score(one) - (score if shared else L.Dense(1))(other)
    of = keras.Model([one, other], L.Activation("sigmoid")(gap))
    of.compile("adam", "binary_crossentropy")
    signs = found(data([SCALED, SCALED[::-1]], SICK * 0 + 1), model_facts(of))
    assert ("single-class-targets" in signs) != shared


def test_a_difference_to_a_constant_ranks_nothing():
    inputs = keras.Input((30,))
    of = keras.Model(inputs, L.Activation("sigmoid")(L.Dense(1)(inputs) - 1))
    of.compile("adam", "binary_crossentropy")
    assert "single-class-targets" in found(data(SCALED, SICK * 0), model_facts(of))


@pytest.mark.parametrize("rows", [200, 100])
def test_tokens_meet_the_embedding_of_their_own_input(rows):
    """Inputs in a list are known by their places, whatever is defined first."""
    users, items = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    item, user = L.Embedding(100, 4)(items), L.Embedding(rows, 4)(users)
    of = keras.Model([users, items], L.Dense(1)(L.Dot(axes=1)([user, item])))
    of.compile("adam", "mse")
    x = [RNG.integers(0, n, 800) for n in (200, 100)]
    signs = found(data(x, RNG.normal(size=800)), model_facts(of))
    assert ("tokens-out-of-range" in signs) == (rows < 200)


@pytest.mark.parametrize(
    ("metrics", "severity"),
    [
        (("accuracy",), "warning"),
        (("auc",), "info"),
        (("accuracy", "f1_score"), "info"),
        (("precision_at_recall",), "info"),
    ],
)
def test_a_rare_class_that_is_watched(metrics, severity):
    of = binary()
    output = dataclasses.replace(of.outputs[0], metrics=metrics)
    of = dataclasses.replace(of, outputs=(output,))
    signs = found(data(SCALED, (SCALED[:, 0] > 2.5).astype(int)), of)
    assert signs["class-imbalance"] == severity


def dense_layer(path, fan_in, activation="relu", **kwargs):
    weight = WeightFacts(f"{path}/kernel", "kernel", (), True, 0, 1, -1, 1, fan_in)
    return LayerFacts(path, "Dense", activation, weights=(weight,), **kwargs)


@pytest.mark.parametrize(
    ("hidden", "graph", "reaches"),
    [
        # Steps that NumPy's Adam took to half of the targets' deviation: 2,250 with one
        # hidden layer of 64 units, 800 with two.
        ([dense_layer("a", 8)], True, False),
        ([dense_layer("a", 8), dense_layer("b", 64)], True, True),
        ([dense_layer("a", 8), dense_layer("b", 64)], False, True),
        ([dense_layer("a", 8, "tanh"), dense_layer("b", 64, "tanh")], True, False),
        (
            [dense_layer("a", 8), LayerFacts("norm", "LayerNormalization")],
            True,
            False,
        ),
    ],
    ids=["one", "two", "two, of a subclass", "tanh", "normalized"],
)
def test_hidden_layers_multiply_what_steps_reach(hidden, graph, reaches):
    of = regression(*hidden)
    last = dense_layer("out", 64, "linear", units=1, inputs=of.layers[-1].inputs)
    layers = (*of.layers[:-1], last)
    if not graph:
        layers = tuple(dataclasses.replace(layer, inputs=None) for layer in layers)
    of = dataclasses.replace(of, layers=layers, graph_known=graph)
    fed = data(DIABETES, 180 + 50 * PROGRESS, steps=1_100)
    severity = found(fed, of).get("targets-not-scaled")
    assert severity == ("info" if reaches else "warning")


def test_categories_make_accidental_copies():
    x = RNG.integers(0, 3, (600, 3)).astype("float32")
    y = (x[:, 0] + RNG.integers(0, 2, 600) > 1).astype(int)
    signs = found(data(x[:500], y[:500], x[500:], y[500:]), binary())
    assert set(signs.values()) <= {"info"}
    assert "leaking-validation" not in signs


def test_sequences_are_judged_gently():
    x = RNG.normal(size=(900, 30, 2)).astype("float32")
    of = data(x, RNG.integers(0, 2, 900))
    assert found(of, binary(LayerFacts("lstm", "LSTM"))) == {"unrelated-inputs": "info"}
    assert found(of, binary()) == {"unrelated-inputs": "warning"}


def test_sets_are_judged_gently():
    """One of the items may decide, which no neighbour and no average shows."""
    x = RNG.normal(size=(900, 8, 20)).astype("float32")
    of = data(x, RNG.integers(0, 2, 900))
    gently = {"unrelated-inputs": "info"}
    each = LayerFacts("each", "Dense", output_shape=(8, 16))
    assert found(of, binary(each)) == gently
    assert found(of, binary(LayerFacts("each", "TimeDistributed"))) == gently
    row = LayerFacts("all", "Dense", output_shape=(16,))
    assert found(of, binary(row)) == {"unrelated-inputs": "warning"}


def test_keras_models():
    inspect = pytest.importorskip("keras_babysit.inspection.model")
    for scale, fires in (([], True), ([L.Rescaling(1 / 255)], False)):
        made = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                *scale,
                L.Conv2D(4, 3, activation="relu"),
                L.Flatten(),
                L.Dense(10, activation="softmax"),
            ]
        )
        made.compile("adam", SPARSE)
        signs = found(data(PIXELS * 15.9, DIGIT), inspect.model_facts(made))
        assert ("inputs-not-scaled" in signs) == fires


NOTHING = ArrayFacts("x", (), "float32", 0)
ODD = [
    None,
    DataFacts(),
    DataFacts(inputs=(NOTHING,), targets=(NOTHING,), rows=0, batch_size=0, steps=0),
    DataFacts(
        inputs=(ArrayFacts("x", (3,), "string", 9), NOTHING),
        targets=(ArrayFacts("y", (0,), "int64", 9, features=0),),
        rows=9,
        source="arrays",
        sorted=True,
        validation=ValidationFacts(compared=50, shared=50),
        validation_split=True,
        duplicated=np.nan,
        conflicting=np.nan,
        dependence=DependenceFacts(tested=1000),
    ),
    data(np.full((30, 2), np.nan), np.full(30, np.inf), np.zeros((0, 2)), np.zeros(0)),
    data({"a": np.zeros((30, 0)), "b": np.zeros(30)}, {"c": np.zeros((30, 2))}),
]


@pytest.mark.parametrize("of_model", [None, ModelFacts("m"), model(), regression()])
@pytest.mark.parametrize("of_data", ODD)
def test_never_raises(of_data, of_model):
    assert found(of_data, of_model) == found(of_data, of_model)


def test_validation_that_is_not_scaled_like_the_training():
    y = SICK[450:]
    of = data(SCALED[:450], SICK[:450], 50 * SCALED[450:], y)
    assert found(of, binary())["validation-differs"] == "warning"
    of = data(SCALED[:450], SICK[:450], SCALED[450:] + 10, y)
    assert found(of, binary())["validation-differs"] == "warning"
    of = data(SCALED[:450], SICK[:450], 1.5 * SCALED[450:] + 0.3, y)
    assert "validation-differs" not in found(of, binary())


def test_validation_confirms_what_a_small_sample_hints_at():
    from support.histories import run

    x = RNG.normal(size=(300, 12)).astype("float32")
    y = RNG.integers(0, 10, 300)
    of = data(x, y)
    assert of.dependence.tested == 300
    assert "unrelated-inputs" not in found(of, model())
    losses = [2.2, 2.0, 1.7, 1.4, 1.1, 0.9]
    low = [0.1] * 6
    for val_loss, expected in (([2.4] * 6, 1), ([1.5] * 6, 0)):
        history = run(losses, val_loss=val_loss, val_accuracy=low, accuracy=low)
        history.data, history.model = of, model()
        assert len(samples.unrelated_inputs.signs(history)) == expected
