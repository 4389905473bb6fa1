"""Scores of predictions, against closed forms and scikit-learn."""

import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_babysit.ensemble.scoring import metrics
from keras_babysit.ensemble.scoring.class_order import another_order


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def random_case(seed, n, classes):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), n)
    return p, rng.integers(0, classes, n)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(2, 6))
def test_are_those_of_scikit_learn(seed, n, classes):
    p, y = random_case(seed, n, classes)
    labels = list(range(classes))
    assert metrics.error(p, y) == pytest.approx(1 - np.mean(p.argmax(1) == y))
    expected = sklearn.metrics.log_loss(y, np.clip(p, 1e-7, 1), labels=labels)
    found = metrics.negative_log_likelihood(p, y)
    assert found == pytest.approx(expected, rel=1e-5)
    expected = sklearn.metrics.brier_score_loss(
        y, p, labels=labels, scale_by_half=False
    )
    assert metrics.brier(p, y) == pytest.approx(expected)
    expected = sklearn.metrics.brier_score_loss(y == 0, p[:, 0])
    assert metrics.brier(p[:, 0], y == 0) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(2, 5), st.integers(1, 20))
def test_calibration_error_is_its_definition(seed, n, classes, bins):
    p, y = random_case(seed, n, classes)
    confidence, right = p.max(1), p.argmax(1) == y
    expected = 0.0
    for m in range(bins):
        low, high = m / bins, (m + 1) / bins
        here = (confidence > low) & (confidence <= high)
        if here.any():
            gap = abs(right[here].mean() - confidence[here].mean())
            expected += here.mean() * gap
    assert metrics.calibration_error(p, y, bins=bins) == pytest.approx(expected)


def test_calibration_error_closed_forms():
    # Confident by 0.75 and right in 3 of 4: calibrated.
    p = np.tile([0.75, 0.25], (4, 1))
    assert metrics.calibration_error(p, [0, 0, 0, 1]) == pytest.approx(0)
    assert metrics.calibration_error(p, [0, 0, 1, 1]) == pytest.approx(0.25)
    # Over- and underconfidence in different bins do not cancel.
    p = np.array([[1.0, 0.0], [0.6, 0.4]])
    assert metrics.calibration_error(p, [1, 0]) == pytest.approx((1.0 + 0.4) / 2)
    # In one bin they do.
    assert metrics.calibration_error(p, [1, 0], bins=1) == pytest.approx(0.3)


def test_binary_is_two_classes():
    p, y = np.array([0.9, 0.2, 0.5, 0.6]), np.array([1, 0, 1, 0])
    both = np.stack([1 - p, p], 1)
    for score in (
        metrics.error,
        metrics.negative_log_likelihood,
        metrics.calibration_error,
    ):
        assert score(p, y) == pytest.approx(score(both, y))
        assert score(p[:, None], y[:, None]) == pytest.approx(score(both, y))
    assert metrics.brier(p, y) == pytest.approx(metrics.brier(both, y) / 2)
    # Of two equal ones, the first: one half is class 0.
    assert metrics.error([0.5], [0]) == 0


def test_labels_in_any_form(rng):
    p, y = random_case(3, 12, 4)
    expected = metrics.negative_log_likelihood(p, y)
    smoothed = np.eye(4)[y] * 0.9 + 0.025
    for labels in (y[:, None], y.astype(float), np.eye(4)[y], smoothed, y.tolist()):
        assert metrics.negative_log_likelihood(p, labels) == expected
    sequences = p.reshape(3, 4, 4), y.reshape(3, 4)
    assert metrics.negative_log_likelihood(*sequences) == expected


def test_several_labels_for_a_sample():
    p, y = np.array([[0.9, 0.8], [0.1, 0.7]]), np.array([[1, 1], [0, 0]])
    assert metrics.error(p, y, kind="binary") == 0.25
    expected = -np.log([0.9, 0.8, 0.9, 0.3]).mean()
    found = metrics.negative_log_likelihood(p, y, kind="binary")
    assert found == pytest.approx(expected)


def test_probabilities_of_zero_are_clipped():
    found = metrics.negative_log_likelihood([[1.0, 0.0]], [1])
    assert found == pytest.approx(-math.log(1e-7))


def test_disagreement_of_pairs():
    classes = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 0]])
    predictions = np.eye(2)[classes]
    # 1 and 2 differ once of four, 1 and 3 once, 2 and 3 twice.
    assert metrics.disagreement(predictions) == pytest.approx((1 + 1 + 2) / 12)
    assert metrics.disagreement(predictions[..., 1]) == pytest.approx(4 / 12)
    assert math.isnan(metrics.disagreement(predictions[:1]))


def test_gaussian_nll_is_scipys(rng):
    from scipy.stats import norm

    p, y, v = rng.normal(size=9), rng.normal(size=9), rng.uniform(0.1, 2, 9)
    expected = -norm.logpdf(y, p, np.sqrt(v)).mean()
    assert metrics.gaussian_nll(p, y, v) == pytest.approx(expected)
    # Of the variance of its own errors: the entropy of a Gaussian.
    v = metrics.noise_variance(p, y)
    assert v == pytest.approx(metrics.rmse(p, y) ** 2)
    expected = 0.5 * math.log(2 * math.pi * math.e * v)
    assert metrics.gaussian_nll(p, y, v) == pytest.approx(expected)


def test_noise_is_what_the_spread_leaves():
    p, y = np.zeros(4), np.array([1.0, -1.0, 3.0, -3.0])
    assert metrics.noise_variance(p, y, np.full(4, 2.0)) == pytest.approx(5 - 4)
    assert metrics.noise_variance(p, y, np.full(4, 9.0)) == pytest.approx(5e-6)
    assert metrics.noise_variance(p, p) > 0


def test_a_column_is_not_broadcast():
    y = np.arange(5.0)
    assert metrics.rmse(y[:, None], y) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.error([[2.0, -1.0]], [0]), "are these logits"),
        (lambda: metrics.error([[0.5, 0.2]], [0]), "sum to 1"),
        (lambda: metrics.error([[np.nan, 0.5]], [0]), "must be finite"),
        (lambda: metrics.error([], []), "must be an array of shape"),
        (lambda: metrics.error([[0.5, 0.5]], [2]), "integers from 0 to 1"),
        (lambda: metrics.error([[0.5, 0.5]], [0.5]), "integers from 0 to 1"),
        (lambda: metrics.error([[0.5, 0.5]], [-1]), "integers from 0 to 1"),
        (lambda: metrics.error([[0.5, 0.5]], [np.nan]), "integers from 0 to 1"),
        (lambda: metrics.error([[0.5, 0.5]], [0, 1]), "one label for each sample"),
        (lambda: metrics.error([0.5, 0.2], [0]), "one label for each value"),
        (lambda: metrics.error([[0.5, 0.5]], [[1, 1]]), "one-hot .* a sum of 2"),
        (lambda: metrics.error([[0.5, 0.5]], [[0, 0]]), "one-hot .* a sum of 0"),
        (lambda: metrics.error([[0.5, 0.5]], [[np.nan, 1]]), "one-hot .* of nan"),
        (lambda: metrics.error([[0.5, 0.5]], [0], kind="odd"), "`kind` must be"),
        (lambda: metrics.calibration_error([0.5], [0], bins=0), "`bins` must be"),
        (lambda: metrics.rmse([1.0, 2.0], [1.0]), "as many as"),
        (lambda: metrics.rmse([np.inf], [1.0]), "must be finite"),
        (lambda: metrics.gaussian_nll([1.0], [1.0], [0.0]), "must be positive"),
        (lambda: metrics.gaussian_nll([1.0], [1.0], []), "must be positive"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------- order of the classes


def predictions(y, classes, accuracy, rng):
    """Probabilities of a member that is right so often, and else anything."""
    shown = np.where(rng.random(len(y)) < accuracy, y, rng.integers(0, classes, len(y)))
    return np.eye(classes)[shown] * 0.8 + 0.2 / classes


def test_finds_exchanged_classes(rng):
    y = rng.integers(0, 10, 500)
    p = predictions(y, 10, 0.95, rng)
    assert another_order(p, y) == ""
    swapped = p[:, [0, 1, 2, 5, 4, 3, 6, 7, 8, 9]]
    found = another_order(swapped, y)
    assert "3 for 5, 5 for 3" in found
    assert "another order" in another_order(p[:, rng.permutation(10)], y)
    assert "another order" in another_order(
        1 - np.clip(y[:60] % 2, 0.1, 0.9), y[:60] % 2
    )


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("accuracy", [0.0, 0.1, 0.3, 0.6])
def test_a_bad_member_is_no_other_order(classes, accuracy, rng):
    for n in (10, 50, 300):
        for _ in range(40):
            y = rng.integers(0, classes, n)
            assert another_order(predictions(y, classes, accuracy, rng), y) == ""
