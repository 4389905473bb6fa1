"""The model of a run, and what was known of it before, for `Report.try_fixes`."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_babysit.document.progress_line import shown
from keras_babysit.facts import DataFacts, ModelFacts
from keras_babysit.fixes.experiment import tried_out
from keras_babysit.fixes.result import FixTrials
from keras_babysit.fixes.terms import SAMPLES, check_fixes, terms
from keras_babysit.records import Finding, Fix


@dataclass(frozen=True)
class Trained:
    """A model that was trained.

    Attributes:
        model: a weak reference to it.
        facts: of the model before its training.
        data: facts of what it was trained on, if they are known.
    """

    model: weakref.ref
    facts: ModelFacts
    data: DataFacts | None = None

    def try_fixes(
        self,
        findings: Sequence[Finding],
        x: Any,
        y: Any,
        sample_weight: Any,
        fixes: Sequence[Fix],
        steps: int,
        seeds: int,
        seconds: float,
        verbose: int | str,
    ) -> FixTrials:
        """Tries what findings advise, with the batches that `fit` had."""
        from keras_babysit.borrowing import random_numbers_kept
        from keras_babysit.inspection.sample import sample_of

        model = self.model()
        if model is None:
            raise ValueError(
                "The model of this run is gone. Call "
                "`keras_babysit.try_fixes(model, x, y, findings=report.findings)`."
            )
        size = self.data.batch_size if self.data is not None else None
        in_order = self.data is not None and self.data.shuffled is False
        known = terms(size or 32, not in_order, steps, seeds, seconds)
        check_fixes(fixes)
        with random_numbers_kept():
            sample = sample_of(x, y, sample_weight, n=SAMPLES)
        known = dataclasses.replace(
            known,
            redrawn=True,
            batch_size=min(known.batch_size, max(sample.size // 2, 1)),
        )
        with shown("Trying fixes", verbose=verbose) as progress:
            return tried_out(
                model, self.facts, sample, findings, fixes, known, progress
            )
