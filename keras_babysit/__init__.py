"""keras_babysit looks after Keras training; start with `Babysitter`."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0.dev0"

# Loaded when asked for, so that importing the package costs next to nothing.
_PUBLIC = {
    "ActivationHistogramLogger": "callbacks.loggers",
    "Babysitter": "callbacks.babysitter",
    "Finding": "records",
    "FirstLayerImageLogger": "callbacks.loggers",
    "GradientHistogramLogger": "callbacks.loggers",
    "LearningRateRange": "lr_range",
    "OptimizerComparison": "comparison",
    "Preflight": "checks.preflight_result",
    "RollBack": "callbacks.roll_back",
    "Report": "report",
    "RunHistory": "history",
    "ScheduleLearningRate": "callbacks.schedule_learning_rate",
    "UpdateRatioLogger": "callbacks.loggers",
    "check_initial_loss": "checks.initial_loss",
    "check_model_and_data": "checks.model_and_data",
    "check_regularization": "checks.regularization",
    "compare_optimizers": "comparison",
    "ensemble": "",
    "facts": "",
    "find_learning_rate": "lr_range",
    "gradient_check": "checks.gradient",
    "optimizers": "",
    "overfit_subset": "checks.overfit_subset",
    "preflight": "checks.preflight",
    "records": "",
    "rules": "",
    "schedules": "",
    "search": "",
}

__all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _PUBLIC[name]
    if not module:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return __all__
