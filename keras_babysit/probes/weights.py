"""Histogram of each trainable variable's values, before training and each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_babysit.probes import rows
from keras_babysit.probes.probe import EpochView, Probe


def epoch(view: EpochView) -> dict[str, Any]:
    """Counts the histograms of all trainable variables in one compiled call."""
    variables = view.model.trainable_variables
    if not variables:
        return {}
    table = view.describe([v.value for v in variables], rows.TABLE)[:, rows.COUNTS]
    return {
        "weight_histograms": {
            path: rows.histogram(row, rows.sampled([np.prod(v.shape)]))
            for path, row, v in zip(view.paths, table, variables, strict=True)
        }
    }


PROBE = Probe("weights", epoch=epoch)
