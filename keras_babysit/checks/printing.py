"""Results of checks as text and tables, for consoles and strings."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keras_babysit.checks.check import CheckResult
from keras_babysit.report.plain import rendered

#: Sign and style of each verdict.
LOOKS = {
    "passed": ("✔", "green"),
    "skipped": ("–", "dim"),
    "worrying": ("▲", "yellow"),
    "failed": ("✖", "bold red"),
}
#: Columns of text that is not for a terminal.
WIDTH = 100

_MARK_WIDTH = max(map(len, LOOKS)) + 2


def plain_text(results: Iterable[CheckResult], details: bool) -> str:
    """Results as text without colour; see `write`."""
    return rendered(lambda console: write(console, results, details), WIDTH)


def write(console: Console, results: Iterable[CheckResult], details: bool) -> None:
    """Writes results, a paragraph each.

    Args:
        console: where to.
        results: the results.
        details: whether to write their tables too.
    """
    for result in results:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True)
        # Hanging indent: the signs stay in a column of their own.
        grid.add_column(overflow="fold")
        grid.add_row(mark(result.verdict), body(result))
        console.print(grid)
        if details and result.rows:
            console.print(details_table(result))


def mark(verdict: str) -> Text:
    """Sign and verdict: `✖ failed`."""
    sign, style = LOOKS[verdict]
    return Text(f"{sign} {verdict}".ljust(_MARK_WIDTH), style=style)


def body(result: CheckResult) -> Text:
    """What was seen, what to do, and what else there is to know."""
    text = Text(f"{result.check.replace('_', ' ')}: ", style="bold")
    text.append(result.summary.rstrip(".") + ".", style="not bold")
    if result.action:
        text.append(f" {_sentence(result.action)}", style="not bold")
    for other in result.alternatives:
        text.append(f" Or: {other.rstrip('.')}.", style="not bold")
    for note in result.notes:
        text.append(f" {_sentence(note)}", style="not bold dim")
    return text


def details_table(result: CheckResult) -> Table:
    """The table of a result's rows."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    titles = list(dict.fromkeys(title for row in result.rows for title in row))
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in result.rows:
        table.add_row(*(Text(str(row.get(title, ""))) for title in titles))
    return table


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
