"""The gradient of every weight of a model, compared with centred differences."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_babysit.checks.derivatives.differences import (
    Precision,
    Slope,
    direction,
    ratio,
    rms,
    spelled,
)
from keras_babysit.checks.derivatives.function import Function, Point
from keras_babysit.checks.derivatives.twin import Twin
from keras_babysit.document.progress_line import Progress

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
        kinks: how many of them met a kink, and agreed nearby.
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
                constrained(variable, value - _STEP * (rms(value) or 1.0) * _unit(move))
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


def _unit(move: Any) -> Any:
    size = rms(np.asarray(move))
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
    function = _function_of(twin, random)
    here = function.points[0]
    chosen = [k for k in range(len(twin.variables)) if k not in skip]
    rounds = {k: _directions(here, k, coordinates, random) for k in chosen}
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
                for part, slope in enumerate(function.slopes(k, rounds[k][which]())):
                    tally.slopes.setdefault(part, []).append(slope)
            tally.compared += 1
    twin.move(here.values)
    return Comparison(
        tuple(
            _concluded(twin.variables[k], tallies.get(k, _Tally()), function.precisions)
            for k in range(len(twin.variables))
        ),
        wanted=wanted,
        coarse=function.coarse,
        evaluations=function.evaluations,
        left_out=tuple(
            twin.variables[k].path
            for k in chosen
            if rounds[k] and not tallies[k].compared
        ),
    )


def _function_of(twin: Twin, random: np.random.Generator) -> Function:
    """The parts of the loss as a function of the weights."""

    def derive(values: list[np.ndarray]) -> tuple:
        twin.move(values)
        return twin.gradients()

    def evaluate(values: list[np.ndarray]) -> np.ndarray:
        twin.move(values)
        return twin.losses()

    def allowed(values: list[np.ndarray]) -> list[np.ndarray]:
        return list(map(constrained, twin.variables, values))

    return Function(derive, evaluate, twin.values, random, twin.eps, allowed)


def _directions(
    point: Point, k: int, coordinates: int, random: np.random.Generator
) -> list[Callable[[], np.ndarray]]:
    """Returns what makes the directions of a weight, lazily."""
    shape = point.values[k].shape
    size = math.prod(shape)
    if not size:
        return []
    if size == 1:
        return [lambda: np.ones(shape)]
    gradient = sum(np.abs(part[k]).ravel() for part in point.gradients)
    many = min((coordinates + 1) // 2, size)
    picked = list(np.argpartition(gradient, size - many)[size - many :])
    others = random.permutation(min(size, 10_000)) * max(size // 10_000, 1)
    picked += [i for i in others if i not in picked][: coordinates - len(picked)]

    def unit(index: int) -> np.ndarray:
        way = np.zeros(size)
        way[index] = 1.0
        return way.reshape(shape)

    return [
        functools.partial(direction, shape, random),
        *(functools.partial(unit, int(i)) for i in picked),
    ]


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
