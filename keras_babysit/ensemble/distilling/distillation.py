"""Back to one model: a student learns what an ensemble knows.

CS231n, "Model ensembles", ends with it: one disadvantage of ensembles is that they take
longer to evaluate, and Hinton's "dark knowledge" distils a good one into one model.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras.src.trainers.data_adapters import is_torch_dataloader

from keras_babysit.ensemble.arguments import check_arrays, targets_of
from keras_babysit.ensemble.distilling.mixed_loss import (
    LABELS,
    TEACHER,
    MixedLoss,
    only,
)
from keras_babysit.ensemble.distilling.soft_targets import POSITIVE, soft_loss_for
from keras_babysit.errors import number, rereadable, whole_or_none


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
    """Trains a student on an ensemble's predictions, and on labels if there are any.

    Hinton, Vinyals and Dean (2015), "Distilling the Knowledge in a Neural Network":
    the probabilities that a good model gives to the wrong classes show how it
    generalizes, and a higher temperature gives them more weight. The loss is

        alpha · T² · KL(teacher at T ‖ student at T) + (1 − alpha) · the student's own

    plus the student's weight penalties, in full. With a binary cross-entropy the same
    holds for sigmoids; with a regression loss the teacher's part is the mean squared
    error to the ensemble's mean, and the temperature does nothing.

    The student is trained by its own `fit` with its own optimizer. It stays compiled as
    before, and files that callbacks save are plain Keras files. Metrics and validation
    use the labels: `val_loss` is the student's own loss, so you can compare it with
    that of plain training. Without labels the log has only the loss.

    Args:
        ensemble: the teacher: an `Ensemble`, a `LazyEnsemble` or any other model with
            one output, probabilities or logits.
        student: a compiled model with one output of the teacher's shape. Its last layer
            and its loss say what it puts out: probabilities, logits or values.
        x: arrays, as for `fit`: the teacher's outputs are computed once for each
            sample. Or a `tf.data.Dataset`, `DataLoader` or `PyDataset` with or without
            labels: the teacher, which then must be a Keras model, is run on each batch
            as the student sees it, so that both see the same augmented images.
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
            `compute_loss` of its own, outputs of different shapes or kinds or that are
            not finite, data without samples, arguments out of range, an alpha below 1
            without labels.

    Example:
    ```python
    student.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    teacher = keras_babysit.ensemble.Ensemble(members)
    keras_babysit.ensemble.distill(
        teacher,
        student,
        x,
        y,
        temperature=4.0,
        epochs=20,
        validation_data=(x_val, y_val),
    )
    student.save("student.keras")
    ```
    """
    _check_student(student)
    number("temperature", temperature, *POSITIVE)
    whole_or_none("batch_size", batch_size)
    if alpha is not None:
        number("alpha", alpha, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    if fitting.get("class_weight") is not None:
        raise ValueError(
            "`distill` takes no `class_weight`, which is about labels. Pass the weight "
            "of each sample as `sample_weight`."
        )
    leaves = keras.tree.flatten(x)
    in_memory = bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)
    if in_memory:
        target = _target(ensemble, x, y, batch_size)
        known, teacher = target[TEACHER], None
        if (weight := fitting.get("sample_weight")) is not None:
            # Keras wants one for each part of the target.
            weight = only("sample_weight", weight)
            fitting["sample_weight"] = keras.tree.map_structure(
                lambda _: weight, target
            )
    else:
        target, teacher = None, ensemble
        known = _outputs(ensemble, _first_inputs(ensemble, student, x, y), None)
    if soft_loss is None:
        soft_loss = soft_loss_for(student, ensemble, known, temperature)
    with MixedLoss(student, teacher, soft_loss, alpha).given():
        return student.fit(x, target, batch_size=batch_size, **fitting)


def _target(ensemble: Any, x: Any, y: Any, batch_size: int | None) -> dict[str, Any]:
    """Returns what the teacher says of each sample, and the labels if there are any."""
    count = check_arrays(x)
    if y is not None:
        targets_of(next(iter(y.values()), None) if isinstance(y, dict) else y, count)
    known = _outputs(ensemble, x, batch_size)
    if len(known) != count:
        raise ValueError(
            "`ensemble` must put out something for each sample. Received: "
            f"{len(known)} outputs for {count} samples"
        )
    if y is None:
        return {TEACHER: known}
    labels = y if isinstance(y, dict) else np.asarray(y)
    return {LABELS: labels, TEACHER: known}


def _outputs(ensemble: Any, x: Any, batch_size: int | None) -> np.ndarray:
    """Returns what the teacher says of all samples."""
    if not callable(getattr(ensemble, "predict", None)):
        raise ValueError(
            "`ensemble` must be an Ensemble, a LazyEnsemble or a keras.Model. "
            f"Received: {ensemble!r}"
        )
    quiet = {"verbose": 0} if isinstance(ensemble, keras.Model) else {}
    made = ensemble.predict(x, batch_size=batch_size, **quiet)
    found = np.asarray(only("ensemble", made), dtype="float32")
    if not np.isfinite(found).all():
        raise ValueError(
            "The outputs of `ensemble` are not finite for some of the samples: there "
            "is nothing to learn from them."
        )
    return found


def _first_inputs(ensemble: Any, student: keras.Model, x: Any, y: Any) -> Any:
    """Returns the inputs of the first batch."""
    in_batches = isinstance(x, keras.utils.PyDataset) or hasattr(x, "element_spec")
    if not in_batches and not is_torch_dataloader(x):
        raise ValueError(
            f"`x` must be {rereadable()}. Make an array of a list by `np.asarray`. "
            f"Received: x={type(x).__name__}"
        )
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
    if ensemble is student:
        raise ValueError(
            "`ensemble` and `student` are the same model, which would be asked while "
            "it changes. Give a copy as the ensemble: `Ensemble([student])`."
        )
    batch = next(iter(x), None)
    if batch is None:
        raise ValueError("`x` must have at least one batch. Received: none")
    leaves = keras.tree.flatten(batch)
    shapes = [tuple(leaf.shape) for leaf in leaves if hasattr(leaf, "shape")]
    if len({shape[:1] for shape in shapes}) > 1 or () in shapes:
        raise ValueError(
            "`x` must come in batches: `x.batch(32)`. Received: parts of shape "
            f"{shapes}"
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
