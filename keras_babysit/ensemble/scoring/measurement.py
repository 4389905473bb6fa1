"""What each member predicts, how long that takes, and how large it is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_babysit.ensemble import arguments
from keras_babysit.ensemble.outputs import predictions
from keras_babysit.ensemble.outputs.averages import probabilities
from keras_babysit.ensemble.outputs.combination import Combination
from keras_babysit.ensemble.outputs.forms import OutputForm, forms_of

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

    @property
    def probabilities(self) -> np.ndarray:
        """The same, logits as the probabilities that they mean; float64."""
        return probabilities(self.values, self.form)


@dataclass(frozen=True)
class Source:
    """Members to look at, in memory or not.

    Attributes:
        members: each model; read once.
        combination: how they are averaged.
        at: which output is looked at.
    """

    members: Iterable[keras.Model]
    combination: Combination
    at: int

    def measured(self, x: Any, batch_size: int | None) -> list[Measured]:
        """Returns what each member predicts, and what that costs."""
        found = []
        forms = iter(self.combination.forms)
        for model in self.members:
            values, seconds = timed(model, x, batch_size)
            parameters, size = model.count_params(), predictions.size_of(model)
            # It would outlive the loading of the next.
            del model
            made, form = self._looked_at(values, next(forms))
            found.append(Measured(made, form, seconds, parameters, size))
        return found

    def probabilities(self, x: Any, batch_size: int | None) -> Iterator[np.ndarray]:
        """Yields what each member predicts: probabilities or values, float64."""
        made = predictions.of_each(self.members, x, batch_size)
        for one, forms in zip(made, self.combination.forms, strict=True):
            values = [np.asarray(part) for part in keras.tree.flatten(one)]
            yield probabilities(*self._looked_at(values, forms))

    def _looked_at(
        self, values: Sequence[np.ndarray], forms: Sequence[OutputForm]
    ) -> tuple[np.ndarray, OutputForm]:
        # Where Keras knows no graph, how many outputs there are is seen at last.
        if len(values) != len(forms):
            raise ValueError(
                f"The members have {len(values)} outputs, and what they are is not "
                "known: compile them with a dict of losses, one for each output, or "
                "make an `Ensemble` of them."
            )
        return values[self.at], forms[self.at]


def source_of(members: Any, output: str | None, from_logits: bool | None) -> Source:
    """Returns what to look at.

    Args:
        members: a list of models, or what has a `combination` of its `members`: an
            `Ensemble` or a `LazyEnsemble`.
        output: name of the output to look at, if there are several.
        from_logits: as for `Ensemble`, of a list of models.
    """
    combination = getattr(members, "combination", None)
    if combination is None:
        members = arguments.models_of(members)
        arguments.class_names_agree(members)
        forms = [forms_of(member, from_logits) for member in members]
        equal = arguments.weights_of(None, len(members))
        combination = Combination.of(forms, equal)
    elif from_logits is not None:
        raise ValueError(
            "`from_logits` is for a list of models: an ensemble knows what its members "
            f"put out. Give it there, `{type(members).__name__}(members, "
            f"from_logits=...)`. Received: from_logits={from_logits!r}"
        )
    else:
        members = members.members
    return Source(members, combination, combination.index(output))


def timed(
    model: keras.Model, x: Any, batch_size: int | None
) -> tuple[list[np.ndarray], float]:
    """Returns a model's predictions, flat, and the seconds that they take.

    Building the function that predicts is not counted: it is done on a first batch.
    """
    first = keras.tree.map_structure(lambda a: a[: batch_size or _BATCH], x)
    predictions.predict(model, first, batch_size or _BATCH)
    found: list[np.ndarray] = []
    times: list[float] = []
    while len(times) < _REPEATS and sum(times) < _LONG:
        began = time.perf_counter()
        found = predictions.predicted(model, x, batch_size)
        times.append(time.perf_counter() - began)
    return found, min(times)
