"""A search that is resumed: its scheduler learns what the events say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from keras_babysit.search.plan import NextStage
from keras_babysit.search.scheduler import Scheduler
from keras_babysit.search.store import started
from keras_babysit.search.trials import outcome_of

#: Events of the driver's own: a worker's process died, a trial raised an error and is
#: to be trained again, it was interrupted itself, or saw no sense in continuing.
LOST, RAISED, INTERRUPTED, ABORTED = "lost", "raised", "interrupted", "aborted"


@dataclass
class Deaths:
    """How often each trial's process has ended in a row without a new epoch."""

    counts: dict[int, int] = field(default_factory=dict)
    _most: dict[int, int] = field(default_factory=dict)

    def add(self, number: int, done: int) -> None:
        """Counts a death of a trial of which so many epochs are done."""
        is_further = done > self._most.get(number, 0)
        self.counts[number] = 0 if is_further else self.counts.get(number, 0) + 1
        self._most[number] = max(done, self._most.get(number, 0))


@dataclass(frozen=True)
class Past:
    """What there is to know of a search that is resumed, beside its scheduler.

    Attributes:
        deaths: of the trials' processes.
        open: trials that were running when the driver's own process died.
        spared: trials that an earlier run gave up since their process died again and
            again, and that this one tries once more.
        finished: whether the search had ended.
        errors: how often each trial has raised an error and was trained again.
    """

    deaths: Deaths
    open: frozenset[int]
    spared: frozenset[int]
    finished: bool
    errors: Counter[int] = field(default_factory=Counter)


def replay(
    scheduler: Scheduler, events: Sequence[Mapping[str, Any]], in_place: bool = True
) -> Past:
    """Tells a new scheduler what has happened.

    Args:
        scheduler: nothing has happened in it yet.
        events: of the folder, in their order.
        in_place: whether trials train in the driver's process, and so die with it.
    """
    deaths, open_now, spared = Deaths(), set[int](), set[int]()
    killed = set(_killed(events, in_place))
    retried, kind = {*_failed_in_a_row(events), *killed}, ""
    for index, event in enumerate(events):
        kind = event["event"]
        if kind == "stage":
            scheduler.begun(_next_stage(event))
        elif kind == "started":
            if in_place and event["number"] in open_now:
                deaths.add(event["number"], event.get("done", 0))
            open_now.add(event["number"])
            spared.discard(event["number"])
            _tell_start(scheduler, event)
        elif kind == "ended":
            open_now.discard(event["number"])
            if index in killed:
                spared.add(event["number"])
            if index not in retried:
                trial = scheduler.trials[event["number"]]
                scheduler.ended(replace(trial, outcome=outcome_of(event["outcome"])))
        elif kind == RAISED:
            open_now.discard(event["number"])
        elif kind in (LOST, INTERRUPTED):
            open_now.difference_update(event["numbers"])
            for number in event["numbers"] if kind == LOST else ():
                deaths.add(number, event.get("done", 0))
    finished = kind == "finished"
    errors = Counter(e["number"] for e in events if e["event"] == RAISED)
    return Past(deaths, frozenset(open_now), frozenset(spared), finished, errors)


def _killed(events: Sequence[Mapping[str, Any]], in_place: bool) -> Iterable[int]:
    """Indices of the ends of trials that were killed, and are to be trained yet.

    What killed them, a machine that was taken away or had no memory left, may be over.
    But a trial that ends the driver's own process gets a second chance only, or it
    would end every run of the program. Those of stages before the last stay as they
    are: the next stage has begun without them.
    """
    stage = max((e["stage"] for e in events if e["event"] == "stage"), default=0)
    stages = {e["number"]: e["stage"] for e in events if e["event"] == "started"}
    times: Counter[int] = Counter()
    for index, event in enumerate(events):
        if event["event"] == "ended" and event["outcome"]["status"] == "killed":
            number = event["number"]
            times[number] += 1
            if stages[number] == stage and (times[number] == 1 or not in_place):
                yield index


def _failed_in_a_row(events: Sequence[Mapping[str, Any]]) -> Iterable[int]:
    """Indices of the ends of trials that failed in a row, and are to be trained yet."""
    ends: dict[int, int] = {}
    for index, event in enumerate(events):
        if event["event"] == "ended":
            ends[event["number"]] = index
        elif event["event"] == ABORTED:
            yield from (ends[number] for number in event.get("retry", ()))


def _tell_start(scheduler: Scheduler, event: Mapping[str, Any]) -> None:
    if event["number"] in scheduler.trials:
        scheduler.restarted(event["number"], event["attempts"])
    else:
        scheduler.started(started(event), again=True)


def _next_stage(event: Mapping[str, Any]) -> NextStage:
    return NextStage(
        event["stage"],
        event["space"],
        tuple(event["promoted"]),
        tuple(event["findings"]),
    )
