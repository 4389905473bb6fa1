"""A function of several arrays, and its slopes along directions of one of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keras_babysit.checks.derivatives.differences import (
    Precision,
    Slope,
    compare,
    nudged,
    precision_of,
    rms,
    settled,
)

#: Points at which a comparison that fails is tried.
_POINTS = 3

Values = list[np.ndarray]


@dataclass(frozen=True)
class Point:
    """Where the function is looked at.

    Attributes:
        values: the arrays.
        parts: the values of the function there: float array, one for each part.
        gradients: of each part, those of all arrays.
    """

    values: Values
    parts: np.ndarray
    gradients: Sequence[Values]


class Function:
    """A function in one or more parts, which comes with a gradient to be compared.

    Args:
        derive: from the arrays to the parts and their gradients, as in `Point`.
        evaluate: from the arrays to the parts only.
        values: where to look.
        random: for directions, and for points aside.
        eps: of the number format in which it is said to be computed.
        allowed: from arrays aside to those that they may be.

    Attributes:
        points: those looked at so far.
        precisions: how well each part is computed.
        evaluations: how often the parts were computed without gradients.
    """

    def __init__(
        self,
        derive: Callable[[Values], tuple[np.ndarray, Sequence[Values]]],
        evaluate: Callable[[Values], np.ndarray],
        values: Values,
        random: np.random.Generator,
        eps: float,
        allowed: Callable[[Values], Values] = lambda values: values,
    ):
        self._derive, self._evaluate, self._allowed = derive, evaluate, allowed
        self._random = random
        self.evaluations = 0
        self.points = [Point(values, *derive(values))]
        self.precisions = self._measured(eps)

    @property
    def coarse(self) -> bool:
        """Whether some part is computed in less than float64."""
        return any(precision.coarse for precision in self.precisions)

    def slopes(self, k: int, way: np.ndarray) -> list[Slope]:
        """Compares the slope of each part along a direction of the k-th array."""
        known: dict[tuple[int, float], np.ndarray] = {}
        return [
            settled(self._attempts(k, way, part, known))
            for part in range(len(self.precisions))
        ]

    def _measured(self, eps: float) -> list[Precision]:
        """How well each part is computed, along two ways of all arrays at once."""
        here = self.points[0]
        lines = []
        for _ in range(2):
            ways = [
                (rms(v) or 0.1) * self._random.choice([-1.0, 1.0], v.shape)
                for v in here.values
            ]
            lines.append(functools.cache(functools.partial(self._everywhere, ways)))
        found = []
        for part, gradients in enumerate(here.gradients):
            scale = sum(
                float(np.linalg.norm(g) * np.linalg.norm(v))
                for g, v in zip(gradients, here.values, strict=True)
            )
            of_part = [lambda t, f=f, part=part: float(f(t)[part]) for f in lines]
            found.append(precision_of(of_part, float(here.parts[part]), scale, eps))
        return found

    def _everywhere(self, ways: Values, t: float) -> np.ndarray:
        here = self.points[0].values
        return self._at([v + t * way for v, way in zip(here, ways, strict=True)])

    def _at(self, values: Values) -> np.ndarray:
        self.evaluations += 1
        return self._evaluate(values)

    def _attempts(
        self, k: int, way: np.ndarray, part: int, known: dict
    ) -> Iterator[Slope]:
        for index in range(_POINTS):
            if index == len(self.points):
                self.points.append(self._aside())
            point = self.points[index]
            if index and not np.isfinite(point.parts).all():
                return

            def line(t: float, index: int = index, point: Point = point) -> float:
                if t == 0.0:
                    return float(point.parts[part])
                if (index, t) not in known:
                    moved = list(point.values)
                    moved[k] = moved[k] + t * way
                    known[index, t] = self._at(moved)
                return float(known[index, t][part])

            given = float(np.sum(point.gradients[part][k] * way))
            yield compare(line, given, self.precisions[part])

    def _aside(self) -> Point:
        share = 0.1 if self.coarse else 1e-3
        here = self.points[0].values
        values = self._allowed([nudged(v, self._random, share) for v in here])
        return Point(values, *self._derive(values))
