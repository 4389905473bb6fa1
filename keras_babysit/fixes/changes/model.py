"""What changes of the model and its optimizer do, to a model that is borrowed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import layers_of
from keras_babysit.fixes.changes.setup import Change, Setup, loss_named
from keras_babysit.inspection.weights import initializer_of
from keras_babysit.records import Fix

#: Layers that pass an output on with its values as they are.
_PASSING = ("Flatten", "Reshape", "Permute", "Dropout", "Identity")
#: Attributes of layers that hold an initializer for kernels.
_KERNELS = ("kernel", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel")


def _learning_rate(setup: Setup, fix: Fix) -> None:
    setup.rate = fix["value"]


def _clip(setup: Setup, fix: Fix) -> None:
    setup.optimizer |= {
        "clipnorm": fix["norm"],
        "clipvalue": None,
        "global_clipnorm": None,
    }
    setup.structure.append(fix)


def _no_penalty(setup: Setup, fix: Fix) -> None:
    for variable in setup.model.variables:
        setup.set(variable, _regularizer=None)
    for layer in layers_of(setup.model):
        setup.set(layer, activity_regularizer=None)
    setup.optimizer["weight_decay"] = None
    setup.structure.append(fix)


def _output(setup: Setup, fix: Fix) -> None:
    at = setup.output(fix.where[0])
    if fix["activation"] is not None:
        layer = _maker(setup, at, fix.where[0])
        _set_activation(setup, layer, fix["activation"])
    loss, logits = fix["loss"], fix["from_logits"]
    if loss is None and logits is not None:
        known = setup.facts.outputs[at].loss
        if known is None or not known.standard:
            raise ValueError("the output has no loss of Keras's own")
        loss = known.name
    if loss is not None:
        setup.losses[at] = loss_named(loss, logits)
    setup.structure.append(fix)


def _maker(setup: Setup, at: int, where: str) -> Any:
    """The layer that makes an output: from the graph, or by its path."""
    outputs = getattr(setup.model, "outputs", None) or ()
    if at < len(outputs):
        made = outputs[at]._keras_history.operation
        while type(made).__name__ in _PASSING and made.input is not None:
            made = made.input._keras_history.operation
        if isinstance(made, keras.Model) and not isinstance(made, keras.Sequential):
            return setup.layers((where,))[0]
        while isinstance(made, keras.Sequential):
            made = made.layers[-1]
        return made
    return setup.layers((where,))[0]


def _set_activation(setup: Setup, layer: Any, name: str) -> None:
    function = keras.activations.get(name)
    if "activation" in vars(layer):
        setup.set(layer, activation=function)
    elif type(layer).__name__ in ("Softmax", "ReLU", "LeakyReLU", "ELU", "PReLU"):
        setup.set(layer, call=lambda inputs, *args, **kwargs: function(inputs))
    else:
        raise ValueError(f"layer {layer.name!r} has no activation to change")


def _activation(setup: Setup, fix: Fix) -> None:
    for layer in setup.layers(fix.where):
        _set_activation(setup, layer, fix["name"])
    setup.structure.append(fix)


def _initializer(setup: Setup, fix: Fix) -> None:
    layers = setup.layers(fix.where) if fix.where else [setup.model]
    # A recurrent layer's kernels are those of its cell.
    parts = dict.fromkeys(part for x in layers for part in x._flatten_layers())
    found = [part for part in parts if _kernels(part)]
    if not found:
        raise ValueError("there are no kernels to redraw")

    def draw(seed: int) -> None:
        for i, layer in enumerate(found):
            for j, variable in enumerate(_kernels(layer)):
                own = (
                    "orthogonal" if variable.name == "recurrent_kernel" else fix["name"]
                )
                made = keras.initializers.get(
                    {"class_name": own, "config": {"seed": 1000 * seed + 10 * i + j}}
                )
                variable.assign(made(variable.shape, dtype=variable.dtype))
            bias = vars(layer).get("bias")
            if bias is not None and "LSTM" not in type(layer).__name__:
                bias.assign(np.zeros(bias.shape, "float32"))

    setup.weights.append(draw)


def _kernels(layer: Any) -> list[Any]:
    own = [*layer._trainable_variables, *layer._non_trainable_variables]
    return [variable for variable in own if variable.name in _KERNELS]


def _dropout(setup: Setup, fix: Fix) -> None:
    for layer in setup.layers(fix.where):
        if not isinstance(vars(layer).get("rate"), float):
            raise ValueError(f"layer {layer.name!r} has no rate to change")
        if fix["rate"] == 0:
            setup.set(layer, call=lambda inputs, *args, **kwargs: inputs)
        else:
            setup.set(layer, rate=fix["rate"])
    setup.structure.append(fix)


def _trainable(setup: Setup, fix: Fix) -> None:
    layers = setup.layers(fix.where) if fix.where else layers_of(setup.model)
    before = [(layer, layer.trainable) for layer in layers]

    def undo() -> None:
        for layer, trainable in before:
            layer.trainable = trainable

    setup.stack.callback(undo)
    for layer in layers:
        layer.trainable = True
    setup.structure.append(fix)


def _adapt(setup: Setup, fix: Fix) -> None:
    (layer,) = setup.layers(fix.where)
    inputs = keras.tree.flatten(setup.data.train.x)
    if not isinstance(layer, keras.layers.Normalization) or len(inputs) != 1:
        raise ValueError(f"layer {fix.where[0]!r} cannot be adapted to the inputs")
    values = np.asarray(inputs[0], "float32")
    axes = tuple(a for a in range(values.ndim) if a not in layer._keep_axis)
    shape = layer.adapt_mean.shape
    mean, variance = (np.reshape(f(values, axes), shape) for f in (np.mean, np.var))
    names = ("mean", "variance")
    like = (layer.mean, layer.variance)
    made = [
        keras.ops.reshape(keras.ops.convert_to_tensor(v, "float32"), t.shape)
        for v, t in zip((mean, variance), like, strict=True)
    ]
    setup.set(layer, **dict(zip(names, made, strict=True)))
    setup.structure.append(fix)


def redraw(layer: Any, variable: Any, seed: int) -> None:
    """Redraws a weight from the initializer that its layer has for it."""
    initializer = initializer_of(layer, variable.name)
    if initializer is None:
        return
    config = initializer.get_config()
    seeded = {"seed": seed} if "seed" in config else {}
    made = type(initializer).from_config({**config, **seeded})
    variable.assign(made(variable.shape, dtype=variable.dtype))


#: Kind to what it does.
CHANGES: dict[str, Change] = {
    "learning_rate": _learning_rate,
    "clip": _clip,
    "no_penalty": _no_penalty,
    "output": _output,
    "activation": _activation,
    "initializer": _initializer,
    "dropout": _dropout,
    "trainable": _trainable,
    "adapt": _adapt,
}
