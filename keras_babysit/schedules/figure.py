"""Pictures of schedules, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_babysit.document import figures
from keras_babysit.document.plots import Axes, Figure, Line
from keras_babysit.schedules import lengths
from keras_babysit.schedules.schedule import Schedule, rate_of

#: Points of a curve: more than a figure has pixels across. Keras's schedules take a
#: fraction of a millisecond for each.
_POINTS = 1000
#: Steps in an epoch of a schedule that only knows of epochs: any will do.
_FINE = 1000


def plot(
    schedules: Any,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    steps_per_epoch: int | None = None,
    path: str | Path | None = None,
    log: bool = False,
) -> Any:
    """Draws learning rates against epochs, or against steps if epochs are unknown.

    Args:
        schedules: a schedule, ours or Keras's, or a dict of name to schedule.
        epochs: how far to draw, in epochs,
        steps: or in steps.
        steps_per_epoch: number of batches in an epoch, if no schedule knows it. Not
            needed where all lengths are in epochs and `epochs` is given.
        path: picture file to write; its ending is the format.
        log: whether the rate is drawn on a logarithmic axis.

    Returns:
        The matplotlib `Figure`, which notebooks show.

    Raises:
        ImportError: without matplotlib: `pip install 'keras_babysit[plot]'`.
        ValueError: for no or wrong schedules, not exactly one length, or if
            `steps_per_epoch` is needed and unknown.

    Example:
    ```python
    schedules.plot({"steps": decay, "cycle": cycle}, epochs=90, path="rates.png")
    ```
    """
    named = _named(schedules)
    lengths.one_of(epochs, steps, "`plot`")
    named, sizes = _bound(named, epochs, steps_per_epoch)
    # Epochs cannot be told where the schedules have epochs of different sizes.
    in_epochs = epochs is not None or len(set(sizes.values()) - {None}) == 1
    common = next((n for n in sizes.values() if n is not None), 1)
    lines = []
    for name, schedule in named.items():
        if steps is not None:
            n, total = common, lengths.whole("steps", steps)
        else:
            n = sizes[name] or common
            total = lengths.in_steps(lengths.epochs_length("epochs", epochs), n)
        at = np.linspace(0, total, min(total, _POINTS) + 1).astype("int64")
        lines.append(Line(at / n if in_epochs else at, _rates(schedule, at), name))
    axes = Axes(
        tuple(lines),
        x_label="epoch" if in_epochs else "step",
        y_label="learning rate",
        y_scale="log" if log else "linear",
    )
    drawn = figures.drawn(
        [Figure("Learning rate", (axes,), legend="below")], "schedules"
    )
    if path is not None:
        drawn.savefig(path, dpi=150)
    return drawn


def _named(schedules: Any) -> dict[str, Any]:
    named = dict(schedules) if isinstance(schedules, Mapping) else {"": schedules}
    if not named:
        raise ValueError("There is no schedule to draw. Received: {}")
    for name, schedule in named.items():
        if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError(
                "Only a LearningRateSchedule can be drawn. Received: "
                f"{schedule!r}{f' for {name!r}' if name else ''}"
            )
    return named


def _bound(
    named: dict[str, Any], epochs: float | None, steps_per_epoch: int | None
) -> tuple[dict[str, Any], dict[str, int | None]]:
    """Returns the schedules, and the batches in an epoch of each, if known."""
    if steps_per_epoch is not None:
        n = lengths.whole("steps_per_epoch", steps_per_epoch)
        return {k: _with(s, n) for k, s in named.items()}, dict.fromkeys(named, n)
    sizes = {k: getattr(s, "steps_per_epoch", None) for k, s in named.items()}
    known = set(sizes.values()) - {None}
    for name, schedule in named.items():
        if sizes[name] is None and len(known) == 1:
            sizes[name] = next(iter(known))
        elif sizes[name] is None and epochs is not None:
            if not isinstance(schedule, Schedule) or "steps" in schedule.units():
                raise ValueError(
                    "Lengths in steps and `epochs` cannot be drawn in one picture "
                    "without `steps_per_epoch`. Received: "
                    f"steps_per_epoch=None with {schedule!r}"
                )
            sizes[name] = _FINE
    return {k: _with(s, sizes[k]) for k, s in named.items()}, sizes


def _with(schedule: Any, steps_per_epoch: int | None) -> Any:
    if steps_per_epoch is None or not isinstance(schedule, Schedule):
        return schedule
    return schedule.with_steps_per_epoch(steps_per_epoch)


def _rates(schedule: Any, at: np.ndarray) -> np.ndarray:
    if isinstance(schedule, Schedule):
        return schedule(at)
    return rate_of(schedule, at, np)
