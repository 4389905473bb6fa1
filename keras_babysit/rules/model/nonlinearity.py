"""Rules about the activation functions between layers."""

from __future__ import annotations

from collections.abc import Iterator

from keras_babysit.facts import LayerFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.graph import (
    LINEAR,
    NORMALIZING,
    POOLING,
    WEIGHING,
    Network,
    family,
    kernel,
)
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="A product of matrices is a matrix",
    also=("learning-rate-too-low",),
    refutable=True,
)
def no_nonlinearity(history: RunHistory, *, wasted: int = 2) -> Iterator[Sign]:
    """Layers follow each other without an activation function in between.

    What it sees:
        At least `wasted` hidden Dense or Conv layers in a row, each feeding only the
        next, with nothing non-linear between them; or a single one if there is nothing
        non-linear in the whole model. Dropout, batch normalization, average pooling
        and reshaping are linear, max pooling and layer normalization are not.

    Why it matters:
        Linear maps in a row are one linear map: the extra layers add weights, but the
        model can represent nothing more.

    What to do:
        `activation="relu"` in hidden layers.

    When it is wrong:
        A layer narrower than both its neighbours is a bottleneck on purpose (low
        rank, a linear autoencoder) and left out; so are frozen layers, and a single
        linear layer before the output of a model that is non-linear elsewhere. You
        study deep linear networks.

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
            seen=f"no activation function after {names}"
            + (": the whole model is linear up to its output" if flat else ""),
            cause="Together with the next layer "
            f"{'it is' if len(run) == 1 else 'these are'} one linear map",
            action=f'use `activation="relu"` in {names}',
            alternatives=("leave them out: a linear model needs no hidden layers",),
            evidence={"layers": len(run), "whole_model": flat},
            fixes=(fixes.activation(layer.path for layer in run),),
        )


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
    kind="cause in the model",
    severity="warning",
    when="start",
    since="Softmax makes its units compete",
    refutable=True,
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
        output, are left out. Soft assignments to clusters are intended.

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
            fixes=(fixes.activation((layer.path,)),),
        )
