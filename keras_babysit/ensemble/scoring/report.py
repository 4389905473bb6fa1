"""What a report holds: frozen values that print as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True)
class EnsembleReport:
    """What members and their ensembles are worth; `print(report)` gives a table.

    Attributes:
        kind: `"categorical"`, `"binary"` or `"values"`.
        samples: number of samples.
        members: a `Row` for each member.
        sizes: a `Row` for each number of members, from 1: the mean over ensembles of
            that size, the members taken in all combinations or in random ones, so that
            their order does not matter. The last is the whole ensemble.
        average: how the members are averaged.
        seconds_as_one: time that an `Ensemble` takes to predict all samples, as one
            model; NaN for a `LazyEnsemble` and a list.
        disagreement: classification: share of samples of which two members predict
            different classes, the mean of all pairs. NaN otherwise.
        notes: what looks wrong.
    """

    kind: str
    samples: int
    members: tuple[Row, ...]
    sizes: tuple[Row, ...]
    average: str
    seconds_as_one: float = math.nan
    disagreement: float = math.nan
    notes: tuple[str, ...] = ()

    @property
    def ensemble(self) -> Row:
        """The whole ensemble."""
        return self.sizes[-1]

    @property
    def metric(self) -> str:
        """The first score: `"error"`, or `"rmse"` for values."""
        return next(iter(self.ensemble.scores))

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain values that JSON can hold; NaN as `None`."""
        rows = {
            "members": [_plain(vars(row)) for row in self.members],
            "sizes": [_plain(vars(row)) for row in self.sizes],
        }
        return {**_plain(vars(self)), **rows}

    def plot(self, path: Any = None) -> Any:
        """Draws the scores against the number of members.

        Args:
            path: file to write the picture to, its format by its name's ending.

        Returns:
            The `matplotlib.figure.Figure`; pyplot does not know of it.

        Raises:
            ImportError: if matplotlib is not installed.
        """
        from keras_babysit.ensemble.scoring import drawing

        return drawing.figure(self, path)

    def __str__(self) -> str:
        from keras_babysit.ensemble.scoring import text

        return text.plain_text(self)

    def __rich__(self) -> Any:
        from keras_babysit.ensemble.scoring import text

        return text.shown(self)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: one(v) for k, v in value.items()}
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return list(value) if isinstance(value, tuple) else value

    return {name: one(value) for name, value in values.items()}
