"""The rules' documentation, from their docstrings."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping

from keras_babysit.rules.kind import KINDS, MEANING
from keras_babysit.rules.rule import MOMENTS, Rule

#: Sections of a rule's docstring, after its summary.
SECTIONS = (
    "What it sees",
    "Why it matters",
    "What to do",
    "When it is wrong",
    "References",
)
#: What each of `rule.MOMENTS` means, in words.
WHEN = {
    "start": "before the first step",
    "step": "while it trains",
    "epoch": "after each epoch",
    "end": "at the end",
}

_HEADER = """\
<!-- Made from the docstrings by `make docs`; edit those. -->
# Rules

A `Babysitter` asks these rules about the model, the data and the training. Leave one
out with `ignore=["dead-relu"]`, or give it another threshold with
`thresholds={"dead-relu": {"limit": 0.95}}`. `keras-babysit explain dead-relu` prints
one of them.

An **error** means that training cannot work, a **warning** that something probably
hurts, **info** is worth knowing.

## Kinds

A cause silences its symptoms: the report lists them under it, as "also seen". The kind
of a rule decides what its findings explain.

"""


def summary(rule: Rule) -> str:
    """The first paragraph of a rule's documentation, in one line."""
    return " ".join(rule.doc.partition("\n\n")[0].split())


def sections(rule: Rule) -> dict[str, str]:
    """The sections of a rule's documentation by their titles, dedented.

    Text between the summary and the first section has the title `""`.
    """
    found: dict[str, list[str]] = {"": []}
    title = ""
    for line in rule.doc.partition("\n\n")[2].splitlines():
        head, colon, rest = line.partition(":")
        if colon and head in SECTIONS:
            title, line = head, rest
            found[title] = []
        found[title].append(line)
    texts = {title: inspect.cleandoc("\n".join(v)) for title, v in found.items()}
    return {title: text for title, text in texts.items() if text}


def when(rule: Rule) -> str:
    """The first moment at which a rule may say something, in words."""
    return next(WHEN[moment] for moment in MOMENTS if moment in rule.when)


def families(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    """Rules by the title of their family: what its file's docstring begins with."""
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        module = sys.modules[rule.function.__module__]
        title = (module.__doc__ or module.__name__).strip().splitlines()[0]
        found.setdefault(title.removesuffix("."), []).append(rule)
    return found


def entry(rule: Rule, links: bool = True) -> str:
    """The documentation of one rule as Markdown, without its title.

    Args:
        rule: the rule.
        links: whether the rules that it names are links within a document of all.
    """
    severity = rule.severity.capitalize()
    facts = [f"*{severity}, {when(rule)}. Kind: {rule.kind}. From: {rule.source}.*"]
    if rule.thresholds:
        facts.append(f"Thresholds: {_thresholds(rule.thresholds)}.")
    if rule.also:
        form = "[{0}](#{0})" if links else "{0}"
        names = ", ".join(form.format(s) for s in sorted(rule.also))
        facts.append(f"Besides what its kind explains: {names}.")
    if rule.refutable:
        facts.append("Withdrawn when the model trains well in spite of it.")
    body = [f"**{t}.** {text}" if t else text for t, text in sections(rule).items()]
    return "\n\n".join([summary(rule), *facts, *body]) + "\n"


def markdown(rules: Iterable[Rule]) -> str:
    """The documentation of rules as one Markdown document."""
    rules = list(rules)
    parts = [_HEADER + _kinds()]
    parts.append(_contents(rules))
    for family, members in families(rules).items():
        parts.append(f"## {family}\n")
        parts += [f"### {rule.name}\n\n{entry(rule)}" for rule in members]
    return "\n".join(parts)


def _contents(rules: list[Rule]) -> str:
    rows = [
        f"| [{rule.name}](#{rule.name}) | {rule.severity} | {when(rule)} | "
        f"{_cell(summary(rule))} |"
        for rule in rules
    ]
    head = ["## All rules\n", "| rule | severity | when | |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _kinds() -> str:
    head = ["| kind | what it stands for | explains |", "|---|---|---|"]
    rows = [
        f"| {kind} | {MEANING[kind]} | {', '.join(_in_order(explained)) or 'nothing'} |"
        for kind, explained in KINDS.items()
    ]
    return "\n".join([*head, *rows]) + "\n"


def _in_order(explained: Iterable[str]) -> list[str]:
    """Kinds in their own order, then links to single rules."""
    kinds = [kind for kind in KINDS if kind in explained]
    return kinds + [f"[{name}](#{name})" for name in sorted({*explained} - {*KINDS})]


def _thresholds(thresholds: Mapping[str, object]) -> str:
    return ", ".join(f"`{name}={value!r}`" for name, value in thresholds.items())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
