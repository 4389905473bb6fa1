"""Hyper-parameter search as the notes describe it, on KerasTuner.

Hypermodels, `HyperParameters`, oracles and `tuner.search(...)` stay what they are:

```python
import keras_tuner
from keras_babysit import search

def make_model(hp):
    rate = search.learning_rate(hp)
    ...

oracle = search.OptunaOracle("val_loss", max_trials=60, seed=1)
tuner = keras_tuner.Tuner(oracle, make_model, directory="searches", project_name="a")
tuner.search(x, y, validation_data=(x_val, y_val))
```

Needs `pip install keras-babysit[search]`.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "OptunaOracle": "optuna_oracle",
    "at_border": "borders",
    "dropout": "spaces",
    "l2": "spaces",
    "learning_rate": "spaces",
    "linear_scale_warnings": "spaces",
    "momentum": "spaces",
    "narrowed": "narrowing",
    "weight_decay": "spaces",
    "widened": "borders",
}

__all__ = sorted(_PUBLIC)

_EXTRA = {"keras_tuner": "keras-tuner", "optuna": "optuna"}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_PUBLIC[name]}")
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise ImportError(
            f"`keras_babysit.search.{name}` needs {_EXTRA[error.name]}, which is not "
            "installed: pip install keras-babysit[search]"
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
