"""Findings that belong together, and the words for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keras_babysit.document.blocks import Block, FindingCard, Items, Text
from keras_babysit.document.words import clean, moment, number
from keras_babysit.records import Finding

#: The worst first.
SEVERITIES = ("error", "warning", "info")
#: How each status looks.
TONES = {"error": "error", "warning": "warning", "info": "info", "healed": "good"}
#: More places than this are counted instead of named.
NAMED = 3
#: Longer evidence is cut, and that of more places left out.
MAX_EVIDENCE = 200
MAX_PLACES = 20


@dataclass(frozen=True)
class Group:
    """What one rule found in one or more places.

    Attributes:
        findings: of one rule, equally severe, all open or all healed, not empty.
        also: findings that these explain.
    """

    findings: tuple[Finding, ...]
    also: tuple[Finding, ...] = ()

    @property
    def first(self) -> Finding:
        """The finding that stands for all of them."""
        return self.findings[0]

    @property
    def rule(self) -> str:
        """Name of the rule."""
        return clean(self.first.rule)

    @property
    def severity(self) -> str:
        """Severity of the findings."""
        return self.first.severity

    @property
    def healed(self) -> bool:
        """Whether it is over."""
        return self.first.healed

    @property
    def status(self) -> str:
        """`"error"`, `"warning"`, `"info"`, or `"healed"`."""
        return "healed" if self.healed else self.severity

    @property
    def seen(self) -> str:
        """What was seen and where; the numbers are those of the first place."""
        seen = clean(self.first.seen)
        if len({f.where for f in self.findings}) > 1:
            seen += f" ({clean(self.first.where) or 'the model'})"
        return _placed(self.findings, seen)

    @property
    def advice(self) -> str:
        """The likely cause and what to try first."""
        return clean(f"{self.first.cause}: {self.first.action}.")

    @property
    def _advice(self) -> str:
        """The advice, and what came of trying it out."""
        tried = clean(self.first.tried)
        return (
            f"{self.advice} {tried[:1].upper()}{tried[1:]}." if tried else self.advice
        )

    @property
    def when(self) -> str:
        """`"since epoch 2, healed at epoch 5"`; empty for what was always there."""
        first = min(self.findings, key=lambda f: (f.since_step, f.since_epoch))
        if first.since_step > 0:
            since = f"since {moment(first.since_step, first.since_epoch)}"
        else:
            since = "from the start" if self.healed else ""
        if not self.healed:
            return since
        last = max(self.findings, key=lambda f: f.healed_step or 0)
        healed = moment(last.healed_step or 0, last.healed_epoch or 0.0)
        return f"{since}, healed at {healed}"

    @property
    def card(self) -> FindingCard:
        """What a document shows of it; other remedies and the numbers folded away."""
        return FindingCard(
            status=clean(self.status),
            tone=TONES.get(self.status, "info"),
            seen=self.seen,
            advice="" if self.healed else self._advice,
            when=self.when,
            rule=self.rule,
            also=self.also_seen,
            more=self._more,
            over=self.healed,
        )

    @property
    def _more(self) -> tuple[Block, ...]:
        blocks: list[Block] = []
        if self.first.alternatives and not self.healed:
            blocks.append(Text("If that does not help:"))
            blocks.append(Items(tuple(self.first.alternatives)))
        evidence = [
            (f"{f.where}: " if f.where else "") + _evidence(f.evidence)
            for f in self.findings[:MAX_PLACES]
            if f.evidence
        ]
        if evidence:
            blocks += [Text("Evidence:"), Items(tuple(evidence))]
        return tuple(blocks)

    @property
    def also_seen(self) -> str:
        """`"Also seen: vanishing-gradient (dense, dense_1)"`, or nothing."""
        if not self.also:
            return ""
        found = [
            f"{group.rule} ({places})" if places else group.rule
            for group in group_by_rule(self.also)
            for places in [where(group.findings)]
        ]
        return f"Also seen: {', '.join(found)}"


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Returns findings in the order they are reported: open, worst, oldest first."""

    def order(finding: Finding) -> tuple:
        known = finding.severity in SEVERITIES
        rank = SEVERITIES.index(finding.severity) if known else len(SEVERITIES)
        return finding.healed, rank, finding.since_step

    return tuple(sorted(findings, key=order))


def group_by_rule(findings: Iterable[Finding]) -> list[Group]:
    """Returns findings grouped by rule, severity and whether they are over."""
    found: dict[tuple, list[Finding]] = {}
    for finding in findings:
        key = (finding.rule, finding.severity, finding.healed)
        found.setdefault(key, []).append(finding)
    return [Group(tuple(group)) for group in found.values()]


def told(findings: Iterable[Finding]) -> list[Group]:
    """Returns the findings to tell, grouped, each with what it explains.

    The worst come first. A finding whose explanation is not among them is reported by
    itself.
    """
    findings = worst_first(findings)
    causes = {f.rule for f in findings if not f.because}
    because = {f.rule: f.because for f in findings if f.because}
    alone: list[Finding] = []
    also: dict[str, list[Finding]] = {}
    for finding in findings:
        cause = _root(finding, causes, because)
        if cause:
            also.setdefault(cause, []).append(finding)
        else:
            alone.append(finding)
    # The first group of a rule is the worst: only that one lists what it explains.
    return [
        Group(group.findings, tuple(also.pop(group.first.rule, ())))
        for group in group_by_rule(alone)
    ]


def _root(finding: Finding, causes: set[str], because: dict[str, str]) -> str:
    """The rule that explains it in the end; `""` if none is among the causes."""
    name, passed = finding.because, {finding.rule}
    while name and name not in causes:
        if name in passed:
            return ""
        passed.add(name)
        name = because.get(name, "")
    return name


def where(findings: Iterable[Finding]) -> str:
    """`"dense, dense_1 and 3 more"`; empty for findings about the whole model."""
    names = list(dict.fromkeys(clean(f.where) for f in findings if f.where))
    if len(names) < 2:
        return "".join(names)
    if len(names) <= NAMED:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    named = names[: NAMED - 1]
    return f"{', '.join(named)} and {len(names) - len(named)} more"


def _placed(findings: tuple[Finding, ...], seen: str) -> str:
    places = where(findings)
    return f"{places}: {seen}" if places else seen


def _evidence(evidence: Mapping[str, object]) -> str:
    shown = []
    for name, value in evidence.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        words = number(value) if is_number else str(value)  # type: ignore[arg-type]
        if len(words) > MAX_EVIDENCE:
            words = f"{words[:MAX_EVIDENCE]} …"
        shown.append(f"{name} {words}")
    return ", ".join(shown)


def cards(findings: Iterable[Finding]) -> list[Block]:
    """Returns the findings to tell as blocks, or a line that there are none."""
    found = told(findings)
    if not found:
        return [Text("Nothing wrong found so far.")]
    return [group.card for group in found]
