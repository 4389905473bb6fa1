"""Whether the loss before any update is what a network that knows nothing should give.

CS231n, Neural Networks Part 3, "Before learning: sanity checks": look for the correct
loss at chance performance; regularization left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import borrowed
from keras_babysit.checks.check import Check, CheckResult, worst
from keras_babysit.checks.losses import loss_kinds
from keras_babysit.checks.losses.large_losses import (
    STANDARDISE,
    causes,
    class_name,
    root,
)
from keras_babysit.checks.losses.output_loss import OutputLoss
from keras_babysit.checks.losses.parts import numpy_of, parts_of, predictions
from keras_babysit.document.progress_line import Progress, part, silent
from keras_babysit.facts import ModelFacts, OutputFacts
from keras_babysit.inspection.model import model_facts
from keras_babysit.inspection.sample import Sample, check_bounds, ready, sample_of
from keras_babysit.rules.evidence.phrases import number, percent

NAME = "initial_loss"

#: Samples that the loss is computed of; fewer where outputs are large.
SAMPLES = 256
_FEWEST = 8
#: So many values of the outputs at most.
_VALUES = 1_000_000
#: Root mean square of regression targets, as in the rules.
_LARGE_TARGETS = 100.0
#: Means that many deviations away from zero have to be learned first.
_FAR_MEAN = 3.0
#: Share of chance that class shares give if nearly all labels are of one class.
_UNEVEN = 0.35
_PLAIN_NUMBERS = (
    "huber",
    "log_cosh",
    "mean_absolute_error",
    "mean_squared_error",
)


def check_initial_loss(
    model: keras.Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    samples: int = SAMPLES,
    limit: float = 7.0,
    far: float = 25.0,
    progress: Progress | None = None,
) -> CheckResult:
    """Compares the loss before any update with what chance gives.

    A network that has learned nothing should not be confident: softmax and
    cross-entropy over C classes give −log(1/C), a hinge its margin, a mean squared
    error about the mean square of the targets. Penalties are left out. The loss at
    chance is computed with the loss function itself, for scores (logits, or what goes
    into the last activation) of zero and for random scores. So it also holds for
    weighted samples, masks, label smoothing and custom losses.

    A loss far above chance means that the outputs start too large: inputs are not
    scaled, or initial weights are too large. A loss far below means that the model is
    already trained, or that its inputs contain the labels. An output bias that is set
    to the class shares or to the targets' mean passes, too.

    The model is returned as it was.

    Args:
        model: a compiled model.
        x: what `fit` takes: arrays, a dataset, a generator.
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays.
        samples: number of samples to compute with.
        limit: root mean square of the random scores whose loss is still accepted, in
            units of the targets for regression. The usual initializers give about 1,
            in deep networks up to 6 (of 1,044 losses of fresh models none was beyond
            7). Over ten classes it makes a loss of 4.8 times chance.
        far: the same, above which the check fails.
        progress: called with the share that is done and what is done now.

    Returns:
        A `CheckResult`: `"passed"`; `"worrying"` beyond `limit`, or if regression
        targets are not scaled, or if an untrained model is far better than chance;
        `"failed"` beyond `far`, or if the loss is not finite; `"skipped"` if the model
        computes its loss by itself.

    Raises:
        TypeError: if `model` is not a Keras model.
        ValueError: if it is not compiled or does not fit the data, or if the data is
            empty or not finite.

    References:
        CS231n, Neural Networks Part 3, "Before learning: sanity checks tips/tricks".
        Karpathy, A Recipe for Training Neural Networks (2019), "verify loss @ init".

    Example:
    ```python
    print(keras_babysit.check_initial_loss(model, x_train, y_train))
    ```
    """
    check_bounds(samples, limit, far)
    sample = sample_of(x, y, sample_weight, n=samples)
    ready(model, sample)
    return _check(model, sample, progress or silent, limit=limit, far=far)


def run(model: Any, sample: Sample, progress: Progress = silent) -> CheckResult:
    """Checks the initial loss of a built, compiled model on a sample."""
    return _check(model, sample.spread(SAMPLES), progress)


def _check(
    model: Any,
    sample: Sample,
    progress: Progress,
    limit: float = 7.0,
    far: float = 25.0,
) -> CheckResult:
    facts = model_facts(model)
    with borrowed(model):
        sample = sample.spread(_affordable(model, sample))
        first, second = part(progress, 0.0, 0.4), part(progress, 0.4, 0.8)
        fitted = predictions(model, sample, True, first)
        later = predictions(model, sample, False, second)
        parts = parts_of(model, sample, fitted, training=True)
        outputs = _outputs(facts, len(keras.tree.flatten(fitted)))
        seen = []
        for count, loss in enumerate(parts):
            progress(0.8 + 0.2 * count / len(parts), "asking the loss about chance")
            output = None if loss.output is None else outputs[loss.output]
            in_use = _at(later, loss.output)
            one = OutputLoss(loss, output, in_use, facts, sample, limit, far)
            seen.append((one, _judged(one)))
    progress(1.0, "")
    return _result(seen, facts)


def _affordable(model: Any, sample: Sample) -> int:
    few = sample.spread(2)
    found = keras.tree.flatten(model(few.tensors.x, training=False))
    values = sum(int(np.prod(tensor.shape)) for tensor in found) // few.size
    return max(_FEWEST, min(sample.size, _VALUES // max(values, 1)))


def _outputs(facts: ModelFacts, count: int) -> list[OutputFacts | None]:
    known = facts.graph_known and len(facts.outputs) == count
    return list(facts.outputs) if known else [None] * count


def _at(structure: Any, place: int | None) -> Any:
    return None if place is None else keras.tree.flatten(structure)[place]


# ------------------------------------------------------------------------- judging


def _judged(one: OutputLoss) -> CheckResult:
    """Returns what there is to say of this output."""
    wrong = _wrong_labels(one)
    if wrong is not None:
        return wrong
    if one.guesses is None:
        if math.isfinite(one.measured):
            text = f"{number(one.measured)}: what chance gives is not known"
            return _say(one, "skipped", text)
        return _not_finite(one)
    if not (math.isfinite(one.measured) and math.isfinite(one.in_use)):
        return _not_finite(one)
    if one.measured > one.accepted:
        return _above(one)
    if one.divides_by_zero() or one.needs_probabilities():
        return _above(one, "worrying")
    return _unscaled(one) or _below(one) or _at_chance(one)


def _wrong_labels(one: OutputLoss) -> CheckResult | None:
    facts = one.part.facts
    shape = tuple(getattr(one.part.y_pred, "shape", ()))
    if not (facts.standard and facts.name in loss_kinds.SPARSE and len(shape) > 1):
        return None
    labels, units = numpy_of(one.part.y), shape[-1]
    if facts.ignore_class is not None:
        labels = labels[labels != facts.ignore_class]
    if not labels.size or (labels.min() >= 0 and labels.max() < units):
        return None
    low, high = number(labels.min()), number(labels.max())
    action = f"give the output layer {int(labels.max()) + 1} units"
    if labels.min() < 0:
        action = (
            f"skip them: `{class_name(facts.name)}(ignore_class={low})`"
            if facts.ignore_class is None and facts.name == loss_kinds.SPARSE[0]
            else "number the classes from 0"
        )
    return CheckResult(
        NAME,
        "failed",
        f"labels go from {low} to {high}, but the output has {units} units: the "
        "loss of the others is not defined",
        action,
    )


def _not_finite(one: OutputLoss) -> CheckResult:
    wrong = one.in_use if math.isfinite(one.measured) else one.measured
    seen = f"the loss is {wrong} before any update"
    finite = np.isfinite(one.prediction)
    if not finite.all():
        share = percent(1 - finite.mean())
        return _say(
            one,
            "failed",
            f"{seen}: {share} of the outputs are not finite",
            "look for the first layer that outputs NaN or infinite values, with "
            "the inputs scaled to mean 0 and standard deviation 1",
        )
    if one.guesses is not None and one.known.kind == "counts":
        return _say(
            one,
            "failed",
            f"{seen}: it takes the logarithm of outputs down to "
            f"{number(one.prediction.min())}",
            'end the model in `activation="exponential"` (or "softplus"), which '
            "gives positive outputs",
        )
    return _say(
        one,
        "failed",
        f"{seen}, of finite outputs and targets",
        "look for a logarithm, root or division by zero in the loss "
        f"`{one.part.facts.name}`",
    )


def _above(one: OutputLoss, verdict: str = "") -> CheckResult:
    seen = f"the loss is {number(one.measured)} before any update: {one.times_text()}"
    cause, action, alternatives = next(causes(one))
    if not verdict:
        surely = one.known.kind is not None and not one.are_tiny()
        beyond = one.measured > max(one.known.spread(one.far)[1], one.accepted)
        verdict = "failed" if surely and beyond else "worrying"
    return _say(one, verdict, f"{seen}. {cause}", action, alternatives)


def _unscaled(one: OutputLoss) -> CheckResult | None:
    """Regression targets that an output which starts around 0 is far from."""
    name, known = one.part.facts.name, one.known
    free = known.link not in ("sigmoid", "softmax", "tanh")
    if known.kind != "numbers" or name not in _PLAIN_NUMBERS or not free:
        return None
    if one.starts_there():
        return None
    same = one.target.size == one.prediction.size  # Else Keras broadcasts them.
    columns = one.target.reshape(-1, known.classes if same else 1)
    mean, std = columns.mean(0), columns.std(0)
    offset, spread = root(mean), root(std)
    far = offset > _FAR_MEAN * max(spread, 1.0)
    if not far and known.target_size <= _LARGE_TARGETS:
        return None
    at_mean = "" if known.constant is None else f" ({number(known.constant)} is "
    at_mean += "what their mean would give)" if at_mean else ""
    return _say(
        one,
        "worrying",
        f"the loss is {number(one.measured)} before any update{at_mean}: the "
        f"targets are not scaled, their mean is {number(offset)} and their "
        f"standard deviation {number(spread)}",
        STANDARDISE,
        ("set the output layer's `bias_initializer` to the targets' mean",)
        if far
        else (),
    )


def _below(one: OutputLoss) -> CheckResult | None:
    """Less than half of what is left to learn."""
    lowest, best = one.known.lowest, one.known.untrained
    if one.known.constant is not None:
        best = min(best, one.known.constant)
    if lowest is None or not best - lowest > 0.05 * abs(one.known.untrained):
        return None
    if best - one.measured <= 0.5 * (best - lowest):
        return None
    hits = one.accuracy()
    accuracy = "" if math.isnan(hits) else f", accuracy {percent(hits)}"
    seen = f"the loss is {number(one.measured)}{accuracy}: {one.times_text()}"
    fresh = one.is_fresh()
    if fresh is False:
        return _say(
            one,
            "passed",
            f"{seen}. The model is trained already (its weights are not as their "
            "initializers make them)",
        )
    if fresh and one.known.kind == "classes" and one.distinct_classes() > 2:
        return _say(
            one,
            "worrying",
            f"{seen}, but the weights are those of an untrained model. Likely the "
            "inputs contain the labels, and the model passes them on",
            "check whether the labels can be read off the inputs: a column of the "
            "table, the current token instead of the next one",
        )
    return _say(
        one,
        "passed",
        f"{seen}. The model is trained already, or it passes on inputs that are "
        "much like the targets",
    )


def _at_chance(one: OutputLoss) -> CheckResult:
    seen = f"the loss is {number(one.measured)} before any update: {one.times_text()}"
    if one.starts_there() and one.known.constant is not None:
        what = {
            "classes": "the entropy of the class shares",
            "binary": "the entropy of the class shares",
        }.get(one.known.kind or "", "what the best constant gives")
        seen += f", and {number(one.known.constant)} is {what}"
    return _say(one, "passed", seen, notes=tuple(_remarks(one)))


def _remarks(one: OutputLoss) -> Iterator[str]:
    best, untrained = one.known.constant, one.known.untrained
    classes = one.known.kind in ("classes", "binary")
    uneven = classes and best is not None and best < _UNEVEN * untrained
    if uneven and not one.starts_there():
        yield (
            "the labels are nearly all of one class: an output bias set to the "
            f"class shares would start at {number(best or 0.0)}"
        )
    if one.in_use > 2 * one.accepted:
        yield (
            f"with `training=False` the loss is {number(one.in_use)}: moving "
            "averages of normalization layers have not caught up yet"
        )


def _say(
    one: OutputLoss,
    verdict: str,
    seen: str,
    action: str = "",
    alternatives: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> CheckResult:
    return CheckResult(
        NAME, verdict, seen, action, alternatives, one.numbers(), notes=notes
    )


# ------------------------------------------------------------------------- results


Judged = tuple[OutputLoss, CheckResult]


def _result(seen: list[Judged], facts: ModelFacts) -> CheckResult:
    if not seen:
        return CheckResult(
            NAME,
            "skipped",
            "the model computes its loss by itself (`add_loss`, or a custom "
            "`compute_loss`): what chance gives is not known",
        )
    judged = [found.verdict for _, found in seen if found.verdict != "skipped"]
    verdict = worst(judged) if judged else "skipped"
    one, leading = next(pair for pair in seen if pair[1].verdict == verdict)
    several = len(seen) > 1
    return dataclasses.replace(
        leading,
        summary=_summary(seen, one, leading) if several else leading.summary,
        evidence=_evidence(seen),
        rows=tuple(_row(*pair, several) for pair in seen),
        notes=tuple(_notes(seen, facts)),
    )


def _summary(seen: list[Judged], one: OutputLoss, leading: CheckResult) -> str:
    if leading.verdict == "passed":
        known = [pair for pair in seen if "chance" in pair[1].evidence]
        return (
            f"{len(known)} of {len(seen)} outputs are at chance; the losses sum up to "
            f"{number(_total(seen, 'loss'))} before any update, chance gives "
            f"{number(_total(known, 'chance'))}"
        )
    others = sum(found.verdict == leading.verdict for _, found in seen) - 1
    more = f" ({others} more outputs likewise)" if others else ""
    return f"output `{one.name}`: {leading.summary}{more}"


def _total(seen: list[Judged], name: str) -> float:
    return sum(
        one.part.factor * found.evidence.get(name, math.nan) for one, found in seen
    )


def _evidence(seen: list[Judged]) -> dict[str, Any]:
    if len(seen) == 1:
        return dict(seen[0][1].evidence)
    return {
        "loss": _total(seen, "loss"),
        "chance": _total(seen, "chance"),
        "outputs": {one.name: dict(found.evidence) for one, found in seen},
    }


def _row(one: OutputLoss, found: CheckResult, several: bool) -> dict[str, str]:
    numbers, facts = found.evidence, one.part.facts

    def cell(name: str) -> str:
        return number(numbers[name]) if name in numbers else "–"

    row = {"Output": one.name} if several else {}
    row["Loss"] = facts.name + " (logits)" * bool(facts.from_logits)
    row |= {"Measured": cell("loss"), "Chance": cell("chance")}
    row |= {"Ratio": cell("ratio"), "Constant": cell("constant")}
    row["Accepted"] = f"≤ {cell('accepted')}" if "accepted" in numbers else "–"
    if "loss_in_use" in numbers:
        row["Predicting"] = cell("loss_in_use")
    if several:
        row["Weight"] = number(one.part.factor)
    return row | ({"Verdict": found.verdict} if several else {})


def _notes(seen: list[Judged], facts: ModelFacts) -> Iterator[str]:
    several = len(seen) > 1
    for one, found in seen:
        for note in found.notes:
            yield f"output `{one.name}`: {note}" if several else note
        if several and found.verdict == "skipped":
            yield f"output `{one.name}`: what chance gives is not known"
    if facts.custom_train_step:
        yield "the model trains by its own `train_step`, which may use another loss"
    losses = [abs(one.part.factor * f.evidence.get("loss", 0.0)) for one, f in seen]
    total = sum(losses)
    if several and total > 0 and math.isfinite(total) and max(losses) > 0.99 * total:
        name = seen[losses.index(max(losses))][0].name
        yield (
            f"output `{name}` makes {percent(max(losses) / total)} of the loss: "
            "`loss_weights` could balance them"
        )


CHECK = Check(NAME, "initial loss", 10, run)
