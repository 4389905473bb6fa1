"""Scores of predictions against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, r2_score

from keras_babysit.fixes.score import Score, scored

SEEDS = st.integers(0, 10_000)


@given(SEEDS, st.integers(2, 12))
def test_accuracy_is_the_mean_over_the_classes(seed, classes):
    draw = np.random.default_rng(seed)
    y = draw.integers(0, classes, 80)
    y[0], y[1] = 0, 1
    output = draw.normal(size=(80, classes))
    found = scored(y, [output], [0.5])
    told = balanced_accuracy_score(y, output.argmax(1))
    chance = 1 / len(np.unique(y))
    assert found.metric == "accuracy"
    assert found.value == pytest.approx(told)
    assert found.share == pytest.approx((told - chance) / (1 - chance))
    one_hot = scored(np.eye(classes)[y], [output], [0.5])
    assert one_hot == found
    assert scored(y[:, None], [output], [0.5]) == found


@given(SEEDS)
def test_a_unit_says_yes_or_no(seed):
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 2, 60)
    y[:2] = 0, 1
    output = draw.uniform(size=(60, 1))
    told = balanced_accuracy_score(y, output[:, 0] > 0.5)
    assert scored(y, [output], [0.5]).value == pytest.approx(told)
    # Logits and signs have their middle at 0.
    assert scored(y, [output - 0.5], [0.0]).value == pytest.approx(told)
    assert scored(2 * y - 1, [output - 0.5], [0.0]).value == pytest.approx(told)


@given(SEEDS)
@settings(max_examples=30)
def test_quantities_have_r2(seed):
    draw = np.random.default_rng(seed)
    y = draw.normal(size=50) * 30 + 7
    output = y[:, None] + draw.normal(size=(50, 1)) * 10
    found = scored(y, [output], [0.5])
    assert found.metric == "R²"
    assert found.value == pytest.approx(max(r2_score(y, output[:, 0]), -1.0))


def test_r2_is_the_same_for_scaled_targets():
    draw = np.random.default_rng(0)
    y, error = draw.normal(size=50), draw.normal(size=50) * 0.3
    plain = scored(y, [(y + error)[:, None]], [0.5])
    scaled = scored(100 * y + 3, [(100 * (y + error) + 3)[:, None]], [0.5])
    assert scaled.value == pytest.approx(plain.value)


def test_labels_for_each_place():
    y = np.array([[0, 1, 1], [2, 0, 2]])
    output = np.eye(3)[y]
    assert scored(y, [output], [0.5]).share == 1
    output[0, 0] = [0, 1, 0]
    assert scored(y, [output], [0.5]).value == pytest.approx((1 / 2 + 1 + 1) / 3)


def test_several_labels_for_a_sample():
    y = np.array([[0, 1], [1, 1], [1, 0], [0, 1]])
    assert scored(y, [y * 0.9], [0.5]).share == 1
    assert scored(y, [np.full(y.shape, 0.9)], [0.5]).share == 0


def test_outputs_that_are_not_finite_are_wrong():
    y = np.array([0, 1, 2, 1])
    assert scored(y, [np.full((4, 3), np.nan)], [0.5]).value == 0
    assert scored(np.array([0, 1]), [np.full((2, 1), np.inf)], [0.5]).value == 0
    assert scored(np.array([0.5, 1.7]), [np.full((2, 1), np.nan)], [0.5]).value == -1


def test_the_mean_over_outputs():
    y = {"a": np.array([0, 1]), "b": np.array([0.3, 1.9])}
    good = [np.eye(2), y["b"][:, None]]
    assert scored(y, good, [0.5, 0.5]).share == 1
    half = [np.eye(2), np.full((2, 1), y["b"].mean())]
    assert scored(y, half, [0.5, 0.5]).share == pytest.approx(0.5)


def test_what_does_not_go_together():
    with pytest.raises(ValueError, match="2 targets for 1 outputs"):
        scored([np.zeros(3), np.zeros(3)], [np.zeros((3, 1))], [0.5])
    with pytest.raises(ValueError, match="targets of shape"):
        scored(np.zeros((3, 5)), [np.zeros((3, 2))], [0.5])


def test_the_error_of_few_samples():
    assert Score(0.5, 0.5, "accuracy", 100).error == pytest.approx(0.05)
    # Never nothing: a hundred hits of a hundred are not proof of perfection.
    assert Score(1.0, 1.0, "accuracy", 100).error == pytest.approx(0.005)
