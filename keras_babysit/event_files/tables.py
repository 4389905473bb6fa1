"""The tables of a step: all of its numbers, in the tags of our own plugin.

A step has a table for each kind of tensor, and one for its loss, rate and position.
TensorBoard keeps ten moments of a tag of a plugin that it does not know. So that its
tab can draw a whole run, tables of moments spread over the run get tags of their own,
ten moments to each; those between have the kind's plain tag. No table is written twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from keras_babysit.event_files.tags import TABLE
from keras_babysit.history import RunHistory
from keras_babysit.records import TENSOR_STATS, StepRecord, TensorStats

#: So many moments are spread over a run before every second one is left out.
MAX_MOMENTS = 128
#: So many moments TensorBoard keeps of a tag, whatever else it is started with.
PER_TAG = 10
#: Kinds of tensors of variables; a table of layers is of the kind `"activation"`.
VARIABLES = ("weight", "update", "gradient")
#: All kinds of tables.
KINDS = (*VARIABLES, "activation", "step")
#: Columns of the table of layers after the statistics of their outputs.
FRACTIONS = ("zero_fraction", "saturation_fraction", "dead_fraction")
#: Columns of the table of the step itself.
POSITION = ("epoch", "loss", "learning_rate", "gradient_norm")


class Table(NamedTuple):
    """Numbers under titles.

    Attributes:
        rows: what each row is of: paths of variables or layers.
        columns: what each column is.
        values: float array of shape `(len(rows), len(columns))`; NaN for what is not
            known.
    """

    rows: list[str]
    columns: list[str]
    values: np.ndarray


def tables(record: StepRecord) -> dict[str, Table]:
    """Returns everything of a step, by kind."""
    found = {
        kind: _table([(v.path, getattr(v, kind)) for v in record.variables])
        for kind in VARIABLES
    }
    found["activation"] = _table(
        [(v.path, v.activation) for v in record.layers],
        {name: [getattr(v, name) for v in record.layers] for name in FRACTIONS},
    )
    found = {kind: table for kind, table in found.items() if table.rows}
    # A column less for what is not known: a loss may well be NaN.
    known = [name for name in POSITION if getattr(record, name) is not None]
    position = np.array([[getattr(record, name) for name in known]], np.float64)
    return {**found, "step": Table([""], known, position)}


def add_to(history: RunHistory, step: int, found: Mapping[str, Table]) -> None:
    """Adds a step to a history, as far as its tables hold it."""
    position = _columns(found.get("step"), POSITION)
    at = (float(step), epoch_of(found))
    for name, (value,) in position.items():
        if name != "epoch":
            history.add_point(name, "", at, value)
    for kind in (*VARIABLES, "activation"):
        if kind in found:
            stats = _columns(found[kind], TENSOR_STATS)
            table = np.array([stats[name] for name in TENSOR_STATS]).T
            history.add_table(kind, found[kind].rows, at, table)
    for name, values in _columns(found.get("activation"), FRACTIONS).items():
        # NaN where a layer has none.
        known = [i for i, value in enumerate(values) if not math.isnan(value)]
        if known:
            places = [found["activation"].rows[i] for i in known]
            history.add_table(name, places, at, np.array(values)[known])
    if "weight" in found and "update" in found:
        norms = dict(zip(found["weight"].rows, _norms(found["weight"]), strict=True))
        places = [path for path in found["update"].rows if path in norms]
        updates = dict(zip(found["update"].rows, _norms(found["update"]), strict=True))
        ratios = [updates[p] / norms[p] if norms[p] else math.nan for p in places]
        if places:
            history.add_table("update_ratio", places, at, np.array(ratios))


def epoch_of(found: Mapping[str, Table]) -> float:
    """Returns the epoch of a step that has these tables, 0 if that is not known."""
    return _columns(found.get("step"), ["epoch"]).get("epoch", [0.0])[0]


def kind_of(tag: str) -> str:
    """Returns the kind of the table that has a tag."""
    return tag.removeprefix(TABLE).partition("/")[0]


def is_spread(tag: str) -> bool:
    """Whether a table's tag is one of those whose moments are all kept."""
    return "/" in tag.removeprefix(TABLE)


@dataclass
class Spread:
    """Chooses the moments that are spread over a run, and what their tags end in.

    Attributes:
        name: before the number of a tag.
        stride: every so many of the moments to come is one of them.
        seen: number of moments so far.
        chosen: how many of them were chosen.
        room: how many more may be, before the stride doubles.
    """

    name: str
    stride: int = 1
    seen: int = 0
    chosen: int = 0
    room: int = MAX_MOMENTS
    block: int = -1
    used: int = PER_TAG
    layout: object = None

    def ending(self, layout: object) -> str:
        """Returns what the tags of the next moment end in; `""` if it is not chosen.

        Args:
            layout: what the rows of its tables are; a tag has always the same.
        """
        is_chosen = self.seen % self.stride == 0
        self.seen += 1
        if not is_chosen:
            return ""
        if not self.room:
            self.stride, self.room = 2 * self.stride, MAX_MOMENTS // 2
        self.room -= 1
        if self.used == PER_TAG or layout != self.layout:
            self.block, self.used, self.layout = self.block + 1, 0, layout
        self.used += 1
        return f"/{self.name}{self.block}"


def _table(
    found: list[tuple[str, TensorStats | None]],
    more: Mapping[str, list[float | None]] = {},
) -> Table:
    numbers = [
        [*vars(stats).values(), *(_or_nan(column[i]) for column in more.values())]
        for i, (_, stats) in enumerate(found)
        if stats is not None
    ]
    rows = [path for path, stats in found if stats is not None]
    return Table(rows, [*TENSOR_STATS, *more], np.array(numbers, np.float64))


def _columns(table: Table | None, names: Iterable[str]) -> dict[str, list[float]]:
    """Those of some columns that a table has, in the order of the names."""
    if table is None:
        return {}
    values = dict(zip(table.columns, np.asarray(table.values, float).T, strict=True))
    return {name: values[name].tolist() for name in names if name in values}


def _norms(table: Table) -> list[float]:
    return _columns(table, ["norm"])["norm"]


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
