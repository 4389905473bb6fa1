"""What exceptions say: those of Keras and its backends, and some of our own."""

from __future__ import annotations

import re

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

    Args:
        extra: its name in setup.py: `"search"`.
    """
    return f"`pip install 'keras_babysit[{extra}]'`"
