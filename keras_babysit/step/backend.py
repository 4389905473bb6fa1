"""Finds the file that knows the backend in use."""

from __future__ import annotations

import importlib
from types import ModuleType

SUPPORTED = ("tensorflow",)


def load() -> ModuleType:
    """Returns the seam's module for `keras.backend.backend()`.

    Raises:
        ValueError: if that backend is not supported yet.
        ImportError: if the backend's package is missing.
    """
    import keras

    name = keras.backend.backend()
    if name not in SUPPORTED:
        raise ValueError(
            f"keras_babysit observes training with the {', '.join(SUPPORTED)} "
            f"backend so far. Received: keras.backend.backend()={name!r}. Set the "
            "environment variable KERAS_BACKEND=tensorflow before importing keras."
        )
    try:
        return importlib.import_module(f"keras_babysit.step.{name}")
    except ModuleNotFoundError as e:
        if e.name != name:
            raise
        raise ImportError(
            f"The Keras backend is {name!r}, but the package {name} is not "
            f"installed. Install it with `pip install keras_babysit[{name}]`."
        ) from e
