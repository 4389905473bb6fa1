"""The report of a search as HTML: one self-contained piece, no scripts, all escaped."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING, Any

from keras_babysit.document.words import clean
from keras_babysit.report.page import STYLE
from keras_babysit.search.results.sections import Section, headline, sections
from keras_babysit.search.results.table import COLUMNS, rows, score_text, shown

if TYPE_CHECKING:
    from keras_babysit.search.results.report import SearchReport

_STYLE = """
.babysit h4 { font-size: 1em; margin: 1.4em 0 .3em; }
.babysit figure { margin: .6em 0; }
.babysit figure img { max-width: 100%; background: #fff; border-radius: 4px; }
.babysit td.wrap { white-space: normal; overflow-wrap: anywhere; min-width: 16em; }
.babysit td.bar { width: 14em; }
.babysit .bar div { background: #0072b2; height: .8em; border-radius: 2px; }
.babysit.search { max-width: 76em; }
""".strip()

#: Columns of the table of all trials that say nothing if they are all the same.
_DULL = ("origin", "source", "score_std", "attempts", "reason", "stage", "parameters")


def document(report: SearchReport) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{_text(report.name)}: search report</title>\n<style>\n"
        ":root { color-scheme: light dark; }\n"
        "body { font-family: system-ui, sans-serif; margin: 2em; }\n"
        f"{STYLE}\n{_STYLE}\n</style>\n</head>\n<body>\n{_body(report)}\n</body>\n"
        "</html>\n"
    )


def fragment(report: SearchReport) -> str:
    """A piece of HTML for a notebook."""
    return f"<style>\n{STYLE}\n{_STYLE}\n</style>\n{_body(report)}"


def _body(report: SearchReport) -> str:
    parts = [f"<h3>{_text(headline(report))}</h3>"]
    found = sections(report)
    pictures = _pictures(report)
    for section in found:
        parts.append(_section(section))
        if section.title == "Best trials":
            parts += pictures
    parts.append(_all_trials(report))
    return f'<div class="babysit search">\n{"".join(parts)}\n</div>'


def _section(section: Section) -> str:
    lines = "".join(f"<p>{_text(line)}</p>" for line in section.lines)
    return f"<h4>{_text(section.title)}</h4>\n{lines}{_table(section)}\n"


def _table(section: Section) -> str:
    if not section.rows:
        return ""
    longest = max(section.bars, default=0.0)
    lengths = [bar / longest if longest else 0.0 for bar in section.bars]
    body = []
    for index, row in enumerate(section.rows):
        cells = [_cell(cell, i < section.words) for i, cell in enumerate(row)]
        if lengths:
            width = f"{100 * lengths[index]:.1f}%"
            cells.append(f'<td class="bar"><div style="width:{width}"></div></td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    heads = [
        f"<th{_class(i < section.words)}>{_text(title)}</th>"
        for i, title in enumerate(section.head)
    ]
    heads += ["<th></th>"] if lengths else []
    return _wrapped("".join(heads), "\n".join(body))


def _pictures(report: SearchReport) -> list[str]:
    """The plots as images of vectors; a note where matplotlib is not installed."""
    from keras_babysit.search.results.plots import figure as drawing

    try:
        figures = drawing.figures(report)
    except ImportError as error:
        return [f'<p class="faint">No pictures: {_text(str(error))}</p>']
    return [
        f"<h4>{_text(title)}</h4>\n<figure>{_image(figure, title)}"
        f'<figcaption class="faint">{_text(caption)}</figcaption></figure>\n'
        for title, caption, figure in figures
    ]


def _image(figure: Any, title: str) -> str:
    import matplotlib

    file = io.BytesIO()
    # The same search makes the same page.
    with matplotlib.rc_context({"svg.hashsalt": "keras_babysit"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{_text(title)}" src="data:image/svg+xml;base64,{data}">'


def _all_trials(report: SearchReport) -> str:
    if not report.trials:
        return ""
    found = rows(report.trials, report.objective)
    names = [
        name
        for name in found[0]
        if name not in _DULL or len({str(row[name]) for row in found}) > 1
    ]
    # Long ones last.
    names.sort(key=lambda name: name == "reason")
    words = ("status", "origin", "reason")
    heads = [f"<th{_class(n in words)}>{_text(n)}</th>" for n in names]
    body = [
        f"<tr>{''.join(_cell(_said(n, row[n]), n in words) for n in names)}</tr>"
        for row in found
    ]
    table = _wrapped("".join(heads), "".join(body))
    return f"<details><summary>All trials</summary>{table}</details>\n"


def _said(name: str, value: Any) -> str:
    if name == "reason":
        return value or ""
    if name == "stage":
        return str(value + 1)  # People count from 1.
    is_score = isinstance(value, float) and name not in COLUMNS[8:]
    return score_text(value) if is_score else shown(value)


def _wrapped(head: str, body: str) -> str:
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(words: str, is_word: bool) -> str:
    kind = ' class="wrap"' if len(words) > 60 else _class(is_word)
    return f"<td{kind}>{_text(words)}</td>"


def _class(is_word: bool) -> str:
    return "" if is_word else ' class="number"'


def _text(words: str) -> str:
    return escape(clean(words))
