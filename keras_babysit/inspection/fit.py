"""How to get at what the running `fit` feeds its model.

Keras hands callbacks the model, the epoch and the logs, but no data: neither
`Callback.params` nor the model holds what `fit` was called with. Asking the user for
it again would be one more argument to get wrong, and wrapping `fit` would change it.
But while a callback runs, `fit` is on the call stack, and its arguments are its local
variables. They are read here and never written. A dataset, a generator or a loader is
not even read from: a new iterator over it could draw from its random numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import numpy as np

from keras_babysit.inspection.data import Fed, of_arrays, of_validation
from keras_babysit.inspection.rows import Rows, even, is_array, leaves


def fed_to(model: Any) -> Fed | None:
    """Returns what the running `fit` of a model feeds it.

    To be called inside a callback's `on_train_begin`.

    Returns:
        A `Fed`; `None` if no `fit` of it is running, or it cannot be made out.
    """
    names = arguments_of(model)
    try:
        return None if names is None else _fed(names)
    except Exception:  # What a user may pass as data has no end.
        return None


def arguments_of(model: Any = None) -> dict[str, Any] | None:
    """Returns the local variables of the running `fit` of a model.

    Args:
        model: the model that is being fitted; `None` for the innermost `fit`.
    """
    frame: FrameType | None = sys._getframe(1)
    try:
        while frame is not None:
            # A model class may have its own `fit` around Keras's: take the inner.
            if frame.f_code.co_name == "fit" and _is_of(frame.f_locals, model):
                return dict(frame.f_locals)
            frame = frame.f_back
        return None
    finally:
        del frame  # It holds everything on the stack.


def _is_of(names: Mapping[str, Any], model: Any) -> bool:
    if "epoch_iterator" in names:
        return model is None or names.get("self") is model
    # That of `optimizers`, to which the model is an argument.
    return "objective" in names and (model is None or names.get("model") is model)


def _fed(names: Mapping[str, Any]) -> Fed:
    found = {**_training(names), **_validation(names)}
    split = _is_split(names, found)
    return Fed(**found, validation_split=split)


def _training(names: Mapping[str, Any]) -> dict[str, Any]:
    iterator = names.get("epoch_iterator")
    weights = (names.get("sample_weight"), names.get("class_weight"))
    common = {
        "steps": _steps(names),
        "batch_size": batch_size(iterator),
        "weighted": any(is_uneven(weight) for weight in weights),
    }
    x = names.get("x")
    if not _is_arrays(x):
        return common
    shuffle = names.get("shuffle", "unknown")
    return {
        **common,
        **of_arrays(x, names.get("y")),
        "rows": _whole(next(leaves("x", x))[1].shape[0]),
        # "batch" shuffles the batches, not the samples.
        "shuffled": None if isinstance(shuffle, str) else bool(shuffle),
    }


def batch_size(iterator: Any) -> int | None:
    """Returns the size of the batches of Keras's iterator over an epoch, if known."""
    return _whole(getattr(_adapter(iterator), "batch_size", None))


def _is_arrays(x: Any) -> bool:
    given = [array for _, array in leaves("x", x)]
    return bool(given) and all(is_array(array) for array in given)


def _adapter(iterator: Any) -> Any:
    """Keras's view of the data, if it is one that knows its batch size by itself."""
    adapter = getattr(iterator, "data_adapter", None)
    known = ("ArrayDataAdapter", "TFDatasetAdapter")
    return adapter if type(adapter).__name__ in known else None


def _steps(names: Mapping[str, Any]) -> int | None:
    batches = _whole(getattr(names.get("epoch_iterator"), "num_batches", None))
    epochs = _whole(names.get("epochs"))
    if batches is None or epochs is None:
        return None
    return batches * max(epochs - (_whole(names.get("initial_epoch")) or 0), 0)


def _validation(names: Mapping[str, Any]) -> dict[str, Any]:
    if names.get("validation_data") is None:
        return {}
    return of_validation(names.get("val_x"), names.get("val_y"))


def _is_split(names: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether Keras split the validation data off.

    By then it has put the parts into `x`, `y` and `validation_data`. Validation data
    that the user gave takes precedence over `validation_split`, hence the numbers.
    """
    share = names.get("validation_split")
    inputs: tuple[Rows, ...] = found.get("validation_inputs", ())
    if not share or not inputs or found.get("rows") is None:
        return False
    train, validation = found["rows"], inputs[0].shape[0]
    return train == int(np.floor((train + validation) * (1.0 - share)))


def is_uneven(weight: Any) -> bool:
    """Whether weights were given to `fit`, and are not all the same."""
    if isinstance(weight, Mapping):
        values = [v for v in weight.values() if isinstance(v, int | float)]
        if len(values) == len(weight):
            return len(set(values)) > 1
    given = [array for _, array in leaves("w", weight)]
    return not all(isinstance(one, np.ndarray) and even(one) for one in given)


def _whole(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None
