"""The functional ANOVA of a random forest: exact shares of variance, pairs included.

Optuna (5.0) has the shares of single hyperparameters, of forests over the values as
they are: a learning rate from 1e-6 to 10 is then a matter of 1 to 10. Here each axis is
the scale that is searched on, and pairs have shares too.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_babysit.errors import installing

#: As many trees as in Hutter et al. and in Optuna.
_TREES = 64
#: Leaves of a tree at most: the cost grows with their square.
_LEAVES = 256


@dataclass(frozen=True)
class Decomposition:
    """How the variance of a fitted function splits.

    Attributes:
        single: float array of shape `(d,)`: share of each coordinate alone.
        pair: float array of shape `(d, d)`, above the diagonal: what two coordinates
            do together beyond what each does alone.
        explained: R² of predictions for points that a tree was not fitted to: at most
            1, and 0 or below if the forest knows nothing.
    """

    single: np.ndarray
    pair: np.ndarray
    explained: float


def decompose(points: np.ndarray, values: np.ndarray, seed: int = 0) -> Decomposition:
    """Fits a random forest and splits its variance over the unit cube.

    Each tree is constant on boxes, so the variance of its mean over all but one or two
    coordinates is a finite sum over pairs of boxes: nothing is sampled. The shares are
    means over the trees. What single coordinates and pairs leave is due to three or
    more of them.

    Args:
        points: float array of shape `(n, d)`, between 0 and 1.
        values: float array of shape `(n,)`, not all equal.
        seed: of the forest.

    Raises:
        ImportError: if scikit-learn is not installed.

    References:
        Hutter, Hoos, Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter
        Importance", ICML 2014.
    """
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError as error:
        raise ImportError(
            "The importance of hyperparameters needs scikit-learn: "
            + installing("search")
        ) from error
    forest = RandomForestRegressor(
        _TREES,
        max_leaf_nodes=None if len(points) <= _LEAVES else _LEAVES,
        oob_score=True,
        random_state=seed,
    )
    forest.fit(points, values)
    shares = [_shares(*_boxes(tree.tree_)) for tree in forest.estimators_]
    found = [one for one in shares if one is not None]
    return Decomposition(
        np.mean([single for single, _ in found], axis=0),
        np.mean([pair for _, pair in found], axis=0),
        float(forest.oob_score_),
    )


def _boxes(tree: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper corners, and values, of a tree's leaves in the unit cube."""
    low = np.zeros((tree.node_count, tree.n_features))
    high = np.ones_like(low)
    # Children come after their parents.
    for node in range(tree.node_count):
        left, right = tree.children_left[node], tree.children_right[node]
        if left < 0:
            continue
        low[[left, right]], high[[left, right]] = low[node], high[node]
        axis = tree.feature[node]
        high[left, axis] = low[right, axis] = tree.threshold[node]
    leaves = tree.children_left < 0
    return low[leaves], high[leaves], tree.value[leaves].reshape(-1)


def _shares(
    low: np.ndarray, high: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Shares of single coordinates and of pairs; `None` for a constant tree."""
    axes = low.shape[1]
    sides = np.maximum(high - low, 1e-12)
    volumes = sides.prod(axis=1)
    weighted = values * volumes
    mean = weighted.sum()
    total = (values**2 * volumes).sum() - mean**2
    if total <= 1e-12 * max(mean**2, 1e-300):
        return None
    overlaps = []
    for axis in range(axes):
        upper = np.minimum(high[:, None, axis], high[None, :, axis])
        lower = np.maximum(low[:, None, axis], low[None, :, axis])
        common = np.maximum(upper - lower, 0.0)
        overlaps.append(common / np.outer(sides[:, axis], sides[:, axis]))

    # The mean over all other coordinates, squared and integrated over these.
    single = np.array([weighted @ o @ weighted for o in overlaps]) - mean**2
    pair = np.zeros((axes, axes))
    for a, b in itertools.combinations(range(axes), 2):
        both = weighted @ (overlaps[a] * overlaps[b]) @ weighted - mean**2
        pair[a, b] = both - single[a] - single[b]
    return np.maximum(single, 0.0) / total, np.maximum(pair, 0.0) / total
