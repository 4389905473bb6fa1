"""The executor that trains in this process."""

import pytest

from keras_babysit.search.trial import executors
from keras_babysit.search.trial.executors import InPlace
from keras_babysit.search.trial.task import Work
from keras_babysit.search.trials import EpochResult, Objective, Outcome, Trial


@pytest.fixture
def work(monkeypatch):
    """A trial of number n reports n epochs, and then completes."""

    def run_trial(work, trial, space, report):
        for epoch in range(1, trial.number + 1):
            reason = report(EpochResult(epoch, {}))
            if reason:
                return Outcome("stopped", reason=reason)
        return Outcome("completed", epochs=trial.number, space=space)

    monkeypatch.setattr(executors, "run_trial", run_trial)
    return Work(None, {}, Objective("loss", "min"), "")


def trial(number):
    return Trial(number, 0, {}, 1, seed=0)


def test_trains_when_waited_for(work):
    told = []
    place = InPlace()
    assert place.capacity == 1
    place.open(work, lambda t, r: told.append((t.number, r.epoch)) or "")
    place.submit(trial(2), {"space": []})
    assert told == []
    expected = Outcome("completed", epochs=2, space={"space": []})
    assert place.wait() == [(2, expected)]
    assert told == [(2, 1), (2, 2)]
    assert place.wait() == []


def test_answers_end_a_trial(work):
    place = InPlace()
    place.open(work, lambda t, r: "enough" if r.epoch == 2 else "")
    place.submit(trial(3), {})
    assert place.wait() == [(3, Outcome("stopped", reason="enough"))]


def test_closing_forgets_what_waits(work):
    place = InPlace()
    place.open(work, lambda t, r: "")
    place.submit(trial(1), {})
    place.close()
    assert place.wait() == []


def test_must_be_opened():
    with pytest.raises(RuntimeError, match="`open` must be called before `wait`"):
        InPlace().wait()
