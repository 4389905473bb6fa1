"""Whether a model can memorize a handful of samples.

CS231n, "Neural Networks Part 3: Learning and Evaluation", section "Before learning:
sanity checks": train on a tiny subset, without regularization, until the cost is
zero. A model that cannot do so cannot learn the whole either.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_babysit import rules
from keras_babysit.borrowing import borrowed, without_noise, without_regularization
from keras_babysit.borrowing.optimizers import (
    fresh_optimizers,
    is_scheduled,
    rate_of,
)
from keras_babysit.callbacks.babysitter import Babysitter
from keras_babysit.checks.check import Check, CheckResult
from keras_babysit.checks.fitting.attempt import (
    Attempt,
    Goal,
    goal_of,
    has_no_gradient,
    tried,
)
from keras_babysit.checks.fitting.deadline import EndsAfter
from keras_babysit.checks.fitting.subset import balanced, fitting
from keras_babysit.checks.fitting.verdict import Told, evidence, furthest, judged, table
from keras_babysit.document.progress_line import Progress, shown
from keras_babysit.errors import positive, whole
from keras_babysit.inspection.compiled import has_own_step
from keras_babysit.inspection.sample import Sample, ready, sample_of
from keras_babysit.records import Finding

NAME = "overfit_subset"
#: So many times `n` samples are read, to pick `n` of different classes.
_POOL = 10
#: Tried after the optimizer's own rate, which may be nothing at all.
_USUAL_RATES = (1e-3, 1e-2)
#: What a handful of samples shows whatever the model is; and that nothing was learnt,
#: which this check has found by itself, and whose advice would be this check.
_OF_A_FEW = frozenset(
    {
        "batchnorm-small-batch",
        "class-imbalance",
        "conflicting-labels",
        "feature-scales-differ",
        "loss-flat",
        "single-class-targets",
        "too-few-samples",
        "unrelated-inputs",
        "unshuffled-sorted-data",
        "update-ratio-too-high",
    }
)
#: Some rules wait for 50 updates.
_EPOCHS_DIAGNOSED = 55


@dataclass(frozen=True, repr=False)
class OverfitResult(CheckResult):
    """The result of memorizing a few samples.

    Attributes:
        learning_rate: the rate with which it got furthest; `None` if none was tried.
        steps: how many updates that took.
        history: of that training: `"loss"` and `"accuracy"` of each step, float
            arrays `(steps,)`; accuracy is NaN where it was not measured.
        findings: what the rules of the diagnosis found in it, if it did not work.
    """

    learning_rate: float | None = None
    steps: int = 0
    history: Mapping[str, np.ndarray] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def overfit_subset(
    model: keras.Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    n: int = 20,
    steps: int = 1000,
    seconds: float = 30.0,
    progress: Progress | None = None,
    verbose: int | str = "auto",
) -> OverfitResult:
    """Trains a model on a few samples until it has memorized them.

    The loss has to reach its floor, which is not always zero, and, with a loss for
    classes, the accuracy 100 %. Dropout, noise, augmentation, weight decay and
    regularization are off meanwhile; all samples are in one batch. If the optimizer's
    own learning rate is not enough, others are tried. If none is, the rules of the
    diagnosis look at the run and explain why.

    Afterwards the model, its optimizer and all random states are as they were, bit for
    bit. Training starts from the model's current weights.

    Args:
        model: a compiled model.
        x: what `fit` takes: arrays, structures of arrays, `tf.data.Dataset`,
            `keras.utils.PyDataset`, a generator.
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays. What has weight 0 need not be
            learned.
        n: how many samples; all if there are fewer. They are picked so that all
            classes are among them.
        steps: updates that each learning rate gets at most.
        seconds: time for all of it, roughly; the diagnosis comes on top.
        progress: function of a share from 0 to 1 and of what is being done.
        verbose: 0 shows nothing; 1 a line of progress; `"auto"` that on a terminal.

    Returns:
        An `OverfitResult`. `passed`; `worrying`: the loss fell far but not to its
        floor, or the same inputs have different targets; `failed`: it cannot be
        learned, or not at this learning rate; `not finished`: out of time, which says
        nothing about the model; `skipped`: too few weights for so many values, or
        it is not known how small the loss can get.

    Raises:
        TypeError: if it is not a Keras model.
        ValueError: if the model is not compiled, has an optimizer without a learning
            rate, or does not fit the data; for bad data or arguments.

    Example:
    ```python
    print(keras_babysit.overfit_subset(model, x_train, y_train))
    ```
    """
    whole("n", n)
    whole("steps", steps)
    positive("seconds", seconds)
    sample = sample_of(x, y, sample_weight, n=_POOL * n)
    _ready(model, sample)
    with shown("Overfitting a few samples", progress, verbose) as tell:
        return _checked(model, balanced(sample, n), steps, seconds, tell)


def _ready(model: Any, sample: Sample) -> None:
    """Models with a `train_step` of their own need not be callable, nor have a loss."""
    own = isinstance(model, keras.Model) and model.compiled and has_own_step(model)
    if not own or not model.built:
        ready(model, sample)
    rate_of(model.optimizer)


def _run(
    model: Any, sample: Sample, progress: Progress, seconds: float = 30.0
) -> OverfitResult:
    return _checked(model, balanced(sample, 20), 1000, seconds, progress)


CHECK = Check(NAME, "overfitting a few samples", 60, _run, timed=True)


def _checked(
    model: Any, sample: Sample, steps: int, seconds: float, progress: Progress
) -> OverfitResult:
    sample = fitting(model, sample)
    own, scheduled = rate_of(model.optimizer), is_scheduled(model.optimizer)
    with borrowed(model), without_regularization(model), without_noise(model):
        goal = goal_of(model, sample)
        attempts: list[Attempt] = []
        if model.trainable_weights and not goal.hopeless:
            with fresh_optimizers(model, own, plain=True) as optimizer:
                attempts = tried(
                    model, optimizer, sample, goal, _rates, steps, seconds, progress
                )
        parameters = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
        told = judged(sample.size, goal, attempts, scheduled, parameters)
        findings: tuple[Finding, ...] = ()
        if not told.ok and not (told.certain and goal.conflicting):
            progress(0.95, "asking why")
            findings = _diagnosed(model, sample, own, seconds)
    return _result(told, goal, attempts, findings)


def _rates(own: float, attempts: list[Attempt]) -> list[float]:
    """The rates to try after the optimizer's own."""
    wild = attempts[0].wild
    factors = (0.1, 0.01, 10.0) if wild else (10.0, 0.1, 100.0)
    found: list[float] = []
    for rate in (*(own * f for f in factors), *_USUAL_RATES):
        near = (0.4 < rate / other < 2.5 for other in (own, *found) if other > 0)
        if rate > 0 and not any(near):
            found.append(float(f"{rate:.3g}"))
    return found


def _result(
    told: Told, goal: Goal, attempts: list[Attempt], findings: tuple[Finding, ...]
) -> OverfitResult:
    best = furthest(attempts)
    action, alternatives = told.action, told.alternatives
    causes = [_cause(f) for f in findings]
    if causes and not told.certain:
        action, alternatives = causes[0], (*causes[1:3], *alternatives)
    return OverfitResult(
        check=NAME,
        verdict=told.verdict,
        summary=told.summary,
        action=action,
        alternatives=alternatives,
        evidence=evidence(goal, best),
        rows=table(attempts),
        notes=told.notes,
        learning_rate=best.rate if best else None,
        steps=len(best.losses) if best else 0,
        history=_history(best) if best else {},
        findings=findings,
    )


def _cause(finding: Finding) -> str:
    place = f"{finding.where}: " if finding.where else ""
    return f"{place}{finding.action} ({finding.seen}) [{finding.rule}]"


def _history(attempt: Attempt) -> dict[str, np.ndarray]:
    measured = np.full(len(attempt.losses), np.nan)
    for step, (share, _) in attempt.accuracies.items():
        measured[step - 1] = share
    return {"loss": np.array(attempt.losses), "accuracy": measured}


def _diagnosed(
    model: Any, sample: Sample, rate: float, seconds: float
) -> tuple[Finding, ...]:
    """What the rules find in such a training, causes before symptoms."""
    with (
        tempfile.TemporaryDirectory() as place,
        fresh_optimizers(model, rate, plain=True),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        babysitter = Babysitter(place, verbose=0, every=1)
        ended = EndsAfter(seconds)
        callbacks = [babysitter, ended]
        try:
            keras.Model.fit(
                model,
                sample.x,
                sample.y,
                sample_weight=sample.sample_weight,
                batch_size=sample.size,
                epochs=_EPOCHS_DIAGNOSED if model.trainable_weights else 1,
                shuffle=False,
                verbose=0,
                callbacks=callbacks,
            )
        except (ValueError, RuntimeError) as e:
            if not has_no_gradient(e):
                raise
        found = [f for f in babysitter.report.problems if f.rule not in _OF_A_FEW]
    return tuple(sorted(found, key=lambda f: rules.get(f.rule).is_symptom))
