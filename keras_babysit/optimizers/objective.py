"""The loss over the whole training set, as a function of one vector of weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_babysit.backend import load
from keras_babysit.borrowing import attributes_set, in_float64, layers_of
from keras_babysit.optimizers.sums import SummedLoss, samples_in

#: By what the loss is multiplied at first where layers compute in float16.
_LOSS_SCALE = 2.0**15


@dataclass(frozen=True)
class Point:
    """A vector of weights, and what the objective is there.

    Attributes:
        weights: all trainable weights behind each other, float64 of shape `(n,)`.
        value: the objective.
        gradient: its gradient, float64 of shape `(n,)`.
    """

    weights: np.ndarray
    value: float
    gradient: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether value and gradient are."""
        return bool(math.isfinite(self.value) and np.isfinite(self.gradient).all())

    @property
    def steepness(self) -> float:
        """Largest absolute element of the gradient."""
        return float(np.abs(self.gradient).max(initial=0.0))


class Objective:
    """The loss that `evaluate` would find on one batch of everything.

    Layers run as in inference, so that the same weights always have the same loss:
    dropout is off, and BatchNormalization uses its moving statistics. Penalties count
    once, sample weights, masks and the losses' reductions as in one batch. Sums over
    batches are in float64.

    Args:
        model: a built, compiled model.
        batches: to be iterated again and again: tuples of tensors as `fit` has them.
        dtype: `"float64"` computes in float64, whatever the model's dtypes; `None` in
            the model's own.

    Attributes:
        variables: the trainable weights, in the order of the vector.
        evaluations: how often value and gradient were computed.
        samples: number of samples.

    Raises:
        ValueError: if the batches hold no samples, or the loss is not one number.
    """

    def __init__(self, model: Any, batches: Iterable[tuple], dtype: str | None = None):
        self.model = model
        self.batches = batches
        self.variables = list(model.trainable_variables)
        self.evaluations = 0
        self._shapes = [tuple(v.shape) for v in self.variables]
        self._float64 = dtype == "float64"
        half = any(layer.compute_dtype == "float16" for layer in layers_of(model))
        self._scale = _LOSS_SCALE if half and not self._float64 else 1.0
        self._inference = {"training": False} if model._call_has_training_arg else {}
        self._backend = load("autodiff")
        self._loss: Any = None
        self.samples = 0.0
        with self._backend.in_float64():
            self._build_loss()
            self._count()
        self._gradient = self._compiled(self._value_and_gradient)
        self._curvature = self._compiled(self._value_gradient_and_hessian)

    @property
    def size(self) -> int:
        """Number of trainable weights."""
        return sum(math.prod(shape) for shape in self._shapes)

    @property
    def losses(self) -> int:
        """Number of losses that the compiled loss is the sum of."""
        return 0 if self._loss is None else self._loss.parts

    def weights(self) -> np.ndarray:
        """Returns the model's weights as a vector."""
        arrays = [ops.convert_to_numpy(v.value) for v in self.variables]
        return np.concatenate([a.astype("float64").ravel() for a in arrays])

    def assign(self, weights: np.ndarray) -> None:
        """Puts a vector's weights into the model."""
        for variable, part in zip(self.variables, self._parts(weights), strict=True):
            variable.assign(ops.cast(part, variable.dtype))

    def __call__(self, weights: np.ndarray) -> Point:
        """Returns the objective and its gradient."""
        self.evaluations += 1
        point = self._at(weights)
        while self._scale > 1 and math.isfinite(point.value) and not point.finite:
            self._scale /= 2.0
            point = self._at(weights)
        return point

    def hessian(self, weights: np.ndarray) -> np.ndarray:
        """Returns the symmetric matrix of second derivatives, `(n, n)` in float64."""
        *_, hessian = self._added(self._curvature, weights)
        return (hessian + hessian.T) / 2

    # What is compiled: a batch's share of all of it.

    def _value(self, weights: Any, x: Any, y: Any, sample_weight: Any) -> Any:
        samples = ops.cast(samples_in(x), "float64")
        share = samples / self.samples
        loss = self._loss_of(weights, x, y, sample_weight, samples, share)
        return ops.cast(loss, "float64") * share

    def _value_and_gradient(self, weights: Any, scale: Any, *batch: Any) -> tuple:
        value, (gradient,) = self._backend.value_and_gradients(
            lambda at: self._value(at[0], *batch) * scale, [weights]
        )
        return value / scale, gradient / scale

    def _value_gradient_and_hessian(
        self, weights: Any, scale: Any, *batch: Any
    ) -> tuple:
        found = self._backend.value_gradient_and_hessian(
            lambda at: self._value(at[0], *batch) * scale, weights
        )
        return tuple(part / scale for part in found)

    def _counts(self, weights: Any, x: Any, y: Any, sample_weight: Any) -> list:
        samples = ops.cast(samples_in(x), "float64")
        if self._loss is None:
            return [samples]
        self._loss_of(weights, x, y, sample_weight, samples, 1.0)
        counted = self._loss.counted
        found = [counted.get(i, samples) for i in range(self._loss.parts)]
        self._loss.counted = {}
        return [samples, *(ops.cast(count, "float64") for count in found)]

    def _loss_of(
        self, weights: Any, x: Any, y: Any, sample_weight: Any, samples: Any, share: Any
    ) -> Any:
        model = self.model
        with self._computing(samples, share):
            x = keras.tree.map_structure(self._cast, x)
            with keras.StatelessScope(self._mapping(weights), collect_losses=True):
                y_pred = model(x, **self._inference)
                return model._compute_loss(
                    x=x,
                    y=y,
                    y_pred=y_pred,
                    sample_weight=sample_weight,
                    training=False,
                )

    @contextlib.contextmanager
    def _computing(self, samples: Any, share: Any) -> Iterator[None]:
        """The model as it computes the objective; entered while it is traced."""
        with contextlib.ExitStack() as stack:
            if self._float64:
                stack.enter_context(in_float64(self.model))
            if self._loss is not None:
                own = attributes_set(self.model, _compile_loss=self._loss)
                stack.enter_context(own)
                stack.enter_context(self._loss.of_batch(samples, share))
            yield

    def _mapping(self, weights: Any) -> list[tuple[Any, Any]]:
        """What each variable is; whatever a layer assigns is forgotten."""
        parts = self._parts(weights)
        given = [
            (v, ops.cast(part, "float64" if self._float64 else v.dtype))
            for v, part in zip(self.variables, parts, strict=True)
        ]
        trained = {id(v) for v in self.variables}
        if self._float64:
            given += [
                (v, ops.cast(v._value, "float64"))
                for v in self.model.variables
                if id(v) not in trained and keras.backend.is_float_dtype(v.dtype)
            ]
        return given

    def _cast(self, array: Any) -> Any:
        if array is None or not self._float64:
            return array
        if not keras.backend.is_float_dtype(
            keras.backend.standardize_dtype(array.dtype)
        ):
            return array
        return ops.cast(array, "float64")

    # Over all batches.

    def _at(self, weights: np.ndarray) -> Point:
        value, gradient = self._added(self._gradient, weights)
        return Point(np.array(weights, float), float(value), gradient)

    def _added(self, function: Callable, weights: np.ndarray) -> list[np.ndarray]:
        with self._backend.in_float64():
            return self._added_up(function, weights)

    def _added_up(self, function: Callable, weights: np.ndarray) -> list[np.ndarray]:
        at = ops.convert_to_tensor(weights, "float64")
        scale = ops.convert_to_tensor(self._scale, "float64")
        added: list[Any] | None = None
        for batch in self.batches:
            parts = function(at, scale, *keras.utils.unpack_x_y_sample_weight(batch))
            known = added or [0.0] * len(parts)
            added = [a + b for a, b in zip(known, parts, strict=True)]
        return [self._backend.numpy_of(part) for part in added or []]

    def _build_loss(self) -> None:
        """Makes the loss, and builds it outside of what is traced."""
        if self.model._compile_loss is None:
            return
        batch = next(iter(self.batches), None)
        if batch is None:
            raise ValueError("There is nothing to train on: `x` yields no batches.")
        x, y, _ = (
            keras.tree.map_structure(_first, part)
            for part in keras.utils.unpack_x_y_sample_weight(batch)
        )
        with contextlib.ExitStack() as stack:
            if self._float64:
                stack.enter_context(in_float64(self.model))
            loss = SummedLoss(self.model._compile_loss)
            at = ops.convert_to_tensor(self.weights(), "float64")
            with keras.StatelessScope(self._mapping(at)):
                x = keras.tree.map_structure(self._cast, x)
                y_pred = self.model(x, **self._inference)
            loss(y, y_pred)
        self._loss = loss

    def _count(self) -> None:
        """Finds how many samples there are, and by what each loss divides its sum."""
        count = self._compiled(self._counts)
        at = ops.convert_to_tensor(self.weights(), "float64")
        totals = np.zeros(1 + self.losses)
        for batch in self.batches:
            found = count(at, *keras.utils.unpack_x_y_sample_weight(batch))
            totals += [float(self._backend.numpy_of(part)) for part in found]
        self.samples = float(totals[0])
        if not self.samples:
            raise ValueError("There is nothing to train on: `x` yields no samples.")
        if self._loss is not None:
            self._loss.totals = totals[1:].tolist()

    def _compiled(self, function: Callable) -> Callable:
        if self.model.run_eagerly:
            return function
        return self._backend.compiled(function)

    def _parts(self, weights: Any) -> list[Any]:
        """Takes a vector apart: a tensor for each variable, of its shape."""
        parts, start = [], 0
        for shape in self._shapes:
            end = start + math.prod(shape)
            parts.append(ops.reshape(weights[start:end], shape))
            start = end
        return parts


def _first(array: Any) -> Any:
    return array if array is None else array[:2]
