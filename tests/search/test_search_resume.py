"""A search that is killed, at any moment, and run again comes to the same end."""

import dataclasses
import functools
import os
import runpy
import shutil
import signal
import sys
import textwrap
import time
import types
from pathlib import Path

import keras_tuner
import numpy as np
import pytest
from support import fresh
from support.pretending import Pretend, X, Y, loss, lost

from keras_babysit import search
from keras_babysit.search.oracles.brackets import Brackets
from keras_babysit.search.results.status import read_status
from keras_babysit.search.space import scales
from keras_babysit.search.store import Store, append_line
from keras_babysit.search.trial.executors import Lost
from keras_babysit.search.trials import INFEASIBLE, EpochResult, Outcome

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: hardly anything here makes a model."""


@pytest.fixture(autouse=True)
def _no_models(monkeypatch):
    """Processes are forked here, which TensorFlow would not survive."""

    def space(_, entries, own_fit):
        hp = entries.first()
        search.learning_rate(hp, max_value=1.0)
        hp.Int("units", 4, 64, sampling="log", default=16)
        return entries.of(hp)

    monkeypatch.setattr("keras_babysit.search.search.space_of", space)


def made(folder, executor, **settings):
    settings = {"stages": [(4, 1), (3, 2)], "repeat_top": 1, "repeats": 2} | settings
    return search.Search(
        lambda hp: None,
        "val_loss",
        directory=folder,
        executor=executor,
        verbose=0,
        **{"seed": 7, **settings},
    )


def searched(folder, executor=None, **settings):
    outcome = settings.pop("outcome", None)
    one = made(folder, executor or Pretend(outcome=outcome), **settings)
    one.search(X, Y, validation_data=(X, Y))
    return one


def elsewhere(here):
    """An executor whose trials do not train in the driver's process, as it seems."""
    there = types.SimpleNamespace(**vars(here))
    for name in ("open", "submit", "wait", "close"):
        setattr(there, name, getattr(here, name))
    return there


def forked(function):
    """Runs it in a process of its own; returns the signal that killed it, or 0."""
    child = os.fork()
    if not child:
        try:
            function()
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert not (os.WIFEXITED(status) and os.WEXITSTATUS(status)), "it failed"
    return os.WTERMSIG(status)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def killed_at(folder, moment, after, **settings):
    """Searches in another process, which dies around the moment-th event."""

    def run():
        count, append = 0, Store.append

        def counted(self, event, **values):
            nonlocal count
            if count == moment and not after:
                kill()
            append(self, event, **values)
            if count == moment:
                kill()
            count += 1

        Store.append = counted
        searched(folder, **settings)

    return forked(run) == signal.SIGKILL


def end_of(one):
    """What must be the same: all but times and how often something was started."""
    report = one.report().to_dict()
    for trial in report["trials"]:
        del trial["attempts"], trial["seconds"]
    best = [(t.number, t.values, t.score) for t in one.best_trials()]
    events = []
    for event in one._store.events():
        first = event["event"] != "started" or event["attempts"] == 1
        if first and event["event"] not in ("interrupted", "lost", "raised"):
            events.append({k: v for k, v in event.items() if k != "time"})
    return report, best, events


def of_keras_tuner(objective, max_trials, seed, hps):
    return keras_tuner.oracles.RandomSearchOracle(objective, max_trials, seed, hps)


def only_units():
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 8, 32)
    return hp


def with_rate(trial, outcome):
    """The hypermodel asks for what is not searched, and gets its default."""
    hps = scales.with_values(only_units().get_config(), trial.values)
    search.learning_rate(hps)
    return dataclasses.replace(outcome, space=hps.get_config())


def infeasible(trial, outcome):
    if trial.values["units"] > 20:
        return Outcome("failed", reason="the model is too large", raised=INFEASIBLE)
    return outcome


def raises_twice(trial, outcome):
    if trial.number in (1, 4) and trial.attempts < 3:
        return Outcome("failed", reason="OSError: no file", raised="OSError")
    return outcome


SETTINGS = {
    "random": {},
    "tpe": {"method": "tpe", "stages": [(11, 1), (4, 2)]},
    "grid": {"method": "grid"},
    "bayesian": {"method": "bayesian", "stages": [(7, 1), (3, 2)], "repeat_top": 0},
    "pruned": {"stages": [(12, 4)], "repeat_top": 0},
    "keras_tuner": {"method": of_keras_tuner},
    "brackets": {"stages": [(16, 4)], "pruner": Brackets(4, 2), "repeat_top": 0},
    "executions": {"executions_per_trial": 3},
    "a part": {
        "hyperparameters": only_units(),
        "tune_new_entries": False,
        "stages": [(5, 1), (3, 2)],
        "outcome": with_rate,
    },
    "infeasible": {"stages": [(9, 2)], "repeat_top": 0, "outcome": infeasible},
    "errors": {"max_error_retries": 2, "outcome": raises_twice},
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Returns how the search with some settings ends when it is left alone."""
    known = {}

    def of(name):
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            known[name] = end_of(searched(folder, **SETTINGS[name]))
        return known[name]

    return of


def check_resumed(folder, moment, after, name, undisturbed):
    killed = killed_at(folder, moment, after, **SETTINGS[name])
    one = searched(folder, **SETTINGS[name])
    report, best, events = end_of(one)
    expected = undisturbed(name)
    assert events == expected[2]
    assert best == expected[1]
    assert report == expected[0]
    assert report["ended"]
    return killed


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_event(tmp_path, undisturbed, after):
    moment = 0
    while check_resumed(tmp_path / f"{moment}", moment, after, "random", undisturbed):
        moment += 1
    assert moment == len(undisturbed("random")[2])


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("bayesian", 14),
        ("tpe", 23),
        ("tpe", 30),
        ("grid", 5),
        ("grid", 12),
        ("pruned", 15),
        ("pruned", 20),
        ("keras_tuner", 6),
        ("brackets", 17),
        ("executions", 6),
        ("a part", 7),
        ("a part", 14),
        ("infeasible", 9),
        ("errors", 5),
        ("errors", 14),
    ],
)
def test_other_methods_go_on_the_same(tmp_path, undisturbed, name, moment):
    assert check_resumed(tmp_path, moment, True, name, undisturbed)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_twelve_kills_at_random_moments(tmp_path, seed):
    settings = {
        "method": ("bayesian", "tpe", "random")[seed - 1],
        "stages": [(14, 5), (6, 8)],
        "pruner": "halving",
        "seed": seed,
        "max_retries_per_trial": 12,
    }
    start = time.process_time()
    alone = end_of(searched(tmp_path / "alone", **settings))
    seconds, rng = time.process_time() - start, np.random.default_rng(seed)

    def run(moment):
        signal.setitimer(signal.ITIMER_PROF, moment)  # It ends the process.
        searched(tmp_path / "killed", **settings)

    moments = rng.uniform(0.05, 0.3, 12) * seconds
    kills = [forked(functools.partial(run, moment)) for moment in moments]
    assert kills.count(signal.SIGPROF) >= 6  # By then it may have come to its end.
    assert end_of(searched(tmp_path / "killed", **settings)) == alone
    assert alone[0]["epochs_saved"]


def test_trials_were_pruned_there(undisturbed):
    assert undisturbed("pruned")[0]["epochs_saved"] > 5


def test_trials_were_as_asked_for_there(undisturbed):
    status = {
        name: [trial["status"] for trial in undisturbed(name)[0]["trials"]]
        for name in ("brackets", "infeasible", "errors")
    }
    assert status["brackets"].count("stopped") > 3
    assert {"failed", "completed"} == set(status["infeasible"])
    assert set(status["errors"]) == {"completed"}
    trials = undisturbed("a part")[0]["trials"]
    assert len({t["learning_rate"] for t in trials}) == 1
    assert len({t["units"] for t in trials}) > 4
    assert undisturbed("executions")[0]["executions"] == 3


def test_an_error_is_retried_so_often_over_all_runs(tmp_path):
    def always(trial, outcome):
        if trial.number != 1:
            return outcome
        reason = f"OSError: no file (attempt {trial.attempts})"
        return Outcome("failed", reason=reason, raised="OSError")

    settings = {"max_error_retries": 2, "outcome": always, "stages": [(3, 1)]}
    assert killed_at(tmp_path, 5, True, **settings)  # After it has raised once.
    one = searched(tmp_path, **settings)
    kinds = [e["event"] for e in one._store.events()]
    assert kinds.count("raised") == 2
    assert [t.status for t in one._store.trials()[:3]] == [
        "completed",
        "failed",
        "completed",
    ]


def test_what_makes_no_model_is_no_reason_to_stop(tmp_path):
    def large(trial, outcome):
        if trial.number < 5:
            return Outcome("failed", reason="too large", raised=INFEASIBLE)
        return outcome

    one = searched(tmp_path, outcome=large, stages=[(7, 1)], max_error_retries=2)
    assert list(one.results().status[:7]) == ["failed"] * 5 + ["completed"] * 2
    assert set(one.results().attempts) == {1}
    large_only = {"outcome": lambda *_: large(types.SimpleNamespace(number=0), None)}
    with pytest.raises(RuntimeError, match="The first 3 trials all failed: too large"):
        searched(tmp_path / "all", stages=[(4, 1)], **large_only)


def test_a_space_that_grew_on_the_way(tmp_path):
    def run(folder, interrupts):
        def outcome(trial, outcome):
            if interrupts and trial.number == 2:
                raise KeyboardInterrupt
            hps = scales.with_values(executor.spaces[trial.stage], trial.values)
            hps.Float("extra", 0.0, 1.0)
            return dataclasses.replace(outcome, space=hps.get_config())

        executor = Pretend(outcome=outcome)
        return searched(tmp_path / folder, executor, method="tpe")

    with pytest.raises(KeyboardInterrupt):
        run("cut", True)
    one, alone = run("cut", False), run("alone", False)
    assert end_of(one) == end_of(alone)
    assert all("extra" in t.values for t in alone._store.trials()[2:])


def test_killed_in_the_middle_of_a_trial_twice(tmp_path, undisturbed):
    def run():
        def lossy(values, epoch, seed):
            if epoch == 2:
                kill()
            return loss(values, epoch, seed)

        searched(tmp_path, Pretend(loss=lossy))

    assert forked(run) == forked(run) == signal.SIGKILL
    one = searched(tmp_path)
    assert end_of(one) == undisturbed("random")
    assert [t.attempts for t in one._store.trials()] == [1, 1, 1, 1, 3, 1, 1, 1, 1]


def test_a_trial_that_its_process_never_survives_is_killed(tmp_path):
    def run():
        def lossy(values, epoch, seed):
            if epoch == 2:
                kill()
            return loss(values, epoch, seed)

        searched(tmp_path, Pretend(loss=lossy))

    for _ in range(4):  # The first time it has finished an epoch.
        assert forked(run) == signal.SIGKILL
    trials = searched(tmp_path)._store.trials()
    assert trials[4].status == "killed"
    assert trials[4].outcome.reason == "its process ended 3 times without a new epoch"
    assert all(t.status == "completed" for t in trials if t.number != 4)


def test_a_trial_that_ends_the_program_gets_one_more_chance(tmp_path):
    def run():
        def fatal(values, epoch, seed):
            return kill() if seed == seeds[1] else loss(values, epoch, seed)

        return searched(tmp_path, Pretend(loss=fatal), **stages)

    stages = {"stages": [(3, 2)], "repeat_top": 0}
    alone = searched(tmp_path / "alone", **stages)
    seeds = [t.seed for t in alone._store.trials()]
    assert [forked(run) for _ in range(4)] == [signal.SIGKILL] * 3 + [0]
    # It has ended without it. What is to blame is gone by now, or is not.
    for folder, status in (("gone", "completed"), ("not", "killed")):
        directory = tmp_path / "copies" / folder
        shutil.copytree(tmp_path / "search", directory / "search")
        if folder == "gone":
            assert end_of(searched(directory, **stages))[0] == end_of(alone)[0]
        trial = made(directory, Pretend(), **stages)._store.trials()[1]
        assert trial.status == status
    assert [forked(run) for _ in range(4)] == [signal.SIGKILL, 0, 0, 0]
    trials = made(tmp_path, Pretend(), **stages)._store.trials()
    assert [t.status for t in trials] == ["completed", "killed", "completed"]


def test_trials_whose_workers_were_killed_are_tried_again(tmp_path):
    """Each time: they cannot end the program."""
    stages = {"stages": [(4, 2)], "repeat_top": 0, "method": "tpe"}
    for runs in (1, 2, 3):
        one = searched(tmp_path, elsewhere(Dies(0, (1, 2))), **stages)
        trials = one._store.trials()
        assert [t.status == "killed" for t in trials] == [False, True, True, False]
        assert trials[1].attempts == 3 * runs
        table = one.results()
        assert list(table.status).count("killed") == 2
    values = [t.values for t in trials]
    one = searched(tmp_path, elsewhere(Pretend()), **stages)
    trials = one._store.trials()
    assert [t.status for t in trials] == ["completed"] * 4
    assert [t.values for t in trials] == values
    again = searched(tmp_path, elsewhere(Pretend()), **stages)  # Now it has ended.
    assert again._store.trials() == trials


def test_what_was_killed_in_a_stage_before_stays_so(tmp_path):
    stages = {"stages": [(3, 1), (3, 2)], "repeat_top": 0}
    first = searched(tmp_path, elsewhere(Dies(0, (1,))), **stages)._store.trials()
    assert [t.status == "killed" for t in first].count(True) == 1
    again = searched(tmp_path, elsewhere(Pretend()), **stages)._store.trials()
    assert again == first


def test_workers_elsewhere_are_not_to_blame(tmp_path):
    """The driver's own deaths do not count, but those of the trial's processes do."""

    def executor(outcome=None):
        return elsewhere(Pretend(outcome=outcome))

    def run():
        searched(tmp_path, executor(lambda trial, _: trial.number == 1 and kill()))

    for _ in range(4):
        assert forked(run) == signal.SIGKILL
    dies = executor(lambda t, _: lost() if t.number == 1 and t.attempts < 7 else None)
    trial = searched(tmp_path, dies)._store.trials()[1]
    assert (trial.status, trial.attempts) == ("completed", 7)


def test_interrupts_do_not_count(tmp_path, undisturbed):
    def interrupt(trial):
        if trial.number == 2:
            raise KeyboardInterrupt

    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path, Pretend(before=interrupt))
    one = searched(tmp_path)
    assert end_of(one) == undisturbed("random")
    assert one._store.trials()[2].attempts == 6


def test_a_lost_trial_is_started_again(tmp_path, undisturbed):
    def outcome(trial, _):
        once = trial.number in (1, 6) and trial.attempts == 1
        return lost() if once else None

    one = searched(tmp_path, Pretend(outcome=outcome))
    assert end_of(one) == undisturbed("random")
    assert [t.attempts for t in one._store.trials()] == [1, 2, 1, 1, 1, 1, 2, 1, 1]


class Dies(Pretend):
    """Loses a trial's process after so many new epochs, each time anew."""

    def __init__(self, epochs, numbers=(1,)):
        super().__init__()
        self.new, self.numbers = epochs, numbers

    def run(self, trial):
        if trial.number not in self.numbers:
            return super().run(trial)
        folder = self.store.folder(trial)
        folder.mkdir(parents=True, exist_ok=True)
        done = len(self.store.epochs(trial))
        if done + self.new >= trial.epochs:
            return super().run(trial)
        for epoch in range(done + 1, done + self.new + 1):
            logs = {"loss": 1.0, "val_loss": 1.0}
            append_line(folder / "epochs.jsonl", EpochResult(epoch, logs))
        return lost("no memory")


def test_three_times_lost_without_a_new_epoch_is_killed(tmp_path):
    executor = Dies(0)
    trials = searched(tmp_path / "three", executor)._store.trials()
    assert trials[1].attempts == 3
    assert (trials[1].status, trials[1].outcome.reason) == (
        "killed",
        "its process ended 3 times without a new epoch: no memory",
    )
    assert sum(t.number == 1 for t in executor.trained) == 3
    executor = Dies(0)
    one = searched(tmp_path / "once", executor, max_retries_per_trial=0)
    assert one._store.trials()[1].attempts == 1


def test_whoever_gets_further_each_time_gets_to_the_end(tmp_path):
    stages = {"stages": [(2, 12)], "repeat_top": 0}
    one = searched(tmp_path / "lost", Dies(3), **stages)
    trials = one._store.trials()
    assert [t.status for t in trials] == ["completed"] * 2
    assert trials[1].attempts == 4
    assert end_of(one) == end_of(searched(tmp_path / "alone", **stages))

    def run():  # And so where it is the driver's own process that dies.
        def die(trial, outcome):
            return kill() if isinstance(outcome, Lost) else None

        executor = Dies(3)
        executor.outcome = die
        searched(tmp_path / "driver", executor, **stages)

    for _ in range(3):
        assert forked(run) == signal.SIGKILL
    assert end_of(searched(tmp_path / "driver", Dies(3), **stages)) == end_of(one)


def test_kills_are_no_failures_of_the_program(tmp_path):
    numbers = range(4)
    one = searched(tmp_path, Dies(0, numbers))
    trials = one._store.trials()
    assert [t.status for t in trials if t.number in numbers] == ["killed"] * 4
    again = searched(tmp_path, stages=[(4, 1), (8, 2)])  # Nothing was wiped.
    assert [t.status for t in again._store.trials()[:4]] == ["killed"] * 4


def lost_device(since, times=99):
    """A device that is lost: all trials from then on raise, so many times."""
    left = times

    def outcome(trial, _):
        nonlocal left
        if trial.number < since or not left:
            return None
        left -= 1
        reason = f"RuntimeError: CUDA error at 0x{trial.number:x}{left} (model.py)"
        return Outcome("failed", reason=reason, raised="RuntimeError")

    return outcome


def test_a_device_that_is_lost_costs_no_trial(tmp_path):
    stages = {"stages": [(8, 2)], "repeat_top": 0, "pruner": None}
    for _ in range(2):  # Still lost the next day.
        with pytest.raises(RuntimeError, match="last 3 trials failed with the same"):
            searched(tmp_path, Pretend(outcome=lost_device(2)), **stages)
    status = read_status(tmp_path / "search")
    assert status.state == "aborted"
    assert "CUDA error" in status.aborted
    one = searched(tmp_path, **stages)
    trials = one._store.trials()
    assert {t.status for t in trials} == {"completed"}
    assert [t.attempts for t in trials] == [1, 1, 3, 3, 3, 1, 1, 1]
    scores = [(t.values, t.score) for t in trials]
    alone = searched(tmp_path / "alone", **stages)._store.trials()
    assert scores == [(t.values, t.score) for t in alone]


def test_failures_that_are_no_reason_to_stop(tmp_path):
    one = searched(tmp_path / "two", Pretend(outcome=lost_device(1, times=2)))
    expected = ["completed", "failed", "failed", "completed"]
    assert list(one.results()["status"][:4]) == expected

    def various(trial, _):
        reason = f"{'OE'[trial.number % 2]}Error: no"
        return Outcome("failed", reason=reason, raised="E") if trial.number else None

    def diverged(trial, _):
        return Outcome("failed", reason="the loss became NaN") if trial.number else None

    for name, outcome, most in (
        ("various", various, 3),
        ("diverged", diverged, 3),
        ("never", lost_device(1), None),
    ):
        one = searched(
            tmp_path / name,
            Pretend(outcome=outcome),
            max_consecutive_failed_trials=most,
        )
        assert list(one.results()["status"][:4]) == ["completed", *["failed"] * 3]
        assert one.report().ended


def test_finished_searches_are_read_only(tmp_path):
    one = searched(tmp_path)
    before = [(p, p.stat().st_mtime_ns) for p in sorted(one.directory.rglob("*.jsonl"))]
    executor = Pretend()
    again = searched(tmp_path, executor)
    assert executor.trained == []
    assert end_of(again) == end_of(one)
    assert before == [
        (p, p.stat().st_mtime_ns) for p in sorted(one.directory.rglob("*.jsonl"))
    ]


def test_more_trials_of_the_last_stage(tmp_path):
    short = {"stages": [(4, 1), (3, 2)], "repeat_top": 0}
    long = {"stages": [(4, 1), (5, 2)], "repeat_top": 0}
    searched(tmp_path / "a", **short)
    one = searched(tmp_path / "a", **long)
    trials = one._store.trials()
    assert [t.stage for t in trials] == [0] * 4 + [1] * 5
    assert one._store.settings()["stages"][1]["trials"] == 5
    # The trials that there were stay what they were.
    assert trials[:7] == searched(tmp_path / "b", **short)._store.trials()
    with pytest.raises(ValueError, match="`stages` are"):
        searched(tmp_path / "a", **short)


def test_checkpoints_are_cleaned_up_on_resuming_too(tmp_path):
    settings = {"stages": [(6, 1)], "repeat_top": 0, "keep_top": 2}
    assert killed_at(tmp_path, 8, True, **settings)
    one = searched(tmp_path, **settings)
    kept = {int(p.parts[-3]) for p in one.directory.rglob("best.keras")}
    assert kept == {t.number for t in one.best_trials(2)}
    assert len(one.results()) == 6


def test_events_that_were_cut_off(tmp_path, undisturbed):
    one = searched(tmp_path)
    events = one.directory / "events.jsonl"
    whole = events.read_bytes()
    events.write_bytes(whole[: len(whole) * 2 // 3])
    assert end_of(searched(tmp_path)) == undisturbed("random")


REAL = """
    import os, signal, sys
    import keras
    import numpy as np
    from keras_babysit import search

    folder, dies = sys.argv[1], sys.argv[2] == "dies"
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = x @ np.array([[1.0], [-2.0], [0.5], [0.0]], "float32")

    class Die(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1 and os.path.exists(f"{folder}/search/trials/0003"):
                os.kill(os.getpid(), signal.SIGKILL)

    def make_model(hp):
        units = hp.Int("units", 2, 16)
        layers = [keras.Input((4,)), keras.layers.Dense(units, "relu")]
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(search.learning_rate(hp)), "mse")
        return model

    searching = search.Search(
        make_model, "val_loss", stages=[(2, 1), (2, 3)], seed=3, directory=folder,
        verbose=0, babysit=False,
    )
    fit = {"validation_split": 0.5, "callbacks": [Die()] if dies else []}
    report = searching.search(x, y, batch_size=8, **fit)
    searching.best_models(1)[0].evaluate(x, y, verbose=0)
    print([(t.number, t.values, t.score, t.outcome.epochs) for t in report.trials])
"""


@pytest.mark.slow
@pytest.mark.usefixtures("optimized_graphs")
def test_real_training_is_killed_and_goes_on(tmp_path, monkeypatch, capsys):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(REAL))
    monkeypatch.undo()  # This one makes models.
    environment = {"PYTHONPATH": str(Path(search.__file__).parents[2])}
    died = fresh.run(
        program.read_text(), tmp_path / "killed", "dies", env=environment, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    printed = []
    for folder in ("killed", "alone"):
        monkeypatch.setattr(sys, "argv", ["program", str(tmp_path / folder), "lives"])
        runpy.run_path(str(program))
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert len(printed[0]) > 100
    assert Store(tmp_path / "killed" / "search").trials()[3].attempts == 2
