"""What it means how well a few samples could be learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_babysit.checks.fitting.attempt import NEAR, Attempt, Goal
from keras_babysit.checks.losses.loss_floor import Target
from keras_babysit.rules.evidence.phrases import number, percent

#: Shares of the way from chance to the floor.
_HALF, _MOVED, _STILL = 0.5, 0.1, 0.02
#: Share that contradictions may take away before it is worth a warning.
_CONFLICT = 0.05
#: A loss below zero by less is rounding.
_ROUNDING = 1e-6
#: What to do if no rule knows better.
_LAST_RESORT = (
    "check that the output's activation function and the loss belong together and "
    "that every layer is on the way from the inputs to the loss"
)
_OTHERS = (
    "run `keras_babysit.gradient_check`, if a layer or the loss is your own",
    "make the layers wider, if they are very narrow",
)


@dataclass(frozen=True)
class Told:
    """A verdict as of a `CheckResult`, and whether it stands whatever rules find."""

    verdict: str
    summary: str
    action: str = ""
    alternatives: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    certain: bool = False

    @property
    def ok(self) -> bool:
        """Whether there is nothing to ask the rules about."""
        return self.verdict not in ("worrying", "failed")


def furthest(attempts: Sequence[Attempt]) -> Attempt | None:
    """Returns the attempt that worked, or else came furthest."""
    return max(attempts, key=lambda a: (a.worked, _orderly(a.share)), default=None)


def _orderly(x: float) -> float:
    return x if math.isfinite(x) else -math.inf


def judged(
    n: int,
    goal: Goal,
    attempts: Sequence[Attempt],
    scheduled: bool = False,
    parameters: int | None = None,
) -> Told:
    """Returns the verdict; without attempts, if there was no point in any."""
    best = furthest(attempts)
    if best is None:
        return _not_tried(n, goal)
    if best.problem:
        return _no_step(best)
    if not best.worked:
        return _unlearnt(n, goal, best, attempts, parameters)
    summary = f"{_many(n)} memorized: {_way(best)}"
    targets = [target for _, target in goal.targets]
    negative = best.loss < -_ROUNDING and not all(t.facts.standard for t in targets)
    farthest = max(map(_beyond, targets), default=0.0) if negative else 0.0
    if farthest:
        return _out_of_range(farthest, summary)
    own = attempts[0]
    if best is not own:
        return _other_rate(n, own, best, scheduled)
    if goal.conflict > _CONFLICT:
        return _conflicting(goal, summary)
    below = "The loss falls below 0: right for a likelihood, wrong for an error"
    notes = (_same_inputs(goal) if goal.conflicting else "", below * negative)
    return Told("passed", summary, notes=tuple(filter(None, notes)))


def _beyond(target: Target) -> float:
    """The farthest target that an output between 0 and 1 cannot be; 0 if none is."""
    y, outputs = np.asarray(target.y, float), target.y_pred
    bounded = target.activation in ("sigmoid", "softmax", "hard_sigmoid") or (
        target.activation is None and outputs.min() >= 0 and outputs.max() <= 1
    )
    if not bounded or y.size != outputs.size or (y.min() >= 0 and y.max() <= 1):
        return 0.0
    return float(np.abs(y).max())


def _out_of_range(farthest: float, summary: str) -> Told:
    return Told(
        "worrying",
        f"{summary}. But the loss falls below 0: the outputs are between 0 and 1, and "
        f"the targets go as far as {number(farthest)}",
        "scale the targets into the range of the outputs, such as masks of 0 and 255 "
        "by `y / 255`",
        certain=True,
    )


def _not_tried(n: int, goal: Goal) -> Told:
    if goal.hopeless:
        return Told(
            "failed",
            f"nothing can be learned from {_many(n, were=False)}: "
            f"{_same_inputs(goal)}, "
            f"so that no model can get the loss below {_number(goal.floor)}, as by "
            "chance",
            "look at how inputs and targets are put together: they likely do not "
            "match, or what tells the samples apart is missing from the inputs",
            certain=True,
        )
    return Told(
        "failed",
        "no weight of the model can be trained",
        "set `trainable = True` for the layers that should learn, and compile again",
        certain=True,
    )


def _no_step(attempt: Attempt) -> Told:
    if "reports no" in attempt.problem:
        return Told("skipped", f"cannot be judged: {attempt.problem}")
    return Told(
        "failed",
        f"nothing can be learned: {attempt.problem}",
        "look for what cuts the loss off from the weights, such as `argmax`, rounding, "
        "a cast to integers, or `stop_gradient`",
        certain=True,
    )


def _unlearnt(
    n: int,
    goal: Goal,
    best: Attempt,
    attempts: Sequence[Attempt],
    parameters: int | None,
) -> Told:
    way = _way(best)
    notes = []
    if len(attempts) > 1:
        rates = ", ".join(number(a.rate) for a in attempts)
        notes.append(f"Learning rates tried: {rates}")
    if goal.conflicting:
        notes.append(_same_inputs(goal))
    share = _orderly(best.share)
    if any(attempt.late for attempt in attempts):
        falling = ", and it was still falling" if best.falling else ""
        return _not_finished(f"{way}{falling}", tuple(notes))
    moved = _orderly(best.moved) > _MOVED
    if moved and parameters is not None and parameters < goal.values:
        return Told(
            "skipped",
            f"cannot be judged: {parameters} trainable weights are too few to "
            f"memorize {goal.values} values; {way}",
            "ask with a smaller `n`",
            notes=tuple(notes),
        )
    if moved and not goal.certain:
        return Told(
            "skipped",
            f"cannot be judged, as it is not known how small this loss can get: {way}",
            notes=tuple(notes),
        )
    if share >= NEAR and not best.accurate:
        return Told(
            "failed",
            f"the loss on {_many(n, were=False)} gets to its floor, but the "
            f"predictions are wrong: {way}. The loss is not computed from what the "
            "model outputs",
            _LAST_RESORT,
            _OTHERS,
            tuple(notes),
        )
    bad = share < _HALF
    how = "cannot be memorized" if bad else "were not quite memorized"
    return Told(
        "failed" if bad else "worrying",
        f"{_many(n, were=False)} {how}: {way}",
        _LAST_RESORT,
        _OTHERS,
        tuple(notes),
    )


def _other_rate(n: int, own: Attempt, best: Attempt, scheduled: bool) -> Told:
    share = _orderly(own.moved)
    rates = f"{number(best.rate)} instead of {number(own.rate)}"
    note = (
        f"With the optimizer's own learning rate of {number(own.rate)}, {_way(own)}; "
        f"{_many(n)} learned with {number(best.rate)}"
    )
    faster = best.rate > own.rate
    fine = share >= (_MOVED if faster else _HALF)
    if fine or (scheduled and not faster):
        summary = f"{_many(n)} memorized: {_way(best)}"
        return Told("passed", summary, notes=(note,))
    if own.late:
        return _not_finished(
            f"with a learning rate of {number(best.rate)}, {_way(best)}; with the "
            f"optimizer's own {number(own.rate)}, {_way(own)}"
        )
    worrying = faster and share >= _STILL
    what = "low" if faster else "high"
    return Told(
        "worrying" if worrying else "failed",
        f"the learning rate is too {what} to learn {_many(n, were=False)}: with "
        f"{number(own.rate)}, {_way(own)}; with {number(best.rate)}, {_way(best)}",
        f"set the learning rate to {rates}",
        ("ask `keras_babysit.find_learning_rate`",),
        certain=True,
    )


def _not_finished(so_far: str, notes: tuple[str, ...] = ()) -> Told:
    return Told(
        "not finished",
        f"there was not enough time to tell: {so_far}",
        "give it more time with `seconds=`",
        notes=notes,
    )


def _conflicting(goal: Goal, summary: str) -> Told:
    return Told(
        "worrying",
        f"{summary}. But {_same_inputs(goal)}, which takes away "
        f"{percent(goal.conflict)} of what could be learned",
        "look at samples with the same inputs and other targets: labels may be wrong, "
        "or what tells the samples apart may be missing from the inputs",
        certain=True,
    )


def _same_inputs(goal: Goal) -> str:
    return (
        f"{goal.conflicting} samples have the same inputs as others with other targets"
    )


def _way(attempt: Attempt) -> str:
    """How far it came, in words."""
    steps = len(attempt.losses)
    text = (
        f"the loss went from {_number(attempt.start)} to {_number(attempt.loss)} in "
        f"{steps} {'step' if steps == 1 else 'steps'}"
    )
    floor = attempt.goal.floor
    if floor is not None:
        text += f" (smallest possible: {_number(floor)})"
    if attempt.accuracy is not None:
        got, best = attempt.accuracy
        text += f", the accuracy is {percent(got)}"
        if best < 1:
            text += f" of at most {percent(best)}"
    return text


def _number(x: float | None) -> str:
    if x is None:
        return "an unknown value"
    return number(0.0 if abs(x) < 1e-6 else x)


def _many(n: int, were: bool = True) -> str:
    if n == 1:
        return "1 sample was" if were else "1 sample"
    return f"{n} samples were" if were else f"{n} samples"


def evidence(goal: Goal, best: Attempt | None) -> dict[str, Any]:
    """Returns the numbers behind a verdict."""
    found: dict[str, Any] = {
        "floor": goal.floor,
        "chance": goal.chance,
        "conflicting": goal.conflicting,
    }
    if best is not None:
        accuracy = best.accuracy or (None, None)
        found |= {
            "loss_at_start": best.start,
            "loss": best.loss,
            "share": best.share,
            "accuracy": accuracy[0],
            "best_accuracy": accuracy[1],
            "steps": len(best.losses),
            "learning_rate": best.rate,
        }
    return found


def table(attempts: Sequence[Attempt]) -> tuple[dict[str, str], ...]:
    """Returns a row for each learning rate, if there was more than one."""
    if len(attempts) < 2:
        return ()
    return tuple(
        {
            "learning rate": number(a.rate),
            "steps": str(len(a.losses)),
            "loss": _number(a.loss),
            "accuracy": percent(a.accuracy[0]) if a.accuracy else "",
            "": "learned" if a.worked else "",
        }
        for a in attempts
    )
