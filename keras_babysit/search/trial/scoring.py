"""From the epochs of a trial to its score: the best epoch, as KerasTuner has it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_babysit.search.trials import EpochResult, Objective


@dataclass(frozen=True)
class Score:
    """What the epochs of a trial amount to.

    Attributes:
        value: the objective at the best epoch, mean over the folds; `None` if it was
            never finite.
        best_epoch: number of that epoch of the first fold, from 1.
        metrics: all logs there, means over the folds.
        folds: the score of each fold, if there are several.
    """

    value: float | None = None
    best_epoch: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    folds: tuple[float, ...] = ()


def value_of(logs: Mapping[str, float], objective: Objective) -> float | None:
    """Returns the objective of an epoch; `None` if it is not there, or not finite."""
    value = logs.get(objective.name)
    return float(value) if value is not None and math.isfinite(value) else None


def best_of(epochs: Iterable[EpochResult], objective: Objective) -> EpochResult | None:
    """Returns the first of the best epochs; `None` if no objective was finite."""
    best: EpochResult | None = None
    for epoch in epochs:
        value = value_of(epoch.logs, objective)
        if value is None:
            continue
        if best is None or objective.is_better(value, best.logs[objective.name]):
            best = epoch
    return best


def score_of(epochs: Sequence[EpochResult], objective: Objective) -> Score:
    """Returns the score of a trial from its epochs, of all folds that have some."""
    folds = sorted({epoch.fold for epoch in epochs})
    best = [best_of([e for e in epochs if e.fold == f], objective) for f in folds]
    known = [epoch for epoch in best if epoch is not None]
    if not known:
        return Score()
    return _mean([e.logs for e in known], objective, len(folds), known[0].epoch)


def _mean(
    metrics: Sequence[Mapping[str, float]],
    objective: Objective,
    folds: int,
    best_epoch: int | None = None,
) -> Score:
    means = _means(metrics)
    scores = tuple(float(one[objective.name]) for one in metrics)
    value = means[objective.name]
    return Score(value, best_epoch, means, scores if folds > 1 else ())


def _means(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of what all have."""
    names = [n for n in metrics[0] if all(n in one for one in metrics)]
    return {n: math.fsum(one[n] for one in metrics) / len(metrics) for n in names}


def missing(epochs: Sequence[EpochResult], objective: Objective) -> str:
    """Returns why there is no score, though all of these epochs were trained."""
    seen = {name for epoch in epochs for name in epoch.logs}
    name = next((n for n in objective.names if n not in seen), objective.name)
    if name in seen:
        return f"the objective {name!r} was never a finite number"
    if not epochs:
        return "no epoch was trained"
    known = ", ".join(sorted(seen)) or "none"
    return f"the objective {name!r} is not among the logs of `fit`: {known}"


def score_of_returned(
    results: Sequence[Mapping[str, float]], objective: Objective
) -> Score | None:
    """Returns the score of a trial from what `returned_by` found for each fold."""
    if not results:
        return None
    if any(value_of(metrics, objective) is None for metrics in results):
        return Score()
    return _mean(results, objective, len(results))


def returned_by(results: Any, objective: Objective) -> dict[str, float] | None:
    """Returns the metrics that a hypermodel's own `fit` has returned.

    Args:
        results: what KerasTuner accepts: a number, which is the objective, a
            dictionary of metrics, a `History`, or a list of these, of which the means
            count.
        objective: what is searched for.

    Returns:
        Metrics by name, the objective among them; `None` for a `History`, whose epochs
        are known already.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(results, keras.callbacks.History):
        return None
    if isinstance(results, list) and results:
        parts = [returned_by(part, objective) or {} for part in results]
        return _means(parts) or None
    if isinstance(results, Mapping) and all(n in results for n in objective.names):
        whole = objective.completed(results)
        return {name: float(value) for name, value in whole.items()}
    if isinstance(results, int | float | np.number | np.ndarray):
        return {objective.name: float(results)}
    raise ValueError(
        "the hypermodel's `fit` must return a `History`, a number, or a dictionary "
        f"with {', '.join(map(repr, objective.names))}, not {results!r}"
    )
