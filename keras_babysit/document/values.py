"""Any nested values as JSON can hold them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def plain(value: Any, not_finite: Callable[[float], Any] = str) -> Any:
    """Returns nested values as JSON can hold them; what is not finite as a string.

    Dataclasses become mappings of their fields, arrays and tuples lists, and what JSON
    does not know its text.

    Args:
        value: the values.
        not_finite: makes something else of NaN and infinity.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v, not_finite) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, not_finite) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return not_finite(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
