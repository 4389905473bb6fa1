"""How a search is getting on, from its files only: while it runs, or long after."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from keras_babysit.document.blocks import (
    Block,
    Column,
    Heading,
    Row,
    Span,
    Table,
    Text,
    Words,
)
from keras_babysit.document.shown import Shown
from keras_babysit.document.values import plain
from keras_babysit.document.words import count
from keras_babysit.search.progress import epochs_left
from keras_babysit.search.results.ranking import Candidate, candidates
from keras_babysit.search.results.summaries import Reason, parts_of, reasons
from keras_babysit.search.results.table import counts, duration, rows, said, score_text
from keras_babysit.search.store import LOCK, SETTINGS, Store
from keras_babysit.search.trials import EpochResult, Objective, Trial

_TONES = {
    "running": "good",
    "finished": "good",
    "interrupted": "warning",
    "aborted": "error",
}

#: The lines that change from minute to minute.
_NOW = ("stage", "trials", "time left", "running", "open")


@dataclass(frozen=True)
class Status(Shown):
    """A search as it is now, which shows itself.

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
    def best(self) -> Candidate | None:
        """What is best so far, as the report has it; `None` if no trial has a score."""
        return next(iter(candidates(self.trials, self.objective)), None)

    @property
    def open(self) -> tuple[Trial, ...]:
        """The trials that have begun and not ended."""
        return tuple(trial for trial in self.trials if trial.outcome is None)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why trials were stopped or failed, the most frequent reason first."""
        return reasons(self.trials)

    def content(self) -> list[Block]:
        """Returns a line for each thing there is to know."""
        columns = Column(""), Column("", wide=True)
        lines = tuple(
            Row(((Span(name, "faint"),), text)) for name, text in self._lines()
        )
        heading = f"{self.directory}: {self.state}"
        more = {
            "interrupted": "Starting its program again resumes it.",
            "aborted": self.aborted,
        }.get(self.state, "")
        return [
            Heading(heading, tone=_TONES[self.state]),
            *([Text(more)] if more else []),
            Table(columns, lines),
        ]

    def now(self) -> list[Block]:
        """Returns what a report does not say: how far it is, and what runs now."""
        lines = [line for line in self._lines() if line[0] in _NOW]
        rows = tuple(Row(((Span(name, "faint"),), text)) for name, text in lines)
        return [
            Heading(f"How far it is: {self.state}", 2, _TONES[self.state]),
            Table((Column(""), Column("", wide=True)), rows),
        ]

    def _lines(self) -> Iterator[tuple[str, Words]]:
        """What is shown: a word, and what there is to say."""
        if self.stage is not None:
            stages = len(self.plan)
            trials, epochs = self.plan[min(self.stage, stages - 1)]
            of = f"{self.stage + 1} of {stages}: " if stages > 1 else ""
            method = f", {self.method}" if self.method else ""
            what = f"{count(trials, 'trial')} of {count(epochs, 'epoch')}"
            yield "stage", f"{of}{what}{method}"
        is_running = self.state == "running"
        words = {} if is_running else {"running": "open"}
        each = [f"{n} {words.get(s, s)}" for s, n in counts(self.trials).items()]
        ended = len(self.trials) - len(self.open)
        listed = f": {', '.join(each)}" if each else ""
        yield "trials", f"{ended} of {self.planned}{listed}"
        best = self.best
        if best is not None:
            score = f"{self.objective.name} {score_text(best.score)}"
            mean = f", mean of {count(best.times, 'repeat')}" if best.times else ""
            where = f"{mean}, trial {best.trial.number}: {said(best.trial.values)}"
            yield "best so far", (Span(score, "strong"), Span(where))
        if self.seconds_left is not None:
            yield "time left", f"about {duration(self.seconds_left)}"
        for trial in self.open:
            yield "running" if is_running else "open", self._open_trial(trial)
        for reason in self.reasons:
            numbers = ", ".join(map(str, reason.trials))
            word = "trial" if len(reason.trials) == 1 else "trials"
            yield reason.status, f"{word} {numbers}: {reason.text}"

    def _open_trial(self, trial: Trial) -> str:
        epochs = self.epochs.get(trial.number, ())
        best = self.objective.best(e.logs.get(self.objective.name) for e in epochs)
        done = f"{len(epochs)}/{trial.epochs * self.folds} epochs"
        parts = [f"trial {trial.number}: {done}"]
        parts += [score_text(best)] if best is not None else []
        parts += [said(trial.values)] if trial.values else []
        parts += [f"attempt {trial.attempts}"] if trial.attempts > 1 else []
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as values that JSON can hold, a row for each trial."""
        return plain(
            {
                **vars(self),
                "planned": self.planned,
                "counts": counts(self.trials),
                "best": self.best and self.best.to_dict(),
                "reasons": self.reasons,
                "trials": rows(self.trials, self.objective, self.epochs),
            }
        )


def read_status(directory: str | os.PathLike) -> Status:
    """Reads a search's folder; changes nothing in it, whoever is writing there.

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
    left = _seconds_left(trials, epochs, plan, parts_of(settings))
    method = begun[-1].get("method") if begun else settings.get("method")
    return Status(
        directory=str(directory),
        state=state,
        objective=objective,
        plan=plan,
        folds=parts_of(settings),
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
    plan: Sequence[tuple[int, int]],
    folds: int,
) -> float | None:
    """What an epoch took, times those to come, by how many run at a time."""
    ended = [trial for trial in trials if trial.outcome is not None]
    running = [(t, len(epochs.get(t.number, ()))) for t in trials if t.outcome is None]
    trained = sum(trial.outcome.epochs for trial in ended if trial.outcome)
    took = sum(trial.outcome.seconds for trial in ended if trial.outcome)
    if not trained or not took:
        trained = sum(done for _, done in running)
        took = sum(epoch.seconds for of_one in epochs.values() for epoch in of_one)
    if not trained:
        return None
    to_come = epochs_left(plan, folds, ended, running)
    return took / trained * to_come / max(len(running), 1)


def _hint(directory: Path) -> str:
    if not directory.is_dir():
        return "" if directory.exists() else " There is no such folder."
    below = sorted(path.parent.name for path in directory.glob(f"*/{SETTINGS}"))
    return f" There are searches in it: {', '.join(below)}." if below else ""
