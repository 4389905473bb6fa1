"""The report of a search: what it came to, as one frozen value."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_babysit.document.blocks import Block, Heading, Text
from keras_babysit.document.shown import Shown
from keras_babysit.document.values import plain
from keras_babysit.records import Finding
from keras_babysit.search.results import sections
from keras_babysit.search.results.dimensions import Dimension, dimensions
from keras_babysit.search.results.hopeless import hints
from keras_babysit.search.results.importance import Importance, importance_of
from keras_babysit.search.results.pareto import front
from keras_babysit.search.results.plots.figures import figures
from keras_babysit.search.results.ranking import (
    Candidate,
    Repeats,
    candidates,
    verdict,
)
from keras_babysit.search.results.status import Status, read_status
from keras_babysit.search.results.summaries import (
    Reason,
    StageSummary,
    aborted,
    findings_of,
    notes_of,
    reasons,
    rules_of,
    stages_of,
)
from keras_babysit.search.results.table import rows
from keras_babysit.search.store import Store
from keras_babysit.search.trials import EpochResult, Objective, Trial

#: The report names so many of the best trials.
BEST = 5


@dataclass(frozen=True)
class SearchReport(Shown):
    """What a search came to so far.

    `print(report)` gives plain text, a notebook shows it with its pictures, and `save`
    writes either to a file.

    Example:
    ```python
    report = searching.search(x, y, validation_data=(x_val, y_val))
    print(report)
    report.save("report.html")
    report.plot("trials.png")
    report.best[0].score, report.best[0].trial.values
    ```

    Attributes:
        name: of the search.
        objective: what is searched for.
        method: how trials are chosen.
        seed: of the search.
        folds: number of folds of each trial; `None` for one validation set.
        executions: how often each trial was trained, with other seeds.
        ended: whether the search has come to its end.
        aborted: why it was given up; `""` if it was not.
        dimensions: the hyperparameters with their ranges over all stages.
        stages: a `StageSummary` each.
        trials: all of them, by number.
        best: the best few sets of values, a `Candidate` each, best first.
        front: of several objectives, the trials that none of the others beats in all.
        reasons: why trials were stopped or have failed, the most frequent first.
        rules: what the babysitter found in trials, likewise.
        notes: what went wrong on the side, likewise.
        findings: on ranges: best values at their borders, linear scales; what to try.
        hints: on ranges: where all trials lie that findings ended.
        repeats: of the best trials that were run again, the best mean first.
        verdict: whether the winner is clearly the best, by the repeats; `""` without.
        importance: which hyperparameters matter; `None` if that was not asked for.
        status: how a search that has not ended is getting on; `None` if it has.
    """

    name: str
    objective: Objective
    method: str = "random"
    seed: int | None = None
    folds: int | None = None
    executions: int = 1
    ended: bool = False
    aborted: str = ""
    dimensions: tuple[Dimension, ...] = ()
    stages: tuple[StageSummary, ...] = ()
    trials: tuple[Trial, ...] = ()
    best: tuple[Candidate, ...] = ()
    reasons: tuple[Reason, ...] = ()
    rules: tuple[Reason, ...] = ()
    notes: tuple[Reason, ...] = ()
    findings: tuple[Finding, ...] = ()
    hints: tuple[str, ...] = ()
    front: tuple[Trial, ...] = ()
    repeats: tuple[Repeats, ...] = ()
    verdict: str = ""
    importance: Importance | None = None
    status: Status | None = None

    def trial(self, number: int) -> Trial:
        """Returns the trial with a number."""
        return next(t for t in self.trials if t.number == number)

    @property
    def epochs_planned(self) -> int:
        """Epochs that the trials that have ended were to train."""
        ended = (t for t in self.trials if t.outcome is not None)
        return sum(t.epochs for t in ended) * (self.folds or self.executions)

    @property
    def epochs_trained(self) -> int:
        """Epochs that they did train."""
        return sum(t.outcome.epochs for t in self.trials if t.outcome is not None)

    @property
    def epochs_saved(self) -> int:
        """Epochs that stopped trials left out: what stopping saved."""
        return sum(
            t.epochs * (self.folds or self.executions) - t.outcome.epochs
            for t in self.trials
            if t.outcome is not None and t.status == "stopped"
        )

    def content(self) -> list[Block]:
        """Returns the report as blocks; what has nothing to say is left out."""
        state = "given up" if self.aborted else "" if self.ended else "not finished"
        planned, trained = self.epochs_planned, self.epochs_trained
        best, dimensions = self.best, self.dimensions
        return [
            Heading(sections.headline(self.name, self.trials, state)),
            Text(sections.winner(best, self.objective), "strong"),
            *(self.status.now() if self.status is not None else ()),
            *sections.searched(
                self.objective,
                self.method,
                self.seed,
                self.folds,
                self.executions,
                dimensions,
                self.aborted,
            ),
            *sections.stages(self.stages, self.trials),
            *sections.best_trials(
                best,
                self.objective,
                dimensions,
                len(self.stages) > 1,
                "folds" if self.folds else "executions",
            ),
            *sections.pareto(self.front, self.objective, dimensions),
            *figures(self.objective, self.trials, dimensions, best, self.importance),
            *sections.merit(
                self.repeats, self.verdict, self.ended, len(best), self.executions
            ),
            *sections.listed("Ranges", (*map(str, self.findings), *self.hints)),
            *sections.importance(self.importance),
            *sections.epochs(self.trials, planned, trained, self.epochs_saved),
            *sections.common("Stopped and failed", self.reasons, "first reason"),
            *sections.common("What the babysitter found", self.rules, "rule"),
            *sections.common("Notes", self.notes, "first note"),
            *sections.all_trials(self.trials, self.objective),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain values that JSON can hold; NaN as the string `"nan"`."""
        return plain(
            {
                **vars(self),
                "trials": rows(self.trials, self.objective),
                "front": [trial.number for trial in self.front],
                "epochs_planned": self.epochs_planned,
                "epochs_trained": self.epochs_trained,
                "epochs_saved": self.epochs_saved,
                "best": [one.to_dict() for one in self.best],
                "status": self.status and self.status.to_dict(),
                "repeats": [
                    {**vars(r), "mean": r.mean, "std": r.std} for r in self.repeats
                ],
            }
        )


def make_report(
    directory: str | os.PathLike | Store, importance: bool = True
) -> SearchReport:
    """Returns the report of a search from its files only, wherever they are.

    Args:
        directory: its folder, `directory/project_name` of the search.
        importance: whether to work out which hyperparameters matter, which can take
            some seconds.

    Raises:
        ValueError: if there is no search in the folder.

    Example:
    ```python
    print(search.make_report("searches/search"))
    ```
    """
    store = directory if isinstance(directory, Store) else Store(directory)
    settings = store.settings()
    if settings is None:
        raise ValueError(
            f"There is no search in {str(store.directory)!r}: it has no search.json."
        )
    events, trials = store.events(), store.trials()
    epochs = {t.number: store.epochs(t) for t in trials} if importance else None
    report = report_of(settings, events, trials, epochs)
    if report.ended or report.aborted:
        return report
    return replace(report, status=read_status(store.directory))


def report_of(
    settings: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    trials: Sequence[Trial],
    epochs: Mapping[int, Sequence[EpochResult]] | None = None,
) -> SearchReport:
    """Returns the report of a search.

    Args:
        settings: what is in `search.json`.
        events: what is in `events.jsonl`.
        trials: all trials so far.
        epochs: finished epochs by number of the trial, for the importance of the
            hyperparameters; `None` leaves it out.
    """
    objective = Objective(**settings["objective"])
    events = list(events)
    begun = [event for event in events if event["event"] == "stage"]
    spaces = [settings.get("space") or {}, *(e.get("space") or {} for e in begun)]
    found, best = dimensions(spaces, trials), candidates(trials, objective)
    return SearchReport(
        name=str(settings.get("project_name") or "search"),
        objective=objective,
        method=str(settings.get("method") or "random"),
        seed=settings.get("seed"),
        folds=settings.get("folds"),
        executions=settings.get("executions_per_trial") or 1,
        ended=bool(events) and events[-1]["event"] == "finished",
        aborted=aborted(events),
        dimensions=tuple(found),
        stages=stages_of(settings, trials, objective),
        trials=tuple(trials),
        best=tuple(best[:BEST]),
        front=tuple(front(trials, objective)),
        reasons=reasons(trials),
        rules=rules_of(trials),
        notes=notes_of(trials),
        findings=findings_of(events),
        hints=hints(trials, found),
        repeats=tuple(c.repeats for c in best if c.repeats is not None),
        verdict=verdict(trials, objective),
        importance=_importance(trials, objective, found, epochs),
    )


def _importance(
    trials: Sequence[Trial],
    objective: Objective,
    found: Sequence[Dimension],
    epochs: Mapping[int, Sequence[EpochResult]] | None,
) -> Importance | None:
    if epochs is None:
        return None
    try:
        return importance_of(trials, objective, found, epochs)
    except ImportError as error:  # A search of hours has its report all the same.
        return Importance(reason=str(error))
