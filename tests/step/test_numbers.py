"""Every number of a record against NumPy, on the same training step."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import models

import keras_babysit
from keras_babysit.backend import packing

O = keras.optimizers  # noqa: E741
BACKEND = keras.backend.backend()


@pytest.fixture(autouse=True, params=["numpy", "graph"], scope="module")
def _described_by(request):
    """Small tensors are described by NumPy; large ones by what runs in the graph."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "graph":
            patch.setattr(packing, "ON_HOST", 0)
        yield


class Weights(keras.callbacks.Callback):
    """Copies the trainable weights before and after every batch."""

    def __init__(self):
        super().__init__()
        self.before, self.after = [], []

    def copy(self):
        return [
            np.array(keras.ops.convert_to_numpy(v))
            for v in self.model.trainable_variables
        ]

    def on_train_batch_begin(self, batch, logs=None):
        self.before.append(self.copy())

    def on_train_batch_end(self, batch, logs=None):
        self.after.append(self.copy())


class Records(keras_babysit.Babysitter):
    """Keeps every record."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.records = []

    def receive(self, record):
        self.records.append(record)
        super().receive(record)

    @property
    def steps(self):
        return [r for r in self.records if hasattr(r, "variables")]


def watch(tmp_path, model, x, y, **kwargs):
    weights, babysitter = Weights(), Records(tmp_path / "logs", every=1)
    model.fit(x, y, verbose=0, callbacks=[weights, babysitter], **kwargs)
    assert len(babysitter.steps) == len(weights.after)
    return babysitter, weights


def check_tensor(found, x):
    x = np.asarray(x, np.float64)
    assert found.size == x.size
    tolerance = {"rtol": 1e-5, "atol": 1e-6 * np.abs(x).max()}
    np.testing.assert_allclose(found.norm, np.linalg.norm(x), rtol=1e-5)
    np.testing.assert_allclose(found.min, x.min(), rtol=1e-6)
    np.testing.assert_allclose(found.max, x.max(), rtol=1e-6)
    np.testing.assert_allclose(found.mean, x.mean(), **tolerance)
    np.testing.assert_allclose(found.std, x.std(), **tolerance)


@settings(deadline=None, max_examples=8)
@given(
    st.sampled_from(["adamw", "sgd", "accumulate"]),
    st.integers(1, 9),
    st.floats(-4, 0),
    st.booleans() if BACKEND != "torch" else st.just(False),
)
def test_updates(tmp_path_factory, kind, units, exponent, jit):
    rate = 10.0**exponent
    optimizer = {
        "adamw": lambda: O.AdamW(rate, weight_decay=0.1, clipnorm=0.01),
        "sgd": lambda: O.SGD(rate, momentum=0.9, global_clipnorm=1.0),
        "accumulate": lambda: O.Adam(rate, gradient_accumulation_steps=2),
    }[kind]()
    keras.utils.set_random_seed(units)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(2)]
    )
    model.compile(optimizer, "mse", jit_compile=jit)
    rng = np.random.default_rng(units)
    x, y = rng.normal(size=(24, 5)), rng.normal(size=(24, 2))
    path = tmp_path_factory.mktemp("updates")
    babysitter, weights = watch(path, model, x, y, batch_size=8)
    for record, before, after in zip(
        babysitter.steps, weights.before, weights.after, strict=True
    ):
        assert record.learning_rate == pytest.approx(rate, rel=1e-6)
        for stats, b, a in zip(record.variables, before, after, strict=True):
            check_tensor(stats.weight, b)
            check_tensor(stats.update, a - b)
            if np.linalg.norm(b) > 0:
                ratio = np.linalg.norm((a - b).astype(float)) / np.linalg.norm(b)
                assert stats.update_ratio == pytest.approx(ratio, rel=1e-5)
            else:
                assert np.isnan(stats.update_ratio)


@pytest.mark.parametrize("scale", [None, 64.0])
def test_gradients_and_activations_in_closed_form(tmp_path, scale):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 6)), rng.normal(size=(16, 3))
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(4, "relu", name="hidden"),
            keras.layers.Dense(3, "tanh", name="out"),
        ]
    )
    model.compile(O.SGD(0.1, loss_scale_factor=scale), "mse")
    w1, b1, w2, b2 = (
        np.array(keras.ops.convert_to_numpy(v), np.float64)
        for v in model.trainable_variables
    )
    babysitter, _ = watch(tmp_path, model, x, y, batch_size=16)
    (record,) = babysitter.steps
    h = np.maximum(x @ w1 + b1, 0)
    out = np.tanh(h @ w2 + b2)
    d_out = 2 * (out - y) / y.size * (1 - out**2)
    d_h = d_out @ w2.T * (h > 0)
    gradients = [x.T @ d_h, d_h.sum(0), h.T @ d_out, d_out.sum(0)]
    for stats, g in zip(record.variables, gradients, strict=True):
        np.testing.assert_allclose(stats.gradient.norm, np.linalg.norm(g), rtol=1e-4)
        np.testing.assert_allclose(stats.gradient.std, g.std(), rtol=1e-4)
        assert stats.gradient_histogram.counts.sum() == g.size
        counts, _ = np.histogram(
            g, 30, (stats.gradient_histogram.left, stats.gradient_histogram.right)
        )
        # Rounding can move a value over an edge.
        assert np.abs(counts - stats.gradient_histogram.counts).sum() <= 2
    total = np.sqrt(sum(np.sum(g**2) for g in gradients))
    assert record.gradient_norm == pytest.approx(total, rel=1e-4)
    assert record.loss == pytest.approx(np.mean((out - y) ** 2), rel=1e-5)
    hidden, last = record.layers
    check_tensor(hidden.activation, h)
    check_tensor(last.activation, out)
    assert hidden.zero_fraction == pytest.approx((h == 0).mean())
    assert hidden.dead_fraction == pytest.approx((h == 0).all(0).mean())
    assert hidden.saturation_fraction is None
    assert last.dead_fraction is None
    assert last.saturation_fraction == pytest.approx((np.abs(out) > 0.95).mean())


class Tape(keras.callbacks.Callback):
    """The gradients of each batch by TensorFlow's tape, before the step is made."""

    def __init__(self, x, y, size):
        super().__init__()
        self.batches = [
            keras.tree.map_structure(lambda a, i=i: a[i : i + size], (x, y))
            for i in range(0, len(keras.tree.flatten(x)[0]), size)
        ]
        self.gradients = []

    def on_train_batch_begin(self, batch, logs=None):
        import tensorflow as tf

        x, y = keras.tree.map_structure(tf.convert_to_tensor, self.batches[batch])
        before = [np.array(v) for v in self.model.variables]
        with tf.GradientTape() as tape:
            loss = self.model.compute_loss(x, y, self.model(x, training=True))
        variables = [v.value for v in self.model.trainable_variables]
        found = tape.gradient(loss, variables)
        self.gradients.append([np.array(tf.convert_to_tensor(g)) for g in found])
        # Random states and moving averages: the step must find them as they were.
        for variable, value in zip(self.model.variables, before, strict=True):
            variable.assign(value)


@pytest.mark.tensorflow
@pytest.mark.parametrize("make", [models.mlp, models.cnn, models.lstm])
def test_gradients_are_those_of_a_tape(tmp_path, make):
    keras.utils.set_random_seed(0)
    model, (x, y) = make()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(O.SGD(0.01), loss, jit_compile=False)
    tape, babysitter = Tape(x, y, 16), Records(tmp_path, every=1)
    model.fit(
        x, y, batch_size=16, shuffle=False, verbose=0, callbacks=[tape, babysitter]
    )
    assert len(babysitter.steps) == len(tape.gradients) > 1
    for record, gradients in zip(babysitter.steps, tape.gradients, strict=True):
        for stats, g in zip(record.variables, gradients, strict=True):
            found, tolerance = stats.gradient, 1e-4 * np.abs(g).max() + 1e-7
            np.testing.assert_allclose(found.norm, np.linalg.norm(g), 1e-3, tolerance)
            for name in ("min", "max", "mean", "std"):
                expected = getattr(np, name)(g.astype(float))
                np.testing.assert_allclose(getattr(found, name), expected, 0, tolerance)


def test_dead_units_over_a_window(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, "relu", name="hidden"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(O.SGD(0.0), "mse")
    kernel = np.zeros((3, 4), np.float32)
    kernel[0, 0] = 1  # Alive for the samples of the second batch only.
    kernel[1, 1] = 1  # Alive in both.
    hidden = model.get_layer("hidden")
    hidden.set_weights([kernel, np.array([0, 0, -1, 1], np.float32)])
    dead, alive = [[-1, 1, 0], [-2, 1, 0]], [[1, 1, 0], [-1, 1, 0]]
    x = np.array([*dead, *alive, *dead, *(50 * dead)], np.float32)
    babysitter, _ = watch(
        tmp_path, model, x, np.zeros((len(x), 1)), batch_size=2, shuffle=False
    )
    found = [r.layers[0] for r in babysitter.steps]
    # The later half of the steps, and 20 of them at most.
    assert [f.dead_window for f in found[:4]] == [1, 1, 2, 2]
    assert [f.dead_fraction for f in found[:4]] == [0.5, 0.25, 0.25, 0.5]
    assert {f.dead_window for f in found[39:]} == {20}


def test_batch_loss_and_its_spread(tmp_path):
    model, (x, y) = models.mlp()
    models.compile_model(model, O.SGD(0.0))
    babysitter, _ = watch(tmp_path, model, x, y, batch_size=24, shuffle=False)
    losses = [r.loss for r in babysitter.steps]
    epoch = babysitter.history.last_epoch
    assert epoch.loss_count == 3
    assert epoch.loss_mean == pytest.approx(np.mean(losses))
    assert epoch.loss_std == pytest.approx(np.std(losses))
    assert epoch.logs["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert [r.epoch for r in babysitter.steps] == pytest.approx([1 / 3, 2 / 3, 1])


def test_regularization_is_part_of_the_loss(tmp_path):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, kernel_regularizer="l2")]
    )
    model.compile(O.SGD(0.0), "mse")
    kernel = np.array(model.trainable_variables[0], np.float64)
    x = np.zeros((4, 3))
    babysitter, _ = watch(tmp_path, model, x, np.ones((4, 2)))
    assert babysitter.steps[0].loss == pytest.approx(1 + 0.01 * (kernel**2).sum())


def test_sparse_gradients_are_summed(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(5, 2),
            keras.layers.Lambda(lambda e: keras.ops.sum(e, axis=(1, 2))),
        ]
    )
    model.compile(O.SGD(0.5), "mae", jit_compile=False)
    tokens = np.array([[1, 1, 1, 3]])
    babysitter, _ = watch(tmp_path, model, tokens, np.array([100.0]))
    stats = babysitter.steps[0].variables[0]
    expected = np.zeros((5, 2))
    expected[1], expected[3] = -3, -1
    check_tensor(stats.gradient, expected)
    check_tensor(stats.update, -0.5 * expected)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gradients_are_unscaled(tmp_path, policy):
    keras.config.set_dtype_policy(policy)
    # Larger weights overflow half precision: the loss is scaled by 32,768.
    small = keras.initializers.RandomUniform(-0.1, 0.1, seed=0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, kernel_initializer=small)]
    )
    model.compile(O.SGD(1.0), "mse")
    x, y = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    babysitter, _ = watch(tmp_path, model, x, y)
    for stats in babysitter.steps[0].variables:
        # Plain SGD at rate one: the update is minus the gradient.
        assert stats.gradient.norm == pytest.approx(stats.update.norm, rel=1e-2)


def test_nan_and_inf_are_counted(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(O.SGD(1.0), "mse")
    x = np.ones((4, 3), np.float32)
    x[0, 1] = np.nan
    babysitter, _ = watch(tmp_path, model, x, np.ones((4, 2)), epochs=2)
    first, second = babysitter.steps
    kernel = first.variables[0]
    assert (kernel.weight.nan, kernel.gradient.nan) == (0, 6)
    assert second.variables[0].weight.nan == 6
    assert np.isnan(kernel.gradient.norm)
    assert first.layers[0].activation.nan == 2


def test_same_names_are_told_apart(tmp_path):
    model, (x, y) = models.shared_and_nested()
    models.compile_model(model)
    babysitter, _ = watch(tmp_path, model, x, y)
    paths = [layer.path for layer in babysitter.steps[0].layers]
    assert len(set(paths)) == len(paths)
    assert "shared" in paths
    assert "shared@2" in paths


def test_cells_inside_loops_are_left_out(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((4, 3)),
            keras.layers.Bidirectional(keras.layers.LSTM(2)),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    babysitter, _ = watch(tmp_path, model, np.ones((8, 4, 3)), np.ones((8, 1)))
    paths = " ".join(layer.path for layer in babysitter.steps[0].layers)
    assert "cell" not in paths
    assert "bidirectional" in paths


@pytest.mark.parametrize("jit", [True, False] if BACKEND != "torch" else [False])
@pytest.mark.parametrize(
    ("make", "factor"), [(models.augmented, 2.0), (models.custom_step, 1.0)]
)
def test_custom_steps_show_what_they_feed_the_model(tmp_path, make, factor, jit):
    model, (x, y) = make()
    models.compile_model(model, O.SGD(0.0), jit_compile=jit)
    model(x)
    babysitter, _ = watch(tmp_path, model, x, y, batch_size=len(x), shuffle=False)
    first = model.layers[0]
    found = {layer.path: layer for layer in babysitter.steps[0].layers}
    expected = keras.ops.convert_to_numpy(first(factor * x))
    check_tensor(found[first.path].activation, expected)
