"""Lends a model out: whatever is done to it meanwhile is undone.

Checks work on the user's own model, not on a copy: copying asks that every layer can
be rebuilt from its configuration, which is least true of the custom ones that most
need a check.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

from keras_babysit.backend import load

#: What `compile` and `fit` set on a model.
_SET_BY_TRAINING = (
    "optimizer",
    "history",
    "stop_training",
    "train_function",
    "test_function",
    "predict_function",
    "steps_per_execution",
    "_compile_loss",
    "_compile_metrics",
    "_loss_tracker",
    "_eval_epoch_iterator",
    "_jit_compile",
    "_run_eagerly",
    # With JAX:
    "_jax_state",
    "_jax_state_synced",
    "_losses_override",
)
#: Layers that do something else in training than later, to make fitting harder.
_NOISE = (
    "AlphaDropout",
    "AugMix",
    "CutMix",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "MixUp",
    "RandAugment",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)
#: Rates of dropout inside layers (recurrent ones, attention).
_RATES = ("dropout", "recurrent_dropout")
_ABSENT = object()


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns a model, its layers and theirs, each once."""
    return list(dict.fromkeys(model._flatten_layers(recursive=True)))


def synced(model: keras.Model) -> keras.Model:
    """Returns a model whose variables have their values, also within an epoch.

    With JAX they are empty then, but for callbacks that ask for their `model`.
    """
    sync = getattr(model, "jax_state_sync", None)
    if sync is not None:
        sync()
    return model


@contextlib.contextmanager
def borrowed(model: keras.Model) -> Iterator[keras.Model]:
    """Lends a built, compiled model out, and gives it back as it was.

    Meanwhile it has no compiled metrics and no compiled functions, so that none of the
    user's is built or traced for what is done to it.

    Given back: the values of all variables (weights, seeds, metrics), the optimizer
    object, the compiled functions, `history`, what the layers' last call added to the
    loss; and the states of the global random numbers of Keras, NumPy, Python and the
    backend.

    Whoever borrows must not step the model's own optimizer, but may put another one
    in its place.
    """
    kept = random_numbers_kept(), attributes_kept(model, *_SET_BY_TRAINING)
    with kept[0], kept[1], _added_losses_kept(model):
        known = {
            id(v): (v, np.array(keras.ops.convert_to_numpy(v.value)))
            for v in [*model.variables, *model.metrics_variables]
        }
        _renew_loss(model)
        vars(model)["_compile_metrics"] = None
        for name in ("train_function", "test_function", "predict_function"):
            vars(model)[name] = None
        try:
            yield model
        finally:
            for variable, value in known.values():
                variable.assign(value)


@contextlib.contextmanager
def _added_losses_kept(model: keras.Model) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for layer in layers_of(model):
            # Modules of PyTorch know whether they train.
            stack.enter_context(attributes_kept(layer, "training"))
            _set(stack, layer, "_losses", [])
            _set(stack, layer, "_loss_ids", set())
        yield


@contextlib.contextmanager
def attributes_kept(thing: Any, *names: str) -> Iterator[None]:
    """Puts attributes of an object back as they were."""
    # Around `__setattr__`, with which Keras tracks what becomes part of a model.
    known = {name: vars(thing).get(name, _ABSENT) for name in names}
    try:
        yield
    finally:
        for name, value in known.items():
            if value is _ABSENT:
                vars(thing).pop(name, None)
            else:
                vars(thing)[name] = value


@contextlib.contextmanager
def attributes_set(thing: Any, **values: Any) -> Iterator[None]:
    """Sets attributes of an object, and puts them back as they were."""
    with attributes_kept(thing, *values):
        vars(thing).update(values)
        yield


@contextlib.contextmanager
def calls_wrapped(layers: Sequence[Any], wrap: Callable) -> Iterator[None]:
    """Has `wrap(layer, call)` stand in for the `call` of each layer."""
    with contextlib.ExitStack() as stack:
        for layer in layers:
            _set(stack, layer, "call", wrap(layer, layer.call))
        yield


@contextlib.contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Puts the global random numbers back as they were."""
    backend = load("autodiff")
    names = ("global_random_seed", "global_seed_generator")
    known = {name: global_state.get_global_attribute(name) for name in names}
    of_keras = known["global_seed_generator"]
    seed = None if of_keras is None else np.array(of_keras.state.value)
    states = random.getstate(), np.random.get_state(), backend.random_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        backend.set_random_state(states[2])
        # Whoever sets a seed meanwhile has Keras forget its generator.
        for name, value in known.items():
            global_state.set_global_attribute(name, value)
        if of_keras is not None:
            of_keras.state.assign(seed)


def learning_rate(optimizer: Any, step: Any = None) -> Any:
    """Returns the rate of an update: a tensor, or a variable.

    A schedule of the user's own may count its calls or draw random numbers: a copy of
    it is asked, and the random numbers are put back.

    Args:
        optimizer: a Keras optimizer.
        step: number of updates before it; those so far by default.
    """
    schedule = getattr(optimizer, "_learning_rate", None)
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return optimizer.learning_rate
    step = optimizer._iterations if step is None else step
    if type(schedule).__module__.startswith("keras."):
        return schedule(step)
    with random_numbers_kept():
        return copy.copy(schedule)(step)


@contextlib.contextmanager
def names_kept(fresh: bool = False) -> Iterator[None]:
    """Has Keras number the names of layers as if none had been made meanwhile.

    Args:
        fresh: whether to number from the start in the meantime, so that layers have the
            names that they would have in a new process.
    """
    key = "object_name_uids"
    known = global_state.get_global_attribute(key)
    now = defaultdict(int, {} if fresh else known or {})
    global_state.set_global_attribute(key, now)
    try:
        yield
    finally:
        global_state.set_global_attribute(key, known)


@contextlib.contextmanager
def without_regularization(model: keras.Model) -> Iterator[None]:
    """Switches the penalties of weights and activations off.

    Losses that layers add by themselves stay: they may be what is trained.
    """
    with contextlib.ExitStack() as stack:
        for variable in model.variables:
            _set(stack, variable, "_regularizer", None)
        for layer in layers_of(model):
            _set(stack, layer, "activity_regularizer", None)
        yield


@contextlib.contextmanager
def without_noise(model: keras.Model) -> Iterator[None]:
    """Switches dropout, noise and random augmentation off, also in training."""
    with contextlib.ExitStack() as stack:
        for layer in layers_of(model):
            if is_noise(layer):
                _set(stack, layer, "call", _not_training(layer.call))
            for name in _RATES:
                if isinstance(vars(layer).get(name), float):
                    _set(stack, layer, name, 0.0)
        yield


def is_noise(layer: Any) -> bool:
    """Whether a layer is one of Keras's dropout, noise or random augmentation."""
    for kind in type(layer).__mro__:
        name = kind.__name__
        if name in _NOISE or name.startswith("Random"):
            return getattr(keras.layers, name, None) is kind
    return False


def _not_training(call: Any) -> Any:
    def quiet(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **{**kwargs, "training": False})

    return quiet


@contextlib.contextmanager
def in_float64(model: keras.Model) -> Iterator[None]:
    """Makes a built, compiled model compute in float64.

    Its variables still hold what they held: their float64 values are given by a
    `keras.StatelessScope` around a call of the model. The compiled loss is a new one.
    """
    with in_precision(model, "float64"):
        yield


@contextlib.contextmanager
def in_precision(
    model: keras.Model, dtype: str, but: Sequence[keras.layers.Layer] = ()
) -> Iterator[None]:
    """Makes a model compute in one float dtype only; see `in_float64`.

    Args:
        model: built and compiled.
        dtype: the float dtype.
        but: layers without weights that are to compute in float32.
    """
    given = keras.config.floatx()
    policy = keras.DTypePolicy(dtype)
    with contextlib.ExitStack() as stack:
        if dtype == "float64":
            stack.enter_context(load("autodiff").in_float64())
        stack.callback(keras.config.set_floatx, given)
        keras.config.set_floatx(dtype)
        float32 = keras.DTypePolicy("float32")
        for layer in layers_of(model):
            own = float32 if layer in but else policy
            _set(stack, layer, "_dtype_policy", own)
            if layer in but:
                _set(stack, layer, "call", _in_float32(layer.call))
            # Inputs are cast to the dtype of the layer, or the tensor, that stands for
            # them; a Sequential model has a graph inside that is no layer of its own.
            graph = getattr(layer, "_functional", None) or layer
            stand_ins = [*(getattr(graph, "_inputs", None) or ())]
            if isinstance(layer, keras.layers.InputLayer):
                stand_ins.append(layer)
            for thing in stand_ins:
                if keras.backend.is_float_dtype(thing.dtype):
                    _set(stack, thing, "_dtype", dtype)
        for variable in [*model.variables, *model.metrics_variables]:
            if keras.backend.is_float_dtype(variable.dtype):
                _set(stack, variable, "_dtype", dtype)
        stack.enter_context(attributes_kept(model, "_compile_loss"))
        _renew_loss(model)
        for loss in _losses(model):
            _set(stack, loss, "_dtype_policy", policy)
            _set(stack, loss, "_dtype", dtype)
        yield


def _in_float32(call: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        given = keras.config.floatx()
        keras.config.set_floatx("float32")
        try:
            return call(*args, **kwargs)
        finally:
            keras.config.set_floatx(given)

    return run


def _set(stack: contextlib.ExitStack, thing: Any, name: str, value: Any) -> None:
    stack.enter_context(attributes_set(thing, **{name: value}))


def _renew_loss(model: Any) -> None:
    known = model._compile_loss
    if known is not None:
        vars(model)["_compile_loss"] = type(known)(
            known._user_loss,
            known._user_loss_weights,
            output_names=known.output_names,
        )


def _losses(model: Any) -> list[keras.losses.Loss]:
    known = model._compile_loss
    given = [] if known is None else keras.tree.flatten(known._user_loss)
    return [loss for loss in given if isinstance(loss, keras.losses.Loss)]
