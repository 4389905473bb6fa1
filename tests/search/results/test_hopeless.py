"""What hopeless trials have in common."""

import pytest

from keras_babysit.search.results.dimensions import Dimension
from keras_babysit.search.results.hopeless import hints
from keras_babysit.search.trials import Outcome, Trial

RATE = Dimension("rate", 1e-5, 1.0, sampling="log")
FINDING = {"rule": "learning-rate-too-high", "severity": "error", "because": ""}


def trial(number, rate, hopeless):
    outcome = (
        Outcome("stopped", findings=(FINDING,)) if hopeless else Outcome("completed")
    )
    return Trial(number, 0, {"rate": rate}, 5, 0, outcome=outcome)


def trials(good, bad):
    all_of_them = [(rate, False) for rate in good] + [(rate, True) for rate in bad]
    return [trial(n, *one) for n, one in enumerate(all_of_them)]


def test_rates_above_a_value():
    (hint,) = hints(trials([1e-4, 1e-3, 0.01], [0.09, 0.3, 0.8]), [RATE])
    assert hint == (
        "All 3 trials that a finding ended (learning-rate-too-high) had rate above "
        "0.03: narrow its range, max_value=0.01"
    )


def test_below():
    (hint,) = hints(trials([0.4, 0.5, 0.9], [0.1, 0.01, 0.02]), [RATE])
    assert "rate below 0.2: narrow its range, min_value=0.4" in hint


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ([1e-4, 1e-3, 0.5], [0.09, 0.3, 0.8]),  # Not all of them.
        ([1e-4, 1e-3, 0.01], [0.09, 0.3]),  # Too few.
        ([1e-4, 1e-3], [0.09, 0.3, 0.8]),
    ],
)
def test_no_pattern(good, bad):
    assert hints(trials(good, bad), [RATE]) == ()


def test_choices_have_no_sides():
    found = trials([1e-4, 1e-3, 0.01], [0.09, 0.3, 0.8])
    assert hints(found, [Dimension("rate", choices=(1e-4, 0.3))]) == ()
