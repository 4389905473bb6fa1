"""An ensemble's report as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from keras_babysit.document.words import number
from keras_babysit.report.plain import rendered

if TYPE_CHECKING:
    from keras_babysit.ensemble.scoring.report import EnsembleReport, Row

#: Columns of text that is not for a terminal.
WIDTH = 100
#: Scores as titles of columns; others, such as the Brier score, do not fit into 80.
TITLES = {
    "error": "error",
    "nll": "NLL",
    "calibration_error": "calibration error",
    "rmse": "RMSE",
    "spread": "spread",
}
#: Scores that are shares, shown in percent.
_SHARES = ("error", "calibration_error")


def plain_text(report: EnsembleReport) -> str:
    """The table as text without colour."""
    return rendered(lambda console: console.print(shown(report)), WIDTH)


def shown(report: EnsembleReport) -> Group:
    """The table and what it comes to, as rich shows them."""
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold"
    )
    weighted = np.ptp([row.weight for row in report.members]) > 0
    titles = ["", *(["weight"] if weighted else [])]
    titles += [TITLES[name] for name in report.ensemble.scores if name in TITLES]
    for title in [*titles, "time", "memory"]:
        table.add_column(
            # Titles on several lines: a terminal may have only 80 columns.
            title.replace(" ", "\n"),
            justify="right" if title else "left",
            no_wrap=True,
        )
    for row in report.members:
        weight = [f"{row.weight:.3f}"] if weighted else []
        cost = [f"{number(row.seconds)} s", _megabytes(row.bytes)]
        table.add_row(row.name, *weight, *_scores(row), *cost)
    table.add_section()
    for row in report.sizes:
        style = "bold" if row is report.ensemble else ""
        weight = [""] if weighted else []
        times = [f"× {value:.3g}" for value in costs(report, row)]
        table.add_row(row.name, *weight, *_scores(row), *times, style=style)
    return Group(table, *(Text(line) for line in lines(report)))


def costs(report: EnsembleReport, row: Row) -> tuple[float, float]:
    """Time and memory of ensembles, as multiples of a member's mean."""
    one = report.sizes[0] if len(report.sizes) > 1 else None
    seconds = one.seconds if one else row.seconds
    size = one.bytes if one else row.bytes
    return (
        row.seconds / seconds if seconds else math.nan,
        row.bytes / size if size else math.nan,
    )


def lines(report: EnsembleReport) -> list[str]:
    """What it comes to in sentences."""
    samples = f"{report.samples:,} sample{'s' if report.samples > 1 else ''}"
    found = [
        f"{samples}. ± is the standard deviation over ensembles of as "
        "many members; time and memory are multiples of a member's mean."
    ]
    if len(report.members) > 1:
        found.append(_verdict(report))
    if not math.isnan(report.disagreement):
        share = value_of("error", report.disagreement)
        found.append(f"Two members disagree about {share} of the samples.")
    if not math.isnan(report.seconds_as_one) and len(report.members) > 1:
        times = report.seconds_as_one / report.sizes[0].seconds
        found.append(
            f"As one model they take {number(report.seconds_as_one)} s: "
            f"× {times:.3g} of a member's mean."
        )
    return found + list(report.notes)


def _verdict(report: EnsembleReport) -> str:
    metric = report.metric
    whole = report.ensemble.scores[metric]
    mean = float(np.mean([row.scores[metric] for row in report.members]))
    best = min(row.scores[metric] for row in report.members)
    how = "values" if report.average == "mean" else report.average
    name = {"geometric": "probabilities, geometrically"}.get(how, how)
    return (
        f"{len(report.members)} members, mean of their {name}: {TITLES[metric]} "
        f"{value_of(metric, whole)}, {_compared(whole, mean)} a member's mean "
        f"({value_of(metric, mean)}) and {_compared(whole, best)} the best member's "
        f"({value_of(metric, best)})."
    )


def _compared(value: float, other: float) -> str:
    if value == other:
        return "as much as"
    where = "below" if value < other else "above"
    if other == 0:
        return where
    return f"{100 * abs(value / other - 1):.0f} % {where}"


def _scores(row: Row) -> list[str]:
    return [
        value_of(name, value, row.std[name] if row.ensembles > 1 else None)
        for name, value in row.scores.items()
        if name in TITLES
    ]


def value_of(name: str, value: float, std: float | None = None) -> str:
    """A score in words: `"2.34 %"`, `"0.0812 ±0.0024"`."""
    if name in _SHARES:
        around = "" if std is None else f" ±{100 * std:.2f}"
        return f"{100 * value:.2f}{around} %"
    return number(value) if std is None else f"{number(value)} ±{std:.2g}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.3g} MB"
