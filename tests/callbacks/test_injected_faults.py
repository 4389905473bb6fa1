"""Every function of ours that a fit calls fails once: the fit ends as the plain one."""

import os
import sys
import threading
import warnings
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_babysit
from keras_babysit import Babysitter
from keras_babysit.callbacks.babysitter import UnwritableError

OURS = os.path.dirname(keras_babysit.__file__)
#: One function of so many is taken; `make fuzz` takes all, in as many parts.
SHARE = 12
PARTS = SHARE if os.environ.get("KERAS_BABYSIT_FUZZ") else 1
KINDS = (RuntimeError, MemoryError, OSError, RecursionError, UserWarning)


class Calls:
    """Counts the calls of our functions while it is entered, and fails in one.

    Args:
        where: file and first line of the function that fails.
        at: the number of the call in which it does.
        error: what it raises.
    """

    def __init__(self, where=None, at=0, error=None):
        self.where, self.at, self.error = where, at, error
        self.counts = Counter()

    def __enter__(self):
        self._before = sys.gettrace()
        threading.settrace(self._called)
        sys.settrace(self._called)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)
        threading.settrace(self._before)

    def _called(self, frame, event, arg):
        code = frame.f_code
        if not code.co_filename.startswith(OURS):
            return None
        key = (code.co_filename[len(OURS) :], code.co_firstlineno, code.co_name)
        self.counts[key] += 1
        if key == self.where and self.counts[key] == self.at:
            error, self.error = self.error, None
            if error is not None:
                raise error
        return None


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    """Trains one compiled model from the same start; returns what it comes to."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)), rng.integers(0, 3, 24)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5, "relu"), keras.layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    start = [np.array(v) for v in variables]
    validation = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)

    def run(*callbacks, calls=None):
        keras.utils.set_random_seed(3)
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        with calls or Calls():
            history = model.fit(
                x,
                y,
                batch_size=4,
                epochs=2,
                verbose=0,
                callbacks=list(callbacks),
                validation_data=validation,
            )
        return [np.array(v) for v in variables], history.history

    run()
    return run


def watched(fit, path, calls):
    """A watched fit, with the warnings that were of us."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = fit(Babysitter(path, every=2, verbose=0), calls=calls)
    # A file that is dropped after a fault is Python's to close, and to warn of.
    caught = [w for w in caught if not issubclass(w.category, ResourceWarning)]
    said = [str(w.message) for w in caught]
    return found, [message for message in said if "babysit" in message.lower()]


def same(found, plain):
    return found[1] == plain[1] and all(
        np.array_equal(a, b) for a, b in zip(found[0], plain[0], strict=True)
    )


def is_injectable(key):
    """Whether it is a function that could fail before it can catch anything.

    Keras calls the hooks, which have nothing else in them than what catches it, and the
    user's layers call what watches them being traced. `finish` makes the user's step
    where something else has failed.
    """
    path, _, name = key
    hooks = name.startswith("on_") or name in ("_lead", "_raise_users_error")
    is_hook = path.endswith("babysitter.py") and hooks
    catches = name in ("watched", "stand_in", "finish")
    return not (is_hook or catches or name.startswith("<"))


def is_told(key):
    """Whether its failure ends the watching: what cannot be read is just unknown."""
    quiet = ("_close_sink", "learning_rate", "close")
    return "inspection" not in key[0] and key[2] not in quiet


@pytest.mark.parametrize("part", range(PARTS))
def test_each_function(fit, tmp_path, part):
    plain = fit()
    watched(fit, tmp_path / "imports", Calls())
    calls = Calls()
    found, said = watched(fit, tmp_path / "all", calls)
    assert same(found, plain)
    assert said == []
    # In an order that does not depend on the writer's thread.
    functions = sorted(key for key in calls.counts if is_injectable(key))
    assert len(functions) > 300
    wrong = []
    for i, key in enumerate(functions):
        if i % SHARE != part:
            continue
        for at in sorted({1, (calls.counts[key] + 2) // 2}):
            kind = KINDS[(i // SHARE + at) % len(KINDS)]
            failing = Calls(key, at, kind("injected"))
            try:
                found, said = watched(fit, tmp_path / f"{i}-{at}", failing)
            except UnwritableError:
                assert kind is OSError  # `log_dir` cannot be written: `fit` says so.
                continue
            except Exception as e:
                wrong.append((key, at, kind.__name__, f"ended by {e!r}"))
                continue
            if not same(found, plain):
                wrong.append((key, at, kind.__name__, "another result"))
            if len(said) > 1 or (failing.error is None and not said and is_told(key)):
                wrong.append((key, at, kind.__name__, f"{len(said)} warnings: {said}"))
    assert not wrong, "\n".join(map(str, wrong))
