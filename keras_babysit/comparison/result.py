"""The result of a comparison: a table, a picture and the best run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_babysit.comparison.figure import comparison_figure
from keras_babysit.comparison.run import OptimizerRun
from keras_babysit.document.blocks import Block, Column, Row, Table, Text
from keras_babysit.document.shown import Shown
from keras_babysit.document.values import plain
from keras_babysit.document.words import number

#: Columns that are not numbers.
_WORDS = ("optimizer", "diagnosis")
#: Columns that a narrow table does without, those of a high rank first.
_RANKS = {"seconds per epoch": 2, "update ratio": 1}


@dataclass(frozen=True, repr=False)
class OptimizerComparison(Shown):
    """The same training under several optimizers.

    `print(comparison)` gives a table; a notebook shows it with its picture: loss
    against epochs and against time, and the update ratios.

    Attributes:
        runs: an `OptimizerRun` for each optimizer, in the order given.
        metric: the log that the table shows beside the loss, such as
            `"val_accuracy"`; `""` if there is none.
        target_loss: the training loss to which the table counts epochs.
        log_dir: directory of the TensorBoard files, a run in it for each optimizer;
            `None` if they were not to be kept.

    Example:
    ```python
    comparison = keras_babysit.compare_optimizers(make_model, x, y, epochs=3)
    comparison.save("compared.html")
    ```
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
        """Returns the run of the optimizer of this name."""
        for run in self.runs:
            if run.name == name:
                return run
        known = [run.name for run in self.runs]
        raise KeyError(
            f"There is no run of this name, only {known}. Received: {name!r}"
        )

    def content(self) -> list[Block]:
        """Returns a row for each run, the best one, and the picture."""
        return [self._table(), Text(self._best()), comparison_figure(self.runs)]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain values that JSON can hold; NaN as the string `"nan"`."""
        best = self.best
        found = {
            "metric": self.metric,
            "monitor": self.monitor,
            "target_loss": self.target_loss,
            "log_dir": self.log_dir,
            "best": None if best is None else best.name,
            "runs": [run.to_dict() for run in self.runs],
        }
        return plain(found)

    def _table(self) -> Table:
        rows = [self._cells(run) for run in self.runs]
        columns = (
            Column(t, t not in _WORDS, _RANKS.get(t, 0), wide=t == "diagnosis")
            for t in (rows or [{}])[0]
        )
        cells = (tuple(row.values()) for row in rows)
        tones = map(self._tone, self.runs)
        return Table(tuple(columns), tuple(map(Row, cells, tones)))

    def _cells(self, run: OptimizerRun) -> dict[str, str]:
        """The cells of a run's row by the titles of their columns."""
        found = {"optimizer": run.name, "loss": _last(run, "loss")}
        if self.metric:
            found[self.metric] = _last(run, self.metric)
        if math.isfinite(self.target_loss):
            epochs = run.epochs_to(self.target_loss)
            title = f"epochs to loss {number(self.target_loss)}"
            found[title] = "–" if epochs is None else str(epochs)
        found["seconds per epoch"] = _known(run.seconds_per_epoch)
        found["update ratio"] = _known(run.update_ratio)
        found["diagnosis"] = run.diagnosis
        return found

    def _tone(self, run: OptimizerRun) -> str:
        if run is self.best:
            return "good"
        return "warning" if run.error or run.diverged or run.problems else ""

    def _best(self) -> str:
        best, log = self.best, self.monitor
        if best is None:
            return "No run has a finite loss."
        lowest = best.lowest(log)
        epoch = list(best.history[log]).index(lowest) + 1
        return f"Lowest {log}: {best.name}, {number(lowest)} after epoch {epoch}."

    __repr__ = Shown.__str__


def _last(run: OptimizerRun, log: str) -> str:
    """A log's last value: NaN is one too."""
    return number(run.final(log)) if run.history.get(log) else "–"


def _known(value: float) -> str:
    return "–" if math.isnan(value) else number(value)


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
