"""Advice that has been followed already is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.catalogue import ADAPTIVE
from keras_babysit.rules.evidence.graph import NORMALIZING, family
from keras_babysit.rules.rule import Sign


def unheeded(sign: Sign, history: RunHistory) -> Sign:
    """Returns a sign without advice that the run follows already.

    Where that was what to try first, the first alternative takes its place.
    """
    done = tuple(_followed(history))
    advice = [sign.action, *sign.alternatives]
    kept = [one for one in advice if not any(words in one for words in done)]
    if not kept or len(kept) == len(advice):
        return sign
    return dataclasses.replace(sign, action=kept[0], alternatives=tuple(kept[1:]))


def _followed(history: RunHistory) -> Iterator[str]:
    """Words that advice has of which there is no need any more."""
    model, fit = history.model, history.fit
    optimizer = model.optimizer if model is not None else None
    if optimizer is not None:
        if optimizer.clips:
            yield "clipnorm"
        if optimizer.name in ADAPTIVE:
            yield "Adam in place of"
        if optimizer.scheduled:
            yield "warm the learning rate up"
            yield "a learning-rate schedule"
    layers = model.layers if model is not None else ()
    hidden = {family(layer) for layer in layers} & NORMALIZING
    if hidden:
        yield "BatchNormalization"
        yield "normalization layers"
    if any(
        c.kind == "EarlyStopping" for c in (fit.callbacks if fit is not None else ())
    ):
        yield ", with EarlyStopping"
        yield "stop here: EarlyStopping"
