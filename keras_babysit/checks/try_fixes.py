"""Tries the advice of findings out, before a training."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from keras_babysit import rules as all_rules
from keras_babysit.borrowing import borrowed, random_numbers_kept
from keras_babysit.borrowing.optimizers import fresh_optimizers, rate_of
from keras_babysit.callbacks.babysitter import Babysitter
from keras_babysit.checks.data import facts_of
from keras_babysit.checks.fitting.deadline import EndsAfter
from keras_babysit.checks.model_and_data import judged, make_ready
from keras_babysit.document.progress_line import shown
from keras_babysit.errors import whole, wrong
from keras_babysit.fixes.experiment import tried_out
from keras_babysit.fixes.result import FixTrials
from keras_babysit.fixes.terms import SAMPLES, Terms, check_fixes, terms
from keras_babysit.inspection.model import model_facts
from keras_babysit.inspection.sample import Sample, sample_of
from keras_babysit.records import Finding, Fix


def try_fixes(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    findings: Iterable[Finding] | None = None,
    fixes: Sequence[Fix] = (),
    batch_size: int = 32,
    shuffle: bool = True,
    steps: int = 150,
    seeds: int = 3,
    seconds: float = 60.0,
    samples: int = SAMPLES,
    verbose: int | str = "auto",
) -> FixTrials:
    """Tries the advice of findings out: the same short training with it and without.

    For each change that the findings advise and that can be made mechanically, and for
    the model as it is, it trains from the same first weights on the same batches, and
    compares the predictions for samples that were held out, by a metric that does not
    depend on the loss: accuracy as the mean over the classes, R², or, for tasks that
    have neither, the fall of the loss. Changes that seem to help are tried with further
    seeds, alone and in pairs. A change counts as better only if it helps for every
    seed, by a tenth of the way from chance to perfect predictions, and by three
    standard errors.

    The model, its optimizer and the global random states come back bit for bit as they
    were, also after Ctrl-C, which ends the trying and keeps what is known by then.

    Args:
        model: a compiled `keras.Model`; it is built if it is not yet.
        x: what `fit` takes: arrays, structures of arrays, `tf.data.Dataset`,
            `keras.utils.PyDataset`, a generator (which is read from).
        y: targets, if `x` is arrays.
        sample_weight: weights, if `x` is arrays.
        findings: what was found, such as `babysitter.report.findings`. By default a
            short training is watched first.
        fixes: changes to try besides, made by `keras_babysit.rules.fixes`.
        batch_size: samples of an update, as for `fit`.
        shuffle: as for `fit`.
        steps: updates of each training.
        seeds: trainings of each change that may be the answer. For each, other samples
            are held out, and weights that still are as their initializers gave them
            are redrawn.
        seconds: time for all of it; a small CNN takes less than a minute.
        samples: how many samples to use; a quarter of them is held out.
        verbose: 0 for no output; 1 for a line of progress; `"auto"` for one on a
            terminal.

    Returns:
        A `FixTrials`: `best`, `trials`, `code`, `findings`, `summary`.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not compiled; if there is no data, or it is not finite
            numbers, or does not fit the model; for arguments out of range.

    Example:
    ```python
    tried = keras_babysit.try_fixes(model, x, y)
    print(tried)
    print(tried.code)
    ```
    """
    known = terms(batch_size, shuffle, steps, seeds, seconds)
    check_fixes(fixes)
    whole("samples", samples, 16)
    with random_numbers_kept():
        sample = sample_of(x, y, sample_weight, n=samples)
    make_ready(model, sample, facts_of(sample))
    return tried(model, sample, findings, fixes, known, verbose)


def tried(
    model: Any,
    sample: Sample,
    findings: Iterable[Finding] | None,
    fixes: Sequence[Fix],
    known: Terms,
    verbose: int | str,
) -> FixTrials:
    """Does so with a model that is ready, and a sample of the data."""
    if findings is not None:
        findings = tuple(findings)
        if not all(isinstance(finding, Finding) for finding in findings):
            expected = "findings, such as `babysitter.report.findings`"
            raise wrong("findings", expected, findings)
    size = min(known.batch_size, max(sample.size // 2, 1))
    known = dataclasses.replace(known, batch_size=size)
    began = time.monotonic()
    with shown("Trying fixes", verbose=verbose) as progress:
        if findings is None:
            progress(0.0, "as it is, watched")
            findings = _watched(model, sample, known)
        left = known.seconds - (time.monotonic() - began)
        known = dataclasses.replace(known, seconds=max(left, known.seconds / 2))
        facts = model_facts(model)
        return tried_out(model, facts, sample, findings, fixes, known, progress)


def _watched(model: Any, sample: Sample, known: Terms) -> tuple[Finding, ...]:
    """What a Babysitter finds in such a training of the model as it is."""
    per_epoch = max(math.ceil(sample.size / known.batch_size), 1)
    epochs = math.ceil(known.steps / per_epoch)
    with (
        tempfile.TemporaryDirectory() as place,
        random_numbers_kept(),
        borrowed(model),
        fresh_optimizers(model),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        rate_of(model.optimizer)
        babysitter = Babysitter(place, verbose=0, every=max(per_epoch // 8, 1))
        try:
            keras.Model.fit(
                model,
                sample.x,
                sample.y,
                sample_weight=sample.sample_weight,
                batch_size=known.batch_size,
                shuffle=known.shuffled,
                epochs=max(epochs, 3),
                verbose=0,
                callbacks=[babysitter, EndsAfter(known.seconds / 3)],
            )
        except Exception:
            # It cannot be trained as it is; what was found before says why. With some
            # backends Keras builds the loss before it calls any callback.
            if babysitter.history.model is None:
                return judged(model, facts_of(sample), all_rules.select()).findings
            babysitter.on_train_end()
        return babysitter.report.findings
