"""OptunaOracle through KerasTuner's own calls, in one process and resumed."""

import json
import math
import os
import subprocess
import sys

import keras
import keras_tuner
import numpy as np
import optuna
import pytest

from keras_babysit import search
from keras_babysit.search.oracles import optuna_oracle
from keras_babysit.search.space import optuna_space

types = keras_tuner.engine.hyperparameters
NAMES = [name for name in optuna_oracle.SAMPLERS if name != "gp"]  # Needs torch.


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: one test here makes a model."""


def conditional_space(hp):
    hp.Float("lr", 1e-5, 1, sampling="log")
    hp.Choice("model", ["mlp", "cnn"])
    with hp.conditional_scope("model", ["mlp"]):
        hp.Int("units", 8, 64, step=8)
        hp.Boolean("bias")
    with hp.conditional_scope("model", ["cnn"]):
        hp.Int("units", 100, 1000, sampling="log")
        hp.Choice("kernel", [3, 5, 7])
    hp.Fixed("classes", 10)


def flat_space(hp):
    hp.Float("x", -5, 10)
    hp.Float("y", 0, 15)


def small_space(hp):
    hp.Int("a", 0, 2)
    hp.Choice("b", ["u", "v"])


def made(folder, space=conditional_space, reload=False, **kwargs):
    hp = keras_tuner.HyperParameters()
    space(hp)
    kwargs = {
        "objective": keras_tuner.Objective("score", "min"),
        "max_trials": 30,
        "seed": 3,
        "hyperparameters": hp,
        **kwargs,
    }
    oracle = search.OptunaOracle(**kwargs)
    oracle._set_project_dir(str(folder), "project")
    oracle.verbose = 0
    if reload:
        oracle.reload()
    return oracle


def score(values):
    return sum(
        math.log10(v) ** 2 if k == "lr" else float(v)
        for k, v in values.items()
        if isinstance(v, float | int)
    )


def end(oracle, trial, value=None):
    value = score(trial.hyperparameters.values) if value is None else value
    oracle.update_trial(trial.trial_id, {oracle.objective.name: value})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def go(oracle, count=None):
    """Runs trials one after the other; returns their values."""
    seen = []
    while count is None or len(seen) < count:
        trial = oracle.create_trial("tuner")
        if trial.status == "STOPPED":
            break
        seen.append(dict(trial.hyperparameters.values))
        end(oracle, trial)
    return seen


# ---------------------------------------------------------------- the mapping


HPS = [
    types.Float("a", -1, 2),
    types.Float("a", 1e-6, 10, sampling="log"),
    types.Float("a", 0.9, 0.999, sampling="reverse_log"),
    types.Float("a", 0, 1, step=0.1),
    types.Float("a", 0.1, 0.35, step=0.1),
    types.Float("a", 1e-3, 10, step=10, sampling="log"),
    types.Float("a", 1, 100, step=10, sampling="reverse_log"),
    types.Int("a", 1, 9),
    types.Int("a", -5, 13, step=3),
    types.Int("a", 2, 32, sampling="log"),
    types.Int("a", 2, 40, step=2, sampling="log"),
    types.Int("a", 2, 32, sampling="reverse_log"),
    types.Choice("a", [128, 32, 64]),
    types.Choice("a", [0.5, 0.9], ordered=False),
    types.Choice("a", ["x", "y"]),
    types.Choice("a", [True, False]),
    types.Boolean("a"),
    types.Float("a", 1, 1),
]


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("hp", HPS, ids=repr)
def test_values_go_in_and_come_out(hp, grid):
    (axis,) = optuna_space.axes_of([hp], grid)
    # A grid has only ten values of a range; the others have all that KerasTuner draws.
    values = hp.values if grid else [hp.random_sample(i) for i in range(200)]
    for value in values:
        value = int(value) if isinstance(hp, types.Int) else value
        inside = axis.inward(value)
        assert inside is not None
        assert axis.distribution._contains(axis.distribution.to_internal_repr(inside))
        back = axis.outward(inside)
        assert back == (pytest.approx(value) if isinstance(value, float) else value)
        assert type(axis.outward(inside)) is type(value)


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("hp", HPS, ids=repr)
def test_what_is_suggested_is_the_hyperparameters(hp, grid):
    (axis,) = optuna_space.axes_of([hp], grid)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [axis.suggest(study.ask()) for _ in range(300)]
    if isinstance(hp, types.Choice | types.Boolean) or hp.step is not None:
        assert set(drawn) == set(hp.values)
    else:
        assert min(drawn) >= hp.min_value
        assert max(drawn) <= hp.max_value
        # As KerasTuner draws them: on the same scale.
        places = [hp.value_to_prob(value) for value in drawn]
        assert np.mean(places) == pytest.approx(0.5, abs=0.06)
    kind = {types.Int: int, types.Float: float, types.Boolean: bool}.get(type(hp))
    assert kind is None or {type(value) for value in drawn} == {kind}


def test_out_of_range_is_told_as_missing():
    for hp, value in [
        (types.Float("a", 0, 1), 2.0),
        (types.Int("a", 0, 9, step=3), 4),
        (types.Choice("a", [1, 2]), 3),
        (types.Choice("a", ["x"]), "y"),
        (types.Float("a", 0, 1, step=0.25), 0.3),
    ]:
        assert optuna_space.axes_of([hp])[0].inward(value) is None


def test_one_name_under_two_conditions_is_two_parameters():
    hp = keras_tuner.HyperParameters()
    conditional_space(hp)
    assert [axis.name for axis in optuna_space.axes_of(hp.space)] == [
        "lr",
        "model",
        "units if model in ['mlp']",
        "bias",
        "units if model in ['cnn']",
        "kernel",
    ]


# ---------------------------------------------------------------- suggesting


@pytest.mark.parametrize("sampler", NAMES)
def test_only_what_is_active_is_suggested(tmp_path, sampler):
    models = set()
    for values in go(made(tmp_path, sampler=sampler)):
        models.add(values["model"])
        rest = {"bias"} if values["model"] == "mlp" else {"kernel"}
        assert set(values) == {"lr", "model", "units", "classes"} | rest
        assert values["classes"] == 10
        assert 1e-5 <= values["lr"] <= 1
        if values["model"] == "mlp":
            assert values["units"] in range(8, 65, 8)
        else:
            assert 100 <= values["units"] <= 1000
    assert models == {"mlp", "cnn"}


def test_tpe_learns(tmp_path):
    def far(values):
        return (values["x"] - 3) ** 2 + (values["y"] - 2) ** 2

    best = {}
    for sampler in ("tpe", "random"):
        lowest = []
        for seed in range(3):
            folder = tmp_path / f"{sampler}{seed}"
            oracle = made(folder, flat_space, sampler=sampler, seed=seed)
            for _ in range(30):
                trial = oracle.create_trial("tuner")
                end(oracle, trial, far(trial.hyperparameters.values))
            (one,) = oracle.get_best_trials(1)
            lowest.append(one.score)
        best[sampler] = np.median(lowest)
    assert best["tpe"] < best["random"]


def values_with(folder, objective, results):
    """Runs 16 trials; `results` makes the metrics of a value to be minimized."""
    oracle = made(folder, flat_space, objective=objective, max_trials=16)
    for _ in range(16):
        trial = oracle.create_trial("tuner")
        metrics = results((trial.hyperparameters.values["x"] - 3) ** 2)
        oracle.update_trial(trial.trial_id, metrics)
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    return [trial.hyperparameters.values for trial in oracle.trials.values()]


def test_the_direction_is_the_objectives(tmp_path):
    least = keras_tuner.Objective("score", "min")
    most = keras_tuner.Objective("score", "max")
    one = values_with(tmp_path / "a", least, lambda y: {"score": y})
    assert values_with(tmp_path / "b", most, lambda y: {"score": -y}) == one
    assert values_with(tmp_path / "c", most, lambda y: {"score": y}) != one


def test_directions_that_keras_tuner_has_wrong():
    assert search.OptunaOracle("val_f1_score").objective.direction == "max"
    several = search.OptunaOracle(["val_loss", "val_mean_io_u"]).objective
    assert several.name_to_direction == {"val_loss": "min", "val_mean_io_u": "max"}


def test_several_objectives(tmp_path):
    least = keras_tuner.Objective("score", "min")
    several = ["val_loss", keras_tuner.Objective("val_accuracy", "max")]

    def results(y):
        # The last one is what KerasTuner adds to what `fit` returned.
        logs = {"val_loss": 0.25 * y, "val_accuracy": -0.75 * y}
        return {**logs, "multi_objective": 0.25 * y + 0.75 * y}

    one = values_with(tmp_path / "a", least, lambda y: {"score": y})
    assert values_with(tmp_path / "b", several, results) == one
    with pytest.raises(ValueError, match="Objective value missing"):
        values_with(tmp_path / "c", several, lambda y: {"val_loss": y})


def test_open_trials_are_told_apart(tmp_path):
    oracle = made(tmp_path, small_space, max_trials=None)
    opened = [oracle.create_trial(f"tuner{i}") for i in range(6)]
    values = {tuple(t.hyperparameters.values.items()) for t in opened}
    assert len(values) == 6  # All that there are.
    assert oracle.create_trial("another").status == "STOPPED"
    for trial in reversed(opened):
        end(oracle, trial)
    assert sorted(t.score for t in oracle.trials.values()) == [0, 0, 1, 1, 2, 2]


def test_the_study_has_each_trial_in_its_state(tmp_path):
    oracle = made(tmp_path, flat_space, max_retries_per_trial=1)
    go(oracle, 2)
    failed = oracle.create_trial("tuner")
    failed.status = "FAILED"
    oracle.end_trial(failed)
    invalid = oracle.create_trial("tuner")
    invalid.status = "INVALID"
    oracle.end_trial(invalid)
    again = oracle.create_trial("tuner")
    assert again.trial_id == invalid.trial_id  # A retry, with the same values.
    assert again.hyperparameters.values == invalid.hyperparameters.values
    end(oracle, again, math.nan)  # And not finite: no retries are left.
    oracle.create_trial("one")
    study = oracle._study().study
    assert [t.state.name for t in study.trials] == [
        "COMPLETE",
        "COMPLETE",
        "FAIL",
        "FAIL",
        "RUNNING",
    ]
    assert study.trials[0].value == oracle.trials["00"].score
    assert study.trials[0].params == oracle.trials["00"].hyperparameters.values


@pytest.mark.parametrize("space", [conditional_space, flat_space, small_space])
def test_the_live_study_is_what_a_new_one_would_be(tmp_path, space, rng):
    oracle = made(tmp_path, space, max_trials=None, max_consecutive_failed_trials=99)
    kept = 0
    for _ in range(40):
        if len(oracle.ongoing_trials) < 3 and rng.random() < 0.7:
            oracle.create_trial(f"worker {len(oracle.trials)}")
        elif oracle.ongoing_trials:
            trial = rng.choice(list(oracle.ongoing_trials.values()))
            if rng.random() < 0.1:
                trial.hyperparameters.Float(f"late {len(oracle.trials)}", 0, 1)
            if rng.random() < 0.2:
                trial.status = "FAILED"
                oracle.end_trial(trial)
            else:
                end(oracle, trial)
        before = oracle._live
        live = oracle._study()
        kept += live is before
        oracle._live = None
        new = oracle._study()
        oracle._live = live if before is live else None
        fields = ("number", "state", "values", "params", "distributions")
        assert [
            [getattr(t, f) for f in (*fields, "system_attrs", "intermediate_values")]
            for t in live.study.trials
        ] == [
            [getattr(t, f) for f in (*fields, "system_attrs", "intermediate_values")]
            for t in new.study.trials
        ]
        assert live.notes == new.notes
    assert kept > 5


def test_too_many_failures_in_a_row(tmp_path):
    oracle = made(tmp_path, flat_space, max_consecutive_failed_trials=2)
    for expected in (None, RuntimeError):
        trial = oracle.create_trial("tuner")
        trial.status, trial.message = "FAILED", "out of memory"
        if expected is None:
            oracle.end_trial(trial)
        else:
            with pytest.raises(expected, match="consecutive failures"):
                oracle.end_trial(trial)


@pytest.mark.parametrize("sampler", NAMES)
def test_hyperparameters_may_turn_up_during_the_search(tmp_path, sampler):
    oracle = made(tmp_path, flat_space, sampler=sampler, max_trials=25)
    for i in range(25):
        trial = oracle.create_trial("tuner")
        hp = trial.hyperparameters
        if i >= 5:
            hp.Float("late", 0.0, 1.0, default=0.25)
            assert i == 5 or "late" in oracle.hyperparameters.values
        end(oracle, trial)
    late = [
        t.hyperparameters.values["late"]
        for t in oracle.trials.values()
        if "late" in t.hyperparameters.values
    ]
    assert len(late) == 20
    assert late[0] == 0.25
    assert len(set(late)) > 5


def test_a_space_that_only_the_trials_know(tmp_path):
    oracle = made(tmp_path, lambda hp: None)
    trial = oracle.create_trial("tuner")
    assert trial.hyperparameters.values == {}
    # What comes next is not known before this one ends.
    assert oracle.create_trial("another").status == "IDLE"
    trial.hyperparameters.Float("lr", 1e-5, 1, sampling="log")
    end(oracle, trial)
    assert set(go(oracle, 5)[-1]) == {"lr"}


def test_nothing_is_tried_twice_and_then_it_ends(tmp_path):
    for sampler in NAMES:
        oracle = made(tmp_path / sampler, small_space, sampler=sampler, max_trials=None)
        seen = [tuple(values.items()) for values in go(oracle)]
        assert len(seen) == len(set(seen)) == 6


def test_the_grid_is_every_combination_of_what_is_active(tmp_path):
    def space(hp):
        hp.Choice("model", ["mlp", "cnn"])
        with hp.conditional_scope("model", ["mlp"]):
            hp.Int("layers", 1, 3)
            hp.Boolean("bias")
        with hp.conditional_scope("model", ["cnn"]):
            hp.Float("rate", 1e-4, 1, step=10, sampling="log")

    oracle = made(tmp_path, space, sampler="grid", max_trials=None)
    seen = go(oracle)
    mlp = [("mlp", n, b) for n in (1, 2, 3) for b in (False, True)]
    cnn = [("cnn", pytest.approx(10.0**i)) for i in (-4, -3, -2, -1, 0)]
    assert sorted(tuple(v.values()) for v in seen if v["model"] == "mlp") == mlp
    assert sorted(tuple(v.values()) for v in seen if v["model"] == "cnn") == cnn


def test_a_grid_waits_for_open_trials(tmp_path):
    oracle = made(tmp_path, small_space, sampler="grid", max_trials=None)
    go(oracle, 5)
    last = oracle.create_trial("one")
    assert oracle.create_trial("two").status == "IDLE"
    last.hyperparameters.Boolean("new")
    end(oracle, last)
    assert len(go(oracle)) == 12 - 1  # All of them with the new one, but the last.


def test_a_sampler_of_ones_own(tmp_path):
    own = optuna.samplers.TPESampler(n_startup_trials=3, seed=9)
    one = go(made(tmp_path / "a", flat_space, sampler=own, max_trials=12))
    two = go(made(tmp_path / "b", flat_space, sampler=own, max_trials=12))
    other = go(made(tmp_path / "c", flat_space, sampler=own, max_trials=12, seed=4))
    assert one == two != other  # The oracle's seed counts, and the sampler is not used.
    assert len({values["x"] for values in one}) == 12


# ---------------------------------------------------------------- seeds and resuming


SAMPLERS = {
    "tpe": lambda: "tpe",
    "random": lambda: "random",
    "grid": lambda: "grid",
    "own tpe": lambda: optuna.samplers.TPESampler(n_startup_trials=3),
    "nsga2": lambda: optuna.samplers.NSGAIISampler(population_size=4),
    # Keeps its place in the study's attributes.
    "qmc": lambda: optuna.samplers.QMCSampler(seed=1),
}


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_one_seed_one_search(tmp_path, sampler, seed):
    kwargs = {"sampler": sampler, "seed": seed, "max_trials": 16}
    one = go(made(tmp_path / "a", **kwargs))
    assert go(made(tmp_path / "b", **kwargs)) == one
    assert go(made(tmp_path / "c", **{**kwargs, "seed": 6})) != one


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_resumed_search_is_the_unbroken_one(tmp_path, name):
    kwargs = {"sampler": SAMPLERS[name](), "max_trials": 18}
    unbroken = go(made(tmp_path / "a", **kwargs))
    assert len({values["lr"] for values in unbroken}) > 7  # The grid has ten.
    seen = []
    for count in (1, 4, 8, 5):  # Each in a new oracle that knows only the files.
        oracle = made(tmp_path / "b", reload=bool(seen), **kwargs)
        seen += go(oracle, count)
    assert seen == unbroken


def test_a_search_that_was_cut_off_in_mid_trial(tmp_path):
    unbroken = made(tmp_path / "a", max_trials=16)
    go(unbroken)
    broken = made(tmp_path / "b", max_trials=16)
    go(broken, 12)
    lost = broken.create_trial("tuner")
    resumed = made(tmp_path / "b", max_trials=16, reload=True)
    assert list(resumed.trials) == resumed.start_order  # Ties are broken by it.
    again = resumed.create_trial("tuner")
    assert again.trial_id == lost.trial_id
    assert again.hyperparameters.values == lost.hyperparameters.values
    end(resumed, again)
    go(resumed)
    assert [t.hyperparameters.values for t in resumed.trials.values()] == [
        t.hyperparameters.values for t in unbroken.trials.values()
    ]
    assert resumed.get_best_trials()[0].score == unbroken.get_best_trials()[0].score


@pytest.mark.parametrize("at", ["beginning", "end"])
def test_a_crash_between_two_files(tmp_path, at):
    """KerasTuner writes the trial first, and `oracle.json` after it."""
    unbroken = go(made(tmp_path / "a", max_trials=16))
    oracle = made(tmp_path / "b", max_trials=16)
    go(oracle, 12)
    trial = oracle.create_trial("tuner") if at == "end" else None
    before = (tmp_path / "b" / "project" / "oracle.json").read_text()
    if at == "end":
        trial.hyperparameters.Float("late", 0, 1)
        end(oracle, trial)
    else:
        trial = oracle.create_trial("tuner")
    (tmp_path / "b" / "project" / "oracle.json").write_text(before)

    resumed = made(tmp_path / "b", max_trials=16, reload=True)
    # What the trial found out is not lost with the oracle's file.
    late = any(hp.name == "late" for hp in resumed.hyperparameters.space)
    assert late == (at == "end")
    go(resumed)
    values = [resumed.trials[i].hyperparameters.values for i in resumed.start_order]
    if at == "beginning":
        assert values == unbroken
    else:
        assert "late" in values[13]
        assert values[:12] == unbroken[:12]
    assert sorted(resumed.end_order) == sorted(resumed.start_order)
    counts = {
        len(t.metrics.get_history("score")[0].value) for t in resumed.trials.values()
    }
    assert counts == {1}  # Nothing was run or counted twice.


def test_open_trials_of_several_workers_survive(tmp_path):
    oracle = made(tmp_path, max_trials=20)
    go(oracle, 12)
    opened = {oracle.create_trial(f"w{i}").trial_id for i in range(3)}
    resumed = made(tmp_path, max_trials=20, reload=True)
    again = [resumed.create_trial(f"w{i}") for i in range(3)]
    assert {trial.trial_id for trial in again} == opened
    fourth = resumed.create_trial("w3")
    assert fourth.trial_id not in opened
    for trial in [*again, fourth]:
        end(resumed, trial)
    assert len(go(resumed)) == 4


def test_a_folder_of_keras_tuners_own_oracle_goes_on(tmp_path):
    hp = keras_tuner.HyperParameters()
    flat_space(hp)
    plain = keras_tuner.oracles.RandomSearchOracle(
        keras_tuner.Objective("score", "min"), 12, seed=1, hyperparameters=hp
    )
    plain._set_project_dir(str(tmp_path), "project")
    plain.verbose = 0
    go(plain)
    resumed = made(tmp_path, flat_space, max_trials=15, reload=True)
    assert len(go(resumed)) == 3
    assert len(resumed._study().study.trials) == 15


@pytest.mark.slow
def test_the_same_in_another_process(tmp_path):
    """Another process orders sets of strings in another way."""
    code = (
        "import json, sys\n"
        "sys.path[:0] = ['tests', 'tests/search/oracles']\n"
        "import test_optuna_oracle as t\n"
        "print(json.dumps(t.go(t.made(sys.argv[1], max_trials=16))))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    here = go(made(tmp_path / "b", max_trials=16))
    assert json.loads(out.stdout.splitlines()[-1]) == here


# ---------------------------------------------------------------- with a Tuner


class Bowl(keras_tuner.Tuner):
    """Trains nothing."""

    def run_trial(self, trial, *args, **kwargs):
        x = trial.hyperparameters.Float("x", -5, 5)
        if x > 4:
            raise ValueError("too large")
        return (x - 1) ** 2


def test_a_tuner_without_a_model(tmp_path):
    oracle = search.OptunaOracle(max_trials=15, seed=2, max_consecutive_failed_trials=9)
    tuner = Bowl(oracle=oracle, directory=str(tmp_path), project_name="bowl")
    tuner.search(verbose=0)
    assert len(oracle.trials) == 15
    (best,) = tuner.get_best_hyperparameters()
    assert abs(best.get("x") - 1) < 1


def test_a_narrowed_space_overrides_the_hypermodels(tmp_path):
    def build(hp):
        hp.Choice("model", ["mlp", "cnn"])
        with hp.conditional_scope("model", ["mlp"]):
            hp.Int("units", 1, 100)
        search.learning_rate(hp)

    class Builds(keras_tuner.Tuner):
        def run_trial(self, trial, *args, **kwargs):
            build(trial.hyperparameters)
            return score(trial.hyperparameters.values)

    def stage(name, **kwargs):
        oracle = search.OptunaOracle(max_trials=8, seed=1, **kwargs)
        tuner = Builds(oracle, build, directory=str(tmp_path), project_name=name)
        tuner.search(verbose=0)
        return tuner

    coarse = stage("coarse")
    best = coarse.get_best_hyperparameters(2)
    finer = search.narrowed(coarse.oracle.get_space(), best, factor=0.2)
    fine = stage("fine", hyperparameters=finer)
    assert fine.oracle.get_space().get_config()["space"] == finer.get_config()["space"]
    rate = next(hp for hp in finer.space if hp.name == "learning_rate")
    for trial in fine.oracle.trials.values():
        value = trial.hyperparameters.get("learning_rate")
        assert rate.min_value <= value <= rate.max_value


def test_one_name_under_two_conditions_with_a_tuner(tmp_path):
    """KerasTuner's own oracles fail there: KeyError, or values that nobody chose."""
    seen = []

    def build(hp):
        model = hp.Choice("model", ["mlp", "cnn"])
        with hp.conditional_scope("model", ["mlp"]):
            mlp = hp.Int("units", 8, 64)
        with hp.conditional_scope("model", ["cnn"]):
            cnn = hp.Int("units", 100, 1000)
        seen.append((model, mlp, cnn))

    class Builds(keras_tuner.Tuner):
        def run_trial(self, trial, *args, **kwargs):
            build(trial.hyperparameters)
            return float(trial.hyperparameters["units"])

    oracle = search.OptunaOracle(max_trials=14, seed=1)
    tuner = Builds(oracle, build, directory=str(tmp_path), project_name="two")
    seen.clear()
    tuner.search(verbose=0)
    assert [t.status for t in oracle.trials.values()] == ["COMPLETED"] * 14
    assert {model for model, _, _ in seen} == {"mlp", "cnn"}
    for model, mlp, cnn in seen:
        assert (8 <= mlp <= 64 and cnn is None) if model == "mlp" else cnn >= 100
    # And what was run is what is on record.
    recorded = [t.hyperparameters.values["units"] for t in oracle.trials.values()]
    assert recorded == [mlp or cnn for _, mlp, cnn in seen]


def test_a_tuner_trains_and_resumes(tmp_path, rng):
    x = rng.normal(size=(32, 4)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("float32")

    def make_model(hp):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(
            keras.optimizers.SGD(search.learning_rate(hp, max_value=0.1)), "mse"
        )
        return model

    def tuner(max_trials, overwrite):
        oracle = search.OptunaOracle("val_loss", max_trials, seed=1)
        return keras_tuner.Tuner(
            oracle,
            make_model,
            directory=str(tmp_path),
            project_name="digits",
            overwrite=overwrite,
        )

    for max_trials, overwrite in ((2, True), (3, False)):
        one = tuner(max_trials, overwrite)
        one.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
        assert len(one.oracle.trials) == max_trials
    assert one.get_best_models(1)[0].predict(x, verbose=0).shape == (32, 1)
    keras.backend.clear_session()


# ---------------------------------------------------------------- bad input


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`sampler` must be one of 'tpe', 'gp'"):
        search.OptunaOracle("val_loss", sampler="bayes")
    with pytest.raises(ValueError, match="`sampler` must be one of"):
        search.OptunaOracle("val_loss", sampler=None)
    for wrong in (0, -1, 2.5, True, "10"):
        with pytest.raises(ValueError, match="`max_trials` must be a positive integer"):
            search.OptunaOracle("val_loss", wrong)
    for wrong in (-1, 0.5, "1"):
        with pytest.raises(ValueError, match="`seed` must be a non-negative integer"):
            search.OptunaOracle("val_loss", seed=wrong)
    with pytest.raises(ValueError, match="Could not infer optimization direction"):
        search.OptunaOracle("nonsense")


def test_gp_without_torch(monkeypatch):
    monkeypatch.setattr(optuna_oracle.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"keras_babysit\[search-gp\]"):
        search.OptunaOracle("val_loss", sampler="gp")


def test_empty_spaces(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Fixed("classes", 10)
    for closed in ({"allow_new_entries": False}, {"tune_new_entries": False}):
        with pytest.raises(ValueError, match="The search space is empty"):
            search.OptunaOracle("val_loss", hyperparameters=hp, **closed)
    oracle = made(tmp_path, lambda hp: hp.Fixed("classes", 10))
    with pytest.raises(ValueError, match=r"after 1 trial\(s\) no hyperparameter"):
        go(oracle)


def test_a_range_upside_down():
    hp = keras_tuner.HyperParameters()
    with pytest.raises(
        ValueError, match=r"min_value 1\.0 is greater than the max_value"
    ):
        hp.Float("lr", 1, 0.1)


def test_a_missing_objective(tmp_path):
    oracle = made(tmp_path, flat_space)
    trial = oracle.create_trial("tuner")
    with pytest.raises(ValueError, match="Objective value missing"):
        oracle.update_trial(trial.trial_id, {"loss": 1.0})


def test_nobody_elses_logging_is_changed(tmp_path, capfd):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    go(made(tmp_path, flat_space), 3)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert "study" not in capfd.readouterr().err
