import random
import types

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from support import gradient_bugs as bugs
from support import models
from support import standard_layers as standard

from keras_babysit.borrowing import layers_of
from keras_babysit.checks import available
from keras_babysit.checks.derivatives.twin import twin_of
from keras_babysit.checks.gradient import CHECK, GradientCheck, gradient_check
from keras_babysit.inspection.sample import ready, sample_of


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(5)


def small(*between, **kwargs):
    return bugs.stack(L.Dense(6, activation="tanh"), *between, L.Dense(3), **kwargs)


# The numbers.


def test_gradients_are_those_of_calculus_in_float64():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 4)).astype("float32")
    y = rng.integers(0, 2, 8)
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(1, kernel_regularizer=keras.regularizers.L2(0.25))]
    )
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    w, b = (np.asarray(v, "float64") for v in model.trainable_variables)
    sample = sample_of(x, y, n=8)
    ready(model, sample)
    with twin_of(model, sample) as twin:
        values, (data, penalty) = twin.gradients()
        np.testing.assert_array_equal(twin.losses(), values)
        step = np.zeros((4, 1))
        step[2] = 1e-5
        sides = []
        for moved in (w + step, w - step):
            twin.move([moved, b])
            sides.append(twin.losses())
        measured = (sides[0] - sides[1]) / 2e-5
    # Logistic regression by hand.
    z = x.astype("float64") @ w + b
    p = 1 / (1 + np.exp(-z))
    off = (p - y[:, None]) / 8
    loss = np.mean(np.log1p(np.exp(z)) - y[:, None] * z)
    np.testing.assert_allclose(values, [loss, 0.25 * (w**2).sum()], rtol=1e-12)
    np.testing.assert_allclose(data[0], x.T.astype("float64") @ off, rtol=1e-9)
    np.testing.assert_allclose(data[1], off.sum(0), rtol=1e-9)
    np.testing.assert_allclose(penalty[0], 0.5 * w, rtol=1e-9)
    np.testing.assert_allclose(penalty[1], 0, atol=0)
    by_hand = [data[0][2, 0], penalty[0][2, 0]]
    np.testing.assert_allclose(measured, by_hand, rtol=1e-9)


def test_errors_are_those_of_float64():
    result = gradient_check(*small_and_data())
    assert result.verdict == "passed"
    assert result.evidence["dtype"] == "float64"
    assert result.evidence["error"] < 1e-7
    assert [v.path.split("/", 1)[1] for v in result.variables] == [
        "dense/kernel",
        "dense/bias",
        "dense_1/kernel",
        "dense_1/bias",
    ]
    assert all(v.compared >= 4 for v in result.variables)


def small_and_data():
    keras.utils.clear_session()
    return small(), *bugs.data()


def test_the_same_again():
    model, x, y = small_and_data()
    assert gradient_check(model, x, y) == gradient_check(model, x, y)


# What is wrong is found, and its layer named.


@pytest.mark.parametrize("bug", bugs.BUGS, ids=lambda bug: bug.__name__)
def test_finds_and_locates(bug):
    case = bug()
    result = gradient_check(case.model, case.x, case.y)
    assert result.verdict == "failed"
    (guilty,) = result.layers
    assert guilty.path.removeprefix(f"{case.model.name}/") == case.path
    assert guilty.certain
    assert not guilty.ignored
    if case.path != "in_call":
        assert set(guilty.wrong) == set(case.wrong)
    if case.how:
        assert guilty.how == case.how
    assert guilty.path in result.summary
    assert result.action


def test_finds_two_at_once():
    first = bugs.Apply(bugs.nothing, name="first")
    second = bugs.Apply(bugs.negated, name="second")
    model = small(first, L.Dense(4), second)
    result = gradient_check(model, *bugs.data())
    assert [layer.path.split("/")[1] for layer in result.layers] == ["first", "second"]
    # Though nothing of the second's reaches what is before the first.
    assert [layer.how for layer in result.layers] == ["zero", "wrong sign"]
    # To ignore one is not to ignore the other.
    again = gradient_check(model, *bugs.data(), ignore="first")
    assert again.verdict == "failed"
    assert [layer.ignored for layer in again.layers] == [True, False]
    assert "first" not in again.summary


def test_a_little_wrong_is_worrying():
    layer = bugs.Apply(bugs.nearly, name="nearly")
    result = gradient_check(small(layer), *bugs.data())
    assert result.verdict == "worrying"
    assert not result.ok
    assert result.layers[0].how == "0.998 × the true one"
    np.testing.assert_allclose(result.evidence["error"], 2e-3, rtol=1e-3)


def test_a_penalty_hides_nothing():
    model = bugs.stack(
        L.Dense(6, kernel_regularizer=keras.regularizers.L2(1e4)),
        bugs.Apply(bugs.half_square, name="bad"),
        L.Dense(3),
    )
    result = gradient_check(model, *bugs.data())
    assert result.verdict == "failed"
    assert result.layers[0].path.endswith("bad")
    kernel = result.variables[0]
    assert kernel.error > 0.4
    assert kernel.regularization_error < 1e-7


# What is meant is let pass.


def test_straight_through_can_be_ignored():
    layer = bugs.Apply(bugs.straight_through, name="round")
    model, data = small(layer), bugs.data()
    result = gradient_check(model, *data)
    assert result.verdict == "failed"
    (choice,) = result.alternatives
    assert layer.path in choice
    for name in (layer.path, [layer]):
        ignoring = gradient_check(model, *data, ignore=name)
        assert ignoring.verdict == "passed"
        assert ignoring.layers[0].ignored
        assert "meant to differ" in ignoring.notes[0]


def test_weights_can_be_ignored():
    model, data = small(bugs.OwnDense(4, "bias zero", name="bad")), bugs.data()
    path = f"{model.name}/bad/bias"
    for name in (path, model.get_layer("bad").bias):
        result = gradient_check(model, *data, ignore=[name])
        assert result.verdict == "passed"
        (left,) = [v for v in result.variables if v.path == path]
        assert (left.verdict, left.compared) == ("skipped", 0)


@pytest.mark.parametrize("ignore", ["nothing", ["dense", "other/kernel"]])
def test_ignoring_what_is_not_there(ignore):
    model, x, y = small_and_data()
    with pytest.raises(ValueError, match="`ignore` must name layers or weights"):
        gradient_check(model, x, y, ignore=ignore)


# What is right passes.


@pytest.mark.parametrize(
    "layer",
    [
        bugs.OwnDense,
        pytest.param(bugs.Remembering, marks=pytest.mark.tensorflow),
        bugs.Recomputed,
    ],
    ids=lambda c: c.__name__,
)
def test_right_custom_gradients_pass(layer):
    model = small(layer(4) if layer is bugs.OwnDense else layer())
    rng = np.random.default_rng(5)  # The same weights with every backend.
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.5))
    result = gradient_check(model, *bugs.data())
    assert result.verdict == "passed"
    assert result.evidence["error"] < 1e-7


#: Which of them compute in float32 whatever they are told; their bands are wider.
COARSE = {standard.volumes}


SLOW = {standard.recurrent, standard.images}


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(build, marks=[pytest.mark.slow] * (build in SLOW))
        for build in standard.MODELS
    ],
    ids=lambda build: build.__name__,
)
def test_standard_layers_pass(build):
    model, x, y = build()
    result = gradient_check(model, x, y, n_coordinates=2, seconds=None)
    assert result.verdict == "passed", str(result)
    assert result.evidence["dtype"] == "float64"
    for variable in result.variables:
        if "spectral_normalization" not in variable.path:
            assert variable.verdict == "passed"
            assert variable.error < (1e-2 if build in COARSE else 1e-5)
            assert variable.compared


LAYERS = """
Dense EinsumDense Embedding Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose
Conv3DTranspose DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D
MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D
AveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
BatchNormalization LayerNormalization GroupNormalization UnitNormalization
RMSNormalization SpectralNormalization LSTM GRU SimpleRNN RNN Bidirectional
TimeDistributed ConvLSTM1D MultiHeadAttention GroupedQueryAttention
Attention AdditiveAttention Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D
AlphaDropout GaussianDropout GaussianNoise ActivityRegularization Activation ReLU
LeakyReLU PReLU ELU Softmax Add Subtract Multiply Average Maximum Minimum Concatenate
Dot Flatten Reshape Permute RepeatVector Masking Identity Lambda Cropping1D Cropping2D
Cropping3D ZeroPadding1D ZeroPadding2D ZeroPadding3D UpSampling1D UpSampling2D
UpSampling3D Rescaling Normalization Resizing CenterCrop CategoryEncoding
Discretization RandomFlip RandomRotation RandomZoom RandomTranslation RandomContrast
RandomBrightness RandomCrop
"""


def test_standard_layers_are_all_there():
    built = {
        type(layer).__name__
        for build in standard.MODELS
        for layer in layers_of(build()[0])
    }
    assert set(LAYERS.split()) <= built
    assert len(LAYERS.split()) > 80


@pytest.mark.slow
def test_standard_losses_pass():
    model, x, y = standard.losses()
    assert len({type(loss) for loss, _, _ in standard.LOSSES}) >= 20
    result = gradient_check(model, x, y, n_coordinates=2, seconds=None)
    assert result.verdict == "passed", str(result)
    assert all(v.verdict == "passed" and v.error < 1e-4 for v in result.variables)
    assert result.evidence["compared"] > 2 * len(standard.LOSSES)


def test_kinds_of_models_pass():
    for build in (models.shared_and_nested, models.subclassed, models.custom_step):
        model, data = build()
        result = gradient_check(models.compile_model(model), *data, n_coordinates=2)
        assert result.verdict == "passed", str(result)
        assert result.evidence["error"] < 1e-6
    assert "has its own train_step" in result.notes[-1]


def test_run_eagerly_is_respected():
    model = small()
    model.compile("adam", "mse", run_eagerly=True)
    sample = sample_of(*bugs.data(), n=3)
    ready(model, sample)
    with twin_of(model, sample) as twin:
        assert twin.eager
    assert gradient_check(model, *bugs.data(), n_coordinates=1).verdict == "passed"


# Number formats.


def test_mixed_precision_is_checked_in_float64():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, data = models.cnn()
    finally:
        keras.config.set_dtype_policy("float32")
    models.compile_model(model)
    result = gradient_check(model, *data)
    assert result.verdict == "passed"
    assert result.evidence["dtype"] == "float64"
    assert result.evidence["error"] < 1e-6
    assert keras.backend.standardize_dtype(model(data[0][:1]).dtype) == "float16"


def single(x):
    """Takes float32 only."""
    if keras.backend.standardize_dtype(x.dtype) != "float32":
        raise TypeError(f"float32 was expected, and not {x.dtype}")
    return ops.tanh(x)


class Single(L.Layer):
    """Fails on anything but float32."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.function = bugs.with_gradient(single, lambda x: factor / ops.cosh(x) ** 2)

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")

    def call(self, x):
        return self.function(ops.matmul(x, self.kernel.value))


def test_float32_only_layers_are_checked_in_float32():
    result = gradient_check(small(Single()), *bugs.data())
    assert result.verdict == "passed"
    assert result.evidence["dtype"] == "float32"
    assert result.evidence["error"] < 1e-2
    assert "cannot compute in float64" in result.notes[-1]
    wrong = gradient_check(small(Single(0.7, name="bad")), *bugs.data())
    assert wrong.verdict == "failed"
    assert [layer.path.split("/")[1] for layer in wrong.layers] == ["bad"]


def test_float32_inside_is_noticed():
    def inside(x):
        return ops.cast(ops.tanh(ops.cast(x, "float32")), x.dtype)

    result = gradient_check(small(L.Lambda(inside)), *bugs.data())
    assert result.verdict == "passed"
    assert "computes in float32" in result.notes[-1]
    assert result.evidence["error"] < 1e-2
    bad = bugs.Apply(bugs.half_square, name="bad")
    wrong = gradient_check(small(L.Lambda(inside), bad), *bugs.data())
    assert [layer.path.split("/")[1] for layer in wrong.layers] == ["bad"]


# Kinks, vanishing, and values that are none.


def test_kinks_are_told_apart():
    x, y = bugs.data()
    model = bugs.stack(L.Dense(20, activation="relu"), L.Dense(9), L.ReLU(), L.Dense(3))
    # All is exactly at the corners: no input, and no biases yet.
    result = gradient_check(model, 0 * x, y, burn_in=0)
    assert result.verdict == "passed"
    assert result.evidence["kinks"] > 5
    kinks = {v.path.split("/", 1)[1]: v.kinks for v in result.variables}
    assert sum(kinks.values()) == result.evidence["kinks"]
    assert any("met a kink" in note for note in result.notes)
    assert any("no gradient reaches" in note for note in result.notes)


def test_a_wrong_layer_is_found_among_kinks():
    x, y = bugs.data()
    bad = bugs.Apply(bugs.half_square, name="bad")
    model = bugs.stack(L.Dense(20, activation="relu"), bad, L.Dense(3))
    result = gradient_check(model, 0 * x + 0.01, y, burn_in=2)
    assert result.verdict == "failed"
    assert result.layers[0].path.endswith("bad")


def test_vanishing_gradients_are_not_called_wrong():
    squash = [
        L.Dense(4, "sigmoid", kernel_initializer="random_normal") for _ in range(12)
    ]
    result = gradient_check(small(*squash), *bugs.data(), n_coordinates=2)
    assert result.verdict == "passed"
    assert result.evidence["too_small"] > 0
    assert any("too small" in note for note in result.notes)


def test_gradients_that_are_not_finite():
    # The slope of the root is infinite at 0, and of its argument 0.
    root = L.Lambda(lambda x: ops.sqrt((x - ops.stop_gradient(x)) ** 2))
    relu = L.Dense(6, activation="relu")
    result = gradient_check(bugs.stack(relu, root, L.Dense(3)), *bugs.data())
    assert result.verdict == "failed"
    assert "2 of 4 gradients are not" in result.summary
    assert [v.how for v in result.variables] == ["not finite"] * 2
    log = L.Lambda(keras.ops.log)
    result = gradient_check(bugs.stack(relu, log, L.Dense(3)), *bugs.data())
    assert result.verdict == "failed"
    assert "the loss of 4 samples is" in result.summary


# What cannot be checked.


class ByChance(L.Layer):
    def call(self, x):
        import tensorflow as tf

        return x * tf.random.uniform(tf.shape(x), dtype=x.dtype)


@pytest.mark.tensorflow  # JAX's functions draw nothing by themselves.
def test_skips_a_model_that_draws_by_itself():
    result = gradient_check(small(ByChance()), *bugs.data())
    assert "differs each time" in result.summary
    assert (result.verdict, result.ok) == ("skipped", True)


class NoLoss(models.Subclassed):
    def compute_loss(self, *args, **kwargs):
        return None


def test_skips_what_it_cannot_check():
    x, y = bugs.data()
    frozen = small()
    frozen.trainable = False
    frozen.compile("adam", "mse")
    assert "no trainable weights" in gradient_check(frozen, x, y).summary
    gan, data = models.Gan_and_data()
    gan.compile()
    result = gradient_check(gan, *data)
    assert "its own train_step" in result.summary
    assert (result.verdict, result.ok) == ("skipped", True)


def test_a_step_that_needs_no_loss():
    class Trains(models.CustomStep):
        def compute_loss(self, *args, **kwargs):
            return None

    model = Trains()
    model.compile("adam")
    result = gradient_check(model, *models.subclassed()[1])
    assert result.verdict == "skipped"
    assert "compute_loss() of Trains returns None" in result.summary


def test_no_time():
    model, x, y = small_and_data()
    result = gradient_check(model, x, y, seconds=1e-9)
    assert result.verdict == "not finished"
    assert not result.ok
    assert "seconds=" in result.action


def test_little_time(monkeypatch):
    from keras_babysit.checks.derivatives import slopes

    ticks = iter(range(1000))
    clock = types.SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr(slopes, "time", clock)
    model, x, y = small_and_data()
    result = gradient_check(model, x, y, seconds=6)
    # All weights have had their direction before any has had a coordinate.
    assert [v.compared for v in result.variables] == [2, 2, 1, 1]
    assert "16 of 22 comparisons were left out for time" in result.notes
    assert result.verdict == "passed"
    ticks = iter(range(1000))
    result = gradient_check(model, x, y, seconds=3)
    assert [v.compared for v in result.variables] == [1, 1, 1, 0]
    assert result.verdict == "not finished"
    assert result.variables[3].path in result.summary


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "`n` must be a positive integer. Received: n=0"),
        ({"n": 2.5}, "`n` must be a positive integer"),
        ({"n_coordinates": 0}, "`n_coordinates` must be a positive integer"),
        ({"burn_in": -1}, "`burn_in` must be a non-negative integer"),
        ({"burn_in": True}, "`burn_in` must be"),
        ({"seconds": 0}, "`seconds` must be a positive number"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        gradient_check(small(), *bugs.data(), **arguments)


def test_bad_models_and_data():
    x, y = bugs.data()
    with pytest.raises(TypeError, match=r"must be a keras\.Model"):
        gradient_check("model", x, y)
    model = keras.Sequential([keras.Input((5,)), L.Dense(3)])
    with pytest.raises(ValueError, match="must be compiled"):
        gradient_check(model, x, y)
    with pytest.raises(ValueError, match="must have shape"):
        gradient_check(small(), x[:, :3], y)
    with pytest.raises(ValueError, match="finite"):
        gradient_check(small(), x * np.nan, y)


# It only watches.


def everything(model):
    """All there is to know of a model, and of the global random states."""
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    seeds = keras.src.random.seed_generator.global_seed_generator().state
    values = [np.asarray(v).tobytes() for v in [*variables, seeds]]
    dtypes = [v.dtype for v in variables]
    things = [*layers_of(model), *variables, model._compile_loss, model._loss_tracker]
    attributes = [
        {name: id(value) for name, value in vars(thing).items()} for thing in things
    ]
    chance = (
        random.getstate(),
        np.random.get_state()[1].tobytes(),
    )
    return values, dtypes, attributes, str(chance), keras.config.floatx()


def trained():
    model, (x, y) = models.cnn()
    models.compile_model(model, metrics=["accuracy"], weighted_metrics=["accuracy"])
    model.layers[0].kernel.regularizer = keras.regularizers.L2(0.1)
    model.fit(x, y, batch_size=24, verbose=0)
    return model, x, y


def test_leaves_everything_as_it_was():
    model, x, y = trained()
    before = everything(model)
    result = gradient_check(model, x, y, progress=None)
    assert result.verdict == "passed"
    assert result.variables[0].regularization_error > 0
    assert everything(model) == before


@pytest.mark.tensorflow
def test_draws_of_the_backend_go_on_where_they_were():
    import tensorflow as tf

    model, x, y = trained()
    keras.utils.set_random_seed(1)
    first = [tf.random.uniform(()).numpy() for _ in range(2)]
    keras.utils.set_random_seed(1)
    again = [tf.random.uniform(()).numpy()]
    gradient_check(model, x, y, n_coordinates=1)
    assert [*again, tf.random.uniform(()).numpy()] == first


class Raises(L.Layer):
    """Fails in training only, so that nobody sees it coming."""

    def call(self, x, training=False):
        if training:
            raise RuntimeError("never mind")
        return x


class RaisesLater(L.Layer):
    """Fails after some calls, in whatever is going on then."""

    calls = 0
    limit = 10**9

    def call(self, x):
        RaisesLater.calls += 1
        if RaisesLater.calls > RaisesLater.limit:
            raise RuntimeError("never mind")
        return bugs.negated(x)


@pytest.mark.parametrize("layer", [Raises, RaisesLater])
def test_leaves_everything_as_it_was_if_a_layer_fails(layer, monkeypatch):
    model = small(layer())
    model.compile("adam", "mse", metrics=["mae"])
    x, y = bugs.data()
    model(x)  # So that Keras has noted that it was called.
    before = everything(model)
    monkeypatch.setattr(RaisesLater, "limit", RaisesLater.calls + 5)
    with pytest.raises(RuntimeError, match="never mind"):
        gradient_check(model, x, y)
    assert everything(model) == before


# What it says.


def test_prints_well():
    case = bugs.in_nested_model()
    told = []
    result = gradient_check(
        case.model, case.x, case.y, progress=lambda *args: told.append(args)
    )
    assert isinstance(result, GradientCheck)
    text = str(result)
    assert max(map(len, text.splitlines())) <= 100
    assert text.startswith("✖ failed  gradient: the gradient of inner/bad (Apply) has")
    assert "pass ignore=['inner/bad']" in " ".join(text.split())
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert "looking at bad" in [what for _, what in told]


def test_many_weights_are_told_briefly():
    model = small(*(L.Dense(3, activation="tanh") for _ in range(8)))
    result = gradient_check(model, *bugs.data(), n_coordinates=1)
    assert len(result.variables) == 20
    assert len(result.rows) == 12
    assert result.rows[-1]["weight"] == "9 others"


def test_is_one_of_the_checks():
    assert available()["gradient"] is CHECK
    model, x, y = small_and_data()
    result = CHECK.run(model, sample_of(x, y, n=12), lambda share, what: None)
    assert result.verdict == "passed"
    assert result.check == CHECK.name
