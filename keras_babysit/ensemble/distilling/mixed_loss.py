"""The loss of a student while an ensemble teaches it: the teacher's and its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_babysit.borrowing import attributes_kept

#: Methods that `distill` puts in place of the student's while it trains.
_LENT = ("compute_loss", "compute_metrics", "get_metrics_result")
_COMPILED = ("train_function", "test_function")
#: Names for what goes to `fit` as its target, where the teacher's outputs are known.
LABELS, TEACHER = "keras_babysit_labels", "keras_babysit_teacher"
#: How much of the loss is the teacher's, if there are labels and nobody says.
_ALPHA = 0.5


@dataclass(frozen=True)
class MixedLoss:
    """A student's loss and metrics while it learns from a teacher.

    Attributes:
        student: the model that trains.
        teacher: what to ask in each batch; none if its outputs come with the labels.
        soft_loss: from the teacher's outputs and the student's.
        alpha: the share of `soft_loss`, or None for the default.
    """

    student: Any
    teacher: Any
    soft_loss: Any
    alpha: float | None

    @contextlib.contextmanager
    def given(self) -> Iterator[None]:
        """Puts loss and metrics in place of the student's own, on the object only.

        What it was compiled with is untouched, and so is what is saved of it.
        """
        with attributes_kept(self.student, *_LENT, *_COMPILED):
            own = vars(self.student)
            own.update(dict.fromkeys(_COMPILED))
            own.update({name: getattr(self, name) for name in _LENT})
            yield

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """In place of `student.compute_loss`."""
        labels, known = _unpacked(y)
        weight = _weight_of(LABELS, sample_weight)
        if not training and labels is not None:
            return self._own_loss(x, labels, y_pred, weight, training)
        if known is None:
            if self.teacher is None:
                raise ValueError(
                    "`validation_data` must have labels: the validation loss is the "
                    "student's own."
                )
            known = only("ensemble", self.teacher(x, training=False))
            known = ops.stop_gradient(known)
        said = only("student", y_pred)
        _check_same(known.shape[1:], said.shape[1:])
        _check_labels(self.alpha, labels)
        soft = self.soft_loss(known, said, _weight_of(TEACHER, sample_weight))
        alpha = _share(self.alpha, labels)
        if alpha == 1:
            return soft + self._penalties()
        own = self._own_loss(x, labels, y_pred, weight, training)
        if alpha == 0:
            return own
        # The student's own loss has its penalties in it.
        return alpha * (soft + self._penalties()) + (1 - alpha) * own

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """In place of `student.compute_metrics`."""
        labels, _ = _unpacked(y)
        if labels is None:
            return self._without_compiled()
        kind = type(self.student)
        weight = _weight_of(LABELS, sample_weight)
        return kind.compute_metrics(self.student, x, labels, y_pred, weight)

    def get_metrics_result(self) -> dict[str, Any]:
        """In place of `student.get_metrics_result`."""
        compiled = self.student._compile_metrics
        if compiled is not None and not compiled.built:
            # Nothing with labels has been seen.
            return self._without_compiled()
        return type(self.student).get_metrics_result(self.student)

    def _own_loss(self, *batch: Any) -> Any:
        return type(self.student).compute_loss(self.student, *batch)

    def _penalties(self) -> Any:
        return sum(ops.sum(ops.cast(v, "float32")) for v in self.student.losses)

    def _without_compiled(self) -> dict[str, Any]:
        compiled = self.student._compile_metrics
        others = [m for m in self.student.metrics if m is not compiled]
        return {metric.name: metric.result() for metric in others}


def _share(alpha: float | None, labels: Any) -> float:
    if alpha is not None:
        return float(alpha)
    return 1.0 if labels is None else _ALPHA


def _unpacked(y: Any) -> tuple[Any, Any]:
    """Returns the labels and the teacher's outputs of a target, or None for each."""
    if isinstance(y, dict) and TEACHER in y:
        return y.get(LABELS), y[TEACHER]
    return y, None


def _weight_of(part: str, sample_weight: Any) -> Any:
    """Returns the weights of the samples for the labels, or for the teacher's part."""
    if isinstance(sample_weight, dict) and TEACHER in sample_weight:
        return sample_weight.get(part)
    if part == TEACHER and sample_weight is not None:
        return only("sample_weight", sample_weight)
    return sample_weight


def only(name: str, parts: Any) -> Any:
    """Returns the one output of a model, which may be in a list or a dict."""
    found = keras.tree.flatten(parts)
    if len(found) != 1:
        raise ValueError(
            f"`{name}` must be a model with one output. Received one with "
            f"{len(found)}. Take one of them, on the same layers: "
            f"`keras.Model({name}.inputs, {name}.outputs[0])`, and compile that."
        )
    return found[0]


def _check_labels(alpha: float | None, labels: Any) -> None:
    if labels is None and alpha is not None and alpha != 1:
        raise ValueError(
            "`alpha` must be 1, or left out, where there are no labels: what is left "
            f"of the loss is the student's own. Received: alpha={alpha}, no labels"
        )


def _check_same(teacher: Any, student: Any) -> None:
    if tuple(teacher) != tuple(student):
        raise ValueError(
            "The outputs of `ensemble` and `student` must be of one shape, apart from "
            f"the samples. Received: {tuple(teacher)} and {tuple(student)}"
        )
