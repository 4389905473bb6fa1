"""What a step computes, measured by the step itself, as a function of the state.

It is compiled once more, under recorders, to return what they noted and nothing else;
the compiler leaves out what that does not depend on, such as the update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import keras

from keras_babysit.probes.probe import Probe
from keras_babysit.step.execution import Execution
from keras_babysit.step.plan import MISSING, Slot, explain, missing, of_probes, targets
from keras_babysit.step.recorder import Recorded, Recorder


@dataclass(frozen=True)
class _Made:
    """What the results of a compiled function mean.

    Attributes:
        slots: of the targets.
        measuring: reads the results.
        notes: what is not observed, with the reason.
    """

    slots: list[Slot]
    measuring: Any
    notes: list[str]


class Repeated:
    """Measures batches by a function that is compiled for each kind of them.

    Args:
        model: the model.
        plain: its train or test function.
        backend: the backend's module.
        probes: those that look at gradients, layers or losses.
        kind: `"train"` or `"test"`.

    Attributes:
        error: why nothing is measured any more.
    """

    def __init__(
        self,
        model: Any,
        plain: Callable,
        backend: ModuleType,
        probes: Sequence[Probe],
        kind: str,
    ):
        self._model, self._backend = model, backend
        self._probes, self._kind = probes, kind
        self._function = backend.compiled(self._run)
        self._paths: dict[int, str] = {}
        self._known: dict[str, _Made] = {}
        self._latest: _Made | None = None
        self.error = ""

    @property
    def notes(self) -> list[str]:
        """What is not observed, with the reason."""
        found = [note for made in self._known.values() for note in made.notes]
        return [*found, self.error] if self.error else found

    def key(self, iterator: Any, batch: Any = None) -> str:
        """What the batches have in common that are measured by the same function."""
        return "" if batch is None else self._backend.kind_of(batch)

    def is_new(self, key: str) -> bool:
        """Whether a function has yet to be compiled for such a batch."""
        return key not in self._known

    def trace(self, execution: Execution) -> None:
        """Does nothing: the first batch has its function compiled."""

    def derive(self, iterator: Any, traced: Any, variables: dict[str, Any]) -> None:
        """Does nothing, see `trace`."""

    def measure(self, key: str, state: tuple, batch: Any, variables: Any) -> Any:
        """Measures a batch; changes nothing.

        Args:
            key: of the batch.
            state: as the train function gets it.
            batch: the batch.
            variables: path to trainable variable.

        Returns:
            What `read` reads, or `None`.
        """
        if self.error:
            return None
        self._paths = {id(v): path for path, v in variables.items()}
        try:
            measured = self._function(*state, batch)
        except Exception as e:
            # If the data or the user's code are at fault, the step raises it too.
            kinds = of_probes(self._probes)
            self.error = f"{MISSING}{kinds}: measuring them failed: {explain(e)}"
            return None
        made, self._latest = self._latest, None
        if made is not None:
            self._known[key] = made
        return measured if self._known[key].slots else None

    def read(self, key: str, measured: Any) -> list[tuple[Slot, Any, Any]]:
        """Fetches what was measured: slots with rows, and values of units."""
        made = self._known[key]
        found = made.measuring.read(measured)
        return [(made.slots[i], row, units) for i, (row, units) in found.items()]

    def weights_unread(self, key: str) -> bool:
        """Not known: it would take a look at what depends on what."""
        return False

    def _run(self, state: Any, batch: Any) -> Any:
        """The step under recorders: what is compiled."""
        backend, recorded = self._backend, Recorded()

        def look(kind: str, of: Any, value: Any) -> Any:
            return keras.tree.map_structure(backend.primal, value)

        step = getattr(self._model, f"{self._kind}_step")
        with Recorder(self._model, backend, recorded, look).recording():
            step(state, batch)
        recorded.check()
        raw = any(probe.of == "losses" for probe in self._probes)
        trace = backend.trace_of(state)
        found, slots = targets(backend, trace, recorded, self._probes, self._paths, raw)
        measuring = backend.Measuring(found)
        notes = missing(slots, recorded, self._probes)
        self._latest = _Made(slots, measuring, notes)
        return measuring.results()
