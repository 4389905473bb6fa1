"""How much of a search is still to come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keras_babysit.search.trials import Trial


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
