"""What every check promises: see `checks.check`."""

import json
import sys

import keras
import numpy as np
import pytest
from keras import layers as L
from support import models, untouched

from keras_babysit import checks
from keras_babysit.checks.check import VERDICTS, Check, CheckResult
from keras_babysit.document.progress_line import silent
from keras_babysit.document.values import plain
from keras_babysit.inspection.sample import ready, sample_of

CHECKS = checks.available()
every_check = pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: forgetting all after each of so many tests takes long."""


def blobs(n=60):
    """Three groups of points that are easy to tell apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 6)) + 2 * np.eye(6)[y]
    return x.astype("float32"), y


def healthy():
    """A little of everything that a check has to switch off or hold still."""
    model = keras.Sequential(
        [
            keras.Input((6,)),
            L.Dense(
                16, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3)
            ),
            L.BatchNormalization(),
            L.Dropout(0.3),
            L.Dense(3),
        ]
    )
    return models.compile_model(model, metrics=["accuracy"])


def a_sample(model, n=32):
    sample = sample_of(*blobs(), n=n)
    ready(model, sample)
    return sample


def public_function(check):
    """The function that a user calls: `gradient_check`, `check_initial_loss`."""
    module = sys.modules[check.run.__module__]
    names = (check.name, f"check_{check.name}", f"{check.name}_check")
    (found,) = [getattr(module, name) for name in names if hasattr(module, name)]
    return found


def test_names_and_order():
    assert {check.name for check in CHECKS.values()} == set(CHECKS)
    orders = [check.order for check in CHECKS.values()]
    assert orders == sorted(set(orders))
    assert all(isinstance(check, Check) and check.title for check in CHECKS.values())


@every_check
def test_result(check):
    keras.utils.set_random_seed(1)
    model = healthy()
    told = []
    sample = a_sample(model)
    result = check.run(model, sample, lambda share, what: told.append((share, what)))
    assert isinstance(result, CheckResult)
    assert result.check == check.name
    assert result.verdict in VERDICTS
    # A false alarm is a bug.
    assert result.verdict == "passed", str(result)
    assert result.summary
    assert not result.action
    json.dumps(plain(vars(result)), allow_nan=False)
    text = str(result)
    assert text.startswith("✔ passed")
    assert max(map(len, text.splitlines())) <= 100
    assert told
    shares = [share for share, _ in told]
    assert 0 <= min(shares) <= max(shares) <= 1
    assert shares == sorted(shares)
    assert all(isinstance(what, str) for _, what in told)
    assert str(check.run(model, sample, silent)) == text


@every_check
def test_leaves_all_as_it_was(check):
    keras.utils.set_random_seed(1)
    model = healthy()
    x, y = blobs()
    model.fit(x, y, verbose=0)
    sample = a_sample(model)
    before = untouched.everything(model)
    check.run(model, sample, silent)
    assert untouched.differences(before, untouched.everything(model)) == []


@every_check
def test_leaves_all_as_it_was_when_interrupted(check):
    model = healthy()
    sample = a_sample(model)
    before = untouched.everything(model)
    calls = []

    def interrupt(share, what):
        calls.append(share)
        if len(calls) == 3 or share > 0.4:
            raise KeyboardInterrupt

    try:
        check.run(model, sample, interrupt)
    except KeyboardInterrupt:
        pass
    else:
        assert len(calls) < 3, "somebody has caught the interrupt"
    assert untouched.differences(before, untouched.everything(model)) == []


def fitted(first=lambda model: None):
    keras.utils.set_random_seed(3)
    model = healthy()
    first(model)
    history = model.fit(*blobs(), epochs=2, batch_size=16, verbose=0)
    return history.history, models.state(model)


@pytest.fixture(scope="module")
def without(optimized_graphs):
    """A fit before which nothing was checked."""
    return fitted()


@every_check
def test_fit_goes_as_without_it(check, without):
    history, state = fitted(lambda model: public_function(check)(model, *blobs()))
    assert history == without[0]
    for a, b in zip(state, without[1], strict=True):
        np.testing.assert_array_equal(a, b)


def uncompiled():
    return keras.Sequential([keras.Input((6,)), L.Dense(3)]), *blobs()


def empty():
    return healthy(), np.zeros((0, 6)), np.zeros(0)


def string_labels():
    x, y = blobs()
    return healthy(), x, np.array(["a", "b", "c"])[y]


def not_finite():
    x, y = blobs()
    x[:, 2] = np.nan
    return healthy(), x, y


def wrong_shape():
    x, y = blobs()
    return healthy(), x[:, :5], y


def unlike_lengths():
    x, y = blobs()
    return healthy(), x, y[:-1]


def no_data():
    return healthy(), None


def targets_twice():
    def batches():
        yield blobs()

    return healthy(), batches(), blobs()[1]


def unbatched():
    return healthy(), (sample for sample in zip(*blobs(), strict=True))


def no_targets():
    return healthy(), blobs()[0]


BAD = {
    unbatched: r"did you leave out `.batch\(32\)`",
    no_targets: "`y` must be given",
    uncompiled: "must be compiled",
    empty: "no data to check with",
    string_labels: "`y` must hold numbers",
    not_finite: "must be finite",
    wrong_shape: "`x` must have shape",
    unlike_lengths: "same number of samples",
    no_data: "no data to check with",
    targets_twice: "`y` and `sample_weight` must be None",
}


@every_check
@pytest.mark.parametrize("bad", BAD, ids=lambda f: f.__name__)
def test_bad_input(check, bad):
    with pytest.raises(ValueError, match=BAD[bad]) as raised:
        public_function(check)(*bad())
    assert "Received" in str(raised.value)


@every_check
def test_not_a_model(check):
    with pytest.raises(TypeError, match=r"must be a keras\.Model"):
        public_function(check)("model.keras", *blobs())
