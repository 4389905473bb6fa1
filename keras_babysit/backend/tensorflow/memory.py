"""What TensorFlow keeps of models that are gone: the only file here that knows it.

Keras's optimizers sum gradients over the replicas, also where there is one, by an
operation with a gradient of its own. TensorFlow registers that gradient, once for each
compiled training step, and never lets go of it; it holds the step's graph, which holds
the weights and the optimizer's state. KerasTuner's `keras.backend.clear_session()` does
not free them.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from tensorflow.python.framework import ops

#: What made the gradients that nothing will ever ask for: none goes through an update.
_SUM = "all_reduce"
#: Depth of the closures in which its name is found.
_DEPTH = 3


@contextlib.contextmanager
def gradients_forgotten() -> Iterator[None]:
    """Lets TensorFlow forget the training steps that were compiled in the meantime."""
    registry = getattr(ops.gradient_registry, "_registry", {})
    known = set(registry)
    try:
        yield
    finally:
        for name in set(registry) - known:
            entry = registry[name]
            if any(_is_of_sum(v, _DEPTH) for v in entry.values() if callable(v)):
                del registry[name]


def _is_of_sum(function: Callable[..., Any], depth: int) -> bool:
    if _SUM in getattr(function, "__qualname__", ""):
        return True
    if not depth or not inspect.isfunction(function):
        return False
    try:
        inner = inspect.getclosurevars(function).nonlocals.values()
    except ValueError:  # Of a variable that has no value yet.
        return False
    return any(_is_of_sum(f, depth - 1) for f in inner if callable(f))
