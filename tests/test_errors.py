"""Arguments that are numbers: one way to check them, and one to say what is wrong."""

import numpy as np
import pytest

from keras_babysit import errors


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_any_kind(value):
    assert errors.whole("n", value, least=3) == 3
    assert type(errors.whole("n", value)) is int


@pytest.mark.parametrize("value", [2, 3.0, True, np.True_, "3", None, np.float32(3)])
def test_what_is_no_whole_number_or_too_small(value):
    with pytest.raises(ValueError, match=r"`n` must be an integer of at least 3\. Rec"):
        errors.whole("n", value, least=3)


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_whole_or_none(size):
    assert errors.whole_or_none("size", None) is None
    with pytest.raises(ValueError, match=r"`size` must be a positive integer\. Rec"):
        errors.whole_or_none("size", size)


def test_zero_may_be_enough():
    assert errors.whole("seed", 0, least=0) == 0
    with pytest.raises(ValueError, match="`seed` must be a non-negative integer"):
        errors.whole("seed", -1, least=0)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(2), np.int8(0)])
def test_numbers(value):
    assert errors.is_number(value)


@pytest.mark.parametrize("value", [True, "1", None, np.nan, -np.inf, np.ones(1)])
def test_no_numbers(value):
    assert not errors.is_number(value)
