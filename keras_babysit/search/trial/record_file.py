"""What a trial's babysitter has recorded, as lines of JSON: data, never code.

The folder of a search may come from someone else, so nothing in it is unpickled.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from keras_babysit import records

#: What a line may hold.
_KINDS = {
    kind.__name__: kind
    for kind in (
        records.StepRecord,
        records.EpochRecord,
        records.VariableStats,
        records.LayerStats,
        records.LossInputs,
        records.LossTensor,
        records.TensorStats,
        records.Histogram,
    )
}
#: Names the kind of a record, and the type of an array.
_KIND, _ARRAY = "__kind__", "__array__"

Record = records.StepRecord | records.EpochRecord


def append(path: Path, new: Iterable[Record]) -> None:
    """Adds records to a file."""
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(f"{json.dumps(_encoded(record))}\n" for record in new))


def read(path: Path) -> tuple[list[Record], int]:
    """Returns the records of a file, and how many of its lines were damaged.

    A last line without an end was being written when the process was killed: it is left
    out, and not counted. Where there is no file there are no records.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return [], 0
    found = []
    for line in lines:
        try:
            record = _decoded(json.loads(line))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if isinstance(record, Record):
            found.append(record)
    return found, len(lines) - len(found)


def _encoded(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        fields = {name: _encoded(getattr(value, name)) for name in names}
        return {_KIND: type(value).__name__, **fields}
    if isinstance(value, np.ndarray):
        return {_ARRAY: value.dtype.name, "values": value.tolist()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(name): _encoded(part) for name, part in value.items()}
    return [_encoded(v) for v in value] if isinstance(value, list | tuple) else value


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_decoded, value))
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        return np.array(value["values"], np.dtype(value[_ARRAY]))
    parts = {name: _decoded(part) for name, part in value.items() if name != _KIND}
    return _KINDS[value[_KIND]](**parts) if _KIND in value else parts
