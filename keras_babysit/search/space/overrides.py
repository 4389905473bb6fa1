"""What a search overrides of a hypermodel: how it compiles, and where it builds."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner


@dataclass(frozen=True)
class Overrides:
    """What `compile` is given instead of what the hypermodel gives it.

    Attributes:
        optimizer: `None` for the hypermodel's own,
        loss: likewise,
        metrics: likewise.
        strategy: a strategy of `tf.distribute` under which models are built.
    """

    optimizer: Any = None
    loss: Any = None
    metrics: Any = None
    strategy: Any = None

    def of(self, hypermodel: keras_tuner.HyperModel) -> keras_tuner.HyperModel:
        """Returns the hypermodel with these; itself if there are none."""
        if self == Overrides():
            return hypermodel
        # A copy of the same class: its `fit` may be its own.
        made = copy.copy(hypermodel)
        made.build = _Build(hypermodel.build, self)
        return made

    def compiled(self, model: Any) -> Any:
        """Compiles a model again, but for what is not overridden as it was."""
        given = {n: getattr(self, n) for n in ("optimizer", "loss", "metrics")}
        given = {n: _fresh(value) for n, value in given.items() if value is not None}
        if given and isinstance(model, keras.Model):
            own = model._compile_config.config if model.compiled else {}
            model.compile(**{**own, **given})
        return model


class _Build:
    """Builds a model, and compiles it with the overrides; can be pickled."""

    def __init__(self, build: Any, overrides: Overrides):
        self._build, self._overrides = build, overrides

    def __call__(self, hp: keras_tuner.HyperParameters) -> Any:
        strategy = self._overrides.strategy
        with contextlib.nullcontext() if strategy is None else strategy.scope():
            return self._overrides.compiled(self._build(hp))


def _fresh(value: Any) -> Any:
    """Returns a new object of the same configuration: each model needs its own."""
    if isinstance(value, Mapping):
        return {name: _fresh(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_fresh(one) for one in value]
    configured = isinstance(
        value, keras.optimizers.Optimizer | keras.losses.Loss | keras.metrics.Metric
    )
    return type(value).from_config(value.get_config()) if configured else value
