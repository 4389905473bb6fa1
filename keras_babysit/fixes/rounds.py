"""What is trained, and how long: the promising changes more often than the others."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from keras_babysit.document.progress_line import Progress
from keras_babysit.fixes.bench import Bench, Run
from keras_babysit.fixes.changes.words import words
from keras_babysit.fixes.verdict import LEAST, NEW_LOSS, goodness
from keras_babysit.records import Fix

#: More candidates than this are first trained for a third of the steps.
_MANY = 6
#: At most so many changes are trained with further seeds, and so many pairs at all.
_FINALISTS, _PAIRS = 3, 4
#: Fewer updates than this tell nothing.
_FEWEST = 20
#: Nothing can be much better than this.
_GOOD = 0.95


@dataclass
class Entrant:
    """A change, or several together, and its trainings.

    Attributes:
        fixes: the changes; none for the model as it is.
        rules: names of the rules that advise it.
        runs: a full training for each seed, as far as they were made.
        brief: a short training, where there were many candidates.
    """

    fixes: tuple[Fix, ...] = ()
    rules: tuple[str, ...] = ()
    runs: list[Run] = field(default_factory=list)
    brief: Run | None = None

    @property
    def last(self) -> Run | None:
        """The longest training of the first seed."""
        return self.runs[0] if self.runs else self.brief

    @property
    def failed(self) -> str:
        """Why it could not be trained at all."""
        return self.last.failed if self.last is not None else ""


class Rounds:
    """Trains candidates, as many and as long as there is time.

    Args:
        bench: where they are trained.
        candidates: changes with the rules that advise them, the first first.
        steps: updates of a full training.
        seeds: trainings of each that may be the answer.
        seconds: time for all of them.
        progress: reports to the user.
    """

    def __init__(
        self,
        bench: Bench,
        candidates: Sequence[Entrant],
        steps: int,
        seeds: int,
        seconds: float,
        progress: Progress,
    ):
        self.base = Entrant()
        self.entrants = list(candidates)
        self._bench, self.steps, self._seeds = bench, steps, seeds
        self._began = time.monotonic()
        self._seconds, self._progress = seconds, progress
        self.interrupted = False

    def make(self) -> None:
        """Makes all rounds; Ctrl-C ends them, and keeps what is known."""
        try:
            self._make()
        except KeyboardInterrupt:
            self.interrupted = True

    @property
    def by_loss(self) -> bool:
        """Whether only the loss tells how good a training was."""
        known = [e.last for e in (self.base, *self.entrants) if e.last is not None]
        return not any(run.held is not None for run in known)

    def _make(self) -> None:
        self._train(self.base, 0)
        base = self.base.last
        only_loss = base is not None and base.steps > 0 and base.held is None
        left = [e for e in self.entrants if not (only_loss and _changes_loss(e))]
        first = self._halved(left) if len(left) > _MANY else left
        # The others only if none of the first helps.
        for part in (first, [e for e in left if e not in first]):
            for entrant in part:
                self._train(entrant, 0)
            left = self._promising([e for e in part if e.runs and e.runs[0].steps])
            if left:
                break
        self._confirm(left[:_FINALISTS])
        if left and self._goodness(left[0]) < _GOOD:
            self._confirm(self._pair(left[0]))

    def _confirm(self, finalists: list[Entrant]) -> None:
        for seed in range(1, self._seeds):
            for entrant in [self.base, *finalists] if finalists else []:
                self._train(entrant, seed)

    def _halved(self, left: list[Entrant]) -> list[Entrant]:
        for entrant in left:
            if self._late:
                return []
            self._tell(entrant)
            entrant.brief = self._bench.train(
                entrant.fixes, 0, max(self.steps // 3, 1), self._until
            )
        done = [e for e in left if e.brief is not None and e.brief.steps]
        ranked = sorted(done, key=self._goodness, reverse=True)
        kept = ranked[: max(_MANY, len(ranked) // 2)]
        return [e for e in left if e in kept]

    def _promising(self, left: list[Entrant]) -> list[Entrant]:
        """Those that seem to help, the best first; of equal ones that advised first."""
        least = self._goodness(self.base) + LEAST / 2
        found = [e for e in left if self._goodness(e) > least]
        best = max(map(self._goodness, found), default=0.0)
        order = {id(e): i for i, e in enumerate(self.entrants)}

        def rank(entrant: Entrant) -> tuple:
            behind = best - self._goodness(entrant)
            return (round(behind / LEAST), order[id(entrant)])

        return sorted(found, key=rank)

    def _pair(self, best: Entrant) -> list[Entrant]:
        """The best change with another one, if that helps more than it does alone."""
        others = [e for e in self.entrants if e.runs and e.runs[0].steps]
        others = [e for e in others if e is not best and _go_together(best, e)]
        others.sort(key=self._goodness, reverse=True)
        pairs = []
        for other in others[:_PAIRS]:
            rules = tuple(dict.fromkeys((*best.rules, *other.rules)))
            pairs.append(Entrant((*best.fixes, *other.fixes), rules))
            self._train(pairs[-1], 0)
        least = self._goodness(best) + LEAST
        found = max(pairs, key=self._goodness, default=best)
        if found is best or self._goodness(found) < least:
            return []
        self.entrants.append(found)
        return [found]

    def _train(self, entrant: Entrant, seed: int) -> None:
        if self._late and (entrant is not self.base or seed):
            return
        if len(entrant.runs) != seed:
            return
        self._tell(entrant)
        first = entrant is self.base and not seed
        # The others are as long as the first one, which may have a quarter of the time.
        until = self._began + self._seconds / 4 if first else self._until
        run = self._bench.train(entrant.fixes, seed, self.steps, until)
        if first and run.late and run.steps >= _FEWEST:
            self.steps = run.steps
        elif run.late:
            entrant.brief = run
            return
        entrant.runs.append(run)

    def _goodness(self, entrant: Entrant) -> float:
        last = entrant.last
        return goodness(last, self.by_loss) if last is not None and last.steps else -1.0

    @property
    def _until(self) -> float:
        return self._began + self._seconds

    @property
    def _late(self) -> bool:
        return time.monotonic() > self._until

    def _tell(self, entrant: Entrant) -> None:
        spent = time.monotonic() - self._began
        self._progress(spent / self._seconds, words(entrant.fixes))


def _changes_loss(entrant: Entrant) -> bool:
    return any(fix.kind in NEW_LOSS for fix in entrant.fixes)


def _go_together(a: Entrant, b: Entrant) -> bool:
    """Whether no change of one undoes or repeats one of the other."""
    return not any(
        (f.kind, f.where) == (g.kind, g.where)
        or {f.kind, g.kind} <= {"scale_inputs", "divide_inputs", "adapt"}
        or {f.kind, g.kind} <= {"output"}
        for f, g in itertools.product(a.fixes, b.fixes)
    )
