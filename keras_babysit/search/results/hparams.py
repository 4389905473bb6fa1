"""TensorBoard's HParams tab of a search, written without TensorFlow.

`tensorboard --logdir DIR` shows a row for each trial, as it is so far: its values, its
status, and all metrics at its best epoch. What is written follows from the search's
events only, into files of fixed names that are written once: a search that goes on, or
was killed between two files, doubles nothing and misses nothing.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams import summary_v2 as api

from keras_babysit.document import markdown
from keras_babysit.event_files import replacing, summaries
from keras_babysit.event_files.frames import framed
from keras_babysit.search.results.dimensions import Dimension, dimensions
from keras_babysit.search.store import EVENTS, LOGS, Store, lines_of, started
from keras_babysit.search.trials import Objective, Outcome, Trial, outcome_of

#: The files, in the order of their names, as TensorBoard reads those of one run.
EXPERIMENT = "events.out.tfevents.0000000000.search"
START, END = f"{EXPERIMENT}.0", f"{EXPERIMENT}.1"
#: Before the names of metrics: a card of their own in the other tabs.
METRIC = "trial/"
#: Hyperparameters of the search, not of the model.
STAGE, ORIGIN = "search/stage", "search/origin"

#: Numbers that every trial has, for those that failed before the first epoch too.
_ABOUT = {
    "best_epoch": "Epoch with the best score, from 1.",
    "epochs": "Epochs trained, all folds together.",
    "seconds": "Duration of the whole trial.",
    "parameters": "Number of the model's weights.",
}
#: Values that the tab knows; others are shown as their text.
_PLAIN = bool | int | float | str


class HParams:
    """The tab of one search."""

    def __init__(self, store: Store):
        self._store = store
        self._settings: Mapping[str, Any] | None = None
        self._forget()

    def _forget(self) -> None:
        self._offset = 0
        self._began = 0.0
        self._spaces: list[Mapping[str, Any]] = []
        self._trials: dict[int, tuple[Trial, float]] = {}

    def update(self) -> None:
        """Writes what the tab does not show yet; call it when something has happened.

        In the folder itself the experiment: hyperparameters with their domains, and
        metrics. It is written when the first trial with metrics has ended, and anew
        when there is more to say; a running TensorBoard shows the first one until it
        is started again. In each trial's `logs` folder a file when it has started and
        one when it has ended.

        A trial that failed, or was stopped without a score, has the status `failure`;
        one that was stopped with a score is a `success` of fewer epochs. The Text tab
        says why.

        What cannot be written is warned of: the tab is a view, and no reason to end a
        search.
        """
        try:
            self._settings = self._settings or self._store.settings()
            if self._settings is not None:
                self._read(Objective(**self._settings["objective"]))
        except OSError as error:
            self._forget()  # The next time from the start: some files are missing.
            # Someone may have turned warnings into errors.
            with contextlib.suppress(Warning):
                warnings.warn(
                    f"TensorBoard's HParams tab is not up to date: {error}",
                    stacklevel=2,
                )

    def _read(self, objective: Objective) -> None:
        """Reads the events that are new: a long search has a great many."""
        has_ended = False
        events = list(self._new_events())
        # A trial that was trained again has ended twice: the last time counts.
        ends = {e["number"]: e for e in events if e["event"] == "ended"}
        for event in events:
            self._began = self._began or event["time"]
            if event["event"] == "stage":
                self._spaces.append(event.get("space") or {})
            elif event["event"] == "started":
                self._started(started(event), event["time"])
            elif event["event"] == "ended" and ends[event["number"]] is event:
                self._ended(event, objective)
                has_ended = True
        if has_ended:
            self._write_experiment(objective)

    def _new_events(self) -> Iterator[dict[str, Any]]:
        try:
            with open(self._store.directory / EVENTS, "rb") as file:
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        yield from lines_of(whole)

    def _started(self, trial: Trial, time: float) -> None:
        # Of a trial that was started again, the first time.
        trial, time = self._trials.setdefault(trial.number, (trial, time))
        path = self._store.folder(trial) / LOGS / START
        if not path.exists():
            _write(path, time, [_start(trial, time)])

    def _ended(self, event: Mapping[str, Any], objective: Objective) -> None:
        trial, time = self._trials[event["number"]]
        # A worker that begins a trial anew empties the folder.
        self._started(trial, time)
        outcome, again = outcome_of(event["outcome"]), trial.outcome is not None
        self._trials[trial.number] = replace(trial, outcome=outcome), time
        path = self._store.folder(trial) / LOGS / END
        if again or not path.exists():
            _write_end(path, outcome, event["time"], objective)

    def _write_experiment(self, objective: Objective) -> None:
        trials = [trial for trial, _ in self._trials.values()]
        metrics = _metrics(trials, objective)
        settings = self._settings or {}
        if not metrics:
            return
        found = dimensions([settings.get("space") or {}, *self._spaces], trials)
        staged = len(settings.get("stages") or ()) > 1 or bool(
            settings.get("repeat_top")
        )
        value = _experiment(found, metrics, trials, staged, self._began)
        _write(self._store.directory / EXPERIMENT, self._began, [value])


def _write_end(path: Path, outcome: Outcome, time: float, objective: Objective) -> None:
    numbers = {**outcome.metrics, objective.name: outcome.score}
    numbers |= {name: getattr(outcome, name) for name in _ABOUT}
    values = [
        summaries.scalar(f"{METRIC}{name}", float(value))
        for name, value in numbers.items()
        if value is not None and math.isfinite(value)
    ]
    reason = f": {markdown.escaped(outcome.reason)}" if outcome.reason else ""
    values.append(summaries.text(f"{METRIC}outcome", f"**{outcome.status}**{reason}"))
    has_score = outcome.score is not None and math.isfinite(outcome.score)
    is_success = outcome.status == "completed" or (
        outcome.status == "stopped" and has_score
    )
    end = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_SUCCESS if is_success else api_pb2.STATUS_FAILURE,
        end_time_secs=time,
    )
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    values.append(_value(metadata.SESSION_END_INFO_TAG, data))
    _write(path, time, values, step=outcome.best_epoch or 0)


def _start(trial: Trial, time: float) -> Any:
    values = {**trial.values, STAGE: trial.stage + 1, ORIGIN: trial.origin}
    known = {n: v if isinstance(v, _PLAIN) else str(v) for n, v in values.items()}
    return api.hparams_pb(known, trial.name, time).value[0]


def _metrics(trials: Iterable[Trial], objective: Objective) -> list[str]:
    """All names of metrics, the objective first; none before a trial has some."""
    names = [name for t in trials if t.outcome for name in t.outcome.metrics]
    return list(dict.fromkeys([objective.name, *names, *_ABOUT])) if names else []


def _experiment(
    found: Iterable[Dimension],
    metrics: Iterable[str],
    trials: Sequence[Trial],
    staged: bool,
    time: float,
) -> Any:
    infos = [_hparam(dimension) for dimension in found]
    if staged:
        stages = sorted({trial.stage + 1 for trial in trials})
        origins = dict.fromkeys(trial.origin for trial in trials)
        infos.append(_hparam(Dimension(STAGE, choices=tuple(stages)), ""))
        infos.append(_hparam(Dimension(ORIGIN, choices=tuple(origins)), ""))
    experiment = api_pb2.Experiment(
        hparam_infos=infos,
        metric_infos=[_metric(name) for name in metrics],
        time_created_secs=time,
    )
    return _value(
        metadata.EXPERIMENT_TAG,
        plugin_data_pb2.HParamsPluginData(experiment=experiment),
    )


def _hparam(dimension: Dimension, about: str | None = None) -> Any:
    about = str(dimension) if about is None else about
    differs = not dimension.is_fixed
    info = api_pb2.HParamInfo(name=dimension.name, description=about, differs=differs)
    if dimension.choices:
        kind: type = str
        if all(isinstance(c, bool) for c in dimension.choices):
            kind = bool
        elif all(isinstance(c, int | float) for c in dimension.choices):
            kind = float
        domain = api.Discrete([kind(c) for c in dimension.choices], kind)
    else:
        domain = api.RealInterval(float(dimension.low), float(dimension.high))
    domain.update_hparam_info(info)
    return info


def _metric(name: str) -> Any:
    kind = api.Metric.VALIDATION if name.startswith("val_") else api.Metric.TRAINING
    return api.Metric(
        f"{METRIC}{name}",
        display_name=name,
        description=_ABOUT.get(name, f"{name} at the trial's best epoch."),
        dataset_type=None if name in _ABOUT else kind,
    ).as_proto()


def _value(tag: str, data: Any) -> Any:
    return summary_pb2.Summary.Value(
        tag=tag,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )


def _write(path: Path, time: float, values: list[Any], step: int = 0) -> None:
    """Writes an event file so that there is all of it or nothing."""
    version = event_pb2.Event(wall_time=time, file_version="brain.Event:2")
    summary = summary_pb2.Summary(value=values)
    event = event_pb2.Event(wall_time=time, step=step, summary=summary)
    content = b"".join(
        framed(one.SerializeToString(deterministic=True)) for one in (version, event)
    )
    if path.exists() and path.read_bytes() == content:
        return
    replacing.write(path, content, sync=False)
