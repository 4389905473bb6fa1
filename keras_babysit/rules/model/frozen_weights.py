"""Rules about weights that are frozen."""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np

from keras_babysit.facts import LayerFacts, WeightFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.phrases import count, names, number
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="Keras's guide to transfer learning",
    refutable=True,
)
def frozen_untrained_layer(history: RunHistory) -> Iterator[Sign]:
    """A layer is frozen, but its weights are still random.

    What it sees:
        Frozen layers whose kernels or embeddings look drawn from their random
        initializer, while other layers train, and no frozen layer has a weight that is
        certainly trained, such as a bias that is not zero. A frozen copy of a layer
        that trains is left out: it follows that layer slowly.

    Why it matters:
        A frozen layer keeps what it has. If that is noise, for example because a
        pretrained model was made with `weights=None`, the layers after it have only
        random features to work with.

    What to do:
        Load weights before freezing, or let it train.

    When it is wrong:
        Random features, reservoirs and hashing projections are frozen on purpose.
        Weights that were trained very little can still look random.

    References:
        Keras guide, Transfer learning and fine-tuning.
    """
    model = history.model
    if model is None or not model.trainable_parameters:
        return
    frozen = [x for x in model.layers if not x.trainable]
    trained = {_values(w) for x in model.layers for w in x.weights if w.trainable}
    random = [x for x in frozen if _is_random(x, trained)]
    # A bias or a moving mean that has left its start shows that it was trained.
    if not random or any(_was_trained(x) for x in frozen):
        return
    more = len(random) - 1
    others = f" (and those of {more} more layers)" if more else ""
    yield Sign(
        where=random[0].path,
        seen=f"frozen, but its weights{others} are as random as at the start",
        cause="Likely pretrained weights were meant to be loaded",
        action="load weights first, or set `trainable = True` before `compile`",
        alternatives=("keep it if random features are what you want",),
        evidence={"layers": len(random)},
        fixes=(fixes.trainable(x.path for x in random),),
    )


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="Keras's guide to transfer learning",
    refutable=True,
)
def unfrozen_without_compile(history: RunHistory) -> Iterator[Sign]:
    """Layers were unfrozen after `compile`, and are still not trained.

    What it sees:
        Trainable weights that the model's optimizer does not have, although it was
        built for others of the same model. Models with a custom `train_step` may train
        parts in turn and are left out.

    Why it matters:
        `compile` decides what is trained. Layers that are unfrozen later stay as they
        are, without any warning.

    What to do:
        Compile again after changing `trainable`.

    When it is wrong:
        No case is known.

    References:
        Keras guide, Transfer learning and fine-tuning.
    """
    model = history.model
    optimizer = model.optimizer if model is not None else None
    if model is None or optimizer is None or model.custom_train_step:
        return
    unknown = optimizer.unknown
    if not unknown:
        return
    layers = dict.fromkeys(path.rpartition("/")[0] or path for path in unknown)
    yield Sign(
        where=next(iter(layers)),
        seen=f"`trainable` is True, but the optimizer was built without "
        f"{count(len(unknown), 'weight')} of {names(list(layers))}",
        cause="They were unfrozen after `compile`, and stay as they are",
        action="call `compile` again, with a new optimizer, after changing `trainable`",
        evidence={"weights": len(unknown), "layers": len(layers)},
    )


@rule(
    severity="warning",
    when="step",
    since="Keras's guide to transfer learning",
)
def frozen_without_compile(history: RunHistory) -> Iterator[Sign]:
    """Layers were frozen after `compile`, and are trained all the same.

    What it sees:
        Weights that the model says are not trainable, and that an observed step has
        changed. Models with a custom `train_step` may move weights on purpose, and a
        model that is frozen as a whole may be part of another one, like a GAN's
        discriminator: both are left out.

    Why it matters:
        Keras compiles the training step once, with the first `fit`. Layers that are
        frozen later keep changing, so pretrained weights are lost, without any warning.

    What to do:
        Compile again after changing `trainable`.

    When it is wrong:
        The layers were frozen for another model that shares them, and are meant to be
        trained in this one.

    References:
        Keras guide, Transfer learning and fine-tuning.
    """
    model, last = history.model, history.last_step
    if model is None or last is None or not last.frozen:
        return
    if model.custom_train_step or not model.trainable_parameters:
        return
    moved = history.frozen
    layers = dict.fromkeys(path.rpartition("/")[0] or path for path in moved)
    ratio = max((r for r in last.frozen.values() if np.isfinite(r)), default=None)
    size = "" if ratio is None else f" (update ratio up to {number(ratio)})"
    yield Sign(
        where=next(iter(layers)),
        seen=f"`trainable` is False, but training still changes "
        f"{count(len(moved), 'weight')} of {names(list(layers))}{size}",
        cause="They were frozen after the training step was compiled, and are trained "
        "as before",
        action="call `compile` again after setting `trainable = False`",
        alternatives=(
            "set `trainable = True` before `fit` if they are meant to be trained here",
        ),
        evidence={"weights": len(moved), "layers": len(layers)},
        since=min(moved.values()),
    )


def _is_random(layer: LayerFacts, trained: Container[tuple]) -> bool:
    """Whether a kernel or an embedding looks drawn from a random initializer.

    Not if it is one of those that are trained somewhere else in the model.
    """
    fixed = ("Zeros", "Ones", "Constant", "Identity")
    return any(
        w.as_initialized and w.initializer not in fixed and _values(w) not in trained
        for w in layer.weights
        if "kernel" in w.role or "embeddings" in w.role
    )


def _values(weight: WeightFacts) -> tuple:
    """What two weights with the same values have in common."""
    return weight.shape, weight.mean, weight.std, weight.min, weight.max


def _was_trained(layer: LayerFacts) -> bool:
    # What a preprocessing layer was adapted to says nothing about the others.
    return layer.kind != "Normalization" and any(
        w.as_initialized is False for w in layer.weights
    )


@rule(
    kind="cause in the model",
    severity="error",
    when=("start", "epoch"),
    since="Keras's guide to transfer learning",
    also=("frozen-untrained-layer",),
)
def no_trainable_weights(history: RunHistory) -> Iterator[Sign]:
    """Nothing in the model can be trained.

    What it sees:
        A model without a single trainable weight. For a model that was trained before,
        the rule waits for the first epoch: the step that Keras compiled earlier may
        still train it.

    Why it matters:
        Training goes through the data and changes nothing.

    What to do:
        Set `trainable = True` on the layers that should learn, or put a new head on
        the frozen model; then `compile` again.

    When it is wrong:
        A custom training step may train other weights: the rule is silent then.

    References:
        Keras guide, Transfer learning and fine-tuning.
    """
    model = history.model
    if model is None or model.custom_train_step or model.trainable_parameters:
        return
    if not model.layers:
        return
    if _may_still_be_trained(history):
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
        fixes=(fixes.trainable(()),) if model.parameters else (),
    )


def _may_still_be_trained(history: RunHistory) -> bool:
    """Whether a step that was compiled before may move what is frozen now."""
    optimizer = history.model.optimizer if history.model is not None else None
    if optimizer is None or not optimizer.frozen:
        return False
    # Where gradients are accumulated, the steps that move may not be those observed.
    return bool(history.frozen) or not history.observed or optimizer.accumulates > 1
