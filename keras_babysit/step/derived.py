"""What a step computes, measured by a function derived from the step's trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import keras

from keras_babysit.borrowing import random_numbers_kept
from keras_babysit.probes.probe import Probe
from keras_babysit.step.execution import Execution
from keras_babysit.step.plan import (
    MISSING,
    Plan,
    Slot,
    explain,
    make_plan,
    of_probes,
)
from keras_babysit.step.recorder import Recorded, Recorder


class Derived:
    """Derives measuring functions, one for each kind of batch that steps take.

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
        self._model, self._plain, self._backend = model, plain, backend
        self._probes, self._kind = probes, kind
        self._plans: dict[str, Plan] = {}
        self.error = ""

    @property
    def notes(self) -> list[str]:
        """What is not observed, with the reason."""
        found = [note for plan in self._plans.values() for note in plan.notes]
        return [*found, self.error] if self.error else found

    def key(self, iterator: Any, batch: Any = None) -> str:
        """What the steps have in common that are measured by the same function."""
        return repr(getattr(iterator, "element_spec", None))

    def is_new(self, key: str) -> bool:
        """Whether a function has yet to be made; that is done before the step."""
        return False

    def trace(self, execution: Execution) -> tuple[Any, Recorded] | None:
        """Has Keras's function traced under recorders, if it is not yet.

        Returns:
            The train function that was traced and what was noted; `None` if there is
            nothing to do.
        """
        if self.error or self.key(execution.iterator) in self._plans:
            return None
        recorded = Recorded()
        tracing = self._backend.Tracing(self._plain)
        with Recorder(self._model, self._backend, recorded).recording():
            # Keras would trace its function anyway.
            execution.users(tracing.run, execution.iterator)
        recorded.check()
        return (self._plain if tracing.is_new else None), recorded

    def derive(self, iterator: Any, traced: Any, variables: dict[str, Any]) -> None:
        """Makes the measuring function for steps on batches of an iterator.

        Args:
            iterator: the epoch's.
            traced: what `trace` has returned.
            variables: path to trainable variable.
        """
        function, recorded = traced
        paths = {id(v): path for path, v in variables.items()}
        try:
            concrete = self._concrete(function, recorded, iterator)
            raw = any(probe.of == "losses" for probe in self._probes)
            plan = make_plan(
                self._backend, concrete, recorded, self._probes, paths, raw
            )
            spec = getattr(iterator, "element_spec", None)
            plan.weights_unread = self._backend.leaves_weights_out(concrete, spec)
        except self._backend.NotDerivableError as e:
            plan = Plan(notes=[f"{MISSING}{of_probes(self._probes)}: {e}"])
        self._plans[self.key(iterator)] = plan

    def measure(self, key: str, state: tuple, batch: Any, variables: Any) -> Any:
        """Measures a batch; changes nothing.

        Args:
            key: of the iterator that it is from.
            state: nothing; the variables have it.
            batch: the batch.
            variables: path to trainable variable.

        Returns:
            What `read` reads, or `None`.
        """
        plan = self._plans.get(key)
        if plan is None or not plan.measuring:
            return None
        try:
            return plan.run(self._backend.leaves(batch))
        except (self._backend.NotDerivableError, self._backend.RUNTIME_ERROR) as e:
            # If the data or the user's code are at fault, the step raises it too.
            kinds = of_probes(self._probes)
            self.error = f"{MISSING}{kinds}: measuring them failed: {explain(e)}"
            return None

    def read(self, key: str, measured: Any) -> list[tuple[Slot, Any, Any]]:
        """Fetches what was measured: slots with rows, and values of units."""
        return self._plans[key].read(measured)

    def weights_unread(self, key: str) -> bool:
        """Whether nothing depends on the weights that such a step is given."""
        return key in self._plans and self._plans[key].weights_unread

    def _concrete(self, function: Any, recorded: Recorded, iterator: Any) -> Any:
        """Returns the trace of one step that the recorded tensors are of.

        Where Keras's function was traced before, a trace of our own is made; it serves
        if it consists of the same operations.
        """
        own = None
        if function is None and self._kind == "test":
            # To trace the whole model once more would take longer than it is worth.
            raise self._backend.NotDerivableError(
                "the model had been evaluated before this training"
            )
        if function is None:
            own = self._backend.new_function(self._model, self._kind)
            run = self._backend.Tracing(own).run
            recorder = Recorder(self._model, self._backend, recorded)
            with random_numbers_kept(), recorder.recording():
                try:
                    run(iterator)
                except Exception as e:  # The user's code, as it would be now.
                    raise self._backend.NotDerivableError(
                        f"tracing the step once more failed ({explain(e)}); compile "
                        "the model again if it was changed since"
                    ) from e
            recorded.check()
        graphs = {
            id(self._backend.graph_of(tensor))
            for tensor in [
                *(g for _, _, _, g in recorded.gradients),
                *(v for _, v in recorded.losses),
                *(x for _, _, out in recorded.outputs for x in keras.tree.flatten(out)),
            ]
            if tensor is not None
        }
        traces = self._backend.traces_of(function or own)
        fitting = [t for t in traces if id(t.graph) in graphs]
        if not fitting:
            raise self._backend.NotDerivableError(
                "the step computes them where they cannot be read, such as in a "
                "tf.function"
            )
        concrete = fitting[-1]
        if own is not None:
            known = self._backend.traces_of(self._plain)
            if not any(self._backend.are_alike(concrete, other) for other in known):
                raise self._backend.NotDerivableError(
                    f"the {self._kind} function was compiled before the model was "
                    "changed; compile the model again to observe what it does now"
                )
        return concrete
