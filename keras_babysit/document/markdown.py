"""Blocks as Markdown, for TensorBoard's Text tab and for files."""

from __future__ import annotations

import re
from collections.abc import Iterable

from keras_babysit.document.blocks import (
    Block,
    Code,
    Details,
    FindingCard,
    Heading,
    Items,
    Table,
    Text,
    plain,
    spans,
)
from keras_babysit.document.plots import Figure
from keras_babysit.document.words import clean

_MEANS_SOMETHING = str.maketrans(
    {**{c: f"\\{c}" for c in "\\*_[]#~|`"}, "<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
#: Code as findings have it, without signs that mean something in a page or a table.
_CODE = re.compile(r"(`[^`<>&|]+`)")
#: Tones that are set in bold.
_BOLD = ("strong", "error", "warning", "good")


def text(blocks: Iterable[Block]) -> str:
    """Returns blocks as Markdown, whatever signs are in their texts."""
    parts: list[str] = []
    cards = False
    for block in blocks:
        is_card = isinstance(block, FindingCard)
        shown = _shown(block)
        if shown:
            # Findings are one list.
            parts += ["\n" if cards and is_card else "\n\n"] if parts else []
            parts.append(shown)
        cards = is_card
    return "".join(parts)


def escaped(words: str) -> str:
    """Text as it is, in one line, whatever signs are in it; `code` stays code."""
    pieces = _CODE.split(clean(words))
    return "".join(
        piece if _CODE.fullmatch(piece) else piece.translate(_MEANS_SOMETHING)
        for piece in pieces
    )


def _shown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * (block.level + 1)} {escaped(plain(block.text))}"
    if isinstance(block, Text):
        return "".join(
            f"**{escaped(s.text).strip()}**" if s.tone in _BOLD else escaped(s.text)
            for s in spans(block.text, block.tone)
        )
    if isinstance(block, FindingCard):
        return _card(block)
    if isinstance(block, Items):
        return "\n".join(f"* {escaped(point)}" for point in block.points)
    if isinstance(block, Code):
        lines = (line.replace("```", "") for line in block.lines)
        return "\n".join(["```python", *lines, "```"])
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        return f"*{escaped(block.title)}*" if block.title else ""
    return _details(block)


def _card(card: FindingCard) -> str:
    seen = card.seen
    said = f"{seen.rstrip('.')}. {card.advice}" if card.advice else seen
    when = f" ({card.when})" if card.when else ""
    rule = f" [{card.rule}]" if card.rule else ""
    # Two spaces and an end of line: a new line in the same item.
    also = f"  \n    {escaped(card.also)}." if card.also else ""
    return f"* **{escaped(card.status)}** {escaped(f'{said}{when}{rule}')}{also}"


def _table(table: Table) -> str:
    kept = [i for i, column in enumerate(table.columns) if not column.bar]
    if not table.rows or not kept:
        return ""
    columns = [table.columns[i] for i in kept]
    lines = [
        [escaped(column.title) for column in columns],
        ["---:" if column.number else "---" for column in columns],
        *([escaped(plain(row.cells[i])) for i in kept] for row in table.rows),
    ]
    found = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{found}\n\n{escaped(table.note)}" if table.note else found


def _details(block: Details) -> str:
    inside = text(block.blocks)
    return f"{'#' * 3} {escaped(block.summary)}\n\n{inside}" if inside else ""
