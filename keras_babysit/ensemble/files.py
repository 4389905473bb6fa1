"""Models in files: written at once or not at all, and read with one clear error."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from keras_babysit.borrowing import attributes_set
from keras_babysit.document.words import sentence
from keras_babysit.errors import first_line
from keras_babysit.event_files.replacing import replacing


def save(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes a model to a `.keras` file that loads in plain Keras.

    As `model.save` does it, optimizer and all, but for two things. Whoever is killed
    while writing leaves what was there before. And where the learning rate is one of
    `keras_babysit.schedules`, the file has the rate as it is now, so that it loads
    without this package.
    """
    config = _without_our_schedules(model.get_compile_config(), model)
    lent = attributes_set(model, get_compile_config=lambda: config)
    with lent, replacing(path) as partial:
        model.save(partial)


def load(
    path: str | os.PathLike,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
) -> keras.Model:
    """Returns the model in a `.keras` file."""
    path = Path(path)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise ValueError(f"A member must be a `.keras` file. {str(path)!r} {what}.")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        hint = ""
        if path.name.endswith(".h5"):
            hint = " Load its weights into a model and save that by `model.save`."
        raise ValueError(
            f"A member must be a `.keras` file as `model.save` writes it.{hint} "
            f"Received: {str(path)!r}, which is none"
        )
    try:
        return keras.saving.load_model(path, custom_objects, compile=compile)
    except Exception as e:
        raise ValueError(
            f"Keras cannot load the member {str(path)!r}: {sentence(first_line(e))} "
            "Classes and functions of yours must be registered by "
            "`keras.saving.register_keras_serializable()` or given as "
            "`custom_objects={'Name': Name}`."
        ) from None


def models_in(directory: str | os.PathLike) -> list[str]:
    """Returns the paths of the `.keras` files in a directory, sorted by name.

    Files that are still being written are left out.
    """
    directory = Path(directory)
    if directory.is_file():
        raise ValueError(
            "Expected: a directory of `.keras` files, or a list of their paths. "
            f"Received: one file, {str(directory)!r}"
        )
    if not directory.is_dir():
        raise ValueError(f"There is no directory {str(directory)!r}.")
    found = sorted(p for p in directory.glob("*.keras") if p.name[0] != ".")
    if not found:
        searches = [*directory.glob("events.jsonl"), *directory.glob("*/events.jsonl")]
        hint = " It has a search: give the `Search` itself." if searches else ""
        raise ValueError(f"There is no `.keras` file in {str(directory)!r}.{hint}")
    return [str(path) for path in found]


def listed(name: str, given: Any, models: bool = True) -> list[Any]:
    """Returns members as a list of paths, and of models where those may be."""
    if is_path(given):
        return list(models_in(given))
    what = f"{'models or ' if models else ''}paths of `.keras` files"
    if isinstance(given, keras.Model) or not isinstance(given, Iterable):
        raise ValueError(
            f"`{name}` must be a directory or a list of {what}. Received: "
            f"{name}={given!r} of type {type(given).__name__}"
        )
    found = list(given)
    if not found:
        raise ValueError(f"`{name}` must have at least one member. Received: none")
    for number, one in enumerate(found):
        if not is_path(one) and not (models and isinstance(one, keras.Model)):
            raise ValueError(
                f"`{name}` must be a list of {what}. Received: member {number} is "
                f"{one!r} of type {type(one).__name__}"
            )
    return found


def is_path(value: Any) -> bool:
    """Whether a value names a file or a directory."""
    return isinstance(value, str | os.PathLike)


def check_directory(name: str, value: Any) -> Path:
    """Returns the path of a directory that may not be there yet."""
    if not is_path(value) or not str(value):
        raise ValueError(f"`{name}` must be a directory. Received: {name}={value!r}")
    path = Path(value)
    if path.exists() and not path.is_dir():
        raise ValueError(f"`{name}` must be a directory, and {str(path)!r} is a file.")
    return path


def remove(paths: Iterable[str | os.PathLike]) -> None:
    """Deletes files that may be gone already."""
    for path in paths:
        Path(path).unlink(missing_ok=True)


def _without_our_schedules(config: Any, model: keras.Model) -> Any:
    """Returns a configuration with a constant rate in place of a schedule of ours."""
    if not isinstance(config, dict):
        return config
    rate = config.get("learning_rate")
    name = rate.get("registered_name") if isinstance(rate, dict) else None
    if name is not None and name.startswith("keras_babysit>"):
        # A schedule still: with a number for a rate the optimizer would have one
        # variable more, and Keras would not load its state.
        now = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        constant = keras.optimizers.schedules.ExponentialDecay(now, 1, 1.0)
        rate = keras.optimizers.schedules.serialize(constant)
        config = {**config, "learning_rate": rate}
    return {k: _without_our_schedules(v, model) for k, v in config.items()}
