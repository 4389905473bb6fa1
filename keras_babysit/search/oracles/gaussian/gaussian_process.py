"""A Gaussian process over a unit cube, small and quick to fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import linalg, optimize, special

#: The parameters of the kernel are fitted to so many points at most; the time for it
#: grows with their cube. What is predicted goes by all points.
_FITTED = 120
_LEAST_NOISE = 1e-6


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process that knows some points; `fit` makes one.

    Attributes:
        x: the points, shape `(n, columns)`, each column divided by its length scale.
        y: their scores, shape `(n,)`, standardized.
        scales: the length scales' inverses, one a column.
        amplitude: variance of the function, of standardized scores.
        noise: variance of the noise, likewise.
        mean: of the scores as they were given,
        deviation: and their standard deviation.
    """

    x: np.ndarray
    y: np.ndarray
    scales: np.ndarray
    amplitude: float
    noise: float
    mean: float
    deviation: float
    _factor: np.ndarray = field(init=False)
    _weights: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        covariance = self.amplitude * _matern(_squares(self.x, self.x))
        covariance[np.diag_indices_from(covariance)] += self.noise
        factor = linalg.cholesky(covariance, lower=True, check_finite=False)
        weights = linalg.cho_solve((factor, True), self.y, check_finite=False)
        object.__setattr__(self, "_factor", factor)
        object.__setattr__(self, "_weights", weights)

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and standard deviation of the function at some points.

        Args:
            x: shape `(m, columns)`.
        """
        across = self.amplitude * _matern(_squares(x * self.scales, self.x))
        mean = across @ self._weights
        half = linalg.solve_triangular(
            self._factor, across.T, lower=True, check_finite=False
        )
        variance = np.maximum(self.amplitude - np.sum(half**2, axis=0), 1e-12)
        return (
            self.mean + self.deviation * mean,
            self.deviation * np.sqrt(variance),
        )

    def guessing(self, x: np.ndarray) -> GaussianProcess:
        """Returns the process with points whose scores are not known yet.

        They are guessed to be worse than expected by one standard deviation, and no
        better than the mean of all scores, so that nobody tries the like of them while
        they are open.

        Args:
            x: shape `(m, columns)`.
        """
        mean, deviation = self.predict(x)
        guessed = np.maximum((mean + deviation - self.mean) / self.deviation, 0.0)
        every = np.concatenate([self.x, x * self.scales])
        return replace(self, x=every, y=np.concatenate([self.y, guessed]))

    def log_improvement(self, x: np.ndarray, best: float) -> np.ndarray:
        """Returns the logarithm of the improvement that is expected at some points.

        Args:
            x: shape `(m, columns)`.
            best: the lowest score so far.
        """
        mean, deviation = self.predict(x)
        z = (best - mean) / deviation
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        near = density + z * special.ndtr(z)
        # Far below, the two terms cancel each other; this is their limit.
        far = -(z**2) / 2 - np.log(math.sqrt(2 * math.pi) * np.maximum(z**2, 1))
        log = np.where(z > -5, np.log(np.maximum(near, 1e-300)), far)
        return log + np.log(deviation)


def fit(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> GaussianProcess:
    """Returns a Gaussian process that is fitted to scores.

    The kernel is Matérn's with a smoothness of 5/2 and a length scale for each
    hyperparameter. Its parameters are the most probable ones, with the priors of
    Optuna's `GPSampler`: there are few points, and the most likely parameters alone
    would often explain them as noise.

    Args:
        x: the points, shape `(n, columns)`, between 0 and 1.
        y: their scores, shape `(n,)`, lower is better.
        groups: index of the hyperparameter that each column belongs to.
    """
    mean, deviation = float(np.mean(y)), float(np.std(y)) or 1.0
    standard = (y - mean) / deviation
    some = _some(y)
    inverse, amplitude, noise = _parameters(x[some], standard[some], groups)
    scales = np.sqrt(inverse)[groups]
    return GaussianProcess(
        x * scales, standard, scales, amplitude, noise, mean, deviation
    )


def _some(y: np.ndarray) -> np.ndarray:
    """Returns indices of the best points, and of as many others, evenly spread."""
    order = np.argsort(y, kind="stable")
    if len(y) <= _FITTED:
        return order
    half = _FITTED // 2
    others = np.sort(order[half:])
    spread = np.linspace(0, len(others) - 1, half).astype(int)
    return np.concatenate([order[:half], others[spread]])


def _parameters(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """Returns inverse squares of the length scales, the amplitude and the noise."""
    count = int(groups.max()) + 1
    columns = (x[:, None, :] - x[None, :, :]) ** 2
    # Distances along each hyperparameter, shape `(count, n, n)`.
    parts = np.stack([columns[..., groups == g].sum(axis=-1) for g in range(count)])
    diagonal = np.diag_indices(len(x))

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        inverse, (amplitude, noise) = np.exp(logs[:count]), np.exp(logs[count:])
        squares = np.tensordot(inverse, parts, 1)
        root = np.sqrt(5 * squares)
        decay = np.exp(-root)
        covariance = amplitude * (1 + root + root**2 / 3) * decay
        noisy = covariance.copy()
        noisy[diagonal] += noise + _LEAST_NOISE
        factor = linalg.cho_factor(noisy, lower=True, check_finite=False)
        inverted = linalg.cho_solve(factor, np.eye(len(x)), check_finite=False)
        weights = inverted @ y
        value = weights @ y / 2 + np.log(np.diag(factor[0])).sum()
        towards = inverted - np.outer(weights, weights)
        slope = towards * (-5 / 6 * amplitude) * (1 + root) * decay
        gradient = [
            *(inverse * np.tensordot(parts, slope, 2) / 2),
            np.sum(towards * covariance) / 2,
            np.trace(towards) * noise / 2,
        ]
        prior = (0.1 / inverse + 0.1 * inverse).sum()
        prior += amplitude - math.log(amplitude) + 30 * noise - 0.1 * math.log(noise)
        of_prior = [*(0.1 * inverse - 0.1 / inverse), amplitude - 1, 30 * noise - 0.1]
        return value + prior, np.add(gradient, of_prior)

    start = np.log([1.0] * count + [1.0, 0.01])
    bounds = [(-7.0, 9.0)] * count + [(-7.0, 3.0), (math.log(_LEAST_NOISE), 1.0)]
    found = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40}
    ).x
    amplitude, noise = np.exp(found[count:])
    return np.exp(found[:count]), float(amplitude), float(noise) + _LEAST_NOISE


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    inner = (one**2).sum(1)[:, None] + (other**2).sum(1)[None, :] - 2 * one @ other.T
    return np.maximum(inner, 0.0)


def _matern(squares: np.ndarray) -> np.ndarray:
    root = np.sqrt(5 * squares)
    return (1 + root + root**2 / 3) * np.exp(-root)
