"""Which steps are observed: every so many, or as many as a budget pays for."""

from __future__ import annotations

import math
import statistics as stats
from collections import deque
from dataclasses import dataclass

from keras_babysit.records import ObservationCost

#: Durations that the medians are taken over.
_RECENT = 51
#: Plain steps that must have been timed before the budget can be spent.
_MIN_PLAIN = 5
#: Observing is never taken to be cheaper than this share of a plain step: noise
#: can make a few observed steps look free.
_MIN_EXTRA = 0.02


class StepTimes:
    """How long plain and observed steps take, and what observing has added.

    Durations run from one step's beginning to the next one's, so that they cover
    the callbacks, the data and, on an asynchronous device, the wait.
    """

    def __init__(self) -> None:
        self._plain: deque[float] = deque(maxlen=_RECENT)
        self._observed: deque[float] = deque(maxlen=_RECENT)
        self._first_plain = True
        self.steps = 0
        self.observed = 0
        self.total_seconds = 0.0
        self.extra_seconds = 0.0
        self.build_seconds = 0.0

    def add(self, seconds: float, steps: int, observed: bool, built: bool) -> None:
        """Takes the duration of one execution of the training step.

        Args:
            seconds: how long it took.
            steps: how many steps it was (`steps_per_execution`).
            observed: whether it was observed.
            built: whether the observed step was traced or compiled in it.
        """
        self.steps += steps
        self.observed += observed
        if built:
            self.build_seconds += seconds
            return
        if not observed and self._first_plain:
            self._first_plain = False  # This one compiled the user's function.
            return
        self.total_seconds += seconds
        (self._observed if observed else self._plain).append(seconds)
        if observed and self._plain:
            self.extra_seconds += max(0.0, seconds - self.plain_seconds)

    def add_extra(self, seconds: float) -> None:
        """Takes the duration of our own work between epochs."""
        self.total_seconds += seconds
        self.extra_seconds += seconds

    @property
    def plain_seconds(self) -> float:
        """Median duration of a plain execution; NaN before there was one."""
        return stats.median(self._plain) if self._plain else math.nan

    @property
    def observed_seconds(self) -> float:
        """Median duration of an observed execution; NaN before there was one."""
        return stats.median(self._observed) if self._observed else math.nan

    @property
    def extra_per_observation(self) -> float | None:
        """What one more observation costs, in seconds; `None` if not known yet."""
        if len(self._plain) < _MIN_PLAIN or not self._observed:
            return None
        plain = self.plain_seconds
        return max(self.observed_seconds - plain, _MIN_EXTRA * plain)

    def cost(self, every: int) -> ObservationCost:
        """Returns the figures so far."""
        without = max(self.total_seconds - self.extra_seconds, 1e-9)
        return ObservationCost(
            steps=self.steps,
            observed=self.observed,
            plain_seconds=self.plain_seconds,
            observed_seconds=self.observed_seconds,
            extra_seconds=self.extra_seconds,
            overhead=self.extra_seconds / without,
            build_seconds=self.build_seconds,
            every=every,
        )


@dataclass(frozen=True)
class Position:
    """Where in the training a step is.

    Attributes:
        step: steps since the start of this `fit`.
        batch: its number in the epoch.
        batches: how many the epoch has, or `None` if that is not known.
        observed_in_epoch: how many steps of this epoch were observed.
        per_execution: steps that one call of the train function makes.
    """

    step: int
    batch: int
    batches: int | None
    observed_in_epoch: int
    per_execution: int


def every_steps(every: int, position: Position, times: StepTimes) -> bool:
    """Whether an execution has a step in it whose number `every` divides."""
    return -position.step % every < position.per_execution


def within_budget(overhead: float, position: Position, times: StepTimes) -> bool:
    """Whether a step is due when observing may take `overhead` of the time.

    The first step of a run always is, and one in each epoch; the others are as far
    apart as their measured cost asks for. Those that an epoch asks for are paid
    from the same budget, so the next one waits longer.

    Args:
        overhead: share of the training time without observing.
        position: where the step is.
        times: what was measured so far.
    """
    if position.step == 0:
        return True
    last = (
        position.batches is not None
        and position.batch + position.per_execution >= position.batches
    )
    if not position.observed_in_epoch and (last or position.batches is None):
        # Ending an epoch unobserved; where its length is unknown, sooner than never.
        if position.batches is None:
            return position.batch > 0
        return True
    if last:
        return False  # A smaller last batch would be compiled for its own shape.
    extra = times.extra_per_observation
    if extra is None:
        # One early step, to learn what an observed step costs once it is built.
        return times.observed == 1 and position.step >= 2 * _MIN_PLAIN
    affordable = overhead * (times.total_seconds - times.extra_seconds)
    return affordable - times.extra_seconds >= extra


def spacing(overhead: float, times: StepTimes) -> int:
    """Distance between observed steps that the budget pays for, in steps."""
    extra = times.extra_per_observation
    if extra is None or overhead <= 0 or not times.plain_seconds > 0:
        return 0  # Unknown, as it is where a clock stands still.
    return max(1, math.ceil(extra / (overhead * times.plain_seconds)))
