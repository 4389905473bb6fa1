"""What the observed step needs of TensorFlow; the only module that others import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_babysit.backend import packing
from keras_babysit.backend.tensorflow.derivation import (
    Measuring,
    NotDerivableError,
    effects,
    is_of,
)
from keras_babysit.backend.tensorflow.describing import Tensors, Variables, fit_on_host
from keras_babysit.backend.tensorflow.expansions import expansions
from keras_babysit.backend.tensorflow.influence import leaves_weights_out
from keras_babysit.backend.tensorflow.iterators import (
    Iterators,
    is_of_fit,
    leaves,
    numpy_of_batch,
)
from keras_babysit.backend.tensorflow.runtime import described, numpy_of
from keras_babysit.backend.tensorflow.trainer import (
    Tracing,
    are_alike,
    dense,
    graph_of,
    is_eager,
    is_in,
    is_number,
    is_validating,
    is_value,
    is_xla,
    new_function,
    primal,
    reading,
    replica,
    traces_of,
    unrecorded,
    why_closed,
)

__all__ = [
    "RUNTIME_ERROR",
    "STATELESS",
    "Iterators",
    "Measuring",
    "NotDerivableError",
    "Tensors",
    "Tracing",
    "Variables",
    "are_alike",
    "dense",
    "describe_value",
    "describe_values",
    "effects",
    "expansions",
    "graph_of",
    "is_eager",
    "is_in",
    "is_number",
    "is_of",
    "is_of_fit",
    "is_validating",
    "is_value",
    "is_xla",
    "leaves",
    "leaves_weights_out",
    "new_function",
    "numpy_of",
    "numpy_of_batch",
    "primal",
    "reading",
    "replica",
    "traces_of",
    "unrecorded",
    "value_of",
    "why_closed",
]

Tensor = Any

#: Whether a step is a function of the values of all variables.
STATELESS = False
#: What running a function raises.
RUNTIME_ERROR = tf.errors.OpError


def value_of(variable: Any) -> Tensor:
    """Reads a Keras variable as a tensor that later updates leave alone."""
    return tf.identity(tf.convert_to_tensor(getattr(variable, "value", variable)))


def describe_value(tensor: Tensor, describer: Any) -> list[Tensor]:
    """Describes one tensor that exists: its row, and its units if it has some."""
    x = tf.convert_to_tensor(tensor)[None]
    if fit_on_host([tuple(tensor.shape)]):
        with np.errstate(all="ignore"):
            wide = np.asarray(x, np.float32)
            return [result[0] for result in packing.described(describer, wide)]
    if describer.layout == "samples":
        x = tf.cast(x, tf.float32)
    known = described(describer.function, describer.layout, (x.dtype,))
    return [result[0] for result in known(x)]


def describe_values(
    values: Sequence[Tensor], describer: Any, known: Tensors | None = None
) -> tuple[np.ndarray, Tensors]:
    """Describes tensors that exist, all in one call.

    Args:
        values: the tensors.
        describer: a `probes.Describer`.
        known: what an earlier call for tensors of these shapes returned second.

    Returns:
        A row for each, and what makes the next call fast.
    """
    tensors = [tf.convert_to_tensor(value) for value in values]
    if known is None:
        kinds = [(x.dtype, tuple(x.shape)) for x in tensors]
        known = Tensors(kinds, [describer] * len(kinds))
    rows = known.layout.read([np.asarray(x) for x in known(tensors)], {})
    return np.stack([rows[i][0] for i in range(len(tensors))]), known
