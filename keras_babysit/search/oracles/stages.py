"""The stages of a search: how many trials of how many epochs, one after the other."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_babysit.errors import is_number, whole, wrong


@dataclass(frozen=True)
class Stage:
    """One stage of a search.

    Every stage but the first one searches a narrower space, around the best trials of
    the stage before, and begins with these trials again, trained for its own epochs.

    Args:
        trials: how many trials it has, the ones taken over included.
        epochs: how many epochs each may train (each fold, if there are several).
        method: how its values are chosen, as for `Search`; `None` for the search's.
        promoted: how many of the best trials of the stage before are taken over, 0 to
            `trials`; `None` for a third of `trials`, rounded up. The first stage has
            none before it.
        factor: how wide its ranges are by those of the stage before, each on its own
            scale, 0 to 1; but always wide enough for all that were taken over. 1 leaves
            the space as it is.

    Raises:
        ValueError: for values out of range.

    Example:
    ```python
    stages = [search.Stage(20, 1), search.Stage(10, 5, method="tpe")]
    ```
    """

    trials: int
    epochs: int
    method: Any = None
    promoted: int | None = None
    factor: float = 0.5

    def __post_init__(self) -> None:
        for name in ("trials", "epochs"):
            whole(name, getattr(self, name))
        if self.promoted is not None:
            whole("promoted", self.promoted, least=0)
            if self.promoted > self.trials:
                raise ValueError(
                    "`promoted` must not be greater than `trials`: the promoted trials "
                    f"are some of them. Received: promoted={self.promoted}, "
                    f"trials={self.trials}"
                )
        if not is_number(self.factor) or not 0 <= self.factor <= 1:
            raise ValueError(
                f"`factor` of a stage must be between 0 and 1. Received: "
                f"factor={self.factor!r}"
            )

    @property
    def taken_over(self) -> int:
        """How many of the best trials of the stage before it begins with."""
        return math.ceil(self.trials / 3) if self.promoted is None else self.promoted


def coarse_to_fine(
    trials: int = 20, epochs: Sequence[int] = (1, 5, 30), method: Any = None
) -> tuple[Stage, ...]:
    """Returns stages that search ever fewer trials for ever longer.

    As the notes have it: "in the first stage it is enough to train for 1 epoch or even
    less"; "the second stage could then perform a narrower search with 5 epochs, and the
    last stage a detailed search in the final range for many more epochs".

    Args:
        trials: of the first stage; every other one has half of those before it.
        epochs: of each stage, from few to many.
        method: how values are chosen, as for `Search`; `None` for the search's.

    Returns:
        A `Stage` for each entry of `epochs`, for `Search(stages=...)`.

    Raises:
        ValueError: for numbers that are not positive integers, or fewer epochs later.

    References:
        CS231n, "Hyperparameter optimization": stage your search from coarse to fine.

    Example:
    ```python
    coarse_to_fine(20, (1, 5, 30))  # 20 trials of 1 epoch, 10 of 5, 5 of 30.
    ```
    """
    whole("trials", trials)
    if isinstance(epochs, numbers.Integral):
        epochs = (int(epochs),)
    halves = [max(1, trials // 2**index) for index in range(len(epochs))]
    made = tuple(Stage(n, e, method) for n, e in zip(halves, epochs, strict=True))
    return parsed(made)


def grid_then_random(
    trials: Sequence[int] = (20, 20), epochs: Sequence[int] = (1, 5)
) -> tuple[Stage, ...]:
    """Returns two stages: first points of a grid, then random values around the best.

    The grid has all values of an `Int`, a `Choice` or a range with a step, and ten of
    any other range. Its points are tried in random order, so that fewer trials than
    points are spread over all of it; it ends early when all of it was tried.

    Args:
        trials: of the two stages.
        epochs: of the two stages.

    Returns:
        Two stages, for `Search(stages=...)`.

    Raises:
        ValueError: for anything but two positive integers each.

    Example:
    ```python
    search.grid_then_random((20, 20), (1, 5))
    ```
    """
    for name, value in (("trials", trials), ("epochs", epochs)):
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
            raise wrong(name, "two positive integers", value)
    first = Stage(trials[0], epochs[0], "grid")
    return parsed((first, Stage(trials[1], epochs[1], "random")))


def parsed(
    stages: Any = None, max_trials: Any = None, epochs: Any = None
) -> tuple[Stage, ...]:
    """Returns the stages that a search was asked for.

    Args:
        stages: `None`, or a list of stages or of `(trials, epochs)`.
        max_trials: trials of the only stage; 10 if neither is given, as in KerasTuner.
        epochs: epochs of the only stage; 10 if not given.

    Raises:
        ValueError: for both, for none, or for numbers out of range.
    """
    if stages is None:
        trials = 10 if max_trials is None else max_trials
        whole("max_trials", trials)
        trained = 10 if epochs is None else epochs
        whole("epochs", trained)
        return (Stage(int(trials), int(trained)),)
    if max_trials is not None or epochs is not None:
        given = "max_trials" if max_trials is not None else "epochs"
        raise ValueError(
            f"`{given}` and `stages` cannot be given together: each stage has its own "
            f"number of trials and epochs. Received: {given}="
            f"{max_trials if max_trials is not None else epochs!r}, stages={stages!r}"
        )
    if isinstance(stages, str) or not isinstance(stages, Sequence) or not stages:
        raise wrong(
            "stages", "a list of at least one Stage or (trials, epochs)", stages
        )
    made = tuple(_stage(stage) for stage in stages)
    for before, after in itertools.pairwise(made):
        if after.epochs < before.epochs:
            raise ValueError(
                "`stages` must not train for fewer epochs than the stages before them: "
                "the best trials are taken over. Received: epochs="
                f"{[stage.epochs for stage in made]}"
            )
    return made


def _stage(given: Any) -> Stage:
    if isinstance(given, Stage):
        return given
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(
            "A stage must be a Stage or (trials, epochs), such as (20, 1). Received: "
            f"{given!r}"
        )
    return Stage(*given)
