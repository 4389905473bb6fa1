"""Rules about the weights before the first step."""

from __future__ import annotations

import math
from collections.abc import Iterator

from keras_babysit.facts import LayerFacts, ModelFacts, WeightFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.catalogue import ADAPTIVE, SCALING
from keras_babysit.rules.evidence.graph import (
    LINEAR,
    NORMALIZING,
    POOLING,
    Network,
    kernel,
)
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the model",
    severity="warning",
    when="start",
    since="CS231n, Weight initialization: pitfall, all zero initialization",
    refutable=True,
)
def bad_initialization(
    history: RunHistory,
    *,
    too_large: float = 5.0,
    too_large_together: float = 50.0,
    too_small: float = 1e-2,
    too_small_adaptive: float = 5e-4,
    too_large_over_time: float = 1e3,
) -> Iterator[Sign]:
    """The initial weights are all alike, or far too large or small for the inputs.

    What it sees:
        Hidden kernels that are constant: an error where nothing breaks the symmetry
        (zeros before a ReLU, or the layers behind constant too). Hidden kernels whose
        spread is `too_large` times what their inputs and outputs suggest (the
        product over layers `too_large_together` times), or together below
        `too_small` of it (`too_small_adaptive` for optimizers that divide by the
        gradient's size). A recurrent kernel without a squashing function whose
        powers grow `too_large_over_time` times over a sequence. Weights that are not
        finite.

    Why it matters:
        Units that start alike get the same gradient and stay alike: the layer is worth
        one unit. A spread that is off multiplies from layer to layer: activations and
        gradients vanish or explode with depth.

    What to do:
        Use Keras's default, `glorot_uniform`, or `he_normal` with ReLU.

    When it is wrong:
        Output layers, residual branches that end in zeros or begin small, frozen layers
        and layers in front of a normalization are left out, as that is sound practice.

    References:
        CS231n, Neural networks part 2. Glorot and Bengio 2010. He et al. 2015.
    """
    model = history.model
    if model is None:
        return
    network, optimizer = Network(model), model.optimizer
    adaptive = optimizer is None or optimizer.name in ADAPTIVE
    weighing = [x for x in model.layers if kernel(x) is not None]
    hidden = [x for x in weighing if _is_judged(x, weighing[-1], network)]
    found = (
        _not_finite(model)
        or _alike(hidden, network)
        or _off_scale(
            [x for x in hidden if not network.is_normalized(x)],
            network,
            (too_large, too_large_together),
            too_small_adaptive if adaptive else too_small,
        )
        or _explodes_in_time(network, too_large_over_time)
    )
    if found is not None:
        yield found


@rule(
    kind="cause in the data",
    severity="warning",
    when="start",
    since="Keras's guide: Working with preprocessing layers, adapt",
    also=("inputs-not-scaled",),
    refutable=True,
)
def normalization_not_adapted(history: RunHistory) -> Iterator[Sign]:
    """A Normalization layer has never seen any data.

    What it sees:
        A Normalization layer whose mean is 0 and whose variance is 1 throughout.

    Why it matters:
        It passes the inputs on unchanged.

    What to do:
        Call `layer.adapt(x)` on the training data before the model is compiled.

    When it is wrong:
        The inputs have mean 0 and deviation 1 anyway.

    References:
        Keras guide, Working with preprocessing layers.
    """
    for layer in history.model.layers if history.model is not None else ():
        found = {w.role: w for w in layer.weights}
        mean, variance = found.get("mean"), found.get("variance")
        if layer.kind != "Normalization" or mean is None or variance is None:
            continue
        if (mean.min, mean.max, variance.min, variance.max) != (0, 0, 1, 1):
            continue
        if not _are_off(history):
            continue
        yield Sign(
            where=layer.path,
            seen="its mean is 0 and its variance 1: it changes nothing",
            cause="It was not adapted to the data",
            action="call `adapt(x)` on it with the training data, before training",
            evidence={"mean": mean.mean, "variance": variance.mean},
            fixes=(fixes.adapt(layer.path),),
        )


def _are_off(history: RunHistory) -> bool:
    """Whether any input is far from mean 0 and deviation 1."""
    inputs = history.data.inputs if history.data is not None else ()
    return any(abs(x.mean) > 1 or not 0.2 < x.std < 5 for x in inputs)


def _is_judged(layer: LayerFacts, last: LayerFacts, network: Network) -> bool:
    weights = kernel(layer)
    if weights is None or not weights.trainable:
        return False
    # Where the graph is not known, what comes last may be the output.
    hidden = layer is not last if layer.inputs is None else None
    return not network.is_output(layer) if hidden is None else hidden


def _not_finite(model: ModelFacts) -> Sign | None:
    for layer in model.layers:
        for weight in layer.weights:
            if not weight.shape or math.isfinite(weight.mean):
                continue
            if 0 in weight.shape:
                continue
            return Sign(
                where=weight.path,
                seen="weights that are NaN or infinite before the first step",
                cause="Likely they come from a run that diverged",
                action="build the model again, or load finite weights",
                evidence={"mean": weight.mean},
                severity="error",
            )
    return None


def _alike(hidden: list[LayerFacts], network: Network) -> Sign | None:
    """The hidden layers whose units all begin alike, if that stays so."""
    alike = [x for x in hidden if _is_constant(x) and (x.units or 0) > 1]
    stuck = [x for x in alike if _stays_alike(x, network)]
    loud = [x for x in alike if x not in stuck and _value(x) != 0]
    named = stuck or loud
    if not named:
        return None
    paths = ", ".join(x.path for x in named)
    value = _value(named[0])
    return Sign(
        where=named[0].path,
        seen=f"all weights of {paths} begin as {value:g}",
        cause="Units that begin alike get the same gradient and stay alike"
        if value
        else "Its units output 0 and pass on no gradient: they stay alike",
        action='use `kernel_initializer="glorot_uniform"`, which is the default',
        alternatives=('`kernel_initializer="he_normal"` with ReLU',),
        evidence={"value": value, "layers": len(named)},
        severity="error" if stuck else "warning",
        fixes=(
            fixes.initializer(x.path for x in named),
            fixes.initializer((), "he_normal"),
        ),
    )


def _is_constant(layer: LayerFacts) -> bool:
    weights = kernel(layer)
    return (
        weights is not None
        and math.prod(weights.shape) > 1
        and weights.min == weights.max
    )


def _value(layer: LayerFacts) -> float:
    weights = kernel(layer)
    return weights.mean if weights is not None else math.nan


def _stays_alike(layer: LayerFacts, network: Network) -> bool:
    """Whether nothing behind a constant layer breaks its units' symmetry."""
    biased = any(w.role == "bias" and w.std > 0 for w in layer.weights)
    if biased or layer.inputs is None:
        return False
    function = network.function(layer)
    # At exactly 0 the gradient of a ReLU is 0.
    if _value(layer) == 0 and function in ("relu", "relu6"):
        return True
    through = LINEAR | NORMALIZING | POOLING | {"ReLU", "LeakyReLU", "ELU", "Softmax"}
    behind = list(network.next(layer, through, blank=False))
    return bool(behind) and all(_is_constant(x) for x in behind)


def _off_scale(
    layers: list[LayerFacts],
    network: Network,
    large: tuple[float, float],
    small: float,
) -> Sign | None:
    """The layers whose weights are far larger or smaller than their fans suggest."""
    factors = {x.path: _factor(x) for x in layers}
    above = {p: f for p, f in factors.items() if f > 1}
    below = {p: f for p, f in factors.items() if f < 1}
    together = math.prod(above.values())
    if above and (max(above.values()) >= large[0] or together >= large[1]):
        return _scale_sign(layers, above, "large", together)
    if math.prod(below.values()) <= small:
        # What bypasses a layer does not vanish with it.
        below = {
            x.path: below[x.path]
            for x in layers
            if x.path in below and not network.is_bypassed(x, closed=below)
        }
    if below and math.prod(below.values()) <= small:
        return _scale_sign(layers, below, "small", math.prod(below.values()))
    return None


def _factor(layer: LayerFacts) -> float:
    """Returns how far a kernel's spread is off the usual initializers' range."""
    weights = kernel(layer)
    if weights is None or not weights.fan_in or not weights.fan_out:
        return 1.0
    size = math.hypot(weights.mean, weights.std)
    # Weights that were loaded have found their own scale.
    if weights.as_initialized is False or not size > 0 or weights.std == 0:
        return 1.0
    if weights.initializer in SCALING and weights.as_initialized is not False:
        return 1.0
    low, high = _usual_spread(weights)
    if size > high:
        return size / high
    return size / low if size < low else 1.0


def _usual_spread(weights: WeightFacts) -> tuple[float, float]:
    """Returns the least and the largest spread that a usual initializer gives."""
    fans = [weights.fan_in or 1]
    if weights.initializer == "VarianceScaling":  # It may go by the outputs.
        fans.append(weights.fan_out or 1)
    glorot = math.sqrt(2 / ((weights.fan_in or 1) + (weights.fan_out or 1)))
    low = min(glorot, *(1 / math.sqrt(fan) for fan in fans))
    return low, max(glorot, *(math.sqrt(2 / fan) for fan in fans))


def _explodes_in_time(network: Network, limit: float) -> Sign | None:
    """A recurrent layer whose state grows with every step."""
    for layer in network.layers.values():
        weight = next((w for w in layer.weights if w.role == "recurrent_kernel"), None)
        if layer.kind != "SimpleRNN" or weight is None or not weight.trainable:
            continue
        steps = _steps(layer, network)
        if layer.activation not in ("relu", None) or not steps or not layer.units:
            continue
        radius = math.hypot(weight.mean, weight.std) * math.sqrt(layer.units)
        # A ReLU lets half of the squares through.
        gain = radius / math.sqrt(2) if layer.activation else radius
        if not gain > 1 or steps * math.log(gain) < math.log(limit):
            continue
        return Sign(
            where=layer.path,
            seen=f"recurrent weights with a spread of {weight.std:.2g} multiply the "
            f"state by about {gain:.2g} in each of {steps} steps",
            cause="Likely activations and gradients explode with time",
            action='use `recurrent_initializer="orthogonal"`, which is the default',
            alternatives=('`LSTM` or `GRU`, or `activation="tanh"`',),
            evidence={"std": weight.std, "gain": gain, "steps": steps},
            fixes=(fixes.initializer((layer.path,)),),
        )
    return None


def _steps(layer: LayerFacts, network: Network) -> int | None:
    """Returns how long the sequences are that a recurrent layer gets."""
    feeding = network.layers.get(next(iter(layer.inputs or ()), ""))
    shape = feeding.output_shape if feeding is not None else None
    return shape[0] if shape and len(shape) > 1 else None


def _scale_sign(
    layers: list[LayerFacts], factors: dict[str, float], how: str, together: float
) -> Sign:
    pick = max if how == "large" else min
    path = pick(factors, key=lambda p: factors[p])
    layer = next(x for x in layers if x.path == path)
    weights = kernel(layer)
    assert weights is not None
    usual = weights.std / factors[path]
    times = factors[path] if how == "large" else 1 / factors[path]
    also = f", {together:.2g} over {len(factors)} layers" if len(factors) > 1 else ""
    effect = "explode and saturate" if how == "large" else "vanish"
    return Sign(
        where=path,
        seen=f"weights with a spread of {weights.std:.2g}, {times:.2g} times too {how} "
        f"for {weights.fan_in} inputs (about {usual:.2g} is usual){also}",
        cause=f"Likely activations and gradients {effect} with depth",
        action='use `kernel_initializer="he_normal"`'
        if layer.activation == "relu"
        else 'use `kernel_initializer="glorot_uniform"`, which is the default',
        evidence={
            "std": weights.std,
            "usual": usual,
            "factor": factors[path],
            "together": together,
        },
        fixes=(fixes.initializer(factors, "he_normal"), fixes.initializer(factors)),
    )
