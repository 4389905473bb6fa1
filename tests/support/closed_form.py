"""Trials that train nothing: their scores are known. Needs no framework."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_babysit.search.store import CHECKPOINTS, EPOCHS, Store, append_line
from keras_babysit.search.trials import EpochResult, Objective, Outcome, Trial

OBJECTIVE = Objective("val_loss", "min")
SECONDS = 0.02


@dataclass(frozen=True)
class Work:
    """Has what executors need of `keras_babysit.search.trial.task.Work`."""

    directory: str
    hypermodel: Any = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    objective: Objective = OBJECTIVE
    verbose: int = 0
    parts: int = 1


def trial(number, epochs=3, attempts=1, source=None, **values):
    return Trial(number, 0, values, epochs, number, source=source, attempts=attempts)


def loss(rate, epoch):
    return (rate - 0.3) ** 2 + 1 / epoch


def run_trial(work, trial, space, report):
    """Goes on after the last checkpoint, and writes one after each epoch."""
    store = Store(work.directory)
    folder = store.folder(trial) / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    done = len(list(folder.iterdir()))
    seconds = trial.values.get("seconds", SECONDS)
    for epoch in range(done + 1, trial.epochs + 1):
        time.sleep(seconds)
        _misbehave(trial, epoch)
        logs = {"val_loss": loss(trial.values["rate"], epoch), "pid": os.getpid()}
        name = f"epoch-{epoch:04d}.txt"
        (folder / name).write_text(str(logs))
        result = EpochResult(epoch, logs, checkpoint=name)
        append_line(store.folder(trial) / EPOCHS, result)
        reason = report(result)
        if reason:
            score = loss(trial.values["rate"], epoch)
            return Outcome("stopped", score, epoch, epoch, reason)
    score = loss(trial.values["rate"], trial.epochs)
    return Outcome("completed", score, trial.epochs, trial.epochs - done)


def _misbehave(trial, epoch):
    what = trial.values.get("what")
    if what == "raise":
        raise TypeError("this is not\na trial")
    if what == "fatal":
        from keras_tuner.errors import FatalValueError

        raise FatalValueError("no more")
    if what == "exit" and epoch == 2:
        os._exit(3)
    if what == "once" and epoch == 2 and trial.attempts == 1:
        os._exit(3)


def told(work, trial, space, report):
    """Tells of the process that it runs in."""
    names = "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_CPP_MIN_LOG_LEVEL"
    metrics = {name: os.environ.get(name) for name in (*names, "KERAS_BACKEND")}
    metrics |= {"TF_CONFIG": os.environ.get("TF_CONFIG"), "folder": os.getcwd()}
    metrics |= {"pid": os.getpid(), "directory": work.directory}
    return Outcome("completed", 0.0, metrics=metrics)


def lines(directory, number):
    path = Path(directory) / "trials" / f"{number:04d}" / EPOCHS
    return path.read_text().splitlines() if path.exists() else []
