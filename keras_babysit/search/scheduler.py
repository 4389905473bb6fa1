"""The scheduler of a search: what comes next, given what has happened.

It reads no clock and no file, and draws no random numbers but those of the seed. So
when the same has happened the same comes next, and a search that goes on is one that is
told again what its events say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from keras_babysit.search.oracles import methods
from keras_babysit.search.oracles.staged_oracles import Earlier
from keras_babysit.search.plan import (
    End,
    NextStage,
    Plan,
    Step,
    Wait,
    seed_of,
)
from keras_babysit.search.results import ranking
from keras_babysit.search.space import refinement, scales
from keras_babysit.search.space.hypermodel import searchable
from keras_babysit.search.space.spaces import linear_scale_warnings
from keras_babysit.search.trials import INFEASIBLE, Trial, alike, to_json


class Scheduler:
    """What has happened in a search, and what comes next.

    Args:
        plan: what was asked for.

    Attributes:
        trials: all trials so far, by number.
        stage: index of the present stage; -1 before the first.
        spaces: `HyperParameters.get_config()` of each stage so far, as it began.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.trials: dict[int, Trial] = {}
        self.stage = -1
        self.spaces: list[Mapping[str, Any]] = []
        self._promoted: tuple[int, ...] = ()
        self._asker: methods.Asker | None = None
        self._exhausted = False
        self._order: list[int] = []

    @property
    def open(self) -> list[Trial]:
        """Trials that have not ended."""
        return [t for t in self.trials.values() if t.outcome is None]

    def next(self) -> Step:
        """Returns what comes next. It only happens when this is told so."""
        if self._asker is None:
            space = self.plan.space
            warnings = tuple(f.to_dict() for f in linear_scale_warnings(space))
            return NextStage(0, to_json(space.get_config()), findings=warnings)
        step = self._next_of_stage(self._asker)
        if step is not None:
            return step
        if any(trial.origin != "repeat" for trial in self.open):
            return Wait()
        if self.stage + 1 < len(self.plan.stages):
            return self._next_stage(self._asker)
        repeat = self._next_repeat()
        if repeat is not None:
            return repeat
        if self.open:
            return Wait()
        verdict = ranking.verdict(self.trials.values(), self.plan.objective)
        return End(self._findings(self._asker), verdict)

    def begun(self, step: NextStage) -> None:
        """Tells that a stage has begun."""
        plan, self.stage, self._promoted = self.plan, step.index, step.promoted
        self._exhausted = False
        del self.spaces[step.index :]
        self.spaces.append(step.space)
        self._asker = methods.asker(
            plan.method_of(self.stage),
            plan.objective,
            plan.stages[self.stage].trials,
            seed_of(plan.seed, self.stage, 1),
            scales.copied(step.space),
            plan.directory,
            self._earlier(),
        )
        self._asker.oracle.tune_new_entries = plan.tune_new_entries

    def started(self, trial: Trial, again: bool = False) -> None:
        """Tells that a trial has started.

        Args:
            trial: the trial.
            again: whether its values come from a record, not from `next`.
        """
        assert self._asker is not None
        self.trials[trial.number] = trial
        if trial.origin == "promoted":
            self._asker.add(trial.number, trial.values)
        elif trial.origin == "oracle" and again:
            self._asker.ask_again(trial.number, trial.values)

    def restarted(self, number: int, attempts: int) -> Trial:
        """Tells that a trial has started anew; returns it."""
        self.trials[number] = replace(self.trials[number], attempts=attempts)
        return self.trials[number]

    def ended(self, trial: Trial) -> None:
        """Tells that a trial has ended: it has an outcome."""
        assert self._asker is not None
        self.trials[trial.number] = trial
        self._order.append(trial.number)
        if trial.origin != "repeat":
            source = self.trials.get(-1 if trial.source is None else trial.source)
            self._asker.tell(trial, source.score if source is not None else None)

    def values_of(self, trial: Trial) -> dict[str, Any]:
        """Returns a trial's values, with those that it asked for on its way."""
        if trial.outcome is None or trial.outcome.space is None:
            return dict(trial.values)
        made = scales.with_values(trial.outcome.space, trial.values)
        return to_json(made.values)

    def failure(self, at_end: bool = False) -> str:
        """Returns why there is no sense in going on; `""` if there may be some.

        That is when the first three trials have failed, or all that there are to be,
        and no other trial has done better.

        Args:
            at_end: whether no more are to be, as where the space is tried all over.
        """
        ended = [t for t in self.trials.values() if t.outcome is not None]
        enough = min(3, len(ended) if at_end else self.plan.stages[0].trials)
        numbers = {trial.number for trial in ended}
        if not numbers.issuperset(range(enough)):
            return ""
        if any(trial.status != "failed" for trial in ended):
            return ""
        raised = [t.outcome.raised for t in ended if t.outcome]
        if INFEASIBLE in raised and not at_end:
            return ""
        reasons = list(dict.fromkeys(t.outcome.reason for t in ended if t.outcome))
        which = "trial" if enough == 1 else f"{enough} trials all"
        more = f" (The others: {'; '.join(reasons[1:])}.)" if reasons[1:] else ""
        return f"The first {which} failed: {reasons[0].rstrip('.')}.{more}"

    def failed_in_a_row(self) -> list[Trial]:
        """Returns the trials that ended last, as far as the same error ended them.

        A device that is lost, or a disk, fails every trial from then on, whatever its
        values. What training itself came to, such as a loss that is NaN, is no error.
        """
        found: list[Trial] = []
        for number in reversed(self._order):
            outcome, trial = self.trials[number].outcome, self.trials[number]
            if outcome is None or outcome.raised in ("", INFEASIBLE):
                break
            first = found[0].outcome if found else outcome
            if first is None or alike(first.reason) != alike(outcome.reason):
                break
            found.append(trial)
        return found

    def shortfall(self) -> str:
        """Returns why the present stage has fewer trials than planned; `""` if not."""
        planned = self.plan.stages[self.stage].trials if self.spaces else 0
        own = sum(trial.origin != "repeat" for trial in self._of_stage())
        if own >= planned:
            return ""
        return (
            f"Stage {self.stage + 1} has {own} trials, not {planned}: there was "
            "nothing new to try in its space."
        )

    def _next_of_stage(self, asker: methods.Asker) -> Step | None:
        stage = self.plan.stages[self.stage]
        own = [t for t in self._of_stage() if t.origin != "repeat"]
        if len(own) >= stage.trials:
            return None
        sources = {t.source for t in own if t.origin == "promoted"}
        for source in self._promoted:
            if source not in sources:
                trial = self.trials[source]
                # What has turned up since has its default.
                config = asker.space.get_config()
                whole = scales.with_values(config, self.values_of(trial)).values
                return self._trial(to_json(whole), "promoted", trial)
        if own and not self.open and not searchable(asker.space):
            raise ValueError(
                f"The search space is empty: after {len(own)} trial(s) no "
                "hyperparameter that could be searched was asked for."
            )
        asked = methods.EXHAUSTED if self._exhausted else asker.ask(len(self.trials))
        if not isinstance(asked, str):
            return self._trial(asked)
        # What is open may ask for more, and then there is more to try.
        self._exhausted = not self.open
        return None if self._exhausted else Wait()

    def _trial(
        self,
        values: Mapping[str, Any],
        origin: str = "oracle",
        source: Trial | None = None,
        stage: int | None = None,
    ) -> Trial:
        number, stage = len(self.trials), self.stage if stage is None else stage
        return Trial(
            number=number,
            stage=stage,
            values=values,
            epochs=self.plan.stages[stage].epochs,
            seed=seed_of(self.plan.seed, number),
            origin=origin,
            source=None if source is None else source.number,
        )

    def _next_stage(self, asker: methods.Asker) -> NextStage:
        plan, index = self.plan, self.stage + 1
        stage, ranked = plan.stages[index], self._ranked()
        promoted = ranked[: stage.taken_over]
        space = refinement.refined(
            asker.space,
            ranked,
            len(promoted),
            stage.factor,
            plan.space,
            plan.widen,
            plan.limits,
        )
        return NextStage(
            index,
            to_json(space.get_config()),
            tuple(trial.number for trial in promoted),
            self._findings(asker),
        )

    def _next_repeat(self) -> Trial | None:
        plan, trials = self.plan, self.trials.values()
        done = Counter(t.source for t in trials if t.origin == "repeat")
        # As they were ranked before there were any repeats.
        first = [t for t in trials if t.origin != "repeat"]
        for trial in ranking.best_trials(first, plan.objective, plan.repeat_top):
            if done[trial.number] < plan.repeats:
                return self._trial(self.values_of(trial), "repeat", trial, trial.stage)
        return None

    def _findings(self, asker: methods.Asker) -> tuple[Mapping[str, Any], ...]:
        found = refinement.border_findings(asker.space, self._ranked(), self.plan.space)
        return tuple(finding.to_dict() for finding in found)

    def _of_stage(self) -> list[Trial]:
        return [t for t in self.trials.values() if t.stage == self.stage]

    def _ranked(self) -> Sequence[Trial]:
        trials = self.trials.values()
        return ranking.of_stage(trials, self.stage, self.plan.objective)

    def _earlier(self) -> list[Earlier]:
        """Returns what is known from stages before, but for what is trained again."""
        again = {ranking.root(self.trials[n], self.trials) for n in self._promoted}
        return [
            Earlier(self.values_of(trial), float(trial.score), trial.outcome.epochs)
            for trial in self.trials.values()
            if ranking.has_score(trial)
            and ranking.root(trial, self.trials) not in again
            and trial.score is not None
            and trial.outcome is not None
        ]
