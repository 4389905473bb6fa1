"""`keras-babysit search`. Nothing here imports Keras or a framework."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keras_babysit.cli import loading
from keras_babysit.errors import installing

if TYPE_CHECKING:
    from keras_babysit.search.results.status import Status
    from keras_babysit.search.trials import Trial

#: Without a terminal, lines are not cut to one's width.
_WIDTH = 160
_STATES = {
    "running": "green",
    "finished": "bold green",
    "interrupted": "yellow",
    "aborted": "bold red",
}


@click.group()
def search() -> None:
    """Look at hyperparameter searches."""


@search.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of text.")
def status(directory: Path, as_json: bool) -> None:
    """Show how the search in DIR is getting on, or how it ended.

    DIR is the `directory/project_name` of the search. Only its files are read, so it
    may run anywhere that can write there; nothing is changed.

    Exits with 0, however the search is; with 2 if there is none in DIR.
    """
    try:
        from keras_babysit.search.results.status import read_status
    except ImportError as error:
        raise loading.Failure(
            f"{error}. Searches need {installing('search')}."
        ) from None
    try:
        found = read_status(directory)
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="DIR") from None
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    console.print(_table(found))


def _table(found: Status) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, text in _lines(found):
        table.add_row(name, text)
    return table


def _lines(found: Status) -> Iterator[tuple[str, Text]]:
    """What is shown: a word and what it says."""
    from keras_babysit.document.words import clean, count
    from keras_babysit.search.results.table import counts, duration, said, score_text

    state = Text(found.state, style=_STATES[found.state])
    if found.state == "interrupted":
        state.append("; starting its program again goes on with it", style="not bold")
    if found.aborted:
        state.append(f": {clean(found.aborted)}", style="not bold")
    yield "search", Text.assemble(clean(found.directory), ": ", state)
    if found.stage is not None:
        stages = len(found.plan)
        trials, epochs = found.plan[min(found.stage, stages - 1)]
        of = f"{found.stage + 1} of {stages}: " if stages > 1 else ""
        method = f", {clean(found.method)}" if found.method else ""
        what = f"{of}{count(trials, 'trial')} of {count(epochs, 'epoch')}{method}"
        yield "stage", Text(what)
    ended = len(found.trials) - len(found.open)
    words = {} if found.state == "running" else {"running": "open"}
    found_counts = counts(found.trials).items()
    each = ", ".join(f"{n} {words.get(status, status)}" for status, n in found_counts)
    yield "trials", Text(f"{ended} of {found.planned}" + (f": {each}" if each else ""))
    best = found.best
    if best is not None:
        score = f"{clean(found.objective.name)} {score_text(best.score)}"
        times = len(best.repeats.scores) if best.repeats else 0
        mean = f", mean of {count(times, 'repeat')}" if times else ""
        values = said(found.trial(best.trial).values)
        where = f"{mean}, trial {best.trial}: {values}"
        yield "best so far", Text.assemble((score, "bold"), where)
    if found.seconds_left is not None:
        yield "time left", Text(f"about {duration(found.seconds_left)}")
    for trial in found.open:
        yield "running" if found.state == "running" else "open", _running(found, trial)
    for reason in found.reasons:
        numbers = ", ".join(map(str, reason.trials))
        word = "trial" if len(reason.trials) == 1 else "trials"
        yield reason.status, Text(f"{word} {numbers}: {clean(reason.text)}")


def _running(found: Status, trial: Trial) -> Text:
    """A trial that has begun and not ended."""
    from keras_babysit.search.results.table import said, score_text

    epochs = found.epochs.get(trial.number, ())
    best = found.objective.best(e.logs.get(found.objective.name) for e in epochs)
    parts = [f"trial {trial.number}: {len(epochs)}/{trial.epochs * found.folds} epochs"]
    parts += [score_text(best)] if best is not None else []
    parts += [said(trial.values)] if trial.values else []
    parts += [f"attempt {trial.attempts}"] if trial.attempts > 1 else []
    return Text(", ".join(parts))
