"""Rules about streams, padding, and targets among the inputs, from real arrays."""

import dataclasses

import numpy as np
import pytest
from support import histories as H

from keras_babysit.facts import LayerFacts, WeightFacts
from keras_babysit.inspection.data import BatchSample, Fed, arrays, data_facts
from keras_babysit.rules.data import padding, samples, stream, targets, tokens

RNG = np.random.default_rng(3)
X = RNG.normal(size=(640, 8)).astype("float32")
Y = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 0.5)


def seen(batches, places=None):
    sample = BatchSample(Fed(batch_size=32, steps=200))
    for i, (x, y) in enumerate(batches):
        sample.add(x, y, at=places[i] if places else divmod(i, 20))
    history = H.run([])
    history.data = sample.facts()
    return history


def batches(order=None, y=Y, n=20):
    order = np.arange(len(X)) if order is None else order
    return [(X[o], y[o]) for o in np.split(order, len(order) // 32)][:n]


def test_the_same_batch():
    history = seen(batches()[:1] * 6)
    assert stream.same_batch_again.signs(history)
    assert history.data.inputs[0].seen == 32
    assert not stream.same_batch_again.signs(seen(batches(n=6)))
    # The first batch of each epoch, of data that are not shuffled.
    always = [(epoch, 0) for epoch in range(6)]
    assert not stream.same_batch_again.signs(seen(batches()[:1] * 6, always))


def test_a_small_buffer():
    order = np.argsort(Y + RNG.normal(scale=0.45, size=len(Y)))
    assert stream.barely_shuffled.signs(seen(batches(order)))
    assert not stream.barely_shuffled.signs(seen(batches()))


def test_labels_that_change_between_epochs():
    both = [*batches(n=10), *batches(y=RNG.permutation(Y), n=10)]
    places = [divmod(i, 10) for i in range(20)]
    assert stream.relabelled_samples.signs(seen(both, places))
    same = [*batches(n=10), *batches(RNG.permutation(len(X)), n=10)]
    assert not stream.relabelled_samples.signs(seen(same, places))


def of(x, y, **kwargs):
    (inputs, _), (wanted, _) = arrays("x", x), arrays("y", y)
    history = H.run([], **kwargs)
    history.data = data_facts(
        Fed("arrays", inputs, wanted, rows=len(x), batch_size=32, shuffled=True)
    )
    return history


@pytest.mark.parametrize("shift", [1, -1, 2])
def test_targets_out_of_step(shift):
    history = of(X, np.roll(Y, shift))
    assert history.data.dependence.shift == shift
    (sign,) = samples.unrelated_inputs.signs(history)
    assert "shifted" in sign.cause
    assert of(X, Y).data.dependence.shift == 0
    assert of(X, RNG.permutation(Y)).data.dependence.shift == 0


def test_the_target_among_the_inputs():
    y = X[:, 1] * X[:, 2]
    rule = targets.target_in_inputs
    assert not rule.signs(of(X, y))
    (sign,) = rule.signs(of(np.column_stack([X, 3 * y + 1]), y))
    assert "x[:, 8]" in sign.seen
    hot = np.eye(3)[Y]
    assert rule.signs(of(np.column_stack([X, hot]), hot))
    assert rule.signs(of(np.column_stack([X, hot]), Y))
    assert not rule.signs(of(y[:, None], y))  # All there is: not a leak.


def test_the_last_step_of_a_window():
    series = RNG.normal(size=700).cumsum()
    window = np.stack([series[i : i + 10] for i in range(600)])[..., None]
    rule = targets.target_in_inputs
    (sign,) = rule.signs(of(window, series[9:609]))
    assert "after the window" in sign.action
    assert not rule.signs(of(window, series[10:610]))
    assert not rule.signs(of(window, series[:600]))  # To repeat the first is a task.


def recurrent(*, masks=False, kind="LSTM", shape=(16,)):
    lookup = LayerFacts("words", "Embedding", masks=masks, output_shape=(60, 8))
    layer = LayerFacts("memory", kind, output_shape=shape)
    return dataclasses.replace(H.class_model(), layers=(lookup, layer))


def test_padding():
    x = RNG.integers(1, 50, (200, 60))
    x[np.arange(60) >= RNG.integers(4, 12, 200)[:, None]] = 0
    y, rule = RNG.integers(0, 2, 200), padding.padding_unmasked
    history = of(x, y, model=recurrent())
    assert history.data.inputs[0].padded == pytest.approx((x == 0).mean())
    assert rule.signs(history)
    assert not rule.signs(of(x[:, ::-1], y, model=recurrent()))
    assert not rule.signs(of(x, y, model=recurrent(masks=True)))
    assert not rule.signs(of(x, y, model=recurrent(shape=(60, 16))))
    assert not rule.signs(of(x, y, model=recurrent(kind="Bidirectional")))


def test_tokens_beyond_the_embedding():
    lookup = LayerFacts(
        "words",
        "Embedding",
        inputs=("in",),
        weights=(WeightFacts("words/e", "embeddings", (50, 8), True, 0, 1, -1, 1),),
    )
    chain = (LayerFacts("in", "InputLayer", inputs=()), lookup)
    model = dataclasses.replace(H.class_model(), layers=chain, graph_known=True)
    x, y = RNG.integers(0, 50, (100, 6)), RNG.integers(0, 2, 100)
    assert not tokens.tokens_out_of_range.signs(of(x, y, model=model))
    (sign,) = tokens.tokens_out_of_range.signs(of(x + 1 * (x == 49), y, model=model))
    assert "Embedding(51" in sign.action
