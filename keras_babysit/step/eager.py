"""Observes a step that Python runs: what passes by is described at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import keras

from keras_babysit.probes.probe import Probe, View, unique
from keras_babysit.records import LOSS_ROLES
from keras_babysit.step.plan import Slot, is_describable, is_number, is_small
from keras_babysit.step.recorder import Recorded, Recorder

#: Of so many layers' outputs one is looked for that a loss gets.
LAST = 16


class Eagerly:
    """Describes what passes through a model while one step of it runs.

    Nothing is run twice: the tensors are those of the step itself, described before
    anything can change them in place.

    Args:
        model: the model.
        backend: the backend's module.
        probes: those that look at gradients or layers.
        variables: path to trainable variable, as far as they are known.
        raw: whether to keep targets and outputs of losses too, where they are few.
    """

    def __init__(
        self,
        model: Any,
        backend: ModuleType,
        probes: Sequence[Probe],
        variables: dict[str, Any],
        raw: bool = False,
    ):
        self._model, self._backend, self._probes = model, backend, probes
        self._paths = {id(v): path for path, v in variables.items()}
        self._raw = raw
        self.found: list[tuple[Any, list[Any]]] = []
        self.raw: list[tuple[Slot, Any]] = []
        self.error: Exception | None = None
        self._losses: dict[int, Any] = {}
        self._calls: dict[tuple[int, str], int] = {}
        self._updated: set[tuple[int, int]] = set()
        # The last outputs of layers: one of them is what the loss gets.
        self._outputs: deque[tuple[Any, str]] = deque(maxlen=LAST)

    def around(self, plain: Callable) -> Callable:
        """Returns a train function that describes while it runs."""

        def run(*args: Any) -> Any:
            recorder = Recorder(self._model, self._backend, Recorded(), self._look)
            with recorder.recording():
                return plain(*args)

        return run

    def _look(self, kind: str, of: Any, value: Any) -> None:
        """Describes something; an error of ours must not end the user's step."""
        try:
            if kind == "layers":
                name = of.path or of.name
                self._outputs.extend((x, name) for x in keras.tree.flatten(value))
            elif kind == "losses":
                of = replace(of, layer=self._layer_of(value["outputs"]))
            with self._backend.unrecorded():
                value = keras.tree.map_structure(self._backend.primal, value)
                self._describe(kind, of, value)
        except Exception as e:
            self.error = e

    def _layer_of(self, output: Any) -> str:
        return next((n for x, n in reversed(self._outputs) if x is output), "")

    def _describe(self, kind: str, of: Any, value: Any) -> None:
        replica = self._backend.replica()
        if kind == "loss":
            self._losses[replica] = self._backend.value_of(value)
            return
        if kind == "losses":
            self._describe_loss(of, value, replica)
            return
        name = self._paths.get(id(of)) if kind == "gradients" else of.path or of.name
        if name is None:
            return
        if kind == "gradients":
            if (id(of), replica) in self._updated:
                return  # Of several updates in a step the first one's.
            self._updated.add((id(of), replica))
            value = self._backend.dense(value)
        for tensor in keras.tree.flatten(value):
            if not self._backend.is_value(tensor, None) or not is_describable(tensor):
                continue
            for probe in self._probes:
                if probe.of == kind and probe.describer is not None:
                    view = View(
                        name, tuple(tensor.shape), of if kind == "layers" else None
                    )
                    rows = self._backend.describe_value(tensor, probe.describer(view))
                    self.found.append((Slot(kind, view, probe, replica), rows))

    def _describe_loss(self, call: Any, tensors: dict, replica: int) -> None:
        number = self._calls.get((replica, call.loss), 0) + 1
        self._calls[replica, call.loss] = number
        name = call.loss if number == 1 else f"{call.loss}@{number}"
        for probe in self._probes:
            if probe.of != "losses" or probe.describer is None:
                continue
            for role in LOSS_ROLES:
                tensor: Any = tensors.get(role)
                if is_number(self._backend, tensor, None):
                    view = View(f"{name}/{role}", tuple(tensor.shape), call=call)
                    rows = self._backend.describe_value(tensor, probe.describer(view))
                    self.found.append((Slot("losses", view, probe, replica), rows))
                    if self._raw and is_small(view):
                        self.raw.append((Slot("raw", view, replica=replica), tensor))

    def read(self) -> list[tuple[Slot, Any, Any]]:
        """Fetches what was described: slots with rows, and values of units."""
        self._outputs.clear()
        found, numpy_of = self.found, self._backend.numpy_of
        results: list[tuple[Slot, Any, Any]] = [
            (Slot("loss", replica=replica), numpy_of(value), None)
            for replica, value in self._losses.items()
        ]
        results += [(slot, numpy_of(value), None) for slot, value in self.raw]
        names: dict[tuple[str, int], list[int]] = {}
        for i, (slot, _) in enumerate(found):
            names.setdefault((slot.probe.name, slot.replica), []).append(i)
        for numbers in names.values():
            for i, path in zip(
                numbers, unique([found[i][0].view.path for i in numbers]), strict=True
            ):
                slot, rows = found[i]
                slot = replace(slot, view=replace(slot.view, path=path))
                row, *units = [numpy_of(x) for x in rows]
                results.append((slot, row, units[0] if units else None))
        return results
