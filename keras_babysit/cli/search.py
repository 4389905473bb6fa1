"""`keras-babysit search`. Nothing here imports Keras or a framework."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from keras_babysit.cli import loading
from keras_babysit.document.console import write
from keras_babysit.errors import installing

#: Without a terminal, lines are not cut to one's width.
_WIDTH = 160


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
        click.echo(found.to_json())
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    write(console, found.content())
