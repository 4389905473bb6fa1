"""The sink of MLflow."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from keras_babysit.report import Report
from keras_babysit.sinks.sink import Run, Sink
from keras_babysit.sinks.tracker import (
    COLUMNS,
    EPOCH,
    FINDINGS,
    Client,
    Row,
    Tracker,
)

#: So many numbers or parameters MLflow takes at once.
_MOST_METRICS, _MOST_PARAMS = 1000, 100
#: Its names and the values of parameters are not longer.
_LONGEST, _LONGEST_VALUE = 240, 500
#: What a name cannot have in it.
_FORBIDDEN = re.compile(r"[^\w\-. :/]", re.ASCII)


class MLflow(Sink):
    """Logs to MLflow: to the run that is active, or to a new one.

    The step of every number is that of the optimizer, and `babysit/epoch` says which
    epoch that is. Findings are the artifact `babysit/findings.json`, hyperparameters
    the run's parameters, unless it has one of that name.

    Args:
        **start_run: arguments of `mlflow.start_run`, for a new run. It is named after
            the last part of `log_dir`, unless `run_name` is among them.

    Example:
    ```python
    sink = keras_babysit.sinks.MLflow(tags={"team": "vision"})
    keras_babysit.Babysitter("logs/run1", sinks=["tensorboard", sink])
    ```
    """

    name: ClassVar[str] = "mlflow"
    package: ClassVar[str] = "mlflow"

    def __init__(self, **start_run: Any):
        self.start_run = start_run

    def open(self, run: Run) -> Tracker:
        """Joins the active run or starts one."""
        import mlflow

        joined = mlflow.active_run()
        name = os.path.basename(os.path.abspath(run.log_dir))
        active = joined or mlflow.start_run(**{"run_name": name, **self.start_run})
        return Tracker(_Client(active.info.run_id, is_ours=joined is None), run)


SINK = MLflow


class _Client(Client):
    def __init__(self, run_id: str, is_ours: bool):
        import mlflow

        # Not the functions of the package: their active run is that of a thread.
        self._client = mlflow.MlflowClient()
        self._run_id, self._is_ours = run_id, is_ours
        self._waiting: list[Any] = []

    def log(self, row: Row) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [
            Metric(_allowed(tag), float(value), now, row.step)
            for tag, value in {**row.values, EPOCH: row.epoch}.items()
        ]
        if len(self._waiting) >= _MOST_METRICS:
            self.flush()

    def flush(self) -> None:
        # A request takes a while, however little is in it.
        waiting, self._waiting = self._waiting, []
        for i in range(0, len(waiting), _MOST_METRICS):
            self._client.log_batch(self._run_id, waiting[i : i + _MOST_METRICS])

    def configure(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        # A parameter cannot be changed.
        known = self._client.get_run(self._run_id).data.params
        params = [
            Param(_allowed(name), str(value)[:_LONGEST_VALUE])
            for name, value in settings.items()
            if _allowed(name) not in known
        ]
        for i in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._run_id, params=params[i : i + _MOST_PARAMS])

    def findings(self, table: list[list[Any]], step: int) -> None:
        # As `mlflow.load_table` and its user interface read a table.
        found = {"columns": list(COLUMNS), "data": table}
        self._client.log_dict(self._run_id, found, f"{FINDINGS}.json")

    def conclude(self, report: Report) -> None:
        self._client.set_tag(self._run_id, "babysit.verdict", report.verdict)

    def close(self) -> None:
        import mlflow

        if not self._is_ours:
            return
        active = mlflow.active_run()
        if active is not None and active.info.run_id == self._run_id:
            mlflow.end_run()
        else:
            self._client.set_terminated(self._run_id)


def _allowed(name: str) -> str:
    """A name that MLflow takes: like no other's, as `names.harmless` has it."""
    shown = _FORBIDDEN.sub("_", name)
    if shown == name and len(name) <= _LONGEST:
        return name
    mark = hashlib.blake2s(name.encode(), digest_size=4).hexdigest()
    return f"{shown[:_LONGEST]}-{mark}"
