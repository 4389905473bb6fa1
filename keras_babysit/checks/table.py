"""What all checks came to as one table: for consoles, strings and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keras_babysit.checks.check import CheckResult
from keras_babysit.checks.model_and_data import RulesResult
from keras_babysit.checks.printing import LOOKS, WIDTH, mark
from keras_babysit.document.words import clean, count
from keras_babysit.report.page import STYLE
from keras_babysit.report.plain import rendered

if TYPE_CHECKING:
    from keras_babysit.checks.preflight_result import Preflight

#: Of what the rules found, at most so much is told; the check itself has all.
MAX_FINDINGS = 6
#: Verdicts as they are told.
_ORDER = ("failed", "worrying", "passed", "skipped")
#: Verdicts as the classes that a report's style knows.
_CLASSES = {"passed": "healed", "worrying": "warning", "failed": "error"}


class Item(NamedTuple):
    """Something that a check saw, how bad it is, and what to do about it."""

    verdict: str
    seen: str
    action: str = ""


def plain_text(found: Preflight) -> str:
    """The table as text without colour, 100 columns wide."""
    return rendered(lambda console: write(console, found), WIDTH)


def write(console: Console, found: Preflight) -> None:
    """Writes the table, the worst first, at most 100 columns wide."""
    console.print(_headline(found), width=min(console.width, WIDTH))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("check", overflow="fold", min_width=10)
    table.add_column("what was seen, and what to do", overflow="fold", ratio=1)
    for result in in_order(found):
        name = Text(_name(result.check), style="bold")
        for item in items(found, result):
            table.add_row(mark(item.verdict), name, _cell(item))
            name = Text()
    console.print(table, width=min(console.width, WIDTH))
    if more := details(found):
        console.print(Text(more, style="dim"), width=min(console.width, WIDTH))


def tally(found: Preflight) -> str:
    """`"1 failed, 4 passed"`."""
    verdicts = [result.verdict for result in found.results]
    numbers = [(verdicts.count(verdict), verdict) for verdict in _ORDER]
    return ", ".join(f"{n} {verdict}" for n, verdict in numbers if n) or "no checks"


def in_order(found: Preflight) -> list[CheckResult]:
    """The results as they are told: the worst first, causes before symptoms."""

    def order(result: CheckResult) -> tuple:
        explained = result.check in found.because
        return result.ok, explained, _ORDER.index(result.verdict)

    return sorted(found.results, key=order)


def items(found: Preflight, result: CheckResult) -> Iterator[Item]:
    """What a check saw, each with what to do about it."""
    if result.check in found.because:
        reasons = " or ".join(map(_name, found.because[result.check]))
        seen = f"{_ended(result.summary)} Likely for the same reason: {reasons}."
        yield Item(result.verdict, seen)
        return
    if not isinstance(result, RulesResult) or result.ok:
        yield Item(result.verdict, _ended(result.summary), _ended(result.action))
        return
    problems = [group for group in result.groups if group.severity != "info"]
    for group in problems[:MAX_FINDINGS]:
        verdict = "failed" if group.severity == "error" else "worrying"
        yield Item(verdict, f"{_ended(group.seen)} [{group.rule}]", group.advice)
    if (more := len(problems) - MAX_FINDINGS) > 0:
        yield Item("worrying", f"And {count(more, 'more finding')}.")


def details(found: Preflight) -> str:
    """How to see more than the table; empty if there is no more."""
    more = [r.check for r in in_order(found) if not r.ok and (r.rows or r.alternatives)]
    if not more:
        return ""
    return f'Details: print(found["{more[0]}"]), if `found` is what preflight returned.'


def fragment(found: Preflight) -> str:
    """A piece of HTML for a notebook: self-contained, no scripts, all text escaped."""
    parts = [f"<h3>{_html(_title(found))}: {_html(tally(found))}</h3>"]
    parts.append(f'<p class="faint">{_html(_basis(found))}</p>')
    parts += [_block(found, result) for result in in_order(found)]
    body = "\n".join(parts)
    return f'<style>\n{STYLE}\n</style>\n<div class="babysit">\n{body}\n</div>'


def _headline(found: Preflight) -> Text:
    sign, style = LOOKS[found.verdict]
    return Text.assemble(
        (f"{sign} ", style),
        f"{_title(found)}, {_basis(found)}: ",
        (f"{tally(found)}.", style),
    )


def _title(found: Preflight) -> str:
    return (
        f"Before learning: {clean(found.model)}" if found.model else "Before learning"
    )


def _basis(found: Preflight) -> str:
    seconds = f"{found.seconds:.1f}" if found.seconds < 10 else f"{found.seconds:.0f}"
    samples = count(found.samples, "sample")
    if found.rows is not None and found.rows > found.samples:
        samples = f"{found.samples:,} of {count(found.rows, 'sample')}"
    return f"{samples}, {seconds} s"


def _name(check: str) -> str:
    return clean(check.replace("_", " "))


def _cell(item: Item) -> Text:
    text = Text(clean(item.seen))
    if item.action:
        text.append("\n→ ", style="bold")
        text.append(clean(item.action))
    # Names of rules.
    text.highlight_regex(r"\[[a-z-]+\]", "dim")
    return text


def _block(found: Preflight, result: CheckResult) -> str:
    parts = []
    for item in items(found, result):
        sign = LOOKS[item.verdict][0]
        parts.append(
            f'<p><span class="status">{sign} {_html(item.verdict)}</span> '
            f"<b>{_html(_name(result.check))}</b>: {_html(item.seen)}</p>"
        )
        if item.action:
            parts.append(f"<p>→ {_html(item.action)}</p>")
    parts.append(_folded(result))
    kind = _CLASSES.get(result.verdict, "info")
    return f'<div class="finding {kind}">{"".join(parts)}</div>'


def _folded(result: CheckResult) -> str:
    """What is folded away: other remedies, notes and the table of details."""
    parts = []
    others = [*result.alternatives, *result.notes]
    if others:
        parts.append(
            f"<ul>{''.join(f'<li>{_html(other)}</li>' for other in others)}</ul>"
        )
    if result.rows:
        titles = list(dict.fromkeys(title for row in result.rows for title in row))
        head = "".join(f"<th>{_html(title)}</th>" for title in titles)
        rows = "".join(
            f"<tr>{''.join(_wide(row.get(title, '')) for title in titles)}</tr>"
            for row in result.rows
        )
        parts.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )
    if not parts:
        return ""
    return f"<details><summary>more</summary>{''.join(parts)}</details>"


def _wide(words: str) -> str:
    # Of the class whose lines may be broken: some cells are sentences.
    return f'<td class="findings">{_html(words)}</td>'


def _html(words: object) -> str:
    return escape(clean(str(words)))


def _ended(text: str) -> str:
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
