"""Trains one model under several optimizers, from the same start on the same data."""

from __future__ import annotations

import contextlib
import copy
import inspect
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_babysit.borrowing import names_kept, random_numbers_kept
from keras_babysit.callbacks.babysitter import Babysitter
from keras_babysit.comparison.choices import Maker, chosen
from keras_babysit.comparison.clock import Clock
from keras_babysit.comparison.result import (
    OptimizerComparison,
    shown_metric,
    usual_target,
)
from keras_babysit.comparison.run import OptimizerRun
from keras_babysit.comparison.start import Start, start_of
from keras_babysit.document.words import clean
from keras_babysit.errors import first_line, number, whole, wrong


def compare_optimizers(
    make_model: Callable[[], keras.Model],
    x: Any,
    y: Any = None,
    *,
    optimizers: Any = None,
    epochs: int = 10,
    batch_size: int | None = None,
    validation_data: Any = None,
    log_dir: str | os.PathLike | None = None,
    seed: int = 0,
    target_loss: float | None = None,
    callbacks: Any = (),
    overhead: float = 0.02,
    every: int | None = None,
    verbose: str | int = "auto",
    **fit: Any,
) -> OptimizerComparison:
    """Trains the same model from the same weights under each optimizer.

    Each optimizer gets a new model from `make_model` with the values of the first one
    (weights, averages, dropout seeds), and the same batches in the same order. A
    `Babysitter` watches each. An optimizer that diverges is stopped after that epoch,
    and one that fails is reported in its run, and the others continue.

    Time is the wall-clock time of an epoch, including validation, without the time for
    observing and for building the observed step. The first epoch, in which Keras
    compiles its own functions, counts as the median of the others; if it is the only
    one, as the median time of a plain step times the number of steps, validation left
    out. On a busy machine times differ from run to run.

    See CS231n, "Neural Networks Part 3: Learning and Evaluation", section "Parameter
    updates", and `docs/updates.md`.

    Args:
        make_model: a function without arguments that returns a new model each time,
            compiled with its loss and metrics; its optimizer is replaced.
        x: inputs, anything that `fit` takes and that can be read again: arrays, a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, but not a generator. A dataset
            that shuffles shuffles again for each optimizer.
        y: targets, if `x` is arrays.
        optimizers: a dictionary of names to optimizers, or a list of optimizers: each
            an instance (a copy of it is used), a string, a configuration, or a
            function that returns one of these. By default plain SGD, momentum,
            Nesterov momentum, Adagrad, RMSprop and Adam, with a rate of 0.01, or 0.001
            for the last two.
        epochs: number of epochs for each.
        batch_size: as in `fit`.
        validation_data: as in `fit`, likewise no generator.
        log_dir: directory of the TensorBoard files, a run in it for each optimizer;
            none are kept by default.
        seed: of the initial weights and the order of the data. The global random states
            are unchanged afterwards.
        target_loss: training loss to which the table counts epochs; by default one
            that about half of the optimizers reach.
        callbacks: a list of Keras callbacks, copied for each training, or a function
            that returns new ones.
        overhead: share of the time that observing may add, see `Babysitter`.
        every: observe one step in this many instead.
        verbose: 0 for no output, 1 (as `"auto"`) for a line for each optimizer, 2 for
            Keras's own too.
        **fit: further arguments of `fit`.

    Returns:
        An `OptimizerComparison`.

    Raises:
        TypeError: if `make_model` is not a function, or returns no Keras model.
        ValueError: for models that are not compiled, unknown optimizers, and arguments
            out of range. If every training fails, what the first one raised.

    Example:
    ```python
    comparison = keras_babysit.compare_optimizers(
        make_model, x, y, optimizers=["sgd", "adam"], epochs=5, log_dir="logs/compared"
    )
    print(comparison)
    comparison.plot("compared.png")
    ```
    """
    _check(make_model, x, validation_data, epochs, seed, verbose)
    if target_loss is not None:
        target_loss = number("target_loss", target_loss, "a number", lambda loss: True)
    fit = {
        **fit,
        "x": x,
        "y": y,
        "epochs": epochs,
        "batch_size": batch_size,
        "validation_data": validation_data,
        "verbose": 2 if verbose == 2 else 0,
    }
    kept = None if log_dir is None else str(log_dir)
    runs: list[OptimizerRun] = []
    failed: Exception | None = None
    with contextlib.ExitStack() as stack:
        stack.enter_context(random_numbers_kept())
        stack.enter_context(names_kept())
        makers = chosen(optimizers)
        if log_dir is None:
            log_dir = stack.enter_context(tempfile.TemporaryDirectory())
        # Whatever is wrong with these is said before anything trains.
        Babysitter(log_dir, overhead=overhead, every=every)
        paths = _paths(log_dir, list(makers))
        start = start_of(make_model, x, y, seed)
        for name, maker in makers.items():
            babysitter = Babysitter(
                paths[name], overhead=overhead, every=every, verbose=0
            )
            with names_kept():
                own = _callbacks(callbacks)
                run, error = _trained(name, maker, start, babysitter, own, fit)
            failed = failed or error
            runs.append(run)
            if verbose:
                print(clean(run.line(shown_metric([run]))), flush=True)
    if failed is not None and all(run.error for run in runs):
        raise failed
    return OptimizerComparison(
        runs=tuple(runs),
        metric=shown_metric(runs),
        target_loss=usual_target(runs) if target_loss is None else target_loss,
        log_dir=kept,
    )


def _trained(
    name: str,
    maker: Maker,
    start: Start,
    babysitter: Babysitter,
    callbacks: list[keras.callbacks.Callback],
    fit: dict[str, Any],
) -> tuple[OptimizerRun, Exception | None]:
    """Trains a model, and returns what came out and what went wrong."""
    model = start.model()
    with _scope_of(model):
        optimizer = maker()
        told = _described(optimizer)
        _replace_optimizer(model, optimizer)
    keras.utils.set_random_seed(start.seed)
    clock = Clock(babysitter)
    failed = None
    try:
        model.fit(**fit, callbacks=[*callbacks, clock, babysitter])
    except Exception as e:
        failed = e
        babysitter.on_train_end()  # Keras doesn't call it then; it closes the files.
    run = OptimizerRun(
        name=name,
        optimizer=told,
        history=clock.logs,
        epoch_seconds=clock.epoch_seconds(),
        report=babysitter.report,
        recorded=babysitter.history,
        error=f"{type(failed).__name__}: {first_line(failed)}" if failed else "",
    )
    return run, failed


def _scope_of(model: keras.Model) -> contextlib.AbstractContextManager:
    """Where its optimizer has to be made: TensorFlow may distribute the model."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def _replace_optimizer(
    model: keras.Model, optimizer: keras.optimizers.Optimizer
) -> None:
    scaling = keras.optimizers.LossScaleOptimizer
    if isinstance(model.optimizer, scaling) and not isinstance(optimizer, scaling):
        optimizer = scaling(optimizer)  # As `compile` does for mixed_float16.
    model.optimizer = optimizer
    model.train_function = None


def _described(optimizer: keras.optimizers.Optimizer) -> str:
    """`"SGD(learning_rate=0.01, momentum=0.9)"`: what differs from the class's own."""
    kind = type(optimizer)
    usual = {n: p.default for n, p in inspect.signature(kind).parameters.items()}
    told = [
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value!r}"
        for key, value in optimizer.get_config().items()
        if key == "learning_rate" or (key in usual and usual[key] != value)
        if key != "name"
    ]
    return f"{kind.__name__}({', '.join(told)})"


def _callbacks(given: Any) -> list[keras.callbacks.Callback]:
    """New callbacks for one training."""
    found = given() if callable(given) else copy.deepcopy(given)
    if isinstance(found, keras.callbacks.Callback):
        found = [found]
    found = list(found or ())
    wrong = [c for c in found if not isinstance(c, keras.callbacks.Callback)]
    if wrong:
        raise ValueError(
            "`callbacks` must be a list of Keras callbacks, or a function that returns "
            f"one. Received: {wrong[0]!r} among them"
        )
    return found


def _paths(folder: str | os.PathLike, names: Sequence[str]) -> dict[str, str]:
    """A directory for each name, that a file system can have."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^\w.=,+() -]", "_", name).strip(" .") or "optimizer"
        path, n = os.path.join(folder, plain), 1
        while path in found.values():
            n += 1
            path = os.path.join(folder, f"{plain}_{n}")
        found[name] = path
    return found


def _check(
    make_model: Any,
    x: Any,
    validation_data: Any,
    epochs: Any,
    seed: Any,
    verbose: Any,
) -> None:
    if isinstance(make_model, keras.Model) or not callable(make_model):
        raise TypeError(
            "`make_model` must be a function without arguments that returns a new "
            f"compiled model. Received: make_model={make_model!r}"
        )
    for name, value in (("x", x), ("validation_data", validation_data)):
        if isinstance(value, Iterator):
            raise ValueError(
                f"`{name}` must be data that can be read again for each optimizer: "
                "arrays, a dataset or a PyDataset. Received: "
                f"{name} of type {type(value).__name__}, which is used up by the first"
            )
    whole("epochs", epochs)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"`seed` must be an integer. Received: seed={seed!r}")
    if verbose not in ("auto", 0, 1, 2):
        raise wrong("verbose", '"auto", 0, 1 or 2', verbose)
