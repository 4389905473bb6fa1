"""Blocks on a console: rich's renderables, or plain text."""

from __future__ import annotations

import io
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text as RichText

from keras_babysit.document.blocks import (
    SIGNS,
    Block,
    Code,
    Column,
    FindingCard,
    Heading,
    Items,
    Row,
    Table,
    Text,
    Words,
    plain,
    spans,
)
from keras_babysit.document.words import clean

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Sign and style of each tone.
LOOKS = {
    "error": (SIGNS["error"], "bold red"),
    "warning": (SIGNS["warning"], "yellow"),
    "info": (SIGNS["info"], "cyan"),
    "good": (SIGNS["good"], "green"),
    "skipped": (SIGNS["skipped"], "dim"),
    "strong": ("", "bold"),
    "faint": ("", "dim"),
    "": ("", ""),
}
#: Columns before the lines of a row that are not its first.
_INDENT = 2
#: Columns of a sign and its status, at least.
_MARK = 9
#: Letters of a line of a column's title, unless a word is longer.
_TITLE = 10
#: A column of sentences has room for so many letters, or the table is no table.
_SENTENCE = 30
#: Names of rules, at the end of what they found.
_RULE = re.compile(r"\[[a-z0-9-]+\]")


def text(blocks: Iterable[Block], width: int) -> str:
    """Returns blocks as text without colour, lines at most `width` columns long."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=False,
        force_jupyter=False,
        color_system=None,
        highlight=False,
    )
    write(console, blocks)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def write(console: Console, blocks: Iterable[Block], wrap: bool = True) -> None:
    """Writes blocks to a console.

    Args:
        console: where to.
        blocks: what to write.
        wrap: whether long lines are broken; otherwise a paragraph or a finding is one
            line, as a log file has it.
    """
    for shown in renderables(blocks, console.width, wrap):
        as_it_is = isinstance(shown, RichText) and (not wrap or bool(shown.no_wrap))
        console.print(shown, soft_wrap=as_it_is)


def renderables(
    blocks: Iterable[Block], width: int, wrap: bool = True
) -> Iterator[RenderableType]:
    """Yields what rich can render: of what is folded away, nothing."""
    for kind, run in itertools.groupby(blocks, type):
        if kind is FindingCard:
            yield from _cards([b for b in run if isinstance(b, FindingCard)], wrap)
            continue
        for block in run:
            if isinstance(block, Heading | Text):
                yield _paragraph(block)
            elif isinstance(block, Table):
                yield from _table(block, width)
            elif isinstance(block, Items):
                points = [(RichText("•"), RichText(clean(p))) for p in block.points]
                yield _hanging(points)
            elif isinstance(block, Code):
                # A line that is broken could not be pasted.
                lines = (f"    {line}" for line in block.lines)
                yield RichText("\n".join(lines), no_wrap=True, overflow="ignore")


def _line(words: Words, tone: str = "") -> RichText:
    found = RichText()
    for span in spans(words, tone):
        found.append(clean(span.text), style=LOOKS[span.tone][1])
    return found


def _paragraph(block: Heading | Text) -> RichText:
    tone = block.tone
    sign = LOOKS[tone][0]
    if isinstance(block, Heading) and not tone:
        tone = "strong"
    before = RichText(f"{sign} ", style=LOOKS[tone][1]) if sign else RichText()
    found = before + _line(block.text, "" if sign else tone)
    starts_section = isinstance(block, Heading) and block.level > 1
    return RichText("\n") + found if starts_section else found


def _cards(cards: list[FindingCard], wrap: bool) -> Iterator[RenderableType]:
    """Findings: sign and status, then what there is to say of each."""
    column = max(_MARK, *(len(card.status) + 2 for card in cards))
    rows = [(_mark(card).ljust(column), card) for card in cards]
    found = [(RichText(m, LOOKS[card.tone][1]), _said(card)) for m, card in rows]
    if wrap:
        yield _hanging(found)
    else:
        yield from (RichText.assemble(mark, " ", said) for mark, said in found)


def _mark(card: FindingCard) -> str:
    return f"{LOOKS[card.tone][0]} {clean(card.status)}"


def _said(card: FindingCard) -> RichText:
    said = clean(card.seen)
    if card.advice:
        said = f"{said.rstrip('.')}. {clean(card.advice)}"
    when = f" ({clean(card.when)})" if card.when else ""
    rule = f" [{clean(card.rule)}]" if card.rule else ""
    also = f" {clean(card.also)}." if card.also else ""
    found = RichText(f"{said}{when}{rule}{also}")
    if card.over:
        found.stylize("dim")
    found.highlight_regex(_RULE, "dim")
    return found


def _hanging(rows: Iterable[tuple[RichText, RichText]]) -> RichTable:
    """Signs in a column of their own."""
    grid = RichTable.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for mark, body in rows:
        grid.add_row(mark, body)
    return grid


def _table(table: Table, width: int) -> Iterator[RenderableType]:
    every = [i for i, column in enumerate(table.columns) if not column.bar]
    kept = _fitting(table, every, width)
    if not table.rows or not kept:
        return
    if _needed(table, kept) > width:
        yield from _stacked(table, every, width)
    else:
        yield _flat(table, kept)
    if table.note:
        yield RichText(clean(table.note), style="dim")


def _flat(table: Table, kept: Sequence[int]) -> RichTable:
    titled = any(table.columns[i].title for i in kept)
    found = RichTable(
        box=box.SIMPLE_HEAD if titled else None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
        show_header=titled,
    )
    for i in kept:
        column = table.columns[i]
        found.add_column(
            _title(column),
            justify="right" if column.number else "left",
            no_wrap=not column.wide,
            overflow="fold",
        )
    for row in table.rows:
        if row.rule:
            found.add_section()
        found.add_row(*_cells(row, kept), style=LOOKS[row.tone][1])
    return found


def _stacked(table: Table, kept: Sequence[int], width: int) -> Iterator[RenderableType]:
    """Each row as lines of its own, for consoles too narrow for a table.

    A row whose first cell is empty continues the one before.
    """
    columns = [table.columns[i] for i in kept]
    yield RichText()
    for row in table.rows:
        first, *others = _cells(row, kept)
        lines: list[RichText] = []
        for column, cell in zip(columns[1:], others, strict=True):
            if not column.wide and cell.plain.strip():
                title = (f"{clean(column.title)}: ", "dim")
                _append(lines, RichText.assemble(title, cell), width - _INDENT)
        for column, cell in zip(columns[1:], others, strict=True):
            if column.wide and cell.plain.strip():
                lines.append(cell)
        for indent, line in [(0, first), *((_INDENT, line) for line in lines)]:
            if line.plain.strip():
                styled = RichText.assemble(line, style=LOOKS[row.tone][1])
                yield Padding(styled, (0, 0, 0, indent))
    yield RichText()


def _append(lines: list[RichText], item: RichText, width: int) -> None:
    """Adds an item to the last line, or below it if it has no room."""
    if lines and len(lines[-1]) + len(item) + 2 <= width:
        lines[-1] = RichText.assemble(lines[-1], ", ", item)
    else:
        lines.append(item)


def _cells(row: Row, kept: Sequence[int]) -> list[RichText]:
    found = [_line(row.cells[i]) for i in kept]
    for cell in found:
        cell.highlight_regex(_RULE, "dim")
    return found


def _title(column: Column) -> str:
    """A title on several lines: a terminal may have only 80 columns."""
    title = clean(column.title)
    if column.wide:
        return title
    return textwrap.fill(title, _TITLE, break_long_words=False)


def _fitting(table: Table, kept: list[int], width: int) -> list[int]:
    """The columns that fit without breaking a word, as far as one can do without."""
    ranks = {i: table.columns[i].rank for i in kept if table.columns[i].rank}
    for spare in sorted(ranks, key=lambda i: -ranks[i]):
        if _needed(table, kept) > width:
            kept = [i for i in kept if i != spare]
    return kept


def _needed(table: Table, kept: Sequence[int]) -> int:
    return sum(_longest(table, i) + 2 for i in kept)


def _longest(table: Table, i: int) -> int:
    column = table.columns[i]
    cells = [clean(plain(row.cells[i])) for row in table.rows]
    title = max(map(len, _title(column).splitlines()), default=0)
    longest = max(map(len, cells), default=0)
    if column.wide:
        # Broken between words; sentences need room for some of them.
        word = max(map(len, " ".join(cells).split()), default=0)
        longest = max(word, _SENTENCE if longest > 2 * _SENTENCE else 0)
    return max(title, longest)
