"""RunHistory: the numbers of a run as series, asked by quantity and place."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from keras_babysit.facts import DataFacts, FitFacts, ModelFacts
from keras_babysit.records import (
    LOSS_ROLES,
    TENSOR_STATS,
    EpochRecord,
    Histogram,
    Image,
    LossInputs,
    StepRecord,
    TensorStats,
    ValidationRecord,
)

#: A series holds at most so many points; then every second older one goes.
MAX_POINTS = 1024
#: So many of the latest observed steps can be asked for as a `Window`.
MAX_WINDOW = 128
#: Fields of variables and of layers that a `Window` can be had of.
VARIABLE_FIELDS = ("weight", "update", "gradient", "update_ratio")
LAYER_FIELDS = (
    "activation",
    "zero_fraction",
    "saturation_fraction",
    "dead_fraction",
    "dead_window",
)
#: What is kept of the tensors of losses as series, and of how many observed steps all.
LOSS_FIELDS = ("min", "max", "mean", "std", "outside", "spread")
MAX_LOSSES = 16
#: A place has at most so many histograms, and a picture so many states.
MAX_STATES = 16
#: Step, epoch, and one field of all of its places.
_Row = tuple[float, float, np.ndarray]
_NAN, _INF = TENSOR_STATS.index("nan"), TENSOR_STATS.index("inf")


class Series(NamedTuple):
    """Points of one quantity: float arrays of equal length, oldest first."""

    steps: np.ndarray
    epochs: np.ndarray
    values: np.ndarray


class State(NamedTuple):
    """A histogram or a picture, and when it was taken."""

    step: float
    epoch: float
    value: Histogram | Image


class Window(NamedTuple):
    """One quantity at all of its places over the latest observed steps.

    Attributes:
        places: paths of the variables or layers that have it, in the last step's
            order.
        steps: float array of shape `(n,)`, oldest first, like the next.
        epochs: float array of shape `(n,)`.
        values: float array of shape `(n, places)`.
    """

    places: tuple[str, ...]
    steps: np.ndarray
    epochs: np.ndarray
    values: np.ndarray


class RunHistory:
    """Append-only history of one run.

    Quantities of a step are named by their fields, with a dot where a field is a
    `TensorStats`: `"loss"`, `"update_ratio"`, `"gradient.norm"`,
    `"activation.mean"`, `"dead_fraction"`, `"outputs.outside"` (of a loss, like
    `"targets.mean"`; in validation `"val_outputs.outside"`); those of an epoch are
    Keras's logs,
    `"epoch.loss"`, `"epoch.val_accuracy"`. Long series are thinned, never cut: half
    of the older points go whenever `MAX_POINTS` is reached.

    Example:
    ```python
    steps, epochs, ratios = babysitter.history.series("update_ratio", "dense/kernel")
    ```

    Attributes:
        model: `facts.ModelFacts` of the model before its first step, if known.
        data: `facts.DataFacts` of a sample of the data, if known.
        fit: `facts.FitFacts` of the settings of the `fit`, if known.
        first_step: the first `StepRecord`.
        last_step: the last `StepRecord`.
        last_epoch: the last `EpochRecord`.
        lost: field to since when, in steps and epochs, it is not finite somewhere,
            and the places where it was not at that time.
        observed: number of step records.
        losses: path of a loss to its latest `LossInputs`, oldest first.
        frozen: path of each variable that has changed although the model says that it
            is not trainable, to since when, in steps and epochs.
        confusions: path of a loss to the latest tables of which classes were predicted
            for which in training, oldest first: float arrays `(classes, classes)` with
            a row for each true class.
        validations: the latest values of `ValidationRecord`, oldest first.
        evaluated: path of a loss to pairs, oldest first: its mean over a training batch
            in training, and over the same batch evaluated like the validation data.
        histograms: kind (`"weights"`, `"gradients"`, `"activations"`) and path to
            a `State` for each time kept, oldest first, thinned as series are.
        pictures: tag of a picture to the same.
        ended: whether the training has ended, and the epoch logs are complete.
    """

    def __init__(self) -> None:
        self.model: ModelFacts | None = None
        self.data: DataFacts | None = None
        self.fit: FitFacts | None = None
        self.observed = 0
        self.ended = False
        # Field to step, epoch and a row of values for each of the latest steps.
        self._windows: dict[str, deque[_Row]] = {}
        self._places: dict[str, tuple[str, ...]] = {}
        # The same since the start, thinned; by field and the places of the rows.
        self._tables: dict[tuple[str, tuple[str, ...]], list[_Row]] = {}
        # Quantities of the whole model: step, epoch, value, step, epoch, value, ...
        self._points: dict[tuple[str, str], array[float]] = {}
        self.lost: dict[str, tuple[float, float, tuple[str, ...]]] = {}
        self.losses: dict[str, deque[LossInputs]] = {}
        self.frozen: dict[str, tuple[float, float]] = {}
        self.confusions: dict[str, deque[np.ndarray]] = {}
        self.validations: deque[ValidationRecord] = deque(maxlen=MAX_LOSSES)
        self.evaluated: dict[str, deque[tuple[float, float]]] = {}
        self.histograms: dict[tuple[str, str], list[State]] = {}
        self.pictures: dict[str, list[State]] = {}
        self.first_step: StepRecord | None = None
        self.last_step: StepRecord | None = None
        self.last_epoch: EpochRecord | None = None

    def append(self, record: StepRecord | EpochRecord | ValidationRecord) -> None:
        """Adds a record."""
        at = (float(record.step), float(record.epoch))
        if isinstance(record, ValidationRecord):
            self.validations.append(record)
            self._add_series(record.losses, at, "val_")
            self._add_evaluated(record)
            return
        if isinstance(record, EpochRecord):
            self.last_epoch = record
            for name, value in record.logs.items():
                self.add_point(f"epoch.{name}", "", at, value)
            self.add_point("epoch.loss_std", "", at, record.loss_std)
            for place, value in record.first_layer_smoothness.items():
                self.add_point("first_layer_smoothness", place, at, value)
            for path, histogram in record.weight_histograms.items():
                self._add_histogram("weights", path, at, histogram)
            for picture in record.images:
                keep(self.pictures.setdefault(picture.tag, []), State(*at, picture))
            return
        self.first_step = self.first_step or record
        self.last_step = record
        self.observed += 1
        for field in VARIABLE_FIELDS:
            self._keep(field, record.variables, at)
        for field in LAYER_FIELDS:
            self._keep(field, record.layers, at)
        for variable in record.variables:
            self._add_histogram(
                "gradients", variable.path, at, variable.gradient_histogram
            )
        for layer in record.layers:
            self._add_histogram("activations", layer.path, at, layer.histogram)
        self._add_losses(record, at)
        for path in record.frozen:
            self.frozen.setdefault(path, at)
        for name in ("loss", "learning_rate", "gradient_norm"):
            self.add_point(name, "", at, getattr(record, name))

    def _add_losses(self, record: StepRecord, at: tuple[float, float]) -> None:
        """Adds what the losses got to their series, and keeps the latest of each."""
        for one in record.losses:
            known = self.losses.setdefault(one.path, deque(maxlen=MAX_LOSSES))
            known.append(one)
        for path, table in record.confusions.items():
            tables = self.confusions.setdefault(path, deque(maxlen=MAX_LOSSES))
            tables.append(table)
        self._add_series(record.losses, at)

    def _add_evaluated(self, record: ValidationRecord) -> None:
        """Keeps the losses of a training batch beside those it had in training."""
        for one in record.training:
            known = self.losses.get(one.path)
            if not known or one.values is None or one.targets is None:
                continue
            values, targets = known[-1].values, known[-1].targets
            # That of another callback's schedule may be another batch.
            if (
                values is not None
                and targets is not None
                and (
                    (targets.size, targets.mean) == (one.targets.size, one.targets.mean)
                )
            ):
                pairs = self.evaluated.setdefault(one.path, deque(maxlen=MAX_LOSSES))
                pairs.append((values.mean, one.values.mean))

    def _add_series(
        self, losses: Sequence[LossInputs], at: tuple[float, float], prefix: str = ""
    ) -> None:
        for one in losses:
            for role in LOSS_ROLES:
                tensor = getattr(one, role)
                if tensor is not None:
                    for name in LOSS_FIELDS:
                        quantity, value = (
                            f"{prefix}{role}.{name}",
                            getattr(tensor, name),
                        )
                        self.add_point(quantity, one.path, at, value)

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
        found = self._find(quantity, where)
        if not len(found):
            known = self.quantities()
            what = f"Quantities are {sorted(known)}"
            if quantity in known:
                what = f"Its places are {sorted(known[quantity])}"
            raise KeyError(
                f"Nothing was recorded. {what}. Received: quantity={quantity!r}, "
                f"where={where!r}"
            )
        return Series(*found.T.copy())

    def window(self, quantity: str, n: int = MAX_WINDOW) -> Window:
        """Returns one quantity at all places over the latest observed steps.

        Unlike `series` it is fast for many layers, and gives nothing that is older
        than `MAX_WINDOW` observed steps.

        Args:
            quantity: one of `VARIABLE_FIELDS` or `LAYER_FIELDS`, with the name of a
                statistic behind it where it is a `TensorStats`: `"gradient.norm"`.
            n: at most so many steps.

        Returns:
            A `Window`, empty if nothing was recorded.
        """
        field = quantity.partition(".")[0]
        return self._window(quantity, list(self._windows.get(field, ()))[-n:])

    def whole(self, quantity: str) -> Window:
        """Like `window`, over all of the run, thinned as series are.

        Args:
            quantity: as for `window`.

        Returns:
            A `Window` of the places that the last step had.
        """
        field = quantity.partition(".")[0]
        places = self._places.get(field, ())
        return self._window(quantity, self._tables.get((field, places), []))

    def _window(self, quantity: str, rows: list[_Row]) -> Window:
        field, _, name = quantity.partition(".")
        if not rows:
            return Window((), np.zeros(0), np.zeros(0), np.zeros((0, 0)))
        steps, epochs, tables = zip(*rows, strict=True)
        values = np.stack(tables)
        if name:
            values = values[:, :, TENSOR_STATS.index(name)]
        return Window(self._places[field], np.array(steps), np.array(epochs), values)

    def values(self, quantity: str, where: str = "") -> np.ndarray:
        """Returns the values of a series; an empty array if there are none."""
        return self._find(quantity, where)[:, 2].copy()

    def _find(self, quantity: str, where: str) -> np.ndarray:
        """Points of a series: float array of shape `(n, 3)`."""
        if (quantity, where) in self._points:
            return np.array(self._points[quantity, where]).reshape(-1, 3)
        field, _, name = quantity.partition(".")
        if name and name not in TENSOR_STATS:
            return np.zeros((0, 3))
        parts = [
            (step, epoch, table[(places.index(where), *_column(name))])
            for (kept, places), rows in self._tables.items()
            if kept == field and where in places and _has(rows, name)
            for step, epoch, table in rows
        ]
        found = np.array(parts, float).reshape(-1, 3)
        # Stable: what a table of other places holds comes in between.
        return found[np.argsort(found[:, 0], kind="stable")]

    @property
    def position(self) -> tuple[int, float]:
        """The last step and epoch that is known of; `(0, 0.0)` before training."""
        records = [r for r in (self.last_step, self.last_epoch) if r is not None]
        if not records:
            return 0, 0.0
        last = max(records, key=lambda r: (r.epoch, r.step))
        return last.step, float(last.epoch)

    def quantities(self) -> dict[str, list[str]]:
        """Returns the names of all quantities, each with its places."""
        found: dict[str, list[str]] = {}
        for quantity, where in self._points:
            found.setdefault(quantity, []).append(where)
        for (field, places), rows in self._tables.items():
            inner = rows[0][2].ndim == 2
            names = [f"{field}.{n}" for n in TENSOR_STATS] if inner else [field]
            for name in names:
                known = found.setdefault(name, [])
                known += [place for place in places if place not in known]
        return found

    def add_point(
        self, quantity: str, where: str, at: tuple[float, float], value: float | None
    ) -> None:
        """Adds a point to the series of a quantity; nothing for `None`.

        Args:
            quantity: its name.
            where: its place; empty for quantities of the whole model.
            at: step and epoch.
            value: its value.
        """
        if value is None:
            return
        points = self._points.get((quantity, where))
        if points is None:
            points = self._points[quantity, where] = array("d")
        elif len(points) >= 3 * MAX_POINTS:
            kept = np.delete(np.array(points).reshape(-1, 3), np.s_[1:-1:2], axis=0)
            points = self._points[quantity, where] = array("d", kept.ravel())
        points.extend((*at, value))

    def _add_histogram(
        self, kind: str, path: str, at: tuple[float, float], value: Histogram | None
    ) -> None:
        if value is not None:
            keep(self.histograms.setdefault((kind, path), []), State(*at, value))

    def _keep(self, field: str, parts: tuple, at: tuple[float, float]) -> None:
        """Adds a row to the window of one field of all variables or layers."""
        get = attrgetter(field)
        found = [(part.path, get(part)) for part in parts]
        found = [(path, value) for path, value in found if value is not None]
        if not found:
            return
        rows = [
            list(vars(v).values()) if isinstance(v, TensorStats) else v
            for _, v in found
        ]
        self.add_table(field, (path for path, _ in found), at, np.array(rows, float))

    def add_table(
        self,
        field: str,
        places: Iterable[str],
        at: tuple[float, float],
        table: np.ndarray,
    ) -> None:
        """Adds one field of all variables or layers in one observed step.

        Args:
            field: one of `VARIABLE_FIELDS` or `LAYER_FIELDS`.
            places: paths of the variables or layers that have it.
            at: step and epoch.
            table: float array of shape `(places,)`, or `(places, statistics)` of a
                field that is a `TensorStats`.
        """
        places = tuple(places)
        if self._places.get(field) != places:
            self._places[field] = places
            self._windows[field] = deque(maxlen=MAX_WINDOW)
        self._windows[field].append((*at, table))
        series = self._tables.setdefault((field, places), [])
        if len(series) >= MAX_POINTS:
            del series[1:-1:2]
        series.append((*at, table))
        if table.ndim == 2:
            self._note_lost(field, places, at, table)

    def _note_lost(
        self, field: str, places: tuple[str, ...], at: tuple, table: np.ndarray
    ) -> None:
        """Keeps in `lost` since when a field is not finite, while it is not."""
        bad = (table[:, _NAN] > 0) | (table[:, _INF] > 0)
        if not bad.any():
            self.lost.pop(field, None)
        elif field not in self.lost:
            where = tuple(places[i] for i in np.flatnonzero(bad))
            self.lost[field] = (*at, where)


def keep(states: list[State], state: State) -> None:
    """Adds a state; every second older one goes when there are many."""
    if len(states) >= MAX_STATES:
        del states[1:-1:2]
    states.append(state)


def _column(name: str) -> tuple[int, ...]:
    return (TENSOR_STATS.index(name),) if name else ()


def _has(rows: list[_Row], name: str) -> bool:
    """Whether a table is of `TensorStats` if a statistic is asked for, or not."""
    return (rows[0][2].ndim == 2) == bool(name)
