"""A report as HTML: one self-contained piece, no scripts, all text escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from keras_babysit.document.words import clean, number
from keras_babysit.report import text
from keras_babysit.report.groups import Group

if TYPE_CHECKING:
    from keras_babysit.report.report import Report

#: Longer evidence is cut, and that of more places left out.
MAX_EVIDENCE = 200
MAX_PLACES = 20

# No background and no colour of text: notebooks are light or dark.
STYLE = """
.babysit { font: 14px/1.45 system-ui, sans-serif; max-width: 60em; margin: 0 0 1em; }
.babysit h3 { font-size: 1.15em; margin: 0 0 .2em; }
.babysit p { margin: .2em 0; }
.babysit .finding { border-left: 4px solid #888; padding: .1em 0 .1em .8em;
  margin: .8em 0; overflow-wrap: anywhere; }
.babysit .error { border-color: #d32f2f; }
.babysit .warning { border-color: #f0a000; }
.babysit .info { border-color: #1e88c8; }
.babysit .healed { border-color: #2e9d4c; }
.babysit .status { font-weight: 600; }
.babysit .faint, .babysit summary { opacity: .7; }
.babysit details { margin: .2em 0; }
.babysit summary { cursor: pointer; }
.babysit ul { margin: .2em 0; padding-left: 1.4em; }
.babysit .scroll { overflow-x: auto; }
.babysit table { border-collapse: collapse; margin: .8em 0; font-size: .93em; }
.babysit th, .babysit td { padding: .25em .9em .25em 0; text-align: left;
  border-bottom: 1px solid rgba(128, 128, 128, .35); white-space: nowrap; }
.babysit .number { text-align: right; font-variant-numeric: tabular-nums; }
.babysit td.findings { white-space: normal; min-width: 10em; }
""".strip()


def document(reports: Mapping[str, Report]) -> str:
    """A whole page of reports, each below its run's name."""
    parts = [
        f"<h2>{_text(name)}</h2>\n{_body(report)}" for name, report in reports.items()
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        "<title>keras_babysit report</title>\n<style>\n"
        ":root { color-scheme: light dark; }\n"
        "body { font-family: system-ui, sans-serif; margin: 2em; }\n"
        f"{STYLE}\n</style>\n</head>\n<body>\n{''.join(parts)}\n</body>\n</html>\n"
    )


def fragment(report: Report) -> str:
    """A piece of HTML for a notebook."""
    return f"<style>\n{STYLE}\n</style>\n{_body(report)}"


def _body(report: Report) -> str:
    title = _text(report.model) or "Training"
    parts = [
        f"<h3>{title}: {_text(text.verdict(report))}</h3>",
        f'<p class="faint">{_text(text.progress(report))}</p>',
    ]
    if report.stopped:
        parts.append(f"<p>Stopped: {_text(report.stopped)}</p>")
    parts += [f"<p>{_text(note)}</p>" for note in report.notes]
    parts += [_finding(group) for group in report.groups]
    parts.append(_layers(report))
    parts.append(f'<p class="faint">{_text(text.cost_line(report))}</p>')
    return f'<div class="babysit">\n{"".join(parts)}\n</div>'


def _finding(group: Group) -> str:
    told = group.seen if group.healed else f"{group.seen}."
    when = f" ({group.when})" if group.when else ""
    parts = [
        f'<p><span class="status">{_text(group.status)}</span> {_text(told)}'
        f'<span class="faint">{_text(when)} [{_text(group.rule)}]</span></p>'
    ]
    if not group.healed:
        parts.append(f"<p>{_text(group.advice)}</p>")
    if group.also:
        parts.append(f'<p class="faint">{_text(group.also_seen)}</p>')
    parts.append(_details(group))
    status = group.status if group.status in text.LOOKS else "info"
    return f'<div class="finding {status}">{"".join(parts)}</div>\n'


def _details(group: Group) -> str:
    """What is folded away: other remedies, and the numbers of each place."""
    parts = []
    if group.first.alternatives and not group.healed:
        others = "".join(f"<li>{_text(a)}</li>" for a in group.first.alternatives)
        parts.append(f"<p>If that does not help:</p><ul>{others}</ul>")
    evidence = [
        f"<li>{_text(f'{f.where}: ' if f.where else '')}{_evidence(f.evidence)}</li>"
        for f in group.findings[:MAX_PLACES]
        if f.evidence
    ]
    if evidence:
        parts.append(f"<p>Evidence:</p><ul>{''.join(evidence)}</ul>")
    if not parts:
        return ""
    return f"<details><summary>more</summary>{''.join(parts)}</details>"


def _evidence(evidence: Mapping[str, object]) -> str:
    shown = []
    for name, value in evidence.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        words = number(value) if is_number else str(value)  # type: ignore[arg-type]
        if len(words) > MAX_EVIDENCE:
            words = f"{words[:MAX_EVIDENCE]} …"
        shown.append(f"{name} {words}")
    return _text(", ".join(shown))


def _layers(report: Report) -> str:
    shown, left_out = text.shown_layers(report.layers)
    if not shown:
        return ""
    rows = [text.cells(layer) for layer in shown]
    titles = text.columns(rows)
    head = "".join(f"<th{_class(t)}>{_text(t)}</th>" for t in titles)
    body = "".join(_row(row, titles) for row in rows)
    more = f'<p class="faint">{left_out}</p>' if left_out else ""
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>{more}\n"
    )


def _row(row: Mapping[str, str], titles: list[str]) -> str:
    cells = "".join(f"<td{_class(t)}>{_text(row[t])}</td>" for t in titles)
    return f"<tr>{cells}</tr>\n"


def _class(title: str) -> str:
    if title == "findings":
        return ' class="findings"'
    return ' class="number"' if title in text.NUMBERS else ""


def _text(words: str) -> str:
    return escape(clean(words))
