"""The page as one self-contained file, its documents included."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from markupsafe import Markup

from keras_babysit.document import html
from keras_babysit.document.blocks import Block
from keras_babysit.document.words import clean

#: How a module imports another one of the page.
_IMPORT = re.compile(r"""from "\./([a-z_]+\.js)";""")


def page(
    documents: Sequence[dict[str, Any]], blocks: Sequence[Block], title: str
) -> str:
    """Returns a whole page, which needs no network.

    Args:
        documents: of the runs that it shows, as `report.page.document` returns them.
        blocks: the same for browsers that run no scripts.
        title: its title.
    """
    template = html.environment().get_template("runs.html")
    # "</script>" in a name would end the element that the documents are in.
    found = json.dumps(documents, allow_nan=False).replace("<", "\\u003c")
    return (
        template.render(
            documents=Markup(found),
            imports=Markup(json.dumps({"imports": _modules()})),
            style=Markup(_static("style.css")),
            blocks=list(blocks),
            title=clean(title),
        )
        + "\n"
    )


def _modules() -> dict[str, str]:
    """The page's modules by the names that they are imported by, as addresses."""
    static = resources.files("keras_babysit.page") / "static"
    names = [file.name for file in static.iterdir() if file.name.endswith(".js")]
    return {f"babysit/{name}": _address(name) for name in names if name != "index.js"}


def _address(name: str) -> str:
    # A module at a data address cannot import by relative names.
    code = _IMPORT.sub(r'from "babysit/\1";', _static(name))
    encoded = base64.b64encode(code.encode()).decode()
    return f"data:text/javascript;base64,{encoded}"


def _static(name: str) -> str:
    file = resources.files("keras_babysit.page") / "static" / name
    return file.read_text(encoding="utf-8")
