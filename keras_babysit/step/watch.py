"""One `fit` of one model, watched once for all of our callbacks in it."""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_babysit.backend import load
from keras_babysit.probes.probe import Describer, EpochView, Probe, unique
from keras_babysit.records import EpochRecord, ObservationCost, StepRecord, scalars
from keras_babysit.step import budget
from keras_babysit.step.execution import Execution, now, standing_in, users_own
from keras_babysit.step.observe import Observation, ObservedStep, looked_at
from keras_babysit.step.plan import MISSING
from keras_babysit.step.readings import Readings, validation_record
from keras_babysit.step.validation import Validations, joined

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
        self._reason = ""
        self._told: set[str] = set()
        self._probes: tuple[Probe, ...] | None = None
        self._pending: list[tuple[int, float, Observation, list]] = []
        self._running: tuple[float, int, float] | None = None
        self._readings = Readings()
        self._losses: list[float] = []
        self._epoch = 0
        self._first_step: int | None = None
        self._epoch_start = 0
        self._batch = 0
        self._batches: int | None = (params or {}).get("steps")
        self._observed_in_epoch = 0
        self._known: dict[Any, Callable] = previous._known if previous else {}
        self._validations: Validations = Validations(
            model, previous._validations if previous else None
        )

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Probes of all subscribers, each once; fixed with the first step."""
        if self._probes is None:
            found = {p.name: p for s in self.subscribers for p in s.selected}
            self._probes = tuple(found[name] for name in sorted(found))
        return self._probes

    def cost(self) -> ObservationCost:
        """Returns what observing decided and cost so far."""
        return self.times.cost(
            self._spacing(), self.unobserved, looked_at(self._probes or ())
        )

    @property
    def unobserved(self) -> tuple[str, ...]:
        """What is not observed, each with the reason."""
        notes = () if self._observed_step is None else self._observed_step.notes
        notes += self._validations.notes
        return (self._reason, *notes) if self._reason else notes

    def epoch_begin(self, epoch: int) -> None:
        """Notes the epoch; before the first one, records the untrained weights."""
        if self._first_step is None:
            began = now()
            optimizer = self.model.optimizer
            backend = load("step")
            self._first_step = (
                int(backend.numpy_of(backend.value_of(optimizer.iterations)))
                if optimizer is not None
                else 0
            )
            self._emit_state(EpochRecord(epoch=epoch, step=self._first_step))
            self.times.add_once(now() - began)
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
        # What was observed has been computed by now, or soon is.
        self._fetch()
        kind, receivers = self._receivers(step) if self._observable else (None, [])
        self._running = (now(), self.model.steps_per_execution, 0.0)
        if kind is not None:
            self._put_in_place(step, kind, receivers)

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
            self.times.steps += self._running[1]
            self._running = None
        self._epoch_start += done
        self._fetch()
        self._emit_validation()
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

    def test_begin(self) -> None:
        """Puts the observed test step in place, if `fit` validates and it is due."""
        wanted = self._validated()
        if self.ended or not self._observable or not wanted:
            return
        began = now()
        every = any(s.every for s in wanted)
        step = self._observed_step
        training = step.take_last if step is not None else lambda: None
        self._validations.begin(self.probes, every, training, self.fail)
        self.times.add_extra(now() - began)

    def test_end(self) -> None:
        """Takes it off again."""
        self._validations.end()

    def _validated(self) -> list[Any]:
        """Who wants to see validations."""
        return [
            s
            for s in self.subscribers
            if s.describes_epochs(self.times)
            and (s.wants_validation() or any(p.of == "losses" for p in s.selected))
        ]

    def settle(self) -> None:
        """Hands out what is pending."""
        try:
            self._fetch()
        except Exception as e:
            self.fail(e)

    def end(self) -> None:
        """Hands out what is pending; the watch is over."""
        self._fetch()
        self._validations.end()
        if self._observed_step is not None:
            self._observed_step.take_last()  # It holds memory.
        self.ended = True
        if self._passed_by and not self.times.observed:
            self._give_up("only those of fit() can be, not those of train_on_batch()")

    def fail(self, error: Exception) -> None:
        """Stops watching, with one warning for all subscribers."""
        self._observable = False
        self._pending.clear()
        with contextlib.suppress(Exception):
            self._validations.end()
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

    def _receivers(self, step: int) -> tuple[str | None, list]:
        """How the step is observed and for whom.

        A step that someone's schedule asks for goes to all on a budget too.
        """
        position = self._position(step)
        due = {id(s): s.is_due(position, self.times) for s in self.subscribers}
        for kind in (budget.FULL, budget.LIGHT):
            found = [s for s in self.subscribers if due[id(s)] == kind]
            if found:
                free = [s for s in self.subscribers if not s.every and s not in found]
                return kind, found + free
        return None, []

    def _spacing(self) -> int:
        fixed = [s.every for s in self.subscribers if s.every]
        paid = [s.overhead for s in self.subscribers if not s.every]
        found = [budget.spacing(max(paid), self.times)] if paid else []
        return min(fixed + [n for n in found if n], default=0)

    def _put_in_place(self, step: int, kind: str, receivers: list) -> None:
        model = self.model
        # One of ours is still there if the step that it was for was never made.
        plain = users_own(model.train_function)
        if plain is None:
            return
        observed = self._build(plain)
        wanted = [s for s in self.subscribers if s.wants_batches()]
        full = kind == budget.FULL
        due = True

        def observe(execution: Execution) -> None:
            nonlocal due
            if not due:
                return
            if not load("step").is_of_fit(execution.iterator):
                self._passed_by = True  # By `train_on_batch`, perhaps.
                return
            # Only one call is observed, however it ends. Another callback may have put
            # a function of its own around this one.
            due = False
            if model.train_function is function:
                model.train_function = plain
            look = self._show if wanted and full else None
            self._took(step, kind, observed(execution, full, look), receivers)

        function = model.train_function = standing_in(plain, observe, self.fail)

    def _took(self, step: int, kind: str, result: Observation, receivers: list) -> None:
        """Notes an observation, to be fetched later."""
        done = step + result.steps - 1
        if self._running is not None:
            self._running = (self._running[0], result.steps, result.seconds)
        self._observed_in_epoch += kind == budget.FULL
        epoch = self._position_in_epochs(done)
        self._pending.append((done, epoch, result, receivers))

    def _show(self, batch: Any) -> None:
        """Shows the data of a step to those who want to see some."""
        for subscriber in [s for s in self.subscribers if s.wants_batches()]:
            subscriber.see_batch(batch)

    def _give_up(self, reason: str) -> None:
        self._observable = False
        self._reason = f"{MISSING}any step: {reason}"
        self._say_what_is_not_observed()

    def _say_what_is_not_observed(self) -> None:
        """Warns once of what is missing; what is only different is in the report."""
        notes = [n for n in self.unobserved if n.startswith(MISSING)]
        new = [n.removeprefix(MISSING) for n in notes if n not in self._told]
        self._told.update(notes)
        if new:
            for subscriber in self.subscribers[:1]:
                subscriber.warn(f"cannot observe {'; '.join(new)}")

    def _build(self, plain: Callable) -> ObservedStep:
        model = self.model
        for built in (self._observed_step, self._previous):
            if built is not None and built.fits(model, plain, self.probes):
                self._observed_step = built
                return built
        self._observed_step = ObservedStep(model, plain, load("step"), self.probes)
        return self._observed_step

    def _position_in_epochs(self, step: int) -> float:
        """The epoch as a float, at the end of a step; whole while lengths are new."""
        if not self._batches:
            return float(self._epoch)
        return self._epoch + (step - self._epoch_start + 1) / self._batches

    def _time_last(self, at: float) -> None:
        if self._running is not None:
            began, steps, own = self._running
            self.times.add(at - began, steps, own)
            self._running = None

    # Records.

    def _fetch(self) -> None:
        """Converts what the observed steps returned, now that it has been computed."""
        pending, self._pending = self._pending, []
        for step, epoch, observation, receivers in pending:
            began = now()
            fetched = observation.fetch()
            if fetched.loss is not None:
                self._losses.append(fetched.loss)
            records = self._readings.records(
                (self._first_step or 0) + step,
                epoch,
                fetched,
                observation.paths,
                self.probes,
                [receiver.selected for receiver in receivers],
            )
            for receiver, record in zip(receivers, records, strict=True):
                receiver.receive(record)
            kind = budget.FULL if observation.full else budget.LIGHT
            seconds = observation.seconds + now() - began
            self.times.add_observation(kind, seconds, observation.built)
        if pending:
            self._say_what_is_not_observed()

    def _emit_validation(self) -> None:
        """Hands out what was observed of a validation."""
        taken = self._validations.take()
        if not taken.results:
            return
        began = now()
        at = (self._first_step or 0) + self._epoch_start, self._epoch + 1
        found = joined([one.fetch() for one in taken.results])
        again = taken.training and taken.training()
        for subscriber in self._validated():
            subscriber.see_validation(taken.batches)
            record = validation_record(*at, found, again, subscriber.selected)
            subscriber.receive(record)
        for one in taken.results:
            add = self.times.add_once if one.built else self.times.add_extra
            add(one.seconds)
        self.times.add_extra(now() - began)

    def _emit_state(self, record: EpochRecord) -> None:
        """Adds what the probes see between epochs, and hands the record out."""
        found: dict[str, dict[str, Any]] = {}
        wanted = [s for s in self.subscribers if s.describes_epochs(self.times)]
        if wanted and self.model.trainable_variables:
            paths = unique([v.path for v in self.model.trainable_variables])
            shapes = [s.image_shape for s in self.subscribers if s.image_shape]
            shape = shapes[0] if shapes else None
            view = EpochView(self.model, tuple(paths), self._describe, shape)
            for probe in self.probes:
                if probe.epoch is not None:
                    found[probe.name] = probe.epoch(view)
        for subscriber in list(self.subscribers):
            fields: dict[str, Any] = {}
            for probe in subscriber.selected:
                fields |= found.get(probe.name, {})
            subscriber.receive(dataclasses.replace(record, **fields))

    def _describe(self, values: Sequence[Any], describer: Describer) -> np.ndarray:
        key = (describer, tuple((x.dtype, tuple(x.shape)) for x in values))
        rows, self._known[key] = load("step").describe_values(
            values, describer, self._known.get(key)
        )
        return rows
