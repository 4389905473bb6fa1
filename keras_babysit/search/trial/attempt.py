"""The training of one trial: fold by fold, from its beginning or from a checkpoint."""

from __future__ import annotations

import errno
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_babysit.document.words import count
from keras_babysit.event_files.replacing import write
from keras_babysit.records import Finding
from keras_babysit.search.plan import seed_of
from keras_babysit.search.results import ranking
from keras_babysit.search.store import (
    CHECKPOINTS,
    EPOCHS,
    LOGS,
    Store,
    append_line,
)
from keras_babysit.search.trial import resume
from keras_babysit.search.trial.callbacks import Ended, EpochEnd, TrialBabysitter
from keras_babysit.search.trial.checkpoints import Checkpoints, hyperparameters, stem_of
from keras_babysit.search.trial.fit_arguments import (
    copied_callbacks,
    for_own_fit,
    of_fold,
)
from keras_babysit.search.trial.notes import Notes
from keras_babysit.search.trial.scoring import best_of, missing, returned_by, value_of
from keras_babysit.search.trial.task import Work
from keras_babysit.search.trials import INFEASIBLE, EpochResult, Trial, to_json

#: In a fold's folder of logs: what its babysitter has seen, and what it has found.
_SEEN, _FOUND = "seen.jsonl", "findings.json"


#: Of these a full disk, or a quota, is the reason.
_FULL = (errno.ENOSPC, errno.EDQUOT)


class ReportError(BaseException):
    """Carries what `report` raised through whatever the user's code may catch."""

    def __init__(self, error: Exception):
        super().__init__(str(error))
        self.error = error


class _Over(BaseException):
    """There is nothing left to train: it was over when the process ended."""


class _Anew(BaseException):
    """The trial cannot go on from where it was, for the reason that is given."""


class Attempt:
    """One attempt at a trial; see `runner.run_trial` for its arguments.

    Attributes:
        epochs: the epochs that count, of all folds, in their order.
        returned: what a hypermodel's own `fit` returned, as metrics, for each fold.
        pruned: why `report` ended the trial, or `""`.
        hopeless: why a finding ends it, or `""`.
        findings: what was found, as plain values, by rule and place.
        parameters: number of the model's weights, once known.
        notes: what went wrong on the side.
        hp: the hyperparameters, with what the hypermodel has asked for.
        asked: their configuration before it was asked.
    """

    def __init__(
        self,
        work: Work,
        trial: Trial,
        space: Mapping[str, Any],
        report: Callable[[EpochResult], str],
    ):
        self.work, self.trial, self.report = work, trial, report
        self.store = Store(work.directory)
        self.folder = self.store.folder(trial)
        self.checkpoints = Checkpoints(self.folder)
        self.hp = hyperparameters(space, trial)
        self.asked = self.hp.get_config()
        self.epochs: list[EpochResult] = []
        self.returned: list[Mapping[str, float]] = []
        self.pruned = self.hopeless = ""
        self.findings: dict[tuple[str, str], dict[str, Any]] = {}
        self.parameters: int | None = None
        self.notes = Notes(self.folder)
        self._fold = 0
        self._left: resume.Left | None = None
        self._callbacks: list[keras.callbacks.Callback] = []
        self._babysitter: TrialBabysitter | None = None

    def train(self) -> None:
        """Trains all folds or executions, or what is left of them.

        Raises:
            Ended: if the trial ends before its time, but for what `report` answers.
            ReportError: if `report` raises.
            Exception: whatever the user's code, Keras or the backend raise.
        """
        if self.trial.attempts > 1:
            self._take_up()
        if self._left is None:
            self._clear()
        try:
            self._train_folds()
        except _Anew as obstacle:
            self._begin_anew(str(obstacle))
            self._train_folds()

    def _train_folds(self) -> None:
        with self.notes.on_disk():
            self.folder.mkdir(parents=True, exist_ok=True)
        for fold in range(self.work.parts):
            self._fold = fold
            if self._left is not None and fold < self._left.fold:
                self._take_findings()
                continue
            self._train_fold()
            if self.pruned:
                return

    def best_checkpoint(self) -> str:
        """Returns the name of the best checkpoint; `""` if there is none.

        Of several folds it is the first one's, of several executions the best one's.
        Where epochs have no objective, since a hypermodel's own `fit` returns it, the
        last one counts.
        """
        kept = [e for e in self.epochs if e.fold == 0 or not self.work.folds]
        best = best_of(kept, self.work.objective)
        if best is None and self.work.own_fit and kept:
            best = kept[-1]
        return best.checkpoint if best is not None else ""

    # What an earlier attempt has left.

    def _take_up(self) -> None:
        first_only = self.work.folds is not None
        left = resume.left_by(self.store, self.trial, self.work.objective, first_only)
        if left is None:
            if self.store.epochs(self.trial):
                self._begin_anew("its files do not fit together")
            return
        self._left, self.epochs = left, list(left.epochs)
        obstacle = resume.obstacle(self.work.arguments, self.work.own_fit)
        if obstacle:
            self._begin_anew(obstacle)

    def _begin_anew(self, obstacle: str) -> None:
        self.notes.lines.append(f"begun anew after its process had ended: {obstacle}")
        self._left, self.epochs, self.findings = None, [], {}
        self._clear()

    def _clear(self) -> None:
        for name in (CHECKPOINTS, LOGS):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        with self.notes.on_disk():
            if self.folder.exists():
                (self.folder / EPOCHS).unlink(missing_ok=True)

    # A fold.

    def _train_fold(self) -> None:
        seed, again = self.trial.seed, self._fold and not self.work.folds
        keras.utils.set_random_seed(seed_of(seed, self._fold) if again else seed)
        custom = self.work.run_trial
        if custom is None:
            results = self._fit(self.work.arguments)
        else:
            results = custom(self.trial, self.hp, self._fit)
        if self.work.own_fit:
            found = returned_by(results, self.work.objective)
            self.returned += [found] if found else []

    def _fit(self, given: Mapping[str, Any]) -> Any:
        """Builds the model and trains it; returns what the hypermodel's `fit` does."""
        model = self.work.hypermodel.build(self.hp)
        if not isinstance(model, keras.Model):
            raise TypeError(
                "the hypermodel must return a `keras.Model`, not "
                f"{type(model).__name__}"
            )
        if self._left is not None:
            obstacle = resume.obstacle_in(model)
            if obstacle:
                raise _Anew(obstacle)
        self._check_size(model)
        arguments = self._arguments(given)
        over = False
        try:
            fit, first = self.work.hypermodel.fit, (self.hp, model)
            if self.work.own_fit:
                first, arguments = for_own_fit(fit, *first, arguments)
            results = fit(*first, **arguments)
            over = True
            return results
        except _Over:
            return None
        finally:
            self._finish(model, over)

    def _check_size(self, model: keras.Model) -> None:
        """Ends a trial whose model is too large, as soon as the model is built."""
        most = self.work.max_model_size
        if most is None or not model.built:
            return
        size = sum(math.prod(w.shape) for w in model.trainable_weights)
        if size > most:
            reason = (
                f"the model has {size:,} trainable weights, more than "
                f"max_model_size={most:,}"
            )
            raise Ended("failed", reason, INFEASIBLE)

    def _arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        work = self.work
        if work.folds:
            given = of_fold(given, work.folds, self._fold, work.folds_seed)
        own = f"{work.part_name}-{self._fold}" if self._fold else ""
        self._callbacks = copied_callbacks(given, Path(self.trial.name, own))
        self._babysitter = self._new_babysitter() if work.babysit else None
        ours = [] if self._babysitter is None else [self._babysitter]
        end = EpochEnd(self._began, self._ended, self._hopeless)
        arguments = {
            "verbose": work.verbose,
            "epochs": self.trial.epochs,
            **given,
            "callbacks": [*self._callbacks, *ours, end],
        }
        if self._left is not None and self._left.fold == self._fold:
            arguments["initial_epoch"] = self._left.done
        return arguments

    def _logs(self) -> Path:
        logs = self.folder / LOGS
        return logs / f"{self.work.part_name}-{self._fold}" if self._fold else logs

    def _new_babysitter(self) -> TrialBabysitter:
        logs = self._logs()
        with self.notes.on_disk():
            logs.mkdir(parents=True, exist_ok=True)
            left = self._left
            if left is None or left.fold != self._fold or not left.checkpoint:
                (logs / _SEEN).unlink(missing_ok=True)
        return TrialBabysitter(logs, logs / _SEEN, self._found, self.notes.trouble)

    def _finish(self, model: keras.Model, over: bool) -> None:
        """Takes what a fold leaves, however it has ended."""
        if model.built:
            self.parameters = sum(math.prod(w.shape) for w in model.weights)
        babysitter, self._babysitter = self._babysitter, None
        if babysitter is None:
            return
        if not over:  # Keras has not come to it.
            babysitter.on_train_end()
        found = [finding.to_dict() for finding in babysitter.report.findings]
        self._add_findings(found)
        if self.work.parts > 1:
            with self.notes.on_disk():
                write(self._logs() / _FOUND, json.dumps(to_json(found)))

    def _take_findings(self) -> None:
        """Takes what was found in a fold that was done when the process ended."""
        path = self._logs() / _FOUND
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            self._add_findings([Finding.from_dict(one).to_dict() for one in found])
        except (OSError, ValueError, TypeError, AttributeError):
            self.notes.lines.append(f"what an earlier fold found is lost: {path}")

    def _add_findings(self, found: list[dict[str, Any]]) -> None:
        for finding in found:
            self.findings.setdefault((finding["rule"], finding["where"]), finding)

    # What the callbacks call.

    def _began(self, model: keras.Model) -> None:
        """A `fit` begins; of a hypermodel's own `fit` there may be several."""
        if self.pruned:
            raise Ended("stopped", self.pruned)
        left = self._left
        if left is None or left.fold != self._fold or not left.epochs:
            return
        own = [epoch for epoch in left.epochs if epoch.fold == self._fold]
        resume.replay(self._callbacks, own)
        over = model.stop_training
        if left.checkpoint:
            path = self.checkpoints.folder / left.checkpoint
            try:
                resume.restore(model, path, left.state)
            except Exception as error:
                raise _Anew(f"{path.name} does not fit: {error}") from error
            if self._babysitter is not None:
                damaged = self._babysitter.replay(resume.steps_of(model.optimizer))
                if damaged:
                    self.notes.lines.append(
                        f"{count(damaged, 'line')} of what the babysitter had recorded "
                        f"before the process ended could not be read ({_SEEN})"
                    )
        self.pruned = self._reported(left.epochs[-1])
        if over or self.pruned:
            raise _Over

    def _hopeless(self, model: keras.Model) -> str:
        self._check_size(model)  # It may have been built by its first step.
        return self.hopeless

    def _found(self, finding: Finding) -> None:
        if self.work.stop_on_error and finding.severity == "error":
            line = " ".join(f"{finding.rule}: {finding}".split())
            self.hopeless = self.hopeless or line

    def _ended(
        self, model: keras.Model, logs: Mapping[str, float], seconds: float
    ) -> str:
        """An epoch has ended; returns why the training should end, or `""`."""
        logs = self.work.objective.completed(logs)
        number = 1 + sum(epoch.fold == self._fold for epoch in self.epochs)
        self._check_logs(logs, number)
        is_lost = math.isnan(logs.get("loss", 0.0))
        checkpoint = "" if is_lost else self._saved(model, logs, number)
        result = EpochResult(number, logs, seconds, self._fold, checkpoint)
        self.epochs.append(result)
        if self._babysitter is not None:
            with self.notes.on_disk():
                self._babysitter.save()
        with self.notes.on_disk():
            append_line(self.folder / EPOCHS, result)
        self.checkpoints.keep([self.best_checkpoint(), checkpoint])
        self.pruned = self._reported(result)
        if is_lost and not self.hopeless:
            scored = best_of(self.epochs, self.work.objective) is not None
            reason = f"the loss became NaN in epoch {number}"
            raise Ended("stopped" if scored else "failed", reason)
        return self.pruned

    def _check_logs(self, logs: Mapping[str, float], number: int) -> None:
        """Ends a trial whose objective will never be there."""
        work = self.work
        rare = work.arguments.get("validation_freq", 1) != 1
        if work.objective.name not in logs and not work.own_fit and not rare:
            result = EpochResult(number, logs, fold=self._fold)
            self.epochs.append(result)
            self._reported(result)  # The search may not go on without it.
            raise Ended("failed", missing(self.epochs, work.objective))

    def _saved(self, model: keras.Model, logs: Mapping[str, float], number: int) -> str:
        value = value_of(logs, self.work.objective)
        stem = stem_of(self.work.objective, value, number, self._fold)
        state = resume.state_of(model)
        worse = self._worse(value)
        with self.notes.on_disk():
            while True:
                try:
                    return self.checkpoints.save(model, stem, state)
                except OSError as error:
                    if error.errno not in _FULL or not next(worse, False):
                        raise
        return ""

    def _worse(self, value: float | None) -> Iterator[bool]:
        """Makes room on a full disk, step by step: frees checkpoints that are worse.

        The trial's own last one first; then those of trials that have ended, the worst
        first, if this epoch is better than theirs; then the trial's own best one, if
        this epoch is better.
        """
        self.checkpoints.keep([self.best_checkpoint()])
        yield True
        objective = self.work.objective
        kept = [e for e in self.epochs if e.fold == 0 or not self.work.folds]
        own = best_of(kept, objective)
        best = None if own is None else own.logs[objective.name]
        if value is None or (best is not None and not objective.is_better(value, best)):
            return
        for trial in reversed(ranking.best_trials(self.store.trials(), objective)):
            there = Checkpoints(self.store.folder(trial))
            is_worse = objective.is_better(value, float(trial.score or 0.0))
            if is_worse and there.folder.exists() and any(there.folder.iterdir()):
                there.keep(())
                self.notes.lines.append(
                    f"the disk was full, so the checkpoint of trial {trial.number}, "
                    "which is worse, was deleted"
                )
                yield True
        self.checkpoints.keep(())
        yield True

    def _reported(self, result: EpochResult) -> str:
        try:
            return self.report(result)
        except Exception as error:
            raise ReportError(error) from error
