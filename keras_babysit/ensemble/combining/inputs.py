"""The inputs that the members of an ensemble share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_babysit.ensemble import arguments
from keras_babysit.ensemble.copies import has_graph
from keras_babysit.inspection.layers import graph_of


def shared_inputs(members: Sequence[keras.Model]) -> Any:
    """Returns new symbolic inputs that fit all members, named as the first's.

    Sizes that any of the members fixes are fixed.
    """
    symbolic = [_symbolic_inputs(member, members) for member in members]
    arguments.shapes_agree(symbolic, "inputs")
    names = [input_names(member) for member in members if has_graph(member)]
    arguments.names_agree(names, "inputs")
    made = []
    for tensors in zip(*map(keras.tree.flatten, symbolic), strict=True):
        sizes = zip(*(t.shape[1:] for t in tensors), strict=True)
        first = tensors[0]
        made.append(
            keras.Input(
                tuple(next((n for n in size if n is not None), None) for size in sizes),
                dtype=first.dtype,
                name=first.name,
                sparse=bool(getattr(first, "sparse", False)),
            )
        )
    return keras.tree.pack_sequence_as(symbolic[0], made)


def input_names(member: keras.Model) -> list[str]:
    """Returns the names that a functional model's inputs are fed by, flat."""
    given = graph_of(member).input
    if isinstance(given, dict):
        return sorted(map(str, given))
    return [tensor.name for tensor in keras.tree.flatten(given)]


def _symbolic_inputs(member: keras.Model, members: Sequence[keras.Model]) -> Any:
    """A member's symbolic inputs; those of a subclass are made up from its shapes."""
    if has_graph(member):
        return graph_of(member).input
    for other in members:
        if has_graph(other):
            # What it is given here: it may take more than one kind of thing.
            return graph_of(other).input
    shapes = getattr(member, "_build_shapes_dict", None) or {}
    shape = next(iter(shapes.values()), None) if len(shapes) == 1 else None
    inputs = _inputs_of(shape)
    if inputs is None:
        raise ValueError(
            f"The inputs of {member.name!r} ({type(member).__name__}) are not known. "
            "Make it a functional model: `keras.Model(inputs, model(inputs))` with "
            "`inputs = keras.Input(...)`."
        )
    return inputs


def _inputs_of(shape: Any, name: str | None = None) -> Any:
    """Symbolic inputs of shapes, whose tuples are lists in a file; or `None`."""
    if isinstance(shape, dict):
        return {key: _inputs_of(one, key) for key, one in shape.items()}
    if not isinstance(shape, list | tuple) or not shape:
        return None
    if all(size is None or isinstance(size, int) for size in shape):
        return keras.Input(tuple(shape[1:]), name=name)
    inputs = [_inputs_of(one) for one in shape]
    return None if any(one is None for one in inputs) else inputs
