"""A small sample of whatever `fit` takes, and a model that is ready to be checked."""

from __future__ import annotations

import dataclasses
import itertools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src.trainers.data_adapters import get_data_adapter

from keras_babysit.borrowing import borrowed
from keras_babysit.errors import first_line, whole, wrong
from keras_babysit.inspection.arrays import numeric
from keras_babysit.inspection.rows import is_array, leaves, rows_of, spread


@dataclass(frozen=True)
class Sample:
    """A few samples of the data, in memory.

    Attributes:
        x: inputs, a NumPy array or a structure of them, as the model takes them.
        y: targets likewise, or `None`.
        sample_weight: likewise, or `None`.
        size: how many samples they are.
        whole: whether they are all there are.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None
    size: int = 0
    whole: bool = False

    def map(self, function: Callable, size: int | None = None) -> Sample:
        """Returns what a function makes of every array, for so many samples."""
        x, y, weight = (
            _map(function, part) for part in (self.x, self.y, self.sample_weight)
        )
        return Sample(x, y, weight, size=self.size if size is None else size)

    def at(self, places: Any) -> Sample:
        """Returns the samples at some indices, or of a slice."""
        size = len(range(self.size)[places] if isinstance(places, slice) else places)
        return self.map(lambda array: array[places], size)

    def first(self, n: int) -> Sample:
        """Returns the first `n` of the samples."""
        return self if n >= self.size else self.at(slice(n))

    def spread(self, n: int) -> Sample:
        """Returns `n` of the samples, spread evenly over them."""
        return self if n >= self.size else self.at(spread(self.size, n))

    def batches(self, size: int = 32) -> list[Sample]:
        """Returns the samples in batches of about one size."""
        edges = np.linspace(0, self.size, -(-self.size // size) + 1).astype(int)
        return [self.at(slice(a, b)) for a, b in itertools.pairwise(edges)]

    @property
    def tensors(self) -> Sample:
        """The same as tensors."""
        return self.map(keras.ops.convert_to_tensor)


def sample_of(x: Any, y: Any = None, sample_weight: Any = None, *, n: int) -> Sample:
    """Returns `n` samples of the data, or all if there are fewer.

    Of arrays they are spread evenly over all rows, so that data sorted by class has
    all classes; of datasets, generators and the like they are the first (a generator
    is read as far).

    Args:
        x: what `fit` takes: arrays, structures of arrays, `tf.data.Dataset`,
            `keras.utils.PyDataset`, a generator.
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays.
        n: how many samples.

    Raises:
        ValueError: if there is no data, or it is not numbers, not finite, or its
            parts differ in length.
    """
    if x is None:
        raise ValueError("There is no data to check with. Received: x=None")
    if are_arrays(x):
        sample = _of_arrays(x, y, sample_weight, n)
    else:
        sample = _of_batches(x, y, sample_weight, n)
    _check_values(sample)
    return sample


def are_arrays(x: Any) -> bool:
    """Whether these are arrays, not a dataset, a generator or the like."""
    return all(is_array(array) or _is_plain(array) for _, array in leaves("x", x))


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str | bytes | bool)


def _of_arrays(x: Any, y: Any, sample_weight: Any, n: int) -> Sample:
    parts = {"x": x, "y": y, "sample_weight": sample_weight}
    parts = {name: as_arrays(value) for name, value in parts.items()}
    for part, value in parts.items():
        for name, array in leaves(part, value):
            if not getattr(array, "shape", None):
                raise wrong(name, "an array with one row a sample", array)
    lengths = {
        name: len(array)
        for part, value in parts.items()
        for name, array in leaves(part, value)
    }
    if not lengths or 0 in lengths.values():
        raise ValueError(
            "There is no data to check with: at least one sample was expected. "
            f"Received: {_described(parts)}"
        )
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "All arrays must have the same number of samples (the first axis). "
            f"Received: {_described(parts)}"
        )
    rows = next(iter(lengths.values()))
    at = spread(rows, n)
    given = Sample(parts["x"], parts["y"], parts["sample_weight"])
    found = given.map(lambda array: _rows(array, at), len(at))
    return dataclasses.replace(found, whole=len(at) == rows)


def as_arrays(value: Any) -> Any:
    """Returns lists of plain numbers as an array, as Keras takes them."""
    if isinstance(value, list | tuple) and value and all(map(_is_plain, value)):
        return np.asarray(value)
    return value


def _rows(array: Any, at: np.ndarray) -> np.ndarray:
    found = rows_of("", array)
    if found is None:
        raise ValueError(
            "Only dense arrays of known size can be checked with. Received: "
            f"{type(array).__name__}"
        )
    return found.take(at)


def _of_batches(x: Any, y: Any, sample_weight: Any, n: int) -> Sample:
    if y is not None or sample_weight is not None:
        raise ValueError(
            "`y` and `sample_weight` must be None if `x` is a dataset or a generator, "
            f"which yields them. Received: x={type(x).__name__}, y={_brief(y)}, "
            f"sample_weight={_brief(sample_weight)}"
        )
    collected: list[tuple] = []
    count = 0
    for batch in batches(x):
        parts, rows = unpacked(batch)
        collected.append(parts)
        count += rows
        if count >= n:
            break
    if not count:
        raise ValueError(f"{type(x).__name__} yields no data to check with.")
    x, y, weight = (
        _map(lambda *arrays: np.concatenate(arrays)[:n], *parts)
        for parts in zip(*collected, strict=True)
    )
    return Sample(x, y, weight, size=min(n, count))


def batches(data: Any) -> Iterator[Any]:
    """Returns an iterator over the batches of a dataset, a generator or the like.

    Raises:
        ValueError: if it is nothing that `fit` takes.
    """
    if isinstance(data, types.GeneratorType):
        return data  # What goes wrong in it is for its author to see.
    try:
        return iter(get_data_adapter(data).get_numpy_iterator())
    except ValueError as e:
        raise ValueError(
            "`x` must be something that `fit` takes: arrays, a dataset or a "
            f"generator of batches. Received: {type(data).__name__}"
        ) from e


def unpacked(batch: Any) -> tuple[tuple[Any, Any, Any], int]:
    """Returns x, y and sample weights of a batch as arrays, and how many rows it has.

    Raises:
        ValueError: if it is a single sample, or its parts differ in length.
    """
    parts = keras.utils.unpack_x_y_sample_weight(batch)
    x, y, weight = (_map(_numpy, part) for part in parts)
    named = {"x": x, "y": y, "sample_weight": weight}
    shapes = [a.shape for name, v in named.items() for _, a in leaves(name, v)]
    if not shapes or () in shapes or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            "`x` must yield batches, of which all parts have the same number of "
            "samples: did you leave out `.batch(32)`? Received: "
            f"{_described(named) or 'a batch without arrays'}"
        )
    return (x, y, weight), shapes[0][0]


def _numpy(array: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(array))


def _check_values(sample: Sample) -> None:
    for part, value in (
        ("x", sample.x),
        ("y", sample.y),
        ("sample_weight", sample.sample_weight),
    ):
        for name, array in leaves(part, value):
            _check_array(name, array, part)


def _check_array(name: str, array: np.ndarray, part: str) -> None:
    values = numeric(array)
    if values is None:
        if part == "x":  # Text is a fine input for a model that takes text.
            return
        hint = (
            " Encode labels as numbers first, for example with "
            "`np.unique(y, return_inverse=True)[1]` or `keras.layers.StringLookup`."
            if part == "y"
            else ""
        )
        raise ValueError(
            f"`{name}` must hold numbers.{hint} Received: dtype={array.dtype}, "
            f"first value {array.flat[0]!r}"
        )
    if not np.isfinite(values).all():
        at = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"`{name}` must be finite: every loss and gradient would be NaN. "
            f"Received: {values[tuple(at)]} at {name}[{', '.join(map(str, at))}] of "
            "the samples looked at"
        )


def check_bounds(samples: Any, limit: Any, far: Any) -> None:
    """Checks the arguments of checks that judge a ratio by two limits."""
    whole("samples", samples)
    if not 0 < limit < far:
        raise ValueError(
            "`limit` and `far` must be positive, and `far` the larger. Received: "
            f"limit={limit}, far={far}"
        )


def ready(model: Any, sample: Sample) -> None:
    """Makes sure that a model can be checked on a sample; builds it if need be.

    Raises:
        TypeError: if it is not a Keras model.
        ValueError: if it is not compiled, or does not fit the data.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: {model!r}")
    if not model.compiled:
        raise ValueError(
            "The model must be compiled: call `model.compile(optimizer, loss)` first, "
            f"as before `fit`. Received: {model.name!r}, not compiled"
        )
    _check_batch_size(model)
    _check_shapes(model, sample)
    one = sample.first(2)
    tensors = one.tensors.x
    if not model.built:
        _attempt(lambda: model(tensors), "The model cannot be called on x", sample)
    # Read as plain tensors: some custom gradients that `fit` can trace fail on
    # variables otherwise.
    values = [
        (v, keras.ops.convert_to_numpy(v.value))
        for v in [*model.variables, *model.metrics_variables]
    ]
    scope = keras.StatelessScope(values, collect_losses=True)
    with borrowed(model), scope:
        y_pred = _attempt(
            lambda: model(tensors, training=False),
            "The model cannot be called on x",
            sample,
        )
        shapes = _map(lambda t: tuple(t.shape), y_pred)
        problem = f"The loss cannot be computed from an output of shape {shapes}"
        try:
            _attempt(lambda: loss_of(model, one, y_pred, False), problem, sample)
        except ValueError:
            if one.y is not None or model._compile_loss is None:
                raise
            raise ValueError(
                "`y` must be given: the model is compiled with a loss that compares "
                f"its outputs with targets. Received: y=None, {_described_sample(one)}"
            ) from None


def _check_batch_size(model: Any) -> None:
    fixed = {
        tensor.shape[0]
        for tensor in getattr(model, "inputs", None) or ()
        if tensor.shape and tensor.shape[0] is not None
    }
    if fixed:
        raise ValueError(
            "The model must take any number of samples at once: a check needs fewer "
            "than a batch. Build it without a fixed batch size, as in "
            "`keras.Input(shape)` without `batch_size`. Received: a model for batches "
            f"of {', '.join(map(str, sorted(fixed)))}"
        )


def _check_shapes(model: Any, sample: Sample) -> None:
    expected = getattr(model, "input_shape", None) if model.built else None
    if not isinstance(expected, tuple) or not isinstance(sample.x, np.ndarray):
        return
    if expected and not all(size is None or isinstance(size, int) for size in expected):
        return
    given = sample.x.shape
    same = len(given) == len(expected) and all(
        want is None or want == got
        for want, got in zip(expected[1:], given[1:], strict=True)
    )
    # Keras itself adds or drops a last axis of 1.
    if not same and np.prod(given[1:]) != np.prod([s or 1 for s in expected[1:]]):
        raise ValueError(
            f"`x` must have shape {expected} to go into the model (None is any "
            f"number of samples). Received: shape {given}"
        )


def _attempt(function: Any, problem: str, sample: Sample) -> Any:
    try:
        return function()
    except Exception as e:
        raise ValueError(
            f"{problem}: {first_line(e).rstrip('.')}. "
            f"Received: {_described_sample(sample)}"
        ) from None


def loss_of(model: Any, sample: Sample, y_pred: Any, training: bool) -> Any:
    """Returns the model's own loss as a scalar tensor, penalties included."""
    tensors = sample.tensors
    return model._compute_loss(
        x=tensors.x,
        y=tensors.y,
        y_pred=y_pred,
        sample_weight=tensors.sample_weight,
        training=training,
    )


def _map(function: Any, *nested: Any) -> Any:
    if nested[0] is None:
        return None
    return keras.tree.map_structure(function, *nested)


def _described_sample(sample: Sample) -> str:
    return _described(
        {"x": sample.x, "y": sample.y, "sample_weight": sample.sample_weight}
    )


def _described(parts: dict[str, Any]) -> str:
    found = [
        f"{name} of shape {getattr(array, 'shape', None)}"
        for part, value in parts.items()
        for name, array in leaves(part, value)
    ]
    return ", ".join(found)


def _brief(value: Any) -> str:
    return "None" if value is None else type(value).__name__
