"""The sink of Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from keras_babysit.report import Report
from keras_babysit.sinks.scalars import BATCH, RATIO
from keras_babysit.sinks.sink import Run, Sink
from keras_babysit.sinks.tracker import (
    COLUMNS,
    EPOCH,
    FINDINGS,
    STEP,
    VALIDATION,
    Client,
    Row,
    Tracker,
)

#: What charts of these tags have as their x-axis; a star may only be at the end.
_AXES = {
    f"{BATCH}/*": STEP,
    f"{RATIO}/*": STEP,
    "loss/*": STEP,
    "epoch_*": EPOCH,
    f"{VALIDATION}*": EPOCH,
}


class WandB(Sink):
    """Logs to Weights & Biases: to the run that is active, or to a new one.

    Charts of steps have optimizer updates as their x-axis, those of epochs epochs;
    every row has both, as `babysit/step` and `babysit/epoch`. Findings are a table,
    hyperparameters go to the run's config without replacing what is there.

    Args:
        **init: arguments of `wandb.init`, for a new run: `project="digits"`. It is
            named after the last part of `log_dir`, unless `name` is among them.

    Example:
    ```python
    sink = keras_babysit.sinks.WandB(project="digits")
    keras_babysit.Babysitter("logs/run1", sinks=["tensorboard", sink])
    ```
    """

    name: ClassVar[str] = "wandb"
    package: ClassVar[str] = "wandb"

    def __init__(self, **init: Any):
        self.init = init

    def open(self, run: Run) -> Tracker:
        """Joins the active run or starts one."""
        import wandb

        joined = wandb.run
        name = os.path.basename(os.path.abspath(run.log_dir))
        active = joined or wandb.init(**{"name": name, **self.init})
        return Tracker(_Client(active, is_ours=joined is None), run)


SINK = WandB


class _Client(Client):
    def __init__(self, run: Any, is_ours: bool):
        self._run, self._is_ours = run, is_ours
        for axis in (STEP, EPOCH):
            run.define_metric(axis, hidden=True)
        for tags, axis in _AXES.items():
            run.define_metric(tags, step_metric=axis)

    def log(self, row: Row) -> None:
        self._run.log({**row.values, STEP: row.step, EPOCH: row.epoch})

    def configure(self, settings: Mapping[str, Any]) -> None:
        known = set(self._run.config.keys())
        self._run.config.update({k: v for k, v in settings.items() if k not in known})

    def findings(self, table: list[list[Any]], step: int) -> None:
        import wandb

        # An epoch is a float; a column has values of one type.
        found = wandb.Table(columns=list(COLUMNS), data=table, allow_mixed_types=True)
        self._run.log({FINDINGS: found, STEP: step})

    def conclude(self, report: Report) -> None:
        self._run.summary.update({"babysit/verdict": report.verdict})

    def close(self) -> None:
        if self._is_ours:
            self._run.finish()
