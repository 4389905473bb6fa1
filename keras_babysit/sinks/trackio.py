"""The sink of Trackio."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from keras_babysit.report import Report
from keras_babysit.sinks.sink import Run, Sink
from keras_babysit.sinks.tracker import (
    COLUMNS,
    EPOCH,
    FINDINGS,
    STEP,
    Client,
    Row,
    Tracker,
)


class Trackio(Sink):
    """Logs to Trackio: to the run that is active, or to a new one.

    The step of every row is that of the optimizer; `babysit/step` and `babysit/epoch`
    can be chosen as the x-axis. Findings are a table, hyperparameters go to the run's
    config without replacing what is there.

    Args:
        **init: arguments of `trackio.init`, for a new run. The project is
            `"keras_babysit"` and the run named after the last part of `log_dir`,
            unless `project` and `name` are among them.

    Example:
    ```python
    sink = keras_babysit.sinks.Trackio(project="digits")
    keras_babysit.Babysitter("logs/run1", sinks=["tensorboard", sink])
    ```
    """

    name: ClassVar[str] = "trackio"
    package: ClassVar[str] = "trackio"

    def __init__(self, **init: Any):
        self.init = init

    def open(self, run: Run) -> Tracker:
        """Joins the active run or starts one."""
        import trackio
        from trackio import context_vars

        joined = context_vars.current_run.get()
        name = os.path.basename(os.path.abspath(run.log_dir))
        settings = {"project": "keras_babysit", "name": name, **self.init}
        active = joined or trackio.init(**settings)
        return Tracker(_Client(active, is_ours=joined is None), run)


SINK = Trackio


class _Client(Client):
    def __init__(self, run: Any, is_ours: bool):
        self._run, self._is_ours = run, is_ours

    def log(self, row: Row) -> None:
        self._run.log({**row.values, STEP: row.step, EPOCH: row.epoch}, step=row.step)

    def configure(self, settings: Mapping[str, Any]) -> None:
        # Trackio stores the config with the first row of a run, and later ones never.
        self._run.config.update({**settings, **self._run.config})

    def findings(self, table: list[list[Any]], step: int) -> None:
        import trackio

        found = trackio.Table(columns=list(COLUMNS), data=table)
        self._run.log({FINDINGS: found}, step=step)

    def conclude(self, report: Report) -> None:
        self._run.log({"babysit/verdict": report.verdict}, step=report.steps)

    def close(self) -> None:
        import trackio
        from trackio import context_vars

        if not self._is_ours:
            return
        if context_vars.current_run.get() is self._run:
            trackio.finish()
        else:
            self._run.finish()
