"""What a sink is: somewhere the records of a run are written to."""

from __future__ import annotations

import abc
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from keras_babysit.errors import installing
from keras_babysit.facts import Outline
from keras_babysit.records import Finding, Record
from keras_babysit.report import Report


class UnwritableError(ValueError):
    """Nothing can be written where a sink should: said before training."""


@dataclass(frozen=True)
class Run:
    """The run that a sink is opened for.

    Attributes:
        log_dir: the `log_dir` of the `Babysitter`.
        outline: returns the outline of the model, once it is built; without one, all
            layers and weights have charts, under their own names.
        settings: the run's hyperparameters by name: numbers, strings and booleans.
    """

    log_dir: str
    outline: Callable[[], Outline] = Outline
    settings: Mapping[str, Any] = field(default_factory=dict)


class Writer(Protocol):
    """An open sink. Whatever it raises closes it, with one warning."""

    def emit(self, record: Record) -> None:
        """Takes a record."""

    def emit_findings(self, findings: Iterable[Finding], step: int) -> None:
        """Takes all findings so far, after `step` optimizer updates."""

    def emit_run(self, report: Report, step: int) -> None:
        """Takes the report so far: at the start of a run, and at its end."""

    def flush(self) -> None:
        """Asks for what was taken so far to be written."""

    def close(self) -> None:
        """Writes what is left."""


class Sink(abc.ABC):
    """Somewhere that a `Babysitter` writes to: one class a file.

    A sink holds settings only, so that it can be copied and pickled; `open` returns
    what is written to while a model is trained.

    Attributes:
        name: what `Babysitter(..., sinks=[name])` calls it.
        package: the package that it needs, if it is not one that is always there. The
            extra of setup.py that installs it has the sink's name.
    """

    name: ClassVar[str]
    package: ClassVar[str] = ""

    @abc.abstractmethod
    def open(self, run: Run) -> Writer:
        """Returns what the records of a run are written to.

        Raises:
            UnwritableError: if nothing can be written there, which ends the `fit`.
                Anything else leaves this sink out, with one warning.
        """

    def check(self) -> None:
        """Looks whether the package is installed, without importing it.

        Raises:
            ImportError: if it is not.
        """
        if not self.package:
            return
        found = importlib.util.find_spec(self.package)
        # Some packages leave folders of their own name in the working directory.
        if found is None or found.origin is None:
            raise ImportError(
                f'The sink "{self.name}" needs the package {self.package}. Install it '
                f"with {installing(self.name)}."
            )
