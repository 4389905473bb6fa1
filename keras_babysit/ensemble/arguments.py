"""What ensembles are given: members and weights, and what is wrong with them.

Whatever is wrong is a `ValueError` that says what was expected.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import keras
import numpy as np
from keras.src.utils.naming import to_snake_case

from keras_babysit.errors import rereadable

#: How far weights may be from a sum of one: written with six digits they are.
_ROUNDING = 1e-5
#: What to do with files instead.
_FOR_FILES = (
    ". Load files with `load_members(paths)`, or one at a time with "
    "`LazyEnsemble(paths)`."
)


def models_of(members: Any) -> list[keras.Model]:
    """Returns the members as a list, those of an `Ensemble` if it is one."""
    if isinstance(members, keras.Model):
        inner = getattr(members, "members", None)
        if inner is None:
            raise ValueError(
                "`members` must be a list of models: `[model, ...]`. Received: one "
                f"{type(members).__name__}"
            )
        members = inner
    # Neither has an order that weights could go by.
    unordered = isinstance(members, Mapping | Set)
    is_path = isinstance(members, str | os.PathLike)
    if is_path or unordered or not isinstance(members, Iterable):
        hint = _FOR_FILES if is_path else ""
        raise ValueError(
            "`members` must be a list of keras models. Received: "
            f"{members!r} of type {type(members).__name__}{hint}"
        )
    found = list(members)
    if not found:
        raise ValueError("`members` must hold at least one model. Received: none")
    for number, member in enumerate(found, start=1):
        _check_model(member, number)
    return found


def _check_model(member: Any, number: int) -> None:
    if isinstance(member, str | os.PathLike):
        raise ValueError(
            f"Member {number} must be a keras.Model. Received: the path {str(member)!r}"
            f"{_FOR_FILES}"
        )
    if not isinstance(member, keras.Model):
        raise ValueError(
            f"Member {number} must be a keras.Model. Received: {member!r} of type "
            f"{type(member).__name__}"
        )
    if not member.built:
        raise ValueError(
            f"Member {number}, {member.name!r}, has no weights yet: give it an input "
            "shape (`keras.Input`) or call it on data once."
        )


def check_inputs(x: Any, again: str = "") -> None:
    """Makes sure that there is something to predict.

    Args:
        x: what `predict` takes.
        again: when it is read again, if it is read more than once.
    """
    if x is None:
        raise ValueError("`x` must be data as for `predict`. Received: x=None")
    if any(0 in getattr(leaf, "shape", ())[:1] for leaf in keras.tree.flatten(x)):
        raise ValueError("`x` must have at least one sample. Received: none")
    # A dataset may know that it is empty.
    if hasattr(x, "cardinality") and int(x.cardinality()) == 0:
        raise ValueError("`x` must have at least one batch. Received: none")
    if again and isinstance(x, Iterator):
        raise ValueError(
            f"`x` is read again {again}, and a generator can be read only once. "
            f"Expected: {rereadable()}. Received: x={type(x).__name__}"
        )


def check_arrays(x: Any) -> int:
    """Makes sure that inputs can be read again, and part of them.

    Returns:
        How many samples there are.
    """
    for part in keras.tree.flatten(x):
        if not hasattr(part, "shape") or len(part.shape) == 0:
            raise ValueError(
                "`x` must be arrays, in what structure `predict` takes them: a dataset "
                "may come in another order each time that it is read. Received: "
                f"{type(part).__name__}"
            )
    lengths = [int(part.shape[0]) for part in keras.tree.flatten(x)]
    if not lengths or lengths[0] == 0 or len(set(lengths)) > 1:
        raise ValueError(
            "`x` must have at least one sample, and all arrays as many. Received: "
            f"{lengths} samples"
        )
    return lengths[0]


def targets_of(y: Any, count: int) -> np.ndarray:
    """Returns labels or targets of one output as an array."""
    if y is None:
        raise ValueError("`y` must be labels or targets. Received: y=None")
    if isinstance(y, Mapping):
        raise ValueError(
            "`y` must be the labels or targets of one output, as one array: "
            f"`y=y[{next(iter(y), 'name')!r}]`. Received: those of {list(y)}"
        )
    try:
        found = np.asarray(y)
    except ValueError:
        raise ValueError(
            "`y` must be one array: labels or targets. Received: "
            f"{type(y).__name__} of parts that do not have the same shape"
        ) from None
    if found.ndim == 0 or found.dtype.kind not in "biuf":
        raise ValueError(
            "`y` must be an array of numbers: targets, or labels as integers from 0 in "
            "the order of the members' outputs. Received: y of shape "
            f"{found.shape} and dtype {found.dtype}"
        )
    if not len(found):
        raise ValueError("`y` must have at least one sample. Received: none")
    if len(found) != count:
        raise ValueError(
            "`y` must have a label or target for each sample of `x`. Received: y of "
            f"shape {found.shape} for {count} samples"
        )
    return found


def weights_of(weights: Any, n: int) -> np.ndarray:
    """Returns one weight for each of `n` members: float64, summing to one."""
    if weights is None:
        return np.full(n, 1 / n)
    try:
        found = np.asarray(weights, float)
    except (TypeError, ValueError):
        raise ValueError(
            f"`weights` must be {n} numbers. Received: weights={weights!r}"
        ) from None
    if found.shape != (n,):
        raise ValueError(
            f"`weights` must be one number for each of {n} members. Received: "
            f"weights of shape {found.shape}"
        )
    # Not `< 0`: NaN is neither.
    if not (found >= 0).all():
        raise ValueError(
            "`weights` must be 0 or above, and none NaN. Received: "
            f"weights={found.tolist()}"
        )
    total = found.sum()
    if not abs(total - 1) <= _ROUNDING:
        raise ValueError(
            "`weights` must sum to one: divide them by their sum. Received: "
            f"weights={found.tolist()}, which sum to {total:.6g}"
        )
    # Those that are right stay as they are, to the bit.
    return found if abs(total - 1) < 1e-12 else found / total


def shapes_agree(structures: Sequence[Any], what: str) -> None:
    """Makes sure that the inputs, or the outputs, of all members are alike."""
    first = structures[0]
    for number, other in enumerate(structures[1:], start=2):
        if not _alike(first, other):
            raise ValueError(
                f"Members must have the same {what}. Received: {shown(first)} of "
                f"member 1, {shown(other)} of member {number}"
            )


def names_agree(members: Sequence[Sequence[str]], what: str) -> None:
    """Makes sure that inputs, or outputs, that have names are in the same order.

    Lists are fed, and averaged, by position. Names that Keras may have made tell
    nothing, nor do those of which another member has not the same.
    """
    plain = [[re.sub(r"_\d+$", "", name) for name in names] for names in members]
    for number, names in enumerate(plain[1:], start=2):
        first = plain[0]
        apart = len(set(first)) == len(first) and not _made_by_keras() & set(first)
        if apart and names != first and sorted(names) == sorted(first):
            raise ValueError(
                f"Members must have their {what} in the same order. Received: "
                f"{list(members[0])} of one member, {list(members[number - 1])} of "
                "another"
            )


@functools.cache
def _made_by_keras() -> frozenset[str]:
    """Names that layers have if nobody gives them one."""
    return frozenset(map(to_snake_case, dir(keras.layers)))


def _alike(one: Any, other: Any) -> bool:
    """Whether structure, kind and shape agree; `None` is any size, the batch's too."""
    if _structure(one) != _structure(other):
        return False
    pairs = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
    return all(
        _kind(a) == _kind(b)
        and len(a.shape) == len(b.shape)
        and all(
            m == n or None in (m, n)
            for m, n in zip(a.shape[1:], b.shape[1:], strict=True)
        )
        for a, b in pairs
    )


def _structure(tensors: Any) -> Any:
    """Keys, or the number in a list: a list of one is no list to Keras."""
    if isinstance(tensors, dict):
        return sorted(tensors)
    return len(keras.tree.flatten(tensors))


def _kind(tensor: Any) -> str:
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if keras.backend.is_float_dtype(dtype):
        return "float"
    return "integer" if keras.backend.is_int_dtype(dtype) else dtype


def can_be_averaged(tensors: Any) -> None:
    """Makes sure that outputs are floating-point numbers.

    The mean of classes 0 and 2 is not class 1.
    """
    for number, tensor in enumerate(keras.tree.flatten(tensors), start=1):
        if _kind(tensor) != "float":
            raise ValueError(
                f"Output {number} of the members is not floating-point, and has no "
                "meaningful mean. Take others (`keras.Model(model.inputs, [...])`) or "
                f"cast it. Received: {tensor.dtype}"
            )


def shown(tensors: Any) -> str:
    """Shapes for a message: `(28, 28, 1)`, `{'a': (12,), 'b': (12,)}`."""
    if isinstance(tensors, dict):
        return str({name: tuple(t.shape[1:]) for name, t in tensors.items()})
    flat = [tuple(t.shape[1:]) for t in keras.tree.flatten(tensors)]
    kinds = {_kind(t) for t in keras.tree.flatten(tensors)} - {"float"}
    text = str(flat[0] if len(flat) == 1 else flat)
    return f"{text} ({', '.join(sorted(kinds))})" if kinds else text


def class_names_agree(members: Sequence[Any]) -> None:
    """Makes sure that members that say what their classes are say the same.

    Keras models do not: this reads an attribute `class_names`, which many programs set
    from `image_dataset_from_directory(...).class_names`.
    """
    known = {
        number: [str(name) for name in names]
        for number, member in enumerate(members, start=1)
        if (names := getattr(member, "class_names", None)) is not None
    }
    for number, names in known.items():
        first, expected = next(iter(known.items()))
        if names != expected:
            raise ValueError(
                "Members must have their classes in the same order. Received: "
                f"class_names={expected} of member {first}, {names} of member {number}"
            )
