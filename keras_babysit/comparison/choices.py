"""Optimizers by name, made of whatever the user gives."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras

from keras_babysit.errors import first_line

#: Returns a new optimizer each time.
Maker = Callable[[], keras.optimizers.Optimizer]

_EXPECTED = (
    'an optimizer, its name such as "adam", its configuration, or a function without '
    "arguments that returns one of these"
)


def usual() -> dict[str, Any]:
    """The updates of CS231n's notes with rates that usually are a fair start."""
    of = keras.optimizers
    return {
        "SGD": of.SGD(0.01),
        "momentum": of.SGD(0.01, momentum=0.9),
        "Nesterov": of.SGD(0.01, momentum=0.9, nesterov=True),
        # Keras's default of 1e-3 is that of its relatives; this one needs more.
        "Adagrad": of.Adagrad(0.01),
        "RMSprop": of.RMSprop(1e-3),
        "Adam": of.Adam(1e-3),
    }


def chosen(optimizers: Any) -> dict[str, Maker]:
    """Returns a function for each optimizer that makes a new one, by its name.

    Args:
        optimizers: a mapping of names to optimizers, or a list of optimizers; each an
            instance, which is copied, never used itself, a string, a configuration, a
            class, or a function that returns one of these. `None` for `usual()`.

    Raises:
        ValueError: if there are none, or one is none.
    """
    if optimizers is None:
        optimizers = usual()
    if isinstance(optimizers, Mapping):
        found = {_checked_name(name): one for name, one in optimizers.items()}
    elif isinstance(optimizers, Iterable) and not isinstance(optimizers, str):
        # A configuration is a mapping too, but not of names to optimizers.
        given = list(optimizers)
        found = dict(zip(_names([_made(one) for one in given]), given, strict=True))
    else:
        raise ValueError(
            "`optimizers` must be a dictionary of names to optimizers, or a list of "
            f"optimizers. Received: optimizers={optimizers!r}"
        )
    if not found:
        raise ValueError(
            "`optimizers` must hold at least one optimizer. "
            f"Received: optimizers={optimizers!r}"
        )
    return {name: _maker(one) for name, one in found.items()}


def _maker(given: Any) -> Maker:
    _made(given)  # Whatever is wrong with it is said before anything trains.
    if isinstance(given, keras.optimizers.Optimizer):
        kind, config = type(given), given.get_config()
        # Its configuration now: the rate of the user's own may change later.
        return lambda: kind.from_config(dict(config))
    return lambda: _made(given)


def _made(given: Any) -> keras.optimizers.Optimizer:
    """A new optimizer; an error that says what is wrong."""
    if isinstance(given, keras.optimizers.Optimizer):
        return _copied(given)
    if inspect.isclass(given) and issubclass(given, keras.optimizers.Optimizer):
        return given()
    if isinstance(given, str | Mapping):
        return _by_keras(given)
    if not callable(given):
        raise ValueError(
            f"An optimizer to compare must be {_EXPECTED}. Received: {given!r}"
        )
    found = given()
    if isinstance(found, keras.optimizers.Optimizer):
        if found.built:
            raise ValueError(
                "A function given as an optimizer must return a new one each time: "
                "this one has been trained with already. Received: "
                f"{_called(given)}, which returned {found!r}"
            )
        return found
    if isinstance(found, str | Mapping):
        return _by_keras(found)
    raise ValueError(
        "A function given as an optimizer must return one. Received: "
        f"{_called(given)}, which returned {found!r}"
    )


def _copied(given: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    try:
        return type(given).from_config(given.get_config())
    except Exception as e:
        raise ValueError(
            "The optimizer cannot be copied from its configuration "
            f"({type(e).__name__}: {e}): give a function that returns a new one. "
            f"Received: {given!r}"
        ) from e


def _by_keras(given: str | Mapping) -> keras.optimizers.Optimizer:
    if isinstance(given, str):
        names = [n.lower() for n in dir(keras.optimizers) if _is_optimizer(n)]
        if given.lower() not in names:
            close = difflib.get_close_matches(given.lower(), names, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"Keras has no optimizer of this name.{hint} Received: {given!r}"
            )
        return keras.optimizers.get(given)
    try:
        return keras.optimizers.get(dict(given))
    except Exception as e:
        raise ValueError(
            f"This is not the configuration of an optimizer: {first_line(e)} "
            f"Received: {given!r}"
        ) from e


def _is_optimizer(name: str) -> bool:
    found = getattr(keras.optimizers, name)
    base = keras.optimizers.Optimizer
    return inspect.isclass(found) and issubclass(found, base) and found is not base


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(
            "The names of `optimizers` must be strings that are not empty. "
            f"Received: {name!r}"
        )
    return name


def _names(optimizers: list[keras.optimizers.Optimizer]) -> list[str]:
    """A readable name for each: its class, and what tells it from its like."""
    kinds = [type(one).__name__ for one in optimizers]
    configs = [_plain(one) for one in optimizers]
    names = []
    for kind, config in zip(kinds, configs, strict=True):
        alike = [c for k, c in zip(kinds, configs, strict=True) if k == kind]
        apart = [key for key in config if len({c.get(key) for c in alike}) > 1]
        told = ", ".join(f"{key}={config[key]}" for key in apart)
        names.append(f"{kind}({told})" if told else kind)
    return [
        name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}"
        for i, name in enumerate(names)
    ]


def _plain(optimizer: keras.optimizers.Optimizer) -> dict[str, str]:
    """What an optimizer is set to, in short; without its name."""
    return {
        key: f"{value:.4g}" if isinstance(value, float) else _short(value)
        for key, value in optimizer.get_config().items()
        if key != "name"
    }


def _short(value: Any) -> str:
    """A setting in a few words: of a schedule its class."""
    if isinstance(value, Mapping) and "class_name" in value:
        return str(value["class_name"])
    return str(value)


def _called(function: Any) -> str:
    return getattr(function, "__name__", None) or repr(function)
