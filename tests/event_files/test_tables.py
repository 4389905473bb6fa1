"""Tables of a step: complete, readable back, and spread over the run."""

import itertools
import math
from collections import Counter

import hypothesis
import hypothesis.strategies as st
import pytest

from keras_babysit.event_files.tables import (
    MAX_MOMENTS,
    PER_TAG,
    Spread,
    is_spread,
    kind_of,
    step_record,
    tables,
)
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
    found = step_record(record.step, tables(record))
    assert (found.step, found.epoch) == (record.step, record.epoch)
    assert found.loss == record.loss
    assert found.gradient_norm == record.gradient_norm
    assert found.layers == record.layers
    given = {
        v.path: (v.weight, v.update, v.gradient)
        for v in record.variables
        if v.weight or v.update or v.gradient
    }
    assert {v.path: (v.weight, v.update, v.gradient) for v in found.variables} == given
    for variable in found.variables:
        if variable.weight and variable.update and variable.weight.norm:
            ratio = variable.update.norm / variable.weight.norm
            assert variable.update_ratio == ratio


def test_a_loss_that_is_nan_is_not_one_that_is_unknown():
    found = step_record(0, tables(StepRecord(0, 0.5, loss=math.nan)))
    assert math.isnan(found.loss)
    assert found.learning_rate is None


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
