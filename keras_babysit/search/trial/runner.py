"""One trial from start to end: trained and scored, whatever happens to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras_tuner

from keras_babysit.search.trial.attempt import Attempt, ReportError
from keras_babysit.search.trial.callbacks import Ended
from keras_babysit.search.trial.isolation import in_one_line, isolated
from keras_babysit.search.trial.scoring import (
    Score,
    missing,
    score_of,
    score_of_returned,
)
from keras_babysit.search.trial.task import Work
from keras_babysit.search.trials import EpochResult, Outcome, Trial


def run_trial(
    work: Work,
    trial: Trial,
    space: Mapping[str, Any],
    report: Callable[[EpochResult], str],
) -> Outcome:
    """Trains one trial and returns how it ended, whatever that was.

    The model is built and trained after `keras.utils.set_random_seed(trial.seed)`, so
    that the same by hand gives the same weights. After each epoch the model is saved,
    and a line is added to the trial's `epochs.jsonl`; while it trains there are its
    best checkpoint and its last, afterwards the best. A disk that cannot be written
    ends nothing: there is a note in the outcome. The random numbers and layer names of
    the program around it go on as if it had not been.

    A trial that was started before (`trial.attempts > 1`) goes on from its last
    checkpoint if it then ends with the same bits as without the interruption, which is
    so if the data is arrays, all parts of the model are Keras's own (a `Lambda` does
    not count), and so is `fit`, and the callbacks are none but those of Keras that
    follow the logs. Otherwise it begins anew, and the notes of its outcome say why.
    The last epoch before the interruption is reported again: what the answer was may
    not have been heard.

    Args:
        work: what all trials share.
        trial: what to train.
        space: `HyperParameters.get_config()` of its stage.
        report: is called after each epoch; returns why the trial should end, or `""`.

    Returns:
        The outcome. Folds are trained one after the other, each from the same seed,
        and scores and metrics are means over them; the checkpoint is the first
        fold's. A fold that is stopped ends the trial. One without a finite objective
        has failed; one that a finding has stopped may have no score.

    Raises:
        Exception: what `report` raises; a `keras_tuner.errors.FatalError`.
    """
    try:
        with isolated():
            return _trained(Attempt(work, trial, space, report))
    except ReportError as error:
        raise error.error from None


def _trained(run: Attempt) -> Outcome:
    # A function of its own, at whose end nothing holds the model any more.
    began, raised = time.perf_counter(), ""
    try:
        run.train()
        status, reason = ("stopped" if run.pruned else "completed"), run.pruned
    except Ended as ended:
        status, reason, raised = ended.status, ended.reason, ended.raised
    except keras_tuner.errors.FatalError:
        raise  # By this, the user ends the search.
    except Exception as error:
        status, reason = "failed", in_one_line(error)
        raised = type(error).__name__
    outcome = _outcome(run, status, reason, time.perf_counter() - began)
    return replace(outcome, raised=raised)


def _outcome(run: Attempt, status: str, reason: str, seconds: float) -> Outcome:
    objective = run.work.objective
    score = score_of_returned(run.returned, objective)
    score = score or score_of(run.epochs, objective)
    if status == "completed" and score.value is None:
        status, reason = "failed", missing(run.epochs, objective)
    if status == "failed":
        score = Score()
    config = run.hp.get_config()
    _check_entries(run, config)
    checkpoint = "" if status == "failed" else run.best_checkpoint()
    run.checkpoints.keep([checkpoint])
    return Outcome(
        status=status,
        score=score.value,
        best_epoch=score.best_epoch,
        epochs=len(run.epochs),
        reason=reason,
        metrics=score.metrics,
        fold_scores=score.folds,
        findings=tuple(run.findings.values()),
        parameters=run.parameters,
        seconds=seconds,
        checkpoint=checkpoint,
        space=None if config == run.asked else config,
        notes=tuple(run.notes.lines),
    )


def _check_entries(run: Attempt, config: Mapping[str, Any]) -> None:
    """Ends the search where a trial asks for what it must not, as in KerasTuner."""
    if run.work.allow_new_entries or config == run.asked:
        return
    known = {hp["config"]["name"] for hp in run.asked["space"]}
    new = {hp["config"]["name"] for hp in config["space"]} - known
    if new:
        raise keras_tuner.errors.FatalValueError(
            "With `allow_new_entries=False` the hypermodel must not ask for what "
            "`hyperparameters` does not have. In the training it asked for "
            f"{', '.join(map(repr, sorted(new)))}."
        )
