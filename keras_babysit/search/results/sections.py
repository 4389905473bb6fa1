"""What the report of a search says, section by section, as blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from keras_babysit.document.blocks import (
    Block,
    Column,
    Details,
    Heading,
    Items,
    Row,
    Table,
    Text,
)
from keras_babysit.document.shown import paragraphs
from keras_babysit.document.words import count, number, share
from keras_babysit.search.results.dimensions import Dimension
from keras_babysit.search.results.importance import Importance
from keras_babysit.search.results.ranking import Candidate, Repeats
from keras_babysit.search.results.summaries import Reason, StageSummary
from keras_babysit.search.results.table import (
    COLUMNS,
    counts,
    duration,
    rows,
    score_text,
    shown,
    spread,
)
from keras_babysit.search.trials import Objective, Trial

#: More trials than this are counted instead of named.
_NAMED = 8
#: Smaller shares are listed together.
_SMALL = 0.05
#: Columns of the table of all trials that say nothing if they are all the same.
_DULL = (
    "origin",
    "source",
    "score_std",
    "attempts",
    "reason",
    "notes",
    "stage",
    "parameters",
)
#: Columns of words in it.
_WORDS = ("status", "origin")
_LONG = ("reason", "notes")


def headline(name: str, trials: Sequence[Trial], state: str) -> str:
    """`"mlp: 35 trials, 2 failed, not finished."`."""
    found = counts(trials)
    parts = [count(len(trials), "trial")]
    parts += [f"{n} {status}" for status, n in found.items() if status != "completed"]
    return f"{name}: {', '.join([*parts, state] if state else parts)}."


def winner(best: Sequence[Candidate], objective: Objective) -> str:
    """`"Best val_loss 0.198 ± 0.01 (trial 31, mean ± std of 3 repeats)."`."""
    if not best:
        return "No trial has a score."
    first = best[0]
    name, where = f"{objective.name} {score_text(first.score)}", first.trial.number
    if first.repeats is None or not first.times:
        return f"Best {name} (trial {where})."
    std = _plus_minus(first.repeats.std)
    what = "mean ± std" if std else "mean"  # The verdict's ± is of the mean.
    times = count(first.times, "repeat")
    return f"Best {name}{std} (trial {where}, {what} of {times})."


def searched(
    objective: Objective,
    method: str,
    seed: int | None,
    folds: int | None,
    executions: int,
    dimensions: Iterable[Dimension],
    aborted: str,
) -> list[Block]:
    """Returns what was searched for, how, and where."""
    direction = {"min": "lower", "max": "higher"}[objective.direction]
    line = f"{objective.name}, {direction} is better; method {method}"
    line += f"; seed {seed}" if seed is not None else ""
    line += f"; {folds} folds" if folds else "; one validation set"
    line += f"; {executions} executions of each trial." if executions > 1 else "."
    found = [(d.name, str(d)) for d in dimensions]
    return [
        Heading("What was searched", 2),
        *paragraphs(f"Given up: {aborted}" if aborted else "", tone="error"),
        Text(line),
        Table.of(("hyperparameter", "values"), found),
    ]


def stages(found: Sequence[StageSummary], trials: Sequence[Trial]) -> list[Block]:
    """Returns a row for each stage, if there are several."""
    if len(found) < 2:
        return []
    scores = {trial.number: trial.score for trial in trials}
    lines = []
    for stage in found:
        done = len(stage.trials)
        of = "" if done == stage.planned else f" of {stage.planned}"
        number_of_best = "–" if stage.best is None else str(stage.best)
        score = None if stage.best is None else scores[stage.best]
        lines.append(
            (
                str(stage.index + 1),
                f"{done}{of}",
                str(stage.epochs),
                stage.method,
                number_of_best,
                score_text(score),
            )
        )
    head = ("stage", "trials", "epochs", "method", "best trial", "score")
    return [Heading("Stages", 2), _table(head, lines, words=("method",))]


def best_trials(
    best: Sequence[Candidate],
    objective: Objective,
    dimensions: Iterable[Dimension],
    staged: bool,
    parts: str = "folds",
) -> list[Block]:
    """Returns the best trials as columns: they are few, hyperparameters are many."""
    trials = [one.trial for one in best]
    outcomes = [trial.outcome for trial in trials if trial.outcome is not None]
    if not trials:
        return []
    lines = [(objective.name, *(score_text(one.score) for one in best))]
    for part in objective.parts:
        found = (outcome.metrics.get(part.name) for outcome in outcomes)
        lines.append((part.name, *map(score_text, found)))
    if any(one.times for one in best):
        stds = (one.repeats.std if one.repeats else math.nan for one in best)
        lines.append(("± over repeats", *map(_or_dash, stds)))
    if any(outcome.fold_scores for outcome in outcomes):
        folds = (spread(outcome.fold_scores) for outcome in outcomes)
        lines.append((f"± over {parts}", *map(_or_dash, folds)))
    names = [d.name for d in dimensions if any(d.name in t.values for t in trials)]
    lines += [(n, *(shown(t.values.get(n)) for t in trials)) for n in names]
    lines += [
        ("best epoch", *(shown(o.best_epoch) for o in outcomes)),
        ("epochs", *(shown(o.epochs) for o in outcomes)),
        ("weights", *(_or_dash(o.parameters) for o in outcomes)),
        ("time", *(duration(o.seconds) for o in outcomes)),
    ]
    if staged:
        lines.append(("stage", *(str(t.stage + 1) for t in trials)))
    head = ("trial", *(str(trial.number) for trial in trials))
    return [Heading("Best trials", 2), _table(head, lines, words=("trial",))]


def pareto(
    front: Sequence[Trial], objective: Objective, dimensions: Iterable[Dimension]
) -> list[Block]:
    """Returns the trials that none beats in all of several objectives, as columns."""
    if not front:
        return []
    outcomes = [trial.outcome for trial in front if trial.outcome is not None]
    lines = [
        (part.name, *(score_text(o.metrics[part.name]) for o in outcomes))
        for part in objective.parts
    ]
    names = [d.name for d in dimensions if any(d.name in t.values for t in front)]
    lines += [(n, *(shown(t.values.get(n)) for t in front)) for n in names]
    head = ("trial", *(str(trial.number) for trial in front))
    directions = {"min": "lower", "max": "higher"}
    told = (f"{p.name} ({directions[p.direction]})" for p in objective.parts)
    said = (
        f"No other trial is better in one of {', '.join(told)} without being worse in "
        f"another. What ranks them elsewhere, {objective.name}, is the sum of those to "
        "minimize less those to maximize."
    )
    return [Heading("Pareto front", 2), Text(said), _table(head, lines, ("trial",))]


def merit(
    repeats: Sequence[Repeats],
    verdict: str,
    ended: bool,
    best: int,
    executions: int = 1,
) -> list[Block]:
    """Returns whether the best are so by merit, from their repeats."""
    # The table has the means.
    said = verdict.partition(". ")[2]
    if ended and best > 1 and not repeats and executions == 1:
        said = (
            "Each was trained once, so the order of the best may be luck: repeat_top=3 "
            "trains the best three again, with other seeds."
        )
    lines = [
        (
            str(one.trial),
            _or_dash(one.mean, score_text) + _plus_minus(one.std),
            str(len(one.scores)),
            str(one.failed or "–"),
            score_text(one.score),
        )
        for one in repeats
    ]
    head = ("trial", "mean ± std", "repeats", "without score", "first score")
    return _section("Merit or luck", [*paragraphs(said), _table(head, lines)])


def importance(found: Importance | None) -> list[Block]:
    """Returns which hyperparameters matter, with a bar for each."""
    if found is None:
        return []
    heading = Heading("What matters", 2)
    if not found.singles:
        return [heading, Text(f"Not known: {found.reason}.")]
    worst = f", {found.worst} of them without a score counted as the worst"
    said = (
        "Share of the score's variance over the whole ranges (functional ANOVA), of "
        f"{count(found.trials, 'trial')} after {count(found.epochs, 'epoch')}"
        f"{worst if found.worst else ''}. The forest that it is computed from explains "
        f"{share(found.explained)} of the scores of trials that it has not seen."
    )
    small = ", ".join(s.name for s in found.singles if s.share < _SMALL)
    large = [s for s in (*found.singles, *found.pairs) if s.share >= _SMALL]
    large.sort(key=lambda s: -s.share)
    longest = max((s.share for s in large), default=1.0)
    lines = [
        (s.name, share(s.share), str(s.trials), f"{s.share / longest:.3f}")
        for s in large
    ]
    pairs = "a × b: what the two do together beyond what each does alone."
    return [
        heading,
        *paragraphs(
            said,
            f"Below {share(_SMALL)} each: {small}." if small else "",
            f"Of the others it is not known: {found.reason}." if found.reason else "",
            pairs if found.pairs else "",
        ),
        _table(("hyperparameter", "share", "trials", ""), lines, ("hyperparameter",)),
    ]


def epochs(
    trials: Sequence[Trial], planned: int, trained: int, saved: int
) -> list[Block]:
    """Returns how many epochs were trained, and how many stopping trials saved."""
    if not planned:
        return []
    line = f"{trained:,} of {planned:,} planned epochs were trained"
    if saved:
        stopped = count(sum(t.status == "stopped" for t in trials), "trial")
        line += f"; stopping {stopped} saved {saved:,} ({share(saved / planned)})"
    seconds = sum(t.outcome.seconds for t in trials if t.outcome)
    took = f"All trials together took {duration(seconds)}."
    return [Heading("Epochs", 2), Text(f"{line}. {took}")]


def common(title: str, groups: Iterable[Reason], what: str) -> list[Block]:
    """Returns what several trials have in common."""
    lines = [
        (str(len(g.trials)), g.status, g.text or "–", ", ".join(_numbers(g.trials)))
        for g in groups
    ]
    head = ("trials", "status", what, "which")
    return _section(title, [_table(head, lines, ("status", "which"), (what,))])


def listed(title: str, points: Iterable[str]) -> list[Block]:
    """Returns a list of points under a title."""
    points = tuple(points)
    return [Heading(title, 2), Items(points)] if points else []


def all_trials(trials: Sequence[Trial], objective: Objective) -> list[Block]:
    """Returns a row for each trial, folded away."""
    found = rows(trials, objective)
    names = [
        name
        for name in (found[0] if found else ())
        if name not in _DULL or len({str(row[name]) for row in found}) > 1
    ]
    names.sort(key=lambda name: name in _LONG)  # Long ones last.
    lines = [[_cell(name, row[name]) for name in names] for row in found]
    return (
        [Details("All trials", (_table(names, lines, _WORDS, _LONG),))] if found else []
    )


def _or_dash(value: float | None, said: Callable[[float], str] = number) -> str:
    return "–" if value is None or math.isnan(value) else said(value)


def _plus_minus(std: float) -> str:
    return "" if math.isnan(std) else f" ± {number(std)}"


def _cell(name: str, value: Any) -> str:
    if name in _LONG:
        return str(value or "")
    if name == "stage":
        return str(value + 1)  # People count from 1.
    is_score = isinstance(value, float) and name not in COLUMNS[8:]
    return score_text(value) if is_score else shown(value)


def _section(title: str, blocks: Sequence[Block]) -> list[Block]:
    """A title with blocks below, of which at least one has something to say."""
    said = [b for b in blocks if not isinstance(b, Table) or b.rows]
    return [Heading(title, 2), *said] if said else []


def _table(
    head: Sequence[str],
    lines: Iterable[Sequence[str]],
    words: Sequence[str] = (),
    wide: Sequence[str] = (),
) -> Table:
    """A table of numbers but for some columns; one without a title holds bars."""
    columns = tuple(
        Column(t, number=t not in (*words, *wide), bar=not t, wide=t in wide)
        for t in head
    )
    return Table(columns, tuple(Row(tuple(line)) for line in lines))


def _numbers(numbers: Sequence[int]) -> Iterator[str]:
    yield from map(str, numbers[:_NAMED])
    if len(numbers) > _NAMED:
        yield f"and {len(numbers) - _NAMED} more"
