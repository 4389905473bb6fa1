"""Members: one model trained from several initializations, and models in files."""

from __future__ import annotations

import functools
import inspect
import json
import os
import tempfile
import types
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import random_numbers_kept
from keras_babysit.ensemble import files
from keras_babysit.ensemble.members.checkpoints import BestCheckpoints
from keras_babysit.ensemble.members.settings import first_difference, settings_of
from keras_babysit.ensemble.members.snapshots import SnapshotCheckpoint
from keras_babysit.ensemble.members.training import (
    Job,
    Trained,
    listed_callbacks,
    trained,
)
from keras_babysit.errors import whole, wrong
from keras_babysit.event_files.replacing import write

_SETTINGS = "members.json"


class Members(list):
    """A list of models (or, if not to be loaded, of paths) and how they came about.

    Attributes:
        paths: the files, if there is a directory; else empty.
        histories: of each member its logs by epoch, as `History.history` has them.
    """

    def __init__(
        self, members: Iterable, paths: Sequence[str], histories: Sequence[dict]
    ):
        super().__init__(members)
        self.paths, self.histories = list(paths), list(histories)


def train_members(
    make_model: Callable[[], keras.Model],
    x: Any,
    y: Any = None,
    n: int = 5,
    *,
    directory: str | os.PathLike | None = None,
    seed: int = 0,
    callbacks: Any = None,
    executor: Any = None,
    load: bool = True,
    custom_objects: dict[str, Any] | None = None,
    **fit_arguments: Any,
) -> Members:
    """Trains the same model from different initializations.

    CS231n, "Model ensembles": same model, different initializations. Each member has
    its own seed for initialization, shuffling and dropout, spawned from `seed` (NumPy's
    `SeedSequence`), so the first three of five members are the same as with `n=3`. The
    caller's random numbers continue as if nothing had been drawn.

    With a directory, each member is saved when it is finished: `member-000.keras`,
    which loads in plain Keras, and `member-000.json`, its history. Run again, after a
    crash or for more members, only what is missing is trained.

    Args:
        make_model: a function without arguments that returns a new compiled model. It
            must not set seeds itself.
        x: inputs, as for `fit`, but not a generator, which can be read only once.
        y: targets, as for `fit`.
        n: how many members.
        directory: where to keep members; by default they are in memory only.
        seed: the seed of all seeds.
        callbacks: a list of callbacks, deep-copied for each member, or a function of
            the member's number that returns a list, for those that write files.
        executor: `"ray"` for several members at a time, each in a process of its own,
            or a `keras_babysit.search.RayExecutor` that says how many and with what;
            needs `pip install 'keras_babysit[ray]'`. By default one after the other,
            here. Results may differ between the two in rounding.
        load: whether to return models; `False` for their paths, where there is not
            enough memory for all.
        custom_objects: as for `keras.saving.load_model`.
        **fit_arguments: as for `fit`: `epochs`, `batch_size`, `validation_data`, ...;
            `verbose` is 0 by default.

    Returns:
        `Members`, a list of the models, or with `load=False` of the paths.

    Raises:
        ValueError: for arguments out of range, a `make_model` that returns something
            else, or a directory of members with other settings.
        TypeError: for arguments that `fit` does not have.
        ImportError: if Ray is asked for and missing.

    Warns:
        UserWarning: if members start with the same weights.

    Example:
    ```python
    members = keras_babysit.ensemble.train_members(
        make_model, x_train, y_train, n=5, epochs=20, directory="members"
    )
    ensemble = keras_babysit.ensemble.Ensemble(members)
    ```
    """
    _check(make_model, n, seed, {"x": x, **fit_arguments})
    jobs = _jobs(make_model, n, seed, callbacks, {"x": x, "y": y, **fit_arguments})
    run = functools.partial(_run, executor=_executor(executor), known=custom_objects)
    with random_numbers_kept():
        if directory is not None:
            folder = files.check_directory("directory", directory)
            _check_settings(folder, settings_of(jobs[0], seed))
            return _in_files(folder, jobs, run, custom_objects, load)
        if not load:
            raise ValueError("`load=False` needs a `directory` to keep members in.")
        results = dict(run(jobs))
    done = [results[job.number] for job in jobs]
    _warn_of_twins([one.start for one in done])
    return Members([one.model for one in done], [], [one.history for one in done])


def load_members(
    source: Any,
    n: int = 5,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
) -> list[keras.Model]:
    """Returns the models of an ensemble, from files, a search or a tuner.

    Args:
        source: a directory of `.keras` files (read in the order of their names), a list
            of their paths, or of paths and models; models are returned as they are. Or
            a search with `best_models`, or a tuner with `get_best_models`.
        n: how many of the best of a search; of files all are read.
        custom_objects: as for `keras.saving.load_model`.
        compile: whether to compile models that were saved so. `False` saves the memory
            of their optimizers, where they are to predict only.

    Raises:
        ValueError: if there are none, or something is not there, not a model, or
            cannot be loaded.

    Example:
    ```python
    members = keras_babysit.ensemble.load_members("snapshots")
    ```
    """
    whole("n", n)
    best = getattr(source, "best_models", getattr(source, "get_best_models", None))
    if best is not None:
        source = best(n)
    if files.is_path(source) and not Path(source).is_dir():
        source = [source]
    return [
        files.load(one, custom_objects, compile) if files.is_path(one) else one
        for one in files.listed("source", source)
    ]


def _check(make_model: Any, n: Any, seed: Any, arguments: dict[str, Any]) -> None:
    if not callable(make_model) or isinstance(make_model, keras.Model):
        raise wrong(
            "make_model", "a function that returns a new compiled model", make_model
        )
    whole("n", n)
    whole("seed", seed, least=0)
    known = inspect.signature(keras.Model.fit).parameters
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise TypeError(
            f"`fit` has no argument {unknown[0]!r}, and train_members none either."
        )
    if arguments["x"] is None:
        raise ValueError("There is nothing to train on. Received: x=None")
    for name, value in arguments.items():
        if isinstance(value, types.GeneratorType):
            raise ValueError(
                "A generator can be read by one member only. Expected: arrays, a "
                f"dataset or a keras.utils.PyDataset. Received: {name}={value!r}"
            )


def _jobs(
    make_model: Any, n: int, seed: int, callbacks: Any, arguments: dict[str, Any]
) -> list[Job]:
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    if not (callbacks is None or callable(callbacks)):
        callbacks = listed_callbacks(callbacks)
        _check_copies(callbacks, n)
    apart = np.random.SeedSequence(seed).spawn(n)
    seeds = [int(sequence.generate_state(1)[0]) for sequence in apart]
    return [Job(i, s, make_model, callbacks, arguments) for i, s in enumerate(seeds)]


def _check_copies(callbacks: Sequence[Any], n: int) -> None:
    """Copies of what keeps a directory to itself would stop at the second member."""
    for one in callbacks:
        if n > 1 and isinstance(one, SnapshotCheckpoint | BestCheckpoints):
            raise ValueError(
                f"Copies of {type(one).__name__} would write into one directory. "
                "Expected: a function of the member's number, such as "
                f'`callbacks=lambda i: [{type(one).__name__}(f"members/{{i}}")]`.'
            )


def _executor(given: Any) -> Any:
    """Returns a `RayExecutor`, or `None` for members that are trained here."""
    if given is None:
        return None
    # Brings the whole search with it.
    from keras_babysit.search.ray.executor import RayExecutor

    if given == "ray":
        return RayExecutor()
    if not isinstance(given, RayExecutor):
        raise wrong(
            "executor", 'None, "ray" or a keras_babysit.search.RayExecutor', given
        )
    return given


def _in_files(
    folder: Path, jobs: Sequence[Job], run: Any, custom_objects: Any, load: bool
) -> Members:
    """Trains members that have no file, and returns all."""
    for number, result in run([job for job in jobs if not _is_done(folder, job)]):
        notes = {"start": result.start, "history": result.history}
        write(_notes(folder, number), json.dumps(notes).encode())
        # Last, for it says that the member is done.
        files.save(result.model, _path(folder, number))
    told = [json.loads(_notes(folder, job.number).read_text()) for job in jobs]
    _warn_of_twins([one["start"] for one in told])
    paths = [str(_path(folder, job.number)) for job in jobs]
    members = [files.load(p, custom_objects) for p in paths] if load else paths
    return Members(members, paths, [one["history"] for one in told])


def _is_done(folder: Path, job: Job) -> bool:
    return all(at(folder, job.number).is_file() for at in (_path, _notes))


def _run(
    jobs: Sequence[Job], executor: Any, known: dict[str, Any] | None
) -> Iterator[tuple[int, Trained]]:
    if executor is None:
        last: Any = None
        for job in jobs:
            result = trained(job)
            if last is not None and last() is result.model:
                raise ValueError(
                    "`make_model` must return a new model each time that it is called. "
                    f"Received: the same one, {result.model!r}, for two members"
                )
            # No more than that: members may be too large to keep two of them.
            last = weakref.ref(result.model)
            yield job.number, result
        return
    from keras_babysit.ensemble.members.on_ray import results_on_ray

    with tempfile.TemporaryDirectory() as folder:
        for number, (content, history, start) in results_on_ray(jobs, executor):
            path = _path(Path(folder), number)
            path.write_bytes(content)
            yield number, Trained(files.load(path, known), history, start)


def _path(folder: Path, number: int) -> Path:
    return folder / f"member-{number:03d}.keras"


def _notes(folder: Path, number: int) -> Path:
    return folder / f"member-{number:03d}.json"


def _check_settings(folder: Path, wanted: dict[str, str]) -> None:
    """Writes with what members are trained, or compares it with what is there."""
    path = folder / _SETTINGS
    if not path.is_file():
        found = sorted(folder.glob("member-*.keras"))
        if found:
            raise ValueError(
                f"{str(folder)!r} has members but not their settings, {_SETTINGS!r}. "
                f"Use another directory. Received: {found[0].name!r} in it"
            )
        write(path, json.dumps(wanted, indent=1).encode())
        return
    difference = first_difference(json.loads(path.read_text()), wanted)
    if difference is not None:
        raise ValueError(
            f"{str(folder)!r} has members of other settings: {difference}. Use another "
            "directory, or the same settings."
        )


def _warn_of_twins(starts: Sequence[str]) -> None:
    known = [start for start in starts if start]
    if len(set(known)) < len(known):
        warnings.warn(
            "Members begin with the same weights, so they differ less than they could. "
            "Does `make_model` set a seed?",
            stacklevel=4,
        )
