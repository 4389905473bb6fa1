"""What can be shown: frozen values, which know nothing of how they look.

Text is as users and programs wrote it: the renderers escape it, strip what could move
a cursor, and set `code` between backticks as code where they can.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, Union

from keras_babysit.document.plots import Figure
from keras_babysit.document.words import clean

#: What is said in which tone: `""` is plain. The first five have signs.
TONES = ("error", "warning", "info", "good", "skipped", "strong", "faint", "")
SIGNS = {"error": "✖", "warning": "▲", "info": "•", "good": "✔", "skipped": "–"}


@dataclass(frozen=True)
class Span:
    """A piece of a line in a tone of its own."""

    text: str
    tone: str = ""


#: A line: plain text, or pieces of it.
Words: TypeAlias = str | tuple[Span, ...]


@dataclass(frozen=True)
class Heading:
    """A title.

    Attributes:
        text: the title.
        level: 1 for the document, 2 for a section; 0 above several documents.
        tone: with a sign before it for the tones that have one.
    """

    text: Words
    level: int = 1
    tone: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: what it says.
        tone: one of `TONES`.
    """

    text: Words
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its title.
        number: whether its cells are numbers, set to the right.
        rank: columns of a higher rank are left out first where there is little room;
            those of rank 0 never are.
        bar: whether its cells are shares from 0 to 1, drawn as bars where that is
            possible, and left out elsewhere.
        wide: whether its cells are sentences, of which lines may be broken.
    """

    title: str
    number: bool = False
    rank: int = 0
    bar: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: as many as the table has columns.
        tone: of the whole row.
        rule: whether a line separates it from the row before.
    """

    cells: tuple[Words, ...]
    tone: str = ""
    rule: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under titles.

    Attributes:
        columns: what each column holds.
        rows: the rows, from the top.
        note: a line below, such as how many rows were left out.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""

    @classmethod
    def of(cls, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
        """Returns a table of plain cells, for titles and rows of them."""
        columns = tuple(Column(title) for title in titles)
        return cls(columns, tuple(Row(tuple(row)) for row in rows))


@dataclass(frozen=True)
class FindingCard:
    """Something that was found: what, why, and what to do.

    Attributes:
        status: the word before it, `"error"`, `"healed"`, `"passed"`.
        tone: how the status looks.
        seen: what was seen, with its numbers and its place.
        advice: the likely cause and what to do; empty if there is nothing to do.
        when: since when, `"since epoch 2"`; empty if that says nothing.
        rule: name of the rule or check; empty if there is none.
        also: what else it explains; empty if nothing.
        more: folded away where that is possible, and left out in consoles.
        over: whether it is over, and shown fainter.
    """

    status: str
    tone: str
    seen: str
    advice: str = ""
    when: str = ""
    rule: str = ""
    also: str = ""
    more: tuple[Block, ...] = ()
    over: bool = False


@dataclass(frozen=True)
class Items:
    """A list of points."""

    points: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Lines of Python to paste, as they are."""

    text: str

    @property
    def lines(self) -> list[str]:
        """Its lines, without what could move a cursor."""
        return [clean(line) for line in self.text.splitlines()]


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away where that is possible, and left out in consoles."""

    summary: str
    blocks: tuple[Block, ...]


Block: TypeAlias = Union[
    Heading, Text, Table, "FindingCard", Items, Code, Figure, "Details"
]


def signed(text: str, tone: str) -> tuple[Span, ...]:
    """Returns a word in a tone with its sign before it, for a table's cell."""
    return (Span(f"{SIGNS.get(tone, '')} {text}".strip(), tone),)


def figures_in(blocks: Iterable[Block]) -> Iterator[Figure]:
    """Yields the figures of some blocks, those that are folded away included."""
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Details | FindingCard):
            inside = block.blocks if isinstance(block, Details) else block.more
            yield from figures_in(inside)


def plain(words: Words) -> str:
    """Returns a line without its tones."""
    return words if isinstance(words, str) else "".join(span.text for span in words)


def spans(words: Words, tone: str = "") -> tuple[Span, ...]:
    """Returns the pieces of a line; those without a tone get one."""
    if isinstance(words, str):
        return (Span(words, tone),)
    return tuple(Span(span.text, span.tone or tone) for span in words)
