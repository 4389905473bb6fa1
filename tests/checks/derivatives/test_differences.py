import functools

import numpy as np
import pytest

from keras_babysit.checks.derivatives import differences
from keras_babysit.checks.derivatives.differences import (
    Precision,
    compare,
    nudged,
    precision_of,
    ratio,
    settled,
    spelled,
    tolerated,
)

EXACT = Precision(noise=1e-17)


@pytest.mark.parametrize("x", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (np.sin, np.cos),
        (np.exp, np.exp),
        (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
        (lambda x: x**5, lambda x: 5 * x**4),
    ],
)
def test_measured_slopes_are_those_of_calculus(function, slope, x):
    found = compare(lambda t: function(x + t), slope(x), EXACT)
    assert found.state == "equal"
    assert found.error < 3e-9
    np.testing.assert_allclose(found.measured, slope(x), rtol=3e-9)


@pytest.mark.parametrize("factor", [-1.0, 0.0, 0.5, 0.99, 1.001, 2.0])
def test_wrong_slopes_differ_by_their_relative_error(factor):
    found = compare(lambda t: np.sin(1 + t), factor * np.cos(1), EXACT)
    assert found.state == "different"
    expected = abs(factor - 1) / max(abs(factor), 1)
    np.testing.assert_allclose(found.error, expected, rtol=1e-4)


def test_both_zero_is_no_error():
    found = compare(lambda t: 3.0, 0.0, EXACT)
    assert (found.state, found.error) == ("zero", 0.0)


def test_zero_that_rounding_hides_is_zero():
    found = compare(lambda t: 1e-16 * np.sign(t), 0.0, Precision(noise=1e-16))
    assert found.state == "zero"


def test_values_too_small_for_the_format_are_not_judged():
    rng = np.random.default_rng(0)
    noise = 1e-16
    line = functools.cache(lambda t: 1 + 1e-13 * t + noise * rng.normal())
    assert compare(line, 2e-13, Precision(noise)).state == "small"
    # One that is far too large for what is measured is judged.
    assert compare(line, 1e-3, Precision(noise)).state == "different"


@pytest.mark.parametrize("given", [-1.0, -0.3, 0.0, 1.0])
def test_a_kink_at_the_point_is_told_apart(given):
    found = compare(abs, given, EXACT)
    assert found.state == ("zero" if given == 0 else "kink")


def test_a_slope_outside_of_both_sides_of_a_kink_is_wrong():
    found = compare(lambda t: max(t, 0.0), -1.0, EXACT)
    assert found.state == "different"


def test_a_kink_aside_is_evaded_by_a_smaller_step():
    found = compare(lambda t: max(t - 3e-6, 0.0) + np.sin(t), 1.0, EXACT)
    assert found.state == "equal"
    assert found.step < 3e-6
    assert found.error < 1e-7


def test_steep_bends_need_small_steps_and_weak_slopes_large_ones():
    steep = compare(lambda t: np.sin(1e4 * t + 1), 1e4 * np.cos(1), EXACT)
    assert steep.error < 1e-6
    assert steep.step < 1e-5
    rng = np.random.default_rng(0)
    line = functools.cache(lambda t: 1 + 1e-6 * t + 1e-16 * rng.normal())
    weak = compare(line, 1e-6, Precision(1e-16))
    assert weak.state == "equal"
    assert weak.step > 1e-5


def test_a_slope_that_is_not_finite_is_wrong():
    assert compare(lambda t: t, np.nan, EXACT).state == "different"
    assert compare(lambda t: np.nan if t else 0.0, 1.0, EXACT).state == "different"


def ramp(x):
    """relu(x) - relu(-x): straight, but by the rule for 0 its gradient there is 0."""
    return compare(lambda t: x + t, float(x != 0), EXACT)


def test_kinks_that_cancel_out_are_told_at_a_second_point():
    assert ramp(0.0).state == "different"
    assert settled(ramp(x) for x in (0.0, 1e-3, 2e-3)).state == "kink"


def test_only_what_fails_twice_fails():
    def at(*states):
        slopes = (differences.Slope(1.0, 2.0, 0.5, 1e-5, state) for state in states)
        return settled(slopes).state

    assert at("equal") == "equal"
    assert at("different", "equal") == "kink"
    assert at("different", "different") == "different"
    assert at("kink", "different", "different") == "different"
    assert at("kink", "different", "equal") == "kink"
    assert at("kink", "kink", "kink") == "kink"
    assert at("different") == "different"


def lines(function):
    """A function of 200 numbers, along two directions that move each by its size."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    ways = [rng.choice([-1.0, 1.0], 200) for _ in range(2)]
    return [lambda t, way=way: float(function(x + t * way)) for way in ways], x


def test_precision_in_float64():
    along, x = lines(lambda v: np.tanh(v).sum())
    value = np.tanh(x).sum()
    found = precision_of(along, value, scale=np.abs(x).sum())
    assert not found.coarse
    assert found.steps == differences.STEPS
    assert 1e-16 < found.noise < 1e-13


def test_precision_tells_of_float32_inside():
    along, x = lines(lambda v: np.tanh(v.astype("float32")).astype("float64").sum())
    found = precision_of(along, np.tanh(x).sum(), scale=np.abs(x).sum())
    assert found.coarse
    assert 1e-8 < found.noise < 1e-5


def test_precision_is_not_fooled_by_kinks():
    along, x = lines(lambda v: np.maximum(v, 0).sum())
    assert not precision_of(along, 80.0, scale=np.abs(x).sum()).coarse


def test_precision_in_float32_is_at_least_its_rounding():
    found = precision_of([lambda t: 2.0], 2.0, 2.0, eps=np.finfo("float32").eps)
    assert found.coarse
    assert found.noise >= 5e-8


def test_ratio():
    def slopes(*pairs):
        return [differences.Slope(a, n, 1.0, 1e-5, "different") for a, n in pairs]

    assert ratio(slopes((1.0, 2.0), (-3.0, -6.0))) == 0.5
    assert ratio(slopes((1.0, 2.0), (1.0, 3.0))) is None
    assert ratio(slopes((1.0, 0.0))) is None
    assert ratio([]) is None
    assert spelled(-1.0) == "wrong sign"
    assert spelled(0.0) == "zero"
    assert spelled(2.0) == "2 × the true one"
    assert spelled(1.00001) == "slightly off"
    assert spelled(None) == "wrong"


def test_directions_leave_nothing_out():
    way = differences.direction((3, 4), np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(way), 1 / np.sqrt(12))


def test_nudged_moves_zeros_too():
    rng = np.random.default_rng(0)
    for values in (np.zeros(50), np.full(50, 2.0)):
        moved = np.abs(nudged(values, rng) - values)
        assert (moved > 0).all()
        assert moved.max() < 1e-2


def test_deeper_networks_are_given_more():
    assert tolerated(1) == pytest.approx(1e-4)
    assert 1e-4 < tolerated(4) < 1e-2
    assert tolerated(10) == tolerated(100) == pytest.approx(1e-2)


def test_kinks_on_every_way_are_no_noise():
    kinks = np.array([5e-6, 8e-6, 1.1e-5, 1.3e-5, 1.6e-5])

    def line(t):
        return float(np.cos(t) + 1e-6 * np.maximum(t - kinks, 0).sum())

    found = precision_of([line, line], line(0.0), scale=1.0)
    assert not found.coarse
    assert found.noise < 2e-16
