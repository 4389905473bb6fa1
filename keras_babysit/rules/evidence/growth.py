"""What had grown before the numbers were lost: over depth, or over time."""

from __future__ import annotations

import numpy as np

from keras_babysit.history import RunHistory, Window
from keras_babysit.rules.evidence.catalogue import SCALING
from keras_babysit.rules.evidence.kernels import layered, trend
from keras_babysit.rules.evidence.phrases import number, try_rate

#: Growth over so many layers, by this factor, that loses numbers in a few updates.
_LAYERS = 4
_FACTOR = 100.0
#: Gradients of so many times the weights, before any update.
_TIMES = 100.0
#: Kinds of layers that apply the same weights to each step.
_RECURRENT = ("SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional")
_CLIP = "clip the gradients: clipnorm=1.0 in the optimizer"


def exploded(history: RunHistory) -> tuple[str, str] | None:
    """Returns cause and action if something had grown out of proportion.

    What the first observed step shows is there before any update: the initial weights
    or the length of the sequences; later growth is what the steps made of them.
    """
    recurrent = [
        layer
        for layer in (history.model.layers if history.model is not None else ())
        if layer.kind in _RECURRENT
    ]
    times, place = _relative(history)
    if recurrent and times > _TIMES / 10:
        steps = next((len_of for x in recurrent if (len_of := _steps(x))), None)
        over = f" over {steps} steps" if steps else " over time"
        return (
            f"Likely the gradients explode{over}: {number(times)} times the weights of "
            f"{place} before the first update",
            _CLIP,
        )
    early, late = (_over_depth(history, last) for last in (False, True))
    if early > _FACTOR or times > _TIMES:
        what = (
            f"activations grow {number(early)}-fold from the first layers to the last"
            if early > _FACTOR
            else f"gradients are {number(times)} times the weights of {place}"
        )
        return (
            f"Likely it explodes over depth: {what}, before the first update",
            "put LayerNormalization between the layers"
            if well_initialized(history)
            else "initialize the kernels with he_normal (ReLU) or glorot_uniform",
        )
    if late > 10 * _FACTOR:
        return (
            "Likely the learning rate is too high for so many layers: activations had "
            f"come to grow {number(late)}-fold over depth",
            try_rate(history, 0.1),
        )
    return None


def well_initialized(history: RunHistory) -> bool:
    """Whether all kernels are as an initializer made them that goes by their size."""
    layers = history.model.layers if history.model is not None else ()
    weights = [w for layer in layers for w in layer.weights if w.role == "kernel"]
    return bool(weights) and all(
        w.initializer in SCALING and w.as_initialized is not False for w in weights
    )


def _steps(layer: object) -> int | None:
    """How many steps a recurrent layer passes on, if it does and they are known."""
    shape = getattr(layer, "output_shape", None)
    return shape[0] if shape is not None and len(shape) == 2 else None


def _relative(history: RunHistory) -> tuple[float, str]:
    """The largest gradient over weight of any kernel before any update, and where."""
    first = history.first_step
    if first is None or first.step != 0:
        return 0.0, ""
    found = [
        (v.gradient.norm / v.weight.norm, v.path)
        for v in first.variables
        if v.gradient is not None and v.weight is not None and v.weight.norm > 0
    ]
    kernels = set(layered(tuple(path for _, path in found)))
    finite = [x for i, x in enumerate(found) if i in kernels and np.isfinite(x[0])]
    return max(finite, default=(0.0, ""))


def _over_depth(history: RunHistory, last: bool) -> float:
    """How many times larger outputs are at the end than at the start of the model.

    Args:
        history: the history.
        last: in the last step in which they were finite, not in the first one.
    """
    window: Window = history.whole("activation.std")
    rows = window.values[np.isfinite(window.values).all(axis=1)]
    if not len(rows) or len(window.places) < _LAYERS:
        return 0.0
    depth = trend(rows[-1 if last else 0])
    straight = depth.correlation > 0.7 and depth.layers >= _LAYERS
    return float(10.0 ** min(depth.decades, 300)) if straight else 0.0
