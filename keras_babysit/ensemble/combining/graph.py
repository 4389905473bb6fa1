"""The graph of an ensemble: members on shared inputs, and layers that average."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_babysit.ensemble import arguments
from keras_babysit.ensemble.combining import outputs
from keras_babysit.ensemble.combining.copies import copy_of, has_graph, remade
from keras_babysit.ensemble.combining.outputs import OutputForm
from keras_babysit.inspection.layers import graph_of

#: What `average` may be.
AVERAGES = ("probabilities", "logits", "geometric", "mean")


@dataclass(frozen=True)
class Graph:
    """What an ensemble is made of.

    Attributes:
        inputs: symbolic inputs, structured as the members'.
        outputs: symbolic outputs, structured as the members'.
        members: a model for each member that counts: a copy of it, mostly.
        weights: float64 array, their weights, summing to one.
        each: each member's own outputs, flat.
        forms: what each member's outputs are.
        averages: how each output is averaged.
        counting: indices of the members that count, among those given.
        foreign: numbers of the members that could not be copied.
    """

    inputs: Any
    outputs: Any
    members: tuple[keras.Model, ...]
    weights: np.ndarray
    each: list[list[Any]]
    forms: list[list[OutputForm]]
    averages: tuple[str, ...]
    counting: tuple[int, ...]
    foreign: tuple[int, ...] = ()


def build(
    members: Sequence[keras.Model],
    weights: np.ndarray,
    average: str | None,
    from_logits: bool | None,
) -> Graph:
    """Returns the graph of members' weighted average.

    Members whose weight is 0 have no part in it.

    Raises:
        ValueError: if the members do not fit together.
    """
    if average is not None and average not in AVERAGES:
        raise ValueError(
            f"`average` must be one of {list(AVERAGES)}. Received: average={average!r}"
        )
    arguments.class_names_agree(members)
    symbolic = [_symbolic_inputs(m, members) for m in members]
    arguments.shapes_agree(symbolic, "inputs")
    with_graph = [m for m in members if has_graph(m)]
    arguments.names_agree([input_names(m) for m in with_graph], "inputs")
    arguments.names_agree([outputs.output_names(m) for m in with_graph], "outputs")
    inputs = _shared_inputs(symbolic)
    made: dict[int, tuple[keras.Model, list[Any], Any]] = {}
    foreign = []
    for number, member in enumerate(members, start=1):
        if id(member) not in made:
            copy = copy_of(member, f"member_{number}")
            if copy is None:
                copy, is_copy = _wrapped(member, inputs, f"member_{number}")
                foreign += [] if is_copy else [number]
            structured = copy(_as_given(inputs, copy.input))
            made[id(member)] = copy, keras.tree.flatten(structured), structured
    arguments.shapes_agree([made[id(m)][2] for m in members], "outputs")
    arguments.can_be_averaged(made[id(members[0])][2])
    forms = outputs.agreed([_forms(m, made[id(m)][2], from_logits) for m in members])
    averages = [chosen_average(average, column) for column in zip(*forms, strict=True)]
    counting = [i for i, weight in enumerate(weights) if weight > 0]
    each = [made[id(members[i])][1] for i in counting]
    forms = [forms[i] for i in counting]
    names = _names(members[0], inputs, len(averages))
    flat = [
        averaged(
            [one[at] for one in each],
            [form[at] for form in forms],
            weights[counting],
            averages[at],
            names[at],
        )
        for at in range(len(averages))
    ]
    structured = made[id(members[0])][2]
    return Graph(
        inputs,
        keras.tree.pack_sequence_as(structured, flat),
        tuple(made[id(members[i])][0] for i in counting),
        weights[counting],
        each,
        forms,
        tuple(averages),
        tuple(counting),
        tuple(foreign),
    )


# ------------------------------------------------------------------------- inputs


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


def input_names(member: keras.Model) -> list[str]:
    """Returns the names that a functional model's inputs are fed by, flat."""
    given = graph_of(member).input
    if isinstance(given, dict):
        return sorted(map(str, given))
    return [tensor.name for tensor in keras.tree.flatten(given)]


def _shared_inputs(symbolic: Sequence[Any]) -> Any:
    """New inputs, named as the first member's; sizes that any of them fixes."""
    flat = [keras.tree.flatten(one) for one in symbolic]
    made = []
    for tensors in zip(*flat, strict=True):
        sizes = zip(*(t.shape[1:] for t in tensors), strict=True)
        shape = [next((n for n in size if n is not None), None) for size in sizes]
        first = tensors[0]
        made.append(
            keras.Input(
                tuple(shape),
                dtype=first.dtype,
                name=first.name,
                sparse=bool(getattr(first, "sparse", False)),
            )
        )
    return keras.tree.pack_sequence_as(symbolic[0], made)


def _as_given(inputs: Any, own: Any) -> Any:
    """The shared inputs in the structure of a member's own."""
    return keras.tree.pack_sequence_as(own, keras.tree.flatten(inputs))


def _wrapped(member: keras.Model, inputs: Any, name: str) -> tuple[keras.Model, bool]:
    """A functional model around a subclassed one, and whether that is a copy."""
    made = keras.tree.map_structure(
        lambda t: keras.Input(t.shape[1:], dtype=t.dtype, name=t.name), inputs
    )
    copy = remade(member, made)
    if copy is None:
        warnings.warn(
            f"{member.name!r} ({type(member).__name__}) cannot be copied by its "
            "`get_config`: the ensemble uses it itself, changes with it, and cannot "
            "be saved in one file. Give its class a `get_config` and "
            "`keras.saving.register_keras_serializable()`, or save the members each in "
            "a file and use `LazyEnsemble`.",
            stacklevel=5,
        )
    try:
        wrapped = keras.Model(made, (copy or member)(made), name=name)
    except Exception as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else repr(e)
        raise ValueError(
            f"{member.name!r} ({type(member).__name__}) cannot be called on inputs of "
            f"shape {arguments.shown(made)}: {reason}"
        ) from None
    return wrapped, copy is not None


# ------------------------------------------------------------------------ outputs


def _forms(
    member: keras.Model, made: Any, from_logits: bool | None
) -> list[OutputForm]:
    forms = outputs.forms_of(member, from_logits)
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


def chosen_average(average: str | None, forms: Sequence[OutputForm]) -> str:
    """Returns how an output is averaged, what was asked for given.

    Raises:
        ValueError: if that cannot be done with such outputs.
    """
    is_values = forms[0].kind == "values"
    if average is None:
        return "mean" if is_values else "probabilities"
    if average != "mean" and is_values and not forms[0].known:
        raise ValueError(
            f'`average="{average}"` needs outputs known to be probabilities or logits: '
            "end the members in softmax or sigmoid, compile them, or pass "
            "`from_logits=True`. Received: members of which neither is known"
        )
    if average == "mean" and len({form.logits for form in forms}) > 1:
        raise ValueError(
            '`average="mean"` needs outputs of one kind. Received: members with '
            f"{' and '.join(sorted({form.words for form in forms}))}"
        )
    return "mean" if is_values else average


def _names(member: keras.Model, inputs: Any, count: int) -> list[str]:
    """Names for the last layers: as losses are given by, where there are several."""
    known = outputs.output_names(member) if has_graph(member) else []
    if count == 1 or len(known) != count:
        known = (
            ["average"] if count == 1 else [f"average_{i + 1}" for i in range(count)]
        )
    taken = {t.name for t in keras.tree.flatten(inputs)}
    return [f"{name}_average" if name in taken else name for name in known]


def averaged(
    tensors: Sequence[Any],
    forms: Sequence[OutputForm],
    weights: np.ndarray,
    average: str,
    name: str,
) -> Any:
    """Returns the weighted average of symbolic tensors, made by standard layers.

    In float32, whatever the members compute in; in float64 if one of them does.
    """
    dtypes = [keras.backend.standardize_dtype(t.dtype) for t in tensors]
    dtype = "float64" if "float64" in dtypes else "float32"
    kind = forms[0].kind
    if average == "probabilities":
        parts = [
            _function(kind, dtype)(t) if form.logits else t
            for t, form in zip(tensors, forms, strict=True)
        ]
        return _weighted(parts, weights, dtype, name)
    if average == "mean":
        return _weighted(tensors, weights, dtype, name)
    parts = [
        t if form.logits else _logits(t, kind, dtype)
        for t, form in zip(tensors, forms, strict=True)
    ]
    if average == "logits":
        return _weighted(parts, weights, dtype, name)
    return _function(kind, dtype, name)(
        _weighted(parts, weights, dtype, f"{name}_logits")
    )


def _function(kind: str, dtype: str, name: str | None = None) -> Any:
    if kind == "binary":
        return keras.layers.Activation("sigmoid", dtype=dtype, name=name)
    return keras.layers.Softmax(dtype=dtype, name=name)


def _logits(tensor: Any, kind: str, dtype: str) -> Any:
    """Logits of probabilities; of one class out of several, up to a constant."""
    p = keras.ops.cast(tensor, dtype)

    def log(values: Any) -> Any:
        return keras.ops.log(keras.ops.clip(values, outputs.SMALLEST, 1.0))

    return log(p) - log(1 - p) if kind == "binary" else log(p)


def _weighted(
    tensors: Sequence[Any], weights: np.ndarray, dtype: str, name: str
) -> Any:
    layers = keras.layers
    if len(tensors) == 1:
        return layers.Activation("linear", dtype=dtype, name=name)(tensors[0])
    if np.ptp(weights) == 0:
        return layers.Average(dtype=dtype, name=name)(list(tensors))
    parts = [
        layers.Rescaling(float(weight), dtype=dtype, name=f"{name}_weight_{number}")(t)
        for number, (t, weight) in enumerate(zip(tensors, weights, strict=True), 1)
    ]
    return layers.Add(dtype=dtype, name=name)(parts)
