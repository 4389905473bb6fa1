"""One call of the user's train or test function: what is made, and what is left."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any


class Execution:
    """Keeps the user's step apart from what is measured around it.

    Whatever fails in the measuring, the step is made once and the user gets its logs;
    what the user's own code raises is passed on as it is.

    Args:
        plain: the user's own train function.
        iterator: Keras's epoch iterator, which it is called with.
        state: what it is called with before that: nothing, or the values of all
            variables, where a step is a function of them.

    Attributes:
        state: likewise; after a step what that returned.
        raised: what the user's code has raised, if it has.
        seconds: how long the user's code took.
    """

    def __init__(self, plain: Callable, iterator: Any, state: tuple = ()):
        self.plain, self.iterator, self.state = plain, iterator, state
        self.raised: BaseException | None = None
        self.seconds = 0.0
        self._left: list[Any] = []
        self._result: Any = None
        self._is_made = False

    def users(self, function: Callable, *args: Any) -> Any:
        """Calls a function that runs the user's code, before the step is made."""
        began = now()
        try:
            return function(*args)
        except BaseException as e:
            self.raised = e
            raise
        finally:
            self.seconds += now() - began

    def take(self, n: int) -> list[Any]:
        """Takes up to `n` batches from the iterator, to be trained on."""
        began = now()
        try:
            # At once, and by nothing of ours: a batch that is lost is not trained on.
            self._left = list(itertools.islice(self.iterator, n))
            return self._left
        except BaseException as e:
            self.raised = e
            raise
        finally:
            self.seconds += now() - began

    def train(self, function: Callable, iterator: Any, left: Sequence[Any] = ()) -> Any:
        """Makes steps.

        Args:
            function: the train function.
            iterator: what it is called with.
            left: the batches that are still to be trained on then.

        Returns:
            The function's logs.
        """
        began = now()
        try:
            self._result = logs = function(*self.state, iterator)
            self._left, self._is_made = list(left), not left
            if self.state:
                logs, state = self._result
                self.state = (state,)
            return logs
        except BaseException as e:
            self.raised = e
            raise
        finally:
            self.seconds += now() - began

    def finish(self) -> Any:
        """Makes what is left of the step; returns what the user's function returns."""
        if self._is_made:
            return self._result
        # Batches that were taken are nowhere else: Keras takes them like this too.
        taken = self._left and not isinstance(self.iterator, Sequence)
        return self.plain(*self.state, iter(self._left) if taken else self.iterator)


def standing_in(
    plain: Callable,
    observe: Callable[[Execution], Any],
    failed: Callable[[Exception], Any],
) -> Callable:
    """Returns a function that stands in the place of the user's own.

    Args:
        plain: the user's own function; it is the other's attribute `instead_of`.
        observe: makes an execution of it, or leaves it to be made here.
        failed: called with what `observe` has raised that is not the user's.
    """

    @functools.wraps(plain)
    def stand_in(*args: Any) -> Any:
        execution = None
        try:
            *state, iterator = args
            execution = Execution(plain, iterator, tuple(state))
            observe(execution)
        except StopIteration:
            raise  # The data have ended.
        except Exception as e:
            if execution is not None and e is execution.raised:
                raise
            with contextlib.suppress(Exception):
                failed(e)
        return plain(*args) if execution is None else execution.finish()

    stand_in.instead_of = plain  # type: ignore[attr-defined]
    return stand_in


def users_own(function: Any) -> Any:
    """The user's own function, where one of ours may still stand in its place."""
    return getattr(function, "instead_of", function)


def now() -> float:
    """Seconds on the clock that steps are timed with."""
    return time.perf_counter()
