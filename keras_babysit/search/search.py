"""`Search`: a hyper-parameter search as the notes describe it, from start to report."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import keras_tuner

from keras_babysit.errors import whole, whole_or_none
from keras_babysit.search import folder, settings
from keras_babysit.search.arguments import (
    check_environment,
    check_executions,
    check_limits,
    check_strategy,
    check_verbose,
    executor_of,
    limits_of,
    name_of,
    objective_of,
)
from keras_babysit.search.driver import Driver
from keras_babysit.search.names import refuse
from keras_babysit.search.oracles import methods
from keras_babysit.search.oracles.pruners import Stopper
from keras_babysit.search.oracles.stages import parsed
from keras_babysit.search.plan import Plan
from keras_babysit.search.progress import Progress
from keras_babysit.search.replay import Past, replay
from keras_babysit.search.results import ranking
from keras_babysit.search.results.report import SearchReport, make_report
from keras_babysit.search.results.table import frame
from keras_babysit.search.scheduler import Scheduler
from keras_babysit.search.space.hypermodel import Entries, hypermodel_of, space_of
from keras_babysit.search.space.overrides import Overrides
from keras_babysit.search.space.scales import with_values
from keras_babysit.search.store import Store
from keras_babysit.search.trial.checkpoints import load_model
from keras_babysit.search.trial.executors import InPlace
from keras_babysit.search.trial.fit_arguments import check_arguments
from keras_babysit.search.trial.task import Work, has_own_fit
from keras_babysit.search.trials import Trial

if TYPE_CHECKING:
    import pandas as pd


class Search:
    """Searches hyperparameters, survives crashes, and ends hopeless trials.

    Hypermodels, `HyperParameters`, objectives and oracles are KerasTuner's. What a
    search does is in its folder, so the same program run again resumes where it was
    cut off, and with the same seed reaches the same result.

    Args:
        hypermodel: a function that takes `keras_tuner.HyperParameters` and returns a
            compiled model, or a `keras_tuner.HyperModel`, whose `fit` is used too: it
            gets the arguments of `search`, and `epochs`, `verbose` and `callbacks`.
        objective: name of what `fit` logs, `"val_loss"`, or a `keras_tuner.Objective`
            where its direction cannot be told from its name; or a list of these.
        max_trials: how many sets of values are tried, where there are no `stages`;
            10 by default.
        epochs: how long each is trained at most, likewise; 10 by default.
        stages: several stages instead, from coarse to fine: `(trials, epochs)` or
            `Stage` each, or what `coarse_to_fine()` returns.
        method: `"random"`; `"bayesian"` (a Gaussian process); `"tpe"` or `"nsga2"`
            (Optuna's, which look for the Pareto front of several objectives);
            `"grid"`; a KerasTuner oracle without trials; or a function `(objective,
            max_trials, seed, hyperparameters)` that makes one for each stage.
        directory: where searches are kept.
        project_name: name of this one, a folder in `directory`.
        overwrite: delete what is in the folder. Otherwise resume it.
        seed: of everything: values, weights, the order of samples, folds. `None` for
            one drawn at random, which is kept in the folder.
        folds: number of folds of a cross-validation. `None` for one validation set, as
            the notes advise.
        repeat_top: how many of the best are trained again at the end, with other seeds,
        repeats: and how often each.
        widen: whether ranges grow where the best values lie at their border.
        limits: name to the smallest and largest value that `widen` may come to.
        stop_on_error: whether a finding of severity `"error"` ends a trial.
        pruner: what else does: `"median"` (nothing, with several objectives),
            `"halving"`, an Optuna pruner, or `None`.
        executor: `None` to train in this process, one after the other; `"ray"`; or an
            object that does what `executors.Executor` says.
        workers: for `"ray"`: how many trials at a time; as many as fit by default.
        cpus_per_trial: likewise, for each.
        gpus_per_trial: likewise.
        keep_top: how many of the best trials keep their checkpoints; `None`: all.
        babysit: whether a `Babysitter` watches each trial.
        max_retries_per_trial: a trial whose process was killed is started again, and
            given up when this has happened more often in a row without a new epoch. It
            is tried again when the search is run again.
        max_consecutive_failed_trials: the search stops after so many trials in a row
            that raised the same error, as where a device is lost, and trains them again
            when it is run again; `None`: never.
        verbose: 0 shows nothing; 1 how the search is getting on.
        executions_per_trial: how often each trial is trained, with other seeds; its
            score is the mean, its model the best. `repeat_top` spends less: it repeats
            the best trials only.
        hyperparameters: `keras_tuner.HyperParameters` that override the hypermodel's of
            the same names.
        tune_new_entries: whether what it asks for beside them is searched; if not, it
            has its default.
        allow_new_entries: whether it may ask for anything else.
        max_model_size: a model with more trainable weights fails without training.
        optimizer: overrides the hypermodel's, in `compile`,
        loss: likewise,
        metrics: likewise. With these the hypermodel need not compile.
        distribution_strategy: a strategy of `tf.distribute` for every trial.
        max_error_retries: how often a trial that raises an error is trained again.

    Raises:
        ValueError: for arguments that are not as they should be.
        RuntimeError: in a process of KerasTuner's distributed mode.
        ImportError: if a package that was asked for is not installed.

    References:
        CS231n, "Hyperparameter optimization".

    Example:
    ```python
    searching = keras_babysit.search.Search(
        make_model, "val_loss", stages=[(20, 1), (10, 5), (5, 30)], seed=1
    )
    report = searching.search(x, y, validation_data=(x_val, y_val))
    print(report)
    model = searching.best_models(1)[0]
    ```
    """

    def __init__(
        self,
        hypermodel: Any,
        objective: Any,
        max_trials: int | None = None,
        epochs: int | None = None,
        stages: Any = None,
        method: Any = "random",
        directory: str | os.PathLike = "searches",
        project_name: str = "search",
        overwrite: bool = False,
        seed: int | None = None,
        folds: int | None = None,
        repeat_top: int = 0,
        repeats: int = 3,
        widen: bool = False,
        limits: Mapping[str, tuple[float, float]] | None = None,
        stop_on_error: bool = True,
        pruner: Any = "median",
        executor: Any = None,
        workers: int | None = None,
        cpus_per_trial: float = 1,
        gpus_per_trial: float = 0,
        keep_top: int | None = 5,
        babysit: bool = True,
        max_retries_per_trial: int = 2,
        max_consecutive_failed_trials: int | None = 3,
        verbose: int = 1,
        executions_per_trial: int = 1,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_model_size: int | None = None,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Any = None,
        distribution_strategy: Any = None,
        max_error_retries: int = 0,
        **unknown: Any,
    ):
        refuse(unknown, type(self))
        check_environment()
        overrides = Overrides(optimizer, loss, metrics, distribution_strategy)
        self._hypermodel = overrides.of(hypermodel_of(hypermodel))
        self._entries = Entries(hyperparameters, tune_new_entries, allow_new_entries)
        check_executions(executions_per_trial, folds)
        whole_or_none("max_model_size", max_model_size)
        self._executions, self._largest = executions_per_trial, max_model_size
        self._objective = objective_of(objective)
        self._stages = parsed(stages, max_trials, epochs)
        for own in (method, *(s.method for s in self._stages if s.method is not None)):
            methods.check_method(own, len(self._stages))
        self._method, self._seed = method, seed
        whole_or_none("seed", seed, least=0)
        whole_or_none("folds", folds, least=2)
        whole("repeat_top", repeat_top, least=0)
        whole("repeats", repeats)
        whole_or_none("keep_top", keep_top)
        whole("max_retries_per_trial", max_retries_per_trial, least=0)
        name = "max_consecutive_failed_trials"
        whole_or_none(name, max_consecutive_failed_trials)
        whole("max_error_retries", max_error_retries, least=0)
        self._patience = (
            max_retries_per_trial,
            max_consecutive_failed_trials,
            max_error_retries,
        )
        self._folds, self._repeats = folds, (repeat_top, repeats)
        self._widen, self._limits = bool(widen), limits_of(limits, widen)
        check_verbose(verbose)
        if self._objective.parts and pruner == "median":
            pruner = None  # What is bad by the sum may be on the front.
        self._pruner, self._stopper = pruner, Stopper(pruner, self._objective)
        self._executor = executor_of(executor, workers, cpus_per_trial, gpus_per_trial)
        check_strategy(distribution_strategy, self._executor)
        self._watch = bool(babysit), bool(stop_on_error)
        self._keep_top, self._verbose = keep_top, verbose
        self._overwrite = bool(overwrite)
        self._name = name_of(project_name)
        # The working directory may change.
        self._store = Store((Path(directory) / self._name).absolute())

    @property
    def directory(self) -> Path:
        """The folder of this search."""
        return self._store.directory

    def search(self, x: Any = None, y: Any = None, **arguments: Any) -> SearchReport:
        """Runs the search, or resumes it, until it has ended.

        Ctrl-C ends it in a state from which it can resume.

        Args:
            x: as for `keras.Model.fit`.
            y: likewise.
            **arguments: of `fit`: `validation_data`, `validation_split`, `batch_size`,
                `callbacks`, `class_weight`, ... Callbacks are copied for each trial.

        Returns:
            The report of all that was found.

        Raises:
            ValueError: if the hypermodel fails or returns no compiled model, asks for
                nothing to search, or does not log the objective; if arguments of
                `fit` cannot work; if the folder has another search.
            RuntimeError: if another process is searching in the folder, the first three
                trials all fail, or too many fail in a row with the same error.
            keras_tuner.errors.FatalError: if the hypermodel raises one.
            OSError: if the folder cannot be written.
        """
        given = {"x": x, "y": y, **arguments}
        check_arguments(given, self._folds, self._objective, self._has_own_fit())
        space = self._space()
        check_limits(self._limits, space)
        folder.make(self.directory)
        with folder.locked(self.directory):
            plan = self._begun(space)
            scheduler = Scheduler(plan)
            in_place = isinstance(self._executor, InPlace)
            past = replay(scheduler, self._store.events(), in_place)
            work = Work(
                hypermodel=self._hypermodel,
                arguments=given,
                objective=self._objective,
                directory=str(self.directory),
                folds=self._folds,
                folds_seed=plan.seed,
                babysit=self._watch[0],
                stop_on_error=self._watch[1],
                verbose=0,
                executions=self._executions,
                max_model_size=self._largest,
                allow_new_entries=self._entries.allow_new,
                run_trial=self._run_trial(),
            )
            self._drive(scheduler, past, work)
        return self.report()

    def results(self) -> pd.DataFrame:
        """Returns one row for each trial so far, as a pandas `DataFrame`.

        Raises:
            ValueError: if there is no search in the folder.
            ImportError: if pandas is not installed.
        """
        self._check_begun()
        return frame(self._store.trials(), self._objective)

    def report(self) -> SearchReport:
        """Returns the report of what was found so far.

        Raises:
            ValueError: if there is no search in the folder.
        """
        return make_report(self._store)

    def best_trials(self, count: int | None = None) -> list[Trial]:
        """Returns the best trials so far, one for each set of values, best first.

        See `ranking.candidates` for how trials of several stages, and those that were
        repeated, compare.

        Args:
            count: how many; `None` for all that have a score.
        """
        self._check_begun()
        whole_or_none("count", count)
        return ranking.best_trials(self._store.trials(), self._objective, count)

    def best_hyperparameters(self, count: int = 1) -> list[keras_tuner.HyperParameters]:
        """Returns the hyperparameters of the best trials so far, best first.

        Args:
            count: how many; there are fewer if not so many trials have a score.
        """
        spaces = self._spaces()
        return [
            with_values(
                (trial.outcome and trial.outcome.space) or spaces[trial.stage],
                trial.values,
            )
            for trial in self.best_trials(count)
        ]

    def best_models(self, count: int = 1) -> list[keras.Model]:
        """Returns the models of the best trials so far, at their best epochs.

        Args:
            count: how many, `keep_top` at most; there are fewer if not so many trials
                have a score.

        Raises:
            ValueError: for more than `keep_top`, or if a checkpoint is gone.
        """
        whole("count", count)
        if self._keep_top is not None and count > self._keep_top:
            raise ValueError(
                f"Only the best {self._keep_top} trials keep their checkpoints "
                f"(`keep_top`). Received: count={count}"
            )
        spaces = self._spaces()
        return [
            load_model(self.directory, trial, self._hypermodel, spaces[trial.stage])
            for trial in self.best_trials(count)
        ]

    def _space(self) -> keras_tuner.HyperParameters:
        """Returns what is searched; builds the hypermodel."""
        return space_of(self._hypermodel, self._entries, self._has_own_fit())

    def _run_trial(self) -> Any:
        """Returns what trains a trial instead of `fit`; see `Work.run_trial`."""
        return None

    def _has_own_fit(self) -> bool:
        return self._run_trial() is not None or has_own_fit(self._hypermodel)

    def _spaces(self) -> list[Mapping[str, Any]]:
        self._check_begun()
        return [e["space"] for e in self._store.events() if e["event"] == "stage"]

    def _check_begun(self) -> None:
        if self._store.settings() is None:
            raise ValueError(
                f"There is no search in {str(self.directory)!r} yet: call `search` "
                "first."
            )

    def _begun(self, space: keras_tuner.HyperParameters) -> Plan:
        """Returns the plan, after the folder has it or was found to have it."""
        overwrite, self._overwrite = self._overwrite, False
        stored = None if overwrite else folder.stored(self._store)
        seed = self._seed
        if seed is None:
            known = (stored or {}).get("seed")
            seed = secrets.randbits(31) if known is None else known
        plan = Plan(
            self._objective,
            self._stages,
            self._method,
            int(seed),
            space,
            self.directory,
            *self._repeats,
            self._widen,
            self._limits,
            self._entries.tune_new,
        )
        asked = settings.settings_of(
            plan,
            self._pruner,
            folds=self._folds,
            babysit=self._watch[0],
            stop_on_error=self._watch[1],
            executions_per_trial=self._executions,
            max_model_size=self._largest,
            tune_new_entries=self._entries.tune_new,
            keep_top=self._keep_top,
            project_name=self._name,
        )
        folder.begin(self._store, asked, overwrite)
        return plan

    def _drive(self, scheduler: Scheduler, past: Past, work: Work) -> None:
        plan = scheduler.plan
        expected = [(stage.trials, stage.epochs) for stage in plan.stages]
        if plan.repeat_top:
            count = plan.repeat_top * plan.repeats
            expected.append((count, plan.stages[-1].epochs))
        progress = Progress(
            self._objective,
            expected,
            folds=self._folds or self._executions,
            verbose=self._verbose,
            trials=list(scheduler.trials.values()),
        )
        driver = Driver(
            scheduler,
            self._store,
            self._executor,
            self._stopper,
            progress,
            past,
            self._keep_top,
            *self._patience,
        )
        is_logged = work.arguments.get("validation_freq", 1) == 1 and not work.own_fit
        try:
            driver.run(work, check_objective=is_logged)
        except KeyboardInterrupt:
            progress.say(
                f"Interrupted. What has ended is in {str(self.directory)!r}; run the "
                "program again to resume."
            )
            raise
        finally:
            progress.close()
