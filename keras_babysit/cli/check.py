"""`keras-babysit check`. Keras is imported when it is called, not before."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import click

from keras_babysit.cli import loading


@click.command()
@click.argument("model")
@click.option(
    "--data",
    required=True,
    metavar="MODULE:NAME",
    help="The data, or a function that returns them.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
@click.option(
    "--junit",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the results to this file too, as JUnit's XML.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="NAME",
    help="Leave a check or a rule out; may be given more than once.",
)
@click.option(
    "--seconds",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds for each of the two slow checks.",
)
@click.option(
    "--try-fixes",
    is_flag=True,
    help="Try the advice of what is found out, in up to a minute more.",
)
@click.pass_context
def check(
    context: click.Context,
    model: str,
    data: str,
    as_json: bool,
    junit: Path | None,
    ignore: tuple[str],
    seconds: float,
    try_fixes: bool,
) -> None:
    """Check a compiled MODEL on some of its data before training.

    MODEL is `package.module:make_model`, a function without arguments that returns a
    compiled Keras model, or a compiled model, or a .keras file. The data are
    `package.module:make_data`, a function that returns (x, y), (x, y, sample_weight), a
    dataset or a generator, or one of these. Modules are searched for in the current
    directory first.

    Exits with 0 if nothing wrong was found; with 1 if a check failed, is worrying or
    was not finished; with 2 if the checks could not run.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Whatever the user's code prints would not be JSON.
    with (
        contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    ):
        # Nothing that takes long before all that was named is known to be there.
        for target in (data, model):
            loading.find(target)
        with loading.framework():
            from keras_babysit.checks.preflight import preflight
        arrays, network = loading.data_of(data), loading.model_of(model)
        with loading.failures():
            found = preflight(
                network,
                *arrays,
                ignore=ignore,
                seconds=seconds,
                try_fixes=try_fixes,
                verbose=0 if as_json else 1,
            )
    if as_json:
        click.echo(found.to_json())
    if junit is not None:
        from keras_babysit.cli import junit as xml

        loading.write(junit, xml.document(found), "--junit")
    context.exit(0 if found.ok else 1)
