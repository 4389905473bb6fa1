"""Weights of members, chosen on validation data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_babysit.ensemble.scoring import metrics
from keras_babysit.ensemble.scoring.validation import (
    Validation,
    as_values,
    validation_of,
)
from keras_babysit.errors import installing, whole

#: A loss of predictions and targets, less is better.
Loss = Callable[[Any, Any], float]

#: Rounds of selection: as many as Caruana et al. needed at most in their figures.
_ROUNDS = 50
#: Steps of least squares for each member, ten times SciPy's: it needs hardly any.
_STEPS = 30


def greedy_weights(
    members: Any,
    x: Any = None,
    y: Any = None,
    *,
    loss: str | Loss | None = None,
    rounds: int = _ROUNDS,
    bags: int = 0,
    seed: int = 0,
    output: str | None = None,
    from_logits: bool | None = None,
    batch_size: int | None = None,
) -> np.ndarray:
    """Returns weights by greedy selection with replacement.

    Starting from the best member, each round adds the member that makes the loss of the
    mean smallest. A member may be added several times; its weight is how often it was
    added. The best of all rounds counts, so more rounds cannot harm. With `bags`, this
    is done in random halves of the members, and averaged, which overfits less where
    there are many members.

    On the data given, the loss of the weighted mean is never larger than that of the
    best single member (instead, the best one alone is returned). That says nothing
    about new data: report the ensemble on data that neither training nor this has seen.

    Args:
        members: models, an `Ensemble` or `LazyEnsemble` (of the members that count
            there), or their predictions: an array of shape `(members, n, ...)`,
            probabilities for classification.
        x: inputs of the validation data; left out where predictions are given.
        y: labels (integers or one-hot rows) or target values.
        loss: `"nll"`, `"error"`, `"brier"` or `"rmse"`, or a function of predictions
            `(n, ...)` and `y` that returns a number, smaller where better. By default
            `"nll"` for probabilities, `"rmse"` for values.
        rounds: how many times a member is added.
        bags: number of random halves; 0 for one selection from all members.
        seed: of the halves.
        output: name of the output to choose by, if there are several.
        from_logits: see `Ensemble`.
        batch_size: of prediction; Keras's default if `None`.

    Returns:
        float64 array of shape `(members,)` that sums to one.

    Raises:
        ValueError: for no members, no data, shapes that do not match, a loss that is
            not known or not finite for any member, or a wrong number.

    Example:
    ```python
    weights = keras_babysit.ensemble.greedy_weights(members, x_val, y_val)
    ensemble = keras_babysit.ensemble.Ensemble(members, weights)
    ```

    References:
        Caruana, Niculescu-Mizil, Crew and Ksikes: Ensemble Selection from Libraries of
        Models (2004): selection with replacement, bagging.
    """
    whole("rounds", rounds)
    whole("bags", bags, least=0)
    whole("seed", seed, least=0)
    data = validation_of(members, x, y, output, from_logits, batch_size)
    measure = _measure(loss, data)
    n = len(data.predictions)
    alone = np.array([measure(p, data.targets) for p in data.predictions])
    if np.isnan(alone).all():
        raise ValueError("`loss` must be a number. Received: NaN for every member")
    # A member whose loss is NaN is never chosen.
    alone = np.where(np.isnan(alone), np.inf, alone)
    order = np.argsort(alone, kind="stable")
    rng = np.random.default_rng(seed)
    size = max(1, round(n / 2))
    # Of ranks, the best first.
    halves = (np.sort(rng.choice(n, size, replace=False)) for _ in range(bags))
    parts = [order[half] for half in halves] or [order]
    found = [_selected(data, measure, part, rounds) for part in parts]
    return _at_least_best(np.mean(found, axis=0), order[0], data, measure)


def simplex_weights(
    members: Any,
    x: Any = None,
    y: Any = None,
    *,
    output: str | None = None,
    from_logits: bool | None = None,
    batch_size: int | None = None,
) -> np.ndarray:
    """Returns the weights whose mean has the smallest squared error.

    Weights of 0 or more that sum to one, by least squares: of the probabilities from
    the one-hot labels (the Brier score), or of the values from the targets. Exact.

    On the data given, the squared error of the weighted mean is never larger than that
    of the best single member; on new data it may be.

    Args:
        members: models, an `Ensemble`, or their predictions, as for `greedy_weights`.
        x: inputs of the validation data; left out where predictions are given.
        y: labels (integers or one-hot rows) or target values.
        output: name of the output to choose by, if there are several.
        from_logits: see `Ensemble`.
        batch_size: of prediction; Keras's default if `None`.

    Returns:
        float64 array of shape `(members,)` that sums to one.

    Raises:
        ImportError: if SciPy is not installed.
        ValueError: for no members, no data or shapes that do not match.

    References:
        Breiman: Stacked Regressions (1996). Weights that sum to one make it the point
        of the members' convex hull that is closest to the targets; that this is one
        problem of non-negative least squares is Lawson and Hanson's (1974, ch. 23).

    Example:
    ```python
    weights = keras_babysit.ensemble.simplex_weights(members, x_val, y_val)
    ensemble = keras_babysit.ensemble.Ensemble(members, weights)
    ```
    """
    try:
        from scipy.optimize import nnls
    except ImportError as e:
        raise ImportError(
            f"`simplex_weights` needs SciPy: {installing('scipy')}"
        ) from e
    data = validation_of(members, x, y, output, from_logits, batch_size)
    data = dataclasses.replace(data, targets=as_values(data))
    residuals = (data.predictions - data.targets).reshape(len(data.predictions), -1)
    squares = (residuals**2).sum(1)
    best = int(squares.argmin())
    if squares[best] == 0:
        return np.eye(len(squares))[best]
    # As the weights sum to one, the error is D w, D of the members' own errors: the
    # smallest |D u|² + (1 - sum(u))² over u >= 0 has u in the direction of w.
    small = np.linalg.qr(residuals.T / np.sqrt(squares[best]), mode="r")
    system = np.vstack([small, np.ones(len(squares))])
    # Of length one: otherwise members that are far worse than others, or alike, can
    # make the search for the active set go in circles.
    lengths = np.linalg.norm(system, axis=0)
    target = np.append(np.zeros(len(small)), 1.0)
    u = nnls(system / lengths, target, maxiter=_STEPS * len(squares))[0] / lengths
    return _at_least_best(u / u.sum(), best, data, _squared)


def _measure(loss: str | Loss | None, data: Validation) -> Loss:
    if callable(loss):
        return functools.partial(_number, loss)
    if loss is None:
        loss = "rmse" if data.kind == "values" else "nll"
    known: dict[str, Any] = {
        "nll": metrics.negative_log_likelihood,
        "error": metrics.error,
        "brier": metrics.brier,
    }
    if loss == "rmse":
        values = as_values(data)
        return lambda predictions, _: metrics.rmse(predictions, values)
    if loss not in known or data.kind == "values":
        names = ["rmse"] if data.kind == "values" else [*known, "rmse"]
        raise ValueError(
            f"`loss` must be one of {names} or a function, for these predictions "
            f"({data.kind}). Received: loss={loss!r}"
        )
    return functools.partial(known[loss], kind=data.kind)


def _selected(
    data: Validation, measure: Loss, order: np.ndarray, rounds: int
) -> np.ndarray:
    """Weights by selection from the members in `order`, the best first."""
    counts = np.zeros(len(data.predictions))
    counts[order[0]] = 1
    total = data.predictions[order[0]]
    best, best_loss = counts.copy(), measure(total, data.targets)
    for _ in range(rounds):
        size = counts.sum() + 1
        losses = [
            measure((total + data.predictions[m]) / size, data.targets) for m in order
        ]
        if np.isnan(losses).all():
            break
        chosen = order[int(np.nanargmin(losses))]
        counts[chosen] += 1
        total = total + data.predictions[chosen]
        # Not `<=`: of equally good ones the one with the fewest members.
        if np.nanmin(losses) < best_loss or np.isnan(best_loss):
            best, best_loss = counts.copy(), float(np.nanmin(losses))
    return best / best.sum()


def _at_least_best(
    weights: np.ndarray, best: int, data: Validation, measure: Loss
) -> np.ndarray:
    """The weights, or the best member alone where they do worse."""
    alone = np.eye(len(weights))[best]
    found = measure(data.mean(weights), data.targets)
    # Not `>`: NaN is worse too.
    if not found <= measure(data.mean(alone), data.targets):
        return alone
    return weights


def _number(loss: Loss, predictions: Any, targets: Any) -> float:
    """The value of a user's loss."""
    found: Any = loss(predictions, targets)
    try:
        return float(found)
    except (TypeError, ValueError):
        raise ValueError(
            "`loss` must return a number, the mean over the samples. Received: "
            f"{found!r} of type {type(found).__name__}"
        ) from None


def _squared(predictions: Any, targets: Any) -> float:
    return float(np.mean((predictions - targets) ** 2))
