"""Records of what was measured: from arrays to values with names."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_babysit.probes.confusion import confusions
from keras_babysit.probes.probe import Probe, Reading
from keras_babysit.records import (
    LayerStats,
    StepRecord,
    ValidationRecord,
    VariableStats,
)
from keras_babysit.step.observe import Fetched

#: Full observations over which a unit has to be zero to count as dead, at most; the
#: later half of all while there were fewer than twice as many.
DEAD_WINDOW = 20


class Readings:
    """Makes records of observed steps, which some units are watched over."""

    def __init__(self) -> None:
        # By layer: how often it was seen, and which units were alive of late.
        self._alive: dict[str, tuple[int, deque[np.ndarray]]] = {}

    def records(
        self,
        step: int,
        epoch: float,
        fetched: Fetched,
        paths: Sequence[str],
        probes: Sequence[Probe],
        selections: Sequence[Sequence[Probe]],
    ) -> list[StepRecord]:
        """Returns a record of one step for each selection of probes.

        Args:
            step: optimizer updates before it.
            epoch: position as a float.
            fetched: what was measured.
            paths: the trainable variables, in order.
            probes: all that measured.
            selections: those that each record is to have.
        """
        readings = {
            probe.name: self._read(probe, fetched)
            for probe in probes
            if probe.name in fetched.described
        }
        for reading in readings.values():
            if "losses" in reading.step:
                hits = confusions(reading.step["losses"], fetched.raw)
                reading.step["confusions"] = hits
        common = {
            "step": step,
            "epoch": epoch,
            "loss": fetched.loss,
            "learning_rate": fetched.learning_rate,
            "weights_unread": fetched.weights_unread,
        }
        return [
            _step_record(
                common,
                [readings[p.name] for p in chosen if p.name in readings],
                paths,
                fetched.frozen,
            )
            for chosen in selections
        ]

    def _read(self, probe: Probe, fetched: Fetched) -> Reading:
        assert probe.read is not None
        reading = probe.read(fetched.described[probe.name])
        for path, fields in reading.layers.items():
            if "alive" in fields:
                fields.update(self._dead(path, fields.pop("alive")))
        return reading

    def _dead(self, path: str, alive: np.ndarray) -> dict[str, Any]:
        seen, known = self._alive.get(path, (0, deque(maxlen=DEAD_WINDOW)))
        known.append(alive)
        self._alive[path] = seen + 1, known
        # Early on the later half of them: units that died after the first steps, when
        # they were alive, would not show in a short run.
        window = list(known)[-max(1, -(-(seen + 1) // 2)) :]
        return {
            "dead_fraction": float(1 - np.any(window, axis=0).mean()),
            "dead_window": len(window),
        }


def validation_record(
    step: int,
    epoch: float,
    fetched: Fetched,
    training: Fetched | None,
    selected: Sequence[Probe],
) -> ValidationRecord:
    """Returns a record of the batches that were observed of a validation.

    Args:
        step: optimizer updates so far.
        epoch: number of finished epochs.
        fetched: what was measured, of all batches.
        training: likewise of a training batch.
        selected: the probes that it is to have something of.
    """
    fields: dict[str, Any] = {}
    for probe in selected:
        if probe.of == "losses" and probe.name in fetched.described:
            assert probe.read is not None
            fields |= probe.read(fetched.described[probe.name]).step
            fields["confusions"] = confusions(fields["losses"], fetched.raw)
            if training is not None:
                again = probe.read(training.described[probe.name])
                fields["training"] = again.step["losses"]
    return ValidationRecord(step, epoch, fetched.loss, **fields)


def _step_record(
    common: dict[str, Any],
    readings: list[Reading],
    paths: Sequence[str],
    frozen: Sequence[str],
) -> StepRecord:
    fields = _merged(readings)
    changed = {path: fields.variables.get(path, {}) for path in frozen}
    return StepRecord(
        **common,
        **fields.step,
        variables=tuple(
            VariableStats(path, **fields.variables[path])
            for path in paths
            if path in fields.variables
        ),
        layers=tuple(LayerStats(p, **v) for p, v in fields.layers.items()),
        frozen={
            path: stats["update_ratio"]
            for path, stats in changed.items()
            if "update" in stats and stats["update"].norm > 0
        },
    )


def _merged(readings: list[Reading]) -> Reading:
    merged = Reading()
    for reading in readings:
        merged.step.update(reading.step)
        for path, fields in reading.variables.items():
            merged.variables.setdefault(path, {}).update(fields)
        for path, fields in reading.layers.items():
            merged.layers.setdefault(path, {}).update(fields)
    return merged
