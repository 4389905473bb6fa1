"""keras_babysit looks after Keras training; start with `Babysitter`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from keras_babysit.errors import importing_keras

__version__ = "0.1.0"

# Loaded when asked for, so that importing the package costs next to nothing.
_PUBLIC = {
    "ActivationHistogramLogger": "callbacks.loggers",
    "Babysitter": "callbacks.babysitter",
    "Finding": "records",
    "FixTrials": "fixes",
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
    "try_fixes": "checks.try_fixes",
    "sinks": "",
}

__all__ = sorted([*_PUBLIC, "__version__"])


def _lazy(
    package: str, public: Mapping[str, str], names: list[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns `__getattr__` and `__dir__` of a package that loads what is asked for.

    Args:
        package: its `__name__`.
        public: names to the modules below it; `""` for a module of that name.
        names: its `__all__`.
    """

    def getattribute(name: str) -> Any:
        if name not in public:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with importing_keras():
            module = importlib.import_module(f"{package}.{public[name] or name}")
        return getattr(module, name) if public[name] else module

    return getattribute, lambda: names


__getattr__, __dir__ = _lazy(__name__, _PUBLIC, __all__)
