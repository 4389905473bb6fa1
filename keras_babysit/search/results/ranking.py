"""Which trials are the best ones, and whether that is merit or luck."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_babysit.search.trials import Objective, Trial

#: Chance of such a difference between equals above which it may be luck.
_LUCK = 0.05


@dataclass(frozen=True)
class Repeats:
    """One of the best trials, run again with other seeds.

    Attributes:
        trial: number of the one that was repeated.
        score: its own score. It was chosen for being good, so luck is in it.
        scores: of the repeats that have one. They were not chosen.
        failed: how many repeats have none.
    """

    trial: int
    score: float | None
    scores: tuple[float, ...]
    failed: int = 0

    @property
    def mean(self) -> float:
        """Mean of the repeats; NaN if there are none."""
        return statistics.fmean(self.scores) if self.scores else math.nan

    @property
    def std(self) -> float:
        """Their standard deviation (with n - 1); NaN for fewer than two."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else math.nan

    @property
    def error(self) -> float:
        """Standard error of the mean; NaN for fewer than two."""
        return self.std / math.sqrt(max(len(self.scores), 1))


@dataclass(frozen=True)
class Candidate:
    """One set of values with all the trials that trained it.

    Attributes:
        trial: the trial that stands for it: the one that was repeated, else its best.
        model: the best of its trials, repeats included.
        trials: all that have ended: the first one, those promoted from it, repeats.
        repeats: the repeats; `None` if there are none.
    """

    trial: Trial
    model: Trial
    trials: tuple[Trial, ...]
    repeats: Repeats | None = None

    @property
    def times(self) -> int:
        """How many repeats have a score."""
        return len(self.repeats.scores) if self.repeats else 0

    @property
    def score(self) -> float:
        """What counts: the mean of the repeats, else the score of `trial`."""
        if self.repeats is not None and self.repeats.scores:
            return self.repeats.mean
        return float(self.trial.score or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Returns what counts of it, as plain values."""
        return {
            "trial": self.trial.number,
            "score": self.score,
            "repeats": self.times,
            "values": dict(self.trial.values),
        }


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
    numbers = {t.number: t for t in trials if t.outcome is not None}
    families: dict[int, list[Trial]] = {}
    for number in sorted(numbers):
        families.setdefault(root(numbers[number], numbers), []).append(numbers[number])
    made = (_candidate(family, objective) for family in families.values())
    return sorted(
        (candidate for candidate in made if candidate is not None),
        key=lambda c: (not c.times, *_key(c.score, objective, c.trials[0].number)),
    )


def _candidate(family: Sequence[Trial], objective: Objective) -> Candidate | None:
    good = [trial for trial in family if has_score(trial)]
    if not good:
        return None
    best = min(good, key=lambda t: _key(t.score, objective, t.number))
    again = [trial for trial in family if trial.origin == "repeat"]
    if not again:
        return Candidate(best, best, tuple(family))
    source = next((t for t in family if t.number == again[0].source), again[0])
    scores = tuple(float(t.score or 0.0) for t in again if has_score(t))
    score = source.score if source.origin != "repeat" else None
    repeats = Repeats(source.number, score, scores, len(again) - len(scores))
    return Candidate(source if scores else best, best, tuple(family), repeats)


def best_trials(
    trials: Iterable[Trial], objective: Objective, count: int | None = None
) -> list[Trial]:
    """Returns the best trial of each of the best candidates, best first."""
    return [candidate.model for candidate in candidates(trials, objective)[:count]]


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
    all_repeats = (candidate.repeats for candidate in candidates(trials, objective))
    found = [r for r in all_repeats if r is not None and len(r.scores) > 1]
    if not found:
        return ""
    told = "; ".join(
        f"trial {r.trial}: {r.mean:.4g} ± {r.error:.2g} ({len(r.scores)} repeats)"
        for r in found
    )
    told = f"{objective.name}, mean ± standard error: {told}"
    if len(found) < 2:
        return f"{told}."
    chance = chance_of_luck(found[0].scores, found[1].scores)
    if chance < _LUCK:
        return f"{told}. Trial {found[0].trial} is clearly the best."
    return (
        f"{told}. The best two may differ by luck only (such a difference between "
        f"equals has a chance of {chance:.0%})."
    )


def chance_of_luck(a: Sequence[float], b: Sequence[float]) -> float:
    """Chance that samples of equal means differ as much as these, by Welch's t-test."""
    from scipy import stats

    if len({*a}) == len({*b}) == 1:  # Without any spread the test has no answer.
        return float(a[0] == b[0])
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def _key(score: float | None, objective: Objective, number: int) -> tuple[float, int]:
    value = math.inf if score is None else float(score)
    return (-value if objective.direction == "max" else value), number
