"""Which results of checks have likely the same cause as another one's."""

from __future__ import annotations

from collections.abc import Sequence

from keras_babysit import rules
from keras_babysit.checks.check import CheckResult
from keras_babysit.checks.model_and_data import RulesResult

#: Check to what a rule must explain, or be, to explain the check's result.
#: The rules of a training are the same checks made later, on a run.
_SYMPTOMS = {
    "initial_loss": "initial-loss-off-chance",
    "overfit_subset": "loss-flat",
    "regularization": "regularization-too-strong",
}
#: Explain a training that gets nowhere, but not that a few samples cannot be learnt:
#: the check takes penalties away, has a rate and batches of its own, and any labels
#: will do.
_NOT_FOR_A_FEW = {
    "batchnorm-small-batch",
    "learning-rate-extreme",
    "regularization-too-strong",
    "single-class-targets",
    "sorted-validation-split",
    "too-few-samples",
    "unrelated-inputs",
    "unshuffled-sorted-data",
}
#: Check to the checks whose failure explains its own.
_CHECKS = {"overfit_subset": ("gradient",)}


def root_causes(results: Sequence[CheckResult]) -> dict[str, tuple[str, ...]]:
    """Returns which results others likely explain.

    Returns:
        Name of a check to the rules or checks that likely explain what it found.
    """
    failed = {result.check for result in results if result.verdict == "failed"}
    found = {}
    for result in results:
        if not may_be_explained(result):
            continue
        by_rules = _rules_for(result, results)
        by_checks = (c for c in _CHECKS.get(result.check, ()) if c in failed)
        if explained := (*by_rules, *by_checks):
            found[result.check] = explained
    return found


def may_be_explained(result: CheckResult) -> bool:
    """Whether there is anything to explain about a result."""
    if isinstance(result, RulesResult):
        return False
    wrong = result.verdict in ("worrying", "failed")
    return wrong or "exception" in result.evidence


def _rules_for(result: CheckResult, results: Sequence[CheckResult]) -> list[str]:
    return [
        group.rule
        for by_rules in results
        if isinstance(by_rules, RulesResult)
        for group in by_rules.groups
        if _explains(group.rule, group.severity, result)
    ]


def _explains(rule: str, severity: str, result: CheckResult) -> bool:
    if severity == "info":
        return False
    if "exception" in result.evidence:
        return severity == "error"
    if result.check not in _SYMPTOMS:
        return False
    if result.check == "overfit_subset" and rule in _NOT_FOR_A_FEW:
        return False
    cause, symptom = rules.get(rule), rules.get(_SYMPTOMS[result.check])
    return cause is symptom or cause.explains(symptom)
