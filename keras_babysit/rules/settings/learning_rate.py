"""Rules about the learning rate as it was set."""

from __future__ import annotations

import math
from collections.abc import Iterator

from keras_babysit.facts import OptimizerFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.catalogue import ADAPTIVE
from keras_babysit.rules.evidence.graph import kernel
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the settings",
    severity="warning",
    when="start",
    since="Kingma and Ba, Adam, ICLR 2015: a step is at most about the rate",
    refutable=True,
)
def learning_rate_extreme(
    history: RunHistory,
    *,
    high_adaptive: float = 0.3,
    high: float = 10.0,
    low: float = 1e-8,
) -> Iterator[Sign]:
    """The learning rate is far from any that could work.

    What it sees:
        `high_adaptive` or more with Adam and its kind, `high` or more with others, in
        a model with hidden layers; `low` or less; zero or a negative one.

    Why it matters:
        Adam moves each weight by about the rate in each step: weights are about 0.1 in
        size, so 0.3 throws them all away at once, and 1e-8 needs millions of steps
        to matter. A negative rate climbs.

    What to do:
        Adam 1e-3, SGD 1e-2 to begin with.

    When it is wrong:
        Linear models tolerate large rates: for them it is only information. Rates that
        a schedule or a callback changes may begin low on purpose; once training uses
        another rate, that one counts.

    References:
        Kingma and Ba, Adam, section 2.1. CS231n, Neural networks part 3.
    """
    model = history.model
    optimizer = model.optimizer if model is not None else None
    if model is None or optimizer is None or model.custom_train_step:
        return
    rate, usual = optimizer.learning_rate, _usual_rate(optimizer)
    used = [v for v in history.values("learning_rate") if math.isfinite(v)]
    lowest = max([rate, *used])
    top = high_adaptive if optimizer.name in ADAPTIVE else high
    if optimizer.name == "Adadelta":
        top = 100 * high  # Its own rate is 1.
    how = f"`keras.optimizers.{optimizer.name}(learning_rate={usual:g})`"
    if rate < 0:
        yield _rate_sign(rate, optimizer, "it climbs", how, "error")
    elif rate >= top:
        deep = sum(kernel(x) is not None for x in model.layers) > 1
        why = "each step throws away what the weights have learned"
        yield _rate_sign(rate, optimizer, why, how, "error" if deep else "info")
    elif lowest <= low and not optimizer.scheduled:
        yield _rate_sign(rate, optimizer, "the weights will barely move", how, None)


def _usual_rate(optimizer: OptimizerFacts) -> float:
    return {"SGD": 1e-2, "Adagrad": 1e-2, "Adadelta": 1.0, "Lion": 1e-4}.get(
        optimizer.name, 1e-3
    )


def _rate_sign(
    rate: float, optimizer: OptimizerFacts, why: str, how: str, severity: str | None
) -> Sign:
    return Sign(
        where="",
        seen=f"a learning rate of {rate:g} with {optimizer.name} "
        f"({_usual_rate(optimizer):g} is usual)",
        cause=f"Likely {why}",
        action=f"use {how}",
        evidence={"learning_rate": rate, "optimizer": optimizer.name},
        severity=severity,
        fixes=(fixes.learning_rate(_usual_rate(optimizer)),),
    )
