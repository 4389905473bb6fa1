"""The observed step: the user's own training step, with statistics among its logs.

It is built beside the model's compiled `train_function` and called in its place on
due steps. Nothing is added to the model or the optimizer, and whatever has to be
wrapped to look inside is wrapped only while the observed step runs.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import keras
import numpy as np

from keras_babysit.probes.interface import (
    LayerView,
    Probe,
    StepView,
    VariableView,
    unique,
)

#: The private key of the statistics in the logs.
KEY = "_keras_babysit"

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


@dataclass(frozen=True)
class Observation:
    """What one call of the observed step brought back.

    Attributes:
        logs: the step's own logs, clean.
        tensors: block name to tensor, not fetched yet.
        contexts: probe name to what its `read` has to know.
        paths: the updated variables, in order.
        built: whether this call traced the step, so that its duration says nothing.
        steps: how many training steps ran; the last one was observed.
        fetch: turns a tensor into an array.
    """

    logs: Any
    tensors: dict[str, Any]
    contexts: dict[str, Any]
    paths: tuple[str, ...]
    built: bool
    steps: int
    fetch: Callable[[Any], np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """Fetches the tensors, which waits until the device has computed them."""
        return {name: self.fetch(tensor) for name, tensor in self.tensors.items()}


class ObservationError(RuntimeError):
    """Observing failed, the training step itself did not; has the step's `logs`."""

    def __init__(self, message: str, logs: Any):
        super().__init__(message)
        self.logs = logs


@dataclass
class _Capture:
    """What one replica's trace of one step collects."""

    view: StepView = field(default_factory=StepView)
    graph: Any = None
    forward: list[tuple[Any, Any]] = field(default_factory=list)
    real: list[tuple[Any, Any]] = field(default_factory=list)
    in_forward: bool = False
    forward_inputs: list | None = None
    same_inputs: bool = False


class ObservedStep:
    """Builds the observed variant of a compiled model's training step.

    Args:
        model: compiled and built Keras model.
        backend: the seam's module, see `step.backend.load`.
        probes: what to measure.
        activations: `"forward"` reads layer outputs in a second forward pass of the
            same batch that has no side effects; `"tap"` reads those of the real one,
            which is cheaper and may change how the compiler rounds.
    """

    def __init__(
        self,
        model: Any,
        backend: ModuleType,
        probes: tuple[Probe, ...],
        activations: str = "forward",
    ):
        self.model = model
        self.probes = tuple(p for p in probes if p.measure is not None)
        self._backend = backend
        self._needs_layers = any(p.needs_layers for p in self.probes)
        self._activations = activations
        self._local = threading.local()
        self._contexts: dict[str, Any] = {}
        self._failure: Exception | None = None
        self._traces = 0
        self._paths = dict(
            zip(
                [id(v) for v in model.trainable_variables],
                unique([v.path for v in model.trainable_variables]),
                strict=True,
            )
        )
        self._order = {path: i for i, path in enumerate(self._paths.values())}
        self._updated: tuple[str, ...] = ()
        self._compiled_as = _compile_state(model)
        self._train_step = model.train_step
        self._function = backend.make_function(model, self._step)

    def __call__(self, iterator: Iterator, plain: Callable) -> Observation:
        """Runs one execution of the training step on the next batch, observed.

        With `steps_per_execution > 1` only the last step of the execution is.

        Args:
            iterator: Keras's epoch iterator.
            plain: the model's own train function; it runs the batch again where the
                observed step fails, so that no batch is lost and an error of the
                user's own comes out of the user's own function.

        Returns:
            An `Observation`.

        Raises:
            StopIteration: if there is no batch left.
            ObservationError: if the step ran but could not be observed.
        """
        batches = self._backend.next_batches(iterator, self.model.steps_per_execution)
        if len(batches) > 1:
            plain(iter(batches[:-1]))
        traces = self._traces
        try:
            with self._patched():
                logs = self._function(iter(batches[-1:]))
        except Exception as e:
            logs = plain(iter(batches[-1:]))
            raise ObservationError(_explain(e), logs) from e
        if not isinstance(logs, dict) or KEY not in logs:
            raise ObservationError(
                _explain(self._failure)
                if self._failure
                else "train_step() returned no dict of logs",
                logs,
            ) from self._failure
        logs = dict(logs)
        tensors = logs.pop(KEY)
        built = self._traces > traces and not self.model.run_eagerly
        return Observation(
            logs=logs,
            tensors=tensors,
            contexts=self._contexts,
            paths=self._updated,
            built=built,
            steps=len(batches),
            fetch=self._backend.numpy_of,
        )

    def fits(self, model: Any, probes: tuple[Probe, ...]) -> bool:
        """Whether this was built for the model as it is compiled now."""
        return (
            self.model is model
            and self.probes == tuple(p for p in probes if p.measure is not None)
            and _same(self._compiled_as, _compile_state(model))
        )

    def _step(self, data: Any) -> Any:
        """The user's training step; its logs have the statistics too."""
        self._traces += 1
        capture = self._local.capture = _Capture(graph=self._backend.graph())
        try:
            self._guard(self._forward, capture, data)
            logs = self._train_step(data)
            blocks = self._guard(self._measure, capture)
        finally:
            self._local.capture = None
        if blocks is None or not isinstance(logs, dict):
            return logs
        return {**logs, KEY: blocks}

    def _guard(self, function: Callable, *args: Any) -> Any:
        """Runs a part of ours so that it cannot break the step around it."""
        if self._failure is not None:
            return None
        try:
            return function(*args)
        except Exception as e:
            self._failure = e
            return None

    def _forward(self, capture: _Capture, data: Any) -> None:
        if not self._needs_layers or self._activations == "tap":
            return
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        training = {"training": True} if self.model._call_has_training_arg else {}
        capture.in_forward = True
        try:
            # Without a mapping every variable is read as it is; what the layers
            # assign (seeds, moving averages) goes to the scope and is dropped.
            with keras.StatelessScope():
                self.model(x, **training)
        except Exception:
            # Not this model's inputs, as with a GAN's images: read the real pass.
            capture.forward.clear()
        else:
            capture.forward_inputs = keras.tree.flatten(x)
        finally:
            capture.in_forward = False

    def _measure(self, capture: _Capture) -> dict[str, Any]:
        backend, view = self._backend, capture.view
        if self._needs_layers:
            view.layers = self._layer_views(capture)
        view.variables.sort(key=lambda v: self._order.get(v.path, len(self._order)))
        with_gradient = [v for v in view.variables if v.gradient is not None]
        gradients = backend.sum_over_replicas([v.gradient for v in with_gradient])
        for variable, gradient in zip(with_gradient, gradients, strict=True):
            variable.gradient = gradient
        blocks: dict[str, Any] = {}
        for probe in self.probes:
            assert probe.measure is not None
            for name, tensor in probe.measure(view).items():
                blocks[f"{probe.name}/{name}"] = tensor
            if probe.context is not None:
                self._contexts[probe.name] = probe.context(view)
        for name, value in (
            ("loss", view.loss),
            ("learning_rate", view.learning_rate),
        ):
            if value is not None:
                blocks[name] = keras.ops.cast(value, "float32")
        self._updated = tuple(v.path for v in view.variables)
        return {k: backend.gather_replicas(v) for k, v in blocks.items()}

    def _layer_views(self, capture: _Capture) -> list[LayerView]:
        standard = type(self.model).train_step is self._backend.STANDARD_TRAIN_STEP
        forward = capture.forward and (standard or capture.same_inputs)
        found = []
        for layer, output in capture.forward if forward else capture.real:
            for tensor in keras.tree.flatten(output):
                if self._backend.belongs_to(tensor, capture.graph) and _is_float(
                    tensor
                ):
                    found.append((layer.path or layer.name, layer, tensor))
        paths = unique([path for path, _, _ in found])
        return [
            LayerView(path, layer, tensor)
            for path, (_, layer, tensor) in zip(paths, found, strict=True)
        ]

    # What is wrapped, and only while the observed step runs.

    @contextlib.contextmanager
    def _patched(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for optimizer in _optimizers(self.model):
                wrapper = self._watch_apply(optimizer, optimizer.apply)
                stack.enter_context(_attribute(optimizer, "apply", wrapper))
            for metric in self.model.metrics:
                if metric.name == "loss":
                    wrapper = self._watch_loss(metric.update_state)
                    stack.enter_context(_attribute(metric, "update_state", wrapper))
            if self._needs_layers:
                for layer in _visible_layers(self.model):
                    wrapper = self._watch_call(layer, layer.call)
                    stack.enter_context(_attribute(layer, "call", wrapper))
                wrapper = self._watch_model_call(self.model.call)
                stack.enter_context(_attribute(self.model, "call", wrapper))
            yield

    def _watch_call(self, layer: Any, call: Callable) -> Callable:
        @functools.wraps(call)
        def watched(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            capture = getattr(self._local, "capture", None)
            if capture is not None:
                calls = capture.forward if capture.in_forward else capture.real
                calls.append((layer, output))
            return output

        return watched

    def _watch_model_call(self, call: Callable) -> Callable:
        """Notices a custom train step that feeds the model something else."""

        @functools.wraps(call)
        def watched(*args: Any, **kwargs: Any) -> Any:
            capture = getattr(self._local, "capture", None)
            if capture is not None and capture.forward_inputs is not None:
                given = keras.tree.flatten(args[0]) if args else []
                capture.same_inputs |= _same(given, capture.forward_inputs)
            return call(*args, **kwargs)

        return watched

    def _watch_loss(self, update_state: Callable) -> Callable:
        @functools.wraps(update_state)
        def watched(values: Any, *args: Any, **kwargs: Any) -> Any:
            capture = getattr(self._local, "capture", None)
            if capture is not None:
                capture.view.loss = keras.ops.mean(keras.ops.cast(values, "float32"))
            return update_state(values, *args, **kwargs)

        return watched

    def _watch_apply(self, optimizer: Any, apply: Callable) -> Callable:
        @functools.wraps(apply)
        def watched(
            grads: Any, trainable_variables: Any = None, **kwargs: Any
        ) -> Any:
            capture = getattr(self._local, "capture", None)
            if capture is None:
                return apply(grads, trainable_variables, **kwargs)
            grads = list(grads)
            if trainable_variables is None:
                variables = list(optimizer._trainable_variables)
            else:
                variables = trainable_variables = list(trainable_variables)
            views = self._guard(self._before, capture, optimizer, grads, variables)
            result = apply(grads, trainable_variables, **kwargs)
            self._guard(self._after, capture, views, variables)
            return result

        return watched

    def _before(
        self, capture: _Capture, optimizer: Any, grads: list, variables: list
    ) -> list[VariableView]:
        backend, ops = self._backend, keras.ops
        if capture.view.learning_rate is None:
            capture.view.learning_rate = ops.convert_to_tensor(optimizer.learning_rate)
        scale = getattr(optimizer, "dynamic_scale", None)
        if scale is None:
            scale = getattr(optimizer, "loss_scale_factor", None)
        views = []
        for gradient, variable in zip(grads, variables, strict=True):
            if gradient is not None:
                gradient = ops.cast(backend.dense(gradient), "float32")
                if scale is not None:
                    gradient = gradient / ops.cast(scale, "float32")
            path = self._paths.get(id(variable), getattr(variable, "path", None))
            before = backend.value_of(variable)
            views.append(
                VariableView(str(path or variable.name), before, gradient)
            )
        return views

    def _after(
        self, capture: _Capture, views: list[VariableView] | None, variables: list
    ) -> None:
        for view, variable in zip(views or [], variables, strict=bool(views)):
            view.after = self._backend.value_of(variable)
        capture.view.variables.extend(views or [])


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


def _compile_state(model: Any) -> list:
    """Objects that change when Keras would build another train function."""
    return [
        model.optimizer,
        model._compile_metrics,
        model._compile_loss,
        model.jit_compile,
        model.run_eagerly,
        *model.trainable_variables,
    ]


def _same(a: list, b: list) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _optimizers(model: Any) -> list[Any]:
    """All optimizers the model holds: a GAN has two, and `optimizer` may be none."""
    found = {id(model.optimizer): model.optimizer} if model.optimizer else {}
    for value in vars(model).values():
        if isinstance(value, keras.optimizers.Optimizer):
            found.setdefault(id(value), value)
    return list(found.values())


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


def _is_float(tensor: Any) -> bool:
    return "float" in keras.backend.standardize_dtype(tensor.dtype)


def _explain(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def now() -> float:
    """Seconds on the clock that steps are timed with."""
    return time.perf_counter()
