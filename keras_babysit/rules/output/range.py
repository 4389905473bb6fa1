"""Rules about the values that the output can reach."""

from __future__ import annotations

import math
from collections.abc import Iterator

from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.catalogue import RANGES
from keras_babysit.rules.evidence.tasks import Task, tasks
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the output",
    severity="error",
    when="start",
    since="A function cannot put out what is not in its range",
    also=("regression-loss-for-classes", "targets-not-scaled"),
)
def output_range(
    history: RunHistory, *, margin: float = 0.1, limit: float = 0.5
) -> Iterator[Sign]:
    """The output's activation function cannot reach the targets.

    What it sees:
        A regression loss with targets outside of the range of the output's activation
        function, by more than `margin` standard deviations of the targets: negative
        ones for ReLU, ones above 1 for sigmoid. An error above `limit`.

    Why it matters:
        The error on those targets cannot fall below a bound. Pushing towards them
        saturates the function, which stops learning on the others too.

    What to do:
        A regression output has no activation function. Or scale the targets into the
        function's range.

    When it is wrong:
        The few targets outside are errors in the data.

    References:
        Goodfellow et al., Deep Learning, 6.2.2.1 (linear units for regression).
    """
    for task in tasks(history):
        target = task.target
        if target is None or not task.regression or task.activation not in RANGES:
            continue
        if task.kind is None or not target.std >= 0:
            continue
        if task.single and (task.units or 1) > 1:
            continue  # Values are compared with the wrong ones: other rules say so.
        low, high = RANGES[task.activation]
        beyond = max(low - target.min, target.max - high, 0.0)
        share = beyond / max(target.std, 1e-12)
        if share <= margin or beyond < 1e-6:
            if _needs_no_sum(task):
                yield _sums_to_one(task)
            continue
        yield Sign(
            where=task.where,
            seen=f"{task.activation} puts out {_interval(low, high)}, but the targets "
            f"lie between {target.min:.4g} and {target.max:.4g}",
            cause="Targets outside of the range cannot be reached",
            action=f"use `{task.head(task.units, None)}` without activation",
            alternatives=(f"scale the targets into {_interval(low, high)}",),
            evidence={
                "activation": task.activation,
                "target_min": target.min,
                "target_max": target.max,
                "beyond_in_std": share,
            },
            severity="error" if share >= limit else "warning",
            fixes=(fixes.output(task.where, "linear"),),
        )


@rule(
    kind="cause in the output",
    severity="error",
    when="start",
    since="Rosasco et al., Are loss functions all the same? (2004): hinge",
)
def hinge_range(history: RunHistory) -> Iterator[Sign]:
    """A hinge loss gets outputs or labels that it is not made for.

    What it sees:
        Labels of `hinge` or `squared_hinge` that are neither -1 and 1 nor 0 and 1
        (which Keras turns into those); or an output that cannot be negative.

    Why it matters:
        The loss asks that label times output be 1 or more: an output that stays above
        0 never gets there for the label -1.

    What to do:
        Labels of -1 and 1, and an output without activation, or tanh.

    When it is wrong:
        Labels other than -1 and 1 are custom margins.

    References:
        Keras: `keras.losses.Hinge`.
    """
    for task in tasks(history):
        if not task.loss.standard or task.loss.name not in ("hinge", "squared_hinge"):
            continue
        low = RANGES.get(task.activation or "", (-math.inf, math.inf))[0]
        labels = set(task.target.counts) if task.target is not None else set()
        if task.activation is not None and low >= 0:
            yield Sign(
                where=task.where,
                seen=f"{task.activation} puts out "
                f"{_interval(*RANGES[task.activation])}, but {task.loss.name} wants -1 "
                "for one of the classes",
                cause="That class can never be predicted",
                action=f"use `{task.head(task.units, 'tanh')}`, or no activation",
                alternatives=('loss="binary_crossentropy" with this output',),
                evidence={"activation": task.activation},
                fixes=(
                    fixes.output(task.where, "tanh"),
                    fixes.output(task.where, "linear"),
                ),
            )
        elif labels and not (labels <= {-1.0, 1.0} or labels <= {0.0, 1.0}):
            some = sorted(labels)[:4]
            yield Sign(
                where=task.target.name if task.target is not None else "y",
                seen=f"labels {', '.join(f'{v:g}' for v in some)} with "
                f"{task.loss.name} (-1 and 1 are wanted)",
                cause="Likely the labels were coded for another loss",
                action="map the two classes to -1 and 1"
                if len(labels) == 2
                else 'use `loss="sparse_categorical_crossentropy"` and a softmax of '
                "one unit a class",
                evidence={"labels": some},
                fixes=(fixes.labels_as_signs(task.target.name),)
                if task.target is not None and len(labels) == 2
                else (),
            )


def _interval(low: float, high: float) -> str:
    if math.isinf(high):
        return f"values from {low:g} up"
    return f"values up to {high:g}" if math.isinf(low) else f"{low:g} to {high:g}"


def _needs_no_sum(task: Task) -> bool:
    """Whether a softmax is to reach rows that do not sum to one."""
    target = task.target
    if target is None or task.activation != "softmax" or not task.aligned:
        return False
    many = (task.units or 0) > 1 and task.kind == "numbers"
    return many and abs(target.mean * target.features - 1) > 0.1


def _sums_to_one(task: Task) -> Sign:
    assert task.target is not None
    total = task.target.mean * task.target.features
    return Sign(
        where=task.where,
        seen=f"softmax outputs sum to 1, but the targets' rows to {total:.3g}",
        cause="Such rows cannot be reached",
        action=f"use `{task.head(task.units, None)}` without activation",
        alternatives=(f"`{task.head(task.units, 'sigmoid')}` for values in 0 to 1",),
        evidence={"activation": "softmax", "row_sum": total},
        fixes=(fixes.output(task.where, "linear"), fixes.output(task.where, "sigmoid")),
    )
