"""Ensembles: many models, or many weights of one, and one model out.

CS231n, "Model ensembles": one reliable approach to improving by a few percent.
"""

from __future__ import annotations

import importlib
from typing import Any

# Loaded when asked for: importing the package costs next to nothing.
_PUBLIC = {
    "BestCheckpoints": "checkpoints",
    "Ensemble": "combined",
    "EnsembleReport": "result",
    "LazyEnsemble": "lazy",
    "SnapshotCheckpoint": "snapshots",
    "StochasticWeightAveraging": "swa",
    "average_weights": "averaging",
    "distill": "distillation",
    "greedy_weights": "weighting",
    "load_members": "members",
    "report": "reporting",
    "reestimate_batch_normalization": "batch_statistics",
    "simplex_weights": "weighting",
    "train_members": "members",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return __all__
