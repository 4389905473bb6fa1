"""Writes examples/tutorial.ipynb from two of the tutorials; `make docs` calls it.

Code blocks become code cells, the text between them Markdown. What a block printed
is left out: readers have their own. The tests run the cells.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

DOCS = Path(__file__).parent
NOTEBOOK = DOCS.parent / "examples" / "tutorial.ipynb"
PAGES = ("tutorials/failing_model.md", "tutorials/search_to_ensemble.md")
_TITLE = """\
# keras_babysit: from a failing model to an ensemble

A few minutes on two CPU cores. In Colab, a CPU runtime is enough.

## Install

keras_babysit is not released yet, so `pip install keras_babysit` finds nothing: install
it from a clone. Upload the clone or mount it, and set its path below. Skip this cell if
it is installed already."""
_INSTALL = """\
clone = "."  # the directory that has setup.py
%pip install --quiet "{clone}[tensorflow,search]\""""
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```\n", re.M | re.S)
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


def notebook() -> str:
    """Returns the notebook as JSON."""
    cells = [("markdown", _TITLE), ("code", _INSTALL)]
    for page in PAGES:
        cells += _cells((DOCS / page).read_text(encoding="utf-8"))
    written = {
        "cells": [_cell(i, kind, text) for i, (kind, text) in enumerate(cells)],
        "metadata": {"language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(written, indent=1, ensure_ascii=False) + "\n"


def _cells(page: str) -> list[tuple[str, str]]:
    # Text, language, block, text, language, block, ..., text.
    text, *rest = _BLOCK.split(page)
    cells, prose = [], text
    for language, block, text in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        if language == "python":
            cells += [("markdown", _LINK.sub(r"\1", prose).strip()), ("code", block)]
            prose = ""
        prose += text
    cells.append(("markdown", _LINK.sub(r"\1", prose).strip()))
    return cells


def _cell(number: int, kind: str, text: str) -> dict:
    code = {"execution_count": None, "outputs": []} if kind == "code" else {}
    source = text.strip("\n").splitlines(keepends=True)
    return {
        "cell_type": kind,
        "id": f"cell-{number}",
        "metadata": {},
        **code,
        "source": source,
    }


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook(), encoding="utf-8")
