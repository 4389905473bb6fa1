"""What a search was asked for, and what may come next in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np

from keras_babysit.search.oracles.stages import Stage
from keras_babysit.search.trials import Objective, Trial


@dataclass(frozen=True)
class Plan:
    """What a search was asked for.

    Attributes:
        objective: what is searched for.
        stages: one after the other.
        method: of the stages that have none of their own.
        seed: a non-negative integer.
        space: what the hypermodel asks for.
        directory: folder of the search.
        repeat_top: how many of the best are repeated at the end,
        repeats: and how often each.
        widen: whether ranges may grow past those of `space`,
        limits: and how far, by name.
        tune_new_entries: whether what trials ask for on their way is searched too.
    """

    objective: Objective
    stages: tuple[Stage, ...]
    method: Any
    seed: int
    space: keras_tuner.HyperParameters
    directory: Path
    repeat_top: int = 0
    repeats: int = 3
    widen: bool = False
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tune_new_entries: bool = True

    def method_of(self, stage: int) -> Any:
        """Returns the method of a stage."""
        own = self.stages[stage].method
        return self.method if own is None else own


@dataclass(frozen=True)
class NextStage:
    """A stage is to begin.

    Attributes:
        index: of the stage, from 0.
        space: `HyperParameters.get_config()`.
        promoted: numbers of the trials that it takes over, best first.
        findings: on the borders of the stage before; on scales, of the first one.
    """

    index: int
    space: Mapping[str, Any]
    promoted: tuple[int, ...] = ()
    findings: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Wait:
    """Nothing can be said until a trial has ended."""


@dataclass(frozen=True)
class End:
    """The search is to end.

    Attributes:
        findings: on the borders of the last stage.
        verdict: whether the winner is one by merit; `""` without repeats.
    """

    findings: tuple[Mapping[str, Any], ...] = ()
    verdict: str = ""


#: What may come next; a trial is to begin.
Step = NextStage | Trial | Wait | End


def seed_of(*numbers: int) -> int:
    """Returns a positive seed below 2**31 that follows from some numbers."""
    word = np.random.SeedSequence(numbers).generate_state(1)[0]
    return max(1, int(word) >> 1)
