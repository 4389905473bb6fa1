"""Batches: taken from the epoch's own iterator, and handed on through one like it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.data.ops import dataset_ops, iterator_ops
from tensorflow.python.data.util import structure
from tensorflow.python.distribute import input_lib
from tensorflow.python.ops import gen_dataset_ops

Tensor = Any


def is_of_fit(iterator: Any) -> bool:
    """Whether an iterator is one that `fit` hands to the train function."""
    return isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator)


class Iterators:
    """Makes iterators that Keras's compiled function takes for the epoch's own.

    Args:
        model: the model that is being trained.
    """

    def __init__(self, model: Any):
        self._model = model
        # Making one takes milliseconds, filling it again does not.
        self._known: dict[Any, tuple[Tensor, Any]] = {}

    def over(self, batches: Sequence[Any], like: Any) -> Any:
        """Returns an iterator over some batches.

        Args:
            batches: what it yields, once.
            like: the epoch's iterator, which yielded them.
        """
        if not isinstance(like, tf.data.Iterator):
            return _distributed(batches, like, self._model.distribute_strategy)
        spec = like.element_spec
        key = repr(spec)
        if key not in self._known:
            resource = gen_dataset_ops.anonymous_iterator_v3(**_kinds(spec))
            iterator = iterator_ops.OwnedIterator(
                components=[resource], element_spec=spec
            )
            self._known[key] = (resource, iterator)
        resource, iterator = self._known[key]
        gen_dataset_ops.make_iterator(_dataset(batches, spec), resource)
        return iterator


def _kinds(spec: Any) -> dict[str, Any]:
    return {
        "output_types": structure.get_flat_tensor_types(spec),
        "output_shapes": structure.get_flat_tensor_shapes(spec),
    }


def _dataset(batches: Sequence[Any], spec: Any) -> Tensor:
    """A dataset of batches, as TensorFlow's own variant of it.

    Nothing is optimized or tuned: that starts threads, and takes ten times as long.
    """
    kinds = _kinds(spec)
    each = [
        gen_dataset_ops.tensor_dataset(
            structure.to_tensor_list(spec, batch), output_shapes=kinds["output_shapes"]
        )
        for batch in batches
    ]
    data = functools.reduce(
        lambda a, b: gen_dataset_ops.concatenate_dataset(a, b, **kinds), each
    )
    return gen_dataset_ops.options_dataset(data, _options(), **kinds)


@functools.cache
def _options() -> bytes:
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options._to_proto().SerializeToString()


def _distributed(batches: Sequence[Any], like: Any, strategy: Any) -> Any:
    """An iterator over the batches' parts, in the replicas' order."""
    parts = [
        tf.nest.map_structure(
            lambda value, i=i: strategy.experimental_local_results(value)[i], batch
        )
        for batch in batches
        for i in range(strategy.num_replicas_in_sync)
    ]
    own = like._iterators[0]
    spec = tf.nest.map_structure(_of_one_replica, own._element_spec)
    data = dataset_ops._VariantDataset(_dataset(parts, spec), spec)
    components = input_lib._create_iterators_per_worker(
        [data],
        like._input_workers,
        options=like._options,
        canonicalize_devices=own._canonicalize_devices,
    )
    iterator = input_lib.DistributedIterator(
        input_workers=like._input_workers,
        components=components,
        element_spec=like._element_spec,
        strategy=like._strategy,
        cardinality=like._cardinality,
        enable_get_next_as_optional=like._enable_get_next_as_optional,
        options=like._options,
        replica_order=like._replica_order,
    )
    iterator._babysit_data = data
    return iterator


def _of_one_replica(spec: Any) -> Any:
    return spec._value_specs[0] if hasattr(spec, "_value_specs") else spec


def leaves(batch: Any) -> list[Tensor]:
    """The tensors of a batch, as the arguments of a traced step."""
    given = tf.nest.map_structure(_without_optional, batch)
    flat = tf.nest.flatten(given, expand_composites=True)
    return [leaf for leaf in flat if tf.is_tensor(leaf)]


def _without_optional(value: Any) -> Any:
    return None if isinstance(value, tf.experimental.Optional) else value


def numpy_of_batch(tensor: Tensor) -> np.ndarray | None:
    """Fetches a tensor of a batch; `None` for what is no plain array."""
    if not isinstance(tensor, tf.Tensor) or not hasattr(tensor, "numpy"):
        return None
    return np.asarray(tensor)
