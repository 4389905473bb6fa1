"""The floor of each standard loss, against a search over all predictions."""

import keras
import numpy as np
import pytest
import scipy.optimize
from keras import ops

from keras_babysit.backend import load
from keras_babysit.checks.losses.loss_floor import Target, best_prediction, floor

N, K = 6, 3
#: Two pairs of equal inputs.
PAIRS = np.array([0, 0, 1, 2, 2, 3])
APART = np.arange(N)
L = keras.losses
Wrapper = keras.src.losses.losses.LossFunctionWrapper


softmax, sigmoid, exp = ops.softmax, ops.sigmoid, ops.exp


def identity(z):
    return z


def one_hot(rng):
    return np.eye(K)[rng.integers(0, K, N)]


def soft(rng):
    return rng.dirichlet(np.ones(K), N)


def labels(rng):
    return rng.integers(0, K, N)


def bits(rng):
    return rng.integers(0, 2, (N, K)).astype(float)


def shares(rng):
    return rng.random((N, K))


def signs(rng):
    return 2 * bits(rng) - 1


def numbers(rng):
    return 2 * rng.normal(size=(N, K))


def positive(rng):
    return rng.gamma(2.0, size=(N, K))


#: Loss, targets, and the function of free values that spans all predictions.
CASES = [
    (L.MeanSquaredError(), numbers, identity),
    (L.MeanAbsoluteError(), numbers, identity),
    (L.MeanSquaredLogarithmicError(), positive, exp),
    (L.Huber(delta=0.5), numbers, identity),
    (L.LogCosh(), numbers, identity),
    (L.Poisson(), positive, exp),
    (L.CosineSimilarity(), numbers, identity),
    (L.KLDivergence(), soft, softmax),
    (L.Hinge(), signs, identity),
    (L.Hinge(), bits, identity),
    (L.SquaredHinge(), signs, identity),
    (L.SquaredHinge(), numbers, identity),
    (L.CategoricalHinge(), one_hot, identity),
    (L.BinaryCrossentropy(), shares, sigmoid),
    (L.BinaryCrossentropy(from_logits=True), bits, identity),
    (L.BinaryCrossentropy(from_logits=True, label_smoothing=0.2), bits, identity),
    (L.BinaryFocalCrossentropy(), bits, sigmoid),
    (L.BinaryFocalCrossentropy(apply_class_balancing=True), shares, sigmoid),
    (L.CategoricalCrossentropy(), soft, softmax),
    (L.CategoricalCrossentropy(label_smoothing=0.1), one_hot, softmax),
    (L.CategoricalCrossentropy(from_logits=True), soft, identity),
    (L.CategoricalFocalCrossentropy(), soft, softmax),
    (L.CategoricalFocalCrossentropy(gamma=1.0), one_hot, softmax),
    (L.SparseCategoricalCrossentropy(), labels, softmax),
    (L.SparseCategoricalCrossentropy(from_logits=True), labels, identity),
    (L.SparseCategoricalCrossentropy(True, ignore_class=1), labels, identity),
    (L.CategoricalGeneralizedCrossEntropy(), labels, softmax),
    (L.Dice(), bits, sigmoid),
    (L.Dice(), shares, sigmoid),
    (L.Tversky(alpha=0.3, beta=0.7), bits, sigmoid),
]


def name_of(case):
    return f"{type(case[0]).__name__}-{case[1].__name__}"


def searched(target, groups, spanned, rng):
    """The smallest loss that L-BFGS finds over all predictions."""
    names, inverse = np.unique(groups, return_inverse=True)
    backend = load("autodiff")
    loss = Wrapper(target.loss.fn, dtype="float64", **target.loss._fn_kwargs)

    def value(at):
        y_pred = ops.take(spanned(at[0]), inverse, axis=0)
        return loss(target.y, y_pred, target.weight)

    both = backend.compiled(lambda at: backend.value_and_gradients(value, at))

    def value_and_slope(z):
        z = ops.convert_to_tensor(z.reshape(len(names), K), "float64")
        found, (slope,) = both([z])
        return float(found), np.asarray(slope).ravel()

    start = rng.normal(size=len(names) * K)
    return scipy.optimize.minimize(
        value_and_slope,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-16, 16)] * start.size,
        options={"maxiter": 100},
    ).fun


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_nothing_is_below_the_floor_and_it_is_reached(case, rng):
    loss, make, spanned = case
    y = make(rng)
    weight = np.array([1.0, 3.0, 1.0, 0.5, 2.0, 1.0])
    overlap = type(loss).__name__ in ("Dice", "Tversky")  # A weight has no meaning.
    target = Target("", loss, y, np.zeros((N, K)), None if overlap else weight)
    apart, found = floor(target, APART), floor(target, PAIRS)
    assert apart <= found + 1e-6
    best = best_prediction(target, PAIRS)
    assert np.array_equal(best[0], best[1])  # Equal where the inputs are.
    random = [target.value_of(spanned(3 * rng.normal(size=(N, K)))) for _ in range(10)]
    scale = np.median(random) - apart
    assert scale > 0
    assert apart <= min(random) + 1e-6
    least = searched(target, PAIRS, spanned, rng)
    # The search may stop a little above the smallest loss, but cannot get below.
    assert least - 0.01 * scale <= found <= least + 1e-4 * max(1.0, scale)


def target_of(loss, y, units=1, **kwargs):
    y = np.asarray(y, float)
    return Target("", loss, y, np.zeros((len(y), units)), **kwargs)


def test_closed_forms():
    y = [[0.0], [1.0], [5.0]]
    same = np.zeros(3, int)
    squared = target_of(L.MeanSquaredError(), y)
    assert floor(squared, same) == pytest.approx(np.var(y))
    assert floor(squared, np.arange(3)) == 0
    absolute = target_of(L.MeanAbsoluteError(), y)
    assert floor(absolute, same) == pytest.approx(5 / 3)
    sparse = target_of(L.SparseCategoricalCrossentropy(), [0, 0, 1, 2], units=3)
    entropy = -(np.log(0.5) + np.log(0.25)) / 2
    assert floor(sparse, np.zeros(4, int)) == pytest.approx(entropy, rel=1e-5)


def test_relative_errors_are_least_at_one_of_the_targets(rng):
    y = positive(rng)
    target = Target("", L.MeanAbsolutePercentageError(), y, np.zeros((N, K)))
    tried = [np.tile(row, (N, 1)) for row in y]
    # Of each column the best row by itself: the columns do not mind each other.
    costs = np.array([100 * np.abs(y - t) / np.abs(y) for t in tried]).mean(1)
    assert floor(target, np.zeros(N, int)) == pytest.approx(costs.min(0).mean())
    assert floor(target, APART) == 0


def test_smoothed_labels_have_the_entropy_of_the_smoothed_ones():
    loss = L.CategoricalCrossentropy(label_smoothing=0.1)
    p = np.array([0.9 + 0.1 / 4, *[0.1 / 4] * 3])
    found = floor(target_of(loss, np.eye(4), units=4), np.arange(4))
    assert found == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)


def test_what_has_no_weight_need_not_be_met():
    weight = np.array([1.0, 1.0, 0.0])
    target = target_of(L.MeanSquaredError(), [[1.0], [1.0], [9.0]], weight=weight)
    assert floor(target, np.zeros(3, int)) == pytest.approx(0.0)


def test_masked_positions_need_not_be_met():
    y = np.array([[0, 1], [1, 1]])
    mask = np.array([[True, False], [True, False]])
    loss = L.SparseCategoricalCrossentropy()
    target = Target("", loss, y, np.zeros((2, 2, 2)), mask=mask)
    # Both samples alike: the first positions contradict, the second ones do not count.
    assert floor(target, np.zeros(2, int)) == pytest.approx(np.log(2), rel=1e-5)


def test_sequences_that_begin_alike():
    y = np.array([[0, 1], [1, 1]])
    loss = L.SparseCategoricalCrossentropy()
    target = Target("", loss, y, np.zeros((2, 2, 2)))
    groups = np.array([[0, 2], [0, 3]])
    assert floor(target, groups) == pytest.approx(np.log(2) / 2, rel=1e-4)


def test_reductions_and_loss_weights():
    y = [[0.0], [2.0]]
    summed = target_of(L.MeanSquaredError(reduction="sum"), y, factor=3.0)
    assert floor(summed, np.zeros(2, int)) == pytest.approx(3 * 2.0)


def test_a_loss_of_the_users_own_is_searched():
    def quartic(y, y_pred):
        return keras.ops.mean((y_pred - y) ** 4, axis=-1) - 7.0

    loss = L.get(quartic)
    wrapped = Wrapper(quartic)
    assert loss is quartic
    target = target_of(wrapped, [[0.0], [2.0], [5.0]])
    assert floor(target, np.arange(3)) == pytest.approx(-7.0, abs=1e-3)
    # The first two alike: the best is half-way.
    assert floor(target, np.array([0, 0, 1])) == pytest.approx(-7 + 2 / 3, abs=1e-3)


def test_an_outputs_range_bounds_the_search():
    def mean(y, y_pred):
        return keras.ops.mean(y_pred, axis=-1)

    wrapped = Wrapper(mean)
    target = target_of(wrapped, [[0.0], [2.0]], activation="tanh")
    assert floor(target, np.arange(2)) == pytest.approx(-1.0, abs=1e-2)
