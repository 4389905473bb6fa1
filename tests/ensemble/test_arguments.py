"""What ensembles are given is looked at before anything is done with it."""

from types import SimpleNamespace

import numpy as np
import pytest

from keras_babysit.ensemble import (
    BestCheckpoints,
    SnapshotCheckpoint,
    StochasticWeightAveraging,
    arguments,
)


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def test_callbacks_take_numpys_integers(tmp_path):
    two = np.uint8(2)
    snapshots = SnapshotCheckpoint(tmp_path, every=two, keep=two)
    swa = StochasticWeightAveraging(two, every=two)
    best = BestCheckpoints(tmp_path, k=two)
    counts = snapshots.every, snapshots.keep, swa.start_epoch, swa.every, best.k
    assert counts == (2, 2, 2, 2, 2)
    # An unsigned 2 has no negative.
    assert {type(count) for count in counts} == {int}


def test_inputs():
    arguments.check_inputs({"a": np.ones((2, 1))}, again="in each pass")
    arguments.check_inputs(iter([]))
    for x, words in (
        (None, "x=None"),
        ([np.ones((2, 1)), np.ones((0, 1))], "at least one sample"),
        ((i for i in ()), "again in each pass, and a generator can be read only once"),
        (SimpleNamespace(cardinality=lambda: 0), "at least one batch"),
    ):
        with pytest.raises(ValueError, match=words):
            arguments.check_inputs(x, again="in each pass")


def test_targets():
    assert arguments.targets_of([[1], [0]], 2).shape == (2, 1)
    for y, words in (
        (None, "y=None"),
        ({"kind": [0], "size": [1]}, r"of one output.*`y=y\['kind'\]`"),
        ([[1], [2, 3]], "one array.*do not have the same shape"),
        (["a", "b"], "must be an array of numbers.*dtype <U1"),
        (3, r"must be an array of numbers.*shape \(\)"),
        ([], "at least one sample"),
        ([1], r"for each sample of `x`.*shape \(1,\) for 2"),
    ):
        with pytest.raises(ValueError, match=words):
            arguments.targets_of(y, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["left", "right"], ["left", "right"]),
        (["left", "right"], ["top", "bottom"]),
        # Keras numbers layers as they are made, and calls them by their class.
        (["input_layer", "input_layer_1"], ["input_layer_1", "input_layer"]),
        (["dense", "softmax"], ["softmax", "dense"]),
    ],
)
def test_names_that_tell_nothing_against(one, other):
    arguments.names_agree([one, other], "outputs")


def test_names_in_another_order():
    with pytest.raises(ValueError, match=r"outputs in the same order.*\['b_1', 'a'\]"):
        arguments.names_agree([["a", "b"], ["a", "b_2"], ["b_1", "a"]], "outputs")
