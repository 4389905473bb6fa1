"""The graph of an ensemble: members on shared inputs, and layers that average."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional

from keras_babysit.ensemble import arguments
from keras_babysit.ensemble.combining.inputs import shared_inputs
from keras_babysit.ensemble.combining.layers import averaged
from keras_babysit.ensemble.copies import copy_of, has_graph, remade
from keras_babysit.ensemble.outputs.combination import Combination
from keras_babysit.ensemble.outputs.forms import OutputForm, forms_of
from keras_babysit.errors import first_line
from keras_babysit.inspection.model import output_names


@dataclass(frozen=True)
class Graph:
    """What an ensemble is made of.

    Attributes:
        inputs: symbolic inputs, structured as the members'.
        outputs: symbolic outputs, structured as the members'.
        members: a model for each member that counts: a copy of it, mostly.
        each: each member's own outputs, flat.
        combination: their weights, and how they are averaged.
    """

    inputs: Any
    outputs: Any
    members: tuple[keras.Model, ...]
    each: list[list[Any]]
    combination: Combination

    @functools.cached_property
    def apart(self) -> keras.Model:
        """A model that puts out what each member does: a flat list for each."""
        return Functional(self.inputs, self.each, name="members")


def build(
    members: Sequence[keras.Model],
    weights: np.ndarray,
    average: str | None,
    from_logits: bool | None,
) -> Graph:
    """Returns the graph of members' weighted average.

    Members whose weight is 0 have no part in it.
    """
    arguments.class_names_agree(members)
    inputs = shared_inputs(members)
    names = [output_names(member) for member in members if has_graph(member)]
    arguments.names_agree(names, "outputs")
    copies: dict[int, keras.Model] = {}
    for number, member in enumerate(members, start=1):
        if id(member) not in copies:
            name = f"member_{number}"
            copies[id(member)] = copy_of(member, name) or _wrapped(member, inputs, name)
    leaves = keras.tree.flatten(inputs)
    made = {
        # The shared inputs in the structure of the member's own.
        key: copy(keras.tree.pack_sequence_as(copy.input, leaves))
        for key, copy in copies.items()
    }
    arguments.shapes_agree([made[id(member)] for member in members], "outputs")
    structure = made[id(members[0])]
    arguments.can_be_averaged(structure)
    forms = [_forms(member, made[id(member)], from_logits) for member in members]
    combination = Combination.of(forms, weights, average)
    counting = [id(members[number - 1]) for number in combination.numbers]
    each = [keras.tree.flatten(made[key]) for key in counting]
    last = _names(members[0], inputs, len(combination.averages))
    flat = [
        averaged(tensors, column, combination.weights, how, name)
        for tensors, column, how, name in zip(
            zip(*each, strict=True),
            zip(*combination.forms, strict=True),
            combination.averages,
            last,
            strict=True,
        )
    ]
    outputs = keras.tree.pack_sequence_as(structure, flat)
    chosen = tuple(copies[key] for key in counting)
    return Graph(inputs, outputs, chosen, each, combination)


def _wrapped(member: keras.Model, inputs: Any, name: str) -> keras.Model:
    """A functional model around a copy of a subclassed one, or around itself."""
    made = keras.tree.map_structure(
        lambda t: keras.Input(t.shape[1:], dtype=t.dtype, name=t.name), inputs
    )
    try:
        whole = remade(member, made)
    except ValueError:
        whole = member
        warnings.warn(
            f"{member.name!r} ({type(member).__name__}) cannot be copied by its "
            "`get_config`: the ensemble uses it itself, changes with it, and cannot "
            "be saved in one file. Give its class a `get_config` and "
            "`keras.saving.register_keras_serializable()`, or save the members each in "
            "a file and use `LazyEnsemble`.",
            stacklevel=5,
        )
    try:
        return keras.Model(made, whole(made), name=name)
    except Exception as e:
        raise ValueError(
            f"{member.name!r} ({type(member).__name__}) cannot be called on inputs of "
            f"shape {arguments.shown(made)}: {first_line(e)}"
        ) from None


def _forms(
    member: keras.Model, made: Any, from_logits: bool | None
) -> list[OutputForm]:
    forms = forms_of(member, from_logits)
    count = len(keras.tree.flatten(made))
    if len(forms) == count:
        return forms
    # A subclass compiled with one loss for all of its outputs, or not at all.
    forms = forms * count if len(forms) == 1 else [OutputForm()] * count
    names = [f"output_{i + 1}" for i in range(count)]
    if isinstance(made, dict) and len(made) == count:
        names = sorted(made)
    return [
        dataclasses.replace(form, name=name)
        for form, name in zip(forms, names, strict=True)
    ]


def _names(member: keras.Model, inputs: Any, count: int) -> list[str]:
    """Names for the last layers: as losses are given by, where there are several."""
    known = output_names(member) if has_graph(member) else []
    if count == 1 or len(known) != count:
        known = (
            ["average"] if count == 1 else [f"average_{i + 1}" for i in range(count)]
        )
    taken = {t.name for t in keras.tree.flatten(inputs)}
    return [f"{name}_average" if name in taken else name for name in known]
