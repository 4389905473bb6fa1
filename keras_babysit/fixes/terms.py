"""How fixes are tried out: the arguments that all ways to do so share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_babysit.errors import positive, whole, wrong
from keras_babysit.records import Fix

#: Samples that are trained on and judged by, at most.
SAMPLES = 1024


@dataclass(frozen=True)
class Terms:
    """How fixes are tried out.

    Attributes:
        batch_size: samples of an update.
        shuffled: whether `fit` shuffles the samples.
        steps: updates of a training.
        seeds: trainings of each change that may be the answer.
        seconds: time for all of them.
        redrawn: whether the model has been trained, so that its weights are redrawn.
    """

    batch_size: int = 32
    shuffled: bool = True
    steps: int = 150
    seeds: int = 3
    seconds: float = 60.0
    redrawn: bool = False


def check_fixes(fixes: Any) -> Sequence[Fix]:
    """Returns a list of changes.

    Raises:
        ValueError: if it is none.
    """
    several = isinstance(fixes, list | tuple)
    if not several or not all(isinstance(fix, Fix) for fix in fixes):
        raise wrong(
            "fixes", "a list of changes made by `keras_babysit.rules.fixes`", fixes
        )
    return fixes


def terms(batch_size: Any, shuffle: Any, steps: Any, seeds: Any, seconds: Any) -> Terms:
    """Returns checked terms.

    Raises:
        ValueError: for what is out of range.
    """
    if not isinstance(shuffle, bool):
        raise wrong("shuffle", "True or False", shuffle)
    return Terms(
        batch_size=whole("batch_size", batch_size),
        shuffled=shuffle,
        steps=whole("steps", steps, 20),
        seeds=whole("seeds", seeds),
        seconds=positive("seconds", seconds),
    )
