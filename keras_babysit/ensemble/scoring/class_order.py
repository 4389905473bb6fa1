"""Whether a member's classes are in another order than the labels'."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_babysit.ensemble.scoring import metrics

#: A class needs so many samples before its confusion says something.
_SAMPLES = 5
#: How many standard deviations above luck the gain must be.
_SIGMAS = 4.0
#: Classes that are named; more are counted.
_NAMED = 3


def another_order(probabilities: Any, labels: Any, *, kind: str | None = None) -> str:
    """Says whether a member would be right far more often with its classes reordered.

    For each class that it predicts, the label that these samples have most often is
    taken. If that is one order of all of the classes, and another one than it has, and
    less than half of the errors would be left, by more than luck, it is reported.

    It cannot see more than that: a member that is bad for another reason, or classes
    that the data hold too few samples of (fewer than 5 predicted), say nothing.

    The arguments are those of all scores, see `metrics`. Returns a sentence; empty if
    there is no such order.
    """
    p, y = metrics.checked(probabilities, labels, kind)
    classes = p.shape[1]
    predicted = p.argmax(1)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (predicted, y), 1)
    most = counts.argmax(1)
    # Classes that are hardly predicted keep their place.
    rare = counts.sum(1) < _SAMPLES
    most[rare] = np.flatnonzero(rare)
    moved = np.flatnonzero(most != np.arange(classes))
    if not len(moved) or len(set(most.tolist())) != classes:
        return ""
    was, would = predicted == y, most[predicted] == y
    before, after = 1 - float(was.mean()), 1 - float(would.mean())
    changed = np.count_nonzero(was != would)
    # McNemar's test: luck makes as many samples right as it makes wrong.
    gained = int(would.sum()) - int(was.sum())
    if after >= before / 2 or gained < _SIGMAS * np.sqrt(changed):
        return ""
    named = ", ".join(f"{a} for {most[a]}" for a in moved[:_NAMED])
    more = f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
    return (
        "its classes are likely in another order than the labels'. With "
        f"{named}{more}, its error would be {100 * after:.1f} % instead of "
        f"{100 * before:.1f} %."
    )
