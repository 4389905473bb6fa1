"""Rules about the activations: dead, saturated, collapsing or exploding."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.records import Fix
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.growth import well_initialized
from keras_babysit.rules.evidence.kernels import Trend, middle, not_hidden, trend
from keras_babysit.rules.evidence.phrases import names, number, percent, rate_fixes
from keras_babysit.rules.evidence.progress import progress
from keras_babysit.rules.rule import Sign, rule

_SOURCE = "CS231n, Neural Networks Part 3: Activation/Gradient distributions per layer"
#: Kinds of layers that have a kernel; where the kinds are not known, all count.
_WITH_KERNEL = ("Dense", "EinsumDense", "Conv", "Depthwise", "Separable")


@rule(
    kind="symptom: no signal",
    severity="warning",
    when=("step", "epoch", "end"),
    since=f"{_SOURCE}; CS231n, Part 1: ReLU",
    also=("disconnected-layer", "vanishing-gradients"),
)
def dead_relu(
    history: RunHistory, *, limit: float = 0.9, patience: int = 3
) -> Iterator[Sign]:
    """The units of a ReLU layer are zero for all inputs.

    What it sees:
        A layer of which more than the share `limit` was zero for every sample of the
        last observed steps (`patience` at least, 20 at most), while the model is
        stuck. It is an error if all of its units are.

    Why it matters:
        A unit that is zero gets no gradient and stays zero. A whole layer of them cuts
        off all layers before it.

    What to do:
        Lower the learning rate: one large step is what usually kills them. Look for
        large negative biases and for inputs that are not scaled.

    When it is wrong:
        A ReLU with half of its units at zero is healthy, and rare features can look
        dead for a while. While the model learns, the rule is silent.

    References:
        CS231n, Neural Networks Part 1, "Commonly used activation functions".
        Lu et al., Dying ReLU and Initialization (2019).
    """
    p = progress(history)
    if not p.stuck(0.5):
        return
    window = history.window("dead_fraction", int(max(patience, 2)))
    if len(window.steps) < patience or not window.values.size:
        return
    dead = window.values.min(axis=0)
    if not (dead > limit).any():
        return
    at = np.flatnonzero(dead > limit)
    # The first one says why: what comes after it sees constants.
    first = int(at[0])
    whole = bool((dead[at] >= 1).any())
    places = [window.places[i] for i in at]
    yield Sign(
        where=places[0],
        seen=f"{percent(dead[first])} of the units are zero for every sample seen"
        + (f" (likewise {names(places[1:])})" if len(places) > 1 else ""),
        cause="Likely a step that was too large, or large negative biases",
        action=_revive(history),
        alternatives=("LeakyReLU or ELU", "BatchNormalization before the ReLU"),
        evidence={"dead_fraction": float(dead[first]), "layers": len(places)},
        since=(float(window.steps[0]), float(window.epochs[0])),
        severity="error" if whole and p.skill < 0.02 else None,
        fixes=(*rate_fixes(history, 0.1, 0.01), fixes.initializer((), "he_normal")),
    )


def _revive(history: RunHistory) -> str:
    """Start over; with what, depends on whether they were dead from the start."""
    place = history.window("dead_fraction", 1).places
    first = [history.values("dead_fraction", p)[:1] for p in place]
    born = any(len(v) and v[0] >= 1 for v in first)
    if born:
        return "initialize its bias with zeros and its kernel with he_normal"
    return "start over with a tenth of the learning rate"


@rule(
    kind="symptom: no signal",
    severity="warning",
    when=("step", "epoch", "end"),
    since=f"{_SOURCE}; Glorot & Bengio (2010)",
    also=("vanishing-gradients",),
)
def saturated_activation(
    history: RunHistory, *, limit: float = 0.9, patience: int = 3
) -> Iterator[Sign]:
    """A hidden sigmoid or tanh layer is at its limits for nearly all inputs.

    What it sees:
        A layer inside the model of whose outputs more than the share `limit` is within
        2.5 % of an asymptote, in the last `patience` observed steps, while the model
        is stuck. Output layers and softmax are left out.

    Why it matters:
        The slope there is nearly zero: no gradient passes.

    What to do:
        Scale the inputs; Glorot initialization; ReLU instead.

    When it is wrong:
        Gates are meant to be open or shut, and codes to be binary. While the model
        learns, the rule is silent.

    References:
        CS231n, Neural Networks Part 1, "Commonly used activation functions".
        Glorot, Bengio (2010), section 3.
    """
    if not progress(history).stuck(0.5):
        return
    window = history.window("saturation_fraction", int(max(patience, 2)))
    if len(window.steps) < patience or not window.values.size:
        return
    share = middle(window.values)
    at = [int(i) for i in np.flatnonzero(share > limit)]
    if not at:
        return
    outside = not_hidden(history)
    at = [i for i in at if window.places[i].split("@")[0] not in outside]
    if not at:
        return
    places = [window.places[i] for i in at]
    yield Sign(
        where=places[0] if len(places) == 1 else "",
        seen=f"{percent(share[at].max())} of the outputs of {names(places)} are "
        "saturated (below half is healthy)",
        cause="Likely its inputs or weights are too large",
        action="scale the inputs to mean 0 and standard deviation 1",
        alternatives=("glorot_uniform kernels", "ReLU activations"),
        evidence={"saturation": float(share[at].max()), "layers": len(places)},
        since=(float(window.steps[0]), float(window.epochs[0])),
        fixes=_scaled(history, places),
    )


def _scaled(history: RunHistory, places: list[str]) -> tuple[Fix, ...]:
    """Smaller inputs, smaller weights, or layers that cannot saturate."""
    inputs = history.data.inputs if history.data is not None else ()
    layers = dict.fromkeys(place.split("@")[0] for place in places)
    return (
        *(fixes.scale_inputs(x.name) for x in inputs if len(inputs) == 1),
        fixes.initializer(layers),
        fixes.activation(layers),
    )


def _trends(history: RunHistory) -> list[tuple[str, Trend]]:
    """The last hidden layer and the trend of the spread over depth: at first, lately.

    Training hides where it began: biases soon give every layer some spread.
    """
    window = history.window("activation.std", 3)
    first = history.first_step
    if len(window.steps) < 2 or first is None or not window.places:
        return []
    outside = not_hidden(history)
    kinds = {x.path: x.kind for x in history.model.layers} if history.model else {}
    at = [
        i
        for i, place in enumerate(window.places)
        if place not in outside and kinds.get(place, "Dense").startswith(_WITH_KERNEL)
    ]
    if not at:
        return []
    start = {x.path: x.activation.std for x in first.layers if x.activation}
    early = np.array([start.get(window.places[i], np.nan) for i in at])
    last = window.places[at[-1]]
    return [(last, trend(early)), (last, trend(middle(window.values[:, at])))]


@rule(
    kind="symptom: no signal",
    severity="warning",
    when=("step", "epoch", "end"),
    since=f"{_SOURCE}; He et al. (2015)",
    also=("dead-relu", "vanishing-gradients"),
)
def activations_collapsing(
    history: RunHistory, *, limit: float = 1e-2, layers: int = 4
) -> Iterator[Sign]:
    """The activations shrink to nothing over depth.

    What it sees:
        The standard deviations of the hidden layers' outputs fall from layer to layer,
        in the first observed step or the latest ones: a line through their logarithms
        over at least `layers` layers drops to `limit` or less, while the model is
        stuck.

    Why it matters:
        Information from the input is lost on the way, and gradients shrink just as
        much.

    What to do:
        He initialization for ReLU, Glorot for tanh; or normalization layers.

    When it is wrong:
        While the model learns, the rule is silent.

    References:
        He et al., Delving Deep into Rectifiers (2015), section 2.2.
        CS231n, Neural Networks Part 2, "Weight initialization".
    """
    if not progress(history).stuck(0.5):
        return
    for last, depth in _trends(history):
        factor = 10.0 ** max(depth.decades, -300)
        falls = depth.correlation < -0.8 and depth.layers >= layers
        if not falls or factor >= limit:
            continue
        how = f"shrink to {number(factor)}"
        yield _over_depth(last, depth, factor, how, "small")
        return


@rule(
    kind="symptom: unstable",
    severity="warning",
    when=("step", "epoch", "end"),
    since=f"{_SOURCE}; He et al. (2015)",
    also=(
        "exploding-gradients",
        "initial-loss-off-chance",
        "loss-oscillating",
        "saturated-activation",
    ),
)
def activations_exploding(
    history: RunHistory, *, limit: float = 100.0, layers: int = 4
) -> Iterator[Sign]:
    """The activations blow up over depth.

    What it sees:
        The standard deviations of the hidden layers' outputs grow from layer to layer,
        in the first observed step or the latest ones: a line through their logarithms
        over at least `layers` layers rises `limit`-fold or more, while the model is far
        from good and not getting better, or its loss is still three times that of a
        constant prediction.

    Why it matters:
        The outputs are huge and so are the loss and its gradients.

    What to do:
        He initialization for ReLU, Glorot for tanh; or normalization layers.

    When it is wrong:
        Residual streams grow with depth by design, but slowly. While the model learns,
        the rule is silent.

    References:
        He et al., Delving Deep into Rectifiers (2015), section 2.2.
        CS231n, Neural Networks Part 2, "Weight initialization".
    """
    p = progress(history)
    # An accuracy that grows does not make up for a loss that stays absurd.
    absurd = p.judged and len(p.losses) > 0 and p.losses[-1] > 3 * p.reference
    if not (p.stuck(0.8) or absurd):
        return
    for last, depth in _trends(history):
        factor = 10.0 ** min(depth.decades, 300)
        rises = depth.correlation > 0.8 and depth.layers >= layers
        if not rises or factor <= limit:
            continue
        how = f"grow {number(factor)}-fold"
        sign = _over_depth(last, depth, factor, how, "large")
        yield sign if not well_initialized(history) else _in_spite_of_it(sign)
        return


def _in_spite_of_it(sign: Sign) -> Sign:
    return dataclasses.replace(
        sign,
        cause="Likely each layer adds to the signal, or the steps are too large: the "
        "initial weights are sound",
        action="put LayerNormalization or BatchNormalization between the layers",
        alternatives=("a lower learning rate", "scale residual branches down"),
    )


def _over_depth(last: str, depth: Trend, factor: float, how: str, size: str) -> Sign:
    return Sign(
        where=last,
        seen=f"activations {how} over {depth.layers} layers (about 1 is healthy)",
        cause=f"Likely the initial weights are too {size}",
        action="initialize the kernels with he_normal (ReLU) or glorot_uniform",
        alternatives=("BatchNormalization or LayerNormalization",),
        evidence={"factor": factor, "layers": depth.layers},
        fixes=(fixes.initializer((), "he_normal"), fixes.initializer(())),
    )
