"""Phrases that stopped readers, and must not come back; CONTRIBUTING.md has the terms.

They are looked for in the package's docstrings and messages, the pages and the README.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Patterns to what people write instead.
PHRASES = {
    r"(is|are|was|were|be) told": "reports, is set to, is known",
    r"(go|goes|gone|going) on\b(?! (a|one|the) )": "continues, resumes",
    r"of one's own": "separate, custom",
    r"mend(s|ed)?": "fix",
    r"dearer": "takes longer, costs more",
    r"learnt|by heart": "learned, memorized",
    r"hardly( ever)?": "barely, almost never",
    r"anew": "again, from the start",
    r"at hand": "(name it)",
    r"out of step": "no longer match",
    r"some rules ago|whatever (they|it) costs?|as many as a budget": "(say it plainly)",
    r"says? nothing of": "says nothing about",
}
#: What only developers read there is still to be gone over.
LATER = ("keras_babysit/search",)


def package_texts():
    for path in sorted((ROOT / "keras_babysit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


def page_texts():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for path in pages:
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


TEXTS = [
    (place, " ".join(text.split()))
    for place, text in (*package_texts(), *page_texts())
    if not place.startswith(LATER)
]


@pytest.mark.parametrize("phrase", PHRASES)
def test_does_not_come_back(phrase):
    pattern = re.compile(rf"\b({phrase})\b", re.I)
    found = [
        f"{place}: {text[max(m.start() - 30, 0) : m.end() + 30]}"
        for place, text in TEXTS
        for m in pattern.finditer(text)
    ]
    assert found == [], f"better: {PHRASES[phrase]}"
