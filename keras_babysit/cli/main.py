"""The `keras-babysit` command. Nothing here imports Keras or a framework."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markdown import Markdown

from keras_babysit import rules as all_rules
from keras_babysit.cli import check as check_command
from keras_babysit.cli import compare, loading, search
from keras_babysit.document.blocks import Column, Row, Table
from keras_babysit.document.console import write
from keras_babysit.document.shown import WIDTH
from keras_babysit.report import Report
from keras_babysit.report.report import html as page_of
from keras_babysit.rules import reference


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keras_babysit")
def main() -> None:
    """Check models before training, and report what was found in training runs."""


main.add_command(check_command.check)
main.add_command(compare.compare)
main.add_command(search.search)


@main.command()
@click.option("--markdown", is_flag=True, help="Write the documentation of all rules.")
def rules(markdown: bool) -> None:
    """List all rules."""
    known = list(all_rules.available().values())
    if markdown:
        click.echo(reference.markdown(known), nl=False)
        return
    columns = (
        Column("rule"),
        Column("severity"),
        Column("when", rank=1),
        Column("what it says", wide=True),
    )
    rows = tuple(
        Row((rule.name, rule.severity, reference.when(rule), reference.summary(rule)))
        for rule in known
    )
    write(_console(), [Table(columns, rows)])


@main.command()
@click.argument("rule")
def explain(rule: str) -> None:
    """Say what RULE sees, why it matters, and what to do about it."""
    known = all_rules.available()
    name = rule.strip().lower().replace("_", "-")
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise click.BadParameter(
            f"there is no rule {rule!r}.{hint} `keras-babysit rules` lists them all.",
            param_hint="RULE",
        )
    found = known[name]
    console = _console()
    console.print(f"[bold]{found.name}[/bold]\n")
    width = min(console.width, WIDTH)
    console.print(Markdown(reference.entry(found, links=False)), width=width)


@main.command()
@click.argument(
    "log_dir", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of text.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a web page to this file instead.",
)
@click.option("--check", is_flag=True, help="Exit with 1 if there are problems.")
@click.pass_context
def report(
    context: click.Context,
    log_dir: Path,
    as_json: bool,
    html: Path | None,
    check: bool,
) -> None:
    """Show what was found in the run in LOG_DIR, finished or still training.

    LOG_DIR is the directory of a Babysitter, or a directory that contains several of
    them. JSON is an object for one run, a list of objects for several.

    Exits with 0 for any result. With --check it exits with 1 if a run has open errors
    or warnings or cannot be read completely. It exits with 2 if there is nothing to
    read.
    """
    from keras_babysit.event_files import (
        reader,  # TensorBoard's part takes a while to import.
    )

    found: dict[str, Report] = {}
    unread = False
    for run in reader.find_runs(log_dir):
        try:
            found[str(run)] = reader.read_report(run, pictures=html is not None)
        except ValueError as error:
            unread = True
            click.echo(f"{run}: {error}", err=True)
    if unread and not found:
        context.exit(2)
    if not found:
        raise click.BadParameter(
            f"there are no findings of a Babysitter in {str(log_dir)!r} or below.",
            param_hint="LOG_DIR",
        )
    if html is not None:
        loading.write(html, page_of(_named(found, log_dir)), "--html")
    if as_json:
        click.echo(_json(found, single=str(log_dir) in found))
    elif html is None:
        _print_reports(found)
    if check and (unread or any(r.problems or r.damaged for r in found.values())):
        context.exit(1)


def _named(found: dict[str, Report], log_dir: Path) -> list[tuple[str, Report]]:
    """The reports with short names: where the runs lie below the directory."""
    names = [Path(run).relative_to(log_dir).as_posix() for run in found]
    return [
        (log_dir.name if name == "." else name, one)
        for name, one in zip(names, found.values(), strict=True)
    ]


def _json(found: dict[str, Report], single: bool) -> str:
    values: list[dict[str, Any]]
    values = [{"run": run, **one.to_dict()} for run, one in found.items()]
    wanted = values[0] if single and len(values) == 1 else values
    return json.dumps(wanted, indent=2, allow_nan=False)


def _print_reports(found: dict[str, Report]) -> None:
    console = _console()
    for i, (run, one) in enumerate(found.items()):
        if len(found) > 1:
            console.print("\n" * (i > 0) + run, style="bold", markup=False)
        write(console, one.content(), wrap=console.is_terminal)


def _console() -> Console:
    console = Console(highlight=False)
    # Without a terminal, the width would be 80.
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)
