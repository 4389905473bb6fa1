"""Gradients of each trainable variable: norm, moments, histogram.

Gradients are those that reach the optimizer, before clipping, without the loss
scale of mixed precision, summed over replicas (CS231n, Neural Networks Part 3,
"Activation/Gradient distributions per layer").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_babysit import statistics
from keras_babysit.probes import rows
from keras_babysit.probes.probe import Arrays, Blocks, Probe, Reading, StepView


def measure(view: StepView) -> Blocks:
    """Describes each gradient and counts its histogram."""
    found = [v.gradient for v in view.variables if v.gradient is not None]
    if not found:
        return {}
    return {
        "gradient": ops.stack([view.describe(g) for g in found]),
        "histogram": ops.stack([view.histogram(g) for g in found]),
    }


def context(view: StepView) -> tuple[tuple[str, int | None], ...]:
    """Returns the path of each row, and the size of what was sampled, if it was."""
    return tuple(
        (v.path, _size(v.gradient) if statistics.is_sampled(v.gradient) else None)
        for v in view.variables
        if v.gradient is not None
    )


def _size(x: Any) -> int:
    return int(np.prod([n or 1 for n in x.shape]))


def read(arrays: Arrays, names: tuple[tuple[str, int | None], ...]) -> Reading:
    """Returns each variable's gradient, and the norm over all of them."""
    reading = Reading()
    if not names:
        return reading
    # Summed over replicas in the step: every replica has the same.
    table, counts = arrays["gradient"][0], arrays["histogram"][0]
    for (path, sampled), row, count in zip(names, table, counts, strict=True):
        reading.variables[path] = {
            "gradient": rows.tensor_stats(row[None]),
            "gradient_histogram": rows.histogram(count, sampled),
        }
    norms = [fields["gradient"].norm for fields in reading.variables.values()]
    reading.step["gradient_norm"] = float(np.linalg.norm(np.array(norms)))
    return reading


PROBE = Probe(
    "gradients",
    measure=measure,
    context=context,
    read=read,
    needs=frozenset({"gradients"}),
)
