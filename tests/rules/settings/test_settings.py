"""Rules about the settings around a training: schedules and callbacks."""

import dataclasses

import numpy as np
import pytest
from support import histories as H

from keras_babysit.facts import CallbackFacts, FitFacts, ScheduleFacts
from keras_babysit.rules.settings import callbacks, schedule

STEPS = np.unique(np.geomspace(1, 200_000, 300).astype(int)) - 1


def scheduled(rate, end=200, begin=0, epochs=10, losses=(), **kwargs):
    """A history of a run of `end - begin` updates whose rate is a function of them."""
    history = H.run(losses, **kwargs)
    steps = STEPS + begin if begin else STEPS
    steps = np.unique([*steps, *range(begin, end, 5), end - 1, *range(0, begin, 50)])
    rates = np.array([rate(t) for t in steps], float)
    facts = ScheduleFacts(steps.astype(float), rates, begin, end)
    history.fit = FitFacts(epochs=epochs, schedule=facts)
    return history


def warmup(over):
    return lambda t: 0.1 * min(1.0, (t + 1) / over)


def test_a_warmup_that_the_run_does_not_finish():
    (sign,) = schedule.warmup_too_long.signs(scheduled(warmup(4_000)))
    assert sign.evidence["updates"] == 200
    assert sign.evidence["later"] == pytest.approx(0.1)
    assert "20 updates" in sign.action


@pytest.mark.parametrize(
    "rate",
    [
        warmup(20),
        warmup(390),
        lambda t: 1e-5 * 1.001**t,
        lambda t: 0.1,
        lambda t: 0.1 / (1 + t),
    ],
    ids=["short", "more than half", "range test", "constant", "decay"],
)
def test_other_schedules_are_no_long_warmup(rate):
    assert not schedule.warmup_too_long.signs(scheduled(rate))


def test_a_warmup_in_one_of_many_fits_and_in_a_good_run():
    assert not schedule.warmup_too_long.signs(scheduled(warmup(4_000), epochs=1))
    history = scheduled(warmup(4_000), losses=H.learning(), accuracy=[0.9] * 10)
    assert not schedule.warmup_too_long.signs(history)


def test_a_decay_whose_length_is_in_epochs():
    (sign,) = schedule.schedule_ends_early.signs(scheduled(lambda t: 0.1 * 0.5**t))
    assert "epochs" in sign.cause
    slow = scheduled(lambda t: 0.1 * 0.99**t)
    assert not schedule.schedule_ends_early.signs(slow)


def test_a_schedule_that_had_ended_and_a_rate_of_zero():
    used = scheduled(lambda t: 0.1 * max(0.0, 1 - t / 100), begin=200, end=400)
    (sign,) = schedule.schedule_ends_early.signs(used)
    assert sign.severity == "error"
    assert "compile" in sign.action
    fine = scheduled(lambda t: 0.1 * max(0.0, 1 - t / 400), begin=200, end=400)
    assert not schedule.schedule_ends_early.signs(fine)


def monitored(monitor, mode="auto", kind="EarlyStopping", losses=(), every=1, **kwargs):
    own = {k: kwargs.pop(k) for k in ("patience", "starts_from", "seen") if k in kwargs}
    history = H.run(losses or H.learning(), **kwargs)
    one = CallbackFacts(kind, monitor, mode, **own)
    history.fit = FitFacts(epochs=10, validation_every=every, callbacks=(one,))
    return history


@pytest.mark.parametrize(
    ("monitor", "right"),
    [
        ("val_accuracy", "max"),
        ("val_loss", "min"),
        ("auc", "max"),
        ("val_mean_absolute_error", "min"),
        ("dice_coef", "max"),
        ("val_dice_loss", "min"),
        ("head_f1_score", "max"),
    ],
)
def test_modes(monitor, right):
    wrong = {"min": "max", "max": "min"}[right]
    rule = callbacks.monitor_mode_reversed
    assert not rule.signs(monitored(monitor, right))
    assert not rule.signs(monitored(monitor))
    (sign,) = rule.signs(monitored(monitor, wrong))
    assert f'mode="{right}"' in sign.action


def test_a_metric_of_unknown_meaning_goes_by_the_loss():
    losses = H.learning()
    rising = [1 - x for x in losses]
    rule = callbacks.monitor_mode_reversed
    assert rule.signs(monitored("overlap", "min", losses=losses, overlap=rising))
    assert not rule.signs(monitored("overlap", "max", losses=losses, overlap=rising))
    noise = list(np.random.default_rng(0).normal(size=10))
    assert not rule.signs(monitored("overlap", "min", losses=losses, overlap=noise))


def test_a_monitor_that_is_never_logged():
    rule = callbacks.monitor_never_logged
    logs = {"val_accuracy": [0.5] * 10}
    (sign,) = rule.signs(monitored("val_acc", seen=False, **logs))
    assert 'monitor="val_accuracy"' in sign.action
    (sign,) = rule.signs(monitored("val_loss", seen=False, every=0))
    assert "validation" in sign.action
    assert not rule.signs(monitored("val_acc", seen=True, **logs))
    assert not rule.signs(monitored("val_accuracy", seen=False, **logs))
    late = monitored("val_loss", seen=False, every=20)
    assert not rule.signs(late)
    late.ended = True
    assert rule.signs(late)


def test_early_stopping_that_starts_after_the_end():
    rule = callbacks.monitor_never_logged
    history = monitored("loss", seen=False, starts_from=30)
    assert not rule.signs(history)
    history.ended = True
    (sign,) = rule.signs(history)
    assert "start_from_epoch" in sign.action


def test_patience_beyond_the_run():
    rule = callbacks.patience_too_long
    assert not rule.signs(monitored("loss", patience=9))
    (sign,) = rule.signs(monitored("loss", patience=10))
    assert sign.where == "EarlyStopping"


def test_class_and_sample_weights():
    from keras_babysit.rules.data import classes

    history = H.run([], data=H.class_data((0.9, 0.1)))
    history.fit = FitFacts(class_weight={0: 9.0, 1: 1.0})
    (sign,) = classes.class_weight_reversed.signs(history)
    assert "{0: 0.56, 1: 5.0}" in sign.action
    history.fit = FitFacts(class_weight={0: 1.0, 1: 9.0})
    assert not classes.class_weight_reversed.signs(history)
    history.fit = FitFacts(mean_weight=1e-3)
    assert not classes.sample_weights_tiny.signs(history)  # Adam does not care.
    sgd = dataclasses.replace(history.model.optimizer, name="SGD")
    history.model = dataclasses.replace(history.model, optimizer=sgd)
    assert classes.sample_weights_tiny.signs(history)
