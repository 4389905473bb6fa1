"""Optimizers of the whole training set at once: `LBFGS` and `Newton`."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "FitResult": "full_batch",
    "LBFGS": "lbfgs",
    "Newton": "newton",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return __all__
