"""What a check is, and what it says.

A check is one file in `keras_babysit/checks/` with a public function of a model and
some data that returns a `CheckResult`, and with a `CHECK` by which `preflight` finds
it. It leaves the model as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_babysit.document.progress_line import Progress

#: From good to bad; a check that does not apply to the model is skipped.
VERDICTS = ("passed", "skipped", "worrying", "failed")


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        check: name of the check, `"initial_loss"`.
        verdict: `"passed"`; `"worrying"`: perhaps wrong; `"failed"`: surely wrong;
            `"skipped"`: could not be made, `summary` says why.
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
        """Whether nothing wrong was found."""
        return self.verdict in ("passed", "skipped")

    def __str__(self) -> str:
        """The result as text, with its table."""
        from keras_babysit.checks import printing

        return printing.plain_text([self], details=True)

    __repr__ = __str__


@dataclass(frozen=True)
class Check:
    """How `preflight` runs a check.

    Attributes:
        name: as in its results.
        title: what a person calls it, `"initial loss"`.
        order: its place, the quick ones first.
        run: function of a built, compiled model, a `Sample` and a `Progress`.
    """

    name: str
    title: str
    order: int
    run: Callable[[Any, Any, Progress], CheckResult]


def worst(verdicts: Sequence[str]) -> str:
    """Returns the worst of some verdicts; `"passed"` of none."""
    return max(verdicts, key=VERDICTS.index, default="passed")
