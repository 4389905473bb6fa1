"""What a rule is: a pure function over a history that yields the signs it sees."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.records import Fix
from keras_babysit.rules.kind import KINDS

SEVERITIES = ("error", "warning", "info")
#: When a rule is asked: before the first step and whenever more of the data has been
#: seen; after each observed step; after each epoch; once training has ended.
MOMENTS = ("start", "step", "epoch", "end")


@dataclass(frozen=True)
class Sign:
    """What a rule sees in one place now.

    Attributes:
        where: layer, variable, input or output it is about; `""` for the whole model.
        seen: what was seen, with its numbers, and what would be healthy.
        cause: the likely cause, beginning with "Likely" unless the data prove it.
        action: the one thing to try first, beginning in lower case.
        alternatives: what to try after that.
        evidence: the numbers.
        since: `(step, epoch)` since when, if the history shows that it began before
            it was noticed.
        severity: in place of the rule's own.
        fixes: the action, and other remedies, as changes that can be tried out
            mechanically; empty where that cannot be done.
    """

    where: str
    seen: str
    cause: str
    action: str
    alternatives: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    since: tuple[float, float] | None = None
    severity: str | None = None
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule with its thresholds.

    Calling it with thresholds, `rule(limit=3e-2)`, returns the rule with those in
    place of its own.

    Attributes:
        name: in kebab case, `"dead-relu"`.
        kind: one of `KINDS`, which says what its findings explain.
        severity: `"error"`, `"warning"` or `"info"`.
        when: the moments it is asked at.
        source: where it comes from.
        also: names of rules whose findings it explains besides.
        refutable: whether a run that ends well shows that it did no harm.
        function: `function(history, **thresholds)` yields a `Sign` for each place.
        thresholds: name to value in force.
    """

    name: str
    kind: str
    severity: str
    when: frozenset[str]
    source: str
    also: frozenset[str]
    refutable: bool
    function: Callable[..., Iterator[Sign]]
    thresholds: Mapping[str, Any]

    def __call__(self, **thresholds: Any) -> Rule:
        """Returns the rule with other thresholds.

        Raises:
            ValueError: for a threshold that it does not have, or a value that is not
                a number.
        """
        unknown = [name for name in thresholds if name not in self.thresholds]
        if unknown:
            raise ValueError(
                f"Rule {self.name!r} has no threshold {unknown[0]!r}. Expected some "
                f"of {sorted(self.thresholds)}. Received: {thresholds}"
            )
        for name, value in thresholds.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(
                    f"Threshold {name!r} of rule {self.name!r} must be a number. "
                    f"Received: {name}={value!r}"
                )
        return dataclasses.replace(self, thresholds={**self.thresholds, **thresholds})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles it by name: its function goes by the name that the rule has now."""
        function = self.function
        own = (function.__module__, function.__qualname__)
        return _restored, (*own, dict(self.thresholds))

    def signs(self, history: RunHistory) -> list[Sign]:
        """Returns what the rule sees in a history."""
        # Histories hold whatever numbers a run produced, also the largest.
        with np.errstate(all="ignore"):
            return list(self.function(history, **self.thresholds))

    def explains(self, other: Rule) -> bool:
        """Whether findings of another rule are not reported while this one has some."""
        explained = KINDS[self.kind] | self.also
        return self.name != other.name and not explained.isdisjoint(
            (other.kind, other.name)
        )

    @property
    def is_symptom(self) -> bool:
        """Whether it sees what something else is the cause of."""
        return self.kind == "remark" or self.kind.startswith("symptom")

    @property
    def doc(self) -> str:
        """The rule's documentation."""
        return inspect.cleandoc(self.function.__doc__ or "")


def rule(
    *,
    severity: str,
    when: tuple[str, ...] | str,
    since: str,
    kind: str = "note",
    also: tuple[str, ...] = (),
    refutable: bool = False,
) -> Callable[[Callable[..., Iterator[Sign]]], Rule]:
    """Makes a `Rule` of a function `(history, *, threshold=value, ...)`.

    Its name is the function's, in kebab case.

    Args:
        severity: of its findings, unless a sign says otherwise.
        when: moments at which it is asked, of `MOMENTS`.
        since: where the rule comes from.
        kind: one of `KINDS`.
        also: names of rules whose findings it explains, though its kind does not.
        refutable: whether its findings are withdrawn when the model trains well.
    """
    moments = frozenset((when,) if isinstance(when, str) else when)
    assert kind in KINDS
    assert severity in SEVERITIES
    assert moments <= set(MOMENTS)

    def made(function: Callable[..., Iterator[Sign]]) -> Rule:
        parameters = inspect.signature(function).parameters.values()
        return Rule(
            name=function.__name__.replace("_", "-"),
            kind=kind,
            severity=severity,
            when=moments,
            source=since,
            also=frozenset(also),
            refutable=refutable,
            function=function,
            thresholds={
                p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY
            },
        )

    return made


def _restored(module: str, name: str, thresholds: dict[str, Any]) -> Rule:
    return getattr(importlib.import_module(module), name)(**thresholds)
