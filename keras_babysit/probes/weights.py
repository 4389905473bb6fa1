"""Histogram of each trainable variable's values, before training and each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_babysit import statistics
from keras_babysit.probes import rows
from keras_babysit.probes.probe import EpochView, Probe, histogram


def epoch(view: EpochView) -> dict[str, Any]:
    """Counts the histograms of all trainable variables in one compiled call."""
    variables = view.model.trainable_variables
    if not variables:
        return {}

    def count_all(values: list[Any]) -> Any:
        return ops.stack([histogram(v, view.shared) for v in values])

    count = view.compiled("weights", count_all)
    table = np.asarray(count([ops.convert_to_tensor(v) for v in variables]))
    return {
        "weight_histograms": {
            path: rows.histogram(
                row, int(np.prod(v.shape)) if statistics.is_sampled(v) else None
            )
            for path, row, v in zip(view.paths, table, variables, strict=True)
        }
    }


PROBE = Probe("weights", epoch=epoch)
