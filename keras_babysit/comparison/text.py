"""A comparison as a table, for consoles, strings and notebooks."""

from __future__ import annotations

import math
import textwrap
from html import escape
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from keras_babysit.document.words import clean, number
from keras_babysit.report.page import STYLE
from keras_babysit.report.plain import rendered

if TYPE_CHECKING:
    from keras_babysit.comparison.result import OptimizerComparison, OptimizerRun

#: Columns of text that is not for a terminal.
WIDTH = 100
#: Letters of a line of a title, unless a word is longer.
_TITLE = 9
#: Columns that are not numbers.
_WORDS = ("optimizer", "diagnosis")
#: An error's message is cut there: the whole one is in `OptimizerRun.error`.
_MAX_ERROR = 60


def plain_text(comparison: OptimizerComparison) -> str:
    """The table as text without colour."""
    return rendered(lambda console: console.print(shown(comparison)), WIDTH)


def shown(comparison: OptimizerComparison) -> Group:
    """The table and a line on the best run, as rich shows them."""
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold"
    )
    rows = [cells(run, comparison) for run in comparison.runs]
    for title in rows[0]:
        is_number = title not in _WORDS
        table.add_column(
            # Titles on several lines: a terminal may have only 80 columns.
            textwrap.fill(title, _TITLE, break_long_words=False),
            justify="right" if is_number else "left",
            no_wrap=is_number,
            overflow="fold",
        )
    for run, row in zip(comparison.runs, rows, strict=True):
        table.add_row(*map(Text, row.values()), style=_style(run, comparison))
    return Group(table, Text(verdict(comparison)))


def verdict(comparison: OptimizerComparison) -> str:
    """The best run: `"Lowest val_loss: Adam, 0.071 after epoch 8."`."""
    best, log = comparison.best, comparison.monitor
    if best is None:
        return "No run has a finite loss."
    lowest = best.lowest(log)
    epoch = list(best.history[log]).index(lowest) + 1
    return f"Lowest {log}: {clean(best.name)}, {number(lowest)} after epoch {epoch}."


def line(run: OptimizerRun, metric: str) -> str:
    """One finished run: `"Adam: loss 0.021, val_accuracy 0.97, 0.41 s an epoch"`."""
    logs = ["loss", metric] if metric and metric != "loss" else ["loss"]
    parts = [f"{log} {number(run.final(log))}" for log in logs if log in run.history]
    if math.isfinite(run.seconds_per_epoch):
        parts.append(f"{number(run.seconds_per_epoch)} s an epoch")
    return f"{clean(run.name)}: {', '.join([*parts, diagnosis(run)])}"


def cells(run: OptimizerRun, comparison: OptimizerComparison) -> dict[str, str]:
    """The cells of a run's row by the titles of their columns."""
    found = {"optimizer": clean(run.name), "loss": _last(run, "loss")}
    if comparison.metric:
        found[comparison.metric] = _last(run, comparison.metric)
    if math.isfinite(comparison.target_loss):
        epochs = run.epochs_to(comparison.target_loss)
        title = f"epochs to loss {number(comparison.target_loss)}"
        found[title] = "–" if epochs is None else str(epochs)
    found["seconds per epoch"] = _known(run.seconds_per_epoch)
    found["update ratio"] = _known(run.update_ratio)
    found["diagnosis"] = diagnosis(run)
    return found


def diagnosis(run: OptimizerRun) -> str:
    """The most important finding in few words: rule and place."""
    if run.error:
        message = clean(run.error)
        cut = f"{message[:_MAX_ERROR].rstrip()}…"
        return f"failed: {message if len(message) <= _MAX_ERROR else cut}"
    problems = run.problems
    if problems:
        first, more = problems[0], len(problems) - 1
        return f"{first.rule}{f', and {more} more' if more else ''}"
    return "loss is not finite" if run.diverged else "all well"


def html(comparison: OptimizerComparison) -> str:
    """The table as a piece of HTML for a notebook; all text escaped."""
    rows = [cells(run, comparison) for run in comparison.runs]
    head = "".join(f"<th{_kind(t)}>{escape(t)}</th>" for t in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td{_kind(t)}>{escape(v)}</td>' for t, v in row.items())}</tr>"
        for row in rows
    )
    return (
        f'<style>\n{STYLE}\n</style>\n<div class="babysit">\n<div class="scroll">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n"
        f"<p>{escape(verdict(comparison))}</p>\n</div>"
    )


def _kind(title: str) -> str:
    return "" if title in _WORDS else ' class="number"'


def _last(run: OptimizerRun, log: str) -> str:
    """A log's last value: NaN is one too."""
    return number(run.final(log)) if run.history.get(log) else "–"


def _known(value: float) -> str:
    return "–" if math.isnan(value) else number(value)


def _style(run: OptimizerRun, comparison: OptimizerComparison) -> str:
    if run is comparison.best:
        return "bold green"
    return "yellow" if run.error or run.diverged or run.problems else ""
