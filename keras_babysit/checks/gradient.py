"""Whether a model's gradients are the derivatives of its loss.

See CS231n, Neural Networks Part 3, "Gradient checks".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import layers_of
from keras_babysit.checks.check import Check, CheckResult, worst
from keras_babysit.checks.derivatives import summary as words
from keras_babysit.checks.derivatives.differences import tolerated
from keras_babysit.checks.derivatives.faulty_layer import (
    LayerGradient,
    depth_of,
    locate,
)
from keras_babysit.checks.derivatives.slopes import (
    Comparison,
    VariableGradient,
    burnt_in,
    compare_gradients,
)
from keras_babysit.checks.derivatives.twin import (
    NoLossError,
    Twin,
    trainable,
    twin_of,
)
from keras_babysit.document.progress_line import Progress, silent
from keras_babysit.errors import positive, whole
from keras_babysit.inspection.compiled import has_own_step
from keras_babysit.inspection.sample import Sample, ready, sample_of

NAME = "gradient"

#: Relative change of the same loss, computed twice, from which it is by chance.
_CHANCE = 1e-6
#: Layers of Keras that hold a part of what they compute constant, on purpose: the
#: singular vectors.
_ON_PURPOSE = ("SpectralNormalization",)
_MORE_TIME = "give it more time with `seconds=`"
#: Share of the progress that comparing takes; locating takes the rest.
_COMPARING = 0.8


@dataclass(frozen=True, repr=False)
class GradientCheck(CheckResult):
    """What the gradient check found.

    Attributes:
        variables: how the gradient of each weight compares.
        layers: layers whose own gradients are wrong, innermost ones; also those that
            `ignore` names.
    """

    variables: tuple[VariableGradient, ...] = ()
    layers: tuple[LayerGradient, ...] = ()


@dataclass(frozen=True)
class _Ignored:
    layers: frozenset[int]
    variables: frozenset[int]
    names: tuple[str, ...]


def gradient_check(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    n: int = 4,
    n_coordinates: int = 5,
    burn_in: int = 3,
    ignore: str | Iterable[Any] = (),
    seed: int = 0,
    seconds: float | None = 30.0,
    progress: Progress | None = None,
) -> GradientCheck:
    """Compares a model's gradients with centred differences of its loss.

    It is meant for custom layers, losses and regularizers, whose gradients may be
    wrong. It follows CS231n (Neural Networks Part 3: Gradient checks):

    - all is computed in float64, whatever the dtype policies; in float32, with larger
      steps and wider bands, where a layer insists on it;
    - few data points, a few coordinates of every weight, and for each weight one
      random direction in which no coordinate is left out;
    - relative errors `|a − n| / max(|a|, |n|)`, the least over a sweep of steps; both
      zero passes; values that drown in rounding are counted, not judged;
    - kinks (a ReLU or a maximum exactly at its corner) are recognized: there the
      gradient has to agree nearby, and after a burn-in there are few;
    - dropout and augmentation keep one seed; the loss on the data and what layers add
      to it are compared separately, so that no penalty hides a wrong gradient.

    Errors up to 1e-4 pass; up to 1e-2 they are worrying (less so the deeper the
    network, unless it is a single layer's); above, the check failed. Then each layer is
    compared alone, on the inputs that it has in the model, to name the one that is
    wrong.

    Afterwards the model, its optimizer, its compile state and all random states are as
    they were, bit for bit.

    Args:
        model: a compiled `keras.Model`. Of one with its own `train_step`, `call` and
            `compute_loss` are checked.
        x: what `fit` takes: arrays, structures of arrays, `tf.data.Dataset`,
            `keras.utils.PyDataset`, a generator (which is read from).
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays.
        n: how many samples to use.
        n_coordinates: how many coordinates of each weight to compare, half of them
            those with the largest gradients.
        burn_in: steps downhill to take first, each of 1 % of the weights' size (on
            the float64 values only).
        ignore: layers whose gradients are meant to differ (straight-through
            estimators, `stop_gradient`), or weights not to compare: paths, names, or
            the objects themselves. The layers around an ignored one are still
            compared, each alone.
        seed: of the directions and the coordinates.
        seconds: time after which no further comparison is begun; the result says
            what was left out. `None` for no limit.
        progress: called with the share done, from 0 to 1, and what is being done.

    Returns:
        A `GradientCheck`; `print` shows it. `"not finished"` if there was no time
        for all weights; `"skipped"` if there is nothing to compare: no trainable
        weights, no loss outside of `train_step`, or a loss that changes by chance.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not compiled, or does not fit the data; if an argument is
            out of range; if `ignore` names nothing in the model.

    Example:
    ```python
    result = keras_babysit.gradient_check(model, x_train, y_train)
    print(result)
    assert result.ok
    ```
    """
    _check_arguments(n, n_coordinates, burn_in, seconds)
    sample = sample_of(x, y, sample_weight, n=n)
    reason = _made_ready(model, sample)
    ignored = _ignored(model, ignore)
    if reason or not trainable(model):
        return _skipped(reason or "the model has no trainable weights")
    options = {"coordinates": n_coordinates, "seconds": seconds or np.inf}
    try:
        with twin_of(model, sample) as twin:
            random = np.random.default_rng(seed)
            return _checked(twin, random, burn_in, ignored, options, progress or silent)
    except NoLossError as e:
        return _skipped(f"there is no loss to differentiate: {e}")


def _check_arguments(n: Any, n_coordinates: Any, burn_in: Any, seconds: Any) -> None:
    whole("n", n)
    whole("n_coordinates", n_coordinates)
    whole("burn_in", burn_in, least=0)
    if seconds is not None:
        positive("seconds", seconds)


def _made_ready(model: Any, sample: Sample) -> str:
    """Makes a model ready; returns why one that trains its own way cannot be."""
    try:
        ready(model, sample)
    except ValueError as e:
        if not isinstance(model, keras.Model) or not model.compiled:
            raise
        if not has_own_step(model):
            raise
        return f"outside of its own train_step nothing can be checked: {e}"
    return ""


def _skipped(reason: str) -> GradientCheck:
    return GradientCheck(NAME, "skipped", reason.rstrip("."))


def _ignored(model: Any, ignore: Any) -> _Ignored:
    """Finds what a user wants ignored."""
    given = [ignore] if isinstance(ignore, str) or not _many(ignore) else list(ignore)
    layers = layers_of(model)
    found: set[int] = set()
    variables: set[int] = set()
    for one in given:
        matching = [
            layer
            for layer in layers
            if one is layer or _is(one, layer.name, layer.path)
        ]
        named = [v for v in model.variables if v is one or _is(one, v.path)]
        if not matching and not named:
            names = [layer.path or layer.name for layer in layers[1:]]
            raise ValueError(
                "`ignore` must name layers or weights of the model. Received: "
                f"{one!r}, and there are the layers {names}"
            )
        for layer in matching:
            found.update(id(inner) for inner in layer._flatten_layers())
        variables.update(map(id, named))
    found.update(id(layer) for layer in layers if type(layer).__name__ in _ON_PURPOSE)
    return _Ignored(frozenset(found), frozenset(variables), tuple(map(_called, given)))


def _many(value: Any) -> bool:
    return isinstance(value, Iterable) and not hasattr(value, "path")


def _is(given: Any, *names: str) -> bool:
    # Variables compare their values.
    return isinstance(given, str) and given in names


def _called(thing: Any) -> str:
    return thing if isinstance(thing, str) else getattr(thing, "path", str(thing))


def _checked(
    twin: Twin,
    random: np.random.Generator,
    steps: int,
    ignored: _Ignored,
    options: Mapping[str, Any],
    tell: Progress,
) -> GradientCheck:
    tell(0.0, "computing the gradients")
    problem = _not_finite(twin)
    if problem is not None:
        return problem
    if _is_random(twin):
        return _skipped(
            "the loss of the same samples differs each time it is computed: "
            "draw random numbers with keras.random and a keras.random.SeedGenerator, "
            "which can be repeated"
        )
    burnt_in(twin, steps)
    skip = frozenset(
        k for k, v in enumerate(twin.variables) if id(v) in ignored.variables
    )
    comparison = compare_gradients(
        twin,
        skip,
        random=random,
        tell=lambda share, what: tell(share * _COMPARING, what),
        **options,
    )
    if not any(v.compared for v in comparison.variables):
        return _nothing_compared(comparison)
    layers: tuple[LayerGradient, ...] = ()
    if any(v.verdict in ("worrying", "failed") for v in comparison.variables):
        numbered = enumerate(comparison.variables)
        suspects = frozenset(k for k, v in numbered if v.verdict != "passed")
        layers = locate(
            twin,
            random,
            suspects - skip,
            lambda layer: id(layer) in ignored.layers,
            lambda share, what: tell(_COMPARING + share * (1 - _COMPARING), what),
        )
    tell(1.0, "done")
    return _result(twin, comparison, layers)


def _nothing_compared(comparison: Comparison) -> GradientCheck:
    if not comparison.wanted:
        return _skipped("there are no weights left to compare")
    return GradientCheck(
        NAME, "not finished", "there was no time to compare anything", _MORE_TIME
    )


def _not_finite(twin: Twin) -> GradientCheck | None:
    """What to say if the loss or a gradient is not a number to begin with."""
    losses, parts = twin.gradients()
    if not np.isfinite(losses).all():
        value = losses[~np.isfinite(losses)][0]
        return GradientCheck(
            NAME,
            "failed",
            f"the loss of {twin.sample.size} samples is {value} at the weights that "
            "the model has",
            action="look for a logarithm or a root of 0, a division by 0, or weights "
            "or inputs that are far too large",
            evidence={"loss": float(value)},
        )
    bad = [
        variable.path
        for k, variable in enumerate(twin.variables)
        if not all(np.isfinite(part[k]).all() for part in parts)
    ]
    if not bad:
        return None
    return GradientCheck(
        NAME,
        "failed",
        f"the loss is finite ({losses.sum():.4g}), but {len(bad)} of "
        f"{len(twin.variables)} gradients are not: {words.listed(bad)}",
        action="look for a root or a norm of 0 (its slope is infinite there), or for "
        "a `where` that only hides such a value: make its inputs safe, too",
        evidence={"variables": tuple(bad)},
        variables=tuple(
            VariableGradient(
                v.path, tuple(v.shape), error=np.inf, how="not finite", verdict="failed"
            )
            for v in twin.variables
            if v.path in bad
        ),
    )


def _is_random(twin: Twin) -> bool:
    one, two = twin.losses(), twin.losses()
    three = twin.gradients()[0]
    size = np.abs(one).max()
    others = [two, three, twin.gradients()[0]]
    return any(np.abs(one[: len(o)] - o).max() > _CHANCE * size for o in others)


def _result(
    twin: Twin, comparison: Comparison, layers: tuple[LayerGradient, ...]
) -> GradientCheck:
    variables = comparison.variables
    guilty = [layer for layer in layers if not layer.ignored]
    verdict, excuse = _verdict(twin, comparison, layers)
    bad = verdict in ("worrying", "failed")
    action = words.action(guilty) if bad else ""
    summary = words.summary(variables, guilty) if bad else words.all_is_well(variables)
    if verdict == "passed" and comparison.left_out:
        names = words.listed(comparison.left_out)
        verdict, action = "not finished", _MORE_TIME
        summary = f"there was no time for {names}; {summary}"
    return GradientCheck(
        NAME,
        verdict,
        summary,
        action=action,
        alternatives=words.alternatives(guilty) if bad else (),
        evidence=words.evidence(twin, comparison),
        rows=words.rows(variables, "" if bad else "as meant" if layers else "by depth"),
        notes=tuple(note for note in (excuse, *words.notes(twin, comparison)) if note),
        variables=variables,
        layers=layers,
    )


def _verdict(
    twin: Twin, comparison: Comparison, layers: Sequence[LayerGradient]
) -> tuple[str, str]:
    """The verdict, and what explains one that is better than the errors are."""
    verdict = worst([v.verdict for v in comparison.variables])
    if verdict not in ("worrying", "failed"):
        return "passed", ""
    if any(not layer.ignored for layer in layers):
        certain = any(layer.certain for layer in layers if not layer.ignored)
        return ("failed" if certain else verdict), ""
    if layers:
        names = words.listed([layer.path for layer in layers])
        return "passed", (
            f"the gradient of {names} is meant to differ; each other layer and the "
            "loss agree with centred differences by themselves"
        )
    error = words.largest(comparison.variables)
    depth = depth_of(twin.model)
    if verdict == "worrying" and error <= tolerated(depth):
        return "passed", (
            f"errors of up to {error:.0e} may build up over {depth} layers; each "
            "layer by itself agrees"
        )
    return verdict, ""


def _run(
    model: Any, sample: Sample, progress: Progress, seconds: float = 30.0
) -> GradientCheck:
    data = (sample.x, sample.y, sample.sample_weight)
    return gradient_check(model, *data, seconds=seconds, progress=progress)


CHECK = Check(NAME, "gradient", 40, _run, timed=True)
