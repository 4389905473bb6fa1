"""`Ensemble`: a plain Keras model that averages what its members put out."""

import pickle
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as L
from support import fresh, models

from keras_babysit.ensemble import Ensemble, load_members
from keras_babysit.ensemble.scoring import metrics

LOAD = """
import pickle, sys

class Blocked:
    def find_spec(self, name, *args, **kwargs):
        if name.split(".")[0] == "keras_babysit":
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
import keras, numpy as np
found = {}
for name in sys.argv[2:]:
    model = keras.saving.load_model(f"{sys.argv[1]}/{name}.keras")
    x = pickle.load(open(f"{sys.argv[1]}/{name}.x", "rb"))
    made = keras.tree.flatten(model(x))
    arrays = [keras.ops.convert_to_numpy(one) for one in made]
    found[name] = arrays, type(model).__name__
assert not any(name.startswith("keras_babysit") for name in sys.modules)
pickle.dump(found, open(f"{sys.argv[1]}/found", "wb"))
"""


def arrays(structure):
    return [keras.ops.convert_to_numpy(one) for one in keras.tree.flatten(structure)]


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def logarithm(p, make):
    """Logits of probabilities, those below 1e-7 as 1e-7."""
    log = np.log(np.clip(p, 1e-7, 1))
    return log if make is classifier else log - np.log(np.clip(1 - p, 1e-7, 1))


def dense(units=3, activation=None, inputs=4, **compiled):
    """A small model; its weights are not small, so that members disagree."""
    model = keras.Sequential([keras.Input((inputs,)), L.Dense(units, activation)])
    model.set_weights([2 * np.random.normal(size=w.shape) for w in model.get_weights()])
    if compiled:
        model.compile(**compiled)
    return model


def classifier(logits=True, **kwargs):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    return dense(3, None if logits else "softmax", loss=loss, **kwargs)


def binary(logits=True, **kwargs):
    loss = keras.losses.BinaryCrossentropy(from_logits=logits)
    return dense(1, None if logits else "sigmoid", loss=loss, **kwargs)


@pytest.fixture(autouse=True)
def _repeatable():
    keras.utils.set_random_seed(0)


@pytest.fixture
def x(rng):
    return rng.normal(size=(16, 4)).astype("float32")


# ------------------------------------------------------------------------ averages


@pytest.mark.parametrize("average", [None, "probabilities", "geometric", "logits"])
@pytest.mark.parametrize("kinds", [(True, True), (False, False), (True, False)])
def test_averages_of_classifiers_are_numpys(average, kinds, x):
    for make, squash in ((classifier, softmax), (binary, sigmoid)):
        members = [make(logits) for logits in kinds]
        raw = [keras.ops.convert_to_numpy(m(x)).astype(float) for m in members]
        p = [squash(z) if logits else z for z, logits in zip(raw, kinds, strict=True)]
        z = [
            one if logits else logarithm(chance, make)
            for one, chance, logits in zip(raw, p, kinds, strict=True)
        ]
        weights = [0.3, 0.7]
        expected = {
            "logits": np.average(z, axis=0, weights=weights),
            "geometric": squash(np.average(z, axis=0, weights=weights)),
        }.get(average, np.average(p, axis=0, weights=weights))
        ensemble = Ensemble(members, weights, average=average)
        assert keras.ops.convert_to_numpy(ensemble(x)) == pytest.approx(
            expected, abs=2e-6, rel=1e-5
        )


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda w: sum(w) > 0.01)
)
def test_weighted_averages_are_numpys(raw):
    x = np.random.default_rng(1).normal(size=(5, 4)).astype("float32")
    members = [dense(), dense(), dense()]
    weights = np.array(raw) / sum(raw)
    expected = np.average(
        [keras.ops.convert_to_numpy(m(x)).astype(float) for m in members], 0, weights
    )
    made = keras.ops.convert_to_numpy(Ensemble(members, weights)(x))
    assert made == pytest.approx(expected, abs=2e-6, rel=1e-5)


def test_values_are_averaged_as_they_are(x):
    members = [dense(2, loss="mse"), dense(2, loss="mse"), dense(2)]
    expected = np.mean(
        [keras.ops.convert_to_numpy(m(x)).astype(float) for m in members], axis=0
    )
    assert keras.ops.convert_to_numpy(Ensemble(members)(x)) == pytest.approx(
        expected, abs=1e-6
    )


def test_what_nothing_is_known_of_is_values_or_as_told(x):
    members = [dense(), dense()]
    raw = [keras.ops.convert_to_numpy(m(x)).astype(float) for m in members]
    assert keras.ops.convert_to_numpy(Ensemble(members)(x)) == pytest.approx(
        np.mean(raw, 0), abs=1e-6
    )
    told = Ensemble(members, from_logits=True)
    assert keras.ops.convert_to_numpy(told(x)) == pytest.approx(
        np.mean(softmax(np.array(raw)), 0), abs=1e-6
    )
    # What is beside a member whose loss tells is what that one is.
    beside = Ensemble([classifier(), members[0]])
    assert keras.ops.convert_to_numpy(beside(x)).sum(1) == pytest.approx(1)


def test_averages_half_precision_in_float32(x):
    keras.config.set_dtype_policy("mixed_float16")
    members = [dense(activation="softmax"), dense(activation="softmax")]
    keras.config.set_dtype_policy("float32")
    made = Ensemble(members, [0.3, 0.7])(x)
    assert keras.backend.standardize_dtype(made.dtype) == "float32"
    raw = [keras.ops.convert_to_numpy(m(x)) for m in members]
    assert raw[0].dtype == np.float16
    expected = np.average(np.array(raw, float), 0, [0.3, 0.7])
    # To more digits than half precision has.
    made = keras.ops.convert_to_numpy(made)
    assert made == pytest.approx(expected, abs=1e-6)


def test_a_member_of_weight_0_has_no_part(x):
    broken = dense()
    broken.set_weights([w * np.nan for w in broken.get_weights()])
    good = dense()
    ensemble = Ensemble([broken, good, good], [0, 0.4, 0.6])
    assert keras.ops.convert_to_numpy(ensemble(x)) == pytest.approx(
        keras.ops.convert_to_numpy(good(x)), abs=1e-6
    )
    assert len(ensemble.members) == 2
    assert ensemble.member_weights.tolist() == [0.4, 0.6]


# ------------------------------------------------------------------------- members


def test_members_are_copied_and_left_alone(x):
    members = [classifier(), classifier()]
    before = [m.get_config() for m in members], [m.get_weights() for m in members]
    ensemble = Ensemble(members)
    kept = keras.ops.convert_to_numpy(ensemble(x))
    ensemble.compile("sgd", "sparse_categorical_crossentropy")
    ensemble.fit(x, np.zeros(16), verbose=0)
    assert [m.get_config() for m in members] == before[0]
    for member, weights in zip(members, before[1], strict=True):
        for a, b in zip(member.get_weights(), weights, strict=True):
            assert (a == b).all()
    again = Ensemble(members)
    members[0].set_weights([w * 0 for w in members[0].get_weights()])
    assert (keras.ops.convert_to_numpy(again(x)) == kept).all()


def test_is_a_keras_model(x):
    ensemble = Ensemble([classifier(), classifier()], name="both")
    assert isinstance(ensemble, Ensemble)
    assert isinstance(ensemble, keras.Model)
    assert ensemble.name == "both"
    assert repr(ensemble) == "<Ensemble name=both, members=2>"
    assert ensemble.count_params() == 2 * 15
    assert ensemble.output_shape == (None, 3)
    for other in (
        keras.models.clone_model(ensemble),
        keras.models.model_from_json(ensemble.to_json()),
    ):
        other.set_weights(ensemble.get_weights())
        assert (
            keras.ops.convert_to_numpy(other(x))
            == keras.ops.convert_to_numpy(ensemble(x))
        ).all()
    # As a member too: what it puts out is known.
    nested = Ensemble([ensemble, Ensemble([classifier()], average="logits")])
    assert keras.ops.convert_to_numpy(nested(x)).sum(1) == pytest.approx(1)


def test_penalties_do_not_add_up(x):
    def make():
        inner = L.Dense(2, bias_regularizer="l1")
        return keras.Sequential(
            [
                keras.Input((4,)),
                L.Reshape((2, 2)),
                L.Dense(2, kernel_regularizer="l2", activity_regularizer="l1"),
                L.ActivityRegularization(0.1),
                L.TimeDistributed(inner),
            ]
        )

    a = make()
    ensemble = Ensemble([a, make()])
    ensemble(x)
    assert sum(map(float, ensemble.losses)) == 0
    a(x)
    assert len(a.losses) == 4


@pytest.mark.tensorflow  # Keras's layers for text need it.
def test_what_layers_learned_without_weights_is_copied(x):
    lookup = L.StringLookup()
    lookup.adapt(["a", "b", "c"])
    norm = L.Normalization()
    norm.adapt(x * 3 + 1)

    def make():
        words, numbers = keras.Input((1,), dtype="string"), keras.Input((4,))
        embedded = L.Flatten()(L.Embedding(5, 3)(lookup(words)))
        both = L.Concatenate()([embedded, norm(numbers)])
        return keras.Model([words, numbers], L.Dense(2, "softmax")(both))

    words = keras.ops.convert_to_tensor([["a"], ["c"], ["?"]])
    members = [make(), make()]
    both = [words, keras.ops.convert_to_tensor(x[:3])]
    expected = np.mean([np.asarray(m(both)) for m in members], 0)
    assert np.asarray(Ensemble(members)(both)) == pytest.approx(expected, abs=1e-6)


def test_functions_that_refer_to_something_are_copied(x):
    factor = 3.0
    model = keras.Sequential(
        [keras.Input((4,)), L.Lambda(lambda t: t * factor), L.Dense(2, "softmax")]
    )
    made = keras.ops.convert_to_numpy(Ensemble([model, model])(x))
    assert made == pytest.approx(keras.ops.convert_to_numpy(model(x)), abs=1e-6)


def test_operations_and_calls_of_the_users_are_kept(x):
    inputs = keras.Input((4,))
    values = keras.ops.tanh(2.0 * L.Dense(3)(inputs)) + 1.0
    model = keras.Model(inputs, keras.ops.softmax(values))

    class Fivefold(keras.Model):
        def call(self, t):
            return 5.0 * super().call(t)

    inner = keras.Input((4,))
    outer = keras.Model(inputs, Fivefold(inner, L.Dense(3)(inner))(inputs))
    for member in (model, outer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            made = keras.ops.convert_to_numpy(Ensemble([member, member])(x))
        assert made == pytest.approx(keras.ops.convert_to_numpy(member(x)), abs=1e-6)


class NotMadeAgain(keras.Model):
    def __init__(self, function):
        super().__init__()
        self.dense, self.function = L.Dense(3), function

    def call(self, x):
        return self.function(self.dense(x))


def test_subclassed_members(rng):
    x = rng.normal(size=(16, 12)).astype("float32")
    members = [models.Subclassed(), models.Subclassed()]
    expected = np.mean(
        [softmax(keras.ops.convert_to_numpy(m(x)).astype(float)) for m in members], 0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ensemble = Ensemble(members, from_logits=True)
    members[0].set_weights([0 * w for w in members[0].get_weights()])
    assert keras.ops.convert_to_numpy(ensemble(x)) == pytest.approx(expected, abs=1e-6)


@keras.saving.register_keras_serializable("tests")
class Sums(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = L.Dense(3)

    def call(self, x):
        return self.dense(sum(keras.tree.flatten(x)))


@pytest.mark.parametrize("given", ["one", "list", "dict"])
def test_subclassed_members_from_files(given, x, tmp_path):
    x = {"one": x, "list": [x, 2 * x], "dict": {"b": x, "a": 2 * x}}[given]
    members = [Sums(), Sums()]
    expected = np.mean([keras.ops.convert_to_numpy(m(x)) for m in members], 0)
    for number, member in enumerate(members):
        member.save(tmp_path / f"{number}.keras")
    for known in (members, load_members(tmp_path)):
        assert keras.ops.convert_to_numpy(Ensemble(known)(x)) == pytest.approx(
            expected, abs=1e-6
        )


def test_subclassed_members_that_cannot_be_copied(x, tmp_path):
    members = [NotMadeAgain(lambda t: 2 * t), dense()]
    members[0](x)
    expected = np.mean([keras.ops.convert_to_numpy(m(x)) for m in members], 0)
    with pytest.warns(UserWarning, match="cannot be copied .* `LazyEnsemble`"):
        ensemble = Ensemble(members)
    assert keras.ops.convert_to_numpy(ensemble(x)) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(NotImplementedError, match="get_config"):
        ensemble.save(tmp_path / "no.keras")


# ----------------------------------------------------------------- several outputs


def test_dicts_of_inputs_and_outputs():
    made = [models.shared_and_nested() for _ in range(2)]
    members = [models.compile_model(model) for model, _ in made]
    x, y = made[0][1]
    ensemble = Ensemble(members)
    raw = [
        {k: keras.ops.convert_to_numpy(v).astype(float) for k, v in m(x).items()}
        for m in members
    ]
    found = ensemble.predict(x, verbose=0)
    expected = np.mean([softmax(r["one"]) for r in raw], 0)
    assert found["one"] == pytest.approx(expected, abs=1e-6)
    assert found["two"] == pytest.approx(np.mean([r["two"] for r in raw], 0), abs=1e-6)
    # In one batch: of several, Keras does not weigh the last by its size here.
    logs = ensemble.evaluate(x, y, batch_size=72, verbose=0, return_dict=True)
    nll = metrics.negative_log_likelihood(found["one"], y["one"])
    assert logs["one_loss"] == pytest.approx(nll, rel=1e-4)
    squared = np.mean((found["two"] - y["two"]) ** 2)
    assert logs["loss"] == pytest.approx(nll + squared, rel=1e-4)
    spread = ensemble.spread(x)
    assert spread["two"].entropy is None
    assert spread["two"].std == pytest.approx(
        np.std([r["two"] for r in raw], 0), abs=1e-6
    )


def test_lists_of_outputs_keep_their_names(x, rng):
    def make():
        inputs = keras.Input((4,), name="numbers")
        outputs = [
            L.Dense(3, "softmax", name="kind")(inputs),
            L.Dense(1, name="size")(inputs),
        ]
        model = keras.Model(inputs, outputs)
        model.compile(
            loss={"kind": "sparse_categorical_crossentropy", "size": "mae"},
            loss_weights={"kind": 1.0, "size": 0.5},
            metrics={"kind": ["accuracy"]},
        )
        return model

    a = make()
    y = [rng.integers(0, 3, 16), rng.normal(size=(16, 1))]
    alone = Ensemble([a])
    expected = a.evaluate(x, y, verbose=0, return_dict=True)
    assert alone.output_names == ["kind", "size"]
    assert alone.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(expected)


# --------------------------------------------------------------------- compilation


def test_is_evaluated_as_its_members_are(x, rng):
    y = rng.integers(0, 2, 16)

    def measures(logits):
        return [
            keras.metrics.BinaryAccuracy(
                threshold=0.0 if logits else 0.5, name="right"
            ),
            keras.metrics.AUC(from_logits=logits, name="auc"),
        ]

    member = binary(metrics=measures(True))
    alone = Ensemble([member])
    expected = member.evaluate(x, y, verbose=0, return_dict=True)
    found = alone.evaluate(x, y, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-4)
    both = Ensemble([member, binary()], average="logits")
    logs = both.evaluate(x, y, verbose=0, return_dict=True)
    p = sigmoid(keras.ops.convert_to_numpy(both(x)).astype(float))
    assert logs["loss"] == pytest.approx(
        metrics.negative_log_likelihood(p, y), rel=1e-4
    )
    assert logs["right"] == pytest.approx(1 - metrics.error(p, y))


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=7),
        keras.losses.sparse_categorical_crossentropy,
    ],
)
@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_losses_take_what_the_ensemble_puts_out(loss, average, x, rng):
    y = rng.integers(0, 3, 16)
    is_logits = getattr(loss, "from_logits", False) or hasattr(loss, "ignore_class")
    member = dense(3, None if is_logits else "softmax", loss=loss)
    other = dense(3, None if is_logits else "softmax", loss=loss)
    ensemble = Ensemble([member, other], average=average)
    made = keras.ops.convert_to_numpy(ensemble(x)).astype(float)
    p = softmax(made) if average == "logits" else made
    found = float(ensemble.compute_loss(y=y, y_pred=ensemble(x)))
    # Of logits, Keras does not clip.
    least = 0 if average == "logits" else 1e-7
    nll = -np.log(np.maximum(p[np.arange(16), y], least)).mean()
    assert found == pytest.approx(nll, rel=1e-4)


def test_a_loss_of_the_users_is_kept_where_it_is_right(x):
    def of_values(y, p):
        return keras.ops.mean(keras.ops.abs(y - p))

    ensemble = Ensemble([dense(loss=of_values), dense(loss=of_values)])
    assert ensemble.compiled
    # It is for logits, and the ensemble would put out probabilities.
    told = Ensemble([dense(loss=of_values), dense(loss=of_values)], from_logits=True)
    assert not told.compiled
    assert not Ensemble([dense(), dense()]).compiled


# --------------------------------------------------------------------- uncertainty


def test_spread_closed_forms():
    x = np.ones((2, 1), "float32")

    def make(bias):
        model = keras.Sequential([keras.Input((1,)), L.Dense(2, "softmax")])
        model.set_weights([np.zeros((1, 2)), np.array(bias, float)])
        return model

    sure, other, unsure = make([0, 60]), make([60, 0]), make([0, 0])
    spread = Ensemble([sure, other]).spread(x)
    assert spread.mean == pytest.approx(0.5)
    assert spread.std == pytest.approx(0.5)
    assert spread.entropy == pytest.approx(np.log(2))
    # Each is sure: all of it is disagreement.
    assert spread.mutual_information == pytest.approx(np.log(2))
    spread = Ensemble([unsure, unsure]).spread(x)
    assert spread.entropy == pytest.approx(np.log(2))
    assert spread.mutual_information == pytest.approx(0, abs=1e-12)
    spread = Ensemble([sure, other], [0.25, 0.75]).spread(x)
    assert spread.std == pytest.approx(np.sqrt(0.25 * 0.75))
    entropy = -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    assert spread.mutual_information == pytest.approx(entropy)
    assert spread.entropy.shape == (2,)


def test_spread_of_logits_is_of_probabilities(x):
    members = [binary(), binary()]
    p = np.array(
        [sigmoid(keras.ops.convert_to_numpy(m(x)).astype(float)) for m in members]
    )
    spread = Ensemble(members, average="logits").spread(x)
    assert spread.std == pytest.approx(p.std(0), abs=1e-6)
    mean = p.mean(0)[:, 0]
    entropy = -mean * np.log(mean) - (1 - mean) * np.log(1 - mean)
    assert spread.entropy == pytest.approx(entropy, abs=1e-6)


# --------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def in_a_fresh_process(tmp_path_factory):
    """Saves ensembles in all ways; loads them where keras_babysit is not."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 4)).astype("float32")
    same = classifier()
    norm = L.Normalization()
    norm.adapt(x * 3 + 1)
    shared = [
        keras.Model(i, L.Dense(2, "softmax")(norm(i)))
        for i in (keras.Input((4,)), keras.Input((4,)))
    ]
    images = [models.cnn() for _ in range(2)]
    both = [models.shared_and_nested() for _ in range(2)]
    cases = {
        "cnn": (
            Ensemble([models.compile_model(m) for m, _ in images]),
            images[0][1][0],
        ),
        "outputs": (
            Ensemble([models.compile_model(m) for m, _ in both]),
            both[0][1][0],
        ),
        "same_twice": (Ensemble([same, same, classifier()], [0.2, 0.3, 0.5]), x),
        "geometric": (Ensemble([binary(), binary(False)], average="geometric"), x),
        "shared_layer": (Ensemble(shared), x),
        "nested": (Ensemble([Ensemble([same, classifier()]), classifier()]), x),
        "checkpoint": (Ensemble([classifier(), classifier()]), x),
        "save_model": (Ensemble([classifier(), classifier()]), x),
    }
    for name, (ensemble, data) in cases.items():
        path = folder / f"{name}.keras"
        if name == "checkpoint":
            checkpoint = keras.callbacks.ModelCheckpoint(str(path))
            checkpoint.set_model(ensemble)
            checkpoint.on_epoch_end(0, {})
        elif name == "save_model":
            keras.saving.save_model(ensemble, path)
        else:
            ensemble.save(path)
        (folder / f"{name}.x").write_bytes(pickle.dumps(data))
    expected = {name: arrays(model(data)) for name, (model, data) in cases.items()}
    ended = fresh.run(LOAD, folder, *cases)
    assert "Skipping variable loading" not in ended.stderr
    return expected, pickle.loads((folder / "found").read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "cnn",
        "outputs",
        "same_twice",
        "geometric",
        "shared_layer",
        "nested",
        "checkpoint",
        "save_model",
    ],
)
def test_file_predicts_the_same_without_keras_babysit(name, in_a_fresh_process):
    expected, found = in_a_fresh_process
    made, kind = found[name]
    assert kind == "Functional"
    for one, other in zip(made, expected[name], strict=True):
        assert one == pytest.approx(other, abs=1e-6)


# ------------------------------------------------------------------------ bad input


X = np.ones((2, 4), "float32")


def heads(order):
    inputs = keras.Input((4,))
    made = {name: L.Dense(3, "softmax", name=name)(inputs) for name in order}
    return keras.Model(inputs, list(made.values()))


def chosen():
    inputs = keras.Input((4,))
    made = L.Dense(3, "softmax")(inputs)
    return keras.Model(inputs, [made, keras.ops.argmax(made)])


def named(names):
    model = dense()
    model.class_names = names
    return model


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Ensemble([]), "at least one model"),
        (lambda: Ensemble(dense()), r"a list of models: `\[model, ...\]`"),
        (lambda: Ensemble("members"), "must be a list of keras models"),
        (lambda: Ensemble(None), "must be a list of keras models"),
        (lambda: Ensemble(["a.keras"]), "Member 1 .* the path 'a.keras'"),
        (lambda: Ensemble([dense(), 3]), "Member 2 must be a keras.Model"),
        (lambda: Ensemble([keras.Sequential([L.Dense(1)])]), "no weights yet"),
        (lambda: Ensemble([dense(), dense(2)]), "same outputs. .*member 2"),
        (lambda: Ensemble([dense(), dense(inputs=5)]), "same inputs. .*member 2"),
        (lambda: Ensemble([binary(), dense(1, loss="mse")]), "same kind of thing"),
        (lambda: Ensemble([dense()], average="median"), "`average` must be one of"),
        (lambda: Ensemble([dense()], average="geometric"), "neither is known"),
        (
            lambda: Ensemble([dense(loss="mse")], average="probabilities"),
            "pass `from_logits=True`. Received: members that put out values",
        ),
        (
            lambda: Ensemble(
                [dense(loss="sparse_categorical_crossentropy")], average="probabilities"
            ),
            "without activation, and a loss that takes it for probabilities",
        ),
        (
            lambda: Ensemble([binary(), binary(False)], average="mean"),
            "outputs of one kind",
        ),
        (lambda: Ensemble([dense()] * 2, [0.5, 0.4]), "sum to one.* 0.9"),
        (lambda: Ensemble([dense()] * 2, [1.5, -0.5]), "0 or above"),
        (lambda: Ensemble([dense()] * 2, [np.nan, 1]), "none NaN"),
        (lambda: Ensemble([dense()] * 2, [np.inf, 1]), "sum to one"),
        (lambda: Ensemble([dense()] * 2, [1.0]), "each of 2 members"),
        (lambda: Ensemble([dense()] * 2, "ab"), "must be 2 numbers"),
        (lambda: Ensemble([dense()] * 2, [0, 0]), "sum to one"),
        (lambda: Ensemble([named("ab"), named("ba")]), "in the same order"),
        (lambda: Ensemble([chosen()]), "Output 2 .* not floating-point.* int"),
        (lambda: Ensemble([heads("pq"), heads("qp")]), "outputs in the same order"),
        (lambda: Ensemble([dense()]).spread(X, batch_size=0), "`batch_size` must be"),
        (lambda: Ensemble([dense()]).spread(X[:0]), "at least one sample"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_members_that_name_the_same_classes(x):
    Ensemble([named(["a", "b"]), dense(), named(("a", "b"))])
