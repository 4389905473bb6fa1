"""The diagnosis of one run: facts of model and data, and the judge, in their order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_babysit.history import RunHistory
from keras_babysit.records import (
    EpochRecord,
    Finding,
    StepRecord,
    ValidationRecord,
)
from keras_babysit.rules.judge import Judge
from keras_babysit.rules.rule import Rule


class Diagnosis:
    """Gathers what rules look at, and asks them when there is something new.

    Args:
        history: the history of the run, which gets the facts.
        rules: the rules to ask.

    Attributes:
        described: whether the facts have changed; whoever acts on it resets it.
    """

    def __init__(self, history: RunHistory, rules: Sequence[Rule]):
        self.described = False
        self._history = history
        self._judge = Judge(rules)
        self._active = bool(rules)
        self._sample: Any = None
        self._unbuilt = False
        self._fed: Any = None
        self._fingerprint = b""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings so far, the worst first."""
        return self._judge.findings

    @property
    def wants_batches(self) -> bool:
        """Whether more of the data should be seen, or a model with its first batch."""
        return self._unbuilt or self._draws

    @property
    def _draws(self) -> bool:
        return self._sample is not None and not self._sample.full

    @property
    def wants_validation(self) -> bool:
        """Whether validation data that are not arrays should be looked at."""
        return self._fed is not None and not self._fed.validation_inputs

    def begin(self, model: Any) -> list[Finding]:
        """Before the first step, called from within `fit`: looks at both."""
        from keras_babysit.inspection.data import (
            BatchSample,
            Fed,
            data_facts,
            fingerprint,
        )
        from keras_babysit.inspection.fit import fed_to
        from keras_babysit.inspection.settings import fit_facts

        self._history.ended = False
        self._history.model = None
        self._history.fit = fit_facts(model)
        fed = fed_to(model)
        facts = None
        if fed is not None:
            # In a loop of `fit`s over the same arrays they are looked at once.
            known, self._fingerprint = self._fingerprint, fingerprint(fed)
            same = known == self._fingerprint and self._history.data is not None
            facts = self._history.data if same else data_facts(fed)
        self._sample, self._fed = None, fed or Fed()
        if facts is None or facts.source == "batches":
            self._sample = BatchSample(fed)
        if facts is not None:
            self._history.data = facts
        # A Sequential model without an Input is built while its first step is traced.
        self._unbuilt = not _is_built(model)
        return self._look_at(model)

    def batch(self, model: Any, batch: Any) -> list[Finding]:
        """A batch that is about to be trained on."""
        import keras

        self._unbuilt = False
        if self._draws:
            parts = keras.utils.unpack_x_y_sample_weight(batch)
            self._sample.add(*parts, at=self._place(model))
            self._history.data = self._sample.facts()
        return self._look_at(model)

    def validation(self, model: Any, batches: Sequence[Any]) -> list[Finding]:
        """The first batches of a validation."""
        import keras

        from keras_babysit.inspection.data import validated, validation_facts

        parts = [keras.utils.unpack_x_y_sample_weight(batch) for batch in batches]
        fed, self._fed = validated(self._fed, parts), None
        data = self._history.data
        if self._sample is not None:
            self._sample.fed = validated(self._sample.fed, parts)
            self._history.data = self._sample.facts()
        elif data is not None:
            facts = validation_facts(fed)
            self._history.data = dataclasses.replace(data, validation=facts)
        return self._look_at(model)

    def recorded(
        self, record: StepRecord | EpochRecord | ValidationRecord
    ) -> list[Finding]:
        """A record has been added to the history."""
        if isinstance(record, ValidationRecord):
            return []  # The record of the epoch follows.
        if isinstance(record, StepRecord):
            return self._judge.judge(self._history, "step")
        if not record.logs:
            return []
        self._look_at_callbacks()
        return self._judge.judge(self._history, "epoch")

    def end(self) -> list[Finding]:
        """The training has ended."""
        self._fed = None
        self._history.ended = True
        self._look_at_callbacks()
        return self._judge.judge(self._history, "end")

    def _place(self, model: Any) -> tuple[int, int | None]:
        """The epoch of the batch that comes, and its place in it, if that is known."""
        fit, steps = self._history.fit, self._sample.steps
        done = getattr(getattr(model, "optimizer", None), "_iterations", None)
        if fit is None or not fit.epochs or not steps or done is None:
            return int(self._history.position[1]), None
        return divmod(int(done) - fit.begin, max(steps // fit.epochs, 1))

    def _look_at_callbacks(self) -> None:
        """What they have seen so far; those behind us are an epoch late."""
        from keras_babysit.inspection.settings import callbacks

        fit = self._history.fit
        if fit is not None and fit.callbacks:
            self._history.fit = dataclasses.replace(fit, callbacks=callbacks())

    def _look_at(self, model: Any) -> list[Finding]:
        from keras_babysit.inspection.model import model_facts

        # Once a `fit`: later the weights are no longer those before training.
        if self._history.model is None and _is_built(model):
            self._history.model = model_facts(model)
        self.described = True
        return self._judge.judge(self._history, "start")


def _is_built(model: Any) -> bool:
    """Whether its weights are there: a `train_step` need not call the model itself."""
    layers = model.layers
    return model.built or (bool(layers) and all(layer.built for layer in layers))
