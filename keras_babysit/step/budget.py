"""Which steps are observed, and how: at a fixed distance, or within a budget.

There are two kinds of observation. A *light* one compares the weights before and after
the step and is nearly free; a *full* one also measures gradients and activations, which
takes a forward and a backward pass more.
"""

from __future__ import annotations

import math
import statistics as stats
from collections import deque
from dataclasses import dataclass

from keras_babysit.records import ObservationCost

LIGHT, FULL = "light", "full"
#: Durations that the medians are taken over.
_RECENT = 51
#: What a run may spend before it has earned anything: so many full observations, or
#: so many seconds, whichever is less.
ADVANCE_STEPS, ADVANCE_SECONDS = 20, 2.0
#: So many first steps, and so many in each doubling of the steps, are early ones.
_DENSE = 32
#: How many plain steps an observation is taken to add before one was measured.
_GUESS = 3
#: Share of what is earned that goes to full observations.
_SHARE = {FULL: 0.75, LIGHT: 0.25}


class StepTimes:
    """How long steps take, and what observing has added.

    The training's own time runs from one step's beginning to the next one's, without
    what we do in between, so that it covers the callbacks and the data.
    """

    def __init__(self) -> None:
        self._plain: deque[float] = deque(maxlen=_RECENT)
        self._own: dict[str, deque[float]] = {
            kind: deque(maxlen=_RECENT) for kind in (LIGHT, FULL)
        }
        self._first = True
        self.steps = 0
        self.observed = 0
        self.full = 0
        self.training_seconds = 0.0
        self.extra_seconds = 0.0
        self.build_seconds = 0.0
        self.spent = {LIGHT: 0.0, FULL: 0.0}

    def add(self, seconds: float, steps: int, own: float = 0.0) -> None:
        """Takes the duration of one execution of the training step.

        Args:
            seconds: how long it took.
            steps: how many steps it was (`steps_per_execution`).
            own: how much of it was ours.
        """
        self.steps += steps
        if self._first:
            self._first = False  # This one compiled the user's function.
            return
        self.training_seconds += max(seconds - own, 0.0)
        if not own:
            self._plain.append(seconds)

    def add_observation(self, kind: str, seconds: float, built: bool) -> None:
        """Takes what one observation has added.

        Args:
            kind: `LIGHT` or `FULL`.
            seconds: how much time.
            built: whether something was built in it, so that the next takes less.
        """
        self.observed += 1
        self.full += kind == FULL
        if built:
            self.build_seconds += seconds
            return
        self._own[kind].append(seconds)
        self.extra_seconds += seconds
        self.spent[kind] += seconds

    def add_extra(self, seconds: float) -> None:
        """Takes the duration of our own work between steps."""
        self.extra_seconds += seconds

    def add_once(self, seconds: float) -> None:
        """Takes the duration of our own work at the start of a run."""
        self.build_seconds += seconds

    @property
    def plain_seconds(self) -> float:
        """Median duration of a plain execution; NaN before there was one."""
        return stats.median(self._plain) if self._plain else math.nan

    def seconds_of(self, kind: str) -> float:
        """What one more observation adds; NaN if that is not known yet."""
        return stats.median(self._own[kind]) if self._own[kind] else math.nan

    def cost(
        self,
        every: int,
        unobserved: tuple[str, ...] = (),
        looked_at: str = ObservationCost.looked_at,
    ) -> ObservationCost:
        """Returns the figures so far."""
        own = self.seconds_of(FULL)
        return ObservationCost(
            steps=self.steps,
            observed=self.observed,
            plain_seconds=self.plain_seconds,
            observed_seconds=self.plain_seconds
            + (self.seconds_of(LIGHT) if math.isnan(own) else own),
            extra_seconds=self.extra_seconds,
            overhead=(
                self.extra_seconds / self.training_seconds
                if self.training_seconds > 0
                else math.nan
            ),
            build_seconds=self.build_seconds,
            every=every,
            full=self.full,
            unobserved=unobserved,
            looked_at=looked_at,
        )


@dataclass(frozen=True)
class Position:
    """Where in the training a step is.

    Attributes:
        step: steps since the start of this `fit`.
        batch: its number in the epoch.
        batches: how many the epoch has, or `None` if that is not known.
        observed_in_epoch: how many steps of this epoch were observed fully.
        per_execution: steps that one call of the train function makes.
    """

    step: int
    batch: int
    batches: int | None
    observed_in_epoch: int
    per_execution: int


def every_steps(every: int, position: Position) -> str | None:
    """Fully, if an execution has a step in it whose number `every` divides."""
    return FULL if -position.step % every < position.per_execution else None


def within_budget(
    overhead: float, position: Position, times: StepTimes, strict: bool = False
) -> str | None:
    """How a step is observed when observing may take `overhead` of the time.

    Early steps say most, so they are dense: steps 0, 1, 2, 4, 8, ... fully, and
    between them every step, then every other one and so on lightly. They are paid
    from an advance; from then on, observations are as far apart as their measured
    cost asks for. One step in each epoch is always observed.

    Args:
        overhead: share of the training time without observing.
        position: where the step is.
        times: what was measured so far.
        strict: whether there is neither an advance nor a step in each epoch: then
            only the first step, from which the cost is known, is not paid in
            advance, and what it cost, building included, is earned first.
    """
    if position.step == 0:
        return FULL
    last = (
        position.batches is not None
        and position.batch + position.per_execution >= position.batches
    )
    # No epoch ends unobserved; where its length is unknown, sooner than never.
    soon = last or (position.batches is None and position.batch > 0)
    if soon and not strict and not position.observed_in_epoch:
        return FULL
    if last:
        return None  # XLA would compile for the shape of a smaller last batch.
    early = _early(position)
    for kind in (FULL, LIGHT):
        if _is_earned(kind, overhead, times, strict) or (
            not strict and early[kind] and _is_advanced(kind, overhead, times)
        ):
            return kind
    return None


def _early(position: Position) -> dict[str, bool]:
    """Whether a step is one of the early ones, by the kind of observation."""
    steps = range(position.step, position.step + position.per_execution)
    return {
        FULL: any(step & (step - 1) == 0 for step in steps),
        LIGHT: any(step % max(1, _octave(step) // _DENSE) == 0 for step in steps),
    }


def _octave(step: int) -> int:
    """The largest power of two that is not above a step."""
    return 1 << max(step.bit_length() - 1, 0)


def _is_earned(kind: str, overhead: float, times: StepTimes, strict: bool) -> bool:
    """Whether its share of the budget pays for one more observation of a kind."""
    seconds = times.seconds_of(kind)
    if math.isnan(seconds):
        seconds = _GUESS * times.plain_seconds
        if not strict or math.isnan(seconds):
            return False
    earned = overhead * times.training_seconds
    if strict:
        between = times.extra_seconds - sum(times.spent.values())
        earned -= times.build_seconds + between
    return _SHARE[kind] * earned >= times.spent[kind] + seconds


def _is_advanced(kind: str, overhead: float, times: StepTimes) -> bool:
    """Whether the advance, and what was earned since, pay for an early step."""
    full, seconds = times.seconds_of(FULL), times.seconds_of(kind)
    known = [s for s in (full, seconds) if not math.isnan(s)]
    if not known:
        return times.observed <= 2  # What it costs is not known until the second.
    advance = min(ADVANCE_STEPS * max(known), ADVANCE_SECONDS)
    balance = advance + overhead * times.training_seconds - sum(times.spent.values())
    return balance >= (seconds if not math.isnan(seconds) else max(known))


def pays_between_epochs(overhead: float, times: StepTimes, strict: bool) -> bool:
    """Whether the weights may be described at the end of an epoch.

    Only `strict` asks: otherwise each epoch has a description, whatever its length.
    """
    spent = times.build_seconds + times.extra_seconds
    return not strict or spent <= overhead * times.training_seconds


def spacing(overhead: float, times: StepTimes) -> int:
    """Distance between full observations that the budget pays for, in steps."""
    seconds = times.seconds_of(FULL)
    if math.isnan(seconds) or overhead <= 0 or not times.plain_seconds > 0:
        return 0  # Unknown, as it is where a clock stands still.
    return max(1, math.ceil(seconds / (_SHARE[FULL] * overhead * times.plain_seconds)))
