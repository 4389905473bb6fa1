"""Everything that can be checked before learning, in one call."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from keras_babysit import checks as all_checks
from keras_babysit import rules as all_rules
from keras_babysit.borrowing import random_numbers_kept
from keras_babysit.checks import model_and_data
from keras_babysit.checks import try_fixes as fixes
from keras_babysit.checks.check import Check, CheckResult
from keras_babysit.checks.data import gathered
from keras_babysit.checks.preflight_result import Preflight
from keras_babysit.checks.root_causes import root_causes
from keras_babysit.document.progress_line import Progress, part, shown
from keras_babysit.errors import first_line, positive, wrong
from keras_babysit.facts import DataFacts
from keras_babysit.inspection.compiled import has_own_step
from keras_babysit.inspection.sample import Sample

__all__ = ["Preflight", "preflight"]

_log = logging.getLogger(__name__)
#: Of a longer message the rest is in the result's evidence.
_LONGEST = 200


def preflight(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    validation_data: Any = None,
    checks: Sequence[str] | None = None,
    ignore: Iterable[str] = (),
    seconds: float = 30.0,
    try_fixes: bool = False,
    verbose: int | str = "auto",
) -> Preflight:
    """Runs all checks before training, and prints the results as one table.

    The rules that need no training come first, then the checks of CS231n's notes
    (Neural Networks Part 3: Gradient checks; Before learning: sanity checks).
    Afterwards the model, its optimizer and the global random states are as they were,
    bit for bit. A model that was not built yet is built.

    Args:
        model: a compiled `keras.Model`.
        x: what `fit` takes: arrays, structures of arrays, `tf.data.Dataset`,
            `keras.utils.PyDataset`, a generator. Rules look at 2,000 samples of it,
            checks at 512; fewer if samples are large. A dataset is iterated over
            once, and a generator is read from: `fit` will not see these batches.
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays.
        validation_data: `(x, y)` as for `fit`, for the rules about how data are
            split; only arrays are looked at.
        checks: names of the checks to make; all of them for `None`.
        ignore: names of checks, and of rules, to leave out.
        seconds: time after which `gradient` and `overfit_subset` each begin nothing
            new; what is not finished then says so.
        try_fixes: whether to try the advice of what is found out as well, in up to a
            minute more; see `try_fixes`.
        verbose: 0 for no output; 1 for the table, and for progress while it works if
            standard error is a terminal; `"auto"` is 1.

    Returns:
        A `Preflight`: `results`, `verdict`, `ok`, `findings`. A check that cannot be
        made, for whatever reason, is among its results as `"skipped"`.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not compiled; if there is no data, or it is not finite
            numbers, or does not fit the model and no rule knows why; for names that
            no check or rule has.

    Example:
    ```python
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    found = keras_babysit.preflight(model, x, y)
    if found.ok:
        model.fit(x, y, epochs=10)
    ```
    """
    if verbose not in (0, 1, "auto"):
        raise wrong("verbose", '0, 1 or "auto"', verbose)
    if not isinstance(try_fixes, bool):
        raise wrong("try_fixes", "True or False", try_fixes)
    positive("seconds", seconds)
    chosen, without = _selected(checks, ignore)
    start = time.perf_counter()
    # A generator may draw random numbers; what building draws stays drawn, as it
    # would be by `fit`.
    with random_numbers_kept():
        sample, facts = gathered(x, y, sample_weight, validation_data)
    _make_ready(model, sample, facts)
    runs = {check.name: _run_of(check, facts, without, seconds) for check in chosen}
    results = []
    line = shown("Before learning", verbose="auto" if verbose else 0)
    with random_numbers_kept(), _warned_once(), line as progress:
        for i, check in enumerate(chosen):
            ends = (i / len(chosen), (i + 1) / len(chosen))
            tell = part(progress, *ends, check.title)
            tell(0.0, "")
            results.append(_result(check.name, runs[check.name], model, sample, tell))
    found = Preflight(
        results=tuple(results),
        because=root_causes(results),
        model=model.name,
        samples=sample.size,
        rows=facts.rows,
        seconds=time.perf_counter() - start,
    )
    if try_fixes:
        told = "auto" if verbose else 0
        tried = fixes.tried(model, sample, None, (), fixes.Terms(), told)
        found = dataclasses.replace(found, tried=tried)
    if verbose:
        found.display()
    return found


def _selected(
    checks: Sequence[str] | None, ignore: Iterable[str]
) -> tuple[list[Check], list[str]]:
    """The checks to make, and the names of the rules to leave out."""
    if isinstance(checks, str) or not isinstance(checks, Sequence | None):
        raise wrong(
            "checks", "a list of names of checks, or None for all of them", checks
        )
    if isinstance(ignore, str):
        raise wrong("ignore", "a list of names of checks and rules", ignore)
    known, rules = all_checks.available(), all_rules.available()
    wanted = list(known) if checks is None else list(checks)
    ignore = list(ignore)
    for name in wanted:
        if name not in known:
            raise ValueError(
                f"There is no check of that name. Expected some of {list(known)}. "
                f"Received: checks={checks!r}"
            )
    for name in ignore:
        if name not in known and name not in rules:
            raise ValueError(
                f"There is no check and no rule of that name. Checks are {list(known)};"
                f" `keras-babysit rules` lists the rules. Received: ignore={ignore!r}"
            )
    chosen = [c for c in known.values() if c.name in wanted and c.name not in ignore]
    if not chosen:
        raise ValueError(
            f"There must be a check left to make. Received: checks={checks!r}, "
            f"ignore={ignore!r}"
        )
    return chosen, [name for name in ignore if name in rules]


def _make_ready(model: Any, sample: Sample, facts: DataFacts) -> None:
    try:
        model_and_data.make_ready(model, sample, facts)
    except ValueError:
        # With a `train_step` of its own a model may have no use for `call` or a loss:
        # checks that do will be skipped.
        if not (model.compiled and model.built and has_own_step(model)):
            raise


def _run_of(
    check: Check, facts: DataFacts, without: list[str], seconds: float
) -> Callable[[Any, Sample, Progress], CheckResult]:
    if check is model_and_data.CHECK:
        # The one check that looks at more of the data than the sample.
        return functools.partial(model_and_data.run, facts=facts, ignore=without)
    return functools.partial(check.run, seconds=seconds) if check.timed else check.run


def _result(
    name: str, run: Callable, model: Any, sample: Sample, progress: Progress
) -> CheckResult:
    """What a check found; if it breaks, that: the others are still worth making."""
    try:
        return run(model, sample, progress)
    except Exception as e:
        _log.debug("The check %s could not be made.", name, exc_info=True)
        return CheckResult(
            check=name,
            verdict="skipped",
            summary=f"could not be made: {_in_a_line(e)}",
            evidence={
                "exception": type(e).__name__,
                "traceback": "".join(traceback.format_exception(e)),
            },
        )


def _in_a_line(error: Exception) -> str:
    line, name = first_line(error), type(error).__name__
    if len(line) > _LONGEST:
        line = f"{line[:_LONGEST]} …"
    return line if line == name else f"{name}: {line}"


@contextlib.contextmanager
def _warned_once() -> Iterator[None]:
    """Keras has warned of the model when it was called first: not for each check."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="keras")
        yield
