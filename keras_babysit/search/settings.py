"""What a search was begun with, and whether another one may go on in its folder."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from optuna.pruners import BasePruner

from keras_babysit.document.words import cut
from keras_babysit.search.oracles import methods
from keras_babysit.search.plan import Plan
from keras_babysit.search.trials import to_json

#: Changes with what is in the file.
VERSION = 1

#: What may differ from the search in the folder: it changes no trial that has ended.
_FREE = ("version", "keep_top", "project_name")
#: What the first versions did not have, and so did not differ from.
_ADDED = {"executions_per_trial": 1, "max_model_size": None, "tune_new_entries": True}


def settings_of(plan: Plan, pruner: Any, **others: Any) -> dict[str, Any]:
    """Returns what goes into `search.json`.

    Args:
        plan: what was asked for.
        pruner: as for `Search`.
        **others: `folds`, `stop_on_error`, `babysit`, `keep_top`, `project_name`, ...
    """
    parts = [{"name": p.name, "direction": p.direction} for p in plan.objective.parts]
    settings = {
        "version": VERSION,
        "objective": {
            "name": plan.objective.name,
            "direction": plan.objective.direction,
            **({"parts": parts} if parts else {}),
        },
        "seed": plan.seed,
        "stages": [
            {
                "trials": stage.trials,
                "epochs": stage.epochs,
                "method": methods.method_name(plan.method_of(index)),
                "promoted": stage.taken_over if index else 0,
                "factor": stage.factor,
            }
            for index, stage in enumerate(plan.stages)
        ],
        "method": methods.method_name(plan.method),
        "pruner": pruner_name(pruner),
        "repeat_top": plan.repeat_top,
        "repeats": plan.repeats,
        "widen": plan.widen,
        "limits": dict(plan.limits),
        "space": plan.space.get_config(),
        **others,
    }
    # As it comes back from the file.
    return json.loads(json.dumps(to_json(settings)))


def pruner_name(pruner: Any) -> str | None:
    """Returns how a pruner is called in files: an instance with its arguments.

    Those of Optuna keep them under their names, with `_` before; what one keeps
    otherwise, or is no plain value, is not known.
    """
    if pruner is None or isinstance(pruner, str):
        return pruner
    told = []
    for name in inspect.signature(type(pruner)).parameters:
        value = getattr(pruner, f"_{name}", getattr(pruner, name, pruner))
        if value is pruner:
            continue
        value = value.item() if hasattr(value, "item") else value  # NumPy's numbers.
        if isinstance(value, BasePruner):
            told.append(f"{name}={pruner_name(value)}")
        elif isinstance(value, str | int | float | None):
            told.append(f"{name}={value!r}")
    return f"{type(pruner).__name__}({', '.join(told)})"


def check_same(
    settings: Mapping[str, Any], stored: Mapping[str, Any], directory: str
) -> None:
    """Raises a `ValueError` if the folder has another search.

    More trials of the last stage, more repeats, and what changes no trial may differ.
    """
    found = list(differences(settings, stored))
    if found:
        raise ValueError(
            f"The folder {directory!r} has another search: {'; '.join(found)}. Choose "
            "another `project_name`, pass `overwrite=True` to delete what is there, or "
            "ask for the same."
        )


def differences(now: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[str]:
    """Yields the settings that differ, in words."""
    if now["version"] != stored.get("version"):
        yield f"`version` is {now['version']!r}, not {stored.get('version')!r}"
        return
    for name, value in now.items():
        known = stored.get(name, _ADDED.get(name))
        if name in _FREE or value == known or _is_more(name, value, known):
            continue
        if name == "repeats" and not stored.get("repeat_top"):
            continue  # Nothing was to be repeated.
        if name == "space":
            yield from _of_spaces(value, known)
        elif name == "stages":
            yield f"`stages` are {_stages(value)}, not {_stages(known)}"
        else:
            told = [cut(repr(one), 200) for one in (value, known)]
            yield f"`{name}` is {told[0]}, not {told[1]}"


def _is_more(name: str, value: Any, known: Any) -> bool:
    if name in ("repeat_top", "repeats"):
        return isinstance(known, int) and value >= known
    if name != "stages" or not known or len(value) != len(known):
        return False
    last, before = value[-1], known[-1]
    same = value[:-1] == known[:-1] and last["trials"] >= before["trials"]
    # How many are taken over was decided when the stage began.
    return same and all(
        last[k] == before.get(k) for k in last if k not in ("trials", "promoted")
    )


def _of_spaces(value: Mapping[str, Any], known: Any) -> Iterator[str]:
    now, before = _by_name(value), _by_name(known or {"space": []})
    for name in dict.fromkeys([*now, *before]):
        if now.get(name) != before.get(name):
            parts = [" and ".join(one.get(name, ["nothing"])) for one in (now, before)]
            yield f"hyperparameter {name!r} is {parts[0]}, not {parts[1]}"
            return
    yield "the hyperparameters come in another order"


def _by_name(space: Mapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in space["space"]:
        config = {k: v for k, v in one["config"].items() if k != "name"}
        said = ", ".join(f"{k}={v!r}" for k, v in config.items() if v not in (None, []))
        found.setdefault(one["config"]["name"], []).append(
            f"{one['class_name']}({said})"
        )
    return found


def _stages(stages: Any) -> str:
    if not isinstance(stages, list):
        return repr(stages)
    parts = (f"{s['trials']} trials of {s['epochs']} ({s['method']})" for s in stages)
    told = ", ".join(parts)
    more = [(s.get("promoted"), s.get("factor")) for s in stages]
    return f"{told}; promoted and factor {more}" if len(stages) > 1 else told
