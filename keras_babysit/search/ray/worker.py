"""One trial in a process of its own, on whatever machine Ray has started it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_babysit.search.ray import mirror
from keras_babysit.search.ray.setup import Setup, prepare, prepare_keras
from keras_babysit.search.store import Store
from keras_babysit.search.trials import EpochResult, Outcome, Trial

#: Seconds between two looks at whose workers may write.
_EVERY = 0.5


def run(
    setup: Setup, payload: list[Any], board: Any, trial: Trial, space: Any
) -> Outcome:
    """Runs a trial: what Ray calls in the worker.

    Args:
        setup: how this process is to be set up.
        payload: a list with the reference to `(run_trial, work, registered)`. Ray
            would unpickle a reference itself, before the process is set up.
        board: the actor with `Board`'s methods.
        trial: the trial.
        space: configuration of the stage's `HyperParameters`.
    """
    import ray

    prepare(setup)
    run_trial, work, registered = ray.get(payload[0])
    if "keras" in sys.modules:  # All but trials that train no model.
        prepare_keras(setup.keras, registered)
    with _directory(setup) as directory:
        link = Link(setup, board, trial, directory, work.parts)
        link.begin()
        outcome = run_trial(
            replace(work, directory=str(directory)), trial, space, link.report
        )
        return link.end(outcome)


class Link:
    """A worker's way to the driver: epochs go there, and files if need be.

    Args:
        setup: of the worker.
        board: the actor with `Board`'s methods.
        trial: the trial.
        directory: the search's folder that this worker writes to.
        folds: number of folds that the trial is trained on.
    """

    def __init__(
        self, setup: Setup, board: Any, trial: Trial, directory: Path, folds: int = 1
    ):
        self._setup, self._board, self._trial = setup, board, trial
        self._end = folds - 1, trial.epochs
        self._store = Store(directory)
        self._is_shared = str(directory) == setup.directory
        self._stamps: mirror.Stamps = {}
        self._problems: dict[str, None] = {}
        self._is_over = threading.Event()

    def begin(self) -> None:
        """Gets the files that the trial may go on from; watches whose it is."""
        if self._is_shared:
            threading.Thread(target=self._watch, daemon=True).start()
            return
        folder = self._store.folder(self._trial)
        mirror.write(folder, self._ask("files", self._trial.number))
        self._stamps = mirror.stamps(folder)

    def report(self, result: EpochResult | None) -> str:
        """Tells the driver of an epoch; returns why the trial is to end, or `""`."""
        self._check()
        files, gone = self._news()
        answer = self._ask(
            "report", self._trial.number, self._trial.attempts, result, files, gone
        )
        if not answer.wanted:
            _leave("the trial was started again elsewhere")
        if answer.problem:
            self._problems[f"on the driver's machine: {answer.problem}"] = None
        is_last = result is not None and (result.fold, result.epoch) >= self._end
        # Then there is nothing left to stop, but the answer may be to one before.
        return "" if is_last else answer.stop

    def end(self, outcome: Outcome) -> Outcome:
        """Sends what was written after the last epoch; returns the outcome."""
        self._is_over.set()
        if not self._is_shared:
            self.report(None)
        return dataclasses.replace(outcome, notes=(*outcome.notes, *self._problems))

    def _check(self) -> None:
        setup = self._setup
        if self._is_shared and mirror.driver_of(setup.directory) != setup.driver:
            _leave("its driver is not the one that searches")

    def _watch(self) -> None:
        # An epoch can be long, and ends with writing.
        while not self._is_over.wait(_EVERY):
            self._check()

    def _news(self) -> tuple[dict[str, bytes], list[str]]:
        if self._is_shared:
            return {}, []
        folder = self._store.folder(self._trial)
        before, self._stamps = self._stamps, mirror.stamps(folder)
        new, gone = mirror.changed(before, self._stamps)
        return mirror.read(folder, new), gone

    def _ask(self, what: str, *arguments: Any) -> Any:
        import ray

        try:
            return ray.get(getattr(self._board, what).remote(*arguments))
        except ray.exceptions.RayActorError:
            _leave("its driver has gone")


def _leave(why: str) -> Any:
    """Ends this process at once, before an orphan writes into what is not its own."""
    print(f"A worker of keras_babysit ends: {why}.", file=sys.stderr, flush=True)
    os._exit(1)


@contextlib.contextmanager
def _directory(setup: Setup) -> Iterator[Path]:
    """The driver's folder if this machine has it, else one that lasts for the trial."""
    if mirror.driver_of(setup.directory) == setup.driver:
        yield Path(setup.directory)
        return
    with tempfile.TemporaryDirectory(prefix="keras-babysit-") as made:
        yield Path(made)
