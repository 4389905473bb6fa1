import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import datasets

from keras_babysit.facts import ArrayFacts, DataFacts
from keras_babysit.inspection import data
from keras_babysit.inspection.arrays import array_facts
from keras_babysit.inspection.data import BatchSample, Fed, arrays, data_facts
from keras_babysit.inspection.dependence import dependence
from keras_babysit.inspection.rows import leaves, rows_of, spread

RNG = np.random.default_rng(3)


def fed(x, y=None, xv=None, yv=None, **fields):
    inputs, whole = arrays("x", x)
    targets, _ = arrays("y", y)
    if xv is not None:
        fields["validation"] = True
        fields["validation_inputs"] = arrays("x", xv)[0]
        fields["validation_targets"] = arrays("y", yv)[0]
    rows = inputs[0].shape[0] if inputs else None
    return Fed("arrays", inputs, targets, whole, rows, **fields)


def facts(*args, **fields):
    return data_facts(fed(*args, **fields))


def test_spread_is_even_and_not_periodic():
    assert spread(5, 10).tolist() == [0, 1, 2, 3, 4]
    at = spread(100_000, 2000)
    assert len(at) == 2000
    assert np.diff(at).min() > 0
    assert np.diff(at).max() < 150
    for period in (2, 10, 50, 100):
        assert set(at % period) == set(range(period))


def test_names_of_nested_arrays():
    a = np.zeros((2, 1))
    nested = {"a": a, "b": [a, {"c": a}], "d": None}
    assert [n for n, _ in leaves("x", nested)] == [
        "x['a']",
        "x['b'][0]",
        "x['b'][1]['c']",
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64", "float16"])
def test_moments_against_numpy(dtype):
    x = (RNG.random((50, 4, 3)) * 100).astype(dtype)
    found = array_facts("x", x)
    flat = x.astype("float64").reshape(-1, 3)
    assert found.dtype == dtype
    assert found.shape == (4, 3)
    assert found.seen == 50
    assert found.whole == (dtype in ("uint8", "int64"))
    for name, expected in {
        "min": flat.min(),
        "max": flat.max(),
        "mean": flat.mean(),
        "std": flat.std(),
    }.items():
        assert getattr(found, name) == pytest.approx(expected, rel=1e-5)
        of_feature = getattr(flat, name)(axis=0)
        np.testing.assert_allclose(
            getattr(found, f"feature_{name}"), of_feature, rtol=1e-5
        )


def test_nan_and_inf_are_counted_and_left_out():
    x = np.ones((30, 3), "float32")
    x[:, 1] = np.arange(30)
    x[4, 1], x[5, 1], x[:, 2] = np.nan, np.inf, np.nan
    found = array_facts("x", x)
    assert (found.nan, found.inf) == (31, 1)
    assert found.feature_nonfinite.tolist() == [0, 2, 30]
    kept = np.delete(np.arange(30.0), [4, 5])
    assert found.feature_mean[1] == pytest.approx(kept.mean())
    assert found.feature_std[1] == pytest.approx(kept.std())
    assert np.isnan(found.feature_mean[2])
    assert found.max == 29


def test_offset_does_not_swallow_the_deviation():
    x = (1e6 + RNG.normal(size=(1000, 2))).astype("float64")
    assert array_facts("x", x).std == pytest.approx(x.std(), rel=1e-6)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (np.eye(4)[[0, 1, 1, 3]], {"one_hot": True, "distribution": True}),
        (np.array([[0, 1, 1], [0, 0, 0]]), {"multi_hot": True}),
        (np.array([[0.2, 0.8], [0.5, 0.5]]), {"distribution": True}),
        (np.array([[0.2, 0.9], [0.5, 0.5]]), {}),
        (np.array([0, 1, 1]), {}),
        (np.array([[0], [1]]), {}),
    ],
)
def test_kinds_of_rows(rows, expected):
    found = array_facts("y", rows)
    for name in ("one_hot", "multi_hot", "distribution"):
        assert getattr(found, name) == expected.get(name, False), name


def test_counts():
    assert array_facts("y", np.array([3, 1, 3, -1])).counts == {-1: 1, 1: 1, 3: 2}
    assert array_facts("y", np.eye(3)[[0, 2, 2]]).counts == {0: 1, 2: 2}
    assert array_facts("y", RNG.random(5000)).counts == {}
    assert array_facts("y", np.array([0.5, 0.5, 1.5])).counts == {0.5: 2, 1.5: 1}


def test_text_and_odd_arrays():
    assert array_facts("x", np.array(["a", "b"])).dtype == "string"
    assert array_facts("x", np.array(["a", b"b"], dtype=object)).dtype == "string"
    assert array_facts("x", np.array([1, 2.5, True], dtype=object)).mean == 1.5
    assert array_facts("x", np.array([None, "a"], dtype=object)) is None
    assert array_facts("x", np.zeros(3, "complex64")) is None
    assert array_facts("x", np.zeros(3, "datetime64[s]")) is None


def test_pandas():
    frame = pd.DataFrame({"a": [1.5, 2, 3], "b": [True, False, True], "c": [1, 2, 3]})
    series = pd.Series([0, 1, 1], index=[9, 7, 5])
    found = facts(frame, series)
    assert found.inputs[0].feature_max.tolist() == [3, 1, 3]
    assert found.targets[0].counts == {0: 1, 1: 2}


def test_tensors():
    tf = pytest.importorskip("tensorflow")
    x = tf.random.stateless_normal((300, 4), seed=(1, 2))
    found = facts(x, tf.constant([b"a"] * 300))
    assert found.inputs[0].mean == pytest.approx(float(tf.reduce_mean(x)), abs=1e-6)
    assert found.targets[0].dtype == "string"
    ragged = tf.ragged.constant([[1], [2, 3]])
    assert rows_of("x", ragged) is None
    assert not arrays("x", {"a": x, "b": ragged})[1]


def test_sample_is_bounded():
    x = np.zeros((5_000, 8_000), "uint8")
    x[:, 0] = np.arange(5_000) % 200
    found = facts(x, np.arange(5_000) % 7)
    assert found.inputs[0].seen == data.RANGE_VALUES // 8_000
    assert found.targets[0].seen == 5_000
    assert found.rows == 5_000
    assert len(found.targets[0].counts) == 7


def test_rare_nan_is_found_in_all_rows():
    x = RNG.normal(size=(30_000, 5)).astype("float32")
    x[12_345, 2] = np.nan
    x[777, 3] = np.inf
    found = facts(x).inputs[0]
    assert (found.nan, found.inf, found.scanned) == (1, 1, 30_000)
    assert found.seen == data.INPUT_ROWS
    assert found.feature_nonfinite.tolist() == [0, 0, 1, 1, 0]


def test_large_floats_that_sum_to_infinity_are_no_fault():
    x = np.full((30_000, 2), 3e38, "float32")
    assert facts(x).inputs[0].inf == 0


def test_order_of_classes():
    y = np.repeat(np.arange(5), 100)
    x = RNG.normal(size=(500, 3))
    assert facts(x, y).sorted
    assert facts(x, np.eye(5)[y]).sorted
    assert facts(x, y[::-1].reshape(-1, 1)).sorted
    assert not facts(x, RNG.permutation(y)).sorted
    assert not facts(x, np.sort(RNG.normal(size=500))).sorted
    assert not facts(x[:4], np.array([0, 0, 1, 1])).sorted
    rare = np.zeros(500)
    rare[[100, 300]] = 1
    assert not facts(x, rare).sorted


def test_duplicates_and_conflicts():
    x = RNG.normal(size=(300, 3))
    y = RNG.integers(0, 2, 300)
    assert facts(x, y).duplicated == 0
    x2, y2 = np.concatenate([x, x[:30]]), np.concatenate([y, y[:30]])
    found = facts(x2, y2)
    assert found.duplicated == pytest.approx(60 / 330)
    assert found.conflicting == 0
    found = facts(x2, np.concatenate([y, 1 - y[:30]]))
    assert found.duplicated == 0
    assert found.conflicting == pytest.approx(60 / 330)


def test_shared_validation_samples():
    x, y = RNG.normal(size=(600, 3)), RNG.integers(0, 2, 600)
    found = facts(x[:500], y[:500], x[500:], y[500:]).validation
    assert (found.rows, found.compared, found.shared) == (100, 100, 0)
    found = facts(x[:500], y[:500], x[450:], y[450:]).validation
    assert (found.compared, found.shared, found.among) == (150, 50, 500)
    found = facts(x[:500], y[:500], x[450:].astype("f4"), y[450:].astype("f4"))
    assert found.validation.shared == 50
    found = facts({"a": x, "b": x}, y, {"a": x[:90], "b": x[:90]}, y[:90])
    assert found.validation.shared == 90


XOR = (RNG.uniform(-1, 1, (2000, 8)) > 0).astype(int)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (c := RNG.uniform(-1, 1, (2000, 6)), (c[:, 0] > 0) ^ (c[:, 1] > 0)),
        (c, c[:, 0] * c[:, 1] + c[:, 2] ** 2),
        (c, (c[:, 0] ** 2 + c[:, 1] ** 2 < 0.6).astype(int)),
        (XOR.astype("f4")[:, :4], XOR[:, :4].sum(axis=1) % 2),
        (c[:, :1], np.sin(9 * c[:, 0])),
        (RNG.normal(size=(2000, 20)), None),
    ],
    ids=["xor", "products", "circle", "parity", "sine", "weak"],
)
def test_dependence_is_found(x, y):
    if y is None:  # Each of many features a little.
        y = (x.sum(axis=1) + 10 * RNG.normal(size=2000) > 0).astype(int)
    found = facts(x, y.astype(float)).dependence
    assert found.tested == 1000
    away = abs(found.neighbours - found.chance) / found.spread
    assert away > 3 or found.linear_p < 1e-3


def bars(n):
    """Bars across or along a picture, anywhere in it."""
    x = 0.1 * RNG.normal(size=(n, 16, 16, 1))
    y = RNG.integers(0, 2, n)
    for i, (a, b) in enumerate(RNG.integers(0, 10, (n, 2))):
        x[(i, slice(a, a + 6), b) if y[i] else (i, b, slice(a, a + 6))] += 1
    return x.astype("float32"), y


def test_dependence_that_does_not_stay_in_place():
    found = facts(*bars(1500)).dependence
    assert found.linear_p < 1e-3


def test_dependence_of_sets_on_their_items():
    """Sums of six digits, in any order."""
    pixels, digit = datasets.load_digits(return_X_y=True)
    rows = RNG.integers(0, len(digit), (1000, 6))
    x, y = pixels[rows], digit[rows].sum(axis=1).astype(float)
    assert dependence([x], y).linear_p < 1e-6
    assert dependence([x], RNG.permutation(y)).linear_p > 0.01


def test_dependence_of_the_spread_alone():
    """What a mixture density or a volatility is learned from."""
    x = RNG.uniform(-1, 1, (1200, 3)).astype("float32")
    noise = RNG.normal(size=1200)
    for y in (x[:, 0] * np.sign(noise), np.exp(x[:, 1]) * noise):
        assert facts(x, y).dependence.linear_p < 1e-4
        assert facts(x, RNG.permutation(y)).dependence.linear_p > 0.01


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_chance_is_not_taken_for_dependence(kind):
    wrong = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(600, 10)).astype("float32")
        y = rng.integers(0, 3, 600) if kind == "classes" else rng.standard_cauchy(600)
        found = dependence([x], y.astype("float64"))
        away = abs(found.neighbours - found.chance) / found.spread
        wrong += away > 3 or found.linear_p < 0.01
    assert wrong <= 1


def test_dependence_is_not_told_for_tokens_and_little_data():
    y = RNG.integers(0, 2, 500)
    assert facts(RNG.integers(0, 99, (500, 20)), y).dependence.tested == 0
    assert facts(np.array(["a"] * 500), y).dependence.tested == 0
    assert facts(RNG.normal(size=(100, 3)), y[:100]).dependence.tested == 0
    assert facts(RNG.normal(size=(500, 3)), np.zeros(500)).dependence.tested == 0
    wide = RNG.random((500, 64))
    assert facts(RNG.normal(size=(500, 9)), wide).dependence.tested == 0


def test_batches_are_collected():
    sample = BatchSample(Fed(batch_size=32))
    # By what they show: they have NaNs, and from Python 3.13 on those differ.
    assert repr(sample.facts()) == repr(DataFacts(batch_size=32))
    x, y = RNG.normal(size=(400, 3)), RNG.integers(0, 3, 400)
    for at in range(0, 400, 32):
        sample.add({"a": x[at : at + 32]}, y[at : at + 32], np.ones(32))
    found = sample.facts()
    assert found.source == "batches"
    assert found.inputs[0].name == "x['a']"
    assert found.inputs[0].seen == 400
    assert found.inputs[0].mean == pytest.approx(x.mean())
    assert not found.weighted
    assert found.dependence.tested == 400
    sample.add({"a": x[:32]}, y[:32], np.arange(32))
    assert sample.facts().weighted


def test_batches_are_bounded():
    sample = BatchSample()
    for i in range(200):
        sample.add(np.full((64, 2), float(i)))
    assert sample.full
    assert sample.facts().inputs[0].scanned == 2048
    sample = BatchSample()
    for i in range(200):
        sample.add(np.full((1, 2), float(i)))
    assert sample.facts().inputs[0].seen == data.BATCHES


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "int64", "str"])
def test_samples_of_another_epoch_are_no_others(shuffled, dtype):
    x = RNG.integers(0, 10**6, (242, 3)).astype(dtype)
    y = RNG.integers(0, 2, 242)
    sample = BatchSample()
    for epoch in range(5):
        order = RNG.permutation(242) if shuffled else np.arange(242)
        for at in range(0, 242, 32):
            if epoch or at < 160:  # Some are first seen later.
                part = order[at : at + 32]
                sample.add({"a": x[part]}, y[part], at=(epoch, None))
    found = sample.facts()
    assert [a.seen for a in (*found.inputs, *found.targets)] == [242, 242]
    assert found.duplicated == 0
    assert found.batch_size == 32
    assert not sample.full


def test_samples_that_occur_twice_in_an_epoch_are_two():
    sample = BatchSample()
    for epoch in range(3):
        for order in (np.arange(8), np.arange(8)[::-1]):
            sample.add(order[:, None] / 2, order, at=(epoch, None))
    assert sample.facts().inputs[0].seen == 16
    assert sample.facts().duplicated == 1


def test_no_more_batches_are_wanted_after_so_many():
    sample = BatchSample()
    for epoch in range(data.BATCHES):
        assert not sample.full
        sample.add(np.zeros((2, 2)), at=(epoch, None))
    assert sample.full
    assert sample.facts().inputs[0].seen == 2


def test_pure_batches_are_an_order():
    x = RNG.normal(size=(32, 3))
    pure, mixed = BatchSample(), BatchSample()
    for label in RNG.integers(0, 4, 20):
        pure.add(x, np.full(32, label))
        mixed.add(x, RNG.integers(0, 4, 32))
    assert pure.facts().sorted
    assert not mixed.facts().sorted


def test_batches_of_changing_length():
    sample = BatchSample()
    for length in (5, 7, 5):
        sample.add([np.zeros((8, length)), np.ones((8, 2))], np.zeros(8))
    found = sample.facts()
    assert [x.name for x in found.inputs] == ["x[1]"]
    assert found.duplicated == 0  # The inputs are not known as a whole.


def test_nothing_is_written_and_no_global_state_moves():
    x, y = RNG.normal(size=(500, 4)), RNG.integers(0, 2, 500)
    for array in (x, y):
        array.setflags(write=False)
    before = np.random.get_state()
    first = facts(x, y, x[:50], y[:50])
    after = np.random.get_state()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    again = facts(x, y, x[:50], y[:50])
    assert first.dependence == again.dependence
    assert first.validation.shared == again.validation.shared == 50


dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(),
    hnp.unsigned_integer_dtypes(),
    hnp.floating_dtypes(),
    hnp.complex_number_dtypes(),
    hnp.datetime64_dtypes(),
    hnp.unicode_string_dtypes(),
    hnp.byte_string_dtypes(),
)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)
anything = st.one_of(
    dtypes.flatmap(lambda dtype: hnp.arrays(dtype, shapes)),
    shapes.map(lambda shape: np.full(shape, None)),
    shapes.map(lambda shape: np.full(shape, {}, dtype=object)),
    hnp.arrays("float64", (210, 2), elements=st.sampled_from([0.0, 1.0, 1e308])),
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(anything, anything, anything, anything)
def test_never_raises(x, y, xv, yv):
    found = facts({"a": x, "b": x}, y, {"a": xv, "b": xv}, yv)
    assert isinstance(found, DataFacts)
    for one in (*found.inputs, *found.targets):
        assert isinstance(one, ArrayFacts)
    sample = BatchSample()
    for epoch in range(2):
        sample.add(x, y, at=(epoch, None))
        sample.add(xv, yv, at=(epoch, None))
        assert isinstance(sample.facts(), DataFacts)
