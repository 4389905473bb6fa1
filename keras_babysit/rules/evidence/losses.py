"""What rules ask of the values that reach the losses. No rules here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.records import LossInputs, LossTensor
from keras_babysit.rules.evidence.tasks import tasks


def calls(history: RunHistory, least: int = 1) -> Iterator[list[LossInputs]]:
    """Yields what each loss got in the latest fully observed steps, oldest first.

    Args:
        history: the history.
        least: how many of them there must be; with finite outputs.
    """
    for known in history.losses.values():
        finite = [c for c in known if c.outputs is not None and _is_finite(c.outputs)]
        if len(finite) >= least and len(finite) == len(known):
            yield finite


def outputs(known: Sequence[LossInputs]) -> list[LossTensor]:
    """The outputs that a loss got."""
    return [c.outputs for c in known if c.outputs is not None]


def targets(known: Sequence[LossInputs]) -> list[LossTensor]:
    """The targets that a loss got, where they are finite."""
    found = [c.targets for c in known if c.targets is not None]
    return [t for t in found if _is_finite(t)]


def evaluated(history: RunHistory) -> tuple[float, float] | None:
    """A training batch's loss in training, and evaluated like the validation data.

    Returns:
        Medians over the latest three observed validations; `None` if that is not known,
        or there are several losses.
    """
    if len(history.evaluated) != 1:
        return None
    (known,) = history.evaluated.values()
    pairs = np.array(list(known)[-3:])
    trained, again = np.median(pairs, axis=0)
    return (float(trained), float(again)) if np.isfinite(pairs).all() else None


def mixes_targets(history: RunHistory) -> bool:
    """Whether targets are 0 and 1 in validation and shares of it in training."""
    if not history.validations:
        return False
    for one in history.validations[-1].losses:
        known = history.losses.get(one.path)
        here, there = known[-1].targets if known else None, one.targets
        if here is None or there is None or units(there) == 1 or there.whole < 0.999:
            continue
        if here.whole < 0.99 and here.min >= 0 and here.max <= 1:
            return True
    return False


def _is_finite(tensor: LossTensor) -> bool:
    numbers = (tensor.min, tensor.max, tensor.mean, tensor.std, tensor.spread)
    return bool(np.isfinite(numbers).all()) and tensor.size > 0


def is_judged_by_name(history: RunHistory) -> bool:
    """Whether names of losses and activation functions say all of every output."""
    known = tasks(history)
    return bool(known) and all(
        t.loss.standard and t.activation is not None for t in known
    )


def units(tensor: LossTensor) -> int | None:
    """Size of the last axis; 1 where there is none but that of the samples."""
    return tensor.shape[-1] if len(tensor.shape) > 1 else 1


def in_words(shape: tuple[int | None, ...]) -> str:
    """A shape for people, `n` for the sizes that are not fixed."""
    sizes = ["n" if size is None else str(size) for size in shape]
    return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"
