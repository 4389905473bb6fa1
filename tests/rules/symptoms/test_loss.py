import dataclasses

import numpy as np
import pytest
from support import histories as H

from keras_babysit.facts import OptimizerFacts
from keras_babysit.history import RunHistory
from keras_babysit.records import EpochRecord, StepRecord
from keras_babysit.rules import available
from keras_babysit.rules.symptoms import (
    accuracy,
    initial_loss,
    learning_rate,
    loss_curve,
    not_finite,
)

REGIMES = pytest.mark.parametrize("regime", list(H.REGIMES))


def severities(rule, history):
    return [sign.severity or rule.severity for sign in rule.signs(history)]


def everything(history):
    modules = {
        m.__name__
        for m in (accuracy, initial_loss, learning_rate, loss_curve, not_finite)
    }
    found = [r for r in available().values() if r.function.__module__ in modules]
    return {r.name for r in found if set(severities(r, history)) - {"info"}}


@REGIMES
@pytest.mark.parametrize(
    "losses",
    [
        H.learning(20),
        H.learning(3),
        H.learning(60, end=1e-7),
        H.learning(30, end=0.6),
        [2.2, 2.0, 1.7, 1.3, 0.9, 0.6, 0.4, 0.35, 0.3, 0.28, 0.4, 0.27, 0.26],
        [0.05, 0.01, 0.03, 0.002, 0.02, 0.001, 0.01, 0.002, 0.03, 0.001],
    ],
)
def test_nothing_to_say_of_healthy_curves(losses, regime):
    for n in range(len(losses) + 1):
        history = H.run(losses[:n], regime=regime)
        for ended in (False, True):
            history.ended = ended
            assert everything(history) == set()


@REGIMES
def test_nan_loss_names_the_first_layer(regime):
    def layers(step):
        bad = step > 45
        return tuple(H.layer(f"dense_{i}", nan=5 * (bad and i > 1)) for i in range(4))

    losses = [1.5, 1.2, np.nan, np.nan]
    history = H.run(losses, regime=regime, layers=layers)
    (sign,) = not_finite.loss_not_finite.signs(history)
    assert sign.where == "dense_2"
    assert 45 < sign.since[0] <= 59


def test_lost_weights_with_a_finite_loss():
    def variables(step):
        return (
            H.variable("dense_0/kernel", nan=64 * (step > 20)),
            H.variable("dense_1/kernel"),
        )

    history = H.run([1.5, 1.2], variables=variables)
    (sign,) = not_finite.loss_not_finite.signs(history)
    assert sign.where == "dense_0/kernel"
    assert "1 of 2 weights" in sign.seen


def test_the_optimizer_makes_updates_that_are_not_finite():
    """Of finite gradients: neither the data nor the rate are to blame."""

    def variables(step):
        kernel = H.variable("dense_0/kernel")
        lost = dataclasses.replace(kernel, update=H.stats(nan=3))
        return (lost if step > 20 else kernel, H.variable("dense_1/kernel"))

    (sign,) = not_finite.loss_not_finite.signs(H.run([1.5, 1.2], variables=variables))
    assert sign.where == "dense_0/kernel"
    assert "optimizer" in sign.cause
    assert "Adam" in sign.action


def test_nan_in_the_data_is_said():
    data = H.class_data()
    inputs = (dataclasses.replace(data.inputs[0], nan=3),)
    data = dataclasses.replace(data, inputs=inputs)
    history = H.run([np.nan], data=data)
    (sign,) = not_finite.loss_not_finite.signs(history)
    assert sign.cause == "x holds NaN or Inf"


def test_infinite_gradients_and_masks_alone_are_fine():
    def variables(step):
        bad = H.variable("dense_0/kernel")
        return (dataclasses.replace(bad, gradient=H.stats(np.inf, inf=3)),)

    def layers(step):
        return (H.layer("mask"), H.layer("dense_3", nan=2))

    history = H.run(H.learning(4), variables=variables, layers=layers)
    assert not_finite.loss_not_finite.signs(history) == []


def test_not_finite_heals():
    history = H.run([np.nan, 1.0])
    assert not_finite.loss_not_finite.signs(history) == []


def test_only_the_validation_is_lost():
    history = H.run([2.0, 1.0], val_loss=[1.0, np.nan])
    (sign,) = not_finite.loss_not_finite.signs(history)
    assert (sign.where, sign.severity) == ("val_loss", "warning")


@pytest.mark.parametrize(
    ("start", "model", "said"),
    [(2.5, "classes", False), (6.0, "classes", False), (60.0, "classes", True)],
)
def test_initial_loss(start, model, said):
    history = H.run(H.learning(5), start=start, model=model)
    found = severities(initial_loss.initial_loss_off_chance, history)
    assert found == ["info"] * said


def test_initial_loss_that_stays_is_a_warning():
    history = H.run([50.0, 30.0, 20.0], start=80.0)
    assert severities(initial_loss.initial_loss_off_chance, history) == ["warning"]


def test_initial_loss_without_penalties_and_of_large_targets():
    model = H.class_model(regularization_loss=30.0)
    history = H.run(H.learning(5), start=32.3, model=model)
    assert initial_loss.initial_loss_off_chance.signs(history) == []
    data = H.regression_data(std=100.0, mean=500.0)
    history = H.run([2e5, 1e5], start=2.6e5, model="values", data=data)
    assert initial_loss.initial_loss_off_chance.signs(history) == []


def test_initial_loss_of_a_run_that_goes_on():
    history = H.run([])
    history.append(StepRecord(500, 0.1, loss=80.0))
    assert initial_loss.initial_loss_off_chance.signs(history) == []


@REGIMES
@pytest.mark.parametrize(
    "losses", [[9.0, 20.0, 21.0], [1.5, 1.0, 0.5, 0.4, 0.4, 2.2, 2.3, 2.3]]
)
def test_diverging(losses, regime):
    history = H.run(losses, regime=regime)
    assert severities(loss_curve.loss_diverging, history) == ["error"]


@pytest.mark.parametrize(
    "losses",
    [
        [90.0, 20.0, 5.0, 2.0],
        [1.5, 1.0, 0.5, 0.4, 0.4, 1.1, 0.5, 0.4],
        [-1.0, -2.0, -1.5, -1.2, -1.1, -1.0],
    ],
)
def test_not_diverging(losses):
    assert loss_curve.loss_diverging.signs(H.run(losses)) == []


def test_a_train_step_of_its_own_may_rise():
    model = H.class_model(custom_train_step=True)
    history = H.run([9.0, 20.0, 21.0, 30.0], model=model)
    assert loss_curve.loss_diverging.signs(history) == []


@REGIMES
def test_oscillating(regime):
    up_and_down = [1.6 + 0.5 * (-1) ** i for i in range(10)]
    history = H.run(up_and_down, regime=regime)
    assert severities(loss_curve.loss_oscillating, history) == ["warning"]
    assert loss_curve.loss_oscillating.signs(H.run(up_and_down[:7])) == []
    noisy = H.run(up_and_down, loss_std=2.0)
    assert loss_curve.loss_oscillating.signs(noisy) == []


@REGIMES
def test_flat(regime):
    history = H.run(H.flat(), regime=regime, accuracy=[0.1] * 12)
    assert severities(loss_curve.loss_flat, history) == ["warning"]
    assert loss_curve.loss_flat.signs(H.run(H.flat(9), regime=regime)) == []
    # The training's end says more than one more epoch would.
    ended = H.run(H.flat(4), regime=regime, ended=True)
    assert severities(loss_curve.loss_flat, ended) == ["warning"]
    few = H.run(H.flat(4), regime=regime, ended=True, steps=2)
    assert loss_curve.loss_flat.signs(few) == []


def test_constant_loss_is_an_error():
    history = H.run([2.303] * 12)
    assert severities(loss_curve.loss_flat, history) == ["error"]


def test_flat_loss_with_a_good_metric_is_fine():
    accuracy = np.linspace(0.1, 0.9, 12)
    assert loss_curve.loss_flat.signs(H.run(H.flat(), accuracy=accuracy)) == []
    assert loss_curve.loss_flat.signs(H.run(H.flat(at=1e-4), start=1e-4)) == []


def test_a_loss_that_falls_to_the_constant_one_is_not_flat():
    data = H.regression_data(std=9.0, mean=22.0)
    losses = [560.0 - 40 * i for i in range(12)]
    history = H.run(losses, start=570.0, model="values", data=data, ended=True)
    assert loss_curve.loss_flat.signs(history) == []


def test_plateau():
    losses = [2.0, 1.5, 1.2, 1.0] + [0.95 - 1e-4 * i for i in range(20)]
    history = H.run(losses)
    assert severities(loss_curve.loss_plateaued, history) == ["info"]
    assert loss_curve.loss_plateaued.signs(H.run(losses[:12])) == []
    assert loss_curve.loss_plateaued.signs(H.run([x - 0.94 for x in losses])) == []


def test_plateau_where_there_is_no_rate():
    # L-BFGS that has converged: epochs are all there is.
    losses = [2.0, 1.5, 1.2, 1.0] + [0.95 - 1e-4 * i for i in range(20)]
    watched = H.run(losses)
    history = RunHistory()
    history.model, history.data = watched.model, watched.data
    for epoch, value in enumerate(losses):
        history.append(EpochRecord(epoch + 1, epoch + 1, logs={"loss": value}))
    assert loss_curve.loss_plateaued.signs(history) == []


def small_steps(ratio):
    return lambda step: tuple(H.variable(f"dense_{i}/kernel", ratio) for i in range(4))


@REGIMES
def test_rate_too_low(regime):
    losses = [2.4 - 0.005 * i for i in range(8)]
    history = H.run(losses, regime=regime, variables=small_steps(1e-6), rate=1e-6)
    (sign,) = learning_rate.learning_rate_too_low.signs(history)
    assert "1e-4 instead of 1e-6" in sign.action
    line = [2.3 - 0.1 * i for i in range(8)]
    history = H.run(line, regime=regime, variables=small_steps(5e-4), ended=True)
    assert severities(learning_rate.learning_rate_too_low, history) == ["warning"]


def test_rate_not_too_low():
    falls = [2.4 - 0.005 * i for i in range(8)]
    rule = learning_rate.learning_rate_too_low
    assert rule.signs(H.run(falls)) == []
    assert rule.signs(H.run(falls[:2], variables=small_steps(1e-6))) == []
    warming = H.run(falls, variables=small_steps(1e-6), rate=lambda s: 1e-6 * (s + 1))
    assert rule.signs(warming) == []
    tuned = H.run([0.2, 0.19, 0.18, 0.17], start=0.2, variables=small_steps(1e-6))
    assert rule.signs(tuned) == []
    line = [2.3 - 0.1 * i for i in range(8)]
    assert rule.signs(H.run(line, variables=small_steps(5e-4))) == []
    curved = H.run(H.learning(8, end=1.8), variables=small_steps(5e-4), ended=True)
    assert rule.signs(curved) == []


@REGIMES
@pytest.mark.parametrize(
    "ratio", [lambda s: 0.3, lambda s: 0.5 if s == 0 else 1e-4], ids=["now", "first"]
)
def test_rate_too_high(ratio, regime):
    def variables(step):
        return tuple(H.variable(f"dense_{i}/kernel", ratio(step)) for i in range(4))

    history = H.run(H.flat(5), regime=regime, variables=variables)
    (sign,) = learning_rate.learning_rate_too_high.signs(history)
    assert "1e-4 instead of 1e-3" in sign.action
    healthy = H.run(H.learning(8), regime=regime, variables=variables)
    assert learning_rate.learning_rate_too_high.signs(healthy) == []


def test_gradients_that_are_gathered_make_few_updates():
    """A hundred batches are a dozen updates then: too few to say what is wrong."""

    def variables(step):
        return tuple(H.variable(f"dense_{i}/kernel", 6e-2) for i in range(4))

    for gathered, told in ((1, 1), (8, 0)):
        optimizer = OptimizerFacts("Adam", 1e-2, accumulates=gathered)
        model = dataclasses.replace(H.class_model(), optimizer=optimizer)
        history = H.run(
            H.flat(1), regime="dense", variables=variables, model=model, steps=150
        )
        found = learning_rate.learning_rate_too_high.signs(history)
        assert len(found) == told, gathered


def test_weights_that_have_grown():
    def variables(step):
        weight = 1.0 + step
        return tuple(
            H.variable(f"dense_{i}/kernel", 2e-2, weight=weight) for i in range(4)
        )

    history = H.run(H.flat(5), variables=variables)
    (sign,) = learning_rate.learning_rate_too_high.signs(history)
    assert "grown" in sign.seen


def test_noisy_batches():
    data = H.class_data(batch_size=4)
    losses = [1.0 + 0.01 * (-1) ** i for i in range(8)]
    history = H.run(losses, regime="dense", loss_std=0.9, data=data)
    assert severities(loss_curve.batch_loss_noisy, history) == ["info"]
    assert (
        loss_curve.batch_loss_noisy.signs(H.run(losses, loss_std=0.9, data=data)) == []
    )


@REGIMES
def test_majority(regime):
    history = H.run(H.flat(), regime=regime, accuracy=[0.1] * 12)
    assert severities(accuracy.accuracy_at_majority, history) == ["warning"]
    history = H.run(H.flat(8), regime=regime, accuracy=[0.1] * 8)
    assert accuracy.accuracy_at_majority.signs(history) == []
    falls = H.run(H.learning(8), regime=regime, accuracy=[0.1] * 8)
    (sign,) = accuracy.accuracy_at_majority.signs(falls)
    assert "do not measure the same thing" in sign.cause
    rare = H.class_data((0.95, 0.05))
    history = H.run(
        [0.2] * 12, start=0.7, data=rare, model=H.class_model(2), accuracy=[0.95] * 12
    )
    assert severities(accuracy.accuracy_at_majority, history) == ["info"]
    learned = H.run(H.learning(8), accuracy=np.linspace(0.1, 0.9, 8))
    assert accuracy.accuracy_at_majority.signs(learned) == []


def test_epochs_only():
    """Histories of models that cannot be observed have logs alone."""
    from keras_babysit.history import RunHistory

    history = RunHistory()
    for i in range(12):
        history.append(EpochRecord(i + 1, 20 * (i + 1), logs={"loss": 0.5}))
    assert everything(history) == set()


def test_a_schedule_that_fades_too_early():
    def fading(step):
        return 0.1 * 0.5 ** (step / 5)

    history = H.run(H.flat(12, 2.2), rate=fading)
    (sign,) = [
        s
        for s in learning_rate.learning_rate_too_low.signs(history)
        if "half" in s.seen
    ]
    assert "schedule" in sign.cause
    # One that ends with the training, or a model that has learned, is healthy.
    late = H.run(H.flat(12, 2.2), rate=lambda step: 0.1 if step < 500 else 1e-5)
    assert not [
        s for s in learning_rate.learning_rate_too_low.signs(late) if "half" in s.seen
    ]
    history = H.run(H.learning(12), rate=fading)
    assert learning_rate.learning_rate_too_low.signs(history) == []


def test_what_still_falls_from_far_away_is_not_stuck():
    from keras_babysit.rules.evidence.progress import progress

    far = [500.0, 400.0, 300.0, 200.0, 120.0]
    model, of = H.regression_model(), H.regression_data(mean=22.0, std=9.0)
    history = H.run(far, start=520.0, model=model, data=of)
    assert progress(history).skill < 0
    assert progress(history).falling
    assert not progress(history).stuck(0.2)
    back = H.run([5e4, 2e4, 9e3, 4e3, 2e3], start=520.0, model=model, data=of)
    assert progress(back).stuck(0.2)
