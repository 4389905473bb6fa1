"""docs/rules.md is what the docstrings say, and they say what they should."""

import re
from pathlib import Path

import pytest

from keras_babysit import rules
from keras_babysit.rules import reference

RULES = list(rules.available().values())
FILE = Path(__file__).parent.parent / "docs" / "rules.md"


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def test_is_up_to_date():
    assert FILE.read_text(encoding="utf-8") == reference.markdown(RULES), (
        "docs/rules.md is stale: run `make docs`"
    )


def flaws(rule):
    summary, found = reference.summary(rule), reference.sections(rule)
    if not summary.endswith(".") or len(summary) > 88:
        yield f"not a short sentence: {summary!r}"
    if [title for title in found if title] != list(reference.SECTIONS):
        yield f"sections are {list(found)}"
    body = " ".join(found.values())
    for threshold in rule.thresholds:
        if f"`{threshold}`" not in body:
            yield f"threshold {threshold!r} is not explained"


def test_every_rule_is_documented():
    found = {rule.name: list(flaws(rule)) for rule in RULES}
    assert {name: flawed for name, flawed in found.items() if flawed} == {}


def test_every_link_leads_somewhere():
    text = reference.markdown(RULES)
    headings = set(re.findall(r"^### (.*)$", text, re.M))
    assert headings == {rule.name for rule in RULES}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= headings


def test_sections_of_a_docstring():
    @rules.rule.rule(severity="info", when=("step", "end"), since="nowhere")
    def made_up(history, *, limit=2):
        """Says nothing,
        ever.

        More of it.

        What it sees:
            Nothing:

            * not this,
                nor that.

        What to do: nothing at all.
        """
        yield

    assert made_up.name == "made-up"
    assert reference.summary(made_up) == "Says nothing, ever."
    assert reference.when(made_up) == "while it trains"
    assert reference.sections(made_up) == {
        "": "More of it.",
        "What it sees": "Nothing:\n\n* not this,\n    nor that.",
        "What to do": "nothing at all.",
    }
    entry = reference.entry(made_up)
    assert entry.startswith("Says nothing, ever.\n\n*Info, while it trains.")
    assert "Thresholds: `limit=2`." in entry
