"""Which trials are the best ones, and whether that is merit or luck."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from keras_babysit.search.trials import Objective, Trial

#: Chance of such a difference between equals above which it may be luck.
_LUCK = 0.05


@dataclass(frozen=True)
class Candidate:
    """One set of values with all the trials that trained it.

    Attributes:
        trial: the best of its trials.
        trials: all that have ended: the first one, those promoted from it, repeats.
        repeats: scores of the repeats, in their order.
    """

    trial: Trial
    trials: tuple[Trial, ...]
    repeats: tuple[float, ...] = ()

    @property
    def score(self) -> float | None:
        """Mean of the repeats where there are some, else the score of `trial`."""
        return statistics.fmean(self.repeats) if self.repeats else self.trial.score

    @property
    def error(self) -> float | None:
        """Standard error of the mean of the repeats; `None` for fewer than two."""
        if len(self.repeats) < 2:
            return None
        return statistics.stdev(self.repeats) / math.sqrt(len(self.repeats))


def candidates(trials: Iterable[Trial], objective: Objective) -> list[Candidate]:
    """Returns all sets of values that have a score, best first.

    Scores are compared over all stages. That is fair in one direction: what is better
    after fewer epochs is better. (What is worse after fewer epochs might have become
    better; for that it would have had to be promoted.)

    A trial, what was promoted from it, and its repeats are one candidate. Where there
    are repeats, their mean is what counts, without the trial that they repeat: it was
    chosen for its score, so there is luck in it. Since a single score may be luck, all
    candidates with repeats come before those without.

    Ties go to the trial that was begun first. Trials without a score, and failed ones,
    are not among them.
    """
    ended = [t for t in trials if t.outcome is not None]
    numbers = {t.number: t for t in ended}
    families: dict[int, list[Trial]] = {}
    for trial in sorted(ended, key=lambda t: t.number):
        families.setdefault(root(trial, numbers), []).append(trial)
    found = []
    for family in families.values():
        good = [t for t in family if has_score(t)]
        if good:
            repeats = [t.score for t in good if t.origin == "repeat"]
            best = min(good, key=lambda t: _key(t.score, objective, t.number))
            scores = tuple(float(s) for s in repeats if s is not None)
            found.append(Candidate(best, tuple(family), scores))
    return sorted(
        found,
        key=lambda c: (not c.repeats, *_key(c.score, objective, c.trials[0].number)),
    )


def best_trials(
    trials: Iterable[Trial], objective: Objective, count: int | None = None
) -> list[Trial]:
    """Returns the best trial of each of the best candidates, best first."""
    return [candidate.trial for candidate in candidates(trials, objective)[:count]]


def of_stage(trials: Iterable[Trial], stage: int, objective: Objective) -> list[Trial]:
    """Returns the trials of one stage that have a score, best first, without repeats.

    Only these were trained for the same number of epochs, so only these say where the
    next stage should look.
    """
    own = [t for t in trials if t.stage == stage and t.origin != "repeat"]
    good = [t for t in own if has_score(t)]
    return sorted(good, key=lambda t: _key(t.score, objective, t.number))


def root(trial: Trial, numbers: Mapping[int, Trial]) -> int:
    """Returns the number of the trial that all others of its values go back to."""
    while trial.source is not None and trial.source in numbers:
        trial = numbers[trial.source]
    return trial.number


def has_score(trial: Trial) -> bool:
    """Whether it has ended, has not failed, and has a finite score."""
    score = trial.score
    return trial.status != "failed" and score is not None and math.isfinite(score)


def kept(trials: Sequence[Trial], objective: Objective, count: int | None) -> set[int]:
    """Returns the numbers of the trials whose checkpoints are kept.

    Those are the best trials of the best `count` candidates. A candidate's other
    trials are not: they are worse models of the same values.
    """
    return {trial.number for trial in best_trials(trials, objective, count)}


def verdict(trials: Iterable[Trial], objective: Objective) -> str:
    """Says whether the winner is clearly the best, or may be so by luck.

    By Welch's test on the repeats of the best two means; clear means that such a
    difference between equals has a chance below 5 %.

    Returns:
        One or two sentences; `""` without two candidates that have two repeats each.
    """
    found = [c for c in candidates(trials, objective) if len(c.repeats) > 1]
    if not found:
        return ""
    told = "; ".join(
        f"trial {_first(c)}: {c.score:.4g} ± {c.error:.2g} ({len(c.repeats)} repeats)"
        for c in found
    )
    told = f"{objective.name}, mean ± standard error: {told}"
    if len(found) < 2:
        return f"{told}."
    first, second = found[:2]
    chance = chance_of_luck(first.repeats, second.repeats)
    if chance < _LUCK:
        return f"{told}. Trial {_first(first)} is clearly the best."
    return (
        f"{told}. The best two may differ by luck only (such a difference between "
        f"equals has a chance of {chance:.0%})."
    )


def chance_of_luck(a: Sequence[float], b: Sequence[float]) -> float:
    """Chance that samples of equal means differ as much as these, two-sided.

    Welch's unequal variances t-test; the degrees of freedom are rounded down, so the
    chance is never too small.

    Args:
        a: at least two numbers.
        b: likewise.
    """
    parts = [statistics.variance(values) / len(values) for values in (a, b)]
    difference = abs(statistics.fmean(a) - statistics.fmean(b))
    if not sum(parts):
        return 0.0 if difference else 1.0
    freedom = sum(parts) ** 2 / (
        parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1)
    )
    whole = max(1, math.floor(freedom + 1e-9))
    return 1 - _inside(difference / math.sqrt(sum(parts)), whole)


def _inside(t: float, freedom: int) -> float:
    """Chance that Student's t is between -t and t; Abramowitz & Stegun, 26.7.3-4."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term, total = 1.0, 0.0
    for k in range(odd + 2, freedom + 1, 2):
        total += term
        term *= square * (k - 1) / k
    if odd:
        return 2 / math.pi * (angle + sine * math.cos(angle) * total)
    return sine * total


def _first(candidate: Candidate) -> int:
    sources = [t.source for t in candidate.trials if t.origin == "repeat"]
    return sources[0] if sources and sources[0] is not None else candidate.trial.number


def _key(score: float | None, objective: Objective, number: int) -> tuple[float, int]:
    value = math.inf if score is None else float(score)
    return (-value if objective.direction == "max" else value), number
