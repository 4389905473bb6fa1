"""Rules about the gradients: their size over depth and over time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.records import Fix
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.chance import of_classes
from keras_babysit.rules.evidence.kernels import (
    Trend,
    largest_ratio,
    layered,
    middle,
    smallness,
    trend,
)
from keras_babysit.rules.evidence.phrases import number, rate_fixes, try_rate
from keras_babysit.rules.evidence.progress import progress
from keras_babysit.rules.rule import Sign, rule

_SOURCE = (
    "CS231n, Neural Networks Part 3: Activation/Gradient distributions per layer; "
    "Glorot & Bengio (2010)"
)


#: Observed steps that gradients are looked at over: depth shows in every one.
_STEPS = 3


def relative_gradients(history: RunHistory) -> tuple[tuple[str, ...], np.ndarray]:
    """Gradient norm over weight norm of each kernel, median over observed steps.

    Returns:
        All variables, and the numbers of the kernels in order of depth. Both empty if
        there are fewer than two observed steps.
    """
    gradient = history.window("gradient.norm", _STEPS)
    weight = history.window("weight.norm", _STEPS)
    if len(gradient.steps) < 2 or len(gradient.steps) != len(weight.steps):
        return (), np.zeros(0)
    if gradient.places != weight.places:
        order = {p: i for i, p in enumerate(weight.places)}
        if not all(p in order for p in gradient.places):
            return (), np.zeros(0)
        values = weight.values[:, [order[p] for p in gradient.places]]
        weight = weight._replace(places=gradient.places, values=values)
    which = layered(gradient.places)
    g, w = gradient.values[:, which], weight.values[:, which]
    return gradient.places, middle(np.where(w > 0, g / w, np.nan))


def _decades(depth: Trend, layers: float, straight: float = 0.7) -> float:
    """Powers of ten over the depth if that is a trend, else 0."""
    enough = depth.layers >= layers and abs(depth.correlation) >= straight
    return depth.decades if enough else 0.0


@rule(
    kind="symptom: no signal",
    severity="warning",
    when=("step", "epoch", "end"),
    since=_SOURCE,
)
def vanishing_gradients(
    history: RunHistory,
    *,
    limit: float = 3e-3,
    layers: int = 5,
    faint: float = 1e-5,
    still: float = 3e-5,
) -> Iterator[Sign]:
    """The gradients die out on their way to the first layers.

    What it sees:
        The kernels' gradient norms, relative to their weights, fall towards the input:
        a line through their logarithms over depth, of at least `layers` kernels, drops
        to `limit` or less of the last layer's, while the model is stuck. Or changing
        any kernel by 1 % of itself would change the loss by less than `faint` of 1 %.
        The rule is silent if no step ever changed a kernel by more than `still`.

    Why it matters:
        The first layers stay random, and the last ones see noise.

    What to do:
        ReLU with He initialization instead of sigmoid or tanh; BatchNormalization or
        shortcut connections in deep models.

    When it is wrong:
        Sigmoids shrink gradients to a quarter each, so five in a row reach the limit;
        Adam can train that. While the model learns, the rule is silent.

    References:
        Glorot, Bengio, Understanding the difficulty of training deep feedforward
        neural networks (2010). He et al., Delving Deep into Rectifiers (2015).
        CS231n, Neural Networks Part 3, "Activation/Gradient distributions per layer".
    """
    p = progress(history)
    # What no kernel has moved from says nothing of the depth: the rate is too low.
    if not p.stuck(0.5) or largest_ratio(history) < still:
        return
    places, relative = relative_gradients(history)
    if not len(relative):
        return
    depth = trend(relative)
    decades = _decades(depth, layers)
    falls = limit > 0 and decades > -math.log10(limit)
    weak = not falls and p.stuck(0.1) and _sensitivity(history) < faint
    if not (falls or weak):
        return
    seen = (
        f"gradients shrink to {number(10**-decades)} from the last of "
        f"{depth.layers} kernels to the first, relative to the weights (above 1e-2 is "
        "healthy)"
        if falls
        else "no kernel's gradient is large enough to change the loss"
    )
    yield Sign(
        where=places[layered(places)[0]],
        seen=seen,
        cause="Likely saturating activations or too small initial weights in a deep "
        "model",
        action="use ReLU activations with he_normal kernels",
        alternatives=("BatchNormalization before the activations", "fewer layers"),
        evidence={"decades": decades, "kernels": depth.layers, "skill": p.skill},
        since=(0.0, 0.0) if falls else None,
        severity="error" if p.skill < 0.02 else None,
        fixes=_relu(history),
    )


def _relu(history: RunHistory) -> tuple[Fix, ...]:
    """ReLU in place of hidden layers that saturate, with kernels to match."""
    model = history.model
    outputs = {output.layer for output in model.outputs} if model is not None else set()
    layers = [
        layer.path
        for layer in (model.layers if model is not None else ())
        if layer.activation in ("sigmoid", "tanh", "hard_sigmoid", "softsign")
        and layer.path not in outputs
    ]
    relu = (fixes.activation(layers),) if layers else ()
    return (*relu, fixes.initializer((), "he_normal"))


def _sensitivity(history: RunHistory) -> float:
    """Relative change of the loss per relative change of its strongest kernel.

    ‖gradient‖ ‖weights‖ / loss has no unit: it is the same for scaled targets.
    """
    step = history.last_step
    if step is None or not step.loss or not math.isfinite(step.loss):
        return math.inf
    gradient = history.window("gradient.norm", _STEPS)
    weight = history.window("weight.norm", _STEPS)
    if gradient.places != weight.places or len(gradient.steps) != len(weight.steps):
        return math.inf
    which = layered(gradient.places)
    if len(which) < 2:
        return math.inf
    product = middle(gradient.values[:, which] * weight.values[:, which])
    found = product[np.isfinite(product)]
    strongest = float(found.max(initial=0.0))
    # Exactly zero is a dead or disconnected model, which other rules tell.
    return strongest / abs(step.loss) if strongest > 0 else math.inf


@rule(
    kind="symptom: unstable",
    severity="warning",
    when=("step", "epoch"),
    since=f"{_SOURCE}; Pascanu et al. (2013)",
    also=("loss-oscillating", "saturated-activation"),
)
def exploding_gradients(
    history: RunHistory,
    *,
    limit: float = 3e-3,
    layers: int = 5,
    times: float = 100.0,
    size: float = 1e3,
) -> Iterator[Sign]:
    """The gradients grow out of proportion, over depth or over time.

    What it sees:
        While the model is stuck: gradient norms relative to the weights that grow
        towards the input (a line through their logarithms over at least `layers`
        kernels, the last layer's being `limit` of the first's or less); or a global
        gradient norm that has stayed `times` above that of the start; or, with a
        cross-entropy, a median gradient of `size` times the weights: a plain step at a
        rate of 1/`size` would replace them.

    Why it matters:
        One step along such a gradient throws the weights far away.

    What to do:
        Clip the gradients' norm; He or Glorot initialization; normalization layers.

    When it is wrong:
        Adam does not depend on the size of gradients. While the model learns, the rule
        is silent.

    References:
        Pascanu, Mikolov, Bengio, On the difficulty of training RNNs (2013).
        Glorot, Bengio (2010).
    """
    p = progress(history)
    if not p.stuck(0.2):
        return
    _, relative = relative_gradients(history)
    if not len(relative):
        return
    decades = _decades(trend(relative), layers)
    grown = _grown(history)
    seen = ""
    if limit > 0 and decades < math.log10(limit):
        seen = f"gradients grow {number(10**-decades)}-fold towards the first layer"
    elif grown > times:
        seen = f"the gradient's norm has grown {number(grown)}-fold since the start"
    elif float(middle(relative)) > size and of_classes(history):
        seen = f"gradients are {number(float(middle(relative)))} times the weights"
    if seen:
        yield Sign(
            where="",
            seen=seen,
            cause=(
                "Likely the weights are too large, from initialization or from large "
                "steps"
            ),
            action="clip the gradients: clipnorm=1.0 in the optimizer",
            alternatives=(
                try_rate(history, 0.1),
                "he_normal or glorot_uniform kernels",
                "BatchNormalization",
            ),
            evidence={"decades": decades, "grown": grown, "skill": p.skill},
            fixes=(fixes.clip(), *rate_fixes(history, 0.1), fixes.initializer(())),
        )


def _grown(history: RunHistory) -> float:
    """Median global norm of the last five observed steps over the first one.

    0 if half of the kernels began near zero: gradients grow with them.
    """
    norms = history.values("gradient_norm")
    places = history.window("gradient.norm", 1).places
    small = smallness(history, [places[i] for i in layered(places)]) > 1
    if len(norms) < 6 or not norms[0] > 0 or (len(small) and small.mean() >= 0.5):
        return 0.0
    return float(middle(norms[-5:])) / float(norms[0])
