"""What a comparison came to: frozen values that print as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_babysit.history import RunHistory, Series
from keras_babysit.report import Report
from keras_babysit.report.groups import Group
from keras_babysit.rules.evidence.kernels import kernels, middle


@dataclass(frozen=True)
class OptimizerRun:
    """The training under one optimizer.

    Attributes:
        name: the optimizer's name in the comparison.
        optimizer: its class and what it is set to.
        history: Keras's logs, name to a float for each epoch, as in Keras's
            `History.history`.
        epoch_seconds: wall-clock time of each epoch, training and validation, in
            seconds; see `compare_optimizers` for how it is measured.
        report: what the `Babysitter` found.
        recorded: the `RunHistory` of the observed steps.
        error: type and message of the exception that ended the training; `""` if
            none did.
    """

    name: str
    optimizer: str = ""
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    epoch_seconds: tuple[float, ...] = ()
    report: Report = field(default_factory=Report)
    recorded: RunHistory = field(default_factory=RunHistory)
    error: str = ""

    @property
    def diverged(self) -> bool:
        """Whether the loss became NaN or infinite."""
        return not np.isfinite(np.array(self.history.get("loss", ()), float)).all()

    @property
    def seconds_per_epoch(self) -> float:
        """Median of `epoch_seconds`; NaN if there are none."""
        return float(np.median(self.epoch_seconds)) if self.epoch_seconds else math.nan

    @property
    def seconds(self) -> np.ndarray:
        """Seconds at the end of each epoch: float array of shape `(epochs,)`.

        As if each had taken `seconds_per_epoch`: what else the machine was doing during
        one epoch says nothing of the optimizer.
        """
        epochs = len(self.history.get("loss", ()))
        return np.arange(1, epochs + 1) * self.seconds_per_epoch

    @property
    def update_ratios(self) -> Series:
        """Median update ratio of the kernels at each observed step.

        The update ratio is the size of an update over that of the weights, about 1e-3
        when healthy (CS231n, "Ratio of weights:updates"). Biases are left out: they
        start at zero.
        """
        window = self.recorded.whole("update_ratio")
        at = kernels(window.places)
        if not len(at):
            return Series(np.zeros(0), np.zeros(0), np.zeros(0))
        return Series(window.steps, window.epochs, middle(window.values[:, at].T))

    @property
    def update_ratio(self) -> float:
        """Median of `update_ratios`; NaN if there are none."""
        return float(middle(self.update_ratios.values))

    @property
    def problems(self) -> list[Group]:
        """Open errors and warnings, grouped, the worst first."""
        return [g for g in self.report.groups if not g.healed and g.severity != "info"]

    def final(self, log: str = "loss") -> float:
        """A log after the last epoch; NaN if there is none."""
        values = self.history.get(log, ())
        return float(values[-1]) if len(values) else math.nan

    def lowest(self, log: str = "loss") -> float:
        """The smallest finite value of a log; NaN if there is none."""
        values = np.array(self.history.get(log, ()), float)
        values = values[np.isfinite(values)]
        return float(values.min()) if len(values) else math.nan

    def epochs_to(self, loss: float) -> int | None:
        """After how many epochs the training loss was first at most `loss`."""
        reached = np.array(self.history.get("loss", ()), float) <= loss
        return int(reached.argmax()) + 1 if reached.any() else None


@dataclass(frozen=True)
class OptimizerComparison:
    """The same training under several optimizers.

    `print(comparison)` gives a table; a notebook shows it as one.

    Attributes:
        runs: an `OptimizerRun` for each optimizer, in the order given.
        metric: the log that the table shows beside the loss, such as
            `"val_accuracy"`; `""` if there is none.
        target_loss: the training loss to which the table counts epochs.
        log_dir: directory of the TensorBoard files, a run in it for each optimizer;
            `None` if they were not to be kept.
    """

    runs: tuple[OptimizerRun, ...]
    metric: str = ""
    target_loss: float = math.nan
    log_dir: str | None = None

    @property
    def monitor(self) -> str:
        """The log by which runs are compared: `"val_loss"` if there is one."""
        known = any("val_loss" in run.history for run in self.runs)
        return "val_loss" if known else "loss"

    @property
    def best(self) -> OptimizerRun | None:
        """The run with the smallest validation loss in any epoch.

        Without validation data, that with the smallest training loss. `None` if no run
        has a finite one.
        """
        lowest = {run.name: run.lowest(self.monitor) for run in self.runs}
        ended = [run for run in self.runs if math.isfinite(lowest[run.name])]
        return min(ended, key=lambda run: lowest[run.name], default=None)

    def __getitem__(self, name: str) -> OptimizerRun:
        for run in self.runs:
            if run.name == name:
                return run
        known = [run.name for run in self.runs]
        raise KeyError(
            f"There is no run of this name, only {known}. Received: {name!r}"
        )

    def plot(self, path: Any = None) -> Any:
        """Draws loss against epochs and against time, and the update ratios.

        Args:
            path: file to write the picture to, its format by its name's ending.

        Returns:
            The `matplotlib.figure.Figure`; pyplot does not know of it.

        Raises:
            ImportError: if matplotlib is not installed.
        """
        from keras_babysit.comparison import drawing

        return drawing.figure(self, path)

    def __str__(self) -> str:
        from keras_babysit.comparison import text

        return text.plain_text(self)

    def __rich__(self) -> Any:
        from keras_babysit.comparison import text

        return text.shown(self)

    def _repr_html_(self) -> str:
        from keras_babysit.comparison import text

        return text.html(self)


def usual_target(runs: Sequence[OptimizerRun]) -> float:
    """A training loss that about half of the runs reach, rounded up; NaN if none."""
    lowest = sorted(v for v in (run.lowest() for run in runs) if math.isfinite(v))
    if not lowest:
        return math.nan
    middle_one = lowest[len(lowest) // 2]
    if middle_one == 0:
        return 0.0
    digit = 10.0 ** (math.floor(math.log10(abs(middle_one))) - 1)
    return float(f"{math.ceil(middle_one / digit) * digit:.2g}")


def shown_metric(runs: Sequence[OptimizerRun]) -> str:
    """The first of Keras's logs that is a metric, of the validation if there is one."""
    logs = list(dict.fromkeys(name for run in runs for name in run.history))
    # Callbacks log the learning rate; models of several outputs each one's loss.
    metrics = [
        name
        for name in logs
        if not name.startswith("val_") and not name.endswith(("loss", "learning_rate"))
    ]
    for name in [*metrics[:1], "loss"]:
        if f"val_{name}" in logs:
            return f"val_{name}"
    return metrics[0] if metrics else ""
