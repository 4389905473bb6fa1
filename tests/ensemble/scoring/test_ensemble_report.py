"""What members and their ensembles are worth, against NumPy."""

import itertools
import json
import math
import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

from keras_babysit.ensemble import Ensemble, report
from keras_babysit.ensemble.outputs import predictions as outputs
from keras_babysit.ensemble.scoring import metrics


def member(units, activation, loss):
    model = keras.Sequential([keras.Input((4,)), L.Dense(units, activation)])
    model.set_weights([3 * np.random.normal(size=w.shape) for w in model.get_weights()])
    model.compile(loss=loss)
    return model


def predict(model, x, batch_size=None):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(x))


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Predicts without `predict`, which takes far longer for a few samples."""
    keras.utils.set_random_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "predict", predict)
        yield


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 4)).astype("float32"), rng.integers(0, 3, 60)


@pytest.fixture(scope="module")
def classifiers():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return [member(3, None, loss) for _ in range(4)]


def of(model, x):
    return keras.ops.convert_to_numpy(model(x)).astype(float)


@pytest.fixture(scope="module")
def probabilities(classifiers, data):
    z = np.array([of(m, data[0]) for m in classifiers])
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def whole(classifiers, data):
    return Ensemble(classifiers, [0.4, 0.3, 0.2, 0.1]).report(*data)


def test_members_are_scored_alone(whole, probabilities, data):
    for row, p in zip(whole.members, probabilities, strict=True):
        assert row.scores["error"] == pytest.approx(metrics.error(p, data[1]))
        nll = metrics.negative_log_likelihood(p, data[1])
        assert row.scores["nll"] == pytest.approx(nll, rel=1e-5)
        assert row.parameters == 15
        assert row.bytes == 60
        assert row.seconds > 0
    assert [row.weight for row in whole.members] == [0.4, 0.3, 0.2, 0.1]
    assert [row.name for row in whole.members][2] == "member 3"


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_sizes_are_means_over_all_ensembles(size, whole, probabilities, data):
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    values = []
    for group in itertools.combinations(range(4), size):
        p = np.average(probabilities[list(group)], 0, weights[list(group)])
        values.append(
            [
                metrics.error(p, data[1]),
                metrics.negative_log_likelihood(p, data[1]),
                metrics.calibration_error(p, data[1]),
                metrics.brier(p, data[1]),
            ]
        )
    row = whole.sizes[size - 1]
    assert row.ensembles == math.comb(4, size)
    assert list(row.scores.values()) == pytest.approx(np.mean(values, 0), abs=1e-6)
    assert list(row.std.values()) == pytest.approx(np.std(values, 0), abs=1e-6)
    assert row.parameters == 15 * size
    assert row.bytes == 60 * size


def test_the_last_size_is_the_ensemble(whole, probabilities, data):
    assert whole.ensemble is whole.sizes[-1]
    assert whole.kind == "categorical"
    assert whole.samples == 60
    assert whole.average == "probabilities"
    assert whole.seconds_as_one > 0
    expected = metrics.disagreement(probabilities)
    assert whole.disagreement == pytest.approx(expected)


def test_of_many_ensembles_some_are_drawn(classifiers, data):
    # Six in all, two of them twice.
    many = report([*classifiers, *classifiers[:2]], *data, subsets=5)
    assert [row.ensembles for row in many.sizes] == [6, 5, 5, 5, 5, 1]
    again = report([*classifiers, *classifiers[:2]], *data, subsets=5)
    assert [r.scores for r in many.sizes] == [r.scores for r in again.sizes]
    assert math.isnan(many.seconds_as_one)


def test_binary_and_geometric(data):
    x, y = data[0], (data[1] > 0).astype(int)
    members = [member(1, "sigmoid", "binary_crossentropy") for _ in range(2)]
    p = np.array([of(m, x) for m in members])
    for average in ("geometric", "logits"):
        found = Ensemble(members, average=average).report(x, y)
        z = np.log(np.clip(p, 1e-7, 1 - 1e-7))
        z = (z - np.log(1 - np.clip(p, 1e-7, 1 - 1e-7))).mean(0)
        nll = metrics.negative_log_likelihood(1 / (1 + np.exp(-z)), y)
        assert found.kind == "binary"
        assert found.average == average
        assert found.ensemble.scores["nll"] == pytest.approx(nll, rel=1e-4)


def test_regression(data, rng):
    x, y = data[0], rng.normal(size=60)
    members = [member(1, None, "mse") for _ in range(3)]
    values = np.array([of(m, x) for m in members])
    found = Ensemble(members).report(x, y)
    mean, std = values.mean(0), values.std(0)
    assert found.kind == "values"
    assert found.metric == "rmse"
    scores = found.ensemble.scores
    assert scores["rmse"] == pytest.approx(metrics.rmse(mean, y), rel=1e-5)
    assert scores["spread"] == pytest.approx(np.sqrt((std**2).mean()), rel=1e-5)
    noise = metrics.noise_variance(mean, y, std)
    nll = metrics.gaussian_nll(mean, y, std**2 + noise)
    assert scores["nll"] == pytest.approx(nll, rel=1e-5)
    squared = metrics.rmse(values[0], y) ** 2
    alone = found.members[0].scores["nll"]
    assert alone == pytest.approx(0.5 * np.log(2 * np.pi * np.e * squared), rel=1e-5)
    assert math.isnan(found.disagreement)
    assert "RMSE" in str(found)


def test_one_output_of_several(data, rng):
    x = data[0]

    def make():
        inputs = keras.Input((4,))
        outputs = {"a": L.Dense(3, "softmax")(inputs), "b": L.Dense(1)(inputs)}
        model = keras.Model(inputs, outputs)
        model.compile(loss={"a": "sparse_categorical_crossentropy", "b": "mse"})
        return model

    ensemble = Ensemble([make(), make()])
    assert ensemble.report(x, data[1], output="a").kind == "categorical"
    assert ensemble.report(x, rng.normal(size=60), output="b").kind == "values"
    with pytest.raises(ValueError, match=r"one of the outputs \['a', 'b'\]"):
        ensemble.report(x, data[1])


def test_notes_a_member_whose_classes_are_in_another_order(data):
    x = data[0]
    y = x[:, :3].argmax(1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    kernel = np.concatenate([6 * np.eye(3), np.zeros((1, 3))])
    members = [member(3, None, loss) for _ in range(3)]
    for model, order in zip(members, ([0, 1, 2], [2, 1, 0], [0, 1, 2]), strict=True):
        model.set_weights([kernel[:, order], np.zeros(3)])
    found = report(members, x, y)
    assert len(found.notes) == 1
    assert found.notes[0].startswith(
        "Member 2: its classes are likely in another order"
    )
    assert "Member 2" in str(found)


def test_prints_a_table(whole):
    text = str(whole)
    assert max(map(len, text.splitlines()[:12])) <= 80
    assert "…" not in text
    for words in ("weight", "NLL", "member 4", "3 of 4", "±", "×", "disagree about"):
        assert words in text
    assert "As one model" in text


def test_outputs_of_a_subclass_that_nothing_is_known_of(data):
    x, y = data

    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.kind, self.size = L.Dense(3), L.Dense(1)

        def call(self, x):
            return {"size": self.size(x), "kind": self.kind(x)}

    member = Two()
    member(x)
    made = keras.ops.convert_to_numpy(member(x)["size"]).astype(float)[:, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It has no `get_config` that Keras can find.
        whole = Ensemble([member])
    found = whole.report(x, y, output="size")
    assert found.members[0].scores["rmse"] == pytest.approx(metrics.rmse(made, y))
    with pytest.raises(ValueError, match="have 2 outputs, and what they are is not"):
        report([member], x, y)


def test_to_dict_is_json(whole):
    found = json.loads(json.dumps(whole.to_dict(), allow_nan=False))
    assert found["sizes"][3]["scores"] == pytest.approx(dict(whole.ensemble.scores))
    assert found["sizes"][3]["weight"] == "nan"
    assert len(found["members"]) == 4
    assert found["kind"] == "categorical"


def test_plots(whole, tmp_path):
    drawn = whole.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000
    titles = [axis.get_title() for axis in drawn.axes]
    assert titles[:3] == ["error (%)", "NLL (nats)", "calibration error (%)"]
    line = drawn.axes[1].lines[1]
    assert line.get_xdata().tolist() == [1, 2, 3, 4]
    expected = [row.scores["nll"] for row in whole.sizes]
    assert line.get_ydata().tolist() == pytest.approx(expected)


def named(classes):
    model = member(2, "softmax", "crossentropy")
    model.class_names = list(classes)
    return model


def test_refuses(classifiers, data):
    x, y = data
    unknown = keras.Sequential([keras.Input(x.shape[1:]), L.Dense(3)])
    for call, message in (
        (lambda: report([], x, y), "at least one model"),
        (lambda: report(classifiers, x, None), "`y` must be labels"),
        (lambda: report(classifiers, iter(x), y), "`x` must be arrays"),
        (lambda: report(classifiers, x, y, subsets=0), "`subsets` must be"),
        (
            lambda: report(classifiers, x, y, seed="a"),
            "`seed` must be a non-negative integer",
        ),
        (lambda: report(classifiers, x, y, output="a"), "leave `output` out"),
        (lambda: report(classifiers, x[:0], y[:0]), "at least one sample"),
        (lambda: report(classifiers, x, y[:5]), "`y` must have a label or target"),
        (lambda: report(classifiers, x, y, from_logits="yes"), "`from_logits` must"),
        (lambda: report(classifiers[:1], x, y.astype(str)), "array of numbers.*<U"),
        (lambda: report(classifiers, x, y, batch_size=0), "`batch_size` must be"),
        (lambda: report(classifiers, x, {"a": y}), "of one output"),
        (
            lambda: report(Ensemble(classifiers), x, y, from_logits=True),
            r"knows what its members.*`Ensemble\(members, from_logits",
        ),
        (lambda: report([named("ab"), named("ba")], x, y), "classes in the same order"),
        (lambda: report([unknown], x, y), "is not known what.*`from_logits=True`"),
        (lambda: report(classifiers[:1], x, y + 9), "Member 1: .*from 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
