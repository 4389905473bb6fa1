"""Losses between what a teacher says and what its student says, as in distillation."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_babysit.ensemble.outputs.forms import OutputForm, forms_of
from keras_babysit.errors import number

#: The smallest normal float32: probabilities below it count as it.
_TINY = float(np.finfo(np.float32).tiny)
#: What a temperature must be, for `errors.number`.
POSITIVE = ("a positive finite number", lambda v: 0 < v < math.inf)
#: How much less than 1 a float32 can be.
_ALMOST = 2.0**-24


class SoftTargets(keras.losses.Loss):
    """How far a student's classes are from a teacher's, at a temperature.

    `temperature² · KL(softmax(v / T) ‖ softmax(z / T))` for the teacher's logits v and
    the student's z, over the last axis. It differs from the cross-entropy of Hinton,
    Vinyals and Dean (2015), "Distilling the Knowledge in a Neural Network", by the
    entropy of the teacher's classes: the gradients are the same, and it is zero where
    the student says what the teacher says. With the factor the size of the gradients
    stays as the temperature rises; for high ones they are those of `(z − v)²` over
    twice the number of classes, for logits whose mean is zero (section 2.1).

    Where outputs are probabilities, their logarithms serve as logits: these differ
    from the logits by a constant, which the softmax takes away, so that the result is
    exact for all probabilities above 1e-38.

    Args:
        temperature: T, a positive number. At 1 the classes are as they are; higher
            ones make the small probabilities count.
        from_logits: whether the student puts out logits, not probabilities.
        teacher_from_logits: the same for the teacher.
        reduction, name, dtype: as of any Keras loss.

    Call with:
        y_true: the teacher's outputs, shape `(samples, ..., classes)`.
        y_pred: the student's, of the same shape.

    Raises:
        ValueError: for a temperature that is not a positive number.

    Example:
    ```python
    loss = SoftTargets(temperature=4.0, from_logits=True)
    loss(teacher.predict(x), student.predict(x))
    ```
    """

    def __init__(
        self,
        temperature: float = 1.0,
        from_logits: bool = False,
        teacher_from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.temperature = number("temperature", temperature, *POSITIVE)
        self.from_logits = from_logits
        self.teacher_from_logits = teacher_from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each sample, shape `(samples, ...)`."""
        t = self.temperature
        v = y_true if self.teacher_from_logits else _log(y_true)
        z = y_pred if self.from_logits else _log(y_pred)
        log_q = ops.log_softmax(v / t, axis=-1)
        log_p = ops.log_softmax(z / t, axis=-1)
        return t * t * ops.sum(ops.exp(log_q) * (log_q - log_p), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        own = ("temperature", "from_logits", "teacher_from_logits")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


class SoftBinaryTargets(SoftTargets):
    """How far a student's yes or no is from a teacher's, at a temperature.

    `SoftTargets` for a sigmoid: `temperature² · KL` between Bernoulli variables whose
    logits are divided by the temperature, and the mean over the last axis, as in
    Keras's binary cross-entropy. Where outputs are probabilities, their logits are
    `log(p / (1 − p))`; a float32 cannot tell those above 16.6 apart.

    Args, what it is called with and what it raises are those of `SoftTargets`.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each sample, shape `(samples, ...)`."""
        t = self.temperature
        v = (y_true if self.teacher_from_logits else _logit(y_true)) / t
        z = (y_pred if self.from_logits else _logit(y_pred)) / t
        yes = ops.sigmoid(v) * (ops.log_sigmoid(v) - ops.log_sigmoid(z))
        no = ops.sigmoid(-v) * (ops.log_sigmoid(-v) - ops.log_sigmoid(-z))
        return t * t * ops.mean(yes + no, axis=-1)


def soft_loss_for(
    student: keras.Model, teacher: Any, outputs: np.ndarray, temperature: float
) -> keras.losses.Loss:
    """Returns the loss from a teacher's outputs to a student's that fits both.

    Args:
        student: built and compiled, with one output.
        teacher: a model with one output.
        outputs: of the teacher, for some samples: where its graph and loss do not tell
            whether they are probabilities, they are if they look so.
        temperature: see `SoftTargets`.

    Raises:
        ValueError: if neither its last layer nor its loss says what the student's
            outputs mean, or the teacher's are known to mean something else.
    """
    form = forms_of(student)[0]
    if not form.known:
        raise ValueError(
            "Neither the student's last layer nor its loss says what its outputs mean. "
            "Expected: a softmax, a sigmoid, one of Keras's cross-entropies or, for "
            "regression, an error such as 'mean_squared_error'; or `soft_loss`, a "
            "keras.losses.Loss from the teacher's outputs to the student's. Received: "
            f"loss={student.loss!r}"
        )
    if form.kind == "values":
        return keras.losses.MeanSquaredError()
    kind = SoftBinaryTargets if form.kind == "binary" else SoftTargets
    return kind(temperature, form.logits, _are_logits(teacher, outputs, form))


def _are_logits(teacher: Any, outputs: np.ndarray, student: OutputForm) -> bool:
    if isinstance(teacher, keras.Model) or hasattr(teacher, "output_forms"):
        form = forms_of(teacher)[0]
        if form.known and form.kind != student.kind:
            raise ValueError(
                "`ensemble` and `student` must put out the same kind of thing, or pass "
                "`soft_loss`, a keras.losses.Loss from the outputs of the one to those "
                f"of the other. Received: {form.words} of `ensemble`, {student.words} "
                "of `student`"
            )
        if form.known:
            return form.logits
    if student.kind == "binary":
        return bool(np.any((outputs < 0) | (outputs > 1)))
    sums = np.allclose(outputs.sum(-1), 1, atol=1e-2)
    return not sums or bool(np.any(outputs < 0))


def _log(p: Any) -> Any:
    return ops.log(ops.maximum(p, _TINY))


def _logit(p: Any) -> Any:
    return _log(p) - ops.log(ops.maximum(1 - p, _ALMOST))
