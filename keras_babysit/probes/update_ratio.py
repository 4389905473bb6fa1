"""Update ratio: how much a step changes the weights, relative to the weights.

‖w_after − w_before‖₂ / ‖w_before‖₂ per variable, about 1e-3 when healthy (CS231n,
Neural Networks Part 3, "Ratio of weights:updates"). The update is what really
happened: momentum, adaptive rates, weight decay and clipping included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_babysit import statistics
from keras_babysit.probes import rows
from keras_babysit.probes.probe import Described, Describer, Probe, Reading, View


def describe(before: Any, after: Any) -> list[Any]:
    """Statistics of weights `(k, n)` and of their updates: a table `(k, 16)`."""
    pair = [statistics.describe_rows(x) for x in (before, after - before)]
    return [statistics.namespace(before).concatenate(pair, 1)]


DESCRIBER = Describer(describe)


def describer(view: View) -> Describer:
    """Returns what describes any pair."""
    return DESCRIBER


def read(found: Sequence[Described]) -> Reading:
    """Divides the norms; the ratio of a variable that is zero is NaN."""
    reading = Reading()
    for one in found:
        w, u = (rows.tensor_stats(part[None]) for part in one.table[0].reshape(2, 8))
        ratio = u.norm / w.norm if w.norm > 0 else np.nan
        fields = {"weight": w, "update": u, "update_ratio": ratio}
        reading.variables[one.view.path] = fields
    return reading


PROBE = Probe("update_ratio", of="updates", describer=describer, read=read)
