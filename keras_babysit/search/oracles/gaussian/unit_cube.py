"""Values of hyperparameters as points of a unit cube, and the best point in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_babysit.search.space import scales

#: Integers that have more values than this count as dense.
_DENSE = 100
#: Points drawn at random; drawn around each good one; good ones.
_DRAWN, _AROUND, _BEST = 1000, 50, 5
#: How far the points around lie, one after the other.
_NEARNESS = (0.1, 0.03, 0.01, 0.003, 0.001)
#: How often a value that has no neighbours is redrawn.
_REDRAWN = 0.2


class UnitCube:
    """Where the values of a space lie: each hyperparameter on its own scale, 0 to 1.

    Of a hyperparameter with few values only their places count. Where they have no
    order, as those of a `Choice` of words, each has a column of its own: 0 where it is
    not taken, and such that any two of them have the distance 1.

    Args:
        space: hyperparameters that are not fixed.
    """

    def __init__(self, space: Sequence[Any]):
        self._space = space
        # How many values there are; 0 for a range.
        self._counts = [_count(hp) for hp in space]
        self._ordered = [_has_order(hp) for hp in space]
        sizes = [
            1 if ordered else count
            for ordered, count in zip(self._ordered, self._counts, strict=True)
        ]
        self.groups = np.repeat(np.arange(len(space)), sizes)

    def columns(self, points: np.ndarray) -> np.ndarray:
        """Returns the columns that distances are measured in.

        Args:
            points: shape `(n, hyperparameters)`.
        """
        made = []
        for place, count, ordered in zip(
            points.T, self._counts, self._ordered, strict=True
        ):
            index = np.clip(np.floor(place * max(count, 1)), 0, max(count - 1, 0))
            if not ordered:
                made.append((index[:, None] == np.arange(count)) / np.sqrt(2))
            elif count:
                made.append(((index + 0.5) / count)[:, None])
            else:
                made.append(place[:, None])
        return np.concatenate(made, axis=1)

    def ranked(
        self,
        worth: Callable[[np.ndarray], np.ndarray],
        known: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Returns points worth trying, best first: drawn, and then drawn around them.

        Args:
            worth: from columns to what each row is worth.
            known: good points, shape `(m, hyperparameters)`.
            rng: where they are drawn from.
        """
        points = np.concatenate([known, rng.random((_DRAWN, len(self._space)))])
        values = worth(self.columns(points))
        for nearness in _NEARNESS:
            best = np.argsort(-values, kind="stable")[:_BEST]
            around = self._around(points[best], nearness, rng)
            points = np.concatenate([points, around])
            values = np.concatenate([values, worth(self.columns(around))])
        return points[np.argsort(-values, kind="stable")]

    def _around(
        self, points: np.ndarray, nearness: float, rng: np.random.Generator
    ) -> np.ndarray:
        around = np.repeat(points, _AROUND, axis=0)
        moved = around + nearness * rng.normal(size=around.shape)
        # In many dimensions a step in all of them rarely leads to a better point.
        moved = np.where(rng.random(around.shape) < 0.5, moved, around)
        anew = rng.random(around.shape) < _REDRAWN
        anew &= np.array(self._counts) > 0
        # KerasTuner (1.4.8) makes a value past the end of a place at 1.
        places = np.where(anew, rng.random(around.shape), moved)
        return np.clip(places, 0.0, 1 - 1e-9)


def _has_order(hp: Any) -> bool:
    if isinstance(hp, scales.types.Boolean):
        return False
    return not isinstance(hp, scales.types.Choice) or bool(hp.ordered)


def _count(hp: Any) -> int:
    if not _has_order(hp):
        return len(hp.values)
    points = scales.points(hp)
    return len(points) if points is not None and len(points) <= _DENSE else 0
