"""The validations of a `fit`: the first batches of some of them are observed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_babysit.backend import load
from keras_babysit.probes.probe import Described, Probe
from keras_babysit.step.execution import Execution, standing_in, users_own
from keras_babysit.step.observe import Fetched, Observation, ObservedStep

#: The first batches are observed until they have so many samples, but not more
#: executions of the test function than this.
SAMPLES, EXECUTIONS = 64, 4


class Taken(NamedTuple):
    """What was observed of one validation.

    Attributes:
        results: of its first batches.
        training: fetches what was measured of a training batch, if one was.
        batches: nested NumPy arrays.
    """

    results: list[Observation]
    training: Callable[[], Fetched] | None
    batches: list[Any]


class Validations:
    """Observes validations 1, 2, 4, 8, ... of one `fit`.

    Args:
        model: the model.
        previous: those of the model's last `fit`, whose compiled step may still serve.

    Attributes:
        batches: those that were looked at since `take`, as nested NumPy arrays.
    """

    def __init__(self, model: Any, previous: Validations | None = None):
        self._model = model
        self._step: ObservedStep | None = previous._step if previous else None
        self._done = 0
        self._function: Any = None
        self._results: list[Observation] = []
        self._training: Callable[[], Fetched] | None = None
        self.batches: list[Any] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not observed in validations, with the reason."""
        notes = () if self._step is None else self._step.notes
        return tuple(f"In validation: {note}" for note in notes)

    def begin(
        self,
        probes: tuple[Probe, ...],
        every: bool,
        training: Callable[[], tuple[str, Any] | None],
        failed: Callable[[Exception], Any],
    ) -> None:
        """A validation begins: puts the observed step in place, if it is due.

        Args:
            probes: those whose quantities are wanted.
            every: whether all validations are due.
            training: hands over a training batch, to be measured in the same way.
            failed: called with errors of ours.
        """
        self.end()
        model, backend = self._model, load("step")
        plain = users_own(model.test_function)
        if plain is None or not backend.is_validating(model):
            return
        self._done += 1
        if self._done & (self._done - 1) and not every:
            return
        observed = self._build(plain, probes)
        left = EXECUTIONS

        def observe(execution: Execution) -> None:
            nonlocal left
            if not left or not backend.is_validating(model, execution.iterator):
                return
            left -= 1
            if not left:
                self.end()
            self._results.append(observed(execution, True, self.batches.append))
            last = training()
            if last is not None:
                self._training = observed.measure(*last, execution.state)
            if sum(map(_samples, self.batches)) >= SAMPLES:
                left = 0
                self.end()

        self._function = model.test_function = standing_in(plain, observe, failed)

    def end(self) -> None:
        """The validation has ended: the user's own function is back in its place."""
        function, self._function = self._function, None
        if function is not None and self._model.test_function is function:
            self._model.test_function = function.instead_of

    def take(self) -> Taken:
        """Hands over what was observed, and the batches, and forgets them."""
        taken = Taken(self._results, self._training, self.batches)
        self._results, self._training, self.batches = [], None, []
        return taken

    def _build(self, plain: Callable, probes: tuple[Probe, ...]) -> ObservedStep:
        wanted = tuple(p for p in probes if p.of == "losses")
        step = self._step
        if step is None or not step.fits(self._model, plain, wanted):
            step = ObservedStep(self._model, plain, load("step"), wanted, "test")
            self._step = step
        return step


def joined(parts: list[Fetched]) -> Fetched:
    """What was measured in several batches as if they were replicas of one."""
    described: dict[str, dict[str, list[Described]]] = {}
    raw: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for name, found in part.described.items():
            for one in found:
                paths = described.setdefault(name, {})
                paths.setdefault(one.view.path, []).append(one)
        for path, arrays in part.raw.items():
            raw.setdefault(path, []).extend(arrays)
    losses = [part.loss for part in parts if part.loss is not None]
    return Fetched(
        loss=float(np.mean(losses)) if losses else None,
        learning_rate=None,
        described={
            name: [
                Described(same[0].view, np.concatenate([one.table for one in same]))
                for same in paths.values()
            ]
            for name, paths in described.items()
        },
        raw=raw,
    )


def _samples(batch: Any) -> int:
    shapes = [np.shape(leaf) for leaf in keras.tree.flatten(batch)]
    return next((shape[0] for shape in shapes if shape), 0)
