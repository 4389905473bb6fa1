"""Everything that a check must leave as it was, in one value to compare."""

import random

import keras
import numpy as np
from keras.src.backend.common import global_state

from keras_babysit.backend import load
from keras_babysit.borrowing import layers_of


def everything(model):
    """Name to what is there: values of variables, and objects by themselves."""
    found = {}
    optimizer = model.optimizer
    for variable in [*model.variables, *model.metrics_variables]:
        found[f"value of {variable.path} {id(variable)}"] = np.array(variable)
    for variable in optimizer.variables if optimizer else ():
        found[f"value of optimizer's {variable.path}"] = np.array(variable)
    things = [*layers_of(model), *model.variables, optimizer]
    for thing in (thing for thing in things if thing is not None):
        name = getattr(thing, "path", None) or thing.name
        for key, value in vars(thing).items():
            if key == "_value" and not isinstance(value, int | float):
                continue  # The framework's variable, whose value is above.
            if key == "_called":
                continue  # It has been called, and says so.
            found[f"{type(thing).__name__} {name} {id(thing)}.{key}"] = value
    for metric in getattr(model, "metrics", ()):
        found[f"metric {metric.name}"] = metric
    return {**found, **_of_the_world()}


def _of_the_world():
    generator = global_state.get_global_attribute("global_seed_generator")
    state = np.random.get_state()
    return {
        "seed of Keras": None if generator is None else np.array(generator.state),
        "global_random_seed": global_state.get_global_attribute("global_random_seed"),
        "seed of the backend": repr(load("autodiff").random_state()),
        "seed of Python": repr(random.getstate()),
        "seed of NumPy": repr((state[0], state[1].tolist(), state[2:])),
        "floatx": keras.config.floatx(),
        "policy": keras.config.dtype_policy().name,
        "eager": keras.config.is_nnx_enabled(),
    }


def differences(before, after):
    """What differs, a name each."""
    names = [*before, *(name for name in after if name not in before)]
    return [n for n in names if not _same(before.get(n, _NONE), after.get(n, _NONE))]


_NONE = object()


def _same(a, b):
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(
            a, b, equal_nan=a.dtype.kind in "fc"
        )
    if isinstance(a, str | int | float | bool | None | tuple):
        return type(a) is type(b) and a == b
    return a is b
