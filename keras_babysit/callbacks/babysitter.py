"""Babysitter: the Keras callback. Wiring only."""

from __future__ import annotations

import contextlib
import math
import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras

from keras_babysit import probes as all_probes
from keras_babysit import rules as all_rules
from keras_babysit import sinks as all_sinks
from keras_babysit.backend import load
from keras_babysit.errors import number, warn, whole_or_none, wrong
from keras_babysit.fixes.trained import Trained
from keras_babysit.history import RunHistory
from keras_babysit.records import Finding, ObservationCost, Record
from keras_babysit.report import Report, make_report
from keras_babysit.rules.diagnosis import Diagnosis
from keras_babysit.rules.rule import Rule
from keras_babysit.sinks.console import ConsoleSink
from keras_babysit.sinks.opened import OpenedSinks
from keras_babysit.sinks.sink import Run, Sink, UnwritableError
from keras_babysit.step import budget, watch

_SEE = "Training continues without it."


class Babysitter(keras.callbacks.Callback):
    """Watches the real training step, shows it in TensorBoard, and reports problems.

    On observed steps it records, for each trainable variable, the weights, the
    gradient, the update that the optimizer made, and their ratio (about 1e-3 is
    healthy); for each layer its activations, with zeros, saturation and dead units; the
    loss of the batch and the learning rate; for each epoch Keras's logs, histograms of
    the weights and pictures of the first layer's weights. See CS231n, "Neural Networks
    Part 3: Learning and Evaluation", section "Babysitting the learning process".

    From these records, the model and a sample of the data, rules find what is wrong, in
    which layer, since when, and what to change. A finding prints one line in the
    console; `report` has all of it.

    It only watches: weights, optimizer and history are the same as without it. If
    something in it fails, it warns once and steps aside.

    Args:
        log_dir: directory of the TensorBoard files, which go to its `train` and
            `validation` subdirectories, as with `keras.callbacks.TensorBoard`.
        overhead: share of the training time that observing may add, 0.01 for 1 %.
            Observed steps are spaced so that their measured cost stays within it.
            Most of them are *light*: weights, updates, loss and learning rate, which
            is nearly free. *Full* ones also have gradients and activations. In
            addition, the first steps have an advance of 20 full observations or two
            seconds, whichever is less, and one step in each epoch is always observed.
        strict: whether to keep to `overhead` without the advance and the step in each
            epoch, and to count what is built once too. Then only the first step is
            observed before the budget allows it, and histograms of the weights are
            recorded only after epochs whose budget covers them.
        every: observe one step in this many instead, each of them fully.
        probes: names of what to measure, any of `"update_ratio"`, `"gradients"`,
            `"activations"`, `"loss"`, `"weights"`, `"first_layer"`; all by default.
        image_shape: `(height, width)` or `(height, width, channels)` of the inputs,
            if they are flattened images: for pictures of a first Dense layer.
        rules: rules to apply, or their names; all by default, see `keras-babysit
            rules`. `rules=[]` applies none.
        ignore: names of rules to leave out.
        thresholds: rule name to its thresholds,
            `{"update-ratio-too-high": {"limit": 3e-2}}`.
        sinks: where to write what is recorded: `"tensorboard"`, `"wandb"`, `"mlflow"`,
            `"trackio"`, or objects such as `keras_babysit.sinks.WandB(project="p")`.
            Trackers join the run that is active, or start one. `sinks=[]` writes
            nothing, and keeps `report` and `history` in memory.
        on_finding: `"warn"` reports each finding once; `"stop"` also stops training
            after the batch of the first finding of severity `"error"`; a function is
            called with each new `Finding`, and what it raises stops training.
        verbose: 0 for no output to the console; 1 for a line a finding and a summary
            at the end.

    Attributes:
        report: a `Report` of the findings so far, with a table of the layers.
        history: a `RunHistory` with everything recorded, as series.
        observation: an `ObservationCost`: steps observed, what it cost. `None`
            before training.

    Raises:
        ImportError: if a sink needs a package that is not installed.
        ValueError: for arguments out of range; at the start of `fit`, if `log_dir`
            cannot be written or the Keras backend is not supported.

    Example:
    ```python
    model.fit(x, y, epochs=10, callbacks=[keras_babysit.Babysitter("logs/run1")])
    ```
    """

    def __init__(
        self,
        log_dir: str | os.PathLike,
        *,
        overhead: float = 0.01,
        strict: bool = False,
        every: int | None = None,
        probes: Sequence[str] | None = None,
        image_shape: Sequence[int] | None = None,
        rules: Sequence[str | Rule] | None = None,
        ignore: Iterable[str] = (),
        thresholds: Mapping[str, Mapping[str, Any]] | None = None,
        sinks: Sequence[str | Sink] = ("tensorboard",),
        on_finding: str | Callable[[Finding], Any] = "warn",
        verbose: int = 1,
    ):
        super().__init__()
        self.log_dir = _checked_log_dir(log_dir)
        self.overhead = _checked_overhead(overhead)
        self.strict = _checked_strict(strict)
        self.every = whole_or_none("every", every)
        if self.every and self.strict:
            raise ValueError(
                "`every` fixes which steps are observed, so there is no "
                "budget to be strict about: leave one of them out. "
                f"Received: every={every!r}, strict={strict!r}"
            )
        self.selected = all_probes.select(probes)
        self.image_shape = _checked_image_shape(image_shape)
        self.rules = all_rules.select(rules, ignore, thresholds)
        self.sinks = all_sinks.select(sinks)
        self.on_finding = _checked_on_finding(on_finding)
        self.verbose = _checked_verbose(verbose)
        self.history = RunHistory()
        self._diagnosis = Diagnosis(self.history, self.rules)
        self._console: Any = None
        self._stopped = ""
        self._notes: list[str] = []
        self._watch: watch.Watch | None = None
        self._sink: Any = None
        self._is_aside = False
        self._users_error: BaseException | None = None
        self._waits, self._waiting = False, list[Finding]()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy gets; it has no part in the `fit` that this one is in."""
        of_fit = dict.fromkeys(("_model", "_watch", "_sink", "_console"))
        return {**vars(self), **of_fit}

    @property
    def observation(self) -> ObservationCost | None:
        """What observing decided and cost in the last or running `fit`."""
        return self._watch.cost() if self._watch is not None else None

    @property
    def report(self) -> Report:
        """What was found so far, with the numbers of each layer."""
        if self._watch is not None:
            # After Ctrl-C nothing else asks for the last observed step.
            self._watch.settle()
        return make_report(
            self.history,
            self._diagnosis.findings,
            cost=self.observation,
            stopped=self._stopped,
            notes=tuple(self._notes),
            trained=self._trained,
        )

    @property
    def _trained(self) -> Trained | None:
        model, facts = self.model, self.history.model
        if model is None or facts is None:
            return None
        return Trained(weakref.ref(model), facts, self.history.data)

    def note(self, line: str) -> None:
        """Adds a line to the report, such as what a repair has done."""
        self._notes.append(line)

    # Keras's hooks. Not `on_train_batch_end`: a callback that has it makes Keras
    # fetch the logs of every batch.

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Opens the event files and joins the other callbacks of ours."""
        began = time.perf_counter()
        self._is_aside, self._users_error, self._stopped = False, None, ""
        self._waits, self._waiting = False, []
        # What an interrupted `fit` left behind; its errors were of that one.
        with contextlib.suppress(Exception):
            self._close_sink()
        try:
            load("step")
        except (ImportError, ValueError):
            raise  # There is nothing that could be done with this backend.
        except Exception as e:
            self.step_aside(e)
            return
        try:
            self._sink = self._open_sink()
            self._console = ConsoleSink(self.verbose)
            self._watch = watch.join(self, self._watch)
            if not self.model.trainable_variables and self.model.built:
                self.warn(
                    "the model has no trainable weights: only activations, loss and "
                    "Keras's logs can be recorded"
                )
            self._diagnose("begin", self.model)
            self._watch.times.add_once(time.perf_counter() - began)
        except UnwritableError:
            raise
        except Exception as e:
            self.step_aside(e)
        self._raise_users_error()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Passes the epoch on."""
        self._lead("epoch_begin", epoch)
        self._raise_users_error()

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Puts the observed step in place if it is due."""
        self._lead("batch_begin", batch)
        self._raise_users_error()

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Puts the observed test step in place if a validation is due."""
        self._lead("test_begin")
        self._raise_users_error()

    def on_test_end(self, logs: dict | None = None) -> None:
        """Takes it off again, if no batch came."""
        self._lead("test_end")
        self._raise_users_error()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Records the epoch and flushes the files."""
        self._lead("epoch_end", epoch, logs or {})
        self._raise_users_error()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Tells the summary and closes the files."""
        self._lead("end")
        try:
            if not self._is_aside:
                self._finish()
        except Exception as e:
            self.step_aside(e)
        self._raise_users_error()

    def _finish(self) -> None:
        began = time.perf_counter()
        self._diagnose("end")
        if self._watch is not None:
            self._watch.times.add_extra(time.perf_counter() - began)
        if self.rules and self._sink is not None:
            # Once more: told findings are updated without being told again.
            self._write_findings()
            self._sink.emit_run(self.report, self.history.position[0])
            self._console.summary(self.report)
        self._close_sink()

    def _raise_users_error(self) -> None:
        """Raises what `on_finding` has raised: it is the user's, and ends the `fit`."""
        waiting, self._waiting = self._waiting, []
        for finding in waiting:
            self._act_on(finding)
        error, self._users_error = self._users_error, None
        if error is not None:
            raise error

    # What the watch calls.

    def is_due(self, position: budget.Position, times: budget.StepTimes) -> str | None:
        """How this callback wants the step observed, if at all."""
        if self.every:
            return budget.every_steps(self.every, position)
        return budget.within_budget(self.overhead, position, times, self.strict)

    def describes_epochs(self, times: budget.StepTimes) -> bool:
        """Whether this callback wants the weights described between epochs now."""
        if self.every:
            return True
        return budget.pays_between_epochs(self.overhead, times, self.strict)

    def receive(self, record: Record) -> None:
        """Takes a record: to the history and to the files."""
        try:
            if not isinstance(record, ObservationCost):
                self.history.append(record)
            if self._sink is not None:
                self._sink.emit(record)
                if isinstance(record, ObservationCost):
                    self._sink.flush()
            if not isinstance(record, ObservationCost):
                self._diagnose("recorded", record)
        except Exception as e:
            self.step_aside(e)

    def wants_batches(self) -> bool:
        """Whether the diagnosis wants to see more of the data."""
        return self._diagnosis.wants_batches

    def see_batch(self, batch: Any) -> None:
        """Takes a batch that is about to be trained on: nested NumPy arrays."""
        # What a user's function assigns now, no step would be made with.
        self._waits = load("step").STATELESS
        try:
            self._diagnose("batch", self.model, batch)
        except Exception as e:
            self.step_aside(e)
        finally:
            self._waits = False

    def wants_validation(self) -> bool:
        """Whether the diagnosis wants to see some of the validation data."""
        return self._diagnosis.wants_validation

    def see_validation(self, batches: Sequence[Any]) -> None:
        """Takes the first batches of a validation, if they are wanted."""
        if not self.wants_validation():
            return
        try:
            self._diagnose("validation", self.model, batches)
        except Exception as e:
            self.step_aside(e)

    def warn(self, message: str) -> None:
        """Warns of something that does not stop the watching."""
        warn(f"{type(self).__name__}: {message}.")

    def step_aside(self, error: BaseException, quiet: bool = False) -> None:
        """Ends this callback's part in the training, with one warning."""
        if self._watch is not None and self in self._watch.subscribers:
            self._watch.subscribers.remove(self)
        with contextlib.suppress(Exception):
            self._close_sink()
        is_first, self._is_aside = not self._is_aside, True
        if is_first and not quiet:
            warn(
                f"{type(self).__name__} stopped watching because of an internal error: "
                f"{type(error).__name__}: {error}. {_SEE}"
            )

    def _lead(self, event: str, *args: Any) -> None:
        """Passes an event to the watch, once for all of our callbacks in this fit."""
        if self._watch is None or self not in self._watch.subscribers[:1]:
            return
        if self._watch.last_event == (event, *args[:1]):
            return  # Whoever led before us stepped aside in the middle of it.
        self._watch.last_event = (event, *args[:1])
        try:
            getattr(self._watch, event)(*args)
        except Exception as e:
            self._watch.fail(e)

    def _diagnose(self, event: str, *args: Any) -> None:
        """Passes an event to the diagnosis, and tells what is new."""
        if not self.rules:
            return
        told = getattr(self._diagnosis, event)(*args)
        if self._diagnosis.described and self._sink is not None:
            self._diagnosis.described = False
            self._sink.emit_run(self.report, self.history.position[0])
        if not told:
            return
        if self._console is not None:
            # Where Keras draws a progress bar, a line of ours has to break it.
            self._console.tell(told, bar=self.params.get("verbose") == 1)
        self._write_findings()
        for finding in told:
            if not finding.healed:
                self._act_on(finding)

    def _write_findings(self) -> None:
        if self._sink is not None:
            at = self.history.position[0]
            self._sink.emit_findings(self._diagnosis.findings, at)
            self._sink.flush()

    def _act_on(self, finding: Finding) -> None:
        if callable(self.on_finding):
            if self._waits:
                self._waiting.append(finding)
                return
            try:
                self.on_finding(finding)
            except Exception as e:
                self._users_error = self._users_error or e
        elif self.on_finding == "stop" and finding.severity == "error":
            self._stopped = self._stopped or f"{finding.rule}: {finding}"
            self.model.stop_training = True

    def _open_sink(self) -> Any:
        from keras_babysit.inspection.layers import outline
        from keras_babysit.inspection.settings import hyperparameters

        model = self.model
        run = Run(self.log_dir, lambda: outline(model), hyperparameters(model))
        return OpenedSinks(self.sinks, run, self._leave_out)

    def _leave_out(self, sink: str, error: Exception) -> None:
        """Says that a sink has failed."""
        self.warn(
            f'the sink "{sink}" is left out from now on, because it failed: '
            f"{type(error).__name__}: {error}"
        )

    def _close_sink(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()


def _checked_log_dir(log_dir: Any) -> str:
    if not isinstance(log_dir, str | os.PathLike) or not os.fspath(log_dir):
        raise ValueError(
            f"`log_dir` must be the path of a directory. Received: log_dir={log_dir!r}"
        )
    path = str(os.fspath(log_dir))
    if "://" in path:
        raise ValueError(
            "`log_dir` must be a directory of this machine's file system; write "
            f"there and copy the files. Received: log_dir={path!r}"
        )
    return path


def _checked_overhead(overhead: Any) -> float:
    return number(
        "overhead",
        overhead,
        "a positive share of the training time, such as 0.01 for 1 %",
        lambda share: 0 < share < math.inf,
    )


def _checked_strict(strict: Any) -> bool:
    if not isinstance(strict, bool):
        raise wrong("strict", "True or False", strict)
    return strict


def _checked_on_finding(on_finding: Any) -> str | Callable[[Finding], Any]:
    if not callable(on_finding) and on_finding not in ("warn", "stop"):
        raise ValueError(
            '`on_finding` must be "warn", "stop" or a function of a finding. '
            f"Received: on_finding={on_finding!r}"
        )
    return on_finding


def _checked_verbose(verbose: Any) -> int:
    if verbose not in (0, 1):
        raise ValueError(f"`verbose` must be 0 or 1. Received: verbose={verbose!r}")
    return int(verbose)


def _checked_image_shape(shape: Any) -> tuple[int, ...] | None:
    if shape is None:
        return None
    sizes = tuple(shape) if isinstance(shape, Sequence) else ()
    if len(sizes) not in (2, 3) or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise ValueError(
            "`image_shape` must be (height, width) or (height, width, channels). "
            f"Received: image_shape={shape!r}"
        )
    return sizes
