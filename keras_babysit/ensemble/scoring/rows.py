"""What a report of an ensemble holds: a row of scores and costs for each line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from keras_babysit.document.words import number

#: Scores as titles; others, such as the Brier score, do not fit into 80 columns.
TITLES = {
    "error": "error",
    "nll": "NLL",
    "calibration_error": "calibration error",
    "rmse": "RMSE",
    "spread": "spread",
}
#: Scores that are shares, shown in percent.
SHARES = ("error", "calibration_error")


@dataclass(frozen=True)
class Row:
    """One member, or the ensembles of one size.

    Attributes:
        name: what it is.
        size: number of members.
        scores: name to value. Of classification `"error"`, `"nll"`,
            `"calibration_error"`, `"brier"`, of regression `"rmse"`, `"nll"`,
            `"spread"`; see `report`. For several ensembles, the mean.
        std: population standard deviation of each score over the ensembles; 0 for one.
        ensembles: how many ensembles the mean is of.
        weight: weight of a member; NaN for ensembles.
        seconds: time to predict all samples.
        parameters: number of weights.
        bytes: memory that they take.
    """

    name: str
    size: int
    scores: Mapping[str, float]
    std: Mapping[str, float] = field(default_factory=dict)
    ensembles: int = 1
    weight: float = math.nan
    seconds: float = math.nan
    parameters: int = 0
    bytes: int = 0

    def words(self) -> list[str]:
        """Returns the scores that have titles, with their deviation if there is one."""
        return [
            value_of(name, value, self.std[name] if self.ensembles > 1 else None)
            for name, value in self.scores.items()
            if name in TITLES
        ]


def value_of(name: str, value: float, std: float | None = None) -> str:
    """Returns a score in words: `"2.34 %"`, `"0.0812 ±0.0024"`."""
    if name in SHARES:
        around = "" if std is None else f" ±{100 * std:.2f}"
        return f"{100 * value:.2f}{around} %"
    return number(value) if std is None else f"{number(value)} ±{std:.2g}"
