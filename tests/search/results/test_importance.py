"""Shares of variance against closed forms, and when nothing is said."""

import itertools
import math
import sys

import numpy as np
import optuna
import pytest
from support import made_up_search as made

from keras_babysit.search.results.anova import _shares, decompose
from keras_babysit.search.results.dimensions import Dimension
from keras_babysit.search.results.importance import FEWEST, importance_of
from keras_babysit.search.trials import EpochResult

UNIT = [Dimension(name, 0.0, 1.0) for name in ("a", "b", "c", "d")]


def boxes(function, cells):
    """The function at the middles of a grid's cells, as a tree's leaves have it."""
    edges = np.arange(cells) / cells
    low = np.array(list(itertools.product(edges, repeat=3)))
    return low, low + 1 / cells, function(*(low + 0.5 / cells).T)


@pytest.mark.parametrize("interaction", [0.0, 1.0, 4.0])
def test_shares_of_a_sum_and_a_product(interaction):
    # f = 2 a + b + i (a - 1/2)(b - 1/2): the variance of a cell's middle is v, so the
    # parts have variances 4 v, v and i² v², and nothing is due to c.
    cells = 4
    v = (1 - 1 / cells**2) / 12

    def f(a, b, c):
        return 2 * a + b + interaction * (a - 0.5) * (b - 0.5)

    single, pair = _shares(*boxes(f, cells))
    parts = np.array([4 * v, v, 0, interaction**2 * v**2])
    expected = parts / parts.sum()
    np.testing.assert_allclose(single, expected[:3], atol=1e-12)
    np.testing.assert_allclose(pair[0, 1], expected[3], atol=1e-12)
    np.testing.assert_allclose([pair[0, 2], pair[1, 2]], 0, atol=1e-12)


def test_what_only_three_do_together_is_no_pair():
    def f(a, b, c):
        return (a - 0.5) * (b - 0.5) * (c - 0.5)

    single, pair = _shares(*boxes(f, 4))
    np.testing.assert_allclose(single, 0, atol=1e-12)
    np.testing.assert_allclose(pair, 0, atol=1e-12)


def test_boxes_of_any_shape_against_a_fine_grid(rng):
    points, values = rng.uniform(size=(30, 2)), rng.normal(size=30)
    from sklearn.tree import DecisionTreeRegressor

    from keras_babysit.search.results.anova import _boxes

    tree = DecisionTreeRegressor(random_state=0).fit(points, values)
    single, pair = _shares(*_boxes(tree.tree_))
    middles = (np.arange(1000) + 0.5) / 1000
    grid = np.stack(np.meshgrid(middles, middles, indexing="ij"), -1)
    table = tree.predict(grid.reshape(-1, 2)).reshape(1000, 1000)
    of_a, of_b = table.mean(1).var(), table.mean(0).var()
    expected = np.array([of_a, of_b]) / table.var()
    np.testing.assert_allclose(single, expected, atol=2e-3)
    np.testing.assert_allclose(pair[0, 1], 1 - expected.sum(), atol=2e-3)


def test_single_shares_are_optunas(rng):
    points = rng.uniform(size=(25, 3))
    values = points[:, 0] + 2 * points[:, 1] * points[:, 2]
    ours = decompose(points, values, seed=3).single
    study = optuna.create_study()
    unit = optuna.distributions.FloatDistribution(0, 1)
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=dict(zip("abc", map(float, point), strict=True)),
                distributions=dict.fromkeys("abc", unit),
                value=float(value),
            )
            for point, value in zip(points, values, strict=True)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=3)
    theirs = evaluator.evaluate(study)
    np.testing.assert_allclose(ours, [theirs[name] for name in "abc"], rtol=1e-6)


def trials_of(function, count, seed=0, names="abcd", noise=0.1, **more):
    rng = np.random.default_rng(seed)
    points = rng.uniform(size=(count, len(names)))
    scores = np.array([function(*point) for point in points], float)
    scores += noise * scores.std() * rng.normal(size=count)
    return [
        made.trial(i, float(s), values=dict(zip(names, map(float, p), strict=True)))
        for i, (p, s) in enumerate(zip(points, scores, strict=True))
    ]


def shares_of(found):
    return {share.name: share.share for share in found.singles}


def test_shares_come_near_the_closed_form():
    # Var a = 1/12 and Var 4(a - 1/2)(b - 1/2) = 16/144: 3/7 and 4/7.
    trials = trials_of(lambda a, b, c, d: a + 4 * (a - 0.5) * (b - 0.5), 200, noise=0)
    found = importance_of(trials, made.LOSS, UNIT)
    shares = shares_of(found)
    assert [share.name for share in found.pairs] == ["a × b"]
    assert shares["a"] == pytest.approx(3 / 7, abs=0.06)
    assert found.pairs[0].share == pytest.approx(4 / 7, abs=0.1)
    assert max(shares[name] for name in "bcd") < 0.03
    assert next(iter(shares)) == "a"
    assert found.explained > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_no_interaction_is_made_up(seed):
    trials = trials_of(lambda a, b, c, d: 4 * (a - 0.6) ** 2 + 0.5 * b, 40, seed)
    found = importance_of(trials, made.LOSS, UNIT)
    assert found.pairs == ()
    assert shares_of(found)["a"] > 0.6


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_shares(seed):
    rng = np.random.default_rng(seed)
    trials = trials_of(lambda a, b, c, d: rng.normal(), 40, seed)
    found = importance_of(trials, made.LOSS, UNIT)
    assert found.singles == found.pairs == ()
    assert "do not follow from their hyperparameters" in found.reason


def test_the_scale_is_the_one_that_is_searched_on():
    rng = np.random.default_rng(0)
    dimensions = [
        Dimension("learning_rate", 1e-6, 10.0, sampling="log"),
        Dimension("dropout", 0.0, 0.9),
    ]
    trials = []
    for i in range(40):
        rate, dropout = 10 ** rng.uniform(-6, 1), rng.uniform(0, 0.9)
        score = (math.log10(rate) + 3) ** 2 / 9 + dropout
        values = {"learning_rate": rate, "dropout": dropout}
        trials.append(made.trial(i, score, values=values))
    # Var of (x + 3)² / 9, x uniform over 7 decades, and of a uniform number.
    x = np.linspace(-6, 1, 10001)
    rate, dropout = ((x + 3) ** 2 / 9).var(), 0.9**2 / 12
    shares = shares_of(importance_of(trials, made.LOSS, dimensions))
    expected = rate / (rate + dropout)
    assert shares["learning_rate"] == pytest.approx(expected, abs=0.15)


def test_choices_and_booleans():
    dimensions = [
        Dimension("how", choices=("x", "y", "z")),
        Dimension("flag", choices=(False, True)),
    ]
    rng = np.random.default_rng(0)
    trials = []
    for i in range(40):
        how, flag = str(rng.choice(["x", "y", "z"])), bool(rng.integers(2))
        score = 2.0 * (how == "y") + flag
        trials.append(made.trial(i, score, values={"how": how, "flag": flag}))
    shares = shares_of(importance_of(trials, made.LOSS, dimensions))
    # Variances: 4 · 2/9 and 1/4.
    assert shares["how"] == pytest.approx((8 / 9) / (8 / 9 + 1 / 4), abs=0.05)
    assert shares["flag"] == pytest.approx((1 / 4) / (8 / 9 + 1 / 4), abs=0.05)


def test_conditional_ones_by_the_trials_that_have_them():
    dimensions = [
        Dimension("optimizer", choices=("adam", "sgd")),
        Dimension("rate", 0.0, 1.0),
        Dimension("momentum", 0.0, 1.0, condition="optimizer is sgd"),
    ]
    rng = np.random.default_rng(2)
    trials = []
    for i in range(80):
        values = {"optimizer": str(rng.choice(["adam", "sgd"])), "rate": rng.uniform()}
        score = values["rate"]
        if values["optimizer"] == "sgd":
            values["momentum"] = rng.uniform()
            score += 2 * values["momentum"]
        trials.append(made.trial(i, score, values=values))
    found = importance_of(trials, made.LOSS, dimensions)
    by_name = {share.name: share for share in found.singles}
    active = sum("momentum" in t.values for t in trials)
    assert by_name["momentum"].trials == active < len(trials)
    assert by_name["rate"].trials == by_name["optimizer"].trials == len(trials)
    # Of variances 4/12 and 1/12 where it is active.
    assert by_name["momentum"].share == pytest.approx(4 / 5, abs=0.12)
    assert found.reason == ""


def test_what_is_hidden_in_the_whole_can_be_clear_in_a_part():
    dimensions = [
        Dimension("a", 0.0, 1.0),
        Dimension("only", 0.0, 1.0, condition="now and then"),
    ]
    rng = np.random.default_rng(0)
    trials = []
    for i in range(60):
        values = {"a": rng.uniform()}
        score = rng.normal()
        if i % 2:
            values["only"] = rng.uniform()
            score = 5 * values["only"]
        trials.append(made.trial(i, score, values=values))
    found = importance_of(trials, made.LOSS, dimensions)
    assert [share.name for share in found.singles] == ["only"]
    assert "the scores of 60 trials do not follow" in found.reason


def test_too_few_trials():
    trials = trials_of(lambda a, b, c, d: a, FEWEST - 1)
    found = importance_of(trials, made.LOSS, UNIT)
    assert found.reason == "needs at least 20 comparable trials, there are 19"
    many = [Dimension(name, 0.0, 1.0) for name in "abcdefg"]
    trials = trials_of(lambda *values: values[0], 27, names="abcdefg")
    found = importance_of(trials, made.LOSS, many)
    assert found.reason == "needs at least 28 comparable trials, there are 27"
    assert importance_of([], made.LOSS, UNIT).reason
    assert importance_of(trials_of(lambda *v: v[0], 30), made.LOSS, []).reason


def test_all_the_same():
    trials = trials_of(lambda a, b, c, d: 0.5, 30)
    found = importance_of(trials, made.LOSS, UNIT)
    assert found.reason == "all 30 scores are the same"


def test_higher_is_better_is_the_mirror_image():
    lower = trials_of(lambda a, b, c, d: a + b, 30, noise=0)
    higher = [made.trial(t.number, -t.score, values=t.values) for t in lower]
    ours = importance_of(lower, made.LOSS, UNIT)
    theirs = importance_of(higher, made.ACCURACY, UNIT)
    assert shares_of(ours) == shares_of(theirs)


def test_failed_trials_count_as_the_worst_but_not_lost_ones():
    trials = trials_of(lambda a, b, c, d: b, 40, noise=0)
    diverged = [t for t in trials if t.values["a"] > 0.6]
    kept = [t for t in trials if t.values["a"] <= 0.6]
    failed = [made.trial(t.number, None, "failed", values=t.values) for t in diverged]
    found = importance_of([*kept, *failed], made.LOSS, UNIT)
    assert found.worst == len(diverged)
    assert shares_of(found)["a"] > 0.3
    lost = [
        made.trial(
            t.number,
            None,
            "killed",
            values=t.values,
            reason="its process ended 3 times without a new epoch",
        )
        for t in diverged
    ]
    found = importance_of([*kept, *lost], made.LOSS, UNIT)
    assert found.trials == len(kept)
    assert found.worst == 0


def test_one_that_is_far_out_does_not_outweigh_all():
    trials = trials_of(lambda a, b, c, d: a, 40, noise=0)
    wild = made.trial(40, 1e9, values=dict.fromkeys("abcd", 0.5))
    found = importance_of([*trials, wild], made.LOSS, UNIT)
    assert shares_of(found)["a"] > 0.7


def test_stages_are_compared_after_the_same_epochs():
    # What matters after one epoch is `a`, and after five it is `b`.
    rng = np.random.default_rng(0)
    trials, epochs = [], {}
    for i in range(50):
        stage, count = (0, 1) if i < 30 else (1, 5)
        values = {name: float(rng.uniform()) for name in "abcd"}
        early, late = 1 + values["a"], values["b"]
        epochs[i] = [
            EpochResult(e, {"val_loss": early if e == 1 else late})
            for e in range(1, count + 1)
        ]
        score = early if count == 1 else late
        trials.append(made.trial(i, score, values=values, stage=stage, epochs=count))
    late = importance_of(trials, made.LOSS, UNIT, epochs)
    assert (late.epochs, late.trials) == (5, 20)
    assert next(iter(shares_of(late))) == "b"
    early = importance_of(trials[:45], made.LOSS, UNIT, epochs)
    assert (early.epochs, early.trials) == (1, 45)
    assert next(iter(shares_of(early))) == "a"


def test_promoted_trials_and_repeats_count_once():
    trials = trials_of(lambda a, b, c, d: a, 30)
    again = [
        made.trial(30 + i, 0.1, values=t.values, origin=origin, source=t.number)
        for i, t in enumerate(trials[:5])
        for origin in ("promoted", "repeat")
    ]
    assert importance_of([*trials, *again], made.LOSS, UNIT).trials == 30


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ImportError, match=r"pip install .*\[search\]'"):
        importance_of(trials_of(lambda a, b, c, d: a, 30), made.LOSS, UNIT)
