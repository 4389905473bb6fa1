"""The range test: what it finds, that it leaves no trace, what data it takes."""

import random
import sys

import keras
import numpy as np
import pytest
from keras import layers as L
from sklearn.datasets import load_digits
from support import models
from support.batched import dataset

from keras_babysit import LearningRateRange, find_learning_rate
from keras_babysit.lr_range.curve import averaged, judged

SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def linear(optimizer=None, rows=256, noise=0.3, seed=0):
    """Least squares, whose largest stable rate is 2 / λ_max of its Hessian."""
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    x = rng.normal(size=(rows, 5)) * [3.0, 1.0, 1.0, 0.5, 0.2]
    y = x @ rng.normal(size=5) + noise * rng.normal(size=rows)
    model = keras.Sequential([keras.Input((5,)), L.Dense(1, use_bias=False)])
    model.compile(optimizer or keras.optimizers.SGD(0.01), "mse")
    limit = 2 / np.linalg.eigvalsh(2 * x.T @ x / rows)[-1]
    return model, x.astype("float32"), y.astype("float32"), limit


def small(optimizer="adam", rows=72):
    keras.utils.set_random_seed(0)
    model, (x, y) = models.mlp()
    models.compile_model(model, keras.optimizers.get(optimizer))
    return model, x[:rows], y[:rows]


# ------------------------------------------------------------------ what it finds


@pytest.mark.parametrize("seed", range(2))
def test_diverges_where_theory_says(seed):
    model, x, y, limit = linear(seed=seed)
    found = find_learning_rate(model, x, y, min_rate=1e-4, steps=120)
    assert limit / 2 < found.diverged_at < 2 * limit
    assert found.suggestion < limit
    assert found.low < found.suggestion < found.high < found.diverged_at
    assert found.steepest == pytest.approx(found.suggestion**2 / found.tenth)


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.Adam(),
        pytest.param(keras.optimizers.SGD(), marks=pytest.mark.slow),
        pytest.param(keras.optimizers.SGD(momentum=0.9), marks=pytest.mark.slow),
        pytest.param(keras.optimizers.RMSprop(), marks=pytest.mark.slow),
    ],
    ids=["adam", "sgd", "momentum", "rmsprop"],
)
def test_the_suggestion_trains_better_than_far_from_it(optimizer):
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((64,)), L.Dense(32, activation="relu"), L.Dense(10)]
    )
    optimizer = type(optimizer).from_config(optimizer.get_config())
    model.compile(optimizer, SPARSE)
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables]
    start = [np.array(v) for v in variables]
    found = find_learning_rate(model, x, y)

    def loss_with(rate):
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        optimizer.learning_rate = rate
        model.fit(x[:1200], y[:1200], epochs=3, shuffle=False, verbose=0)
        return model.evaluate(x[1200:], y[1200:], batch_size=597, verbose=0)

    good = loss_with(found.suggestion)
    assert good < 0.6 * loss_with(found.suggestion / 100)
    assert not good > 0.6 * loss_with(found.suggestion * 100)


def test_losses_are_those_of_the_batches():
    model, x, y, _ = linear(rows=60)
    found = find_learning_rate(model, x, y, batch_size=60, max_rate=1e-6, steps=10)
    start = np.mean((model.predict(x, verbose=0)[:, 0] - y) ** 2)
    # Rates so low that nothing changes, and batches of all samples.
    np.testing.assert_allclose(found.losses, start, rtol=1e-4)
    assert found.rates[0] == pytest.approx(1e-7)
    assert found.rates[-1] == pytest.approx(1e-6)
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(10) / 9)


def test_the_moving_average_is_corrected(rng):
    losses = rng.normal(size=30)
    weights = [0.9 ** np.arange(i, -1, -1) for i in range(30)]
    expected = [np.average(losses[: i + 1], weights=w) for i, w in enumerate(weights)]
    np.testing.assert_allclose(averaged(losses), expected)


def curve(fall=1.0, at=-2.0, up=0.0, noise=0.01, steps=150):
    rates = np.geomspace(1e-7, 10, steps)
    x = np.log10(rates)
    losses = 2 - fall / (1 + np.exp(-6 * (x - at)))
    losses += np.where(x > up, np.expm1(4 * (x - up)), 0)
    return losses + noise * np.random.default_rng(0).normal(size=steps), rates


def test_steepest_and_range_of_a_known_curve():
    losses, rates = curve()
    end = int(np.argmax(losses > 6))
    found = judged(losses[:end], rates, diverged=True)
    # The curve is a logistic one in the logarithm of the rate: steepest at its middle.
    assert np.log10(found.steepest) == pytest.approx(-2, abs=0.15)
    # It is at 10 % and 95 % of its fall where ± log(9) and log(19) are.
    assert np.log10(found.low) == pytest.approx(-2 - np.log(9) / 6, abs=0.15)
    assert np.log10(found.high) == pytest.approx(-2 + np.log(19) / 6, abs=0.2)
    assert np.log10(found.diverged_at) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("seed", range(50))
def test_noise_is_no_fall(seed):
    losses = 2.3 + 0.2 * np.random.default_rng(seed).normal(size=150)
    found = judged(losses, np.geomspace(1e-7, 10, 150), diverged=False)
    assert found.suggestion is None
    assert "did not fall" in " ".join(str(found).split())


def test_says_so_if_nothing_can_be_learned(rng):
    model = keras.Sequential([keras.Input((4,)), L.Dense(8, "relu"), L.Dense(1)])
    model.compile("adam", "mse")
    x = np.zeros((64, 4), "float32")
    found = find_learning_rate(model, x, rng.normal(size=64), steps=80)
    assert found.suggestion is None
    assert found.low is None
    assert found.high is None
    assert "No learning rate can be suggested" in " ".join(str(found).split())


def test_says_so_if_the_range_is_too_narrow():
    model, x, y, _ = linear()
    found = find_learning_rate(model, x, y, max_rate=1e-6, steps=40)
    assert found.suggestion is None
    whole = {"batch_size": len(x)}
    found = find_learning_rate(
        model, x, y, min_rate=1e-6, max_rate=1e-2, steps=60, **whole
    )
    assert found.suggestion is not None
    assert "still falling at the end" in " ".join(str(found).split())
    found = find_learning_rate(model, x, y, min_rate=5.0, max_rate=50, steps=40)
    assert found.suggestion is None
    assert "rose without having fallen" in " ".join(str(found).split())


def test_ends_at_nan():
    losses, rates = curve()
    losses[100] = np.nan
    found = judged(losses[:101], rates, diverged=True)
    assert found.diverged_at <= rates[100]
    assert np.isfinite(found.suggestion)


# ------------------------------------------------------------------- noisy batches


def noisy(targets, trained=False):
    """A healthy network for eight features, and targets with noise of some kind."""
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    x = rng.normal(size=(2000, 8)).astype("float32")
    y = {
        "gaussian": lambda: x[:, 0] + 0.3 * rng.normal(size=2000),
        "lognormal": lambda: np.exp(1.5 * x[:, 0] + rng.normal(size=2000)),
        "student": lambda: x[:, 0] + rng.standard_t(1.5, size=2000),
        "outliers": lambda: x[:, 0] * np.where(rng.random(2000) < 0.01, 50, 1),
        "classes": lambda: x[:, 0] > 0,
    }[targets]().astype("float32")
    model = keras.Sequential([keras.Input((8,)), L.Dense(32, "relu"), L.Dense(1)])
    loss = keras.losses.BinaryCrossentropy(True) if targets == "classes" else "mse"
    model.compile(keras.optimizers.Adam(1e-2), loss)
    if trained:
        model.fit(x, y, epochs=3, verbose=0)
    return model, x, y


@pytest.mark.parametrize("targets", ["gaussian", "classes"])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 8, 64, 1024])
def test_small_batches_show_what_large_ones_do(targets, batch_size):
    found = find_learning_rate(*noisy(targets), batch_size=batch_size)
    assert found.suggestion is not None
    assert 3e-5 < found.suggestion < 0.2
    assert (found.diverged_at or np.inf) > 0.01


@pytest.mark.parametrize("targets", ["lognormal", "student", "outliers"])
@pytest.mark.parametrize("batch_size", [4, 32])
def test_heavy_tails_are_no_divergence(targets, batch_size):
    found = find_learning_rate(*noisy(targets), batch_size=batch_size)
    assert (found.diverged_at or np.inf) > 0.01
    if found.suggestion is None:
        # The model is not blamed for what its data hides.
        assert "model is not at fault" in " ".join(found.notes)


@pytest.mark.parametrize("targets", ["gaussian", "student"])
@pytest.mark.parametrize("batch_size", [1, 8, 256])
def test_a_trained_model_does_not_diverge_at_low_rates(targets, batch_size):
    found = find_learning_rate(*noisy(targets, trained=True), batch_size=batch_size)
    assert (found.diverged_at or np.inf) > 0.003
    assert "rose without having fallen" not in " ".join(found.notes)


# ------------------------------------------------------------- it leaves no trace


@pytest.mark.parametrize("trained", [False, True])
def test_leaves_everything_as_it_was(trained):
    results = []
    for tested in (False, True):
        model, x, y = small(keras.optimizers.AdamW(1e-2, use_ema=True))
        if trained:
            model.fit(x, y, verbose=0)
        optimizer, function = model.optimizer, model.train_function
        before = models.state(model)
        if tested:
            find_learning_rate(model, x, y, steps=20)
            assert model.optimizer is optimizer
            assert model.train_function is function
            for a, b in zip(before, models.state(model), strict=True):
                np.testing.assert_array_equal(a, b)
        losses = model.fit(x, y, epochs=2, verbose=0).history["loss"]
        results.append(
            [*models.state(model), losses, np.random.rand(3), random.random()]
        )
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_tests_agree():
    model, x, y = small()
    one, two = (find_learning_rate(model, x, y, steps=20) for _ in range(2))
    np.testing.assert_array_equal(one.losses, two.losses)


def test_a_schedule_is_kept():
    schedule = keras.optimizers.schedules.CosineDecay(0.0, 100, warmup_target=0.1)
    model, x, y = small(keras.optimizers.Adam(schedule))
    found = find_learning_rate(model, x, y, steps=20)
    assert model.optimizer._learning_rate is schedule
    assert found.used == pytest.approx(0.1, rel=0.6)
    assert "highest rate of its schedule" in " ".join(str(found).split())


# ------------------------------------------------------------- models and data


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 3

    def __getitem__(self, i):
        at = slice(16 * i, 16 * i + 16)
        return self.x[at], self.y[at]


def generator(x, y, batches):
    for _ in range(batches):
        yield x[:16], y[:16]


@pytest.mark.parametrize(
    "make",
    [
        dataset,
        pytest.param(lambda x, y: dataset(x, y).repeat(), marks=pytest.mark.tensorflow),
        Batches,
        lambda x, y: generator(x, y, 30),
    ],
    ids=["dataset", "endless", "pydataset", "generator"],
)
def test_any_data(make):
    model, x, y = small()
    found = find_learning_rate(model, make(x, y), steps=24)
    assert len(found.losses) == 24 or found.diverged_at


def test_a_generator_that_ends():
    model, x, y = small()
    found = find_learning_rate(model, generator(x, y, 14), steps=40, max_rate=1e-3)
    assert len(found.losses) == 14
    assert "data ended after 14 of 40" in " ".join(str(found).split())
    with pytest.raises(ValueError, match="at least 10 updates"):
        find_learning_rate(model, generator(x, y, 4), steps=40)
    with pytest.raises(ValueError, match="yields no data"):
        find_learning_rate(model, generator(x, y, 0), steps=40)


@pytest.mark.parametrize("name", ["shared_and_nested", "custom_step"])
def test_any_model(name):
    keras.utils.set_random_seed(0)
    model, (x, y) = getattr(models, name)()
    models.compile_model(model)
    found = find_learning_rate(model, x, y, steps=60)
    assert found.suggestion is not None
    assert 1e-5 < found.suggestion < 1


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model, x, y = small()
    model.compile("adam", SPARSE)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    found = find_learning_rate(model, x, y, steps=60)
    assert found.suggestion is not None


def test_accumulated_gradients_make_one_step_of_several_batches():
    model, x, y = small(keras.optimizers.SGD(gradient_accumulation_steps=3))
    found = find_learning_rate(model, x, y, steps=12, max_rate=1e-3)
    assert len(found.losses) == len(found.rates) == 12


def test_frozen_layers_stay_as_they_are():
    keras.utils.set_random_seed(0)
    model, (x, _) = models.frozen_and_unused()
    models.compile_model(model)
    y = x[:, : models.CLASSES].argmax(1)
    found = find_learning_rate(model, x, y, steps=60)
    assert found.suggestion is not None


# --------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_rate": 1.0, "max_rate": 0.1}, "`min_rate` must be less than"),
        ({"min_rate": 0.1, "max_rate": 0.1}, "`min_rate` must be less than"),
        ({"min_rate": 0.0}, "`min_rate` must be a positive number"),
        ({"max_rate": float("inf")}, "`max_rate` must be a positive number"),
        ({"steps": 9}, "`steps` must be an integer of at least 10"),
        ({"steps": 20.0}, "`steps` must be an integer"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"verbose": 3}, "`verbose` must be"),
    ],
)
def test_bad_arguments(arguments, message):
    model, x, y = small()
    with pytest.raises(ValueError, match=message):
        find_learning_rate(model, x, y, **arguments)


def test_bad_models_and_data():
    model, x, y = small()
    with pytest.raises(ValueError, match="no data"):
        find_learning_rate(model, x[:0], y[:0])
    with pytest.raises(ValueError, match="`batch_size` must be None"):
        find_learning_rate(model, dataset(x, y), batch_size=4)
    with pytest.raises(ValueError, match="`y` and `sample_weight` must be None"):
        find_learning_rate(model, dataset(x, y), y)
    with pytest.raises(TypeError, match=r"must be a keras\.Model"):
        find_learning_rate("model", x, y)
    with pytest.raises(ValueError, match="must be compiled"):
        find_learning_rate(models.mlp()[0], x, y)
    frozen, _ = models.mlp()
    frozen.trainable = False
    models.compile_model(frozen)
    with pytest.raises(ValueError, match="weights that can be trained"):
        find_learning_rate(frozen, x, y)


def test_an_optimizer_without_a_rate():
    model, x, y = small()

    class Odd(keras.optimizers.SGD):
        pass

    odd = Odd()
    del odd._learning_rate
    vars(model)["optimizer"] = odd
    with pytest.raises(ValueError, match="must have a learning rate"):
        find_learning_rate(model, x, y)


def test_an_optimizer_that_cannot_be_made_anew():
    class Odd(keras.optimizers.SGD):
        def __init__(self, needed):
            super().__init__()
            self.needed = needed

    model, x, y = small()
    model.compile(Odd(1), SPARSE)
    with pytest.raises(ValueError, match="can be made again"):
        find_learning_rate(model, x, y)


# ------------------------------------------------------------------------ shown


def test_the_plot(tmp_path):
    losses, rates = curve()
    found = judged(losses[: int(np.argmax(losses > 6))], rates, diverged=True)
    figure = found.plot(tmp_path / "range.png")
    assert (tmp_path / "range.png").stat().st_size > 10_000
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    labels = axes.get_legend_handles_labels()[1]
    assert labels[-1].startswith("suggested")
    assert "range" in labels
    # What cannot be suggested is not drawn.
    LearningRateRange(rates, losses, averaged(losses)).plot()


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    losses, rates = curve()
    with pytest.raises(ImportError, match=r"keras_babysit\[plot\]"):
        judged(losses, rates, diverged=False).plot()


def test_progress():
    model, x, y = small()
    told = []
    find_learning_rate(
        model, x, y, steps=12, max_rate=1e-3, progress=lambda *a: told.append(a)
    )
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert "loss" in told[0][1]


def test_nothing_is_shown_where_there_is_no_terminal(capsys):
    model, x, y = small()
    find_learning_rate(model, x, y, steps=12)
    assert capsys.readouterr().out == ""
