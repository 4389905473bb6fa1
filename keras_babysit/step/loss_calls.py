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
from dataclasses import dataclass, field, replace
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
        single: whether it gives one value for the whole batch, before any weights.
    """

    loss: str
    takes: str = ""
    cross_entropy: str = ""
    layer: str = ""
    expanded: bool = False
    single: bool = False


#: Is given a call, and its tensors by their roles.
Listener = Callable[[LossCall, dict[str, Any]], None]
#: Is given what has gone wrong in this module, which must not end the user's step.
Failed = Callable[[Exception], None]

_lock = threading.Lock()
_listeners: list[tuple[Listener, Failed]] = []
_wrapped = contextlib.ExitStack()


class _Here(threading.local):
    """The calls of losses, and of metrics as `None`, that have not returned yet."""

    def __init__(self) -> None:
        self.stack: list[_Open | None] = []


_here = _Here()


@contextlib.contextmanager
def heard(listener: Listener, failed: Failed) -> Iterator[None]:
    """Tells a listener of each call of a loss meanwhile."""
    one = (listener, failed)
    try:
        with _lock:
            _listeners.append(one)
            if len(_listeners) == 1:
                _wrap()
        yield
    finally:
        with _lock:
            _listeners.remove(one)
            if not _listeners:
                _wrapped.close()


def _wrap() -> None:
    _put(keras.losses.Loss, "__call__", _watch_loss)
    # Metrics call the same functions, but are no losses.
    _put(keras.metrics.MeanMetricWrapper, "update_state", _unheard)
    for name in _CROSS_ENTROPIES:
        _put(keras_backend.nn, name, _watch_cross_entropy)


def _put(owner: Any, name: str, wrapper: Callable) -> None:
    original = getattr(owner, name)
    watched = wrapper(original)
    _wrapped.callback(setattr, owner, name, original)
    setattr(owner, name, watched)


@dataclass
class _Open:
    """A call of a loss that has not returned yet."""

    name: str
    tensors: dict[str, Any] = field(default_factory=dict)
    inner: list[tuple[LossCall, dict[str, Any]]] = field(default_factory=list)


_NOTHING = _Open("")

# Functions called `watched` run in place of the user's or Keras's: whatever fails in
# what they call, the original is called once, and its result or error is passed on.


def _watch_loss(original: Callable) -> Callable:
    @functools.wraps(original)
    def watched(loss: Any, *args: Any, **kwargs: Any) -> Any:
        one = had = call = None
        try:
            if not _here.stack:
                one, had = _Open(_name_of(loss)), vars(loss).get("call")
                call = _watch_call(loss.call, one)
                _here.stack.append(one)
        except Exception as e:
            one = None
            _fail(e)
        if one is None:
            return original(loss, *args, **kwargs)
        object.__setattr__(loss, "call", call)
        try:
            result = original(loss, *args, **kwargs)
        finally:
            _here.stack.pop()
            if had is None:
                object.__delattr__(loss, "call")
            else:
                object.__setattr__(loss, "call", had)
        try:
            _note_loss(one, original, (loss, *args), kwargs)
        except Exception as e:
            _fail(e)
        return result

    return watched


def _watch_call(original: Callable, one: _Open) -> Callable:
    @functools.wraps(original)
    def watched(targets: Any, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        values = original(targets, outputs, *args, **kwargs)
        one.tensors = {"targets": targets, "outputs": outputs, "values": values}
        return values

    return watched


def _watch_cross_entropy(original: Callable) -> Callable:
    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        values = original(*args, **kwargs)
        try:
            _note_cross_entropy(original, values, args, kwargs)
        except Exception as e:
            _fail(e)
        return values

    return watched


def _unheard(original: Callable) -> Callable:
    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        stack = None
        try:
            stack = _here.stack
            stack.append(None)
        except Exception as e:
            _fail(e)
        try:
            return original(*args, **kwargs)
        finally:
            if stack:
                stack.pop()

    return watched


def _note_loss(one: _Open, original: Callable, args: tuple, kwargs: dict) -> None:
    given = inspect.signature(original).bind(*args, **kwargs).arguments
    one.tensors["weights"] = given.get("sample_weight")
    for call, tensors in _joined(one):
        _tell(call, tensors)


def _note_cross_entropy(
    original: Callable, values: Any, args: tuple, kwargs: dict
) -> None:
    outer = _here.stack[-1] if _here.stack else _NOTHING
    if outer is None:
        return
    given = inspect.signature(original).bind(*args, **kwargs).arguments
    takes = "logits" if given.get("from_logits") else "probabilities"
    name = original.__name__
    call = LossCall(name, takes, name)
    tensors = {"targets": given["target"], "outputs": given["output"], "values": values}
    if outer is _NOTHING:
        _tell(call, tensors)
    else:
        outer.inner.append((call, tensors))


def _joined(one: _Open) -> Iterator[tuple[LossCall, dict[str, Any]]]:
    """The loss, with what it takes, and cross-entropies of something else in it."""
    own = LossCall(one.name, single=_is_scalar(one.tensors.get("values")))
    others = []
    for call, tensors in one.inner:
        if tensors["outputs"] is one.tensors.get("outputs"):
            own = replace(own, takes=call.takes, cross_entropy=call.cross_entropy)
        else:
            others.append((replace(call, loss=f"{call.loss} in {one.name}"), tensors))
    if one.tensors:
        yield own, one.tensors
    yield from others


def _is_scalar(values: Any) -> bool:
    shape = getattr(values, "shape", None)
    if shape is None:
        return False
    # A shape of TensorFlow's need not have a length.
    return (shape.rank if hasattr(shape, "rank") else len(shape)) == 0


def _tell(call: LossCall, tensors: dict[str, Any]) -> None:
    for listener, _ in tuple(_listeners):
        listener(call, tensors)


def _fail(error: Exception) -> None:
    for _, failed in tuple(_listeners):
        failed(error)


def _name_of(loss: Any) -> str:
    function = getattr(loss, "fn", None)
    return getattr(function, "__name__", "") or str(loss.name)
