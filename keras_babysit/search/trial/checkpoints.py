"""Checkpoints of a trial: whole models with the objective in their names."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from keras_babysit.borrowing import layers_of, random_numbers_kept
from keras_babysit.event_files.replacing import replacing, write
from keras_babysit.search.space.scales import with_values
from keras_babysit.search.store import CHECKPOINTS, Store
from keras_babysit.search.trials import Objective, Trial, to_json

#: A whole model, and what there is where it cannot be saved whole.
_WHOLE, _WEIGHTS = ".keras", ".weights.h5"
#: Longer names of metrics are cut off: a file's name has 255 bytes at most.
_LONGEST = 50
#: Beside each checkpoint: what it does not hold.
_BESIDE = ".json"


class Checkpoints:
    """The checkpoints of one trial."""

    def __init__(self, folder: Path):
        self.folder = folder / CHECKPOINTS

    def save(self, model: keras.Model, stem: str, beside: Mapping[str, Any]) -> str:
        """Writes a checkpoint; there is all of it or none.

        Args:
            model: a built model; it is saved whole, with its optimizer, or if it
                cannot be, its weights.
            stem: name of the file but for its suffix, see `stem_of`.
            beside: what else is to be known of it, that JSON can hold.

        Raises:
            OSError: if the disk is full, or cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            name = self._saved(model, stem, _WHOLE)
        except OSError:
            raise
        except Exception:  # Whatever a layer without a configuration raises.
            name = self._saved(model, stem, _WEIGHTS)
        text = json.dumps(to_json({**beside, "build": model.get_build_config()}))
        write(self.folder / (name + _BESIDE), text)
        return name

    def _saved(self, model: keras.Model, stem: str, suffix: str) -> str:
        with replacing(self.folder / (stem + suffix), sync=False) as partial:
            save = model.save if suffix == _WHOLE else model.save_weights
            save(partial)
        return stem + suffix

    def beside(self, name: str) -> dict[str, Any] | None:
        """Returns what was written beside a checkpoint; `None` if either is missing."""
        try:
            text = (self.folder / (name + _BESIDE)).read_text(encoding="utf-8")
            found = json.loads(text)
        except (OSError, ValueError):
            return None
        return found if (self.folder / name).exists() else None

    def keep(self, names: Collection[str]) -> None:
        """Deletes all checkpoints but these."""
        kept = {name for name in names if name}
        kept |= {name + _BESIDE for name in kept}
        with contextlib.suppress(OSError):
            for path in list(self.folder.iterdir()):
                if path.name not in kept:
                    path.unlink(missing_ok=True)


def stem_of(objective: Objective, value: float | None, epoch: int, fold: int) -> str:
    """Returns the name of a checkpoint but for its suffix, with its score in it.

    For example `epoch-0003-val_loss-0.1234`; of later folds `fold-1-epoch-...`.
    """
    metric = re.sub(r"[^\w.-]", "_", objective.name)[:_LONGEST]
    of_fold = f"fold-{fold}-" if fold else ""
    return f"{of_fold}epoch-{epoch:04d}-{metric}-{_short(value)}"


def _short(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "none"
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e5 else f"{value:.3e}"


def load_model(
    store_directory: str | os.PathLike,
    trial: Trial,
    hypermodel: Any,
    space: Mapping[str, Any],
) -> keras.Model:
    """Returns the model of a trial with the weights of its best epoch.

    A model that was saved whole is loaded as `keras.models.load_model` does it. One
    that has parts that Keras cannot load by their names is built by the hypermodel
    and gets the weights.

    Raises:
        ValueError: if the trial has no checkpoint, or none that fits the hypermodel.
    """
    checkpoints = Checkpoints(Store(store_directory).folder(trial))
    name = trial.outcome.checkpoint if trial.outcome is not None else ""
    path = checkpoints.folder / name
    if not name or not path.exists():
        raise ValueError(
            f"Trial {trial.number} has no checkpoint: "
            + (f"{str(path)!r} is gone." if name else "none was written.")
        )
    with random_numbers_kept():
        if name.endswith(_WHOLE):
            with contextlib.suppress(Exception):  # A class of the user's, a Lambda.
                return keras.models.load_model(path)
        keras.utils.set_random_seed(trial.seed)
        model = hypermodel.build(hyperparameters(space, trial))
    try:
        return _with_weights(model, path, checkpoints.beside(name))
    except Exception as error:
        raise ValueError(
            f"The checkpoint {str(path)!r} of trial {trial.number} does not fit what "
            f"the hypermodel builds now: {error}"
        ) from error


def _with_weights(
    model: keras.Model, path: Path, beside: Mapping[str, Any] | None
) -> keras.Model:
    if not model.built and beside and beside.get("build"):
        model.build_from_config(_with_tuples(beside["build"]))
        # Keras has run `call`, which builds the layers, but not the model by itself.
        model.built = all(layer.built for layer in layers_of(model)[1:])
    optimizer = getattr(model, "optimizer", None)  # None where it is not compiled.
    if optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)
    model.load_weights(path)
    return model


def _with_tuples(value: Any) -> Any:
    """Makes shapes of lists again, which is what JSON has made of them."""
    if isinstance(value, Mapping):
        return {name: _with_tuples(part) for name, part in value.items()}
    if isinstance(value, list):
        return tuple(_with_tuples(part) for part in value)
    return value


def hyperparameters(
    space: Mapping[str, Any], trial: Trial
) -> keras_tuner.HyperParameters:
    """Returns the `HyperParameters` of a trial: a space with the trial's values.

    Those of names that the space does not have are in it too: other trials have asked
    for them, and this one may.
    """
    made = with_values({"space": space["space"]}, trial.values)
    known = {hp.name for hp in made.space}
    made.values |= {n: v for n, v in trial.values.items() if n not in known}
    return made
