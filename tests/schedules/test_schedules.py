"""Every curve against its closed form, Keras's classes, and itself after a restart."""

import copy
import math
import sys
from unittest import mock

import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import ops

import keras_babysit
from keras_babysit import schedules
from keras_babysit.backend import load
from keras_babysit.schedules import (
    Chain,
    Constant,
    CosineCycles,
    ExponentialDecay,
    InverseTimeDecay,
    OneCycle,
    StepDecay,
    WarmUp,
)

K = keras.optimizers.schedules
T = np.arange(10_000)
PER_EPOCH = 100


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: few tests here make models, none minds their names."""


@pytest.fixture
def float64():
    keras.config.set_floatx("float64")
    with load("autodiff").in_float64():
        yield
    keras.config.set_floatx("float32")


def cosine(share):
    return (1 + math.cos(math.pi * share)) / 2


def one_cycle(t, top, low, end, n, up, down, shape):
    way = (lambda s: s) if shape == "linear" else (lambda s: 1 - cosine(s))
    up, down = up * n, down * n
    if t < up:
        return low + (top - low) * way(t / up)
    if t < up + down:
        return top + (low - top) * way((t - up) / down)
    if t < n:
        return low + (end - low) * way((t - up - down) / (n - up - down))
    return end


def sgdr(t, top, low, n, m, f, cycles=10**9):
    """By walking through the cycles, as the paper tells it."""
    length, i = float(n), 0
    while t >= length:
        t, length, i = t - length, length * m, i + 1
        if i == cycles:
            return low
    return low + (top - low) * f**i * cosine(t / length)


def warm(t, n, low, schedule):
    top = schedule(0)
    low = top / (n + 1) if low is None else low
    return low + (top - low) * t / n if t < n else schedule(t - n)


def decay(t):
    return 0.1 * 0.5 ** (t // 300)


def chained(t):
    if t < 1000:
        return 0.05
    if t < 2500:
        return 0.1 * math.exp(-0.3 * (t - 1000) / 100)
    return warm(t - 2500, 500, None, lambda u: sgdr(u, 0.2, 0.0, 1000, 2, 1.0))


def of_epochs(make, *args, **kwargs):
    return make(*args, **kwargs, steps_per_epoch=PER_EPOCH)


#: Name to a schedule and its closed form, for one step, in plain Python.
CURVES = {
    "constant": (Constant(0.1), lambda t: 0.1),
    "step": (StepDecay(0.1, 0.5, steps=300), decay),
    "step-epochs": (of_epochs(StepDecay, 0.1, factor=0.5, epochs=3), decay),
    "exponential": (
        ExponentialDecay(0.1, k=1e-4, steps=1),
        lambda t: 0.1 * math.exp(-1e-4 * t),
    ),
    "exponential-epochs": (
        of_epochs(ExponentialDecay, 0.1, k=0.05, epochs=1),
        lambda t: 0.1 * math.exp(-0.05 * t / 100),
    ),
    "inverse": (
        InverseTimeDecay(0.1, k=1e-3, steps=1),
        lambda t: 0.1 / (1 + 1e-3 * t),
    ),
    "inverse-epochs": (
        of_epochs(InverseTimeDecay, 0.1, k=0.3, epochs=2),
        lambda t: 0.1 / (1 + 0.3 * t / 200),
    ),
    "one-cycle": (
        OneCycle(1.0, steps=9000),
        lambda t: one_cycle(t, 1.0, 0.1, 0.001, 9000, 0.45, 0.45, "linear"),
    ),
    "one-cycle-cosine": (
        of_epochs(
            OneCycle, 1.0, 0.04, 0.0, up=0.3, down=0.6, shape="cosine", epochs=77
        ),
        lambda t: one_cycle(t, 1.0, 0.04, 0.0, 7700, 0.3, 0.6, "cosine"),
    ),
    "one-cycle-no-annihilation": (
        OneCycle(1.0, up=0.3, down=0.7, steps=7001),
        lambda t: (
            one_cycle(t, 1.0, 0.1, 0.001, 7001, 0.3, 0.7, "linear") if t < 7001 else 0.1
        ),
    ),
    "cycles": (
        of_epochs(CosineCycles, 0.1, epochs=20),
        lambda t: sgdr(t, 0.1, 0.0, 2000, 1, 1.0),
    ),
    "cycles-doubling": (
        CosineCycles(0.1, 0.001, multiplier=2, factor=0.7, steps=70),
        lambda t: sgdr(t, 0.1, 0.001, 70, 2, 0.7),
    ),
    "cycles-fraction": (
        CosineCycles(0.1, multiplier=1.5, steps=13),
        lambda t: sgdr(t, 0.1, 0.0, 13, 1.5, 1.0),
    ),
    "cycles-three": (
        CosineCycles(0.1, 0.01, factor=0.5, cycles=3, steps=2000),
        lambda t: sgdr(t, 0.1, 0.01, 2000, 1, 0.5, 3),
    ),
    "cycles-four-doubling": (
        CosineCycles(0.1, 0.01, multiplier=2, cycles=4, steps=500),
        lambda t: sgdr(t, 0.1, 0.01, 500, 2, 1.0, 4),
    ),
    "warm-up": (
        WarmUp(StepDecay(0.1, 0.5, steps=300), steps=500),
        lambda t: warm(t, 500, None, decay),
    ),
    "warm-up-from": (
        WarmUp(0.1, initial_learning_rate=0.02, steps=500),
        lambda t: warm(t, 500, 0.02, lambda u: 0.1),
    ),
    "chain": (
        Chain(
            [
                0.05,
                ExponentialDecay(0.1, k=0.3, epochs=1),
                WarmUp(CosineCycles(0.2, multiplier=2, epochs=10), epochs=5),
            ],
            epochs=[10, 15],
            steps_per_epoch=PER_EPOCH,
        ),
        chained,
    ),
}
by_curve = pytest.mark.parametrize("name", CURVES)


def expected(name):
    return np.array([CURVES[name][1](t) for t in T.tolist()])


@by_curve
def test_closed_form(name, float64):
    """In float64: the numbers that NumPy gives, and those that a graph would."""
    schedule = CURVES[name][0]
    rates = schedule(T)
    assert rates.dtype == np.float64
    np.testing.assert_allclose(rates, expected(name), rtol=1e-12, atol=1e-17)
    in_graph = schedule(ops.convert_to_tensor(T))
    assert keras.backend.standardize_dtype(in_graph.dtype) == "float64"
    np.testing.assert_allclose(in_graph, expected(name), rtol=1e-11, atol=1e-16)


@by_curve
def test_float32(name):
    schedule = CURVES[name][0]
    rates = schedule(ops.convert_to_tensor(T))
    assert keras.backend.standardize_dtype(rates.dtype) == "float32"
    np.testing.assert_allclose(rates, expected(name), rtol=2e-6, atol=2e-8)


@by_curve
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_one_step(name, dtype):
    schedule = CURVES[name][0]
    for t in (0, 299, 300, 2999, 9999):
        rate = schedule(ops.cast(ops.convert_to_tensor(t), dtype))
        assert rate.shape == ()
        assert float(rate) == pytest.approx(float(schedule(t)), rel=2e-6, abs=2e-8)
    assert isinstance(schedule(3), np.float64)
    assert schedule(3) == schedule(np.int64(3)) == schedule(3.0)


@by_curve
def test_configuration(name):
    schedule = CURVES[name][0]
    again = K.deserialize(K.serialize(schedule))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert copy.deepcopy(schedule) == schedule
    # Written as it would be typed in.
    assert eval(repr(schedule)) == schedule
    assert np.array_equal(again(T), schedule(T))


@by_curve
def test_saved_with_a_model(name, tmp_path):
    schedule = CURVES[name][0]
    model = linear(schedule)
    model.optimizer.iterations.assign(417)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer._learning_rate == schedule
    assert float(loaded.optimizer.learning_rate) == pytest.approx(
        float(schedule(417)), rel=1e-6, abs=1e-8
    )


def linear(rate, **kwargs):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate, **kwargs), "mse")
    return model


def test_needs_the_package_to_load_and_keras_own_does_not(tmp_path):
    ours = ExponentialDecay(0.1, k=0.1, steps=10)
    linear(ours).save(tmp_path / "ours.keras")
    linear(ours.to_keras()).save(tmp_path / "keras.keras")
    registered = keras.saving.get_custom_objects()
    with mock.patch.dict(registered, clear=True):
        model = keras.saving.load_model(tmp_path / "keras.keras")
        assert isinstance(model.optimizer._learning_rate, K.ExponentialDecay)
        with pytest.raises(TypeError, match="ExponentialDecay"):
            keras.saving.load_model(tmp_path / "ours.keras")
    assert keras.saving.load_model(tmp_path / "ours.keras").optimizer is not None


def test_keras_inside_is_saved_too():
    schedule = WarmUp(K.CosineDecay(0.1, 50), steps=5)
    again = K.deserialize(K.serialize(schedule))
    assert again.get_config() == schedule.get_config()
    assert np.array_equal(again(T[:60]), schedule(T[:60]))


# Keras's own.

KERAS = {
    "exponential": (
        ExponentialDecay(0.1, k=-math.log(0.96), steps=100),
        K.ExponentialDecay(0.1, 100, 0.96),
    ),
    "stairs": (
        StepDecay(0.1, 0.96, steps=100),
        K.ExponentialDecay(0.1, 100, 0.96, staircase=True),
    ),
    "inverse": (
        InverseTimeDecay(0.1, k=0.5, steps=100),
        K.InverseTimeDecay(0.1, 100, 0.5),
    ),
    "cosine": (
        CosineCycles(0.1, 0.002, cycles=1, steps=100),
        K.CosineDecay(0.1, 100, alpha=0.02),
    ),
    "warm-up": (
        WarmUp(CosineCycles(0.1, cycles=1, steps=100), 0.01, steps=20),
        K.CosineDecay(0.01, 100, warmup_target=0.1, warmup_steps=20),
    ),
    "restarts": (
        CosineCycles(0.1, 0.002, multiplier=2, factor=0.8, steps=100),
        K.CosineDecayRestarts(0.1, 100, t_mul=2.0, m_mul=0.8, alpha=0.02),
    ),
    "same-length": (
        CosineCycles(0.1, steps=32),
        K.CosineDecayRestarts(0.1, 32, t_mul=1.0),
    ),
    "piecewise": (
        Chain([0.1, 0.05, 0.01], steps=[101, 100]),
        K.PiecewiseConstantDecay([100, 200], [0.1, 0.05, 0.01]),
    ),
}
by_class = pytest.mark.parametrize("name", KERAS)


def of_keras(schedule, steps):
    return np.array([float(schedule(ops.convert_to_tensor(t))) for t in steps])


@by_class
def test_is_the_curve_of_keras(name):
    ours, theirs = KERAS[name]
    steps = [0, 1, 19, 20, 50, 99, 100, 101, 120, 199, 200, 201, 250, 299, 300, 1000]
    rates = of_keras(theirs, steps)  # In float32, whatever floatx is.
    np.testing.assert_allclose(ours(np.array(steps)), rates, rtol=1e-6, atol=3e-8)


@by_class
def test_as_kerass_own_object(name):
    ours, theirs = KERAS[name]
    if name in ("piecewise", "warm-up"):
        with pytest.raises(ValueError, match="Keras has no schedule"):
            ours.to_keras()
        return
    own = ours.to_keras()
    assert type(own) is type(theirs)
    steps = np.arange(0, 400, 7)
    np.testing.assert_allclose(of_keras(own, steps), ours(steps), rtol=1e-6, atol=1e-8)


def test_does_not_drift_as_a_rate_near_1_does():
    """A decay_rate of e^-0.00001 is rounded in float32, and raised to the step."""
    t = np.array([200_000])
    exact = 0.1 * math.exp(-1e-5 * 200_000)
    naive = K.ExponentialDecay(0.1, 1, math.exp(-1e-5))
    ours = ExponentialDecay(0.1, k=1e-5, steps=1)
    assert abs(float(naive(ops.convert_to_tensor(t))[0]) / exact - 1) > 1e-3
    assert abs(float(ours(ops.convert_to_tensor(t))[0]) / exact - 1) < 1e-6
    assert abs(float(ours.to_keras()(ops.convert_to_tensor(t))[0]) / exact - 1) < 1e-6


def test_restarts_on_time():
    """Where Keras's logarithm comes out just below a whole number."""
    theirs = K.CosineDecayRestarts(0.1, 10, t_mul=1.2)
    ours = CosineCycles(0.1, multiplier=1.2, steps=10)
    assert float(theirs(ops.convert_to_tensor(22))) < 1e-6
    assert float(ours(ops.convert_to_tensor(22))) == pytest.approx(0.1)


@pytest.mark.parametrize("step", [2**24, 2**30])
def test_large_steps(step):
    """A float32 cannot tell 2^24 from the step after it."""
    at = ops.convert_to_tensor(np.arange(step - 3, step + 4))
    for schedule in (
        CosineCycles(0.1, steps=2),
        StepDecay(0.1, 0.5, steps=step + 1),
        Chain([0.1, 0.01], steps=[step + 1]),
        Chain([0.1, CosineCycles(0.1, steps=3)], steps=[step - 2]),
        WarmUp(CosineCycles(0.1, steps=3), steps=step - 2),
        CosineCycles(0.1, steps=(step - 1) // 3, multiplier=2),
    ):
        exact = schedule(np.array(at))
        np.testing.assert_allclose(schedule(at), exact, rtol=1e-6, atol=1e-7)
    assert len(set(np.array(Chain([0.1, 0.01], steps=[step + 1])(at)))) == 2


# Lengths.


def test_epochs_are_rounded_to_whole_steps():
    schedule = StepDecay(0.1, 0.5, epochs=0.5, steps_per_epoch=15)
    assert schedule.length == 8
    assert schedule == StepDecay(0.1, 0.5, epochs=np.float64(0.5), steps_per_epoch=15.0)
    assert StepDecay(0.1, 0.5, steps=3e4).length == 30_000


def test_steps_per_epoch_may_come_later():
    late = StepDecay(0.1, 0.5, epochs=3)
    assert late.units() == {"epochs"}
    with pytest.raises(ValueError, match=r"how many batches an epoch has.*epochs=3"):
        late(5)
    with pytest.raises(ValueError, match="steps_per_epoch"):
        late(ops.convert_to_tensor(5))
    with pytest.raises(ValueError, match="steps_per_epoch"):
        late.to_keras()
    with pytest.raises(ValueError, match="steps_per_epoch"):
        CosineCycles(0.1, epochs=3).ends(steps=100)
    done = late.with_steps_per_epoch(100)
    assert done == StepDecay(0.1, 0.5, epochs=3, steps_per_epoch=100)
    assert late.steps_per_epoch is None  # A schedule never changes.
    assert done.with_steps_per_epoch(100) == done
    with pytest.raises(ValueError, match="has steps_per_epoch=100 already"):
        done.with_steps_per_epoch(99)


def test_a_composition_has_one_steps_per_epoch():
    inner = StepDecay(0.1, 0.5, epochs=3)
    outside = WarmUp(inner, epochs=2, steps_per_epoch=100)
    inside = WarmUp(inner.with_steps_per_epoch(100), epochs=2)
    later = WarmUp(inner, epochs=2).with_steps_per_epoch(100)
    sibling = Chain([inside, inner], epochs=[4])
    assert outside == inside == later
    assert sibling.schedules[1].steps_per_epoch == 100
    assert sibling.units() == {"epochs"}
    with pytest.raises(
        ValueError, match=r"must have the same `steps_per_epoch`.*50, 100"
    ):
        WarmUp(inner.with_steps_per_epoch(100), epochs=2, steps_per_epoch=50)
    with pytest.raises(ValueError, match="must have the same `steps_per_epoch`"):
        Chain([inside, inner.with_steps_per_epoch(50)], epochs=[4])


def test_epochs_and_steps_in_one():
    schedule = WarmUp(StepDecay(0.1, 0.5, epochs=3), steps=50, steps_per_epoch=10)
    assert schedule.units() == {"epochs", "steps"}
    same = WarmUp(StepDecay(0.1, 0.5, steps=30), steps=50)
    assert np.array_equal(schedule(T), same(T))
    # The lengths of what is inside a warm-up in steps are still not known.
    with pytest.raises(ValueError, match="steps_per_epoch"):
        WarmUp(StepDecay(0.1, 0.5, epochs=3), steps=50)(0)


NAN, INF = float("nan"), float("inf")
WRONG = [
    (lambda: StepDecay(0.1, 0.5), "exactly one of `epochs` and `steps`"),
    (lambda: StepDecay(0.1, 0.5, epochs=1, steps=10), "exactly one of"),
    (lambda: Chain([0.1, 0.2]), "exactly one of"),
    (lambda: Chain([0.1, 0.2], epochs=[1], steps=[10]), "exactly one of"),
    (lambda: StepDecay(0.1, 0.5, steps=0), r"`steps` must .* whole and positive.*=0"),
    (lambda: StepDecay(0.1, 0.5, steps=-3), "`steps`"),
    (lambda: StepDecay(0.1, 0.5, steps=1.5), "`steps`"),
    (lambda: StepDecay(0.1, 0.5, steps=True), "`steps`"),
    (lambda: StepDecay(0.1, 0.5, steps="3"), "`steps`"),
    (lambda: StepDecay(0.1, 0.5, epochs=0), "`epochs` must .* greater than 0"),
    (lambda: StepDecay(0.1, 0.5, epochs=-1), "`epochs`"),
    (lambda: StepDecay(0.1, 0.5, epochs=NAN), "`epochs`"),
    (lambda: StepDecay(0.1, 0.5, epochs=INF), "`epochs`"),
    (lambda: StepDecay(0.1, 0.5, epochs=1, steps_per_epoch=0), "`steps_per_epoch`"),
    (lambda: StepDecay(0.1, 0.5, epochs=1, steps_per_epoch=2.5), "`steps_per_epoch`"),
    (lambda: StepDecay(0.1, 0.5, epochs=0.1, steps_per_epoch=2), "at least one step"),
    (lambda: Constant(-0.1), "`learning_rate` must be a number not below 0"),
    (lambda: Constant(NAN), "`learning_rate`"),
    (lambda: StepDecay(0.0, 0.5, steps=1), "`initial_learning_rate` .* greater than 0"),
    (lambda: StepDecay(INF, 0.5, steps=1), "`initial_learning_rate`"),
    (lambda: StepDecay(None, 0.5, steps=1), "`initial_learning_rate`"),
    (lambda: StepDecay(0.1, 2, steps=1), "`factor` must .* at most 1.*factor=2"),
    (lambda: StepDecay(0.1, 0, steps=1), "`factor`"),
    (lambda: ExponentialDecay(0.1, k=0, steps=1), "`k`"),
    (lambda: ExponentialDecay(-0.1, k=1, steps=1), "`initial_learning_rate`"),
    (lambda: InverseTimeDecay(0.1, k=-1, steps=1), "`k`"),
    (lambda: InverseTimeDecay(0.1, k=NAN, steps=1), "`k`"),
    (lambda: InverseTimeDecay(-0.1, k=1, steps=1), "`initial_learning_rate`"),
    (lambda: OneCycle(0, steps=9), "`max_learning_rate`"),
    (lambda: OneCycle(1.0, 2.0, steps=9), "initial_learning_rate <= max_learning"),
    (lambda: OneCycle(1.0, 0.1, 0.2, steps=9), "end_learning_rate <= initial"),
    (lambda: OneCycle(1.0, 0.1, -0.1, steps=9), "`end_learning_rate`"),
    (lambda: OneCycle(1.0, up=0, steps=9), "`up`"),
    (lambda: OneCycle(1.0, up=1.1, steps=9), "`up`"),
    (lambda: OneCycle(1.0, down=-0.1, steps=9), "`down`"),
    (lambda: OneCycle(1.0, up=0.7, down=0.4, steps=9), r"up \+ down <= 1"),
    (lambda: OneCycle(1.0, shape="sine", steps=9), "`shape` must be 'linear' or 'cos"),
    (lambda: CosineCycles(-1, steps=9), "`initial_learning_rate`"),
    (lambda: CosineCycles(0.1, 0.2, steps=9), "must not be above the initial one"),
    (lambda: CosineCycles(0.1, -0.2, steps=9), "`end_learning_rate`"),
    (lambda: CosineCycles(0.1, multiplier=0.5, steps=9), "`multiplier`.*at least 1.01"),
    (lambda: CosineCycles(0.1, multiplier=1.001, steps=9), "`multiplier`"),
    (lambda: CosineCycles(0.1, factor=2, steps=9), "`factor`"),
    (lambda: CosineCycles(0.1, cycles=0, steps=9), "`cycles`"),
    (lambda: CosineCycles(0.1, cycles=2, steps=9).to_keras(), "Keras has no schedule"),
    (lambda: CosineCycles(0.1, steps=9).ends(), "exactly one of"),
    (lambda: CosineCycles(0.1, steps=9).ends(steps=0), "`steps`"),
    (lambda: CosineCycles(0.1, steps=9).ends(epochs=3), "needs a `steps_per_epoch`"),
    (lambda: WarmUp("0.1", steps=9), "`schedule` must be a LearningRateSchedule or a"),
    (lambda: WarmUp(lambda t: 0.1, steps=9), "`schedule`"),
    (lambda: WarmUp(-0.1, steps=9), "`schedule`"),
    (lambda: WarmUp(0.1, -0.1, steps=9), "`initial_learning_rate`"),
    (lambda: WarmUp(0.1, steps=-9), "`steps`"),
    (lambda: Chain([], steps=[]), "one length fewer than schedules.*0 schedules"),
    (lambda: Chain([0.1, 0.2], steps=[1, 2]), "one length fewer"),
    (lambda: Chain([0.1, None], steps=[1]), r"`schedules\[1\]`"),
    (lambda: Chain([0.1, 0.2], steps=[0]), r"`steps\[0\]`"),
    (lambda: Chain([0.1, 0.2], epochs=[-1]), r"`epochs\[0\]`"),
    (lambda: Chain([0.1, 0.2], epochs=1), "`epochs` must be a list"),
    (lambda: Chain(0.1, steps=[]), "`schedules` must be a list"),
    (
        lambda: Chain([WarmUp(0.1, steps=9), 0.1], steps=[8]),
        r"warm-up must not be longer than its part of the Chain, of 8 steps",
    ),
    (lambda: Chain([WarmUp(0.1, epochs=9), 0.1], epochs=[8]), "of 8 epochs"),
    (
        lambda: Chain([WarmUp(0.1, steps=9), 0.1], epochs=[2], steps_per_epoch=4),
        "of 8 steps",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Ends of cycles.


def test_ends_of_cycles():
    assert CosineCycles(0.1, steps=10).ends(steps=35).tolist() == [9, 19, 29]
    assert CosineCycles(0.1, steps=10).ends(steps=30).tolist() == [9, 19, 29]
    assert CosineCycles(0.1, steps=10).ends(steps=29).tolist() == [9, 19]
    assert CosineCycles(0.1, steps=10, cycles=2).ends(steps=99).tolist() == [9, 19]
    doubling = CosineCycles(0.1, epochs=2, multiplier=2, steps_per_epoch=5)
    assert doubling.ends(epochs=14).tolist() == [9, 29, 69]
    # 3 steps, then 4.5, 6.75, 10.125: up to times 3, 7.5, 14.25 and 24.375.
    fraction = CosineCycles(0.1, steps=3, multiplier=1.5)
    assert fraction.ends(steps=25).tolist() == [2, 7, 14, 24]
    assert OneCycle(1.0, steps=10).ends(steps=30).tolist() == [9]
    assert StepDecay(0.1, 0.5, steps=10).ends(steps=30).tolist() == []


def test_ends_of_cycles_in_compositions():
    cycles = CosineCycles(0.1, steps=10)
    assert WarmUp(cycles, steps=4).ends(steps=25).tolist() == [13, 23]
    chain = Chain([cycles, 0.1, WarmUp(cycles, steps=4)], steps=[25, 5])
    assert chain.ends(steps=60).tolist() == [9, 19, 43, 53]
    assert chain.ends(steps=15).tolist() == [9]
    assert WarmUp(K.CosineDecay(0.1, 5), steps=4).ends(steps=25).tolist() == []
    assert WarmUp(cycles, steps=4).ends(steps=3).tolist() == []


# Properties.

rates = st.floats(1e-6, 10.0)
sizes = st.integers(1, 500)
factors = st.floats(0.05, 1.0)


@st.composite
def simple(draw):
    top, n = draw(rates), draw(sizes)
    low = top * draw(st.floats(0.01, 1.0))
    up = draw(st.floats(0.05, 0.9))
    return draw(
        st.sampled_from(
            [
                Constant(top),
                StepDecay(top, draw(factors), steps=n),
                ExponentialDecay(top, k=draw(st.floats(0.01, 3.0)), steps=n),
                InverseTimeDecay(top, k=draw(st.floats(0.01, 3.0)), steps=n),
                OneCycle(
                    top, low, low / 10, up=up, down=1 - up, shape="cosine", steps=n
                ),
                OneCycle(top, low, up=up, down=(1 - up) / 2, steps=n),
                CosineCycles(
                    top,
                    low,
                    multiplier=draw(st.sampled_from([1, 1.3, 2, 3])),
                    factor=draw(factors),
                    cycles=draw(st.sampled_from([None, 1, 3])),
                    steps=n,
                ),
            ]
        )
    )


def highest(schedule):
    return getattr(schedule, "max_learning_rate", None) or getattr(
        schedule, "initial_learning_rate", getattr(schedule, "learning_rate", None)
    )


@given(simple(), st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_stays_in_bounds(schedule, steps):
    found = schedule(np.array(steps))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found <= highest(schedule) * (1 + 1e-12)).all()
    low = getattr(schedule, "end_learning_rate", 0.0)
    assert (found >= low * (1 - 1e-12)).all()


@given(simple(), sizes)
def test_warm_up_rises_to_where_the_schedule_begins(schedule, n):
    warm_up = WarmUp(schedule, steps=n)
    ramp = warm_up(np.arange(n + 1))
    assert ramp[-1] == schedule(0)
    assert np.allclose(np.diff(ramp), ramp[0], rtol=1e-6)  # Equal amounts, from 0.
    assert np.array_equal(warm_up(np.arange(n, n + 300)), schedule(np.arange(300)))


@given(st.lists(st.tuples(simple(), sizes), min_size=1, max_size=4), simple())
def test_each_part_of_a_chain_sees_its_own_time(parts, last):
    chain = Chain([s for s, _ in parts] + [last], steps=[n for _, n in parts])
    total = sum(n for _, n in parts)
    pieces = [s(np.arange(n)) for s, n in parts] + [last(np.arange(100))]
    assert np.array_equal(chain(np.arange(total + 100)), np.concatenate(pieces))


@given(rates, sizes, st.integers(0, 10**6), factors)
def test_cycles_are_periodic(top, n, t, factor):
    assert CosineCycles(top, steps=n)(t) == CosineCycles(top, steps=n)(t + 3 * n)
    lower = CosineCycles(top, factor=factor, steps=n)
    t %= 5 * n
    assert lower(t + n) == pytest.approx(factor * lower(t), rel=1e-9)


@given(sizes, st.sampled_from([1, 1.1, 1.5, 2, 2.7]), st.sampled_from([None, 1, 4]))
def test_the_rate_is_back_up_right_after_an_end(n, m, cycles):
    assume(n > 2)
    schedule = CosineCycles(0.1, steps=n, multiplier=m, cycles=cycles)
    curve = schedule(np.arange(5001))
    ends = schedule.ends(steps=5000)
    back_up = np.flatnonzero(np.diff(curve) > 0)
    if cycles is not None:
        ends = ends[: cycles - 1]
    assert ends.tolist() == back_up.tolist()


@given(rates, sizes, st.floats(0.1, 0.6), st.sampled_from(["linear", "cosine"]))
def test_one_cycle_has_no_jumps(top, n, up, shape):
    schedule = OneCycle(top, up=up, down=0.3, shape=shape, steps=n)
    knots = np.array([up, up + 0.3, 1.0]) * schedule.length
    before, after = schedule(knots - 1e-7), schedule(knots + 1e-7)
    steepest = math.pi / 2 * top / (0.1 * n)
    assert np.abs(after - before).max() <= 2.1e-7 * steepest + 1e-12 * top
    assert schedule(np.array([0, n, 2 * n])).tolist() == pytest.approx(
        [top / 10, top / 1000, top / 1000]
    )


@settings(max_examples=25)
@given(simple(), sizes, st.floats(0.5, 20), st.integers(2, 100))
def test_any_of_them_survives_its_configuration(schedule, n, epochs, per_epoch):
    whole = Chain(
        [WarmUp(schedule, epochs=epochs), schedule],
        epochs=[epochs + 1],
        steps_per_epoch=per_epoch,
    )
    again = K.deserialize(K.serialize(whole))
    assert again == whole
    at = np.arange(0, 5000, 13)
    assert np.array_equal(again(at), whole(at))


# In training.


class Seen(keras.callbacks.Callback):
    """What the optimizer says its rate is, before each batch."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


def babysitter(tmp_path):
    return keras_babysit.Babysitter(
        tmp_path, every=1, probes=["update_ratio"], rules=[], verbose=0
    )


X, Y = np.ones((12, 2), "float32"), np.full((12, 1), 3.0, "float32")

TRAINED = {
    "step": StepDecay(0.1, 0.5, epochs=1, steps_per_epoch=3),
    "exponential": ExponentialDecay(0.1, k=0.5, epochs=1, steps_per_epoch=3),
    "inverse": InverseTimeDecay(0.1, k=0.5, steps=1),
    "one-cycle": OneCycle(0.1, epochs=2, steps_per_epoch=3),
    "warm-cycles": WarmUp(CosineCycles(0.1, steps=2, multiplier=1.5), steps=1),
    "chain": Chain([Constant(0.1), K.CosineDecay(0.05, 3)], steps=[2]),
}


@pytest.mark.parametrize("name", TRAINED)
def test_the_babysitter_logs_the_rate_of_every_step(name, tmp_path):
    """Out of the compiled step itself: two epochs of three batches."""
    schedule = TRAINED[name]
    model, watcher = linear(schedule), babysitter(tmp_path)
    before = [np.array(w) for w in model.weights]
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[watcher])
    steps, _, logged = watcher.history.series("learning_rate")
    assert list(steps) == list(range(6))
    np.testing.assert_allclose(logged, schedule(np.arange(6)), rtol=1e-6)
    # And it is the rate that was used: the same, by hand.
    kernel, bias = before
    for rate in logged:
        error = X[:4] @ kernel + bias - Y[:4]
        kernel = kernel - rate * 2 * X[:4].T @ error / 4
        bias = bias - rate * 2 * error.mean(0)
    np.testing.assert_allclose(np.array(model.weights[0]), kernel, rtol=1e-5)


def test_time_is_in_batches_with_gradient_accumulation():
    schedule = StepDecay(0.1, 0.5, epochs=1, steps_per_epoch=3)
    model, seen = linear(schedule, gradient_accumulation_steps=2), Seen()
    model.fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=[seen])
    assert seen.rates == pytest.approx([0.1] * 3 + [0.05] * 3 + [0.025] * 3)


def test_without_steps_per_epoch_training_says_so():
    with pytest.raises(ValueError, match="how many batches an epoch has"):
        linear(StepDecay(0.1, 0.5, epochs=3)).fit(X, Y, verbose=0)


# Pictures.


def lines(figure):
    return {line.get_label(): line.get_xydata() for line in figure.axes[0].get_lines()}


@pytest.mark.parametrize("kind", [ExponentialDecay, InverseTimeDecay])
def test_k_is_not_taken_for_keras_decay_rate(kind):
    with pytest.raises(TypeError, match="positional argument"):
        kind(0.1, 0.9, steps=1000)


@pytest.mark.parametrize("step", [-3, -0.5, np.array([2, -1])])
def test_steps_count_from_0(step):
    with pytest.raises(ValueError, match="`step` must not be negative"):
        StepDecay(0.1, 0.5, steps=10)(step)


def test_plot(tmp_path):
    path = tmp_path / "rates.png"
    curves = {
        "ours": CosineCycles(0.1, steps=20, cycles=1),
        "his": K.CosineDecay(0.1, 20),
    }
    figure = schedules.plot(curves, steps=30, path=path)
    assert path.read_bytes().startswith(b"\x89PNG")
    drawn = lines(figure)
    assert list(drawn) == ["ours", "his"]
    assert figure.axes[0].get_xlabel() == "step"
    assert drawn["ours"][:, 0].tolist() == list(range(31))
    np.testing.assert_allclose(drawn["ours"], drawn["his"], rtol=1e-6, atol=1e-8)
    assert "matplotlib.pyplot" not in str(type(figure))


def test_plot_against_epochs():
    known = StepDecay(0.1, 0.5, epochs=3, steps_per_epoch=10)
    for figure in (
        schedules.plot(known, epochs=5),
        schedules.plot(known, steps=50),
        schedules.plot(StepDecay(0.1, 0.5, steps=30), epochs=5, steps_per_epoch=10),
        schedules.plot(
            K.ExponentialDecay(0.1, 30, 0.5, True), epochs=5, steps_per_epoch=10
        ),
    ):
        ((_, curve),) = lines(figure).items()
        assert figure.axes[0].get_xlabel() == "epoch"
        assert curve[[0, 29, 30, 50]].tolist() == [
            [0, pytest.approx(0.1)],
            [2.9, pytest.approx(0.1)],
            [3.0, pytest.approx(0.05)],
            [5.0, pytest.approx(0.05)],
        ]
    # Keras's, and ours that do not know, are drawn by the one that does.
    both = schedules.plot({"a": known, "b": K.CosineDecay(0.1, 30)}, epochs=5)
    assert all(curve[-1, 0] == 5 for curve in lines(both).values())


def test_plot_of_epochs_needs_no_steps():
    figure = schedules.plot(WarmUp(Constant(0.1), epochs=2), epochs=4, log=True)
    curve = lines(figure)[next(iter(lines(figure)))]
    assert figure.axes[0].get_yscale() == "log"
    np.testing.assert_allclose(
        curve[:, 1], np.minimum(0.1, 0.05 * curve[:, 0]), atol=1e-4
    )


@pytest.mark.parametrize(
    ("curve", "how", "message"),
    [
        ({}, {"steps": 3}, "no schedule"),
        (0.1, {"steps": 3}, "Only a LearningRateSchedule.*0.1"),
        ({"a": None}, {"steps": 3}, "for 'a'"),
        (Constant(0.1), {}, "exactly one of"),
        (Constant(0.1), {"steps": 3, "epochs": 3}, "exactly one of"),
        (Constant(0.1), {"steps": -3}, "`steps`"),
        (StepDecay(0.1, 0.5, epochs=1), {"steps": 3}, "how many batches"),
        (StepDecay(0.1, 0.5, steps=9), {"epochs": 3}, "without `steps_per_epoch`"),
        (K.CosineDecay(0.1, 9), {"epochs": 3}, "without `steps_per_epoch`"),
        (
            StepDecay(0.1, 0.5, epochs=1, steps_per_epoch=4),
            {"epochs": 3, "steps_per_epoch": 5},
            "has steps_per_epoch=4 already",
        ),
    ],
)
def test_plot_of_what_cannot_be_drawn(curve, how, message):
    with pytest.raises(ValueError, match=message):
        schedules.plot(curve, **how)


def test_plot_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"keras_babysit\[plot\]"):
        schedules.plot(Constant(0.1), steps=3)
