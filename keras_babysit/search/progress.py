"""How a search is getting on: a live display on a terminal, else a line a trial."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from keras_babysit.document.words import clean, count
from keras_babysit.search.results.ranking import Candidate, candidates
from keras_babysit.search.results.table import (
    counts,
    duration,
    roughly,
    said,
    score_text,
)
from keras_babysit.search.trials import EpochResult, Objective, Trial

#: The method of the last stage, which chooses nothing.
REPEATS = "repeats"
#: The live display names at most so many running trials and hyperparameters.
_RUNNING, _VALUES = 8, 8
#: Estimates wait for so many seconds.
_WARM_UP = 1.0
#: Reasons are cut there in a line.
_REASON = 100


def _safe(method: Callable) -> Callable:
    """An error in the display ends the display, not the search."""

    @functools.wraps(method)
    def called(self: Progress, *args: Any, **kwargs: Any) -> None:
        if self.verbose <= 0:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.close()
            self.verbose = 0
            # Someone may have turned warnings into errors.
            with contextlib.suppress(Warning):
                warnings.warn(
                    f"The progress display failed and is off: {error!r}", stacklevel=2
                )

    return called


class Progress:
    """Shows how a search is getting on.

    On a terminal: trials done of all, the best so far with its values, the epochs of
    the running trials and the time left, kept up to date in place. Elsewhere (a log
    file, a notebook) one line for each trial that has ended. An error in it is warned
    of once and never ends the search.

    The time left is what this process needed for an epoch so far, workers and all,
    times the epochs still to come, of which trials are expected to leave out as many
    as those that have ended.

    Args:
        objective: what is searched for.
        plan: `(trials, epochs)` of every stage, and of the repeats at the end.
        folds: number of folds that every trial is trained on.
        verbose: 0 writes nothing.
        trials: what there is already, of a search that goes on.
        console: where to write; standard output by default.
        clock: the time in seconds.
    """

    def __init__(
        self,
        objective: Objective,
        plan: Sequence[tuple[int, int]],
        folds: int = 1,
        verbose: int = 1,
        trials: Iterable[Trial] = (),
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.verbose = verbose
        self._objective, self._plan, self._folds = objective, list(plan), folds
        self._ended = {t.number: t for t in trials if t.outcome is not None}
        self._running: dict[int, tuple[Trial, int, float | None]] = {}
        self._best = self._best_of_ended()
        self._stage = ""
        self._clock = clock
        self._began: float | None = None
        self._epochs = 0
        self._console = console
        self._live: Live | None = None

    @_safe
    def stage(self, index: int, trials: int, epochs: int, method: str = "") -> None:
        """Says that a stage begins."""
        by = f", {clean(method)}" if method else ""
        told = f"{count(trials, 'trial')} of {count(epochs, 'epoch')}{by}"
        self._stage = f"stage {index + 1}: {told}"
        if method == REPEATS:
            self._stage = f"the best again, with other seeds: {count(trials, 'trial')}"
        if not self._shows_live():
            self._write(f"{self._stage[0].upper()}{self._stage[1:]}")
        self._update()

    @_safe
    def began(self, trial: Trial) -> None:
        """Says that a trial begins."""
        if self._began is None:
            self._began = self._clock()
        self._running[trial.number] = (trial, 0, None)
        self._update()

    @_safe
    def epoch(self, trial: Trial, result: EpochResult) -> None:
        """Says that a trial has finished an epoch."""
        _, _, best = self._running.get(trial.number, (trial, 0, None))
        best = self._objective.best([best, result.logs.get(self._objective.name)])
        done = result.fold * trial.epochs + result.epoch
        self._running[trial.number] = (trial, done, best)
        self._epochs += 1
        self._update()

    @_safe
    def ended(self, trial: Trial) -> None:
        """Says that a trial has ended: it has an outcome."""
        self._running.pop(trial.number, None)
        self._ended[trial.number] = trial
        self._best = self._best_of_ended()
        if not self._shows_live():
            self._write(self._line(trial))
        self._update()

    @_safe
    def say(self, text: str) -> None:
        """Writes a line, such as a finding on a range."""
        self._write(clean(text))

    def close(self) -> None:
        """Ends the display. Can be called again, and whatever happened."""
        live, self._live = self._live, None
        if live is None:
            return
        # It may be the picture that failed; the terminal is put right all the same.
        with contextlib.suppress(Exception):
            live.update(self._picture())
        with contextlib.suppress(Exception):
            live.stop()

    def _best_of_ended(self) -> Candidate | None:
        return next(iter(candidates(self._ended.values(), self._objective)), None)

    def _out(self) -> Console:
        # Standard output may be another one by now.
        return self._console or Console(file=sys.stdout, highlight=False)

    def _shows_live(self) -> bool:
        if self._live is not None:
            return True
        out = self._out()
        return out.is_terminal and not out.is_dumb_terminal and not out.is_jupyter

    def _update(self) -> None:
        if not self._shows_live():
            return
        if self._live is None:
            self._live = Live(
                self._picture(), console=self._out(), refresh_per_second=2
            )
            self._live.start()
        else:
            self._live.update(self._picture())

    def _write(self, line: str) -> None:
        out = self._live.console if self._live is not None else self._out()
        out.print(Text(line), soft_wrap=True)

    @property
    def _total(self) -> int:
        known = len(self._ended) + len(self._running)
        return max(sum(trials for trials, _ in self._plan), known)

    def _line(self, trial: Trial) -> str:
        """One trial that has ended: what came out, with what, and what is best."""
        parts = [f"[{len(self._ended)}/{self._total}] {_told(trial, self._objective)}"]
        best = self._best
        if best is not None:
            is_new = best.trial.number == trial.number
            there = f"trial {best.trial.number}, {_score(best)}"
            parts.append("best so far" if is_new else f"best so far: {there}")
        left = self.seconds_left()
        if left is not None and self._total > len(self._ended):
            parts.append(f"about {roughly(left)} left")
        return "; ".join(parts)

    def seconds_left(self) -> float | None:
        """Returns how long the search likely takes from now; `None` if unknown."""
        elapsed = 0.0 if self._began is None else self._clock() - self._began
        if elapsed < _WARM_UP or not self._epochs:
            return None
        running = [(trial, done) for trial, done, _ in self._running.values()]
        left = epochs_left(self._plan, self._folds, self._ended.values(), running)
        return elapsed / self._epochs * left

    def _picture(self) -> Group:
        """The live display."""
        done, total = len(self._ended), self._total
        left = self.seconds_left() if done < total else None
        others = counts(self._ended.values())
        others.pop("completed", None)
        lines: list[RenderableType] = [
            _row(
                f"{done}/{total} trials",
                ProgressBar(total=max(total, 1), completed=done, width=30),
                f"about {roughly(left)} left" if left is not None else "",
                ", ".join(f"{n} {status}" for status, n in others.items()),
            )
        ]
        if self._stage:
            lines.append(Text(self._stage, style="dim"))
        best = self._best
        if best is not None:
            score = (f"{self._objective.name} {_score(best)}", "bold green")
            where = f" trial {best.trial.number}: {said(best.trial.values, _VALUES)}"
            lines.append(Text.assemble("best ", score, where))
        for number in sorted(self._running)[:_RUNNING]:
            trial, epochs, score_now = self._running[number]
            of = trial.epochs * self._folds
            lines.append(
                _row(
                    f"trial {number}",
                    ProgressBar(total=max(of, 1), completed=epochs, width=15),
                    f"{epochs}/{of} epochs",
                    "" if score_now is None else score_text(score_now),
                    said(trial.values, _VALUES),
                )
            )
        more = len(self._running) - _RUNNING
        if more > 0:
            lines.append(Text(f"and {count(more, 'more trial')} running", style="dim"))
        return Group(*lines)


def _row(*cells: RenderableType) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    row.add_row(*(Text(c) if isinstance(c, str) else c for c in cells))
    return row


def _score(best: Candidate) -> str:
    """What counts of the best: of one that was repeated, the mean of its repeats."""
    mean = f" (mean of {count(best.times, 'repeat')})" if best.times else ""
    return f"{score_text(best.score)}{mean}"


def _told(trial: Trial, objective: Objective) -> str:
    """A trial that has ended in a line: `"trial 3: val_loss 0.21 (5 epochs, ..."`."""
    outcome = trial.outcome
    assert outcome is not None
    reason = textwrap.shorten(clean(outcome.reason), _REASON, placeholder="…")
    name = f"trial {trial.number}"
    if trial.origin != "oracle" and trial.source is not None:
        verb = "promoted from" if trial.origin == "promoted" else "repeats"
        name += f" ({verb} {trial.source})"
    score = "no score"
    if outcome.score is not None and math.isfinite(outcome.score):
        score = f"{clean(objective.name)} {score_text(outcome.score)}"
    came = {"failed": f"failed: {reason}", "stopped": f"{score}, stopped: {reason}"}
    came["killed"] = f"killed: {reason}"
    trained = f"{count(outcome.epochs, 'epoch')}, {duration(outcome.seconds)}"
    tried = f"; {said(trial.values)}" if trial.values else ""
    return f"{name}: {came.get(trial.status, score)} ({trained}{tried})"


def epochs_left(
    plan: Sequence[tuple[int, int]],
    folds: int,
    ended: Iterable[Trial],
    running: Iterable[tuple[Trial, int]],
) -> float:
    """Returns how many epochs a search has likely still to train.

    Trials are expected to leave out as large a share of their epochs as those that have
    ended did.

    Args:
        plan: `(trials, epochs)` of every stage, and of the repeats at the end.
        folds: number of folds that every trial is trained on.
        ended: trials that have ended.
        running: the others that have begun, each with its finished epochs.
    """
    ended, running = list(ended), list(running)
    planned = sum(trial.epochs for trial in ended) * folds
    trained = sum(trial.outcome.epochs for trial in ended if trial.outcome)
    share = min(trained / planned, 1.0) if planned else 1.0
    begun = len(ended) + len(running)
    left = 0.0
    for trials, epochs in plan:
        left += share * max(trials - begun, 0) * epochs * folds
        begun = max(begun - trials, 0)
    for trial, done in running:
        left += max(share * trial.epochs * folds - done, 0.0)
    return left
