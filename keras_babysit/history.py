"""RunHistory: the numbers of a run as series, asked by quantity and place."""

from __future__ import annotations

from array import array
from typing import NamedTuple

import numpy as np

from keras_babysit.records import (
    EpochRecord,
    LayerStats,
    StepRecord,
    TensorStats,
    VariableStats,
)

#: A series holds at most so many points; then every second older one goes.
MAX_POINTS = 1024


class Series(NamedTuple):
    """Points of one quantity: float arrays of equal length, oldest first."""

    steps: np.ndarray
    epochs: np.ndarray
    values: np.ndarray


class RunHistory:
    """Append-only history of one run.

    Quantities of a step are named by their fields, with a dot where a field is a
    `TensorStats`: `"loss"`, `"update_ratio"`, `"gradient.norm"`,
    `"activation.mean"`, `"dead_fraction"`; those of an epoch are Keras's logs,
    `"epoch.loss"`, `"epoch.val_accuracy"`. Long series are thinned, never cut: half
    of the older points go whenever `MAX_POINTS` is reached.

    Example:
    ```python
    steps, epochs, ratios = babysitter.history.series("update_ratio", "dense/kernel")
    ```
    """

    def __init__(self) -> None:
        # Step, epoch, value, step, epoch, value, ...
        self._points: dict[tuple[str, str], array[float]] = {}
        self.last_step: StepRecord | None = None
        self.last_epoch: EpochRecord | None = None

    def append(self, record: StepRecord | EpochRecord) -> None:
        """Adds a record."""
        at = (float(record.step), float(record.epoch))
        if isinstance(record, EpochRecord):
            self.last_epoch = record
            for name, value in record.logs.items():
                self._add(f"epoch.{name}", "", at, value)
            self._add("epoch.loss_std", "", at, record.loss_std)
            return
        self.last_step = record
        for name in ("loss", "learning_rate", "gradient_norm"):
            self._add(name, "", at, getattr(record, name))
        parts: list[VariableStats | LayerStats]
        parts = [*record.variables, *record.layers]
        for part in parts:
            for field, value in vars(part).items():
                if isinstance(value, TensorStats):
                    for name, number in vars(value).items():
                        self._add(f"{field}.{name}", part.path, at, number)
                elif isinstance(value, int | float):
                    self._add(field, part.path, at, value)

    def series(self, quantity: str, where: str = "") -> Series:
        """Returns the points of one quantity.

        Args:
            quantity: its name, see the class.
            where: variable or layer path; empty for quantities of the whole model.

        Returns:
            A `Series`.

        Raises:
            KeyError: if nothing was recorded under these names.
        """
        points = self._points.get((quantity, where))
        if points is None:
            known = sorted({q for q, _ in self._points})
            places = sorted(w for q, w in self._points if q == quantity)
            what = f"Its places are {places}" if places else f"Quantities are {known}"
            raise KeyError(
                f"Nothing was recorded. {what}. Received: quantity={quantity!r}, "
                f"where={where!r}"
            )
        return Series(*np.array(points).reshape(-1, 3).T.copy())

    def quantities(self) -> dict[str, list[str]]:
        """Returns the names of all quantities, each with its places."""
        found: dict[str, list[str]] = {}
        for quantity, where in self._points:
            found.setdefault(quantity, []).append(where)
        return found

    def _add(
        self, quantity: str, where: str, at: tuple[float, float], value: float | None
    ) -> None:
        if value is None:
            return
        points = self._points.get((quantity, where))
        if points is None:
            points = self._points[quantity, where] = array("d")
        elif len(points) >= 3 * MAX_POINTS:
            kept = np.delete(np.array(points).reshape(-1, 3), np.s_[1:-1:2], axis=0)
            points = self._points[quantity, where] = array("d", kept.ravel())
        points.extend((*at, value))
