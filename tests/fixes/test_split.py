"""Samples to train on and samples held out."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_babysit.fixes.split import split
from keras_babysit.inspection.sample import Sample


def samples(n, classes=4):
    return Sample(
        np.arange(n, dtype="float32")[:, None], np.arange(n) % classes, size=n
    )


@given(st.integers(8, 300), st.integers(0, 50), st.integers(1, 6))
def test_each_sample_is_in_one_part(n, seed, classes):
    found = split(samples(n, classes), seed, 8, True)
    train, held = found.train.x.ravel(), found.held.x.ravel()
    assert sorted([*train, *held]) == list(range(n))
    assert 0 < len(held) <= n / 2
    # In the order of the data: sorted ones stay sorted.
    assert (np.diff(train) > 0).all()


def test_a_quarter_of_each_class():
    held = split(samples(400), 3, 8, True).held
    assert np.bincount(held.y).tolist() == [25, 25, 25, 25]


def test_seeds_hold_other_samples_out():
    a, b, again = (split(samples(100), s, 8, True).held.x for s in (0, 1, 0))
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(a, again)


@pytest.mark.parametrize("shuffled", [True, False])
def test_batches_are_the_same_for_the_same_seed(shuffled):
    found = split(samples(100), 0, 16, shuffled)
    first = list(itertools.islice(found.batches(5), 9))
    again = list(itertools.islice(found.batches(5), 9))
    for (x, y), (x2, y2) in zip(first, again, strict=True):
        assert x.shape == (16, 1)
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    other = next(found.batches(6))[0]
    assert np.array_equal(first[0][0], other) != shuffled


def test_arrays_are_changed_by_name_in_both_parts():
    x = {"b": np.ones((40, 2), "float32"), "a": np.zeros((40, 3), "float32")}
    found = split(Sample(x, np.arange(40) % 2, size=40), 0, 8, True)
    found.map_x("x['a']", lambda values: lambda a: a + values.shape[1])
    assert (found.train.x["a"] == 3).all()
    assert (found.held.x["a"] == 3).all()
    assert (found.train.x["b"] == 1).all()
    with pytest.raises(ValueError, match="no `x`"):
        found.map_x("x", lambda values: lambda a: a)
