"""Rules about layers that the loss does not depend on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_babysit.facts import ModelFacts
from keras_babysit.history import RunHistory, Window
from keras_babysit.rules.evidence.graph import Network
from keras_babysit.rules.evidence.kernels import kernels, leaf, not_hidden
from keras_babysit.rules.evidence.phrases import names, percent
from keras_babysit.rules.evidence.progress import progress
from keras_babysit.rules.rule import Sign, rule

#: A layer with so many of its outputs at an asymptote may have no gradient at all.
_SATURATED = 0.9


@rule(
    kind="symptom: disconnected",
    severity="warning",
    when=("step", "epoch"),
    since="Keras: 'Gradients do not exist for variables'",
)
def disconnected_layer(
    history: RunHistory, *, share: float = 0.1, patience: int = 5
) -> Iterator[Sign]:
    """A layer is trained, but the loss does not depend on it.

    What it sees:
        Trainable variables that have no gradient at all while others have one, and that
        nothing else changes, as a slow copy of a model is changed; or kernels that did
        not move and whose gradient was exactly zero in all observed steps, `patience`
        at least since the first update, while a kernel before them had one, so that no
        dead layer explains it; or the first kernels, while the one behind them had one,
        so that what comes out of them is neither zero nor saturated. It is a warning if
        they hold more than the `share` of the trained weights or the model is stuck,
        else information.

    Why it matters:
        These weights stay as they were initialized, for any data.

    What to do:
        Connect the layer to an output that has a loss; look for `stop_gradient`,
        `sign`, rounding, `argmax` or NumPy on the way; or freeze it on purpose.

    When it is wrong:
        Parts that this task does not use, such as the pooler of a language model;
        experts and branches that no sample has chosen yet.

    References:
        Keras's own warning when gradients are missing.
    """
    weights = history.window("weight", 1)
    gradients = history.window("gradient.norm", int(max(patience, 3)))
    if not len(weights.steps) or not len(gradients.steps) or history.observed < 2:
        return
    apart = _without_gradients(history, weights, gradients) or _zero_gradients(
        history, gradients, int(max(patience, 3))
    )
    if apart is None:
        return
    part = _part(weights, apart.places)
    hurts = part > share or progress(history).stuck(0.5)
    yield Sign(
        where=apart.places[0],
        seen=f"{apart.seen} ({names(list(apart.places))}: {percent(part)} of the "
        "trained weights)",
        cause=apart.cause,
        action=apart.action,
        alternatives=apart.alternatives,
        evidence={"variables": len(apart.places), "share": part},
        severity=None if hurts else "info",
    )


class _Apart(NamedTuple):
    """Variables that the loss does not depend on, and what to say of them."""

    places: tuple[str, ...]
    seen: str
    cause: str = "Likely the loss does not depend on it"
    action: str = "connect it to an output with a loss, or set trainable=False"
    alternatives: tuple[str, ...] = (
        "look for stop_gradient, rounding or argmax after it",
    )


def _without_gradients(
    history: RunHistory, weights: Window, gradients: Window
) -> _Apart | None:
    """Variables that have no gradient at all while others have."""
    if len(weights.places) == len(gradients.places):
        return None
    known = set(gradients.places)
    missing = tuple(p for p in weights.places if p not in known)
    missing = tuple(p for p in missing if _is_trained(history, p))
    # Optimizers leave alone what has no gradient: what moves is kept by someone.
    kept = _changed(history, missing)
    missing = tuple(p for p, moves in zip(missing, kept, strict=True) if not moves)
    return _Apart(missing, "has no gradient") if missing else None


def _is_trained(history: RunHistory, path: str) -> bool:
    """Whether the model's own `fit` should train it: GANs train parts in turn."""
    model = history.model
    if model is None:
        return True
    if model.custom_train_step:
        return False
    known = {w.path: w.trainable for layer in model.layers for w in layer.weights}
    return known.get(path, True)


def _zero_gradients(
    history: RunHistory, gradients: Window, patience: int
) -> _Apart | None:
    """Kernels that never had a gradient beside one that has some."""
    zero = (gradients.values == 0).all(axis=0)
    if len(gradients.steps) < patience or not zero.any() or zero.all():
        return None
    # Gates that begin at zero open with the first update, and the rest follows them:
    # what steps show before that, while gradients accumulate for one, does not count.
    if not gradients.steps[0] > _first_move(history):
        return None
    first = int(np.flatnonzero(~zero)[0])
    # What had a gradient once is connected: a branch was skipped, a margin was met.
    zero &= ~_had_gradients(history) & ~_moved(history, gradients.places)
    seen = f"gradient exactly 0 over {len(gradients.steps)} steps"
    behind = _zero_kernels(history, gradients, np.flatnonzero(zero[first:]) + first)
    if behind:
        return _Apart(behind, seen)
    return _no_slope(history, gradients, np.flatnonzero(zero[:first]), first, seen)


def _first_move(history: RunHistory) -> float:
    """The first observed step that changed a kernel; infinite if there was none."""
    whole = history.whole("update_ratio")
    moved = (whole.values[:, kernels(whole.places)] > 0).any(axis=1)
    return float(whole.steps[moved][0]) if moved.any() else math.inf


def _had_gradients(history: RunHistory) -> np.ndarray:
    """Which variables had a gradient in any observed step."""
    return (history.whole("gradient.norm").values != 0).any(axis=0)


def _moved(history: RunHistory, places: tuple[str, ...]) -> np.ndarray:
    """Which variables are other than at first, so that some step had a gradient.

    None where the optimizer decays them all, with a gradient or without.
    """
    optimizer = history.model.optimizer if history.model is not None else None
    if optimizer is None or optimizer.weight_decay:
        return np.zeros(len(places), bool)
    return _changed(history, places)


def _changed(history: RunHistory, places: tuple[str, ...]) -> np.ndarray:
    """Which variables are other than in the first observed step."""
    first, last = history.first_step, history.last_step
    changed = np.zeros(len(places), bool)
    if first is None or last is None:
        return changed
    before = {v.path: v.weight for v in first.variables}
    now = {v.path: v.weight for v in last.variables}
    for i, place in enumerate(places):
        a, b = before.get(place), now.get(place)
        if a is not None and b is not None:
            # Sums may be rounded in another order from step to step.
            changed[i] = (a.min, a.max) != (b.min, b.max) or not math.isclose(
                a.norm, b.norm, rel_tol=1e-6
            )
    return changed


def _no_slope(
    history: RunHistory, gradients: Window, zero: np.ndarray, first: int, seen: str
) -> _Apart | None:
    """The first kernels, before a function whose derivative is zero everywhere."""
    before = _zero_kernels(history, gradients, zero)
    model = history.model
    if not before or (model is not None and model.custom_train_step):
        return None
    # A dead layer hands on zeros, so the kernel behind it has no gradient either, only
    # its bias. A saturated one is another rule's.
    behind = gradients.places[first]
    if "kernel" not in leaf(behind) or _saturated_inside(history):
        return None
    if not all(_may_feed(model, path, behind) for path in before):
        return None  # Branches beside it, as experts that no sample has chosen yet.
    return _Apart(
        before,
        f"{seen} in all layers before {_owner(behind)}, but not in it",
        "Likely a function without a slope lies between them, such as sign, round or "
        "argmax",
        "use a smooth one instead, tanh for sign",
        ("pass the gradient straight through: x + stop_gradient(sign(x) - x)",),
    )


def _may_feed(model: ModelFacts | None, path: str, behind: str) -> bool:
    """Whether the layer of one variable comes before another's, for all we know."""
    if model is None or not model.graph_known:
        return True
    owners = {w.path: layer for layer in model.layers for w in layer.weights}
    one, other = owners.get(path), owners.get(behind)
    # Of the layers inside a layer of the user's nothing is known.
    if one is None or other is None or None in (one.inputs, other.inputs):
        return True
    return other.path in Network(model).behind(one)


def _saturated_inside(history: RunHistory) -> bool:
    """Whether nearly all outputs of a layer before the last are at an asymptote."""
    window = history.window("saturation_fraction", 1)
    if not window.values.size:
        return False
    outside = not_hidden(history)
    return any(
        share >= _SATURATED and place.split("@")[0] not in outside
        for place, share in zip(window.places, window.values[-1], strict=True)
    )


def _zero_kernels(
    history: RunHistory, gradients: Window, which: np.ndarray
) -> tuple[str, ...]:
    """Those of some variables without a gradient that are kernels, if no layer died."""
    zeros = {gradients.places[i] for i in which}
    kernels = tuple(p for p in gradients.places if p in zeros and "kernel" in leaf(p))
    # A layer behind a dead ReLU gets zero inputs and so no gradient of its kernel;
    # its bias still gets one. Dead layers themselves are another rule's.
    dead = _near_dead(history)
    alone = [
        p for p in kernels if _owner(p) not in dead and _bias_zero(p, gradients, zeros)
    ]
    if len(alone) < len(kernels) or not _bias_of_any(alone, gradients):
        return ()
    return kernels


def _owner(path: str) -> str:
    return path.rsplit("/", 1)[0]


def _bias_zero(path: str, gradients: Window, zeros: set[str]) -> bool:
    bias = f"{_owner(path)}/bias"
    return bias not in gradients.places or bias in zeros


def _bias_of_any(paths: list[str], gradients: Window) -> bool:
    return any(f"{_owner(p)}/bias" in gradients.places for p in paths)


def _near_dead(history: RunHistory) -> set[str]:
    """Layers of which no unit is alive, under any name."""
    window = history.window("dead_fraction", 1)
    if not window.values.size:
        return set()
    return {p for p, v in zip(window.places, window.values[-1], strict=True) if v >= 1}


def _part(weights: Window, apart: tuple[str, ...]) -> float:
    """Share of the trained weights that these variables hold."""
    sizes = weights.values[-1, :, 0]
    chosen = set(apart)
    own = np.array([p in chosen for p in weights.places])
    total = float(sizes.sum())
    return float(sizes[own].sum()) / total if total > 0 else math.nan
