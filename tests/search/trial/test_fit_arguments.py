"""The data of a search: what is refused at once, and what is in which fold."""

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from keras_babysit.search.trial.fit_arguments import (
    are_arrays,
    check_arguments,
    copied_callbacks,
    fold_numbers,
    for_own_fit,
    of_fold,
)
from keras_babysit.search.trials import Objective

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10)
VAL = Objective("val_loss", "min")


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X, Y


class Uncopied(keras.callbacks.Callback):
    def __deepcopy__(self, memo):
        raise RuntimeError("a lock")


@pytest.mark.parametrize(
    ("arguments", "folds", "match"),
    [
        ({}, None, "`x` must be the data to train on"),
        ({"x": X, "epochs": 3}, None, "`epochs` must not be given"),
        ({"x": X, "initial_epoch": 3}, None, "`initial_epoch` must not be given"),
        ({"x": (b for b in [X])}, None, "or is used up by it"),
        ({"x": iter([X])}, None, "`x` must be data that every trial"),
        (
            {"x": X, "validation_data": iter([X])},
            None,
            "`validation_data` must be data that every trial",
        ),
        (
            {"x": X, "callbacks": keras.callbacks.BackupAndRestore("backup")},
            3,
            "must be without `BackupAndRestore`",
        ),
        ({"x": X, "y": Y[:9]}, None, r"as many samples. Received: x: 10, y: 9"),
        ({"x": {"a": X, "b": X[:5]}, "y": Y}, None, r"x\['a'\]: 10, x\['b'\]: 5"),
        ({"x": X, "sample_weight": Y[:1]}, None, "x: 10, sample_weight: 1"),
        ({"x": X[:0], "y": Y[:0]}, None, "at least one sample"),
        ({"x": X, "y": Y}, None, "'val_loss' needs validation data"),
        ({"x": Batches()}, None, "'val_loss' needs validation data"),
        ({"x": X, "y": Y}, 1, "`folds` must be an integer of at least 2"),
        ({"x": X, "y": Y}, True, "`folds` must be an integer of at least 2"),
        ({"x": X, "y": Y}, 2.0, "`folds` must be an integer of at least 2"),
        (
            {"x": X, "y": Y},
            11,
            "than there are samples, 10. Received: folds=11",
        ),
        (
            {"x": X, "y": Y, "validation_data": (X, Y[:3])},
            None,
            "`validation_data` must have as many samples. Received: 10, 3",
        ),
        (
            {"x": Batches(), "validation_split": 0.2},
            None,
            "`validation_split` needs arrays.*x of type Batches",
        ),
        ({"x": Batches()}, 3, "`folds` needs arrays.*x of type Batches"),
        ({"x": X, "validation_data": (X, Y)}, 3, "`validation_data` must not be given"),
        ({"x": X, "validation_split": 0.1}, 3, "`validation_split` must not be given"),
        ({"x": X, "callbacks": [3]}, 3, "must be instances.*Received: 3"),
        ({"x": X, "callbacks": keras.callbacks.EarlyStopping}, 3, "must be instances"),
        ({"x": X, "callbacks": [Uncopied()]}, 3, "cannot copy.*RuntimeError: a lock"),
    ],
)
def test_what_cannot_work_is_refused_at_once(arguments, folds, match):
    with pytest.raises(ValueError, match=match):
        check_arguments(arguments, folds, VAL)


@pytest.mark.parametrize(
    ("arguments", "folds", "objective", "own_fit"),
    [
        ({"x": X, "y": Y, "validation_split": 0.2}, None, VAL, False),
        ({"x": X, "y": Y, "validation_data": (X, Y)}, None, VAL, False),
        ({"x": X, "y": Y, "validation_split": 0.0}, 10, VAL, False),
        ({"x": X, "y": Y}, None, Objective("loss", "min"), False),
        ({"x": X, "y": Y}, None, VAL, True),
        ({"validation_split": 0.2}, None, VAL, True),
        (
            {"x": X, "y": Y, "validation_data": ({"a": X, "b": X}, Y, None)},
            None,
            VAL,
            False,
        ),
        ({"x": Batches(), "validation_data": Batches()}, None, VAL, False),
        ({"x": [X, X], "y": {"a": Y}, "sample_weight": None}, 2, VAL, False),
    ],
)
def test_what_can_work_is_taken(arguments, folds, objective, own_fit):
    check_arguments(arguments, folds, objective, own_fit)


def test_own_fit_gets_data_by_name_or_in_its_place():
    def named(hp, model, x, callbacks, y=None, **others):
        pass

    def others_names(hp, model, images, labels, **others):
        pass

    def of_a_dataset(hp, model, dataset, callbacks, epochs):
        pass

    def none(hp, model, **others):
        pass

    arguments = {"x": X, "y": None, "callbacks": [], "epochs": 2}
    assert for_own_fit(named, 1, 2, arguments) == (
        (1, 2),
        {"x": X, "callbacks": [], "epochs": 2},
    )
    by_place, by_name = for_own_fit(others_names, 1, 2, {**arguments, "y": Y})
    assert by_place[2] is X
    assert by_place[3] is Y
    assert set(by_name) == {"callbacks", "epochs"}
    assert for_own_fit(of_a_dataset, 1, 2, arguments)[0][2] is X
    assert for_own_fit(none, 1, 2, {**arguments, "x": None})[0] == (1, 2)
    # What fits neither way fails with its own error.
    assert "x" in for_own_fit(lambda hp, model: None, 1, 2, arguments)[1]


def test_callbacks_are_copied():
    stop = keras.callbacks.EarlyStopping()
    (copy,) = copied_callbacks({"callbacks": [stop]})
    assert copy is not stop
    assert type(copy) is type(stop)
    assert len(copied_callbacks({"callbacks": stop})) == 1
    assert copied_callbacks({}) == copied_callbacks({"callbacks": None}) == []


@given(
    samples=st.integers(2, 200),
    folds=st.integers(2, 12),
    classes=st.integers(0, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_folds_share_the_samples_of_each_class(samples, folds, classes, seed):
    folds = min(folds, samples)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples) if classes else None
    numbers = fold_numbers(samples, folds, seed, labels)
    np.testing.assert_array_equal(numbers, fold_numbers(samples, folds, seed, labels))
    sizes = np.bincount(numbers, minlength=folds)
    assert sizes.size == folds
    assert sizes.max() - sizes.min() <= 1
    for label in range(classes):
        own = np.bincount(numbers[labels == label], minlength=folds)
        assert own.max() - own.min() <= 1


def test_folds_are_random():
    assert (fold_numbers(100, 5, 0) != fold_numbers(100, 5, 1)).any()
    assert not (np.diff(fold_numbers(100, 5, 0)) == 1).all()


def parts(arguments, folds=3):
    return [of_fold(arguments, folds, fold, seed=4) for fold in range(folds)]


def test_each_sample_validates_once():
    weight = Y / 10
    found = parts({"x": X, "y": Y, "sample_weight": weight, "batch_size": 4})
    for part in found:
        x, y, w = part["validation_data"]
        assert part["batch_size"] == 4
        for a, b, c in ((x, y, w), (part["x"], part["y"], part["sample_weight"])):
            np.testing.assert_array_equal(a[:, 0], 2 * b)  # Rows stay together.
            np.testing.assert_array_equal(c, b / 10)
        assert sorted([*y, *part["y"]]) == list(range(10))
    validated = np.concatenate([part["validation_data"][1] for part in found])
    assert sorted(validated) == list(range(10))


@pytest.mark.parametrize(
    "take",
    [
        lambda a: {"a": a, "more": [a, (2 * a,)]},
        lambda a: [a, a],
        lambda a: pd.DataFrame(a, index=np.arange(10)[::-1]),
        lambda a: scipy.sparse.coo_matrix(a),
        lambda a: keras.ops.convert_to_tensor(a),
    ],
    ids=["dictionary", "list", "pandas", "sparse", "tensor"],
)
def test_folds_of_whatever_keras_slices(take):
    def dense(leaf):
        leaf = leaf.toarray() if hasattr(leaf, "toarray") else leaf
        return np.asarray(leaf)

    assert are_arrays({"x": take(X), "y": take(X)})
    wanted = parts({"x": X, "y": X})
    for part, expected in zip(parts({"x": take(X), "y": take(X)}), wanted, strict=True):
        for found, array in (
            (part["x"], expected["x"]),
            (part["validation_data"][1], expected["validation_data"][1]),
        ):
            keras.tree.assert_same_structure(found, take(X))
            first = keras.tree.flatten(found)[0]
            np.testing.assert_array_equal(dense(first), array)


def test_labels_that_are_integers_are_shared_out():
    y = np.repeat([0, 1], [91, 9])
    x = np.arange(100.0)[:, None]
    for labels in (y, y[:, None], y.astype("uint8"), pd.Series(y), list_of(y)):
        counts = [
            int(np.sum(part["validation_data"][1]))
            for part in parts({"x": x, "y": labels})
        ]
        assert counts == [3, 3, 3]


def list_of(y):
    return keras.ops.convert_to_tensor(y)


def test_weights_without_targets():
    part = parts({"x": X, "sample_weight": Y})[0]
    x, y, weight = part["validation_data"]
    assert y is None
    np.testing.assert_array_equal(x[:, 0], 2 * weight)
