"""The observed step: the user's own training step, with statistics among its logs.

It is built beside the model's compiled `train_function` and runs in its place on due
steps. Nothing is added to the model or the optimizer, and whatever has to be
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

from keras_babysit.probes.probe import LayerView, Probe, StepView, VariableView, unique

#: The private key of the statistics in the logs.
KEY = "_keras_babysit"

#: Why a step is not observed.
_SEEDED = (
    "it draws random numbers with tf.random and a seed, and these depend on how often "
    "its compiled function has run. Draw them with keras.random and a "
    "keras.random.SeedGenerator"
)

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


class UnobservableError(ObservationError):
    """Steps of this model cannot be observed without changing the training."""


@dataclass
class _Capture:
    """What one replica's trace of one step collects."""

    graph: Any = None
    loss: Any = None
    learning_rate: Any = None
    gradients: dict[str, Any] = field(default_factory=dict)
    scales: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[Any, Any]] = field(default_factory=list)
    inputs: list[tuple[tuple, dict]] = field(default_factory=list)


class ObservedStep:
    """Builds and runs the observed variant of a compiled model's training step.

    Three compiled functions do the work, apart from each other so that the compiler
    cannot fuse measuring into training and round the training differently:

    - the forward pass, with the layers' outputs described inside; none of its side
      effects is kept;
    - the user's training step, whose raw gradients leave through its logs;
    - the description of gradients and of the variables before and after.

    Args:
        model: compiled and built Keras model.
        plain: the model's own train function; it runs the batch again where the
            observed step fails, so that no batch is lost and an error of the user's
            own comes out of the user's own function.
        backend: the backend's module, see `backend.load`.
        probes: what to measure.
        activations: `"forward"` reads layer outputs in a second forward pass of the
            same batch; `"tap"` in the training pass itself.
    """

    def __init__(
        self,
        model: Any,
        plain: Callable,
        backend: ModuleType,
        probes: tuple[Probe, ...],
        activations: str = "forward",
    ):
        self.model = model
        self.plain = plain
        self.probes = _measuring(probes)
        self._backend = backend
        needs = frozenset().union(*(p.needs for p in self.probes))
        self._layer_probes = [p for p in self.probes if "layers" in p.needs]
        self._variable_probes = [p for p in self.probes if "layers" not in p.needs]
        self._gradients = "gradients" in needs
        self._updates = "updates" in needs
        # Whether the training pass is read; not known before it is traced.
        self._tap = True if activations == "tap" else None
        self._local = threading.local()
        self._contexts: dict[str, Any] = {}
        self._failure: Exception | None = None
        self._unobservable = ""
        self._traces = 0
        variables = model.trainable_variables
        paths = unique([v.path for v in variables])
        self._variables = dict(zip(paths, variables, strict=True))
        self._paths = {id(v): path for path, v in self._variables.items()}
        self._train_step = model.train_step
        self._functions: dict[str, tuple[Any, Any]] = {}
        self._snapshot = backend.compiled(self._values)
        self._measure = backend.compiled(self._measure_variables)
        self._measure_outputs = backend.compiled(self._measure_tapped)
        self._tapped: dict[str, Any] = {}
        self._shared: dict[Callable, Callable] = {}

    def fits(self, model: Any, plain: Callable, probes: tuple[Probe, ...]) -> bool:
        """Whether this was built for the model and the train function that it has.

        What the model says of itself does not count: a layer frozen after the train
        function was traced is still trained, until there is a new one.
        """
        if model.run_eagerly and not self._knows(model.trainable_variables):
            return False
        same = self.model is model and self.plain is plain
        return same and self.probes == _measuring(probes)

    def _knows(self, variables: list[Any]) -> bool:
        return list(self._paths) == [id(v) for v in variables]

    def __call__(
        self,
        iterator: Iterator,
        look: Callable[[Any], None] | None = None,
    ) -> Observation:
        """Runs one execution of the training step on the next batch, observed.

        With `steps_per_execution > 1` only the last step of the execution is.

        Args:
            iterator: Keras's epoch iterator.
            look: is shown the batch, as nested arrays, before the step runs.

        Returns:
            An `Observation`.

        Raises:
            StopIteration: if there is no batch left.
            ObservationError: if the step ran but could not be observed.
        """
        try:
            run_plain = self._prepared(iterator)
        except Exception as e:
            try:
                logs = self.plain(iterator)
            except Exception:
                # The first error says more: a function that could not be traced once
                # may fail otherwise the second time.
                raise e from None
            raise ObservationError(_explain(e), logs) from e
        if self._unobservable:
            raise UnobservableError(self._unobservable, self.plain(iterator))
        *others, batch = self._backend.next_batches(
            iterator, self.model.steps_per_execution
        )
        for other in others:
            run_plain(other)
        traces = self._traces
        try:
            if look is not None:
                look(keras.tree.map_structure(self._backend.numpy_of_batch, batch))
            tensors = self._run_forward(iterator, batch)
            before = self._snapshot() if self._updates else {}
            with self._patched():
                logs = self._compiled("tap" if self._tap else "step", iterator)(batch)
        except Exception as e:
            logs = run_plain(batch)
            raise ObservationError(_explain(e), logs) from e
        if not isinstance(logs, dict) or KEY not in logs:
            reason = (
                _explain(self._failure)
                if self._failure
                else "train_step() returned no dict of logs"
            )
            raise ObservationError(reason, logs) from self._failure
        logs = dict(logs)
        seen = logs.pop(KEY)
        try:
            gradients, scales = seen.pop("gradients"), seen.pop("scales")
            outputs = seen.pop("outputs", None)
            tensors |= seen | self._measure(gradients, scales, before)
            if outputs:
                tensors |= self._measure_outputs(outputs)
        except Exception as e:
            raise ObservationError(_explain(e), logs) from e
        known = before or gradients
        return Observation(
            logs=logs,
            tensors=tensors,
            contexts=self._contexts,
            paths=tuple(path for path in self._variables if path in known),
            built=self._traces > traces and not self.model.run_eagerly,
            steps=len(others) + 1,
            fetch=self._backend.numpy_of,
        )

    def _prepared(self, iterator: Any) -> Any:
        """Returns the plain step of one batch; decides how it is to be observed.

        The plain step is traced before any of ours. Whatever Python finds, makes or
        leaves behind while the user's code is traced for the first time, it does so
        as if we were not there, and both steps are made of the same moment.
        """
        known = self._functions.get("plain", (None, None))
        run_plain = self._compiled("plain", iterator)
        if run_plain is known[1]:
            return run_plain
        traced = run_plain.trace()
        # XLA does not reproduce these numbers either way.
        if traced is not None and not self.model.jit_compile:
            self._unobservable = _SEEDED if traced.draws_with_seed() else ""
        return run_plain

    def _compiled(self, kind: str, iterator: Any) -> Any:
        """Returns a function of one batch, traced once for what it depends on."""
        spec = getattr(iterator, "element_spec", None)
        known = self._functions.get(kind)
        if known is not None and known[0] == spec:
            return known[1]
        if kind == "forward":
            function = self._backend.make_forward(self.model, self._forward_step)
        elif kind == "plain":
            function = self.plain
        else:
            function = self._backend.make_function(self.model, self._step)
        compiled = self._backend.OnBatch(function, iterator, self.model.run_eagerly)
        self._functions[kind] = (spec, compiled)
        return compiled

    # The user's training step.

    def _step(self, data: Any) -> Any:
        """The user's training step; its logs have what was seen too."""
        self._traces += 1
        capture = self._local.capture = _Capture(graph=self._backend.graph())
        try:
            logs = self._train_step(data)
            seen = self._guard(self._seen, capture)
        finally:
            self._local.capture = None
        if seen is None or not isinstance(logs, dict):
            return logs
        return {**logs, KEY: seen}

    def _seen(self, capture: _Capture) -> dict[str, Any]:
        blocks: dict[str, Any] = {}
        if self._tap and self._backend.replicas() == 1:
            # Described outside, as gradients are.
            views = self._layer_views(capture)
            self._tapped = {v.path: v.layer for v in views}
            blocks["outputs"] = {v.path: v.output for v in views}
        elif self._tap:
            blocks = self._layer_blocks(capture)
            blocks = {k: self._backend.gather_replicas(v) for k, v in blocks.items()}
        for name in ("loss", "learning_rate"):
            value = getattr(capture, name)
            if value is not None:
                blocks[name] = keras.ops.cast(value, "float32")
        # In the model's order; Keras's structures do not keep it.
        paths = [path for path in self._variables if path in capture.gradients]
        blocks["gradients"] = {path: capture.gradients[path] for path in paths}
        blocks["scales"] = capture.scales
        return blocks

    def _guard(self, function: Callable, *args: Any) -> Any:
        """Runs a part of ours so that it cannot break the step around it."""
        if self._failure is not None:
            return None
        try:
            return function(*args)
        except Exception as e:
            self._failure = e
            return None

    # The forward pass.

    def _run_forward(self, iterator: Any, batch: Any) -> dict[str, Any]:
        if not self._layer_probes:
            return {}
        if self._tap is None:
            self._tap = not self._can_run_forward(iterator)
        if self._tap:
            return {}
        with self._patched():
            return dict(self._compiled("forward", iterator)(batch))

    def _can_run_forward(self, iterator: Any) -> bool:
        """Whether a forward pass besides the step shows the same, and harms nothing.

        A scope drops what layers assign to Keras's variables, but not what they do to
        TensorFlow's own, to files, or to Python's random numbers. Where nothing is
        traced, nothing tells, but no compiler can round differently either, and the
        training pass itself may be read.
        """
        if self.model.run_eagerly or not self._feeds_batch(iterator):
            return False
        with self._patched():
            return not self._compiled("forward", iterator).trace().leaves_traces()

    def _feeds_batch(self, iterator: Any) -> bool:
        """Whether the training step calls the model once, on the batch as it is.

        Only then does a forward pass of the batch show what the step has seen. Keras's
        own step does. A custom one is traced, but not run, to see.
        """
        if type(self.model).train_step is self._backend.STANDARD_TRAIN_STEP:
            return True
        self._fed_batch = False
        look = self._backend.make_forward(self.model, self._look)
        with (
            contextlib.suppress(Exception),  # It will fail in the real step, if at all.
            _attribute(self.model, "call", self._watch_inputs(self.model.call)),
        ):
            self._backend.OnBatch(look, iterator, False).trace()
        return self._fed_batch

    def _look(self, data: Any) -> dict[str, Any]:
        capture = self._local.capture = _Capture()
        try:
            self._train_step(data)
        finally:
            self._local.capture = None
        self._fed_batch = len(capture.inputs) == 1 and self._is_training_call(
            *capture.inputs[0], keras.utils.unpack_x_y_sample_weight(data)[0]
        )
        return {}

    def _is_training_call(self, args: tuple, kwargs: dict, x: Any) -> bool:
        given = keras.tree.flatten((args, kwargs.get("inputs")))
        given = [tensor for tensor in given if tensor is not None]
        batch = [tensor for tensor in keras.tree.flatten(x) if tensor is not None]
        training = bool(kwargs.get("training")) or not self.model._call_has_training_arg
        return (
            training
            and len(given) == len(batch)
            and all(map(self._backend.is_cast_of, given, batch))
        )

    def _watch_inputs(self, call: Callable) -> Callable:
        @functools.wraps(call)
        def watched(*args: Any, **kwargs: Any) -> Any:
            capture = getattr(self._local, "capture", None)
            if capture is not None:
                capture.inputs.append((args, kwargs))
            return call(*args, **kwargs)

        return watched

    def _forward_step(self, data: Any) -> dict[str, Any]:
        self._traces += 1
        capture = self._local.capture = _Capture(graph=self._backend.graph())
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        training = {"training": True} if self.model._call_has_training_arg else {}
        try:
            # Without a mapping every variable is read as it is; what the layers
            # assign (seeds, moving averages) goes to the scope and is dropped.
            with keras.StatelessScope():
                self.model(x, **training)
            return self._layer_blocks(capture)
        finally:
            self._local.capture = None

    def _layer_blocks(self, capture: _Capture) -> dict[str, Any]:
        return self._blocks(
            self._layer_probes, self._view(layers=self._layer_views(capture))
        )

    def _measure_tapped(self, outputs: dict[str, Any]) -> dict[str, Any]:
        self._traces += 1
        views = [LayerView(p, self._tapped[p], outputs[p]) for p in self._tapped]
        blocks = self._blocks(self._layer_probes, self._view(layers=views))
        return {name: block[None] for name, block in blocks.items()}

    def _layer_views(self, capture: _Capture) -> list[LayerView]:
        found = []
        for layer, output in capture.calls:
            for tensor in keras.tree.flatten(output):
                own = self._backend.belongs_to(tensor, capture.graph)
                if own and _is_float(tensor):
                    found.append((layer.path or layer.name, layer, tensor))
        paths = unique([path for path, _, _ in found])
        return [
            LayerView(path, layer, tensor)
            for path, (_, layer, tensor) in zip(paths, found, strict=True)
        ]

    # Gradients and updates.

    def _values(self) -> dict[str, Any]:
        return {p: self._backend.value_of(v) for p, v in self._variables.items()}

    def _measure_variables(
        self, gradients: dict, scales: dict, before: dict
    ) -> dict[str, Any]:
        views = []
        after = self._values() if self._updates else {}
        replicas = self._backend.replicas_of(self.model)
        for path in self._variables:
            gradient = gradients.get(path)
            if gradient is not None:
                # Keras averages outputs over replicas; the optimizer gets the sum.
                gradient = keras.ops.cast(gradient, "float32") * replicas
                if path in scales:
                    gradient = gradient / scales[path]
            if path in before or gradient is not None:
                view = VariableView(path, gradient, before.get(path), after.get(path))
                views.append(view)
        blocks = self._blocks(self._variable_probes, self._view(variables=views))
        return {name: block[None] for name, block in blocks.items()}

    def _view(self, **seen: Any) -> StepView:
        shared = (lambda f: f) if self.model.run_eagerly else self._share
        return StepView(**seen, shared=shared)

    def _share(self, function: Callable) -> Callable:
        if function not in self._shared:
            self._shared[function] = self._backend.shared(function)
        return self._shared[function]

    def _blocks(self, probes: list[Probe], view: StepView) -> dict[str, Any]:
        blocks = {}
        for probe in probes:
            assert probe.measure is not None
            for name, tensor in probe.measure(view).items():
                blocks[f"{probe.name}/{name}"] = tensor
            if probe.context is not None:
                self._contexts[probe.name] = probe.context(view)
        return blocks

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
            if self._layer_probes:
                for layer in _visible_layers(self.model):
                    # A quantized layer has another method that Keras calls.
                    name = "quantized_call" if layer.quantization_mode else "call"
                    wrapper = self._watch_call(layer, getattr(layer, name))
                    stack.enter_context(_attribute(layer, name, wrapper))
            yield

    def _watch_call(self, layer: Any, call: Callable) -> Callable:
        @functools.wraps(call)
        def watched(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            capture = getattr(self._local, "capture", None)
            if capture is not None:
                capture.calls.append((layer, output))
            return output

        return watched

    def _watch_loss(self, update_state: Callable) -> Callable:
        @functools.wraps(update_state)
        def watched(values: Any, *args: Any, **kwargs: Any) -> Any:
            capture = getattr(self._local, "capture", None)
            if capture is not None:
                capture.loss = keras.ops.mean(keras.ops.cast(values, "float32"))
            return update_state(values, *args, **kwargs)

        return watched

    def _watch_apply(self, optimizer: Any, apply: Callable) -> Callable:
        @functools.wraps(apply)
        def watched(grads: Any, trainable_variables: Any = None, **kwargs: Any) -> Any:
            capture = getattr(self._local, "capture", None)
            if capture is None:
                return apply(grads, trainable_variables, **kwargs)
            grads = list(grads)
            if trainable_variables is None:
                variables = list(optimizer._trainable_variables)
            else:
                variables = trainable_variables = list(trainable_variables)
            self._guard(self._note_gradients, capture, optimizer, grads, variables)
            return apply(grads, trainable_variables, **kwargs)

        return watched

    def _note_gradients(
        self, capture: _Capture, optimizer: Any, grads: list, variables: list
    ) -> None:
        if capture.learning_rate is None:
            capture.learning_rate = keras.ops.convert_to_tensor(optimizer.learning_rate)
        if not self._gradients:
            return
        scale = getattr(optimizer, "dynamic_scale", None)
        if scale is None:
            scale = optimizer.loss_scale_factor
        # A gradient that is an output itself has to be computed by itself, and then
        # XLA no longer fuses its last multiplication into the optimizer's update,
        # which rounds differently. Times a one that XLA cannot foresee, it leaves the
        # step by way of a fusion of its own, and the update's stays as it was.
        one = keras.ops.cast(optimizer.iterations >= 0, "float32")
        for gradient, variable in zip(grads, variables, strict=True):
            path = self._paths.get(id(variable))
            if gradient is None or path is None:
                continue
            gradient = self._backend.dense(gradient)
            capture.gradients[path] = gradient * keras.ops.cast(one, gradient.dtype)
            if scale is not None:
                # Divided by later: nothing is computed here that could be fused.
                value = keras.ops.convert_to_tensor(scale, "float32")
                capture.scales[path] = value


def _measuring(probes: tuple[Probe, ...]) -> tuple[Probe, ...]:
    return tuple(p for p in probes if p.measure is not None)


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
