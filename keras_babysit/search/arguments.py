"""The arguments of a search: one clear error for each that is not as it should be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras_tuner

from keras_babysit.errors import whole, wrong
from keras_babysit.search.oracles.directions import direction_of
from keras_babysit.search.space import refinement
from keras_babysit.search.space.borders import checked_limits
from keras_babysit.search.trial.executors import Executor, InPlace
from keras_babysit.search.trials import Objective

#: KerasTuner's own distributed mode is on if one of them is set.
_CHIEF = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")

#: What the sum of several objectives is called, as in KerasTuner.
SEVERAL = "multi_objective"


def check_environment() -> None:
    """Raises a `RuntimeError` in a process of KerasTuner's distributed mode."""
    found = [name for name in _CHIEF if name in os.environ]
    if found:
        raise RuntimeError(
            f"{found[0]} is set, so this is a process of KerasTuner's distributed "
            "mode, in which `Search` takes no part: every process would search by "
            "itself. There `keras_tuner.Tuner(keras_babysit.search.OptunaOracle(...), "
            '...)` works; with `Search` use `executor="ray"` and unset the variable.'
        )


def objective_of(given: Any) -> Objective:
    """Returns the objective, with its direction."""
    if isinstance(given, Objective):
        return given
    if isinstance(given, list | tuple) and given:
        parts = tuple(objective_of(one) for one in given)
        if len({part.name for part in parts}) < len(parts):
            raise wrong("objective", "a list of different ones", given)
        return parts[0] if len(parts) == 1 else Objective(SEVERAL, "min", parts)
    if not isinstance(given, str | keras_tuner.Objective) or not given:
        raise ValueError(
            "`objective` must be the name of what `fit` logs, such as 'val_loss', a "
            f"keras_tuner.Objective, or a list of these. Received: objective={given!r}"
        )
    if isinstance(given, str):
        direction = direction_of(given)
        if direction is None:
            raise ValueError(
                f"It is not known whether {given!r} is to be minimized or maximized. "
                "Give the objective as `keras_tuner.Objective("
                f'"{given}", direction="min")` or "max".'
            )
        return Objective(given, direction)
    if given.direction not in ("min", "max"):
        raise ValueError(
            "The direction of `objective` must be 'min' or 'max'. Received: "
            f"{given.direction!r}"
        )
    return Objective(given.name, given.direction)


def check_executions(executions: int, folds: int | None) -> None:
    """Raises a `ValueError` for both folds and executions."""
    whole("executions_per_trial", executions)
    if executions > 1 and folds is not None:
        raise ValueError(
            "`folds` and `executions_per_trial` cannot be given together: each fold is "
            f"a training already. Received: folds={folds}, "
            f"executions_per_trial={executions}"
        )


def check_strategy(strategy: Any, executor: Executor) -> None:
    """Raises a `ValueError` for what is no strategy, or cannot be sent elsewhere."""
    if strategy is None:
        return
    if not hasattr(strategy, "scope"):
        raise wrong("distribution_strategy", "a strategy of `tf.distribute`", strategy)
    if not isinstance(executor, InPlace):
        raise ValueError(
            "`distribution_strategy` is for trials in this process. With an executor, "
            "make the strategy in the hypermodel. Received: "
            f"distribution_strategy={strategy!r}"
        )


def limits_of(limits: Any, widen: bool) -> dict[str, tuple[float, float]]:
    """Returns how far ranges may be widened, by name."""
    if limits is None:
        return {}
    if not isinstance(limits, Mapping):
        raise ValueError(
            "`limits` must be a dictionary of names to their smallest and largest "
            f"value. Received: limits={limits!r}"
        )
    if not widen:
        raise ValueError("`limits` are for `widen=True`. Received: widen=False")
    return {name: checked_limits(name, pair) for name, pair in limits.items()}


def check_limits(limits: Mapping[str, Any], space: Any) -> None:
    """Raises a `ValueError` for a name that has no range."""
    unknown = refinement.without_range(limits, space)
    if unknown:
        raise ValueError(
            f"`limits` has {unknown[0]!r}, but the hypermodel asks for no range of "
            "that name."
        )


def check_verbose(verbose: Any) -> None:
    """Raises a `ValueError` for what says nothing of how much is to be shown."""
    if not isinstance(verbose, int) or verbose < 0:
        raise ValueError(f"`verbose` must be 0 or 1. Received: verbose={verbose!r}")


def executor_of(given: Any, workers: Any, cpus: float, gpus: float) -> Executor:
    """Returns what trains the trials."""
    if given == "ray":
        from keras_babysit.search.ray.executor import RayExecutor

        return RayExecutor(workers, cpus_per_trial=cpus, gpus_per_trial=gpus)
    if (workers, cpus, gpus) != (None, 1, 0):
        raise ValueError(
            "`workers`, `cpus_per_trial` and `gpus_per_trial` are for "
            f'`executor="ray"`. Received: executor={given!r}, workers={workers!r}, '
            f"cpus_per_trial={cpus!r}, gpus_per_trial={gpus!r}"
        )
    if given is None:
        return InPlace()
    parts = ("capacity", "open", "submit", "wait", "close")
    if isinstance(given, str | type) or not all(hasattr(given, p) for p in parts):
        raise wrong(
            "executor", f"None, 'ray', or an object with {', '.join(parts)}", given
        )
    return given


def name_of(given: Any) -> str:
    """Returns the name of a folder."""
    if not isinstance(given, str) or not given.strip() or Path(given).is_absolute():
        raise wrong("project_name", "the name of a folder", given)
    return given
