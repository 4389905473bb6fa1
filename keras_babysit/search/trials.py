"""What happens in a search, as frozen values that files and processes can exchange."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from keras_babysit.document.values import plain

#: A trial is one of these. `stopped`: ended early, by a finding or by the pruner;
#: `killed`: its process ended again and again.
STATUSES = ("running", "completed", "stopped", "failed", "killed")

#: `Outcome.raised` where the values are to blame, not the program or the machine:
#: KerasTuner's exception for it, and what `max_model_size` comes to.
INFEASIBLE = "FailedTrialError"


@dataclass(frozen=True)
class Objective:
    """What is searched for: a metric of `fit`, and `"min"` or `"max"`.

    Attributes:
        name: of the metric.
        direction: `"min"` or `"max"`.
        parts: of several objectives, each of them; then `name` is that of their sum, as
            KerasTuner has it: those to minimize less those to maximize.
    """

    name: str
    direction: str
    parts: tuple[Objective, ...] = ()

    def __post_init__(self) -> None:
        made = (p if isinstance(p, Objective) else Objective(**p) for p in self.parts)
        object.__setattr__(self, "parts", tuple(made))

    @property
    def names(self) -> tuple[str, ...]:
        """What `fit` has to log."""
        return tuple(part.name for part in self.parts) or (self.name,)

    def completed(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns logs with the sum of several objectives, where they are all there."""
        if not self.parts or not all(name in logs for name in self.names):
            return dict(logs)
        signs = {"min": 1.0, "max": -1.0}
        total = sum(signs[p.direction] * float(logs[p.name]) for p in self.parts)
        return {**logs, self.name: total}

    def best(self, values: Any) -> float | None:
        """Returns the best of the finite values, or `None` if there is none."""
        finite = [float(v) for v in values if v is not None and math.isfinite(v)]
        if not finite:
            return None
        return min(finite) if self.direction == "min" else max(finite)

    def is_better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`."""
        return a < b if self.direction == "min" else a > b


@dataclass(frozen=True)
class EpochResult:
    """The end of one epoch of a trial, as its worker reports it.

    Attributes:
        epoch: number of finished epochs of this fold, from 1.
        logs: Keras's epoch logs.
        seconds: duration of the epoch.
        fold: which fold, from 0.
        checkpoint: name of the file with the weights, in the trial's folder; `""` if
            none could be written.
    """

    epoch: int
    logs: Mapping[str, float]
    seconds: float = 0.0
    fold: int = 0
    checkpoint: str = ""


@dataclass(frozen=True)
class Outcome:
    """How one trial ended, as its worker reports it.

    Attributes:
        status: `"completed"`, `"stopped"`, `"failed"` or `"killed"`.
        score: the objective at the best epoch (mean over the folds); `None` if it
            never had a finite value.
        best_epoch: number of the epoch with that score, from 1 (of the first fold).
        epochs: epochs trained, all folds together.
        reason: why it was stopped or has failed, in one line; `""` if it completed.
        metrics: all logs at the best epoch (means over the folds).
        fold_scores: score of each fold, if there are several.
        findings: what the babysitter found, as `Finding.to_dict` has it.
        parameters: number of the model's weights; `None` if it was not built.
        seconds: duration of the whole trial.
        checkpoint: name of the file with the best weights, in the trial's folder.
        space: `HyperParameters.get_config()` of the trial, with what the hypermodel
            asked for on the way; `None` if unchanged.
        notes: what went wrong on the side, such as a full disk, one line each.
        raised: type of the exception that the user's program raised; `""` for none.
    """

    status: str
    score: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    fold_scores: tuple[float, ...] = ()
    findings: tuple[Mapping[str, Any], ...] = ()
    parameters: int | None = None
    seconds: float = 0.0
    checkpoint: str = ""
    space: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    raised: str = ""


@dataclass(frozen=True)
class Trial:
    """One trial of a search: what was tried and, once it has ended, what came out.

    Attributes:
        number: from 0, over the whole search.
        stage: index of its stage, from 0.
        values: the active hyperparameters, name to value.
        epochs: number of epochs it may train.
        seed: seed of its random numbers.
        origin: `"oracle"`, `"promoted"` (a good one of the stage before, trained for
            longer) or `"repeat"` (the same again with another seed).
        source: number of the trial that it was promoted from or repeats.
        attempts: how often it was started.
        outcome: `None` while it is running.
    """

    number: int
    stage: int
    values: Mapping[str, Any]
    epochs: int
    seed: int
    origin: str = "oracle"
    source: int | None = None
    attempts: int = 1
    outcome: Outcome | None = None

    @property
    def status(self) -> str:
        """One of `STATUSES`."""
        return self.outcome.status if self.outcome is not None else "running"

    @property
    def score(self) -> float | None:
        """The objective at its best epoch; `None` if it has none."""
        return self.outcome.score if self.outcome is not None else None

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.number:04d}"


def alike(reason: str) -> str:
    """Returns a reason without its numbers, by which causes are compared."""
    return re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "#", reason)


def with_outcome(trial: Trial, outcome: Outcome) -> Trial:
    """Returns a trial that has ended, with all the values that it was trained with.

    What the hypermodel asked for on the way, and nobody had chosen, had its default.
    """
    asked = (outcome.space or {}).get("values") or {}
    return replace(trial, outcome=outcome, values={**trial.values, **asked})


def outcome_of(values: Mapping[str, Any]) -> Outcome:
    """Returns the outcome that `to_json` was called on; ignores other keys."""
    known = {f.name for f in dataclasses.fields(Outcome)}
    fields = {k: _restored(v) for k, v in values.items() if k in known}
    for name in ("fold_scores", "findings", "notes"):
        fields[name] = tuple(fields.get(name, ()))
    return Outcome(**fields)


def epoch_of(values: Mapping[str, Any]) -> EpochResult:
    """Returns the epoch that `to_json` was called on; ignores other keys."""
    known = {f.name for f in dataclasses.fields(EpochResult)}
    return EpochResult(**{k: _restored(v) for k, v in values.items() if k in known})


_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(value: Any) -> Any:
    """Returns a value as JSON can hold it, NaN and infinity so that they come back."""
    return plain(value, lambda number: {"float": str(number)})


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"float"} and value["float"] in _NOT_FINITE:
            return _NOT_FINITE[value["float"]]
        return {k: _restored(v) for k, v in value.items()}
    return [_restored(v) for v in value] if isinstance(value, list) else value
