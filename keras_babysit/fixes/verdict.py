"""Compares trainings with a change to those without, seed by seed.

A change helps if it does so for every seed, by at least `LEAST` of the way from chance
to perfect predictions, and by at least `SIGMAS` standard errors of the mean difference,
which count the few samples held out as if the two trainings had been judged by
different ones. `docs/fixes.md` says how often that is wrong by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_babysit.fixes.bench import Run

#: Smallest difference that counts, as a share of the way from chance to perfect.
LEAST = 0.1
#: And in standard errors of the mean difference.
SIGMAS = 3.0
#: Changes after which the loss is another quantity.
NEW_LOSS = ("output", "scale_targets", "labels_from_zero", "labels_as_signs")


def gains(base: Sequence[Run], other: Sequence[Run], by_loss: bool) -> np.ndarray:
    """Returns the difference for each seed that both have: float array `(seeds,)`.

    What cannot be trained at all is as good as chance.
    """
    pairs = [(a, b) for a, b in zip(base, other, strict=False) if b.steps]
    return np.array([goodness(b, by_loss) - goodness(a, by_loss) for a, b in pairs])


def goodness(run: Run, by_loss: bool = False) -> float:
    """How good a training was: the share of its score, or of the loss that it took."""
    if not run.steps:
        return 0.0
    if not by_loss and run.held is not None:
        return run.held.share
    return run.fall


def verdict(
    base: Sequence[Run], other: Sequence[Run], seeds: int, by_loss: bool = False
) -> str:
    """Returns `"better"`, `"worse"`, `"no difference"` or `"not finished"`.

    Args:
        base: a run for each seed, as it is.
        other: a run for each of the same seeds, with the change.
        seeds: how many seeds it takes to be sure.
        by_loss: whether only the loss can tell.
    """
    found = gains(base, other, by_loss)
    if not len(found):
        return "not finished"
    mean, bound = float(found.mean()), limit(base, other, by_loss)
    if abs(mean) < bound:
        return "no difference"
    if mean < 0:
        return "worse" if (found < 0).all() else "no difference"
    if not (found > 0).all():
        return "no difference"
    return "better" if len(found) >= seeds else "not finished"


def limit(base: Sequence[Run], other: Sequence[Run], by_loss: bool = False) -> float:
    """Returns the smallest mean difference that is no accident."""
    pairs = [pair for pair in zip(base, other, strict=False) if pair[1].steps]
    errors = [
        sum(run.held.error**2 for run in pair if run.held is not None) for pair in pairs
    ]
    if by_loss or not errors:
        return LEAST
    return max(LEAST, SIGMAS * math.sqrt(sum(errors)) / len(errors))
