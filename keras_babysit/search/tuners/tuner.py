"""What KerasTuner's tuners have in common, over `Search`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import keras_tuner

from keras_babysit.errors import whole
from keras_babysit.search.names import refuse_unused
from keras_babysit.search.oracles.stages import parsed
from keras_babysit.search.results.report import SearchReport
from keras_babysit.search.search import Search
from keras_babysit.search.trial.checkpoints import load_model
from keras_babysit.search.trial.executors import InPlace
from keras_babysit.search.trial.task import has_own_fit
from keras_babysit.search.trials import Trial
from keras_babysit.search.tuners.records import Records, shown

_Base = keras_tuner.engine.base_tuner.BaseTuner

#: What the objective is called that a user's function returns as a number.
_RETURNED = "default_objective"

#: Methods that KerasTuner calls and a search does not: what to use instead.
_CALLBACK = "pass a `keras.callbacks.Callback` to `search`"
_HOOKS = {
    "_build_and_fit_model": "override `run_trial`",
    "_build_hypermodel": "override `build` of a `HyperModel`",
    "on_batch_begin": _CALLBACK,
    "on_batch_end": _CALLBACK,
    "on_epoch_begin": _CALLBACK,
    "on_epoch_end": _CALLBACK,
    "on_search_begin": "do it before you call `search`",
    "on_search_end": "do it after `search`",
    "on_trial_begin": "override `run_trial`",
    "on_trial_end": "override `run_trial`",
    "save_model": "checkpoints are written after every epoch",
}


class Tuner(Search):
    """A search with the arguments and methods of KerasTuner's tuners.

    Trials are watched, stopped, kept and resumed as `Search` does it, and all of its
    methods are there too. What differs from KerasTuner is in the documentation, under
    "From KerasTuner".

    A subclass may override `run_trial`, as in KerasTuner: it returns a number, a
    dictionary of metrics, or a `History`; `super().run_trial(trial, x, y, ...)` builds
    and fits the hypermodel's model. What else KerasTuner calls is refused.

    Args:
        hypermodel: as for `Search`; `None` where `run_trial` is overridden.
        objective: as for `Search`; `None` where `run_trial`, or the hypermodel's `fit`,
            returns a number to be minimized.
        max_trials: how many sets of values are tried.
        max_retries_per_trial: how often a trial that raised an error is trained again;
            one whose process was killed is started again at least twice.
        directory: where searches are kept, the working directory by default.
        project_name: name of this one.
        logger: has no meaning here.
        tuner_id: has no meaning here.
        **kwargs: of `Search`. All models are kept unless `keep_top` is given.

    Raises:
        ValueError: as `Search` does, and for what has no meaning here.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int = 10,
        max_retries_per_trial: int = 0,
        directory: Any = None,
        project_name: str | None = None,
        logger: Any = None,
        tuner_id: str | None = None,
        **kwargs: Any,
    ):
        refuse_unused(logger=logger, tuner_id=tuner_id)
        custom = _is_custom(type(self))
        if hypermodel is None:
            if not custom:
                raise ValueError(
                    "`hypermodel` must be a function that takes HyperParameters and "
                    "returns a compiled model, or a keras_tuner.HyperModel; only a "
                    "subclass that overrides `run_trial` needs none. "
                    "Received: hypermodel=None"
                )
            hypermodel = _no_model
        if objective is None and (custom or has_own_fit(hypermodel)):
            objective = keras_tuner.Objective(_RETURNED, "min")
        whole("max_retries_per_trial", max_retries_per_trial, least=0)
        super().__init__(
            hypermodel,
            objective,
            max_trials=max_trials,
            max_retries_per_trial=max(2, max_retries_per_trial),
            max_error_retries=max_retries_per_trial,
            directory=directory or ".",
            project_name=project_name or "untitled_project",
            **{"keep_top": None, **kwargs},
        )
        if custom and not isinstance(self._executor, InPlace):
            raise ValueError(
                "A subclass with a `run_trial` of its own trains in this process: "
                "override `fit` of a `HyperModel` instead, or leave `executor` out. "
                f"Received: executor={kwargs['executor']!r}"
            )
        self._is_custom = custom
        self._given: tuple[Sequence[Any], Mapping[str, Any]] = (), {}
        self._fit: Callable[[Mapping[str, Any]], Any] | None = None
        self._known_space: keras_tuner.HyperParameters | None = None

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> SearchReport:
        """Runs the search, or resumes it, until it has ended.

        Args:
            *fit_args: of `keras.Model.fit`; a `run_trial` of your own gets them as they
                are.
            **fit_kwargs: likewise: `epochs`, 1 by default, `validation_data`, ...
                `verbose=0` shows nothing.

        Returns:
            The report of all that was found.
        """
        given = _named(fit_args, fit_kwargs)
        self._stages = parsed(None, self._trials(), self._epochs(given))
        self._verbose = _verbose(given.pop("verbose", self._verbose))
        self._given = fit_args, fit_kwargs
        return super().search(**({} if self._is_custom else given))

    def run_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> Any:
        """Builds and fits the hypermodel's model; to be overridden.

        Args:
            trial: KerasTuner's `Trial`; its `hyperparameters` can be asked for more.
            *fit_args: what `search` was given.
            **fit_kwargs: likewise.

        Returns:
            What the hypermodel's `fit` returns, a `History` for Keras's own.
        """
        if self._fit is None:
            raise RuntimeError("`run_trial` can be called within `search` only.")
        return self._fit(_named(fit_args, fit_kwargs))

    @property
    def hypermodel(self) -> keras_tuner.HyperModel:
        """The hypermodel."""
        return self._hypermodel

    @property
    def oracle(self) -> Records:
        """The trials so far, as KerasTuner's oracles show them."""
        return Records(self)

    @property
    def project_dir(self) -> str:
        """The folder of this search."""
        return str(self.directory)

    def load_model(self, trial: Any) -> keras.Model:
        """Returns the model of one of KerasTuner's trials, at its best epoch."""
        known = {one.name: one for one in self._store.trials()}[trial.trial_id]
        space = self._spaces()[known.stage]
        return load_model(self.directory, known, self._hypermodel, space)

    def get_trial_dir(self, trial_id: str) -> str:
        """Returns the folder of a trial."""
        return str(self._store.folder(int(trial_id)))

    def reload(self) -> None:
        """Does nothing, as the folder is read whenever something is asked for."""

    # As in KerasTuner, by `oracle` and `load_model`.
    get_best_models = _Base.get_best_models
    get_best_hyperparameters = _Base.get_best_hyperparameters
    remaining_trials = _Base.remaining_trials
    results_summary = _Base.results_summary
    search_space_summary = _Base.search_space_summary

    def _trials(self) -> int:
        return self._stages[-1].trials

    def _epochs(self, given: dict[str, Any]) -> int:
        return given.pop("epochs", 1)

    def _space(self) -> keras_tuner.HyperParameters:
        if self._known_space is None:
            no_model = self._hypermodel.build is _no_model
            found = self._entries.first() if no_model else super()._space()
            self._known_space = found
        return self._known_space

    def _run_trial(self) -> Any:
        return self._run_custom if self._is_custom else None

    def _run_custom(self, trial: Trial, hp: Any, fit: Callable[[Any], Any]) -> Any:
        args, kwargs = self._given
        self._fit = fit
        try:
            return self.run_trial(shown(trial, hp), *args, **kwargs)
        finally:
            self._fit = None


def _is_custom(tuner: type[Tuner]) -> bool:
    """Whether a subclass trains by itself; refuses what would never be called."""
    for name, instead in _HOOKS.items():
        if hasattr(tuner, name):
            raise ValueError(
                f"`{tuner.__name__}.{name}` would never be called: {instead}."
            )
    return tuner.run_trial is not Tuner.run_trial


def _named(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments of `keras.Model.fit` by their names."""
    names = list(inspect.signature(keras.Model.fit).parameters)[1:]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _verbose(given: Any) -> int:
    return int(given == "auto" or bool(given))


def _no_model(hp: Any) -> Any:
    raise ValueError("There is no `hypermodel`, so there is no model to build.")
