"""Ranges of the notes, warnings about scales, narrower and wider spaces."""

import math
import subprocess
import sys

import keras_tuner
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_babysit import search
from keras_babysit.search.space import scales

types = keras_tuner.engine.hyperparameters


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def space(*, many=None):
    hp = keras_tuner.HyperParameters()
    for make in many or ():
        make(hp)
    return hp


def config(hps):
    return hps.get_config()["space"]


def by_name(hps):
    return {hp.name: hp for hp in hps.space}


# ---------------------------------------------------------------- the notes' ranges


def test_ranges_are_the_notes():
    hp = keras_tuner.HyperParameters()
    assert search.learning_rate(hp) == 1e-3
    assert search.l2(hp) == 1e-4
    assert search.weight_decay(hp) == 4e-3
    assert search.dropout(hp) == 0.5
    assert search.momentum(hp) == 0.9
    found = by_name(hp)
    rate = found["learning_rate"]
    assert (rate.min_value, rate.max_value, rate.sampling) == (1e-6, 10, "log")
    assert found["l2"].sampling == found["weight_decay"].sampling == "log"
    assert found["dropout"].sampling == "linear"
    assert found["momentum"].values == [0.5, 0.9, 0.95, 0.99]


def test_a_rate_is_drawn_uniformly_from_the_logarithms():
    hp = keras_tuner.HyperParameters()
    search.learning_rate(hp)
    drawn = [math.log10(hp.space[0].random_sample(i)) for i in range(2000)]
    # 10 ** uniform(-6, 1): each decade has a seventh of them.
    for decade in range(-6, 1):
        share = sum(decade <= d < decade + 1 for d in drawn) / len(drawn)
        assert share == pytest.approx(1 / 7, abs=4 * math.sqrt(1 / 7 * 6 / 7 / 2000))


def test_names_ranges_defaults_and_conditions():
    hp = keras_tuner.HyperParameters()
    hp.Choice("optimizer", ["sgd", "adam"])
    assert search.learning_rate(hp, "lr", 1e-2, 1) == pytest.approx(0.1)
    assert search.learning_rate(hp, "lr2", 1e-2, 1, default=0.5) == 0.5
    assert search.dropout(hp, "drop", 0.6, 0.8) == pytest.approx(0.7)
    only = {"parent_name": "optimizer", "parent_values": ["adam"]}
    assert search.l2(hp, "inactive", **only) is None
    assert hp.space[-1].conditions[0].name == "optimizer"
    assert search.l2(hp, "one", 0.3, 0.3) == 0.3


@pytest.mark.parametrize("helper", [search.learning_rate, search.l2])
def test_wrong_ranges(helper):
    hp = keras_tuner.HyperParameters()
    with pytest.raises(ValueError, match="`min_value` is greater than `max_value`"):
        helper(hp, "a", 1.0, 0.1)
    with pytest.raises(ValueError, match="`min_value` must be positive"):
        helper(hp, "a", 0.0, 0.1)
    with pytest.raises(ValueError, match="two finite numbers"):
        helper(hp, "a", math.nan, 0.1)
    with pytest.raises(ValueError, match="two finite numbers"):
        helper(hp, "a", "1e-3", 0.1)
    assert hp.space == []


def test_wrong_dropout():
    hp = keras_tuner.HyperParameters()
    with pytest.raises(ValueError, match="between 0 and 1"):
        search.dropout(hp, max_value=1.5)
    with pytest.raises(ValueError, match="greater than"):
        search.dropout(hp, min_value=0.5, max_value=0.1)


# ---------------------------------------------------------------- linear scales


@pytest.mark.parametrize(
    ("name", "low", "high", "severity"),
    [
        ("learning_rate", 1e-6, 1, "warning"),
        ("lr", 1e-4, 1e-2, "warning"),
        ("learningRate", 0, 0.1, "warning"),
        ("dense/l2", 0, 0.1, "warning"),
        ("adam-weight-decay", 1e-5, 1e-1, "warning"),
        ("epsilon", 1e-8, 1e-1, "warning"),
        ("temperature", 0.01, 10, "info"),
        ("lr", 1e-3, 1e-2, ""),  # One decade: hardly a difference.
        ("lr_decay", 0, 1, ""),  # A factor of decay.
        ("ema_decay", 0.9, 0.999, ""),
        ("dropout_rate", 0.001, 0.9, ""),
        ("dropout_rate", 0, 0.9, ""),
        ("momentum", 0.001, 0.99, ""),
        ("noise", 0.001, 1, ""),
        ("color", 0, 1, ""),  # No l2, lr or reg in it.
        ("regressor_width", 0, 1, ""),
        ("shift", -1, 1, ""),
    ],
)
def test_linear_scales(name, low, high, severity):
    hp = space(many=[lambda hp: hp.Float(name, low, high)])
    found = search.linear_scale_warnings(hp)
    assert [f.severity for f in found] == ([severity] if severity else [])


def test_what_is_not_linear_or_no_float_is_left_alone():
    hp = keras_tuner.HyperParameters()
    search.learning_rate(hp)
    hp.Int("units", 1, 1000)
    hp.Choice("lr", [1e-6, 1.0])
    hp.Fixed("l2", 0.1)
    hp.Boolean("reg")
    before = hp.get_config()
    assert search.linear_scale_warnings(hp) == []
    assert hp.get_config() == before


def test_the_warning_says_what_to_write():
    hp = space(many=[lambda hp: hp.Float("learning_rate", 1e-5, 1, step=1e-5)])
    (found,) = search.linear_scale_warnings(hp)
    assert str(found) == (
        "learning_rate: searched on a linear scale from 1e-05 to 1. Nine in ten of the "
        'values tried are above 0.1: write hp.Float("learning_rate", 1e-05, 1, '
        'sampling="log").'
    )
    # And what it says is so.
    linear = space(many=[lambda hp: hp.Float("learning_rate", 1e-5, 1)]).space[0]
    assert sum(linear.prob_to_value(i / 1000) > 0.1 for i in range(1000)) / 1000 == (
        pytest.approx(0.9, abs=0.002)
    )


# ---------------------------------------------------------------- narrower


def test_narrowed_by_hand():
    hp = keras_tuner.HyperParameters()
    hp.Float("lr", 1e-6, 1, sampling="log")
    hp.Float("dropout", 0, 0.8)
    hp.Int("layers", 1, 9)
    hp.Choice("units", [256, 32, 64, 128])
    hp.Choice("activation", ["relu", "tanh"])
    hp.Boolean("bias")
    hp.Fixed("classes", 10)
    before = hp.get_config()
    best = [
        {"lr": 1e-3, "dropout": 0.1, "layers": 9, "units": 64, "activation": "tanh"},
        {"lr": 1e-2, "dropout": 0.3, "layers": 8, "units": 64, "activation": "relu"},
    ]
    new = by_name(search.narrowed(hp, best, factor=0.5))
    # Six decades become three, around 1e-3.
    assert new["lr"].min_value == pytest.approx(10**-4.5)
    assert new["lr"].max_value == pytest.approx(10**-1.5)
    # 0.1 - 0.2 sticks out: moved, not cut.
    assert (new["dropout"].min_value, new["dropout"].max_value) == (0, 0.4)
    assert (new["layers"].min_value, new["layers"].max_value) == (5, 9)
    assert new["units"].values == [32, 64]
    assert new["activation"].values == ["relu", "tanh"]
    assert new["lr"].default == 1e-3
    assert hp.get_config() == before
    assert config(search.narrowed(hp, best, factor=1)) == config(hp)


def test_a_parameter_in_which_the_best_disagree_keeps_its_range():
    hp = space(many=[lambda hp: hp.Float("a", 1e-6, 1, sampling="log")])
    best = [{"a": 1e-3}, {"a": 1e-6}, {"a": 1.0}]
    (new,) = search.narrowed(hp, best, factor=0.2).space
    assert (new.min_value, new.max_value) == (1e-6, 1)


def test_conditions_are_kept_and_decide():
    hp = keras_tuner.HyperParameters()
    hp.Choice("model", ["mlp", "cnn"])
    with hp.conditional_scope("model", ["mlp"]):
        hp.Int("units", 1, 100)
    with hp.conditional_scope("model", ["cnn"]):
        hp.Int("units", 1, 1000)
        hp.Float("deep", 0.0, 1.0)
    best = [{"model": "cnn", "units": 500, "deep": 0.5}]
    new = search.narrowed(hp, best, factor=0.1)
    assert [one.conditions for one in new.space] == [one.conditions for one in hp.space]
    _, mlp, cnn, deep = new.space
    assert (mlp.min_value, mlp.max_value) == (1, 100)  # Active in none of them.
    assert 400 < cnn.min_value <= 500 <= cnn.max_value < 600
    assert deep.max_value - deep.min_value == pytest.approx(0.1)
    assert new.values == {"model": "mlp", "units": 1}


def test_what_a_tuner_returns_is_taken():
    hp = space(many=[lambda hp: hp.Float("a", 0, 1)])
    best = hp.copy()
    best.values = {"a": 0.5}
    (new,) = search.narrowed(hp, [best], factor=0.5).space
    assert (new.min_value, new.max_value) == (0.25, 0.75)
    # One from an earlier, wider stage counts as the end.
    (new,) = search.narrowed(hp, [{"a": 7.0}], factor=0.5).space
    assert (new.min_value, new.max_value) == (0.5, 1)


@pytest.mark.parametrize("act", [search.narrowed, search.at_border, search.widened])
def test_wrong_trials(act):
    hp = space(many=[lambda hp: hp.Float("a", 0, 1)])
    for wrong in ([], {"a": 0.5}, [0.5], None, "a"):
        with pytest.raises(ValueError, match="the values of at least one trial"):
            act(hp, wrong)
    for wrong in ("x", math.nan, True, None):
        with pytest.raises(ValueError, match="'a' must be finite numbers"):
            act(hp, [{"a": wrong}])


@pytest.mark.parametrize("factor", [-0.1, 1.5, "half", math.nan, True])
def test_wrong_factor(factor):
    hp = space(many=[lambda hp: hp.Float("a", 0, 1)])
    with pytest.raises(ValueError, match="`factor` must be between 0 and 1"):
        search.narrowed(hp, [{"a": 0.5}], factor)


SCALES = st.sampled_from(["linear", "log", "reverse_log"])
PLACES = st.lists(st.floats(0, 1), min_size=1, max_size=5)
FACTORS = st.floats(0, 1)


@st.composite
def floats(draw):
    sampling = draw(SCALES)
    low = draw(st.floats(1e-8, 1e3))
    high = low * draw(st.floats(1, 1e6))
    stepped = sampling != "reverse_log" and draw(st.booleans())
    step = None
    if stepped:
        parts = draw(st.integers(1, 30))
        step = draw(st.floats(1.5, 10)) if sampling == "log" else (high - low) / parts
        step = step or None
    return types.Float("a", low, high, step=step, sampling=sampling)


@st.composite
def ints(draw):
    sampling = draw(SCALES)
    low = draw(st.integers(1 if sampling != "linear" else -50, 60))
    high = low + draw(st.integers(0, 1000))
    step = None
    if sampling != "reverse_log" and draw(st.booleans()):
        step = draw(st.integers(2, 9))
    return types.Int("a", low, high, step=step, sampling=sampling)


CHOICES = st.builds(
    lambda values: types.Choice("a", values),
    st.lists(st.integers(-50, 50), min_size=1, max_size=9, unique=True),
)
ANY = st.one_of(floats(), ints(), CHOICES)


def drawn(hp, places):
    """Values as KerasTuner draws them, with both ends among them."""
    return [hp.prob_to_value(min(p, 0.999999)) for p in places]


def narrow(hp, values, factor):
    given = scales.space_of([hp])
    return search.narrowed(given, [{"a": v} for v in values], factor).space[0]


def has(hp, value):
    ladder = scales.points(hp)
    if ladder is None:
        inside = hp.min_value <= value <= hp.max_value
        return inside and (isinstance(value, int) or isinstance(hp, types.Float))
    closest = ladder[scales.nearest(ladder, value)]
    return math.isclose(closest, value, rel_tol=1e-9, abs_tol=1e-12)


@settings(max_examples=300, deadline=None)
@given(ANY, PLACES, FACTORS)
def test_narrowed_is_inside_and_has_the_best(hp, places, factor):
    values = drawn(hp, places)
    new = narrow(hp, values, factor)
    assert type(new) is type(hp)
    if isinstance(hp, types.Choice):
        assert set(new.values) <= set(hp.values)
        assert new.values == [v for v in hp.values if v in new.values]
    else:
        assert new.min_value >= hp.min_value
        assert new.max_value <= hp.max_value
        assert (new.sampling, new.step) == (hp.sampling, hp.step)
    if isinstance(hp, types.Int):
        assert isinstance(new.min_value, int)
        assert isinstance(new.max_value, int)
    for value in values:
        inside = isinstance(hp, types.Choice) or hp.min_value <= value <= hp.max_value
        assert has(new, value) or not inside
    ladder = scales.points(new)
    if ladder is not None:
        assert all(has(hp, v) for v in ladder)
    assert has(new, new.default) or hp.default == new.default


@settings(max_examples=200, deadline=None)
@given(floats(), PLACES, FACTORS)
def test_the_width_is_what_was_asked_for(hp, places, factor):
    if hp.step is not None or hp.min_value == hp.max_value:
        return
    if hp.max_value - hp.min_value < 1e-3 * hp.max_value:
        return  # Rounding of the ends is all there is to see.
    values = drawn(hp, places)
    new = narrow(hp, values, factor)
    at = [scales.position(hp, v) for v in values]
    width = scales.position(hp, new.max_value) - scales.position(hp, new.min_value)
    assert width == pytest.approx(max(factor, max(at) - min(at)), abs=1e-5)


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-6, 1), st.floats(1.1, 1e6), PLACES, FACTORS, st.floats(1e-3, 1e3))
def test_scaling_a_log_range_scales_the_result(low, ratio, places, factor, by):
    hp = types.Float("a", low, low * ratio, sampling="log")
    other = types.Float("a", low * by, low * ratio * by, sampling="log")
    values = drawn(hp, places)
    one = narrow(hp, values, factor)
    two = narrow(other, [v * by for v in values], factor)
    assert two.min_value == pytest.approx(one.min_value * by, rel=1e-6)
    assert two.max_value == pytest.approx(one.max_value * by, rel=1e-6)


@settings(max_examples=200, deadline=None)
@given(ANY, st.floats(0, 1))
def test_zero_width_is_the_best_value_and_stays(hp, place):
    (value,) = drawn(hp, [place])
    if not isinstance(hp, types.Choice):
        value = min(max(value, hp.min_value), hp.max_value)
    once = narrow(hp, [value], 0)
    assert narrow(once, [value], 0).get_config() == once.get_config()
    if isinstance(hp, types.Choice):
        assert once.values == [value]
    elif hp.step is None:
        assert once.min_value == once.max_value == value


@settings(max_examples=100, deadline=None)
@given(ANY, PLACES, FACTORS, st.floats(0.01, 2))
def test_nothing_changes_its_argument(hp, places, factor, more):
    given = scales.space_of([hp])
    best = [{"a": v} for v in drawn(hp, places)]
    before, copied = given.get_config(), [dict(b) for b in best]
    search.narrowed(given, best, factor)
    search.at_border(given, best)
    search.widened(given, best, more)
    search.linear_scale_warnings(given)
    assert given.get_config() == before
    assert best == copied


@settings(max_examples=200, deadline=None)
@given(floats(), st.floats(0, 1))
def test_positions_and_values_are_inverse(hp, place):
    if hp.min_value == hp.max_value:
        return
    value = scales.value_at(hp, place)
    assert scales.value_at(hp, scales.position(hp, value)) == pytest.approx(value)
    # They are KerasTuner's own.
    if hp.step is None and place < 1:
        assert hp.prob_to_value(place) == pytest.approx(value)


def test_no_step_is_lost_to_rounding():
    hp = types.Float("a", 0.1, 0.5, step=0.1)
    points = list(hp.values)
    new = narrow(hp, points[1:3], 0)
    assert list(new.values) == pytest.approx(points[1:3])
    for count in range(1, 40):
        hp = types.Float("a", 0, 1, step=1 / count)
        points = scales.points(hp)
        for start in range(len(points)):
            for stop in range(start, min(start + 4, len(points))):
                kept = points[start : stop + 1]
                assert scales.points(narrow(hp, kept, 0)) == pytest.approx(kept)


# ---------------------------------------------------------------- borders


def edge(make, values):
    hp = space(many=[make])
    return search.at_border(hp, [{"a": v} for v in values])


def rate(hp):
    hp.Float("a", 1e-6, 1, sampling="log")


def test_the_best_at_the_upper_end():
    (found,) = edge(rate, [0.9, 0.6, 0.01, 0.7, 1e-4])
    assert (found.rule, found.severity, found.where) == (
        "best-at-border",
        "warning",
        "a",
    )
    assert str(found) == (
        "a: 3 of the best 5 trials, the best among them, are at the upper end of the "
        "range 1e-06 to 1 (they are 0.0001 to 0.9). Better values likely lie above 1: "
        'try hp.Float("a", 1e-06, 31.6, sampling="log").'
    )
    assert found.evidence["agreeing"] == 3


def test_the_best_at_the_lower_end():
    (found,) = edge(rate, [1.1e-6, 1.5e-6])
    assert "lower end" in found.seen
    assert "try hp.Float" in found.action
    assert "3.16e-08" in found.action


@pytest.mark.parametrize(
    "values",
    [
        [0.9],  # One trial says little.
        [0.01, 0.9, 0.8],  # The best is not there.
        [0.9, 0.01, 0.02, 0.03, 0.04],  # The others are not there.
        [0.4, 0.4, 0.4],  # 7 % from the end.
    ],
)
def test_no_agreement(values):
    assert edge(rate, values) == []


@pytest.mark.parametrize(
    ("make", "values", "sides"),
    [
        (lambda hp: hp.Float("a", 0, 0.9), [0, 0, 0], []),  # Less dropout is none.
        (lambda hp: hp.Float("a", 0, 0.9), [0.9, 0.89, 0.9], ["upper"]),
        (lambda hp: hp.Float("a", 0.5, 1), [1, 1, 1], []),
        (lambda hp: hp.Float("a", 0.5, 1), [0.5, 0.5, 0.5], ["lower"]),
        (lambda hp: hp.Int("a", 1, 9), [1, 1, 1], []),
        (lambda hp: hp.Int("a", 2, 30), [2, 2, 2], ["lower"]),
        (lambda hp: hp.Int("a", 1, 9), [9, 9, 9], ["upper"]),
        (lambda hp: hp.Int("a", 1, 3), [3, 3, 3], []),  # By luck in 1 of 14 cases.
        (lambda hp: hp.Int("a", 1, 3), [3] * 5, ["upper"]),
        (lambda hp: hp.Int("a", 2, 64, sampling="log"), [64, 62, 64], ["upper"]),
        (lambda hp: hp.Int("a", 2, 4, sampling="log"), [2, 2, 2], []),
        (lambda hp: hp.Int("a", 8, 256, 2, "log"), [256, 256, 256], ["upper"]),
        (lambda hp: hp.Choice("a", [32, 64, 128, 256, 512]), [512] * 3, []),
        (lambda hp: hp.Choice("a", [32, 64, 128, 256, 512]), [512] * 4, ["upper"]),
        (lambda hp: hp.Choice("a", [1, 2], ordered=False), [2] * 20, []),
        (lambda hp: hp.Choice("a", [7]), [7] * 20, []),
        (lambda hp: hp.Float("a", 0.5, 0.5), [0.5] * 20, []),
        (lambda hp: hp.Float("a", 0.9, 0.999, sampling="reverse_log"), [0.999] * 9, []),
        (lambda hp: hp.Boolean("a"), [True] * 20, []),
    ],
)
def test_borders(make, values, sides):
    found = edge(make, values)
    assert ["upper" if "upper" in f.seen else "lower" for f in found] == sides


def test_false_alarms_are_rare():
    """Trials drawn at random from spaces of several kinds, 3000 spaces each."""
    kinds = [
        types.Float("a", 1e-6, 1, sampling="log"),
        types.Int("a", 2, 12),
        types.Int("a", 2, 100, sampling="log"),
        types.Choice("a", [1, 2, 4, 8]),
    ]
    for kind in kinds:
        given = scales.space_of([kind])
        alarms = 0
        for i in range(3000):
            best = [{"a": kind.random_sample(7 * i + k)} for k in range(5)]
            alarms += bool(search.at_border(given, best))
        assert alarms / 3000 < 0.01


# ---------------------------------------------------------------- wider


def wide(make, values, **kwargs):
    hp = space(many=[make])
    (new,) = search.widened(hp, [{"a": v} for v in values], **kwargs).space
    return new.min_value, new.max_value


def test_widened_by_hand():
    assert wide(rate, [1.0] * 3, factor=0.5) == (1e-6, pytest.approx(1e3))
    assert wide(rate, [1e-6] * 3, factor=0.5) == (pytest.approx(1e-9), 1)
    assert wide(rate, [1e-3] * 3) == (1e-6, 1)
    limits = {"a": (0, 5.0), "b": (1, 2)}
    assert wide(rate, [1.0] * 3, factor=0.5, limits=limits) == (1e-6, 5)
    # Limits that the range passes already cut nothing.
    assert wide(rate, [1.0] * 3, limits={"a": (0.1, 0.5)}) == (1e-6, 1)
    assert wide(lambda hp: hp.Float("a", 1, 5), [5] * 3) == (1, 6)
    assert wide(lambda hp: hp.Float("a", 1, 5), [1] * 3, factor=2) == (0, 5)
    assert wide(lambda hp: hp.Float("a", -1, 5), [-1] * 3) == (-2.5, 5)
    assert wide(lambda hp: hp.Float("a", 0, 0.9), [0.9] * 3) == (0, 1)
    assert wide(lambda hp: hp.Int("a", 1, 9), [9] * 3) == (1, 11)
    assert wide(lambda hp: hp.Int("a", 3, 30), [3] * 3) == (1, 30)
    assert wide(lambda hp: hp.Int("a", 8, 64, step=8), [64] * 5) == (8, 80)
    assert wide(lambda hp: hp.Int("a", 8, 256, 2, "log"), [256] * 3) == (8, 1024)
    assert wide(lambda hp: hp.Int("a", 8, 256, 2, "log"), [8] * 3) == (2, 256)
    assert wide(lambda hp: hp.Int("a", 2, 64, sampling="log"), [64] * 3)[1] == 153
    assert wide(lambda hp: hp.Float("a", 0.5, 5, step=0.5), [5.0] * 3) == (0.5, 6.5)


def test_choices_cannot_be_widened():
    hp = space(many=[lambda hp: hp.Choice("a", [32, 64, 128, 256, 512])])
    best = [{"a": 512}] * 5
    assert config(search.widened(hp, best)) == config(hp)
    (found,) = search.at_border(hp, best)
    assert "add larger values to 'a' than [32, 64, 128, 256, 512]" in found.action


@settings(max_examples=300, deadline=None)
@given(ANY, st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]), st.floats(0.01, 1))
def test_widened_has_all_of_the_old_range(hp, place, factor):
    given = scales.space_of([hp])
    (new,) = search.widened(
        given, [{"a": v} for v in drawn(hp, [place] * 8)], factor
    ).space
    if isinstance(hp, types.Choice):
        assert new.get_config() == hp.get_config()
        return
    assert new.min_value <= hp.min_value
    assert new.max_value >= hp.max_value
    assert new.min_value >= 0 or hp.min_value < 0
    assert (new.sampling, new.step) == (hp.sampling, hp.step)
    if isinstance(hp, types.Int):
        ladder = scales.points(new)
        old = scales.points(hp)
        assert ladder is None or set(old) <= set(ladder)


def test_wrong_arguments_of_borders():
    hp = space(many=[rate])
    best = [{"a": 0.1}]
    with pytest.raises(ValueError, match="`tolerance` must be above 0"):
        search.at_border(hp, best, tolerance=0.7)
    with pytest.raises(ValueError, match="`factor` must be a positive number"):
        search.widened(hp, best, factor=0)
    for wrong in [(2, 1), (1,), 3, ("a", "b"), (math.nan, 1)]:
        with pytest.raises(ValueError, match="smallest and the largest value of 'a'"):
            search.widened(hp, best, limits={"a": wrong})


# ---------------------------------------------------------------- importing


def test_importing_is_lazy():
    code = (
        "import sys, keras_babysit, keras_babysit.search as s; dir(s); print([m for m "
        "in ('tensorflow', 'keras', 'keras_tuner', 'optuna') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_babysit.search.space.spaces", None)
    monkeypatch.delitem(sys.modules, "keras_babysit.search.space.spaces")
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    with pytest.raises(ImportError, match=r"keras_babysit\[search\]"):
        search.l2  # noqa: B018
    with pytest.raises(AttributeError, match="nonsense"):
        search.nonsense  # noqa: B018
