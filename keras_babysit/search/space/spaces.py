"""Ranges that CS231n's notes search, and a warning where the scale is the wrong one.

CS231n, "Hyperparameter optimization": learning rates and regularization strengths act
by factors, so they are drawn uniformly from the logarithms, `10 ** uniform(-6, 1)`;
others, such as dropout, are drawn as they are.
"""

from __future__ import annotations

import math
import re
from typing import Any

import keras_tuner

from keras_babysit.errors import is_number
from keras_babysit.records import Finding

types = keras_tuner.engine.hyperparameters

#: Names of what acts by factors, and where even a minimum of zero is a mistake.
_STRENGTHS = re.compile(
    r"(^|[^a-z])(lr|learning_?rate|l1|l2|(weight_?)decay|wd|reg|regulari[sz]ation"
    r"(_?strength)?|lambda)([^a-z]|$)"
)
#: Names that may also be of something else: a factor of decay, a rate of dropout.
_MAYBE = re.compile(r"(^|[^a-z])(rate|decay|eps|epsilon)([^a-z]|$)")
#: Names of what is searched as it is, however small its minimum.
_LINEAR = re.compile(
    r"drop|momentum|rho|beta|prob|frac|factor|ratio|noise|mask|zoom|rotat|shift|smooth"
)


def learning_rate(
    hp: keras_tuner.HyperParameters,
    name: str = "learning_rate",
    min_value: float = 1e-6,
    max_value: float = 10.0,
    default: float | None = None,
    **conditions: Any,
) -> float:
    """Asks for a learning rate on a logarithmic scale; 1e-6 to 10 are the notes'.

    Args:
        hp: the `HyperParameters` that a hypermodel gets.
        name: name of the hyperparameter.
        min_value: the smallest rate, positive.
        max_value: the largest rate, included.
        default: the value where none is searched; 1e-3 if the range has it, else the
            middle of the range on its scale.
        **conditions: `parent_name` and `parent_values`, as for `hp.Float`.

    Returns:
        The value of this trial, a Python float; `None` where it is inactive.

    Raises:
        ValueError: for a minimum that is not positive, or greater than the maximum.

    Example:
    ```python
    def make_model(hp):
        rate = search.learning_rate(hp, min_value=1e-4, max_value=1e-1)
        ...  # and returns a compiled model
    ```
    """
    return _log(hp, name, min_value, max_value, default, 1e-3, conditions)


def l2(
    hp: keras_tuner.HyperParameters,
    name: str = "l2",
    min_value: float = 1e-6,
    max_value: float = 1.0,
    default: float | None = None,
    **conditions: Any,
) -> float:
    """Asks for the strength of an L2 penalty on a logarithmic scale.

    The notes give the scale ("the same strategy should be used for the regularization
    strength"); the range is ours. Arguments as those of `learning_rate`; `default` is
    1e-4 if the range has it.
    """
    return _log(hp, name, min_value, max_value, default, 1e-4, conditions)


def weight_decay(
    hp: keras_tuner.HyperParameters,
    name: str = "weight_decay",
    min_value: float = 1e-6,
    max_value: float = 1.0,
    default: float | None = None,
    **conditions: Any,
) -> float:
    """Asks for an optimizer's weight decay on a logarithmic scale; see `l2`.

    `default` is 4e-3, Keras's own of AdamW, if the range has it.
    """
    return _log(hp, name, min_value, max_value, default, 4e-3, conditions)


def dropout(
    hp: keras_tuner.HyperParameters,
    name: str = "dropout",
    min_value: float = 0.0,
    max_value: float = 0.9,
    default: float | None = None,
    **conditions: Any,
) -> float:
    """Asks for a rate of dropout, uniformly; as Keras has it, the share set to zero.

    The notes draw `uniform(0, 1)`; at 1 nothing would be left, so this ends at 0.9.
    Arguments as those of `learning_rate`; `default` is 0.5 if the range has it.

    Raises:
        ValueError: for a range that is not within 0 to 1.
    """
    _check_range("dropout", name, min_value, max_value)
    if min_value < 0 or max_value > 1:
        raise ValueError(
            f"dropout(name={name!r}): rates are between 0 and 1. Received: "
            f"min_value={min_value!r}, max_value={max_value!r}"
        )
    if default is None:
        inside = min_value <= 0.5 <= max_value
        default = 0.5 if inside else (min_value + max_value) / 2
    return hp.Float(name, min_value, max_value, default=default, **conditions)


def momentum(
    hp: keras_tuner.HyperParameters, name: str = "momentum", **conditions: Any
) -> float:
    """Asks for SGD's momentum among the notes' values: 0.5, 0.9, 0.95 or 0.99."""
    values = [0.5, 0.9, 0.95, 0.99]
    return hp.Choice(name, values, ordered=True, default=0.9, **conditions)


def linear_scale_warnings(hps: keras_tuner.HyperParameters) -> list[Finding]:
    """Finds parameters that act by factors and are searched linearly.

    Of values drawn uniformly from 1e-6 to 1, nine in ten are above 0.1, and only one in
    a thousand is below 1e-3. A `Float` with linear sampling is found

    - if its name is that of a learning rate or of a strength of regularization, and its
      range starts at zero or spans two decades or more: `"warning"`;
    - if its name says nothing and its range spans two decades or more: `"info"`. Names
      of what is searched as it is (dropout, momentum, fractions) are left alone.

    Args:
        hps: the space, `tuner.oracle.get_space()`; it is not changed.

    Returns:
        A `Finding` for each, in the order of the space, with what to write instead.

    Example:
    ```python
    for finding in search.linear_scale_warnings(tuner.oracle.get_space()):
        print(finding)
    ```
    """
    found = [(hp, _linear_severity(hp)) for hp in hps.space]
    return [_linear_finding(hp, severity) for hp, severity in found if severity]


def _linear_severity(hp: Any) -> str:
    if not isinstance(hp, types.Float) or hp.sampling != "linear":
        return ""
    if hp.min_value < 0 or hp.max_value <= 0:
        return ""
    # learningRate, group/weight-decay, L2: all of these are written.
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", hp.name).lower()
    name = name.replace("-", "_").replace(" ", "_")
    if _LINEAR.search(name):
        return ""
    wide = hp.min_value > 0 and hp.max_value / hp.min_value >= 100
    decays = "decay" in name and "weight" not in name  # It may be a factor.
    if _STRENGTHS.search(name) and not decays:
        return "warning" if wide or hp.min_value == 0 else ""
    if not wide:
        return ""
    return "warning" if _MAYBE.search(name) else "info"


def _linear_finding(hp: Any, severity: str) -> Finding:
    low, high = hp.min_value, hp.max_value
    to_try = low or high * 1e-5
    tenth = low + (high - low) / 10
    return Finding(
        rule="linear-scale",
        severity=severity,
        where=hp.name,
        step=0,
        epoch=0.0,
        since_step=0,
        since_epoch=0.0,
        seen=f"searched on a linear scale from {low:g} to {high:g}",
        cause=f"Nine in ten of the values tried are above {tenth:.2g}",
        action=f'write hp.Float("{hp.name}", {to_try:g}, {high:g}, sampling="log")',
        alternatives=("leave it if it does not act by factors",),
        evidence={"min_value": low, "max_value": high},
    )


def _log(
    hp: keras_tuner.HyperParameters,
    name: str,
    low: float,
    high: float,
    default: float | None,
    usual: float,
    conditions: dict[str, Any],
) -> float:
    _check_range("hp.Float", name, low, high)
    if low <= 0:
        raise ValueError(
            f"{name!r} is searched on a logarithmic scale, so `min_value` must be "
            f"positive. Received: min_value={low!r}, max_value={high!r}"
        )
    if default is None:
        default = usual if low <= usual <= high else math.sqrt(low) * math.sqrt(high)
        default = min(max(default, low), high)
    return hp.Float(name, low, high, sampling="log", default=default, **conditions)


def _check_range(what: str, name: str, low: Any, high: Any) -> None:
    for value in (low, high):
        if not is_number(value):
            raise ValueError(
                f"The range of {name!r} must be two finite numbers. Received: "
                f"min_value={low!r}, max_value={high!r}"
            )
    if low > high:
        raise ValueError(
            f"The range of {name!r} is empty: `min_value` is greater than `max_value`. "
            f"Received: min_value={low!r}, max_value={high!r}"
        )
