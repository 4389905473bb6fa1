"""What holds for every rule, whatever a run produced."""

import dataclasses
import re
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import histories as H

from keras_babysit import rules
from keras_babysit.history import RunHistory
from keras_babysit.records import (
    EpochRecord,
    LayerStats,
    LossInputs,
    StepRecord,
    VariableStats,
)
from keras_babysit.rules.judge import Judge
from keras_babysit.rules.kind import KINDS, MEANING
from keras_babysit.rules.rule import SEVERITIES, Sign

SECTIONS = (
    "What it sees:",
    "Why it matters:",
    "What to do:",
    "When it is wrong:",
    "References:",
)
RULES = rules.available()

numbers = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 1e-3, np.nan, np.inf, -np.inf, 1e308, -1e308]),
    st.floats(width=64),
)
maybe = st.none() | numbers
tensors = st.none() | st.builds(
    H.stats, numbers, numbers, numbers, st.sampled_from([0, 3]), st.just(0)
)
paths = st.sampled_from(
    [f"dense_{i}/{r}" for i in range(4) for r in ("kernel", "bias")]
    + ["embedding/embeddings", "w"]
)
variables = st.builds(
    VariableStats,
    paths,
    weight=tensors,
    update=tensors,
    gradient=tensors,
    update_ratio=maybe,
)
layers = st.builds(
    LayerStats,
    st.sampled_from([f"dense_{i}" for i in range(6)]),
    activation=tensors,
    zero_fraction=maybe,
    saturation_fraction=maybe,
    dead_fraction=maybe,
)
tensors_of_losses = st.none() | st.builds(
    H.loss_tensor,
    st.sampled_from([(), (None,), (None, 1), (None, 10), (16, 4, 4, 3)]),
    st.sampled_from([0, 1, 320]),
    st.sampled_from([0, 1, 32]),
    st.sampled_from([(), (5, 0, 9), (100, 300)]),
    min=numbers,
    max=numbers,
    mean=numbers,
    outside=numbers,
    positive=numbers,
    spread=numbers,
    whole=st.sampled_from([0.0, 1.0, np.nan]),
    unit_sums=st.tuples(numbers, numbers, numbers),
)
losses = st.builds(
    LossInputs,
    st.sampled_from(["mine", "mine@2"]),
    st.just("mine"),
    takes=st.sampled_from(["", "logits", "probabilities"]),
    cross_entropy=st.sampled_from(
        ["", "binary_crossentropy", "sparse_categorical_crossentropy"]
    ),
    expanded=st.booleans(),
    single=st.booleans(),
    targets=tensors_of_losses,
    outputs=tensors_of_losses,
    weights=tensors_of_losses,
    values=tensors_of_losses,
)
steps = st.builds(
    StepRecord,
    st.integers(0, 10**6),
    st.floats(0, 1e3),
    loss=maybe,
    learning_rate=maybe,
    gradient_norm=maybe,
    variables=st.lists(variables, max_size=4).map(tuple),
    layers=st.lists(layers, max_size=4).map(tuple),
    losses=st.lists(losses, max_size=2).map(tuple),
    frozen=st.dictionaries(paths, numbers, max_size=2),
    weights_unread=st.booleans(),
)
logs = st.dictionaries(
    st.sampled_from(
        ["loss", "val_loss", "accuracy", "val_accuracy", "auc", "r2_score", "d_loss"]
    ),
    numbers,
)
epochs = st.builds(
    EpochRecord,
    st.integers(0, 1000),
    st.integers(0, 10**6),
    logs=logs,
    loss_std=maybe,
    loss_count=st.integers(0, 9),
    first_layer_smoothness=st.just({}) | st.just({"dense_0": 0.1}),
)


@st.composite
def histories(draw):
    history = RunHistory()
    history.model = H.MODELS[draw(st.sampled_from(list(H.MODELS)))]
    history.data = H.DATA[draw(st.sampled_from(list(H.DATA)))]
    some = draw(st.lists(steps | epochs, max_size=6))
    for record in some * draw(st.sampled_from([1, 1, 5, 30])):
        history.append(record)
    history.ended = draw(st.booleans())
    return history


def asked_twice(history):
    """Asks every rule, twice; anything that NumPy warns of is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rule in RULES.values():
            first, second = rule.signs(history), rule.signs(history)
            assert repr(first) == repr(second)
            for sign in first:
                check(rule, sign)


def check(rule, sign):
    assert isinstance(sign, Sign)
    assert (sign.severity or rule.severity) in SEVERITIES
    assert sign.seen
    assert sign.cause
    assert sign.action
    for text in (sign.seen, sign.cause, sign.action):
        assert not text.endswith("."), text
        assert "np.float" not in text


@given(histories())
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_no_rule_ever_raises(history):
    asked_twice(history)
    judge = Judge(RULES.values())
    for moment in ("start", "step", "epoch", "end"):
        judge.judge(history, moment)
    for finding in judge.findings:
        assert str(finding)


@pytest.mark.parametrize("regime", list(H.REGIMES))
@pytest.mark.parametrize("n", [0, 1, 2, 12])
@pytest.mark.parametrize("model", list(H.MODELS))
def test_ordinary_histories(n, regime, model):
    for losses in (H.learning(n), H.flat(n), [np.nan] * n):
        history = H.run(
            losses,
            regime=regime,
            model=model,
            accuracy=[0.1] * n,
            val_loss=[1.0] * n,
            ended=True,
        )
        asked_twice(history)


def test_thousands_of_layers():
    def many(step):
        return tuple(
            H.variable(f"dense_{i}/{role}", 1e-3 * (i + 1) ** 0.1)
            for i in range(2000)
            for role in ("kernel", "bias")
        )

    def outputs(step):
        return tuple(H.layer(f"dense_{i}", dead=1.0) for i in range(2000))

    history = H.run(H.flat(4), variables=many, layers=outputs)
    asked_twice(history)


def test_two_histories_are_not_mixed_up():
    bad, good = H.run(H.flat(12)), H.run(H.learning(12))
    for rule in RULES.values():
        before = repr(rule.signs(bad))
        rule.signs(good)
        assert repr(rule.signs(bad)) == before


def test_what_is_asked_early_does_not_change_what_is_said_later():
    """Numbers that rules share are worked out anew when the history has grown."""
    asked, fresh = RunHistory(), RunHistory()
    for history in (asked, fresh):
        history.model, history.data = H.MODELS["classes"], H.DATA["classes"]
    for i in range(12):
        record = EpochRecord(i + 1, 20 * (i + 1), logs={"loss": 2.303, "accuracy": 0.1})
        for history in (asked, fresh):
            history.append(record)
        for rule in RULES.values():
            rule.signs(asked)
    for history in (asked, fresh):
        history.ended = True
    for rule in RULES.values():
        assert repr(rule.signs(asked)) == repr(rule.signs(fresh))


@pytest.mark.parametrize("name", list(RULES))
def test_documented(name):
    rule = RULES[name]
    lines = rule.doc.splitlines()
    assert lines[0].endswith(".")
    assert not lines[1]
    at = [rule.doc.find(section) for section in SECTIONS]
    assert -1 not in at, f"{name} lacks a section"
    assert at == sorted(at)
    assert rule.source
    assert rule.when


@pytest.mark.parametrize("name", list(RULES))
def test_a_rule_names_only_what_its_kind_does_not_explain(name):
    rule = RULES[name]
    by_kind = dataclasses.replace(rule, also=frozenset())
    for other in rule.also:
        assert rule.explains(RULES[other])
        assert not by_kind.explains(RULES[other])
    assert not rule.explains(rule)


def test_kinds_explain_kinds_and_rules():
    known = {*KINDS, *RULES}
    assert all(explained <= known for explained in KINDS.values())
    assert list(MEANING) == list(KINDS)
    assert {rule.kind for rule in RULES.values()} == set(KINDS)


def test_what_only_the_score_is_about_explains_no_training():
    told = ("loss-flat", "loss-not-finite", "learning-rate-too-high", "dead-relu")
    for rule in RULES.values():
        if rule.kind in ("note", "remark", "symptom: generalises badly"):
            assert not any(rule.explains(RULES[name]) for name in told), rule.name


def test_causes_are_not_symptoms():
    """What training shows never explains what is wrong before it starts."""
    for rule in RULES.values():
        for other in RULES.values():
            if rule.is_symptom and rule.explains(other):
                assert other.is_symptom or other.name == "initial-loss-off-chance"


def test_no_setting_explains_the_loss_before_the_first_update():
    for rule in RULES.values():
        if rule.kind == "cause in the settings":
            assert not rule.explains(RULES["initial-loss-off-chance"]), rule.name


@pytest.mark.parametrize("name", list(RULES))
def test_names_and_thresholds(name):
    rule = RULES[name]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    for value in rule.thresholds.values():
        assert isinstance(value, int | float)
    assert dataclasses.replace(rule) == rule
