"""The only folder that knows a backend: one folder in it for each that is supported.

`load` finds the modules of the backend in use.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from keras_babysit.errors import importing_keras

SUPPORTED = ("tensorflow", "jax", "torch")


def load(part: str) -> ModuleType:
    """Returns one module of the backend in use, `keras.backend.backend()`.

    Args:
        part: `"step"`, `"autodiff"` or `"memory"`: a module that each backend has.

    Raises:
        ValueError: if that backend is not supported yet.
        ImportError: if the backend's package is missing.
    """
    import keras

    name = keras.backend.backend()
    if name not in SUPPORTED:
        raise ValueError(
            f"keras_babysit works with the backends {', '.join(SUPPORTED)}. Received: "
            f"keras.backend.backend()={name!r}. Set the environment variable "
            "KERAS_BACKEND to one of them before importing keras."
        )
    with importing_keras():
        return importlib.import_module(f"keras_babysit.backend.{name}.{part}")
