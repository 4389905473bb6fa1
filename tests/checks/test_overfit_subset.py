"""Memorizing a few samples: what can, what cannot and why, and no trace."""

import functools
import io
import random

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from rich.console import Console
from support import models

import keras_babysit
from keras_babysit.borrowing.optimizers import fresh, rate_of
from keras_babysit.checks import available
from keras_babysit.checks.fitting.attempt import Attempt, Goal, goal_of
from keras_babysit.checks.fitting.subset import balanced
from keras_babysit.checks.fitting.verdict import judged
from keras_babysit.checks.losses.targets import accuracy, groups_of
from keras_babysit.document.progress_line import shown, silent
from keras_babysit.inspection.sample import Sample, ready

K = 3
ADAM = 1e-2

# What a model can learn must not depend on how busy the machine is.
overfit_subset = functools.partial(keras_babysit.overfit_subset, seconds=600.0)

BACKEND = keras.backend.backend()


def inputs(rows=60):
    return np.random.default_rng(0).normal(size=(rows, 12)).astype("float32")


def labels(rows=60, classes=K):
    return np.random.default_rng(1).integers(0, classes, rows)


def mlp(units=K, activation=None, **kwargs):
    keras.utils.set_random_seed(0)
    hidden = L.Dense(32, activation="relu", **kwargs)
    return keras.Sequential(
        [keras.Input((12,)), hidden, L.Dense(units, activation=activation)]
    )


def compiled(model, loss, optimizer=None, **kwargs):
    model.compile(optimizer or keras.optimizers.Adam(ADAM), loss, **kwargs)
    return model


SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


# ------------------------------------------------------------------- what can


@pytest.mark.parametrize(
    "name",
    [
        "mlp",
        "cnn",
        "embedding",
        "shared_and_nested",
        "custom_step",
        pytest.param("residual", marks=pytest.mark.slow),
        pytest.param("lstm", marks=pytest.mark.slow),
        pytest.param("transformer", marks=pytest.mark.slow),
        pytest.param("subclassed", marks=pytest.mark.slow),
        pytest.param("augmented", marks=pytest.mark.slow),
        pytest.param("frozen_and_unused", marks=pytest.mark.slow),
    ],
)
def test_models_that_can(name):
    keras.utils.set_random_seed(0)
    model, (x, y) = getattr(models, name)()
    found = overfit_subset(models.compile_model(model), x, y)
    assert found.verdict == "passed", found
    assert found.evidence["accuracy"] == 1.0
    assert found.evidence["loss"] < 0.2
    assert found.findings == ()
    assert found.steps == len(found.history["loss"]) == found.evidence["steps"]
    assert found.history["accuracy"][-1] == 1.0
    if BACKEND == "tensorflow":  # With other numbers another rate can be the first.
        assert found.learning_rate == pytest.approx(ADAM)


def task(name):
    x, y = inputs(), labels()
    one_hot, bits = np.eye(K)[y], (y > 0).astype(int)
    loss = keras.losses
    return {
        "sigmoid": (mlp(1, "sigmoid"), "binary_crossentropy", bits, 0.0),
        "hinge": (mlp(1), "hinge", bits, 0.0),
        "mse": (mlp(1), "mse", x.sum(1), 0.0),
        "mae": (mlp(1), "mae", x.sum(1), 0.0),
        "smoothing": (
            mlp(K, "softmax"),
            loss.CategoricalCrossentropy(label_smoothing=0.1),
            one_hot,
            # The entropy of the smoothed label.
            -(14 / 15 * np.log(14 / 15) + 2 / 30 * np.log(1 / 30)),
        ),
        "cosine": (mlp(4), "cosine_similarity", x[:, :4], -1.0),
        "poisson": (mlp(1, "softplus"), "poisson", np.exp(x[:, :1]), None),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "sigmoid",
        "hinge",
        "mse",
        "smoothing",
        "cosine",
        "poisson",
        pytest.param("mae", marks=pytest.mark.slow),
    ],
)
def test_losses_whose_floor_is_known(name):
    model, loss, y, floor = task(name)
    found = overfit_subset(compiled(model, loss), inputs(), y)
    assert found.verdict == "passed", found
    if floor is not None:
        assert found.evidence["floor"] == pytest.approx(floor, abs=1e-3)
    assert found.evidence["loss"] >= found.evidence["floor"] - 1e-4
    assert found.evidence["share"] >= 0.95


def test_a_loss_of_the_users_own_has_its_floor_searched():
    def above(y, y_pred):
        return keras.ops.mean(keras.ops.square(y - y_pred), axis=-1) + 3.0

    x = inputs()
    found = overfit_subset(compiled(mlp(1), above), x, x.sum(1))
    assert found.verdict == "passed", found
    assert found.evidence["floor"] == pytest.approx(3.0, abs=0.01)


def test_dropout_decay_and_penalties_are_off():
    model = keras.Sequential(
        [
            keras.Input((12,)),
            L.Dense(32, activation="relu", kernel_regularizer=keras.regularizers.L2(9)),
            L.Dropout(0.9),
            L.Dense(K),
        ]
    )
    optimizer = keras.optimizers.AdamW(ADAM, weight_decay=10.0)
    found = overfit_subset(compiled(model, SPARSE, optimizer), inputs(), labels())
    assert found.verdict == "passed", found


def test_a_causal_model_need_not_foresee(rng):
    """Sequences begin alike and go on differently: their first word is a guess."""
    tokens = rng.integers(1, 8, (20, 6))
    x = np.concatenate([np.zeros((20, 1), int), tokens[:, :-1]], axis=1)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            L.Embedding(8, 16),
            L.GRU(48, return_sequences=True),
            L.Dense(8),
        ]
    )
    found = overfit_subset(compiled(model, SPARSE), x, tokens)
    assert found.verdict == "passed", found
    assert found.evidence["floor"] > 0.2


# ---------------------------------------------------------------- what cannot


def test_softmax_on_one_unit_is_named():
    y = (labels() > 0).astype(int)
    model = compiled(mlp(1, "softmax"), "binary_crossentropy")
    found = overfit_subset(model, inputs(), y, steps=150)
    assert found.verdict == "failed"
    assert found.findings[0].rule == "softmax-on-one-unit"
    assert "sigmoid" in found.action
    assert found.evidence["accuracy"] < 1


def dice_and_entropy(y, p):
    overlap = (2 * ops.sum(y * p) + 1) / (ops.sum(y) + ops.sum(p) + 1)
    return ops.mean(keras.losses.binary_crossentropy(y, p)) + 1 - overlap


@pytest.mark.tensorflow  # PyTorch refuses such targets.
@pytest.mark.parametrize(("scale", "verdict"), [(1, "passed"), (255, "worrying")])
def test_a_loss_below_zero_of_masks_that_were_not_rescaled(scale, verdict):
    y = scale * (labels() > 0).astype("float32")[:, None]
    model = compiled(mlp(1, "sigmoid"), dice_and_entropy)
    found = overfit_subset(model, inputs(), y, steps=300)
    assert found.verdict == verdict, found
    assert ("the targets go as far as 255" in found.summary) == (scale == 255)
    assert ("y / 255" in found.action) == (scale == 255)


def test_a_loss_may_be_below_zero():
    def likelihood(y, p):
        return -ops.exp(-ops.square(y - p))

    found = overfit_subset(
        compiled(mlp(1), likelihood), inputs(), inputs()[:, :1], steps=300
    )
    assert found.verdict == "passed", found
    assert any("below 0" in note for note in found.notes)
    # Keras's own are what they are.
    similar = compiled(mlp(4), "cosine_similarity")
    found = overfit_subset(similar, inputs(), inputs()[:, :4], steps=300)
    assert not any("below 0" in note for note in found.notes)


def test_its_advice_is_not_itself():
    """Nor that nothing was learned, where the loss is at the least a softmax allows."""
    model = mlp(K, "softmax")
    model.add(L.Softmax())
    model = compiled(model, "sparse_categorical_crossentropy")
    found = overfit_subset(model, inputs(), labels(), steps=150)
    assert found.verdict == "failed"
    told = str(found).partition("Learning rates tried")[0]
    assert told.count("memorized") == 1
    assert "nothing was learned" not in told
    assert "output's activation function and the loss" in found.action


@pytest.mark.slow
def test_no_learning_rate():
    model = compiled(mlp(), SPARSE, keras.optimizers.Adam(0.0))
    found = overfit_subset(model, inputs(), labels(), steps=500)
    assert found.verdict == "failed"
    assert "set the learning rate to 1e-3 instead of 0" in found.action
    assert found.learning_rate == pytest.approx(1e-3)
    assert "learning-rate-extreme" in [f.rule for f in found.findings]


@pytest.mark.slow
def test_a_rate_that_is_far_too_high():
    model = compiled(mlp(), SPARSE, keras.optimizers.SGD(100.0))
    found = overfit_subset(model, inputs(), labels(), steps=250)
    assert found.verdict == "failed"
    assert found.learning_rate < 100
    assert "instead of 100" in found.action


def test_nothing_that_can_be_trained():
    model = mlp()
    model.trainable = False
    found = overfit_subset(compiled(model, SPARSE), inputs(), labels())
    assert found.verdict == "failed"
    assert "trainable = True" in found.action
    assert [f.rule for f in found.findings] == ["no-trainable-weights"]


def test_labels_that_contradict_each_other_altogether():
    x, y = np.repeat(inputs(10), 2, axis=0), np.tile([0, 1], 10)
    model = compiled(mlp(1, "sigmoid"), "binary_crossentropy")
    found = overfit_subset(model, x, y)
    assert found.verdict == "failed"
    assert found.evidence["conflicting"] == 20
    assert found.evidence["floor"] == pytest.approx(np.log(2), rel=1e-4)
    assert found.learning_rate is None


def test_some_labels_that_contradict_each_other():
    x = np.concatenate([inputs(16), inputs(4)])
    y = np.concatenate([labels(16, 2), 1 - labels(16, 2)[:4]])
    model = compiled(mlp(1, "sigmoid"), "binary_crossentropy")
    found = overfit_subset(model, x, y)
    assert found.verdict == "worrying"
    assert found.evidence["conflicting"] == 8
    # Eight of twenty samples can do no better than a coin.
    assert found.evidence["floor"] == pytest.approx(0.4 * np.log(2), rel=1e-3)
    assert found.evidence["best_accuracy"] == pytest.approx(0.8)
    assert found.evidence["accuracy"] == pytest.approx(0.8)
    assert "same inputs" in found.summary


@pytest.mark.slow
def test_the_wrong_loss_is_named():
    model = compiled(mlp(K, "softmax"), "mse")
    found = overfit_subset(model, inputs(), labels()[:, None], steps=100)
    assert found.verdict == "failed"
    assert found.findings[0].rule == "regression-loss-for-classes"


@pytest.mark.slow
def test_dead_units_are_named():
    model = mlp(bias_initializer=keras.initializers.Constant(-50.0))
    found = overfit_subset(compiled(model, SPARSE), inputs(), labels(), steps=100)
    assert found.verdict == "failed"
    assert "dead-relu" in [f.rule for f in found.findings]


def test_a_loss_that_no_gradient_comes_from():
    inner = keras.Input((12,))
    x = L.Dense(K)(inner)
    out = L.Lambda(lambda t: keras.ops.stop_gradient(t))(x)
    model = compiled(keras.Model(inner, out), SPARSE)
    found = overfit_subset(model, inputs(), labels())
    assert found.verdict == "failed"
    assert "no gradient" in found.summary


def test_out_of_time_is_no_failure():
    losses = list(np.linspace(2.0, 1.5, 40))
    goal = Goal(floor=0.0, chance=2.0)
    told = judged(20, goal, [Attempt(0.01, goal, losses, late=True)])
    assert told.verdict == "not finished"
    assert "not enough time" in told.summary
    assert "still falling" in told.summary
    assert "seconds=" in told.action
    # With more time other rates would have been tried.
    told = judged(20, goal, [Attempt(0.01, goal, [*losses, *[1.5] * 40], late=True)])
    assert told.verdict == "not finished"
    assert "falling" not in told.summary
    told = judged(20, goal, [Attempt(0.01, goal, [*losses, *[1.5] * 40])])
    assert told.verdict == "failed"


@pytest.mark.parametrize("late", [True, False])
def test_the_own_rate_is_not_judged_by_the_clock(late):
    goal = Goal(floor=0.0, chance=2.0)
    own = Attempt(1e-7, goal, [2.0] * 30, late=late)
    told = judged(20, goal, [own, Attempt(0.01, goal, [2.0, 1.0, 0.0])])
    assert told.verdict == ("not finished" if late else "failed")


def test_a_small_model_need_not_learn_by_heart():
    """A straight line through noise: nothing is wrong with it."""
    model = keras.Sequential([keras.Input((12,)), L.Dense(1)])
    y = inputs()[:, 0] + np.random.default_rng(3).normal(size=60)
    found = overfit_subset(compiled(model, "mse"), inputs(), y, steps=150)
    assert found.verdict == "skipped"
    assert "13 trainable weights are too few" in found.summary


# ------------------------------------------------------------------- no trace


def test_leaves_everything_as_it_was():
    results = []
    for checked in (False, True):
        keras.utils.set_random_seed(0)
        model, (x, y) = models.cnn()
        models.compile_model(model, metrics=["accuracy"])
        model.fit(x, y, verbose=0)
        optimizer, function = model.optimizer, model.train_function
        before = models.state(model)
        if checked:
            assert overfit_subset(model, x, y, verbose=0).verdict == "passed"
            assert model.optimizer is optimizer
            assert model.train_function is function
            for a, b in zip(before, models.state(model), strict=True):
                np.testing.assert_array_equal(a, b)
        history = model.fit(x, y, epochs=2, verbose=0).history
        drawn = [np.random.rand(3), random.random(), keras.random.uniform((2,))]
        results.append([*models.state(model), *history.values(), *drawn])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_leaves_no_trace_when_it_fails():
    model = compiled(mlp(1, "softmax"), "binary_crossentropy", metrics=["accuracy"])
    before = models.state(model)
    names, step = [m.name for m in model.metrics], model.train_step
    overfit_subset(model, inputs(), (labels() > 0).astype(int), n=8, steps=30)
    for a, b in zip(before, models.state(model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [m.name for m in model.metrics] == names
    assert model.train_step == step


# ----------------------------------------------------- what it is put together of


def test_samples_are_of_all_classes(rng):
    y = np.repeat([0, 1, 2], [90, 8, 2])
    sample = Sample(np.arange(100)[:, None], y, size=100)
    few = balanced(sample, 9)
    assert few.size == 9
    np.testing.assert_array_equal(np.bincount(few.y), [4, 3, 2])
    np.testing.assert_array_equal(few.y, y[few.x[:, 0]])
    few = balanced(Sample(sample.x, np.eye(3)[y], size=100), 9)
    np.testing.assert_array_equal(few.y.sum(0), [4, 3, 2])
    few = balanced(Sample(sample.x, rng.normal(size=100), size=100), 9)
    assert len(np.unique(few.x)) == 9


def test_samples_with_weight_come_first():
    weight = np.zeros(100)
    weight[::4] = 1.0
    y = np.arange(100) % 2
    few = balanced(Sample(np.arange(100)[:, None], y, weight, size=100), 12)
    assert few.sample_weight.all()


def test_what_has_no_weight_need_not_be_learned():
    x = np.concatenate([inputs(10), inputs(10)])
    y = np.concatenate([labels(10), (labels(10) + 1) % K])
    weight = np.repeat([1.0, 0.0], 10)
    found = overfit_subset(compiled(mlp(), SPARSE), x, y, weight)
    assert found.verdict == "passed", found
    assert found.evidence["conflicting"] == 0


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.AdamW(0.1, weight_decay=0.3, clipnorm=1.0),
        keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, use_ema=True),
        keras.optimizers.LossScaleOptimizer(
            keras.optimizers.Adam(0.1, gradient_accumulation_steps=4)
        ),
        keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 9, 0.5)),
    ],
    ids=["adamw", "sgd", "scaled", "scheduled"],
)
def test_fresh_optimizers(optimizer):
    assert rate_of(optimizer) == pytest.approx(0.1)
    made = fresh(optimizer, 0.5)
    assert type(made) is type(optimizer)
    assert rate_of(made) == pytest.approx(0.5)
    inner = getattr(made, "inner_optimizer", made)
    config = getattr(optimizer, "inner_optimizer", optimizer).get_config()
    assert inner.get_config() == {**config, "learning_rate": 0.5}
    plain = fresh(optimizer, 0.5, plain=True)
    plain = getattr(plain, "inner_optimizer", plain)
    assert not plain.weight_decay
    assert not plain.use_ema
    assert not plain.gradient_accumulation_steps
    assert plain.clipnorm == inner.clipnorm


def test_equal_inputs_are_grouped():
    x = {"a": np.array([[1], [1], [2], [1]]), "b": np.array([0, 0, 0, 5])}
    groups = groups_of(Sample(x, size=4))
    assert groups[0] == groups[1]
    assert len(set(groups[1:])) == 3


def test_the_goal_of_several_outputs():
    model, (x, y) = models.shared_and_nested()
    models.compile_model(model, loss_weights={"one": 2.0, "two": 0.5})
    sample = Sample(
        {k: v[:20] for k, v in x.items()}, {k: v[:20] for k, v in y.items()}, size=20
    )
    ready(model, sample)
    goal = goal_of(model, sample)
    shares = np.bincount(y["one"][:20]) / 20
    shares = shares[shares > 0]
    entropy = -(shares * np.log(shares)).sum()
    expected = 2.0 * entropy + 0.5 * y["two"][:20].var()
    assert goal.floor == pytest.approx(0, abs=1e-5)
    assert goal.chance == pytest.approx(expected, rel=1e-4)
    assert len(goal.targets) == 2
    _, target = goal.targets[0]
    hits = accuracy(target, np.eye(models.CLASSES)[y["one"][:20]], goal.groups)
    assert hits == (1.0, 1.0)


# ------------------------------------------------------------------ the interface


def test_it_is_a_check():
    check = available()["overfit_subset"]
    assert check.order == 60
    told = []
    sample = Sample(inputs(), labels(), size=60)
    model = compiled(mlp(), SPARSE)
    found = check.run(model, sample, lambda *a: told.append(a))
    assert found.verdict == "passed"
    assert "20 samples were memorized" in str(found)
    assert all(0 <= share <= 1 for share, _ in told)
    assert silent(0.5, "") is None


def test_all_samples_if_there_are_few():
    found = overfit_subset(compiled(mlp(), SPARSE), inputs(5), labels(5), n=50)
    assert found.verdict == "passed"
    assert "5 samples" in found.summary
    one = overfit_subset(compiled(mlp(), SPARSE), inputs(5), labels(5), n=1)
    assert one.verdict == "passed"
    assert "1 sample was" in one.summary


def test_a_line_is_shown_on_a_terminal(monkeypatch):
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=100)
    monkeypatch.setattr("rich.console.Console", lambda **options: terminal)
    with shown("Overfitting") as tell:
        tell(0.5, "step 7, loss 0.3")
    assert "Overfitting" in file.getvalue()
    assert "step 7, loss 0.3" in file.getvalue()
    assert file.getvalue().endswith("\x1b[2K")  # The line is wiped off again.
    with shown("Overfitting", verbose=0) as tell:
        assert tell is silent


def test_nothing_is_shown_where_there_is_no_terminal(capsys):
    overfit_subset(compiled(mlp(), SPARSE), inputs(), labels(), steps=25)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "`n` must be a positive integer. Received: n=0"),
        ({"n": 2.0}, "`n` must be a positive integer"),
        ({"steps": 0}, "`steps` must be a positive integer"),
        ({"seconds": 0}, "`seconds` must be a positive number"),
        ({"verbose": "yes"}, "`verbose` must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        overfit_subset(compiled(mlp(), SPARSE), inputs(), labels(), **arguments)


def test_bad_models_and_data():
    with pytest.raises(ValueError, match="must be compiled"):
        overfit_subset(mlp(), inputs(), labels())
    with pytest.raises(TypeError, match=r"must be a keras\.Model"):
        overfit_subset(None, inputs(), labels())
    model = compiled(mlp(), SPARSE)
    with pytest.raises(ValueError, match="no data"):
        overfit_subset(model, inputs()[:0], labels()[:0])
    with pytest.raises(ValueError, match="must have shape"):
        overfit_subset(model, inputs()[:, :5], labels())
