"""Hopeless trials end early: Optuna's pruners, asked about recorded curves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from optuna import pruners

from keras_babysit.search.oracles.optuna_oracle import quiet
from keras_babysit.search.oracles.pruner_study import Curve, Known, PrunerStudy
from keras_babysit.search.trials import EpochResult, Objective, Trial

#: What a search may be asked for by name.
PRUNERS = ("median", "halving")

#: Trials that complete before one is stopped by the median; Optuna's own default.
_STARTUP = 5
#: Share of the epochs before a trial is judged for the first time.
_WARM_UP = 0.25
#: One in so many goes on at a rung of successive halving; Hyperband's.
_REDUCTION = 3


class Stopper:
    """Says after each epoch whether a trial is worth continuing.

    It asks a pruner of Optuna's, with a study that follows what the search has recorded
    and is made again from the records where it cannot. So the answer follows from what
    has happened: the same search stops the same trials, and so does one that was
    interrupted and resumed.

    Curves are compared within one stage only, where all trials may train equally long,
    and among trials that the oracle made. What was promoted or is a repeat is neither
    stopped nor compared with. A promoted trial was among the best already and is
    measured, not tried: half of the best are below their median. Of repeats that were
    stopped when they did badly only the lucky ones would be left, and their mean would
    flatter. Of several folds the first one decides.

    Which of the other trials count is the pruner's affair. For the median those that
    completed do, not those that were stopped, failed, or are running. For halving
    whatever got as far does, running or ended; so with several workers it matters who
    was there first.

    Args:
        pruner: `"median"`: a trial ends when its best value so far is worse than the
            median, at the same epoch, of those that completed; not before five have
            (the median of fewer is luck), and not in the first quarter of the epochs
            (where a curve tells more of the learning rate than of its end).
            `"halving"`: after a quarter of the epochs, and after three quarters, a
            trial goes on if it is in the best third of those that got there. An
            instance of an Optuna pruner; it is copied, and its steps are numbers of
            finished epochs, from 1. `None`: no trial is stopped.
        objective: what is searched for.

    Raises:
        ValueError: for any other pruner.

    References:
        Golovin et al., "Google Vizier", KDD 2017 (the median). Li et al., "A System for
        Massively Parallel Hyperparameter Tuning", MLSys 2020 (asynchronous halving).

    Example:
    ```python
    stopper = Stopper("median", Objective("val_loss", "min"))
    reason = stopper.should_stop(trial, epochs, others)
    ```
    """

    def __init__(self, pruner: Any, objective: Objective):
        is_known = pruner is None or isinstance(pruner, pruners.BasePruner)
        if not is_known and not (isinstance(pruner, str) and pruner in PRUNERS):
            raise ValueError(
                f"`pruner` must be {', '.join(map(repr, PRUNERS))}, None, or an "
                f"instance of an Optuna pruner. Received: pruner={pruner!r}"
            )
        self._pruner = pruner
        self._objective = objective
        self._study: PrunerStudy | None = None

    def should_stop(
        self,
        trial: Trial,
        epochs: Sequence[EpochResult],
        others: Iterable[tuple[Trial, Sequence[EpochResult]]],
    ) -> str:
        """Returns why the trial should end now, in one line; `""` to go on.

        Args:
            trial: the trial that has just finished an epoch.
            epochs: its epochs so far, that one included.
            others: the search's other trials with their epochs, in any order. Those
                of other stages, and those begun later, may be among them.
        """
        if self._pruner is None or trial.origin != "oracle":
            return ""
        last = max(epochs, key=lambda e: (e.fold, e.epoch), default=None)
        if last is None or last.fold or self._objective.name not in last.logs:
            return ""  # Later folds, and epochs without a validation, are not judged.
        if last.epoch >= trial.epochs:
            return ""  # There is nothing left to save.
        known: dict[int, Known] = {
            other.number: (other, results)
            for other, results in others
            if _are_comparable(trial, other)
        }
        known[trial.number] = trial, epochs
        pruner = _made(self._pruner, trial.epochs)
        with quiet():
            # The median at an epoch where no value is finite.
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            study, self._study = self._study, None  # Whatever a pruner may raise.
            news = None if study is None else study.news(known, trial.number)
            if study is None or news is None:
                study, news = PrunerStudy(pruner, self._objective), sorted(known)
            stops = study.should_stop(known, trial.number, news)
            self._study = study
        if not stops:
            return ""
        curves = dict(study.curves)
        own = curves.pop(trial.number)
        return _reason(pruner, self._objective, own, list(curves.values()))


def _are_comparable(trial: Trial, other: Trial) -> bool:
    same = other.stage == trial.stage and other.epochs == trial.epochs
    return same and other.origin == "oracle"


def _made(pruner: Any, epochs: int) -> pruners.BasePruner:
    warm_up = max(1, math.ceil(_WARM_UP * epochs))
    if pruner == "median":
        return pruners.MedianPruner(_STARTUP, n_warmup_steps=warm_up)
    if pruner == "halving":
        return pruners.SuccessiveHalvingPruner(warm_up, _REDUCTION)
    return pruner


def _reason(
    pruner: pruners.BasePruner, objective: Objective, curve: Curve, curves: list[Curve]
) -> str:
    epoch = max(curve.values)
    after = f"after {epoch} epoch{'s' * (epoch > 1)}"
    now, best = curve.values[epoch], objective.best(curve.values.values())
    is_median = isinstance(pruner, pruners.MedianPruner)
    if best is None or (math.isnan(now) and not is_median):
        return f"{objective.name} is not finite {after}"
    if not is_median:
        there = [c.values[epoch] for c in curves if epoch in c.values]
        rank = 1 + sum(objective.is_better(v, now) or math.isnan(now) for v in there)
        return (
            f"{objective.name} {now:.3g} {after}; rank {rank} of {len(there) + 1} "
            f"trials ({type(pruner).__name__})"
        )
    completed = [c for c in curves if c.trial.status == "completed"]
    values = [c.values[epoch] for c in completed if epoch in c.values]
    values = [value for value in values if not math.isnan(value)]
    own, median = _told_apart(best, float(np.median(values)))
    own += " at best" * (best != now)
    return (
        f"{objective.name} {own} {after}; the median of {len(values)} trials is "
        f"{median}"
    )


def _told_apart(a: float, b: float) -> tuple[str, str]:
    """Returns two different numbers with as many digits as it takes to see it."""
    for digits in range(3, 17):
        if f"{a:.{digits}g}" != f"{b:.{digits}g}":
            break
    return f"{a:.{digits}g}", f"{b:.{digits}g}"
