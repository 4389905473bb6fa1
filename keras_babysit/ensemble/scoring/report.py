"""What members and their ensembles are worth: a table, sentences and a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_babysit.document import Block, Column, Heading, Shown, Table, Text
from keras_babysit.document import Row as Line
from keras_babysit.document.words import count, number
from keras_babysit.ensemble.scoring.curves import curves
from keras_babysit.ensemble.scoring.rows import TITLES, Row, value_of

#: Columns that are left out where there is little room, the last first.
_SPARE = ("calibration error", "time", "memory")


@dataclass(frozen=True)
class EnsembleReport(Shown):
    """The scores of members and their ensembles; `print(report)` gives a table.

    Attributes:
        kind: `"categorical"`, `"binary"` or `"values"`.
        samples: number of samples.
        members: a `Row` for each member.
        sizes: a `Row` for each number of members, from 1: the mean over ensembles of
            that size, the members taken in all combinations or in random ones, so that
            their order does not matter. The last is the whole ensemble.
        average: how the members are averaged.
        seconds_as_one: time that an `Ensemble` takes to predict all samples, as one
            model; NaN for a `LazyEnsemble` and a list.
        disagreement: classification: share of samples of which two members predict
            different classes, the mean of all pairs. NaN otherwise.
        notes: what looks wrong.

    Example:
    ```python
    report = keras_babysit.ensemble.report(members, x_test, y_test)
    print(report)
    report.plot("report.png")
    ```
    """

    kind: str
    samples: int
    members: tuple[Row, ...]
    sizes: tuple[Row, ...]
    average: str
    seconds_as_one: float = math.nan
    disagreement: float = math.nan
    notes: tuple[str, ...] = ()

    @property
    def ensemble(self) -> Row:
        """The whole ensemble."""
        return self.sizes[-1]

    @property
    def metric(self) -> str:
        """The first score: `"error"`, or `"rmse"` for values."""
        return next(iter(self.ensemble.scores))

    def content(self) -> list[Block]:
        """Returns the table, a summary, and the picture."""
        size, samples = len(self.members), count(self.samples, "sample")
        return [
            Heading(f"{count(size, 'member')}, {samples}"),
            self._table(),
            *(Text(line) for line in self._lines()),
            *(Text(note, "warning") for note in self.notes),
            curves(self.members, self.sizes, self.seconds_as_one),
        ]

    def _table(self) -> Table:
        weighted = np.ptp([row.weight for row in self.members]) > 0
        titles = ["weight"] if weighted else []
        titles += [TITLES[name] for name in self.ensemble.scores if name in TITLES]
        titles += _SPARE[1:]
        ranks = [_SPARE.index(title) + 1 if title in _SPARE else 0 for title in titles]
        numbers = (Column(t, True, rank) for t, rank in zip(titles, ranks, strict=True))
        lines = []
        for row in self.members:
            weight = [f"{row.weight:.3f}"] if weighted else []
            cost = f"{number(row.seconds)} s", f"{row.bytes / 1e6:.3g} MB"
            lines.append(Line((row.name, *weight, *row.words(), *cost)))
        one = self.sizes[0]
        for row in self.sizes:
            cost = _times(row.seconds, one.seconds), _times(row.bytes, one.bytes)
            cells = (row.name, *([""] if weighted else []), *row.words(), *cost)
            tone = "strong" if row is self.ensemble else ""
            lines.append(Line(cells, tone, rule=row is one))
        return Table((Column(""), *numbers), tuple(lines))

    def _lines(self) -> Iterator[str]:
        """The summary, in sentences."""
        yield (
            "± is the standard deviation over ensembles of as many members; time and "
            "memory of ensembles are multiples of a member's mean."
        )
        if len(self.members) > 1:
            yield self._verdict()
        if not math.isnan(self.disagreement):
            share = value_of("error", self.disagreement)
            yield f"Two members disagree about {share} of the samples."
        if not math.isnan(self.seconds_as_one) and len(self.members) > 1:
            times = _times(self.seconds_as_one, self.sizes[0].seconds)
            yield (
                f"As one model they take {number(self.seconds_as_one)} s: {times} of a "
                "member's mean."
            )

    def _verdict(self) -> str:
        metric = self.metric
        whole = self.ensemble.scores[metric]
        alone = [row.scores[metric] for row in self.members]
        mean, best = float(np.mean(alone)), min(alone)
        how = {"mean": "values", "geometric": "probabilities, geometrically"}
        return (
            f"{len(self.members)} members, mean of their "
            f"{how.get(self.average, self.average)}: {TITLES[metric]} "
            f"{value_of(metric, whole)}, {_compared(whole, mean)} a member's mean "
            f"({value_of(metric, mean)}) and {_compared(whole, best)} the best "
            f"member's ({value_of(metric, best)})."
        )


def _times(value: float, one: float) -> str:
    return f"× {value / one if one else math.nan:.3g}"


def _compared(value: float, other: float) -> str:
    if value == other:
        return "as much as"
    where = "below" if value < other else "above"
    return f"{100 * abs(value / other - 1):.0f} % {where}" if other else where
