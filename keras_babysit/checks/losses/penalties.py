"""What a model's regularizers add to its loss, each by itself, and at another strength.

Keras adds three things to the loss on the data: the regularizers of trainable weights,
those of layers' outputs (divided by the size of the batch), and what layers add with
`add_loss`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_babysit.backend import load
from keras_babysit.borrowing import attributes_set, layers_of
from keras_babysit.inspection.compiled import is_keras
from keras_babysit.inspection.sample import Sample, loss_of

#: What strengths are called: the first three by Keras.
_STRENGTHS = (
    "l1",
    "l2",
    "factor",
    "strength",
    "coefficient",
    "coef",
    "weight",
    "scale",
    "rate",
    "alpha",
    "lam",
    "lamda",
    "lambda_",
    "lmbda",
    "penalty",
)


@dataclass(frozen=True)
class Regularizer:
    """A regularizer where it is used.

    Attributes:
        where: path of the weight, or of the layer whose output it is.
        given: the regularizer, a callable.
        variable: the weight; `None` for one of outputs.
        layer: the layer; `None` for one of weights.
    """

    where: str
    given: Any
    variable: Any = None
    layer: Any = None

    @property
    def strengths(self) -> dict[str, float]:
        """Its strengths by name, as far as it has any: `{"l2": 0.01}`."""
        found = {}
        for name in _STRENGTHS:
            value = getattr(self.given, "__dict__", {}).get(name)
            if isinstance(value, bool) or value is None:
                continue
            if isinstance(value, int | float) or keras.ops.is_tensor(value):
                if np.ndim(value):
                    continue
                # Without the noise of float32: 0.01, not 0.009999999776.
                found[name] = float(f"{float(value):.6g}")
        return found

    @property
    def standard(self) -> bool:
        """Whether it is one of Keras's own, whose penalty grows with the strength."""
        return is_keras(type(self.given))

    def __str__(self) -> str:
        """What it is and how strong: `L2 0.01`."""
        strengths = {k: v for k, v in self.strengths.items() if v} or self.strengths
        name = getattr(self.given, "__name__", None) or type(self.given).__name__
        if self.standard and len(strengths) > 1:
            return " ".join(f"{k.upper()} {v:g}" for k, v in strengths.items())
        if self.standard and name == "L1L2":
            name = next(iter(strengths), name).upper()
        values = " ".join(f"{v:g}" for v in strengths.values())
        return f"{name} {values}".strip()

    def times(self, factor: float) -> tuple[Callable, bool]:
        """Returns one that is stronger.

        Returns:
            A callable, and whether it is a copy with larger strengths; otherwise it
            is merely multiplied.
        """
        names = list(self.strengths)
        if not names:
            return (lambda x: factor * self.given(x)), False
        stronger = copy.copy(self.given)
        for name in names:
            vars(stronger)[name] = factor * vars(stronger)[name]
        return stronger, True

    def of(self, values: Any, regularizer: Callable | None = None) -> float:
        """Returns the penalty of some values."""
        found = (regularizer or self.given)(values)
        return float(np.sum(np.asarray(keras.ops.convert_to_numpy(found), float)))


def of_weights(model: Any) -> tuple[list[Regularizer], list[Regularizer]]:
    """Returns the regularizers of trainable weights, and those of frozen ones."""
    trained = {id(v) for v in model.trainable_weights}
    found: tuple[list, list] = ([], [])
    for variable in model.weights:
        given = getattr(variable, "regularizer", None)
        if given is not None:
            one = Regularizer(variable.path, given, variable=variable)
            found[id(variable) not in trained].append(one)
    return found


def of_outputs(model: Any) -> list[Regularizer]:
    """Returns the regularizers of layers' outputs."""
    return [
        Regularizer(_path(layer), layer.activity_regularizer, layer=layer)
        for layer in layers_of(model)
        if getattr(layer, "activity_regularizer", None) is not None
    ]


def _path(layer: Any) -> str:
    return getattr(layer, "path", None) or layer.name


@dataclass
class Losses:
    """The loss of one batch, taken apart.

    Attributes:
        data: the loss without what is added to it.
        total: the model's own loss.
        outputs: penalty of each regularizer of outputs.
        added: path of a layer to what it adds by `add_loss`.
    """

    data: float
    total: float
    outputs: list[float]
    added: dict[str, float] = field(default_factory=dict)

    @property
    def penalties(self) -> float:
        """What the model's loss has of regularizers."""
        return self.total - self.data - sum(self.added.values())


class _Watched:
    """A regularizer of outputs that keeps what it gives, divided as Keras does."""

    def __init__(self, given: Callable):
        self.given = given
        self.values: list[Any] = []

    def __call__(self, output: Any) -> Any:
        value = self.given(output)
        size = output.shape[0] if len(output.shape) else 1
        self.values.append(keras.ops.sum(value) / size)
        return value


@contextlib.contextmanager
def watched(
    regularizers: Sequence[Regularizer], factor: float = 1.0
) -> Iterator[list[_Watched]]:
    """Has regularizers of outputs keep what they give, `factor` times as strong."""
    with contextlib.ExitStack() as stack:
        found = []
        for one in regularizers:
            given = one.given if factor == 1 else one.times(factor)[0]
            found.append(_Watched(given))
            own = attributes_set(one.layer, activity_regularizer=found[-1])
            stack.enter_context(own)
        yield found


@contextlib.contextmanager
def stronger_weights(
    regularizers: Sequence[Regularizer], factor: float
) -> Iterator[None]:
    """Multiplies the strength of regularizers of weights."""
    with contextlib.ExitStack() as stack:
        for one in regularizers:
            stronger = one.times(factor)[0]
            stack.enter_context(attributes_set(one.variable, _regularizer=stronger))
        yield


def _nothing_added(model: Any) -> contextlib.AbstractContextManager:
    return attributes_set(model, _losses_override=[keras.ops.zeros(())])


def losses_of(
    model: Any, batch: Sample, outputs: Sequence[Regularizer], factor: float = 1.0
) -> Losses:
    """Returns a batch's loss, taken apart, of a borrowed model without noise."""
    with watched(outputs, factor) as seen:
        y_pred = model(batch.tensors.x, training=True)
        total = _float(loss_of(model, batch, y_pred, True))
        with _nothing_added(model):
            data = _float(loss_of(model, batch, y_pred, True))
        added = _added(model, outputs, seen)
    values = [_float(sum(one.values)) for one in seen]
    return Losses(data, total, values, added)


def _added(
    model: Any, outputs: Sequence[Regularizer], seen: Sequence[_Watched]
) -> dict[str, float]:
    penalties: dict[int, list[Any]] = {}
    for one, watch in zip(outputs, seen, strict=True):
        penalties[id(one.layer)] = watch.values
    found = {}
    for layer in layers_of(model):
        own = layer._get_own_losses()
        known = penalties.get(id(layer), [])
        if len(own) > len(known):
            found[_path(layer)] = sum(map(_float, own)) - sum(map(_float, known))
    return found


def _float(value: Any) -> float:
    return float(np.sum(np.asarray(keras.ops.convert_to_numpy(value), float)))


# ------------------------------------------------------------------------ gradients


def gradients_of_data(model: Any, batches: Sequence[Sample]) -> list[np.ndarray]:
    """Returns the gradient of the loss on the data for each trainable variable."""
    return _gradients(model, batches, (), lambda batch, y_pred, seen: None)


def gradients_of_outputs(
    model: Any, batches: Sequence[Sample], outputs: Sequence[Regularizer]
) -> list[np.ndarray]:
    """Returns the gradient of the penalties of outputs for each variable."""

    def penalty(batch: Sample, y_pred: Any, seen: Sequence[_Watched]) -> Any:
        return sum(value for one in seen for value in one.values)

    return _gradients(model, batches, outputs, penalty)


def gradients_of_weights(
    model: Any, regularizers: Sequence[Regularizer]
) -> list[np.ndarray]:
    """Returns the gradient of the penalties of weights for each variable."""
    backend = load("autodiff")
    variables = model.trainable_variables
    place = {id(v): i for i, v in enumerate(variables)}

    def penalty(at: list[Any]) -> Any:
        each = (one.given(at[place[id(one.variable)]]) for one in regularizers)
        return sum(keras.ops.sum(value) for value in each)

    at = [v.value for v in variables]
    _, found = backend.value_and_gradients(penalty, at)
    return [backend.numpy_of(gradient).astype(float) for gradient in found]


def _gradients(
    model: Any,
    batches: Sequence[Sample],
    outputs: Sequence[Regularizer],
    value_of: Callable,
) -> list[np.ndarray]:
    backend = load("autodiff")
    variables = model.trainable_variables
    at = [v.value for v in variables]
    total = [np.zeros(v.shape) for v in variables]
    size = sum(batch.size for batch in batches)
    for batch in batches:

        def value(values: list[Any], batch: Sample = batch) -> Any:
            mapping = list(zip(variables, values, strict=True))
            with keras.StatelessScope(mapping), watched(outputs) as seen:
                y_pred = model(batch.tensors.x, training=True)
                if outputs:
                    return value_of(batch, y_pred, seen)
                with _nothing_added(model):
                    return keras.ops.sum(loss_of(model, batch, y_pred, True))

        _, found = backend.value_and_gradients(value, at)
        for sum_, gradient in zip(total, found, strict=True):
            sum_ += batch.size / size * backend.numpy_of(gradient)
    return total
