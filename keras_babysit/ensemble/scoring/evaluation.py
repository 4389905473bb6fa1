"""What members and their ensembles are worth, and what they cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_babysit.ensemble import arguments
from keras_babysit.ensemble.combining import outputs
from keras_babysit.ensemble.scoring import measurements, scoring
from keras_babysit.ensemble.scoring.class_order import another_order
from keras_babysit.ensemble.scoring.measurements import Measured
from keras_babysit.ensemble.scoring.report import EnsembleReport, Row

#: Of more ensembles of one size than that, so many are drawn.
_SUBSETS = 50


def report(
    members: Any,
    x: Any,
    y: Any,
    *,
    output: str | None = None,
    subsets: int = _SUBSETS,
    seed: int = 0,
    from_logits: bool | None = None,
    batch_size: int | None = None,
) -> EnsembleReport:
    """Returns what members and ensembles of 1, 2, ... of them are worth.

    The data should be new: neither trained on nor used to choose weights.

    Scores of classification: share of errors; negative log-likelihood in nats (of
    probabilities below 1e-7 as of 1e-7, as in Keras); expected calibration error with
    15 bins; Brier score; see `ensemble.scoring.scoring`. Scores of regression:
    root mean squared error; the negative log-likelihood of a Gaussian whose variance is
    that of the members plus a constant, the mean squared error that the former does not
    explain (so that one member's is that of its own mean squared error); and the
    spread: the root mean square of the members' standard deviation. As long as the
    spread is far below the error, it is not the whole uncertainty.

    An ensemble of some of the members has their weights, divided by their sum. Its time
    and memory are the sum of its members'. Time is that of `predict`, once it is
    compiled, the fastest of three unless that takes long; of small members it is mostly
    that of feeding them, which an `Ensemble` pays only once.

    A note is made of members whose classes seem to be in another order.

    Args:
        members: an `Ensemble`, a `LazyEnsemble`, or a list of models, averaged with
            equal weights.
        x: inputs: arrays, in what structure `predict` takes them.
        y: labels (integers or one-hot rows) or targets of the output. Each counts once,
            also those of steps that a mask covers.
        output: name of the output, if there are several.
        subsets: at most so many ensembles of a size are looked at: all there are, or as
            many random ones.
        seed: of the random ones.
        from_logits: as for `Ensemble`; of a list of models only.
        batch_size: of prediction.

    Returns:
        An `EnsembleReport`.

    Raises:
        ValueError: for no members, data that do not fit, a name that is no output's,
            `subsets` or `batch_size` that is not a positive integer, a `seed` below 0.

    Example:
        >>> print(report(members, x_test, y_test))  # doctest: +SKIP

    References:
        CS231n, "Model ensembles": performance improves with the number of models, with
        diminishing returns.
    """
    arguments.check_whole(1, subsets=subsets)
    arguments.check_whole(0, seed=seed)
    arguments.check_batch_size(batch_size)
    count = arguments.check_arrays(x)
    targets = arguments.targets_of(y)
    if targets.shape[:1] != (count,):
        raise ValueError(
            "`y` must have a label or target for each sample of `x`. Received: y of "
            f"shape {targets.shape} for {count} samples"
        )
    source = measurements.source_of(members, output, from_logits)
    found = source.measured(x, batch_size)
    _check_known(found[0], targets)
    rows = list(_member_rows(found, source, targets))
    rng = np.random.default_rng(seed)
    sizes = [
        _size_row(size, found, source, targets, subsets, rng)
        for size in range(1, len(found) + 1)
    ]
    kind = found[0].form.kind
    made = [outputs.probabilities(one.values, one.form) for one in found]
    classes = kind != "values"
    return EnsembleReport(
        kind,
        len(targets),
        tuple(rows),
        tuple(sizes),
        source.average,
        source.seconds(x, batch_size),
        scoring.disagreement(made, kind=kind) if classes else math.nan,
        tuple(_notes(made, source.numbers, targets, kind)) if classes else (),
    )


def _check_known(one: Measured, y: np.ndarray) -> None:
    """Says what to do about logits that nobody has said are logits."""
    if not one.form.known and one.form.kind == "values" and one.values.size != y.size:
        raise ValueError(
            "It is not known what the members put out, so that it counts as values, "
            "and `y` must be as many. Logits: `from_logits=True`; otherwise compile "
            f"the members. Received: y of shape {y.shape} for outputs of shape "
            f"{one.values.shape}"
        )


def _member_rows(
    found: Sequence[Measured], source: measurements.Source, y: np.ndarray
) -> Iterator[Row]:
    rows = zip(found, source.numbers, source.weights, strict=True)
    for one, number, weight in rows:
        try:
            scores = _scores([one], np.ones(1), _usual(one), y)
        except ValueError as e:
            raise ValueError(f"Member {number}: {e}") from None
        yield Row(
            f"member {number}",
            1,
            scores,
            dict.fromkeys(scores, 0.0),
            1,
            float(weight),
            one.seconds,
            one.parameters,
            one.bytes,
        )


def _usual(one: Measured) -> str:
    return "mean" if one.form.kind == "values" else "probabilities"


def _size_row(
    size: int,
    found: Sequence[Measured],
    source: measurements.Source,
    y: np.ndarray,
    subsets: int,
    rng: np.random.Generator,
) -> Row:
    """The mean over ensembles of one size."""
    groups = _groups(len(found), size, subsets, rng)
    scores = []
    for group in groups:
        weights = source.weights[list(group)]
        chosen = [found[i] for i in group]
        scores.append(_scores(chosen, weights / weights.sum(), source.average, y))
    names = list(scores[0])
    values = np.array([[one[name] for name in names] for one in scores])
    members = [found[i] for group in groups for i in group]
    return Row(
        name=f"{size} of {len(found)}",
        size=size,
        scores=dict(zip(names, values.mean(0).tolist(), strict=True)),
        std=dict(zip(names, values.std(0).tolist(), strict=True)),
        ensembles=len(groups),
        seconds=sum(m.seconds for m in members) / len(groups),
        parameters=round(sum(m.parameters for m in members) / len(groups)),
        bytes=round(sum(m.bytes for m in members) / len(groups)),
    )


def _groups(
    n: int, size: int, most: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Which members make the ensembles of one size: all, or different random ones."""
    # Each member counts once, however many there are.
    if size == 1 or math.comb(n, size) <= most:
        return list(itertools.combinations(range(n), size))
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < most:
        group = rng.choice(n, size, replace=False)
        drawn[tuple(sorted(group.tolist()))] = None
    return list(drawn)


def _scores(
    chosen: Sequence[Measured], weights: np.ndarray, average: str, y: np.ndarray
) -> dict[str, float]:
    forms = [one.form for one in chosen]
    kind = forms[0].kind
    mean = outputs.combined([m.values for m in chosen], forms, weights, average)
    if kind == "values":
        return _regression(mean, chosen, weights, y)
    if average == "logits" or (average == "mean" and forms[0].logits):
        mean = outputs.probabilities(mean, outputs.OutputForm(kind=kind, logits=True))
    return {
        "error": scoring.error(mean, y, kind=kind),
        "nll": scoring.negative_log_likelihood(mean, y, kind=kind),
        "calibration_error": scoring.calibration_error(mean, y, kind=kind),
        "brier": scoring.brier(mean, y, kind=kind),
    }


def _regression(
    mean: np.ndarray, chosen: Sequence[Measured], weights: np.ndarray, y: np.ndarray
) -> dict[str, float]:
    squares = [(np.asarray(m.values, float) - mean) ** 2 for m in chosen]
    variance = np.tensordot(weights, np.array(squares), axes=1)
    noise = scoring.noise_variance(mean, y, np.sqrt(variance))
    return {
        "rmse": scoring.rmse(mean, y),
        "nll": scoring.gaussian_nll(mean, y, variance + noise),
        "spread": float(np.sqrt(variance.mean())),
    }


def _notes(
    made: Sequence[np.ndarray], numbers: Sequence[int], y: np.ndarray, kind: str
) -> Iterator[str]:
    for number, probabilities in zip(numbers, made, strict=True):
        found = another_order(probabilities, y, kind=kind)
        if found:
            yield f"Member {number}: {found}"
