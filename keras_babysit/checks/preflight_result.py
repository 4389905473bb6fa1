"""What all checks came to, as one frozen value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_babysit.checks.check import CheckResult, worst
from keras_babysit.checks.model_and_data import RulesResult
from keras_babysit.document.values import plain
from keras_babysit.records import Finding

#: Of results: some checks' have more, which is for Python.
_FIELDS = [field.name for field in dataclasses.fields(CheckResult)]


@dataclass(frozen=True, repr=False)
class Preflight:
    """What the checks before learning came to.

    Shown as it is in a notebook; `print(found)` gives one table as plain text, and
    `print(found["initial_loss"])` one check with its details.

    Attributes:
        results: a `CheckResult` of each check, in the order in which they were made.
        because: name of a check to the rules or checks that likely explain what it
            found: mend those first.
        model: the model's name.
        samples: number of samples that the checks computed with.
        rows: number of samples that there are; `None` if that is not known.
        seconds: how long it took.
    """

    results: tuple[CheckResult, ...] = ()
    because: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    model: str = ""
    samples: int = 0
    rows: int | None = None
    seconds: float = 0.0

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

    def __getitem__(self, check: str) -> CheckResult:
        """Returns the result of the check of this name."""
        found = {result.check: result for result in self.results}
        if check not in found:
            raise KeyError(
                f"No such check was made. Expected one of {sorted(found)}. Received: "
                f"{check!r}"
            )
        return found[check]

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
                {
                    **{name: plain(getattr(result, name)) for name in _FIELDS},
                    "ok": result.ok,
                    "because": list(self.because.get(result.check, ())),
                }
                for result in self.results
            ],
            "findings": [plain(finding.to_dict()) for finding in self.findings],
        }

    def __repr__(self) -> str:
        from keras_babysit.checks import table

        return f"<Preflight: {table.tally(self)}>"

    def __str__(self) -> str:
        from keras_babysit.checks import table

        return table.plain_text(self)

    def _repr_html_(self) -> str:
        from keras_babysit.checks import table

        return table.fragment(self)
