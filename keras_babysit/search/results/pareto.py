"""Several objectives: the trials that none of the others beats in all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keras_babysit.search.results.ranking import best_trials
from keras_babysit.search.trials import Objective, Trial


def front(trials: Iterable[Trial], objective: Objective) -> list[Trial]:
    """Returns the Pareto front: the best trial of each set of values that is on it.

    Args:
        trials: of a search.
        objective: with `parts`; without there is no front.

    Returns:
        Trials, the best one by the first objective first.
    """
    parts = objective.parts
    known = best_trials(trials, objective) if parts else []
    found = [(trial, losses_of(trial, objective)) for trial in known]
    best = [
        (losses, trial.number, trial)
        for trial, losses in found
        if not any(_beats(other, losses) for _, other in found)
    ]
    return [trial for _, _, trial in sorted(best, key=lambda one: one[:2])]


def losses_of(trial: Trial, objective: Objective) -> tuple[float, ...]:
    """Returns the objectives of a trial that has ended, each to be minimized."""
    metrics = trial.outcome.metrics if trial.outcome is not None else {}
    return tuple(
        float(metrics[part.name]) * (-1 if part.direction == "max" else 1)
        for part in objective.parts
    )


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
