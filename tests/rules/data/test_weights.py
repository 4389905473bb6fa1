"""Weights that do nothing, and weights that do."""

import numpy as np
import pytest
from support import histories as H

from keras_babysit.facts import FitFacts
from keras_babysit.rules import get

RULE = get("weights-without-effect")


def weighted(std=0.5, **more):
    """A call of a loss that gets weights."""
    weights = H.loss_tensor((None,), 32, mean=1.0, std=std)
    return (H.loss_call(weights=weights, **more),)


def history_of(calls=(), given="class_weight", unread=False):
    history = H.run(H.learning(2), calls=calls)
    history.fit = FitFacts(weighted_by=given)
    last = history.last_step
    object.__setattr__(last, "weights_unread", unread)
    return history


def test_weights_that_nothing_depends_on():
    (sign,) = RULE.signs(history_of(unread=True))
    assert sign.where == "class_weight"
    assert "nothing in the training step depends on it" in sign.seen
    assert "unpack_x_y_sample_weight" in sign.action
    assert not RULE.signs(history_of(unread=True, given=""))  # All are the same.
    assert not RULE.signs(history_of())
    history = history_of(unread=True)
    history.fit = None
    assert not RULE.signs(history)


def test_a_loss_of_one_value_for_the_batch():
    (sign,) = RULE.signs(history_of(weighted(single=True, loss="focal")))
    assert sign.where == "class_weight"
    assert "the loss focal gives one value" in sign.seen
    assert "axis=-1" in sign.action
    # Those of a dataset, which `fit` was not given.
    (sign,) = RULE.signs(history_of(weighted(single=True), given=""))
    assert sign.where == "sample_weight"


@pytest.mark.parametrize(
    "calls",
    [
        weighted(),
        weighted(single=True, std=1e-8),
        weighted(single=True, std=np.nan),
        (H.loss_call(single=True),),
    ],
    ids=["one value for each", "all the same", "not finite", "no weights"],
)
def test_weights_that_act_or_cannot(calls):
    assert not RULE.signs(history_of(calls))
