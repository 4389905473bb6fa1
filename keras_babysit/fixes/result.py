"""What came of trying fixes out, as one frozen value and one table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from keras_babysit.document.blocks import (
    Block,
    Code,
    Column,
    Heading,
    Row,
    Span,
    Table,
    Text,
    signed,
)
from keras_babysit.document.shown import Shown, paragraphs
from keras_babysit.document.values import plain
from keras_babysit.document.words import count, sentence
from keras_babysit.records import Finding, Fix

#: Verdicts in the order of the table, with how each looks.
TONES = {
    "better": "good",
    "not finished": "info",
    "no difference": "faint",
    "worse": "warning",
    "not applicable": "skipped",
}
_COLUMNS = (
    Column("verdict"),
    Column("change", wide=True),
    Column("{metric}", number=True),
    Column("training data", number=True, rank=2),
    Column("seeds", number=True, rank=1),
    Column("advised by", rank=1),
)


@dataclass(frozen=True)
class FixTrial:
    """One change, or several together, tried out.

    Attributes:
        fixes: the changes; none for the model as it is.
        words: what they are, `"a learning rate of 1e-3"`.
        rules: names of the rules that advise them.
        verdict: `"better"`, `"no difference"`, `"worse"`; `"not finished"` if there was
            no time to be sure; `"not applicable"` if it could not be made; `""` for
            the model as it is.
        gain: mean difference to the model as it is, as a share of the way from chance
            to perfect predictions.
        value: mean of the metric on samples held out; NaN if it is not known.
        trained: the same on samples trained on.
        before: the same before the first step, on samples held out.
        seeds: number of trainings that these are means of.
        steps: updates of each.
        reason: why it could not be made, or was not finished.
    """

    fixes: tuple[Fix, ...]
    words: str
    rules: tuple[str, ...] = ()
    verdict: str = ""
    gain: float = 0.0
    value: float = float("nan")
    trained: float = float("nan")
    before: float = float("nan")
    seeds: int = 0
    steps: int = 0
    reason: str = ""


@dataclass(frozen=True, repr=False)
class FixTrials(Shown):
    """What came of trying the advice of findings out.

    `print(tried)` gives the answer, the lines of code to change, and a table.

    Attributes:
        baseline: the model as it is.
        trials: a `FixTrial` for each change and each pair that was tried, the best
            first.
        findings: the findings, with what was tried in `tried`; those whose advice
            helps first, those whose advice changes nothing explained by them.
        code: the lines of Keras code that make the best change; empty if none helps.
        metric: what is compared: `"accuracy"`, the mean over the classes; `"R²"`; or
            `"fall of the loss"`, as a share of the first.
        steps: updates of each training.
        batch_size: samples of an update.
        samples: samples that were used; a quarter of them was held out.
        seconds: how long it took.
        unfinished: whether time, or Ctrl-C, ended it.
        untried: names of the rules whose advice cannot be tried out mechanically.
    """

    baseline: FixTrial
    trials: tuple[FixTrial, ...] = ()
    findings: tuple[Finding, ...] = ()
    code: str = ""
    metric: str = ""
    steps: int = 0
    batch_size: int = 0
    samples: int = 0
    seconds: float = 0.0
    unfinished: bool = False
    untried: tuple[str, ...] = ()

    @property
    def best(self) -> FixTrial | None:
        """The change that helps most; `None` if none does."""
        return next((t for t in self.trials if t.verdict == "better"), None)

    @property
    def summary(self) -> str:
        """The answer in a sentence."""
        best = self.best
        if best is not None:
            return sentence(outcome(best, self.baseline, self.metric))
        if not self.trials:
            why = f" ({', '.join(self.untried)})" if self.untried else ""
            return f"There is no advice that can be tried out mechanically{why}."
        if any(t.verdict == "not finished" for t in self.trials):
            return "No change helps for sure yet: there was not enough time."
        return f"No change helps: {_as_it_is(self.baseline, self.metric)}."

    def content(self) -> list[Block]:
        """Returns the answer, the code to change, and a row for each change."""
        tone = "good" if self.best is not None else "info"
        blocks: list[Block] = [
            Heading((Span(f"Advice tried, {self._basis}: "), Span(self.summary, tone)))
        ]
        if self.code:
            blocks += [Text("To change:"), Code(self.code)]
        if self.trials:
            blocks.append(self._table())
        unfinished = "It ended before everything was tried." if self.unfinished else ""
        untried = (
            f"Not tried, since there is no mechanical way: {', '.join(self.untried)}."
            if self.untried and self.trials
            else ""
        )
        return [*blocks, *paragraphs(unfinished, untried, tone="faint")]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain values that JSON can hold; NaN as the string `"nan"`."""
        return {
            **plain(dataclasses.replace(self, findings=())),
            "findings": [plain(f.to_dict()) for f in self.findings],
            "best": None if self.best is None else plain(self.best),
            "summary": self.summary,
        }

    @property
    def _basis(self) -> str:
        return (
            f"{count(self.samples, 'sample')}, {count(self.steps, 'step')} of "
            f"{self.batch_size}, {self.seconds:.0f} s"
        )

    def _table(self) -> Table:
        columns = (
            dataclasses.replace(c, title=c.title.format(metric=self.metric))
            for c in _COLUMNS
        )
        rows = (_row(trial) for trial in (self.baseline, *self.trials))
        return Table(tuple(columns), tuple(rows))

    __repr__ = Shown.__str__


def _row(trial: FixTrial) -> Row:
    tone = TONES.get(trial.verdict, "")
    told = trial.words + (f": {trial.reason}" if trial.reason else "")
    numbers = (trial.value, trial.trained)
    return Row(
        (
            signed(trial.verdict, tone) if trial.verdict else "",
            told,
            *("–" if math.isnan(x) else _two(x) for x in numbers),
            str(trial.seeds) if trial.seeds else "–",
            ", ".join(trial.rules),
        )
    )


def outcome(trial: FixTrial, base: FixTrial, metric: str) -> str:
    """`"with a learning rate of 1e-3, 150 steps take the accuracy from ..."`."""
    steps = count(trial.steps, "step")
    if math.isnan(trial.value):
        return (
            f"with {trial.words}, the loss falls by {_two(trial.trained)} of itself "
            f"in {steps}; as it is, by {_two(base.trained)}"
        )
    took = f"{steps} take the {metric} from {_two(trial.before)} to {_two(trial.value)}"
    as_it_is = "it cannot be trained" if base.reason else f"to {_two(base.value)}"
    return f"with {trial.words}, {took}; as it is, {as_it_is}"


def _as_it_is(base: FixTrial, metric: str) -> str:
    steps = count(base.steps, "step")
    if math.isnan(base.value):
        return f"as it is, the loss falls by {_two(base.trained)} of itself in {steps}"
    ends = f"{_two(base.before)} to {_two(base.value)}"
    return f"as it is, {steps} take the {metric} from {ends}"


def _two(value: float) -> str:
    """Two decimals: more would promise more than a few hundred samples can tell."""
    return f"{value:.2f}"


def retold(
    findings: Sequence[Finding],
    base: FixTrial,
    trials: Sequence[FixTrial],
    metric: str,
    good: bool,
) -> tuple[Finding, ...]:
    """Returns findings with what was tried, those whose advice helps first.

    Args:
        findings: what was found.
        base: the model as it is.
        trials: what was tried.
        metric: what is compared.
        good: whether the model as it is trains well.
    """
    helped = _rules(trials, "better")
    cause = next(iter(helped), "")
    found = []
    for finding in findings:
        own = [t for t in trials if finding.rule in t.rules]
        alone = [t for t in own if len({*t.rules}) == 1] or own
        first = min(alone, key=_rank, default=None)
        if first is None or finding.healed:
            found.append(finding)
            continue
        finding = dataclasses.replace(finding, tried=_tried(first, base, metric))
        without_effect = first.verdict == "no difference"
        if without_effect and good and finding.severity != "info":
            seen = f"{finding.seen}; the model trains as well with it as without"
            finding = dataclasses.replace(finding, severity="info", seen=seen)
        if finding.rule in helped:
            finding = dataclasses.replace(finding, because="")
        elif cause and without_effect:
            finding = dataclasses.replace(finding, because=cause)
        found.append(finding)
    order = list(helped)
    return tuple(
        sorted(
            found,
            key=lambda f: order.index(f.rule) if f.rule in helped else len(order),
        )
    )


def _rules(trials: Sequence[FixTrial], verdict: str) -> dict[str, float]:
    """Rules with a change of that verdict, the largest gain first."""
    found: dict[str, float] = {}
    for trial in trials:
        if trial.verdict == verdict:
            for rule in trial.rules:
                found[rule] = max(found.get(rule, 0.0), trial.gain)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _rank(trial: FixTrial) -> tuple:
    return list(TONES).index(trial.verdict), -trial.gain


def _tried(trial: FixTrial, base: FixTrial, metric: str) -> str:
    if trial.verdict == "better":
        return f"tried: {outcome(trial, base, metric)}"
    if trial.verdict == "not applicable":
        return ""
    ends = {
        "no difference": "made no difference",
        "worse": "made it worse",
        "not finished": "was not finished",
    }
    return f"tried: {trial.words} {ends[trial.verdict]}"


def problems(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yields what is worth trying: errors and warnings, explained ones too.

    What is over only if nothing else can be tried: a run that has broken down shows no
    more of what did it.
    """
    serious = [f for f in findings if f.severity != "info"]
    still = [f for f in serious if not f.healed]
    yield from still if any(f.fixes for f in still) or not still else serious
