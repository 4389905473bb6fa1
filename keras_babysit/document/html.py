"""Blocks as HTML: self-contained, without scripts, every text escaped by Jinja2."""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup, escape

from keras_babysit.document.blocks import Block, Words, spans
from keras_babysit.document.console import LOOKS
from keras_babysit.document.plots import Figure
from keras_babysit.document.words import clean

#: Code as findings have it.
_CODE = re.compile(r"`([^`]+)`")


def fragment(blocks: Iterable[Block]) -> str:
    """Returns a piece of HTML for a notebook, light or dark."""
    return environment().get_template("fragment.html").render(blocks=list(blocks))


def page(blocks: Iterable[Block], title: str) -> str:
    """Returns a whole page."""
    template = environment().get_template("page.html")
    return template.render(blocks=list(blocks), title=clean(title)) + "\n"


@functools.cache
def environment() -> Any:
    """The templates, with what they call."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("keras_babysit", "document/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"words": _words, "kind": lambda block: type(block).__name__}
    found.globals |= {"image": _image, "signs": {k: v[0] for k, v in LOOKS.items()}}
    return found


def _words(words: Words) -> Markup:
    """A line, escaped, with its tones as classes and its `code` as code."""
    parts = []
    for span in spans(words):
        said = _CODE.sub(r"<code>\1</code>", str(escape(clean(span.text))))
        parts.append(f'<span class="{span.tone}">{said}</span>' if span.tone else said)
    return Markup("".join(parts))


def _image(figure: Figure) -> Markup:
    """A picture as vectors; a note where matplotlib is not installed."""
    from keras_babysit.document import figures

    try:
        import matplotlib

        drawn = figures.drawn([figure], "this")
    except ImportError as error:
        return Markup('<p class="faint">No picture: {}</p>').format(str(error))
    file = io.BytesIO()
    # The same result makes the same page.
    with matplotlib.rc_context({"svg.hashsalt": "keras_babysit"}):
        drawn.savefig(file, format="svg", metadata={"Date": None})
    data = base64.b64encode(file.getvalue()).decode()
    return Markup('<img alt="{}" src="data:image/svg+xml;base64,{}">').format(
        clean(figure.title), data
    )
