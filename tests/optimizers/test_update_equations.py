"""Keras's optimizers against the update equations of CS231n's notes, step by step.

Each equation is written twice: as in the notes ("Neural Networks Part 3", section
"Parameter updates"), and as Keras has it where that differs. docs/updates.md quotes
both.
"""

import runpy
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import optimizers as O

from keras_babysit.backend import load

STEPS = 20
#: Float64 rounding over so many steps; ops may be ordered differently.
CLOSE = {"rtol": 1e-11, "atol": 1e-14}

rates = st.floats(1e-4, 1.0)
# Keras rounds these to float32 on their way to weights of whatever type: here they are
# such that nothing is lost.
momenta = st.integers(1, 1023).map(lambda n: n / 1024)
decays = st.integers(512, 1023).map(lambda n: n / 1024)
halves = st.integers(0, 512).map(lambda n: n / 1024)
epsilons = st.sampled_from([1e-10, 1e-7, 1e-3, 0.1])
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=8, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def _float64():
    # The learning rate is a variable of this type, whatever the weights are.
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    with load("autodiff").in_float64():
        yield
    keras.config.set_floatx(before)


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def draws(seed):
    """A start and gradients that differ in size: arrays of shapes (3,) and (2, 2)."""
    rng = np.random.default_rng(seed)
    start = [rng.normal(size=shape) for shape in ((3,), (2, 2))]
    scale = 10 ** rng.uniform(-2, 1, STEPS)
    return start, [[s * rng.normal(size=x.shape) for x in start] for s in scale]


def by_keras(optimizer, seed):
    """The weights after each step of Keras's optimizer."""
    start, gradients = draws(seed)
    variables = [keras.Variable(x, dtype="float64") for x in start]
    for dx in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in dx], variables)
        yield [np.array(numpy(v)) for v in variables]


def numpy(variable):
    return keras.ops.convert_to_numpy(variable.value)


def by_equation(update, seed, clip=lambda dx: dx):
    """The weights after each step of an update that keeps what it needs in `s`."""
    start, gradients = draws(seed)
    x, states = [a.copy() for a in start], [{"t": 0} for _ in start]
    for dx in gradients:
        dx = clip(dx)
        for i, s in enumerate(states):
            s["t"] += 1
            x[i] = update(x[i], dx[i], s)
        yield [a.copy() for a in x]


def same(optimizer, update, seed, clip=lambda dx: dx, **close):
    found, wanted = by_keras(optimizer, seed), by_equation(update, seed, clip)
    for step, (a, b) in enumerate(zip(found, wanted, strict=True)):
        for got, expected in zip(a, b, strict=True):
            np.testing.assert_allclose(
                got, expected, **{**CLOSE, **close}, err_msg=f"step {step}"
            )
    assert step == STEPS - 1


# The notes' equations. `s` holds what is kept between steps, `s["t"]` counts from 1.


def vanilla(learning_rate):
    def update(x, dx, s):
        x = x + -learning_rate * dx
        return x

    return update


def momentum(learning_rate, mu):
    def update(x, dx, s):
        v = s.get("v", 0.0)
        v = mu * v - learning_rate * dx
        s["v"] = v
        return x + v

    return update


def nesterov(learning_rate, mu):
    """The notes' second form: the variable is renamed to `x_ahead`."""

    def update(x, dx, s):
        v_prev = s.get("v", 0.0)
        v = mu * v_prev - learning_rate * dx
        s["v"] = v
        return x + -mu * v_prev + (1 + mu) * v

    return update


def adagrad(learning_rate, eps, cache=0.0):
    def update(x, dx, s):
        s["cache"] = s.get("cache", cache) + dx**2
        return x + -learning_rate * dx / (np.sqrt(s["cache"]) + eps)

    return update


def rmsprop(learning_rate, decay_rate, eps):
    def update(x, dx, s):
        cache = s.get("cache", 0.0)
        s["cache"] = cache = decay_rate * cache + (1 - decay_rate) * dx**2
        return x + -learning_rate * dx / (np.sqrt(cache) + eps)

    return update


def adam(learning_rate, beta1, beta2, eps):
    """With bias correction. `eps` may be a function of the step."""

    def update(x, dx, s):
        t = s["t"]
        s["m"] = m = beta1 * s.get("m", 0.0) + (1 - beta1) * dx
        mt = m / (1 - beta1**t)
        s["v"] = v = beta2 * s.get("v", 0.0) + (1 - beta2) * (dx**2)
        vt = v / (1 - beta2**t)
        return x + -learning_rate * mt / (
            np.sqrt(vt) + (eps(t) if callable(eps) else eps)
        )

    return update


# What Keras does where it differs.


def keras_adagrad(learning_rate, eps, cache):
    def update(x, dx, s):
        s["cache"] = s.get("cache", cache) + dx**2
        return x - learning_rate * dx / np.sqrt(s["cache"] + eps)

    return update


def keras_rmsprop(learning_rate, rho, eps, mu=0.0, centered=False):
    def update(x, dx, s):
        s["cache"] = rho * s.get("cache", 0.0) + (1 - rho) * dx**2
        s["mean"] = rho * s.get("mean", 0.0) + (1 - rho) * dx
        spread = s["cache"] - centered * s["mean"] ** 2
        s["v"] = mu * s.get("v", 0.0) + learning_rate * dx / np.sqrt(spread + eps)
        return x - s["v"]

    return update


@few
@given(rates, seeds)
def test_sgd(rate, seed):
    same(O.SGD(rate), vanilla(rate), seed)


@few
@given(rates, momenta, seeds)
def test_momentum(rate, mu, seed):
    same(O.SGD(rate, momentum=mu), momentum(rate, mu), seed)


@few
@given(rates, momenta, seeds)
def test_nesterov(rate, mu, seed):
    same(O.SGD(rate, momentum=mu, nesterov=True), nesterov(rate, mu), seed)


@few
@given(st.floats(1e-3, 0.1), momenta, seeds)
def test_keras_weights_are_where_nesterov_looks_ahead(rate, mu, seed):
    """The notes' first form, on a bowl: Keras's variable is its `x + mu * v`."""
    rng = np.random.default_rng(seed)
    steepness, x, v = rng.uniform(0.1, 5, 4), rng.normal(size=4), np.zeros(4)
    variable = keras.Variable(x, dtype="float64")
    optimizer = O.SGD(rate, momentum=mu, nesterov=True)
    for _ in range(STEPS):
        x_ahead = x + mu * v
        np.testing.assert_allclose(numpy(variable), x_ahead, **CLOSE)
        v = mu * v - rate * steepness * x_ahead
        x = x + v
        dx = steepness * numpy(variable)
        optimizer.apply([keras.ops.convert_to_tensor(dx)], [variable])


@few
@given(rates, epsilons, halves, seeds)
def test_adagrad(rate, eps, cache, seed):
    optimizer = O.Adagrad(rate, initial_accumulator_value=cache, epsilon=eps)
    same(optimizer, keras_adagrad(rate, eps, cache), seed)


@few
@given(rates, seeds)
def test_adagrad_of_the_notes(rate, seed):
    """With an accumulator from zero, all that differs is where epsilon stands."""
    optimizer = O.Adagrad(rate, initial_accumulator_value=0.0, epsilon=0.0)
    same(optimizer, adagrad(rate, 0.0), seed)


@few
@given(rates, decays, epsilons, seeds)
def test_rmsprop(rate, rho, eps, seed):
    optimizer = O.RMSprop(rate, rho=rho, epsilon=eps)
    same(optimizer, keras_rmsprop(rate, rho, eps), seed)


@few
@given(rates, decays, momenta, st.booleans(), seeds)
def test_rmsprop_with_momentum(rate, rho, mu, centered, seed):
    optimizer = O.RMSprop(rate, rho, mu, epsilon=1e-3, centered=centered)
    update = keras_rmsprop(rate, rho, 1e-3, mu, centered)
    # Centred, the difference of two averages is what rounding leaves of it.
    same(optimizer, update, seed, rtol=1e-9, atol=1e-11)


@few
@given(rates, decays, seeds)
def test_rmsprop_of_the_notes(rate, rho, seed):
    same(O.RMSprop(rate, rho=rho, epsilon=0.0), rmsprop(rate, rho, 0.0), seed)


@few
@given(st.sampled_from([1e-7, 1e-4]), seeds)
def test_epsilon_below_the_root(eps, seed):
    """Inside of the root, `eps` acts as `sqrt(eps)` outside where the cache is zero.

    And never as more: sqrt(c) <= sqrt(c + eps) <= sqrt(c) + sqrt(eps).
    """
    cache = np.concatenate(
        [[0.0], 10 ** np.random.default_rng(seed).uniform(-12, 2, 9)]
    )
    inside = np.sqrt(cache + eps) - np.sqrt(cache)
    assert inside[0] == np.sqrt(eps)
    assert (inside >= 0).all()
    assert (inside <= np.sqrt(eps)).all()


@few
@given(rates, decays, decays, epsilons, seeds)
def test_adam(rate, beta1, beta2, eps, seed):
    """Keras's epsilon is the notes' divided by sqrt(1 - beta2**t)."""
    optimizer = O.Adam(rate, beta1, beta2, epsilon=eps)
    update = adam(rate, beta1, beta2, lambda t: eps / np.sqrt(1 - beta2**t))
    same(optimizer, update, seed)


@few
@given(rates, decays, decays, seeds)
def test_adam_of_the_notes(rate, beta1, beta2, seed):
    optimizer = O.Adam(rate, beta1, beta2, epsilon=0.0)
    same(optimizer, adam(rate, beta1, beta2, 0.0), seed)


def test_adams_default_epsilon_hardly_matters():
    """To gradients that are not tiny: 32 times the epsilon at the first step."""
    assert 1 / np.sqrt(1 - 0.999) == pytest.approx(31.6, abs=0.1)
    same(O.Adam(1e-3), adam(1e-3, 0.9, 0.999, 1e-7), seed=0, rtol=1e-4)


@few
@given(rates, halves, seeds)
def test_adamw_decays_before_it_steps(rate, decay, seed):
    """Of the weights before the step, by the rate, whatever the gradient."""
    betas = 0.875, 1023 / 1024
    step = adam(rate, *betas, lambda t: 1e-7 / np.sqrt(1 - betas[1] ** t))

    def update(x, dx, s):
        return step(x - rate * decay * x, dx, s)

    same(O.AdamW(rate, decay, *betas), update, seed)
    same(O.Adam(rate, *betas, weight_decay=decay), update, seed)


@few
@given(rates, halves, seeds)
def test_weight_decay_of_sgd_is_l2_only_without_momentum(rate, decay, seed):
    """Plain SGD on a penalty of decay / 2 * x**2; with momentum it is decoupled."""

    def penalised(x, dx, s):
        return vanilla(rate)(x, dx + decay * x, s)

    def decoupled(x, dx, s):
        return momentum(rate, 0.875)(x - rate * decay * x, dx, s)

    same(O.SGD(rate, weight_decay=decay), penalised, seed)
    same(O.SGD(rate, momentum=0.875, weight_decay=decay), decoupled, seed)


def by_norm(limit):
    def clip(dx):
        return [g * limit / max(np.linalg.norm(g), limit) for g in dx]

    return clip


def by_global_norm(limit):
    def clip(dx):
        norm = np.sqrt(sum((g**2).sum() for g in dx))
        return [g * limit / max(norm, limit) for g in dx]

    return clip


def by_value(limit):
    return lambda dx: [np.clip(g, -limit, limit) for g in dx]


@few
@given(st.integers(1, 640).map(lambda n: n / 32), seeds)
@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("clipnorm", by_norm),
        ("global_clipnorm", by_global_norm),
        ("clipvalue", by_value),
    ],
)
def test_clipping(name, clip, limit, seed):
    """Of each variable's gradient, of all together, of each element."""
    optimizer = O.SGD(0.1, momentum=0.875, **{name: limit})
    same(optimizer, momentum(0.1, 0.875), seed, clip(limit))


# What docs/updates.md says of the size of updates.


def updates(optimizer, gradient, steps):
    variable = keras.Variable(np.zeros_like(gradient), dtype="float64")
    positions = [np.zeros_like(gradient)]
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        positions.append(np.array(numpy(variable)))
    return np.diff(positions, axis=0)


GRADIENT = np.array([1e-2, 1.0, -100.0])


def test_momentum_ends_ten_times_as_fast():
    found = updates(O.SGD(0.1, momentum=0.9), GRADIENT, 200)
    np.testing.assert_allclose(found[0], -0.1 * GRADIENT)
    np.testing.assert_allclose(found[-1], -0.1 * GRADIENT / (1 - 0.9), rtol=1e-6)


def test_adams_updates_are_the_rate():
    found = updates(O.Adam(1e-3), GRADIENT, 50)
    np.testing.assert_allclose(
        found, np.broadcast_to(-1e-3 * np.sign(GRADIENT), found.shape), rtol=1e-3
    )


def test_rmsprops_first_update_is_three_times_the_rate():
    found = updates(O.RMSprop(1e-3, epsilon=0.0), GRADIENT, 100)
    np.testing.assert_allclose(found[0], -1e-3 / np.sqrt(1 - 0.9) * np.sign(GRADIENT))
    np.testing.assert_allclose(found[-1], -1e-3 * np.sign(GRADIENT), rtol=1e-4)


def test_adagrads_updates_fade_as_one_over_the_root():
    optimizer = O.Adagrad(1e-2, initial_accumulator_value=0.0, epsilon=0.0)
    found = updates(optimizer, GRADIENT, 100)
    t = np.arange(1, 101)[:, None]
    np.testing.assert_allclose(found, -1e-2 / np.sqrt(t) * np.sign(GRADIENT))


def test_adagrads_accumulator_holds_small_gradients_back():
    found = updates(O.Adagrad(1e-2), GRADIENT, 1)[0]
    np.testing.assert_allclose(
        found, -1e-2 * GRADIENT / np.sqrt(0.1 + 1e-7 + GRADIENT**2)
    )
    assert abs(found[0]) < 0.04 * 1e-2


# What the classic pictures show.


@pytest.fixture(scope="module")
def pictures():
    file = Path(__file__).parents[2] / "examples" / "classic_pictures.py"
    return types.SimpleNamespace(**runpy.run_path(str(file)))


def paths(pictures, surface):
    return {
        name: pictures.path(optimizer, surface)
        for name, optimizer in pictures.optimizers(surface.rates).items()
    }


def test_bowl(pictures):
    found = paths(pictures, pictures.Bowl())
    x, y = found["SGD"].T
    assert (y[:10] * y[1:11] < 0).all()  # From side to side,
    assert (np.diff(x) > 0).all()  # and creeping along,
    assert x[-1] < 0  # so that it never gets past the middle.
    for name in ("momentum", "Nesterov", "Adam"):
        assert found[name][:, 0].max() > 0.5, name  # Overshoot.
    assert found["Nesterov"][:, 0].max() < found["momentum"][:, 0].max()


def test_saddle(pictures):
    surface = pictures.Saddle()
    found = paths(pictures, surface)
    assert abs(found["SGD"][-1, 1]) < 0.5
    for name in set(found) - {"SGD"}:
        end = surface.value(*found[name][-1])
        assert end == pytest.approx(surface.lowest, abs=0.05), name
