"""Fresh optimizers in place of those that a borrowed model has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import keras

from keras_babysit.borrowing import attributes_set, layers_of

#: Steps at which a schedule is looked at: its peak may come after a warm-up.
_LOOKED_AT = (0, *(i * 10**k for k in range(6) for i in (1, 2, 5)))
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_Schedule = keras.optimizers.schedules.LearningRateSchedule


def rate_of(optimizer: Any) -> float:
    """Returns an optimizer's learning rate; of a schedule the highest one."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(inner, "_learning_rate", None)
    if rate is None:
        raise ValueError(
            "The model's optimizer must have a learning rate, as those of "
            f"`keras.optimizers` have. Received: optimizer={optimizer!r}"
        )
    if isinstance(rate, _Schedule):
        return max(float(keras.ops.convert_to_numpy(rate(s))) for s in _LOOKED_AT)
    return float(keras.ops.convert_to_numpy(inner.learning_rate))


def is_scheduled(optimizer: Any) -> bool:
    """Whether a schedule sets an optimizer's learning rate."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return isinstance(getattr(inner, "_learning_rate", None), _Schedule)


def fresh(
    optimizer: Any,
    rate: float | None = None,
    plain: bool = False,
    settings: Mapping[str, Any] = _NOTHING,
) -> Any:
    """Returns an optimizer of the same kind and settings that has made no step.

    Args:
        optimizer: the optimizer.
        rate: a learning rate in place of its own or of its schedule.
        plain: whether to leave out what makes fitting harder or slower: weight
            decay, averaging of weights, accumulation of gradients.
        settings: other settings in place of its own.

    Raises:
        ValueError: if it cannot be made again from its configuration.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        config = optimizer.get_config()
        config["inner_optimizer"] = fresh(
            optimizer.inner_optimizer, rate, plain, settings
        )
        return type(optimizer)(**config)
    try:
        config = optimizer.get_config()
        if rate is not None:
            config["learning_rate"] = float(rate)
        if plain:
            config.update(_plain(config))
        config.update(settings)
        made = type(optimizer).from_config(config)
    except (TypeError, ValueError, NotImplementedError, AttributeError) as e:
        raise ValueError(
            "The model's optimizer must be one that can be made again: "
            "`type(optimizer).from_config(optimizer.get_config())`. "
            f"Received: {type(optimizer).__name__}, which raises {type(e).__name__}: "
            f"{e}"
        ) from e
    for name, value in vars(optimizer).items():
        # What is left out of the decay is not in the configuration.
        if name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
            vars(made)[name] = value
    return made


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if config.get("weight_decay"):
        found["weight_decay"] = 0.0
    if config.get("use_ema"):
        found["use_ema"] = False
    if config.get("gradient_accumulation_steps"):
        found["gradient_accumulation_steps"] = None
    return found


@contextlib.contextmanager
def fresh_optimizers(
    model: keras.Model,
    rate: float | None = None,
    plain: bool = False,
    settings: Mapping[str, Any] = _NOTHING,
) -> Iterator[Any]:
    """Puts fresh optimizers in place of all that a borrowed model has.

    It then trains step by step, without XLA, which would take long to compile.

    Args:
        model: the model.
        rate: see `fresh`, for the one that it was compiled with.
        plain: see `fresh`.
        settings: see `fresh`, for the one that it was compiled with.
    """
    own = model.optimizer
    with contextlib.ExitStack() as stack:
        made = {id(own): fresh(own, rate, plain, settings)}
        for layer in layers_of(model):
            for name, value in list(vars(layer).items()):
                if any(_is_optimizer(v) for v in _parts(value)):
                    new = _replaced(value, made, plain)
                    stack.enter_context(attributes_set(layer, **{name: new}))
        stack.enter_context(attributes_set(model, steps_per_execution=1))
        vars(model)["_jit_compile"] = False
        yield made[id(own)]


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, keras.optimizers.Optimizer)


def _parts(value: Any) -> list[Any]:
    """A value, or the values of a list, tuple or dictionary."""
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]


def _replaced(value: Any, made: dict[int, Any], plain: bool) -> Any:
    if isinstance(value, dict):
        return {k: _replaced(v, made, plain) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(v, made, plain) for v in value]
    if not _is_optimizer(value):
        return value
    if id(value) not in made:
        made[id(value)] = fresh(value, plain=plain)
    return made[id(value)]
