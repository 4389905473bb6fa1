"""Trains a borrowed model for a few steps, with changes and without, and judges it."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_babysit.backend import load
from keras_babysit.borrowing import (
    borrowed,
    layers_of,
    random_numbers_kept,
    without_noise,
)
from keras_babysit.borrowing.optimizers import fresh_optimizers, is_scheduled, rate_of
from keras_babysit.errors import first_line
from keras_babysit.facts import ModelFacts
from keras_babysit.fixes.changes import CHANGES
from keras_babysit.fixes.changes.model import redraw
from keras_babysit.fixes.changes.setup import Setup
from keras_babysit.fixes.score import Score, scored
from keras_babysit.fixes.split import Split, split
from keras_babysit.inspection.sample import Sample
from keras_babysit.records import Fix

#: The loss at either end of a training is the median of so many steps.
_FEW = 5
#: Predictions are made in batches of so many samples.
_AT_ONCE = 256


@dataclass(frozen=True)
class Run:
    """What came of one training.

    Attributes:
        steps: updates made.
        held: score on the samples held out; `None` if it is not known.
        trained: score on as many of those trained on.
        losses: of each step.
        before: score on the samples held out before the first step.
        late: whether it ran out of time.
        failed: why it could not be made; empty if it could.
    """

    steps: int = 0
    held: Score | None = None
    trained: Score | None = None
    losses: tuple[float, ...] = ()
    before: Score | None = None
    late: bool = False
    failed: str = ""

    @property
    def fall(self) -> float:
        """By which share of itself the loss fell."""
        start, end = (self.losses[:_FEW], self.losses[-_FEW:])
        if not self.losses or not np.isfinite(self.losses).all():
            return -1.0
        first, last = float(np.median(start)), float(np.median(end))
        return (first - last) / abs(first) if first else 0.0


@dataclass
class _Prepared:
    """What is traced once for each structure, and used for all trainings of it."""

    optimizer: Any
    train: Any = None
    predict: Any = None
    zeros: list[np.ndarray] = field(default_factory=list)


class Bench:
    """Where trainings are made; use it as a context manager.

    Args:
        model: built and compiled; it comes back bit for bit as it was.
        facts: of the model before it was trained: which weights still are as their
            initializers gave them.
        sample: the samples to train on and be judged by.
        batch_size: samples of an update.
        shuffled: whether `fit` shuffles them.
        redrawn: whether weights are redrawn also for the first seed, since the model
            has been trained meanwhile.
    """

    def __init__(
        self,
        model: Any,
        facts: ModelFacts,
        sample: Sample,
        batch_size: int,
        shuffled: bool,
        redrawn: bool = False,
    ):
        self.model, self.facts, self.sample = model, facts, sample
        self.batch_size, self.shuffled, self._redrawn = batch_size, shuffled, redrawn
        self._prepared: dict[tuple[Fix, ...], _Prepared] = {}
        self._start: list[tuple[Any, np.ndarray]] = []

    def __enter__(self) -> Bench:
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(random_numbers_kept())
        self._stack.enter_context(borrowed(self.model))
        kept = [*self.model.variables, *self.model.metrics_variables]
        self._start = [(v, _numpy(v)) for v in kept]
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def split(self, seed: int) -> Split:
        """Returns the samples of a seed."""
        return split(self.sample, seed, self.batch_size, self.shuffled)

    def train(
        self, fixes: Sequence[Fix], seed: int, steps: int, until: float = math.inf
    ) -> Run:
        """Trains from the first weights with some changes.

        Args:
            fixes: what to change.
            seed: of the batches, the samples held out, and, but for the first one, of
                the weights that are as their initializers gave them.
            steps: updates to make.
            until: time of `time.monotonic` to end at.
        """
        try:
            with contextlib.ExitStack() as stack:
                setup = Setup(self.model, self.facts, self.split(seed), stack)
                for fix in fixes:
                    CHANGES[fix.kind](setup, fix)
                setup.set_losses()
                return self._train(setup, seed, steps, until)
        except Exception as e:
            return Run(failed=f"{type(e).__name__}: {first_line(e)}")

    def _train(self, setup: Setup, seed: int, steps: int, until: float) -> Run:
        model, stack = self.model, setup.stack
        keras.utils.set_random_seed(seed)
        stack.enter_context(self._optimizer(setup))
        self._reset(setup, seed)
        before = self._judged(setup, setup.data.held)
        follower = _Follower(steps, until, seed)
        _fit(model, setup.data, seed, follower)
        losses = tuple(follower.losses)
        if not losses:
            raise ValueError("no step was made")
        return Run(
            steps=len(losses),
            held=self._judged(setup, setup.data.held),
            trained=self._judged(setup, setup.data.train.spread(setup.data.held.size)),
            losses=losses,
            before=before,
            late=len(losses) < steps,
        )

    @contextlib.contextmanager
    def _optimizer(self, setup: Setup) -> Iterator[None]:
        """The optimizer and functions of a structure, traced once."""
        model = self.model
        scheduled = is_scheduled(model.optimizer)
        own = rate_of(model.optimizer)
        rate = setup.rate if setup.rate is not None and scheduled else None
        key = (*setup.structure, *([] if rate is None else [Fix("constant_rate")]))
        known = self._prepared.get(key)
        with fresh_optimizers(model, rate, settings=setup.optimizer) as made:
            if known is None:
                made.build(model.trainable_variables)
                known = self._prepared[key] = _Prepared(made)
                known.zeros = [_numpy(v) for v in made.variables]
            vars(model)["optimizer"] = known.optimizer
            vars(model)["train_function"] = known.train
            for variable, value in zip(
                known.optimizer.variables, known.zeros, strict=True
            ):
                variable.assign(value)
            if setup.rate is not None or not scheduled:
                known.optimizer.learning_rate = (
                    own if setup.rate is None else setup.rate
                )
            self._now = known
            yield
            known.train = vars(model)["train_function"]

    def _reset(self, setup: Setup, seed: int) -> None:
        for variable, value in self._start:
            variable.assign(value)
        if seed or self._redrawn:
            self._draw(seed)
        for change in setup.weights:
            change(seed)

    def _draw(self, seed: int) -> None:
        """Redraws the weights that are as their initializers gave them."""
        fresh = {
            w.path
            for layer in self.facts.layers
            # Of few numbers none can tell; then the layer's others do.
            if not any(w.as_initialized is False for w in layer.weights)
            for w in layer.weights
            if w.trainable
        }
        for i, layer in enumerate(layers_of(self.model)):
            own = [*layer._trainable_variables, *layer._non_trainable_variables]
            for j, variable in enumerate(own):
                if variable.path in fresh:
                    redraw(layer, variable, 10_000 * seed + 100 * i + j)

    def _judged(self, setup: Setup, sample: Sample) -> Score | None:
        if sample.y is None or not sample.size:
            return None
        outputs = self._predicted(sample)
        try:
            return scored(sample.y, outputs, setup.middles())
        except ValueError:
            return None  # Only the loss can tell.

    def _predicted(self, sample: Sample) -> list[np.ndarray]:
        """As in training, but without noise: averages of normalization lag behind."""
        model, known = self.model, self._now
        if known.predict is None:

            def predict(x: Any) -> list[Any]:
                with keras.StatelessScope(), without_noise(model):
                    return keras.tree.flatten(model(x, training=True))

            eager = model.run_eagerly
            known.predict = predict
            if not eager:
                compiled = load("autodiff").compiled
                known.predict = compiled(predict, reads=model.variables)
        parts = [
            [_numpy(t) for t in known.predict(part.tensors.x)]
            for part in sample.batches(_AT_ONCE)
        ]
        return [np.concatenate(each) for each in zip(*parts, strict=True)]


def _numpy(value: Any) -> np.ndarray:
    value = value.value if isinstance(value, keras.Variable) else value
    return np.array(keras.ops.convert_to_numpy(value))


def _fit(model: Any, data: Split, seed: int, follower: _Follower) -> None:
    per_epoch = max(data.train.size // data.batch_size, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not the `fit` of a subclass, which may do more than to train.
        keras.Model.fit(
            model,
            data.batches(seed),
            steps_per_epoch=per_epoch,
            epochs=math.ceil(follower.steps / per_epoch),
            verbose=0,
            callbacks=[follower],
        )


class _Follower(keras.callbacks.Callback):
    """Notes the loss of each step, and ends the training when it is time."""

    def __init__(self, steps: int, until: float, seed: int):
        super().__init__()
        self.steps, self._until, self._seed = steps, until, seed
        self.losses: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        # The first `fit` of a structure builds more, and may have drawn for it.
        keras.utils.set_random_seed(self._seed)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        # Metrics are means over an epoch; this makes the loss that of one batch.
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(float(np.mean((logs or {}).get("loss", math.nan))))
        late = time.monotonic() > self._until
        if late or len(self.losses) >= self.steps:
            self.model.stop_training = True
