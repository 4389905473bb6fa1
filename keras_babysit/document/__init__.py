"""How everything is shown: a result says what, as blocks; a renderer says how.

`blocks.py` holds what can be shown, `shown.py` the habits that all results share;
`console.py`, `html.py`, `markdown.py` and `figures.py` are the renderers. A new result
writes `content()`; a new output format is one file here.
"""

from keras_babysit.document.blocks import (
    Block,
    Code,
    Column,
    Details,
    FindingCard,
    Heading,
    Row,
    Span,
    Table,
    Text,
)
from keras_babysit.document.shown import Shown

__all__ = [
    "Block",
    "Code",
    "Column",
    "Details",
    "FindingCard",
    "Heading",
    "Row",
    "Shown",
    "Span",
    "Table",
    "Text",
]
