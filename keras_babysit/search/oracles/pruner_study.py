"""A live Optuna study that follows the curves of a search, for a pruner."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import optuna
from optuna import pruners
from optuna.trial import TrialState

from keras_babysit.search.oracles.brackets import Brackets
from keras_babysit.search.trials import EpochResult, Objective, Trial

#: Pruners that look at the curves only. Others write notes as the trials go.
_WITHOUT_NOTES = (
    pruners.PercentilePruner,
    pruners.ThresholdPruner,
    pruners.NopPruner,
    Brackets,
)
_STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "killed": TrialState.FAIL,
}

#: A trial and the epochs that it has finished.
Known = tuple[Trial, Sequence[EpochResult]]


@dataclass
class Curve:
    """What the study has got of one trial.

    Attributes:
        told: the trial in the study.
        trial: the trial of the search.
        values: number of finished epochs of the first fold to value; NaN for one that
            is not finite.
        count: how many epochs were looked at, those of later folds included,
        last: and the last one of them.
    """

    told: optuna.Trial
    trial: Trial
    values: dict[int, float] = field(default_factory=dict)
    count: int = 0
    last: EpochResult | None = None

    def is_told(self, trial: Trial, epochs: Sequence[EpochResult]) -> bool:
        """Whether nothing has happened since."""
        same = trial is self.trial and len(epochs) == self.count
        return same and (not epochs or epochs[-1] is self.last)

    def continues(self, epochs: Sequence[EpochResult]) -> bool:
        """Whether all that has happened since is more epochs, and an end."""
        if self.trial.outcome is not None or len(epochs) < self.count:
            return False
        return not self.count or epochs[self.count - 1] is self.last


class PrunerStudy:
    """An Optuna study in memory, kept from one question to the next.

    To tell a new study of 300 trials can take longer than an epoch. So the study is
    told only of what has changed. Where the trials are other ones than it knows,
    `news` says so, and there has to be a new study.

    Args:
        pruner: it is copied, since some keep a state.
        objective: what is searched for.

    Attributes:
        curves: what is known, by the trials' numbers.
    """

    def __init__(self, pruner: pruners.BasePruner, objective: Objective):
        self._name = objective.name
        self._takes_notes = not isinstance(pruner, _WITHOUT_NOTES)
        self._study = optuna.create_study(
            study_name="search",  # Hyperband goes by this, and by a trial's number.
            storage=optuna.storages.InMemoryStorage(),
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=copy.deepcopy(pruner),
            direction="maximize" if objective.direction == "max" else "minimize",
        )
        self.curves: dict[int, Curve] = {}
        self._size = 0

    def news(self, known: Mapping[int, Known], asked: int) -> list[int] | None:
        """Returns which trials have news; `None` if the study cannot take them.

        Args:
            known: the trials that are compared, by number.
            asked: which of them the question is about.
        """
        if not self.curves.keys() <= known.keys():
            return None
        found = [n for n, one in known.items() if not self._knows(n, *one)]
        curve = self.curves.get(asked)
        # Some pruners continue to the next rung when they are asked again.
        if curve is not None and len(known[asked][1]) == curve.count:
            return None
        can = all(self._can_tell(number, *known[number]) for number in found)
        return sorted(found) if can else None

    def should_stop(
        self, known: Mapping[int, Known], asked: int, news: Sequence[int]
    ) -> bool:
        """Tells what `news` has found; returns what the pruner says of `asked`."""
        for number in news:
            self._begin(number, known[number][0])
            if number != asked:
                self._tell(number, *known[number])
        return self._tell(asked, *known[asked])

    def _knows(self, number: int, trial: Trial, epochs: Sequence[EpochResult]) -> bool:
        curve = self.curves.get(number)
        return curve is not None and curve.is_told(trial, epochs)

    def _can_tell(self, number: int, _: Trial, epochs: Sequence[EpochResult]) -> bool:
        curve = self.curves.get(number)
        if curve is None:
            return number >= self._size
        return curve.continues(epochs)

    def _begin(self, number: int, trial: Trial) -> None:
        """Gives a new trial its own number in the study."""
        if number in self.curves:
            return
        for _ in range(self._size, number):  # Of those that are not compared.
            self._study.add_trial(optuna.create_trial(state=TrialState.FAIL))
        self.curves[number] = Curve(self._study.ask(), trial)
        self._size = number + 1

    def _tell(self, number: int, trial: Trial, epochs: Sequence[EpochResult]) -> bool:
        curve, says = self.curves[number], False
        new = self._values(epochs[curve.count :])
        for epoch, value in new.items():
            curve.told.report(value, epoch)
            # Only once an epoch, so that notes are what they were in the search.
            if self._takes_notes or epoch == max(new):
                says = curve.told.should_prune()
        curve.values.update(new)
        curve.trial, curve.count = trial, len(epochs)
        curve.last = epochs[-1] if epochs else None
        if trial.outcome is not None:
            self._end(curve)
        return says

    def _values(self, epochs: Sequence[EpochResult]) -> dict[int, float]:
        values = {
            e.epoch: float(e.logs[self._name])
            for e in sorted(epochs, key=lambda e: e.epoch)
            if e.fold == 0 and self._name in e.logs
        }
        return {k: v if math.isfinite(v) else math.nan for k, v in values.items()}

    def _end(self, curve: Curve) -> None:
        state, score = _STATES[curve.trial.status], curve.trial.score
        if state == TrialState.COMPLETE and score is not None:
            self._study.tell(curve.told, score)
        elif state == TrialState.PRUNED and curve.values:
            self._study.tell(curve.told, state=state)
        else:
            self._study.tell(curve.told, state=TrialState.FAIL)
