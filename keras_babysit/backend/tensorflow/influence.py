"""What a traced training step makes use of, of all that it is given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from keras_babysit.backend.tensorflow.pruning import is_stateful


def leaves_weights_out(concrete: Any, spec: Any) -> bool:
    """Whether a step is given weights of its samples, and nothing depends on them.

    Args:
        concrete: the traced function of one step.
        spec: the specification of a batch, `(x, y, sample_weight)`.

    Returns:
        `False` also where that is not known.
    """
    if not isinstance(spec, tuple) or len(spec) != 3:
        return False
    graph = concrete.graph
    parts = [len(_specs(part)) for part in spec]
    captures = [*graph.internal_captures, *graph.deferred_internal_captures]
    given = len(graph.inputs) - len(tf.nest.flatten(captures, expand_composites=True))
    if not parts[2] or sum(parts) != given:
        return False
    return not _are_used(graph, graph.inputs[given - parts[2] : given])


def _specs(part: Any) -> list[tf.TypeSpec]:
    flat = tf.nest.flatten(part, expand_composites=True)
    return [spec for spec in flat if isinstance(spec, tf.TypeSpec)]


def _are_used(graph: Any, inputs: Iterable[Any]) -> bool:
    """Whether anything that a graph returns or does depends on some of its inputs.

    All that a graph does, it does by stateful operations: assignments, calls of Python,
    assertions, functions that hold such operations.
    """
    returned = {id(tensor) for tensor in graph.outputs}
    waiting, seen = list(inputs), set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in returned:
            return True
        for op in tensor.consumers():
            if is_stateful(op.type):
                return True
            if op.name not in seen:
                seen.add(op.name)
                waiting.extend(op.outputs)
    return False
