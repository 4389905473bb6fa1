"""Trials in processes of their own: closed forms, so that only Ray takes time."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import keras_tuner
import numpy as np
import pytest
import ray
from support import closed_form
from support.closed_form import OBJECTIVE, Work, lines, loss, trial

from keras_babysit.search.ray import cluster, mirror, setup
from keras_babysit.search.ray.board import Board
from keras_babysit.search.ray.executor import RayExecutor
from keras_babysit.search.trial.executors import Lost
from keras_babysit.search.trials import EpochResult

CPUS = 3


@pytest.fixture(scope="module", autouse=True)
def ray_here():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False
    )
    yield
    ray.shutdown()


@pytest.fixture
def opened(tmp_path):
    """Opens executors that run `closed_form`'s trials."""
    executors = []

    def open_one(
        on_epoch=lambda trial, result: "", run_trial=closed_form.run_trial, **options
    ):
        executor = RayExecutor(**options)
        executor._run_trial = run_trial
        executor.open(Work(str(tmp_path)), on_epoch)
        executors.append(executor)
        return executor

    yield open_one
    for executor in executors:
        executor.close()
    assert ray.is_initialized(), "it was not the executor's to end"


def all_of(executor):
    found = {}
    while ended := executor.wait():
        found.update(ended)
    return found


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(condition, seconds=500):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.02)


def test_trials_have_processes_and_outcomes_of_their_own(opened, tmp_path):
    seen, ended = [], []
    executor = opened(lambda t, r: seen.append((t.number, r)) or "")
    assert executor.capacity == CPUS
    for number in range(4):
        executor.submit(trial(number, rate=number / 10), {})
    found = {}
    while over := executor.wait():
        ended += [(number, len(seen)) for number, _ in over]
        found.update(over)
    assert {n: o.score for n, o in found.items()} == {
        n: loss(n / 10, 3) for n in range(4)
    }
    processes = [{r.logs["pid"] for n, r in seen if n == number} for number in range(4)]
    assert [len(of_one) for of_one in processes] == [1] * 4
    assert len(set.union(*processes) - {os.getpid()}) == 4
    for number, count in ended:  # All epochs, in order, before the end.
        assert [r.epoch for n, r in seen[:count] if n == number] == [1, 2, 3]
    assert [len(lines(tmp_path, number)) for number in range(4)] == [3] * 4


def test_a_trial_is_stopped_from_outside(opened):
    executor = opened(lambda t, r: "hopeless" if r.epoch == 2 else "")
    executor.submit(trial(0, epochs=500, rate=0.1, seconds=0.05), {})
    ((_, outcome),) = executor.wait()
    assert (outcome.status, outcome.reason) == ("stopped", "hopeless")
    assert 2 <= outcome.epochs < 100


def test_a_trial_that_is_over_is_not_stopped(opened):
    executor = opened(lambda t, r: "too late")
    executor.submit(trial(0, epochs=2, rate=0.1, seconds=0.5), {})
    outcome = all_of(executor)[0]
    assert (outcome.status, outcome.epochs) == ("completed", 2)


def test_workers_do_not_wait_for_the_driver(opened, tmp_path):
    told = []
    executor = opened(lambda t, r: told.append(r.epoch) or "")
    executor.submit(trial(0, epochs=20, rate=0.1), {})
    until(lambda: len(lines(tmp_path, 0)) == 20)  # The driver is busy.
    assert told == []
    assert executor.wait()[0][1].status == "completed"
    assert told == list(range(1, 21))


def test_a_killed_worker_is_lost_and_hurts_nobody(opened):
    def kill_the_first(t, r):
        if t.number == 0 and t.attempts == 1 and r.epoch == 2:
            os.kill(r.logs["pid"], signal.SIGKILL)
        return ""

    executor = opened(kill_the_first)
    executor.submit(trial(0, epochs=50, rate=0.1), {})
    executor.submit(trial(1, epochs=50, rate=0.2), {})
    found = all_of(executor)
    assert found[0] == Lost("its process was killed or has crashed")
    assert found[1].score == loss(0.2, 50)
    executor.submit(trial(0, epochs=50, attempts=2, rate=0.1), {})
    again = all_of(executor)[0]
    assert again.score == loss(0.1, 50)
    assert again.epochs < 50, "it went on from its last checkpoint"


def test_what_goes_wrong_before_a_trial_is_its_failure(opened):
    executor = opened()
    executor.submit(trial(0, rate=0.1, what="raise"), {})
    outcome = all_of(executor)[0]
    assert outcome.status == "failed"
    assert outcome.reason == "TypeError: this is not a trial"


def test_a_fatal_error_of_keras_tuners_comes_through(opened):
    executor = opened()
    executor.submit(trial(0, rate=0.1, what="fatal"), {})
    with pytest.raises(keras_tuner.errors.FatalValueError, match="no more"):
        all_of(executor)


def test_an_interrupted_driver_ends_its_workers(opened, tmp_path):
    processes = set()

    def interrupt(t, r):
        processes.add(r.logs["pid"])
        if len(processes) == 2:
            raise KeyboardInterrupt
        return ""

    executor = opened(interrupt)
    for number in range(2):
        executor.submit(trial(number, epochs=10_000, rate=0.1), {})
    with pytest.raises(KeyboardInterrupt):
        all_of(executor)
    until(lambda: not any(map(is_alive, processes)))
    assert executor.wait() == []


def test_closing_ends_what_runs_and_what_waits(opened, tmp_path):
    executor = opened()
    for number in range(CPUS + 2):
        executor.submit(trial(number, epochs=10_000, rate=0.1), {})
    until(lambda: len(lines(tmp_path, 0)) > 1)
    executor.close()
    there = len(lines(tmp_path, 0))
    time.sleep(0.2)
    assert len(lines(tmp_path, 0)) == there
    assert lines(tmp_path, CPUS + 1) == []
    assert not (tmp_path / mirror.DRIVER).exists()
    executor.close()  # Again is no error.


@pytest.mark.parametrize("seconds", [0.02, 400], ids=["epoch", "within"])
def test_an_orphan_ends_when_another_driver_takes_over(opened, tmp_path, seconds):
    executor = opened()
    executor.submit(trial(0, epochs=10_000, rate=0.1, seconds=seconds), {})
    until(lambda: (tmp_path / "trials" / "0000").exists())
    (tmp_path / mirror.DRIVER).write_text("another")
    began = time.monotonic()
    assert isinstance(executor.wait()[0][1], Lost)
    assert time.monotonic() - began < 200, "within the epoch"
    there = len(lines(tmp_path, 0))
    time.sleep(0.1)
    assert len(lines(tmp_path, 0)) == there < 10_000


def test_the_board_is_made_anew(opened):
    def kill_it(t, r):
        if r.epoch == 2:
            ray.kill(executor._board, no_restart=False)
        return "late" if r.epoch == 20 else ""

    executor = opened(kill_it)
    executor.submit(trial(0, epochs=1000, rate=0.1, seconds=0.05), {})
    assert all_of(executor)[0].reason == "late"


def test_a_worker_elsewhere_sends_its_files(opened, tmp_path):
    executor = opened()
    (tmp_path / mirror.DRIVER).unlink()  # As on a machine without this folder.
    source = tmp_path / "trials" / "0000" / "checkpoints"
    source.mkdir(parents=True)
    for epoch in (1, 2):
        (source / f"epoch-{epoch:04d}.txt").write_text("from the driver")
    executor.submit(trial(0, epochs=5, rate=0.1), {})
    executor.submit(trial(1, epochs=2, rate=0.2, what="once"), {})
    found = all_of(executor)
    assert found[0].epochs == 3, "it went on from what the driver had"
    assert (source / "epoch-0001.txt").read_text() == "from the driver"
    assert "pid" in (source / "epoch-0005.txt").read_text()
    assert len(lines(tmp_path, 0)) == 3
    # The first epoch of a trial that was lost is not.
    assert isinstance(found[1], Lost)
    executor.submit(trial(1, epochs=2, attempts=2, rate=0.2, what="once"), {})
    assert all_of(executor)[1].epochs == 1
    assert len(lines(tmp_path, 1)) == 2


def test_a_worker_is_set_up_as_its_driver(opened, monkeypatch, tmp_path):
    monkeypatch.setenv("TF_CONFIG", "{}")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.chdir(tmp_path)
    executor = opened(run_trial=closed_form.told, cpus_per_trial=2)
    assert executor.capacity == 1
    executor.submit(trial(0), {})
    told = all_of(executor)[0].metrics
    assert told["OMP_NUM_THREADS"] == told["TF_NUM_INTRAOP_THREADS"] == "2"
    assert told["TF_CPP_MIN_LOG_LEVEL"] == "3"
    assert (told["KERAS_BACKEND"], told["TF_CONFIG"]) == ("tensorflow", None)
    assert told["folder"] == told["directory"] == str(tmp_path)


def test_threads_and_memory_follow_the_share(monkeypatch):
    for name in os.environ:
        if name.startswith("TF_"):
            monkeypatch.delenv(name)
    assert setup.environment_of(0.5, 0)["TF_NUM_INTRAOP_THREADS"] == "1"
    shared, whole = setup.environment_of(1, 0.5), setup.environment_of(1, 1)
    assert shared["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert "TF_FORCE_GPU_ALLOW_GROWTH" not in whole


def test_what_cannot_be_pickled_is_named(tmp_path):
    lock = threading.Lock()
    executor = RayExecutor()
    work = Work(str(tmp_path), hypermodel=lambda hp: lock)
    with pytest.raises(ValueError, match="the hypermodel of the search cannot be sent"):
        executor.open(work, lambda t, r: "")
    x = np.zeros(3)
    work = Work(str(tmp_path), arguments={"x": x, "callbacks": [lock]})
    with pytest.raises(ValueError, match=r"the argument `callbacks`.*TypeError"):
        executor.open(work, lambda t, r: "")
    assert ray.is_initialized()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "`workers` must be a positive integer. Received: workers=0"),
        ({"workers": True}, "Received: workers=True"),
        ({"cpus_per_trial": 0}, "`cpus_per_trial` must be a positive whole number"),
        ({"cpus_per_trial": 1.5}, "cpus_per_trial=1.5"),
        ({"cpus_per_trial": "2"}, "cpus_per_trial='2'"),
        ({"gpus_per_trial": -1}, "`gpus_per_trial` must be 0, a positive whole"),
        ({"gpus_per_trial": float("nan")}, "gpus_per_trial=nan"),
        ({"address": "ray://10.0.0.1:10001"}, "without `ray://`"),
    ],
)
def test_bad_arguments(options, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        RayExecutor(**options)


def test_what_never_fits_is_said(opened):
    with pytest.raises(ValueError, match=r"gpus_per_trial=1 GPUs.*CPU 3, GPU 0"):
        opened(gpus_per_trial=1)
    # Such a machine may yet join a cluster that is not the search's own.
    with pytest.warns(UserWarning, match=r"waits: no machine .* cpus_per_trial=99"):
        assert opened(workers=2, cpus_per_trial=99).capacity == 2


def test_a_cluster_that_is_not_there():
    code = """
import os, sys
from keras_babysit.search.ray import cluster
try:
    cluster.connect("127.0.0.1:1", None)
except ConnectionError as error:
    print(error)
os.environ["RAY_TMPDIR"] = sys.argv[1]
os.mkdir(sys.argv[1] + "/ray")
with open(sys.argv[1] + "/ray/ray_current_cluster", "w") as file:
    file.write("127.0.0.1:1")
print(cluster._begun_here())
"""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, folder], capture_output=True, text=True
        )
    said = done.stdout.splitlines()
    assert said == [
        "There is no Ray cluster at '127.0.0.1:1', or it does not answer.",
        "local",
    ]


def test_how_many_trials_fit():
    assert cluster.room(1, 0) == CPUS
    assert cluster.room(2, 0) == 1
    assert cluster.room(0.1, 0) == 10 * CPUS
    assert cluster.room(1, 1) == 0


def test_the_board_knows_whose_trial_it_is(tmp_path):
    async def talk():
        board = Board(str(tmp_path))
        epoch = EpochResult(1, {OBJECTIVE.name: 1.0})
        assert (await board.report(0, 1, epoch)).wanted
        await board.stop(0, 1, "slow")
        assert (await board.report(0, 1, epoch)).stop == "slow"
        assert (await board.report(0, 2, epoch)).stop == ""
        assert not (await board.report(0, 1, epoch, {"late": b""})).wanted
        assert not (tmp_path / "trials" / "0000" / "late").exists()
        assert [attempt for _, attempt, _ in await board.news()] == [1, 1, 2]
        waiting = asyncio.ensure_future(board.news())
        await asyncio.sleep(0)
        assert not waiting.done()
        await board.wake()
        assert await waiting == []
        # What comes between two calls of `news` is not left behind.
        waiting = asyncio.ensure_future(board.news())
        await asyncio.sleep(0)
        await board.report(1, 1, epoch)
        await asyncio.sleep(0)
        await board.report(2, 1, epoch)
        await board.wake()
        told = [*await waiting, *await board.rest()]
        assert [number for number, _, _ in told] == [1, 2]

    asyncio.run(talk())


def test_a_full_disk_at_the_driver_is_told(tmp_path):
    (tmp_path / "trials").write_text("no folder")
    answer = asyncio.run(Board(str(tmp_path)).report(0, 1, None, {"a": b"1"}))
    assert answer.wanted
    assert "NotADirectoryError" in answer.problem


def test_mirrored_files(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    mirror.write(one, {"a/b": b"1", "c": b"2"})
    before = mirror.stamps(one)
    assert mirror.changed(before, mirror.stamps(one)) == ([], [])
    (one / "a" / "b").write_bytes(b"longer")
    (one / "c").unlink()
    (one / ".partial-1.bin").write_bytes(b"")
    new, gone = mirror.changed(before, mirror.stamps(one))
    assert (new, gone) == (["a/b"], ["c"])
    mirror.write(two, {"c": b"2"})
    mirror.write(two, mirror.read(one, new), gone)
    assert mirror.read(two) == {"a/b": b"longer"}
