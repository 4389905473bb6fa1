"""How the values of a trial are chosen: a method by name, or any KerasTuner oracle."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
from optuna.samplers import NSGAIISampler

from keras_babysit.search.oracles.gaussian.bayesian_oracle import StagedBayesian
from keras_babysit.search.oracles.pareto_oracle import ParetoOracle
from keras_babysit.search.oracles.staged_oracles import Earlier, StagedOptuna
from keras_babysit.search.space.scales import with_values
from keras_babysit.search.trials import Objective, Trial, to_json

Status = keras_tuner.engine.trial.TrialStatus

#: What a search may be asked for by name.
METHODS = ("random", "bayesian", "tpe", "nsga2", "grid")

#: Optuna's samplers that look for a Pareto front.
_OF_SEVERAL = ("tpe", "nsga2")

#: Nothing can be said until an open trial has ended; nothing is left to try.
IDLE, EXHAUSTED = "idle", "exhausted"


_OURS = (StagedOptuna, StagedBayesian)


class Asker:
    """An oracle of KerasTuner's that chooses the values of one stage.

    Nothing of it is on disk: it is asked and told the same again when a search goes on,
    and so is what it was.

    Args:
        oracle: the oracle; without trials.
        objective: what is searched for.
        directory: where it may write if it must.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        objective: Objective,
        directory: Path,
    ):
        self._oracle, self._objective = oracle, objective
        self._ids: dict[int, str] = {}
        oracle.verbose = 0
        # The search has rules of its own for what fails.
        oracle.max_retries_per_trial = 0
        oracle.max_consecutive_failed_trials = None
        oracle._set_project_dir(str(directory), "oracle")
        oracle.save = _nothing
        oracle._save_trial = _nothing

    @property
    def space(self) -> keras_tuner.HyperParameters:
        """The space as it is now, with what was asked for on the way; a copy."""
        return self._oracle.get_space()

    @property
    def oracle(self) -> keras_tuner.Oracle:
        """The oracle."""
        return self._oracle

    def ask(self, number: int) -> dict[str, Any] | str:
        """Returns the values of a new trial, or `IDLE` or `EXHAUSTED`."""
        asked = self._create(number)
        if asked.status == Status.RUNNING:
            return to_json(asked.hyperparameters.values)
        return IDLE if asked.status == Status.IDLE else EXHAUSTED

    def ask_again(self, number: int, values: Mapping[str, Any]) -> None:
        """Asks as before: the trial has the values that it had, whatever is said."""
        # Only to move the oracle on. Ours that are slow have nothing to be moved.
        known = isinstance(self._oracle, StagedBayesian)
        with self._forced(values, ask=not known):
            self._create(number)

    def add(self, number: int, values: Mapping[str, Any]) -> None:
        """Adds a trial that was not asked for, such as a promoted one.

        KerasTuner's grid search cannot go on from what is not its own, and so does not
        learn of it.
        """
        if not isinstance(self._oracle, keras_tuner.oracles.GridSearchOracle):
            with self._forced(values, ask=False):
                self._create(number)

    def tell(self, trial: Trial, before: float | None = None) -> None:
        """Tells how a trial has ended.

        Args:
            trial: the trial; one that the oracle does not know is left out.
            before: score in the stage before, of a promoted one.
        """
        trial_id, outcome = self._ids.get(trial.number), trial.outcome
        if trial_id is None or outcome is None:
            return
        known = self._oracle.trials[trial_id]
        if outcome.space is not None:
            known.hyperparameters = with_values(outcome.space, trial.values)
        score = outcome.score
        if trial.status == "killed" and isinstance(self._oracle, _OURS):
            self._oracle.unjudged.add(trial_id)  # It says nothing of the values.
        if trial.status != "completed" and trial.status != "stopped":
            score = None
        if score is None or not math.isfinite(score):
            known.status, known.message = Status.FAILED, outcome.reason
        else:
            self._tell_score(trial, float(score), before)
            known.status = Status.COMPLETED
        self._called(self._oracle.end_trial, known)

    def _tell_score(self, trial: Trial, score: float, before: float | None) -> None:
        oracle, trial_id = self._oracle, self._ids[trial.number]
        assert trial.outcome is not None
        scores = {self._objective.name: score}
        if isinstance(oracle, ParetoOracle):
            metrics = trial.outcome.metrics
            oracle.found[trial_id] = [metrics[n] for n in self._objective.names]
        epoch = trial.outcome.best_epoch or 0
        self._called(oracle.update_trial, trial_id, scores, step=epoch)
        if trial.status == "stopped" and isinstance(oracle, StagedOptuna):
            oracle.cut_short[trial_id] = trial.outcome.epochs
        if before is not None and isinstance(oracle, StagedBayesian):
            oracle.gains.append(score - before)

    def _create(self, number: int) -> Any:
        made = self._called(self._oracle.create_trial, f"trial-{number}")
        if made.status == Status.RUNNING:
            self._ids[number] = made.trial_id
        return made

    def _called(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            name = type(self._oracle).__name__
            raise RuntimeError(
                f"The oracle ({name}) failed: {type(error).__name__}: {error}"
            ) from error

    @contextlib.contextmanager
    def _forced(self, values: Mapping[str, Any], ask: bool) -> Iterator[None]:
        oracle = self._oracle
        populate = oracle.populate_space

        def forced(trial_id: str) -> dict[str, Any]:
            if ask:
                populate(trial_id)
            return {"status": Status.RUNNING, "values": dict(values)}

        oracle.populate_space = forced
        try:
            yield
        finally:
            del oracle.populate_space


def asker(
    method: Any,
    objective: Objective,
    trials: int,
    seed: int,
    space: keras_tuner.HyperParameters,
    directory: Path,
    earlier: Sequence[Earlier] = (),
) -> Asker:
    """Returns what chooses the values of a stage.

    Args:
        method: one of `METHODS`, an oracle without trials (a copy of it is used), or a
            function `(objective, max_trials, seed, hyperparameters)` that makes one.
        objective: what is searched for.
        trials: of the stage.
        seed: a positive integer below 2**32.
        space: where to search.
        directory: the folder of the search.
        earlier: what is known of the stage before.

    Raises:
        ValueError: for a function that makes something else.
        ImportError: if the method needs a package that is not installed.
    """
    goal = keras_tuner.Objective(objective.name, objective.direction)
    given = {"hyperparameters": space.copy(), "seed": seed, "max_trials": trials}
    if method == "bayesian":
        made = StagedBayesian(goal, **given)
        made.earlier = earlier
    elif isinstance(method, str):
        sampler = NSGAIISampler() if method == "nsga2" else method
        if objective.parts and method in _OF_SEVERAL:
            directions = [part.direction for part in objective.parts]
            made = ParetoOracle(directions, goal, sampler=sampler, **given)
            return Asker(made, objective, directory)
        made = StagedOptuna(goal, sampler=sampler, **given)
        made.earlier = earlier if method == "tpe" else ()
    elif isinstance(method, keras_tuner.Oracle):
        made = copy.deepcopy(method)
        made.update_space(space)
    else:
        made = method(goal, trials, seed, space.copy())
        check_oracle(made, f"{method_name(method)}(...)")
    # The search counts for itself; it can be asked for more when it goes on.
    made.max_trials = None
    return Asker(made, objective, directory)


def check_method(method: Any, stages: int = 1) -> None:
    """Raises a `ValueError` for what is no method."""
    if isinstance(method, keras_tuner.Oracle):
        check_oracle(method, "method")
        if stages > 1:
            raise ValueError(
                "An oracle can be the `method` of a search of one stage only. For more "
                "give a function (objective, max_trials, seed, hyperparameters) -> "
                f"oracle. Received: method={type(method).__name__}, {stages} stages"
            )
        return
    if isinstance(method, type) and issubclass(method, keras_tuner.Oracle):
        raise ValueError(
            "`method` must be an oracle or a function that makes one, not a class. "
            f"Received: method={method.__name__}"
        )
    known = isinstance(method, str) and method in METHODS
    if not known and (isinstance(method, str) or not callable(method)):
        raise ValueError(
            f"`method` must be one of {', '.join(map(repr, METHODS))}, a KerasTuner "
            "oracle, or a function (objective, max_trials, seed, hyperparameters) -> "
            f"oracle. Received: method={method!r}"
        )


def check_oracle(oracle: Any, name: str) -> None:
    """Raises a `ValueError` for what is no oracle, or one that cannot be used."""
    if not isinstance(oracle, keras_tuner.Oracle):
        raise ValueError(
            f"`{name}` must be a KerasTuner oracle. Received: {oracle!r} (of type "
            f"{type(oracle).__name__})"
        )
    if isinstance(oracle, keras_tuner.oracles.HyperbandOracle):
        raise ValueError(
            "`HyperbandOracle` stops and starts trials by itself, which only "
            'keras_tuner.Hyperband knows how to follow. Use `pruner="halving"`, or '
            "`pruner=optuna.pruners.HyperbandPruner(...)`."
        )
    if oracle.trials:
        raise ValueError(
            f"`{name}` must be an oracle without trials. Received one that has "
            f"{len(oracle.trials)}."
        )


def method_name(method: Any) -> str:
    """Returns how a method is called in files and on the screen."""
    if isinstance(method, str):
        return method
    if isinstance(method, keras_tuner.Oracle):
        return type(method).__name__
    return getattr(method, "__qualname__", type(method).__name__)


def _nothing(*_: Any) -> None:
    """Instead of writing a file: the events of the search are the one truth."""
