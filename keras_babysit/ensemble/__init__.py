"""Ensembles: many models, or many weights of one, and one model out.

CS231n, "Model ensembles": one reliable approach to improving by a few percent.
"""

from __future__ import annotations

import importlib
from typing import Any

# Loaded when asked for: importing the package costs next to nothing.
_PUBLIC = {
    "BestCheckpoints": "members.checkpoints",
    "Ensemble": "combining.combined",
    "EnsembleReport": "scoring.report",
    "LazyEnsemble": "combining.lazy",
    "SnapshotCheckpoint": "members.snapshots",
    "StochasticWeightAveraging": "members.swa",
    "average_weights": "averaging.averaging",
    "distill": "distilling.distillation",
    "greedy_weights": "scoring.weighting",
    "load_members": "members.members",
    "report": "scoring.evaluation",
    "reestimate_batch_normalization": "averaging.batch_statistics",
    "simplex_weights": "scoring.weighting",
    "train_members": "members.members",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return __all__
