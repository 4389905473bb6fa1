"""One `fit` of one model, watched once for all of our callbacks in it."""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_babysit.backend import load
from keras_babysit.probes.probe import EpochView, Probe, Reading, unique
from keras_babysit.records import (
    EpochRecord,
    LayerStats,
    ObservationCost,
    StepRecord,
    VariableStats,
    scalars,
)
from keras_babysit.step import budget
from keras_babysit.step.observe import (
    Observation,
    ObservationError,
    ObservedStep,
    UnobservableError,
    now,
)

#: Observed steps over which a unit has to be zero to count as dead.
DEAD_WINDOW = 20

# The callbacks of a `fit` keep its watch; it keeps `params`, whose id is the key.
_watches: weakref.WeakValueDictionary[int, Watch] = weakref.WeakValueDictionary()


def join(subscriber: Any, previous: Watch | None) -> Watch:
    """Returns the watch of the `fit` that is starting, with one more subscriber.

    Args:
        subscriber: a `Babysitter`; its `params` is one object for all callbacks of
            one `fit`.
        previous: the watch of the subscriber's last `fit`, whose compiled step may
            still serve.
    """
    watch = _watches.get(id(subscriber.params))
    if watch is None or watch.ended or watch.model is not subscriber.model:
        watch = Watch(subscriber.model, subscriber.params, previous)
        _watches[id(subscriber.params)] = watch
    watch.subscribers.append(subscriber)
    return watch


def subscribers_of(params: Any) -> list[Any]:
    """Returns our callbacks in the `fit` with these `params`."""
    watch = _watches.get(id(params))
    return [] if watch is None or watch.ended else list(watch.subscribers)


def last_steps(params: Any) -> list[StepRecord]:
    """Returns the last record of each of our callbacks in the `fit`."""
    last = [s.history.last_step for s in subscribers_of(params)]
    return [record for record in last if record is not None]


class Watch:
    """Decides which steps are observed, runs them, and hands out the records."""

    def __init__(self, model: Any, params: Any, previous: Watch | None = None):
        self.model = model
        self.params = params
        self.subscribers: list[Any] = []
        self.times = budget.StepTimes()
        self.ended = False
        self.last_event: tuple[Any, ...] = ()
        self._passed_by = False
        self._observed_step: ObservedStep | None = None
        if previous is not None and previous.model is not model:
            previous = None
        self._previous = previous._observed_step if previous else None
        self._observable = True
        self._probes: tuple[Probe, ...] | None = None
        self._pending: list[tuple[int, float, Observation, list]] = []
        self._running: tuple[float, bool, bool, int] | None = None
        self._alive: dict[str, deque[np.ndarray]] = {}
        self._losses: list[float] = []
        self._epoch = 0
        self._first_step: int | None = None
        self._epoch_start = 0
        self._batch = 0
        self._batches: int | None = (params or {}).get("steps")
        self._observed_in_epoch = 0
        self._compiled: dict[str, Callable] = previous._compiled if previous else {}
        self._shared: dict[Callable, Callable] = {}

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Probes of all subscribers, each once; fixed with the first step."""
        if self._probes is None:
            found = {p.name: p for s in self.subscribers for p in s.selected}
            self._probes = tuple(found[name] for name in sorted(found))
        return self._probes

    def cost(self) -> ObservationCost:
        """Returns what observing decided and cost so far."""
        return self.times.cost(self._spacing())

    def epoch_begin(self, epoch: int) -> None:
        """Notes the epoch; before the first one, records the untrained weights."""
        if self._first_step is None:
            optimizer = self.model.optimizer
            backend = load("step")
            self._first_step = (
                int(backend.numpy_of(backend.value_of(optimizer.iterations)))
                if optimizer is not None
                else 0
            )
            self._emit_state(EpochRecord(epoch=epoch, step=self._first_step))
        self._epoch = epoch
        self._batch = 0
        self._observed_in_epoch = 0
        self._running = None

    def batch_begin(self, batch: int) -> None:
        """Times the last step and puts the observed one in place if it is due."""
        began = now()
        self._time_last(began)
        self._batch = batch
        step = self._epoch_start + batch
        due = self._receivers(step) if self._observable else []
        self._running = (began, False, False, self.model.steps_per_execution)
        if due:
            self._fetch()
            self._put_in_place(step, due)

    def epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Hands out what is pending and the record of the epoch."""
        began = now()
        per_execution = self.model.steps_per_execution
        done = self._batch + per_execution
        if self._batches is not None:
            done = min(done, self._batches)
        self._batches = done
        if self._running is not None:
            # Its duration is unknown (validation may have run since): count it only.
            self.times.steps += per_execution
            self.times.observed += self._running[1]
            self._running = None
        self._epoch_start += done
        self._fetch()
        losses = np.array(self._losses, float)
        self._losses.clear()
        with np.errstate(invalid="ignore"):  # The spread of infinities is none.
            spread = float(losses.std()) if losses.size else None
        self._emit_state(
            EpochRecord(
                epoch=epoch + 1,
                step=(self._first_step or 0) + self._epoch_start,
                logs=scalars(logs),
                loss_mean=float(losses.mean()) if losses.size else None,
                loss_std=spread,
                loss_count=losses.size,
            )
        )
        for subscriber in list(self.subscribers):
            subscriber.receive(self.cost())
        self.times.add_extra(now() - began)

    def end(self) -> None:
        """Hands out what is pending; the watch is over."""
        self._fetch()
        self.ended = True
        if self._passed_by and not self.times.observed:
            self._give_up("only those of fit() can be, not those of train_on_batch()")

    def fail(self, error: Exception) -> None:
        """Stops watching, with one warning for all subscribers."""
        self._observable = False
        self._pending.clear()
        for i, subscriber in enumerate(list(self.subscribers)):
            subscriber.step_aside(error, quiet=i > 0)

    # The observed step.

    def _position(self, step: int) -> budget.Position:
        return budget.Position(
            step=step,
            batch=self._batch,
            batches=self._batches,
            observed_in_epoch=self._observed_in_epoch,
            per_execution=self.model.steps_per_execution,
        )

    def _receivers(self, step: int) -> list:
        """Who gets this step: whose schedule says so, and then all on a budget."""
        position = self._position(step)
        due = [s for s in self.subscribers if s.is_due(position, self.times)]
        return [s for s in self.subscribers if s in due or not s.every] if due else []

    def _spacing(self) -> int:
        fixed = [s.every for s in self.subscribers if s.every]
        paid = [s.overhead for s in self.subscribers if not s.every]
        found = [budget.spacing(max(paid), self.times)] if paid else []
        return min(fixed + [n for n in found if n], default=0)

    def _put_in_place(self, step: int, receivers: list) -> None:
        model = self.model
        # One of ours is still there if the step that it was for was never made.
        plain = getattr(model.train_function, "instead_of", model.train_function)
        if plain is None or not model.built:
            return  # A model that is built by its first batch: from the next one on.
        observed = self._build(plain)
        if observed is None:
            return
        began = self._running[0] if self._running else now()
        wanted = [s for s in self.subscribers if s.wants_batches()]
        due = True

        @functools.wraps(plain)
        def train_function(iterator: Any) -> Any:
            nonlocal due
            if not load("step").is_of_fit(iterator):
                self._passed_by = True  # By `train_on_batch`, in a callback perhaps.
                return plain(iterator)
            # Only one call is observed, however it ends. Another callback may have put
            # a function of its own around this one.
            if not due:
                return plain(iterator)
            due = False
            if model.train_function is train_function:
                model.train_function = plain
            try:
                result = observed(iterator, self._show if wanted else None)
            except UnobservableError as e:
                self._give_up(str(e))
                return e.logs
            except ObservationError as e:
                self.fail(e)
                return e.logs
            done = step + result.steps - 1
            self._running = (began, True, result.built, result.steps)
            self._observed_in_epoch += 1
            epoch = self._position_in_epochs(done)
            self._pending.append((done, epoch, result, receivers))
            return result.logs

        train_function.instead_of = plain  # type: ignore[attr-defined]
        model.train_function = train_function

    def _show(self, batch: Any) -> None:
        """Shows the data of a step to those who want to see some."""
        for subscriber in [s for s in self.subscribers if s.wants_batches()]:
            subscriber.see_batch(batch)

    def _give_up(self, reason: str) -> None:
        self._observable = False
        for subscriber in self.subscribers:
            subscriber.warn(f"steps cannot be observed: {reason}")

    def _build(self, plain: Callable) -> ObservedStep | None:
        model = self.model
        for built in (self._observed_step, self._previous):
            if built is not None and built.fits(model, plain, self.probes):
                self._observed_step = built
                return built
        backend = load("step")
        reason = backend.can_observe(model, plain)
        if reason is None and model.optimizer is None:
            reason = "the model has no optimizer"
        if reason is not None:
            self._give_up(reason)
            return None
        tap = any(s.activations == "tap" for s in self.subscribers)
        self._observed_step = ObservedStep(
            model, plain, backend, self.probes, "tap" if tap else "forward"
        )
        return self._observed_step

    def _position_in_epochs(self, step: int) -> float:
        """The epoch as a float, at the end of a step; whole while lengths are new."""
        if not self._batches:
            return float(self._epoch)
        return self._epoch + (step - self._epoch_start + 1) / self._batches

    def _time_last(self, at: float) -> None:
        if self._running is not None:
            began, observed, built, steps = self._running
            self.times.add(at - began, steps, observed, built)
            self._running = None

    # Records.

    def _fetch(self) -> None:
        """Converts what the observed steps returned, now that it has been computed."""
        pending, self._pending = self._pending, []
        for step, epoch, observation, receivers in pending:
            arrays = observation.arrays()
            readings = self._readings(arrays, observation)
            common: dict[str, Any] = {
                "step": (self._first_step or 0) + step,
                "epoch": epoch,
                "loss": _mean(arrays.get("loss")),
                "learning_rate": _mean(arrays.get("learning_rate")),
            }
            if common["loss"] is not None:
                self._losses.append(common["loss"])
            for receiver in receivers:
                chosen = [
                    readings[p.name] for p in receiver.selected if p.name in readings
                ]
                record = _step_record(common, chosen, observation.paths)
                receiver.receive(record)

    def _readings(
        self, arrays: dict[str, np.ndarray], observation: Observation
    ) -> dict[str, Reading]:
        readings = {}
        for probe in self.probes:
            if probe.read is None or probe.name not in observation.contexts:
                continue
            prefix = f"{probe.name}/"
            own = {
                name.removeprefix(prefix): array
                for name, array in arrays.items()
                if name.startswith(prefix)
            }
            reading = probe.read(own, observation.contexts[probe.name])
            for path, fields in reading.layers.items():
                if "alive" in fields:
                    fields.update(self._dead(path, fields.pop("alive")))
            readings[probe.name] = reading
        return readings

    def _dead(self, path: str, alive: np.ndarray) -> dict[str, Any]:
        window = self._alive.setdefault(path, deque(maxlen=DEAD_WINDOW))
        window.append(alive)
        return {
            "dead_fraction": float(1 - np.any(window, axis=0).mean()),
            "dead_window": len(window),
        }

    def _emit_state(self, record: EpochRecord) -> None:
        """Adds what the probes see between epochs, and hands the record out."""
        found: dict[str, dict[str, Any]] = {}
        if self.model.built:
            paths = unique([v.path for v in self.model.trainable_variables])
            shapes = [s.image_shape for s in self.subscribers if s.image_shape]
            shape = shapes[0] if shapes else None
            view = EpochView(
                self.model, tuple(paths), self._compile, shape, self._share
            )
            for probe in self.probes:
                if probe.epoch is not None:
                    found[probe.name] = probe.epoch(view)
        for subscriber in list(self.subscribers):
            fields: dict[str, Any] = {}
            for probe in subscriber.selected:
                fields |= found.get(probe.name, {})
            subscriber.receive(dataclasses.replace(record, **fields))

    def _compile(self, name: str, function: Callable) -> Callable:
        if name not in self._compiled:
            self._compiled[name] = load("step").compiled(function)
        return self._compiled[name]

    def _share(self, function: Callable) -> Callable:
        if function not in self._shared:
            self._shared[function] = load("step").shared(function)
        return self._shared[function]


def _step_record(
    common: dict[str, Any], readings: list[Reading], paths: tuple[str, ...]
) -> StepRecord:
    fields = _merged(readings)
    return StepRecord(
        **common,
        **fields.step,
        variables=tuple(
            VariableStats(path, **fields.variables[path])
            for path in paths
            if path in fields.variables
        ),
        layers=tuple(LayerStats(p, **v) for p, v in fields.layers.items()),
    )


def _mean(array: np.ndarray | None) -> float | None:
    """One value from those of the replicas."""
    return None if array is None else float(np.mean(array))


def _merged(readings: list[Reading]) -> Reading:
    merged = Reading()
    for reading in readings:
        merged.step.update(reading.step)
        for path, fields in reading.variables.items():
            merged.variables.setdefault(path, {}).update(fields)
        for path, fields in reading.layers.items():
            merged.layers.setdefault(path, {}).update(fields)
    return merged
