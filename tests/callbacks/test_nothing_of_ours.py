"""Nothing of ours ends a training: the kinds of failure that once did."""

import copy
import pickle
import threading
import time
import warnings

import keras
import numpy as np
import pytest
from support import models

from keras_babysit import Babysitter
from keras_babysit.event_files import writer
from keras_babysit.rules.rule import rule


@rule(severity="error", when=("start", "end"), since="test")
def broken(history):
    """A rule with a bug."""
    raise KeyError("bug in a rule")
    yield


def fit(callbacks, **kwargs):
    keras.utils.set_random_seed(5)
    model, (x, y) = models.mlp()
    models.compile_model(model, jit_compile=False)
    model.fit(x, y, verbose=0, callbacks=callbacks, **kwargs)
    return models.state(model)


@pytest.fixture
def plain():
    return fit([])


def same(state, other):
    for a, b in zip(state, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_failure_is_one_warning(tmp_path, plain):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        same(fit([Babysitter(tmp_path, rules=[broken])]), plain)
    ours = [str(w.message) for w in caught if "Babysitter" in str(w.message)]
    assert len(ours) == 1
    assert "KeyError: 'bug in a rule'" in ours[0]


def test_where_warnings_are_errors(tmp_path, plain, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        same(fit([Babysitter(tmp_path, rules=[broken])]), plain)
    assert capsys.readouterr().err.count("stopped watching") == 1


def test_no_thread_can_be_started(tmp_path, plain, monkeypatch):
    start = threading.Thread.start

    def limited(thread):
        if thread.name == "keras_babysit_events":
            raise RuntimeError("can't start new thread")
        return start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.warns(UserWarning, match="can't start new thread"):
        same(fit([Babysitter(tmp_path)]), plain)


# With PyTorch, Keras's own conversion to NumPy warns.
@pytest.mark.tensorflow
def test_a_clock_that_stands_still(tmp_path, plain, monkeypatch):
    monkeypatch.setattr(time, "perf_counter", lambda: 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        babysitter = Babysitter(tmp_path, verbose=0)
        same(fit([babysitter]), plain)
    assert babysitter.observation.observed


def test_an_error_of_an_interrupted_fit_is_not_the_next_ones(tmp_path, plain):
    babysitter = Babysitter(tmp_path, every=1, verbose=0)

    def interrupt(batch, logs):
        raise KeyboardInterrupt

    stop = keras.callbacks.LambdaCallback(on_train_batch_begin=interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit([babysitter, stop])
    ((_, sink),) = babysitter._sink._writers.values()
    sink._train._stream.errors.append(OSError("the disk was full"))
    same(fit([babysitter]), plain)
    assert babysitter.history.last_step is not None


def test_the_last_step_before_an_interruption_is_reported(tmp_path):
    def interrupt(batch, logs):
        if batch == 2:
            raise KeyboardInterrupt

    stop = keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    babysitter = Babysitter(tmp_path, every=1, verbose=0)
    with pytest.raises(KeyboardInterrupt):
        fit([babysitter, stop], batch_size=16)
    assert babysitter.report.steps == 3
    assert babysitter.history.last_step.step == 2


def test_what_on_finding_raises_is_the_users(tmp_path):
    class MineError(Exception):
        pass

    def mine(finding):
        raise MineError(finding.rule)

    @rule(severity="error", when=("epoch",), since="test")
    def always(history):
        """Always sees something."""
        from keras_babysit.rules.rule import Sign

        yield Sign("", "seen", "Likely", "do something")

    with pytest.raises(MineError, match="always"):
        fit([Babysitter(tmp_path, rules=[always], on_finding=mine, verbose=0)])


def test_it_can_be_pickled(tmp_path, plain):
    thresholds = {"update-ratio-too-high": {"limit": 0.03}}
    babysitter = Babysitter(tmp_path, thresholds=thresholds, verbose=0)
    for made in (babysitter, copy.deepcopy(babysitter)):
        again = pickle.loads(pickle.dumps(made))
        assert again.rules == made.rules
        same(fit([again]), plain)
    same(fit([babysitter]), plain)
    trained = pickle.loads(pickle.dumps(babysitter))
    assert trained.report.steps == babysitter.report.steps


def test_a_file_without_a_thread_is_closed(tmp_path, monkeypatch):
    def fail(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError):
            writer.EventFile(tmp_path)
