"""A report for a console, a log file, or a string."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keras_babysit.report.groups import Group, clean, count, number, share
from keras_babysit.report.layers import LayerSummary
from keras_babysit.report.plain import rendered

if TYPE_CHECKING:
    from keras_babysit.report.report import Report

#: Sign and style of each status.
LOOKS = {
    "error": ("✖", "bold red"),
    "warning": ("▲", "yellow"),
    "info": ("•", "cyan"),
    "healed": ("✔", "green"),
}
#: Columns of text that is not for a terminal.
WIDTH = 100
#: A table has at most so many layers, those with findings first.
MAX_LAYERS = 40
#: At most so many of Keras's logs are in the headline.
MAX_LOGS = 6

_MARK_WIDTH = max(map(len, LOOKS)) + 2


def plain_text(report: Report) -> str:
    """The report as text without colour."""
    return rendered(
        lambda console: write(console, report, wrap=True, table=True), WIDTH
    )


def write(console: Console, report: Report, wrap: bool, table: bool) -> None:
    """Writes a report.

    Args:
        console: where to.
        report: the report.
        wrap: whether to break long lines; otherwise a finding is one line.
        table: whether to write the table of layers.
    """
    console.print(_headline(report), soft_wrap=not wrap)
    for note in _notes(report):
        console.print(Text(note), soft_wrap=not wrap)
    write_findings(console, report.groups, wrap)
    if table and report.layers:
        _write_layers(console, report.layers)
    if line := cost_line(report):
        console.print(Text(line, style="dim"), soft_wrap=not wrap)


def write_line(console: Console, report: Report, wrap: bool) -> None:
    """Writes one line, for when all is well; see `write`."""
    line = _headline(report)
    if cost := cost_line(report):
        line.append(f" {cost}", style="dim")
    console.print(line, soft_wrap=not wrap)


def write_findings(console: Console, groups: Iterable[Group], wrap: bool) -> None:
    """Writes findings, one line or, where lines are broken, one paragraph each."""
    if not wrap:
        for group in groups:
            console.print(Text.assemble(mark(group), " ", body(group)), soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    # Hanging indent: the signs stay in a column of their own.
    grid.add_column(overflow="fold")
    for group in groups:
        grid.add_row(mark(group), body(group))
    if grid.row_count:
        console.print(grid)


def mark(group: Group) -> Text:
    """Sign and status of a finding: `✖ error`."""
    sign, style = LOOKS.get(group.status, LOOKS["info"])
    return Text(f"{sign} {group.status}".ljust(_MARK_WIDTH), style=style)


def body(group: Group) -> Text:
    """A finding in a sentence or two, and what it explains."""
    also = f" {group.also_seen}." if group.also else ""
    text = Text(f"{group.sentence}{also}")
    if group.healed:
        text.stylize("dim")
    text.highlight_words([f"[{group.rule}]"], "dim")
    return text


def verdict(report: Report) -> str:
    """`"1 error, 2 warnings"` of what is open, or that nothing is wrong."""
    groups = [g for g in report.groups if not g.healed]
    found = [
        count(n, {"info": "remark"}.get(severity, severity))
        for severity in ("error", "warning", "info")
        for n in [sum(g.severity == severity for g in groups)]
        if n
    ]
    if not report.problems:
        seen = report.cost is None or report.cost.observed or not report.cost.steps
        found.insert(0, "nothing wrong found" if seen else "nothing was observed")
    return ", ".join(found)


def progress(report: Report) -> str:
    """`"10 epochs, 600 steps, loss 0.31"`."""
    epochs = f"{report.epochs:.1f}".removesuffix(".0")
    parts = [f"{epochs} epoch" + "s" * (epochs != "1"), count(report.steps, "step")]
    logs = list(report.logs.items())[:MAX_LOGS]
    return ", ".join([*parts, *(f"{clean(name)} {number(v)}" for name, v in logs)])


def cost_line(report: Report) -> str:
    """What was observed, what that cost, and what was not; empty before a step."""
    cost = report.cost
    if cost is None or not (cost.steps or cost.unobserved):
        return ""
    line = f"Observed {cost.observed:,} of {count(cost.steps, 'step')}"
    if 0 < cost.full < cost.observed:
        line += f", {cost.full:,} of them with gradients and activations"
    # Seconds too: in a short run, a large share is a small matter.
    share = f" ({100 * cost.overhead:.1f} %)" if math.isfinite(cost.overhead) else ""
    line += (
        f". Watching added {cost.total_seconds:.2g} s to this run: "
        f"{cost.build_seconds:.2g} s once, {cost.extra_seconds:.2g} s{share} while it "
        "trained."
    )
    for note in cost.unobserved:
        line += f" {clean(note)}."
    return line


def shown_layers(layers: Sequence[LayerSummary]) -> tuple[list[LayerSummary], str]:
    """The layers to show, and how many more there are: `"and 3 more layers"`.

    Layers that there is nothing to say of are neither. If not all have room, those
    with findings come first; the order stays.
    """
    useful = [v for v in layers if v.findings or v.parameters or _measured(v)]
    first = sorted(useful, key=lambda layer: not layer.findings)[:MAX_LAYERS]
    kept = {layer.path for layer in first}
    more = len(useful) - len(first)
    left_out = f"and {count(more, 'more layer')}" if more else ""
    return [layer for layer in useful if layer.path in kept][:MAX_LAYERS], left_out


def cells(layer: LayerSummary) -> dict[str, str]:
    """The cells of a layer's row by the titles of their columns."""
    return {
        "layer": clean(layer.path),
        "kind": clean(f"{layer.kind} {layer.activation or ''}".strip()),
        "weights": number(layer.parameters),
        "update ratio": number(layer.update_ratio),
        "gradient norm": number(layer.gradient_norm),
        "dead": share(layer.dead_fraction),
        "saturated": share(layer.saturation_fraction),
        "findings": ", ".join(map(clean, layer.findings)),
    }


#: Columns that a narrow table does without, the first of these first.
DISPENSABLE = ("gradient norm", "weights", "kind")
#: Columns whose cells are numbers.
NUMBERS = ("weights", "update ratio", "gradient norm", "dead", "saturated")


def columns(rows: Sequence[dict[str, str]]) -> list[str]:
    """The titles of the columns that are not empty."""
    return [title for title in rows[0] if any(row[title] for row in rows)]


def _headline(report: Report) -> Text:
    name = f"{clean(report.model)}: " if report.model else ""
    severities = {f.severity for f in report.problems}
    status = next((s for s in ("error", "warning") if s in severities), "healed")
    sign, style = LOOKS[status]
    return Text.assemble(
        (f"{sign} ", style),
        f"{name}{progress(report)}: ",
        (f"{verdict(report)}.", style),
    )


def _notes(report: Report) -> list[str]:
    stopped = [f"Stopped: {clean(report.stopped)}"] if report.stopped else []
    return stopped + [clean(note) for note in report.notes]


def _measured(layer: LayerSummary) -> bool:
    numbers = (layer.dead_fraction, layer.saturation_fraction, layer.update_ratio)
    return any(value is not None for value in numbers)


def _write_layers(console: Console, layers: Sequence[LayerSummary]) -> None:
    shown, left_out = shown_layers(layers)
    rows = [cells(layer) for layer in shown]
    if not rows:
        return
    titles = _fitting(columns(rows), rows, console.width)
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
    )
    for title in titles:
        is_number = title in NUMBERS
        table.add_column(
            # Titles of two words on two lines: a terminal may have only 80 columns.
            title.replace(" ", "\n"),
            justify="right" if is_number else "left",
            no_wrap=is_number,
            overflow="fold",
        )
    for row in rows:
        style = "yellow" if row["findings"] else ""
        table.add_row(*(Text(row[t]) for t in titles), style=style)
    console.print(table)
    if left_out:
        console.print(Text(left_out, style="dim"))


def _fitting(titles: list[str], rows: list[dict[str, str]], width: int) -> list[str]:
    """The columns that fit without breaking a word, as far as one can do without."""
    titles = list(titles)
    for title in DISPENSABLE:
        needed = sum(_longest_word(t, rows) + 2 for t in titles)
        if needed > width and title in titles:
            titles.remove(title)
    return titles


def _longest_word(title: str, rows: list[dict[str, str]]) -> int:
    # Only the names of rules are broken between words.
    cells = [row[title] for row in rows]
    words = " ".join(cells).split() if title == "findings" else cells
    return max(map(len, [*title.split(), *words]))
