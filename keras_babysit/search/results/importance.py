"""Which hyperparameters matter, and which matter together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_babysit.search.results.anova import Decomposition, decompose
from keras_babysit.search.results.dimensions import Dimension
from keras_babysit.search.trials import EpochResult, Objective, Trial

#: Fewer trials say nothing: so many in all, and so many for each hyperparameter.
FEWEST, FEWEST_EACH = 20, 4
#: R² of the forest below which nothing is said. Of scores that are pure noise it was
#: at most 0.22 in 144 made-up searches of 20 to 80 trials.
EXPLAINED = 0.3
#: Shares of pairs below that are not told: of functions without interactions, trees
#: made up to 0.08 of one.
PAIR = 0.1


@dataclass(frozen=True)
class Share:
    """What one hyperparameter, or a pair of them together, explains.

    Attributes:
        names: of the one or the two.
        share: of the variance of the scores, 0 to 1.
        trials: number of trials that it was worked out from: those in which it was
            active.
    """

    names: tuple[str, ...]
    share: float
    trials: int

    @property
    def name(self) -> str:
        """`"learning_rate"`, or `"learning_rate × units"`."""
        return " × ".join(self.names)


@dataclass(frozen=True)
class Importance:
    """Which hyperparameters matter; or why that cannot be said.

    Attributes:
        singles: a share for each hyperparameter, the largest first.
        pairs: those that matter together, beyond what each does alone.
        epochs: after how many epochs of each trial scores were compared.
        trials: number of the trials.
        worst: how many of them have no score and count as the worst.
        explained: R² of the forest, on trials that it was not fitted to; of the
            hyperparameters that are active most often, if not all are always.
        reason: why there are no shares, or none of those that are not among `singles`;
            `""` if all have one.
    """

    singles: tuple[Share, ...] = ()
    pairs: tuple[Share, ...] = ()
    epochs: int = 0
    trials: int = 0
    worst: int = 0
    explained: float = math.nan
    reason: str = ""


@dataclass(frozen=True)
class _Sample:
    """Trials that can be compared: their values and scores, lower is better."""

    epochs: int
    values: list[Mapping[str, Any]]
    scores: np.ndarray
    worst: int


def importance_of(
    trials: Iterable[Trial],
    objective: Objective,
    dimensions: Sequence[Dimension],
    epochs: Mapping[int, Sequence[EpochResult]] | None = None,
) -> Importance:
    """Returns which hyperparameters the scores depend on.

    The shares are those of a functional ANOVA over the scales that are searched on, see
    `anova`: how much of the variance of the score goes when all others are averaged
    over their whole ranges. So a hyperparameter that is only searched where it does not
    matter has a small share.

    Trials of several stages are compared at the same number of epochs: the largest one
    that enough trials have reached. Promoted trials and repeats are not counted, as
    their values are there already. Trials that failed or broke off without a score
    count as the worst, unless it was their process that ended; scores far out on the
    bad side are cut to the others (Tukey's fence), lest one trial that diverged
    outweighs all.

    A hyperparameter that is not always active is judged by the trials in which it is.
    Nothing is said of fewer than 20 trials, or 4 for each hyperparameter, nor where the
    scores cannot be told from the hyperparameters (R² below 0.3 on trials that the
    forest has not seen).

    Args:
        trials: the trials.
        objective: what is searched for.
        dimensions: the hyperparameters.
        epochs: finished epochs by number of the trial; without, only the trials of one
            stage can be compared.

    Raises:
        ImportError: if scikit-learn is not installed.

    Example:
    ```python
    report = search.report()
    for share in report.importance.singles:
        print(share.name, share.share)
    ```
    """
    ended = [t for t in trials if t.outcome is not None and t.origin == "oracle"]
    varied = [d for d in dimensions if not d.is_fixed]
    if not varied:
        return Importance(reason="nothing varies")
    found = Importance(reason=f"needs at least {FEWEST} comparable trials, there are 0")
    for count in sorted({trial.epochs for trial in ended}, reverse=True):
        sample = _comparable(ended, count, objective, epochs or {})
        made = _of_sample(sample, varied)
        if made.singles:
            return made
        # Of those that say nothing, the one with the most trials says why.
        found = made if made.trials >= found.trials else found
    return found


def _of_sample(sample: _Sample, varied: Sequence[Dimension]) -> Importance:
    count = len(sample.scores)
    singles: list[Share] = []
    pairs: list[Share] = []
    explained, reason = math.nan, ""
    for rows, own in _groups(sample, varied):
        active = [d for d in varied if all(d.name in sample.values[i] for i in rows)]
        split = _split(sample, rows, active)
        if isinstance(split, str):
            reason = reason or split
            continue
        explained = split.explained if math.isnan(explained) else explained
        for name, share in _shares(split, active, own):
            told = pairs if len(name) > 1 else singles
            told.append(Share(name, share, len(rows)))
    return Importance(
        singles=tuple(sorted(singles, key=lambda s: -s.share)),
        pairs=tuple(sorted(pairs, key=lambda s: -s.share)),
        epochs=sample.epochs,
        trials=count,
        worst=sample.worst,
        explained=explained,
        reason=reason,
    )


def _groups(
    sample: _Sample, varied: Sequence[Dimension]
) -> list[tuple[tuple[int, ...], list[Dimension]]]:
    """Hyperparameters by the trials in which they are active, most trials first."""
    found: dict[tuple[int, ...], list[Dimension]] = {}
    for one in varied:
        rows = tuple(i for i, v in enumerate(sample.values) if one.name in v)
        found.setdefault(rows, []).append(one)
    return sorted(found.items(), key=lambda item: -len(item[0]))


def _split(
    sample: _Sample, rows: Sequence[int], active: Sequence[Dimension]
) -> Decomposition | str:
    """The shares of some of the trials, or why there are none."""
    needed = max(FEWEST, FEWEST_EACH * len(active))
    if len(rows) < needed:
        return f"needs at least {needed} comparable trials, there are {len(rows)}"
    scores = sample.scores[list(rows)]
    if np.ptp(scores) == 0:
        return f"all {len(rows)} scores are the same"
    points = [[d.place(sample.values[i][d.name]) for d in active] for i in rows]
    split = decompose(np.clip(np.array(points, float), 0.0, 1.0), scores)
    if split.explained >= EXPLAINED:
        return split
    return (
        f"the scores of {len(rows)} trials do not follow from their hyperparameters so "
        f"far (R² {split.explained:.2f})"
    )


def _shares(
    split: Decomposition, active: Sequence[Dimension], own: Sequence[Dimension]
) -> Iterator[tuple[tuple[str, ...], float]]:
    """Shares of a group's own hyperparameters, and of pairs with one of them."""
    for a, one in enumerate(active):
        if one in own:
            yield (one.name,), float(split.single[a])
    for a, b in itertools.combinations(range(len(active)), 2):
        share = float(split.pair[a, b])
        if share >= PAIR and (active[a] in own or active[b] in own):
            yield (active[a].name, active[b].name), share


def _comparable(
    trials: Iterable[Trial],
    count: int,
    objective: Objective,
    epochs: Mapping[int, Sequence[EpochResult]],
) -> _Sample:
    """Trials that may train so many epochs, with their scores by then."""
    sign = 1.0 if objective.direction == "min" else -1.0
    values, scores = [], []
    for trial in trials:
        score = _score_at(trial, count, objective, epochs.get(trial.number, ()))
        if score is not None:
            values.append(trial.values)
            scores.append(sign * score)
    array = np.array(scores, float)
    finite = array[np.isfinite(array)]
    if not len(finite):
        return _Sample(count, [], np.empty(0), 0)
    low, high = np.quantile(finite, [0.25, 0.75])
    worst = min(finite.max(), high + 1.5 * (high - low))
    missing = int((~np.isfinite(array)).sum())
    array = np.where(np.isfinite(array), np.minimum(array, worst), worst)
    return _Sample(count, values, array, missing)


def _score_at(
    trial: Trial, count: int, objective: Objective, epochs: Sequence[EpochResult]
) -> float | None:
    """The score after so many epochs; NaN for none; `None` if it does not count."""
    outcome = trial.outcome
    if outcome is None or trial.epochs < count or outcome.status == "killed":
        return None
    folds: dict[int, list[float | None]] = {}
    for epoch in epochs:
        logged = folds.setdefault(epoch.fold, [])
        if epoch.epoch <= count:
            logged.append(epoch.logs.get(objective.name))
    best = [objective.best(logged) for logged in folds.values()]
    known = [value for value in best if value is not None]
    if known and len(known) == len(best):
        return sum(known) / len(known)
    if not epochs and trial.score is not None and math.isfinite(trial.score):
        return trial.score if trial.epochs == count else None
    return math.nan
