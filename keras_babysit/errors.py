"""What exceptions say: those of Keras and its backends, and some of our own."""

from __future__ import annotations

import contextlib
import math
import numbers
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

#: What Keras may compute with.
_FRAMEWORKS = ("tensorflow", "jax", "torch")

#: Colours in messages of Keras, names of its own functions in those of TensorFlow.
_NOISE = re.compile(r"\x1b\[[0-9;]*m|\{\{.*?\}\} ?|\[Op:\w*\]( name:)?")


def first_line(error: BaseException) -> str:
    """Returns what happened, without where: one line; the type if it says nothing."""
    # What Keras says of a whole model is followed by what went wrong in it.
    text = _NOISE.sub("", str(error)).rpartition("Exception encountered: ")[2]
    # The configuration of a whole model can be pages.
    text = text.partition(" Full object config:")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Keras says in which layer it was first, and then what.
    if len(lines) > 1 and lines[0].startswith("Exception encountered"):
        lines = [f"{lines[0]} {lines[1]}"]
    return lines[0] if lines else type(error).__name__


def installing(extra: str) -> str:
    """Returns the command that installs an extra of this package, for messages.

    It installs from where the package came from, which may be no index: a clone, a
    wheel, a repository.

    Args:
        extra: its name in setup.py: `"search"`.
    """
    # Only for a message: these take a while to import.
    from urllib.parse import urlparse
    from urllib.request import url2pathname

    came = _origin()
    url, repository = came.get("url", ""), came.get("vcs_info", {})
    if repository:
        return f"`pip install 'keras_babysit[{extra}] @ {repository['vcs']}+{url}'`"
    if url.startswith("file:"):
        path = url2pathname(urlparse(url).path)
        editable = "-e " if came.get("dir_info", {}).get("editable") else ""
        return f"`pip install {editable}'{path}[{extra}]'`"
    return f"`pip install 'keras_babysit[{extra}]'`"


def _origin() -> dict[str, Any]:
    """What pip has noted of a package that is not from an index (PEP 610)."""
    import json
    from importlib import metadata

    try:
        noted = metadata.distribution("keras_babysit").read_text("direct_url.json")
        return json.loads(noted or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return {}


@contextlib.contextmanager
def importing_keras() -> Iterator[None]:
    """Says what to install where Keras finds no framework to compute with.

    Raises:
        ImportError: in place of Keras's own error, which says only what is missing.
    """
    try:
        yield
    except ModuleNotFoundError as e:
        name = (e.name or "").partition(".")[0]
        if name not in _FRAMEWORKS:
            raise
        raise ImportError(
            f"Keras computes with {name}, which is not installed. Install it with "
            f"{installing(name)}, or set the environment variable KERAS_BACKEND to "
            "another backend."
        ) from None


def rereadable() -> str:
    """Returns what data can be read again and again, for messages."""
    import keras

    own = {
        "tensorflow": "a `tf.data.Dataset`",
        "torch": "a `torch.utils.data.DataLoader`",
    }.get(keras.backend.backend())
    return f"arrays{f', {own}' if own else ''} or a `keras.utils.PyDataset`"


def warn(message: str) -> None:
    """Warns, and never raises.

    Where warnings are errors (`python -W error`, a `filterwarnings` of pytest), a
    warning of ours would end the training that it is about: there it is written to
    standard error instead.

    Args:
        message: what to say, with its full stop.
    """
    try:
        warnings.warn(message, stacklevel=3)
    except Warning:
        print(f"UserWarning: {message}", file=sys.stderr)


def wrong(name: str, expected: str, value: Any) -> ValueError:
    """Returns the error of an argument that must be something else."""
    return ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")


def number(
    name: str, value: Any, expected: str, holds: Callable[[float], bool]
) -> float:
    """Returns an argument as a float.

    Args:
        name: of the argument.
        value: what was received.
        expected: what it must be: `"a positive number"`.
        holds: says whether a number is. NaN never is.

    Raises:
        ValueError: if it is no number, or does not hold.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or value != value or not holds(float(value)):
        raise wrong(name, expected, value)
    return float(value)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and no boolean."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def positive(name: str, value: Any) -> float:
    """Returns an argument that must be a positive number."""
    return number(name, value, "a positive number", lambda v: v > 0)


def whole(name: str, value: Any, least: int = 1) -> int:
    """Returns an argument that must be an integer, at least so large.

    Raises:
        ValueError: if it is none, or less.
    """
    real = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not real or value < least:
        kind = {0: "a non-negative integer", 1: "a positive integer"}.get(least)
        kind = kind or f"an integer of at least {least}"
        raise wrong(name, kind, value)
    return int(value)


def whole_or_none(name: str, value: Any, least: int = 1) -> int | None:
    """Returns an argument that may be `None` instead of such an integer."""
    return None if value is None else whole(name, value, least)
