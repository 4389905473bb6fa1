"""What of a record is in TensorBoard's Scalars, Histograms and Images tabs.

The Time Series tab opens the first two groups of tags, in the order of the alphabet:
`batch` has what matters of a step, `epoch_...` Keras's own logs. What there is of each
kernel and layer is in groups that are closed at first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from keras_babysit.event_files import summaries
from keras_babysit.event_files.summaries import Value
from keras_babysit.records import EpochRecord, Histogram, StepRecord
from keras_babysit.sinks import scalars
from keras_babysit.sinks.names import Names
from keras_babysit.sinks.scalars import RATIO, RATIOS, Scalar

#: Constant lines between which update ratios are healthy.
BAND = {"~ 1e-2 high": -2.0, "~ 1e-4 low": -4.0}
#: Histograms follow the last ones after this share of the steps so far: of a million
#: steps there are then about as many as TensorBoard shows, 500.
SPACING = 0.02


def points(found: Iterable[Scalar]) -> list[Value]:
    """Returns the points of charts that some numbers are."""
    return [summaries.scalar(*scalar) for scalar in found]


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
        found = scalars.of_step(record, self.names)
        if any(scalar.tag.startswith(RATIOS) for scalar in found):
            found += [Scalar(f"{RATIO}/{name}", value) for name, value in BAND.items()]
        return points(found) + self._histograms(record)

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
