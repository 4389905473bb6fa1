"""How a search is getting on, from its files only: while it runs, or long after."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from keras_babysit.document.values import plain
from keras_babysit.search.results.ranking import candidates
from keras_babysit.search.results.report import Reason, reasons
from keras_babysit.search.results.report_parts import Best, best_of
from keras_babysit.search.results.table import counts, rows
from keras_babysit.search.store import LOCK, SETTINGS, Store
from keras_babysit.search.trials import EpochResult, Objective, Trial


@dataclass(frozen=True)
class Status:
    """A search as it is now.

    Attributes:
        directory: its folder.
        state: `"running"`: a process holds its lock; `"finished"`; `"aborted"`: it
            saw no sense in going on; or `"interrupted"`: none of these, and starting
            its program again goes on with it.
        objective: what is searched for.
        plan: `(trials, epochs)` of every stage, and of the repeats at the end.
        folds: number of folds that every trial is trained on.
        stage: index of the stage that it is in; `None` before the first.
        method: how that stage chooses its trials.
        trials: all that have begun, by number.
        epochs: finished epochs of those that have not ended, by number.
        seconds_left: how long it likely takes from now; `None` if it is not running or
            nothing is known yet.
        aborted: why it was aborted; `""` if it was not.
    """

    directory: str
    state: str
    objective: Objective
    plan: tuple[tuple[int, int], ...]
    folds: int
    stage: int | None
    method: str
    trials: tuple[Trial, ...]
    epochs: Mapping[int, tuple[EpochResult, ...]]
    seconds_left: float | None
    aborted: str = ""

    @property
    def planned(self) -> int:
        """How many trials it is to have, as far as is known."""
        return max(sum(trials for trials, _ in self.plan), len(self.trials))

    @property
    def best(self) -> Best | None:
        """What is best so far, as the report has it; `None` if no trial has a score."""
        return next(map(best_of, candidates(self.trials, self.objective)), None)

    def trial(self, number: int) -> Trial:
        """Returns the trial with a number."""
        return next(trial for trial in self.trials if trial.number == number)

    @property
    def open(self) -> tuple[Trial, ...]:
        """The trials that have begun and not ended."""
        return tuple(trial for trial in self.trials if trial.outcome is None)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why trials were stopped or failed, the most frequent reason first."""
        return reasons(self.trials)

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as values that JSON can hold, a row for each trial."""
        best = self.best
        return plain(
            {
                "directory": self.directory,
                "state": self.state,
                "aborted": self.aborted,
                "objective": {
                    "name": self.objective.name,
                    "direction": self.objective.direction,
                },
                "stage": self.stage,
                "stages": [{"trials": t, "epochs": e} for t, e in self.plan],
                "method": self.method,
                "planned": self.planned,
                "counts": counts(self.trials),
                "best": best
                and {
                    "number": best.trial,
                    "score": best.score,
                    "repeats": len(best.repeats.scores) if best.repeats else 0,
                    "values": self.trial(best.trial).values,
                },
                "seconds_left": self.seconds_left,
                "reasons": [
                    {"status": r.status, "reason": r.text, "trials": r.trials}
                    for r in self.reasons
                ],
                "trials": rows(self.trials, self.objective, self.epochs),
            }
        )


def read_status(directory: str | os.PathLike) -> Status:
    """Reads a search's folder; changes nothing in it, whoever is writing there.

    Args:
        directory: the folder, `directory/project_name` of the search.

    Raises:
        ValueError: if there is no search in the folder.
    """
    store = Store(directory)
    settings = store.settings()
    if settings is None:
        raise ValueError(
            f"there is no search in {str(directory)!r}: it has no {SETTINGS}."
            f"{_hint(Path(directory))}"
        )
    try:
        objective = Objective(**settings["objective"])
        plan = _plan(settings)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{str(Path(directory) / SETTINGS)!r} is not of a search that this version "
            f"of keras_babysit can read: {type(error).__name__}: {error}"
        ) from None
    events = store.events()
    begun = [event for event in events if event["event"] == "stage"]
    trials = tuple(store.trials())
    epochs = {t.number: tuple(store.epochs(t)) for t in trials if t.outcome is None}
    last = events[-1] if events else {"event": ""}
    state = "running" if is_held(store.directory / LOCK) else "interrupted"
    if last["event"] in ("finished", "aborted"):
        state = last["event"]
    left = _seconds_left(trials, epochs, plan, settings.get("folds") or 1)
    method = begun[-1].get("method") if begun else settings.get("method")
    return Status(
        directory=str(directory),
        state=state,
        objective=objective,
        plan=plan,
        folds=settings.get("folds") or 1,
        stage=begun[-1]["stage"] if begun else None,
        method=str(method or ""),
        trials=trials,
        epochs=epochs,
        seconds_left=left if state == "running" else None,
        aborted=last["reason"] if state == "aborted" else "",
    )


def is_held(path: Path) -> bool:
    """Whether a process holds a lock; it is not kept from taking it."""
    if not path.exists():
        return False
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError:  # It is not ours to take, so it cannot be known.
        return False
    lock.release()
    return False


def _plan(settings: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    stages = [(int(s["trials"]), int(s["epochs"])) for s in settings["stages"]]
    repeats = (settings.get("repeat_top") or 0) * (settings.get("repeats") or 0)
    return (*stages, *([(repeats, stages[-1][1])] if repeats else []))


def _seconds_left(
    trials: Sequence[Trial],
    epochs: Mapping[int, Sequence[EpochResult]],
    plan: Iterable[tuple[int, int]],
    folds: int,
) -> float | None:
    """What an epoch took, times those to come, by how many run at a time.

    Trials are expected to leave out as large a share of their epochs as those that have
    ended.
    """
    ended = [(trial, trial.outcome) for trial in trials if trial.outcome is not None]
    trained = sum(outcome.epochs for _, outcome in ended)
    took = sum(outcome.seconds for _, outcome in ended)
    if not trained or not took:
        trained = sum(len(of_one) for of_one in epochs.values())
        took = sum(epoch.seconds for of_one in epochs.values() for epoch in of_one)
    if not trained:
        return None
    allowed = sum(trial.epochs for trial, _ in ended) * folds
    done = sum(outcome.epochs for _, outcome in ended)
    share = min(done / allowed, 1.0) if done else 1.0
    to_come, begun = 0.0, len(trials)
    for count, each in plan:
        to_come += share * folds * each * max(count - begun, 0)
        begun = max(begun - count, 0)
    for trial in trials:
        if trial.outcome is None:
            so_far = len(epochs.get(trial.number, ()))
            to_come += max(share * folds * trial.epochs - so_far, 0.0)
    at_a_time = max(len(trials) - len(ended), 1)
    return took / trained * to_come / at_a_time


def _hint(directory: Path) -> str:
    if not directory.is_dir():
        return "" if directory.exists() else " There is no such folder."
    below = sorted(path.parent.name for path in directory.glob(f"*/{SETTINGS}"))
    return f" There are searches in it: {', '.join(below)}." if below else ""
