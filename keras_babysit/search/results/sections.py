"""What the report of a search says, section by section."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_babysit.document.words import clean, count, number, share
from keras_babysit.search.results.table import counts, duration, score_text, shown

if TYPE_CHECKING:
    from keras_babysit.search.results.importance import Importance
    from keras_babysit.search.results.report import SearchReport
    from keras_babysit.search.results.report_parts import Reason, Repeats

#: More trials than this are counted instead of named.
_NAMED = 8
#: Shares below are told together.
_SMALL = 0.05


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        title: its heading.
        lines: sentences.
        head: titles of a table's columns; empty for no table.
        rows: the table's cells.
        words: how many of the columns, from the left, are words and not numbers.
        bars: lengths, 0 to 1, of a bar behind each row; empty for none.
    """

    title: str
    lines: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    words: int = 1
    bars: tuple[float, ...] = ()


def headline(report: SearchReport) -> str:
    """`"mlp: 35 trials, finished. Best val_loss 0.198 (trial 31)."`."""
    found = counts(report.trials)
    parts = [count(len(report.trials), "trial")]
    parts += [f"{n} {status}" for status, n in found.items() if status != "completed"]
    if report.aborted:
        parts.append("given up")
    elif not report.ended:
        parts.append("not finished")
    told = f"{clean(report.name)}: {', '.join(parts)}."
    if not report.best:
        return f"{told} No trial has a score."
    best = report.best[0]
    name = f"{clean(report.objective.name)} {score_text(best.score)}"
    repeats = best.repeats
    if repeats is None or not repeats.scores:
        return f"{told} Best {name} (trial {best.trial})."
    std = "" if math.isnan(repeats.std) else f" ± {number(repeats.std)}"
    times = count(len(repeats.scores), "repeat")
    what = "mean ± std" if std else "mean"  # The verdict's ± is of the mean.
    return f"{told} Best {name}{std} (trial {best.trial}, {what} of {times})."


def sections(report: SearchReport) -> list[Section]:
    """Returns all sections that have something to say."""
    found = [
        _searched(report),
        _stages(report),
        _best(report),
        _repeats(report),
        _findings(report),
        _importance(report.importance),
        _epochs(report),
        _common("Stopped and failed", report.reasons, "reason (of the first)"),
        _common("What the babysitter found", report.rules, "rule"),
        _common("Notes", report.notes, "note (of the first)"),
    ]
    return [section for section in found if section.lines or section.rows]


def _searched(report: SearchReport) -> Section:
    direction = {"min": "lower", "max": "higher"}[report.objective.direction]
    line = f"{clean(report.objective.name)}, {direction} is better"
    line += f"; method {clean(report.method)}"
    line += f"; seed {report.seed}" if report.seed is not None else ""
    line += f"; {report.folds} folds" if report.folds else "; one validation set"
    rows = tuple((clean(d.name), clean(str(d))) for d in report.dimensions)
    aborted = (f"Given up: {clean(report.aborted)}",) if report.aborted else ()
    return Section(
        "What was searched",
        (*aborted, f"{line}."),
        ("hyperparameter", "values") if rows else (),
        rows,
        words=2,
    )


def _stages(report: SearchReport) -> Section:
    rows = []
    for stage in report.stages:
        best = report.trial(stage.best) if stage.best is not None else None
        done = len(stage.trials)
        rows.append(
            (
                str(stage.index + 1),
                f"{done}" if done == stage.planned else f"{done} of {stage.planned}",
                str(stage.epochs),
                clean(stage.method),
                "–" if best is None else str(best.number),
                "–" if best is None else score_text(best.score),
            )
        )
    if len(rows) < 2:
        return Section("Stages")
    head = ("stage", "trials", "epochs", "method", "best trial", "score")
    return Section("Stages", (), head, tuple(rows), words=0)


def _best(report: SearchReport) -> Section:
    """Trials as columns: there are few of them, and many hyperparameters."""
    trials = [report.trial(best.trial) for best in report.best]
    if not trials:
        return Section("Best trials")
    scores = [score_text(best.score) for best in report.best]
    rows = [(clean(report.objective.name), *scores)]
    if report.repeats:
        stds = [best.repeats.std if best.repeats else math.nan for best in report.best]
        shown_stds = ["–" if math.isnan(std) else number(std) for std in stds]
        rows.append(("± over repeats", *shown_stds))
    if report.folds:
        spread = [_spread(t.outcome.fold_scores if t.outcome else ()) for t in trials]
        rows.append(("± over folds", *spread))
    names = dict.fromkeys(name for t in trials for name in t.values)
    ordered = [d.name for d in report.dimensions if d.name in names]
    ordered += [name for name in names if name not in ordered]
    rows += [(clean(n), *(shown(t.values.get(n)) for t in trials)) for n in ordered]
    outcomes = [t.outcome for t in trials if t.outcome is not None]
    more = {
        "best epoch": [shown(o.best_epoch) for o in outcomes],
        "epochs": [shown(o.epochs) for o in outcomes],
        "weights": [number(o.parameters) or "–" for o in outcomes],
        "time": [duration(o.seconds) for o in outcomes],
    }
    if len(report.stages) > 1:
        more["stage"] = [str(t.stage + 1) for t in trials]
    rows += [(name, *cells) for name, cells in more.items()]
    head = ("trial", *(str(t.number) for t in trials))
    return Section("Best trials", (), head, tuple(rows))


def _spread(scores: tuple[float, ...]) -> str:
    if len(scores) < 2:
        return "–"
    mean = sum(scores) / len(scores)
    return number(math.sqrt(sum((s - mean) ** 2 for s in scores) / (len(scores) - 1)))


def _repeats(report: SearchReport) -> Section:
    rows = tuple(_repeat_row(one) for one in report.repeats)
    lines = []
    if report.verdict:
        # The table has the means.
        last = report.verdict.partition(". ")[2]
        lines = [last] if last else []
    elif report.ended and len(report.best) > 1 and not rows:
        lines = [
            "Each was trained once, so the order of the best may be luck: repeat_top=3 "
            "trains the best three again, with other seeds."
        ]
    head = ("trial", "mean ± std", "repeats", "without score", "first score")
    return Section("Merit or luck", tuple(lines), head if rows else (), rows, words=0)


def _repeat_row(repeats: Repeats) -> tuple[str, ...]:
    std = "" if math.isnan(repeats.std) else f" ± {number(repeats.std)}"
    mean = "–" if math.isnan(repeats.mean) else f"{score_text(repeats.mean)}{std}"
    return (
        str(repeats.trial),
        mean,
        str(len(repeats.scores)),
        str(repeats.failed or "–"),
        score_text(repeats.score),
    )


def _findings(report: SearchReport) -> Section:
    return Section("Ranges", tuple(clean(f"{f}") for f in report.findings))


def _importance(found: Importance | None) -> Section:
    title = "What matters"
    if found is None:
        return Section(title)
    if not found.singles:
        return Section(title, (f"Not known: {found.reason}.",))
    told = [s for s in (*found.singles, *found.pairs) if s.share >= _SMALL]
    told = sorted(told, key=lambda s: -s.share)
    small = [s.name for s in found.singles if s.share < _SMALL]
    rows = tuple((clean(s.name), share(s.share), str(s.trials)) for s in told)
    lines = [
        f"Share of the score's variance over the whole ranges (functional ANOVA), of "
        f"{count(found.trials, 'trial')} after {count(found.epochs, 'epoch')}"
        f"{_worst(found.worst)}. The forest that it is worked out from explains "
        f"{share(found.explained)} of the scores of trials that it has not seen."
    ]
    if small:
        lines.append(f"Below {share(_SMALL)} each: {', '.join(map(clean, small))}.")
    if found.reason:
        lines.append(f"Of the others it is not known: {found.reason}.")
    if found.pairs:
        lines.append("a × b: what the two do together beyond what each does alone.")
    return Section(
        title,
        tuple(lines),
        ("hyperparameter", "share", "trials"),
        rows,
        bars=tuple(s.share for s in told),
    )


def _worst(trials: int) -> str:
    return f", {trials} of them without a score counted as the worst" if trials else ""


def _epochs(report: SearchReport) -> Section:
    planned, trained = report.epochs_planned, report.epochs_trained
    if not planned:
        return Section("Epochs")
    line = f"{trained:,} of {planned:,} planned epochs were trained"
    if report.epochs_saved:
        stopped = sum(t.status == "stopped" for t in report.trials)
        line += (
            f"; stopping {count(stopped, 'trial')} saved {report.epochs_saved:,} "
            f"({share(report.epochs_saved / planned)})"
        )
    seconds = sum(t.outcome.seconds for t in report.trials if t.outcome)
    return Section(
        "Epochs", (f"{line}. All trials together took {duration(seconds)}.",)
    )


def _common(title: str, groups: tuple[Reason, ...], what: str) -> Section:
    rows = tuple(_reason_row(group) for group in groups)
    head = ("trials", "", what, "which") if rows else ()
    return Section(title, (), head, rows, words=4)


def _reason_row(reason: Reason) -> tuple[str, ...]:
    return (
        str(len(reason.trials)),
        reason.status,
        clean(reason.text) or "–",
        ", ".join(_numbers(reason.trials)),
    )


def _numbers(numbers: tuple[int, ...]) -> Iterator[str]:
    yield from map(str, numbers[:_NAMED])
    if len(numbers) > _NAMED:
        yield f"and {len(numbers) - _NAMED} more"
