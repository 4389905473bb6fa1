"""The driver of a search: starts trials, hears of epochs, records how trials end."""

from __future__ import annotations

import contextlib
import copy
import difflib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from keras_babysit.document.words import count
from keras_babysit.records import Finding
from keras_babysit.search.oracles.methods import method_name
from keras_babysit.search.oracles.pruners import Stopper
from keras_babysit.search.plan import End, NextStage, Step
from keras_babysit.search.progress import Progress
from keras_babysit.search.ray.mirror import DRIVER
from keras_babysit.search.replay import ABORTED, INTERRUPTED, LOST, RAISED, Past
from keras_babysit.search.results import ranking
from keras_babysit.search.results.hparams import HParams
from keras_babysit.search.scheduler import Scheduler
from keras_babysit.search.store import Store
from keras_babysit.search.trial.checkpoints import Checkpoints
from keras_babysit.search.trial.executors import Executor, InPlace, Lost
from keras_babysit.search.trial.task import Work
from keras_babysit.search.trials import (
    INFEASIBLE,
    EpochResult,
    Outcome,
    Trial,
    to_json,
    with_outcome,
)


class Driver:
    """Drives a search to its end.

    Whatever happens is written down before the scheduler is told. So if the process is
    killed at any moment, the events are what has happened.

    Args:
        scheduler: with what has happened.
        store: the folder.
        executor: trains the trials.
        stopper: ends hopeless ones.
        progress: shows how it is getting on.
        past: what `replay` returned.
        keep_top: checkpoints of so many of the best trials are kept; `None` for all.
        max_retries: a trial is given up when its process has ended more often in a row
            without a new epoch.
        max_failed: the search is given up after so many failures in a row of one cause;
            `None` for never.
        max_error_retries: a trial that raises an error is trained again, so often.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        store: Store,
        executor: Executor,
        stopper: Stopper,
        progress: Progress,
        past: Past,
        keep_top: int | None,
        max_retries: int = 2,
        max_failed: int | None = 3,
        max_error_retries: int = 0,
    ):
        self._scheduler, self._store, self._executor = scheduler, store, executor
        self._stopper, self._progress = stopper, progress
        self._deaths, self._keep_top = past.deaths, keep_top
        if isinstance(executor, InPlace):  # Workers elsewhere outlive the driver.
            for number in past.open:
                self._deaths.add(number, len(store.epochs(number)))
        for number in past.spared:
            # Where it ends this process too, one time more is enough.
            self._deaths.counts[number] = max_retries * isinstance(executor, InPlace)
        self._max_retries, self._max_failed = max_retries, max_failed
        self._errors, self._max_error_retries = past.errors, max_error_retries
        self._hparams = HParams(store)
        self._running: set[int] = set()
        self._epochs: dict[int, list[EpochResult]] = {}
        self._swept: set[int] = set()
        self._checks_objective = True
        self._finished = past.finished
        self._coming: Step | None = None

    def run(self, work: Work, check_objective: bool = True) -> None:
        """Drives until the search has ended.

        Raises:
            ValueError: if training does not log the objective.
            RuntimeError: if the first trials all fail.
            OSError: if the folder cannot be written any more.
            KeyboardInterrupt: what has ended until then is kept.
        """
        self._checks_objective = check_objective
        self._hparams.update()
        if self._is_over():
            self._progress.say(
                f"The search in {str(self._store.directory)!r} has ended already; "
                "`overwrite=True` starts it over."
            )
            self._sweep(at_end=True)
            return
        self._sweep()
        # By this, workers that outlive a driver that was killed see that they do.
        (self._store.directory / DRIVER).unlink(missing_ok=True)
        self._executor.open(work, self._on_epoch)
        try:
            while self._fill():
                for number, result in self._executor.wait():
                    self._came(number, result)
        except BaseException:
            # Of these the process was not the end.
            if self._running:
                with contextlib.suppress(OSError):
                    self._append(INTERRUPTED, numbers=sorted(self._running))
            raise
        finally:
            self._executor.close()
        self._sweep(at_end=True)

    def _is_over(self) -> bool:
        """Whether the search had ended, and no more is asked for now."""
        if not self._finished or self._scheduler.open:
            return False
        self._coming = self._scheduler.next()
        return isinstance(self._coming, End)

    def _fill(self) -> bool:
        """Starts trials while there is room; returns whether to wait for any."""
        while len(self._running) < self._executor.capacity:
            left = [t for t in self._scheduler.open if t.number not in self._running]
            if left:  # By the process before this one.
                self._start_again(left[0], "")
                continue
            step, self._coming = self._coming or self._scheduler.next(), None
            if isinstance(step, NextStage):
                self._begin(step)
            elif isinstance(step, Trial):
                self._start(step)
            elif isinstance(step, End):
                self._end(step)
                return False
            elif self._running:
                break
            else:
                raise RuntimeError("The oracle waits for trials, but none is running.")
        return True

    def _begin(self, step: NextStage) -> None:
        self._say_shortfall()
        plan = self._scheduler.plan
        stage = plan.stages[step.index]
        method = method_name(plan.method_of(step.index))
        self._append(
            "stage",
            stage=step.index,
            trials=stage.trials,
            epochs=stage.epochs,
            method=method,
            space=step.space,
            promoted=list(step.promoted),
            findings=list(step.findings),
        )
        self._say_findings(step.findings)
        self._scheduler.begun(step)
        self._progress.stage(step.index, stage.trials, stage.epochs, method)

    def _start(self, trial: Trial) -> None:
        self._append("started", **_as_started(trial))
        self._scheduler.started(trial)
        self._submit(trial)

    def _submit(self, trial: Trial) -> None:
        self._running.add(trial.number)
        self._epochs[trial.number] = self._store.epochs(trial)
        self._progress.began(trial)
        self._hparams.update()
        # A copy: KerasTuner's `from_config` puts objects into what it is given.
        space = copy.deepcopy(self._scheduler.spaces[trial.stage])
        self._executor.submit(trial, space)

    def _start_again(self, trial: Trial, reason: str) -> None:
        deaths = self._deaths.counts.get(trial.number, 0)
        if deaths > self._max_retries:
            told = f"its process ended {count(deaths, 'time')} without a new epoch"
            told += f": {reason}" if reason else ""
            self._ended(trial, Outcome("killed", reason=told))
            return
        trial = replace(trial, attempts=trial.attempts + 1)
        done = len(self._store.epochs(trial))
        self._append("started", **_as_started(trial), done=done)
        self._submit(self._scheduler.restarted(trial.number, trial.attempts))

    def _came(self, number: int, result: Outcome | Lost) -> None:
        self._running.discard(number)
        trial = self._scheduler.trials[number]
        if isinstance(result, Lost):
            done = len(self._store.epochs(trial))
            self._append(LOST, numbers=[number], reason=result.reason, done=done)
            self._deaths.add(number, done)
            self._progress.say(
                f"trial {number}: its process ended: {result.reason} (attempt "
                f"{trial.attempts})"
            )
            self._start_again(trial, result.reason)
        elif self._is_retried(number, result):
            self._append(RAISED, number=number, reason=result.reason)
            self._errors[number] += 1
            self._progress.say(f"trial {number}: trained again after {result.reason}")
            self._start_again(trial, "")
        else:
            self._ended(trial, result)

    def _is_retried(self, number: int, outcome: Outcome) -> bool:
        is_error = outcome.raised not in ("", INFEASIBLE)
        return is_error and self._errors[number] < self._max_error_retries

    def _ended(self, trial: Trial, outcome: Outcome) -> None:
        self._append("ended", number=trial.number, outcome=to_json(outcome))
        trial = replace(trial, outcome=outcome)
        self._scheduler.ended(trial)
        self._progress.ended(with_outcome(trial, outcome))
        self._hparams.update()
        self._sweep()
        self._say_troubles(trial)
        self._end_if_failed(self._scheduler.failure())
        self._end_if_failing()

    def _end_if_failed(self, failure: str) -> None:
        if failure:
            self._abort(failure)
            raise RuntimeError(
                f"{failure} The search has ended; it starts over when it is run again."
            )

    def _end_if_failing(self) -> None:
        """Stops where every trial fails; the next run trains them again."""
        failed = self._scheduler.failed_in_a_row()
        if self._max_failed is None or len(failed) < self._max_failed:
            return
        last = failed[0].outcome
        told = (
            f"The last {count(len(failed), 'trial')} failed with the same error: "
            f"{last.reason.rstrip('.') if last else ''}."
        )
        self._abort(told, retry=sorted(trial.number for trial in failed))
        raise RuntimeError(
            f"{told} The search has stopped; run it again to train them again, or pass "
            "`max_consecutive_failed_trials=None` if their values are to blame."
        )

    def _say_troubles(self, trial: Trial) -> None:
        """Warns of a trial that has a score but no model."""
        outcome = trial.outcome
        if outcome is None or outcome.checkpoint or outcome.score is None:
            return
        for note in outcome.notes:
            with contextlib.suppress(Warning):  # They may be errors.
                warnings.warn(
                    f"Trial {trial.number} has no checkpoint, so `best_models` cannot "
                    f"load its model: {note}",
                    stacklevel=2,
                )

    def _end(self, step: End) -> None:
        self._end_if_failed(self._scheduler.failure(at_end=True))
        self._say_shortfall()
        self._append("finished", findings=list(step.findings), verdict=step.verdict)
        self._say_findings(step.findings)
        if step.verdict:
            self._progress.say(step.verdict)

    def _say_shortfall(self) -> None:
        told = self._scheduler.shortfall()
        if told:
            self._progress.say(told)

    def _on_epoch(self, trial: Trial, result: EpochResult) -> str:
        if self._checks_objective:
            self._check_objective(result)
        known = self._epochs.setdefault(trial.number, [])
        # One that has begun anew, or tells its last epoch again.
        place = (result.fold, result.epoch)
        known[:] = [e for e in known if (e.fold, e.epoch) < place] + [result]
        self._progress.epoch(trial, result)
        return self._stopper.should_stop(trial, known, self._others(trial))

    def _others(self, trial: Trial) -> Iterator[tuple[Trial, list[EpochResult]]]:
        for other in self._scheduler.trials.values():
            if other.number == trial.number:
                continue
            if other.number not in self._epochs:
                self._epochs[other.number] = self._store.epochs(other)
            yield other, self._epochs[other.number]

    def _check_objective(self, result: EpochResult) -> None:
        self._checks_objective = False
        names = self._scheduler.plan.objective.names
        name = next((name for name in names if name not in result.logs), None)
        if name is None:
            return
        close = difflib.get_close_matches(name, list(result.logs), 1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        logged = ", ".join(map(repr, sorted(result.logs)))
        reason = (
            f"The objective {name!r} is not logged by the training.{meant} Logged "
            f"are: {logged}."
        )
        self._abort(reason)
        raise ValueError(reason)

    def _abort(self, reason: str, **more: Any) -> None:
        self._append(ABORTED, reason=reason, **more)
        self._running.clear()

    def _sweep(self, at_end: bool = False) -> None:
        """Deletes the checkpoints that are not kept."""
        if self._keep_top is None:
            return
        trials = list(self._scheduler.trials.values())
        # Repeats may yet turn the best ones round.
        most = self._keep_top
        most = most if at_end else max(most, self._scheduler.plan.repeat_top)
        kept = ranking.kept(trials, self._scheduler.plan.objective, most)
        for trial in trials:
            done = trial.number in self._swept or trial.outcome is None
            if not done and trial.number not in kept:
                Checkpoints(self._store.folder(trial)).keep(())
                self._swept.add(trial.number)

    def _say_findings(self, findings: Iterable[Mapping[str, Any]]) -> None:
        for finding in findings:
            self._progress.say(str(Finding.from_dict(finding)))

    def _append(self, event: str, **values: Any) -> None:
        try:
            self._store.append(event, **values)
        except OSError as error:
            raise OSError(
                f"The search cannot write to {str(self._store.directory)!r}: "
                f"{error.strerror or error}. What has ended is kept; run it again when "
                "there is room."
            ) from None


def _as_started(trial: Trial) -> dict[str, Any]:
    values = to_json(trial)
    del values["outcome"]
    return values
