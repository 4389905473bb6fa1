"""Every public name has a page, and a docstring that the page can show."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import keras_babysit

PAGES = Path(__file__).parent.parent / "docs" / "api"
DIRECTIVE = re.compile(r"^\.\. (currentmodule|auto\w+):: ([\w.]+)$", re.M)
#: Where results and the parts of rules live, beside what `keras_babysit` names.
MORE = ("checks", "comparison", "document", "lr_range", "probes", "report")


def public(module):
    """Yields the classes and functions that a module offers."""
    own = [
        n
        for n, v in vars(module).items()
        if not n.startswith("_") and _is_own(v, module)
    ]
    for name in getattr(module, "__all__", own):
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            yield f"{module.__name__}.{name}", value


def _is_own(value, module):
    return getattr(value, "__module__", None) == module.__name__


def packages():
    top = [getattr(keras_babysit, name) for name in keras_babysit.__all__]
    below = [importlib.import_module(f"keras_babysit.{name}") for name in MORE]
    return [keras_babysit, *filter(inspect.ismodule, top), *below]


def resolved(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def on_pages(pattern="*.md"):
    """Returns what the directives of the API pages name."""
    found = []
    for page in sorted(PAGES.glob(pattern)):
        module = ""
        for directive, name in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            if directive == "currentmodule":
                module = name
            elif directive == "automodule":
                found += [value for _, value in public(importlib.import_module(name))]
            else:
                found.append(resolved(name if "." in name else f"{module}.{name}"))
    return found


def test_every_public_name_has_a_page():
    shown = on_pages()
    missing = {n for m in packages() for n, value in public(m) if value not in shown}
    assert missing == set(), "add them to a page in docs/api"


def test_what_is_shown_says_what_it_does():
    """Sphinx leaves out what has no docstring, without a word."""
    assert [value for value in on_pages() if not inspect.getdoc(value)] == []


@pytest.mark.parametrize("page", sorted(p.name for p in PAGES.glob("*.md")))
def test_is_in_the_index(page):
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    assert page == "index.md" or f"]({page})" in index
