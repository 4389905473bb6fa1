"""KerasTuner's four tuners over `Search`: arguments, methods, and what is refused."""

import dataclasses
import inspect
import os

import keras_tuner
import numpy as np
import optuna
import pytest
from support.pretending import Pretend, X, Y, make_model

from keras_babysit import search
from keras_babysit.search.oracles.brackets import Brackets
from keras_babysit.search.space.scales import Scoped
from keras_babysit.search.trial import isolation
from keras_babysit.search.trials import Outcome
from keras_babysit.search.tuners.grid_search import size

VALIDATION = {"validation_data": (X, Y)}
NAMES = ("RandomSearch", "BayesianOptimization", "GridSearch", "Hyperband")


@pytest.fixture(autouse=True)
def _fresh_keras(monkeypatch):
    """Instead of conftest's: few tests here make a model."""
    monkeypatch.setattr(isolation.gc, "collect", lambda: 0)


def made(folder, kind="RandomSearch", **settings):
    settings = {"hypermodel": make_model, "objective": "val_loss"} | settings
    settings = {"executor": Pretend(), "seed": 3, "directory": folder} | settings
    return getattr(search, kind)(verbose=0, **settings)


def parameters(kind):
    found = inspect.signature(kind.__init__).parameters.values()
    return {p.name: p.default for p in found if p.kind != p.VAR_KEYWORD}


@pytest.mark.parametrize("name", NAMES)
def test_takes_what_keras_tuners_takes(name):
    ours, theirs = getattr(search, name), getattr(keras_tuner, name)
    assert parameters(ours) == parameters(theirs)
    assert list(parameters(ours)) == list(parameters(theirs))  # Also by position.
    known = {n for base in ours.__mro__ for n in parameters(base)}
    assert set(parameters(keras_tuner.Tuner)) - {"oracle"} <= known


@pytest.mark.parametrize("name", NAMES)
def test_searches_and_is_asked_as_keras_tuner_is(tmp_path, name, capsys):
    own = {"Hyperband": {"max_epochs": 2}, "GridSearch": {"max_trials": 4}}
    more = own.get(name, {"max_trials": 4})
    tuner = made(tmp_path, name, project_name="a", **more)
    tuner.search_space_summary()
    assert "learning_rate (Float)" in capsys.readouterr().out
    tuner.search(X, Y, 4, epochs=2, **VALIDATION, callbacks=[], verbose=0)
    trials = tuner.oracle.trials
    assert len(trials) == tuner.oracle.max_trials == len(tuner.results())
    assert {len(store_epochs(tuner, trial_id)) for trial_id in trials} == {2}
    assert tuner.remaining_trials == 0
    assert list(trials) == tuner.oracle.start_order
    assert set(trials) == set(tuner.oracle.end_order)
    (best,) = tuner.oracle.get_best_trials()
    assert best.score == min(t.score for t in trials.values())
    assert best.status == "COMPLETED"
    assert best.metrics.get_best_value("val_loss") == best.score
    assert best.metrics.get_best_step("val_loss") == best.best_step == 1
    values = tuner.oracle.get_trial(best.trial_id).hyperparameters.values
    assert tuner.get_best_hyperparameters()[0].values == values
    assert (
        tuner.oracle.get_space().get_config()["space"]
        == (tuner.oracle.hyperparameters.get_config()["space"])
    )
    assert tuner.oracle.objective == keras_tuner.Objective("val_loss", "min")
    assert os.path.isdir(tuner.get_trial_dir(best.trial_id))
    tuner.results_summary(2)
    said = capsys.readouterr().out
    assert f"Results in {tuner.project_dir}" in said
    assert said.count("Hyperparameters:") == 2
    assert f"Score: {best.score}" in said


def store_epochs(tuner, trial_id):
    return tuner._store.epochs(int(trial_id))


def test_has_keras_tuners_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tuner = search.RandomSearch(make_model, "val_loss", 2, executor=Pretend())
    tuner.search(X, Y, **VALIDATION, verbose=0)
    assert tuner.project_dir == str(tmp_path / "untitled_project")
    assert [t.epochs for t in tuner._store.trials()] == [1, 1]  # As `fit` has it.
    assert len(list(tuner.directory.rglob("best.keras"))) == 2  # All are kept.


def test_trials_that_failed_are_shown(tmp_path):
    def outcome(trial, _):
        if trial.number == 1:
            return Outcome("failed", reason="ValueError: no", raised="E")

    tuner = made(tmp_path, max_trials=3, executor=Pretend(outcome=outcome))
    tuner.search(X, Y, **VALIDATION)
    failed = tuner.oracle.get_trial("0001")
    assert (failed.status, failed.message) == ("FAILED", "ValueError: no")
    assert failed.score is None
    assert len(tuner.oracle.get_best_trials(9)) == 2


class Refused(search.RandomSearch):
    def on_epoch_end(self, *args, **kwargs):
        pass


class Custom(search.RandomSearch):
    def run_trial(self, trial, scale, **kwargs):
        x = trial.hyperparameters.Float("x", -1.0, 1.0)
        return {"far": scale * x * x, "x": x}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"logger": 1}, "`logger` has no meaning here.*verbose=1.*logger=1"),
        ({"tuner_id": "t"}, '`tuner_id` has no meaning.*executor="ray"'),
        ({"hypermodel": None}, "`hypermodel` must be .*overrides `run_trial`"),
        ({"objective": None}, "`objective` must be"),
        ({"max_trial": 3}, "`RandomSearch` has no argument `max_trial`. Did you mean "),
        ({"max_epochs": 3}, "no argument `max_epochs`. Use `epochs=`.*max_epochs=3"),
        ({"oracle": 3}, "no argument `oracle`. Use `method=`"),
        ({"nothing_like_it": 3}, "It has: hypermodel, objective, max_trials,"),
        ({"tune_new_entries": False}, "`tune_new_entries=False` needs `hyperparam"),
        ({"allow_new_entries": False}, "`allow_new_entries=False` needs `hyperpara"),
        ({"hyperparameters": 3}, "`hyperparameters` must be .*hyperparameters=3"),
        ({"executions_per_trial": 0}, "executions_per_trial=0"),
        ({"executions_per_trial": 2, "folds": 2}, "cannot be given together"),
        ({"max_model_size": 0}, "max_model_size=0"),
        ({"max_retries_per_trial": -1}, "max_retries_per_trial=-1"),
        ({"distribution_strategy": "all"}, "`distribution_strategy` must be"),
        ({"stages": [(1, 1)]}, r"`stages` is not .* `Search\(stages=...\)`"),
        ({"method": "tpe"}, r"`method` is not .*`Search\(method=...\)`.*'tpe'"),
        ({"epochs": 3}, "`epochs` is not .* Give it to `search`.*epochs=3"),
    ],
)
def test_arguments_that_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        made(tmp_path, **settings)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("Hyperband", {"max_epochs": 0}, "max_epochs=0"),
        ("Hyperband", {"factor": 1}, "`factor`.*at least 2.*factor=1"),
        ("Hyperband", {"hyperband_iterations": 0}, "hyperband_iterations=0"),
        ("Hyperband", {"max_trials": 3}, "`max_trials` is not .*follows from `max_ep"),
        ("Hyperband", {"pruner": None}, "`pruner` is not .* brackets decide"),
        ("BayesianOptimization", {"alpha": -1}, "alpha=-1"),
        ("BayesianOptimization", {"num_initial_points": 0}, "num_initial_points=0"),
        ("GridSearch", {"max_trials": 0}, "max_trials=0"),
        ("Search", {"num_initial_points": 3}, "Use `BayesianOptimization"),
    ],
)
def test_arguments_of_each_that_are_refused(tmp_path, kind, settings, message):
    with pytest.raises(ValueError, match=message):
        made(tmp_path, kind, **settings)


def test_a_hook_that_would_never_be_called_is_refused(tmp_path):
    message = r"`Refused.on_epoch_end` would never be called: pass a `keras.callbacks"
    with pytest.raises(ValueError, match=message):
        Refused(make_model, "val_loss", directory=tmp_path)


def test_the_oracle_only_shows(tmp_path):
    tuner = made(tmp_path)
    with pytest.raises(AttributeError, match=r"no 'update_trial'.*return it from"):
        tuner.oracle.update_trial("0", {})
    with pytest.raises(KeyError, match=r"no trial .0.\. There are none yet"):
        tuner.oracle.get_trial("0")
    with pytest.raises(AttributeError, match=r"no `Tuner`: use `Search\(..., method="):
        _ = search.Tuner


class TestRunTrial:
    def test_of_ones_own(self, tmp_path):
        tuner = Custom(
            objective=keras_tuner.Objective("far", "min"),
            max_trials=5,
            directory=tmp_path,
            seed=1,
            verbose=0,
        )
        tuner.search(2.0)  # By position, as KerasTuner passes it on.
        (best,) = tuner.oracle.get_best_trials()
        x = best.hyperparameters["x"]
        assert best.score == pytest.approx(2 * x * x)
        assert best.metrics.get_last_value("x") == x
        assert best.score == min(t.score for t in tuner.oracle.trials.values())
        with pytest.raises(ValueError, match="no checkpoint"):
            tuner.get_best_models()
        with pytest.raises(RuntimeError, match="within `search` only"):
            search.RandomSearch.run_trial(tuner, best)

    def test_trains_in_this_process(self, tmp_path):
        with pytest.raises(ValueError, match=r"trains in this process.*'ray'"):
            Custom(directory=tmp_path, executor="ray")

    def test_around_keras_tuners(self, tmp_path):
        """The way to tune `fit`'s arguments that most programs have."""

        class Batches(search.RandomSearch):
            def run_trial(self, trial, *args, **kwargs):
                kwargs["batch_size"] = trial.hyperparameters.Choice("batch", [2, 4])
                kwargs["epochs"] = trial.hyperparameters.Int("epochs", 2, 3)
                return super().run_trial(trial, *args, **kwargs)

        tuner = Batches(
            make_model,
            "val_loss",
            max_trials=2,
            directory=tmp_path,
            seed=1,
            verbose=0,
            babysit=False,
        )
        tuner.search(X, Y, epochs=9, **VALIDATION)
        for trial in tuner._store.trials():
            assert trial.status == "completed", trial.outcome.reason
            assert trial.outcome.epochs == trial.values["epochs"]
        (model,) = tuner.get_best_models()
        score = tuner.oracle.get_best_trials()[0].score
        assert model.evaluate(X, Y, verbose=0) == pytest.approx(score)


def conditional():
    hp = Scoped()
    hp.Choice("kind", ["a", "b", "c"])
    hp.Boolean("bias")
    with hp.conditional_scope("kind", ["a", "b"]):
        hp.Int("units", 1, 4)
        with hp.conditional_scope("kind", ["b"]):
            hp.Choice("deep", [1, 2])
    hp.Fixed("task", 1)
    return hp


def test_a_grid_is_counted():
    # a: 2 x 4, b: 2 x 4 x 2, c: 2.
    assert size(conditional().space) == 8 + 16 + 2
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1.0, sampling="log")
    hp.Float("share", 0.0, 1.0, step=0.25)
    assert size(hp.space) == 10 * 5


def test_a_grid_is_searched_as_a_whole(tmp_path, capsys):
    def small(hp):
        hp.merge(conditional().space)
        return make_model(keras_tuner.HyperParameters())

    executor = Pretend(loss=lambda values, epoch, seed: len(values))
    tuner = made(tmp_path, "GridSearch", hypermodel=small, executor=executor)
    tuner.search(X, Y, **VALIDATION)
    assert len(tuner.results()) == 26
    assert "nothing new" not in capsys.readouterr().out


def test_arguments_of_the_gaussian_process(tmp_path):
    tuner = made(tmp_path, "BayesianOptimization", max_trials=2, beta=1.0)
    tuner.search(X, Y, **VALIDATION)
    goal, space = tuner.oracle.objective, tuner.oracle.get_space()
    oracle = tuner._method(goal, 2, 1, space)
    assert isinstance(oracle, keras_tuner.oracles.BayesianOptimizationOracle)
    assert (oracle.alpha, oracle.beta, oracle.num_initial_points) == (1e-4, 1.0, None)
    again = made(tmp_path, "BayesianOptimization", max_trials=2, beta=2.0)
    with pytest.raises(ValueError, match=r"beta=2\.0.*not.*beta=1\.0"):
        again.search(X, Y, **VALIDATION)


class TestBrackets:
    @pytest.mark.parametrize("factor", [2, 3, 4])
    @pytest.mark.parametrize("epochs", [1, 2, 3, 10, 27, 100])
    def test_are_keras_tuners(self, epochs, factor):
        ours = Brackets(epochs, factor)
        theirs = keras_tuner.oracles.HyperbandOracle("val_loss", epochs, factor)
        count = theirs._get_num_brackets()
        sizes = [theirs._get_size(b, 0) for b in reversed(range(count))]
        assert ours.trials == sum(sizes)
        found = [ours.bracket(number) for number in range(2 * ours.trials)]
        assert [b for _, b in found[: ours.trials]] == [
            b
            for b, n in zip(reversed(range(count)), sizes, strict=True)
            for _ in range(n)
        ]
        assert [time for time, _ in found] == [0] * ours.trials + [1] * ours.trials
        for bracket in range(count):
            rounds = [theirs._get_epochs(bracket, r) for r in range(bracket)]
            assert ours.rounds(bracket) == rounds

    @pytest.mark.parametrize("direction", ["minimize", "maximize"])
    def test_one_in_factor_goes_on(self, direction):
        pruner = Brackets(9, 3)  # Rounds of 1, 3 and 9 epochs.
        assert pruner.rounds(2) == [1, 3]
        sign = 1 if direction == "minimize" else -1
        study = optuna.create_study(direction=direction, pruner=pruner)
        ended = []
        for value in [5.0, 6.0, 4.0, 7.0, float("nan"), 3.0]:
            trial = study.ask()
            trial.report(sign * value, 1)
            ended.append(trial.should_prune())
        assert ended == [False, True, False, True, True, False]
        trial.report(sign * 2.0, 2)  # No round ends here.
        assert not trial.should_prune()

    def test_a_search_by_them(self, tmp_path):
        tuner = made(tmp_path, "Hyperband", max_epochs=9)
        tuner.search(X, Y, epochs=50, **VALIDATION)
        trials = tuner._store.trials()
        pruner = Brackets(9, 3)
        assert len(trials) == pruner.trials
        for trial in trials:
            rounds = pruner.rounds(pruner.bracket(trial.number)[1])
            assert trial.outcome.epochs in (*rounds, 9)
        assert "rank" in next(t for t in trials if t.status == "stopped").outcome.reason
        planned = tuner.report().epochs_planned
        assert tuner.report().epochs_trained < 0.65 * planned


def test_nothing_here_is_random_without_a_seed(tmp_path):
    """A program run again resumes, with the seed that was drawn."""
    first = made(tmp_path, seed=None, max_trials=3)
    first.search(X, Y, **VALIDATION)
    again = made(tmp_path, seed=None, max_trials=3)
    again.search(X, Y, **VALIDATION)
    again.reload()
    assert [t.values for t in again._store.trials()] == [
        t.values for t in first._store.trials()
    ]
    assert not np.isnan(again.oracle.get_best_trials()[0].score)


def test_values_that_a_trial_did_not_ask_for_are_shown(tmp_path):
    """As in KerasTuner: another trial had asked for them, so they were chosen."""

    def outcome(trial, made):
        if trial.number:
            return made
        hps = Scoped.from_config(tuner.oracle.get_space().get_config())
        hps.values = dict(trial.values)
        hps.Float("extra", 0.0, 1.0)
        return dataclasses.replace(made, space=hps.get_config())

    tuner = made(tmp_path, max_trials=3, executor=Pretend(outcome=outcome))
    tuner.search(X, Y, **VALIDATION)
    shown = tuner.oracle.trials.values()
    assert all("extra" in trial.hyperparameters.values for trial in shown)
