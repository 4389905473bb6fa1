"""Hopeless trials end early: Optuna's pruners, asked about recorded curves."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna import pruners
from optuna.trial import TrialState

from keras_babysit.search.oracles.optuna_oracle import quiet
from keras_babysit.search.trials import EpochResult, Objective, Trial

#: What a search may be asked for by name.
PRUNERS = ("median", "halving")

#: Trials that complete before one is stopped by the median; Optuna's own default.
_STARTUP = 5
#: Share of the epochs before a trial is judged for the first time.
_WARM_UP = 0.25
#: One in so many goes on at a rung of successive halving; Hyperband's.
_REDUCTION = 3

#: Pruners that look at the curves only. Others write notes as the trials go.
_WITHOUT_NOTES = (
    pruners.PercentilePruner,
    pruners.ThresholdPruner,
    pruners.NopPruner,
)
_STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "killed": TrialState.FAIL,
}


@dataclass(frozen=True)
class Curve:
    """What a pruner knows of one trial: number of finished epochs to value.

    A value that is not finite is NaN.
    """

    number: int
    status: str
    score: float | None
    values: dict[int, float]


class Stopper:
    """Says after each epoch whether a trial is worth going on with.

    It asks a pruner of Optuna's, with a study that is made anew from what the search
    has recorded. So the answer follows from the records and from nothing else: the same
    search stops the same trials, and so does one that was cut off and goes on.

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
        curve = self._curve(trial, epochs)
        last = max((e.epoch for e in epochs), default=0)
        if any(e.fold for e in epochs) or last not in curve.values:
            return ""  # Later folds, and epochs without a validation, are not judged.
        if last >= trial.epochs:
            return ""  # There is nothing left to save.
        curves = [
            self._curve(other, results)
            for other, results in others
            if other.number != trial.number and _are_comparable(trial, other)
        ]
        pruner = _made(self._pruner, trial.epochs)
        with quiet():
            # The median at an epoch where no value is finite.
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            if not _is_pruned(copy.deepcopy(pruner), self._objective, curve, curves):
                return ""
        return _reason(pruner, self._objective, curve, curves)

    def _curve(self, trial: Trial, epochs: Sequence[EpochResult]) -> Curve:
        name = self._objective.name
        values = {
            e.epoch: float(e.logs[name])
            for e in sorted(epochs, key=lambda e: e.epoch)
            if e.fold == 0 and name in e.logs
        }
        finite = {k: v if math.isfinite(v) else math.nan for k, v in values.items()}
        return Curve(trial.number, trial.status, trial.score, finite)


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


def _is_pruned(
    pruner: pruners.BasePruner, objective: Objective, curve: Curve, curves: list[Curve]
) -> bool:
    """Asks the pruner about the last epoch of a trial, after telling it of the others.

    Each trial has its own number in the study, by which Hyperband puts it in a bracket.
    """
    study = optuna.create_study(
        study_name="search",  # Hyperband goes by this, too.
        storage=optuna.storages.InMemoryStorage(),
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=pruner,
        direction="maximize" if objective.direction == "max" else "minimize",
    )
    takes_notes = not isinstance(pruner, _WITHOUT_NOTES)
    known = {c.number: c for c in curves}
    for number in range(max([curve.number, *known]) + 1):
        other = known.get(number)
        if number == curve.number:
            own = study.ask()
        elif other is None or not takes_notes:
            study.add_trial(_recorded(other))
        else:
            _tell(study, study.ask(), other)
    return _report(own, curve.values, takes_notes)


def _recorded(curve: Curve | None) -> optuna.trial.FrozenTrial:
    """Returns a trial as it is now; `None` is one that is not compared with."""
    if curve is None:
        return optuna.create_trial(state=TrialState.FAIL)
    state = _STATES.get(curve.status, TrialState.RUNNING)
    if state == TrialState.COMPLETE and curve.score is None:
        state = TrialState.FAIL
    return optuna.create_trial(
        state=state,
        value=curve.score if state == TrialState.COMPLETE else None,
        intermediate_values=curve.values,
    )


def _tell(study: optuna.Study, trial: optuna.Trial, curve: Curve) -> None:
    """Tells of a trial as it went, so that the pruner takes its notes."""
    _report(trial, curve.values, takes_notes=True)
    state = _STATES.get(curve.status)  # One that is running stays open.
    if state == TrialState.COMPLETE and curve.score is not None:
        study.tell(trial, curve.score)
    elif state == TrialState.PRUNED and curve.values:
        study.tell(trial, state=state)
    elif state is not None:
        study.tell(trial, state=TrialState.FAIL)


def _report(
    trial: optuna.Trial, values: Mapping[int, float], takes_notes: bool
) -> bool:
    """Reports a curve as it came; returns what the pruner says at its last epoch."""
    says = False
    for epoch, value in values.items():
        trial.report(value, epoch)
        # Only once an epoch: some pruners go on to the next rung when asked again.
        if takes_notes or epoch == max(values):
            says = trial.should_prune()
    return says


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
    completed = [c for c in curves if c.status == "completed"]
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
