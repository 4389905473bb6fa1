"""`keras-babysit compare`. Keras is imported when it is called, not before."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from keras_babysit.cli import loading


@click.command()
@click.argument("model")
@click.option(
    "--data",
    required=True,
    metavar="MODULE:NAME",
    help="The data, or a function that returns them.",
)
@click.option(
    "--optimizer",
    "-o",
    "optimizers",
    multiple=True,
    metavar="NAME[=RATE]",
    help="One of Keras's, such as adam or sgd=0.1; may be given more than once. "
    "Without any, the usual six.",
)
@click.option("--epochs", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--batch-size", type=click.IntRange(min=1), help="As in fit.")
@click.option(
    "--validation-split",
    default=0.0,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of arrays that is kept for validation, as in fit.",
)
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of TensorBoard files; none are kept without.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save a picture to this file.",
)
@click.option("--seed", default=0, show_default=True)
def compare(
    model: str,
    data: str,
    optimizers: tuple[str, ...],
    epochs: int,
    batch_size: int | None,
    validation_split: float,
    log_dir: Path | None,
    plot: Path | None,
    seed: int,
) -> None:
    """Train a MODEL from the same weights under several optimizers.

    MODEL is `package.module:make_model`, a function without arguments that returns a
    new compiled Keras model each time; its optimizer is replaced. The data are
    `package.module:make_data`, a function that returns (x, y), (x, y, sample_weight)
    or a dataset, or these themselves. Modules are searched for in the current directory
    first.

    Exits with 0 for any result; with 2 if nothing could be compared.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    chosen = {one: _optimizer(one) for one in optimizers} or None
    loading.find(data)
    make_model = loading.find(model)
    with loading.framework():
        from keras_babysit.comparison import compare_optimizers
    x, y, weight = (*loading.data_of(data), None, None)[:3]
    with loading.failures():
        found = compare_optimizers(
            make_model,
            x,
            y,
            sample_weight=weight,
            optimizers=chosen,
            epochs=epochs,
            batch_size=batch_size,
            validation_split=validation_split,
            log_dir=log_dir,
            seed=seed,
        )
        Console(highlight=False).print(found)
        if plot is not None:
            found.plot(plot)


def _optimizer(given: str) -> Any:
    """What `NAME` or `NAME=RATE` means to Keras."""
    name, given_rate, rate = given.partition("=")
    if not given_rate:
        return name
    try:
        value = float(rate)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise click.BadParameter(
            f"the rate must be a positive number. Received: {given!r}",
            param_hint="--optimizer",
        )
    return {"class_name": name, "config": {"learning_rate": value}}
