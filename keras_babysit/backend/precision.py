"""Float64 with backends on which Keras makes float32 of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from keras.src.backend.common import dtypes


@contextlib.contextmanager
def float64_kept() -> Iterator[None]:
    """Has Keras's operations return float64 where all that they get is that."""
    table = dtypes.BIT64_TO_BIT32_DTYPE
    usual = table["float64"]
    table["float64"] = "float64"
    try:
        yield
    finally:
        table["float64"] = usual
