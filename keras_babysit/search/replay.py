"""A search that goes on: its scheduler is told what its events say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from keras_babysit.search.plan import NextStage
from keras_babysit.search.scheduler import Scheduler
from keras_babysit.search.store import started
from keras_babysit.search.trials import outcome_of

#: Events of the driver's own: a worker's process died, it was interrupted itself, or
#: saw no sense in going on.
LOST, INTERRUPTED, ABORTED = "lost", "interrupted", "aborted"


@dataclass(frozen=True)
class Past:
    """What there is to know of a search that goes on, beside its scheduler.

    Attributes:
        lost: how often each trial was lost by its worker, by number,
        died: and how often the driver died while it was open.
        finished: whether the search had ended.
    """

    lost: Mapping[int, int]
    died: Mapping[int, int]
    finished: bool


def replay(scheduler: Scheduler, events: Iterable[Mapping[str, Any]]) -> Past:
    """Tells a new scheduler what has happened.

    Args:
        scheduler: nothing has happened in it yet.
        events: of the folder, in their order.
    """
    lost: Counter[int] = Counter()
    died: Counter[int] = Counter()
    open_now: set[int] = set()
    kind = ""
    for event in events:
        kind = event["event"]
        if kind == "stage":
            scheduler.begun(_next_stage(event))
        elif kind == "started":
            died.update(open_now & {event["number"]})
            open_now.add(event["number"])
            _tell_start(scheduler, event)
        elif kind == "ended":
            open_now.discard(event["number"])
            trial = scheduler.trials[event["number"]]
            scheduler.ended(replace(trial, outcome=outcome_of(event["outcome"])))
        elif kind in (LOST, INTERRUPTED):
            open_now.difference_update(event["numbers"])
            lost.update(event["numbers"] if kind == LOST else ())
    died.update(open_now)
    return Past(lost, died, kind == "finished")


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
