"""Parts of the report of a search, each as a frozen value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_babysit.records import Finding
from keras_babysit.search.results.ranking import of_stage
from keras_babysit.search.trials import Objective, Trial, alike


@dataclass(frozen=True)
class StageSummary:
    """One stage: how many trials of how many epochs, and what came of them.

    Attributes:
        index: from 0.
        planned: number of trials that it was to have.
        epochs: epochs that each may train.
        method: how they are chosen.
        trials: numbers of its trials.
        best: number of the best one; `None` if none has a score.
    """

    index: int
    planned: int
    epochs: int
    method: str
    trials: tuple[int, ...] = ()
    best: int | None = None


@dataclass(frozen=True)
class Reason:
    """Trials that ended early for the same reason, or have something else in common.

    Attributes:
        status: `"stopped"`, `"failed"`, `"killed"`; `"note"`, or a finding's severity.
        text: the reason, or note, of the first of them; or the name of a rule.
        trials: their numbers.
    """

    status: str
    text: str
    trials: tuple[int, ...]


def reasons(trials: Iterable[Trial]) -> tuple[Reason, ...]:
    """Returns why trials ended early, the most frequent reason first.

    Reasons that differ in their numbers only are one.
    """
    return _grouped(
        (trial, trial.status, trial.outcome.reason)
        for trial in trials
        if trial.outcome is not None and trial.status in ("stopped", "failed", "killed")
    )


def notes_of(trials: Iterable[Trial]) -> tuple[Reason, ...]:
    """Returns what went wrong on the side, such as a full disk; see `reasons`."""
    return _grouped(
        (trial, "note", note)
        for trial in trials
        if trial.outcome is not None
        for note in trial.outcome.notes
    )


def rules_of(trials: Iterable[Trial]) -> tuple[Reason, ...]:
    """Returns the errors and warnings that the babysitter found, by their rules.

    Those that healed, and symptoms that another finding explains, are left out.
    """
    told = []
    for trial in trials:
        for finding in trial.outcome.findings if trial.outcome is not None else ():
            severity = str(finding.get("severity"))
            is_over = finding.get("healed") or finding.get("because")
            if severity in ("error", "warning") and not is_over:
                told.append((trial, severity, str(finding.get("rule"))))
    return _grouped(told)


def _grouped(told: Iterable[tuple[Trial, str, str]]) -> tuple[Reason, ...]:
    found: dict[tuple[str, str], tuple[str, dict[int, None]]] = {}
    for trial, status, text in told:
        _, numbers = found.setdefault((status, alike(text)), (text, {}))
        numbers[trial.number] = None
    groups = [
        Reason(status, text, tuple(numbers))
        for (status, _), (text, numbers) in found.items()
    ]
    return tuple(sorted(groups, key=lambda r: (-len(r.trials), r.trials)))


def parts_of(settings: Mapping[str, Any]) -> int:
    """Returns how many trainings make up a trial: folds, or executions."""
    return settings.get("folds") or settings.get("executions_per_trial") or 1


def aborted(events: Sequence[Mapping[str, Any]]) -> str:
    """Returns why the search was given up; `""` if it was not."""
    last = events[-1] if events else {}
    return str(last.get("reason") or "") if last.get("event") == "aborted" else ""


def stages_of(
    settings: Mapping[str, Any], trials: Sequence[Trial], objective: Objective
) -> tuple[StageSummary, ...]:
    """Returns a summary of each stage that was planned."""
    found = []
    for index, stage in enumerate(settings.get("stages") or ()):
        inside = [t for t in trials if t.stage == index and t.origin != "repeat"]
        best = next(iter(of_stage(inside, index, objective)), None)
        found.append(
            StageSummary(
                index,
                stage["trials"],
                stage["epochs"],
                str(stage.get("method") or settings.get("method") or "random"),
                tuple(t.number for t in inside),
                None if best is None else best.number,
            )
        )
    return tuple(found)


def findings_of(events: Iterable[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Returns what was found at the stages' ends; of one place what was found last."""
    found = [
        Finding.from_dict(finding)
        for event in events
        if event["event"] in ("stage", "finished")
        for finding in event.get("findings") or ()
    ]
    return tuple({(f.rule, f.where): f for f in found}.values())
