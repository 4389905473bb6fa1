"""Findings as Markdown, for TensorBoard's Text tab."""

from __future__ import annotations

from collections.abc import Iterable

from keras_babysit.document.words import clean
from keras_babysit.records import Finding
from keras_babysit.report.groups import Group, told

_MEANS_SOMETHING = str.maketrans(
    {**{c: f"\\{c}" for c in "\\`*_[]#~|"}, "<": "&lt;", ">": "&gt;", "&": "&amp;"}
)


def findings_list(findings: Iterable[Finding]) -> str:
    """All findings, the worst first, symptoms below their causes."""
    items = [_item(group) for group in told(findings)]
    return "\n".join(items) if items else "Nothing wrong found so far."


def _item(group: Group) -> str:
    when = f" ({group.when})" if group.when else ""
    advice = "" if group.healed else f". {group.advice}"
    # Two spaces and an end of line: a new line in the same item.
    also = f"  \n    {escaped(group.also_seen)}." if group.also else ""
    return (
        f"* **{group.status}** {escaped(group.seen)}{escaped(advice)}"
        f"{escaped(f'{when} [{group.rule}]')}{also}"
    )


def escaped(text: str) -> str:
    """Text as it is, in one line, whatever signs are in it."""
    return clean(text).translate(_MEANS_SOMETHING)
