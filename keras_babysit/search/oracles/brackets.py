"""Hyperband's brackets, as a pruner."""

from __future__ import annotations

import math

import optuna

from keras_babysit.errors import whole


class Brackets(optuna.pruners.BasePruner):
    """Asynchronous successive halving in the brackets of KerasTuner's Hyperband.

    The first trials are in the bracket that ends most of them soonest, the last ones in
    one that ends none; then it starts over. After the epochs of a round a trial
    continues if it is in the best `1 / factor` of those of its bracket that got there,
    by the best value so far; it keeps no notes.

    Args:
        max_epochs: how long a trial is trained at most.
        factor: one in so many continues; at least 2.

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(self, max_epochs: int, factor: int = 3):
        self._max_epochs = whole("max_epochs", max_epochs)
        self._factor = whole("factor", factor, least=2)
        count = 1
        while self._factor**count <= self._max_epochs:
            count += 1
        last = math.ceil(1 + math.log(self._max_epochs, self._factor))
        # Rounded as in KerasTuner.
        self._sizes = [
            math.ceil(last / (bracket + 1) * self._factor**bracket)
            for bracket in reversed(range(count))
        ]

    @property
    def trials(self) -> int:
        """How many trials all brackets together have."""
        return sum(self._sizes)

    def bracket(self, number: int) -> tuple[int, int]:
        """Returns which time the brackets are gone through, and the bracket of a trial.

        The last bracket is 0, as in KerasTuner: it ends no trial.
        """
        time, place = divmod(number, self.trials)
        for index, size in enumerate(self._sizes):
            if place < size:
                return time, len(self._sizes) - 1 - index
            place -= size
        raise AssertionError("a place is below the number of trials")

    def rounds(self, bracket: int) -> list[int]:
        """Returns after how many epochs the rounds of a bracket end, but the last."""
        return [
            math.ceil(self._max_epochs / self._factor**left)
            for left in range(bracket, 0, -1)
        ]

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether a trial should end; see `optuna.pruners.BasePruner`."""
        step, own = trial.last_step, self.bracket(trial.number)
        if step not in self.rounds(own[1]):
            return False
        sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1

        def loss(one: optuna.trial.FrozenTrial) -> float:
            seen = [v for s, v in one.intermediate_values.items() if s <= step]
            finite = [sign * v for v in seen if not math.isnan(v)]
            return min(finite, default=math.inf)

        losses = [
            loss(other)
            for other in study.get_trials(deepcopy=False)
            if step in other.intermediate_values and self.bracket(other.number) == own
        ]
        place = sum(other < loss(trial) for other in losses)
        return place >= max(1, len(losses) // self._factor)
