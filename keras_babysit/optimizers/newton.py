"""Newton's method, damped, for models of few weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from keras_babysit.errors import positive, whole
from keras_babysit.optimizers.arguments import check_dtype, tolerance
from keras_babysit.optimizers.full_batch import FullBatchOptimizer
from keras_babysit.optimizers.objective import Point
from keras_babysit.optimizers.run import Run

#: Dampings tried in one iteration.
_TRIES = 30
#: A step is good where the loss falls by this share of what the parabola promised, and
#: poor below the other: then damping falls and rises. Nocedal and Wright,
#: "Numerical Optimization", algorithm 4.1.
_GOOD, _POOR = 0.75, 0.25
_EPSILON = float(np.finfo("float64").eps)


class Newton(FullBatchOptimizer):
    """Trains a small Keras model with Newton's method on the whole training set.

    Every iteration fits a parabola to the loss, by its gradient and its Hessian (the
    matrix of all second derivatives), and steps to the lowest point of it: `-H⁻¹ g`,
    without a learning rate. If that does not lower the loss, or the parabola has no
    lowest point, the Hessian's diagonal is raised until it does. That makes the step
    shorter and turns it downhill (Levenberg and Marquardt's damping).

    The Hessian of n weights has n² elements, and the step takes n³ operations: that is
    why networks are not trained this way. See CS231n, "Neural Networks Part 3", section
    "Second order methods", and `docs/second_order.md`.

    Args:
        damping: the least that is added to the Hessian's diagonal once the plain step
            has failed, as a share of its largest element.
        gradient_tolerance: converged where no element of the gradient is larger.
        loss_tolerance: converged where an iteration lowers the loss by no more than
            this share of the loss (or of 1, if the loss is less).
        max_parameters: number of trainable weights above which `fit` raises an error.
        dtype: `"float64"` computes in float64, whatever the model's dtypes; `None` in
            the model's own.

    Attributes:
        result: a `FitResult` of the last `fit`.

    Raises:
        ValueError: for arguments out of range.

    Example:
    ```python
    model.compile(loss="sparse_categorical_crossentropy")
    history = keras_babysit.optimizers.Newton().fit(model, x, y, epochs=20)
    ```
    """

    def __init__(
        self,
        *,
        damping: float = 1e-6,
        gradient_tolerance: float = 1e-8,
        loss_tolerance: float = 1e-14,
        max_parameters: int = 2000,
        dtype: str | None = "float64",
    ):
        self.damping = positive("damping", damping)
        self.gradient_tolerance = tolerance("gradient_tolerance", gradient_tolerance)
        self.loss_tolerance = tolerance("loss_tolerance", loss_tolerance)
        self.max_parameters = whole("max_parameters", max_parameters)
        self.dtype = check_dtype(dtype)

    def _check(self, model: Any) -> None:
        n = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        if n > self.max_parameters:
            raise ValueError(
                f"A Hessian of {n:,} × {n:,} parameters needs {_size(8 * n * n)}, and "
                "the step a few times as much. Use `LBFGS`, a smaller model, "
                "or allow it with `max_parameters`. Received: "
                f"max_parameters={self.max_parameters}"
            )

    def _minimize(self, run: Run) -> tuple[bool, str]:
        damping = 0.0
        while run.iterations < run.limit:
            if run.at.steepness <= self.gradient_tolerance:
                return True, "Converged: the gradient is within its tolerance."
            before = run.at
            damping, point = self._step(run, damping)
            if point is None:
                return False, "No step lowers the loss, however damped."
            run.accept(point)
            if run.stopped:
                return False, "A callback stopped it."
            fall = before.value - point.value
            if fall <= self.loss_tolerance * max(1.0, abs(before.value)):
                return True, "Converged: the decrease of the loss is within tolerance."
        return False, f"It reached its limit of {run.limit} iterations."

    def _step(self, run: Run, damping: float) -> tuple[float, Point | None]:
        """Returns the next damping, and the point of a step that is good."""
        at = run.at
        hessian = run.objective.hessian(at.weights)
        largest = float(np.abs(np.diag(hessian)).max())
        least = self.damping * (largest or 1.0)
        for _ in range(_TRIES):
            step = _solution(hessian, damping, at.gradient)
            if step is not None:
                promised = -(at.gradient @ step + step @ hessian @ step / 2)
                point = run.evaluate(at.weights + step)
                rounding = 4 * _EPSILON * abs(at.value)
                gained = at.value - point.value
                if point.finite and _is_better(point, at, rounding):
                    share = gained / promised if promised > rounding else 1.0
                    if share > _GOOD:
                        damping = damping / 10 if damping > least else 0.0
                    elif share < _POOR:
                        damping = max(4 * damping, least)
                    return damping, point
            damping = max(10 * damping, least)
        return damping, None


def _is_better(point: Point, before: Point, rounding: float) -> bool:
    """Whether the loss is lower, or as low and flatter: where rounding is all of it."""
    if point.value < before.value:
        return True
    same = point.value <= before.value + rounding
    return same and point.steepness < before.steepness


def _solution(
    hessian: np.ndarray, damping: float, gradient: np.ndarray
) -> np.ndarray | None:
    """Returns the step to the lowest point of the parabola, if it has one."""
    raised = hessian + damping * np.eye(len(hessian))
    try:
        np.linalg.cholesky(raised)
        step = -np.linalg.solve(raised, gradient)
    except np.linalg.LinAlgError:
        return None
    return step if np.isfinite(step).all() else None


def _size(size: float) -> str:
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log2(size)) // 10, len(units) - 1)
    return f"{size / 1024**power:.3g} {units[power]}"
