"""Whether regularization adds to the loss as it should, and does not overwhelm it.

CS231n, Neural Networks Part 3: "increasing the regularization strength should increase
the loss", and "don't let the regularization overwhelm the data".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras

from keras_babysit.borrowing import borrowed, without_noise
from keras_babysit.checks.check import Check, CheckResult
from keras_babysit.checks.losses.penalty_share import Penalty, Seen, weighed
from keras_babysit.document.progress_line import Progress, silent
from keras_babysit.inspection.model import model_facts
from keras_babysit.inspection.sample import Sample, check_bounds, ready, sample_of
from keras_babysit.rules.evidence.phrases import names, number, percent

#: Samples that the loss is computed of.
SAMPLES = 256
#: A rise of the loss that float32 can show.
_VISIBLE = 1e-4
#: What is less than this share of the loss has no effect.
_NEGLIGIBLE = 1e-6
#: Share of the loss on the data that penalties had better be.
_ADVISED = 0.1


def check_regularization(
    model: keras.Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    samples: int = SAMPLES,
    limit: float = 1.0,
    far: float = 3.0,
    progress: Progress | None = None,
) -> CheckResult:
    """Checks that regularization raises the loss, and does not dominate it.

    Each regularizer of a trainable weight or of a layer's output is made ten times
    stronger: its penalty must rise, and the model's loss with it. Then penalties and
    their gradients are compared with those of the loss on the data.

    Large penalties alone are not a fault: those of many weights add up, and training
    shrinks the weights that the data do not need. They are a fault if the gradients
    also come mainly from them: then the weights shrink regardless of the data.

    What layers add by `add_loss` is shown but not judged: it may be the objective
    itself. The model is returned as it was.

    Args:
        model: a compiled model.
        x: what `fit` takes: arrays, a dataset, a generator.
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays.
        samples: number of samples to compute with.
        limit: how many times the loss on the data (or that of an untrained output, if
            larger) the penalties may be, and their gradient that of the data. Of
            networks of 2 to 4 layers on digits, those below 1 lost little by L2
            penalties, those above lost more: from 0.98 accuracy to 0.72 at 1.2.
        far: the same, above which the check fails: they learned nothing at 3.5.
        progress: called with the share that is done and what is done now.

    Returns:
        A `CheckResult`: `"passed"`; `"worrying"` if the penalties and their gradients
        are more than `limit` times those of the data; `"failed"` if more than `far`
        times, if a penalty is negative or not finite, if it does not rise with the
        strength, if its gradient is zero, or if the model's loss leaves it out;
        `"skipped"` if nothing is added to the loss.

    Raises:
        TypeError: if `model` is not a Keras model.
        ValueError: if it is not compiled or does not fit the data, or if the data is
            empty or not finite.

    References:
        CS231n, Neural Networks Part 3, "Gradient checks: don't let the regularization
        overwhelm the data", "Before learning: sanity checks tips/tricks".

    Example:
    ```python
    print(keras_babysit.check_regularization(model, x_train, y_train))
    ```
    """
    check_bounds(samples, limit, far)
    sample = sample_of(x, y, sample_weight, n=samples)
    ready(model, sample)
    return _check(model, sample, progress or silent, limit, far)


def run(model: Any, sample: Sample, progress: Progress = silent) -> CheckResult:
    """Checks the regularization of a built, compiled model on a sample."""
    return _check(model, sample.spread(SAMPLES), progress)


def _check(
    model: Any,
    sample: Sample,
    progress: Progress,
    limit: float = 1.0,
    far: float = 3.0,
) -> CheckResult:
    facts = model_facts(model)
    with borrowed(model), without_noise(model):
        seen = weighed(model, sample, facts, progress)
    progress(1.0, "")
    if all(one.idle for one in seen.penalties):
        why = "no weight or output is regularized"
        if seen.penalties:
            where = names([one.where for one in seen.penalties])
            why = f"the strength of every regularizer is 0 ({where})"
        return CheckResult(
            "regularization",
            "skipped",
            f"nothing is added to the loss on the data: {why}",
            notes=tuple(_of_decay(seen)) + tuple(_of_frozen(seen)),
        )
    verdict, summary, action, others = _verdict(seen, limit, far)
    return CheckResult(
        "regularization",
        verdict,
        summary,
        action,
        others,
        evidence=_evidence(seen),
        rows=tuple(_rows(seen)),
        notes=tuple(_notes(seen, limit)),
    )


# ------------------------------------------------------------------------- judging


def _verdict(
    seen: Seen, limit: float, far: float
) -> tuple[str, str, str, tuple[str, ...]]:
    """Returns verdict, summary, action and alternatives."""
    wrong = next(_wrong(seen), None)
    if wrong is not None:
        return wrong
    shares = f"the penalties are {number(seen.sum)}, the loss on the data is "
    shares += number(seen.data)
    if not seen.regularizing:
        added = sum(one.value for one in seen.penalties)
        text = f"layers add {number(added)} by `add_loss` to a loss on the data of "
        return "passed", f"{text}{number(seen.data)}; no regularizer is used", "", ()
    if seen.ratio > limit and seen.gradient > limit:
        verdict = "failed" if min(seen.ratio, seen.gradient) > far else "worrying"
        return (
            verdict,
            f"regularization overwhelms the data: {shares}, and their gradient is "
            f"{number(seen.gradient)} times that of the data",
            _weaker(seen),
            (),
        )
    summary = f"{shares}; ten times the strength raises the loss by "
    return "passed", f"{summary}{number(seen.rise[0])}", "", ()


def _wrong(seen: Seen) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Yields what makes no sense, the worst first."""
    for one in seen.penalties:
        if not math.isfinite(one.value):
            yield (
                "failed",
                f"{_described(one)} gives {one.value}",
                "look for a logarithm, root or division by zero in it",
                (),
            )
    for one in seen.regularizing:
        if one.value < 0:
            what = "outputs" if one.of_outputs else "weights"
            yield (
                "worrying" if one.of_outputs else "failed",
                f"{_described(one)} gives {number(one.value)}: a negative penalty "
                f"rewards {what} for growing",
                "turn its sign around",
                (),
            )
    for one in seen.regularizing:
        if one.gradient == 0 and one.value > 0 and not one.of_outputs:
            yield (
                "failed",
                f"{_described(one)} gives {number(one.value)}, but its gradient is "
                "zero: it adds to the loss and changes nothing",
                "compute it with `keras.ops`, without `stop_gradient`, rounding or "
                "NumPy",
                (),
            )
    yield from _not_rising(seen)


def _not_rising(seen: Seen) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Yields what does not rise with the strength."""
    for one in seen.regularizing:
        if one.rises is False:
            yield (
                "failed",
                f"{_described(one)} gives {number(one.value)}, and no more at ten "
                "times its strength",
                "multiply the penalty with the strength",
                (),
            )
    rose, expected = seen.rise
    visible = expected > _VISIBLE * max(abs(seen.total), 1e-30)
    if visible and not rose > 0.5 * expected:
        yield (
            "failed",
            f"ten times the strength raises the penalties by {number(expected)}, but "
            f"the model's loss by {number(rose)}: its `compute_loss` leaves them out",
            "add `sum(self.losses)` to what `compute_loss` returns",
            (),
        )


def _described(one: Penalty) -> str:
    if one.source is None:
        return f"what the layer `{one.where}` adds by `add_loss`"
    what = "activity regularizer" if one.of_outputs else "regularizer"
    return f"the {what} {one.source} of `{one.where}`"


def _weaker(seen: Seen) -> str:
    """Advises the strength at which the penalties are a tenth of the data loss."""
    factor = _ADVISED * seen.reference / seen.sum
    worst = max(seen.regularizing, key=lambda one: one.value)
    assert worst.source is not None
    strengths = {k: v for k, v in worst.source.strengths.items() if v}
    if not (worst.source.standard and strengths):
        return (
            f"lower the strength of the regularizers {number(1 / factor)}-fold, that "
            f"of `{worst.where}` first"
        )
    new = ", ".join(f"{k}={number(_rounded(v * factor))}" for k, v in strengths.items())
    kind = type(worst.source.given).__name__
    given = ", ".join(f"{k}={v:g}" for k, v in strengths.items())
    others = [one for one in seen.regularizing if one.value > 0]
    alike = all(str(one.source) == str(worst.source) for one in others)
    of = f"at `{worst.where}`"
    if len(others) > 1:
        share = f"weaken the others {number(1 / factor)}-fold too"
        of = f"at all {len(others)} places" if alike else f"{of}, and {share}"
    return (
        f"use `keras.regularizers.{kind}({new})` instead of `{kind}({given})` {of}: "
        f"the penalties are then {percent(_ADVISED)} of the loss on the data"
    )


def _rounded(value: float) -> float:
    return float(f"{value:.1g}")


# ------------------------------------------------------------------------- telling


def _notes(seen: Seen, limit: float) -> Iterator[str]:
    if seen.regularizing and seen.ratio > limit and seen.gradient <= limit:
        yield (
            "the penalties are larger than the loss on the data, but their gradient "
            f"is only {number(seen.gradient)} times that of the data: the weights "
            "that the data does not need will shrink first"
        )
    if seen.regularizing and 0 < seen.sum < _NEGLIGIBLE * seen.reference:
        yield "the penalties are too small to have any effect"
    idle = [one.where for one in seen.regularizing if one.idle]
    if idle:
        yield f"the strength is 0 at {names(idle)}"
    fixed = [
        one.where
        for one in seen.regularizing
        if one.of_outputs and one.gradient == 0 and one.value > 0
    ]
    if fixed:
        yield f"no trainable weight changes what is penalized at {names(fixed)}"
    yield from _of_frozen(seen)
    yield from _of_decay(seen)
    added = [one.where for one in seen.penalties if one.source is None]
    if added:
        yield f"`add_loss` is not judged ({names(added)}): it may be what is trained"
    if seen.own_loss:
        yield "the model has no compiled loss: there is no loss on the data to compare"
    if seen.facts.custom_train_step:
        yield (
            "the model trains by its own `train_step`: whether that adds "
            "`self.losses` was not seen"
        )


def _of_frozen(seen: Seen) -> Iterator[str]:
    if seen.frozen:
        where = names([one.where for one in seen.frozen])
        yield f"regularizers of frozen weights have no effect: {where}"


def _of_decay(seen: Seen) -> Iterator[str]:
    optimizer = seen.facts.optimizer
    if optimizer is None or not optimizer.weight_decay:
        return
    decay = f"the `weight_decay={optimizer.weight_decay:g}` of {optimizer.name}"
    doubled = any(
        not one.of_outputs and one.source is not None and one.source.strengths.get("l2")
        for one in seen.regularizing
    )
    if doubled:
        yield f"{decay} shrinks the weights besides their L2 penalty: choose one"
    else:
        yield f"{decay} is no part of the loss, and was not looked at"


def _evidence(seen: Seen) -> dict[str, Any]:
    found: dict[str, Any] = {
        "data_loss": seen.data,
        "penalties": seen.sum,
        "added": sum(one.value for one in seen.penalties if one.source is None),
        "ratio": seen.ratio,
        "gradient_ratio": seen.gradient,
        "rise": seen.rise[0],
        "expected_rise": seen.rise[1],
    }
    return found


def _rows(seen: Seen) -> Iterator[dict[str, str]]:
    whole = abs(seen.data) + sum(abs(one.value) for one in seen.penalties)
    for one in seen.penalties:
        what = "add_loss" if one.source is None else str(one.source)
        yield {
            "Where": one.where,
            "Penalty": f"activity {what}" if one.of_outputs else what,
            "Value": number(one.value),
            "Share of loss": percent(one.value / whole) if whole > 0 else "–",
            "At 10 times": "–" if math.isnan(one.raised) else number(one.raised),
            "Gradient / data's": (
                "–" if math.isnan(one.gradient) else number(one.gradient)
            ),
        }


CHECK = Check("regularization", "regularization", 20, run)
