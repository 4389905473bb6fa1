"""Rules about validation data that were prepared otherwise than training data."""

import numpy as np
import pytest
from sklearn import datasets
from support import histories as H

from keras_babysit.facts import ArrayFacts, DataFacts, ValidationFacts
from keras_babysit.inspection.arrays import array_facts
from keras_babysit.inspection.data import (
    BatchSample,
    Fed,
    data_facts,
    of_arrays,
    validated,
)
from keras_babysit.records import ValidationRecord
from keras_babysit.rules.data import shift
from keras_babysit.rules.evidence.arrays import columns_moved, out_of_scale

RNG = np.random.default_rng(0)
WINES = RNG.permutation(datasets.load_wine().data)
PIXELS = RNG.permutation(datasets.load_digits().data)


def facts(values, name="x"):
    return array_facts(name, np.asarray(values, np.float32))


def told(x, val_x, y=None, val_y=None, partial=False, loss=0.2, val_loss=0.3):
    """Places and causes of what is seen after an epoch."""
    targets = [() if t is None else (facts(t, "y"),) for t in (y, val_y)]
    validation = ValidationFacts(
        inputs=(facts(val_x),), targets=targets[1], partial=partial
    )
    data = DataFacts(inputs=(facts(x),), targets=targets[0], validation=validation)
    history = H.run([loss], data=data, val_loss=[val_loss])
    signs = shift.validation_differs.signs(history)
    return {sign.where: sign.cause for sign in signs}


SCALED = "Likely only one of the two was scaled"
ORDER = "Likely the columns stand in another order"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda x: x, None),
        (lambda x: x / 255, SCALED),
        (lambda x: 16 * x, SCALED),
        (lambda x: x / 8 - 1, SCALED),
        (lambda x: (x - x.mean()) / x.std(), SCALED),
        (lambda x: 1.3 * x, None),
        (lambda x: x + RNG.normal(size=x.shape), None),
        (lambda x: np.where(RNG.random(x.shape) < 0.3, 0, x), None),
    ],
)
def test_pixels(change, cause):
    expected = {} if cause is None else {"x": cause}
    assert told(PIXELS[:1_300], change(PIXELS[1_300:])) == expected
    few = change(PIXELS[1_300:1_364])
    assert told(PIXELS[:1_300], few, partial=True, val_loss=2) == expected
    # The model does as well as in training.
    assert told(PIXELS[:1_300], few, partial=True) == {}


def test_columns_of_a_table():
    x, val = WINES[:120], WINES[120:]
    assert told(x, val) == {}
    assert told(x, val[:, ::-1]) == {"x": ORDER}
    exchanged = val.copy()
    exchanged[:, [0, 4]] = val[:, [4, 0]]
    assert told(x, exchanged) == {"x": ORDER}
    mean, std = x.mean(axis=0), x.std(axis=0)
    one = val.copy()
    one[:, 0] = (val[:, 0] - mean[0]) / std[0]
    assert told(x, one) == {"x": SCALED}
    assert told((x - mean) / std, (val - mean) / std) == {}
    assert told((x - mean) / std, val) == {"x": SCALED}


def test_many_tables_are_no_false_alarms():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scale = np.exp(rng.normal(scale=2, size=12))
        x = rng.standard_t(3, size=(700, 12)) * scale + rng.normal(size=12)
        x[:, 3] = rng.random(700) < 0.02
        x[:, 4] = np.exp(1.5 * rng.normal(size=700))
        for n in (20, 64, 200):
            at = rng.permutation(700)
            pair = facts(x[at[n:]]), facts(x[at[:n]])
            assert not out_of_scale(*pair, 5, 3)
            assert len(columns_moved(*pair, 5, 3)[0]) == 0


def test_sorted_validation_data_of_which_the_first_are_seen():
    x = RNG.uniform(0, 10, (500, 1))
    first = np.linspace(0, 10, 1_000)[:64, None]
    assert told(x, first, partial=True, val_loss=2) == {}
    assert told(x, 255 * first, partial=True, val_loss=2) == {"x": SCALED}


def test_targets():
    x, y = RNG.normal(size=(200, 4)), RNG.uniform(5, 50, 200)
    other = (y - y.mean()) / y.std()
    assert told(x[:150], x[150:], y[:150], y[150:]) == {}
    assert told(x[:150], x[150:], other[:150], y[150:]) == {"y": SCALED}
    assert told(x[:150], x[150:], y[:150], other[150:]) == {"y": SCALED}
    few = told(x[:150], x[150:], other[:150], y[150:], partial=True, val_loss=9)
    assert few == {"y": SCALED}
    # Labels have no scale.
    assert told(x[:150], x[150:], np.arange(150) % 3, np.full(50, 2)) == {}


def permuted(table, accuracy=0.95, val_accuracy=0.05, classes=3):
    data = H.class_data((1 / classes,) * classes)
    history = H.run(
        [0.1],
        data=data,
        accuracy=[accuracy],
        val_loss=[5.0],
        val_accuracy=[val_accuracy],
    )
    record = ValidationRecord(20, 1, confusions={"loss": np.array(table, float)})
    history.append(record)
    signs = shift.validation_classes_permuted.signs(history)
    return [(sign.seen, sign.severity) for sign in signs]


def test_classes_in_another_order():
    ((seen, severity),) = permuted([[0, 9, 1], [0, 1, 10], [12, 0, 0]])
    assert "class 0 for 1 (9 of 10), 1 for 2 (10 of 11), 2 for 0 (12 of 12)" in seen
    assert severity is None
    assert len(permuted([[0, 9, 1], [8, 1, 0], [0, 0, 14]], val_accuracy=0.5)) == 1
    assert len(permuted([[2, 30], [29, 1]], classes=2)) == 1


@pytest.mark.parametrize(
    "table",
    [
        [[9, 0, 1], [0, 10, 1], [0, 0, 12]],
        # All of one class, or two of them for the same one: the model fails.
        [[0, 10, 0], [0, 11, 0], [0, 12, 0]],
        [[0, 10, 0], [11, 0, 0], [0, 12, 0]],
        # No one is always taken for the same one.
        [[3, 4, 3], [4, 3, 4], [4, 4, 4]],
        # One class, as in sorted data.
        [[0, 64, 0], [0, 0, 0], [0, 0, 0]],
        # Too few.
        [[0, 2, 0], [0, 0, 2], [2, 0, 0]],
        [[0, 3, 0], [3, 0, 0], [0, 0, 20]],
        np.zeros((3, 3)),
    ],
)
def test_classes_that_are_not_in_another_order(table):
    assert permuted(table) == []


def test_classes_of_a_model_that_has_not_learned_or_does_well():
    table = [[0, 9, 1], [0, 1, 10], [12, 0, 0]]
    assert permuted(table, accuracy=0.4) == []
    assert permuted(table, val_accuracy=0.9) == []


def test_the_first_batches_of_a_validation():
    x, y = RNG.normal(size=(90, 3)), np.arange(90) % 2
    fed = Fed(**of_arrays(x[:60], y[:60]))
    batches = [(x[i : i + 10], y[i : i + 10]) for i in range(50, 90, 10)]
    known = data_facts(validated(fed, batches)).validation
    assert known.partial
    assert known.rows is None
    assert (known.compared, known.shared, known.among) == (40, 10, 60)
    assert known.inputs[0].mean == pytest.approx(x[50:].mean())
    sample = BatchSample(Fed())
    sample.add(x[:60], y[:60])
    sample.fed = validated(sample.fed, batches)
    of_batches = sample.facts().validation
    assert (of_batches.shared, of_batches.partial) == (10, True)
    # Only arrays of numbers are kept.
    assert validated(fed, [({"a": None}, None)]).validation_inputs == ()


def test_facts_of_nothing():
    nothing = ArrayFacts("x", (3,), "float32", 0)
    assert not out_of_scale(nothing, nothing, 5, 3)
    assert len(columns_moved(nothing, nothing, 5, 3)[0]) == 0
