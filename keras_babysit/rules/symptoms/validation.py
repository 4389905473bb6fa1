"""Rules about training against validation: curves that part."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_babysit.facts import LayerFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.chance import lowest_loss
from keras_babysit.rules.evidence.losses import evaluated, mixes_targets
from keras_babysit.rules.evidence.phrases import names, number, percent
from keras_babysit.rules.evidence.progress import accuracy_name, progress
from keras_babysit.rules.rule import Sign, rule

#: What the names of layers begin with that change their inputs in training only.
_AUGMENTING = ("Random", "MixUp", "CutMix", "RandAugment", "AugMix")
_ACCURACY = "CS231n, Neural Networks Part 3: Train/val accuracy"


class _Curves(NamedTuple):
    """Training and validation loss of the same epochs, and accuracies or nothing."""

    loss: np.ndarray
    val_loss: np.ndarray
    accuracy: np.ndarray
    val_accuracy: np.ndarray


def _pair(history: RunHistory, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A log of training and validation, of the epochs that have both."""
    nothing = np.zeros(0), np.zeros(0)
    try:
        train, val = (
            history.series(f"epoch.{name}"),
            history.series(f"epoch.val_{name}"),
        )
    except KeyError:
        return nothing
    at = {step: i for i, step in enumerate(train.steps)}
    both = [(at[s], j) for j, s in enumerate(val.steps) if s in at]
    if not both:
        return nothing
    i, j = np.array(both).T
    a, b = train.values[i], val.values[j]
    fine = np.isfinite(a) & np.isfinite(b)
    return a[fine], b[fine]


def _curves(history: RunHistory) -> _Curves:
    name = accuracy_name(history)
    nothing = (np.zeros(0), np.zeros(0))
    return _Curves(
        *_pair(history, "loss"), *(_pair(history, name) if name else nothing)
    )


def _error_of_accuracy(history: RunHistory, accuracy: float) -> float:
    """Standard error of a validation accuracy."""
    validation = history.data.validation if history.data is not None else None
    rows = validation.rows if validation is not None else None
    p = min(max(accuracy, 0.05), 0.95)
    return math.sqrt(p * (1 - p) / (rows or 100))


@rule(
    kind="symptom: generalises badly",
    severity="warning",
    when=("epoch", "end"),
    since=_ACCURACY,
)
def overfitting(
    history: RunHistory, *, rise: float = 1.3, gap: float = 0.1, patience: int = 3
) -> Iterator[Sign]:
    """The model gets better on the training data and worse on new ones.

    What it sees:
        The median validation loss of the last `patience` epochs is more than `rise`
        times its best, which lies as many epochs back or more, while the training loss
        has kept falling to less than half of the validation's. It is a warning if that
        matters: the accuracy is `gap` (and three standard errors) below the training's,
        or there is no accuracy and the loss has risen by half, by a tenth or more of
        all that had been learned. Otherwise it is information: a classifier that
        becomes sure of itself raises its validation loss without making more errors. A
        gap alone, between a training accuracy near one and the validation's, is
        information too.

    Why it matters:
        The model now memorizes the training samples; the weights of the best epoch
        would be better.

    What to do:
        Stop at the best epoch: `EarlyStopping(restore_best_weights=True)`. Then try
        more data or augmentation, dropout or weight decay, or a smaller model.

    When it is wrong:
        With a handful of validation samples the curve is noise; with label noise a
        large gap is normal. With BatchNormalization, a validation that was never better
        than chance is left to batchnorm-lagging.

    References:
        CS231n, Neural Networks Part 3, "Train/Val accuracy".
        Prechelt, Early Stopping - But When? (1998).
    """
    c = _curves(history)
    n = int(max(patience, 2))
    if len(c.val_loss) < 2 * n or progress(history).updates < 30:
        return
    if _averages_lag(history, c) or _known(history) > 0.9 or _fails_on_its_own(history):
        return
    yield from _rising(history, c, rise, gap, n) or _apart(history, c, gap, n)


def _rising(
    history: RunHistory, c: _Curves, rise: float, gap: float, n: int
) -> list[Sign]:
    """The validation loss has left its best."""
    best = int(np.argmin(c.val_loss))
    now, lowest = float(np.median(c.val_loss[-n:])), float(c.val_loss[best])
    if best >= len(c.val_loss) - n or lowest <= 0 or now < rise * lowest:
        return []
    train = float(np.median(c.loss[-n:]))
    if train > 0.5 * now or train > c.loss[best]:
        return []
    apart, matters = _gap(history, c, gap, n)
    if not len(c.accuracy):
        learned = progress(history).reference - lowest
        matters = now > 1.5 * lowest and not now - lowest < 0.1 * learned
    sign = Sign(
        where="",
        seen=f"val_loss has risen from {number(lowest)} to {number(now)} while the "
        f"training loss fell to {number(train)}{apart}",
        cause="Likely the model memorizes the training samples",
        action="stop at the best epoch: EarlyStopping(restore_best_weights=True, "
        f"patience={max(n, 3)})",
        alternatives=(
            "more data or augmentation",
            "dropout or weight decay",
            "a smaller model",
        ),
        evidence={"val_loss": now, "best": lowest, "loss": train, "best_epoch": best},
        severity=None if matters else "info",
    )
    return [sign]


def _apart(history: RunHistory, c: _Curves, gap: float, n: int) -> list[Sign]:
    """The training accuracy is near one, and the validation's well below."""
    words, matters = _gap(history, c, gap, n)
    if not matters or np.median(c.accuracy[-n:]) < 0.97:
        return []
    sign = Sign(
        where="",
        seen=f"the training data are memorized{words}",
        cause="Likely the model is large for so few samples",
        action="get more data, or augment what there is",
        alternatives=("dropout or weight decay", "a smaller model"),
        evidence={"accuracy": c.accuracy[-1], "val_accuracy": c.val_accuracy[-1]},
        severity="info",
    )
    return [sign]


def _gap(history: RunHistory, c: _Curves, gap: float, n: int) -> tuple[str, bool]:
    """The gap between the accuracies in words, and whether it is a large one."""
    if not len(c.accuracy):
        return "", False
    k = min(n, len(c.accuracy))
    train = float(np.median(c.accuracy[-k:]))
    val = float(np.median(c.val_accuracy[-k:]))
    noise = 3 * _error_of_accuracy(history, val)
    words = f" (accuracy {percent(val)} against {percent(train)})"
    return words, train - val > max(gap, noise)


@rule(
    kind="symptom: generalises badly",
    severity="info",
    when=("epoch", "end"),
    since="Ioffe, Szegedy, Batch Normalization (2015): inference with averages",
)
def batchnorm_lagging(
    history: RunHistory, *, limit: int = 1_000, gap: float = 0.3
) -> Iterator[Sign]:
    """The validation is at chance because BatchNormalization's averages lag behind.

    What it sees:
        A model with BatchNormalization that has learned the training data, by more
        than the share `gap` of the way from a constant prediction, while its
        validation loss was never better than that of the constant, in the first
        `limit` updates. Where a training batch itself is no better than the constant
        when it is evaluated like the validation data, later too: as a warning then.

    Why it matters:
        In training the layers normalize by the batch, in validation by moving averages,
        which with `momentum=0.99` take some 500 updates to catch up. Until then the
        validation says nothing about what was learned. It looks like overfitting, and
        more regularization would not help.

    What to do:
        Keep training: it passes. In a short run, give the layers a shorter memory,
        `BatchNormalization(momentum=0.9)`.

    When it is wrong:
        A tiny training set that is memorized at once looks the same.

    References:
        Ioffe, Szegedy, Batch Normalization (2015).
        Keras: `BatchNormalization(momentum=0.99)`.
    """
    c = _curves(history)
    own = _fails_on_its_own(history)
    if len(c.val_loss) < 1 or not (own or _averages_lag(history, c, limit)):
        return
    chance = progress(history).reference
    if not c.loss[-1] < (1 - gap) * chance:
        return
    updates = progress(history).batches
    yield Sign(
        where="",
        seen=f"after {updates:.0f} updates the training loss is "
        f"{number(c.loss[-1])}, val_loss still {number(c.val_loss[-1])} (a constant "
        f"prediction has {number(chance)})",
        cause="Likely BatchNormalization's moving averages have not caught up",
        action="keep training, or use BatchNormalization(momentum=0.9) in a short run",
        evidence={"val_loss": c.val_loss[-1], "loss": c.loss[-1], "updates": updates},
        # The same samples: nothing else makes them so different.
        severity="warning"
        if _known(history) > 0.9 or (own and updates >= limit)
        else None,
    )


def _known(history: RunHistory) -> float:
    """Share of the validation samples that are training samples."""
    validation = history.data.validation if history.data is not None else None
    if validation is None or not validation.compared:
        return 0.0
    return validation.shared / validation.compared


def _fails_on_its_own(history: RunHistory) -> bool:
    """Whether BatchNormalization's averages spoil what was learned of training data."""
    layers = history.model.layers if history.model is not None else ()
    again, chance = evaluated(history), progress(history).reference
    if again is None or not any(x.kind == "BatchNormalization" for x in layers):
        return False
    return 0 < again[0] < 0.7 * chance and again[1] > max(0.9 * chance, 3 * again[0])


def _averages_lag(history: RunHistory, c: _Curves, limit: int = 1_000) -> bool:
    """Whether the validation may say nothing yet because of moving averages."""
    layers = history.model.layers if history.model is not None else ()
    if not any(one.kind == "BatchNormalization" and one.trainable for one in layers):
        return False
    p = progress(history)
    return p.batches < limit and bool(c.val_loss.min() > 0.9 * p.reference)


@rule(
    kind="remark",
    severity="info",
    when="end",
    since=f"{_ACCURACY}; Srivastava et al. (2014)",
)
def validation_better(
    history: RunHistory, *, loss: float = 0.7, accuracy: float = 0.05, epochs: int = 5
) -> Iterator[Sign]:
    """The model does better on the validation data than on the training data.

    What it sees:
        In the last `epochs` epochs the validation loss was always below the share
        `loss` of the training loss, or the validation accuracy above the training's by
        `accuracy` and three standard errors.

    Why it matters:
        Dropout, noise and augmentation act in training only and explain it; so does a
        loss that still falls fast, as the training's is an average over the epoch. To
        tell them apart, a training batch is evaluated like the validation data too, and
        the targets of both are compared: MixUp makes shares of them.
        Otherwise the validation data are easier, or training samples are among them.
        Losses are not compared where weights count in training only, nor losses that
        a perfect prediction does not bring to 0, such as Poisson's.

    What to do:
        Nothing if it is dropout; otherwise compare the two sets.

    When it is wrong:
        A small validation set may be easier by chance.

    References:
        Srivastava et al., Dropout (2014).
        CS231n, Neural Networks Part 3, "Train/Val accuracy".
    """
    c = _curves(history)
    n = int(max(epochs, 2))
    if len(c.loss) < n:
        return
    lower = _comparable(history) and bool(
        (c.val_loss[-n:] < loss * c.loss[-n:]).all() and c.loss[-1] > 0
    )
    higher = False
    if len(c.accuracy) >= n:
        noise = 3 * _error_of_accuracy(history, float(c.val_accuracy[-1]))
        above = c.val_accuracy[-n:] - c.accuracy[-n:]
        higher = bool((above > max(accuracy, noise)).all())
    # The mean over an epoch lags half an epoch behind.
    falling = len(c.loss) > 1 and c.loss[-1] < 0.8 * c.loss[-2]
    if not (lower or higher) or falling:
        return
    acting = _in_training_only(history)
    cause, action = _why_better(history, acting)
    yield Sign(
        where="",
        seen=f"val_loss is {number(c.val_loss[-1])}, the training loss "
        f"{number(c.loss[-1])}",
        cause=cause,
        action=action,
        evidence={
            "val_loss": c.val_loss[-1],
            "loss": c.loss[-1],
            "dropout": len(acting),
        },
    )


def _why_better(history: RunHistory, acting: list[str]) -> tuple[str, str]:
    """The likely cause, and what to do."""
    again = evaluated(history)
    nothing = "nothing to do, unless the training loss is too high: then less of it"
    words = ""
    if again is not None and again[0] > 0:
        words = (
            f": a training batch with a loss of {number(again[0])} in training has "
            f"{number(again[1])} when it is evaluated like the validation data"
        )
    same = bool(words) and again is not None and again[1] > 0.9 * again[0]
    if acting and not same:
        what = "dropout" if any(x.rate for x in _layers(history)) else "augmentation"
        return (
            f"Likely {what} explains it ({names(acting)}): it acts in training only",
            nothing,
        )
    if words and again is not None and again[1] < 0.8 * again[0]:
        return f"What acts in training only explains it{words}", nothing
    if mixes_targets(history):
        return (
            "The training targets are mixed or smoothed and those of the validation "
            "are not, which explains it",
            "nothing to do: a mixed target cannot be met exactly",
        )
    if history.data is not None and history.data.source == "batches":
        return (
            "Likely augmentation or noise, or easier validation samples",
            "measure the training samples without it, by `model.evaluate`",
        )
    validation = history.data.validation if history.data is not None else None
    if validation is not None and validation.compared >= 20 and not validation.shared:
        # None of them is a training sample, as far as was looked for.
        return "Likely the validation data are easier", "split the samples at random"
    return (
        "Likely the validation data are easier, or contain training samples",
        "look for samples that are in both sets",
    )


def _comparable(history: RunHistory) -> bool:
    """Whether the ratio of the two losses means anything.

    Weights of samples or classes are in the training loss only, and where a perfect
    prediction has another loss than 0 there is no ratio.
    """
    weighted = history.data is not None and history.data.weighted
    return not weighted and (history.model is None or lowest_loss(history) >= 0)


def _in_training_only(history: RunHistory) -> list[str]:
    """Layers of dropout, noise and augmentation, with their rates."""
    rates = [f"{x.path} {number(x.rate)}" for x in _layers(history) if x.rate]
    kinds = [x.path for x in _layers(history) if x.kind.startswith(_AUGMENTING)]
    return rates + kinds


def _layers(history: RunHistory) -> tuple[LayerFacts, ...]:
    return history.model.layers if history.model is not None else ()
