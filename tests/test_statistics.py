import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import ops

from keras_babysit import records, statistics
from keras_babysit.backend import load

# Devices may flush subnormal numbers to zero.
FLOATS = st.floats(
    width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False
)
ANY_FLOATS = st.floats(width=32, allow_subnormal=False)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, max_side=6)


#: Tensors are described with Keras's operations, arrays with NumPy's.
KINDS = [ops.convert_to_tensor, np.asarray]
of_both_kinds = pytest.mark.parametrize("kind", KINDS, ids=["tensor", "array"])


@pytest.fixture(autouse=True)
def no_warnings():
    with np.errstate(all="ignore"):
        yield


def described(x):
    """What is said of a tensor, which is also said of an array."""
    tensor = np.asarray(statistics.describe(ops.convert_to_tensor(x)))
    array = statistics.describe(ops.convert_to_numpy(ops.cast(x, "float32")))
    assert array.dtype == np.float32
    scale = np.nan_to_num(np.abs(array[4:6]), posinf=0).max()
    close(tensor, array, scale, size=array[0])
    return records.TensorStats(*tensor.tolist())


#: What is smaller may count as zero: TensorFlow flushes denormal numbers.
TINY = np.finfo(np.float32).tiny


def close(a, b, scale=0.0, size=1):
    flushed = TINY * np.sqrt(size)
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * scale + flushed)


def is_one(found, expected):
    """Whether it is this very number, or zero if the number is denormal."""
    return found == expected or (found == 0 and abs(expected) < TINY)


@settings(deadline=None, max_examples=150)
@given(hnp.arrays(np.float32, SHAPES, elements=ANY_FLOATS))
@example(np.array([1.5 * TINY, -TINY], np.float32))  # Their sum is denormal.
def test_describe_is_numpys(x):
    found = described(x)
    finite = x[np.isfinite(x)].astype(np.float64)
    assert found.size == x.size
    assert found.nan == np.isnan(x).sum()
    assert found.inf == np.isinf(x).sum()
    if finite.size == 0:
        assert np.isnan([found.min, found.max, found.mean, found.std]).all()
        return
    largest = np.abs(finite).max()
    assert is_one(found.min, finite.min())
    assert is_one(found.max, finite.max())
    # Sums of values that cancel cannot be better than float32 of the largest.
    with np.errstate(over="ignore"):
        close(found.mean, finite.mean(), largest)
        close(found.std, finite.std(), largest)
        if finite.size == x.size and np.linalg.norm(finite) < 3e38:
            close(found.norm, np.linalg.norm(finite), size=x.size)


@settings(deadline=None, max_examples=60)
@given(
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=40),
    st.floats(-30, 30),
    st.floats(-2, 2),
    st.integers(0, 99),
)
def test_describe_over_scales(shape, exponent, offset, seed):
    normal = np.random.default_rng(seed).normal(offset, 1, shape)
    x = (normal * 10.0**exponent).astype(np.float32)
    found, wide = described(x), x.astype(np.float64)
    close(found.norm, np.linalg.norm(wide.ravel()))
    close(found.std, wide.std())
    close(found.mean, wide.mean(), np.abs(wide).max())


@pytest.mark.parametrize("value", [1e-30, 1e30])
def test_norm_neither_underflows_nor_overflows(value):
    x = np.full((3, 4), value, np.float32)
    expected = np.linalg.norm(x.astype(np.float64))
    np.testing.assert_allclose(described(x).norm, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "norm"),
    [([1.0, np.nan], np.nan), ([1.0, np.inf], np.inf), ([np.nan, -np.inf], np.nan)],
)
def test_norm_says_what_is_not_finite(values, norm):
    x = np.array(values, np.float32)
    np.testing.assert_equal(described(x).norm, norm)


def test_empty_tensor():
    found = described(np.zeros((0, 3), np.float32))
    assert (found.size, found.nan, found.inf, found.norm) == (0, 0, 0, 0)
    assert np.isnan(found.mean)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floating_dtypes(dtype):
    x = np.random.default_rng(0).normal(size=(70, 9)) * 100
    tensor = ops.convert_to_tensor(x, dtype)
    expected = ops.convert_to_numpy(ops.cast(tensor, "float32")).astype(float)
    close(described(tensor).norm, np.linalg.norm(expected))
    close(described(tensor).std, expected.std())


@of_both_kinds
@settings(deadline=None, max_examples=150)
@given(hnp.arrays(np.float32, SHAPES, elements=FLOATS), st.integers(1, 40))
def test_histogram_counts_each_element_once(kind, x, bins):
    row = np.asarray(statistics.histogram(kind(x), bins))
    assert row.shape == (bins + 2,)
    assert row[2:].sum() == x.size
    assert (row[2:] >= 0).all()
    if x.size:
        assert (row[0], row[1]) == (x.min(), x.max())


@of_both_kinds
@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 99))
def test_histogram_is_numpys(kind, n, seed):
    # Integers over a power of two: the edges are exact, no rounding can differ.
    x = np.random.default_rng(seed).integers(-64, 64, n).astype(np.float32) / 8
    x = np.concatenate([x, [-8.0, 8.0]]).astype(np.float32)
    row = np.asarray(statistics.histogram(kind(x), 32))
    expected, _ = np.histogram(x, 32)
    np.testing.assert_array_equal(row[2:], expected)


@of_both_kinds
def test_histogram_leaves_out_what_is_not_finite(kind):
    x = np.array([0, 1, np.nan, np.inf, -np.inf, 0.25], np.float32)
    row = np.asarray(statistics.histogram(kind(x), 4))
    np.testing.assert_array_equal(row, [0, 1, 1, 1, 0, 1])
    nothing = np.asarray(statistics.histogram(kind(np.full(3, np.nan, np.float32)), 4))
    assert np.isnan(nothing[:2]).all()
    assert nothing[2:].sum() == 0


@of_both_kinds
def test_histogram_of_equal_values(kind):
    row = np.asarray(statistics.histogram(kind(np.full((2, 3), 7.0, np.float32)), 5))
    np.testing.assert_array_equal(row, [7, 7, 0, 0, 0, 0, 6])


@of_both_kinds
def test_large_tensors_are_sampled_evenly_over_channels(kind):
    bins = statistics.BINS
    x = np.tile(np.arange(bins, dtype=np.float32), 8192)[None]
    (row,) = np.asarray(statistics.histogram_rows(kind(x)))
    counts = row[2:]
    assert counts.sum() == statistics.SAMPLE_SIZE
    # Five standard deviations of a fair draw.
    fair = statistics.SAMPLE_SIZE / bins
    assert np.abs(counts - fair).max() < 5 * np.sqrt(fair)
    (again,) = np.asarray(statistics.histogram_rows(kind(x)))
    np.testing.assert_array_equal(row, again)


@of_both_kinds
@pytest.mark.parametrize("odd", [None, np.nan, 1e30, 100.0])
@pytest.mark.parametrize("shape", [(3, 50), (1, 7), (2, 0), (2, 20_000)])
def test_rows_are_described_by_themselves(shape, odd, kind):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    if odd is not None and x.size:
        x[0] += np.float32(odd)  # Which is no business of the other rows.
    stats = np.asarray(statistics.describe_rows(kind(x)))
    counts = np.asarray(statistics.histogram_rows(kind(x)))
    for i, row in enumerate(x):
        alone = np.asarray(statistics.describe(kind(row)))
        scale = np.nan_to_num(np.abs(row)).max(initial=0.0)
        np.testing.assert_allclose(stats[i], alone, rtol=1e-4, atol=1e-5 * scale)
        if row.size <= statistics.SAMPLE_ABOVE:
            np.testing.assert_array_equal(counts[i], statistics.histogram(kind(row)))


@pytest.mark.tensorflow
def test_the_same_in_a_compiled_graph():
    import tensorflow as tf

    x = np.random.default_rng(0).normal(size=(33, 20)).astype(np.float32)
    for jit in (False, True):
        compiled = tf.function(
            lambda v: (statistics.describe(v), statistics.histogram(v)),
            jit_compile=jit,
        )
        row, counts = compiled(tf.constant(x))
        again = ops.convert_to_tensor(x)
        np.testing.assert_allclose(row, statistics.describe(again), rtol=1e-5)
        np.testing.assert_array_equal(counts, statistics.histogram(again))


def test_results_are_float32_whatever_the_default():
    tensors = [keras.ops.convert_to_tensor(x, "float32") for x in ([1.0], [np.nan])]
    keras.config.set_floatx("float64")
    try:
        # All of its branches are traced: they have to agree on the dtype.
        compiled = load("autodiff").compiled(statistics.describe)
        found = [compiled(x) for x in tensors]
        found += [statistics.histogram(x) for x in tensors]
    finally:
        keras.config.set_floatx("float32")
    kinds = {keras.backend.standardize_dtype(x.dtype) for x in found}
    assert kinds == {"float32"}
