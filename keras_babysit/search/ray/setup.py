"""How a worker's process is set up: like the one that sends it its work."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Settings of the driver's frameworks that hold for its workers too.
_FORWARDED = ("TF_", "XLA_", "JAX_", "KERAS_")
#: But for this one: it would make every worker a part of one big job.
_KEPT = ("TF_CONFIG",)


@dataclass(frozen=True)
class Setup:
    """What a worker has to know before it imports or unpickles anything.

    Attributes:
        directory: the search's folder, as the driver sees it.
        driver: the driver's mark in it.
        folder: the driver's working directory,
        paths: and where it finds modules.
        environment: variables that frameworks read when they are imported.
        keras: Keras's global settings.
    """

    directory: str
    driver: str
    folder: str
    paths: tuple[str, ...]
    environment: Mapping[str, str]
    keras: Mapping[str, Any]


def setup_of(directory: str, driver: str, cpus: float, gpus: float) -> Setup:
    """Returns how this process is set up, for workers that are to be like it."""
    import keras

    return Setup(
        directory=directory,
        driver=driver,
        folder=os.getcwd(),
        paths=tuple(path for path in sys.path if path),
        environment=environment_of(cpus, gpus)
        | {"KERAS_BACKEND": keras.backend.backend()},
        keras={
            "floatx": keras.config.floatx(),
            "epsilon": keras.config.epsilon(),
            "image_data_format": keras.config.image_data_format(),
            "dtype_policy": keras.config.dtype_policy().name,
        },
    )


def packed(work: Any, parts: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Returns what all workers share, as it goes to them.

    Args:
        work: what they share.
        parts: what it is made of, by the name that an error calls it by.

    Returns:
        The work, and what the main program has registered with Keras: workers import
        modules, but they do not run the main program.

    Raises:
        ValueError: if a part of it cannot be pickled; it says which.
    """
    import keras
    from ray import cloudpickle

    registered = {
        name: made
        for name, made in keras.saving.get_custom_objects().items()
        if getattr(made, "__module__", None) == "__main__"
    }
    for name, part in {**parts, "what is registered with Keras": registered}.items():
        try:
            # Arrays are left where they are: it is about whether, not about the bytes.
            cloudpickle.dumps(part, protocol=5, buffer_callback=lambda _: None)
        except Exception as error:
            told = " ".join(str(error).split())
            raise ValueError(
                f"{name} cannot be sent to other processes: {type(error).__name__}: "
                f"{told}. Make in the function that builds the model what cannot be "
                "pickled (models, layers, open files, locks), and give arrays instead "
                "of datasets."
            ) from None
    return work, registered


def environment_of(cpus: float, gpus: float) -> dict[str, str]:
    """Returns variables with which frameworks take no more than a trial's share."""
    threads = str(max(1, int(cpus)))
    ours = {
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    if 0 < gpus < 1:
        ours |= {
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
    theirs = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_FORWARDED) and name not in _KEPT
    }
    return ours | theirs


def prepare(setup: Setup) -> None:
    """Sets up this process, before anything is unpickled."""
    os.environ.update(setup.environment)
    sys.path += [path for path in setup.paths if path not in sys.path]
    with contextlib.suppress(OSError):  # Another machine may not have it.
        os.chdir(setup.folder)


def prepare_keras(settings: Mapping[str, Any], registered: Mapping) -> None:
    """Sets up Keras, once what was sent has been unpickled."""
    import keras

    keras.config.set_floatx(settings["floatx"])
    keras.config.set_epsilon(settings["epsilon"])
    keras.config.set_image_data_format(settings["image_data_format"])
    keras.config.set_dtype_policy(settings["dtype_policy"])
    keras.saving.get_custom_objects().update(registered)
