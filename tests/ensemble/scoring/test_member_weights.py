"""Weights that are chosen on validation data, and what is promised of them."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as L

from keras_babysit.ensemble import Ensemble, greedy_weights, simplex_weights
from keras_babysit.ensemble.scoring import metrics, validation

SCORES = {
    "nll": metrics.negative_log_likelihood,
    "error": metrics.error,
    "brier": metrics.brier,
}
seeds = st.integers(0, 2**31)


def classifiers(seed, members, n=30, classes=3):
    """Probabilities that favour the labels, some members more, and the labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    z = rng.normal(size=(members, n, classes)) * 2
    z += rng.uniform(-0.5, 2, (members, 1, 1)) * np.eye(classes)[y]
    e = np.exp(z)
    return e / e.sum(-1, keepdims=True), y


def regressors(seed, members, n=25):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, 1))
    return y + rng.normal(size=(members, n, 1)) * rng.uniform(
        0.1, 2, (members, 1, 1)
    ), y


def check(weights, members):
    assert weights.shape == (members,)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seeds,
    st.integers(1, 6),
    st.sampled_from(sorted(SCORES)),
    st.integers(1, 8),
    st.integers(0, 3),
)
def test_greedy_is_never_worse_than_the_best(seed, members, loss, rounds, bags):
    p, y = classifiers(seed, members)
    weights = greedy_weights(p, y=y, loss=loss, rounds=rounds, bags=bags, seed=seed)
    check(weights, members)
    measure = SCORES[loss]
    best = min(measure(one, y) for one in p)
    used = np.flatnonzero(weights)
    mean = p[used[0]] if len(used) == 1 else np.tensordot(weights, p, axes=1)
    assert measure(mean, y) <= best + 1e-12


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 6), st.booleans())
def test_simplex_is_never_worse_than_the_best(seed, members, values):
    p, y = regressors(seed, members) if values else classifiers(seed, members)
    target = y if values else np.eye(3)[y]
    weights = simplex_weights(p, y=y)
    check(weights, members)
    best = min(np.mean((one - target) ** 2) for one in p)
    mean = np.tensordot(weights, p, axes=1)
    assert np.mean((mean - target) ** 2) <= best + 1e-12


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(2, 5))
def test_simplex_is_the_optimum(seed, members):
    from scipy.optimize import minimize

    p, y = regressors(seed, members)

    def squared(w):
        return np.mean((np.tensordot(w, p, axes=1) - y) ** 2)

    found = squared(simplex_weights(p, y=y))
    other = minimize(
        squared,
        np.full(members, 1 / members),
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    assert found <= other.fun + 1e-9


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 30), st.integers(1, 20))
def test_simplex_of_members_that_are_alike_or_absurd(seed, members, n):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    sizes = 10.0 ** rng.integers(-8, 3, (members, 1))
    p = y + sizes * rng.normal(size=(members, n))
    p = np.concatenate([p, p[:3], p[:2] + 1e-12])
    weights = simplex_weights(p, y=y)
    check(weights, len(p))
    best = min(np.mean((one - y) ** 2) for one in p)
    mean = np.tensordot(weights, p, axes=1)
    assert np.mean((mean - y) ** 2) <= best * (1 + 1e-9)


def test_simplex_closed_form():
    # Uncorrelated errors of sizes 1 and 2: weights as 1 / variance.
    y = np.zeros(4)
    p = np.array([[1.0, 1.0, -1.0, -1.0], [2.0, -2.0, 2.0, -2.0]])
    assert simplex_weights(p, y=y) == pytest.approx([0.8, 0.2])
    # One that is right takes it all; two alike share nothing with a worse one.
    assert simplex_weights([y, y + 1], y=y) == pytest.approx([1, 0])
    assert simplex_weights([y + 1, y + 2], y=y) == pytest.approx([1, 0])


def test_greedy_selects_with_replacement():
    # Errors that cancel at weights of 2/3 and 1/3, which the third round reaches.
    y = np.zeros(4)
    p = np.array([[1.0, 1.0, -1.0, -1.0], [-2.0, -2.0, 2.0, 2.0]])
    assert greedy_weights(p, y=y) == pytest.approx([2 / 3, 1 / 3])
    assert greedy_weights(p, y=y, rounds=1) == pytest.approx([0.5, 0.5])


def test_greedy_starts_from_the_best():
    y = np.zeros(3)
    p = np.array([[3.0, 3, 3], [1.0, 1, 1], [2.0, 2, 2]])
    assert greedy_weights(p, y=y).tolist() == [0, 1, 0]


def test_bags_spread_the_weights_and_are_repeatable():
    p, y = classifiers(5, 12, n=60)
    one = greedy_weights(p, y=y)
    bagged = greedy_weights(p, y=y, bags=20, seed=3)
    assert np.count_nonzero(bagged) > np.count_nonzero(one)
    again = greedy_weights(p, y=y, bags=20, seed=3)
    assert bagged.tolist() == again.tolist()


def test_predictions_are_arrays_of_any_kind():
    p, y = classifiers(1, 4)
    expected = greedy_weights(p, y=y).tolist()
    tensors = list(map(keras.ops.convert_to_tensor, p))
    assert greedy_weights(tensors, y=y).tolist() == expected
    assert greedy_weights(keras.ops.convert_to_tensor(p), y=y).tolist() == expected


def test_a_loss_of_the_users(rng):
    p, y = classifiers(1, 4)
    weights = greedy_weights(p, y=y, loss=metrics.error)
    assert weights.tolist() == greedy_weights(p, y=y, loss="error").tolist()
    # A member whose loss is NaN is passed over.
    p[0] = 1 / 3

    def odd(predictions, labels):
        flat = np.ptp(predictions) < 1e-12
        return np.nan if flat else metrics.negative_log_likelihood(predictions, labels)

    assert np.isfinite(greedy_weights(p, y=y, loss=odd)).all()
    with pytest.raises(ValueError, match="NaN for every member"):
        greedy_weights(p, y=y, loss=lambda *_: np.nan)


def test_of_models(rng):
    def model():
        m = keras.Sequential([keras.Input((3,)), L.Dense(4)])
        m.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return m

    members = [model() for _ in range(2)]
    x, y = rng.normal(size=(40, 3)).astype("float32"), rng.integers(0, 4, 40)
    z = np.array([m.predict(x, verbose=0) for m in members], float)
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    weights = greedy_weights(members, x, y)
    assert weights == pytest.approx(greedy_weights(p, y=y))
    ensemble = Ensemble(members)
    assert weights == pytest.approx(greedy_weights(ensemble, x, np.eye(4)[y]))
    with pytest.raises(ValueError, match="the inputs of the validation data"):
        greedy_weights(members, y=y)


@pytest.mark.parametrize(
    ("kind", "p", "y"),
    [
        ("categorical", [[[0.2, 0.8], [0.5, 0.5]]], [1, 0]),
        ("binary", [[0.2, 0.5]], [1, 0]),
        ("binary", [[[0.2], [0.5]]], [[1], [0]]),
        ("values", [[0.2, 0.5]], [0.3, 0.7]),
        ("values", [[-0.2, 0.5]], [1, 0]),
        ("values", [[[0.2, 0.2], [0.5, 0.9]]], [[0.1, 0.2], [0.5, 1.0]]),
    ],
)
def test_what_predictions_are(kind, p, y):
    assert validation.validation_of(np.array(p), None, np.array(y)).kind == kind


P, Y = classifiers(0, 2, n=6)


def test_squared_errors_of_probabilities_are_those_of_one_hot_rows():
    by_label = greedy_weights(P, y=Y, loss="rmse")
    np.testing.assert_array_equal(by_label, greedy_weights(P, y=Y, loss="brier"))
    by_row = greedy_weights(P, y=np.eye(3)[Y], loss="rmse")
    np.testing.assert_array_equal(by_label, by_row)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: greedy_weights([], y=Y), "at least one model"),
        (lambda: greedy_weights(P), "`y` must be labels"),
        (lambda: greedy_weights(P, np.ones(6), Y), "`x` must be left out"),
        (lambda: greedy_weights(P, y=Y[:5]), "a label or target for each sample"),
        (lambda: greedy_weights(P[:, :0], y=Y[:0]), "at least one sample"),
        (lambda: greedy_weights(P, y=Y, batch_size=0), "`batch_size` must be"),
        (lambda: greedy_weights([P[0], P[1, :5]], y=Y), "all members the same"),
        (lambda: greedy_weights([P[0], P[1] * np.nan], y=Y), "of member 2"),
        (lambda: greedy_weights(P, y=Y, loss="mse"), "`loss` must be one of"),
        (lambda: greedy_weights(P - 1, y=P[0], loss="nll"), "for these predictions"),
        (lambda: greedy_weights(P, y=Y, rounds=0), "`rounds` must be a positive"),
        (
            lambda: greedy_weights(P, y=Y, bags=-1),
            "`bags` must be a non-negative integer",
        ),
        (lambda: greedy_weights(P, y=Y + 5), "integers from 0 to 2"),
        (lambda: simplex_weights(P, y=Y + 5), "integers from 0 to 2"),
        (lambda: simplex_weights(P - 1, y=Y), "as many values"),
        (lambda: greedy_weights(P, y=["a"] * 6), "must be an array of numbers"),
        (lambda: simplex_weights(P, y=1), "must be an array of numbers"),
        (
            lambda: greedy_weights(P, y=Y, seed=-1),
            "`seed` must be a non-negative integer",
        ),
        (lambda: greedy_weights(P, y=Y, loss=lambda p, y: y), "must return a number"),
        (lambda: greedy_weights("a", np.ones(3), Y), "LazyEnsemble"),
        (lambda: greedy_weights({"a": 1}, np.ones(3), Y), "must be a list of keras"),
        (lambda: greedy_weights(["a.keras"], np.ones(3), Y), "the path 'a.keras'"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
