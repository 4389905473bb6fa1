"""The outline of a model: what its charts are chosen and named by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from keras.src.backend.common import global_state
from keras.src.utils.naming import to_snake_case

from keras_babysit.facts import Outline
from keras_babysit.inspection.layers import activation_of, name_in_model, own_weights

#: Words in the names of weights that are no kernels, whatever their shape: a GRU's bias
#: has two axes.
_NO_KERNEL = ("bias", "beta", "gamma", "scale", "alpha", "offset")
#: What Bidirectional puts before the name of the layer that it wraps.
_WRAPPED = "(?:forward_|backward_)?"


def outline(model: Any) -> Outline:
    """Returns the outline of a model that is built."""
    layers = list(model._flatten_layers(include_self=False))
    kinds = {v.name: _kind(v) for v in (model, *layers, *model.trainable_variables)}
    made_up = {name: kind for name, kind in kinds.items() if kind}
    chosen = frozenset(name for name, kind in kinds.items() if not kind)
    return Outline(model.name, made_up, chosen, frozenset(_minor(model)))


def _kind(thing: Any) -> str:
    """The kind of a name that Keras has made up in this process; empty of others.

    Somebody may have chosen `dense_2`, but Keras counts the names that it makes up.
    """
    word = to_snake_case(type(thing).__name__)
    found = re.fullmatch(rf"({_WRAPPED}{re.escape(word)})(?:_(\d+))?", thing.name)
    made = global_state.get_global_attribute("object_name_uids") or {}
    if found is None or int(found[2] or 0) >= made.get(word, 0):
        return ""
    return found[1]


def _minor(model: Any) -> Iterator[str]:
    for layer in model._flatten_layers(include_self=False):
        has_kernel = any(map(_is_kernel, own_weights(layer)))
        if not has_kernel and activation_of(layer) is None:
            yield name_in_model(layer)
    yield from (v.path for v in model.trainable_variables if not _is_kernel(v))


def _is_kernel(variable: Any) -> bool:
    small = any(word in variable.name for word in _NO_KERNEL)
    return len(variable.shape) >= 2 and not small
