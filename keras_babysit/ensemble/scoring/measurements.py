"""What each member predicts, how long that takes, and how large it is."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_babysit.ensemble import arguments
from keras_babysit.ensemble.combining import outputs
from keras_babysit.ensemble.combining.combined import Ensemble
from keras_babysit.ensemble.combining.graph import chosen_average
from keras_babysit.ensemble.combining.lazy import LazyEnsemble
from keras_babysit.ensemble.combining.outputs import OutputForm

#: A prediction is timed so many times; the fastest counts, as the others waited.
_REPEATS = 3
#: Unless that took so many seconds: then waiting is a small part of it.
_LONG = 2.0
#: Keras's default.
_BATCH = 32


@dataclass(frozen=True)
class Measured:
    """One member's predictions of the one output that is looked at.

    Attributes:
        values: what it puts out, `(n, ...)`.
        form: what that is.
        seconds: time that `predict` takes.
        parameters: number of its weights.
        bytes: memory that they take.
    """

    values: np.ndarray
    form: OutputForm
    seconds: float
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Source:
    """Members to report on, in memory or not.

    Attributes:
        members: yields each model and what its outputs are; read once.
        numbers: their numbers among those given, from 1.
        weights: their weights, summing to one.
        average: how the output that is looked at is averaged.
        at: which output that is.
        whole: the model of all of them, if there is one.
    """

    members: Iterator[tuple[keras.Model, list[OutputForm]]]
    numbers: Sequence[int]
    weights: np.ndarray
    average: str
    at: int
    whole: keras.Model | None = None

    def measured(self, x: Any, batch_size: int | None) -> list[Measured]:
        """Returns what each member predicts, and what that costs."""
        found = []
        for model, forms in self.members:
            values, seconds = timed(model, x, batch_size)
            check_count(values, forms)
            found.append(
                Measured(
                    values[self.at],
                    forms[self.at],
                    seconds,
                    model.count_params(),
                    outputs.size_of(model),
                )
            )
            # It would outlive the loading of the next.
            del model
        return found

    def seconds(self, x: Any, batch_size: int | None) -> float:
        """Returns the time that all members take as one model; NaN if they are none."""
        if self.whole is None:
            return math.nan
        return timed(self.whole, x, batch_size)[1]


def source_of(members: Any, output: str | None, from_logits: bool | None) -> Source:
    """Returns what to report on.

    Args:
        members: an `Ensemble`, a `LazyEnsemble`, or a list of models.
        output: name of the output to look at, if there are several.
        from_logits: as for `Ensemble`, of a list of models.

    Raises:
        ValueError: if it is none of these, or `output` is not one of the outputs.
    """
    if from_logits is not None and isinstance(members, LazyEnsemble | Ensemble):
        kind = type(members).__name__
        raise ValueError(
            "`from_logits` is for a list of models: an ensemble knows what its members "
            f"put out. Give it there, `{kind}(members, from_logits=...)`. Received: "
            f"from_logits={from_logits!r}"
        )
    if isinstance(members, LazyEnsemble):
        forms = members.forms
        at = _index([form.name for form in forms[0]], output)
        average = members.averages[at]
        return Source(
            members.models(), members.numbers, members.member_weights, average, at
        )
    if isinstance(members, Ensemble):
        graph = members.graph
        at = _index([form.name for form in graph.forms[0]], output)
        pairs = zip(graph.members, graph.forms, strict=True)
        numbers = [index + 1 for index in graph.counting]
        return Source(pairs, numbers, graph.weights, graph.averages[at], at, members)
    models = arguments.models_of(members)
    arguments.class_names_agree(models)
    forms = outputs.agreed([outputs.forms_of(m, from_logits) for m in models])
    at = _index([form.name for form in forms[0]], output)
    average = chosen_average(None, [own[at] for own in forms])
    weights = arguments.weights_of(None, len(models))
    pairs = zip(models, forms, strict=True)
    return Source(pairs, range(1, len(models) + 1), weights, average, at)


def check_count(values: Sequence[Any], forms: Sequence[OutputForm]) -> None:
    """Where Keras knows no graph, how many outputs there are is seen at last."""
    if len(values) != len(forms):
        raise ValueError(
            f"The members have {len(values)} outputs, and what they are is not known: "
            "compile them with a dict of losses, one for each output, or make an "
            "`Ensemble` of them."
        )


def _index(names: list[str], output: str | None) -> int:
    if output is None and len(names) == 1:
        return 0
    if len(names) == 1:
        raise ValueError(
            f"The members have one output: leave `output` out. Received: "
            f"output={output!r}"
        )
    if output not in names:
        raise ValueError(
            f"`output` must be one of the outputs {names}. Received: output={output!r}"
        )
    return names.index(output)


def timed(
    model: keras.Model, x: Any, batch_size: int | None
) -> tuple[list[np.ndarray], float]:
    """Returns a model's predictions, flat, and the seconds that they take.

    Building the function that predicts is not counted: it is done on a first batch.
    """
    first = batch_size or _BATCH
    outputs.predicted(model, keras.tree.map_structure(lambda a: a[:first], x), first)
    found: list[np.ndarray] = []
    times: list[float] = []
    while len(times) < _REPEATS and sum(times) < _LONG:
        began = time.perf_counter()
        found = outputs.predicted(model, x, batch_size)
        times.append(time.perf_counter() - began)
    return found, min(times)
