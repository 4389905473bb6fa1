"""Facts of the settings around a `fit`: callbacks, and the schedule of its rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import learning_rate
from keras_babysit.document.values import plain
from keras_babysit.facts import CallbackFacts, FitFacts, ScheduleFacts
from keras_babysit.inspection.compiled import name_of
from keras_babysit.inspection.fit import arguments_of, batch_size, is_uneven

#: A schedule is evaluated at so many updates of the run, and up to so many times its
#: length beyond it.
POINTS = 48
BEYOND = 1_000


def fit_facts(model: Any) -> FitFacts | None:
    """Returns the facts of the running `fit` of a model; `None` if there is none.

    To be called inside a callback's `on_train_begin`.
    """
    names = arguments_of(model)
    if names is None:
        return None
    try:
        epochs = _epochs(names)
        validates = names.get("validation_data") is not None
        every = names.get("validation_freq", 1) if validates else 0
        return FitFacts(
            epochs=epochs,
            begin=_updates(model),
            # A list of epochs: the first of them is what matters.
            validation_every=every if isinstance(every, int) else min(every),
            callbacks=_callbacks(names),
            class_weight={
                int(k): float(v) for k, v in (names.get("class_weight") or {}).items()
            },
            mean_weight=_mean_weight(names.get("sample_weight")),
            weighted_by=next(
                (
                    name
                    for name in ("class_weight", "sample_weight")
                    if is_uneven(names.get(name))
                ),
                "",
            ),
            schedule=_schedule(model, names, epochs),
        )
    except Exception:  # What a user may pass has no end.
        return None


def callbacks() -> tuple[CallbackFacts, ...]:
    """Returns the facts of the callbacks of the innermost running `fit`."""
    try:
        return _callbacks(arguments_of() or {})
    except Exception:
        return ()


def hyperparameters(model: Any) -> dict[str, Any]:
    """Returns what the running `fit` of a model and its optimizer are set to, by name.

    To be called inside a callback's `on_train_begin`. Values are numbers, strings and
    booleans; what is nested has names such as `"learning_rate.decay_steps"`.
    """
    try:
        names = arguments_of(model) or {}
        optimizer = getattr(model, "optimizer", None)
        config = dict(optimizer.get_config()) if optimizer is not None else {}
        iterator = names.get("epoch_iterator")
        found = {
            "model": model.name,
            "parameters": model.count_params() if model.built else None,
            "loss": keras.tree.map_structure(_name, getattr(model, "loss", None)),
            "optimizer": optimizer and type(optimizer).__name__,
            **{key: value for key, value in config.items() if key != "name"},
            "epochs": _epochs(names),
            "steps_per_epoch": getattr(iterator, "num_batches", None),
            "batch_size": batch_size(iterator),
        }
        return dict(_flat(plain(found)))
    except Exception:  # A model's optimizer may be anything.
        return {}


def _name(loss: Any) -> str | None:
    return loss if isinstance(loss, str | None) else name_of(loss)


def _flat(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(value, f"{name}.{key}" if name else key)
    elif values is not None:
        yield name, str(values) if isinstance(values, list) else values


def _updates(model: Any) -> int:
    done = getattr(getattr(model, "optimizer", None), "_iterations", None)
    return 0 if done is None else int(keras.ops.convert_to_numpy(done))


def _epochs(names: Mapping[str, Any]) -> int | None:
    last = names.get("epochs")
    if not isinstance(last, int):
        return None
    return max(last - int(names.get("initial_epoch") or 0), 0)


def _callbacks(names: Mapping[str, Any]) -> tuple[CallbackFacts, ...]:
    given = names.get("callbacks")
    found = getattr(given, "callbacks", given) or ()
    facts = (_callback(one) for one in found)
    return tuple(one for one in facts if one is not None)


def _callback(callback: Any) -> CallbackFacts | None:
    kinds = keras.callbacks
    known = (kinds.EarlyStopping, kinds.ReduceLROnPlateau, kinds.ModelCheckpoint)
    kind = next((kind for kind in known if isinstance(callback, kind)), None)
    checkpoint = kind is kinds.ModelCheckpoint
    if kind is None or (checkpoint and not callback.save_best_only):
        return None
    return CallbackFacts(
        kind=kind.__name__,
        monitor=callback.monitor,
        mode=callback.mode,
        patience=getattr(callback, "patience", None),
        starts_from=getattr(callback, "start_from_epoch", 0),
        restores=getattr(callback, "restore_best_weights", False),
        # The best begins as `None`, or as a threshold of the user's.
        seen=callback.best is not None,
    )


def _mean_weight(weights: Any) -> float:
    """Mean of an array of weights; 1 for none, or several."""
    if not isinstance(weights, np.ndarray) or not weights.size:
        return 1.0
    return float(weights.mean())


def _schedule(
    model: Any, names: Mapping[str, Any], epochs: int | None
) -> ScheduleFacts | None:
    optimizer: Any = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    schedule = getattr(optimizer, "_learning_rate", None)
    batches = getattr(names.get("epoch_iterator"), "num_batches", None)
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return None
    if not batches or not epochs:
        return None
    begin = int(keras.ops.convert_to_numpy(optimizer._iterations))
    run = int(batches) * epochs
    at = _points(begin, run)
    rates = [
        float(keras.ops.convert_to_numpy(learning_rate(optimizer, _like(optimizer, t))))
        for t in at
    ]
    return ScheduleFacts(at.astype(float), np.array(rates), begin, begin + run)


def _points(begin: int, run: int) -> np.ndarray:
    """Updates to look at: evenly over the run, denser at both of its ends."""
    even = np.linspace(0, run - 1, POINTS)
    early = np.geomspace(1, run, POINTS // 2) - 1
    later = run * np.geomspace(1, BEYOND, POINTS)
    before = np.linspace(0, begin, POINTS // 2)
    after = begin + np.concatenate([even, early, later])
    return np.unique(np.concatenate([before, after]).astype(int))


def _like(optimizer: Any, step: int) -> Any:
    """A number of updates, of the type that the optimizer gives its schedule."""
    return keras.ops.convert_to_tensor(step, dtype=optimizer._iterations.dtype)
