"""The document of one run that the page draws: plain values, as JSON can hold them.

The same document is embedded in `report.html` and served to the tab in TensorBoard.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from typing import Any

from keras_babysit.document.blocks import Items, plain
from keras_babysit.document.words import clean
from keras_babysit.history import Series, State, Window
from keras_babysit.records import Histogram, Image
from keras_babysit.report.course import LOGS, Course
from keras_babysit.report.groups import Group
from keras_babysit.report.layers import LayerSummary, table
from keras_babysit.report.losses import class_tables, tables

#: The page refuses documents of another make.
FORMAT = 1
#: Significant digits of the numbers in charts, and of the bins of histograms.
_DIGITS, _BIN_DIGITS = 5, 3


def document(report: Any, name: str, states: bool = True) -> dict[str, Any]:
    """Returns the document of a run.

    Args:
        report: the `Report`, with its course.
        name: what it is called among other runs.
        states: whether histograms and pictures are in it; without, they can be had
            from `histograms` and `pictures` when they are asked for.
    """
    course = report.course
    return {
        **outline(report, name),
        "findings": [_finding(group) for group in report.groups],
        "notes": [clean(note) for note in _notes(report)],
        "cost": report.cost_line,
        "layers": [_layer(layer) for layer in report.layers],
        "tables": [_table(block) for block in _blocks(report)],
        "maps": {name: _map(window) for name, window in course.maps.items()},
        "logs": _logs(course),
        "curves": {
            name: _curve(series)
            for name, series in course.curves.items()
            if not name.startswith(LOGS)
        },
        "histograms": histograms(course) if states else None,
        "pictures": pictures(course) if states else None,
    }


def outline(report: Any, name: str) -> dict[str, Any]:
    """Returns what a list of runs shows of one."""
    heading = report.headline
    return {
        "format": FORMAT,
        "name": clean(name),
        "model": clean(report.model),
        "headline": plain(heading.text),
        "verdict": report.verdict,
        "tone": heading.tone,
        "epochs": report.epochs,
        "steps": report.steps,
        "ended": report.ended,
    }


def histograms(course: Course) -> list[dict[str, Any]]:
    """Returns the histograms: one entry for each kind and path."""
    return [
        {"kind": kind, "path": path, "states": [_bins(state) for state in states]}
        for (kind, path), states in course.histograms.items()
    ]


def pictures(course: Course) -> list[dict[str, Any]]:
    """Returns the pictures, as they were over the run."""
    return [
        {"tag": clean(tag), "states": [_picture(state) for state in states]}
        for tag, states in course.pictures.items()
    ]


def _notes(report: Any) -> Iterable[str]:
    stopped = f"Stopped: {report.stopped}" if report.stopped else ""
    return filter(None, (stopped, *report.notes, report.damage, *report.unasked))


def _finding(group: Group) -> dict[str, Any]:
    card = group.card
    points = [block.points for block in card.more if isinstance(block, Items)]
    evidence = [f.evidence for f in group.findings if f.evidence]
    alternatives = points[0] if group.first.alternatives and not group.healed else ()
    return {
        "rule": group.rule,
        "status": card.status,
        "tone": card.tone,
        "seen": card.seen,
        "advice": card.advice,
        "when": card.when,
        "also": card.also,
        "alternatives": [clean(point) for point in alternatives],
        "evidence": [clean(point) for point in points[-1]] if evidence else [],
        "places": [
            {"where": f.where, "epoch": _number(f.since_epoch), "step": f.since_step}
            for f in (*group.findings, *group.also)
        ],
        "explanation": _explanation(group.rule),
    }


def _explanation(name: str) -> list[list[str]]:
    """What the documentation of a rule says: pairs of a title and a text."""
    from keras_babysit import rules
    from keras_babysit.rules import reference

    rule = rules.available().get(name)
    if rule is None:  # One of the user's own.
        return []
    parts = {"": reference.summary(rule), **reference.sections(rule)}
    return [[title, text] for title, text in parts.items()]


def _layer(layer: LayerSummary) -> dict[str, Any]:
    return {
        "path": layer.path,
        "kind": layer.kind,
        "activation": layer.activation or "",
        "parameters": layer.parameters,
        "variables": list(layer.variables),
        "kernels": list(layer.kernels or filter(_is_kernel, layer.variables)),
        "findings": list(layer.findings),
    }


def _is_kernel(path: str) -> bool:
    """Whether a variable is a kernel, by its name: the model was not seen."""
    return path.rpartition("/")[2].endswith(("kernel", "embeddings"))


def _blocks(report: Any) -> list[Any]:
    losses = report.losses
    found = [table(report.layers), *tables(losses), *class_tables(losses)]
    return [block for block in found if block.rows]


def _table(block: Any) -> dict[str, Any]:
    return {
        "columns": [
            {"title": column.title, "number": column.number} for column in block.columns
        ],
        "rows": [
            {"cells": [plain(cell) for cell in row.cells], "tone": row.tone}
            for row in block.rows
        ],
        "note": block.note,
    }


def _map(window: Window) -> dict[str, Any]:
    return {
        "places": list(window.places),
        "steps": [int(step) for step in window.steps],
        "epochs": _numbers(window.epochs),
        # A row for each place.
        "values": [_numbers(row) for row in window.values.T],
    }


def _logs(course: Course) -> dict[str, dict[str, Any]]:
    """Keras's logs by name, those of training and of validation together."""
    found: dict[str, dict[str, Any]] = {}
    for quantity, series in course.curves.items():
        if quantity.startswith(LOGS):
            name = quantity.removeprefix(LOGS)
            side = "validation" if name.startswith("val_") else "train"
            found.setdefault(name.removeprefix("val_"), {})[side] = _curve(series)
    return found


def _curve(series: Series) -> dict[str, Any]:
    return {"epochs": _numbers(series.epochs), "values": _numbers(series.values)}


def _bins(state: State) -> dict[str, Any]:
    assert isinstance(state.value, Histogram)
    return {
        "epoch": _number(state.epoch),
        "left": _number(state.value.left),
        "right": _number(state.value.right),
        "counts": _numbers(state.value.counts, _BIN_DIGITS),
    }


def _picture(state: State) -> dict[str, Any]:
    from PIL import Image as Pillow

    assert isinstance(state.value, Image)
    file = io.BytesIO()
    Pillow.fromarray(state.value.pixels).save(file, format="png")
    data = base64.b64encode(file.getvalue()).decode()
    return {
        "epoch": _number(state.epoch),
        "description": state.value.description,
        "source": f"data:image/png;base64,{data}",
    }


def _numbers(values: Iterable[float], digits: int = _DIGITS) -> list[float | str]:
    return [_number(float(value), digits) for value in values]


def _number(value: float, digits: int = _DIGITS) -> float | str:
    """A number in few letters; what is not finite as JavaScript writes it."""
    if math.isfinite(value):
        short = float(f"{value:.{digits}g}")
        return int(short) if short.is_integer() and abs(short) < 1e15 else short
    return "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
