"""One trial in a process of its own, on whatever machine Ray has started it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keras_babysit.search import ray_mirror
from keras_babysit.search.store import Store
from keras_babysit.search.trials import EpochResult, Outcome, Trial

#: Settings of the driver's frameworks that hold for its workers too.
_FORWARDED = ("TF_", "XLA_", "JAX_", "KERAS_")
#: But for this one: it would make every worker a part of one big job.
_KEPT = ("TF_CONFIG",)
#: Seconds between two looks at whose workers may write.
_EVERY = 0.5


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


def packed(work: Any) -> tuple[Any, dict[str, Any]]:
    """Returns what all trials share, as it goes to the workers.

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
    parts = {"the hypermodel": work.hypermodel, "what is registered": registered}
    parts |= {f"the argument `{name}`": given for name, given in work.arguments.items()}
    for name, part in parts.items():
        try:
            # Arrays are left where they are: it is about whether, not about the bytes.
            cloudpickle.dumps(part, protocol=5, buffer_callback=lambda _: None)
        except Exception as error:
            told = " ".join(str(error).split())
            raise ValueError(
                f"{name} of the search cannot be sent to other processes: "
                f"{type(error).__name__}: {told}. Make in the function that builds the "
                "model what cannot be pickled (models, layers, open files, locks), and "
                "give arrays instead of datasets."
            ) from None
    return work, registered


def environment_of(cpus: float, gpus: float) -> dict[str, str]:
    """Returns variables with which frameworks take no more than a trial's share.

    Args:
        cpus: processors of a trial.
        gpus: and its GPUs; for a share of one, memory is taken as it is needed.
    """
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


def run(
    setup: Setup, payload: list[Any], board: Any, trial: Trial, space: Any
) -> Outcome:
    """Runs a trial: what Ray calls in the worker.

    Args:
        setup: how this process is to be set up.
        payload: a list with the reference to `(run_trial, work, registered)`. Ray
            would unpickle a reference itself, before the process is set up.
        board: the actor with `Board`'s methods.
        trial: the trial.
        space: configuration of the stage's `HyperParameters`.
    """
    import ray

    _prepare(setup)
    run_trial, work, registered = ray.get(payload[0])
    if "keras" in sys.modules:  # All but trials that train no model.
        _prepare_keras(setup.keras, registered)
    with _directory(setup) as directory:
        link = Link(setup, board, trial, directory, work.folds or 1)
        link.begin()
        outcome = run_trial(
            replace(work, directory=str(directory)), trial, space, link.report
        )
        return link.end(outcome)


class Link:
    """A worker's way to the driver: epochs go there, and files if need be.

    Args:
        setup: of the worker.
        board: the actor with `Board`'s methods.
        trial: the trial.
        directory: the search's folder that this worker writes to.
        folds: number of folds that the trial is trained on.
    """

    def __init__(
        self, setup: Setup, board: Any, trial: Trial, directory: Path, folds: int = 1
    ):
        self._setup, self._board, self._trial = setup, board, trial
        self._end = folds - 1, trial.epochs
        self._store = Store(directory)
        self._is_shared = str(directory) == setup.directory
        self._stamps: ray_mirror.Stamps = {}
        self._problems: dict[str, None] = {}
        self._is_over = threading.Event()

    def begin(self) -> None:
        """Gets the files that the trial may go on from; watches whose it is."""
        if self._is_shared:
            threading.Thread(target=self._watch, daemon=True).start()
            return
        folder = self._store.folder(self._trial)
        ray_mirror.write(folder, self._ask("files", self._trial.number))
        self._stamps = ray_mirror.stamps(folder)

    def report(self, result: EpochResult | None) -> str:
        """Tells the driver of an epoch; returns why the trial is to end, or `""`."""
        self._check()
        files, gone = self._news()
        answer = self._ask(
            "report", self._trial.number, self._trial.attempts, result, files, gone
        )
        if not answer.wanted:
            _leave("the trial was started again elsewhere")
        if answer.problem:
            self._problems[f"on the driver's machine: {answer.problem}"] = None
        is_last = result is not None and (result.fold, result.epoch) >= self._end
        # Then there is nothing left to stop, but the answer may be to one before.
        return "" if is_last else answer.stop

    def end(self, outcome: Outcome) -> Outcome:
        """Sends what was written after the last epoch; returns the outcome."""
        self._is_over.set()
        if not self._is_shared:
            self.report(None)
        return dataclasses.replace(outcome, notes=(*outcome.notes, *self._problems))

    def _check(self) -> None:
        setup = self._setup
        if self._is_shared and ray_mirror.driver_of(setup.directory) != setup.driver:
            _leave("its driver is not the one that searches")

    def _watch(self) -> None:
        # An epoch can be long, and ends with writing.
        while not self._is_over.wait(_EVERY):
            self._check()

    def _news(self) -> tuple[dict[str, bytes], list[str]]:
        if self._is_shared:
            return {}, []
        folder = self._store.folder(self._trial)
        before, self._stamps = self._stamps, ray_mirror.stamps(folder)
        new, gone = ray_mirror.changed(before, self._stamps)
        return ray_mirror.read(folder, new), gone

    def _ask(self, what: str, *arguments: Any) -> Any:
        import ray

        try:
            return ray.get(getattr(self._board, what).remote(*arguments))
        except ray.exceptions.RayActorError:
            _leave("its driver has gone")


def _leave(why: str) -> Any:
    """Ends this process at once, before an orphan writes into what is not its own."""
    print(f"A worker of keras_babysit ends: {why}.", file=sys.stderr, flush=True)
    os._exit(1)


def _prepare(setup: Setup) -> None:
    os.environ.update(setup.environment)
    sys.path += [path for path in setup.paths if path not in sys.path]
    with contextlib.suppress(OSError):  # Another machine may not have it.
        os.chdir(setup.folder)


def _prepare_keras(settings: Mapping[str, Any], registered: Mapping) -> None:
    import keras

    keras.config.set_floatx(settings["floatx"])
    keras.config.set_epsilon(settings["epsilon"])
    keras.config.set_image_data_format(settings["image_data_format"])
    keras.config.set_dtype_policy(settings["dtype_policy"])
    keras.saving.get_custom_objects().update(registered)


@contextlib.contextmanager
def _directory(setup: Setup) -> Iterator[Path]:
    """The driver's folder if this machine has it, else one that lasts for the trial."""
    if ray_mirror.driver_of(setup.directory) == setup.driver:
        yield Path(setup.directory)
        return
    with tempfile.TemporaryDirectory(prefix="keras-babysit-") as made:
        yield Path(made)
