"""What each kind of change does to a borrowed model, and that all of it is undone."""

import contextlib
import inspect

import keras
import numpy as np
import pytest
from keras import layers as L
from support import untouched

from keras_babysit.borrowing.optimizers import fresh_optimizers
from keras_babysit.fixes.bench import Bench
from keras_babysit.fixes.changes import CHANGES
from keras_babysit.fixes.changes.setup import Setup
from keras_babysit.fixes.changes.words import _WORDS, code, words
from keras_babysit.inspection.model import model_facts
from keras_babysit.inspection.sample import Sample
from keras_babysit.records import Fix
from keras_babysit.rules import fixes

MAKERS = [f for n, f in vars(fixes).items() if inspect.isfunction(f) and n[0] != "_"]
ARGUMENTS = {
    "learning_rate": (0.02,),
    "output": ("dense_1", "sigmoid", "binary_crossentropy"),
    "activation": (["dense"], "tanh"),
    "initializer": (["dense"],),
    "dropout": (["dropout"], 0.1),
    "trainable": (["frozen"],),
    "adapt": ("normalization",),
    "divide_inputs": ("x", 10),
    "batch_size": (16,),
}
ON_X, ON_Y = ("scale_inputs",), ("scale_targets", "labels_from_zero", "labels_as_signs")

BACKEND = keras.backend.backend()


def made(maker):
    name = maker.__name__
    place = {**dict.fromkeys(ON_X, ("x",)), **dict.fromkeys(ON_Y, ("y",))}
    return maker(*ARGUMENTS.get(name, place.get(name, ())))


FIXES = [made(maker) for maker in MAKERS]


def sample(n=80):
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, n)
    x = (draw.normal(size=(n, 3)) + 3 * y[:, None]).astype("float32") * 5 + 20
    return Sample(x, y.astype("float32"), size=n)


@pytest.fixture(scope="module")
def model():
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [
            keras.Input((3,)),
            L.Normalization(name="normalization"),
            L.Dense(4, name="frozen", trainable=False),
            L.Dense(8, "relu", name="dense", kernel_regularizer="l2"),
            L.Dropout(0.5, name="dropout"),
            L.Dense(1, "sigmoid", name="dense_1"),
        ]
    )
    made.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy")
    return made


@pytest.fixture
def setup(model):
    facts = model_facts(model)
    with (
        Bench(model, facts, sample(), 32, False) as bench,
        contextlib.ExitStack() as stack,
    ):
        yield Setup(model, facts, bench.split(0), stack)


@pytest.mark.parametrize("fix", FIXES, ids=lambda fix: fix.kind)
def test_each_kind_is_trained_put_in_words_and_undone(model, fix):
    before = untouched.everything(model)
    facts = model_facts(model)
    with Bench(model, facts, sample(), 32, False) as bench:
        run = bench.train([fix], 0, 20)
        again = bench.train([fix], 0, 20)
    if BACKEND == "torch" and fix.kind in ("scale_targets", "labels_as_signs"):
        # PyTorch's own cross-entropy refuses such targets, as in any training.
        assert "between 0 and 1" in run.failed
        return
    assert run.failed == ""
    assert run.steps == 20
    np.testing.assert_array_equal(again.losses, run.losses)
    assert not untouched.differences(before, untouched.everything(model))
    assert words([fix])
    lines = code([fix], facts, {"x": 2, "y": 1})
    compile(lines, "<code>", "exec")
    # Penalties are taken away in many places.
    assert lines or fix.kind == "no_penalty"


def test_every_maker_has_a_change():
    kinds = {fix.kind for fix in FIXES}
    assert kinds == set(CHANGES) == set(_WORDS)
    assert kinds == {maker.__name__ for maker in MAKERS}


@pytest.mark.parametrize("fix", FIXES, ids=lambda fix: fix.kind)
def test_fixes_are_values(fix):
    from keras_babysit.document.values import plain

    assert Fix.from_dict(plain(fix)) == fix
    assert {fix: 1}[Fix.from_dict(plain(fix))] == 1


def test_output_and_loss(setup, model):
    fix = fixes.output("dense_1", "linear", from_logits=True)
    CHANGES[fix.kind](setup, fix)
    setup.set_losses()
    assert model.layers[-1].activation is keras.activations.linear
    assert model._compile_loss._user_loss.from_logits
    assert setup.middles() == [0.0]


def test_a_loss_for_one_of_several_outputs():
    keras.utils.clear_session()
    x = keras.Input((3,))
    several = keras.Model(
        x, {"a": L.Dense(1, name="a")(x), "b": L.Dense(2, name="b")(x)}
    )
    several.compile("sgd", {"a": "mse", "b": "mse"})
    facts = model_facts(several)
    data = Sample(np.zeros((8, 3), "float32"), size=8)
    with Bench(several, facts, data, 4, False), contextlib.ExitStack() as stack:
        setup = Setup(several, facts, None, stack)
        fix = fixes.output("b", "softmax", "categorical_crossentropy")
        CHANGES[fix.kind](setup, fix)
        setup.set_losses()
        losses = several._compile_loss._user_loss
        assert losses["a"] == "mse"
        assert isinstance(losses["b"], keras.losses.CategoricalCrossentropy)
        assert several.get_layer("b").activation is keras.activations.softmax
    assert several.get_layer("b").activation is keras.activations.linear


def test_inputs_are_scaled_by_what_is_trained_on(setup):
    train = setup.data.train.x.astype("float64")
    held = setup.data.held.x
    fix = fixes.scale_inputs("x")
    CHANGES[fix.kind](setup, fix)
    found = setup.data
    np.testing.assert_allclose(found.train.x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.train.x.std(0), 1, atol=1e-5)
    np.testing.assert_allclose(
        found.held.x, (held - train.mean(0)) / train.std(0), rtol=1e-4, atol=1e-5
    )


def test_class_weights_make_classes_count_alike(setup):
    fix = fixes.class_weights()
    CHANGES[fix.kind](setup, fix)
    y, weight = setup.data.train.y, setup.data.train.sample_weight
    sums = [weight[y == k].sum() for k in (0, 1)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    assert weight.sum() == pytest.approx(len(y), rel=1e-5)


def test_a_layer_that_adapts(setup, model):
    fix = fixes.adapt("normalization")
    CHANGES[fix.kind](setup, fix)
    found = keras.ops.convert_to_numpy(model.layers[0](setup.data.train.x))
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(0), 1, atol=1e-4)


def test_penalties_go(setup, model):
    assert model.losses
    CHANGES["no_penalty"](setup, fixes.no_penalty())
    assert not model.losses


def test_clipping_is_put_into_the_optimizer(setup, model):
    CHANGES["clip"](setup, fixes.clip())
    with fresh_optimizers(model, settings=setup.optimizer) as optimizer:
        assert optimizer.clipnorm == 1.0
        assert optimizer.momentum == 0.9


@pytest.mark.parametrize(
    "fix",
    [
        fixes.activation(["nowhere"]),
        fixes.activation(["dropout"]),
        fixes.dropout(["dense"], 0.1),
        fixes.adapt("dense"),
        fixes.scale_inputs("x['other']"),
        fixes.output("dense_1", loss="no_such_loss"),
    ],
    ids=str,
)
def test_what_cannot_be_changed_says_so(model, fix):
    with Bench(model, model_facts(model), sample(), 32, False) as bench:
        run = bench.train([fix], 0, 20)
    assert run.steps == 0
    assert run.failed.startswith("ValueError: ")
