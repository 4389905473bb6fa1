import dataclasses

import pytest
from support import histories as H

from keras_babysit.facts import LayerFacts, OptimizerFacts, WeightFacts
from keras_babysit.rules.symptoms import disconnection, updates

REGIMES = pytest.mark.parametrize("regime", list(H.REGIMES))


def severities(rule, history):
    return [sign.severity or rule.severity for sign in rule.signs(history)]


def kernels(*ratios):
    return lambda step: tuple(
        H.variable(f"dense_{i}/kernel", ratio) for i, ratio in enumerate(ratios)
    )


@REGIMES
def test_too_high(regime):
    history = H.run(H.flat(6), regime=regime, variables=kernels(0.03, 0.03, 0.03))
    (sign,) = updates.update_ratio_too_high.signs(history)
    assert sign.where == ""
    assert "update ratio 0.03" in sign.seen


@REGIMES
def test_one_layer_too_high(regime):
    variables = kernels(1e-3, 1e-3, 1e-3, 0.05)
    history = H.run(H.flat(6), regime=regime, variables=variables)
    (sign,) = updates.update_ratio_too_high.signs(history)
    assert sign.where == "dense_3/kernel"


@REGIMES
def test_high_ratios_of_a_model_that_learns(regime):
    for ratio, said in [(0.03, []), (0.3, ["info"])]:
        history = H.run(H.learning(12), regime=regime, variables=kernels(*[ratio] * 4))
        assert severities(updates.update_ratio_too_high, history) == said


def test_slow_starts_at_a_borderline_ratio():
    """Adam's usual steps, while the loss has not yet begun to fall."""
    for steps, ratio, told in ((150, 0.02, 0), (350, 0.02, 1), (150, 0.05, 1)):
        history = H.run(
            H.flat(1), regime="dense", variables=kernels(*[ratio] * 4), steps=steps
        )
        found = updates.update_ratio_too_high.signs(history)
        assert len(found) == told, (steps, ratio)


@pytest.mark.parametrize(("std", "told"), [(0.2, 1), (0.01, 0), (0.0, 0)])
def test_a_kernel_that_began_near_zero(std, told):
    weight = WeightFacts(
        "dense_3/kernel", "kernel", (32, 2), True, 0, std, -std, std, 32, 2
    )
    layer = LayerFacts("dense_3", "Dense", weights=(weight,))
    model = dataclasses.replace(H.class_model(), layers=(layer,))
    variables = kernels(1e-3, 1e-3, 1e-3, 0.05)
    history = H.run(H.flat(6), variables=variables, model=model)
    assert len(updates.update_ratio_too_high.signs(history)) == told


@pytest.mark.parametrize("role", ["bias", "beta", "gamma", "embeddings"])
def test_only_kernels_count(role):
    def variables(step):
        return (H.variable(f"a/{role}", 5.0), H.variable("a/kernel", 1e-3))

    history = H.run(H.flat(6), variables=variables)
    assert updates.update_ratio_too_high.signs(history) == []


@pytest.mark.parametrize(("std", "shape"), [(0.0, (16,)), (0.1, (16,)), (0.0, (4, 4))])
def test_offsets_without_a_name_do_not_count(std, shape):
    """Keras calls them `variable_8`; what began as one value is no kernel."""
    weight = WeightFacts("a/variable_8", "variable_8", shape, True, 0, std, 0, 0)
    layer = LayerFacts("a", "Bayesian", weights=(weight,))
    model = dataclasses.replace(H.class_model(), layers=(layer,))

    def variables(step):
        return (H.variable("a/variable_8", 0.2), H.variable("a/kernel", 1e-3))

    history = H.run(H.flat(6), variables=variables, model=model)
    offset = std == 0 and len(shape) == 1
    assert len(updates.update_ratio_too_high.signs(history)) == (not offset)


def test_too_little_history():
    history = H.run(H.flat(2), variables=kernels(0.5, 0.5))
    assert updates.update_ratio_too_high.signs(history) == []


def test_accumulating_steps_are_left_out():
    def variables(step):
        return kernels(*[0.05 * (step % 4 == 3)] * 3)(step)

    history = H.run(H.flat(6), regime="dense", variables=variables)
    (sign,) = updates.update_ratio_too_high.signs(history)
    assert "update ratio 0.05" in sign.seen


@REGIMES
def test_some_too_low(regime):
    variables = kernels(1e-9, 1e-8, 1e-3, 1e-3)
    history = H.run(H.flat(6), regime=regime, variables=variables)
    (sign,) = updates.update_ratio_too_low.signs(history)
    assert sign.where == "dense_0/kernel"
    healthy = H.run(H.learning(6), regime=regime, variables=variables)
    assert updates.update_ratio_too_low.signs(healthy) == []
    all_low = H.run(H.flat(6), regime=regime, variables=kernels(1e-9, 1e-9))
    assert updates.update_ratio_too_low.signs(all_low) == []


def without_gradient(step):
    return (*H.healthy_variables(2), H.variable("lost/kernel", 0.0, gradient=None))


@REGIMES
def test_no_gradient(regime):
    history = H.run(H.learning(4), regime=regime, variables=without_gradient)
    (sign,) = disconnection.disconnected_layer.signs(history)
    assert sign.where == "lost/kernel"
    assert sign.severity is None


def test_what_moves_without_a_gradient_is_kept_by_someone():
    """A slow copy that follows the model, whatever the optimizer decays."""

    def variables(step):
        *rest, lost = without_gradient(step)
        return (*rest, dataclasses.replace(lost, weight=H.stats(1 + 0.01 * step)))

    decays = OptimizerFacts("AdamW", 1e-3, weight_decay=4e-3)
    model = dataclasses.replace(H.class_model(), optimizer=decays)
    history = H.run(H.learning(4), variables=variables, model=model)
    assert disconnection.disconnected_layer.signs(history) == []


def test_a_small_unused_part_is_information():
    def variables(step):
        large = dataclasses.replace(
            H.variable("large/kernel"), weight=H.stats(size=10_000)
        )
        return (large, *without_gradient(step))

    history = H.run(H.learning(4), variables=variables)
    assert severities(disconnection.disconnected_layer, history) == ["info"]


def test_parts_of_a_custom_step_are_trained_in_turn():
    model = H.class_model(custom_train_step=True)
    history = H.run(H.learning(4), variables=without_gradient, model=model)
    assert disconnection.disconnected_layer.signs(history) == []


@REGIMES
def test_zero_gradient(regime):
    def variables(step):
        return (
            *H.healthy_variables(2),
            H.variable("lost/kernel", 0.0, gradient=0.0),
            H.variable("lost/bias", 0.0, gradient=0.0),
        )

    history = H.run(H.learning(6), regime=regime, variables=variables)
    (sign,) = disconnection.disconnected_layer.signs(history)
    assert sign.where == "lost/kernel"
    assert "exactly 0" in sign.seen


def test_zero_gradients_before_a_dead_layer_are_not_disconnected():
    def variables(step):
        return (
            H.variable("a/kernel", 0.0, gradient=0.0),
            H.variable("a/bias", 0.0, gradient=0.0),
            H.variable("b/kernel", 0.0, gradient=0.0),
            H.variable("b/bias", 1e-3),
        )

    history = H.run(H.flat(6), variables=variables)
    assert disconnection.disconnected_layer.signs(history) == []


def before_a_step_function(step):
    return (
        H.variable("a/kernel", 0.0, gradient=0.0),
        H.variable("a/bias", 0.0, gradient=0.0),
        H.variable("b/kernel", 1e-3),
        H.variable("b/bias", 1e-3),
    )


@REGIMES
def test_zero_gradients_before_a_function_without_a_slope(regime):
    history = H.run(H.learning(6), regime=regime, variables=before_a_step_function)
    (sign,) = disconnection.disconnected_layer.signs(history)
    assert sign.where == "a/kernel"
    assert "before b, but not in it" in sign.seen
    assert "without a slope" in sign.cause
    assert sign.severity is None


def test_a_function_without_a_slope_takes_some_steps_to_tell():
    def at_first(step):
        return before_a_step_function(step) if step < 3 else H.healthy_variables(2)

    history = H.run(H.learning(6), regime="dense", variables=at_first)
    assert disconnection.disconnected_layer.signs(history) == []


@pytest.mark.parametrize(
    "layers",
    [
        [H.layer("a", saturated=1.0), H.layer("b", saturated=0.2)],
        [H.layer("a", dead=1.0), H.layer("b", saturated=0.2)],
    ],
    ids=["saturated", "dead"],
)
def test_zero_gradients_with_another_reason(layers):
    history = H.run(
        H.learning(6), variables=before_a_step_function, layers=lambda step: layers
    )
    assert disconnection.disconnected_layer.signs(history) == []


def test_a_saturated_output_is_no_reason_for_zero_gradients():
    history = H.run(
        H.learning(6),
        variables=before_a_step_function,
        layers=lambda step: [H.layer("a"), H.layer("b", saturated=1.0)],
        model=None,
    )
    assert len(disconnection.disconnected_layer.signs(history)) == 1


def test_a_custom_step_may_train_only_the_last_layers():
    model = H.class_model(custom_train_step=True)
    history = H.run(H.learning(6), variables=before_a_step_function, model=model)
    assert disconnection.disconnected_layer.signs(history) == []


def a_block(ratio, gradient, stem=1e-3):
    """A stem and a kernel beside it, that may stand still."""
    return (
        H.variable("stem/kernel", stem),
        H.variable("stem/bias", stem),
        H.variable("block/kernel", ratio, gradient=gradient),
        H.variable("block/bias", ratio, gradient=gradient),
    )


def test_gates_of_zero_open_with_the_first_update():
    """Gradients of sixteen batches make one; until then nothing behind a gate has any.

    See ReZero, and residual blocks whose last layer begins at zero.
    """

    def variables(step):
        updated = 1e-3 * (step % 16 == 15)
        return a_block(updated, 0.1 if step > 15 else 0.0, stem=updated)

    for steps in (15, 16, 17, 20):
        history = H.run(H.learning(1), regime="dense", variables=variables, steps=steps)
        assert disconnection.disconnected_layer.signs(history) == [], steps


def test_what_had_a_gradient_once_is_connected():
    """A branch that is skipped for some batches, a margin that is met for now."""

    def variables(step):
        return a_block(0.0, 0.1 if step == 3 else 0.0)

    history = H.run(H.learning(2), regime="dense", variables=variables)
    assert disconnection.disconnected_layer.signs(history) == []


def test_what_moved_unseen_is_connected():
    """Of a rare branch no gradient may be seen, but its weights change."""

    def variables(step):
        *rest, kernel, bias = a_block(0.0, 0.0)
        weight = H.stats(1.01 if step > 25 else 1.0)
        return (*rest, dataclasses.replace(kernel, weight=weight), bias)

    history = H.run(H.learning(6), variables=variables)
    assert disconnection.disconnected_layer.signs(history) == []
    decays = OptimizerFacts("AdamW", 1e-3, weight_decay=4e-3)
    model = dataclasses.replace(H.class_model(), optimizer=decays)
    history = H.run(H.learning(6), variables=variables, model=model)
    assert len(disconnection.disconnected_layer.signs(history)) == 1


@pytest.mark.parametrize(
    ("inputs", "told"),
    [((("data",), ("a",)), 1), ((("data",), ("data",)), 0), ((None, ("data",)), 1)],
    ids=["in a row", "side by side", "inside a layer of the user's"],
)
def test_only_what_comes_before_has_no_slope(inputs, told):
    """An expert that no sample has chosen stands beside the others."""
    layers = [LayerFacts("data", "InputLayer", inputs=())]
    for path, feeds in zip("ab", inputs, strict=True):
        weights = (WeightFacts(f"{path}/kernel", "kernel", (3, 3), True, 0, 1, -1, 1),)
        layers.append(LayerFacts(path, "Dense", inputs=feeds, weights=weights))
    model = H.class_model(graph_known=True)
    model = dataclasses.replace(model, layers=tuple(layers))
    history = H.run(H.learning(6), variables=before_a_step_function, model=model)
    assert len(disconnection.disconnected_layer.signs(history)) == told


def test_all_connected():
    assert disconnection.disconnected_layer.signs(H.run(H.learning(6))) == []
