import dataclasses

import numpy as np
import pytest
from support import histories as H

from keras_babysit.facts import LayerFacts, ValidationFacts
from keras_babysit.records import StepRecord, ValidationRecord
from keras_babysit.rules.symptoms import underfitting, validation

REGIMES = pytest.mark.parametrize("regime", list(H.REGIMES))


def severities(rule, history):
    return [sign.severity or rule.severity for sign in rule.signs(history)]


def overfit(n=15):
    loss = H.learning(n, end=0.01)
    val = [max(0.9, x) + 0.1 * max(0, i - 4) for i, x in enumerate(loss)]
    return loss, val


@REGIMES
def test_overfitting(regime):
    loss, val = overfit()
    accuracy = np.linspace(0.5, 1.0, 15)
    history = H.run(
        loss,
        regime=regime,
        val_loss=val,
        accuracy=accuracy,
        val_accuracy=np.minimum(accuracy, 0.7),
    )
    assert severities(validation.overfitting, history) == ["warning"]
    # Sure of itself, but not more often wrong.
    history = H.run(
        loss,
        val_loss=val,
        accuracy=accuracy,
        val_accuracy=np.minimum(accuracy, 0.95),
    )
    assert severities(validation.overfitting, history) == ["info"]


@REGIMES
@pytest.mark.parametrize("n", range(1, 9))
def test_overfitting_needs_time(n, regime):
    loss, val = overfit()
    history = H.run(loss[:n], regime=regime, val_loss=val[:n])
    assert validation.overfitting.signs(history) == []


@pytest.mark.parametrize(
    "val",
    [
        lambda loss: loss + 0.05,
        lambda loss: loss + 0.5,  # A gap alone is no fault.
        lambda loss: loss + 0.01 * np.arange(len(loss)),
        lambda loss: loss * (1 + 0.2 * (-1) ** np.arange(len(loss))),
    ],
)
def test_not_overfitting(val):
    loss = np.array(H.learning(20, end=0.05))
    history = H.run(loss, val_loss=val(loss))
    assert set(severities(validation.overfitting, history)) <= {"info"}


def test_underfitting():
    loss = H.learning(25, end=1.5)
    accuracy = [0.3] * 25
    history = H.run(loss, accuracy=accuracy, data=H.class_data(neighbours=0.95))
    assert severities(underfitting.underfitting, history) == ["warning"]
    history = H.run(loss, accuracy=accuracy)
    assert severities(underfitting.underfitting, history) == ["info"]


def test_not_underfitting():
    data = H.class_data(neighbours=0.95)
    still = H.run(H.learning(4, end=1.5), accuracy=[0.3] * 4, data=data)
    assert underfitting.underfitting.signs(still) == []
    # Dropout lowers the training's accuracy, not the model's.
    history = H.run(
        H.learning(25, end=0.8),
        accuracy=[0.7] * 25,
        val_accuracy=[0.92] * 25,
        data=data,
    )
    assert underfitting.underfitting.signs(history) == []


def test_validation_better_with_and_without_dropout():
    loss = np.array(H.learning(12, end=0.5))
    history = H.run(loss, val_loss=0.5 * loss, ended=True)
    (sign,) = validation.validation_better.signs(history)
    assert "samples" in sign.cause
    model = H.class_model()
    dropout = LayerFacts("dropout", "Dropout", rate=0.5)
    model = dataclasses.replace(model, layers=(*model.layers, dropout))
    history = H.run(loss, val_loss=0.5 * loss, ended=True, model=model)
    (sign,) = validation.validation_better.signs(history)
    assert "dropout explains it" in sign.cause
    history = H.run(loss, val_loss=0.95 * loss, ended=True)
    assert validation.validation_better.signs(history) == []


def test_stopped_too_early():
    falling = [2.2, 2.0, 1.8, 1.6]
    history = H.run(falling, val_loss=falling, ended=True)
    assert severities(underfitting.stopped_too_early, history) == ["info"]
    assert underfitting.stopped_too_early.signs(H.run(falling, val_loss=falling)) == []
    done = H.learning(20, end=0.5)
    history = H.run(done, val_loss=done, ended=True)
    assert underfitting.stopped_too_early.signs(history) == []
    good = H.learning(5, end=0.0)
    assert underfitting.stopped_too_early.signs(H.run(good, ended=True)) == []


def test_noisy_first_layer():
    loss = H.learning(30, end=1.5)
    noise = [0.01] * 31
    history = H.run(loss, smoothness=noise)
    assert severities(underfitting.noisy_first_layer, history) == ["info"]
    smooth = list(np.linspace(0.01, 0.5, 31))
    assert underfitting.noisy_first_layer.signs(H.run(loss, smoothness=smooth)) == []
    assert (
        underfitting.noisy_first_layer.signs(H.run(loss[:5], smoothness=noise[:6]))
        == []
    )
    assert underfitting.noisy_first_layer.signs(H.run(loss)) == []
    frozen = H.run(
        loss, smoothness=noise, variables=lambda s: (H.variable("b/kernel"),)
    )
    assert underfitting.noisy_first_layer.signs(frozen) == []


def normalized():
    layers = (LayerFacts("conv", "Conv2D"), LayerFacts("bn", "BatchNormalization"))
    return dataclasses.replace(H.class_model(), layers=layers)


@REGIMES
def test_moving_averages_that_lag_are_not_overfitting(regime):
    loss = H.learning(9, end=0.2)
    val = [2.3, 2.31, 2.4, 2.6, 2.9, 3.0, 3.1, 3.1, 3.2]
    accuracy, low = np.linspace(0.5, 0.95, 9), np.full(9, 0.1)
    logs = {"val_loss": val, "accuracy": accuracy, "val_accuracy": low}
    history = H.run(loss, regime=regime, model=normalized(), **logs)
    assert severities(validation.overfitting, history) == []
    (sign,) = validation.batchnorm_lagging.signs(history)
    assert "momentum=0.9" in sign.action
    # Without the layer it is what it looks like.
    history = H.run(loss, regime=regime, **logs)
    assert severities(validation.overfitting, history) == ["warning"]
    assert validation.batchnorm_lagging.signs(history) == []


def test_moving_averages_that_caught_up():
    loss = H.learning(9, end=0.2)
    model = normalized()
    history = H.run(loss, model=model, val_loss=[2.3, 2.4, *loss[2:]])
    assert validation.batchnorm_lagging.signs(history) == []
    # Nothing learned on either side says nothing of the averages.
    history = H.run(H.flat(9), model=model, val_loss=H.flat(9))
    assert validation.batchnorm_lagging.signs(history) == []


def test_a_gap_alone_is_information():
    loss = np.array(H.learning(12, end=0.01))
    accuracy = np.minimum(np.linspace(0.6, 1.3, 12), 1.0)
    logs = {"val_loss": loss + 0.3, "accuracy": accuracy}
    history = H.run(loss, val_accuracy=np.minimum(accuracy, 0.75), **logs)
    assert severities(validation.overfitting, history) == ["info"]
    history = H.run(loss, val_accuracy=accuracy - 0.02, **logs)
    assert severities(validation.overfitting, history) == []


def evaluated(history, *pairs, labels=None):
    """Adds validations: a training batch's loss in training, and evaluated."""
    for i, pair in enumerate(pairs):
        trained, again = (
            H.loss_call(targets=targets, values=H.loss_tensor((None,), mean=mean))
            for targets, mean in zip((None, labels), pair, strict=True)
        )
        history.append(StepRecord(20 * i, i + 1.0, losses=(trained,)))
        history.append(ValidationRecord(20 * i, i + 1, training=(again,)))
    return history


def causes(history):
    return [sign.cause for sign in validation.validation_better.signs(history)]


def test_what_a_training_batch_has_when_it_is_evaluated_explains_a_better_validation():
    loss = np.array(H.learning(12, end=0.5))
    logs = {"val_loss": 0.5 * loss, "ended": True}
    (cause,) = causes(evaluated(H.run(loss, **logs), (2, 1.5), (1, 0.6), (0.9, 0.5)))
    assert "acts in training only" in cause
    assert "a loss of 1 in training has 0.6" in cause
    (cause,) = causes(evaluated(H.run(loss, **logs), (1, 1.02)))
    assert "easier" in cause
    # Dropout that has no effect does not explain it.
    dropout = LayerFacts("dropout", "Dropout", rate=0.5)
    model = dataclasses.replace(H.class_model(), layers=(dropout,))
    (cause,) = causes(evaluated(H.run(loss, model=model, **logs), (1, 0.5)))
    assert "dropout explains it" in cause
    (cause,) = causes(evaluated(H.run(loss, model=model, **logs), (1, 1.02)))
    assert "dropout" not in cause
    # Another batch than the last one that was observed in training.
    history = evaluated(H.run(loss, **logs), (1, 0.5), labels=H.labels(mean=4.4))
    assert history.evaluated == {}


def test_mixed_targets_explain_a_better_validation():
    loss = np.array(H.learning(12, end=0.5))
    mixed, hard = H.loss_tensor(whole=0.8), H.loss_tensor(whole=1.0)
    history = H.run(loss, val_loss=0.5 * loss, ended=True)
    history.append(StepRecord(1, 1.0, losses=(H.loss_call(targets=mixed),)))
    history.append(ValidationRecord(1, 1, losses=(H.loss_call(targets=hard),)))
    (cause,) = causes(history)
    assert "mixed or smoothed" in cause


def test_samples_that_are_in_both_sets_are_not_blamed_where_none_is():
    loss = np.array(H.learning(12, end=0.5))
    for shared, blamed in ((0, False), (5, True)):
        known = ValidationFacts(compared=50, shared=shared)
        data = H.class_data(source="arrays")
        data = dataclasses.replace(data, validation=known)
        history = H.run(loss, val_loss=0.5 * loss, ended=True, data=data)
        (cause,) = causes(history)
        assert ("contain training samples" in cause) == blamed


def test_averages_that_spoil_the_training_samples_themselves():
    loss = H.learning(9, end=0.2)
    logs = {"val_loss": [2.3] * 9, "model": normalized(), "steps": 200}
    history = evaluated(H.run(loss, **logs), (0.4, 2.9), (0.3, 3.0))
    assert severities(validation.batchnorm_lagging, history) == ["warning"]
    assert severities(validation.overfitting, history) == []
    history = evaluated(H.run(loss, **logs), (0.4, 0.5), (0.3, 0.4))
    assert severities(validation.batchnorm_lagging, history) == []
