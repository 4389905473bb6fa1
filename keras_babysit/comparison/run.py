"""What came out of the training under one optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_babysit.document.values import plain
from keras_babysit.document.words import cut, number
from keras_babysit.history import RunHistory, Series
from keras_babysit.report import Report
from keras_babysit.report.groups import Group
from keras_babysit.rules.evidence.kernels import kernels, middle

#: An error's message is cut there: the whole one is in `OptimizerRun.error`.
_MAX_ERROR = 60


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
        one epoch says nothing about the optimizer.
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

    @property
    def diagnosis(self) -> str:
        """The most important finding in few words: the rule's name."""
        if self.error:
            return f"failed: {cut(self.error, _MAX_ERROR)}"
        problems = self.problems
        if problems:
            first, more = problems[0], len(problems) - 1
            return f"{first.rule}{f', and {more} more' if more else ''}"
        return "loss is not finite" if self.diverged else "all well"

    def line(self, metric: str) -> str:
        """All of it in a line: `"Adam: loss 0.021, val_accuracy 0.97, ..."`."""
        logs = [log for log in dict.fromkeys(("loss", metric)) if log in self.history]
        parts = [f"{log} {number(self.final(log))}" for log in logs]
        if math.isfinite(self.seconds_per_epoch):
            parts.append(f"{number(self.seconds_per_epoch)} s an epoch")
        return f"{self.name}: {', '.join([*parts, self.diagnosis])}"

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain values that JSON can hold; NaN as the string `"nan"`."""
        found = {
            "name": self.name,
            "optimizer": self.optimizer,
            "history": self.history,
            "epoch_seconds": self.epoch_seconds,
            "update_ratio": self.update_ratio,
            "diagnosis": self.diagnosis,
            "error": self.error,
        }
        return plain({**found, "report": self.report.to_dict()})
