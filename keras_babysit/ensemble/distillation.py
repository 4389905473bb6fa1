"""Back to one model: a student learns what an ensemble knows.

CS231n, "Model ensembles", ends with it: one disadvantage of ensembles is that they take
longer to evaluate, and Hinton's "dark knowledge" distils a good one into one model.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_babysit.ensemble.lesson import (
    LABELS,
    TEACHER,
    Lesson,
    check_labels,
    check_same,
)
from keras_babysit.ensemble.soft_targets import positive, soft_loss_for


def distill(
    ensemble: Any,
    student: keras.Model,
    x: Any,
    y: Any = None,
    *,
    temperature: float = 4.0,
    alpha: float | None = None,
    soft_loss: keras.losses.Loss | None = None,
    batch_size: int | None = None,
    **fitting: Any,
) -> keras.callbacks.History:
    """Trains a student on what an ensemble says, and on the labels if there are any.

    Hinton, Vinyals and Dean (2015), "Distilling the Knowledge in a Neural Network":
    the probabilities that a good model gives to the wrong classes say how it
    generalizes, and a raised temperature lets them count. The loss is

        alpha · T² · KL(teacher at T ‖ student at T) + (1 − alpha) · the student's own

    plus the student's weight penalties, in full. With a binary cross-entropy the same
    holds for sigmoids; with a regression loss the teacher's part is the mean squared
    error to the ensemble's mean, and the temperature does nothing.

    The student is trained by its own `fit` with its own optimizer, and remains what it
    is: compiled as before, and files that callbacks save meanwhile are plain Keras
    ones. Its metrics are those of the labels, and so is its validation: `val_loss` is
    the student's own loss, to be compared with that of plain training. Without
    labels the log has only the loss.

    Args:
        ensemble: the teacher: an `Ensemble`, a `LazyEnsemble` or any other model with
            one output, probabilities or logits.
        student: a compiled model with one output of the teacher's shape. Its last layer
            and its loss say what it puts out: probabilities, logits or values.
        x: arrays, as for `fit`: the teacher's outputs are computed once for each
            sample. Or a `tf.data.Dataset` or `PyDataset` with or without labels: the
            teacher, which then must be a Keras model, is run on each batch as the
            student sees it, so that both see the same augmented images.
        y: labels, as for `fit`; none to learn from the teacher alone.
        temperature: T, a positive number.
        alpha: the teacher's share of the loss, from 0 to 1. By default 0.5, or 1 where
            there are no labels.
        soft_loss: the teacher's part of the loss, in place of the one above without
            alpha: called with the outputs of the teacher and of the student.
        batch_size: as for `fit`.
        **fitting: what else `fit` takes: `epochs`, `validation_data`, `callbacks`,
            `verbose`, `sample_weight` ... but no `class_weight`.

    Returns:
        The `keras.callbacks.History` of the training.

    Raises:
        ValueError: for a student that is not compiled or has a `train_step` or
            `compute_loss` of its own, outputs of different shapes or that are not
            finite, arguments out of range, an alpha below 1 without labels.

    Example:
    ```python
    student.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    teacher = keras_babysit.ensemble.Ensemble(members)
    keras_babysit.ensemble.distill(
        teacher, student, x, y, temperature=4.0, epochs=20, validation_data=(xv, yv)
    )
    student.save("student.keras")
    ```
    """
    _check_student(student)
    positive("temperature", temperature)
    _check_fitting(fitting)
    _check_alpha(alpha)
    target, teacher = None, ensemble
    if _are_arrays(x):
        inputs, known = x, _outputs(ensemble, x, batch_size)
        target = {TEACHER: known} if y is None else {LABELS: y, TEACHER: known}
        teacher = None
        check_labels(alpha, y)
        weight = fitting.get("sample_weight")
        if weight is not None:
            fitting["sample_weight"] = dict.fromkeys(target, weight)
    else:
        inputs = _first_inputs(ensemble, x, y)
        known = _outputs(ensemble, inputs, None)
    _check_shapes(known.shape[1:], student, inputs)
    if soft_loss is None:
        soft_loss = soft_loss_for(student, ensemble, known, temperature)
    with Lesson(student, teacher, soft_loss, alpha).given():
        return student.fit(x, target, batch_size=batch_size, **fitting)


def _are_arrays(x: Any) -> bool:
    leaves = keras.tree.flatten(x)
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)


def _outputs(ensemble: Any, x: Any, batch_size: int | None) -> np.ndarray:
    """Returns what the teacher says, for all samples."""
    if not callable(getattr(ensemble, "predict", None)):
        raise ValueError(
            "`ensemble` must be an Ensemble, a LazyEnsemble or a keras.Model. "
            f"Received: {ensemble!r}"
        )
    quiet = {"verbose": 0} if isinstance(ensemble, keras.Model) else {}
    found = ensemble.predict(x, batch_size=batch_size, **quiet)
    if not hasattr(found, "shape"):
        raise ValueError(
            "`ensemble` must be a model with one output. Received one with "
            f"{len(found)}."
        )
    found = np.asarray(found, dtype="float32")
    if not np.isfinite(found).all():
        raise ValueError(
            "The outputs of `ensemble` are not finite for some of the samples: there "
            "is nothing to learn from them."
        )
    return found


def _first_inputs(ensemble: Any, x: Any, y: Any) -> Any:
    """Returns the inputs of the first batch."""
    if y is not None:
        raise ValueError(
            "`y` must be None where `x` brings its labels along. Received: "
            f"x={type(x).__name__}, y={type(y).__name__}"
        )
    if not isinstance(ensemble, keras.Model):
        raise ValueError(
            "`ensemble` must be a keras.Model where `x` comes in batches, or `x` must "
            f"be arrays. Received: ensemble={type(ensemble).__name__}, "
            f"x={type(x).__name__}"
        )
    if isinstance(x, keras.utils.PyDataset):
        batch = x[0]
    elif hasattr(x, "element_spec"):
        batch = next(iter(x))
    else:
        raise ValueError(
            "`x` must be arrays, a tf.data.Dataset or a keras.utils.PyDataset. "
            f"Received: x={type(x).__name__}"
        )
    inputs, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    return inputs


def _check_student(student: Any) -> None:
    if not isinstance(student, keras.Model) or not student.compiled:
        raise ValueError(
            "`student` must be a compiled keras.Model: call `student.compile(...)` "
            f"with its optimizer and loss first. Received: {student!r}"
        )
    for name in ("train_step", "compute_loss"):
        if getattr(type(student), name) is not getattr(keras.Model, name):
            raise ValueError(
                f"`student` must be trained as Keras does it, but its class has a "
                f"`{name}` of its own, which decides its loss. Received: "
                f"{type(student).__name__}"
            )
    if student.optimizer is None:
        raise ValueError("`student` must be compiled with an optimizer.")


def _check_fitting(fitting: dict[str, Any]) -> None:
    if fitting.get("class_weight") is not None:
        raise ValueError(
            "`distill` takes no `class_weight`, which is about labels. Pass the weight "
            "of each sample as `sample_weight`."
        )
    validation = fitting.get("validation_data")
    if isinstance(validation, tuple) and (
        len(validation) not in (2, 3) or validation[1] is None
    ):
        raise ValueError(
            "`validation_data` must have labels, `(x, y)` or `(x, y, weights)`: the "
            f"validation loss is the student's own. Received {len(validation)} parts."
        )


def _check_alpha(alpha: Any) -> None:
    real = isinstance(alpha, (int, float, np.number)) and not isinstance(alpha, bool)
    if alpha is not None and not (real and 0 <= alpha <= 1):
        raise ValueError(
            f"`alpha` must be a number from 0 to 1. Received: alpha={alpha!r}"
        )


def _check_shapes(shape: Any, student: keras.Model, x: Any) -> None:
    spec = keras.tree.map_structure(
        lambda a: keras.KerasTensor((None, *a.shape[1:]), _dtype(a)), x
    )
    outputs = student.compute_output_spec(spec)
    if not hasattr(outputs, "shape"):
        raise ValueError(
            "`student` must be a model with one output. Received one with "
            f"{len(keras.tree.flatten(outputs))}."
        )
    check_same(shape, outputs.shape[1:])


def _dtype(array: Any) -> str:
    return keras.backend.standardize_dtype(getattr(array, "dtype", "float32"))
