"""Searches whose processes are killed, whose disks are full; they end all the same.

After each of them every trial is accounted for, and what was found is what a search
finds that nobody has disturbed, bit for bit.
"""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from support import closed_form, tiny

from keras_babysit.search.ray.executor import RayExecutor
from keras_babysit.search.results.status import read_status
from keras_babysit.search.store import Store
from keras_babysit.search.trial.executors import Lost

# A search takes minutes where the machine has much else to do.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Of two machines, which are both this one."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder,
    ):
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)  # Or others would be connected to it.
        here = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "include_dashboard": False},
        )
        here.add_node(num_cpus=1)
        yield here
        ray.shutdown()
        here.shutdown()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, optimized_graphs):
    search, _ = tiny.search(tmp_path_factory.mktemp("undisturbed"))
    return found(search)


@pytest.fixture
def executor(cluster):
    return RayExecutor(address=cluster.address)


def found(search):
    """All that a search has found but for when and where."""
    trials = Store(search.directory).trials()
    report = search.report()
    assert report.ended
    return {
        "trials": [
            {
                "number": trial.number,
                "values": dict(trial.values),
                "seed": trial.seed,
                "origin": trial.origin,
                "status": trial.status,
                "score": trial.score,
                "best_epoch": trial.outcome.best_epoch,
                "epochs": trial.outcome.epochs,
                "metrics": dict(trial.outcome.metrics),
                "reason": trial.outcome.reason,
            }
            for trial in trials
        ],
        "best": report.to_dict()["best"],
        "best_values": [hp.values for hp in search.best_hyperparameters(2)],
        "epochs": [
            [(e.epoch, dict(e.logs)) for e in Store(search.directory).epochs(trial)]
            for trial in trials
        ],
    }


def happened(directory):
    return Counter(event["event"] for event in Store(directory).events())


def until(condition, seconds=500):  # On a busy machine Ray takes minutes to begin.
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.01)
    return found


def worker_of(number, folder):
    """The process that runs a trial for a driver in this folder, if there is one."""
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            said = (process / "cmdline").read_bytes().replace(b"\0", b" ").strip()
            is_one = said == f"ray::trial {number}".encode()
            if is_one and os.readlink(process / "cwd") == str(folder):
                return int(process.name)
    return None


def workers_that_train(store, folder):
    """Processes of trials that have trained an epoch and continue, looked at once."""
    going = [t.number for t in store.trials() if not t.outcome and store.epochs(t)]
    workers = [worker_of(number, folder) for number in going]
    return [pid for pid in workers if pid is not None]


def is_alive(pid):
    with contextlib.suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1][:3]
    return False


class Killing(RayExecutor):
    """Kills the process of a trial after some of its epochs, once."""

    number, epoch, killed = 1, 3, None

    def open(self, work, on_epoch):
        def kill(trial, result):
            here = (trial.number, result.epoch)
            if here == (self.number, self.epoch) and self.killed is None:
                self.killed = worker_of(self.number, Path.cwd())
                os.kill(self.killed, signal.SIGKILL)
            return on_epoch(trial, result)

        super().open(work, kill)


def test_a_worker_is_killed(cluster, undisturbed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    executor = Killing(address=cluster.address)
    search, _ = tiny.search(tmp_path, executor=executor)
    assert not is_alive(executor.killed)
    assert found(search) == undisturbed
    attempts = [trial.attempts for trial in Store(search.directory).trials()]
    assert attempts == [1, 2, 1]
    assert happened(search.directory) == {
        "stage": 1,
        "started": tiny.TRIALS + 1,
        "lost": 1,
        "ended": tiny.TRIALS,
        "finished": 1,
    }
    # It went on from its last checkpoint: no epoch before that was trained again.
    lines = (Store(search.directory).folder(1) / "epochs.jsonl").read_text().split("\n")
    assert len(lines) - 1 <= tiny.EPOCHS + 1


def test_the_driver_is_killed(executor, undisturbed, tmp_path):
    folder = tmp_path / "tiny"
    store = Store(folder)
    # With a Ray of its own, the workers of which outlive it for seconds.
    said = tmp_path / "said"
    with open(said, "wb") as file:
        driver = subprocess.Popen(
            [sys.executable, tiny.__file__, str(tmp_path)], cwd=tmp_path, stderr=file
        )
    try:
        until(lambda: happened(folder)["ended"] or driver.poll() is not None)
        assert driver.poll() is None, said.read_text()
        assert read_status(folder).state == "running"
        with pytest.raises(RuntimeError, match="Another process is searching in"):
            tiny.search(tmp_path, executor=executor)
        ended = [t.number for t in store.trials() if t.outcome is not None]
        workers = until(lambda: workers_that_train(store, tmp_path))
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert read_status(folder).state == "interrupted"
    trained = {n: (store.folder(n) / "epochs.jsonl").read_bytes() for n in ended}
    search, _ = tiny.search(tmp_path, executor=executor)
    assert found(search) == undisturbed
    assert not any(map(is_alive, workers))
    # Nothing was counted twice, and what had ended was not trained again.
    assert happened(folder)["ended"] == tiny.TRIALS
    trials = store.trials()
    assert [trials[n].attempts for n in ended] == [1] * len(ended)
    assert {
        n: (store.folder(n) / "epochs.jsonl").read_bytes() for n in ended
    } == trained


@contextlib.contextmanager
def full_disk(folder):
    """A disk in a folder that has no room left; whether there could be one."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        yield False  # Only root may.
        return
    try:
        with contextlib.suppress(OSError), open(folder / "full", "wb", 0) as file:
            while True:
                file.write(bytes(4096))
        yield True
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.filterwarnings("ignore:TensorBoard's HParams tab is not up to date")
def test_a_worker_has_a_full_disk(executor, undisturbed, tmp_path):
    with full_disk(tmp_path / "tiny" / "trials" / "0001") as is_full:
        if not is_full:
            executor._run_trial = tiny.run_without_disk
        search, _ = tiny.search(tmp_path, executor=executor)
        now = found(search)
        notes = " ".join(Store(search.directory).trials()[1].outcome.notes)
    assert os.strerror(errno.ENOSPC if is_full else errno.EFBIG) in notes
    now["epochs"][1] = undisturbed["epochs"][1]  # They could not be written.
    assert now == undisturbed


@pytest.mark.parametrize("how", ["memory", "machine"])
def test_a_machine_is_lost_or_full(cluster, tmp_path, monkeypatch, how):
    if how == "memory":  # For Ray, it has next to none.
        monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
        monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "50")
    third = cluster.add_node(num_cpus=2)
    lost = []

    def on_epoch(trial, result):
        if how == "machine" and not lost:
            lost.append(cluster.remove_node(third, allow_graceful=False))
        return ""

    # Two processors are on the third machine only.
    executor = RayExecutor(workers=1, cpus_per_trial=2, address=cluster.address)
    executor._run_trial = closed_form.run_trial
    executor.open(closed_form.Work(str(tmp_path)), on_epoch)
    try:
        executor.submit(closed_form.trial(0, epochs=10_000, rate=0.1), {})
        ((_, result),) = executor.wait()
    finally:
        executor.close()
    if how == "memory":
        cluster.remove_node(third, allow_graceful=False)
        assert result == Lost("its machine had no memory left; Ray ended its process")
    else:
        assert result == Lost("its machine was lost")
