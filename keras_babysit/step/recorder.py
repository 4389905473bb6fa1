"""Notes what passes through a model's layers, losses and optimizers during a step.

The wrappers keep references and compute nothing, so a step that is traced under them
is the same step.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import keras

from keras_babysit.step import loss_calls

#: Layers whose output is their input, moved about or thinned out.
_PLUMBING = (
    "InputLayer",
    "Flatten",
    "Reshape",
    "Permute",
    "RepeatVector",
    "Identity",
    "Masking",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
)


@dataclass
class Recorded:
    """What was noted, each with the number of the replica.

    Attributes:
        outputs: layer and output, in the order of the calls.
        gradients: optimizer, variable and gradient, in the order of the updates.
        losses: what the loss tracker was given.
        calls: what losses got and gave back: the call, and its tensors by role.
        error: what noting has raised: it must not end the user's step.
    """

    outputs: list[tuple[int, Any, Any]] = field(default_factory=list)
    gradients: list[tuple[int, Any, Any, Any]] = field(default_factory=list)
    losses: list[tuple[int, Any]] = field(default_factory=list)
    calls: list[tuple[int, loss_calls.LossCall, dict[str, Any]]] = field(
        default_factory=list
    )
    error: Exception | None = None

    def check(self) -> None:
        """Raises what noting has raised."""
        if self.error is not None:
            raise self.error


class Recorder:
    """Wraps a model's methods while something runs; see `recording`.

    Args:
        model: the model.
        backend: the backend's module.
        into: what to add to.
        look: called with each tensor before it is noted; what it returns is noted.
    """

    def __init__(
        self,
        model: Any,
        backend: ModuleType,
        into: Recorded,
        look: Callable[[str, Any, Any], Any] = lambda kind, of, tensor: tensor,
    ):
        self._model, self._backend, self._into, self._look = model, backend, into, look

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Notes what happens meanwhile."""
        with contextlib.ExitStack() as stack:
            for optimizer in optimizers_of(self._model):
                wrapper = self._watch_apply(optimizer, optimizer.apply)
                stack.enter_context(_attribute(optimizer, "apply", wrapper))
                if self._backend.STATELESS:
                    name = "stateless_apply"
                    wrapper = self._watch_stateless(optimizer, getattr(optimizer, name))
                    stack.enter_context(_attribute(optimizer, name, wrapper))
            tracker = loss_tracker(self._model)
            if tracker is not None:
                wrapper = self._watch_loss(tracker.update_state)
                stack.enter_context(_attribute(tracker, "update_state", wrapper))
            for layer in _visible_layers(self._model):
                # A quantized layer has another method that Keras calls.
                name = "quantized_call" if layer.quantization_mode else "call"
                wrapper = self._watch_call(layer, getattr(layer, name))
                stack.enter_context(_attribute(layer, name, wrapper))
            failed = functools.partial(setattr, self._into, "error")
            stack.enter_context(loss_calls.heard(self._note_call, failed))
            yield

    def _watch_call(self, layer: Any, call: Callable) -> Callable:
        @functools.wraps(call)
        def watched(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            try:
                noted = self._look("layers", layer, output)
                self._into.outputs.append((self._backend.replica(), layer, noted))
            except Exception as e:
                self._into.error = e
            return output

        return watched

    def _note_call(self, call: loss_calls.LossCall, tensors: dict[str, Any]) -> None:
        noted = self._look("losses", call, tensors)
        self._into.calls.append((self._backend.replica(), call, noted))

    def _watch_loss(self, update_state: Callable) -> Callable:
        @functools.wraps(update_state)
        def watched(values: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                noted = self._look("loss", None, values)
                self._into.losses.append((self._backend.replica(), noted))
            except Exception as e:
                self._into.error = e
            return update_state(values, *args, **kwargs)

        return watched

    def _watch_apply(self, optimizer: Any, apply: Callable) -> Callable:
        @functools.wraps(apply)
        def watched(grads: Any, trainable_variables: Any = None, **kwargs: Any) -> Any:
            grads = list(grads)
            if trainable_variables is not None:
                trainable_variables = list(trainable_variables)
            try:
                self._note_gradients(optimizer, grads, trainable_variables)
            except Exception as e:
                self._into.error = e
            return apply(grads, trainable_variables, **kwargs)

        return watched

    def _watch_stateless(self, optimizer: Any, apply: Callable) -> Callable:
        @functools.wraps(apply)
        def watched(
            optimizer_variables: Any, grads: Any, trainable_variables: Any
        ) -> Any:
            grads = list(grads)
            try:
                self._note_gradients(optimizer, grads, None)
            except Exception as e:
                self._into.error = e
            return apply(optimizer_variables, grads, trainable_variables)

        return watched

    def _note_gradients(self, optimizer: Any, grads: list, variables: Any) -> None:
        if variables is None:
            inner = getattr(optimizer, "inner_optimizer", optimizer)
            variables = list(inner._trainable_variables)
        replica = self._backend.replica()
        for gradient, variable in zip(grads, variables, strict=False):
            if gradient is not None:
                noted = self._look("gradients", variable, gradient)
                self._into.gradients.append((replica, optimizer, variable, noted))


def loss_tracker(model: Any) -> Any | None:
    """The metric that averages the loss over an epoch, if there is one."""
    for metric in model.metrics:
        if metric.name == "loss":
            return metric
    return None


def optimizers_of(model: Any) -> list[Any]:
    """All optimizers the model holds: a GAN has two, and `optimizer` may be none."""
    own = getattr(model, "optimizer", None)
    found = {id(own): own} if own else {}
    for value in vars(model).values():
        if isinstance(value, keras.optimizers.Optimizer):
            found.setdefault(id(value), value)
    return list(found.values())


def built_for_frozen(model: Any) -> list[Any]:
    """The model's variables that are not trainable, but were so for its optimizer.

    A train function that was compiled at that time keeps updating them.
    """
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    built_for = {id(v) for v in getattr(optimizer, "_trainable_variables", ())}
    return [v for v in model.non_trainable_variables if id(v) in built_for]


def _visible_layers(model: Any) -> list[Any]:
    """Layers whose outputs belong to the step's own graph and say something.

    Cells of an RNN and the layer inside TimeDistributed run inside a loop; a nested
    model's output is its last layer's.
    """
    inside_loops: set[int] = set()
    layers = list(model._flatten_layers(include_self=False))
    for layer in layers:
        if isinstance(layer, keras.layers.RNN | keras.layers.TimeDistributed):
            inner = layer._flatten_layers(include_self=False)
            inside_loops.update(id(sublayer) for sublayer in inner)
    return [
        layer
        for layer in layers
        if id(layer) not in inside_loops
        and not isinstance(layer, keras.Model)
        and type(layer).__name__ not in _PLUMBING
    ]


@contextlib.contextmanager
def _attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Sets an instance attribute past Keras's tracking, and takes it off again."""
    had = name in vars(owner)
    old = vars(owner).get(name)
    object.__setattr__(owner, name, value)
    try:
        yield
    finally:
        if had:
            object.__setattr__(owner, name, old)
        else:
            object.__delattr__(owner, name)
