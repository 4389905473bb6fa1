"""`GridSearch`, as in KerasTuner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution

from keras_babysit.errors import whole_or_none
from keras_babysit.search.names import refuse_fixed
from keras_babysit.search.space import optuna_space, scales
from keras_babysit.search.tuners.tuner import Tuner

#: Where the space is only known when the trials ask for it, its grid may have so many.
_MANY = 10_000


class GridSearch(Tuner):
    """Search over a grid with KerasTuner's arguments; see `Tuner` and `Search`.

    All combinations of what is active are tried, in random order; a range without a
    step counts as the ten values that KerasTuner's grid search tries.

    Args:
        max_trials: how many of them; `None` for all.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int | None = None,
        seed: int | None = None,
        hyperparameters: Any = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        **kwargs: Any,
    ):
        refuse_fixed(kwargs, "GridSearch")
        whole_or_none("max_trials", max_trials)
        super().__init__(
            hypermodel,
            objective,
            max_trials or _MANY,
            max_retries_per_trial,
            method="grid",
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **kwargs,
        )
        self._is_whole = max_trials is None

    def _trials(self) -> int:
        if not self._is_whole or self._has_own_fit():
            return super()._trials()
        return size(self._space().space)


def size(space: Sequence[Any]) -> int:
    """Returns how many points the grid of a space has.

    Args:
        space: the list `HyperParameters.space`.
    """
    axes = {id(axis.hp): axis for axis in optuna_space.axes_of(space, grid=True)}
    parents = {c.name for hp in space for c in hp.conditions}

    def count(index: int, values: Mapping[str, Any]) -> int:
        if index == len(space):
            return 1
        hp = space[index]
        if not scales.is_active(hp, values):
            return count(index + 1, values)
        axis = axes.get(id(hp))
        found = [hp.default] if axis is None else _points(axis)
        if hp.name not in parents:
            return len(found) * count(index + 1, values)
        return sum(count(index + 1, {**values, hp.name: value}) for value in found)

    return count(0, {})


def _points(axis: optuna_space.Axis) -> list[Any]:
    of: Any = axis.distribution
    if isinstance(of, CategoricalDistribution):
        return list(of.choices)
    return [axis.outward(i) for i in range(of.low, of.high + 1, of.step)]
