"""Arguments that a search does not have: what they are called here."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

#: What KerasTuner, and tuners like it, call something that has another name here.
_OTHER_NAMES = {
    "alpha": "method=",
    "beta": "method=",
    "build_fn": "hypermodel=",
    "callbacks": "search(..., callbacks=...)",
    "cross_validation": "folds=",
    "cv": "folds=",
    "factor": "Stage(factor=...), or Hyperband(factor=...)",
    "hyperband_iterations": "Hyperband(hyperband_iterations=...)",
    "hp": "hyperparameters=",
    "initial_points": "BayesianOptimization(num_initial_points=...)",
    "logger": "verbose=",
    "max_epochs": "epochs=",
    "max_steps": "epochs=",
    "metric": "objective=",
    "model": "hypermodel=",
    "n_jobs": 'executor="ray" with workers=',
    "n_trials": "max_trials=",
    "num_initial_points": "BayesianOptimization(num_initial_points=...)",
    "num_samples": "max_trials=",
    "num_trials": "max_trials=",
    "oracle": "method=",
    "random_state": "seed=",
    "sampler": "method=",
    "scheduler": "pruner=",
    "search_alg": "method=",
    "tuner_id": 'executor="ray"',
    "validation_data": "search(..., validation_data=...)",
    "x": "search(x, y, ...)",
}
#: KerasTuner's arguments without a meaning here: what to use instead.
_UNUSED = {
    "logger": "KerasTuner itself ignores it. How the search is getting on is shown "
    "(`verbose=1`) and written to TensorBoard's event files in the search's folder",
    "tuner_id": "One program runs the whole search: several machines are "
    '`executor="ray"`',
}
#: Arguments of `Search` that KerasTuner's tuners decide, and those that only some do.
_FIXED = ("epochs", "stages", "method", "max_error_retries")
_ELSEWHERE = {
    "epochs": "Give it to `search`",
    "max_error_retries": "Use `max_retries_per_trial`",
    "max_trials": "It follows from `max_epochs`, `factor` and `hyperband_iterations`",
    "method": "Use `Search(method=...)`",
    "pruner": "Its brackets decide which trials end: use `RandomSearch(pruner=...)`",
    "stages": "Use `Search(stages=...)`",
}


def refuse(unknown: Mapping[str, Any], tuner: type) -> None:
    """Raises a `ValueError` for an argument that there is not, with its name here.

    Args:
        unknown: name to value.
        tuner: the class that was called.
    """
    for name, value in unknown.items():
        raise ValueError(
            f"`{tuner.__name__}` has no argument `{name}`.{_meant(name, tuner)} "
            f"Received: {name}={value!r}"
        )


def refuse_unused(**arguments: Any) -> None:
    """Raises a `ValueError` for what KerasTuner has, and a search has no use for."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"`{name}` has no meaning here. {_UNUSED[name]}. "
                f"Received: {name}={value!r}"
            )


def refuse_fixed(given: Mapping[str, Any], tuner: str, *names: str) -> None:
    """Raises a `ValueError` for an argument of `Search` that a tuner decides."""
    for name in (*_FIXED, *names):
        if name in given:
            raise ValueError(
                f"`{name}` is not an argument of `{tuner}`. {_ELSEWHERE[name]}. "
                f"Received: {name}={given[name]!r}"
            )


def _meant(name: str, tuner: type) -> str:
    if name in _OTHER_NAMES:
        return f" Use `{_OTHER_NAMES[name]}`."
    known: dict[str, None] = {}
    for base in tuner.__mro__:
        if "__init__" in vars(base):
            known |= dict.fromkeys(inspect.signature(vars(base)["__init__"]).parameters)
    names = [n for n in known if n not in ("self", "unknown", "kwargs", "args")]
    close = difflib.get_close_matches(name, names, 1, 0.5)
    return f" Did you mean `{close[0]}`?" if close else f" It has: {', '.join(names)}."
