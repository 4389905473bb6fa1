"""An oracle for several objectives: Optuna's samplers, told of each of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import keras_tuner
import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from keras_babysit.search.oracles.optuna_oracle import OptunaOracle, _reseed, quiet

Status = keras_tuner.engine.trial.TrialStatus


class ParetoOracle(OptunaOracle):
    """`OptunaOracle` whose sampler looks for the Pareto front of several objectives.

    The study is made again for each suggestion from the trials and their values.

    Args:
        directions: of the objectives: `"min"` or `"max"` each.
        *args: of `OptunaOracle`.
        **kwargs: likewise.
    """

    def __init__(self, directions: Sequence[str], *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        known = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}
        self._directions = [known[direction] for direction in directions]
        #: The objectives of each trial that has them, by its id, in their order.
        self.found: dict[str, list[float]] = {}

    def _suggested(self, trial_id: str) -> dict[str, Any] | None:
        """Returns new values; `None` if all that were suggested were tried before."""
        with quiet():
            study = self._with_all_trials()
            for _ in range(self._max_collisions + 1):
                values = self._ask(study.ask())
                if not self._duplicate(values):
                    asked = study.get_trials(deepcopy=False)[-1]
                    self._notes[trial_id] = dict(asked.system_attrs)
                    return values
        return None

    def _with_all_trials(self) -> optuna.Study:
        sampler = copy.deepcopy(self._sampler)
        entropy = np.random.SeedSequence([self.seed, len(self.trials)])
        _reseed(sampler, int(entropy.generate_state(1)[0]))
        study = optuna.create_study(sampler=sampler, directions=self._directions)
        axes = self._axes()
        for trial_id in self.start_order:
            trial = self.trials[trial_id]
            point = self._point(axes, trial.hyperparameters.values)
            if point is None:
                continue
            values = self.found.get(trial_id)
            ended = trial.status in (Status.COMPLETED, Status.FAILED)
            state = TrialState.COMPLETE if values else TrialState.FAIL
            study.add_trial(
                optuna.create_trial(
                    state=state if ended else TrialState.RUNNING,
                    values=values,
                    system_attrs=self._notes.get(trial_id),
                    **point,
                )
            )
        return study
