"""Going on from a checkpoint where a trial's process was killed, exactly.

A trial that goes on ends with the same bits as one that was never interrupted, or it
begins anew. A checkpoint holds weights and optimizer; beside it are the states of the
seed generators, which Keras does not save. The order of the samples needs no state:
with a seed, Keras's `fit` shuffles arrays the same way in every epoch. What else could
carry something from one epoch to the next keeps it from resuming: see `obstacle`
and `obstacle_in`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import global_seed_generator

from keras_babysit.search.store import Store
from keras_babysit.search.trial.checkpoints import Checkpoints
from keras_babysit.search.trial.fit_arguments import are_arrays
from keras_babysit.search.trial.scoring import best_of
from keras_babysit.search.trials import EpochResult, Objective, Trial

#: Callbacks whose state follows from the logs of the epochs, or that have none.
_REPLAYABLE = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.TerminateOnNaN,
)


@dataclass(frozen=True)
class Left:
    """What an earlier attempt at a trial has left to go on from.

    Attributes:
        epochs: those that count: all of the folds that are done, and those of the
            next one up to the checkpoint.
        fold: the fold to go on with.
        checkpoint: name of the checkpoint to go on from; `""` for the fold's
            beginning.
        state: what `state_of` returned for it.
    """

    epochs: tuple[EpochResult, ...] = ()
    fold: int = 0
    checkpoint: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Number of epochs of the fold that are done."""
        return sum(epoch.fold == self.fold for epoch in self.epochs)


def left_by(
    store: Store, trial: Trial, objective: Objective, first_only: bool = True
) -> Left | None:
    """Returns what there is of a trial in its folder; `None` if it must start over.

    Args:
        store: of the search.
        trial: the trial.
        objective: what is searched for.
        first_only: whether its model is the first fold's, not the best of all.
    """
    checkpoints = Checkpoints(store.folder(trial))
    epochs = store.epochs(trial)
    if not epochs:
        return None
    fold = epochs[-1].fold
    before = [epoch for epoch in epochs if epoch.fold < fold]
    own = [epoch for epoch in epochs if epoch.fold == fold]
    if not _is_complete(before, own):
        return None
    left = Left(tuple(before), fold)
    for last in reversed(own):
        state = checkpoints.beside(last.checkpoint) if last.checkpoint else None
        if state is not None and last.checkpoint.endswith(".keras"):
            known = (*before, *(e for e in own if e.epoch <= last.epoch))
            left = Left(known, fold, last.checkpoint, state)
            break
    kept = [e for e in left.epochs if e.fold == 0 or not first_only]
    best = best_of(kept, objective)
    if best is not None and checkpoints.beside(best.checkpoint) is None:
        return None  # The best model is gone; only training again brings it back.
    return left if left.epochs else None


def _is_complete(before: list[EpochResult], own: list[EpochResult]) -> bool:
    """Whether no epoch is missing, as where a disk was full."""
    folds: dict[int, list[int]] = {}
    for epoch in (*before, *own):
        folds.setdefault(epoch.fold, []).append(epoch.epoch)
    return list(folds) == list(range(len(folds))) and all(
        numbers == list(range(1, len(numbers) + 1)) for numbers in folds.values()
    )


def obstacle(arguments: Mapping[str, Any], own_fit: bool) -> str:
    """Returns why a trial could end differently if it went on; `""` if it cannot."""
    if own_fit:
        return "the hypermodel has a `fit` of its own"
    if not are_arrays(arguments):
        return "the data is not arrays, so its order is not known"
    if arguments.get("steps_per_epoch"):
        return "with `steps_per_epoch` an epoch begins where the last one ended"
    callbacks = arguments.get("callbacks") or []
    for callback in callbacks if isinstance(callbacks, list | tuple) else [callbacks]:
        if type(callback) not in _REPLAYABLE:
            return f"the callback {type(callback).__name__} may have a state of its own"
    return ""


def obstacle_in(model: keras.Model) -> str:
    """Returns which part of a compiled model may have a state that Keras cannot save.

    Those of Keras have none, but for a `Lambda`, which may do anything. Functions
    (losses, activations) are taken for what they should be: without state.
    """
    if getattr(model, "_distribute_strategy", None) is not None:
        return "it trains under a strategy of tf.distribute"
    loss = model._compile_loss
    losses = [] if loss is None else keras.tree.flatten(loss._user_loss)
    rate = getattr(model.optimizer, "_learning_rate", None)
    parts = [
        *model._flatten_layers(recursive=True),
        *(part for part in losses if isinstance(part, keras.losses.Loss)),
        *model.metrics,
        model.optimizer,
        *([rate] if isinstance(rate, _SCHEDULE) else []),
    ]
    for part in parts:
        own = type(part).__module__.split(".")[0] in ("keras", "keras_babysit")
        if not own or isinstance(part, keras.layers.Lambda):
            return f"{type(part).__name__} may have a state that Keras does not save"
    return ""


_SCHEDULE = keras.optimizers.schedules.LearningRateSchedule


def state_of(model: keras.Model) -> dict[str, Any]:
    """Returns what a checkpoint does not hold: the states of all seed generators.

    And the number of updates so far, by which it is known again.
    """
    # One that a hypermodel's own `fit` trains need not be compiled.
    optimizer = getattr(model, "optimizer", None)
    return {
        "step": None if optimizer is None else steps_of(optimizer),
        "seeds": [_value(variable) for variable in _seeds(model)],
        "global_seed": _value(global_seed_generator().state)
        if global_state.get_global_attribute("global_seed_generator") is not None
        else None,
    }


def steps_of(optimizer: keras.optimizers.Optimizer) -> int:
    """Returns the number of updates so far, also under a strategy."""
    return int(keras.ops.convert_to_numpy(optimizer.iterations))


def restore(model: keras.Model, path: Any, state: Mapping[str, Any]) -> None:
    """Puts a built, compiled model where it was when a checkpoint was written."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    model.load_weights(path)
    seeds = _seeds(model)
    if len(seeds) != len(state["seeds"]):
        raise ValueError("the model has other seed generators than its checkpoint")
    if steps_of(model.optimizer) != state["step"]:
        raise ValueError("the optimizer's state is not in it")
    for variable, value in zip(seeds, state["seeds"], strict=True):
        variable.assign(np.array(value, variable.dtype))
    if state["global_seed"] is not None:
        variable = global_seed_generator().state
        variable.assign(np.array(state["global_seed"], variable.dtype))


def _seeds(model: keras.Model) -> list[keras.Variable]:
    saved = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in saved]


def _value(variable: keras.Variable) -> list[int]:
    return [int(n) for n in keras.ops.convert_to_numpy(variable.value).reshape(-1)]


def replay(
    callbacks: list[keras.callbacks.Callback], epochs: list[EpochResult]
) -> None:
    """Tells callbacks of epochs that were trained before; see `obstacle`."""
    for epoch in epochs:
        for callback in callbacks:
            callback.on_epoch_begin(epoch.epoch - 1)
        for callback in callbacks:
            callback.on_epoch_end(epoch.epoch - 1, dict(epoch.logs))
