"""One member, trained from a seed of its own."""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_babysit.borrowing import names_kept, random_numbers_kept
from keras_babysit.ensemble import files


@dataclass(frozen=True)
class Job:
    """What it takes to train a member.

    Attributes:
        number: which member it is, from 0.
        seed: its seed.
        make_model: returns a compiled model.
        callbacks: a list to copy, a function of the number, or `None`.
        fit_arguments: data and all.
    """

    number: int
    seed: int
    make_model: Callable[[], Any]
    callbacks: Any
    fit_arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """A member that has been trained.

    Attributes:
        model: the model.
        history: its logs by epoch.
        start: a digest of the weights it began with.
    """

    model: keras.Model
    history: dict[str, list[float]]
    start: str


def trained(job: Job) -> Trained:
    """Trains a member; the caller's random numbers stay as they are."""
    with random_numbers_kept():
        with names_kept(fresh=True):
            model = made(job)
        start = _digest(model)
        # Again, for `make_model` may have set it.
        keras.utils.set_random_seed(job.seed)
        arguments = {"verbose": 0, **job.fit_arguments}
        history = model.fit(callbacks=_callbacks(job), **arguments).history
    floats = {name: [float(v) for v in values] for name, values in history.items()}
    return Trained(model, floats, start)


def made(job: Job) -> keras.Model:
    """Returns the model that a member begins as."""
    keras.utils.set_random_seed(job.seed)
    model = job.make_model()
    if not isinstance(model, keras.Model):
        hint = " Does it lack a `return`?" if model is None else ""
        raise ValueError(
            f"`make_model` must return a compiled keras.Model.{hint} "
            f"Received: {model!r}"
        )
    if not model.compiled:
        raise ValueError(
            "`make_model` must return a compiled model: call "
            "`model.compile(optimizer, loss)` in it. Received: a model that is not"
        )
    return model


def in_bytes(job: Job) -> tuple[bytes, dict[str, list[float]], str]:
    """Trains a member elsewhere; returns its file, its history and how it began."""
    result = trained(job)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "member.keras"
        files.save(result.model, path)
        return path.read_bytes(), result.history, result.start


def listed_callbacks(callbacks: Any) -> list:
    """Returns callbacks as a list; raises a `ValueError` for anything else."""
    wrong = callbacks
    if isinstance(callbacks, Iterable):
        found = list(callbacks)
        others = [c for c in found if not isinstance(c, keras.callbacks.Callback)]
        if not others:
            return found
        wrong = others[0]
    raise ValueError(
        "`callbacks` must be a list of callbacks, or a function of the member's "
        f"number that returns one. Received: {wrong!r}"
    )


def _callbacks(job: Job) -> list:
    if job.callbacks is None:
        return []
    if callable(job.callbacks):
        return listed_callbacks(job.callbacks(job.number))
    return [_copied(callback) for callback in job.callbacks]


def _copied(callback: Any) -> Any:
    try:
        return copy.deepcopy(callback)
    except Exception as e:
        raise ValueError(
            f"Each member needs callbacks of its own, and {type(callback).__name__} "
            f"cannot be copied ({type(e).__name__}: {e}). Expected: callbacks=a "
            "function of the member's number that returns a new list."
        ) from None


def _digest(model: keras.Model) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for variable in model.trainable_variables:
        digest.update(keras.ops.convert_to_numpy(variable.value).tobytes())
    return digest.hexdigest() if model.trainable_variables else ""
