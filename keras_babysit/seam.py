"""Finds the files that know the backend in use: one in each folder that needs one."""

from __future__ import annotations

import importlib
from types import ModuleType

from keras_babysit.errors import installing

SUPPORTED = ("tensorflow",)


def load(folder: str) -> ModuleType:
    """Returns the module for `keras.backend.backend()` in a folder of the package.

    Args:
        folder: `"step"` or `"autodiff"`.

    Raises:
        ValueError: if that backend is not supported yet.
        ImportError: if the backend's package is missing.
    """
    import keras

    name = keras.backend.backend()
    if name not in SUPPORTED:
        raise ValueError(
            f"keras_babysit works with the {', '.join(SUPPORTED)} "
            f"backend so far. Received: keras.backend.backend()={name!r}. Set the "
            "environment variable KERAS_BACKEND=tensorflow before importing keras."
        )
    try:
        return importlib.import_module(f"keras_babysit.{folder}.{name}")
    except ModuleNotFoundError as e:
        if e.name != name:
            raise
        raise ImportError(
            f"The Keras backend is {name!r}, but the package {name} is not "
            f"installed. Install it with {installing(name)}."
        ) from e
