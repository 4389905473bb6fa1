"""What a search found, as rows: for a DataFrame, a table, or any other program."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_babysit.document.words import clean, number
from keras_babysit.errors import installing
from keras_babysit.search.trials import EpochResult, Objective, Trial

#: Columns that every search has, in their order.
COLUMNS = (
    "number",
    "stage",
    "status",
    "origin",
    "source",
    "score",
    "score_std",
    "best_epoch",
    "epochs",
    "epochs_planned",
    "seconds",
    "parameters",
    "attempts",
    "reason",
    "notes",
)
_OF_OUTCOME = ("best_epoch", "seconds", "parameters")
#: Those with whole numbers, some of which may be missing.
_WHOLE = ("source", "best_epoch", "parameters")


def rows(
    trials: Iterable[Trial],
    objective: Objective | None = None,
    epochs: Mapping[int, Sequence[EpochResult]] | None = None,
) -> list[dict[str, Any]]:
    """Returns one row for each trial, by number.

    All rows have the same columns: `COLUMNS`, then one for each hyperparameter, then
    one for each metric of `fit` at the trial's best epoch. What does not apply is
    `None`, such as the value of a hyperparameter that was not active. Hyperparameters
    and metrics have their own names; one whose name is taken already is called
    `"hp/epochs"` or `"metric/learning_rate"`.

    Args:
        trials: the trials.
        objective: what is searched for,
        epochs: and the epochs of running trials by their number: with both, a running
            trial has its best score so far.

    Returns:
        Rows of plain values. `stage` counts from 0. `score_std` is the standard
        deviation over the folds (with n - 1), `seconds` the duration of the whole
        trial, `parameters` the number of the model's weights, `epochs` the epochs
        trained, all folds together, and `epochs_planned` those that one fold may train.
    """
    ordered = sorted(trials, key=lambda trial: trial.number)
    columns = _columns(ordered)
    found = []
    for trial in ordered:
        so_far = (epochs or {}).get(trial.number, ())
        row = _fixed(trial)
        if trial.outcome is None and objective is not None and so_far:
            row |= _running(so_far, objective)
        metrics = trial.outcome.metrics if trial.outcome else {}
        for (kind, name), column in columns.items():
            row[column] = (trial.values if kind == "hp" else metrics).get(name)
        found.append(row)
    return found


def frame(trials: Iterable[Trial], objective: Objective | None = None) -> Any:
    """Returns the trials as a pandas `DataFrame`, one row each, by number.

    The columns are those of `rows`. Numbers that are missing are NaN or `<NA>`; whole
    numbers stay whole. `frame.attrs["hyperparameters"]` and `frame.attrs["metrics"]`
    list the columns of hyperparameters and metrics; `frame.attrs["objective"]` and
    `frame.attrs["direction"]` say what the score is.

    Raises:
        ImportError: if pandas is not installed.

    Example:
    ```python
    results = search.results()
    results.sort_values("score").head()
    results.groupby("units").score.median()
    results.plot.scatter("learning_rate", "score", logx=True)
    ```
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"Results as a DataFrame need pandas: {installing('search')}"
        ) from error
    trials = list(trials)
    columns = _columns(trials)
    made = pandas.DataFrame(
        rows(trials, objective), columns=[*COLUMNS, *columns.values()]
    )
    types = dict.fromkeys(_WHOLE, "Int64")
    types |= dict.fromkeys(("score", "score_std", "seconds"), "float64")
    for (kind, name), column in columns.items():
        if kind == "metric":
            types[column] = "float64"
        elif nullable := _nullable(trial.values.get(name) for trial in trials):
            types[column] = nullable
    made = made.astype(types)
    for kind in ("hp", "metric"):
        name = {"hp": "hyperparameters", "metric": "metrics"}[kind]
        made.attrs[name] = [c for (of, _), c in columns.items() if of == kind]
    if objective is not None:
        made.attrs |= {"objective": objective.name, "direction": objective.direction}
    return made


def counts(trials: Iterable[Trial]) -> dict[str, int]:
    """Returns how many trials there are of each status that occurs."""
    found: dict[str, int] = {}
    for trial in trials:
        found[trial.status] = found.get(trial.status, 0) + 1
    order = ("completed", "stopped", "failed", "killed", "running")
    return {status: found[status] for status in order if status in found}


def spread(scores: Sequence[float]) -> float | None:
    """Returns the standard deviation of scores (with n - 1); `None` for one of them."""
    finite = all(math.isfinite(score) for score in scores)
    return statistics.stdev(scores) if len(scores) > 1 and finite else None


def said(values: Mapping[str, Any], most: int | None = None) -> str:
    """Returns hyperparameters in words: `"learning_rate 3.1e-4, units 64"`."""
    parts = [f"{clean(name)} {shown(value)}" for name, value in values.items()]
    if most is not None and len(parts) > most:
        parts = [*parts[:most], f"and {len(parts) - most} more"]
    return ", ".join(parts)


def shown(value: Any) -> str:
    """Returns a value of a hyperparameter for people: `3.1e-4`, `64`, `adam`, `yes`."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    return number(value) if isinstance(value, float) else clean(value)


def score_text(value: float | None) -> str:
    """Returns a score with four digits, as trials differ in the third; `–` for none."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return number(value)
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """Returns a duration for people: `4.2 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def roughly(seconds: float) -> str:
    """Returns an estimate for people: `40 s`, `8 min`, `2 h 10 min`."""
    if seconds < 60:
        return f"{max(10 * math.ceil(seconds / 10), 10)} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    if seconds < 24 * 3600:
        minutes = 10 * round(seconds / 600)
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return duration(seconds)


def _columns(trials: Iterable[Trial]) -> dict[tuple[str, str], str]:
    """What every column is of: `("hp", name)` or `("metric", name)` to its name."""
    trials = list(trials)
    asked = [("hp", name) for trial in trials for name in trial.values]
    asked += [
        ("metric", name) for t in trials if t.outcome for name in t.outcome.metrics
    ]
    taken, found = set(COLUMNS), {}
    for kind, name in dict.fromkeys(asked):
        column = f"{kind}/{name}" if name in taken else name
        taken.add(column)
        found[kind, name] = column
    return found


def _fixed(trial: Trial) -> dict[str, Any]:
    """The columns that every search has; what only an outcome has is `None` before."""
    outcome = trial.outcome
    row = {n: getattr(trial, n, None) for n in COLUMNS}
    row |= {n: getattr(outcome, n, None) for n in _OF_OUTCOME}
    row |= {"epochs_planned": trial.epochs, "epochs": outcome.epochs if outcome else 0}
    row["score_std"] = spread(outcome.fold_scores) if outcome else None
    notes = "; ".join(outcome.notes) if outcome else ""
    return row | {"reason": outcome.reason if outcome else "", "notes": notes}


def _running(epochs: Sequence[EpochResult], objective: Objective) -> dict[str, Any]:
    """What is known of a trial that has not ended, from its first fold on."""
    scores = [epoch.logs.get(objective.name) for epoch in epochs]
    best = objective.best(scores)
    return {
        "score": best,
        "best_epoch": None if best is None else epochs[scores.index(best)].epoch,
        "epochs": len(epochs),
        "seconds": sum(epoch.seconds for epoch in epochs),
    }


def _nullable(values: Iterable[Any]) -> str | None:
    """The pandas type that keeps whole numbers and booleans where some are missing."""
    values = list(values)
    kinds = {type(value) for value in values if value is not None}
    if None not in values:
        return None
    return {frozenset({int}): "Int64", frozenset({bool}): "boolean"}.get(
        frozenset(kinds)
    )
