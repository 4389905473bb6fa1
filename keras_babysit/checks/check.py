"""What a check is, and what it finds.

A check is one file in `keras_babysit/checks/` with a public function of a model and
some data that returns a `CheckResult`, and with a `CHECK` by which `preflight` finds
it. It leaves the model as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_babysit.document import Block, Column, FindingCard, Row, Shown, Table
from keras_babysit.document.values import plain
from keras_babysit.document.words import sentence

#: From good to bad; a check that does not apply to the model is skipped.
VERDICTS = ("passed", "skipped", "not finished", "worrying", "failed")
#: How each verdict looks.
TONES = {
    "passed": "good",
    "skipped": "skipped",
    "not finished": "info",
    "worrying": "warning",
    "failed": "error",
}
#: Longer cells of a table of details are sentences.
_LONG = 30


@dataclass(frozen=True, repr=False)
class CheckResult(Shown):
    """What a check found.

    Attributes:
        check: name of the check, `"initial_loss"`.
        verdict: `"passed"`; `"worrying"`: perhaps wrong; `"failed"`: surely wrong;
            `"not finished"`: ran out of time before it could tell; `"skipped"`: could
            not be made, `summary` says why.
        summary: what was seen, with its numbers, in a sentence.
        action: the one thing to try first; empty if there is nothing to do.
        alternatives: what to try after that.
        evidence: the numbers, by name.
        rows: a table of details, title to cell, one a row.
        notes: what else a reader should know, a sentence each.
    """

    check: str
    verdict: str
    summary: str
    action: str = ""
    alternatives: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Mapping[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing wrong was found, and nothing was left unfinished."""
        return self.verdict in ("passed", "skipped")

    @property
    def title(self) -> str:
        """The check's name as people write it, `"initial loss"`."""
        return self.check.replace("_", " ")

    def content(self) -> list[Block]:
        """Returns what was seen and what to do, and the table of details."""
        others = (f"Or: {other.rstrip('.')}." for other in self.alternatives)
        advice = (sentence(self.action), *others)
        card = FindingCard(
            status=self.verdict,
            tone=TONES[self.verdict],
            seen=f"{self.title}: {self.summary.rstrip('.')}.",
            advice=" ".join(filter(None, advice)),
            also=" ".join(map(sentence, self.notes)).rstrip("."),
        )
        return [card, *self.details()]

    def details(self) -> list[Table]:
        """Returns the table of details, if there is one."""
        return [_table(self.rows)] if self.rows else []

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain values that JSON can hold; NaN as the string `"nan"`.

        What some checks find beyond these fields is for Python only.
        """
        names = [each.name for each in dataclasses.fields(CheckResult)]
        found = {name: plain(getattr(self, name)) for name in names}
        return {**found, "ok": self.ok}

    __repr__ = Shown.__str__


@dataclass(frozen=True)
class Check:
    """How `preflight` runs a check.

    Attributes:
        name: as in its results.
        title: what a person calls it, `"initial loss"`.
        order: its place, the quick ones first.
        run: function of a built, compiled model, a `Sample` and a `Progress`.
        timed: whether it takes a limit of `seconds` as well.
    """

    name: str
    title: str
    order: int
    run: Callable[..., CheckResult]
    timed: bool = False


def worst(verdicts: Sequence[str]) -> str:
    """Returns the worst of some verdicts; `"passed"` of none."""
    return max(verdicts, key=VERDICTS.index, default="passed")


def _table(rows: Iterable[Mapping[str, str]]) -> Table:
    titles = list(dict.fromkeys(title for row in rows for title in row))
    cells = [tuple(str(row.get(title, "")) for title in titles) for row in rows]
    columns = (
        _column(title, of_one)
        for title, of_one in zip(titles, zip(*cells, strict=True), strict=True)
    )
    return Table(tuple(columns), tuple(map(Row, cells)))


def _column(title: str, cells: Sequence[str]) -> Column:
    numbers = all(cell[:1] in "0123456789-–≤" for cell in cells) and any(cells)
    return Column(title, number=numbers, wide=max(map(len, cells)) > _LONG)
