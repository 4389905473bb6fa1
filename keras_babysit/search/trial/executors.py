"""Where trials are trained: in this process, or wherever an executor sends them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from keras_babysit.search.trial.runner import run_trial
from keras_babysit.search.trial.task import Work
from keras_babysit.search.trials import EpochResult, Outcome, Trial

#: Is told each epoch of each trial; returns why the trial should end, or `""`.
OnEpoch = Callable[[Trial, EpochResult], str]


@dataclass(frozen=True)
class Lost:
    """The process that trained a trial has died: it has no outcome.

    Attributes:
        reason: what is known of how, in one line.
    """

    reason: str


class Executor(Protocol):
    """What a search needs of whoever trains its trials.

    Attributes:
        capacity: how many trials may be open at a time.
    """

    capacity: int

    def open(self, work: Work, on_epoch: OnEpoch) -> None:
        """Gets ready; before anything else.

        Args:
            work: what all trials share.
            on_epoch: is called in this process with each epoch, as it becomes known.
        """

    def submit(self, trial: Trial, space: Mapping[str, Any]) -> None:
        """Takes a trial; at most `capacity` have been taken and not yet returned.

        Args:
            trial: what to train.
            space: `HyperParameters.get_config()` of its stage.
        """

    def wait(self) -> list[tuple[int, Outcome | Lost]]:
        """Blocks until at least one trial has ended; returns numbers and outcomes."""

    def close(self) -> None:
        """Ends whatever is still running."""


class InPlace:
    """Trains in this process, one trial after the other, whenever `wait` is called."""

    capacity = 1

    def __init__(self) -> None:
        self._work: Work | None = None
        self._on_epoch: OnEpoch | None = None
        self._waiting: deque[tuple[Trial, Mapping[str, Any]]] = deque()

    def open(self, work: Work, on_epoch: OnEpoch) -> None:
        """Keeps both."""
        self._work, self._on_epoch = work, on_epoch

    def submit(self, trial: Trial, space: Mapping[str, Any]) -> None:
        """Puts a trial behind those that wait."""
        self._waiting.append((trial, space))

    def wait(self) -> list[tuple[int, Outcome | Lost]]:
        """Trains the first one that waits; `[]` if there is none."""
        if self._work is None or self._on_epoch is None:
            raise RuntimeError("`open` must be called before `wait`.")
        if not self._waiting:
            return []
        trial, space = self._waiting.popleft()
        on_epoch = self._on_epoch
        outcome = run_trial(self._work, trial, space, lambda r: on_epoch(trial, r))
        return [(trial.number, outcome)]

    def close(self) -> None:
        """Forgets those that wait."""
        self._waiting.clear()
