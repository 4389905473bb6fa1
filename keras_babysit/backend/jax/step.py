"""What the observed step needs of JAX; the only module that others import.

Keras's step is a function of the values of all variables there, and the variables are
empty while an epoch lasts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras.src.backend.jax.trainer import JAXTrainer

from keras_babysit.backend.jax.describing import Measuring, Tensors, Variables, numpy_of

__all__ = [
    "STATELESS",
    "Iterators",
    "Measuring",
    "Variables",
    "compiled",
    "dense",
    "describe_value",
    "describe_values",
    "expansions",
    "is_eager",
    "is_in",
    "is_number",
    "is_of",
    "is_of_fit",
    "is_validating",
    "is_value",
    "kind_of",
    "numpy_of",
    "numpy_of_batch",
    "primal",
    "reading",
    "replica",
    "trace_of",
    "traces_of",
    "unrecorded",
    "value_of",
    "why_closed",
]

Tensor = Any

#: Whether a step is a function of the values of all variables.
STATELESS = True


def why_closed(model: Any, plain: Callable, kind: str = "train") -> str:
    """Returns why one cannot look into a train or test function; `""` if one can.

    Args:
        model: a compiled Keras model.
        plain: its function.
        kind: `"train"` or `"test"`.
    """
    names = (f"make_{kind}_function", "_make_function", "_get_jax_state")
    for name in names:
        if getattr(type(model), name) is not getattr(JAXTrainer, name):
            return f"{type(model).__name__} overrides {name}()"
    if str(getattr(plain, "__module__", "")).split(".")[0] != "keras":
        return f"the model's {kind}_function is not the one that Keras made"
    return ""


def is_eager(model: Any) -> bool:
    """Whether the model's step is run by Python, and nothing is traced."""
    return bool(model.run_eagerly) or not model.jit_compile


def traces_of(plain: Callable) -> list[Any]:
    """What Keras compiled before; for other trainable variables it compiles another."""
    return []


def is_of_fit(iterator: Any) -> bool:
    """Whether an iterator is one that `fit` hands to the train function."""
    return "_on_batch." not in getattr(iterator, "__qualname__", "")


def is_validating(model: Any, iterator: Any = None) -> bool:
    """Whether `fit` validates a model, and by this iterator, as far as Keras knows."""
    own = getattr(model, "_eval_epoch_iterator", None)
    if own is None or iterator is None:
        return own is not None
    # Keras does not keep an iterator over data of unknown length.
    return own._current_iterator is None or own._current_iterator is iterator


class Iterators:
    """Makes iterators over batches that were taken.

    Args:
        model: the model that is being trained.
    """

    def __init__(self, model: Any):
        pass

    def over(self, batches: Sequence[Any], like: Any) -> Any:
        """Returns an iterator over some batches of another one."""
        return iter(batches)


@contextlib.contextmanager
def reading(model: Any, state: tuple) -> Iterator[None]:
    """Has variables read as they are in a training; what is assigned is forgotten.

    Args:
        model: the model.
        state: what its train or test function gets before the iterator.
    """
    if not state:
        yield
        return
    values = list(state[0])
    variables = [model.trainable_variables, model.non_trainable_variables]
    if len(values) == 4:
        variables.append(model.optimizer.variables)
    variables.append(model.metrics_variables)
    pairs = [
        pair
        for some, theirs in zip(variables, values, strict=True)
        for pair in zip(some, theirs, strict=True)
    ]
    synced = model._jax_state_synced
    try:
        # A callback's `model` would put the state before the last step into it.
        model._jax_state_synced = True
        with keras.StatelessScope(state_mapping=pairs):
            yield
    finally:
        model._jax_state_synced = synced


def compiled(function: Callable) -> Callable:
    """Compiles a side-effect-free function of a state and a batch."""
    return jax.jit(function)


def kind_of(batch: Any) -> str:
    """What a compiled function is compiled for: structure, shapes and dtypes."""
    leaves, structure = jax.tree.flatten(batch)
    kinds = [(np.shape(x), str(getattr(x, "dtype", type(x)))) for x in leaves]
    return f"{structure} {kinds}"


# While a step is traced.


def trace_of(state: Any) -> Any:
    """The trace that what is computed from a state is of; `None` if it is computed."""
    for leaf in jax.tree.leaves(state):
        if isinstance(leaf, jax.core.Tracer):
            return leaf._trace
    return None


def primal(tensor: Tensor) -> Tensor:
    """A tensor itself, of one that is differentiated."""
    while isinstance(tensor, jax.core.Tracer) and hasattr(tensor, "primal"):
        tensor = tensor.primal
    return tensor


def is_in(tensor: Any, trace: Any) -> bool:
    """Whether it can be used in a trace: not what was traced inside of a loop."""
    if not isinstance(tensor, jax.Array):
        return False
    return not isinstance(tensor, jax.core.Tracer) or tensor._trace is trace


#: Whether a tensor is computed in a trace, or exists if that is `None`.
is_value = is_in


def is_of(trace: Any, tensor: Tensor) -> bool:
    """Whether a gradient can be used in a trace."""
    return is_in(tensor, trace)


def is_number(tensor: Tensor) -> bool:
    """Whether the elements of a tensor are real numbers, or true and false."""
    dtype = tensor.dtype
    return any(
        jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)
    )


def expansions(trace: Any, gradients: Sequence[Tensor]) -> list[Any]:
    """Differences of tensors that were broadcast in own code: not looked for."""
    return []


def replica() -> int:
    """The number of the replica: a step is one computation for all devices."""
    return 0


def dense(gradient: Tensor) -> Tensor:
    """Returns a gradient as a tensor."""
    return gradient


def unrecorded() -> contextlib.AbstractContextManager[None]:
    """What is computed inside is no part of a gradient: it is of primal values."""
    return contextlib.nullcontext()


# Values.


def value_of(variable: Any) -> Tensor:
    """Reads a Keras variable as a tensor that later updates leave alone."""
    return jnp.copy(jnp.asarray(getattr(variable, "value", variable)))


def describe_value(tensor: Tensor, describer: Any) -> list[Tensor]:
    """Describes one tensor that exists: its row, and its units if it has some."""
    known = Tensors([(tensor.dtype, tuple(tensor.shape))], [describer])
    table, units = known([tensor])
    return [table[0], units] if len(units) else [table[0]]


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
    tensors = [jnp.asarray(getattr(value, "value", value)) for value in values]
    if known is None:
        kinds = [(x.dtype, tuple(x.shape)) for x in tensors]
        known = Tensors(kinds, [describer] * len(kinds))
    rows = known.layout.read([np.asarray(x) for x in known(tensors)], {})
    return np.stack([rows[i][0] for i in range(len(tensors))]), known


def numpy_of_batch(tensor: Tensor) -> np.ndarray | None:
    """Fetches a tensor of a batch; `None` for what is no plain array."""
    return np.asarray(tensor) if isinstance(tensor, jax.Array | np.ndarray) else None
