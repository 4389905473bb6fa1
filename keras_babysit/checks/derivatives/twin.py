"""A model's losses as functions of its weights, in float64: the model's own layers.

Not a copy of the model: copying asks that every layer can be rebuilt from its
configuration. While the twin is there, the model's variables hold float64 values.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import global_seed_generator

from keras_babysit.backend import load
from keras_babysit.borrowing import (
    attributes_set,
    borrowed,
    calls_wrapped,
    in_precision,
    layers_of,
    random_numbers_kept,
)
from keras_babysit.inspection.sample import Sample

#: What a model is trained to lower: its own loss, and what its layers add to it
#: (penalties of weights and activations, `add_loss`).
PARTS = ("data", "penalty")


class Reading(keras.StatelessScope):
    """Reads variables themselves, and keeps every new value from them.

    So every evaluation starts from the same seeds, hence the same dropout masks, and
    moving averages and metrics stay what they were.
    """

    def __init__(self) -> None:
        super().__init__(collect_losses=True)

    def get_current_value(self, variable: Any) -> Any:
        """The value set within this scope, or the variable's own."""
        found = super().get_current_value(variable)
        return variable._value if found is None else found


class Twin:
    """The losses of a model on a sample, as functions of its trainable weights.

    Attributes:
        model: the model.
        sample: the data, as tensors.
        variables: its trainable variables of a float dtype, each once.
        values: what they are to be, float arrays; assign with `move`.
        dtype: in which it computes.
        eps: of that dtype.
        eager: whether nothing is compiled.
        penalized: whether layers add anything to the loss.
    """

    def __init__(self, model: Any, sample: Sample, dtype: str, eager: bool):
        self.model = model
        self.dtype = dtype
        self.eps = float(np.finfo(dtype).eps)
        self.eager = eager
        self.penalized = False
        self.backend = load("autodiff")
        self.sample = _tensors(sample, dtype)
        self.variables = trainable(model)
        self.values: list[np.ndarray] = []
        self._all = _floats([*model.variables, *model.metrics_variables])

    @contextlib.contextmanager
    def _ready(self) -> Iterator[Twin]:
        with self.backend.stand_ins(self._all, self.dtype):
            self.values = [np.array(self._value(v)) for v in self.variables]
            self._losses = self.compiled(self._loss_parts)
            self._gradients = self.compiled(self._gradient_parts)
            yield self

    def _value(self, variable: Any) -> np.ndarray:
        return self.backend.numpy_of(variable._value)

    def compiled(self, function: Callable) -> Callable:
        """Compiles a function as training would; it always sees the same chance."""
        inner = function
        if not self.eager:
            inner = self.backend.compiled(function, reads=self._all)
        traces = inner is not function
        traced: list[bool] = []

        def run(*args: Any) -> Any:
            if traced:  # Python's and NumPy's chance was compiled in.
                return inner(*args)
            with random_numbers_kept():
                found = inner(*args)
            traced.extend([True] * traces)
            return found

        return run

    def inside(self) -> contextlib.AbstractContextManager:
        """A scope in which the model can be called, its weights being plain tensors.

        Then nothing traces who reads a variable: for forward passes only.
        """
        values = [
            (v, keras.ops.convert_to_tensor(self._value(v), self.dtype))
            for v in self._all
        ]
        return keras.StatelessScope(values, collect_losses=True)

    def move(self, values: Sequence[np.ndarray]) -> None:
        """Sets the weights."""
        before, self.values = self.values, list(values)
        for variable, old, value in zip(self.variables, before, values, strict=True):
            if value is not old:  # Mostly a single one has changed.
                variable.assign(value)

    def losses(self) -> np.ndarray:
        """Returns the parts of the loss, shape (2,), see `PARTS`."""
        return self.backend.numpy_of(self._losses()).astype("float64")

    def gradients(self) -> tuple[np.ndarray, list[list[np.ndarray]]]:
        """Returns the parts of the loss and the model's own gradients of each.

        Without penalties there is one part only; a gradient for each variable.
        """
        found = self._gradients()
        values = [self.backend.numpy_of(value) for value, _ in found]
        gradients = [
            [self.backend.numpy_of(g).astype("float64") for g in part]
            for _, part in found
        ]
        return np.array(values, "float64"), gradients

    def _loss_parts(self) -> Any:
        with Reading():
            return keras.ops.stack(self._parts())

    def _gradient_parts(self) -> list:
        found = []
        for part in range(1 + self.penalized):

            def loss(_: Any, part: int = part) -> Any:
                with Reading():
                    return self._parts()[part]

            found.append(self.backend.value_and_gradients(loss, [], self.variables))
        return found

    def _parts(self) -> list:
        y_pred = self.forward()
        penalties = self.model.losses
        self.penalized = bool(penalties)
        total = keras.ops.zeros((), self.dtype)
        for penalty in penalties:
            total = total + keras.ops.cast(keras.ops.sum(penalty), self.dtype)
        return [self.data_loss(y_pred), total]

    def forward(self) -> Any:
        """Calls the model as training does."""
        training = {"training": True} if self.model._call_has_training_arg else {}
        return self.model(self.sample.x, **training)

    def forward_through(self, wrap: Callable) -> Any:
        """Calls the model on plain tensors; see `calls_wrapped` for `wrap`."""
        layers = layers_of(self.model)
        with calls_wrapped(layers, wrap), random_numbers_kept(), self.inside():
            return self.forward()

    def data_loss(self, y_pred: Any) -> Any:
        """Returns the model's own loss without what its layers add."""
        sample = self.sample
        zero = keras.ops.zeros((), self.dtype)
        with attributes_set(self.model, _losses_override=[zero]):
            loss = self.model._compute_loss(
                x=sample.x,
                y=sample.y,
                y_pred=y_pred,
                sample_weight=sample.sample_weight,
                training=True,
            )
        if loss is None:
            raise NoLossError(
                f"compute_loss() of {type(self.model).__name__} returns None"
            )
        return keras.ops.cast(keras.ops.sum(loss), self.dtype)


class NoLossError(ValueError):
    """A model has no loss that could be computed outside of its training step."""


@contextlib.contextmanager
def twin_of(model: Any, sample: Sample) -> Iterator[Twin]:
    """Lends the losses of a model; the model comes back bit for bit.

    In float64; a layer without weights that cannot is left in float32, and with other
    layers that cannot, all is. Compiled, unless the model was compiled to run eagerly
    or only can run so.

    Raises:
        NoLossError: if there is nothing to differentiate.
        Exception: whatever the model raises when it is called to train.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(load("autodiff").in_float64())
        stack.enter_context(borrowed(model))
        if global_state.get_global_attribute("global_seed_generator") is None:
            global_seed_generator()  # A variable can't be made within a scope.
        yield _first_that_works(model, sample, stack)


def _first_that_works(model: Any, sample: Sample, outer: contextlib.ExitStack) -> Twin:
    eager = [True] if model.run_eagerly else [False, True]
    ways = [(dtype, e) for dtype in ("float64", "float32") for e in eager]
    but: list[Any] = []
    while True:
        dtype, run_eagerly = ways[0]
        with contextlib.ExitStack() as stack:
            stack.enter_context(in_precision(model, dtype, but))
            twin = Twin(model, sample, dtype, run_eagerly)
            stack.enter_context(twin._ready())
            try:
                twin.losses()
                twin.gradients()
            except NoLossError:
                raise
            except Exception:
                # Keras's augmentation is float32 only; the rest need not be.
                stuck = _stuck(twin) if dtype == "float64" else None
                if stuck is not None and not stuck.weights and stuck not in but:
                    but.append(stuck)
                elif len(ways) > 1:
                    ways.pop(0)
                else:
                    raise
                continue
            outer.push(stack.pop_all())
            return twin


def _stuck(twin: Twin) -> Any:
    """Returns the innermost layer that fails in a forward pass, if one does."""
    found: list[Any] = []

    def wrap(layer: Any, call: Callable) -> Callable:
        @functools.wraps(call)
        def noting(*args: Any, **kwargs: Any) -> Any:
            try:
                return call(*args, **kwargs)
            except Exception:
                found.append(layer)
                raise

        return noting

    try:
        twin.forward_through(wrap)
    except Exception:
        return found[0] if found else None
    return None


def trainable(model: Any) -> list[Any]:
    """Returns the trainable variables of a float dtype, each once."""
    return _floats(model.trainable_variables)


def _floats(variables: Sequence[Any]) -> list[Any]:
    unique = {id(v): v for v in variables}
    return [v for v in unique.values() if keras.backend.is_float_dtype(v.dtype)]


def _tensors(sample: Sample, dtype: str) -> Sample:
    def convert(array: Any) -> Any:
        array = np.asarray(array)
        is_float = np.issubdtype(array.dtype, np.floating)
        return keras.ops.convert_to_tensor(array, dtype=dtype if is_float else None)

    return sample.map(convert)
