"""The rules that need no training, asked about the model and the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_babysit import rules as all_rules
from keras_babysit.borrowing import random_numbers_kept
from keras_babysit.checks.check import Check, CheckResult
from keras_babysit.checks.data import facts_of, gathered
from keras_babysit.document.progress_line import Progress
from keras_babysit.document.words import count
from keras_babysit.facts import DataFacts
from keras_babysit.history import RunHistory
from keras_babysit.inspection.model import model_facts
from keras_babysit.inspection.sample import Sample, ready
from keras_babysit.records import Finding
from keras_babysit.report.groups import Group, told
from keras_babysit.rules.judge import Judge
from keras_babysit.rules.rule import Rule

NAME = "model_and_data"


@dataclass(frozen=True, repr=False)
class RulesResult(CheckResult):
    """What the rules found.

    Attributes:
        findings: all of it, remarks and what another finding explains too.
    """

    findings: tuple[Finding, ...] = ()

    @property
    def groups(self) -> list[Group]:
        """The findings as they are reported: the worst first, symptoms below causes."""
        return told(self.findings)


def check_model_and_data(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    validation_data: Any = None,
    rules: Sequence[str | Rule] | None = None,
    ignore: Iterable[str] = (),
    thresholds: Mapping[str, Mapping[str, Any]] | None = None,
) -> RulesResult:
    """Asks the rules that need no training, as a `Babysitter` does before `fit`.

    Nothing is computed with the model but its outputs for two samples.

    Args:
        model: a compiled `keras.Model`; it is built if it is not yet.
        x: what `fit` takes: arrays, structures of arrays, `tf.data.Dataset`,
            `keras.utils.PyDataset`, a generator (which is read from).
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays.
        validation_data: as for `fit`; only arrays are looked at.
        rules: names of rules to ask; all of them for `None`.
        ignore: names of rules to leave out.
        thresholds: rule name to thresholds in place of its own.

    Returns:
        A `CheckResult` with `findings`: `"failed"` if one is an error, `"worrying"`
        if one is a warning.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not compiled; if there is no data, or it is not finite
            numbers, or does not fit the model and no rule knows why; for names that
            no rule has.

    Example:
    ```python
    result = keras_babysit.check_model_and_data(model, x_train, y_train)
    print(result.verdict, result.summary)
    ```
    """
    asked = all_rules.select(rules, ignore, thresholds)
    with random_numbers_kept():
        sample, facts = gathered(x, y, sample_weight, validation_data)
    make_ready(model, sample, facts)
    return judged(model, facts, asked)


def make_ready(model: Any, sample: Sample, facts: DataFacts) -> None:
    """Makes sure that a model can be checked, like `feeding.ready`.

    That it cannot be used with the data is no error where the rules say why: then that
    is what is to be reported.
    """
    try:
        ready(model, sample)
    except ValueError:
        if not (model.compiled and model.built):
            raise
        if judged(model, facts, all_rules.select()).verdict != "failed":
            raise


def judged(model: Any, facts: DataFacts, asked: Iterable[Rule]) -> RulesResult:
    """Returns what rules find in a built, compiled model and the facts of its data."""
    history = RunHistory()
    history.model, history.data = model_facts(model), facts
    asked = [rule for rule in asked if "start" in rule.when]
    judge = Judge(asked)
    judge.judge(history, "start")
    return _result(judge.findings, len(asked))


def run(
    model: Any,
    sample: Sample,
    progress: Progress,
    facts: DataFacts | None = None,
    ignore: Iterable[str] = (),
) -> RulesResult:
    """Runs the check for `preflight`."""
    progress(0.0, "asking the rules")
    return judged(model, facts or facts_of(sample), all_rules.select(ignore=ignore))


def _result(findings: tuple[Finding, ...], asked: int) -> RulesResult:
    groups = told(findings)
    problems = [group for group in groups if group.severity != "info"]
    numbers = {
        "rules": asked,
        "errors": sum(group.severity == "error" for group in groups),
        "warnings": sum(group.severity == "warning" for group in groups),
        "remarks": sum(group.severity == "info" for group in groups),
    }
    rows = tuple(
        {"": g.severity, "seen": f"{g.seen} [{g.rule}]", "what to do": g.advice}
        for g in groups
    )
    remarks = numbers["remarks"]
    if not problems:
        summary = f"none of {count(asked, 'rule')} found anything wrong"
        if remarks:
            summary += f"; there {'is' if remarks == 1 else 'are'} "
            summary += count(remarks, "remark")
        return RulesResult(
            NAME, "passed", summary, evidence=numbers, rows=rows, findings=findings
        )
    first, more = problems[0], len(problems) - 1
    return RulesResult(
        NAME,
        "failed" if numbers["errors"] else "worrying",
        f"{first.seen} [{first.rule}]" + (f"; and {more} more" if more else ""),
        action=first.advice,
        # Printed behind an "or".
        alternatives=tuple(a.removeprefix("or ") for a in first.first.alternatives),
        evidence=numbers,
        rows=rows if len(groups) > 1 else (),
        findings=findings,
    )


CHECK = Check(NAME, "model and data", 0, run)
