"""Update ratio: how much a step changes the weights, relative to the weights.

‖w_after − w_before‖₂ / ‖w_before‖₂ per variable, about 1e-3 when healthy (CS231n,
Neural Networks Part 3, "Ratio of weights:updates"). The update is what really
happened: momentum, adaptive rates, weight decay and clipping included.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_babysit.probes import rows
from keras_babysit.probes.probe import Arrays, Blocks, Probe, Reading, StepView


def measure(view: StepView) -> Blocks:
    """Describes each variable's weights before the update, and the update."""
    both = []
    for v in view.variables:
        before = ops.cast(v.before, "float32")
        update = ops.cast(v.after, "float32") - before
        pair = [view.describe(before), view.describe(update)]
        both.append(ops.stack(pair))
    return {"weight_and_update": ops.stack(both)} if both else {}


def context(view: StepView) -> tuple[str, ...]:
    """Returns the paths of the rows."""
    return tuple(v.path for v in view.variables)


def read(arrays: Arrays, paths: tuple[str, ...]) -> Reading:
    """Divides the norms; the ratio of a variable that is zero is NaN."""
    reading = Reading()
    if not paths:
        return reading
    # Replicas hold copies of the variables: one of them says it all.
    for path, (weight, update) in zip(
        paths, arrays["weight_and_update"][0], strict=True
    ):
        w, u = rows.tensor_stats(weight[None]), rows.tensor_stats(update[None])
        ratio = u.norm / w.norm if w.norm > 0 else np.nan
        reading.variables[path] = {"weight": w, "update": u, "update_ratio": ratio}
    return reading


PROBE = Probe(
    "update_ratio",
    measure=measure,
    context=context,
    read=read,
    needs=frozenset({"updates"}),
)
