"""How Sphinx builds the site; `make docs-site` calls it, and warnings are errors.

Pages and docstrings are Markdown. MyST reads the pages; autodoc knows reStructuredText
only, so `_markdown` translates what docstrings use: code between backticks, and fences.
"""

from __future__ import annotations

import os
import re

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
from docutils import nodes
from docutils.parsers.rst import Directive

import keras_babysit
from keras_babysit.cli.main import main

project = "keras_babysit"
author = "the keras_babysit authors"
release = keras_babysit.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns: list[str] = []

# Anchors are GitHub's, so that the pages can be read there too.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
# A name in backticks links to its entry; what is no name is code all the same.
default_role = "py:obj"
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
add_module_names = False

html_theme = "furo"
html_title = f"keras_babysit {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False

_FENCE = re.compile(r"^( *)```(\w*)$")


def _markdown(app, what, name, obj, options, lines):
    """Turns fenced code, and an `Example:` before it, into reStructuredText."""
    written, indent = [], None
    for line in lines:
        fence = _FENCE.match(line)
        if indent is None and fence:
            indent = fence[1]
            if written and written[-1].strip() == "Example:":
                written[-1] = f"{indent}.. rubric:: Example"
            written += ["", f"{indent}.. code-block:: {fence[2] or 'text'}", ""]
        elif fence:
            indent = None
            written.append("")
        else:
            written.append(line if indent is None else f"   {line}")
    lines[:] = written


class _CommandLine(Directive):
    """The help of each command of `keras-babysit`, as it prints it."""

    def run(self):
        return list(_helps(main, "keras-babysit", None))


def _helps(command, name, parent):
    context = click.Context(
        command, info_name=name, parent=parent, max_content_width=80
    )
    section = nodes.section(ids=[nodes.make_id(context.command_path)])
    section += nodes.title(text=context.command_path)
    section += nodes.literal_block(text=command.get_help(context), language="text")
    yield section
    for below in getattr(command, "commands", {}).values():
        yield from _helps(below, below.name, context)


def setup(app):
    """Sphinx calls this."""
    # Before napoleon, which comes at 500.
    app.connect("autodoc-process-docstring", _markdown, priority=400)
    app.add_directive("command-line", _CommandLine)
