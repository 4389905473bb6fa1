"""Statistics of batch normalization against NumPy."""

import keras
import numpy as np
import pytest
from keras import layers as L

from keras_babysit.ensemble import reestimate_batch_normalization

N = 72  # Not a multiple of the batch size.

#: With PyTorch the variance that Keras normalizes with is negative for more.
OFFSET = 100.0 if keras.backend.backend() == "torch" else 1000.0


def data(*shape, offset=0.0):
    rng = np.random.default_rng(0)
    # In order, so that batches differ from each other.
    x = np.sort(rng.normal(size=(N, *shape)), axis=0) + offset
    return x.astype("float32")


def small(*between, features=4):
    return keras.Sequential(
        [
            keras.Input((features,)),
            L.BatchNormalization(name="first"),
            *between,
            L.BatchNormalization(name="second"),
            L.Dense(2),
        ]
    )


def statistics(layer):
    return [np.array(v) for v in (layer.moving_mean, layer.moving_variance)]


def moments(x, axis=-1):
    axes = tuple(a for a in range(x.ndim) if a != axis % x.ndim)
    x = x.astype("float64")
    return [x.mean(axes), x.var(axes)]


def close(found, expected, rtol=1e-5):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize(("batch_size", "offset"), [(32, 0.0), (7, OFFSET)])
def test_the_first_has_the_moments_of_all_rows(batch_size, offset):
    x, model = data(4, offset=offset), small()
    reestimate_batch_normalization(model, x, batch_size)
    close(statistics(model.get_layer("first")), moments(x))


def test_the_second_sees_batches_normalized_by_themselves_in_one_pass():
    x, model = data(4), small()
    reestimate_batch_normalization(model, x, 32)
    parts = []
    for rows in (x[:32], x[32:64], x[64:]):
        mean, variance = moments(rows)
        parts.append((rows - mean) / np.sqrt(variance + 1e-3))
    close(statistics(model.get_layer("second")), moments(np.concatenate(parts)))


def test_the_second_is_exact_in_one_batch_or_in_two_passes():
    x = data(4)
    for arguments in ({"batch_size": N}, {"batch_size": 32, "passes": 2}):
        model = small(L.Dense(3, activation="tanh"))
        reestimate_batch_normalization(model, x, **arguments)
        seen = keras.Model(model.inputs, model.layers[1].output).predict(x, verbose=0)
        close(statistics(model.get_layer("second")), moments(seen), 1e-4)


def test_channels_first_convolutions_and_nested_models():
    block = keras.Sequential(
        [keras.Input((3, 5, 5)), L.BatchNormalization(axis=1, name="inner")]
    )
    inputs = keras.Input((3, 5, 5))
    model = keras.Model(inputs, L.Flatten()(keras.Sequential([block])(inputs)))
    x = data(3, 5, 5)
    reestimate_batch_normalization(model, x, 16)
    close(statistics(block.layers[0]), moments(x, 1))


def test_a_shared_layer_counts_all_of_its_calls():
    shared = L.BatchNormalization()
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    model = keras.Model({"a": a, "b": b}, L.Add()([shared(a), shared(b)]))
    x = data(4)
    reestimate_batch_normalization(model, {"a": x, "b": 3 * x + 1}, 32)
    close(statistics(shared), moments(np.concatenate([x, 3 * x + 1])))


def test_masked_steps_do_not_count():
    x = data(6, 4)
    x[:40, 2:] = 0
    layer = L.BatchNormalization()
    model = keras.Sequential([keras.Input((6, 4)), L.Masking(), layer])
    reestimate_batch_normalization(model, x, 32)
    close(statistics(layer), moments(x[(x != 0).any(-1)]))


def test_frozen_layers_and_those_called_as_in_prediction_keep_theirs():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.frozen = L.BatchNormalization(trainable=False)
            self.fixed, self.learning = L.BatchNormalization(), L.BatchNormalization()

        def call(self, x, training=False):
            x = self.fixed(self.frozen(x, training=training), training=False)
            return self.learning(x, training=training)

    x, model = data(4, offset=2), Model()
    model(x)
    reestimate_batch_normalization(model, x, 32)
    for layer in (model.frozen, model.fixed):
        close(statistics(layer), [np.zeros(4), np.ones(4)])
    close(statistics(model.learning), moments(x), 4e-3)


def test_renormalization_and_half_precision():
    x = data(4, offset=1)
    layer = L.BatchNormalization(renorm=True, dtype="mixed_float16")
    reestimate_batch_normalization(keras.Sequential([keras.Input((4,)), layer]), x)
    mean, variance = moments(x)
    close(statistics(layer), [mean, variance], 1e-3)
    close([layer.renorm_mean, layer.moving_stddev], [mean, np.sqrt(variance)], 2e-2)


def test_nothing_else_changes():
    noise = [L.Dropout(0.5, seed=1), L.GaussianNoise(0.9), L.SpatialDropout1D(0.5)]
    between = [L.Reshape((1, 4)), *noise, L.Flatten()]
    model, x = small(*between), data(4)
    model.compile("adam", "mse", metrics=["mae"], jit_compile=False)
    model.fit(x, x[:, :2], verbose=0)
    before = [np.array(v) for v in model.variables + model.metrics_variables]
    optimizer = [np.array(v) for v in model.optimizer.variables]
    step, state = model.train_function, np.random.get_state()[1].copy()
    ours = [v for i in ("first", "second") for v in model.get_layer(i).weights[2:]]
    reestimate_batch_normalization(model, x, N)
    for variable, value in zip(
        model.variables + model.metrics_variables, before, strict=True
    ):
        changed = any(variable is v for v in ours)
        assert changed != np.array_equal(variable, value), variable.path
    for variable, value in zip(model.optimizer.variables, optimizer, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert model.train_function is step
    assert np.array_equal(np.random.get_state()[1], state)
    # Noise was off: the second has what prediction would give it.
    inner = keras.Model(model.inputs, model.get_layer("second").input)
    close(statistics(model.get_layer("second")), moments(inner.predict(x, verbose=0)))


def test_whatever_predict_takes():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            rows = x[index * 24 : (index + 1) * 24]
            return rows, rows

    x = data(4)
    generator = ((x[i : i + 12],) for i in range(0, N, 12))
    for source, steps, rows in ((Batches(), None, N), (generator, 3, 36)):
        model = small()
        reestimate_batch_normalization(model, source, steps=steps)
        close(statistics(model.get_layer("first")), moments(x[:rows]))


def test_a_model_without_any_needs_no_pass():
    model = keras.Sequential([keras.Input((4,)), L.Dense(1)])
    reestimate_batch_normalization(model, "never read")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": None}, "must be data"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"steps": True}, "`steps` must be"),
        ({"passes": None}, "`passes` must be"),
        ({"x": np.full((8, 4), np.nan, "float32")}, "not finite"),
        ({"x": np.zeros((0, 4), "float32")}, "at least one sample"),
        ({"x": np.zeros((8, 5), "float32")}, "cannot be called on `x`"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        reestimate_batch_normalization(small(), **{"x": data(4), **arguments})


def test_no_model():
    with pytest.raises(TypeError, match=r"must be a keras\.Model"):
        reestimate_batch_normalization("model.keras", data(4))
    with pytest.raises(ValueError, match="not built"):
        reestimate_batch_normalization(keras.Sequential([L.Dense(1)]), data(4))
