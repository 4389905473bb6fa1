"""What `search` takes for `fit`: whether it can work, and its parts for each fold."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras.src.trainers.data_adapters.array_slicing import can_slice_array

from keras_babysit.callbacks.babysitter import Babysitter
from keras_babysit.errors import rereadable, whole
from keras_babysit.inspection.rows import leaves
from keras_babysit.search.trials import Objective

#: Arguments of `fit` that hold one entry a sample.
_BY_SAMPLE = ("x", "y", "sample_weight")
#: Arguments of `fit` that the search decides.
_DECIDED = ("epochs", "initial_epoch")


def check_arguments(
    arguments: Mapping[str, Any],
    folds: int | None = None,
    objective: Objective | None = None,
    own_fit: bool = False,
) -> None:
    """Makes sure that trials can be trained with these arguments of `fit`.

    Raises:
        ValueError: if there is no data, its parts differ in length, it can be read
            only once, or is not arrays and is to be split; for validation data where
            folds are, and none where the objective needs some; for callbacks that
            cannot be copied.
    """
    _check_decided(arguments)
    if arguments.get("x") is None and not own_fit:
        raise ValueError("`x` must be the data to train on. Received: x=None")
    for name in ("x", "validation_data"):
        _check_can_begin_again(name, arguments.get(name))
    if are_arrays(arguments):
        _check_lengths(arguments)
    if folds is not None:
        _check_folds(arguments, folds)
    if not own_fit:
        _check_split(arguments)
    _check_validation(arguments, folds, objective, own_fit)
    copied_callbacks(arguments)


def _check_decided(arguments: Mapping[str, Any]) -> None:
    for name in _DECIDED:
        if name in arguments:
            raise ValueError(
                f"`{name}` must not be given to `search`: how long a trial trains is "
                "decided by `epochs` or `stages` of the search. "
                f"Received: {name}={arguments[name]!r}"
            )


def _check_can_begin_again(name: str, data: Any) -> None:
    if isinstance(data, Iterator):
        raise ValueError(
            f"`{name}` must be data that every trial can read from its beginning: "
            f"{rereadable()}. A generator or iterator continues where the trial before "
            f"has left it, or is used up by it. Received: {name}={data!r}"
        )


def _check_lengths(arguments: Mapping[str, Any]) -> None:
    lengths = {
        place: _length(leaf)
        for name in _BY_SAMPLE
        for place, leaf in leaves(name, arguments.get(name))
    }
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ValueError(
            f"`x`, `y` and `sample_weight` must have as many samples. Received: {found}"
        )
    if 0 in lengths.values():
        raise ValueError("`x` must have at least one sample. Received: none")


def _check_split(arguments: Mapping[str, Any]) -> None:
    """Says what Keras says in every trial, and of lengths only after an epoch."""
    given = arguments.get("validation_data")
    if isinstance(given, tuple | list) and len(given) in (2, 3):
        lengths = [
            _length(leaf)
            for part in given
            for _, leaf in leaves("", part)
            if _is_array(leaf)
        ]
        if len(set(lengths)) > 1:
            raise ValueError(
                "The parts of `validation_data` must have as many samples. Received: "
                f"{', '.join(map(str, lengths))}"
            )
    split = arguments.get("validation_split")
    if split and given is None and not are_arrays(arguments):
        raise ValueError(
            "`validation_split` needs arrays, which can be split: NumPy arrays, "
            "tensors, pandas, or lists and dictionaries of them. Give "
            f"`validation_data` instead. Received: validation_split={split!r} and x of "
            f"type {type(arguments['x']).__name__}"
        )


def _check_folds(arguments: Mapping[str, Any], folds: int) -> None:
    whole("folds", folds, least=2)
    for name in ("validation_data", "validation_split"):
        given = arguments.get(name)
        if given is not None and not (name == "validation_split" and not given):
            raise ValueError(
                f"`{name}` must not be given with `folds={folds}`: each fold is the "
                "validation data of the others."
            )
    if not are_arrays(arguments):
        raise ValueError(
            "`folds` needs arrays, which can be split: NumPy arrays, tensors, pandas, "
            "or lists and dictionaries of them. Received: "
            f"x of type {type(arguments['x']).__name__}"
        )
    samples = number_of_samples(arguments)
    if samples < folds:
        raise ValueError(
            f"`folds` must be no more than there are samples, {samples}. "
            f"Received: folds={folds}"
        )


def _check_validation(
    arguments: Mapping[str, Any],
    folds: int | None,
    objective: Objective | None,
    own_fit: bool,
) -> None:
    names = objective.names if objective is not None and not own_fit else ()
    needing = [name for name in names if name.startswith("val_")]
    if not needing:
        return
    given = arguments.get("validation_data") is not None
    if not (given or arguments.get("validation_split") or folds):
        raise ValueError(
            f"The objective {needing[0]!r} needs validation data: give "
            "`validation_data` or `validation_split` to `search`, or `folds` to "
            "`Search`."
        )


def copied_callbacks(
    arguments: Mapping[str, Any], own: str | os.PathLike = ""
) -> list[keras.callbacks.Callback]:
    """Returns copies of the user's callbacks, which each trial needs of its own.

    Args:
        arguments: of `fit`.
        own: subdirectory of the trial, for the logs of `keras.callbacks.TensorBoard`
            and of a `Babysitter`.

    Raises:
        ValueError: if one of them is no callback, cannot be copied, or would put a
            trial where another one was.
    """
    given = arguments.get("callbacks") or []
    given = given if isinstance(given, list | tuple) else [given]
    copies = []
    for callback in given:
        if isinstance(callback, type) or not hasattr(callback, "set_model"):
            raise ValueError(
                "`callbacks` must be instances of `keras.callbacks.Callback`. "
                f"Received: {callback!r}"
            )
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "`callbacks` must be without `BackupAndRestore`: a trial would resume "
                "from the backup of another one. A search that was cut off resumes by "
                f"itself when it is run again. Received: {callback!r}"
            )
        try:
            copies.append(copy.deepcopy(callback))
        except Exception as error:
            raise ValueError(
                "Every trial gets copies of its own of the callbacks, so "
                "`copy.deepcopy` must be able to copy them. It cannot copy "
                f"{callback!r}: {type(error).__name__}: {error}"
            ) from None
        if isinstance(callback, keras.callbacks.TensorBoard | Babysitter):
            copies[-1].log_dir = os.path.join(callback.log_dir, own)
    return copies


def for_own_fit(
    fit: Callable, hp: Any, model: Any, arguments: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns what a hypermodel's own `fit` is given, by position and by name.

    Data that is not there is left out. `x` and `y` have their names, but where `fit`
    calls them something else they come first, as with KerasTuner. `epochs` and
    `verbose`, which KerasTuner only passes on, are left out where it has no room.
    """
    given = {k: v for k, v in arguments.items() if k not in _BY_SAMPLE or v is not None}
    signature = inspect.signature(fit)
    for spared in ((), ("verbose",), ("epochs", "verbose")):
        named = {k: v for k, v in given.items() if k not in spared}
        first = [named[name] for name in ("x", "y") if name in named]
        others = {k: v for k, v in named.items() if k not in ("x", "y")}
        if _can_bind(signature, hp, model, **named):
            return (hp, model), named
        if _can_bind(signature, hp, model, *first, **others):
            return (hp, model, *first), others
    return (hp, model), given


def _can_bind(signature: inspect.Signature, *args: Any, **kwargs: Any) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def are_arrays(arguments: Mapping[str, Any]) -> bool:
    """Whether the data is arrays, not a dataset or the like."""
    found = [
        leaf for name in _BY_SAMPLE for _, leaf in leaves(name, arguments.get(name))
    ]
    return bool(found) and all(_is_array(leaf) for leaf in found)


def number_of_samples(arguments: Mapping[str, Any]) -> int:
    """Returns how many samples the arrays have."""
    return _length(next(leaf for _, leaf in leaves("x", arguments["x"])))


def of_fold(
    arguments: Mapping[str, Any], folds: int, fold: int, seed: int
) -> dict[str, Any]:
    """Returns the arguments with one fold as validation data, the others as training.

    Which samples are in a fold depends on the seed and the number of samples only, and
    on the labels where `y` is integers: then each fold has its share of every class.

    Returns:
        Arguments with `validation_data`; what is nested stays so.
    """
    numbers = fold_numbers(
        number_of_samples(arguments), folds, seed, _labels(arguments)
    )
    train, validation = np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)
    parts = dict(arguments)
    held = []
    for name in _BY_SAMPLE:
        if arguments.get(name) is not None:
            parts[name] = _taken(arguments[name], train)
            held.append(_taken(arguments[name], validation))
        elif name == "y" and arguments.get("sample_weight") is not None:
            held.append(None)
    return {**parts, "validation_data": tuple(held)}


def fold_numbers(
    samples: int, folds: int, seed: int, labels: np.ndarray | None = None
) -> np.ndarray:
    """Returns the fold of each sample: an int array `(samples,)`.

    Folds differ by at most one sample, and by at most one of each class: the samples
    are dealt to them in random order, class after class.

    Args:
        samples: how many there are.
        folds: how many folds.
        seed: of the order.
        labels: their classes, an int array `(samples,)`; `None` if there are none.
    """
    order = np.random.default_rng(seed).permutation(samples)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    numbers = np.empty(samples, int)
    numbers[order] = np.arange(samples) % folds
    return numbers


def _labels(arguments: Mapping[str, Any]) -> np.ndarray | None:
    y = arguments.get("y")
    if y is None or keras.tree.is_nested(y) or hasattr(y, "tocsr"):
        return None
    labels = np.asarray(keras.ops.convert_to_numpy(y) if _is_tensor(y) else y)
    if labels.size != len(labels) or labels.dtype.kind not in "iub":
        return None
    return labels.reshape(-1)


def _is_array(leaf: Any) -> bool:
    # Keras takes whatever has `__array__`, numbers too: only those with rows.
    return can_slice_array(leaf) and bool(getattr(leaf, "shape", ()))


def _is_tensor(leaf: Any) -> bool:
    return keras.ops.is_tensor(leaf)


def _length(leaf: Any) -> int:
    return int(leaf.shape[0])


def _taken(nested: Any, at: np.ndarray) -> Any:
    """Returns the samples at some indices, in the same structure."""

    def one(leaf: Any) -> Any:
        if leaf is None:
            return None
        if hasattr(leaf, "iloc"):
            return leaf.iloc[at]
        if hasattr(leaf, "tocsr"):  # SciPy's sparse matrices.
            return leaf.tocsr()[at]
        return keras.ops.take(leaf, at, axis=0) if _is_tensor(leaf) else leaf[at]

    return keras.tree.map_structure(one, nested)
