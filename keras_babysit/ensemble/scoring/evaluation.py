"""What members and their ensembles are worth, and what they cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_babysit.ensemble import arguments
from keras_babysit.ensemble.outputs.averages import probabilities
from keras_babysit.ensemble.outputs.combination import Combination
from keras_babysit.ensemble.scoring import metrics
from keras_babysit.ensemble.scoring.class_order import another_order
from keras_babysit.ensemble.scoring.measurement import Measured, source_of, timed
from keras_babysit.ensemble.scoring.report import EnsembleReport
from keras_babysit.ensemble.scoring.rows import Row
from keras_babysit.errors import whole, whole_or_none

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
    """Scores the members, and ensembles of 1, 2, ... of them.

    The data should be new: neither trained on nor used to choose weights.

    Scores of classification: share of errors; negative log-likelihood in nats (of
    probabilities below 1e-7 as of 1e-7, as in Keras); expected calibration error with
    15 bins; Brier score; see `ensemble.scoring.metrics`. Scores of regression:
    root mean squared error; the negative log-likelihood of a Gaussian whose variance is
    that of the members plus a constant, the mean squared error that the former does not
    explain (so that one member's is that of its own mean squared error); and the
    spread: the root mean square of the members' standard deviation. As long as the
    spread is far below the error, it is not the whole uncertainty.

    An ensemble of some of the members has their weights, divided by their sum. Its time
    and memory are the sum of its members'. Time is that of `predict`, once it is
    compiled, the fastest of three unless that takes long; of small members it is mostly
    that of feeding them, which an `Ensemble` pays only once.

    The report notes members whose classes seem to be in another order.

    Args:
        members: an `Ensemble`, a `LazyEnsemble`, or a list of models, averaged with
            equal weights.
        x: inputs: arrays, in what structure `predict` takes them.
        y: labels (integers or one-hot rows) or targets of the output. Each counts once,
            also those of steps that a mask covers.
        output: name of the output, if there are several.
        subsets: the largest number of ensembles of one size: all of them, or this many
            random ones.
        seed: of the random ones.
        from_logits: as for `Ensemble`; of a list of models only.
        batch_size: of prediction.

    Returns:
        An `EnsembleReport`.

    Raises:
        ValueError: for no members, data that do not fit, a name that is no output's,
            `subsets` or `batch_size` that is not a positive integer, a `seed` below 0.

    Example:
    ```python
    print(keras_babysit.ensemble.report(members, x_test, y_test))
    ```

    References:
        CS231n, "Model ensembles": performance improves with the number of models, with
        diminishing returns.
    """
    whole("subsets", subsets)
    whole("seed", seed, least=0)
    whole_or_none("batch_size", batch_size)
    count = arguments.check_arrays(x)
    targets = arguments.targets_of(y, count)
    source = source_of(members, output, from_logits)
    combination, at = source.combination, source.at
    found = source.measured(x, batch_size)
    _check_known(found[0], targets)
    rng = np.random.default_rng(seed)
    groups = [
        _groups(len(found), size, subsets, rng) for size in range(1, len(found) + 1)
    ]
    in_one = isinstance(members, keras.Model)
    kind = found[0].form.kind
    made = [] if kind == "values" else [one.probabilities for one in found]
    return EnsembleReport(
        kind=kind,
        samples=len(targets),
        members=tuple(_member_rows(found, combination, targets)),
        sizes=tuple(_size_row(g, found, combination, at, targets) for g in groups),
        average=combination.averages[at],
        seconds_as_one=timed(members, x, batch_size)[1] if in_one else math.nan,
        disagreement=metrics.disagreement(made, kind=kind) if made else math.nan,
        notes=tuple(_notes(made, combination.numbers, targets, kind)),
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
    found: Sequence[Measured], combination: Combination, y: np.ndarray
) -> Iterator[Row]:
    members = zip(found, combination.numbers, combination.weights, strict=True)
    for one, number, weight in members:
        try:
            scores = _scores(one.probabilities, y, one.form.kind)
        except ValueError as e:
            raise ValueError(f"Member {number}: {e}") from None
        yield Row(
            name=f"member {number}",
            size=1,
            scores=scores,
            std=dict.fromkeys(scores, 0.0),
            weight=float(weight),
            seconds=one.seconds,
            parameters=one.parameters,
            bytes=one.bytes,
        )


def _size_row(
    groups: Sequence[tuple[int, ...]],
    found: Sequence[Measured],
    combination: Combination,
    at: int,
    y: np.ndarray,
) -> Row:
    """The mean over ensembles of one size."""
    scores = []
    for group in groups:
        some, values = combination.only(group), [found[i].values for i in group]
        form = some.output_forms[at]
        mean = probabilities(some.average(values, at), form)
        variance: Any = 0.0
        if form.kind == "values":
            squares = [(np.asarray(one, float) - mean) ** 2 for one in values]
            variance = np.tensordot(some.weights, squares, axes=1)
        scores.append(_scores(mean, y, form.kind, variance))
    names = list(scores[0])
    table = np.array([list(one.values()) for one in scores])
    members = [found[i] for group in groups for i in group]
    return Row(
        name=f"{len(groups[0])} of {len(found)}",
        size=len(groups[0]),
        scores=dict(zip(names, table.mean(0).tolist(), strict=True)),
        std=dict(zip(names, table.std(0).tolist(), strict=True)),
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


def _scores(mean: Any, y: np.ndarray, kind: str, variance: Any = 0.0) -> dict:
    """Scores of predictions; of values, given the members' variance about them."""
    if kind == "values":
        noise = metrics.noise_variance(mean, y, np.sqrt(variance))
        return {
            "rmse": metrics.rmse(mean, y),
            "nll": metrics.gaussian_nll(mean, y, variance + noise),
            "spread": float(np.sqrt(np.mean(variance))),
        }
    return {
        "error": metrics.error(mean, y, kind=kind),
        "nll": metrics.negative_log_likelihood(mean, y, kind=kind),
        "calibration_error": metrics.calibration_error(mean, y, kind=kind),
        "brier": metrics.brier(mean, y, kind=kind),
    }


def _notes(
    made: Sequence[np.ndarray], numbers: Sequence[int], y: np.ndarray, kind: str
) -> Iterator[str]:
    for number, predicted in zip(numbers, made, strict=False):
        found = another_order(predicted, y, kind=kind)
        if found:
            yield f"Member {number}: {found}"
