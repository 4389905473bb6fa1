"""The report: a run's results, as one frozen value."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keras_babysit.document.blocks import Block, Details, Heading, Span, Table, spans
from keras_babysit.document.blocks import plain as plain_words
from keras_babysit.document.shown import Shown, paragraphs
from keras_babysit.document.values import plain
from keras_babysit.document.words import clean, count, number
from keras_babysit.history import RunHistory
from keras_babysit.records import Finding, Fix, ObservationCost
from keras_babysit.report import page
from keras_babysit.report.course import Course, course_of
from keras_babysit.report.groups import SEVERITIES, Group, told, worst_first
from keras_babysit.report.layers import LayerSummary, known_layers, measured, table
from keras_babysit.report.losses import (
    LossSummary,
    class_tables,
    known_losses,
    tables,
)

if TYPE_CHECKING:
    from keras_babysit.fixes.result import FixTrials
    from keras_babysit.fixes.trained import Trained

#: What is no part of a report on disk.
_UNWRITTEN = ("course", "trained")
#: At most so many of Keras's logs are in the headline.
MAX_LOGS = 6


@dataclass(frozen=True)
class Report(Shown):
    """The results of a run so far.

    A notebook shows it as HTML; `print(report)` gives plain text.

    Attributes:
        findings: everything that was found: open ones first, the worst first; healed
            and explained ones too.
        model: the model's name; `""` if it is not known.
        parameters: number of the model's weights; `None` if it is not known.
        steps: optimizer updates so far.
        epochs: epochs so far, a float.
        ended: whether the training has ended.
        logs: Keras's logs of the last epoch.
        layers: a `LayerSummary` for each layer.
        losses: a `LossSummary` for each loss that was observed.
        cost: an `ObservationCost`, or `None`.
        stopped: why the training was stopped early; `""` if it was not.
        notes: further lines, for example of what was repaired.
        damaged: number of records of its event files that could not be read.
        unasked: what rules could not be applied to, as sentences.
        course: the numbers over time, which a page draws; not in `to_dict`.
        trained: the model, for `try_fixes`; not in `to_dict`, and not in a copy in
            another process.

    Example:
    ```python
    report = babysitter.report
    print(report.verdict)
    for finding in report.problems:
        print(finding.where, finding.action)
    report.save("report.html")
    ```
    """

    findings: tuple[Finding, ...] = ()
    model: str = ""
    parameters: int | None = None
    steps: int = 0
    epochs: float = 0.0
    ended: bool = False
    logs: Mapping[str, float] = field(default_factory=dict)
    layers: tuple[LayerSummary, ...] = ()
    losses: tuple[LossSummary, ...] = ()
    cost: ObservationCost | None = None
    stopped: str = ""
    notes: tuple[str, ...] = ()
    damaged: int = 0
    unasked: tuple[str, ...] = ()
    course: Course = field(default_factory=Course, repr=False, compare=False)
    trained: Trained | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy gets."""
        return {**vars(self), "trained": None}

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Errors and warnings that are open and that no other finding explains."""
        return tuple(
            f
            for f in self.findings
            if not f.healed and not f.because and f.severity != "info"
        )

    @property
    def groups(self) -> list[Group]:
        """The findings as they are reported: grouped by rule, symptoms below causes."""
        return told(self.findings)

    def try_fixes(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        fixes: Sequence[Fix] = (),
        steps: int = 150,
        seeds: int = 3,
        seconds: float = 60.0,
        verbose: int | str = "auto",
    ) -> FixTrials:
        """Tries the advice of this report out on the model; see `try_fixes`.

        Weights that were as their initializers gave them when the run began are
        redrawn. All others, such as those of a pretrained model, start from what they
        are now. Batch size and shuffling are those of the run. The model comes back
        bit for bit as it was.

        Args:
            x: what `fit` was given: arrays, a dataset, a generator.
            y: targets, if `x` is arrays.
            sample_weight: weights, if `x` is arrays.
            fixes: changes to try besides, made by `keras_babysit.rules.fixes`.
            steps: updates of each training.
            seeds: trainings of each change that may be the answer.
            seconds: time for all of it.
            verbose: 0 for no output; 1 for a line of progress; `"auto"` for one on a
                terminal.

        Returns:
            A `FixTrials`.

        Raises:
            ValueError: if the model is gone or was never seen, for data that are none,
                and for arguments out of range.
        """
        if self.trained is None:
            raise ValueError(
                "Fixes can be tried on the report of a training in this process. Call "
                "`keras_babysit.try_fixes(model, x, y, findings=report.findings)`."
            )
        return self.trained.try_fixes(
            self.findings, x, y, sample_weight, fixes, steps, seeds, seconds, verbose
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain values that JSON can hold; NaN as the string `"nan"`."""
        rest = {"findings": (), "layers": (), "losses": (), "cost": None}
        known = {k: v for k, v in vars(self).items() if k not in _UNWRITTEN}
        return {
            **plain({**known, **rest}),
            "findings": [plain(f.to_dict()) for f in self.findings],
            "layers": [plain(vars(layer)) for layer in self.layers],
            "losses": [plain(vars(loss)) for loss in self.losses],
            "cost": plain(vars(self.cost)) if self.cost else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Report:
        """Returns the report that `to_dict` was called on; ignores other keys."""
        return cls(
            **{
                **_known(cls, values),
                "findings": worst_first(map(Finding.from_dict, values["findings"])),
                "layers": tuple(_made(LayerSummary, v) for v in values["layers"]),
                "losses": tuple(
                    _made(LossSummary, v) for v in values.get("losses", ())
                ),
                "cost": _made(ObservationCost, values["cost"]),
                "logs": {k: float(v) for k, v in values["logs"].items()},
                "epochs": float(values["epochs"]),
                "notes": tuple(values["notes"]),
                "unasked": tuple(values.get("unasked", ())),
            }
        )

    @property
    def verdict(self) -> str:
        """`"1 error, 2 warnings"` of what is open, or that nothing is wrong."""
        still = [g for g in self.groups if not g.healed]
        found = [
            count(n, {"info": "remark"}.get(severity, severity))
            for severity in SEVERITIES
            for n in [sum(g.severity == severity for g in still)]
            if n
        ]
        if not self.problems:
            where = " in what could be read" if self.damaged else ""
            nothing = (
                "nothing wrong found" if self._was_seen else "nothing was observed"
            )
            found.insert(0, f"{nothing}{where}")
        return ", ".join(found)

    @property
    def headline(self) -> Heading:
        """The model, how far it has come, and the verdict, in one line."""
        severities = {f.severity for f in self.problems}
        well = "good" if self._was_seen and not self.damaged else "warning"
        tone = next((s for s in ("error", "warning") if s in severities), well)
        name = f"{clean(self.model)}: " if self.model else ""
        come = Span(f"{name}{self._progress}: ")
        return Heading((come, Span(f"{self.verdict}.", tone)), tone=tone)

    @property
    def cost_line(self) -> str:
        """What was observed, what that cost, and what was not; empty before a step."""
        cost = self.cost
        if cost is None or not (cost.steps or cost.unobserved):
            return ""
        line = f"Observed {cost.observed:,} of {count(cost.steps, 'step')}"
        if 0 < cost.full < cost.observed and cost.looked_at:
            line += f", {cost.full:,} of them with {cost.looked_at}"
        # Seconds too: in a short run, a large share is a small matter.
        share = (
            f" ({100 * cost.overhead:.1f} %)" if math.isfinite(cost.overhead) else ""
        )
        line += (
            f". Watching added {cost.total_seconds:.2g} s to this run: "
            f"{cost.build_seconds:.2g} s once, {cost.extra_seconds:.2g} s{share} while "
            "it trained."
        )
        return " ".join([line, *(f"{clean(note)}." for note in cost.unobserved)])

    @property
    def _was_seen(self) -> bool:
        return self.cost is None or bool(self.cost.observed or not self.cost.steps)

    def content(self) -> list[Block]:
        """Returns the headline, the findings, the layers and the cost as blocks."""
        stopped = f"Stopped: {self.stopped}" if self.stopped else ""
        return [
            self.headline,
            *paragraphs(stopped, *self.notes),
            *paragraphs(self.damage, tone="warning"),
            *(group.card for group in self.groups),
            table(self.layers),
            *tables(self.losses),
            *(Details("Classes", (found,)) for found in class_tables(self.losses)),
            *paragraphs(self.cost_line, *self.unasked, tone="faint"),
        ]

    def _as(self, ending: str, path: str | os.PathLike) -> str:
        if ending != ".html":
            return super()._as(ending, path)
        return html([(self.model or "run", self)])

    def brief(self) -> list[Block]:
        """Returns what the console prints at the end: without a table if all is well.

        One line if there is nothing else to say.
        """
        if self.groups or self.stopped or self.notes:
            kept = self.content()
            if not self.problems:
                kept = [block for block in kept if not isinstance(block, Table)]
            return kept
        words = spans(self.headline.text)
        more = " ".join(line for line in (self.cost_line, *self.unasked) if line)
        faint = (Span(f" {more}", "faint"),) if more else ()
        return [Heading((*words, *faint), tone=self.headline.tone)]

    @property
    def damage(self) -> str:
        """What could not be read of the event files, in a sentence; mostly empty."""
        if not self.damaged:
            return ""
        found = f"{count(self.damaged, 'damaged record')} of the event files"
        return f"{found} could not be read: findings and numbers may be missing."

    @property
    def _progress(self) -> str:
        """`"10 epochs, 600 steps, loss 0.31"`."""
        epochs = f"{self.epochs:.1f}".removesuffix(".0")
        parts = [f"{epochs} epoch" + "s" * (epochs != "1"), count(self.steps, "step")]
        logs = list(self.logs.items())[:MAX_LOGS]
        return ", ".join([*parts, *(f"{clean(name)} {number(v)}" for name, v in logs)])


def html(reports: Sequence[tuple[str, Report]]) -> str:
    """Returns one self-contained page of runs, each with its name."""
    from keras_babysit.page import html_file

    blocks: list[Block] = []
    for name, one in reports:
        blocks += [*([Heading(name, 0)] if len(reports) > 1 else []), *one.content()]
    documents = [page.document(one, name) for name, one in reports]
    title = plain_words(reports[0][1].headline.text)
    return html_file.page(
        documents, blocks, title if len(reports) == 1 else "keras_babysit report"
    )


def make_report(
    history: RunHistory,
    findings: Iterable[Finding],
    cost: ObservationCost | None = None,
    stopped: str = "",
    notes: Iterable[str] = (),
    trained: Trained | None = None,
) -> Report:
    """Returns the report of a run.

    Args:
        history: what was recorded.
        findings: what was found.
        cost: what observing cost.
        stopped: why the training was stopped early.
        notes: further lines.
        trained: the model, to try fixes on.
    """
    model = history.model
    found = worst_first(findings)
    step, epoch = history.position
    at_epoch = history.last_epoch.step if history.last_epoch else 0
    at_step = history.last_step.step + 1 if history.last_step else 0
    return Report(
        findings=found,
        model=model.name if model else "",
        parameters=model.parameters if model else None,
        steps=max(step, at_epoch, at_step, cost.steps if cost else 0),
        epochs=epoch,
        ended=history.ended,
        logs=dict(history.last_epoch.logs) if history.last_epoch else {},
        layers=measured(known_layers(history), history, found),
        losses=known_losses(history),
        cost=cost,
        stopped=stopped,
        notes=tuple(notes),
        unasked=tuple(_unasked(history)),
        course=course_of(history),
        trained=trained,
    )


def _unasked(history: RunHistory) -> Iterator[str]:
    """What rules could not be asked of, at the end of a run."""
    if not history.ended or history.last_epoch is None:
        return
    if history.data is None or not history.data.inputs:
        yield "The training data were not seen: rules about them could not be applied."
    if history.model is None:
        yield "The model's layers were not seen: rules about them could not be applied."


def _known(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(cls)}
    return {k: v for k, v in values.items() if k in names}


def _made(cls: Any, values: Mapping[str, Any] | None) -> Any:
    """A flat dataclass of what `plain` made of it."""
    if values is None:
        return None
    types = {f.name: str(f.type) for f in dataclasses.fields(cls)}
    found = _known(cls, values)
    for name, value in found.items():
        if isinstance(value, list):
            found[name] = tuple(value)
        elif isinstance(value, str) and "float" in types[name]:
            found[name] = float(value)
    return cls(**found)
