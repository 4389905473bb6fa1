"""What `LBFGS` and `Newton` share: a `fit` over the whole set, like Keras's."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
from keras.src.trainers.data_adapters.array_slicing import train_validation_split
from keras.src.utils import io_utils

from keras_babysit.borrowing import attributes_set
from keras_babysit.errors import first_line, number, whole
from keras_babysit.inspection.sample import ready, sample_of
from keras_babysit.optimizers.arguments import (
    check_callbacks,
    check_devices,
    check_model,
)
from keras_babysit.optimizers.data import batches_of, check_repeatable
from keras_babysit.optimizers.objective import Objective
from keras_babysit.optimizers.run import Run, evaluation

#: How many samples are looked at before training.
_LOOKED_AT = 256


@dataclass(frozen=True)
class FitResult:
    """How a fit ended.

    Attributes:
        loss: the loss at the weights that the model was left with.
        iterations: number of iterations.
        evaluations: how often loss and gradient of the whole set were computed.
        converged: whether a tolerance was met.
        message: why it ended, a sentence.

    Example:
    ```python
    optimizer = keras_babysit.optimizers.LBFGS()
    optimizer.fit(model, x, y, epochs=50)
    print(optimizer.result.message)
    ```
    """

    loss: float
    iterations: int
    evaluations: int
    converged: bool
    message: str


class FullBatchOptimizer(abc.ABC):
    """A method that minimizes the loss over the whole training set.

    Subclasses have `_minimize`, and say in what dtype they compute.

    Attributes:
        result: a `FitResult` of the last `fit`; `None` before it.
    """

    dtype: str | None
    result: FitResult | None = None

    def fit(
        self,
        model: Any,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        epochs: int = 100,
        batch_size: int = 1024,
        validation_split: float = 0.0,
        validation_data: Any = None,
        class_weight: dict[int, float] | None = None,
        callbacks: Any = None,
        verbose: str | int = "auto",
    ) -> keras.callbacks.History:
        """Trains a compiled model on all samples at once.

        An epoch is an iteration: Keras's callbacks run as in a `fit` with one batch
        an epoch. The model's own optimizer is not used and not changed. At the end,
        even after a `KeyboardInterrupt`, the model has the weights of the lowest loss
        seen.

        Args:
            model: a compiled Keras model; what it minimizes is its `compute_loss()`,
                with layers as in inference. Weights that are not trainable stay as
                they are.
            x: inputs: arrays, structures of arrays, or a `tf.data.Dataset` or
                `keras.utils.PyDataset` that yields the same batches every time.
            y: targets, if `x` is arrays.
            sample_weight: weights of the samples, if `x` is arrays.
            epochs: number of iterations at most.
            batch_size: samples that are computed at once, if `x` is arrays. It does not
                change the result: all batches are added up before a step. Make it as
                large as memory allows.
            validation_split: as in `keras.Model.fit`: the share of arrays, the last
                of them, that is kept for validation.
            validation_data: as in `keras.Model.fit`, and in place of the split;
                evaluated at each iteration.
            class_weight: as in `keras.Model.fit`.
            callbacks: as in `keras.Model.fit`.
            verbose: as in `keras.Model.fit`.

        Returns:
            The `History`: `loss` and compiled metrics, each at the weights after the
            iteration, `gradient_norm` (the L2 norm) and their `val_` values.

        Raises:
            TypeError: if `model` is no Keras model.
            ValueError: for bad data or arguments, if the model is not compiled or has
                no trainable weights, if a callback sets learning rates, and if the
                loss is not finite at the start or not always the same.
        """
        name = type(self).__name__
        check_repeatable(x)
        whole("epochs", epochs)
        whole("batch_size", batch_size)
        check_devices(model, name)
        number("validation_split", validation_split, "in [0, 1)", lambda v: 0 <= v < 1)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = train_validation_split(
                (x, y, sample_weight), validation_split
            )
        ready(model, sample_of(x, y, sample_weight, n=_LOOKED_AT))
        check_model(model, name)
        self._check(model)
        check_callbacks(callbacks, name)
        batches = batches_of(x, y, sample_weight, class_weight, batch_size)
        objective = self._objective(model, batches)
        val_x, val_y, val_weight = _unpacked(validation_data)
        # The callbacks see no train function: none is run.
        lent = attributes_set(model, train_function=None)
        judge = evaluation(model, (val_x, val_y, val_weight), batch_size)
        with lent, judge as evaluate:
            self._run(Run(objective, callbacks, epochs, verbose, evaluate))
        if verbose != 0 and self.result is not None:
            io_utils.print_msg(f"{name}: {self.result.message}")
        return model.history

    def _objective(self, model: Any, batches: Iterable[tuple]) -> Objective:
        try:
            return Objective(model, batches, self.dtype)
        except Exception as e:
            if self.dtype is None:
                raise
            Objective(model, batches)  # Raises what is not the dtype's fault.
            raise ValueError(
                f"The model cannot compute in {self.dtype}: {first_line(e)} Use "
                f"{type(self).__name__}(dtype=None) to compute in its own dtypes."
            ) from e

    def _run(self, run: Run) -> None:
        first = run.start()
        try:
            converged, message = self._minimize(run)
        finally:
            run.leave_best()
        run.end()
        self.result = FitResult(
            loss=run.best.value,
            iterations=run.iterations,
            evaluations=run.evaluations,
            converged=converged,
            message=f"{message} The loss went from {first.value:.6g} to "
            f"{run.best.value:.6g} in {run.iterations} iterations, "
            f"{run.evaluations} evaluations.",
        )

    @abc.abstractmethod
    def _check(self, model: Any) -> None:
        """Raises what only this method has against a model."""

    @abc.abstractmethod
    def _minimize(self, run: Run) -> tuple[bool, str]:
        """Minimizes, and returns whether it converged, and why it ended."""


def _unpacked(validation_data: Any) -> tuple:
    if validation_data is None:
        return None, None, None
    return keras.utils.unpack_x_y_sample_weight(validation_data)
