"""With what members were trained, so that a folder holds members of one kind."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import names_kept, random_numbers_kept
from keras_babysit.ensemble.members.training import Job, made
from keras_babysit.errors import first_line

#: Of `fit`: how it tells, not what it does.
_SILENT = ("verbose",)


def settings_of(job: Job, seed: int) -> dict[str, str]:
    """Returns what makes a member what it is, as texts to compare.

    Data and the model are digests. Of datasets and generators of batches only the class
    is known, of callbacks nothing.
    """
    with random_numbers_kept(), names_kept(fresh=True):
        model = made(job)
    try:
        config = keras.saving.serialize_keras_object(model)
        text = json.dumps(config, sort_keys=True, default=_nameless)
    except (NotImplementedError, TypeError, ValueError) as e:
        raise ValueError(
            "Members go into files, and the model of `make_model` cannot be saved: "
            f"{first_line(e)}"
        ) from None
    arguments = {k: v for k, v in job.fit_arguments.items() if k not in _SILENT}
    return {
        "seed": str(seed),
        "make_model": _hash(text.encode()),
        **{name: _told(value) for name, value in sorted(arguments.items())},
    }


def first_difference(known: Mapping[str, str], wanted: Mapping[str, str]) -> str | None:
    """Returns in words where settings first differ, or `None`."""
    for name in dict.fromkeys([*wanted, *known]):
        was, is_now = known.get(name), wanted.get(name)
        if was == is_now:
            continue
        if name == "make_model":
            return "`make_model` returned another model"
        if was is None or is_now is None:
            return f"`{name}` was {'not ' if was is None else ''}given"
        if was.startswith("data ") and is_now.startswith("data "):
            return f"`{name}` was other data"
        return f"`{name}` was {was} and is {is_now}"
    return None


def _told(value: Any) -> str:
    # A number is a number, NumPy's too.
    value = keras.tree.map_structure(
        lambda leaf: leaf.item() if isinstance(leaf, np.generic) else leaf, value
    )
    leaves = keras.tree.flatten(value)
    if any(hasattr(leaf, "shape") for leaf in leaves):
        parts: list[Any] = [str(keras.tree.map_structure(lambda _: 0, value)).encode()]
        for leaf in leaves:
            array = np.ascontiguousarray(leaf)
            kind = f"{array.shape} {array.dtype}"
            raw = repr(array.tolist()).encode() if array.dtype == object else array.data
            parts += [kind.encode(), raw]
        return f"data {_hash(*parts)}"
    plain = value is None or isinstance(value, str | int | float | list | tuple | dict)
    return repr(value) if plain else type(value).__name__


def _nameless(value: Any) -> str:
    return re.sub(r" at 0x\w+", "", repr(value))


def _hash(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
