"""A KerasTuner oracle that asks an Optuna sampler what to try next."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras_tuner
import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from keras_babysit.errors import installing, whole_or_none
from keras_babysit.search.oracles.directions import with_directions
from keras_babysit.search.oracles.oracle_study import OracleStudy
from keras_babysit.search.space import optuna_space, scales

Status = keras_tuner.engine.trial.TrialStatus

#: What an oracle may be asked for by name.
SAMPLERS = ("tpe", "gp", "random", "grid")


class KeepsValues(keras_tuner.Oracle):
    """An oracle under which a name may have two conditions."""

    def _record_values(self, trial: Any) -> None:
        """Records them, and keeps the value of a name that has two conditions.

        KerasTuner 1.4.8 goes through both: where the first is active it drops the value
        at the second, and where the second is, it drops it and draws another one.
        """
        hps, trial_id = trial.hyperparameters, trial.trial_id
        given = {n: v for n, v in hps.values.items() if hps.is_active(n)}
        super()._record_values(trial)
        if hps.values != {**hps.values, **given}:
            hps.values.update(given)
            self._tried_so_far.discard(self._id_to_hash[trial_id])
            self._id_to_hash[trial_id] = self._compute_values_hash(hps.values)
            self._tried_so_far.add(self._id_to_hash[trial_id])


class OptunaOracle(KeepsValues):
    """KerasTuner oracle whose values are suggested by an Optuna sampler.

    It goes where KerasTuner's own oracles go: into a `keras_tuner.Tuner` (or a subclass
    of it), in one process or behind KerasTuner's chief and workers. Hyperparameters
    that are inactive in a trial are not suggested; those that turn up during the search
    are suggested from then on; trials that run at the same time are told apart (TPE
    and GP take them for bad until they end, the "constant liar"); failed trials are
    reported to Optuna as failed. With several objectives it minimizes what KerasTuner's
    oracles minimize: the sum of those to minimize less the sum of those to maximize.

    Everything that it needs to resume is in KerasTuner's own files: the study follows
    the oracle's trials, and is made again from them when a search is resumed. For each
    suggestion there is a new copy of the sampler, whose random numbers come from `seed`
    and the trial's number. So a search that was interrupted resumes with the values
    that it would have had, and one seed gives one search, provided that trials end in
    the same order with the same scores.

    Values that were tried before are asked for again, up to 20 times, as KerasTuner's
    oracles do; then random ones are tried (not by `"grid"`), and then the search ends.

    Args:
        objective: as for `keras_tuner.Oracle`: a string, a `keras_tuner.Objective`, or
            a list of these; `None` if trials return one float to be minimized.
        max_trials: the number of trials, a positive integer; `None` to continue until
            the space has been tried all over.
        sampler: `"tpe"` (tree-structured Parzen estimator, multivariate, grouped for
            conditional spaces), `"gp"` (Gaussian process; needs torch), `"random"`,
            `"grid"` (all combinations in random order; a range without a step counts as
            the ten values that KerasTuner's grid search tries), or an instance of an
            Optuna sampler. An instance is copied for each trial, and all of its random
            states are seeded, whatever seed it was made with.
        seed: non-negative integer; `None` for one drawn at random, which is saved with
            the search.
        hyperparameters: `keras_tuner.HyperParameters` that override those of the
            hypermodel, or register them in advance.
        allow_new_entries: whether the hypermodel may ask for others.
        tune_new_entries: whether others are searched; if not they have their defaults.
        max_retries_per_trial: how often a trial that crashed is run again.
        max_consecutive_failed_trials: after so many failures in a row the search ends
            with an error.

    Raises:
        ValueError: for an unknown sampler, arguments out of range, or a space that is
            empty and cannot grow; during the search, if a trial has ended and no
            hyperparameter to search was asked for.
        ImportError: for `"gp"` without torch.

    References:
        Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011.
        Falkner et al., "BOHB", ICML 2018 (the multivariate one). CS231n,
        "Hyperparameter optimization".

    Example:
    ```python
    oracle = keras_babysit.search.OptunaOracle("val_loss", max_trials=60, seed=1)
    tuner = keras_tuner.Tuner(oracle, make_model, directory="searches")
    tuner.search(x, y, validation_data=(x_val, y_val), epochs=5)
    ```
    """

    trials: dict[str, Any]
    _retry_queue: list[str]

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 10,
        sampler: str | BaseSampler = "tpe",
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
    ):
        whole_or_none("max_trials", max_trials)
        whole_or_none("seed", seed, least=0)
        super().__init__(
            objective=with_directions(objective),
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        if seed is not None:  # KerasTuner takes 0 for none.
            self.seed = self._seed_state = int(seed)
        self._is_grid = sampler == "grid"
        self._space: list[Any] = []
        self._known_axes: list[optuna_space.Axis] = []
        if not (allow_new_entries and tune_new_entries) and not self._axes():
            raise ValueError(
                "The search space is empty: `hyperparameters` has nothing to search, "
                "and the hypermodel may not add to it (`allow_new_entries`, "
                "`tune_new_entries`)."
            )
        self._sampler = _made(sampler)
        # What samplers write beside the values: {trial_id: {key: value}}.
        self._notes: dict[str, dict[str, Any]] = {}
        self._study_notes: dict[str, Any] = {}
        self._live: OracleStudy | None = None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Returns the status and the active values for a new trial.

        Called by `create_trial`; see `keras_tuner.Oracle.populate_space`.
        """
        if not self._axes():
            return self._without_parameters()
        values = self._suggested(trial_id)
        if values is None and not self._is_grid:
            values = self._random_values()
        if values is not None:
            return {"status": Status.RUNNING, "values": values}
        # An open trial may turn up hyperparameters that make the grid larger.
        waiting = self._is_grid and self.ongoing_trials
        return {"status": Status.IDLE if waiting else Status.STOPPED, "values": None}

    def get_state(self) -> dict[str, Any]:
        """Returns the state for KerasTuner's `oracle.json`."""
        state = super().get_state()
        state["optuna"] = {"trials": self._notes, "study": self._study_notes}
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from a state, also from that of another oracle of KerasTuner's."""
        super().set_state(state)
        notes = state.get("optuna", {"trials": {}, "study": {}})
        self._notes, self._study_notes = notes["trials"], notes["study"]
        self._live = None

    def reload(self) -> None:
        """Loads the state and the trials; puts right what a crash left half written.

        KerasTuner writes a trial's file before its own, and its own before it takes the
        trial off the list of open ones. So there may be trials that the oracle does not
        know, and trials that have ended and that it would run again.
        """
        super().reload()
        for trial_id in sorted(set(self.trials) - set(self.start_order)):
            self._record_values(self.trials[trial_id])
            self.start_order.append(trial_id)
            self._retry_queue.append(trial_id)
        self.trials = {trial_id: self.trials[trial_id] for trial_id in self.start_order}
        queue = [self.trials[trial_id] for trial_id in dict.fromkeys(self._retry_queue)]
        self._retry_queue = [t.trial_id for t in queue if not _has_ended(t)]
        for trial in queue:
            if not _has_ended(trial):
                trial.metrics = type(trial.metrics)()  # Of a run that did not end.
            elif trial.trial_id not in self.end_order:
                self.update_space(trial.hyperparameters)
                self._record_values(trial)
                self._run_times[trial.trial_id] += 1
                self.end_order.append(trial.trial_id)

    def _axes(self) -> list[optuna_space.Axis]:
        """Returns the axes of the space: the same list until the space has changed."""
        if self._space != self.hyperparameters.space:
            self._space = list(self.hyperparameters.space)
            self._known_axes = optuna_space.axes_of(self._space, self._is_grid)
            self._live = None
        return self._known_axes

    def _without_parameters(self) -> dict[str, Any]:
        if self.ongoing_trials:
            return {"status": Status.IDLE, "values": None}
        if self.trials:
            raise ValueError(
                f"The search space is empty: after {len(self.trials)} trial(s) no "
                "hyperparameter to search was asked for. Ask for one in the "
                'hypermodel, for example `hp.Float("learning_rate", 1e-6, 1, '
                'sampling="log")`.'
            )
        # The first trial may be the one that asks for them.
        fixed = {hp.name: hp.value for hp in self.hyperparameters.space}
        return {"status": Status.RUNNING, "values": fixed}

    def _suggested(self, trial_id: str) -> dict[str, Any] | None:
        """Returns new values; `None` if all that were suggested were tried before."""
        with quiet():
            study = self._study()
            # One that was tried before stays open, so that the sampler keeps away from
            # it. A new study would not have it.
            self._live = None
            for collisions in range(self._max_collisions + 1):
                values = self._ask(study.study.ask())
                if not self._duplicate(values):
                    self._notes[trial_id] = dict(study.last().system_attrs)
                    self._study_notes = study.notes
                    if not collisions:
                        study.keep(trial_id)
                        self._live = study
                    return values
        return None

    def _ask(self, trial: optuna.Trial) -> dict[str, Any]:
        axes = {id(axis.hp): axis for axis in self._axes()}
        values: dict[str, Any] = {}
        for hp in self.hyperparameters.space:  # Parents come first.
            if scales.is_active(hp, values):
                axis = axes.get(id(hp))
                values[hp.name] = hp.value if axis is None else axis.suggest(trial)
        return values

    def _study(self) -> OracleStudy:
        """Returns a study with all trials so far, and a sampler for the next one."""
        axes = self._axes()
        study = self._live

        def told(trial_id: str) -> FrozenTrial | None:
            return self._told(axes, self.trials[trial_id])

        if study is None or not study.follow(self.start_order, told):
            study = OracleStudy(self.objective.direction, self._study_notes)
            for trial in self._told_first(axes):
                study.add(trial)
            study.follow(self.start_order, told)
        sampler = copy.deepcopy(self._sampler)
        entropy = np.random.SeedSequence([self.seed, len(self.trials)])
        _reseed(sampler, int(entropy.generate_state(1)[0]))
        study.study.sampler = sampler
        return study

    def _told_first(self, axes: Sequence[optuna_space.Axis]) -> Iterator[FrozenTrial]:
        """For subclasses: yields trials from before the oracle's own."""
        yield from ()

    def _told(
        self, axes: Sequence[optuna_space.Axis], trial: Any
    ) -> FrozenTrial | None:
        """Returns what the study gets of a trial; `None` for nothing."""
        point = self._point(axes, trial.hyperparameters.values)
        if point is None:
            return None  # It is no point of the grid as it is now.
        state = _state(trial)
        return optuna.create_trial(
            state=state,
            value=trial.score if state == TrialState.COMPLETE else None,
            system_attrs=self._notes.get(trial.trial_id),
            **point,
        )

    def _point(
        self, axes: Sequence[optuna_space.Axis], values: Any, whole: bool = False
    ) -> dict[str, Any] | None:
        """Returns values as Optuna's parameters and distributions.

        `None` for a point that is not on the grid or, with `whole`, out of a range.
        """
        active = [a for a in axes if scales.is_active(a.hp, values)]
        params = {
            a.name: a.inward(values[a.hp.name]) for a in active if a.hp.name in values
        }
        params = {name: value for name, value in params.items() if value is not None}
        if (self._is_grid or whole) and len(params) < len(active):
            return None
        distributions = {a.name: a.distribution for a in active if a.name in params}
        return {"params": params, "distributions": distributions}


def _has_ended(trial: Any) -> bool:
    return trial.status in (Status.COMPLETED, Status.FAILED)


def _state(trial: Any) -> TrialState:
    if trial.status == Status.COMPLETED:
        return TrialState.COMPLETE
    # One that is INVALID is going to be run again.
    return TrialState.FAIL if trial.status == Status.FAILED else TrialState.RUNNING


def _made(sampler: Any) -> BaseSampler:
    if isinstance(sampler, BaseSampler):
        return sampler
    if sampler not in SAMPLERS:
        raise ValueError(
            f"`sampler` must be one of {', '.join(map(repr, SAMPLERS))}, or an "
            f"instance of an Optuna sampler. Received: sampler={sampler!r}"
        )
    if sampler == "gp" and importlib.util.find_spec("torch") is None:
        raise ImportError(
            'sampler="gp" needs torch, which is not installed: '
            + installing("search-gp")
        )
    of = optuna.samplers
    with quiet():  # Grouping and exhaustive search are called experimental.
        if sampler == "tpe":
            return of.TPESampler(multivariate=True, group=True)
        if sampler == "gp":
            return of.GPSampler()
        return of.BruteForceSampler() if sampler == "grid" else of.RandomSampler()


def _reseed(sampler: BaseSampler, seed: int) -> None:
    """Seeds the random states of a sampler and of those inside it."""
    # In their place: parts of a sampler may share one.
    for part in vars(sampler).values():
        if isinstance(getattr(part, "rng", None), np.random.RandomState):
            part.rng.seed(seed)
        elif isinstance(part, BaseSampler):
            _reseed(part, seed)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's line for each study, and without its notes on experiments."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
