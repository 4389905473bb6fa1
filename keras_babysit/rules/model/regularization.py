"""Rules about dropout, penalties on the weights, and weight decay."""

from __future__ import annotations

import math
from collections.abc import Iterator

from keras_babysit.facts import LayerFacts, WeightFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.catalogue import BINARY, CLASSES
from keras_babysit.rules.evidence.graph import Network, is_dropout
from keras_babysit.rules.evidence.tasks import Task, tasks
from keras_babysit.rules.rule import Sign, rule

#: More classes than this do not need a direction each.
MAX_RANK = 100


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="Srivastava et al., Dropout, JMLR 2014: 0.5 for hidden units, 0.2 for inputs",
    refutable=True,
)
def dropout_too_high(
    history: RunHistory, *, limit: float = 0.8, none_left: float = 0.1
) -> Iterator[Sign]:
    """Dropout leaves almost nothing, or drops the predictions.

    What it sees:
        A rate of `limit` or more; so few units that all of them are dropped in more
        than `none_left` of the samples; dropout behind the output layer.

    Why it matters:
        The rate is the share that is dropped, not the share that is kept. What is left
        is scaled up to compensate, so the noise grows with `1 / (1 - rate)`: at 0.9 an
        output has three times the noise of its signal.

    What to do:
        0.2 to 0.5. `Dropout(0.8)` often means "keep 80 %": that is `Dropout(0.2)`.

    When it is wrong:
        Very wide layers tolerate high rates.

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
                fixes=(
                    fixes.dropout((layer.path,), kept if limit <= rate < 1 else 0.2),
                ),
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
        fixes=(fixes.dropout((layer.path,), 0.0),),
    )


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="The penalty of weights that can fit must not outweigh what fitting gains",
    also=(
        "activations-collapsing",
        "initial-loss-off-chance",
        "learning-rate-too-low",
        "vanishing-gradients",
    ),
    refutable=True,
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
        Use an L2 strength of 1e-4 to 1e-3.

    When it is wrong:
        The output needs fewer directions than this, as in a sparse linear model. On
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
        if x.regularizers and not network.is_normalized(x)
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
            fixes=(fixes.no_penalty(),),
        )
    optimizer = model.optimizer
    if optimizer is not None and optimizer.weight_decay >= decay:
        yield Sign(
            where="",
            seen=f"a weight decay of {optimizer.weight_decay:g} (1e-4 to 0.1 is usual)",
            cause="Likely it keeps the weights near zero",
            action=f"use `keras.optimizers.{optimizer.name}(weight_decay=1e-3)`",
            evidence={"weight_decay": optimizer.weight_decay},
            fixes=(fixes.no_penalty(),),
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
