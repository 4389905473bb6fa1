"""The space of the next stage: around the best trials, and wider at borders."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras_tuner

from keras_babysit.records import Finding
from keras_babysit.search.space import scales
from keras_babysit.search.space.borders import at_border, widened
from keras_babysit.search.space.narrowing import narrowed
from keras_babysit.search.trials import Trial

Limits = Mapping[str, tuple[float, float]]

#: Of so many trials the best five are looked at for borders, of fewer the best three.
_MANY = 60
#: The edge of a range as a share of it, where there are many trials, and at most.
_EDGE, _WIDEST = 0.05, 0.15


def border_findings(
    space: keras_tuner.HyperParameters,
    ranked: Sequence[Trial],
    first: keras_tuner.HyperParameters,
) -> list[Finding]:
    """Finds ranges at whose edge the best trials of a stage lie.

    An end that the search itself had moved inwards is an `"info"`: the range to try is
    then within the user's own.
    """
    return [_of_stage(finding, first) for finding in _borders(space, ranked)]


def refined(
    space: keras_tuner.HyperParameters,
    ranked: Sequence[Trial],
    count: int,
    factor: float,
    first: keras_tuner.HyperParameters,
    widen: bool = False,
    limits: Limits | None = None,
) -> keras_tuner.HyperParameters:
    """Returns the space of the next stage.

    Ranges are narrowed around the best trials (`narrowed`). Where the best ones lie at
    an end of their range (`at_border`), that end is moved outwards: within the range
    that the search began with, since that was asked for; past it only with `widen`, and
    then not past `limits`.

    Args:
        space: the space of the stage before.
        ranked: its trials that have a score, best first.
        count: of the best ones all values stay inside the ranges.
        factor: new width by old width.
        first: the space that the search began with.
        widen: whether ends may move past it.
        limits: name to smallest and largest value.
    """
    if not ranked:
        return space.copy()
    made = narrowed(space, [t.values for t in ranked[: max(1, count)]], factor)
    ends = {(f.where, f.evidence["upper"]) for f in _borders(space, ranked)}
    if not ends:
        return made
    values, edge = _top(ranked)
    wider = widened(space, values, limits=limits if widen else None, tolerance=edge)
    known = {_key(hp): hp for hp in first.space}
    four = zip(made.space, space.space, wider.space, strict=True)
    return scales.space_of(
        _moved(hp, before, after, None if widen else known.get(_key(hp), before), ends)
        for hp, before, after in four
    )


def without_range(limits: Limits, space: keras_tuner.HyperParameters) -> list[str]:
    """Returns the names in `limits` that have no range in the space."""
    return sorted(set(limits) - {hp.name for hp in space.space if _is_range(hp)})


def _borders(
    space: keras_tuner.HyperParameters, ranked: Sequence[Trial]
) -> list[Finding]:
    """Finds borders where, of few trials, the best one is also the outermost."""
    values, edge = _top(ranked)
    if not values:
        return []
    found = at_border(space, values, edge)
    return [f for f in found if edge == _EDGE or _is_outermost(f)]


def _top(ranked: Sequence[Trial]) -> tuple[list[Mapping[str, Any]], float]:
    """Returns the values to look at for borders, and how wide an edge is.

    Of 20 random trials one lies in the outer 5 % of a range, so that edge would hardly
    ever hold several of the best. It has to be as wide as three trials lie apart.

    Promoted trials are not among them: their values made the ranges what they are, so
    it says nothing that they lie at the ends. Where one of them is still the best,
    the best is not among what was drawn.

    Returns:
        Values, best first, `[]` where nothing can be said; and a share of the range.
    """
    drawn = [trial for trial in ranked if trial.origin == "oracle"]
    if len(drawn) < 5 or drawn[0] is not ranked[0]:
        return [], _EDGE
    edge = min(_WIDEST, max(_EDGE, 3 / len(drawn)))
    count = 5 if len(drawn) >= _MANY else 3
    return [trial.values for trial in drawn[:count]], edge


def _is_outermost(finding: Finding) -> bool:
    values = finding.evidence["values"]
    outermost = max(values) if finding.evidence["upper"] else min(values)
    return values[0] == outermost


def _moved(
    made: Any, before: Any, wider: Any, bound: Any, ends: Collection[tuple[str, bool]]
) -> Any:
    """Returns the narrowed range, with those ends that the wider one has moved.

    Args:
        made: the narrowed range.
        before: the range of the stage before.
        wider: that range with its ends moved outwards.
        bound: the range that moved ends stay within; `None` for none.
        ends: names of those that may move, and whether it is the upper end.
    """
    if not _is_range(made):
        return made
    low, high = made.min_value, made.max_value
    if wider.min_value < before.min_value and (made.name, False) in ends:
        low = min(
            low,
            wider.min_value if bound is None else max(wider.min_value, bound.min_value),
        )
    if wider.max_value > before.max_value and (made.name, True) in ends:
        high = max(
            high,
            wider.max_value if bound is None else min(wider.max_value, bound.max_value),
        )
    if (low, high) == (made.min_value, made.max_value):
        return made
    return scales.with_range(made, low, high, made.default)


def _of_stage(finding: Finding, first: keras_tuner.HyperParameters) -> Finding:
    """Returns the finding, as an `"info"` where the user's range goes on."""
    upper, evidence = finding.evidence["upper"], finding.evidence
    for hp in first.space:
        if hp.name != finding.where or not _is_range(hp):
            continue
        points = scales.points(hp) or (hp.min_value, hp.max_value)
        low, high = points[0], points[-1]
        goes_on = evidence["max_value"] < high if upper else evidence["min_value"] > low
        if goes_on:
            note = f"(this stage's range is a part of {low:g} to {high:g})"
            action = f"{finding.action} {note}"
            return replace(finding, severity="info", action=action)
    return finding


def _is_range(hp: Any) -> bool:
    return hasattr(hp, "min_value")


def _key(hp: Any) -> tuple[str, str]:
    return hp.name, str([condition.get_config() for condition in hp.conditions])
