"""Averages of weights against NumPy, and what may be averaged."""

import keras
import numpy as np
import pytest
from keras import layers as L
from support import models as zoo

from keras_babysit.ensemble import average_weights, reestimate_batch_normalization

BUILDERS = (zoo.mlp, zoo.residual, zoo.shared_and_nested, zoo.subclassed)


def members(builder, n=3):
    found = []
    for seed in range(n):
        keras.utils.set_random_seed(seed)
        model, (x, _) = builder()
        model(x)
        # Away from zeros and ones: biases, statistics of batch normalization.
        rng = np.random.default_rng(seed)
        for v in model.weights:
            v.assign(rng.uniform(0.5, 1.5, v.shape))
        found.append(model)
    return found


def values(model):
    return [np.array(v, "float64") for v in model.weights]


def dense(units=3, activation="relu", name=None, **kwargs):
    return L.Dense(units, activation=activation, name=name, **kwargs)


def sequential(*layers, features=4):
    return keras.Sequential([keras.Input((features,)), *layers])


@pytest.mark.filterwarnings("ignore:average_weights. the model has batch norm")
@pytest.mark.parametrize("weights", [None, (0.5, 0.2, 0.3)])
@pytest.mark.parametrize("builder", BUILDERS, ids=lambda b: b.__name__)
def test_it_is_numpys_average(builder, weights):
    models = members(builder)
    before = [values(model) for model in models]
    average = average_weights(models, weights)
    for i, value in enumerate(values(average)):
        exact = np.average([b[i] for b in before], axis=0, weights=weights)
        np.testing.assert_array_equal(value, exact.astype("float32"))
    for model, kept in zip(models, before, strict=True):
        for a, b in zip(values(model), kept, strict=True):
            np.testing.assert_array_equal(a, b)
        assert not {id(v) for v in model.variables} & {id(v) for v in average.variables}


def test_files_models_and_a_directory_give_the_same(tmp_path):
    models = members(zoo.mlp)
    paths = [tmp_path / f"{i}.keras" for i in range(3)]
    for model, path in zip(models, paths, strict=True):
        model.save(path)
    expected = values(average_weights(models))
    for source in (paths, [models[0], *paths[1:]], tmp_path):
        for a, b in zip(values(average_weights(source)), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def _mse(y, p):
    return keras.ops.mean((y - p) ** 2)


def test_it_is_compiled_as_the_first_and_predicts():
    models = members(zoo.mlp)
    x, _ = zoo.images((12,))
    for model in models:
        model.compile(keras.optimizers.SGD(0.25), _mse, metrics=["mae"])
        model.layers[2].trainable = False
    average = average_weights(models)
    assert isinstance(average.optimizer, keras.optimizers.SGD)
    assert float(average.optimizer.learning_rate) == 0.25
    assert average.loss is _mse
    assert not average.layers[2].trainable
    for v, mean in zip(models[0].weights, values(average), strict=True):
        v.assign(mean)
    a, b = (keras.ops.convert_to_numpy(m(x)) for m in (average, models[0]))
    np.testing.assert_array_equal(a, b)


def test_whole_numbers_and_seeds_are_those_of_the_first():
    class Counting(L.Layer):
        def build(self, shape):
            self.count = self.add_weight(shape=(), dtype="int32", trainable=False)

        def call(self, x):
            return x

    found = []
    for count in (3, 8):
        model = sequential(Counting(), L.Dropout(0.5), dense())
        model.layers[0].count.assign(count)
        model.layers[1].seed_generator.state.assign([count, 1])
        found.append(model)
    average = average_weights(found)
    assert int(average.layers[0].count) == 3
    assert np.array(average.layers[1].seed_generator.state).tolist() == [3, 1]


def test_what_layers_know_beside_their_variables_comes_along(tmp_path):
    x = np.random.default_rng(0).normal(5, 3, size=(30, 4)).astype("float32")

    def made(offset):
        normalization = L.Normalization()
        normalization.adapt(x + offset)
        model = sequential(normalization, L.Lambda(lambda v: v * factor), dense(3))
        return model

    factor = 2.0
    one, other = made(0), made(4)
    other.set_weights([*other.get_weights()[:3], *one.get_weights()[3:]])
    for members_ in ([one, one], [one, other]):
        average = average_weights(members_)
        mean, variance = (np.array(v)[None] for v in average.weights[:2])
        kernel, bias = average.get_weights()[3:]
        expected = np.maximum((x - mean) / np.sqrt(variance) * 2 @ kernel + bias, 0)
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(average(x)), expected, rtol=1e-4, atol=1e-5
        )


def test_numbers_that_keras_adds_to_names_do_not_matter():
    def pair():
        inputs = keras.Input((4,))
        a, b = dense()(inputs), dense()(inputs)
        return keras.Model(inputs, L.Bidirectional(L.GRU(2))(L.Reshape((1, 3))(a * b)))

    average_weights([pair(), pair()])


def _swapped(swap):
    inputs = keras.Input((4,))
    a, b = L.Dense(4, name="a"), L.Dense(4, name="b")
    outputs = b(a(inputs)) if swap else a(b(inputs))
    return keras.Model(inputs, L.Add()([inputs, outputs]))


def _fed(first):
    inputs = keras.Input((4,))
    a = dense(4)(inputs)
    b = dense(4)(a)
    return keras.Model(inputs, dense(1)(L.Subtract()([a, b] if first else [b, a])))


DIFFERENT = {
    "units": (
        lambda: sequential(dense(3)),
        lambda: sequential(dense(5)),
        "`units` of ",
    ),
    "activation": (
        lambda: sequential(dense()),
        lambda: sequential(dense(activation="tanh")),
        "`activation` of .* is 'relu' in one, 'tanh' in the other",
    ),
    "inputs": (
        lambda: sequential(dense()),
        lambda: sequential(dense(), features=5),
        r"is \[None, 4\] in one, \[None, 5\] in the other",
    ),
    "depth": (
        lambda: sequential(dense()),
        lambda: sequential(dense(), dense()),
        "the number of layers is 3 in one, 4 in the other",
    ),
    "kind": (
        lambda: sequential(L.ReLU(), dense()),
        lambda: sequential(L.ELU(), dense()),
        "'ReLU' in one, 'ELU' in the other",
    ),
    "name": (
        lambda: sequential(dense(name="encoder")),
        lambda: sequential(dense(name="decoder")),
        "'encoder' in one, 'decoder' in the other",
    ),
    "precision": (
        lambda: sequential(dense()),
        lambda: sequential(dense(dtype="float64")),
        "dtype",
    ),
    "order": (lambda: _swapped(True), lambda: _swapped(False), "in the other"),
    "connection": (lambda: _fed(True), lambda: _fed(False), "what is connected"),
    "model": (
        lambda: sequential(dense()),
        lambda: _fed(True),
        "the class of the model",
    ),
}


@pytest.mark.parametrize("case", DIFFERENT, ids=str)
def test_other_architectures_are_refused(case):
    one, other, words = DIFFERENT[case]
    with pytest.raises(ValueError, match=words) as e:
        average_weights([one(), one(), other()])
    assert "member 2 is not of that of member 0" in str(e.value)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ((0.5, 0.2), "one number for each of 2|sum to one"),
        ((0.5, 0.3, 0.2), "one number for each of 2"),
        ((1.5, -0.5), "0 or above"),
        ((np.nan, 1.0), "NaN"),
        ("ab", "numbers"),
    ],
)
def test_bad_weights(weights, words):
    with pytest.raises(ValueError, match=words):
        average_weights([sequential(dense()), sequential(dense())], weights)


def test_bad_members(tmp_path):
    for bad, words in (
        ([], "at least one member"),
        (sequential(dense()), "must be a directory or a list"),
        (7, "must be a directory or a list"),
        ([sequential(dense()), 7], "member 1 is 7"),
        ([keras.Sequential([dense()])], "not built"),
        (["no.keras"], r"'no\.keras' does not exist"),
        (tmp_path, "no `.keras` file"),
    ):
        with pytest.raises(ValueError, match=words):
            average_weights(bad)
    quantized = sequential(dense(8))
    quantized.quantize("int8")
    with pytest.raises(ValueError, match="Quantized weights cannot be averaged"):
        average_weights([quantized])


def test_without_its_statistics_an_average_is_wrong():
    """Members that do the same: batch normalization undoes a scale of its inputs."""
    keras.utils.set_random_seed(0)
    norm = L.BatchNormalization(epsilon=1e-9)
    first = sequential(L.Dense(16, use_bias=False), norm, L.ReLU(), L.Dense(3))
    x = np.random.default_rng(0).normal(size=(200, 4)).astype("float32")
    reestimate_batch_normalization(first, x, 200)
    expected = keras.ops.convert_to_numpy(first(x))
    same = []
    for scale in (0.1, 1.0, 10.0):
        model = keras.models.clone_model(first)
        kernel, gamma, beta, mean, variance, *head = first.get_weights()
        scaled = [kernel * scale, gamma, beta, mean * scale, variance * scale**2]
        model.set_weights([*scaled, *head])
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(model(x)), expected, atol=1e-5
        )
        same.append(model)
    with pytest.warns(UserWarning, match="has batch normalization"):
        wrong = average_weights(same)
    right = average_weights(same, x=x, batch_size=64)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(right(x)), expected, atol=1e-5
    )
    # Its variance is the mean of squares, not the square of the mean: 33.7, not 13.7.
    share = np.std(keras.ops.convert_to_numpy(wrong(x)) - expected) / np.std(expected)
    assert share > 0.3
