"""Hyper-parameter search as the notes describe it, on KerasTuner.

Hypermodels, `HyperParameters` and objectives are KerasTuner's:

```python
from keras_babysit import search


def make_model(hp):
    rate = search.learning_rate(hp)
    ...  # and returns a compiled model


stages = search.coarse_to_fine()
searching = search.Search(make_model, "val_loss", stages=stages, seed=1)
report = searching.search(x, y, validation_data=(x_val, y_val))
model = searching.best_models(1)[0]
```

And what it is made of goes where KerasTuner's own goes:

```python
import keras_tuner

oracle = search.OptunaOracle("val_loss", max_trials=60, seed=1)
tuner = keras_tuner.Tuner(oracle, make_model, directory="searches", project_name="a")
tuner.search(x, y, validation_data=(x_val, y_val))
```

Needs `pip install 'keras_babysit[search]'`.
"""

from __future__ import annotations

import importlib
from typing import Any

from keras_babysit import _lazy
from keras_babysit.errors import installing

_PUBLIC = {
    "BayesianOptimization": "tuners.bayesian_optimization",
    "GridSearch": "tuners.grid_search",
    "Hyperband": "tuners.hyperband",
    "OptunaOracle": "oracles.optuna_oracle",
    "RandomSearch": "tuners.random_search",
    "RayExecutor": "ray.executor",
    "Search": "search",
    "SearchReport": "results.report",
    "Stage": "oracles.stages",
    "at_border": "space.borders",
    "coarse_to_fine": "oracles.stages",
    "dropout": "space.spaces",
    "grid_then_random": "oracles.stages",
    "l2": "space.spaces",
    "learning_rate": "space.spaces",
    "linear_scale_warnings": "space.spaces",
    "make_report": "results.report",
    "momentum": "space.spaces",
    "narrowed": "space.narrowing",
    "weight_decay": "space.spaces",
    "widened": "space.borders",
}

__all__ = sorted(_PUBLIC)

_EXTRA = {"filelock": "filelock", "keras_tuner": "keras-tuner", "optuna": "optuna"}


#: KerasTuner's own, so that a program for it has one import to change.
_OF_KERAS_TUNER = (
    "HyperModel",
    "HyperParameters",
    "Objective",
    "applications",
    "errors",
    "oracles",
)

#: KerasTuner's that have another name here, or none.
_INSTEAD = {
    "SklearnTuner": "`keras_tuner.SklearnTuner`",
    "Tuner": "`Search(..., method=oracle)`",
}

_load, __dir__ = _lazy(__name__, _PUBLIC, __all__)


def __getattr__(name: str) -> Any:
    if name in _INSTEAD:
        raise AttributeError(
            f"`keras_babysit.search` has no `{name}`: use {_INSTEAD[name]}."
        )
    try:
        if name in _OF_KERAS_TUNER:
            return getattr(importlib.import_module("keras_tuner"), name)
        return _load(name)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise ImportError(
            f"`keras_babysit.search.{name}` needs {_EXTRA[error.name]}, which is not "
            f"installed: {installing('search')}"
        ) from error
