"""Keeps trials from each other and from the program that they run in."""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from keras_babysit.backend import load
from keras_babysit.borrowing import names_kept, random_numbers_kept

#: Longer reasons are cut off.
_LONGEST = 400
#: Colours of Keras's messages.
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
#: Frames in files below these are not the user's.
_OTHERS = tuple(
    {
        str(Path(__file__).parents[2]),
        *(sysconfig.get_paths()[n] for n in ("purelib", "platlib", "stdlib")),
    }
)


def _is_worth_saying(record: logging.LogRecord) -> bool:
    """Not worth it: TensorFlow takes the same step of ever new models for retracing."""
    return "triggered tf.function retracing" not in record.getMessage()


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Runs a trial so that the program around it does not notice.

    Random numbers of Python, NumPy, Keras and the backend go on afterwards where they
    were. Layers get the names that they would get in a new process (`dense`, not
    `dense_57`), and afterwards Keras counts on where it was.

    TensorFlow's warnings of retracing, which come with every fifth model, are left out.

    What the trial has made is freed: a long search needs the memory of one trial.
    KerasTuner calls `keras.backend.clear_session()` for this, which leaves the weights
    of each model in memory, and forgets what is the caller's: the global dtype policy,
    the distribution, the seed, the counts of names.
    """
    backend = load("memory")
    log = logging.getLogger("tensorflow")
    with random_numbers_kept(), names_kept(fresh=True):
        log.addFilter(_is_worth_saying)
        try:
            with freed(), backend.gradients_forgotten():
                yield
        finally:
            log.removeFilter(_is_worth_saying)


@contextlib.contextmanager
def freed() -> Iterator[None]:
    """Frees what is made within.

    To look through all objects of a program with TensorFlow takes a tenth of a second,
    and Python does it every now and then while a model is built. So what was there
    before is left out meanwhile.
    """
    is_ours = not gc.get_freeze_count()  # Or the program has frozen some itself.
    if is_ours:
        gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        if is_ours:
            gc.unfreeze()


def in_one_line(error: BaseException) -> str:
    """Returns type and message of an exception, and where in the user's code it was."""
    message = " ".join(_ANSI.sub("", str(error)).split())
    if len(message) > _LONGEST:
        message = message[:_LONGEST].rstrip() + " ..."
    name = type(error).__name__
    text = f"{name}: {message}" if message else name
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_OTHERS)
    ]
    if not own:
        return text
    return f"{text} ({Path(own[-1].filename).name}, line {own[-1].lineno})"
