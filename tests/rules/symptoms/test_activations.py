import pytest
from support import histories as H

from keras_babysit.rules.symptoms import activations

REGIMES = pytest.mark.parametrize("regime", list(H.REGIMES))


def severities(rule, history):
    return [sign.severity or rule.severity for sign in rule.signs(history)]


def layers(dead=(), saturated=(), std=()):
    def made(step):
        return tuple(
            H.layer(
                f"dense_{i}",
                std=std[i] if std else 1.0,
                dead=dead[i] if dead else None,
                saturated=saturated[i] if saturated else None,
            )
            for i in range(max(len(dead), len(saturated), len(std)))
        )

    return made


@REGIMES
def test_dead(regime):
    history = H.run(H.flat(6), regime=regime, layers=layers(dead=(0.2, 1.0, 1.0)))
    (sign,) = activations.dead_relu.signs(history)
    assert sign.where == "dense_1"
    assert severities(activations.dead_relu, history) == ["error"]
    assert "bias" in sign.action


def test_died_on_the_way():
    def died(step):
        return layers(dead=(1.0 if step > 30 else 0.1,))(step)

    (sign,) = activations.dead_relu.signs(H.run(H.flat(6), layers=died))
    assert "learning rate" in sign.action


@REGIMES
@pytest.mark.parametrize(
    ("losses", "dead"),
    [(H.learning(8), 0.95), (H.flat(6), 0.6), (H.flat(2), 1.0)],
)
def test_not_dead(losses, dead, regime):
    history = H.run(losses, regime=regime, layers=layers(dead=(0.1, dead)))
    assert activations.dead_relu.signs(history) == []


@REGIMES
def test_saturated(regime):
    saturated = layers(saturated=(0.3, 0.97, 0.2, 1.0))
    history = H.run(H.flat(6), regime=regime, layers=saturated)
    (sign,) = activations.saturated_activation.signs(history)
    assert sign.where == "dense_1"
    healthy = H.run(H.learning(8), regime=regime, layers=saturated)
    assert activations.saturated_activation.signs(healthy) == []


@pytest.mark.parametrize("model", ["classes", "none"])
def test_outputs_may_saturate(model):
    outputs = layers(saturated=(0.1, 0.1, 0.1, 1.0))
    history = H.run(H.flat(6), layers=outputs, model=model)
    assert activations.saturated_activation.signs(history) == []


@REGIMES
@pytest.mark.parametrize(
    ("factor", "rule"),
    [
        (0.1, activations.activations_collapsing),
        (10.0, activations.activations_exploding),
    ],
)
def test_over_depth(factor, rule, regime):
    deep = layers(std=[factor**i for i in range(8)])
    history = H.run(H.flat(6), regime=regime, layers=deep)
    assert severities(rule, history) == ["warning"]
    healthy = H.run(H.learning(8), regime=regime, layers=deep)
    assert rule.signs(healthy) == []
    gentle = layers(std=[factor ** (i / 6) for i in range(8)])
    history = H.run(H.flat(6), regime=regime, layers=gentle)
    assert rule.signs(history) == []
