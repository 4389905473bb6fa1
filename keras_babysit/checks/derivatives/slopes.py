"""The gradient of every weight of a model, compared with centred differences."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_babysit.checks.derivatives.differences import (
    Precision,
    Slope,
    compare,
    direction,
    nudged,
    precision_of,
    ratio,
    settled,
    spelled,
)
from keras_babysit.checks.derivatives.twin import Twin
from keras_babysit.document.progress_line import Progress

#: Points at which a comparison that fails is tried.
_POINTS = 3
#: Length of a step of the burn-in, as a share of a weight's own size.
_STEP = 0.01
#: Comparisons of one weight that may fail before the others are spared.
_ENOUGH = 3


@dataclass(frozen=True)
class VariableGradient:
    """How the gradient of one weight compares with centred differences.

    Attributes:
        path: of the variable.
        shape: its shape.
        error: the largest relative error of the data loss's gradient, of what could
            be compared.
        regularization_error: the same of what layers add to the loss: penalties of
            weights and activations, `add_loss`.
        compared: how many directions and coordinates were.
        kinks: how many of them met a kink, and agreed a little aside.
        too_small: how many had values too small for the number format.
        zero: whether all were zero, by the gradient and by the differences.
        how: what is wrong: `"wrong sign"`, `"zero"`, `"2 × the true one"`, or only
            `"wrong"`; empty if nothing is.
        verdict: `"passed"`, `"worrying"`, `"failed"`, or `"skipped"`.
    """

    path: str
    shape: tuple[int, ...]
    error: float = 0.0
    regularization_error: float = 0.0
    compared: int = 0
    kinks: int = 0
    too_small: int = 0
    zero: bool = False
    how: str = ""
    verdict: str = "skipped"


@dataclass(frozen=True)
class Comparison:
    """All weights' comparisons.

    Attributes:
        variables: of each weight.
        wanted: how many directions and coordinates there were to compare.
        coarse: whether some part is computed in less than float64.
        evaluations: how often the loss was computed.
        left_out: paths of weights for which there was no time.
    """

    variables: tuple[VariableGradient, ...]
    wanted: int
    coarse: bool
    evaluations: int
    left_out: tuple[str, ...] = ()


@dataclass
class _Point:
    values: list[np.ndarray]
    losses: np.ndarray
    gradients: list[list[np.ndarray]]


@dataclass
class _Tally:
    slopes: dict[int, list[Slope]] = field(default_factory=dict)
    compared: int = 0

    def failures(self) -> int:
        return sum(
            slope.state == "different"
            for part in self.slopes.values()
            for slope in part
        )


def burnt_in(twin: Twin, steps: int) -> None:
    """Takes a few small steps downhill, on the twin.

    At their initial values weights are where no training stays: biases exactly at
    zero, and with them ReLUs exactly at their corners (CS231n: "Be careful with the
    initial gradient check").
    """
    for _ in range(steps):
        before = twin.values
        _, parts = twin.gradients()
        if not all(np.isfinite(g).all() for part in parts for g in part):
            return
        moves = [sum(part[k] for part in parts) for k in range(len(before))]
        twin.move(
            [
                constrained(variable, value - _STEP * _size(value) * _unit(move))
                for variable, value, move in zip(
                    twin.variables, before, moves, strict=True
                )
            ]
        )
        if not np.isfinite(twin.losses()).all():
            twin.move(before)
            return


def constrained(variable: Any, value: np.ndarray) -> np.ndarray:
    """Returns the value that training would give a variable for this one."""
    constraint = getattr(variable, "constraint", None)
    if constraint is None:
        return value
    tensor = keras.ops.convert_to_tensor(value)
    return np.array(keras.ops.convert_to_numpy(constraint(tensor)), value.dtype)


def _size(value: np.ndarray) -> float:
    return float(np.sqrt(np.mean(value**2))) or 1.0 if value.size else 1.0


def _unit(move: Any) -> Any:
    size = float(np.sqrt(np.mean(np.square(move)))) if np.size(move) else 0.0
    return move / size if size else move


def compare_gradients(
    twin: Twin,
    skip: frozenset[int],
    coordinates: int,
    random: np.random.Generator,
    seconds: float,
    tell: Progress,
) -> Comparison:
    """Compares the gradients of the weights at the twin's point.

    First a random direction of each weight, which no coordinate is left out of; then
    single coordinates, those with the largest gradient and some at random, a round
    over all weights each, for as long as there is time.
    """
    until = time.perf_counter() + seconds
    line = _Lines(twin, random)
    chosen = [k for k in range(len(twin.variables)) if k not in skip]
    rounds = {k: line.directions(k, coordinates) for k in chosen}
    wanted = sum(map(len, rounds.values()))
    tallies = {k: _Tally() for k in chosen}
    done = 0
    for which in range(1 + coordinates):
        for k in chosen:
            if which >= len(rounds[k]):
                continue
            if time.perf_counter() > until:
                break
            tell(done / wanted, twin.variables[k].path)
            done += 1
            tally = tallies[k]
            if tally.failures() < _ENOUGH:
                line.settle(k, rounds[k][which](), tally)
            tally.compared += 1
    twin.move(line.points[0].values)
    return Comparison(
        tuple(
            _concluded(twin.variables[k], tallies.get(k, _Tally()), line.precisions)
            for k in range(len(twin.variables))
        ),
        wanted=wanted,
        coarse=any(p.coarse for p in line.precisions),
        evaluations=line.evaluations,
        left_out=tuple(
            twin.variables[k].path
            for k in chosen
            if rounds[k] and not tallies[k].compared
        ),
    )


class _Lines:
    """The losses along directions of single weights."""

    def __init__(self, twin: Twin, random: np.random.Generator):
        self.twin = twin
        self.random = random
        self.evaluations = 0
        self.points = [self._point(twin.values)]
        self._now = 0
        self.precisions = self._measured()

    def _point(self, values: list[np.ndarray]) -> _Point:
        self.twin.move(values)
        losses, gradients = self.twin.gradients()
        return _Point(values, losses, gradients)

    def _measured(self) -> list[Precision]:
        """How well each part is computed, along two ways of all weights at once."""
        here = self.points[0]
        lines = []
        for _ in range(2):
            ways = [
                0.1 * np.ones_like(v) * self.random.choice([-1.0, 1.0], v.shape)
                if not v.any()
                else _size(v) * self.random.choice([-1.0, 1.0], v.shape)
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
            value = float(here.losses[part])
            found.append(precision_of(of_part, value, scale, self.twin.eps))
        self.twin.move(here.values)
        return found

    def _everywhere(self, ways: list[np.ndarray], t: float) -> np.ndarray:
        here = self.points[0].values
        self.twin.move([v + t * way for v, way in zip(here, ways, strict=True)])
        self.evaluations += 1
        return self.twin.losses()

    def directions(self, k: int, coordinates: int) -> list[Callable[[], np.ndarray]]:
        """Returns what makes the directions of a weight, lazily."""
        shape = self.twin.values[k].shape
        size = math.prod(shape)
        if not size:
            return []
        if size == 1:
            return [lambda: np.ones(shape)]
        gradient = sum(np.abs(part[k]).ravel() for part in self.points[0].gradients)
        many = min((coordinates + 1) // 2, size)
        picked = list(np.argpartition(gradient, size - many)[size - many :])
        others = self.random.permutation(min(size, 10_000)) * max(size // 10_000, 1)
        picked += [i for i in others if i not in picked][: coordinates - len(picked)]

        def unit(index: int) -> np.ndarray:
            way = np.zeros(size)
            way[index] = 1.0
            return way.reshape(shape)

        return [
            functools.partial(direction, shape, self.random),
            *(functools.partial(unit, int(i)) for i in picked),
        ]

    def settle(self, k: int, way: np.ndarray, tally: _Tally) -> None:
        """Compares the slopes of each part of the loss along one direction."""
        known: dict[tuple[int, float], np.ndarray] = {}
        for part in range(len(self.precisions)):
            slope = settled(self._attempts(k, way, part, known))
            tally.slopes.setdefault(part, []).append(slope)

    def _attempts(
        self, k: int, way: np.ndarray, part: int, known: dict
    ) -> Iterator[Slope]:
        for index in range(_POINTS):
            point = self._go(index)
            if not np.isfinite(point.losses).all():
                return

            def line(t: float, index: int = index, point: _Point = point) -> float:
                if (index, t) not in known:
                    known[index, t] = self._losses(point, k, way, t)
                return float(known[index, t][part])

            given = float(np.sum(point.gradients[part][k] * way))
            yield compare(line, given, self.precisions[part])

    def _losses(self, point: _Point, k: int, way: np.ndarray, t: float) -> np.ndarray:
        if t == 0.0:
            return point.losses
        self.evaluations += 1
        return self.twin.losses_with(k, point.values[k] + t * way)

    def _go(self, index: int) -> _Point:
        """Moves the weights to a point, made now if it was not needed before."""
        if index == len(self.points):
            share = 0.1 if any(p.coarse for p in self.precisions) else 1e-3
            values = [
                constrained(variable, nudged(value, self.random, share))
                for variable, value in zip(
                    self.twin.variables, self.points[0].values, strict=True
                )
            ]
            self.points.append(self._point(values))
        elif index != self._now:
            self.twin.move(self.points[index].values)
        self._now = index
        return self.points[index]


def _concluded(
    variable: Any, tally: _Tally, precisions: list[Precision]
) -> VariableGradient:
    every = [slope for part in tally.slopes.values() for slope in part]
    wrong = [slope for slope in every if slope.state == "different"]
    path, shape = variable.path, tuple(variable.shape)
    if not every:
        return VariableGradient(path, shape)
    verdict = "passed"
    for part, slopes in tally.slopes.items():
        if any(s.state == "different" for s in slopes) and verdict != "failed":
            certain = _error(slopes) > precisions[part].wrong
            verdict = "failed" if certain else "worrying"
    return VariableGradient(
        path=path,
        shape=shape,
        error=_error(tally.slopes.get(0, [])),
        regularization_error=_error(tally.slopes.get(1, [])),
        compared=tally.compared,
        kinks=sum(slope.state == "kink" for slope in every),
        too_small=sum(slope.state == "small" for slope in every),
        zero=all(slope.state == "zero" for slope in every),
        how=spelled(ratio(wrong)) if wrong else "",
        verdict=verdict,
    )


def _error(slopes: list[Slope]) -> float:
    return max(
        (s.error for s in slopes if s.state in ("equal", "different")), default=0
    )
