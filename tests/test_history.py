import numpy as np
import pytest

from keras_babysit.history import MAX_POINTS, RunHistory
from keras_babysit.records import EpochRecord, StepRecord, TensorStats, VariableStats


def record(step):
    stats = TensorStats(4, 0, 0, 2.0 * step, 0, 1, 0.5, 0.1)
    variable = VariableStats("a/kernel", weight=stats, update_ratio=step / 10)
    return StepRecord(step, step / 5, loss=1.0, variables=(variable,))


def test_series_by_quantity_and_place():
    history = RunHistory()
    for step in range(5):
        history.append(record(step))
    history.append(EpochRecord(epoch=1, step=5, logs={"loss": 0.5, "val_loss": 0.7}))
    series = history.series("update_ratio", "a/kernel")
    np.testing.assert_allclose(series.values, np.arange(5) / 10)
    np.testing.assert_allclose(series.epochs, np.arange(5) / 5)
    assert history.series("weight.norm", "a/kernel").values[-1] == 8
    assert history.series("epoch.val_loss").values.tolist() == [0.7]
    assert history.quantities()["loss"] == [""]


def test_unknown_names_say_what_there_is():
    history = RunHistory()
    history.append(record(0))
    with pytest.raises(KeyError, match="a/kernel"):
        history.series("update_ratio", "b")
    with pytest.raises(KeyError, match="update_ratio"):
        history.series("nonsense")


def test_long_series_are_thinned_and_keep_both_ends():
    history = RunHistory()
    for step in range(3 * MAX_POINTS):
        history.append(StepRecord(step, 0.0, loss=float(step)))
    steps = history.series("loss").steps
    assert len(steps) <= MAX_POINTS
    assert (steps[0], steps[-1]) == (0, 3 * MAX_POINTS - 1)
    assert (np.diff(steps) > 0).all()


def test_since_when_something_is_not_finite():
    history = RunHistory()
    for step, nan in enumerate([0, 1, 0, 2, 2]):
        stats = TensorStats(4, nan, 0, 1.0, 0, 1, 0.5, 0.1)
        parts = (VariableStats("a"), VariableStats("b", weight=stats))
        history.append(StepRecord(step, step / 5, variables=parts))
    assert history.lost == {"weight": (3.0, 0.6, ("b",))}
    assert history.first_step.step == 0


def test_smoothness_of_the_first_layer_is_a_series():
    history = RunHistory()
    for i in range(3):
        smooth = {"conv": i / 10}
        history.append(EpochRecord(i, i, first_layer_smoothness=smooth))
    assert history.values("first_layer_smoothness", "conv").tolist() == [0, 0.1, 0.2]
