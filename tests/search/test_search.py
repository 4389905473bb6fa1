"""Search: what it tries, tells, keeps and refuses. Most trials here train nothing."""

import dataclasses
import itertools
import math
import os
import re
import time
import warnings

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from support.pretending import Pretend, X, Y, loss, make_model, tiny

from keras_babysit import search
from keras_babysit.search.folder import locked
from keras_babysit.search.oracles import methods, staged_oracles
from keras_babysit.search.oracles.gaussian.bayesian_oracle import StagedBayesian
from keras_babysit.search.space.hypermodel import Entries, hypermodel_of, space_of
from keras_babysit.search.trial import isolation
from keras_babysit.search.trials import Objective, Outcome, Trial

Status = keras_tuner.engine.trial.TrialStatus
VALIDATION = {"validation_data": (X, Y)}


@pytest.fixture(autouse=True)
def _fresh_keras(monkeypatch):
    """Instead of conftest's: the models here are tiny, and collecting is slow."""
    monkeypatch.setattr(isolation.gc, "collect", lambda: 0)


def made(folder, executor=None, hypermodel=make_model, **settings):
    settings = {"max_trials": 5, "epochs": 2, "seed": 7, "verbose": 0} | settings
    if "stages" in settings:
        del settings["max_trials"], settings["epochs"]
    objective = settings.pop("objective", "val_loss")
    executor = Pretend() if executor is None else executor
    settings |= {"directory": folder, "executor": executor}
    return search.Search(hypermodel, objective, **settings)


def searched(folder, executor=None, hypermodel=make_model, **settings):
    one = made(folder, executor, hypermodel, **settings)
    one.search(X, Y, **VALIDATION)
    return one


def events(one, kind):
    return [e for e in one._store.events() if e["event"] == kind]


def ranges(event):
    space = [hp["config"] for hp in event["space"]["space"]]
    return {c["name"]: (c["min_value"], c["max_value"]) for c in space}


class TestStages:
    @pytest.fixture(scope="class")
    def staged(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("staged")
        stages = [(12, 1), search.Stage(6, 3, promoted=2), (3, 6)]
        return searched(folder, stages=stages)

    def test_trials_and_epochs(self, staged):
        trials = staged._store.trials()
        assert [t.stage for t in trials] == [0] * 12 + [1] * 6 + [2] * 3
        assert [t.epochs for t in trials] == [1] * 12 + [3] * 6 + [6] * 3
        assert all(t.outcome.epochs == t.epochs for t in trials)
        assert len({t.seed for t in trials}) == len(trials)

    def test_the_best_are_taken_over_first(self, staged):
        trials = staged._store.trials()
        best = sorted(trials[:12], key=lambda t: t.score)[:2]
        assert [t.source for t in trials[12:14]] == [t.number for t in best]
        assert [t.values for t in trials[12:14]] == [t.values for t in best]
        assert [t.origin for t in trials[12:18]] == ["promoted"] * 2 + ["oracle"] * 4
        assert trials[18].source == min(trials[12:18], key=lambda t: t.score).number

    def test_every_space_is_inside_the_one_before(self, staged):
        stages = events(staged, "stage")
        for before, after in itertools.pairwise(stages):
            for name, (low, high) in ranges(after).items():
                outer = ranges(before)[name]
                assert outer[0] <= low <= high <= outer[1]
        wide, narrow = ranges(stages[0]), ranges(stages[2])
        decades = [
            math.log10(r["learning_rate"][1] / r["learning_rate"][0])
            for r in (wide, narrow)
        ]
        assert decades[1] < decades[0] / 2
        assert narrow["learning_rate"][0] < 1e-2 < narrow["learning_rate"][1]

    def test_trials_get_the_space_of_their_stage(self, staged):
        for trial in staged._store.trials():
            for name, (low, high) in ranges(
                events(staged, "stage")[trial.stage]
            ).items():
                assert low <= trial.values[name] <= high

    def test_results_best_and_report(self, staged):
        table = staged.results()
        assert list(table["number"]) == list(range(21))
        best = staged.best_trials()
        assert len(best) == 21 - 2 - 1  # What was promoted is one with its source.
        assert best[0].score == table["score"].min()
        (hps,) = staged.best_hyperparameters()
        assert hps.values == best[0].values
        assert hps.get("units") == best[0].values["units"]
        report = staged.report()
        assert isinstance(report, search.SearchReport)
        assert report.ended
        assert len(report.trials) == 21

    def test_only_the_best_keep_checkpoints(self, staged):
        kept = {int(p.parts[-3]) for p in staged.directory.rglob("best.keras")}
        assert kept == {t.number for t in staged.best_trials(5)}
        with pytest.raises(ValueError, match=r"best 5 trials keep.*count=6"):
            staged.best_models(6)

    def test_grid_then_random_ends_the_grid_early(self, tmp_path, capsys):
        def small(hp):
            hp.Choice("learning_rate", [1e-4, 1e-2, 1.0])
            hp.Boolean("bias")
            return tiny()

        stages = search.grid_then_random((20, 3))
        one = searched(tmp_path, None, small, stages=stages, verbose=1)
        said = capsys.readouterr().out
        assert said.count("there was nothing new to try") == 1
        assert "Stage 1 has 6 trials, not 20:" in said
        trials = one._store.trials()
        tried = {tuple(t.values.values()) for t in trials if t.stage == 0}
        assert len(tried) == sum(t.stage == 0 for t in trials) == 6
        assert sum(t.stage == 1 for t in trials) == 3
        methods_ = [e["method"] for e in events(one, "stage")]
        assert methods_ == ["grid", "random"]


class TestKnowledge:
    """What the oracle of a stage is told of the stages before."""

    def space(self):
        hp = keras_tuner.HyperParameters()
        hp.Float("rate", 1e-3, 1.0, sampling="log")
        return hp

    def earlier(self, epochs=1):
        values = np.logspace(-5, 0, 20)
        return [
            staged_oracles.Earlier({"rate": v}, abs(math.log10(v) + 1.0), epochs)
            for v in values
        ]

    def asker(self, method, earlier=(), seed=3):
        objective = Objective("val_loss", "min")
        folder = None
        return methods.asker(method, objective, 10, seed, self.space(), folder, earlier)

    def told(self, asker, number, rate, score, **outcome):
        values = {"rate": rate}
        asker.add(number, values)
        outcome = Outcome(
            **{"status": "completed", "score": score, "epochs": 5} | outcome
        )
        asker.tell(Trial(number, 1, values, 5, 0, "promoted", outcome=outcome), 0.5)

    def test_tpe_begins_with_a_model(self):
        rates = []
        for seed in range(1, 13):
            asker = self.asker("tpe", self.earlier(), seed)
            self.told(asker, 0, 0.1, 0.05)
            rates.append(abs(math.log10(asker.ask(1)["rate"]) + 1))
        blind = []
        for seed in range(1, 13):
            asker = self.asker("tpe", (), seed)
            self.told(asker, 0, 0.1, 0.05)
            blind.append(abs(math.log10(asker.ask(1)["rate"]) + 1))
        assert np.mean(rates) < 0.7 * np.mean(blind)

    def test_tpe_ranks_fewer_epochs_and_failures_last(self, monkeypatch):
        studies = []
        real = optuna.create_study
        monkeypatch.setattr(
            optuna, "create_study", lambda **k: studies.append(real(**k)) or studies[-1]
        )
        asker = self.asker("tpe", self.earlier())
        self.told(asker, 0, 0.1, 0.05)
        self.told(asker, 1, 0.2, 0.04, status="stopped", epochs=2)
        self.told(asker, 2, 0.3, None, status="failed")
        asker.ask(3)
        trials = studies[-1].get_trials(deepcopy=False)
        inside = sum(e.values["rate"] >= 1e-3 for e in self.earlier())
        assert len(trials) == inside + 4
        pruned = optuna.trial.TrialState.PRUNED
        assert all(t.state == pruned for t in trials[:inside])
        assert all(list(t.intermediate_values) == [1] for t in trials[:inside])
        assert trials[inside].state == optuna.trial.TrialState.COMPLETE
        assert trials[inside + 1].intermediate_values == {2: 0.04}
        assert trials[inside + 2].state == pruned
        assert trials[inside + 2].intermediate_values == {}

    def test_what_was_killed_says_nothing(self, monkeypatch):
        studies = []
        real = optuna.create_study
        monkeypatch.setattr(
            optuna, "create_study", lambda **k: studies.append(real(**k)) or studies[-1]
        )
        asker = self.asker("tpe")
        self.told(asker, 0, 0.1, 0.05)
        self.told(asker, 1, 0.3, None, status="killed")
        asker.ask(2)
        states = [t.state for t in studies[-1].get_trials(deepcopy=False)]
        fail = optuna.trial.TrialState.FAIL  # TPE leaves those out.
        assert states[:2] == [optuna.trial.TrialState.COMPLETE, fail]
        asker = self.asker("bayesian")
        for number in range(4):
            self.told(asker, number, 0.01 * (number + 1), 0.1 * number)
        known = self.data(asker)
        self.told(asker, 4, 0.5, None, status="killed")
        assert self.data(asker) == known

    def data(self, asker):
        seen = asker.oracle._as_data()
        return {n: t.score for n, t in seen.items() if t.status == Status.COMPLETED}

    def test_bayesian_moves_earlier_scores_by_what_was_gained(self):
        asker = self.asker("bayesian", self.earlier() + self.earlier(epochs=3)[::2])
        assert self.data(asker) == {}  # Nothing says how the scores compare.
        self.told(asker, 0, 0.1, 0.2)
        known = [s for n, s in self.data(asker).items() if n.startswith("earlier")]
        assert known == pytest.approx([e.score - 0.3 for e in self.earlier()[::2]])
        for number in (1, 2):
            self.told(asker, number, 0.1 + number / 100, 0.2)
        assert len(self.data(asker)) == 3  # Now the stage speaks for itself.

    def test_bayesian_begins_with_a_model(self):
        """Earlier trials were best at 0.1, most of them out of the range as it is."""
        away = []
        for earlier in (self.earlier(), ()):
            asker = self.asker("bayesian", earlier)
            self.told(asker, 0, 0.03, 0.5)
            away.append(abs(math.log10(asker.ask(1)["rate"]) + 1))
        assert away[0] < 0.1

    def test_bayesian_learns_from_failures_and_not_from_explosions(self):
        asker = self.asker("bayesian")
        scores = [0.1, 0.2, 0.3, 0.4, 1e9]
        for number, score in enumerate(scores):
            self.told(asker, number, 0.01 * (number + 1), score)
        self.told(asker, 5, 0.5, None, status="failed")
        data = list(self.data(asker).values())
        assert data == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.9, 0.9])
        assert [t.score for t in asker.oracle.trials.values()][:5] == scores

    def test_bayesian_tries_nothing_twice(self):
        hp = keras_tuner.HyperParameters()
        hp.Int("n", 0, 5)
        goal = keras_tuner.Objective("val_loss", "min")
        oracle = StagedBayesian(goal, 9, seed=1, hyperparameters=hp)
        asker = methods.Asker(oracle, Objective("val_loss", "min"), None)
        tried = []
        for number in range(9):
            values = asker.ask(number)
            if isinstance(values, str):
                break
            tried.append(values["n"])
            outcome = Outcome("completed", float(values["n"]), epochs=1)
            asker.tell(Trial(number, 0, values, 1, 0, outcome=outcome))
        assert sorted(tried) == [0, 1, 2, 3, 4, 5]

    def test_oracles_of_others_in_two_stages(self, tmp_path):
        of = keras_tuner.oracles

        def grid(objective, max_trials, seed, hps):
            return of.GridSearchOracle(objective, max_trials, seed, hps)

        def random(objective, max_trials, seed, hps):
            return of.RandomSearchOracle(objective, max_trials, seed, hps)

        for make in (grid, random):
            one = searched(
                tmp_path / make.__name__, method=make, stages=[(5, 1), (4, 2)]
            )
            assert len(one.results()) == 9
        only = of.RandomSearchOracle("val_loss", 3, seed=5)
        one = searched(tmp_path / "c", method=only)
        assert len(one.results()) == 5
        assert not only.trials  # It was a copy.

    def test_an_oracle_that_fails(self, tmp_path):
        class Bad(keras_tuner.oracles.RandomSearchOracle):
            def populate_space(self, trial_id):
                raise KeyError("oh")

        with pytest.raises(
            RuntimeError, match=r"oracle \(Bad\) failed: KeyError: 'oh'"
        ):
            searched(tmp_path, method=Bad("val_loss", 3))


@pytest.mark.parametrize("method", ["random", "tpe", "grid"])
def test_same_seed_same_search(tmp_path, method):
    def run(name, seed):
        settings = {"method": method, "stages": [(11, 1), (4, 2)], "repeat_top": 1}
        one = searched(tmp_path / name, seed=seed, **settings)
        return [(t.values, t.seed, t.score, t.origin) for t in one._store.trials()]

    first = run("a", 0)
    assert first == run("b", 0)
    assert first != run("c", 1)


def test_a_drawn_seed_is_kept(tmp_path):
    one = searched(tmp_path, seed=None, max_trials=2)
    seed = one._store.settings()["seed"]
    again = searched(tmp_path, seed=None, max_trials=4)
    assert again._store.settings()["seed"] == seed
    assert searched(tmp_path / "b", seed=seed, max_trials=4)._store.trials() == (
        again._store.trials()
    )


class TestParallel:
    def test_as_many_as_there_is_room_for(self, tmp_path):
        executor = Pretend(capacity=3)
        settings = {"stages": [(8, 1), (4, 2)], "repeat_top": 1, "repeats": 3}
        one = searched(tmp_path, executor, **settings)
        trials = one._store.trials()
        assert executor.most_open == 3
        assert [t.stage for t in trials] == [0] * 8 + [1] * 7
        assert all(t.status == "completed" for t in trials)
        # A stage begins when all of the last one have ended.
        kinds = [e["event"] for e in one._store.events()]
        second = kinds.index("stage", 1)
        assert kinds[:second].count("ended") == 8

    def test_a_grid_waits_for_those_that_are_open(self, tmp_path):
        def small(hp):
            hp.Choice("learning_rate", [1e-4, 1e-2, 1.0])
            return tiny()

        one = searched(tmp_path, Pretend(capacity=8), small, method="grid")
        assert len(one.results()) == 3

    def test_fewer_workers_take_up_what_more_had_begun(self, tmp_path):
        def interrupt(trial):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path, Pretend(capacity=4, before=interrupt))
        executor = Pretend()
        one = searched(tmp_path, executor)
        assert [t.attempts for t in one._store.trials()] == [2, 2, 2, 2, 1]
        assert executor.most_open == 1


class TestSpaces:
    def test_what_turns_up_on_the_way_is_searched(self, tmp_path):
        def outcome(trial, outcome):
            hps = keras_tuner.HyperParameters.from_config(executor.spaces[trial.stage])
            hps.values = dict(trial.values)
            hps.Float("extra", 0.0, 1.0)
            config = hps.get_config()
            return Outcome(**{**vars(outcome), "space": config})

        executor = Pretend(outcome=outcome)
        one = searched(tmp_path, executor, stages=[(5, 1), (3, 2)])
        trials = one._store.trials()
        # Nobody had chosen one for the first: it had the default.
        assert [t.values["extra"] == 0.0 for t in trials[:2]] == [True, False]
        assert all("extra" in t.values for t in trials)
        assert "extra" in ranges(events(one, "stage")[1])
        assert len(one.best_hyperparameters(2)[1].values) == 3

    @pytest.mark.parametrize("method", ["tpe", "bayesian"])
    def test_conditions(self, tmp_path, method):
        def hypermodel(hp):
            search.learning_rate(hp, max_value=1.0)
            kind = hp.Choice("kind", ["a", "b"])
            with hp.conditional_scope("kind", ["a"]):
                if kind == "a":
                    hp.Int("units", 1, 9)
            with hp.conditional_scope("kind", ["b"]):
                if kind == "b":
                    hp.Int("units", 100, 900)
            return tiny()

        stages = [(8, 1), (4, 2)]
        one = searched(tmp_path, None, hypermodel, stages=stages, method=method)
        for trial in one._store.trials():
            low = trial.values["units"] < 10
            assert low == (trial.values["kind"] == "a")
        hps = one.best_hyperparameters(4)
        assert all(("units" in h) and h["kind"] in "ab" for h in hps)

    def test_the_hypermodel_is_built_for_each_scope_and_leaves_no_trace(self):
        seen = []

        def hypermodel(hp):
            kind = hp.Choice("kind", ["a", "b"])
            with hp.conditional_scope("kind", ["b"]):
                deep = hp.Boolean("deep")
                with hp.conditional_scope("deep", [True]):
                    if deep:
                        hp.Int("layers", 1, 3)
            seen.append(kind)
            return tiny()

        keras.utils.set_random_seed(1)
        expected = np.random.random()
        keras.utils.set_random_seed(1)
        space = space_of(hypermodel_of(hypermodel), Entries())
        assert np.random.random() == expected
        assert [h.name for h in space.space] == ["kind", "deep", "layers"]
        assert set(seen) == {"a", "b"}
        assert len(seen) <= 4

    def test_scopes_on_one_parent_may_be_nested(self, tmp_path):
        def hypermodel(hp):
            kind = hp.Choice("kind", ["a", "b", "c"])
            with hp.conditional_scope("kind", ["a", "b"]):
                if kind in "ab":
                    hp.Int("wide", 1, 9)
                with hp.conditional_scope("kind", ["c", "b"]):
                    if kind == "b":
                        hp.Int("deep", 10, 99)
            return tiny()

        with pytest.raises(ValueError, match="kind not defined"):
            keras_tuner.RandomSearch(hypermodel, "loss", directory=tmp_path)
        executor = Pretend(loss=lambda values, epoch, seed: 1 / (1 + len(values)))
        one = searched(tmp_path, executor, hypermodel, stages=[(9, 1), (4, 2)])
        expected = {"a": {"wide"}, "b": {"wide", "deep"}, "c": set()}
        values = [t.values for t in one._store.trials()]
        assert all(set(v) == {"kind"} | expected[v["kind"]] for v in values)
        assert {v["kind"] for v in values} == {"a", "b", "c"}
        for hp in one.best_hyperparameters(4):
            hypermodel(hp)  # As it is built again by hand.

    def test_a_part_is_tuned(self, tmp_path):
        given = keras_tuner.HyperParameters()
        given.Int("units", 5, 7)
        settings = {"hyperparameters": given, "tune_new_entries": False}
        one = searched(tmp_path, **settings)
        assert ranges(events(one, "stage")[0]) == {"units": (5, 7)}
        assert all(list(t.values) == ["units"] for t in one._store.trials())
        with pytest.raises(ValueError, match="`tune_new_entries` is True, not False"):
            searched(tmp_path, hyperparameters=given, overwrite=False)
        message = "`allow_new_entries=False`.* asks for 'learning_rate'"
        with pytest.raises(ValueError, match=message):
            searched(tmp_path / "b", hyperparameters=given, allow_new_entries=False)
        # Others are overridden, and what is new is searched.
        both = searched(tmp_path / "c", hyperparameters=given)
        assert ranges(events(both, "stage")[0])["units"] == (5, 7)
        assert "learning_rate" in ranges(events(both, "stage")[0])

    def test_what_the_hypermodel_compiles_with_is_overridden(self, tmp_path):
        def uncompiled(hp):
            hp.Boolean("bias")
            return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

        adam = keras.optimizers.Adam(0.125)
        given = {"optimizer": adam, "loss": "mae", "metrics": ["mse"]}
        one = made(tmp_path, None, uncompiled, **given)
        models = [one._hypermodel.build(keras_tuner.HyperParameters()) for _ in "ab"]
        assert [m.loss for m in models] == ["mae"] * 2
        assert [float(m.optimizer.learning_rate) for m in models] == [0.125] * 2
        assert models[0].optimizer is not models[1].optimizer
        assert len(searched(tmp_path, None, uncompiled, **given).results()) == 2
        model = made(tmp_path, loss="mae")._hypermodel.build(one._space())
        assert model.loss == "mae"
        assert isinstance(model.optimizer, keras.optimizers.SGD)  # The rest stays.

    def test_borders_are_told_and_widened(self, tmp_path, capsys):
        def hypermodel(hp):
            hp.Float("learning_rate", 1e-6, 1e-4, sampling="log")
            return tiny()

        def run(folder, **settings):
            settings = {"stages": [(20, 1), (8, 2)], "verbose": 1} | settings
            one = searched(tmp_path / folder, None, hypermodel, **settings)
            _, second = events(one, "stage")
            return one, second

        one, second = run("narrow")
        (finding,) = second["findings"]
        assert finding["rule"] == "best-at-border"
        assert finding["where"] == "learning_rate"
        assert finding["severity"] == "warning"
        assert ranges(second)["learning_rate"][1] == 1e-4
        assert "Better values likely lie above 0.0001" in capsys.readouterr().out
        _, second = run("wide", widen=True)
        assert ranges(second)["learning_rate"][1] > 2e-4
        limits = {"learning_rate": (0, 2e-4)}
        one, second = run("limited", widen=True, limits=limits)
        assert ranges(second)["learning_rate"][1] == 2e-4
        assert max(t.values["learning_rate"] for t in one._store.trials()) > 1e-4

    def test_a_linear_scale_is_warned_of(self, tmp_path, capsys):
        def hypermodel(hp):
            hp.Float("learning_rate", 1e-6, 1.0)
            return tiny()

        searched(tmp_path, None, hypermodel, verbose=1)
        assert capsys.readouterr().out.count("searched on a linear scale") == 1
        searched(tmp_path, None, hypermodel, verbose=1)
        assert "linear scale" not in capsys.readouterr().out


class TestEnds:
    def test_repeats_tell_luck_from_merit(self, tmp_path):
        executor = Pretend()
        settings = {"repeat_top": 2, "repeats": 3, "keep_top": 1, "max_trials": 6}
        one = searched(tmp_path, executor, **settings)
        trials = one._store.trials()
        repeats = [t for t in trials if t.origin == "repeat"]
        first = sorted(trials[:6], key=lambda t: t.score)[:2]
        assert [t.source for t in repeats] == [t.number for t in first for _ in "abc"]
        assert len({t.seed for t in trials}) == len(trials) == 12
        (finished,) = events(one, "finished")
        assert "mean ± standard error" in finished["verdict"]
        kept = {int(p.parts[-3]) for p in one.directory.rglob("best.keras")}
        assert kept == {one.best_trials(1)[0].number}

    def test_hopeless_trials_are_stopped(self, tmp_path):
        def curve(values, epoch, seed):
            return loss(values, epoch, seed) + abs(math.log10(values["learning_rate"]))

        one = searched(tmp_path, Pretend(loss=curve), max_trials=16, epochs=8)
        stopped = [t for t in one._store.trials() if t.status == "stopped"]
        assert stopped
        assert all("median" in t.outcome.reason for t in stopped)
        assert one.report().epochs_saved > 0
        free = searched(
            tmp_path / "b", Pretend(loss=curve), max_trials=16, epochs=8, pruner=None
        )
        assert not (free.results()["status"] == "stopped").any()

    def test_a_failed_trial_does_not_end_the_search(self, tmp_path):
        def outcome(trial, _):
            odd = trial.number % 2
            return Outcome("failed", reason="OutOfMemory: no") if odd else None

        one = searched(tmp_path, Pretend(outcome=outcome), method="tpe", max_trials=8)
        table = one.results()
        assert list(table["status"]) == ["completed", "failed"] * 4
        assert len(one.best_trials()) == 4

    def test_a_winner_without_a_model_is_no_secret(self, tmp_path):
        def outcome(trial, made):
            if trial.number == 2:
                notes = ("not all was written: No space left on device",)
                return dataclasses.replace(made, checkpoint="", notes=notes)

        with pytest.warns(UserWarning, match="Trial 2 has no checkpoint.*No space"):
            one = searched(tmp_path, Pretend(outcome=outcome))
        assert "No space left" in one.results()["notes"][2]
        assert list(one.results()["notes"][:2]) == ["", ""]
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            searched(tmp_path / "strict", Pretend(outcome=outcome))

    def test_three_failures_at_the_start_end_it(self, tmp_path):
        def outcome(trial, _):
            return Outcome("failed", reason="ValueError: no layer (model.py, line 3)")

        executor = Pretend(outcome=outcome)
        message = r"first 3 trials all failed: ValueError: no layer .*starts over"
        with pytest.raises(RuntimeError, match=message):
            searched(tmp_path, executor)
        assert len(executor.trained) == 3
        one = searched(tmp_path)  # The program was fixed: nothing of it counts.
        assert list(one.results()["status"]) == ["completed"] * 5

    def test_all_of_the_only_trials_fail(self, tmp_path):
        executor = Pretend(outcome=lambda *_: Outcome("failed", reason="E: e."))
        with pytest.raises(RuntimeError, match=r"The first trial failed: E: e\. The"):
            searched(tmp_path, executor, max_trials=1)

    def test_all_of_a_small_space_fail(self, tmp_path):
        def hypermodel(hp):
            hp.Boolean("wide")
            return tiny()

        executor = Pretend(outcome=lambda *_: Outcome("failed"), loss=lambda *_: 0.5)
        with pytest.raises(RuntimeError, match="The first 2 trials all failed"):
            searched(tmp_path, executor, hypermodel)

    def test_a_fatal_error_ends_it_and_it_goes_on(self, tmp_path):
        def fatal(trial):
            if trial.number == 2:
                raise keras_tuner.errors.FatalValueError("no more")

        with pytest.raises(keras_tuner.errors.FatalValueError, match="no more"):
            searched(tmp_path, Pretend(before=fatal))
        assert list(made(tmp_path).results().status[2:]) == ["running"]
        found = searched(tmp_path).results()
        assert list(found.attempts) == [1, 1, 2, 1, 1]
        assert set(found.status) == {"completed"}

    def test_the_folder_is_full(self, tmp_path, monkeypatch):
        one = made(tmp_path)

        def full(event, **_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(one._store, "append", full)
        with pytest.raises(OSError, match=r"cannot write.*No space left.*run it again"):
            one.search(X, Y, **VALIDATION)


class TestBadInput:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"max_trials": 0}, "`max_trials`.*positive.*max_trials=0"),
            ({"max_trials": -1}, "max_trials=-1"),
            ({"max_trials": 2.5}, "max_trials=2.5"),
            ({"epochs": 0}, "epochs=0"),
            ({"seed": -1}, "`seed`.*non-negative.*seed=-1"),
            ({"seed": "a"}, "seed='a'"),
            ({"folds": 1}, "`folds`.*at least 2.*folds=1"),
            ({"repeat_top": -1}, "repeat_top=-1"),
            ({"repeats": 0}, "repeats=0"),
            ({"keep_top": 0}, "keep_top=0"),
            ({"method": "hyperband"}, "`method` must be one of 'random'.*'hyperband'"),
            ({"method": 3}, "method=3"),
            ({"method": keras_tuner.oracles.RandomSearchOracle}, "not a class"),
            ({"method": keras_tuner.oracles.HyperbandOracle("val_loss")}, "halving"),
            ({"pruner": "often"}, "`pruner` must be"),
            ({"executor": "spark"}, "`executor` must be"),
            ({"executor": object()}, "`executor` must be"),
            ({"workers": 2}, "`workers`.*are for.*ray"),
            ({"limits": {"a": (0, 1)}}, "widen=True"),
            ({"widen": True, "limits": {"a": (1, 0)}}, "`limits`.*in order"),
            ({"widen": True, "limits": 3}, "limits=3"),
            ({"objective": ""}, "`objective` must be"),
            ({"objective": "val_cosine_similarity"}, "minimized or maximized"),
            ({"verbose": "auto"}, "`verbose` must be 0 or 1.*verbose='auto'"),
            ({"verbose": -1}, "verbose=-1"),
            ({"objective": None}, "`objective` must be"),
            ({"objective": "val_f7"}, r"minimized or maximized.*Objective\(\"val_f7\""),
            ({"objective": keras_tuner.Objective("a", "up")}, "'min' or 'max'.*'up'"),
            ({"project_name": ""}, "`project_name`"),
            ({"project_name": 3}, "project_name=3"),
            ({"hypermodel": 3}, "`hypermodel` must be"),
            ({"hypermodel": keras_tuner.HyperModel}, "`hypermodel` must be"),
            ({"stages": [(3, 1)], "max_trials": 3}, "cannot be given together"),
        ],
    )
    def test_constructor(self, tmp_path, settings, message):
        settings = {
            "max_trials": 3,
            "hypermodel": make_model,
            "objective": "val_loss",
        } | (settings)
        with pytest.raises(ValueError, match=message):
            search.Search(directory=tmp_path, **settings)

    def test_an_instance_for_one_stage_only(self, tmp_path):
        oracle = keras_tuner.oracles.RandomSearchOracle("val_loss", 3)
        with pytest.raises(ValueError, match="one stage only"):
            made(tmp_path, stages=[(3, 1), (2, 2)], method=oracle)

    @pytest.mark.parametrize(
        ("objective", "direction"),
        [
            ("val_accuracy", "max"),
            ("val_auc", "max"),
            ("loss", "min"),
            # Not as in KerasTuner 1.4.8, which would look for the worst of them.
            ("val_f1_score", "max"),
            ("val_weighted_r2_score", "max"),
            ("val_mean_io_u", "max"),
            (keras_tuner.Objective("val_f7", "max"), "max"),
        ],
    )
    def test_directions(self, tmp_path, objective, direction):
        assert made(tmp_path, objective=objective)._objective.direction == direction

    def test_hypermodels(self, tmp_path):
        def raises(hp):
            search.learning_rate(hp)
            raise KeyError("no such layer")

        def reversed_range(hp):
            hp.Float("rate", 1.0, 0.5)
            return tiny()

        def uncompiled(hp):
            search.learning_rate(hp)
            return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

        def none(hp):
            search.learning_rate(hp)

        def empty(hp):
            hp.Fixed("units", 3)
            return tiny()

        for hypermodel, message in [
            (
                raises,
                r"failed when it was built.*KeyError: 'no such layer' \(test_search",
            ),
            (reversed_range, "min_value 1.0 is greater than the max_value 0.5"),
            (uncompiled, "compiled model. Received one that is not"),
            (none, "must return a Keras model. Received: None"),
            (empty, "search space is empty"),
        ]:
            with pytest.raises(ValueError, match=message):
                searched(tmp_path, None, hypermodel)
        assert not list(tmp_path.iterdir())  # Nothing was begun.

    def test_unknown_objective(self, tmp_path):
        one = made(tmp_path, objective=keras_tuner.Objective("val_los", "min"))
        message = "'val_los' is not logged.*Did you mean 'val_loss'.*'loss', 'val_loss'"
        with pytest.raises(ValueError, match=message):
            one.search(X, Y, **VALIDATION)
        assert len(searched(tmp_path).results()) == 5  # Nothing had ended.

    def test_arguments_of_fit(self, tmp_path):
        for given, message in [
            ({"epochs": 3, **VALIDATION}, "`epochs` must not be given"),
            ({}, "validation"),
        ]:
            with pytest.raises(ValueError, match=message):
                made(tmp_path).search(X, Y, **given)
        with pytest.raises(ValueError, match="`x` must be"):
            made(tmp_path).search(**VALIDATION)

    def test_unwritable_folders(self, tmp_path):
        (tmp_path / "file").write_text("")
        for folder in (tmp_path / "file", "/proc/searches"):
            with pytest.raises(OSError, match=r"cannot be written: .* another"):
                searched(folder)

    def test_limits_of_nothing(self, tmp_path):
        with pytest.raises(ValueError, match="`limits` has 'width'"):
            searched(tmp_path, widen=True, limits={"width": (1, 2)})

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"objective": "loss"}, "`objective` is .*'loss'.*, not .*'val_loss'"),
            ({"seed": 8}, "`seed` is 8, not 7"),
            ({"epochs": 3}, "`stages` are 5 trials of 3"),
            ({"max_trials": 4}, "`stages` are 4 trials of 2"),
            ({"method": "tpe"}, "`stages`.*tpe"),
            ({"folds": 2}, "`folds` is 2, not None"),
            ({"pruner": None}, "`pruner` is None, not 'median'"),
            (
                {"pruner": optuna.pruners.HyperbandPruner(1, 2)},
                r"`pruner` is .*min_resource=1, max_resource=2.*, not 'median'",
            ),
            (
                {"hypermodel": lambda hp: (hp.Float("rate", 0, 2), tiny())[1]},
                "hyperparameter 'rate' is .*0.*2.0.*, not nothing",
            ),
        ],
    )
    def test_a_folder_of_another_search(self, tmp_path, settings, message):
        searched(tmp_path, max_trials=5)
        given = {"hypermodel": make_model, **settings}
        one = made(tmp_path, None, given.pop("hypermodel"), **given)
        fit = {} if "folds" in settings else VALIDATION
        with pytest.raises(ValueError, match=message) as error:
            one.search(X, Y, **fit)
        assert "overwrite=True" in str(error.value)

    @pytest.mark.filterwarnings("ignore:PatientPruner is experimental")
    def test_another_instance_of_the_same_pruner(self, tmp_path):
        def pruner(patience):
            return optuna.pruners.PatientPruner(
                optuna.pruners.MedianPruner(3), np.int64(patience)
            )

        searched(tmp_path, pruner=pruner(2))
        searched(tmp_path, pruner=pruner(2))
        wanted = r"`pruner` is 'Pat.*up_trials=3.*patience=3.*not 'Pat.*patience=2"
        with pytest.raises(ValueError, match=wanted):
            searched(tmp_path, pruner=pruner(3))

    def test_repeats_may_be_asked_for_later(self, tmp_path):
        searched(tmp_path)
        found = searched(tmp_path, repeat_top=1, repeats=2).results()
        assert list(found.origin[5:]) == ["repeat"] * 2
        with pytest.raises(ValueError, match="`repeats` is 1, not 2"):
            searched(tmp_path, repeat_top=1, repeats=1)

    def test_one_that_has_ended_already_is_told(self, tmp_path, capsys):
        searched(tmp_path)
        one = searched(tmp_path, verbose=1)
        said = f"The search in {str(one.directory)!r} has ended already"
        assert said in capsys.readouterr().out.replace("\n", "")

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ('{"time": 1}\n', "is damaged (no event)"),
            ('{"event": "ended", "number": 0}\n', "trial 0 ends before it begins"),
        ],
    )
    def test_damaged_events(self, tmp_path, lines, message):
        one = searched(tmp_path, seed=1)
        path = one.directory / "events.jsonl"
        path.write_text(lines + path.read_text())
        for call in (one.results, one.report, lambda: searched(tmp_path, seed=1)):
            with pytest.raises(ValueError, match=re.escape(message)):
                call()
        again = searched(tmp_path, seed=1, overwrite=True, max_trials=3)
        assert len(again.results()) == 3

    def test_overwrite_deletes_what_is_there(self, tmp_path):
        one = searched(tmp_path, seed=1)
        (one.directory / "mine.txt").write_text("")
        again = searched(tmp_path, seed=2, max_trials=3, overwrite=True)
        assert len(again.results()) == 3
        assert len(list((one.directory / "trials").iterdir())) == 3
        assert (one.directory / "mine.txt").exists()

    def test_the_working_directory_may_change(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        one = searched("searches")
        monkeypatch.chdir("/")
        assert len(one.results()) == 5
        assert one.directory == tmp_path / "searches" / "search"

    def test_before_there_is_anything(self, tmp_path):
        one = made(tmp_path)
        for call in (one.results, one.report, one.best_trials, one.best_models):
            with pytest.raises(ValueError, match="There is no search in"):
                call()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_two_processes_in_one_folder(self, tmp_path):
        (tmp_path / "search").mkdir()
        child = os.fork()
        if not child:
            with locked(tmp_path / "search"):
                (tmp_path / "held").touch()
                time.sleep(60)
        while not (tmp_path / "held").exists():
            time.sleep(0.01)
        try:
            with pytest.raises(RuntimeError, match="Another process is searching"):
                searched(tmp_path)
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
        assert len(searched(tmp_path).results()) == 5  # The system let go of it.

    def test_keras_tuners_distributed_mode(self, tmp_path, monkeypatch):
        monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
        with pytest.raises(RuntimeError, match=r"KERASTUNER_TUNER_ID.*OptunaOracle"):
            made(tmp_path)


def test_real_trials_end_to_end(tmp_path):
    def hypermodel(hp):
        units = hp.Int("units", 2, 8)
        layers = [keras.Input((2,)), keras.layers.Dense(units, "relu")]
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(search.learning_rate(hp)), "mse")
        return model

    x = np.random.default_rng(0).normal(size=(32, 2)).astype("float32")
    one = search.Search(
        hypermodel,
        "val_loss",
        stages=[(2, 1), (1, 2)],
        directory=tmp_path,
        seed=1,
        verbose=0,
        babysit=False,
    )
    report = one.search(x, x[:, :1], validation_data=(x, x[:, :1]), batch_size=16)
    assert [t.status for t in report.trials] == ["completed"] * 3
    (model,) = one.best_models(1)
    score = model.evaluate(x, x[:, :1], verbose=0)
    assert score == pytest.approx(one.best_trials(1)[0].score, rel=1e-5)
    assert one.best_hyperparameters()[0]["units"] == model.layers[0].units
