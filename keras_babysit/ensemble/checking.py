"""What ensembles are given: members and weights, and what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import keras
import numpy as np

#: How far weights may be from a sum of one: written with six digits they are.
_ROUNDING = 1e-5
#: What to do with files instead.
_FOR_FILES = (
    ". Load files with `load_members(paths)`, or one at a time with "
    "`LazyEnsemble(paths)`."
)


def models_of(members: Any) -> list[keras.Model]:
    """Returns the members as a list, those of an `Ensemble` if it is one.

    Raises:
        ValueError: if there are none, or something in it is not a built model.
    """
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


def check_whole(least: int, **numbers: Any) -> None:
    """Makes sure that numbers are integers, Python's or NumPy's, and large enough.

    Raises:
        ValueError: if one is not.
    """
    for name, value in numbers.items():
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < least:
            what = "a positive integer" if least == 1 else "an integer of 0 or more"
            raise ValueError(f"`{name}` must be {what}. Received: {name}={value!r}")


def check_arrays(x: Any) -> int:
    """Makes sure that inputs can be read again, and part of them.

    Returns:
        How many samples there are.

    Raises:
        ValueError: if they are no arrays, have no samples, or not all as many.
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


def weights_of(weights: Any, n: int) -> np.ndarray:
    """Returns one weight for each of `n` members: float64, summing to one.

    Args:
        weights: numbers of 0 or more that sum to one; `None` for equal ones.
        n: number of members.

    Raises:
        ValueError: for anything else.
    """
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


def shapes_agree(
    structures: Sequence[Any], what: str
) -> list[tuple[tuple[int | None, ...], ...]]:
    """Makes sure that the inputs, or the outputs, of all members are alike.

    Args:
        structures: of each member a symbolic tensor, or a list or dict of them.
        what: `"inputs"` or `"outputs"`, for the message.

    Returns:
        The shapes of each member's, flat, batch axis left out.

    Raises:
        ValueError: if their structure, their shape or their kind of dtype differs.
    """
    first = structures[0]
    for number, other in enumerate(structures[1:], start=2):
        if not _alike(first, other):
            raise ValueError(
                f"Members must have the same {what}. Received: {shown(first)} of "
                f"member 1, {shown(other)} of member {number}"
            )
    flat = [keras.tree.flatten(s) for s in structures]
    return [tuple(tuple(t.shape[1:]) for t in tensors) for tensors in flat]


def _alike(one: Any, other: Any) -> bool:
    if _structure(one) != _structure(other):
        return False
    pairs = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
    return all(
        _kind(a) == _kind(b)
        and len(a.shape) == len(b.shape)
        # The batch is nobody's; `None` is any size.
        and all(
            m == n or m is None or n is None
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

    Raises:
        ValueError: if two members' differ.
    """
    known = {
        number: [str(name) for name in names]
        for number, member in enumerate(members, start=1)
        if (names := getattr(member, "class_names", None)) is not None
    }
    for number, names in known.items():
        first = next(iter(known))
        if names != known[first]:
            raise ValueError(
                "Members must have their classes in the same order. Received: "
                f"class_names={known[first]} of member {first}, "
                f"class_names={names} of member {number}"
            )
