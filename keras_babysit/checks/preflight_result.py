"""The results of all checks, as one frozen value and one table."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_babysit.checks.check import TONES, CheckResult, worst
from keras_babysit.checks.model_and_data import RulesResult
from keras_babysit.document.blocks import (
    Block,
    Column,
    Details,
    Heading,
    Items,
    Row,
    Span,
    Table,
    Text,
    signed,
)
from keras_babysit.document.shown import Shown
from keras_babysit.document.values import plain
from keras_babysit.document.words import count, ended
from keras_babysit.fixes.result import FixTrials
from keras_babysit.records import Finding
from keras_babysit.sinks import console

#: Of what the rules found, at most so much is shown; the check itself has all.
MAX_FINDINGS = 6
#: Verdicts in the order of the table.
_ORDER = ("failed", "worrying", "not finished", "passed", "skipped")
_COLUMNS = (
    Column("verdict"),
    Column("check"),
    Column("what was seen, and what to do", wide=True),
)


@dataclass(frozen=True, repr=False)
class Preflight(Shown):
    """The results of the checks before training.

    Shown as it is in a notebook; `print(found)` gives one table as plain text, and
    `print(found["initial_loss"])` one check with its details.

    Attributes:
        results: a `CheckResult` of each check, in the order in which they were made.
        because: name of a check to the rules or checks that likely explain what it
            found: correct those first.
        model: the model's name.
        samples: number of samples that the checks computed with.
        rows: number of samples that there are; `None` if that is not known.
        seconds: how long it took.
        tried: what came of trying the advice out, if that was asked for.

    Example:
    ```python
    found = keras_babysit.preflight(model, x, y, checks=["initial_loss"])
    found.ok, found["initial_loss"].verdict
    found.save("preflight.html")
    ```
    """

    results: tuple[CheckResult, ...] = ()
    because: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    model: str = ""
    samples: int = 0
    rows: int | None = None
    seconds: float = 0.0
    tried: FixTrials | None = None

    @property
    def verdict(self) -> str:
        """The worst of the results; `"skipped"` only if no check could be made."""
        made = [r.verdict for r in self.results if r.verdict != "skipped"]
        return worst(made) if made or not self.results else "skipped"

    @property
    def ok(self) -> bool:
        """Whether nothing wrong was found: no check failed, and none is worrying."""
        return all(result.ok for result in self.results)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the rules found in the model and the data."""
        return tuple(
            finding
            for result in self.results
            if isinstance(result, RulesResult)
            for finding in result.findings
        )

    @property
    def worst_first(self) -> list[CheckResult]:
        """The results in the order of the table, causes before symptoms."""

        def order(result: CheckResult) -> tuple:
            explained = result.check in self.because
            return result.ok, explained, _ORDER.index(result.verdict)

        return sorted(self.results, key=order)

    def __getitem__(self, check: str) -> CheckResult:
        """Returns the result of the check of this name."""
        found = {result.check: result for result in self.results}
        if check not in found:
            raise KeyError(
                f"No such check was made. Expected one of {sorted(found)}. Received: "
                f"{check!r}"
            )
        return found[check]

    def content(self) -> list[Block]:
        """Returns one table; the checks' details are folded away."""
        title = f"Before learning: {self.model}" if self.model else "Before learning"
        tone = TONES[self.verdict]
        tally = Span(f"{self._tally()}.", tone)
        rows = (row for result in self.worst_first for row in self._rows(result))
        found: list[Block] = [
            Heading((Span(f"{title}, {self._basis()}: "), tally), tone=tone),
            Table(_COLUMNS, tuple(rows)),
        ]
        more = [r for r in self.worst_first if not r.ok and (r.rows or r.alternatives)]
        if more:
            found.append(
                Text(
                    f'Details: print(found["{more[0].check}"]), if `found` is what '
                    "preflight returned.",
                    "faint",
                )
            )
        if self.tried is not None:
            found += self.tried.content()
        return [*found, *filter(None, map(_details, self.worst_first))]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain values that JSON can hold; NaN as the string `"nan"`."""
        return {
            "model": self.model,
            "verdict": self.verdict,
            "ok": self.ok,
            "samples": self.samples,
            "rows": self.rows,
            "seconds": self.seconds,
            "results": [
                {**r.to_dict(), "because": list(self.because.get(r.check, ()))}
                for r in self.results
            ],
            "findings": [plain(finding.to_dict()) for finding in self.findings],
            "tried": None if self.tried is None else self.tried.to_dict(),
        }

    def display(self) -> None:
        """Prints the table; in a notebook, shows it as the cells' values are shown."""
        shell = _notebook()
        if shell is None:
            with console.shown(bar=False) as output:
                output.print(self)
            return
        sys.modules["IPython"].display.display(self)
        object.__setattr__(self, "_displayed", shell.execution_count)

    def _repr_html_(self) -> str | None:
        """HTML; nothing for the value of the cell that has displayed it already."""
        shell, displayed = _notebook(), vars(self).pop("_displayed", None)
        if shell is not None and shell.execution_count == displayed:
            return None
        return super()._repr_html_()

    def __repr__(self) -> str:
        return f"<Preflight: {self._tally()}>"

    def _tally(self) -> str:
        verdicts = [result.verdict for result in self.results]
        numbers = [(verdicts.count(verdict), verdict) for verdict in _ORDER]
        return ", ".join(f"{n} {verdict}" for n, verdict in numbers if n) or "no checks"

    def _basis(self) -> str:
        seconds = f"{self.seconds:.1f}" if self.seconds < 10 else f"{self.seconds:.0f}"
        samples = count(self.samples, "sample")
        if self.rows is not None and self.rows > self.samples:
            samples = f"{self.samples:,} of {count(self.rows, 'sample')}"
        return f"{samples}, {seconds} s"

    def _rows(self, result: CheckResult) -> Iterator[Row]:
        name: tuple[Span, ...] = (Span(result.title, "strong"),)
        for verdict, seen, action in self._items(result):
            yield Row((signed(verdict, TONES[verdict]), name, seen))
            if action:
                yield Row(("", "", (Span("→ ", "strong"), Span(action))))
            name = ()

    def _items(self, result: CheckResult) -> Iterator[tuple[str, str, str]]:
        """Yields verdict, what was seen and what to do about it."""
        summary = ended(result.summary)
        if result.check in self.because:
            reasons = " or ".join(self.because[result.check]).replace("_", " ")
            seen = f"{summary} Likely for the same reason: {reasons}."
            yield result.verdict, seen, ""
        elif not isinstance(result, RulesResult) or result.ok:
            yield result.verdict, summary, ended(result.action)
        else:
            yield from _of_rules(result)


def _notebook() -> Any:
    """The running IPython, if there is one that shows HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    # In a terminal it has no kernel.
    return shell if getattr(shell, "kernel", None) is not None else None


def _of_rules(result: RulesResult) -> Iterator[tuple[str, str, str]]:
    problems = [group for group in result.groups if group.severity != "info"]
    for group in problems[:MAX_FINDINGS]:
        verdict = "failed" if group.severity == "error" else "worrying"
        seen = f"{ended(group.seen)} [{group.rule}]"
        yield verdict, seen, group.advice
    if (more := len(problems) - MAX_FINDINGS) > 0:
        yield "worrying", f"And {count(more, 'more finding')}.", ""


def _details(result: CheckResult) -> Details | None:
    """Other remedies, notes and the table of details."""
    others = (*result.alternatives, *result.notes)
    blocks: list[Block] = [Items(others)] if others else []
    blocks += result.details()
    return Details(f"{result.title}: details", tuple(blocks)) if blocks else None
