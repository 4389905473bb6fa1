"""Rules about callbacks that act on a logged quantity."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import numpy as np

from keras_babysit.facts import CallbackFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.catalogue import direction
from keras_babysit.rules.evidence.phrases import count, names, number
from keras_babysit.rules.rule import Sign, rule

#: What each callback does when it takes better for worse.
_EFFECT = {
    "EarlyStopping": (
        "it stops when the model gets better, and mistakes the worst epoch for the best"
    ),
    "ModelCheckpoint": "it keeps the worst weights",
    "ReduceLROnPlateau": "it lowers the rate while the model gets better",
}


@rule(
    kind="limit",
    severity="warning",
    when=("start", "epoch", "end"),
    since="Keras: `mode` of EarlyStopping, ReduceLROnPlateau and ModelCheckpoint",
    also=("learning-rate-too-low",),
)
def monitor_mode_reversed(
    history: RunHistory, *, patience: int = 6, correlation: float = 0.8
) -> Iterator[Sign]:
    """A callback mistakes the best value of what it monitors for the worst.

    What it sees:
        EarlyStopping, ReduceLROnPlateau or ModelCheckpoint with `mode="min"` on an
        accuracy, an AUC or the like, or with `mode="max"` on a loss or an error. For a
        metric whose name says nothing: that over `patience` epochs it moves against the
        loss, or with it, by a rank correlation of `correlation` or more.

    Why it matters:
        EarlyStopping ends the training when the model gets better, and restores the
        weights of the worst epoch; ModelCheckpoint keeps those.

    What to do:
        Use the other mode.

    When it is wrong:
        The metric is meant to get worse, as in adversarial training.

    References:
        Keras: `keras.callbacks.EarlyStopping`, `mode`.
    """
    for c in history.fit.callbacks if history.fit is not None else ():
        wanted = direction(c.monitor)
        from_run = not wanted
        if from_run:
            wanted = _by_the_loss(history, c.monitor, int(patience), correlation)
        if c.mode not in ("min", "max") or not wanted or c.mode == wanted:
            continue
        sense = "larger" if wanted == "max" else "smaller"
        how = " (it goes against the loss)" if from_run and wanted == "max" else ""
        yield Sign(
            where=c.kind,
            seen=f'it monitors {c.monitor} with mode="{c.mode}", but {sense} is '
            f"better{how}",
            cause=f"The mode is the wrong way round: {_EFFECT[c.kind]}",
            action=f'use `{c.kind}(monitor="{c.monitor}", mode="{wanted}")`',
            evidence={"monitor": c.monitor, "mode": c.mode, **_extremes(history, c)},
        )


def _by_the_loss(history: RunHistory, monitor: str, n: int, limit: float) -> str:
    """Which way a metric of unknown meaning is better, by what the loss does."""
    part = "val_loss" if monitor.startswith("val_") else "loss"
    values, losses = (history.values(f"epoch.{x}") for x in (monitor, part))
    if len(values) < n or len(values) != len(losses):
        return ""
    ranks = np.stack([np.argsort(np.argsort(v)) for v in (values, losses)])
    if min(np.ptp(values), np.ptp(losses)) <= 0:
        return ""
    along = float(np.corrcoef(ranks).ravel()[1])
    if abs(along) < limit:
        return ""
    return "min" if along > 0 else "max"


def _extremes(history: RunHistory, c: CallbackFacts) -> dict[str, float]:
    values = history.values(f"epoch.{c.monitor}")
    return {"first": values[0], "last": values[-1]} if len(values) else {}


@rule(
    kind="note",
    severity="warning",
    when=("epoch", "end"),
    since="Keras: `monitor` of EarlyStopping, ReduceLROnPlateau and ModelCheckpoint",
)
def monitor_never_logged(history: RunHistory) -> Iterator[Sign]:
    """A callback monitors a quantity that is never logged.

    What it sees:
        EarlyStopping, ReduceLROnPlateau or ModelCheckpoint(save_best_only=True) that
        have not seen a value of what they monitor after two epochs (or after the first
        validation), or at the end.

    Why it matters:
        Keras warns once an epoch and continues: training is not stopped, the best
        weights are not restored, the rate is not lowered, nothing is saved.

    What to do:
        Monitor one of the names that are logged; `val_` needs validation data.

    When it is wrong:
        The quantity appears only later.

    References:
        Keras: `keras.callbacks.EarlyStopping`, `monitor`.
    """
    fit, last = history.fit, history.last_epoch
    if fit is None or last is None:
        return
    done = len(history.values("epoch.loss"))
    for c in fit.callbacks:
        least = max(2, fit.validation_every + 1, c.starts_from + 2)
        if c.seen or not (history.ended or done >= least):
            continue
        if done <= c.starts_from:
            yield _waiting(c, done)
        elif c.monitor not in last.logs:
            yield _never(history, c, [n for n in last.logs if n != "learning_rate"])


def _never(history: RunHistory, c: CallbackFacts, logged: list[str]) -> Sign:
    unvalidated = c.monitor.startswith("val_") and not (
        history.fit is not None and history.fit.validation_every
    )
    close = difflib.get_close_matches(c.monitor, logged, 1, 0.0)
    lost = "the best weights are not restored" if c.restores else "it does nothing"
    return Sign(
        where=c.kind,
        seen=f"it monitors {c.monitor}, which is never logged: {lost} "
        f"(logged: {names(logged, 6)})",
        cause="There are no validation data"
        if unvalidated
        else "Likely the metric has another name",
        action="give `validation_data` or `validation_split` to fit"
        if unvalidated
        else f'use `{c.kind}(monitor="{close[0] if close else "loss"}")`',
        evidence={"monitor": c.monitor},
    )


def _waiting(c: CallbackFacts, done: int) -> Sign:
    return Sign(
        where=c.kind,
        seen=f"it counts from epoch {c.starts_from} on, and the training ended "
        f"after {count(done, 'epoch')}: it did nothing",
        cause="Likely start_from_epoch is too late for this run",
        action=f"use `start_from_epoch={max(done // 5, 1)}`",
        evidence={"start_from_epoch": c.starts_from, "epochs": done},
        severity="warning" if c.restores else "info",
    )


@rule(
    kind="remark",
    severity="info",
    when="start",
    since="Prechelt, Early Stopping - But When? (1998)",
)
def patience_too_long(history: RunHistory) -> Iterator[Sign]:
    """EarlyStopping or ReduceLROnPlateau cannot act within the run.

    What it sees:
        A patience of as many epochs as the run has, or more.

    Why it matters:
        The callback never acts.

    What to do:
        Use a patience of a tenth of the run.

    When it is wrong:
        With `restore_best_weights=True` the best weights are still restored at the end.

    References:
        Prechelt, Early Stopping - But When? (1998).
    """
    fit = history.fit
    for c in fit.callbacks if fit is not None and fit.epochs else ():
        assert fit is not None
        assert fit.epochs is not None
        if c.patience is None or c.patience < fit.epochs or fit.epochs < 3:
            continue
        yield Sign(
            where=c.kind,
            seen=f"its patience is {c.patience} epochs, and the run has "
            f"{number(fit.epochs)}",
            cause="It cannot act within this run",
            action=f"use `patience={max(fit.epochs // 10, 2)}`",
            evidence={"patience": c.patience, "epochs": fit.epochs},
        )
