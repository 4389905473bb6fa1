"""Which members count, and how what they put out becomes one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_babysit.ensemble.outputs.averages import from_average, to_average
from keras_babysit.ensemble.outputs.forms import OutputForm, agreed
from keras_babysit.errors import wrong

#: What `average` may be.
AVERAGES = ("probabilities", "logits", "geometric", "mean")


@dataclass(frozen=True)
class Combination:
    """A weighted average of members.

    Attributes:
        numbers: of the members that count, among those given, from 1.
        weights: float64 array of shape `(members,)`, theirs, summing to one.
        forms: of each, what its outputs are, flat.
        averages: how each output is averaged, one of `AVERAGES`.
    """

    numbers: tuple[int, ...]
    weights: np.ndarray
    forms: list[list[OutputForm]]
    averages: tuple[str, ...]

    @classmethod
    def of(
        cls,
        forms: Sequence[Sequence[OutputForm]],
        weights: np.ndarray,
        average: str | None = None,
    ) -> Combination:
        """Returns the average of those members whose weight is not 0."""
        forms = agreed(forms)
        if average not in (None, "mean"):
            _check_classes(str(average), forms)
        averages = tuple(
            _chosen(average, column) for column in zip(*forms, strict=True)
        )
        counting = np.flatnonzero(weights)
        return cls(
            tuple(int(i) + 1 for i in counting),
            weights[counting],
            [forms[i] for i in counting],
            averages,
        )

    @property
    def output_forms(self) -> list[OutputForm]:
        """What the average is: an `OutputForm` for each output, flat."""
        return [
            dataclasses.replace(
                form, logits=average == "logits" or (average == "mean" and form.logits)
            )
            for average, form in zip(self.averages, self.forms[0], strict=True)
        ]

    def average(self, made: Any, at: int = 0) -> np.ndarray:
        """Returns the average of one output.

        Args:
            made: of each member, what it puts out there; read once.
            at: which output that is.

        Returns:
            float64 array: logits for `"logits"`, else probabilities or values.
        """
        how = self.averages[at]
        total = sum(
            weight * to_average(value, own[at], how)
            for weight, own, value in zip(self.weights, self.forms, made, strict=True)
        )
        return from_average(np.asarray(total), self.forms[0][at].kind, how)

    def only(self, chosen: Sequence[int]) -> Combination:
        """Returns the average of some of its members, by their weights."""
        weights = self.weights[list(chosen)]
        return dataclasses.replace(
            self,
            numbers=tuple(self.numbers[i] for i in chosen),
            weights=weights / weights.sum(),
            forms=[self.forms[i] for i in chosen],
        )

    def index(self, output: str | None) -> int:
        """Returns which output has a name; the only one for `None`."""
        names = [form.name for form in self.forms[0]]
        if output is None and len(names) == 1:
            return 0
        if len(names) == 1:
            raise ValueError(
                "The members have one output: leave `output` out. Received: "
                f"output={output!r}"
            )
        if output not in names:
            raise wrong("output", f"one of the outputs {names}", output)
        return names.index(output)


def check_average(average: str | None) -> None:
    """Makes sure that there is such an average; `None` is the usual one."""
    if average is not None and average not in AVERAGES:
        raise wrong("average", f"one of {list(AVERAGES)}", average)


def _chosen(average: str | None, forms: Sequence[OutputForm]) -> str:
    """How an output is averaged, what was asked for given."""
    is_values = forms[0].kind == "values"
    if average is None:
        return "mean" if is_values else "probabilities"
    if average == "mean" and len({form.logits for form in forms}) > 1:
        raise ValueError(
            '`average="mean"` needs outputs of one kind. Received: members with '
            f"{' and '.join(sorted({form.words for form in forms}))}"
        )
    return "mean" if is_values else average


def _check_classes(average: str, forms: Sequence[Sequence[OutputForm]]) -> None:
    """What was asked for needs probabilities, or logits, in one output at least."""
    doubtful = any(form.doubtful for own in forms for form in own)
    unknown = any(not form.known for form in forms[0] if form.kind == "values")
    values = all(form.kind == "values" for form in forms[0])
    if not (doubtful or unknown or values):
        return
    received = "members that put out values"
    if doubtful:
        received = (
            "members that end in a layer without activation, and a loss that takes it "
            "for probabilities"
        )
    elif unknown:
        received = "members of which neither is known"
    raise ValueError(
        f'`average="{average}"` needs outputs known to be probabilities or logits: '
        "end the members in softmax or sigmoid, compile them with a loss with "
        f"`from_logits=True`, or pass `from_logits=True`. Received: {received}"
    )
