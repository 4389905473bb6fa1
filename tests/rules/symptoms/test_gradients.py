import dataclasses

import pytest
from support import histories as H

from keras_babysit.rules.symptoms import gradients

REGIMES = pytest.mark.parametrize("regime", list(H.REGIMES))


def depth(factor, n=8, last=0.1):
    """Gradients that shrink or grow by a factor from layer to layer, backwards."""
    return lambda step: tuple(
        v
        for i in range(n)
        for v in (
            H.variable(f"dense_{i}/kernel", gradient=last * factor ** (n - 1 - i)),
            H.variable(f"dense_{i}/bias", gradient=1.0),
        )
    )


@REGIMES
def test_vanishing(regime):
    history = H.run(H.flat(6), regime=regime, variables=depth(0.2))
    (sign,) = gradients.vanishing_gradients.signs(history)
    assert sign.where == "dense_0/kernel"
    assert sign.evidence["decades"] == pytest.approx(4.89, abs=0.01)


@REGIMES
@pytest.mark.parametrize(
    ("losses", "variables"),
    [
        (H.learning(8), depth(0.2)),  # It learns all the same.
        (H.flat(6), depth(0.7)),  # As with Glorot and ReLU.
        (H.flat(6), depth(0.2, n=4)),  # Too few layers.
        (H.flat(2), depth(0.2)),  # Too early.
        (H.flat(6), depth(1.0)),
    ],
)
def test_not_vanishing(losses, variables, regime):
    history = H.run(losses, regime=regime, variables=variables)
    assert gradients.vanishing_gradients.signs(history) == []


def test_all_gradients_are_faint():
    history = H.run(H.flat(6), variables=depth(1.0, last=1e-8))
    (sign,) = gradients.vanishing_gradients.signs(history)
    assert "no kernel's gradient" in sign.seen
    history = H.run(H.flat(6), variables=depth(1.0, last=0.0))
    assert gradients.vanishing_gradients.signs(history) == []


@REGIMES
@pytest.mark.parametrize("variables", [depth(5.0), depth(1.0, last=1e5)])
def test_exploding(variables, regime):
    history = H.run(H.flat(6), regime=regime, variables=variables)
    assert len(gradients.exploding_gradients.signs(history)) == 1
    healthy = H.run(H.learning(8), regime=regime, variables=variables)
    assert gradients.exploding_gradients.signs(healthy) == []


def test_growing_over_time():
    history = H.run(H.flat(6))
    last = history.last_step
    for i in range(8):
        norm = 200.0 if i > 1 else 1.0
        history.append(
            dataclasses.replace(last, step=last.step + 1 + i, gradient_norm=norm)
        )
    (sign,) = gradients.exploding_gradients.signs(history)
    assert "grown 200-fold" in sign.seen


def test_healthy():
    history = H.run(H.learning(8))
    assert gradients.exploding_gradients.signs(history) == []
    assert gradients.vanishing_gradients.signs(history) == []
