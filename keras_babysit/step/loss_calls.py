"""Notes what losses get and give back while something runs, whoever calls them.

Three places see nearly all: `keras.losses.Loss.__call__`, which compiled losses go
through whatever they were given as, the `call` of the loss inside it, and the backend's
cross-entropies, which say whether they take probabilities or logits. The wrappers keep
references and compute nothing.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras.src import backend as keras_backend

_CROSS_ENTROPIES = (
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
)


@dataclass(frozen=True)
class LossCall:
    """What is known of a call of a loss, beside its tensors.

    Attributes:
        loss: the name of the loss.
        takes: `"probabilities"` or `"logits"` if it is a cross-entropy of Keras's.
        cross_entropy: its name, if it is one.
        layer: path of the layer whose output it gets, if it is one's.
        expanded: whether targets and outputs were broadcast against each other.
    """

    loss: str
    takes: str = ""
    cross_entropy: str = ""
    layer: str = ""
    expanded: bool = False


#: Is given a call, and its tensors by their roles.
Listener = Callable[[LossCall, dict[str, Any]], None]

_lock = threading.Lock()
_listeners: list[Listener] = []
_wrapped = contextlib.ExitStack()
_here = threading.local()


@contextlib.contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Tells a listener of each call of a loss meanwhile."""
    with _lock:
        _listeners.append(listener)
        if len(_listeners) == 1:
            _wrap()
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)
            if not _listeners:
                _wrapped.close()


def _wrap() -> None:
    _put(keras.losses.Loss, "__call__", _watched_loss)
    # What metrics compute is no loss.
    _put(keras.metrics.MeanMetricWrapper, "update_state", _unheard)
    for name in _CROSS_ENTROPIES:
        _put(keras_backend.nn, name, _watched_cross_entropy)


def _put(owner: Any, name: str, wrapper: Callable) -> None:
    original = getattr(owner, name)
    setattr(owner, name, wrapper(original))
    _wrapped.callback(setattr, owner, name, original)


class _Open:
    """A call of a loss that has not returned yet."""

    def __init__(self, name: str):
        self.name = name
        self.tensors: dict[str, Any] = {}
        self.inner: list[tuple[LossCall, dict[str, Any]]] = []


def _open_ones() -> list[_Open | None]:
    if not hasattr(_here, "open"):
        _here.open = []
    return _here.open


def _watched_loss(original: Callable) -> Callable:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def called(loss: Any, *args: Any, **kwargs: Any) -> Any:
        known = _open_ones()
        if known:
            return original(loss, *args, **kwargs)
        one = _Open(_name_of(loss))
        known.append(one)
        had = vars(loss).get("call")
        object.__setattr__(loss, "call", _watched_call(loss.call, one))
        try:
            result = original(loss, *args, **kwargs)
        finally:
            known.pop()
            if had is None:
                object.__delattr__(loss, "call")
            else:
                object.__setattr__(loss, "call", had)
        given = signature.bind(loss, *args, **kwargs).arguments
        one.tensors["weights"] = given.get("sample_weight")
        for call, tensors in _joined(one):
            _tell(call, tensors)
        return result

    return called


def _watched_call(original: Callable, one: _Open) -> Callable:
    @functools.wraps(original)
    def called(targets: Any, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        values = original(targets, outputs, *args, **kwargs)
        one.tensors = {"targets": targets, "outputs": outputs, "values": values}
        return values

    return called


def _watched_cross_entropy(original: Callable) -> Callable:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def called(*args: Any, **kwargs: Any) -> Any:
        values = original(*args, **kwargs)
        known = _open_ones()
        if known and known[-1] is None:
            return values
        given = signature.bind(*args, **kwargs).arguments
        takes = "logits" if given.get("from_logits") else "probabilities"
        name = original.__name__
        call = LossCall(name, takes, name)
        tensors = {
            "targets": given["target"],
            "outputs": given["output"],
            "values": values,
        }
        if known and known[-1] is not None:
            known[-1].inner.append((call, tensors))
        else:
            _tell(call, tensors)
        return values

    return called


def _unheard(original: Callable) -> Callable:
    @functools.wraps(original)
    def called(*args: Any, **kwargs: Any) -> Any:
        known = _open_ones()
        known.append(None)
        try:
            return original(*args, **kwargs)
        finally:
            known.pop()

    return called


def _joined(one: _Open) -> Iterator[tuple[LossCall, dict[str, Any]]]:
    """The loss, with what it takes, and cross-entropies of something else in it."""
    own = LossCall(one.name)
    others = []
    for call, tensors in one.inner:
        if tensors["outputs"] is one.tensors.get("outputs"):
            own = replace(own, takes=call.takes, cross_entropy=call.cross_entropy)
        else:
            others.append((replace(call, loss=f"{call.loss} in {one.name}"), tensors))
    if one.tensors:
        yield own, one.tensors
    yield from others


def _tell(call: LossCall, tensors: dict[str, Any]) -> None:
    for listener in tuple(_listeners):
        listener(call, tensors)


def _name_of(loss: Any) -> str:
    function = getattr(loss, "fn", None)
    return getattr(function, "__name__", "") or str(loss.name)
