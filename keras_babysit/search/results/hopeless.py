"""What the trials that were ended early have in common: where not to search again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from keras_babysit.document.words import number
from keras_babysit.search.results.dimensions import Dimension
from keras_babysit.search.trials import Trial

#: Fewer trials on either side are no pattern.
_FEWEST = 3


def hints(trials: Sequence[Trial], dimensions: Sequence[Dimension]) -> tuple[str, ...]:
    """Returns sentences on ranges, of hopeless trials that all lie beyond a value.

    A trial is hopeless if a finding ended it. It is only a hint: the oracle does not
    hear of it.
    """
    stopped = [t for t in trials if t.status == "stopped" and _rules(t)]
    ended = [t for t in trials if t.status == "completed"]
    if len(stopped) < _FEWEST or len(ended) < _FEWEST:
        return ()
    return tuple(h for d in dimensions for h in _along(d, stopped, ended))


def _along(
    dimension: Dimension, stopped: Sequence[Trial], ended: Sequence[Trial]
) -> Iterator[str]:
    bad, good = (
        [t.values[dimension.name] for t in some if dimension.name in t.values]
        for some in (stopped, ended)
    )
    if dimension.choices or len(bad) < len(stopped) or len(good) < _FEWEST:
        return
    rules = ", ".join(dict.fromkeys(rule for t in stopped for rule in _rules(t)))
    if min(bad) > max(good):
        where, end = f"above {number(_between(max(good), min(bad)))}", "max_value"
        value = max(good)
    elif max(bad) < min(good):
        where, end = f"below {number(_between(max(bad), min(good)))}", "min_value"
        value = min(good)
    else:
        return
    yield (
        f"All {len(bad)} trials that a finding ended ({rules}) had {dimension.name} "
        f"{where}: narrow its range, {end}={number(value)}"
    )


def _rules(trial: Trial) -> list[str]:
    """The errors that a trial ended with, causes only."""
    found = trial.outcome.findings if trial.outcome is not None else ()
    return [
        str(f.get("rule"))
        for f in found
        if f.get("severity") == "error" and not f.get("because")
    ]


def _between(low: float, high: float) -> float:
    """The middle on a scale of ratios, where that exists."""
    return math.sqrt(low * high) if low > 0 else (low + high) / 2
