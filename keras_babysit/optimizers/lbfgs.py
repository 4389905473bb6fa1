"""L-BFGS: a quasi-Newton method, SciPy's, for the whole training set."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_babysit.errors import installing, whole
from keras_babysit.optimizers.arguments import check_dtype, tolerance
from keras_babysit.optimizers.full_batch import FullBatchOptimizer
from keras_babysit.optimizers.objective import Point
from keras_babysit.optimizers.run import Run


class LBFGS(FullBatchOptimizer):
    """Trains a Keras model with L-BFGS on the whole training set.

    Every iteration computes loss and gradient over all samples, estimates the curvature
    from the last few gradients, and searches along the resulting direction for a step
    that lowers the loss. There is no learning rate to tune. It pays on small models and
    convex problems. Where gradient noise helps, or with much data, first-order methods
    win (`docs/second_order.md`). See CS231n, "Neural Networks Part 3", section "Second
    order methods"; Byrd, Lu and Nocedal, "A Limited Memory Algorithm for Bound
    Constrained Optimization", 1995; the implementation is
    `scipy.optimize.minimize(method="L-BFGS-B")`.

    Args:
        history: number of past steps from which the curvature is estimated.
        gradient_tolerance: converged where no element of the gradient is larger.
        loss_tolerance: converged where an iteration lowers the loss by no more than
            this share of the loss (or of 1, if the loss is less).
        line_search: evaluations at most in a search along one direction.
        dtype: `"float64"` computes loss and gradient in float64, so that it can
            converge further than the rounding of float32 allows, and slower; `None`
            in the model's own dtypes. The model's weights keep theirs.

    Attributes:
        result: a `FitResult` of the last `fit`.

    Raises:
        ValueError: for arguments out of range.

    Example:
    ```python
    model.compile(loss="sparse_categorical_crossentropy")
    history = keras_babysit.optimizers.LBFGS().fit(model, x, y, epochs=200)
    ```
    """

    def __init__(
        self,
        *,
        history: int = 10,
        gradient_tolerance: float = 1e-5,
        loss_tolerance: float = 2.2e-9,
        line_search: int = 20,
        dtype: str | None = None,
    ):
        self.history = whole("history", history)
        self.gradient_tolerance = tolerance("gradient_tolerance", gradient_tolerance)
        self.loss_tolerance = tolerance("loss_tolerance", loss_tolerance)
        self.line_search = whole("line_search", line_search)
        self.dtype = check_dtype(dtype)

    def _check(self, model: Any) -> None:
        _scipy_optimize()

    def _minimize(self, run: Run) -> tuple[bool, str]:
        if not run.limit:
            return False, "There was nothing left to do."

        def value_and_gradient(weights: np.ndarray) -> tuple[float, np.ndarray]:
            point = run.evaluate(weights)
            return _seen(point, run.at)

        def accepted(intermediate_result: Any) -> None:
            run.accept(run.evaluate(np.array(intermediate_result.x)))
            if run.stopped:
                raise StopIteration

        found = _scipy_optimize().minimize(
            value_and_gradient,
            run.at.weights,
            method="L-BFGS-B",
            jac=True,
            callback=accepted,
            options={
                "maxcor": self.history,
                "gtol": self.gradient_tolerance,
                "ftol": self.loss_tolerance,
                "maxls": self.line_search,
                "maxiter": run.limit,
                "maxfun": np.iinfo(np.int32).max,
            },
        )
        return self._ending(found, run)

    def _ending(self, found: Any, run: Run) -> tuple[bool, str]:
        if run.stopped:
            return False, "A callback stopped it."
        if found.status == 1:
            return False, f"It reached its limit of {run.limit} iterations."
        if found.status == 0:
            small = run.at.steepness <= self.gradient_tolerance
            what = "gradient" if small else "decrease of the loss"
            return True, f"Converged: the {what} is within its tolerance."
        return False, (
            "No step along the last direction lowers the loss. Rounding may be in the "
            'way: dtype="float64" goes further.'
            if self.dtype is None
            else "No step along the last direction lowers the loss."
        )


def _seen(point: Point, last: Point) -> tuple[float, np.ndarray]:
    """What the line search is to see of a point.

    Where the loss is not finite it sees a wall, and takes a shorter step.
    """
    if point.finite:
        return point.value, point.gradient
    step = point.weights - last.weights
    height = abs(last.value) + 1.0
    return last.value + height, step * (height / (step @ step))


def _scipy_optimize() -> Any:
    try:
        import scipy.optimize
    except ModuleNotFoundError as e:
        raise ImportError(f"LBFGS needs SciPy: {installing('scipy')}") from e
    return scipy.optimize
