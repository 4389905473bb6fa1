"""The Gaussian process, the cube that it is over, and the oracle that asks it."""

import keras_tuner
import numpy as np
import pytest
from scipy import optimize, stats

from keras_babysit.search.oracles.gaussian import gaussian_process
from keras_babysit.search.oracles.gaussian.bayesian_oracle import StagedBayesian
from keras_babysit.search.oracles.gaussian.unit_cube import UnitCube


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def space():
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-5, 1.0, sampling="log")
    hp.Int("layers", 1, 3)
    hp.Choice("activation", ["relu", "tanh", "gelu"])
    with hp.conditional_scope("activation", ["tanh"]):
        hp.Boolean("bias")
    hp.Fixed("classes", 10)
    return hp


def made(direction="min"):
    goal = keras_tuner.Objective("score", direction)
    oracle = StagedBayesian(goal, 99, seed=2, hyperparameters=space())
    oracle.save = oracle._save_trial = lambda *_: None
    oracle.verbose = 0
    return oracle


def score(values):
    away = (np.log10(values["rate"]) + 2) ** 2 / 9 + (values["layers"] - 2) ** 2
    return away + (values["activation"] != "gelu")


def end(oracle, trial, sign=1):
    values = trial.hyperparameters.values
    oracle.update_trial(trial.trial_id, {"score": sign * score(values)})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    return values


def test_goes_through_points_without_noise(rng):
    x = rng.random((30, 2))
    y = 100 + 5 * np.sin(4 * x[:, 0]) * x[:, 1]
    process = gaussian_process.fit(x[:25], y[:25], np.arange(2))
    mean, deviation = process.predict(x)
    assert mean == pytest.approx(y, abs=0.5)
    assert np.max(deviation[:25]) < 0.05
    far = process.predict(np.full((1, 2), 9.0))
    assert far[0] == pytest.approx(np.mean(y[:25]), abs=0.5)
    assert far[1] > 10 * np.max(deviation[:25])


def test_improvement_is_what_is_expected_of_a_normal_variable(rng):
    x = rng.random((20, 1))
    process = gaussian_process.fit(x, x[:, 0] ** 2, np.zeros(1, int))
    points = np.linspace(0, 1, 9)[:, None]
    mean, deviation = process.predict(points)
    for best in (mean.min(), mean.min() - 4 * deviation.max()):
        z = (best - mean) / deviation
        expected = deviation * (stats.norm.pdf(z) + z * stats.norm.cdf(z))
        found = process.log_improvement(points, best)
        near = z > -8  # Beyond that, the formula has no digits left.
        assert np.exp(found[near]) == pytest.approx(expected[near], rel=0.2)
        assert np.all(np.isfinite(found))
        assert list(np.argsort(found[near])) == list(np.argsort(expected[near]))


def test_gradient_of_what_is_minimized(rng, monkeypatch):
    checked = []

    def check(loss, start, **_):
        numbers = optimize.approx_fprime(start, lambda logs: loss(logs)[0], 1e-6)
        checked.append((loss(start)[1], numbers))
        return optimize.OptimizeResult(x=start)

    monkeypatch.setattr(gaussian_process.optimize, "minimize", check)
    x = rng.random((12, 3))
    gaussian_process.fit(x, x @ [1.0, 2.0, 0.0], np.array([0, 1, 1]))
    assert checked[0][0] == pytest.approx(checked[0][1], rel=1e-3, abs=1e-3)


def test_points_that_are_the_same_and_scores_that_are(rng):
    x = np.repeat(rng.random((3, 2)), 70, axis=0)
    for y in (np.ones(210), np.arange(210.0), 1e9 * (x[:, 0] > 0.5)):
        mean, deviation = gaussian_process.fit(x, y, np.arange(2)).predict(x)
        assert np.all(np.isfinite(mean))
        assert np.all(deviation > 0)


def test_open_points_are_kept_away_from(rng):
    x = rng.random((10, 1))
    process = gaussian_process.fit(x, np.abs(x[:, 0] - 0.4), np.zeros(1, int))
    points = np.linspace(0, 1, 101)[:, None]
    best = process.predict(x)[0].min()
    there = points[[np.argmax(process.log_improvement(points, best))]]
    guessing = process.guessing(there)
    assert guessing.log_improvement(there, best) < process.log_improvement(there, best)


def test_the_cube():
    cube = UnitCube([hp for hp in space().space if hp.name != "classes"])
    assert list(cube.groups) == [0, 1, 2, 2, 2, 3, 3]
    points = np.array(
        [[0.3, 0.1, 0.0, 0.9], [0.3, 0.3, 0.5, 0.1], [0.3, 0.3, 0.4, 0.2]]
    )
    columns = cube.columns(points)
    assert list(columns[:, 1]) == [0.5 / 3] * 3  # All of the first of three values.
    assert np.sum((columns[0] - columns[1]) ** 2) == pytest.approx(2)  # Two differ.
    assert np.all(columns[1] == columns[2])


@pytest.mark.parametrize("direction", ["min", "max"])
def test_finds_the_best(direction):
    oracle = made(direction=direction)
    seen = [
        end(oracle, oracle.create_trial("one"), -1 if direction == "max" else 1)
        for _ in range(25)
    ]
    assert min(map(score, seen)) < 0.1
    assert all(("bias" in v) == (v["activation"] == "tanh") for v in seen)
    assert all(v["classes"] == 10 for v in seen)
    assert len({tuple(v.items()) for v in seen}) == 25


def test_several_at_a_time_try_other_values():
    oracle = made()
    for _ in range(12):
        end(oracle, oracle.create_trial("one"))
    opened = [oracle.create_trial(f"worker {i}") for i in range(4)]
    values = [t.hyperparameters.values for t in opened]
    rates = sorted(np.log10(v["rate"]) for v in values)
    assert len({(v["layers"], v["activation"]) for v in values}) > 1 or (
        np.min(np.diff(rates)) > 0.05
    )


def test_follows_from_the_trials_alone():
    one, other = made(), made()
    for _ in range(14):
        end(one, one.create_trial("one"))
    for number, trial in enumerate(one.trials.values()):
        known = trial.hyperparameters.values

        def given(trial_id, values=known):
            return {"status": "RUNNING", "values": dict(values)}

        other.populate_space = given
        assert end(other, other.create_trial(f"one {number}")) == known
    del other.populate_space
    values = [o.create_trial("next").hyperparameters.values for o in (one, other)]
    assert values[0] == values[1]
