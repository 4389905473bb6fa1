"""What the loss gets: targets, outputs, weights and values, as they reach it.

The values say what a configuration cannot: whether outputs are probabilities, along
which axis they sum to one, whether they depend on the inputs, and which classes are
ever predicted (Karpathy, A Recipe for Training Neural Networks: "visualize just before
the net").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_babysit.probes.probe import Described, Describer, Probe, Reading, View
from keras_babysit.records import LossInputs, LossTensor
from keras_babysit.statistics import namespace

#: Classes that are counted one by one; the rest has a place of its own behind them.
CLASSES = 100
#: A sum within this distance of one is one, in half precision too.
_NEAR = 0.01
#: So far outside of 0 to 1 are values that rounding has moved there.
_MARGIN = 1e-3
_AXES = (4, 2, 3)  # The last, the second, and those between.


def describe(x: Any) -> list[Any]:
    """Describes tensors `(k, samples, second axis, others, last axis)`."""
    ops = namespace(x)
    k, n, second, between, last = ops.shape(x)
    total = ops.cast(n * second * between * last, "float32")
    flat = ops.reshape(x, (k, n * second * between * last))

    def share(condition: Any) -> Any:
        return ops.sum(ops.cast(condition, "float32"), 1) / total

    mean = ops.sum(flat, 1) / total
    columns = [
        ops.zeros_like(mean) + total,
        ops.zeros_like(mean) + ops.cast(n, "float32"),
        ops.min(flat, 1),
        ops.max(flat, 1),
        mean,
        ops.sqrt(ops.sum(ops.square(flat - mean[:, None]), 1) / total),
        share(ops.logical_or(flat < -_MARGIN, flat > 1 + _MARGIN)),
        share(ops.equal(flat, ops.round(flat))),
        share(flat > 0),
        _spread(x),
        *(_unit_sums(x, axis) for axis in _AXES),
    ]
    largest = ops.cast(ops.argmax(x, -1), "float32")
    by_unit = _counts(ops.reshape(largest, (k, n * second * between)))
    return [ops.concatenate([ops.stack(columns, 1), by_unit, _counts(flat)], 1)]


def _spread(x: Any) -> Any:
    """How much samples differ: the mean of the standard deviation over samples."""
    ops = namespace(x)
    centred = x - ops.mean(x, 1, keepdims=True)
    return ops.mean(ops.sqrt(ops.mean(ops.square(centred), 1)), (1, 2, 3))


def _unit_sums(x: Any, axis: int) -> Any:
    """The share of sums over an axis that are one."""
    ops = namespace(x)
    near = ops.abs(ops.sum(x, axis) - 1) < _NEAR
    return ops.mean(ops.cast(near, "float32"), (1, 2, 3))


def _counts(x: Any) -> Any:
    """How often values `(k, n)` are 0, 1, 2, ... when rounded, and how often none."""
    ops = namespace(x)
    k = ops.shape(x)[0]
    values = ops.round(x)
    known = ops.logical_and(values >= 0, values < CLASSES)
    index = ops.cast(ops.where(known, values, float(CLASSES)), "int32")
    first = ops.reshape(ops.arange(k, dtype="int32") * (CLASSES + 1), (-1, 1))
    index = ops.reshape(index + first, (-1,))
    counts = ops.segment_sum(
        ops.ones_like(index), index, num_segments=k * (CLASSES + 1)
    )
    return ops.reshape(ops.cast(counts, "float32"), (k, CLASSES + 1))


DESCRIBER = Describer(describe, "samples")
_NUMBERS = 13
#: Where the counts of the largest units are, and those of the values.
_COUNTS = (
    slice(_NUMBERS, _NUMBERS + CLASSES + 1),
    slice(_NUMBERS + CLASSES + 1, None),
)


def describer(view: View) -> Describer:
    """Returns what describes any tensor of a loss."""
    return DESCRIBER


def read(found: Sequence[Described]) -> Reading:
    """Returns what each call of a loss was given and gave back."""
    calls: dict[str, dict[str, Described]] = {}
    for one in found:
        name, _, role = one.view.path.rpartition("/")
        calls.setdefault(name, {})[role] = one
    return Reading(
        step={"losses": tuple(_inputs(name, parts) for name, parts in calls.items())}
    )


def _inputs(name: str, parts: dict[str, Described]) -> LossInputs:
    call = next(iter(parts.values())).view.call
    shapes = {role: one.view.shape for role, one in parts.items()}
    target, output = shapes.get("targets", ()), shapes.get("outputs", ())
    # Labels have no axis of classes, though their last one may be as long.
    labels = call.cross_entropy.startswith("sparse") or (
        len(target) != len(output) or target[-1:] != output[-1:]
    )
    tensors: dict[str, Any] = {
        role: _tensor(one, labels if role == "targets" else len(shapes[role]) < 2)
        for role, one in parts.items()
    }
    return LossInputs(name, **vars(call), **tensors)


def _tensor(one: Described, labels: bool) -> LossTensor:
    """One tensor; of several replicas their mean, by the number of elements."""
    shape = one.view.shape
    labels = labels or shape[-1] == 1
    table = np.asarray(one.table, np.float64)
    table = table[table[:, 0] > 0] if (table[:, 0] > 0).any() else table
    weights = table[:, 0] if table[:, 0].sum() > 0 else None
    mean = np.average(table, axis=0, weights=weights)
    sums = [
        share if size != 1 else float("nan")
        for share, size in zip(mean[10:_NUMBERS], _sizes(shape), strict=True)
    ]
    return LossTensor(
        shape=shape,
        size=float(table[:, 0].sum()),
        samples=float(table[:, 1].sum()),
        min=float(table[:, 2].min()),
        max=float(table[:, 3].max()),
        mean=float(mean[4]),
        std=float(mean[5]),
        outside=float(mean[6]),
        whole=float(mean[7]),
        positive=float(mean[8]),
        spread=float(mean[9]),
        unit_sums=tuple(map(float, sums)),
        classes=table[:, _COUNTS[labels]].sum(0),
    )


def _sizes(shape: tuple[int | None, ...]) -> tuple[int | None, int | None, int | None]:
    """Sizes of the last axis, the second, and those between; 1 for those it lacks."""
    inner = shape[1:-1]
    between = 1 if len(inner) < 2 else (None if None in inner[1:] else 2)
    if between == 2 and all(n == 1 for n in inner[1:]):
        between = 1
    return shape[-1] if len(shape) > 1 else 1, inner[0] if inner else 1, between


PROBE = Probe("loss", of="losses", describer=describer, read=read)
