"""Models and data that a command line names: `package.module:attribute`, files."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from keras_babysit.document.words import cut
from keras_babysit.errors import first_line, importing_keras

_PACKAGE = Path(__file__).parents[1]


class Failure(click.ClickException):
    """Something is wrong with what was named."""

    exit_code = 2


class TheirFailure(Failure):
    """Code of the user's has failed, which is shown as it was raised."""

    def __init__(self, what: str, error: BaseException):
        super().__init__(f"{what} failed.\n\n{theirs(error)}")


@contextlib.contextmanager
def framework() -> Iterator[None]:
    """Says what to install where importing Keras fails."""
    try:
        with importing_keras():
            yield
    except ImportError as e:
        raise Failure(str(e)) from None


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Says in a line what was wrong with what was named."""
    try:
        yield
    except Exception as e:
        if is_theirs(e):
            raise TheirFailure("The model or the data", e) from None
        if isinstance(e, ValueError | TypeError | ImportError | OSError):
            raise Failure(str(e)) from None
        raise


def write(file: Path, text: str, option: str) -> None:
    """Writes the file that an option names.

    Raises:
        click.BadParameter: if it cannot be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(
            f"{str(file)!r} cannot be written: {error.strerror or error}.",
            param_hint=option,
        ) from error


def find(target: str) -> Any:
    """Returns what a target names, before anything of it is called.

    Args:
        target: `"package.module:attribute"` or the path of a `.keras` file.

    Raises:
        Failure: if it is not there.
    """
    if not target.endswith(".keras"):
        return _found(target)
    if not Path(target).is_file():
        raise Failure(f"There is no file {target!r}.")
    return Path(target)


def model_of(target: str) -> Any:
    """Returns the Keras model that a target names, or that its function returns.

    Raises:
        Failure: if there is none.
    """
    import keras

    value = find(target)
    if isinstance(value, Path):
        return _saved(target)
    if not isinstance(value, keras.Model):
        value = _called(value, target)
    if not isinstance(value, keras.Model):
        hint = " Is a `return` missing?" if value is None else ""
        raise Failure(
            f"{target!r} must be a compiled keras.Model, or a function that returns "
            f"one.{hint} Received: {_short(value)}"
        )
    if not value.compiled:
        raise Failure(
            f"The model of {target!r} must be compiled: call `model.compile(optimizer, "
            "loss)` before it is returned."
        )
    return value


def data_of(target: str) -> tuple:
    """Returns the data that a target names, or that its function returns.

    Args:
        target: `"package.module:attribute"`.

    Returns:
        `(x,)`, `(x, y)` or `(x, y, sample_weight)`, as for `fit`.

    Raises:
        Failure: if there are none.
    """
    value = find(target)
    if isinstance(value, Path):
        raise Failure(f"{target!r} is the file of a model, not data.")
    if callable(value) and not hasattr(value, "shape"):
        value = _called(value, target)
    if value is None:
        raise Failure(
            f"{target!r} must be data, or a function that returns them: (x, y), "
            "(x, y, sample_weight), a dataset or a generator. Is a `return` missing? "
            "Received: None"
        )
    if not isinstance(value, tuple):
        return (value,)
    if len(value) not in (1, 2, 3):
        raise Failure(
            f"{target!r} must be (x, y), (x, y, sample_weight), a dataset or a "
            f"generator. Received: a tuple of {len(value)}"
        )
    return value


def theirs(error: BaseException) -> str:
    """What Python would print of an exception, without the frames of libraries."""
    told = traceback.TracebackException.from_exception(error)
    for one in _chain(told):
        kept = [frame for frame in one.stack if _is_theirs(frame.filename)]
        one.stack = traceback.StackSummary.from_list(kept)
    return "".join(told.format()).rstrip()


def is_theirs(error: BaseException) -> bool:
    """Whether an exception went through code of the user's."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(_is_theirs(frame.filename) for frame in frames)


def _chain(
    told: traceback.TracebackException,
) -> Iterator[traceback.TracebackException]:
    yield told
    for other in (told.__cause__, told.__context__):
        if other is not None:
            yield from _chain(other)


def _is_theirs(filename: str) -> bool:
    path = Path(filename).absolute()
    # TensorFlow writes files of functions that it has rewritten.
    if filename.startswith("<") or path.name.startswith("__autograph_generated_file"):
        return False
    places: list[str | Path] = [_PACKAGE]
    places += [sysconfig.get_paths()[n] for n in ("stdlib", "purelib", "platlib")]
    return not any(path.is_relative_to(place) for place in places)


def _found(target: str) -> Any:
    """The attribute of a module."""
    name, _, attribute = target.partition(":")
    parts = [*name.split("."), *attribute.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise Failure(
            f"{target!r} must be a module and a name in it, as in "
            "`package.module:make_model`."
        )
    value = _module(name)
    for part in attribute.split("."):
        if not hasattr(value, part):
            public = [n for n in vars(value) if not n.startswith("_")]
            close = difflib.get_close_matches(part, public, n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise Failure(f"{name!r} has no {attribute!r}.{hint}")
        value = getattr(value, part)
    return value


def _module(name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name and (name == e.name or name.startswith(f"{e.name}.")):
            raise Failure(
                f"There is no module {e.name!r} in {here} or where Python looks for "
                "packages. Run the command in the directory that your own imports "
                "start from."
            ) from None
        raise TheirFailure(f"Importing {name!r}", e) from None
    except SystemExit as e:
        raise Failure(
            f"Importing {name!r} ended the program (exit code {e.code}): put what "
            'should only run as a script below `if __name__ == "__main__":`.'
        ) from None
    except Exception as e:
        raise TheirFailure(f"Importing {name!r}", e) from None


def _called(value: Any, target: str) -> Any:
    """What a function of no arguments returns."""
    if not callable(value):
        raise Failure(
            f"{target!r} must be a function without arguments, or what it would "
            f"return. Received: {_short(value)}"
        )
    try:
        inspect.signature(value).bind()
    except TypeError as e:
        raise Failure(
            f"{target!r} must be a function that can be called without arguments: {e}."
        ) from None
    except ValueError:
        pass  # Some that are written in C do not say what they take.
    try:
        return value()
    except SystemExit as e:
        raise Failure(f"{target!r} ended the program (exit code {e.code}).") from None
    except Exception as e:
        raise TheirFailure(f"{target!r}", e) from None


def _saved(target: str) -> Any:
    import keras

    try:
        model = keras.saving.load_model(target)
    except Exception as e:
        raise Failure(
            f"Keras cannot load {target!r}: {first_line(e)} Classes of yours must be "
            "registered with `keras.saving.register_keras_serializable()` in a module "
            "that --data imports."
        ) from None
    if not model.compiled:
        raise Failure(f"The model in {target!r} was saved without being compiled.")
    return model


def _short(value: Any) -> str:
    return f"{type(value).__name__} {cut(repr(value), 60)}"
