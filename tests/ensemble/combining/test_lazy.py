"""`LazyEnsemble`: what `Ensemble` predicts, with one member in memory at a time."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers as L
from support import models

from keras_babysit.ensemble import Ensemble, LazyEnsemble, files, greedy_weights
from keras_babysit.ensemble.outputs import predictions as outputs


def member(units=3, loss=None, inputs=4):
    model = keras.Sequential([keras.Input((inputs,)), L.Dense(units)])
    model.set_weights([3 * np.random.normal(size=w.shape) for w in model.get_weights()])
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    return model


def saved(members, folder):
    paths = [folder / f"{number}.keras" for number in range(len(members))]
    for model, path in zip(members, paths, strict=True):
        model.save(path)
    return paths


def predict(model, x, batch_size=None):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(x))


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Predicts without `predict`, which takes far longer for a few samples."""
    keras.utils.set_random_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "predict", predict)
        yield


@pytest.fixture
def x(rng):
    return rng.normal(size=(24, 4)).astype("float32")


@pytest.mark.parametrize(
    ("weights", "average"),
    [(None, None), ([0.5, 0, 0.5], "geometric"), ([0.2, 0.3, 0.5], "logits")],
)
def test_predicts_what_an_ensemble_does(weights, average, x, tmp_path):
    members = [member() for _ in range(3)]
    paths = saved(members, tmp_path)
    lazy = LazyEnsemble(paths, weights, average=average)
    whole = Ensemble(members, weights, average=average)
    assert len(lazy) == len(whole.members)
    assert lazy.combination.numbers == ((1, 3) if average == "geometric" else (1, 2, 3))
    made = lazy.predict(x)
    assert made.dtype == np.float32
    assert made == pytest.approx(
        keras.ops.convert_to_numpy(whole(x)), abs=1e-6, rel=1e-6
    )


def test_spread_report_and_weights_are_those_of_an_ensemble(x, rng, tmp_path):
    members = [member(), member()]
    saved(members, tmp_path)
    y = rng.integers(0, 3, 24)
    lazy, whole = LazyEnsemble(tmp_path), Ensemble(members)
    one, other = lazy.spread(x), whole.spread(x)
    for name, value in vars(other).items():
        assert getattr(one, name) == pytest.approx(value, abs=1e-6), name
    scores = lazy.report(x, y).ensemble.scores
    assert scores == pytest.approx(whole.report(x, y).ensemble.scores, abs=1e-6)
    weights = greedy_weights(lazy, x, y)
    assert weights == pytest.approx(greedy_weights(members, x, y))


def test_several_inputs_and_outputs(tmp_path):
    made = [models.shared_and_nested() for _ in range(2)]
    members = [models.compile_model(model, "sgd") for model, _ in made]
    x = made[0][1][0]
    found = LazyEnsemble(saved(members, tmp_path)).predict(x)
    expected = Ensemble(members)(x)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(keras.ops.convert_to_numpy(value), abs=1e-6)


def test_one_member_at_a_time_is_in_memory(x, tmp_path, monkeypatch):
    paths = saved([member(), member()], tmp_path)
    alive, most = weakref.WeakSet(), []
    load = files.load

    def counted(*args, **kwargs):
        most.append(len(alive))
        model = load(*args, **kwargs)
        alive.add(model)
        return model

    monkeypatch.setattr(files, "load", counted)
    gc.collect()
    gc.freeze()  # Of what is there already there is much to look through.
    lazy = LazyEnsemble(paths)
    lazy.predict(x)
    lazy.spread(x)
    lazy.report(x, np.zeros(24))
    greedy_weights(lazy, x, np.zeros(24))
    gc.collect()
    gc.unfreeze()
    assert len(most) == 5 * 2
    # None of those before is left when the next is loaded.
    assert most == [0] * len(most)


def test_a_loss_that_is_not_known_is_no_reason_not_to_predict(x, tmp_path):
    def mine(y, p):
        return keras.ops.mean(y - p)

    members = [member(loss=mine), member(loss=mine)]
    made = LazyEnsemble(saved(members, tmp_path)).predict(x)
    expected = np.mean([keras.ops.convert_to_numpy(m(x)) for m in members], 0)
    assert made == pytest.approx(expected, abs=1e-6)


def test_refuses_what_is_no_model(tmp_path):
    good = saved([member()], tmp_path)
    text = tmp_path / "text.keras"
    text.write_text("not a model")
    weights = tmp_path / "a.weights.h5"
    member().save_weights(weights)
    for path, message in (
        (tmp_path / "gone.keras", "does not exist"),
        (text, "which is none"),
        (weights, "which is none"),
    ):
        with pytest.raises(ValueError, match=message):
            LazyEnsemble([*good, path])
    with pytest.raises(ValueError, match="at least one member"):
        LazyEnsemble([])
    with pytest.raises(ValueError, match="There is no directory"):
        LazyEnsemble(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"a list of their paths\. Received: one file"):
        LazyEnsemble(good[0])
    for wrong in (None, member()):
        with pytest.raises(ValueError, match="must be a directory or a list of paths"):
            LazyEnsemble(wrong)
    with pytest.raises(
        ValueError, match=r"list of paths of .* member 0 is <Sequential"
    ):
        LazyEnsemble([member()])
    with pytest.raises(ValueError, match="`average` must be one of"):
        LazyEnsemble(good, average="median")
    with pytest.raises(ValueError, match="each of 1 members"):
        LazyEnsemble(good, [0.5, 0.5])


def test_refuses_what_cannot_be_predicted(x, tmp_path):
    lazy = LazyEnsemble(saved([member()], tmp_path))
    for call in (lazy.predict, lazy.spread):
        for given, message in (
            ((x, 0), "`batch_size` must be a positive integer"),
            ((x[:0],), "at least one sample"),
            (((batch for batch in [x]),), "can be read only once"),
        ):
            with pytest.raises(ValueError, match=message):
                call(*given)


def fed(first):
    inputs = {name: keras.Input((2,), name=name) for name in "ab"}
    made = L.Dense(1)(L.Concatenate()([inputs["a"], inputs["b"]]))
    given = list(inputs.values()) if first == "a" else list(inputs.values())[::-1]
    return keras.Model(given, made)


def test_refuses_members_that_do_not_fit(tmp_path):
    for other, message in (
        (member(2), "same outputs"),
        (member(inputs=5), "same inputs"),
        (member(loss="mse"), "same kind of thing"),
    ):
        with pytest.raises(ValueError, match=message):
            LazyEnsemble(saved([member(), other], tmp_path))
    with pytest.raises(ValueError, match="inputs in the same order"):
        LazyEnsemble(saved([fed("a"), fed("b")], tmp_path))
