"""The observed step: it is measured first, and then made by the user's own function.

What is measured before changes nothing; the training step is the one that Keras has
compiled, on the same batch; the weights are compared after it. Nothing is added to the
model or the optimizer, and what is wrapped to look inside is wrapped only while Keras
traces its function, or while an eager step runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import learning_rate
from keras_babysit.probes.probe import Described, Probe, View, unique
from keras_babysit.step.derived import Derived
from keras_babysit.step.eager import Eagerly
from keras_babysit.step.execution import Execution, now
from keras_babysit.step.plan import MISSING, WORDS, Slot, described, of_probes
from keras_babysit.step.recorder import (
    built_for_frozen,
    loss_tracker,
    optimizers_of,
)
from keras_babysit.step.repeated import Repeated

#: Which kinds of tensors take a pass of the model.
_FULL = ("gradients", "layers", "losses")


@dataclass(frozen=True)
class Fetched:
    """What was measured in a step, on the host.

    Attributes:
        loss: of the batch, or `None`.
        learning_rate: that the step used, or `None`.
        described: probe name to what was measured for it.
        raw: path to the values themselves of what the loss gets, by replicas; only of
            validations, and where they are few.
        frozen: those variables among the compared ones that were not trainable.
        weights_unread: whether nothing depends on the weights that the step is given.
    """

    loss: float | None
    learning_rate: float | None
    described: dict[str, list[Described]]
    raw: dict[str, list[np.ndarray]] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    weights_unread: bool = False


@dataclass(frozen=True)
class Observation:
    """One observed execution of the training step.

    Attributes:
        logs: what the user's own function returned.
        full: whether layers and gradients were measured, if a probe asks for them.
        steps: how many training steps ran; the last one was observed.
        paths: the trainable variables, in order.
        built: whether something had to be built for it.
        seconds: what it took beside the training step.
        fetch: fetches what was measured; waits until the device has computed it.
    """

    logs: Any
    full: bool
    steps: int
    paths: tuple[str, ...]
    built: bool
    seconds: float
    fetch: Callable[[], Fetched]


@dataclass
class _Seen:
    """What is known of a step before it is fetched."""

    key: str = ""
    built: bool = False
    before: list[Any] | None = None
    updates: list[Any] | None = None
    measured: list[Any] | None = None
    eagerly: Eagerly | None = None
    rate: Any = None
    scales: dict[int, Any] = field(default_factory=dict)
    tracked: tuple[Any, Any] | None = None
    frozen: tuple[str, ...] = ()
    logs: Any = None


class ObservedStep:
    """Observes steps of a compiled model.

    Args:
        model: compiled Keras model.
        plain: the model's own train function, which makes every step.
        backend: the backend's module, see `backend.load`.
        probes: what to measure.
        kind: `"train"`, or `"test"` for steps of an evaluation: `plain` is the model's
            test function then.
    """

    def __init__(
        self,
        model: Any,
        plain: Callable,
        backend: ModuleType,
        probes: tuple[Probe, ...],
        kind: str = "train",
    ):
        self.model = model
        self.plain = plain
        self.probes = measuring(probes)
        self._kind = kind
        self._backend = backend
        self._passes = [p for p in self.probes if p.of in _FULL]
        self._updates = [p for p in self.probes if p.of == "updates"]
        self._closed = backend.why_closed(model, plain, kind)
        self._eager = not self._closed and backend.is_eager(model)
        # Where a step is a function of the values of all variables, nothing else has
        # them while the epoch lasts.
        self._unreadable = bool(self._closed) and backend.STATELESS
        self._inside: Derived | Repeated | None = None
        if self._passes and not self._closed and not self._eager:
            make = Repeated if backend.STATELESS else Derived
            self._inside = make(model, plain, backend, self._passes, kind)
        # What Keras compiled before does what the model was like then.
        self._compiled = kind == "train" and not self._closed and not self._eager
        self._stale = self._compiled and bool(backend.traces_of(plain))
        self._iterators = backend.Iterators(model)
        self._variables: dict[str, Any] = {}
        self._compared: dict[str, Any] = {}
        self._comparisons: list[tuple[Any, Probe]] = []
        self._tracker: Any = None
        self._calls = 0
        self._last: tuple[str, Any] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not observed, with the reason."""
        found = [] if self._inside is None else self._inside.notes
        missing = self.probes if self._unreadable else self._passes
        if self._closed and missing:
            found.append(f"{MISSING}{of_probes(missing)}: {self._closed}")
        if self._closed and self.model.steps_per_execution > 1:
            found.append(f"{MISSING}updates of single steps: {self._closed}")
        return tuple(dict.fromkeys(found))

    @property
    def looks_inside(self) -> bool:
        """Whether a full observation shows more than a light one."""
        if self._inside is not None:
            return not self._inside.error
        return bool(self._passes) and self._eager

    def fits(self, model: Any, plain: Callable, probes: tuple[Probe, ...]) -> bool:
        """Whether this was made for the model and the train function that it has.

        What the model says of itself does not count: a layer frozen after the train
        function was traced is still trained, until there is a new one.
        """
        same = self.model is model and self.plain is plain
        if not same or self.probes != measuring(probes):
            return False
        traced = not self._eager and not self._closed and not self._backend.STATELESS
        return traced or self._calls < 2 or self._has(model.trainable_variables)

    def _has(self, variables: list[Any]) -> bool:
        known = [id(v) for v in self._variables.values()]
        return known == [id(v) for v in variables]

    def __call__(
        self,
        execution: Execution,
        full: bool = True,
        look: Callable[[Any], None] | None = None,
    ) -> Observation:
        """Runs one execution of the training step, observed.

        With `steps_per_execution > 1` only the last step of the execution is.

        Args:
            execution: of the model's train function.
            full: whether to measure layers and gradients too, if a probe asks for it.
            look: is shown the batch, as nested arrays, before the step runs.

        Raises:
            StopIteration: if there is no batch left.
        """
        began = now()
        traced = None if self._inside is None else self._inside.trace(execution)
        built = traced is not None or self._calls == 0
        self._calls += 1
        # Where nothing was traced before the first step, that one may have built more.
        if self._calls == 1 or (
            self._calls == 2
            and not isinstance(self._inside, Derived)
            and not self._has(self.model.trainable_variables)
        ):
            self._know_variables()
        if traced is not None and self._inside is not None:
            self._inside.derive(execution.iterator, traced, self._variables)
        seen, steps = self._step(execution, full, look)
        return Observation(
            logs=seen.logs,
            full=full,
            steps=steps,
            paths=tuple(self._variables),
            built=built or seen.built,
            seconds=now() - began - execution.seconds,
            fetch=lambda: self._fetch(seen),
        )

    def take_last(self) -> tuple[str, Any] | None:
        """Hands over the batch of the last full observation, with its key."""
        last, self._last = self._last, None
        return last

    def measure(
        self, key: str, batch: Any, state: tuple = ()
    ) -> Callable[[], Fetched] | None:
        """Measures a batch as if it were in such a step; makes no step.

        Args:
            key: of the step that it was in; nothing is traced for what no step was
                like.
            batch: the batch.
            state: as an `Execution` has it.

        Returns:
            What fetches the results; `None` if it cannot be measured.
        """
        if self._inside is None or self._inside.is_new(key):
            return None
        measured = self._inside.measure(key, state, batch, self._variables)
        seen = _Seen(measured=measured, key=key)
        return None if measured is None else lambda: self._fetch(seen)

    def _know_variables(self) -> None:
        trained = self.model.trainable_variables
        variables = [*trained, *(built_for_frozen(self.model) if self._stale else ())]
        paths = unique([v.path for v in variables])
        self._compared = dict(zip(paths, variables, strict=True))
        self._variables = dict(zip(paths, trained, strict=False))
        self._comparisons = [
            (self._backend.Variables(variables, probe.describer(View("", ()))), probe)
            for probe in self._updates
            if variables and probe.describer is not None
        ]
        tracker = loss_tracker(self.model)
        counted = hasattr(tracker, "total") and hasattr(tracker, "count")
        self._tracker = tracker if counted else None

    # The step.

    def _step(
        self, execution: Execution, full: bool, look: Callable | None
    ) -> tuple[_Seen, int]:
        per_execution = self.model.steps_per_execution
        inside = full and self.looks_inside
        iterator = execution.iterator
        seen, run = _Seen(), self.plain
        if self._inside is not None:
            seen.key = self._inside.key(iterator)
        if inside and self._eager:
            seen.eagerly = Eagerly(
                self.model,
                self._backend,
                self._passes,
                self._variables,
                raw=any(probe.of == "losses" for probe in self._passes),
            )
            run = seen.eagerly.around(self.plain)
        takes = (inside and not self._eager) or look is not None or per_execution > 1
        if self._closed or not takes:
            # How many steps there were is only known if one has counted them.
            self._around(execution, run, iterator, seen, per_execution == 1)
            return seen, per_execution
        batches = execution.take(per_execution)
        if not batches:
            execution.train(self.plain, iterator)  # Ends the epoch as without us.
            raise StopIteration
        *others, batch = batches
        if others:
            rest = self._iterators.over(others, iterator)
            execution.train(self.plain, rest, left=[batch])
        if look is not None:
            with self._backend.reading(self.model, execution.state):
                look(keras.tree.map_structure(self._backend.numpy_of_batch, batch))
        if inside and self._inside is not None:
            seen.key = self._inside.key(iterator, batch)
            seen.built = self._inside.is_new(seen.key)
            seen.measured = self._inside.measure(
                seen.key, execution.state, batch, self._variables
            )
            if seen.measured is not None:
                self._last = (seen.key, batch)
        alone = self._iterators.over([batch], iterator)
        self._around(execution, run, alone, seen, True)
        return seen, len(batches)

    def _around(
        self,
        execution: Execution,
        run: Callable,
        iterator: Any,
        seen: _Seen,
        compare: bool,
    ) -> None:
        """Makes the step, and compares what was before it with what is after it."""
        if self._unreadable:
            seen.logs = execution.train(run, iterator)
            return
        with self._backend.reading(self.model, execution.state):
            self._look_before(seen, compare)
        seen.logs = execution.train(run, iterator)
        if seen.eagerly is not None and seen.eagerly.error is not None:
            raise seen.eagerly.error
        with self._backend.reading(self.model, execution.state):
            self._look_after(seen)

    def _look_before(self, seen: _Seen, compare: bool) -> None:
        if compare:
            seen.before = [c.copies() for c, _ in self._comparisons]
            if self._compiled:
                named = self._compared.items()
                seen.frozen = tuple(path for path, v in named if not v.trainable)
            seen.tracked = self._track()
        if self._kind == "test":
            return
        for optimizer in optimizers_of(self.model):
            if seen.rate is None:
                seen.rate = self._backend.value_of(learning_rate(optimizer))
            scale = getattr(optimizer, "dynamic_scale", None)
            if scale is None:
                scale = optimizer.loss_scale_factor
            if scale is not None:
                value = seen.scales[id(optimizer)] = self._backend.value_of(scale)
                seen.scales.setdefault(id(None), value)  # For eager steps.

    def _look_after(self, seen: _Seen) -> None:
        if seen.before is not None:
            seen.updates = [
                comparison.updates(before)
                for (comparison, _), before in zip(
                    self._comparisons, seen.before, strict=True
                )
            ]
            seen.before = None
        if seen.tracked is not None:
            seen.tracked = (seen.tracked, self._track())

    def _track(self) -> tuple[Any, Any] | None:
        if self._tracker is None:
            return None
        tracker = self._tracker
        return tuple(self._backend.value_of(v) for v in (tracker.total, tracker.count))

    # After the step.

    def _fetch(self, seen: _Seen) -> Fetched:
        found: list[tuple[Slot, Any, Any]] = []
        inside = self._inside
        if seen.eagerly is not None:
            found = seen.eagerly.read()
        elif seen.measured is not None and inside is not None:
            found = inside.read(seen.key, seen.measured)
        losses = [float(np.mean(row)) for s, row, _ in found if s.kind == "loss"]
        raw: dict[str, list[np.ndarray]] = {}
        for slot, array, _ in found:
            if slot.kind == "raw" and slot.view is not None:
                raw.setdefault(slot.view.path, []).append(array)
        scales = {k: self._number(v) for k, v in seen.scales.items()}
        results = described(found, scales)
        paths = list(self._compared)
        for (comparison, probe), outputs in zip(
            self._comparisons, seen.updates or [], strict=False
        ):
            rows = comparison.read(outputs)
            results[probe.name] = [
                Described(View(path, ()), rows[i][0][None])
                for i, path in enumerate(paths)
            ]
        return Fetched(
            loss=float(np.mean(losses)) if losses else self._loss(seen),
            learning_rate=None if seen.rate is None else self._number(seen.rate),
            described=results,
            raw=raw,
            frozen=seen.frozen,
            weights_unread=inside is not None and inside.weights_unread(seen.key),
        )

    def _number(self, tensor: Any) -> float:
        return float(np.mean(self._backend.numpy_of(tensor)))

    def _loss(self, seen: _Seen) -> float | None:
        """The batch's loss by what its tracker has added up, or the step's own log."""
        if seen.tracked is not None:
            before, after = (
                [float(self._backend.numpy_of(x)) for x in pair]
                for pair in seen.tracked
            )
            if after[1] > before[1]:
                return (after[0] - before[0]) / (after[1] - before[1])
        logged = seen.logs.get("loss") if isinstance(seen.logs, dict) else None
        if logged is None or np.ndim(logged) or self._is_tracked(seen):
            return None
        return self._number(logged)

    def _is_tracked(self, seen: _Seen) -> bool:
        """Whether the log of the loss is an average over more than the step."""
        return self._tracker is not None and seen.tracked is None


def looked_at(probes: Iterable[Probe]) -> str:
    """What full observations look at, in words; what losses get if it is nothing else.

    Nothing if there is no such probe.
    """
    asked = {p.of for p in probes}
    inside = [WORDS[kind] for kind in _FULL[:2] if kind in asked]
    return " and ".join(inside or [WORDS[kind] for kind in _FULL[2:] if kind in asked])


def measuring(probes: tuple[Probe, ...]) -> tuple[Probe, ...]:
    """Those probes that look at steps."""
    return tuple(p for p in probes if p.of)
