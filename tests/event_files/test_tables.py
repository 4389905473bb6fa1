"""Tables of a step: complete, readable back, and spread over the run."""

import itertools
import math
from collections import Counter

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from keras_babysit.event_files.tables import (
    MAX_MOMENTS,
    PER_TAG,
    Spread,
    add_to,
    is_spread,
    kind_of,
    tables,
)
from keras_babysit.history import RunHistory
from keras_babysit.records import LayerStats, StepRecord, TensorStats, VariableStats


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


numbers = st.floats(width=32, allow_nan=False)
stats = st.builds(TensorStats, *[numbers] * 8)
variables = st.builds(
    VariableStats,
    path=st.text(min_size=1),
    weight=st.none() | stats,
    update=st.none() | stats,
    gradient=st.none() | stats,
)
fractions = st.none() | st.floats(0, 1, width=32)
layers = st.builds(
    LayerStats,
    path=st.text(min_size=1),
    activation=stats,
    zero_fraction=fractions,
    saturation_fraction=fractions,
    dead_fraction=fractions,
)
records = st.builds(
    StepRecord,
    step=st.integers(0, 1000),
    epoch=st.floats(0, 100, width=32),
    loss=st.none() | numbers,
    learning_rate=st.none() | numbers,
    gradient_norm=st.none() | numbers,
    variables=st.lists(variables, unique_by=lambda v: v.path).map(tuple),
    layers=st.lists(layers, unique_by=lambda v: v.path).map(tuple),
)


@hypothesis.given(records)
def test_a_step_comes_back(record):
    given, found = RunHistory(), RunHistory()
    given.append(record)
    add_to(found, record.step, tables(record))
    for quantity, places in given.quantities().items():
        field = quantity.partition(".")[0]
        if field in ("zero_fraction", "update_ratio", "dead_window"):
            continue
        for place in places:
            expected, came = (
                given.series(quantity, place),
                found.series(quantity, place),
            )
            np.testing.assert_array_equal(came, expected, quantity)
    both = [v for v in record.variables if v.weight and v.update]
    ratios = found.window("update_ratio")
    assert ratios.places == tuple(v.path for v in both)
    for variable, ratio in zip(both, ratios.values[-1:].ravel(), strict=True):
        if variable.weight.norm:
            assert ratio == variable.update.norm / variable.weight.norm
        else:
            assert math.isnan(ratio)


def test_a_loss_that_is_nan_is_not_one_that_is_unknown():
    history = RunHistory()
    add_to(history, 0, tables(StepRecord(0, 0.5, loss=math.nan)))
    assert math.isnan(history.series("loss").values[0])
    assert "learning_rate" not in history.quantities()


def test_names_of_tags():
    assert kind_of("babysit/weight") == kind_of("babysit/weight/full3") == "weight"
    assert is_spread("babysit/weight/full3")
    assert not is_spread("babysit/weight")


@hypothesis.given(st.integers(1, 5000))
def test_moments_are_spread_over_the_run_and_few(n):
    spread = Spread("full")
    chosen = {i: end for i in range(n) if (end := spread.ending("places"))}
    assert 0 in chosen
    assert max(Counter(chosen.values()).values()) <= PER_TAG
    assert len(chosen) <= MAX_MOMENTS * (1 + max(0, math.log2(n / MAX_MOMENTS)))
    # No gap is longer than a share of the run.
    ends = [*chosen, n]
    gaps = [after - before for before, after in itertools.pairwise(ends)]
    assert max(gaps) <= max(1, 2 * n / (MAX_MOMENTS / 2))


def test_a_tag_has_always_the_same_rows():
    spread = Spread("full")
    tags = [spread.ending(layout) for layout in ("ab", "ab", "abc", "abc", "ab")]
    assert tags == ["/full0", "/full0", "/full1", "/full1", "/full2"]
