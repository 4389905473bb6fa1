"""The range test itself: a model and data in, a `LearningRateRange` out."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import borrowed
from keras_babysit.borrowing.optimizers import (
    fresh_optimizers,
    is_scheduled,
    rate_of,
)
from keras_babysit.document.progress_line import Progress, shown
from keras_babysit.errors import number, whole, whole_or_none
from keras_babysit.inspection.compiled import has_own_step
from keras_babysit.inspection.rows import leaves, rows_of
from keras_babysit.inspection.sample import are_arrays, as_arrays, ready, sample_of
from keras_babysit.lr_range.curve import MIN_STEPS, judged
from keras_babysit.lr_range.result import LearningRateRange
from keras_babysit.lr_range.sweep import Sweep, run

#: Keras's own.
_BATCH = 32
#: A rate is held for so many samples, and so many updates, at most.
_HELD_SAMPLES, _MOST_HELD = 128, 16
#: Values that the rows of all batches may have.
_MOST_VALUES = 2**25
#: Samples that are looked at to check that model and data fit.
_LOOKED_AT = 32


def find_learning_rate(
    model: keras.Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None = None,
    min_rate: float = 1e-7,
    max_rate: float = 10.0,
    steps: int = 150,
    progress: Progress | None = None,
    verbose: int | str = "auto",
) -> LearningRateRange:
    """Finds a learning rate: trains a few batches while the rate rises.

    The rate rises exponentially with each update. Training stops when the loss
    diverges: when it is four times its best, and most batches are worse than any at the
    lowest rates. If the losses of small batches differ much, each rate is held for
    several updates, and their mean counts. The optimizer is a new one with the settings
    of the model's, except for the rate. Data that are too short are repeated.

    There are two common choices: the rate at which the loss fell fastest, which can be
    too high, and a tenth of the rate at which it was smallest, which can be too low.
    The suggestion is half-way between them on a logarithmic scale.

    Afterwards the model, its optimizer and all random states are as they were, bit for
    bit. A generator has advanced, and a dataset that shuffles may shuffle differently
    the next time, as after any other pass. With one batch of all samples there is no
    noise, and divergence shows late: the directions that grow have shrunk to almost
    nothing before.

    Args:
        model: a compiled model.
        x: what `fit` takes: arrays, structures of arrays, `tf.data.Dataset`,
            `keras.utils.PyDataset`, a generator.
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays.
        batch_size: samples a batch, if `x` is arrays; 32 by default. Use the batch size
            of your training run: the best rate depends on it.
        min_rate: the first rate.
        max_rate: the last rate.
        steps: number of rates, one for each update unless the losses are noisy.
        progress: function of a share from 0 to 1 and of what is being done.
        verbose: 0 shows nothing; 1 a line of progress; `"auto"` that on a terminal.

    Returns:
        A `LearningRateRange`: `print` it for a summary, or `plot` it.

    Raises:
        TypeError: if it is not a Keras model.
        ValueError: if the model is not compiled, has an optimizer without a learning
            rate, or does not fit the data; for too little data, or bad arguments.

    Example:
    ```python
    found = keras_babysit.find_learning_rate(model, x_train, y_train)
    if found.suggestion is not None:  # The loss did fall.
        model.optimizer.learning_rate = found.suggestion
    ```
    """
    _check_arguments(min_rate, max_rate, steps, batch_size)
    x = _checked_data(model, x, y, sample_weight, batch_size)
    used, scheduled = rate_of(model.optimizer), is_scheduled(model.optimizer)
    rates = np.geomspace(min_rate, max_rate, steps)
    with (
        shown("Learning rate", progress, verbose) as tell,
        borrowed(model),
        fresh_optimizers(model, min_rate) as optimizer,
    ):
        if are_arrays(x):
            rows = len(next(a for _, a in leaves("", as_arrays(x))))
            batch_size = min(batch_size or _BATCH, rows)
        held = int(np.clip(_HELD_SAMPLES // (batch_size or _BATCH), 1, _MOST_HELD))
        sweep = Sweep(optimizer, rates, tell, held)
        data: tuple = (x, y, sample_weight)
        if are_arrays(x):
            ordered = _in_order(data, sweep, batch_size or rows)
            sweep.in_order = ordered is not None
            data = ordered or data
        elif isinstance(x, types.GeneratorType):
            sweep.most = sweep.batches  # It may not have more.
        run(model, data, batch_size, sweep)
    return judged(sweep.finished(), rates, sweep.diverged, used, scheduled)


def _check_arguments(low: Any, high: Any, steps: Any, batch_size: Any) -> None:
    for name, value in (("min_rate", low), ("max_rate", high)):
        number(name, value, "a positive number", lambda v: 0 < v < math.inf)
    if not low < high:
        raise ValueError(
            "`min_rate` must be less than `max_rate`. Received: "
            f"min_rate={low!r}, max_rate={high!r}"
        )
    whole("steps", steps, MIN_STEPS)
    whole_or_none("batch_size", batch_size)


def _checked_data(
    model: Any, x: Any, y: Any, sample_weight: Any, batch_size: int | None
) -> Any:
    """Makes sure that a model can be trained on the data, and returns `x`.

    Of a generator the first batch is looked at, and put back.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: {model!r}")
    if isinstance(x, types.GeneratorType):
        first = next(x, None)
        if first is None:
            raise ValueError("The generator yields no data to train on.")
        sample = sample_of(_again(first, iter(())), n=_LOOKED_AT)
        x = _again(first, x)
    else:
        sample = sample_of(x, y, sample_weight, n=_LOOKED_AT)
    if not are_arrays(x) and batch_size is not None:
        raise ValueError(
            "`batch_size` must be None if `x` is a dataset or a generator, which "
            f"yields batches. Received: batch_size={batch_size!r}"
        )
    # Models with a `train_step` of their own need not be callable.
    if not (model.compiled and model.built and has_own_step(model)):
        ready(model, sample)
    if not model.trainable_weights:
        raise ValueError(
            "The model must have weights that can be trained. Received: "
            f"{model.name!r}, which has none"
        )
    return x


def _again(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _in_order(data: tuple[Any, Any, Any], sweep: Sweep, size: int) -> Any:
    """Returns arrays with the rows of all batches, drawn as by shuffled epochs.

    Keras takes its time to begin an epoch, and each of them can end with a smaller
    batch, whose loss is noisier.

    Returns:
        The same of the rows; `None` if they are many, or cannot be picked.
    """
    parts = [as_arrays(part) for part in data]
    arrays = [a for part in parts for a in leaves("", part)]
    found = [rows_of(name, array) for name, array in arrays]
    rows = [access for access in found if access is not None]
    if len(rows) < len(found):
        return None
    values = size * sum(access.values for access in rows)
    if sweep.batches * values > _MOST_VALUES:
        return None
    # What only noise asks for is not worth as much memory.
    sweep.most = max(sweep.batches, min(sweep.most, _MOST_VALUES // 8 // values))
    needed, length = sweep.most * size, rows[0].shape[0]
    random = np.random.default_rng(0)
    epochs = [random.permutation(length) for _ in range(math.ceil(needed / length))]
    at = np.concatenate(epochs)[:needed]
    taken = iter([access.take(at) for access in rows])
    return tuple(
        None if part is None else keras.tree.map_structure(lambda _: next(taken), part)
        for part in parts
    )
