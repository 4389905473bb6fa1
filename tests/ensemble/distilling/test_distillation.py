"""Soft targets are what the paper says, and a student is trained as by its own fit."""

import zipfile

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as L
from scipy.special import expit, rel_entr, softmax
from support.batched import BACKEND, dataset

from keras_babysit import Babysitter
from keras_babysit.backend import load
from keras_babysit.ensemble import Ensemble, distill
from keras_babysit.ensemble.distilling.soft_targets import (
    SoftBinaryTargets,
    SoftTargets,
)

QUIET = {"verbose": 0, "shuffle": False}


def logits(seed, shape=(6, 4), size=3.0):
    return np.random.default_rng(seed).normal(size=shape) * size


def seen(rows=48, width=5, classes=3):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, width)).astype("float32")
    return x, rng.integers(0, classes, rows)


def network(*layers, loss, seed=0, rate=0.1, **compiled):
    """Returns a compiled stack of Dense layers, from their arguments."""
    keras.utils.set_random_seed(seed)
    layers = [L.Dense(*arguments) for arguments in layers]
    model = keras.Sequential([keras.Input((5,)), *layers])
    model.compile(keras.optimizers.SGD(rate), loss, **compiled)
    return model


def classifier(last="softmax", units=3, loss=None, seed=0, **compiled):
    from_logits = last is None
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits)
    return network((4, "tanh"), (units, last), loss=loss, seed=seed, **compiled)


def arrays(model):
    return [np.array(v) for v in model.variables]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# The losses


@given(
    seed=st.integers(0, 2**32 - 1),
    t=st.floats(0.5, 30),
    size=st.floats(0.01, 8),
    student=st.booleans(),
    teacher=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_soft_targets_are_numpys(seed, t, size, student, teacher):
    v, z = logits(seed, size=size), logits(seed + 1, size=size)
    q, p = softmax(v / t, -1), softmax(z / t, -1)
    expected = t**2 * rel_entr(q, p).sum(-1)
    loss = SoftTargets(t, student, teacher, reduction=None)
    found = loss(v if teacher else softmax(v, -1), z if student else softmax(z, -1))
    # Float32 logits of 30 are known to 2e-6; their softmax adds t² times 1e-7.
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-6 * (1 + t**2))


@given(
    seed=st.integers(0, 2**32 - 1),
    t=st.floats(0.5, 30),
    student=st.booleans(),
    teacher=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_soft_binary_targets_are_numpys(seed, t, student, teacher):
    v, z = logits(seed, size=1.5), logits(seed + 1, size=1.5)
    q, p = expit(v / t), expit(z / t)
    expected = t**2 * (rel_entr(q, p) + rel_entr(1 - q, 1 - p)).mean(-1)
    loss = SoftBinaryTargets(t, student, teacher, reduction=None)
    found = loss(v if teacher else expit(v), z if student else expit(z))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-6 * (1 + t**2))


def gradient(loss, v, z):
    autodiff = load("autodiff")
    z = keras.ops.convert_to_tensor(z, "float32")
    _, (found,) = autodiff.value_and_gradients(lambda at: loss(v, at[0]), [z])
    return autodiff.numpy_of(found)


def test_gradients_at_high_temperatures_match_logits():
    v, z = logits(0), logits(1)
    v, z = (a - a.mean(-1, keepdims=True) for a in (v, z))
    loss = SoftTargets(500.0, True, True, reduction="sum")
    # Section 2.1: those of (z − v)² / 2N. The rest is of the order of |z| / T.
    np.testing.assert_allclose(gradient(loss, v, z), (z - v) / 4, atol=0.03)
    hotter = SoftTargets(5000.0, True, True, reduction="sum")
    np.testing.assert_allclose(gradient(hotter, v, z), (z - v) / 4, atol=0.004)


@pytest.mark.parametrize("t", [1.0, 4.0])
def test_gradients_are_those_of_the_cross_entropy(t):
    v, z = logits(0), logits(1)
    loss = SoftTargets(t, True, True, reduction="sum")
    expected = t * (softmax(z / t, -1) - softmax(v / t, -1))
    np.testing.assert_allclose(gradient(loss, v, z), expected, rtol=1e-4, atol=1e-5)
    binary = SoftBinaryTargets(t, True, True, reduction="sum")
    expected = t * (expit(z / t) - expit(v / t)) / z.shape[-1]
    np.testing.assert_allclose(gradient(binary, v, z), expected, rtol=1e-4, atol=1e-5)


def test_gradients_through_probabilities_are_exact():
    v, z = logits(0, size=12), logits(1, size=12)
    through = SoftTargets(2.0, False, True, reduction="sum")
    found = gradient(lambda v, z: through(v, keras.ops.softmax(z)), v, z)
    expected = gradient(SoftTargets(2.0, True, True, reduction="sum"), v, z)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_the_loss_is_zero_where_both_agree_and_finite_where_sure():
    sure = np.eye(3, dtype="float32")
    assert float(SoftTargets(3.0)(sure, sure)) == pytest.approx(0, abs=1e-6)
    for kind in (SoftTargets, SoftBinaryTargets):
        assert np.isfinite(float(kind(3.0)(sure, sure[::-1])))
        again = kind.from_config(kind(3.0, True, True).get_config())
        assert (again.temperature, again.from_logits) == (3.0, True)


# What a step does


def trained(student, *args, **kwargs):
    history = distill(*args[:1], student, *args[1:], **{**QUIET, **kwargs})
    return history.history


@pytest.mark.parametrize("last", ["softmax", None])
@pytest.mark.parametrize("teacher_last", ["softmax", None])
def test_the_loss_is_the_sum_of_its_parts(last, teacher_last):
    (x, y), w = seen(), np.linspace(0.5, 2, 48)
    teacher = classifier(teacher_last, seed=3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=last is None)
    student = network((3, last), loss=loss)
    student.layers[0].kernel.regularizer = keras.regularizers.L2(0.01)
    kernel, bias = map(np.array, student.weights)
    z = (x @ kernel + bias).astype("float64")
    hidden = np.tanh(x @ teacher.weights[0] + teacher.weights[1])
    v = hidden @ np.array(teacher.weights[2]) + teacher.weights[3]
    q, p = softmax(v / 3, -1), softmax(z / 3, -1)
    soft = np.mean(w * 9 * rel_entr(q, p).sum(-1))
    hard = np.mean(-w * np.log(softmax(z, -1)[np.arange(48), y]))
    expected = 0.7 * soft + 0.3 * hard + 0.01 * np.sum(kernel**2)
    options = {"temperature": 3, "alpha": 0.7, "sample_weight": w, "batch_size": 48}
    found = trained(student, teacher, x, y, **options)
    assert found["loss"] == [pytest.approx(expected, rel=1e-5)]
    # And so is the update.
    onehot = np.eye(3)[y]
    error = 0.7 * 3 * (p - q) + 0.3 * (softmax(z, -1) - onehot)
    step = x.T @ (w[:, None] * error) / 48 + 0.02 * kernel
    np.testing.assert_allclose(student.weights[0], kernel - 0.1 * step, atol=1e-6)


@pytest.mark.parametrize(("alpha", "share"), [(0.25, 0.25), (None, 0.5)])
def test_regression_is_the_error_to_the_mean(alpha, share):
    x, _ = seen()
    y = x.sum(1, keepdims=True)
    members = [network((1,), loss="mse", seed=s) for s in (3, 4)]
    teacher, student = Ensemble(members), network((1,), loss="huber")
    z = student.predict(x, verbose=0)
    v = np.mean([m.predict(x, verbose=0) for m in members], axis=0)
    error, r = np.mean((z - v) ** 2), np.abs(z - y)
    own = np.mean(np.where(r < 1, r**2 / 2, r - 0.5))
    found = trained(student, teacher, x, y, alpha=alpha, batch_size=48)
    expected = share * error + (1 - share) * own
    assert found["loss"] == [pytest.approx(expected, rel=1e-5)]


@pytest.mark.parametrize("last", ["sigmoid", None])
def test_binary_students(last):
    x, _ = seen(classes=2)
    loss = keras.losses.BinaryCrossentropy(from_logits=last is None)
    teacher = classifier("sigmoid", 1, "binary_crossentropy", seed=3)
    student = classifier(last, 1, loss)
    z = student.predict(x, verbose=0).astype("float64")
    p = expit(z / 2) if last is None else expit(np.log(z / (1 - z)) / 2)
    v = teacher.predict(x, verbose=0).astype("float64")
    q = expit(np.log(v / (1 - v)) / 2)
    expected = 4 * np.mean(rel_entr(q, p) + rel_entr(1 - q, 1 - p))
    found = trained(student, teacher, x, temperature=2, batch_size=48)
    assert found["loss"] == [pytest.approx(expected, rel=1e-3)]


@pytest.mark.parametrize("loss", ["crossentropy", "sparse_categorical_crossentropy"])
def test_without_a_share_it_is_plain_training(loss):
    (x, y), runs = seen(), []
    for taught in (False, True):
        student = classifier(loss=loss, metrics=["accuracy"])
        options = {"epochs": 3, "validation_split": 0.25, **QUIET}
        if taught:
            teacher = classifier(seed=3)
            found = distill(teacher, student, x, y, alpha=0, **options)
        else:
            found = student.fit(x, y, **options)
        runs.append((found.history, arrays(student)))
    assert runs[0][0] == runs[1][0]
    assert same(runs[0][1], runs[1][1])


def test_a_student_becomes_its_teacher():
    x, _ = seen(200)
    teacher = network((3, "softmax"), loss="crossentropy", seed=3)
    student = network((3, "softmax"), loss="crossentropy", rate=1.0)
    found = trained(student, teacher, x, epochs=20)
    assert found["loss"][-1] < 1e-3 < 0.1 < found["loss"][0]
    answers = (m.predict(x, verbose=0) for m in (student, teacher))
    np.testing.assert_allclose(*answers, atol=0.02)


# What is given back


def compiled_state(model):
    names = ("optimizer", "_compile_loss", "_compile_metrics", "_compile_config")
    functions = ("train_function", "test_function", "compute_loss", "compute_metrics")
    return [vars(model).get(name) for name in (*names, *functions)]


class Broken(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError("stop here")


@pytest.mark.parametrize("callbacks", [[], [Broken()]])
def test_the_student_is_compiled_as_before(callbacks):
    (x, y), teacher = seen(), classifier(seed=3)
    student = classifier(metrics=["accuracy"])
    student.fit(x, y, validation_data=(x, y), **QUIET)
    before, knew = compiled_state(student), arrays(teacher)
    options = {"validation_data": (x, y), "callbacks": callbacks}
    if callbacks:
        with pytest.raises(RuntimeError, match="stop here"):
            trained(student, teacher, x, y, **options)
    else:
        history = distill(teacher, student, x, y, **options, **QUIET)
        assert history is student.history
    assert all(a is b for a, b in zip(compiled_state(student), before, strict=True))
    assert same(arrays(teacher), knew)
    expected = -np.log(student.predict(x, verbose=0)[np.arange(48), y]).mean()
    found = student.fit(x, y, batch_size=48, **QUIET).history["loss"]
    assert found == [pytest.approx(expected, rel=1e-5)]


def test_what_callbacks_save_is_plain_keras(tmp_path):
    (x, y), file = seen(), tmp_path / "student.keras"
    student = classifier(metrics=["accuracy"])
    stop = keras.callbacks.EarlyStopping("accuracy", patience=0, min_delta=2)
    callbacks = [keras.callbacks.ModelCheckpoint(file), stop]
    options = {"validation_data": (x, y), "callbacks": callbacks, "epochs": 9}
    found = trained(student, classifier(seed=3), x, y, **options)
    assert len(found["loss"]) == 2
    loaded = keras.models.load_model(file)
    assert same(arrays(loaded), arrays(student))
    # Validation is what the student itself was compiled for.
    again = loaded.evaluate(x, y, verbose=0, return_dict=True)
    assert again["loss"] == pytest.approx(found["val_loss"][-1], rel=1e-6)
    assert again["accuracy"] == pytest.approx(found["val_accuracy"][-1])
    with zipfile.ZipFile(file) as parts:
        assert b"babysit" not in b"".join(map(parts.read, parts.namelist()))


def test_a_babysitter_sees_nothing_wrong(tmp_path):
    x, y = seen(300)
    student = classifier(metrics=["accuracy"])
    babysitter = Babysitter(tmp_path, verbose=0)
    trained(student, classifier(seed=3), x, y, epochs=2, callbacks=[babysitter])
    # Which is so.
    assert {f.rule for f in babysitter.report.findings} <= {"stopped-too-early"}


# What it is given


class Batches(keras.utils.PyDataset):
    def __init__(self, *parts):
        super().__init__()
        self.parts = parts

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return tuple(a[i * 16 : (i + 1) * 16] for a in self.parts)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("kind", ["dataset", "PyDataset"])
def test_batches_are_as_good_as_arrays(kind, labelled):
    (x, y), ended = seen(), []
    parts = (x, y) if labelled else (x,)
    for batched in (False, True):
        student = classifier(metrics=["accuracy"])
        given = parts
        if batched and kind == "dataset":
            given = (dataset(*parts),)
        elif batched:
            given = (Batches(*parts),)
        options = {"batch_size": None if batched else 16, "validation_data": (x, y)}
        found = trained(student, classifier(seed=3), *given, epochs=2, **options)
        ended.append((found, arrays(student)))
    (plain, weights), (found, batched_weights) = ended
    assert plain.keys() == found.keys()
    assert ("accuracy" in found, "val_accuracy" in found) == (labelled, True)
    for name, values in plain.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)
    for a, b in zip(weights, batched_weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.tensorflow
def test_both_see_the_same_augmented_batch():
    import tensorflow as tf

    x, y = seen()
    data = dataset(x, y)
    data = data.map(lambda x, y: (x + tf.random.normal(tf.shape(x)), y))
    teacher, student = classifier(seed=3), classifier(seed=3)
    found = trained(student, teacher, data, alpha=1, epochs=3)
    np.testing.assert_allclose(found["loss"], 0, atol=1e-6)


def test_no_labels_at_all():
    x, _ = seen()
    student = classifier(metrics=["accuracy"])
    found = trained(student, classifier(seed=3), x, epochs=2, validation_split=0.25)
    assert found.keys() == {"loss", "val_loss"}
    assert all(np.isfinite(v).all() for v in found.values())


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(3, "softmax")

    def call(self, inputs):
        return self.dense(inputs["a"] + inputs["b"])


@pytest.mark.parametrize("kind", ["unbuilt", "subclassed"])
def test_students_that_are_not_built(kind):
    x, y = seen()
    a, b = (keras.Input((5,), name=name) for name in "ab")
    out = classifier(seed=3)(L.Add()([a, b]))
    given, teacher = {"a": x, "b": x}, keras.Model({"a": a, "b": b}, out)
    student = Own()
    if kind == "unbuilt":
        given, teacher = x, classifier(seed=3)
        student = keras.Sequential([L.Dense(3, "softmax")])
    student.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    found = trained(student, teacher, given, y, epochs=2)
    assert np.isfinite(found["loss"]).all()


def test_a_soft_loss_of_ones_own():
    x, y = seen()
    teacher, student = classifier(seed=3), classifier(None, loss="hinge")
    gap = student.predict(x, verbose=0) - teacher.predict(x, verbose=0)
    options = {"soft_loss": keras.losses.MeanAbsoluteError(), "batch_size": 48}
    found = trained(student, teacher, x, y, alpha=1, **options)
    assert found["loss"] == [pytest.approx(np.abs(gap).mean(), rel=1e-5)]


class OwnStep(keras.Sequential):
    def train_step(self, data):
        return {}


def two_outputs():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, [L.Dense(3)(inputs), L.Dense(3)(inputs)])
    model.compile("sgd", "mse")
    return model


def own_step():
    model = OwnStep([keras.Input((5,)), L.Dense(3)])
    model.compile("sgd", "mse")
    return model


def not_compiled():
    return keras.Sequential([keras.Input((5,)), L.Dense(3)])


def not_finite():
    model = classifier()
    model.set_weights([np.full(w.shape, np.nan) for w in model.weights])
    return model


class Lazy:
    def predict(self, x, batch_size=None):
        return np.full((len(x), 3), 1 / 3)


class Short:
    def predict(self, x, batch_size=None):
        return np.full((3, 3), 1 / 3)


X, Y = seen()
DATASET = dataset(X, Y)
BAD = {
    r"`y` must have a label .*shape \(47,\) for 48": {"y": Y[:47]},
    "`y` must be an array of numbers.*dtype <U": {"y": Y.astype(str)},
    "[Dd]ata cardinality is ambiguous": {"sample_weight": np.ones(49)},
    "`x` must have at least one sample": {"x": X[:0], "y": Y[:0]},
    "`x` must be arrays.*x=list": {"x": X.tolist()},
    "`batch_size` must be a positive integer": {"batch_size": 0},
    r"one output. .*2\..*student.outputs\[0\]\)`, and compile": {
        "student": two_outputs
    },
    "`validation_data` must have labels: the": {"validation_data": X},
    "same kind of thing.*Received: binary probabilities of `ensemble`": {
        "ensemble": lambda: classifier("sigmoid", loss="binary_crossentropy")
    },
    "something for each sample.*3 outputs for 48 samples": {"ensemble": Short},
    "student` must be a compiled": {"student": not_compiled},
    "must be a compiled keras.Model.*Received: 3": {"student": lambda: 3},
    "`train_step` of its own": {"student": own_step},
    r"one shape.*Received: \(3,\) and \(4,\)": {"student": lambda: classifier(units=4)},
    "`student` must be a model with one output": {"student": two_outputs},
    "`ensemble` must be a model with one output": {"ensemble": two_outputs},
    "`ensemble` must be an Ensemble, a Lazy.*Received: None": {
        "ensemble": lambda: None
    },
    "not finite": {"ensemble": not_finite},
    "`temperature` must be a positive.*temperature=0": {"temperature": 0},
    "`temperature` must be a positive.*'4'": {"temperature": "4"},
    "`alpha` must be a number from 0 to 1.*alpha=1.1": {"alpha": 1.1},
    "`alpha` must be a number from 0 to 1.*alpha=nan": {"alpha": float("nan")},
    "`alpha` must be 1, or left out": {"alpha": 0.5, "y": None},
    "takes no `class_weight`": {"class_weight": {0: 1.0}},
    "`validation_data` must have labels": {"validation_data": (X,)},
    "validation loss is the student's own": {"validation_data": dataset(X)},
    "`y` must be None where `x` brings": {"x": DATASET},
    "must be a keras.Model where `x` comes": {
        "x": DATASET,
        "y": None,
        "ensemble": Lazy,
    },
    "`x` must be arrays.* or a `keras.utils": {"x": iter([(X, Y)]), "y": None},
    "says what its outputs mean": {"student": lambda: classifier(None, loss="hinge")},
}
if BACKEND == "tensorflow":
    BAD |= {
        "`x` must have at least one batch": {"x": DATASET.take(0), "y": None},
        r"must come in batches: `x.batch\(32\)`": {"x": DATASET.unbatch(), "y": None},
    }


@pytest.mark.parametrize("message", BAD)
def test_bad_input(message):
    options = {"x": X, "y": Y, "ensemble": classifier, "student": classifier}
    options = {**options, **BAD[message]}
    ensemble, student = options.pop("ensemble")(), options.pop("student")()
    x, y = options.pop("x"), options.pop("y")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        distill(ensemble, student, x, y, verbose=0, **options)


def test_a_model_is_not_asked_while_it_changes():
    model = classifier()
    with pytest.raises(ValueError, match=r"the same model.*`Ensemble\(\[student\]\)`"):
        distill(model, model, DATASET, verbose=0)


def in_a_dict(seed):
    model = classifier(seed=seed)
    named = keras.Model(model.inputs, {"kind": model.outputs[0]})
    named.compile("sgd", {"kind": "sparse_categorical_crossentropy"})
    return named


def test_one_output_in_a_dict_is_one_output():
    w, found = np.linspace(0.5, 2, 48), []
    for make, labels in ((classifier, Y), (in_a_dict, {"kind": Y})):
        student = make(seed=0)
        student.compile(keras.optimizers.SGD(0.1), student.loss, run_eagerly=True)
        options = {"sample_weight": w, "batch_size": 16}
        found.append(trained(student, make(seed=3), X, labels, **options)["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_a_teacher_need_only_predict():
    found = trained(classifier(), Lazy(), X, Y)
    assert np.isfinite(found["loss"]).all()
