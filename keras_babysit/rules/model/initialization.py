"""Rules that read the layers, their weights and the optimizer before the first step.

Those about the output and its loss are in `outputs`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from keras_babysit.facts import LayerFacts, ModelFacts, OptimizerFacts, WeightFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.graph import (
    LINEAR,
    NORMALIZING,
    POOLING,
    WEIGHING,
    Network,
    family,
    is_dropout,
    kernel,
)
from keras_babysit.rules.evidence.tasks import (
    BINARY,
    CLASSES,
    NOTHING_LEARNED,
    Task,
    tasks,
)
from keras_babysit.rules.rule import Sign, rule

#: Initializers that go by the layer's size: there is nothing to say about those.
SCALING = frozenset(
    {
        "GlorotUniform",
        "GlorotNormal",
        "HeUniform",
        "HeNormal",
        "LecunUniform",
        "LecunNormal",
        "Orthogonal",
    }
)

#: More classes than this do not need a direction each.
MAX_RANK = 100

#: Optimizers that divide by the size of the gradient: each weight moves by about the
#: learning rate, however large or small its gradient is.
ADAPTIVE = frozenset({"Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Lion"})


@rule(
    severity="warning",
    when="start",
    since="A product of matrices is a matrix",
    symptoms=(
        "underfitting",
        "loss-flat",
        "loss-plateaued",
        "accuracy-at-majority",
        "learning-rate-too-low",
    ),
)
def no_nonlinearity(history: RunHistory, *, wasted: int = 2) -> Iterator[Sign]:
    """Layers follow each other without an activation function in between.

    What it sees:
        At least `wasted` hidden Dense or Conv layers in a row, each feeding only the
        next, with nothing non-linear between them; or a single one if there is nothing
        non-linear in the whole model. Dropout, batch normalization, average pooling
        and reshaping are linear, max pooling and layer normalization are not.

    Why it matters:
        Linear maps after one another are one linear map: the additional layers add
        weights, but the model can represent no more than without them.

    What to do:
        `activation="relu"` in hidden layers.

    When it is wrong:
        A layer narrower than both its neighbours is a bottleneck on purpose (low
        rank, a linear autoencoder) and left out; so are frozen layers, and a single
        linear layer before the output of a model that is non-linear elsewhere. A
        study of deep linear networks is what this describes.

    References:
        Goodfellow et al., Deep Learning, 6.1 (the XOR example).
    """
    model = history.model
    if model is None or not model.graph_known:
        return
    network = Network(model)
    runs = _linear_runs(network)
    flat = not any(_is_nonlinear(layer, network) for layer in model.layers)
    for run in runs:
        if len(run) < (1 if flat else wasted):
            continue
        names = ", ".join(layer.path for layer in run)
        yield Sign(
            where=run[0].path,
            seen=f"no activation function behind {names}"
            + (": the whole model is linear up to its output" if flat else ""),
            cause=f"Together with the next layer {_these(run)} one linear map",
            action=f'use `activation="relu"` in {names}',
            alternatives=("leave them out: a linear model needs no hidden layers",),
            evidence={"layers": len(run), "whole_model": flat},
        )


def _these(run: list[LayerFacts]) -> str:
    return "it is" if len(run) == 1 else "these are"


def _linear_runs(network: Network) -> list[list[LayerFacts]]:
    """Returns runs of hidden layers that feed the next one linearly."""
    follower = {}
    for layer in network.layers.values():
        behind = network.follower(layer) if _is_plain(layer, network) else None
        if behind is not None and not _is_bottleneck(layer, behind):
            follower[layer.path] = behind
    led = {behind.path for behind in follower.values()}
    runs = []
    for path in follower:
        if path in led:
            continue
        run: list[LayerFacts] = []
        one = path
        while one in follower and len(run) < len(follower):
            run.append(network.layers[one])
            one = follower[one].path
        runs.append(run)
    return runs


def _is_plain(layer: LayerFacts, network: Network) -> bool:
    return (
        family(layer) in WEIGHING
        and not layer.activation
        and layer.trainable
        and len(layer.inputs or ()) == 1
        and layer.path not in network.outputs
    )


def _is_bottleneck(layer: LayerFacts, behind: LayerFacts) -> bool:
    weights = kernel(layer)
    if weights is None or None in (layer.units, weights.fan_in, behind.units):
        return True  # What is not known is not accused.
    width = layer.units or 0
    return width < (weights.fan_in or 0) and width < (behind.units or 0)


def _is_nonlinear(layer: LayerFacts, network: Network) -> bool:
    if layer.path in network.outputs or network.is_output(layer):
        return family(layer) not in WEIGHING | LINEAR and not layer.activation
    return bool(layer.activation) or family(layer) not in WEIGHING | LINEAR


@rule(
    severity="warning",
    when="start",
    since="Softmax makes its units compete",
    symptoms=(
        *NOTHING_LEARNED,
        "activations-collapsing",
    ),
)
def softmax_in_hidden_layer(history: RunHistory) -> Iterator[Sign]:
    """A hidden layer's activation function is softmax.

    What it sees:
        A softmax over the units of a layer that feeds Dense, Conv or recurrent layers.

    Why it matters:
        Its outputs sum to 1: on average a unit passes on 1 / units, most of them
        next to nothing, and each unit's gain is another's loss. Signal and gradient
        shrink by about that factor at each such layer.

    What to do:
        `activation="relu"`; softmax belongs to the output.

    When it is wrong:
        Attention and gates multiply by a softmax: those, and layers that also are an
        output, are left out. Soft assignments to clusters are meant so.

    References:
        Goodfellow et al., Deep Learning, 6.2.2.3 and 6.3.
    """
    model = history.model
    if model is None or not model.graph_known:
        return
    network = Network(model)
    weighing = WEIGHING | {"LSTM", "GRU", "SimpleRNN", "Bidirectional"}
    for layer in model.layers:
        if layer.activation != "softmax" or layer.inputs is None or layer.units == 1:
            continue
        behind = list(network.next(layer, LINEAR | NORMALIZING | POOLING))
        hidden = behind and layer.path not in network.outputs
        if not hidden or any(family(one) not in weighing for one in behind):
            continue
        units = layer.units or 0
        share = f", on average {1 / units:.2g} each" if units else ""
        yield Sign(
            where=layer.path,
            seen=f"softmax in a hidden layer: its outputs sum to 1{share}",
            cause="Most of the signal and of the gradient is lost there",
            action='use `activation="relu"`',
            evidence={"units": units, "activation": "softmax"},
        )


@rule(
    severity="warning",
    when="start",
    since="Srivastava et al., Dropout, JMLR 2014: 0.5 for hidden units, 0.2 for inputs",
    symptoms=(
        "underfitting",
        "validation-better",
        "batch-loss-noisy",
        "loss-plateaued",
    ),
)
def dropout_too_high(
    history: RunHistory, *, limit: float = 0.8, none_left: float = 0.1
) -> Iterator[Sign]:
    """Dropout leaves hardly anything, or drops the predictions.

    What it sees:
        A rate of `limit` or more; so few units that all of them are dropped in more
        than `none_left` of the samples; dropout behind the output layer.

    Why it matters:
        The rate is the share that is dropped, not the one that is kept. What is left
        is scaled up to make good for it, so the noise grows with `1 / (1 - rate)`: at
        0.9 an output has three times the noise of its signal.

    What to do:
        0.2 to 0.5. `Dropout(0.8)` often means "keep 80 %": that is `Dropout(0.2)`.

    When it is wrong:
        Very wide layers stand high rates.

    References:
        Srivastava et al., Dropout: a simple way to prevent neural networks from
        overfitting, JMLR 2014, figure 9.
    """
    if history.model is None:
        return
    network = Network(history.model)
    for layer in history.model.layers:
        rate = layer.rate
        if rate is None or not 0 < rate <= 1 or not _drops(layer):
            continue
        lost = _all_lost(layer, network, rate)
        if history.model.graph_known and _drops_output(layer, network):
            yield _dropped_output(layer, rate)
        elif rate >= limit or lost > none_left:
            nothing = f", and all of them in {lost:.0%} of the samples"
            kept = round(1 - rate, 4)
            yield Sign(
                where=layer.path,
                seen=f"dropout drops {rate:.0%} of the values"
                + (nothing if lost > none_left else " (20 % to 50 % is usual)"),
                cause="Likely the share to keep was meant: `rate` is the share dropped"
                if rate >= limit and rate < 1
                else "Too little is left to learn from",
                action=f"use `Dropout({kept:g})`"
                if limit <= rate < 1
                else "use `Dropout(0.2)` or leave it out",
                alternatives=("more units if overfitting is the problem",),
                evidence={"rate": rate, "all_dropped": lost},
                severity="error" if rate == 1 else None,
            )


def _drops(layer: LayerFacts) -> bool:
    return is_dropout(layer) or layer.kind in ("LSTM", "GRU", "SimpleRNN")


def _all_lost(layer: LayerFacts, network: Network, rate: float) -> float:
    """Returns the share of samples of which everything is dropped."""
    if not is_dropout(layer):
        return 0.0
    shape = layer.output_shape
    if "Spatial" in layer.kind:
        shape = shape[-1:] if shape else None
    if not shape or any(n is None for n in shape):
        return 0.0
    return rate ** math.prod(n for n in shape if n is not None)


def _drops_output(layer: LayerFacts, network: Network) -> bool:
    fed = network.fed.get(layer.path, [])
    return is_dropout(layer) and layer.inputs is not None and not fed


def _dropped_output(layer: LayerFacts, rate: float) -> Sign:
    return Sign(
        where=layer.path,
        seen=f"dropout behind the output layer drops {rate:.0%} of the predictions",
        cause="Predictions that are set to 0 have to be wrong",
        action="leave this dropout layer out",
        alternatives=("put it before the last Dense layer",),
        evidence={"rate": rate},
    )


@rule(
    severity="warning",
    when="start",
    since="The penalty of weights that can fit must not outweigh what fitting gains",
    symptoms=(
        "underfitting",
        "loss-flat",
        "loss-plateaued",
        "accuracy-at-majority",
        "initial-loss-off-chance",
        "activations-collapsing",
        "vanishing-gradients",
        "learning-rate-too-low",
    ),
)
def regularization_too_strong(
    history: RunHistory, *, limit: float = 0.4, decay: float = 1.0
) -> Iterator[Sign]:
    """The penalty on the weights outweighs the loss on the data.

    What it sees:
        L1 or L2 strengths at which the smallest weights that could tell the classes
        apart would cost more than `limit` times what the data loss can fall by; or a
        weight decay of `decay` or more.

    Why it matters:
        To pass on a signal of `r` dimensions a layer needs `r` directions of gain
        about 1, which cost about `r` times the L2 strength (with L1 that times the
        square root of the inputs). `r` is the number of classes, the gain at most
        log(classes). If it costs more than it gains, the best weights are zeros, and
        the loss settles at chance.

    What to do:
        L2 of 1e-4 to 1e-3.

    When it is wrong:
        Outputs that need fewer directions than this, as a sparse linear model. On
        digits and on two classes, networks of 2 to 4 layers lost little at a ratio of
        0.3, much at 0.5, and collapsed at 0.9 at the latest. Layers in front of a
        normalization are left out: there the size of the weights does not matter.

    References:
        CS231n, Setting up the data and the model: regularization.
    """
    model = history.model
    if model is None:
        return
    gain, rank = _what_fitting_gains(tasks(history))
    network = Network(model)
    cost = {
        x.path: _cost(x, rank)
        for x in model.layers
        # Behind a normalization weights can shrink at no loss.
        if x.regularizers and not _is_normalized(x, network)
    }
    total = sum(cost.values())
    if gain and math.isfinite(total) and total > limit * gain:
        worst = max(cost, key=lambda path: cost[path])
        strengths = next(x.regularizers for x in model.layers if x.path == worst)
        name, strength = max(strengths.items(), key=lambda item: item[1])
        norm = name.rpartition(" ")[2].upper()
        fitting = _rounded(strength * 0.1 * limit * gain / total)
        yield Sign(
            where=worst,
            seen=f"{norm} strength {strength:g}, penalties of "
            f"{model.regularization_loss:.3g} at the start; weights that fit would "
            f"cost about {total:.2g}, and the loss can fall by {gain:.2g}",
            cause="Likely the penalty keeps the weights near zero",
            action=f"use `keras.regularizers.{norm}({fitting:g})`",
            alternatives=("dropout against overfitting instead",),
            evidence={"cost": total, "gain": gain, "strength": strength},
        )
    optimizer = model.optimizer
    if optimizer is not None and optimizer.weight_decay >= decay:
        yield Sign(
            where="",
            seen=f"a weight decay of {optimizer.weight_decay:g} (1e-4 to 0.1 is usual)",
            cause="Likely it keeps the weights near zero",
            action=f"use `keras.optimizers.{optimizer.name}(weight_decay=1e-3)`",
            evidence={"weight_decay": optimizer.weight_decay},
        )


def _what_fitting_gains(known: list[Task]) -> tuple[float, int]:
    """Returns by how much the loss can fall from chance, and the rank that needs."""
    gain, rank = 0.0, 1
    for task in known:
        if not task.loss.standard:
            return 0.0, 1
        each, needs = _gain(task)
        gain += each * abs(task.output.loss_weight)
        rank = max(rank, needs)
    return (gain, rank) if math.isfinite(gain) else (0.0, 1)


def _gain(task: Task) -> tuple[float, int]:
    name, units = task.loss.name, task.units or 1
    if name in BINARY:
        return math.log(2), 1
    if name in CLASSES and units > 1:
        return math.log(units), min(units, MAX_RANK)
    std = task.target.std if task.target is not None else math.nan
    if task.regression and task.target is not None:
        squared = name == "mean_squared_error"
        return (std**2 if squared else std), 1
    return math.nan, 1


def _cost(layer: LayerFacts, rank: int) -> float:
    """Returns what weights would cost that pass on a signal of so many dimensions."""
    if not layer.trainable:
        return 0.0
    return sum(
        _cost_of(weight, layer, rank)
        for weight in layer.weights
        if weight.role in ("kernel", "recurrent_kernel") and weight.fan_in
    )


def _cost_of(weight: WeightFacts, layer: LayerFacts, rank: int) -> float:
    fan_in = weight.fan_in or 1
    width = min(rank, layer.units or rank, fan_in)
    name = weight.role.removesuffix("_kernel")
    l2 = layer.regularizers.get(f"{name} l2", 0.0)
    # Dense weights; sparse ones would cost less, but are not found from these.
    l1 = 0.6 * layer.regularizers.get(f"{name} l1", 0.0) * math.sqrt(fan_in)
    return width * (l1 + l2)


def _rounded(value: float) -> float:
    return 10.0 ** math.floor(math.log10(value)) if value > 0 else 0.0


@rule(
    severity="warning",
    when="start",
    since="CS231n, Weight initialization: pitfall, all zero initialization",
    symptoms=(
        *NOTHING_LEARNED,
        "dead-relu",
        "activations-collapsing",
        "activations-exploding",
    ),
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
    """Weights begin all alike, or far too large or small for the layer's inputs.

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
        Units that begin alike get the same gradient and stay alike: the layer is as
        good as one unit. A spread that is off multiplies from layer to layer:
        activations and gradients vanish or explode with depth.

    What to do:
        Keras's default, `glorot_uniform`, or `he_normal` with ReLU.

    When it is wrong:
        Output layers, residual branches that end in zeros, frozen layers and layers
        in front of a normalization are left out, as that is sound practice.

    References:
        CS231n, Neural networks part 2. Glorot and Bengio 2010. He et al. 2015.
    """
    model = history.model
    if model is None:
        return
    network = Network(model)
    weighing = [x for x in model.layers if kernel(x) is not None]
    hidden = [x for x in weighing if _is_judged(x, weighing[-1], network)]
    found = (
        _not_finite(model)
        or _alike(hidden, network)
        or _off_scale(
            [x for x in hidden if not _is_normalized(x, network)],
            (too_large, too_large_together),
            too_small_adaptive if _is_adaptive(model.optimizer) else too_small,
        )
        or _explodes_in_time(network, too_large_over_time)
    )
    if found is not None:
        yield found


def _is_judged(layer: LayerFacts, last: LayerFacts, network: Network) -> bool:
    weights = kernel(layer)
    if weights is None or not weights.trainable:
        return False
    # Where the graph is not known, what comes last may be the output.
    hidden = layer is not last if layer.inputs is None else None
    return not network.is_output(layer) if hidden is None else hidden


def _is_adaptive(optimizer: OptimizerFacts | None) -> bool:
    return optimizer is None or optimizer.name in ADAPTIVE


def _is_normalized(layer: LayerFacts, network: Network) -> bool:
    if layer.inputs is None:  # Such a layer may stand anywhere.
        return any(family(x) in NORMALIZING for x in network.layers.values())
    return any(
        family(x) in NORMALIZING for x in network.next(layer, LINEAR - NORMALIZING)
    )


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
                action="build the model anew, or load weights that are finite",
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
        else "Its units put out 0 and pass on no gradient: they stay alike",
        action='use `kernel_initializer="glorot_uniform"`, which is the default',
        alternatives=('`kernel_initializer="he_normal"` with ReLU',),
        evidence={"value": value, "layers": len(named)},
        severity="error" if stuck else "warning",
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
    layers: list[LayerFacts], large: tuple[float, float], small: float
) -> Sign | None:
    """The layers whose weights are far larger or smaller than their fans suggest."""
    factors = {x.path: _factor(x) for x in layers}
    above = {p: f for p, f in factors.items() if f > 1}
    below = {p: f for p, f in factors.items() if f < 1}
    together = math.prod(above.values())
    if above and (max(above.values()) >= large[0] or together >= large[1]):
        return _scale_sign(layers, above, "large", together)
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
    )


@rule(
    severity="warning",
    when="start",
    since="Keras's guide to transfer learning",
    symptoms=(
        "underfitting",
        "loss-plateaued",
        "noisy-first-layer",
        "accuracy-at-majority",
    ),
)
def frozen_untrained_layer(history: RunHistory) -> Iterator[Sign]:
    """A layer is frozen, but its weights are still random.

    What it sees:
        Frozen layers whose kernels or embeddings look drawn from their random
        initializer, while other layers train, and no frozen layer has a weight that
        surely is not as it was initialized, as a bias that is not zero.

    Why it matters:
        A frozen layer keeps what it has. If that is noise, for example because a
        pretrained model was made with `weights=None`, the layers behind it have to
        make do with random features.

    What to do:
        Load weights before freezing, or let it train.

    When it is wrong:
        Random features, reservoirs and hashing projections are frozen on purpose.
        Weights that were trained very little can look random still.

    References:
        Keras guide, Transfer learning and fine-tuning.
    """
    model = history.model
    if model is None or not model.trainable_parameters:
        return
    frozen = [x for x in model.layers if not x.trainable]
    random = [x for x in frozen if _is_random(x)]
    # A bias or a moving mean that has left its start shows that it was trained.
    if not random or any(_was_trained(x) for x in frozen):
        return
    others = f" and {len(random) - 1} more" if len(random) > 1 else ""
    yield Sign(
        where=random[0].path,
        seen=f"frozen, but its weights{_of(others)} are as random as at the start",
        cause="Likely pretrained weights were meant to be loaded",
        action="load weights first, or set `trainable = True` before `compile`",
        alternatives=("keep it if random features are what you want",),
        evidence={"layers": len(random)},
    )


def _of(others: str) -> str:
    return f" (and those of{others.removeprefix(' and')} layers)" if others else ""


def _is_random(layer: LayerFacts) -> bool:
    """Whether a kernel or an embedding looks drawn from a random initializer."""
    fixed = ("Zeros", "Ones", "Constant", "Identity")
    return any(
        w.as_initialized and w.initializer not in fixed
        for w in layer.weights
        if "kernel" in w.role or "embeddings" in w.role
    )


def _was_trained(layer: LayerFacts) -> bool:
    # What a preprocessing layer was adapted to says nothing about the others.
    return layer.kind != "Normalization" and any(
        w.as_initialized is False for w in layer.weights
    )


@rule(
    severity="error",
    when="start",
    since="Keras's guide to transfer learning",
    symptoms=(*NOTHING_LEARNED, "dead-relu", "frozen-untrained-layer"),
)
def no_trainable_weights(history: RunHistory) -> Iterator[Sign]:
    """Nothing in the model can be trained.

    What it sees:
        A model without a single trainable weight.

    Why it matters:
        Training goes through the data and changes nothing.

    What to do:
        Set `trainable = True` on the layers that should learn, or put a new head on
        the frozen model; then `compile` again.

    When it is wrong:
        A custom training step may train other weights: then nothing is said.

    References:
        Keras guide, Transfer learning and fine-tuning.
    """
    model = history.model
    if model is None or model.custom_train_step or model.trainable_parameters:
        return
    if not model.layers:
        return
    frozen = f"all {model.parameters} are frozen" if model.parameters else "it has none"
    yield Sign(
        where="",
        seen=f"no trainable weights: {frozen}",
        cause="Training cannot change anything",
        action="set `model.trainable = True` and call `compile` again"
        if model.parameters
        else "add a layer with weights",
        alternatives=("a new trainable head on top of the frozen layers",),
        evidence={"parameters": model.parameters},
    )


@rule(
    severity="warning",
    when="start",
    since="Wu and He, Group normalization, ECCV 2018",
    symptoms=(
        "batch-loss-noisy",
        "loss-oscillating",
        "underfitting",
        "loss-flat",
        "loss-plateaued",
        "vanishing-gradients",
        "activations-collapsing",
    ),
)
def batchnorm_small_batch(history: RunHistory, *, enough: int = 64) -> Iterator[Sign]:
    """Batch normalization takes its statistics over one or two samples.

    What it sees:
        A trained BatchNormalization layer and batches of one or two samples. Over
        images and sequences all positions count: `enough` of them make it only
        information.

    Why it matters:
        Over one value the mean is the value: what is left is 0, whatever comes in.
        Over two it is plus or minus one. The statistics used at inference are others,
        so validation differs from training.

    What to do:
        Batches of 16 or more, or `LayerNormalization`, which looks at one sample.

    When it is wrong:
        Large images with small batches often train well.

    References:
        Wu and He, Group normalization, ECCV 2018, figure 1.
    """
    model, data = history.model, history.data
    size = data.batch_size if data is not None else None
    if model is None or not size or not 0 < size <= 2:
        return
    layers = [x for x in model.layers if _is_trained_norm(x)]
    if not layers:
        return
    layer = min(layers, key=lambda x: _positions(x))
    seen = size * _positions(layer)
    yield Sign(
        where=layer.path,
        seen=f"batch normalization over {_count(int(seen), 'value')} a channel: "
        f"batches have {_count(size, 'sample')}",
        cause="Its output is 0 whatever comes in"
        if seen == 1
        else "Mean and variance of so few values are mostly noise",
        action="use `batch_size=32`",
        alternatives=("`LayerNormalization()` in its place",),
        evidence={"batch_size": size, "values": seen},
        severity="error" if seen == 1 else "info" if seen >= enough else None,
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _is_trained_norm(layer: LayerFacts) -> bool:
    return layer.kind == "BatchNormalization" and layer.trainable


def _positions(layer: LayerFacts) -> float:
    """Returns over how many positions of a sample a channel's statistics go."""
    shape = layer.output_shape
    if shape is None:
        return 1
    return math.prod(64 if n is None else n for n in shape[:-1])


@rule(
    severity="warning",
    when="start",
    since="Kingma and Ba, Adam, ICLR 2015: a step is at most about the rate",
    symptoms=(*NOTHING_LEARNED, "dead-relu", "activations-exploding"),
)
def learning_rate_extreme(
    history: RunHistory,
    *,
    high_adaptive: float = 0.3,
    high: float = 10.0,
    low: float = 1e-8,
) -> Iterator[Sign]:
    """The learning rate is far from any that could work.

    What it sees:
        `high_adaptive` or more with Adam and its kind, `high` or more with others, in
        a model with hidden layers; `low` or less; zero or a negative one.

    Why it matters:
        Adam moves each weight by about the rate in each step: weights are about 0.1 in
        size, so 0.3 throws them all away at once, and 1e-8 needs millions of steps
        to matter. A negative rate climbs.

    What to do:
        Adam 1e-3, SGD 1e-2 to begin with.

    When it is wrong:
        Linear models stand large rates and get only information. Rates that a
        schedule or a callback changes may begin low on purpose; once training shows
        another rate than this, that one counts.

    References:
        Kingma and Ba, Adam, section 2.1. CS231n, Neural networks part 3.
    """
    model = history.model
    optimizer = model.optimizer if model is not None else None
    if model is None or optimizer is None or model.custom_train_step:
        return
    rate, usual = optimizer.learning_rate, _usual_rate(optimizer)
    used = [v for v in history.values("learning_rate") if math.isfinite(v)]
    lowest = max([rate, *used])
    top = high_adaptive if optimizer.name in ADAPTIVE else high
    if optimizer.name == "Adadelta":
        top = 100 * high  # Its own rate is 1.
    how = f"`keras.optimizers.{optimizer.name}(learning_rate={usual:g})`"
    if rate < 0:
        yield _rate_sign(rate, optimizer, "it climbs", how, "error")
    elif rate >= top:
        deep = sum(kernel(x) is not None for x in model.layers) > 1
        why = "each step throws away what the weights have learned"
        yield _rate_sign(rate, optimizer, why, how, "error" if deep else "info")
    elif lowest <= low and not optimizer.scheduled:
        yield _rate_sign(rate, optimizer, "the weights will hardly move", how, None)


def _usual_rate(optimizer: OptimizerFacts) -> float:
    return {"SGD": 1e-2, "Adagrad": 1e-2, "Adadelta": 1.0, "Lion": 1e-4}.get(
        optimizer.name, 1e-3
    )


def _rate_sign(
    rate: float, optimizer: OptimizerFacts, why: str, how: str, severity: str | None
) -> Sign:
    return Sign(
        where="",
        seen=f"a learning rate of {rate:g} with {optimizer.name} "
        f"({_usual_rate(optimizer):g} is usual)",
        cause=f"Likely {why}",
        action=f"use {how}",
        evidence={"learning_rate": rate, "optimizer": optimizer.name},
        severity=severity,
    )
