"""The judge asks the rules and keeps their findings: new, updated, healed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from keras_babysit.history import RunHistory
from keras_babysit.records import Finding
from keras_babysit.rules.advice import unheeded
from keras_babysit.rules.evidence.progress import well_trained
from keras_babysit.rules.rule import SEVERITIES, Rule, Sign

#: A finding heals when its rule has seen nothing for so many judgements in a row.
CALM = {"start": 1, "step": 5, "epoch": 2, "end": 1}


class Judge:
    """Asks rules about a history and remembers what they found.

    A finding is reported once, then updated, and closed when it heals; it is the same
    one as long as rule and place are the same. A finding that another one explains is
    kept, but not reported (`Finding.because`).

    Args:
        rules: the rules to ask.
    """

    def __init__(self, rules: Iterable[Rule]):
        self.rules = tuple(rules)
        self._findings: dict[tuple[str, str], Finding] = {}
        self._calm: dict[tuple[str, str], int] = {}
        self._told: dict[tuple[str, str], str] = {}
        # As their rules gave them: what they explain may make them worse.
        self._given: dict[tuple[str, str], Finding] = {}
        self._back: set[tuple[str, str]] = set()
        self._withdrawn: set[tuple[str, str]] = set()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings so far, healed and explained ones too, the worst first."""
        order = sorted(self._findings.values(), key=lambda f: f.since_step)
        return tuple(sorted(order, key=lambda f: SEVERITIES.index(f.severity)))

    def judge(self, history: RunHistory, when: str) -> list[Finding]:
        """Asks the rules of a moment.

        Args:
            history: what was recorded.
            when: one of `rule.MOMENTS`.

        Returns:
            Findings to tell: new ones, those that have become worse, and those that
            have healed.
        """
        step, epoch = history.position
        healed = []
        for rule in self.rules:
            if when not in rule.when:
                continue
            seen = {sign.where: sign for sign in rule.signs(history)}
            for where, sign in seen.items():
                if (rule.name, where) in self._withdrawn:
                    continue
                self._note(rule, unheeded(sign, history), step, epoch)
                self._calm[rule.name, where] = 0
            for key, finding in list(self._findings.items()):
                if key[0] != rule.name or key[1] in seen or finding.healed:
                    continue
                self._calm[key] = self._calm.get(key, 0) + 1
                if self._calm[key] < CALM[when]:
                    continue
                self._findings[key] = dataclasses.replace(
                    finding, healed=True, healed_epoch=epoch, healed_step=step
                )
                healed += self._over(key)
        if when in ("epoch", "end"):
            healed += self._withdraw(history, step, epoch)
        self._explain()
        new = [f for f in self._findings.values() if self._is_news(f)]
        self._told.update({(f.rule, f.where): f.severity for f in new})
        new.sort(key=lambda f: SEVERITIES.index(f.severity))
        return [*new, *(f for f in healed if not f.because)]

    def _over(self, key: tuple[str, str]) -> list[Finding]:
        """The finding, if it was reported and its end is news."""
        if key not in self._told or key in self._back:
            return []  # What comes and goes is reported as gone once.
        self._back.add(key)
        del self._told[key]
        return [self._findings[key]]

    def _withdraw(self, history: RunHistory, step: int, epoch: float) -> list[Finding]:
        """Withdraws what would have kept the model from getting as good as it is."""
        refutable = {rule.name for rule in self.rules if rule.refutable}
        open_ones = [
            key
            for key, f in self._findings.items()
            if f.rule in refutable and not f.healed
        ]
        good = well_trained(history) if open_ones else ""
        if not good:
            return []
        told: list[Finding] = []
        for key in open_ones:
            self._findings[key] = dataclasses.replace(
                self._given[key],
                severity="info",
                seen=f"{self._given[key].seen}; it trained well in spite of that "
                f"({good})",
                because="",
                healed=True,
                healed_epoch=epoch,
                healed_step=step,
            )
            self._withdrawn.add(key)
            told += self._over(key)
        return told

    def _note(self, rule: Rule, sign: Sign, step: int, epoch: float) -> None:
        known = self._findings.get((rule.name, sign.where))
        since = sign.since or (step, epoch)
        if known is not None and not known.healed:
            since = (known.since_step, known.since_epoch)
        finding = Finding(
            rule=rule.name,
            severity=sign.severity or rule.severity,
            where=sign.where,
            step=step,
            epoch=epoch,
            since_step=int(since[0]),
            since_epoch=float(since[1]),
            seen=sign.seen,
            cause=sign.cause,
            action=sign.action,
            alternatives=tuple(sign.alternatives),
            evidence=dict(sign.evidence),
            fixes=tuple(sign.fixes),
        )
        self._given[rule.name, sign.where] = finding
        self._findings[rule.name, sign.where] = finding

    def _is_news(self, finding: Finding) -> bool:
        if finding.because or finding.healed:
            return False
        told = self._told.get((finding.rule, finding.where))
        return told is None or _worse(finding.severity, told)

    def _explain(self) -> None:
        """Marks the findings that an open one of another rule explains.

        The cause is as bad as the worst of what it explains, and says so.
        """
        still = {key: f for key, f in self._findings.items() if not f.healed}
        names = {f.rule for f in still.values()}
        found = [rule for rule in self.rules if rule.name in names]
        explains = {
            cause.name: [other.name for other in found if cause.explains(other)]
            for cause in found
        }
        because = _causes(explains)
        for key, finding in still.items():
            given = self._given[key]
            severity, seen = given.severity, given.seen
            if finding.rule not in because:
                own = explains[finding.rule]
                led = [self._given[k] for k, f in still.items() if f.rule in own]
                worst = min(
                    led, key=lambda f: SEVERITIES.index(f.severity), default=given
                )
                if _worse(worst.severity, severity):
                    severity = worst.severity
                    seen = f"{seen}; it has led to {worst.rule}: {worst.seen}"
            self._findings[key] = dataclasses.replace(
                finding,
                because=because.get(finding.rule, ""),
                severity=severity,
                seen=seen,
            )


def _causes(explains: dict[str, list[str]]) -> dict[str, str]:
    """Returns the cause of each symptom, the first of several."""
    because: dict[str, str] = {}
    for cause, symptoms in explains.items():
        for symptom in symptoms:
            # Rules that explain one another must not silence all of them.
            if symptom not in because and symptom not in _chain(cause, because):
                because[symptom] = cause
    return because


def _chain(name: str, because: dict[str, str]) -> Iterator[str]:
    """Yields a name, its cause, the cause of that, and so on."""
    while name:
        yield name
        name = because.get(name, "")


def _worse(a: str, b: str) -> bool:
    return SEVERITIES.index(a) < SEVERITIES.index(b)
