"""Runs trials as Ray tasks: several at a time, on one machine or on a cluster."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_tuner

from keras_babysit.errors import whole_or_none
from keras_babysit.event_files.replacing import write
from keras_babysit.search.ray import cluster, mirror, setup, worker
from keras_babysit.search.ray.board import Board
from keras_babysit.search.trial.executors import Lost
from keras_babysit.search.trial.runner import run_trial
from keras_babysit.search.trial.task import Work
from keras_babysit.search.trials import EpochResult, Outcome, Trial

#: Workers that are told to end are given so many seconds to be gone.
_PATIENCE = 10.0


class RayExecutor:
    """Every trial is a Ray task in a process of its own.

    It uses the Ray that this process is connected to already; else the cluster at
    `address` or `RAY_ADDRESS`, or one that `ray start` began on this machine; else it
    starts Ray on this machine and ends it in the end.

    Workers need the same Python and packages as the driver, not the same disk: what one
    writes elsewhere is sent to the driver's machine after every epoch. Arrays are sent
    to every machine once and shared by its workers, so they can be read but not
    written. Everything is pickled with cloudpickle: functions and classes of the main
    program go with their code.

    A worker has as many threads as processors. Keras's global settings and environment
    variables that begin with `TF_`, `XLA_`, `JAX_` or `KERAS_` are the driver's. With a
    share of a GPU, frameworks take its memory as they need it.

    A worker whose process is killed, by whomever, is reported as `Lost`: it is the
    search that has its trial run again, not Ray. An orphan, whose driver was killed,
    ends at the end of its epoch at the latest.

    Args:
        workers: how many trials run at a time; as many as fit by default.
        cpus_per_trial: processors of a trial, a whole number or a share of one.
        gpus_per_trial: its GPUs, likewise.
        address: of the Ray cluster, such as `"10.0.0.1:6379"`; `"auto"` for any on
            this machine; `"local"` starts one, whatever there is.

    Attributes:
        capacity: how many trials may be open at a time; known once it is opened.

    Raises:
        ImportError: if Ray is not installed.
        ValueError: if an argument is not as it should be.

    Example:
    ```python
    executor = RayExecutor(workers=4, gpus_per_trial=0.5, address="10.0.0.1:6379")
    searching = keras_babysit.search.Search(make_model, "val_loss", executor=executor)
    ```
    """

    def __init__(
        self,
        workers: int | None = None,
        cpus_per_trial: float = 1,
        gpus_per_trial: float = 0,
        address: str | None = None,
    ):
        cluster.import_ray()
        whole_or_none("workers", workers)
        cluster.check_number("cpus_per_trial", cpus_per_trial, least=1e-4)
        cluster.check_number("gpus_per_trial", gpus_per_trial, least=0.0)
        if (address or os.environ.get("RAY_ADDRESS") or "").startswith("ray://"):
            raise ValueError(cluster.NO_CLIENT)
        self.workers, self.address = workers, address
        self.cpus_per_trial, self.gpus_per_trial = cpus_per_trial, gpus_per_trial
        self.capacity = workers or 1
        self._run_trial: Callable[..., Outcome] = run_trial
        self._open: dict[Any, Trial] = {}
        self._news: Any = None
        self._board: Any = None
        self._link = ""

    def open(self, work: Work, on_epoch: Callable[[Trial, EpochResult], str]) -> None:
        """Connects to Ray and sends what all trials share.

        Args:
            work: what all trials share.
            on_epoch: is called in this process with every epoch; says why its trial
                is to end, or `""`.

        Raises:
            ConnectionError: if there is no cluster at the address.
            ValueError: if something in `work` cannot be pickled, or if no machine of
                the cluster has what a trial needs.
        """
        ray = cluster.import_ray()
        cpus, gpus = self.cpus_per_trial, self.gpus_per_trial
        total = self.workers and self.workers * cpus
        self._on_epoch, self._directory = on_epoch, os.path.abspath(work.directory)
        self._link = cluster.connect(self.address, total)
        try:
            self.capacity = cluster.capacity(
                self.workers, cpus, gpus, grows=self._link != "started"
            )
            work = replace(work, directory=self._directory, verbose=0)
            self._payload = ray.put((self._run_trial, *_packed(work)))
            driver = uuid.uuid4().hex
            self._setup = setup.setup_of(self._directory, driver, cpus, gpus)
            write(Path(self._directory) / mirror.DRIVER, driver)
            self._board = cluster.actor_here(Board, self._directory)
        except BaseException:
            self.close()
            raise
        # Ray would count attempts for itself, and run the next trial in this process.
        self._task = ray.remote(
            max_retries=0, max_calls=1, num_cpus=cpus, num_gpus=gpus
        )(worker.run)

    def submit(self, trial: Trial, space: Mapping) -> None:
        """Has a trial run as soon as there is room.

        Args:
            trial: the trial.
            space: configuration of its stage's `HyperParameters`.
        """
        task = self._task.options(name=f"trial {trial.number}")
        reference = task.remote(
            self._setup, [self._payload], self._board, trial, dict(space)
        )
        self._open[reference] = trial

    def wait(self) -> list[tuple[int, Outcome | Lost]]:
        """Waits until a trial has ended, calling `on_epoch` meanwhile.

        Returns:
            The numbers of the trials that have ended, with what came of them; none if
            none is open.
        """
        try:
            while self._open:
                ended = self._next()
                if ended:
                    return ended
        except BaseException:  # Such as the user's interrupt.
            self._cancel()
            raise
        return []

    def close(self) -> None:
        """Stops what is running; ends Ray if it was started here."""
        ray = cluster.import_ray()
        if ray.is_initialized():
            self._cancel()
            if self._board is not None:
                ray.kill(self._board)
        if self._board is not None:
            (Path(self._directory) / mirror.DRIVER).unlink(missing_ok=True)
        self._open, self._board, self._news, self._payload = {}, None, None, None
        if self._link:
            ray.shutdown()
            self._link = ""

    def _next(self) -> list[tuple[int, Outcome | Lost]]:
        """Waits for news of any kind; returns the trials that have ended, if any."""
        ray = cluster.import_ray()
        if self._news is None:
            self._news = self._board.news.remote()
        ray.wait([self._news, *self._open], num_returns=1)
        ended, _ = ray.wait(list(self._open), num_returns=len(self._open), timeout=0)
        if ended:
            # All epochs of a trial come before its end: those that are on their way
            # here, and those that have come to the board since.
            ray.get(self._board.wake.remote())
            while not ray.wait([self._news], timeout=1.0)[0]:
                ray.get(self._board.wake.remote())  # It has been made anew.
            self._tell(self._taken() + ray.get(self._board.rest.remote()))
        elif ray.wait([self._news], timeout=0)[0]:
            self._tell(self._taken())
        found = [(self._open.pop(task).number, _result(task)) for task in ended]
        return sorted(found, key=lambda one: one[0])

    def _taken(self) -> list[tuple[int, int, EpochResult]]:
        news, self._news = self._news, None
        return cluster.import_ray().get(news)

    def _tell(self, news: list[tuple[int, int, EpochResult]]) -> None:
        """Calls `on_epoch` with what the board has, and hangs up what it says."""
        trials = {(t.number, t.attempts): t for t in self._open.values()}
        for number, attempt, result in news:
            if (number, attempt) in trials:
                reason = self._on_epoch(trials[number, attempt], result)
                if reason:
                    self._board.stop.remote(number, attempt, reason)

    def _cancel(self) -> None:
        ray = cluster.import_ray()
        tasks, self._open = list(self._open), {}
        for task in tasks:
            ray.cancel(task, force=True)
        if tasks:
            ray.wait(tasks, num_returns=len(tasks), timeout=_PATIENCE)


def _result(task: Any) -> Outcome | Lost:
    """What came of a task that has ended."""
    ray = cluster.import_ray()
    errors = ray.exceptions
    try:
        return ray.get(task)
    except errors.OutOfMemoryError:
        return Lost("its machine had no memory left; Ray ended its process")
    except errors.WorkerCrashedError:
        return Lost("its process was killed or has crashed")
    except (errors.NodeDiedError, errors.ObjectLostError):
        return Lost("its machine was lost")
    except errors.RayTaskError as error:
        # Not by the trial, which raises nothing else, but on the way to it.
        cause = error.cause
        if isinstance(cause, keras_tuner.errors.FatalError):
            raise cause from None  # By this, the user ends the search.
        told = " ".join(str(cause).split())
        name = type(cause).__name__
        return Outcome("failed", reason=f"{name}: {told}", raised=name)
    except (errors.TaskUnschedulableError, errors.RuntimeEnvSetupError) as error:
        return Outcome("failed", reason=" ".join(str(error).split()))


def _packed(work: Work) -> tuple[Work, dict[str, Any]]:
    parts = {"the hypermodel of the search": work.hypermodel}
    parts |= {f"the argument `{k}` of the search": v for k, v in work.arguments.items()}
    return setup.packed(work, parts)
