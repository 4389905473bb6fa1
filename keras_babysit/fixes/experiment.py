"""Tries the advice of findings out on a model, within a budget of time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_babysit.document.progress_line import Progress
from keras_babysit.facts import ModelFacts
from keras_babysit.fixes.bench import Bench
from keras_babysit.fixes.changes.words import code, words
from keras_babysit.fixes.result import FixTrial, FixTrials, problems, retold
from keras_babysit.fixes.rounds import Entrant, Rounds
from keras_babysit.fixes.terms import Terms
from keras_babysit.fixes.verdict import gains, goodness, verdict
from keras_babysit.inspection.rows import leaves
from keras_babysit.inspection.sample import Sample
from keras_babysit.records import Finding, Fix

#: So good a model trains well, on the way from chance to perfect predictions.
_WELL = 0.7
#: Changes of layers.
_IN_LAYERS = ("activation", "dropout", "initializer", "trainable")
#: At most so many changes are tried.
_MOST = 16


def tried_out(
    model: Any,
    facts: ModelFacts,
    sample: Sample,
    findings: Sequence[Finding],
    extra: Sequence[Fix],
    terms: Terms,
    progress: Progress,
) -> FixTrials:
    """Returns what came of trying what findings advise.

    Args:
        model: a built, compiled model; it comes back bit for bit as it was.
        facts: of the model before it was trained.
        sample: samples to train on and be judged by.
        findings: what was found.
        extra: changes to try besides.
        terms: how to try them.
        progress: reports to the user.
    """
    began = time.monotonic()
    candidates = list(_candidates(findings, extra))[:_MOST]
    with Bench(
        model, facts, sample, terms.batch_size, terms.shuffled, terms.redrawn
    ) as bench:
        rounds = Rounds(
            bench, candidates, terms.steps, terms.seeds, terms.seconds, progress
        )
        if candidates:
            rounds.make()
    trials = sorted(
        (_trial(e, rounds, terms.seeds) for e in rounds.entrants),
        key=_order,
    )
    base = _trial(rounds.base, rounds, terms.seeds)
    metric = _metric(rounds)
    known = {e.rules for e in candidates}
    best = next((t for t in trials if t.verdict == "better"), None)
    last = rounds.base.last
    good = last is not None and goodness(last, rounds.by_loss) > _WELL
    ranks = {
        name: np.ndim(array)
        for part in ("x", "y")
        for name, array in leaves(part, getattr(sample, part))
    }
    return FixTrials(
        baseline=base,
        trials=tuple(trials),
        findings=retold(findings, base, trials, metric, good),
        code=code(best.fixes, facts, ranks) if best is not None else "",
        metric=metric,
        steps=rounds.steps,
        batch_size=terms.batch_size,
        samples=sample.size,
        seconds=time.monotonic() - began,
        unfinished=rounds.interrupted or time.monotonic() - began > terms.seconds,
        untried=tuple(
            dict.fromkeys(
                f.rule
                for f in problems(findings)
                if not f.fixes and not f.because and (f.rule,) not in known
            )
        ),
    )


def _candidates(findings: Sequence[Finding], extra: Sequence[Fix]) -> Iterator[Entrant]:
    """Each change once, with all rules that advise it: causes before symptoms."""
    found: dict[Fix, list[str]] = {}
    advised = _advised(findings)
    for rank in range(max(map(len, advised.values()), default=0)):
        for rule, fixes in advised.items():
            for fix in fixes[rank : rank + 1]:
                found.setdefault(fix, []).append(rule)
    for fix in extra:
        found.setdefault(fix, [])
    for fix, rules in found.items():
        yield Entrant((fix,), tuple(dict.fromkeys(rules)))


def _advised(findings: Sequence[Finding]) -> dict[str, list[Fix]]:
    """Rule to what it advises: the same change in several places is one change."""
    found: dict[str, dict[tuple, Fix]] = {}
    for finding in sorted(problems(findings), key=lambda f: bool(f.because)):
        own = found.setdefault(finding.rule, {})
        for fix in finding.fixes:
            # Arrays and outputs have changes of their own.
            place = () if fix.kind in _IN_LAYERS else fix.where
            known = own.get((fix.kind, place, fix.settings))
            where = (*(known.where if known else ()), *fix.where)
            own[fix.kind, place, fix.settings] = dataclasses.replace(
                fix, where=tuple(dict.fromkeys(where))
            )
    return {rule: list(own.values()) for rule, own in found.items()}


def _trial(entrant: Entrant, rounds: Rounds, seeds: int) -> FixTrial:
    base, by_loss = rounds.base, rounds.by_loss
    runs = [run for run in entrant.runs if run.steps]
    told = ""
    gain = 0.0
    if entrant is not base:
        told, gain = _judged(entrant, rounds, seeds)
    last = entrant.last
    of = runs or ([last] if last is not None and last.steps else [])
    held = [run.held.value for run in of if run.held is not None]
    trained = [run.trained.value for run in of if run.trained is not None]
    before = [run.before.value for run in of if run.before is not None]
    if by_loss:
        trained = [run.fall for run in of]
    return FixTrial(
        fixes=entrant.fixes,
        words=words(entrant.fixes),
        rules=entrant.rules,
        verdict=told,
        gain=gain,
        value=_mean(held),
        trained=_mean(trained),
        before=_mean(before),
        seeds=len(runs),
        steps=max((run.steps for run in of), default=0),
        reason=entrant.failed or _behind(entrant),
    )


def _behind(entrant: Entrant) -> str:
    brief = entrant.brief
    left = brief is not None and not entrant.runs and not brief.late
    return "others did better in a third of the steps" if left else ""


def _judged(entrant: Entrant, rounds: Rounds, seeds: int) -> tuple[str, float]:
    if entrant.failed:
        return "not applicable", 0.0
    base, runs = rounds.base.runs, entrant.runs
    if not runs or not base:
        return "not finished", 0.0
    told = verdict(base, runs, seeds, rounds.by_loss)
    return told, float(gains(base, runs, rounds.by_loss).mean())


def _metric(rounds: Rounds) -> str:
    runs = [e.last for e in (rounds.base, *rounds.entrants)]
    held = [run.held for run in runs if run is not None and run.held is not None]
    return held[0].metric if held else "fall of the loss"


def _order(trial: FixTrial) -> tuple:
    ranks = ("better", "not finished", "no difference", "worse", "not applicable")
    # Several changes only where they help clearly more than one.
    return ranks.index(trial.verdict), -trial.gain


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
