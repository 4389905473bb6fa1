"""Gradients on whichever backend is in use, against closed forms."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_babysit.backend import SUPPORTED, load
from keras_babysit.borrowing import random_numbers_kept

autodiff = load("autodiff")


@pytest.fixture(autouse=True)
def _float64():
    with autodiff.in_float64():
        yield


def numpy(tensors):
    return [autodiff.numpy_of(x) for x in tensors]


def tensor(values):
    return ops.convert_to_tensor(np.asarray(values, "float64"), "float64")


def test_value_and_gradients():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([[0.5]])

    def function(at):
        return ops.sum(at[0] ** 3) + 0.0 * ops.sum(at[0])

    value, found = autodiff.value_and_gradients(function, [tensor(a), tensor(b)])
    assert float(autodiff.numpy_of(value)) == pytest.approx((a**3).sum(), rel=1e-14)
    first, unused = numpy(found)
    np.testing.assert_allclose(first, 3 * a**2, rtol=1e-14)
    assert first.dtype == "float64"
    np.testing.assert_array_equal(unused, np.zeros((1, 1)))


def test_of_something_constant():
    value, found = autodiff.value_and_gradients(lambda at: tensor(2.0), [tensor([1.0])])
    assert float(autodiff.numpy_of(value)) == 2.0
    assert autodiff.numpy_of(found[0]) == 0.0


@pytest.mark.parametrize("compiled", [False, True])
def test_hessian(compiled, rng):
    a = rng.normal(size=(4, 4))
    x = rng.normal(size=4)

    def function(at):
        return ops.sum(ops.matmul(tensor(a), at[0]) ** 2) / 2 + ops.sum(at[0] ** 4)

    def both(x):
        return autodiff.value_gradient_and_hessian(function, x)

    run = autodiff.compiled(both) if compiled else both
    value, gradient, hessian = numpy(run(tensor(x)))
    assert value == pytest.approx(((a @ x) ** 2).sum() / 2 + (x**4).sum(), rel=1e-12)
    np.testing.assert_allclose(gradient, a.T @ a @ x + 4 * x**3, rtol=1e-11)
    np.testing.assert_allclose(hessian, a.T @ a + np.diag(12 * x**2), rtol=1e-11)


def test_hessian_of_a_plane():
    _, gradient, hessian = autodiff.value_gradient_and_hessian(
        lambda at: ops.sum(3.0 * at[0]), tensor([1.0, 2.0])
    )
    np.testing.assert_array_equal(autodiff.numpy_of(gradient), [3.0, 3.0])
    np.testing.assert_array_equal(autodiff.numpy_of(hessian), np.zeros((2, 2)))


def test_variables_are_read_as_they_are_now():
    variable = keras.Variable(np.array([1.0, 2.0]), dtype="float64")
    variable.assign(np.array([1.0, 2.0]))

    def value(x):
        return ops.sum(variable.value**2 * x)

    run = autodiff.compiled(value, reads=[variable])
    assert float(autodiff.numpy_of(run(tensor(2.0)))) == 10.0
    variable.assign(np.array([3.0, 0.0]))
    assert float(autodiff.numpy_of(run(tensor(2.0)))) == 18.0
    value, (by_x, by_variable) = autodiff.value_and_gradients(
        lambda at: value_of(at, variable), [tensor(2.0)], [variable]
    )
    assert float(autodiff.numpy_of(by_x)) == 9.0
    np.testing.assert_array_equal(autodiff.numpy_of(by_variable), [12.0, 0.0])


def value_of(at, variable):
    return ops.sum(variable.value**2 * at[0])


def test_stand_ins_give_the_values_back():
    dense = keras.layers.Dense(3)
    dense.build((None, 2))
    kernel = dense.kernel
    before = np.array(ops.convert_to_numpy(kernel.value))
    kernel._dtype = "float64"
    try:
        with autodiff.stand_ins([kernel], "float64"):
            assert keras.backend.standardize_dtype(kernel._value.dtype) == "float64"
            np.testing.assert_array_equal(autodiff.numpy_of(kernel._value), before)
            kernel.assign(np.ones((2, 3)))
            np.testing.assert_array_equal(autodiff.numpy_of(kernel._value), 1.0)
    finally:
        kernel._dtype = "float32"
    after = ops.convert_to_numpy(kernel.value)
    assert after.dtype == "float32"
    np.testing.assert_array_equal(after, before)


def test_random_numbers_go_on_as_if_nothing_had_been_drawn():
    def draws():
        seeded = keras.random.normal((3,))
        return [ops.convert_to_numpy(seeded), np.random.random()]

    keras.utils.set_random_seed(3)
    expected = draws()
    keras.utils.set_random_seed(3)
    with random_numbers_kept():
        draws()
        keras.utils.set_random_seed(4)
        draws()
    found = draws()
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


def test_batches_can_be_read_again():
    from keras.src.trainers.data_adapters import get_data_adapter

    x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    batches = autodiff.batches_of(get_data_adapter(x, y, batch_size=2))
    for _ in range(2):
        read = [keras.utils.unpack_x_y_sample_weight(batch) for batch in batches]
        np.testing.assert_array_equal(
            np.concatenate([autodiff.numpy_of(one[0]) for one in read]), x
        )
        assert [len(one[1]) for one in read] == [2, 2, 1]


def test_every_backend_has_the_same_functions():
    import ast
    from pathlib import Path

    import keras_babysit

    def public(name):
        path = Path(keras_babysit.__file__).parent / "backend" / name / "autodiff.py"
        tree = ast.parse(path.read_text())
        own = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        return {n for n in own if not n.startswith("_")} | {"numpy_of"}

    assert len({frozenset(public(name)) for name in SUPPORTED}) == 1
