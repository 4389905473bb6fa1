"""What the workers of a search tell its driver, and what it answers them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from keras_babysit.search.ray import mirror
from keras_babysit.search.store import Store
from keras_babysit.search.trials import EpochResult


@dataclass(frozen=True)
class Answer:
    """What a worker hears at the end of an epoch.

    Attributes:
        stop: why the trial ends here; `""` if it goes on.
        wanted: whether it is still this worker's trial.
        problem: why its files could not be written; `""` if they were.
    """

    stop: str = ""
    wanted: bool = True
    problem: str = ""


class Board:
    """Runs in a process of its own beside the driver, as a Ray actor.

    A worker hangs up its epochs there and goes on with what it finds: it never waits
    for the driver, which may be busy choosing the next trial. So a decision to stop may
    reach a worker an epoch late. If the board's process dies, Ray starts an empty one.
    """

    def __init__(self, directory: str):
        self._store = Store(directory)
        self._news: list[tuple[int, int, EpochResult]] = []
        self._stops: dict[tuple[int, int], str] = {}
        self._attempts: dict[int, int] = {}
        self._something = asyncio.Event()

    async def files(self, number: int) -> dict[str, bytes]:
        """Returns the files that there are of a trial, for a worker without them."""
        return mirror.read(self._store.folder(number))

    async def report(
        self,
        number: int,
        attempt: int,
        result: EpochResult | None,
        files: mirror.Files | None = None,
        gone: Iterable[str] = (),
    ) -> Answer:
        """Takes a finished epoch of a trial, and the files of a worker elsewhere.

        Args:
            number: of the trial.
            attempt: which time it was started.
            result: the epoch; `None` if there are only files.
            files: what to write in the trial's folder.
            gone: names of the files to remove there.
        """
        latest = max(attempt, self._attempts.get(number, 0))
        self._attempts[number] = latest
        if attempt < latest:
            return Answer(wanted=False)
        problem = ""
        try:
            mirror.write(self._store.folder(number), files or {}, gone)
        except OSError as error:
            problem = f"{type(error).__name__}: {error}"
        if result is not None:
            self._news.append((number, attempt, result))
            self._something.set()
        return Answer(self._stops.get((number, attempt), ""), problem=problem)

    async def stop(self, number: int, attempt: int, reason: str) -> None:
        """Answers the next epoch of a trial with the reason why it ends."""
        self._stops[number, attempt] = reason

    async def news(self) -> list[tuple[int, int, EpochResult]]:
        """Returns the epochs since the last time; waits until there are some."""
        await self._something.wait()
        return self._taken()

    async def wake(self) -> None:
        """Makes `news` return at once, with or without any."""
        self._something.set()

    async def rest(self) -> list[tuple[int, int, EpochResult]]:
        """Returns the epochs since the last time, if there are some."""
        return self._taken()

    def _taken(self) -> list[tuple[int, int, EpochResult]]:
        self._something.clear()
        news, self._news = self._news, []
        return news
