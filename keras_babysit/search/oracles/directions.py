"""Whether a metric is better high or low, by its name."""

from __future__ import annotations

from typing import Any

import keras_tuner

#: Better high. KerasTuner (1.4.8) minimizes the F1 score, R2 and correlations, and
#: fails on the others, since their metrics need arguments.
_HIGH = {
    "binaryiou",
    "concordancecorrelation",
    "f1score",
    "fbetascore",
    "iou",
    "meaniou",
    "onehotiou",
    "onehotmeaniou",
    "pearsoncorrelation",
    "precisionatrecall",
    "r2score",
    "recallatprecision",
    "sensitivityatspecificity",
    "specificityatsensitivity",
}
#: The name does not say: as a metric the cosine is better high, as a loss low; and a
#: mean or a sum may be of anything. KerasTuner minimizes them.
_EITHER = {"cosinesimilarity", "mean", "metric", "sum"}


def direction_of(name: str) -> str | None:
    """Returns `"min"` or `"max"` for what `fit` logs; `None` if it cannot be told."""
    plain = name.removeprefix("val_").removeprefix("weighted_")
    plain = plain.replace("_", "").lower()
    if plain in _HIGH:
        return "max"
    if plain in _EITHER:
        return None
    return keras_tuner.engine.metrics_tracking.infer_metric_direction(name)


def with_directions(objective: Any) -> Any:
    """Returns what an oracle is given as objective, with the directions that are known.

    Args:
        objective: a name, a `keras_tuner.Objective`, a list of these, or `None`.
    """
    if isinstance(objective, list):
        return [with_directions(one) for one in objective]
    if isinstance(objective, str) and direction_of(objective) is not None:
        return keras_tuner.Objective(objective, direction_of(objective))
    return objective
