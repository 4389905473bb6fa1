"""The range test: which learning rates a model learns with.

Smith, "Cyclical Learning Rates for Training Neural Networks" (2015, WACV 2017),
section 3.3, with the exponential sweep and the smoothed loss of Howard and Gugger,
"fastai: A Layered API for Deep Learning" (2020): train for a few batches while the
rate rises from far too low to far too high, and look at the loss.
"""

from __future__ import annotations

import math
import os
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import borrowed
from keras_babysit.checks.display import shown
from keras_babysit.checks.feeding import are_arrays, as_arrays, ready, sample_of
from keras_babysit.checks.fitting.training import (
    fresh_optimizers,
    is_scheduled,
    rate_of,
)
from keras_babysit.checks.interface import Progress
from keras_babysit.inspection.compiled import has_own_step
from keras_babysit.inspection.rows import leaves, rows_of
from keras_babysit.rules.wording import number

#: Keras's own.
_BATCH = 32
#: Values that the rows of all batches may have.
_MOST_VALUES = 2**25
#: Fewer batches make no curve.
MIN_STEPS = 10
#: Weight of the past in the smoothed loss.
SMOOTHING = 0.9
#: The sweep ends where the smoothed loss is so many times its best.
DIVERGED = 4.0
#: Share of the steps, at rates too low to do anything, that show the loss's noise.
_QUIET = 0.15
#: A fall counts if it is so many of its standard errors, and this share of the loss.
_SURE, _VISIBLE = 4.5, 0.01
#: Samples that are looked at to check that model and data fit.
_LOOKED_AT = 32
#: Half-width in decades of the window over which a slope is fitted.
_REACH = 0.25
#: Shares of the whole fall after which the range begins and ends.
_BEGUN, _DONE = 0.1, 0.95


@dataclass(frozen=True, repr=False)
class LearningRateRange:
    """What the range test found.

    Attributes:
        rates: learning rate of each step, float array `(steps,)`, rising.
        losses: loss of each step's batch, before its update, float array `(steps,)`.
        smoothed: bias-corrected exponential moving average of the losses, float
            array `(steps,)`, which lags behind them.
        suggestion: the rate to train with: half-way, on a logarithmic scale, between
            the next two. `None` if the loss did not fall.
        steepest: the rate at which the loss fell fastest.
        tenth: a tenth of the rate at which the loss was smallest.
        low: the rate from which on the loss fell, for schedules that begin low.
        high: the rate up to which it fell, for the peak of a cycle.
        diverged_at: the rate at which the loss began to rise for good; `None` if it
            never did.
        used: the model's own learning rate.
        notes: what else a reader should know, a sentence each.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float | None = None
    steepest: float | None = None
    tenth: float | None = None
    low: float | None = None
    high: float | None = None
    diverged_at: float | None = None
    used: float | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The result in words."""
        tested = f"{len(self.rates)} steps from {_number(self.rates[0])} to "
        lines = [f"learning rate range: {tested}{_number(self.rates[-1])}."]
        if self.suggestion is None:
            lines.append("No learning rate can be suggested.")
        else:
            lines.append(
                f"Suggested: {_number(self.suggestion)} (steepest fall at "
                f"{_number(self.steepest)}, a tenth of the lowest loss's rate is "
                f"{_number(self.tenth)})."
            )
            lines.append(
                f"The loss falls from {_number(self.low)} to {_number(self.high)}: "
                "bounds for a cyclical or one-cycle schedule."
            )
        if self.diverged_at is not None:
            lines.append(f"It diverges from about {_number(self.diverged_at)} on.")
        if self.used is not None:
            lines.append(f"The model is compiled with {_number(self.used)}.")
        return " ".join(lines + [f"{note}." for note in self.notes])

    __repr__ = __str__

    def plot(self, path: str | os.PathLike | None = None) -> Any:
        """Draws the losses over the rates, with the suggestion and the range.

        Args:
            path: a file to write the picture to, in the format of its name.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show.

        Raises:
            ImportError: if matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as e:
            raise ImportError(
                "Plots need matplotlib. Install it with "
                "`pip install keras_babysit[plot]`."
            ) from e
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, color="0.75", lw=1, label="loss of a batch")
        axes.plot(self.rates, self.smoothed, color="C0", label="smoothed")
        if self.low is not None and self.high is not None:
            axes.axvspan(self.low, self.high, color="C2", alpha=0.15, label="range")
        if self.suggestion is not None:
            label = f"suggested: {_number(self.suggestion)}"
            axes.axvline(self.suggestion, color="C3", label=label)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.set_ylim(*_shown(self.losses, self.smoothed))
        axes.legend()
        if path is not None:
            figure.savefig(os.fspath(path), dpi=150)
        return figure


def _shown(losses: np.ndarray, smoothed: np.ndarray) -> tuple[float, float]:
    """Limits that keep an explosion from flattening all the rest."""
    finite = losses[np.isfinite(losses)]
    known = smoothed[np.isfinite(smoothed)]
    if not finite.size or not known.size:
        return 0.0, 1.0
    low, top = min(finite.min(), known.min()), max(known[0], finite[0])
    margin = max(top - low, 0.1 * abs(top), 1e-6)
    return float(low - 0.1 * margin), float(top + 0.5 * margin)


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

    The rate rises exponentially with each update, and training ends when the loss
    diverges. The optimizer is the model's, made anew, with all its settings but for
    the rate; data that is short is gone through again. Two rules
    are in use for what to take: the rate at which the loss fell fastest, which can be
    too high, and a tenth of the one at which it was smallest, which can be too low.
    What is suggested is half-way between them, on a logarithmic scale.

    The model, its optimizer and all random numbers are afterwards as they were, bit
    for bit. A generator is read on, and a dataset that shuffles by itself may shuffle
    differently the next time, as after any other reading. Without any noise, in
    batches of all samples, divergence shows late: what grows has shrunk to nothing
    before.

    Args:
        model: a compiled model.
        x: what `fit` takes: arrays, structures of arrays, `tf.data.Dataset`,
            `keras.utils.PyDataset`, a generator.
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays.
        batch_size: samples a batch, if `x` is arrays; 32 by default. Take that of the
            training: the best rate depends on it.
        min_rate: the first rate.
        max_rate: the last rate.
        steps: number of updates.
        progress: function of a share from 0 to 1 and of what is being done.
        verbose: 0 shows nothing; 1 a line of progress; `"auto"` that on a terminal.

    Returns:
        A `LearningRateRange`; `print` says it in words, `plot` draws it.

    Raises:
        TypeError: if it is not a Keras model.
        ValueError: if the model is not compiled, has an optimizer without a learning
            rate, or does not fit the data; for too little data, or bad arguments.

    Example:
    ```python
    found = keras_babysit.find_learning_rate(model, x_train, y_train)
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
        sweep = _Sweep(optimizer, rates, tell)
        data: tuple = (x, y, sample_weight)
        if are_arrays(x):
            rows = len(next(a for _, a in leaves("", as_arrays(x))))
            batch_size = min(batch_size or _BATCH, rows)
            ordered = _in_order(data, sweep.batches, batch_size)
            sweep.in_order = ordered is not None
            data = ordered or data
        _fit(model, data, batch_size, sweep)
    return judged(sweep.finished(), rates, sweep.diverged, used, scheduled)


def _check_arguments(low: Any, high: Any, steps: Any, batch_size: Any) -> None:
    for name, value in (("min_rate", low), ("max_rate", high)):
        real = isinstance(value, int | float | np.number)
        if not real or isinstance(value, bool) or not 0 < value < math.inf:
            raise ValueError(
                f"`{name}` must be a positive number. Received: {name}={value!r}"
            )
    if not low < high:
        raise ValueError(
            "`min_rate` must be less than `max_rate`. Received: "
            f"min_rate={low!r}, max_rate={high!r}"
        )
    if not _is_whole(steps) or steps < MIN_STEPS:
        raise ValueError(
            f"`steps` must be an integer of at least {MIN_STEPS}. "
            f"Received: steps={steps!r}"
        )
    if batch_size is not None and (not _is_whole(batch_size) or batch_size < 1):
        raise ValueError(
            "`batch_size` must be a positive integer or None. "
            f"Received: batch_size={batch_size!r}"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


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


def _in_order(data: tuple[Any, Any, Any], batches: int, size: int) -> Any:
    """Returns arrays with the rows of all batches, drawn as by shuffled epochs.

    Keras takes its time to begin an epoch, and each of them can end with a smaller
    batch, whose loss is noisier.

    Args:
        data: x, y and sample weights, arrays or structures of arrays.
        batches: how many batches are to come.
        size: samples a batch, no more than there are.

    Returns:
        The same of the rows; `None` if they are many, or cannot be picked.
    """
    parts = [as_arrays(part) for part in data]
    arrays = [a for part in parts for a in leaves("", part)]
    found = [rows_of(name, array) for name, array in arrays]
    rows = [access for access in found if access is not None]
    if len(rows) < len(found):
        return None
    needed, length = batches * size, rows[0].shape[0]
    if needed * sum(access.values for access in rows) > _MOST_VALUES:
        return None
    random = np.random.default_rng(0)
    epochs = [random.permutation(length) for _ in range(math.ceil(needed / length))]
    at = np.concatenate(epochs)[:needed]
    taken = iter([access.take(at) for access in rows])
    return tuple(
        None if part is None else keras.tree.map_structure(lambda _: next(taken), part)
        for part in parts
    )


def _fit(model: Any, data: tuple, batch_size: int | None, sweep: _Sweep) -> None:
    x, y, sample_weight = data
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        warnings.filterwarnings("ignore", message="Gradients do not exist")
        warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
        # Not the `fit` of a subclass, which may do more than to train.
        keras.Model.fit(
            model,
            x,
            y,
            sample_weight=sample_weight,
            batch_size=batch_size,
            # A generator does not begin again, but for what Keras has peeked at.
            epochs=1 if isinstance(x, types.GeneratorType) else sweep.batches,
            verbose=0,
            shuffle=not sweep.in_order,
            callbacks=[sweep],
        )


class _Sweep(keras.callbacks.Callback):
    """Sets the rate of each step, notes its loss, and ends it when it diverges."""

    def __init__(self, optimizer: Any, rates: np.ndarray, progress: Progress):
        super().__init__()
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        # An update that is made of several batches is one step.
        self._each = inner.gradient_accumulation_steps or 1
        self.batches = self._each * len(rates)
        self._optimizer, self._rates, self._progress = optimizer, rates, progress
        self._losses: list[float] = []
        self._seen = 0
        self._average, self._best, self._start = 0.0, math.inf, math.nan
        self._problem = ""
        self.diverged = False
        self.in_order = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._seen = len(self._losses)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        # Metrics are means over an epoch; this makes the loss that of one batch.
        self.model.reset_metrics()
        self._optimizer.learning_rate = self._rates[len(self._losses) // self._each]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None:
            self._problem = "reports no `loss`"
            self.model.stop_training = True
            return
        self._losses.append(float(np.mean(loss)))
        self._judge(self._losses[-1])
        done = len(self._losses)
        self._progress(done / self.batches, f"loss {self._losses[-1]:.3g}")
        if self.diverged or done >= self.batches:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if len(self._losses) == self._seen:  # There is no more data.
            self.model.stop_training = True

    def _judge(self, loss: float) -> None:
        done = len(self._losses)
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * loss
        smoothed = self._average / (1 - SMOOTHING**done)
        if done == 1:
            self._start = smoothed
        self._best = min(self._best, smoothed)
        # Where the best is next to nothing, the start is the measure.
        scale = max(abs(self._best), self._start - self._best)
        far = smoothed > self._best + (DIVERGED - 1) * scale
        quiet = done <= _QUIET * self.batches
        self.diverged = not math.isfinite(loss) or (far and not quiet)

    def finished(self) -> np.ndarray:
        """The loss of each update.

        Raises:
            ValueError: if there were too few.
        """
        if self._problem:
            raise ValueError(
                "The model's `train_step` must report a `loss`. Received: "
                f"{self.model.name!r}, whose step {self._problem}"
            )
        whole = len(self._losses) // self._each * self._each
        if self.diverged:  # The last update may be incomplete.
            whole = len(self._losses)
        losses = np.array(self._losses[:whole])
        parts = np.split(losses, np.arange(self._each, len(losses), self._each))
        found = np.array([part.mean() for part in parts if part.size])
        if len(found) < MIN_STEPS and not self.diverged:
            raise ValueError(
                f"There must be data for at least {MIN_STEPS} updates. Received: data "
                f"for {len(found)}"
            )
        return found


def averaged(losses: np.ndarray, weight: float = SMOOTHING) -> np.ndarray:
    """Returns the bias-corrected exponential moving average.

    Args:
        losses: float array `(steps,)`.
        weight: of the past, between 0 and 1.

    Returns:
        Float array `(steps,)`; NaN from the first that is not finite.
    """
    found = np.empty(len(losses))
    average = 0.0
    for i, loss in enumerate(losses):
        average = weight * average + (1 - weight) * (
            loss if np.isfinite(loss) else np.nan
        )
        found[i] = average / (1 - weight ** (i + 1))
    return found


def judged(
    losses: np.ndarray,
    planned: np.ndarray,
    diverged: bool,
    used: float | None = None,
    scheduled: bool = False,
) -> LearningRateRange:
    """Reads the suggestions off a curve.

    The level of the loss at a rate is the mean of those within a quarter of a decade,
    its slope that of a straight line fitted to them: unlike a moving average of what
    was before, they do not lag behind.

    Args:
        losses: loss of each step, float array `(steps,)`.
        planned: the rates, float array of at least as many, rising exponentially.
        diverged: whether the loss diverged at the end.
        used: the model's own learning rate.
        scheduled: whether that is of a schedule.
    """
    rates = planned[: len(losses)]
    common: dict[str, Any] = {
        "rates": rates,
        "losses": losses,
        "smoothed": averaged(losses),
        "used": used,
    }
    end = _onset(losses) if diverged else len(losses)
    if diverged:
        common["diverged_at"] = float(rates[min(end, len(rates) - 1)])
    notes = []
    if scheduled:
        notes.append("That is the highest rate of its schedule")
    if not diverged and len(losses) < len(planned):
        notes.append(f"The data ended after {len(losses)} of {len(planned)} steps")
    curve = _Curve(rates[:end], losses[:end], planned)
    if not curve.falls:
        notes.append(_why_none(curve, diverged, planned))
        return LearningRateRange(**common, notes=tuple(notes))
    if not diverged and curve.lowest >= len(losses) - 1 - curve.reach:
        notes.append(
            "The loss was still falling at the end: a larger `max_rate` may show more"
        )
    if curve.steepest <= curve.reach:
        notes.append(
            "The loss fell from the very first step on: a smaller `min_rate` may show "
            "more"
        )
    steepest = float(rates[curve.steepest])
    tenth = float(rates[curve.lowest]) / 10
    return LearningRateRange(
        **common,
        suggestion=math.sqrt(steepest * tenth),
        steepest=steepest,
        tenth=tenth,
        low=float(rates[curve.begins]),
        high=float(rates[curve.ends]),
        notes=tuple(notes),
    )


def _onset(losses: np.ndarray) -> int:
    """Index of the first step of the rise that the losses end with."""
    smooth = np.where(np.isfinite(losses), losses, np.inf)
    padded = np.concatenate([smooth[:1], smooth, smooth[-1:]])
    middle = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    i = len(middle) - 1
    while i > 0 and middle[i - 1] <= middle[i]:
        i -= 1
    return i


class _Curve:
    """Level and slope of the loss over the logarithm of the rate, before it diverges.

    Attributes:
        reach: half-width of the window in steps.
        falls: whether the loss falls by more than its noise.
        lowest: index of the step where it is lowest.
        steepest: index of the step, before that, where it falls fastest.
        begins: index of the step from which on it falls.
        ends: index of the step at which most of the fall is over.
    """

    def __init__(self, rates: np.ndarray, losses: np.ndarray, planned: np.ndarray):
        decades = math.log10(planned[-1] / planned[0])
        per_decade = (len(planned) - 1) / decades
        self.reach = max(2, round(_REACH * per_decade))
        self.falls = False
        if len(losses) < MIN_STEPS:
            return
        quiet = losses[: max(5, round(_QUIET * len(planned)))]
        self.start, noise = float(quiet.mean()), float(quiet.std())
        level, slope = _lines(np.log10(rates), losses, self.reach)
        self.lowest = int(np.argmin(level))
        fall = self.start - level[self.lowest]
        near = np.abs(np.arange(len(losses)) - self.lowest) <= self.reach
        limit = _SURE * noise * math.sqrt(1 / near.sum() + 1 / len(quiet))
        self.falls = bool(fall > max(limit, _VISIBLE * abs(self.start), 1e-12))
        before = slice(0, self.lowest + 1)
        above = np.flatnonzero(level[before] > self.start - _BEGUN * fall)
        self.begins = min(int(above[-1]) + 1 if above.size else 0, self.lowest)
        falling = slice(self.begins, self.lowest + 1)
        self.steepest = self.begins + int(np.argmin(slope[falling]))
        self.ends = int(np.argmax(level[before] <= self.start - _DONE * fall))


def _lines(x: np.ndarray, y: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the points around each, and the slope of a line fitted to them."""
    level, slope = np.empty(len(y)), np.empty(len(y))
    for i in range(len(y)):
        near = slice(max(i - reach, 0), i + reach + 1)
        dx = x[near] - x[near].mean()
        slope[i] = (dx * y[near]).sum() / (dx * dx).sum()
        # The line's own value would be noisy at either end.
        level[i] = y[near].mean()
    return level, slope


def _why_none(curve: _Curve, diverged: bool, planned: np.ndarray) -> str:
    if diverged:
        return (
            "The loss rose without having fallen: begin lower than "
            f"`min_rate={_number(planned[0])}`, or look for what is wrong with the "
            "model"
        )
    return (
        "The loss did not fall at any rate, beyond the noise of its batches: there is "
        f"nothing to be learnt up to a rate of {_number(planned[-1])}, or something is "
        "wrong with the model; `keras_babysit.overfit_subset` can tell"
    )


def _number(x: float | None) -> str:
    return "none" if x is None else number(x)
