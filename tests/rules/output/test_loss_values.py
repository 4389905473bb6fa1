"""Rules about the values that reach the losses: faults, and what looks like them."""

import dataclasses
import math

import pytest
from support import histories as H

from keras_babysit import rules
from keras_babysit.facts import ArrayFacts, DataFacts

NAN = math.nan
SPARSE = "sparse_categorical_crossentropy"
BINARY = "binary_crossentropy"
LOGITS = {"takes": "logits", "cross_entropy": SPARSE}
PROBABILITIES = {"takes": "probabilities", "cross_entropy": SPARSE}
PIXELS = (None, 8, 8, 3)


def signs(name, call, n=6, model="none", **more):
    calls = call if callable(call) else (lambda step: (call,))
    history = H.run(
        H.learning(n), calls=calls, model=model, data="none", ended=True, **more
    )
    return rules.get(name).signs(history)


def raw(**values):
    """Outputs that are no probabilities."""
    values = {"min": -2.0, "max": 3.0, "outside": 0.6, "unit_sums": (0.0, NAN, NAN)}
    return H.loss_tensor(**values)


def unit(**values):
    """Outputs of a single unit."""
    return H.loss_tensor((None, 1), 32, unit_sums=(NAN,) * 3, **values)


def bits(**values):
    values = {"max": 1.0, "positive": 0.5, "outside": 0.0} | values
    return H.labels((None, 1), **values)


def test_targets_broadcast():
    call = H.loss_call(H.labels(), unit(), expanded=True, layer="dense_3")
    (sign,) = signs("targets-broadcast", call)
    assert sign.where == "dense_3"
    assert "(n,)" in sign.seen
    assert "(n, 1)" in sign.seen
    assert "y[:, None]" in sign.action
    other = dataclasses.replace(call, expanded=False)
    assert not signs("targets-broadcast", other)


def test_outputs_broadcast():
    outputs = H.loss_tensor((16,), 16, 16)
    call = H.loss_call(H.labels((16, 1), 16, 16), outputs, expanded=True)
    (sign,) = signs("targets-broadcast", call)
    assert "squeeze" in sign.action


def test_probabilities_for_logits():
    (sign,) = signs("probabilities-for-logits", H.loss_call(**LOGITS))
    assert "softmax" in sign.cause
    assert not signs("probabilities-for-logits", H.loss_call(outputs=raw(), **LOGITS))
    assert not signs("probabilities-for-logits", H.loss_call(**PROBABILITIES))
    assert not signs("probabilities-for-logits", H.loss_call())


def test_a_sigmoid_for_logits():
    binary = {"takes": "logits", "cross_entropy": BINARY}
    call = H.loss_call(bits(), unit(), **binary)
    assert len(signs("probabilities-for-logits", call, n=12)) == 1
    assert not signs("probabilities-for-logits", call, n=3)  # Too early to say.
    only_ones = H.loss_call(bits(positive=1.0), unit(), **binary)
    assert not signs("probabilities-for-logits", only_ones, n=12)


def test_logits_for_probabilities():
    call = H.loss_call(outputs=raw(), **PROBABILITIES)
    (sign,) = signs("logits-for-probabilities", call)
    assert "from_logits=True" in sign.action
    assert not signs("logits-for-probabilities", H.loss_call(**PROBABILITIES))
    assert not signs("logits-for-probabilities", H.loss_call(outputs=raw(), **LOGITS))
    positive = H.loss_tensor(max=7.0, outside=0.6, unit_sums=(0.0, NAN, NAN))
    positive = H.loss_call(outputs=positive, **PROBABILITIES)
    assert not signs("logits-for-probabilities", positive)


def test_names_that_tell_the_same():
    call = H.loss_call(outputs=raw(), **PROBABILITIES)
    assert not signs("logits-for-probabilities", call, model="classes")


def test_values_of_a_few_steps_are_too_few():
    call = H.loss_call(outputs=raw(), **PROBABILITIES)
    assert not signs("logits-for-probabilities", lambda s: (call,) if s < 2 else ())


@pytest.mark.parametrize(("sums", "axis"), [((0, 1, 0), 1), ((0.01, 0.2, 1), 2)])
def test_softmax_over_wrong_axis(sums, axis):
    outputs = H.loss_tensor(PIXELS, 6144, unit_sums=sums)
    (sign,) = signs(
        "softmax-over-wrong-axis", H.loss_call(outputs=outputs, **PROBABILITIES)
    )
    assert sign.evidence["axis"] == axis


@pytest.mark.parametrize(
    ("outputs", "more"),
    [
        (H.loss_tensor(PIXELS, 6144, unit_sums=(1, 0, 0)), PROBABILITIES),
        # Of one place each, and of targets that are no classes.
        (H.loss_tensor((None, 8, 1), 256, unit_sums=(NAN, 1, NAN)), PROBABILITIES),
        (H.loss_tensor(PIXELS, 6144, unit_sums=(0, 1, 0)), {}),
    ],
)
def test_softmax_over_the_classes(outputs, more):
    assert not signs("softmax-over-wrong-axis", H.loss_call(outputs=outputs, **more))


MASKS = H.labels((None, 1), max=255.0, outside=0.1)


def test_targets_beyond_outputs():
    binary = {"takes": "probabilities", "cross_entropy": BINARY}
    (sign,) = signs("targets-beyond-outputs", H.loss_call(MASKS, unit(), **binary))
    assert "255" in sign.action
    assert signs("targets-beyond-outputs", H.loss_call(MASKS, unit()), start=-3.0) == []
    falling = H.run(
        [-1.0, -2.0, -3.0, -4.0, -5.0],
        calls=(H.loss_call(MASKS, unit()),),
        model="none",
        data="none",
    )
    (sign,) = rules.get("targets-beyond-outputs").signs(falling)
    assert "-5" in sign.seen
    signed = H.labels((None, 1), min=-1.0, max=1.0)
    (sign,) = rules.get("targets-beyond-outputs").signs(
        H.run(
            [-1.0, -2.0, -3.0, -4.0, -5.0],
            calls=(H.loss_call(signed, unit()),),
            model="none",
            data="none",
        )
    )
    assert "(y + 1) / 2" in sign.action


@pytest.mark.parametrize(
    ("targets", "outputs"),
    [
        (bits(), unit()),
        (MASKS, unit(max=3.0, outside=0.2)),
        (MASKS, unit(max=0.5)),  # Perhaps a linear one that has not got there yet.
        (H.labels(), H.loss_tensor()),
    ],
)
def test_targets_that_can_be_reached(targets, outputs):
    binary = {"takes": "probabilities", "cross_entropy": BINARY}
    assert not signs("targets-beyond-outputs", H.loss_call(targets, outputs, **binary))


def reconstruction(spread, added=0.0, **more):
    shape, sums = (None, 64), (0.0, NAN, NAN)
    values = H.loss_tensor((None,), 32, mean=2.3 - added, unit_sums=(NAN,) * 3)
    return H.loss_call(
        H.loss_tensor(shape, 2048, unit_sums=sums, **more),
        H.loss_tensor(shape, 2048, unit_sums=sums, spread=spread),
        values=values,
    )


def collapsing(to, added=0.0, **more):
    return lambda s: (reconstruction(0.1 if s == 0 else to, added, **more),)


def test_outputs_alike():
    heavy = collapsing(0.01, 0.5)
    (sign,) = signs("added-loss-too-heavy", heavy, n=12, model="values")
    assert "1/64" in sign.action
    assert not signs("outputs-alike", heavy, n=12, model="values")
    assert not signs("added-loss-too-heavy", collapsing(0.01), n=12)
    (sign,) = signs("outputs-alike", collapsing(0.01), n=12)
    assert "added" not in sign.cause
    assert not signs("outputs-alike", collapsing(0.2), n=12)
    assert not signs("outputs-alike", collapsing(0.08), n=12)
    rare = {"whole": 1.0, "positive": 0.02}
    assert not signs("outputs-alike", collapsing(0.01, **rare), n=12)
    assert not signs("outputs-alike", collapsing(0.01), n=2)


def test_outputs_of_what_is_rebuilt_need_never_have_differed():
    """No targets are fed: they are made of the inputs, as an own step may do it."""
    rebuilt = DataFacts(inputs=(ArrayFacts("x", (64,), "float32", 1000),))
    fed = dataclasses.replace(rebuilt, targets=rebuilt.inputs)
    for data, expected in ((rebuilt, 1), (fed, 0)):
        calls = (reconstruction(0.04),)
        history = H.run(H.learning(12), calls=calls, model="none", ended=True)
        history.data = data
        assert len(rules.get("outputs-alike").signs(history)) == expected


def test_an_added_loss_comes_before_what_dies_of_it():
    heavy, dead = rules.get("added-loss-too-heavy"), rules.get("dead-relu")
    assert heavy.explains(dead)
    assert not dead.explains(heavy)


def segmented(found, shape=(None, 8, 8, 1), wanted=(2000, 48), **more):
    whole = {"whole": 1.0, "unit_sums": (NAN, 0.0, 0.0)}
    return H.loss_call(
        H.loss_tensor(shape, 2048, counts=wanted, **whole),
        H.loss_tensor(shape, 2048, counts=found, unit_sums=(NAN, 0.0, 0.0)),
        **more,
    )


def test_class_never_predicted():
    (sign,) = signs("class-never-predicted", segmented((2048, 0)))
    assert sign.evidence["classes"] == [1]
    assert sign.severity is None
    assert not signs("class-never-predicted", segmented((2040, 8)))
    assert not signs("class-never-predicted", segmented((2048, 0), wanted=(2047, 1)))
    sequence = segmented((2048, 0), (None, 64, 1))
    assert not signs("class-never-predicted", sequence)


def test_a_rare_class_of_many():
    call = segmented((1000, 1048, 0), (None, 8, 8, 3), (1000, 1024, 24))
    (sign,) = signs("class-never-predicted", call)
    assert sign.severity == "info"


def test_logged_loss_is_zero():
    model = dataclasses.replace(H.MODELS["values"], custom_train_step=True)

    def logged(losses, model):
        history = H.run(losses, model=model, data="values")
        return rules.get("logged-loss-is-zero").signs(history)

    assert len(logged([0.0, 0.0, 0.0], model)) == 1
    assert not logged([0.1, 0.0], model)
    assert not logged([0.0], model)
    assert not logged([0.0, 0.0], H.MODELS["values"])
