"""The numbers of a record that are charted over time: the same tags in every sink.

`batch` has what matters of a step, `epoch_...` Keras's own logs; the update ratio of
each kernel and what each loss gets are in groups of their own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple

from keras_babysit.records import (
    EpochRecord,
    LossInputs,
    StepRecord,
    TensorStats,
    ValidationRecord,
    VariableStats,
)
from keras_babysit.sinks.names import Names, harmless

#: Group of the quantities of a step.
BATCH = "batch"
#: What there is of the update ratios of all kernels.
RATIOS = f"{BATCH}/update_ratio_log10"
#: Group of the update ratios of single kernels.
RATIO = "layer_update_ratio_log10"


class Scalar(NamedTuple):
    """A number under a tag, with a description that may be empty."""

    tag: str
    value: float
    description: str = ""


def of_step(record: StepRecord, names: Names) -> list[Scalar]:
    """Returns what is charted of a step."""
    found = [*_of_batch(record), *_ratios(record, names)]
    return [*found, *of_losses(record), *_of_classes(record)]


def kernels(record: StepRecord, names: Names) -> list[str]:
    """Returns the names of kernels with an update ratio, in the model's order."""
    return [names.of(v.path) for v in _with_ratio(record, names)]


def of_epoch(record: EpochRecord) -> list[Scalar]:
    """Returns what is charted of an epoch: Keras's logs, named as Keras names them."""
    values = [
        Scalar(f"epoch_{name}", value)
        for name, value in record.logs.items()
        if not name.startswith("val_")
    ]
    if record.loss_std is not None:
        values.append(Scalar("loss/std_over_batches", record.loss_std))
    return values


def of_validation(record: EpochRecord) -> list[Scalar]:
    """Returns what is charted of an epoch's validation."""
    return [
        Scalar(f"epoch_{name.removeprefix('val_')}", value)
        for name, value in record.logs.items()
        if name.startswith("val_")
    ]


def of_losses(record: StepRecord | ValidationRecord) -> list[Scalar]:
    """Returns how outputs and targets lie and differ between samples."""
    return [value for call in record.losses for value in _of_loss(call)]


def _of_loss(call: LossInputs) -> list[Scalar]:
    return [
        Scalar(f"loss/{harmless(call.path)}/{role}_{name}", getattr(tensor, name))
        for role in ("targets", "outputs")
        for tensor in [getattr(call, role)]
        if tensor is not None
        for name in ("mean", "spread")
    ]


def _of_classes(record: StepRecord) -> list[Scalar]:
    """Returns the share of its samples that the worst class is predicted for."""
    values = []
    for path, table in record.confusions.items():
        samples = table.sum(1)
        if samples.any():
            hits = table.diagonal()[samples > 0] / samples[samples > 0]
            tag = f"loss/{harmless(path)}/worst_class_hits"
            values.append(Scalar(tag, float(hits.min())))
    return values


def _with_ratio(record: StepRecord, names: Names) -> list[VariableStats]:
    return [
        v
        for v in record.variables
        if v.update_ratio is not None
        and not names.is_minor(v.path)
        # Rows of an embedding change only when their token occurs.
        and "embedding" not in v.path.rpartition("/")[2]
    ]


def _ratios(record: StepRecord, names: Names) -> list[Scalar]:
    values = []
    for v in _with_ratio(record, names):
        if v.update_ratio is not None and 0 < v.update_ratio < math.inf:
            tag = f"{RATIO}/{names.of(v.path)}"
            text = names.description(tag, v.path)
            values.append(Scalar(tag, math.log10(v.update_ratio), text))
    if not values:
        return []
    ratios = [scalar.value for scalar in values]
    of_all = {
        "highest": max(ratios),
        "median": statistics.median(ratios),
        "lowest": min(ratios),
    }
    return values + [Scalar(f"{RATIOS}/{name}", v) for name, v in of_all.items()]


def _of_batch(record: StepRecord) -> list[Scalar]:
    found = {
        "loss": record.loss,
        "learning_rate": record.learning_rate,
        "gradient_norm": record.gradient_norm,
        "worst_dead_fraction": _largest(v.dead_fraction for v in record.layers),
        "worst_saturation_fraction": _largest(
            v.saturation_fraction for v in record.layers
        ),
        # These charts exist only where something went wrong.
        "nan_or_inf/weights": _broken(v.weight for v in record.variables),
        "nan_or_inf/gradients": _broken(v.gradient for v in record.variables),
        "nan_or_inf/activations": _broken(v.activation for v in record.layers),
    }
    return [
        Scalar(f"{BATCH}/{name}", value)
        for name, value in found.items()
        if value is not None
    ]


def _largest(shares: Iterable[float | None]) -> float | None:
    return max((v for v in shares if v is not None and v == v), default=None)


def _broken(tensors: Iterable[TensorStats | None]) -> int | None:
    """How many tensors have NaN or infinite elements; `None` if none has."""
    return sum(t is not None and t.nan + t.inf > 0 for t in tensors) or None
