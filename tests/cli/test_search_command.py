"""`keras-babysit search status`."""

import json
import math
import subprocess
import sys

import filelock
import pytest
from click.testing import CliRunner

from keras_babysit.cli import main
from keras_babysit.search.results.status import read_status
from keras_babysit.search.store import EPOCHS, EVENTS, LOCK, Store, append_line
from keras_babysit.search.trials import EpochResult, Outcome, to_json

SETTINGS = {
    "version": 1,
    "objective": {"name": "val_loss", "direction": "min"},
    "seed": 0,
    "stages": [{"trials": 4, "epochs": 2}, {"trials": 2, "epochs": 10}],
    "method": "random",
    "folds": None,
    "repeat_top": 0,
    "repeats": 3,
    "project_name": "mlp",
}


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


@pytest.fixture
def call(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)

    def invoke(*arguments):
        result = CliRunner().invoke(main.main, ["search", *map(str, arguments)])
        assert not isinstance(result.exception, Exception), result.exception
        return result

    return invoke


def start(
    store, number, rate, epochs=2, attempts=1, stage=0, origin="oracle", source=None
):
    store.append(
        "started",
        number=number,
        stage=stage,
        values={"rate": rate, "units": 64},
        epochs=epochs,
        seed=number,
        origin=origin,
        source=source,
        attempts=attempts,
    )
    store.folder(number).mkdir(parents=True, exist_ok=True)


def end(store, number, status="completed", score=None, epochs=2, reason=""):
    outcome = Outcome(status, score, epochs=epochs, seconds=3.0 * epochs, reason=reason)
    store.append("ended", number=number, outcome=to_json(outcome))


def epoch(store, number, epoch, loss):
    result = EpochResult(epoch, {"val_loss": loss}, 3.0)
    append_line(store.folder(number) / EPOCHS, result)


@pytest.fixture
def store(tmp_path):
    """In its second stage, two trials of which have begun."""
    store = Store(tmp_path / "mlp")
    store.begin(SETTINGS)
    store.append("stage", stage=0, trials=4, epochs=2, method="random")
    scores = [0.5, 0.25, None, 0.75]
    for number, score in enumerate(scores):
        start(store, number, 10.0**-number)
        if score is None:
            end(store, number, "failed", epochs=1, reason="ValueError: no [units]")
        else:
            end(store, number, score=score)
    store.append("stage", stage=1, trials=2, epochs=10, method="tpe")
    start(store, 4, 0.02, epochs=10, stage=1)
    start(store, 5, 0.05, epochs=10, attempts=2, stage=1)
    for number in range(1, 4):
        epoch(store, 5, number, 1 / number)
    epoch(store, 4, 1, math.nan)
    return store


def test_a_running_search(call, store):
    with filelock.FileLock(store.directory / LOCK):
        result = call("status", store.directory)
        assert result.exit_code == 0
        said = " ".join(result.output.split())
    assert f"{store.directory}: running" in said
    assert "stage 2 of 2: 2 trials of 10 epochs, tpe" in said
    assert "trials 4 of 6: 3 completed, 1 failed, 2 running" in said
    assert "best so far val_loss 0.25, trial 1: rate 0.1, units 64" in said
    assert "running trial 4: 1/10 epochs, rate 0.02, units 64" in said
    assert "trial 5: 3/10 epochs, 0.3333, rate 0.05, units 64, attempt 2" in said
    assert "failed trial 2: ValueError: no [units]" in said
    # 7 of 8 epochs were trained, at 3 s each; 9/8 of those that are open are left.
    left = 3.0 * (7 / 8 * 20 - 4) / 2
    assert read_status(store.directory).seconds_left is None, "it runs no more"
    with filelock.FileLock(store.directory / LOCK):
        assert read_status(store.directory).seconds_left == pytest.approx(left)
    assert "time left about 20 s" in said


def test_json(call, store):
    told = json.loads(call("status", store.directory, "--json").output)
    assert told["state"] == "interrupted"
    assert (told["stage"], told["method"], told["planned"]) == (1, "tpe", 6)
    assert told["counts"] == {"completed": 3, "failed": 1, "running": 2}
    assert told["best"] == {
        "trial": 1,
        "score": 0.25,
        "repeats": 0,
        "values": {"rate": 0.1, "units": 64},
    }
    assert told["reasons"] == [
        {"status": "failed", "text": "ValueError: no [units]", "trials": [2]}
    ]
    assert [row["score"] for row in told["trials"]] == [
        0.5,
        0.25,
        None,
        0.75,
        None,
        1 / 3,
    ]
    assert [row["epochs"] for row in told["trials"]] == [2, 2, 1, 2, 1, 3]


def test_a_search_that_has_ended(call, store):
    for number in (4, 5):
        end(store, number, "stopped", 0.125, 4, "median of trials at epoch 4")
    store.append("finished")
    with filelock.FileLock(store.directory / LOCK):  # Its process may draw something.
        said = " ".join(call("status", store.directory).output.split())
    assert "mlp: finished" in said
    assert "trials 6 of 6: 3 completed, 2 stopped, 1 failed" in said
    assert "best so far val_loss 0.125, trial 4" in said
    assert "stopped trials 4, 5: median of trials at epoch 4" in said
    assert "time left" not in said
    # A larger `max_trials` goes on with it.
    start(store, 6, 0.5)
    assert read_status(store.directory).state == "interrupted"


def test_the_best_is_a_mean_where_it_was_repeated(call, store):
    for number, score in ((6, 0.375), (7, 0.5)):
        start(store, number, 0.1, origin="repeat", source=1)
        end(store, number, score=score)
    said = " ".join(call("status", store.directory).output.split())
    assert "best so far val_loss 0.4375, mean of 2 repeats, trial 1: rate 0.1" in said
    told = json.loads(call("status", store.directory, "--json").output)["best"]
    assert (told["trial"], told["score"], told["repeats"]) == (1, 0.4375, 2)


def test_a_search_that_has_just_begun(call, tmp_path):
    store = Store(tmp_path)
    store.begin(SETTINGS | {"repeat_top": 2, "folds": 5})
    said = " ".join(call("status", tmp_path).output.split())
    assert "interrupted Starting its program again resumes it." in said
    assert "trials 0 of 12" in said
    start(store, 0, 0.1)
    said = " ".join(call("status", tmp_path).output.split())
    assert "trials 0 of 12: 1 open" in said
    assert "open trial 0: 0/10 epochs, rate 0.1" in said


def test_a_search_that_was_aborted(call, store):
    store.append("aborted", reason="The first 3 trials all failed: OSError: gone")
    said = " ".join(call("status", store.directory).output.split())
    assert "mlp: aborted The first 3 trials all failed: OSError: gone" in said
    assert json.loads(call("status", store.directory, "--json").output)["aborted"]


def test_looking_changes_nothing(call, store):
    (store.directory / LOCK).touch()
    with open(store.directory / EVENTS, "ab") as file:
        file.write(b'{"event": "star')  # It is being written just now.

    def files():
        return {p: p.read_bytes() for p in store.directory.rglob("*") if p.is_file()}

    before = files()
    assert call("status", store.directory).exit_code == 0
    after = files()
    after.setdefault(store.directory / LOCK, b"")  # Whoever frees a lock may remove it.
    assert after == before


def test_a_folder_that_is_no_search(call, store, tmp_path):
    result = call("status", tmp_path)
    assert result.exit_code == 2
    assert "there is no search in" in result.output
    assert "There are searches in it: mlp." in result.output
    result = call("status", tmp_path / "nowhere")
    assert (result.exit_code, "no such folder" in result.output) == (2, True)
    (tmp_path / "search.json").write_text("{")
    assert "is not a search" in call("status", tmp_path).output
    (tmp_path / "search.json").write_text('{"version": 9}')
    result = call("status", tmp_path)
    assert "this version of keras_babysit can read: KeyError: 'objective'" in " ".join(
        result.output.split()
    )
    assert call("status", tmp_path / "search.json").exit_code == 2


def test_the_command_needs_no_keras(store):
    code = f"""
import sys
from keras_babysit.cli import main as cli
cli.main(["search", "status", {str(store.directory)!r}], standalone_mode=False)
heavy = "keras", "tensorflow", "keras_tuner", "optuna", "pandas", "ray", "tensorboard"
print([m for m in heavy if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
