"""What of a record is in TensorBoard's Scalars, Histograms and Images tabs.

The Time Series tab opens the first two groups of tags, in the order of the alphabet:
`batch` has what matters of a step, `epoch_...` Keras's own logs. What there is of each
kernel and layer is in groups that are closed at first.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable

from keras_babysit.event_files import summaries
from keras_babysit.event_files.summaries import Value
from keras_babysit.records import (
    EpochRecord,
    Histogram,
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
#: Constant lines between which update ratios are healthy.
BAND = {"~ 1e-2 high": -2.0, "~ 1e-4 low": -4.0}
#: Histograms follow the last ones after this share of the steps so far: of a million
#: steps there are then about as many as TensorBoard shows, 500.
SPACING = 0.02


class Charts:
    """Makes the points of a run's charts. One thread may use it.

    Args:
        names: what layers and weights are called.
    """

    def __init__(self, names: Names):
        self.names = names
        self._began: int | None = None
        self._due = 0.0

    def of_step(self, record: StepRecord) -> list[Value]:
        """Returns what is charted of a step."""
        values = _of_batch(record) + self._ratios(record)
        values += self._histograms(record) + of_losses(record)
        return values + _of_classes(record)

    def of_weights(self, record: EpochRecord) -> list[Value]:
        """Returns what is charted of the weights between two epochs."""
        values = self._drawn("layer_weights", record.weight_histograms.items())
        for picture in record.images:
            group, _, path = picture.tag.partition("/")
            tag, more = self._tag(group, path)
            text = ". ".join(filter(None, (picture.description, more)))
            values.append(
                summaries.image(dataclasses.replace(picture, tag=tag, description=text))
            )
        for path, note in record.notes.items():
            values.append(summaries.text(self._tag("first_layer", path)[0], note))
        return values

    def _tag(self, group: str, path: str) -> tuple[str, str]:
        """The tag of a layer or a weight, and its description."""
        tag = f"{group}/{self.names.of(path)}"
        return tag, self.names.description(tag, path)

    def kernels(self, record: StepRecord) -> list[str]:
        """Returns the names of kernels with an update ratio, in the model's order."""
        return [self.names.of(v.path) for v in self._with_ratio(record)]

    def _with_ratio(self, record: StepRecord) -> list[VariableStats]:
        return [
            v
            for v in record.variables
            if v.update_ratio is not None
            and not self.names.is_minor(v.path)
            # Rows of an embedding change only when their token occurs.
            and "embedding" not in v.path.rpartition("/")[2]
        ]

    def _ratios(self, record: StepRecord) -> list[Value]:
        values, ratios = [], []
        for v in self._with_ratio(record):
            if v.update_ratio is not None and 0 < v.update_ratio < math.inf:
                ratios.append(math.log10(v.update_ratio))
                tag, text = self._tag(RATIO, v.path)
                values.append(summaries.scalar(tag, ratios[-1], text))
        if not ratios:
            return []
        of_all = {
            "highest": max(ratios),
            "median": statistics.median(ratios),
            "lowest": min(ratios),
        }
        values += [summaries.scalar(f"{RATIOS}/{k}", v) for k, v in of_all.items()]
        return values + [summaries.scalar(f"{RATIO}/{k}", v) for k, v in BAND.items()]

    def _histograms(self, record: StepRecord) -> list[Value]:
        gradients = [(v.path, v.gradient_histogram) for v in record.variables]
        layers = [(layer.path, layer.histogram) for layer in record.layers]
        is_full = any(histogram for _, histogram in gradients + layers)
        if not is_full or not self._is_due(record.step):
            return []
        drawn = self._drawn("layer_gradients", gradients)
        return drawn + self._drawn("layer_activations", layers)

    def _is_due(self, step: int) -> bool:
        """Whether it is time for histograms: ever more rarely in a long run."""
        self._began = step if self._began is None else self._began
        done = step - self._began
        if done < self._due:
            return False
        self._due = done * (1 + SPACING)
        return True

    def _drawn(
        self, group: str, found: Iterable[tuple[str, Histogram | None]]
    ) -> list[Value]:
        return [
            summaries.histogram(tag, histogram, text)
            for path, histogram in found
            if histogram is not None and histogram.counts.sum() > 0
            if not self.names.is_minor(path)
            for tag, text in [self._tag(group, path)]
        ]


def of_epoch(record: EpochRecord) -> list[Value]:
    """Returns what is charted of an epoch: Keras's logs, named as Keras names them."""
    values = [
        summaries.scalar(f"epoch_{name}", value)
        for name, value in record.logs.items()
        if not name.startswith("val_")
    ]
    if record.loss_std is not None:
        values.append(summaries.scalar("loss/std_over_batches", record.loss_std))
    return values


def of_validation(record: EpochRecord) -> list[Value]:
    """Returns what is charted of an epoch's validation."""
    return [
        summaries.scalar(f"epoch_{name.removeprefix('val_')}", value)
        for name, value in record.logs.items()
        if name.startswith("val_")
    ]


def of_losses(record: StepRecord | ValidationRecord) -> list[Value]:
    """Returns how outputs and targets lie and differ between samples."""
    return [value for call in record.losses for value in _of_loss(call)]


def _of_loss(call: LossInputs) -> list[Value]:
    return [
        summaries.scalar(
            f"loss/{harmless(call.path)}/{role}_{name}", getattr(tensor, name)
        )
        for role in ("targets", "outputs")
        for tensor in [getattr(call, role)]
        if tensor is not None
        for name in ("mean", "spread")
    ]


def _of_classes(record: StepRecord) -> list[Value]:
    """Returns the share of its samples that the worst class is predicted for."""
    values = []
    for path, table in record.confusions.items():
        samples = table.sum(1)
        if samples.any():
            hits = table.diagonal()[samples > 0] / samples[samples > 0]
            tag = f"loss/{harmless(path)}/worst_class_hits"
            values.append(summaries.scalar(tag, float(hits.min())))
    return values


def _of_batch(record: StepRecord) -> list[Value]:
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
        summaries.scalar(f"{BATCH}/{name}", value)
        for name, value in found.items()
        if value is not None
    ]


def _largest(shares: Iterable[float | None]) -> float | None:
    return max((v for v in shares if v is not None and v == v), default=None)


def _broken(tensors: Iterable[TensorStats | None]) -> int | None:
    """How many tensors have NaN or infinite elements; `None` if none has."""
    return sum(t is not None and t.nan + t.inf > 0 for t in tensors) or None
