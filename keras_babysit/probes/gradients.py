"""Gradients of each trainable variable: norm, moments, histogram.

Gradients are those that reach the optimizer, before clipping, without the loss
scale of mixed precision, summed over replicas (CS231n, Neural Networks Part 3,
"Activation/Gradient distributions per layer").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_babysit.probes import rows
from keras_babysit.probes.probe import Described, Probe, Reading


def read(found: Sequence[Described]) -> Reading:
    """Returns each variable's gradient, and the norm over all of them."""
    reading = Reading()
    for one in found:
        # Summed over replicas in the step: there is one row.
        row = one.table[0].astype(np.float64)
        stats, counts = rows.unscaled(row[:8], one.scale, 3), row[rows.COUNTS].copy()
        counts[:2] /= one.scale
        reading.variables[one.view.path] = {
            "gradient": rows.tensor_stats(stats[None]),
            "gradient_histogram": rows.histogram(counts, rows.sampled(stats)),
        }
    norms = [fields["gradient"].norm for fields in reading.variables.values()]
    if norms:
        reading.step["gradient_norm"] = float(np.linalg.norm(np.array(norms)))
    return reading


PROBE = Probe("gradients", of="gradients", describer=rows.describer, read=read)
