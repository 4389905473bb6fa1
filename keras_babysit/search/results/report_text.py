"""The report of a search for a console, a log file, or a string."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from keras_babysit.report.plain import rendered
from keras_babysit.report.text import WIDTH
from keras_babysit.search.results.sections import Section, headline, sections
from keras_babysit.sinks.console import shown

if TYPE_CHECKING:
    from keras_babysit.search.results.report import SearchReport

#: Length of the longest bar.
_BAR = 30


def plain_text(report: SearchReport) -> str:
    """The report as text without colour."""
    return rendered(lambda console: write_to(console, report), WIDTH)


def write(report: SearchReport) -> None:
    """Writes the report to standard output."""
    with shown(bar=False) as console:
        write_to(console, report)


def write_to(console: Console, report: SearchReport) -> None:
    """Writes the report to a console, which breaks its lines."""
    console.print(Text(headline(report), style="bold"))
    for section in sections(report):
        console.print()
        console.print(Text(section.title, style="bold cyan"))
        for line in section.lines:
            console.print(Padding(Text(line), (0, 0, 0, 2)))
        if section.rows:
            console.print(Padding(_table(section), (0, 0, 0, 2)))


def _table(section: Section) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold"
    )
    for index, title in enumerate(section.head):
        is_word = index < section.words
        table.add_column(
            title,
            justify="left" if is_word else "right",
            no_wrap=not is_word,
            overflow="fold",
        )
    if section.bars:
        table.add_column("")
    for index, row in enumerate(section.rows):
        bar = [Text("█" * round(_BAR * section.bars[index]))] if section.bars else []
        table.add_row(*map(Text, row), *bar)
    return table
